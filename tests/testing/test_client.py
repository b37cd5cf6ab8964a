"""A client in memory: streams both ways, lifespan, what is left, errors."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import aiohttpd
from aiohttpd.testing import client

from ..support.waiting import BOUND


class Site(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        if self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 1000)
                await self.wfile.drain()
        self.send_json({"path": self.path, "host": self.headers["Host"], "word": getattr(self.server, "word", None)})

    async def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        async for piece in self.rfile:
            self.wfile.write(piece.upper())
            await self.wfile.drain()


async def test_get() -> None:
    async with client(Site) as asking:
        answer = await asking.get("/a?b=1")
        assert answer.json() == {"path": "/a?b=1", "host": "testserver", "word": None}
        assert answer.headers["Server"].startswith("aiohttpd/")
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_lifespan_and_options() -> None:
    left = []

    @contextlib.asynccontextmanager
    async def lifespan(server: Any) -> AsyncIterator[None]:
        server.word = "hello"
        yield
        left.append(True)

    async with client(Site, lifespan=lifespan, base_url="http://example.org", server_header=False) as asking:
        answer = await asking.get("/")
        assert answer.json() == {"path": "/", "host": "example.org", "word": "hello"}
        assert "Server" not in answer.headers
        assert not left
    assert left


class Cookies(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        if self.path == "/again":
            self.redirect("/")
            return
        self.set_cookie("seen", "1", secure=True)
        seen = dict(self.cookies)
        self.send_json({"scheme": self.request.scheme, "seen": seen, "word": self.headers["X-Word"]})


async def test_options_of_httpx() -> None:
    """FAULT: they were taken for options of the server."""
    async with client(Cookies, headers={"X-Word": "a"}, cookies={"k": "v"}, follow_redirects=True, timeout=9) as asking:
        answer = await asking.get("/again")
        assert answer.json() == {"scheme": "http", "seen": {"k": "v"}, "word": "a"}
        assert len(answer.history) == 1
        assert asking.timeout.read == 9


async def test_https_is_another_connection() -> None:
    """Cookies with Secure come back; a page of http has none."""
    async with client(Cookies, base_url="https://example.org") as asking:
        for seen in ({}, {"seen": "1"}):
            assert (await asking.get("/")).json() == {"scheme": "https", "seen": seen, "word": None}
        assert (await asking.get("http://example.org/")).json() == {"scheme": "http", "seen": {}, "word": None}
        with pytest.raises(httpx.UnsupportedProtocol):
            await asking.get("ftp://example.org/")


async def test_an_endless_answer() -> None:
    async with client(Site) as asking, asking.stream("GET", "/endless") as answer:
        got = 0
        async for piece in answer.aiter_raw():
            got += len(piece)
            if got > 1_000_000:
                break


async def test_both_ways_at_once() -> None:
    """The request goes on only after the first of the answer has come."""
    heard = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with client(Site) as asking, asking.stream("POST", "/", content=content()) as answer:
        got = b"".join([piece async for piece in answer.aiter_raw()])
        heard.set()
    assert got == b"ONETWO"


async def test_a_large_body_and_back_pressure() -> None:
    async with client(Site) as asking:
        answer = await asking.post("/", content=b"a" * 5_000_000)
        assert answer.content == b"A" * 5_000_000


async def test_an_answer_that_is_not_read_yet() -> None:
    """Its handler does not wait, as long as the kernel would keep the content of such an answer."""
    ended = asyncio.Event()

    class Pieces(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(3):
                self.wfile.write(b"x" * 1000)
                await self.wfile.drain()
                await asyncio.sleep(0)
            ended.set()

    async with client(Pieces) as asking, asking.stream("GET", "/") as answer:
        await asyncio.wait_for(ended.wait(), BOUND)
        assert len(await answer.aread()) == 3000


async def test_connections_are_used_again() -> None:
    async with client(Site) as asking:
        for number in range(50):
            assert (await asking.get(f"/{number}")).status_code == 200
        answers = await asyncio.gather(*(asking.get(f"/{number}") for number in range(50)))
        assert {answer.status_code for answer in answers} == {200}


async def test_errors() -> None:
    class Cut(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"12")
            self.wfile.flush()
            self.wfile.abort()

    async with client(Cut) as asking:
        with pytest.raises(httpx.RemoteProtocolError):
            await asking.get("/")


async def test_timeouts() -> None:
    class Waiting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            await asyncio.Event().wait()

    async with client(Waiting) as asking:
        with pytest.raises(httpx.ReadTimeout):
            await asking.get("/", timeout=0.01)


async def test_outside_of_async_with() -> None:
    asking = client(Site)
    with pytest.raises(httpx.ConnectError, match="async with"):
        await asking.get("/")
    await asking.aclose()


async def test_asgi() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async with client(application) as asking:
        assert (await asking.get("/a")).text == "/a"


def test_without_httpx() -> None:
    """The error says what to install."""
    program = "import sys; sys.modules['httpx'] = None; import aiohttpd.testing; aiohttpd.testing.client"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: aiohttpd.testing.client needs httpx: pip install httpx"
    )
