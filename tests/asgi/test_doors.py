"""Where an application of ASGI may stand: layers, workers, every door; and what is recognised as one."""

import functools
import pickle
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import aiohttpd
from aiohttpd.compression import compress
from aiohttpd.engine.apps import is_asgi
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.testing import exchange, running

from ..support.clients import get
from ..support.loops import joined
from ..support.waiting import until
from ..support.wire import finals

Scope = dict[str, Any]


async def answer(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": body})


class Large:
    """An application with an answer that is worth compressing."""

    body = b"hello " * 1000

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await answer(send, self.body)


async def hello(scope: Scope, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send, b"hello")


async def test_layers() -> None:
    app = Large()
    for outer in (compress(app), compress(aiohttpd.asgi.host(app))):
        [response] = finals(await exchange(aiohttpd.asgi.host(app, lifespan="off"), get("/")))
        assert response.body == app.body
        async with running(outer) as server, httpx.AsyncClient() as client:
            got = await client.get(server.url)
            assert (got.headers["Content-Encoding"], got.content) == ("gzip", app.body)
    async with running(basic_auth(app, "a:b")) as server, httpx.AsyncClient() as client:
        assert (await client.get(server.url)).status_code == 401
        assert (await client.get(server.url, auth=("a", "b"))).content == app.body


def test_it_can_be_handed_to_workers() -> None:
    again = pickle.loads(pickle.dumps(aiohttpd.asgi.host(hello, root_path="/a", lifespan="on")))
    assert again.__reduce__()[1] == (hello, "/a", "on")
    pickle.loads(pickle.dumps(compress(basic_auth(hello, "a:b"))))


async def by_other_names(a: Any, b: Any, c: Any) -> None: ...
def not_a_coroutine(scope: Any, receive: Any, send: Any) -> Any: ...


class Instances:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...
    async def method(self, scope: Any, receive: Any, send: Any) -> None: ...


class OfSentry:
    """Its instances have a ``__call__`` each."""

    __slots__ = ("__call__",)

    def __init__(self) -> None:
        self.__call__ = self._run

    async def _run(self, scope: Any, receive: Any, send: Any) -> None: ...


class Endpoint:
    """As Starlette's: it is made for each request, and awaited."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None: ...
    def __await__(self) -> Any: ...


class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("hello")


async def app_of_ours(request: Any, response: Any) -> None: ...


@pytest.mark.parametrize(
    "thing",
    [
        hello, by_other_names, not_a_coroutine, Instances(), Instances().method, functools.partial(hello), OfSentry(),
        Endpoint, lambda scope, receive, send: hello(scope, receive, send),
    ],
    ids=range(9),
)  # fmt: skip
def test_what_is_recognised(thing: Any) -> None:
    assert is_asgi(thing)
    aiohttpd.HTTPServer(("127.0.0.1", 0), thing)


@pytest.mark.parametrize(
    "thing",
    [Handler, functools.partial(Handler), app_of_ours, lambda *args: None, None, Instances, aiohttpd.asgi.host(hello)],
    ids=range(7),
)
def test_what_is_not(thing: Any) -> None:
    assert not is_asgi(thing)


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        (None, "None is no ASGI application: it takes (scope, receive, send)"),
        (lambda scope: None, "it looks like an ASGI 2 application (scope)"),
        (lambda environ, start_response: None, "it looks like one of WSGI: give aiohttpd.wsgi(it)"),
        (app_of_ours, "app_of_ours() is no ASGI application: it cannot be called with (scope, receive, send)"),
        (Handler, "Handler is no ASGI application but a handler class: it is an App as it is"),
    ],
)
def test_what_cannot_be_hosted(thing: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        aiohttpd.asgi.host(thing)
    assert text in str(caught.value)


def test_modes() -> None:
    with pytest.raises(ValueError, match="lifespan is 'auto', 'on' or 'off', not 'yes'"):
        aiohttpd.asgi.host(hello, lifespan="yes")  # type: ignore[arg-type]


async def test_starlette() -> None:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.background import BackgroundTask
    from starlette.requests import Request
    from starlette.responses import JSONResponse, StreamingResponse
    from starlette.routing import Route

    done: list[str] = []

    async def home(request: Request) -> JSONResponse:
        found = {"body": (await request.body()).decode(), "gone": await request.is_disconnected()}
        return JSONResponse(found, background=BackgroundTask(done.append, "work"))

    async def stream(request: Request) -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536

        return StreamingResponse(parts())

    app = Starlette(routes=[Route("/", home, methods=["POST"]), Route("/stream", stream)])
    async with running(app) as server:
        async with httpx.AsyncClient() as client:
            got = await client.post(server.url, content=b"abc")
            assert got.json() == {"body": "abc", "gone": False}
            await until(lambda: done)
        async with joined(server) as peer:  # who leaves a stream is no error
            await peer.send(get("/stream"))
            await peer.receive()
            peer.reset()
            await until(lambda: not server.in_flight)
