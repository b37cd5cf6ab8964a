"""A lifespan that belongs to an App: where it may stand, who finds it, and that wrappers pass it on."""

import contextlib
import functools
import http.server
import pickle
import threading
import urllib.request
from collections.abc import AsyncIterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock, Mock

import httpx
import pytest

import aiohttpd
import aiohttpd.compat
from aiohttpd.compression import compress
from aiohttpd.handlers.app import lifespan_of
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.testing import exchange, running

from ..support.programs import serve_command
from ..support.waiting import block_until

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
WORD: ContextVar[str] = ContextVar("WORD", default="unset")


@contextlib.asynccontextmanager
async def lifespan(server: Any) -> AsyncIterator[None]:
    server.words = ["begun"]
    token = WORD.set("set")
    yield
    WORD.reset(token)
    server.words.append("ended")


class Notes(aiohttpd.BaseHTTPRequestHandler):
    lifespan = lifespan

    async def do_GET(self) -> None:
        self.send_text(f"{self.server.words} {WORD.get()}")


class OfClass(Notes):
    @classmethod
    @contextlib.asynccontextmanager
    async def lifespan(cls, server: Any) -> AsyncIterator[None]:
        server.words = [cls.__name__]
        WORD.set("set")
        yield


class Static(Notes):
    @staticmethod
    @contextlib.asynccontextmanager
    async def lifespan(server: Any) -> AsyncIterator[None]:
        server.words = ["static"]
        WORD.set("set")
        yield


async def function(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
    response.send_head(200)
    response.write(f"{request.server.words} {WORD.get()}".encode())


function.lifespan = lifespan  # type: ignore[attr-defined]


class Site:
    def __init__(self) -> None:
        self.lifespan = lifespan

    async def __call__(self, request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
        await function(request, response)


@functools.wraps(function)
async def wrapper(*args: Any) -> None:
    await function(*args)


APPS: dict[str, tuple[Any, str]] = {
    "class": (Notes, "['begun'] set"),
    "class method": (OfClass, "['OfClass'] set"),
    "static method": (Static, "['static'] set"),
    "derived": (type("Derived", (Notes,), {}), "['begun'] set"),
    "partial": (functools.partial(Notes), "['begun'] set"),
    "partial of a partial": (functools.partial(functools.partial(Notes)), "['begun'] set"),
    "function": (function, "['begun'] set"),
    "wrapped": (wrapper, "['begun'] set"),
    "object": (Site(), "['begun'] set"),
    "compressed": (compress(Notes), "['begun'] set"),
    "compressed twice": (compress(compress(function)), "['begun'] set"),
}


@pytest.mark.parametrize("name", APPS)
async def test_every_door_finds_it(name: str) -> None:
    app, text = APPS[name]
    async with running(app) as server, httpx.AsyncClient() as client:
        assert (await client.get(server.url)).text == text
    assert (await exchange(app, REQUEST)).endswith(text.encode())


async def test_behind_a_password() -> None:
    async with running(basic_auth(Notes, "a:b")) as server, httpx.AsyncClient(auth=("a", "b")) as client:
        assert (await client.get(server.url)).text == "['begun'] set"
    assert server.words == ["begun", "ended"]  # type: ignore[attr-defined]


def test_wrappers_take_it_into_workers() -> None:
    for app in (compress(Notes), basic_auth(compress(Notes), "a:b")):
        assert lifespan_of(pickle.loads(pickle.dumps(app))) is lifespan


async def test_that_of_the_server_is_around_it() -> None:
    order: list[str] = []

    def noting(name: str) -> Any:
        @contextlib.asynccontextmanager
        async def manager(server: Any) -> AsyncIterator[None]:
            order.append(f"{name} begins")
            yield
            order.append(f"{name} ends")

        return manager

    class Both(aiohttpd.BaseHTTPRequestHandler):
        lifespan = noting("of the app")

    async with running(Both, lifespan=noting("given")):
        assert order == ["given begins", "of the app begins"]
    assert order[2:] == ["of the app ends", "given ends"]


@pytest.mark.parametrize("thing", [Mock(), MagicMock(), functools.partial(function), lambda a, b: function(a, b)])
def test_what_has_none(thing: Any) -> None:
    assert lifespan_of(thing) is (lifespan if isinstance(thing, functools.partial) else None)


def test_a_class_of_http_server_may_mean_another_thing() -> None:
    class Old(http.server.BaseHTTPRequestHandler):
        lifespan = 3.5

    assert lifespan_of(Old) is None
    aiohttpd.HTTPServer(("127.0.0.1", 0), Old)  # type: ignore[arg-type]


def test_what_cannot_be_one() -> None:
    class Wrong(aiohttpd.BaseHTTPRequestHandler):
        lifespan = 3.5

    with pytest.raises(TypeError, match=r"the lifespan of .*Wrong is 3.5: write an asynchronous function that yields"):
        aiohttpd.HTTPServer(("127.0.0.1", 0), Wrong)


async def undecorated(server: Any) -> AsyncIterator[None]:
    yield


async def coroutine(server: Any) -> None: ...


@pytest.mark.parametrize("wrong", [undecorated, coroutine, lambda server: None])
async def test_what_gives_no_manager(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"\(\) gives no async context manager: write an asynchronous func"):
        async with running(type("Handler", (Notes,), {"lifespan": staticmethod(wrong)})):
            pass


def test_under_socketserver() -> None:
    """It sees the server that handlers see."""
    server = aiohttpd.compat.ThreadingHTTPServer(("127.0.0.1", 0), Notes)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/") as answer:
            assert answer.read() == b"['begun'] set"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    block_until(lambda: server.words == ["begun", "ended"])  # type: ignore[attr-defined]  # as there, nobody waits for threads


PROGRAM = """
import contextlib, sys
import aiohttpd

@contextlib.asynccontextmanager
async def lifespan(server):
    server.word = "begun"
    print("lifespan begins", file=sys.stderr)
    yield
    print("lifespan ends", file=sys.stderr)

class Bare(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        self.send_text(self.server.word)

class Notes(Bare):
    lifespan = lifespan

nothing = 3
"""


@pytest.mark.parametrize("arguments", [["notes.py:Notes"], ["notes.py:Bare", "--lifespan", "notes:lifespan"]])
@pytest.mark.parametrize("workers", [[], ["--workers", "2", "--recycle-requests", "1000"]])
async def test_the_command(tmp_path: Path, arguments: list[str], workers: list[str]) -> None:
    (tmp_path / "notes.py").write_text(PROGRAM)
    async with serve_command(tmp_path, *arguments, *workers) as server, httpx.AsyncClient() as client:
        assert (await client.get(f"http://127.0.0.1:{await server.port()}/")).text == "begun"
        await server.says("^lifespan begins", times := 2 if workers else 1)
        assert await server.stops() == 0
    assert sorted(line for line in server.lines if line.startswith("lifespan")) == (
        ["lifespan begins"] * times + ["lifespan ends"] * times
    )
