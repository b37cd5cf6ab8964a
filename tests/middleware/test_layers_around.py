"""Layers around what is no plain answer: WebSockets, ASGI applications, threads, mounts."""

import asyncio
import http.server
import threading
from typing import Any

import pytest

import aiohttpd
from aiohttpd import middleware
from aiohttpd.compression import compress
from aiohttpd.middleware import Deadline
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.runner.worker import CountedApp
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, fetch
from ..support.clients import SOON, connected, get
from ..support.layered import Page, bare

ALL: list[Any] = [
    middleware.RequestID(),
    middleware.ServerTiming(),
    middleware.TrustedHosts(["localhost", "127.0.0.1"]),
    middleware.SameOrigin(),
    middleware.SecurityHeaders(),
    middleware.CORS("*"),
    middleware.ProblemDetails(),
    middleware.RateLimit(1000, per=1),
    middleware.ConcurrencyLimit(10),
    middleware.BodyLimit(1000),
    middleware.Compression(),
    middleware.ETag(),
    Deadline(30),
]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Streams in ASGI."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/fail":
        raise RuntimeError("a secret")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for more in (True, True, False):
        await send({"type": "http.response.body", "body": b"part ", "more_body": more})


async def test_an_asgi_application() -> None:
    answer = await fetch(aiohttpd.layers(application, *ALL), "/")  # type: ignore[arg-type]
    assert answer.body == b"part part part "
    assert answer["X-Request-ID"] and answer["Server-Timing"] and answer["X-Frame-Options"] == "DENY"


async def test_a_single_layer_takes_one_too() -> None:
    answer = await fetch(middleware.RequestID()(application), "/")  # type: ignore[arg-type]
    assert answer.body == b"part part part " and answer["X-Request-ID"]


async def test_its_error(caplog: pytest.LogCaptureFixture) -> None:
    answer = await fetch(aiohttpd.layers(application, *ALL), "/fail")  # type: ignore[arg-type]
    assert (answer.status, answer["Content-Type"]) == (500, "application/problem+json")
    assert b"secret" not in answer.body
    caplog.clear()


@pytest.mark.parametrize("path", ["/", "/stream", "/missing", "/fail"])
async def test_all_layers_at_once(path: str, caplog: pytest.LogCaptureFixture) -> None:
    plain = await fetch(Page, path)
    for app in (Page, aiohttpd.Router({"/": Page, "/stream": Page, "/missing": Page, "/fail": Page})):
        answer = await fetch(aiohttpd.layers(app, *ALL), path)
        assert answer.status == plain.status
        assert answer.body == plain.body or answer["Content-Type"] == "application/problem+json"
        assert answer["X-Request-ID"] and answer["Access-Control-Allow-Origin"] == "*"
    caplog.clear()


async def test_a_hundred_requests_on_one_connection() -> None:
    answers = await exchange(aiohttpd.layers(Page, *ALL), get() * 100, config=QUIET)
    assert answers.count(b"HTTP/1.1 200 OK") == answers.count(b"X-Request-ID: ") == 100


async def test_websockets() -> None:
    client = pytest.importorskip("websockets.asyncio.client")

    class Echo(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as ws:
                async for message in ws:
                    await ws.send(message)

    *others, _ = ALL
    app = aiohttpd.layers(Echo, *others, Deadline(0.02))
    async with running(app, access_log=False) as server:
        url = server.url.replace("http", "ws")
        async with client.connect(url, proxy=None) as ws:
            assert ws.response.headers["X-Request-ID"]
            await asyncio.sleep(0.05)  # the deadline is of the answer, and that has begun
            await ws.send("hello")
            assert await ws.recv() == "hello"


async def test_a_deadline_of_a_thread(caplog: pytest.LogCaptureFixture) -> None:
    """It cannot be cancelled; what it writes in the end goes nowhere."""
    release, ended = threading.Event(), threading.Event()

    class Blocking(aiohttpd.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            release.wait(10)
            try:
                self.send_text("late")
            finally:
                ended.set()

    async with running(aiohttpd.layers(Blocking, Deadline(0.02)), access_log=False) as server:
        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.write(get())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"503" in head and b"Connection: close" not in head
        release.set()
        await asyncio.get_running_loop().run_in_executor(None, ended.wait, 10)
        writer.close()
    assert "no answer was begun within" in caplog.text
    caplog.clear()


async def test_layers_of_one_route() -> None:
    site = aiohttpd.Router({"/": Page, "/api/": aiohttpd.layers(bare, middleware.BearerAuth(["t"]))})
    assert (await fetch(site)).status == 200
    assert (await fetch(site, "/api/x")).status == 401
    assert (await fetch(site, "/api/x", "Authorization: Bearer t")).body == b"ok"


async def test_a_client_that_vanishes_in_the_middle() -> None:
    """Layers leave nothing behind."""
    entered = asyncio.Event()
    ended = asyncio.Event()

    class Streaming(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 1000)
                    await self.wfile.drain()
                    entered.set()
                    await asyncio.sleep(0)
            finally:
                ended.set()

    limit = middleware.ConcurrencyLimit(1)
    async with running(aiohttpd.layers(Streaming, *ALL, limit), access_log=False) as server:
        _, writer = await asyncio.open_connection(*server.server_address)
        writer.write(get("/", "Accept-Encoding: gzip"))
        await entered.wait()
        writer.transport.abort()
        await ended.wait()
        while limit.clients:
            await asyncio.sleep(0)


async def test_the_timeout_of_a_handler_of_http_server() -> None:
    """FAULT: its clients had ``timeout_head`` and ``timeout_idle``, also with ``recycle_requests``, which counts."""

    class Old(http.server.BaseHTTPRequestHandler):
        timeout = 0.05

    for app in (aiohttpd.middleware.layers(Old, *ALL), compress(Old), basic_auth(Old, "a:b"), CountedApp(Old)):
        async with running(app, timeout_head=100) as server, connected(server) as client:
            assert await asyncio.wait_for(client.rest(), SOON) == b""
