"""What a request has in memory is freed when it has ended, without the garbage collector.

A reference cycle would keep it, with its body and its open files, until the collector runs. It runs after a number of
objects, and a large body is one: that may be after gigabytes.
"""

import contextlib
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, Config, HTTPServer, Request, StreamWriter
from aiohttpd.engine.interfaces import App
from aiohttpd.handlers.routing import handle_errors

from ..support.clients import get, head, post
from ..support.loops import joined, on_both_loops
from ..support.waiting import until

SIZE = 8 * 1024 * 1024  # bytes of a file that is longer than what the kernel takes for a client that reads nothing
CHUNKED = head("POST", "/", "Transfer-Encoding: chunked")


class Marker:
    """An object that only the objects of one request refer to."""


markers: list[weakref.ref[Marker]] = []


def mark() -> Marker:
    marker = Marker()
    markers.append(weakref.ref(marker))
    return marker


class Handler(BaseHTTPRequestHandler):
    server: Any

    async def do_GET(self) -> None:
        self.marker = mark()
        if self.path == "/raise":
            raise LookupError
        if self.path == "/late":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"a part")
            self.wfile.flush()
            raise LookupError
        if self.path == "/file":
            vars(self.wfile)["marker"] = self.marker
            await self.send_file(self.server.state.file)
        elif self.path == "/upgrade":
            _, writer = await self.upgrade("echo")
            vars(writer)["marker"] = self.marker
        else:
            self.send_text("all")

    async def do_POST(self) -> None:
        self.marker = mark()
        if self.path == "/form":
            await self.form()
        else:
            await self.rfile.read()


class PlainHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.marker = mark()
        if self.path == "/raise":
            raise LookupError
        vars(self.wfile)["marker"] = self.marker
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(SIZE // 65536):
                self.wfile.write(bytes(65536))


class Page(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.marker = mark()
        self.send_error(404)


async def function(request: Request, response: StreamWriter) -> None:
    raise LookupError(mark())


async def page(handler: BaseHTTPRequestHandler, error: Exception) -> None:
    handler.send_text("not found")


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        marker = mark()
        message = await receive()
        raise LookupError(marker, message)


class Quiet(HTTPServer):
    """A server that logs no exceptions, since a log record refers to them."""

    def handle_error(self, error: BaseException, request: Request) -> None:
        pass


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    markers.clear()
    yield
    gc.enable()


FORM = head("POST", "/form", "Content-Type: multipart/form-data; boundary=B", "Content-Length: 4") + b"form"
UPGRADE = get("/upgrade", "Connection: upgrade", "Upgrade: echo")

CASES = {
    "whole": (Handler, get()),
    "an exception": (Handler, get("/raise")),
    "an exception after the head": (Handler, get("/late")),
    "a body that ends early": (Handler, post(10) + b"abc"),
    "a malformed chunk": (Handler, CHUNKED + b"zz\r\n"),
    "a malformed form": (Handler, FORM),
    "a file": (Handler, get("/file")),
    "an upgrade": (Handler, UPGRADE),
    "an exception in a thread": (PlainHandler, get("/raise")),
    "much from a thread": (PlainHandler, get()),
    "an error page": (handle_errors(Page, {404: page}), get()),
    "an error page of a function": (handle_errors(function, {LookupError: page}), get()),
    "an exception of an ASGI application": (asgi, get()),
}


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize(("app", "request_"), CASES.values(), ids=CASES)
@on_both_loops
async def test_the_end_of_a_request(app: App, request_: bytes, reset: bool, tmp_path: Path) -> None:
    """The client reads nothing and leaves."""
    options = Config(access_log=False, timeout_linger=0.1, timeout_drain_idle=0)
    async with Quiet(("127.0.0.1", 0), app, config=options) as server:
        server.state.file = tmp_path / "file"
        with server.state.file.open("wb") as file:
            file.truncate(SIZE)
        async with joined(server, window=4096) as client:
            await client.send(request_)
            await until(lambda: markers)
            if reset:
                client.reset()
        await until(lambda: not server.connections)
        await until(lambda: markers[0]() is None)
