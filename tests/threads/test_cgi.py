"""CPython's own CGIHTTPRequestHandler (3.11 to 3.14): it forks, and its child hands the descriptors on."""

import functools
import http.server
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aiohttpd import compat
from aiohttpd.testing import running

from ..support.clients import Client, connected

pytestmark = [
    pytest.mark.skipif(not hasattr(http.server, "CGIHTTPRequestHandler"), reason="Python 3.15 has no CGI any more"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the class, and of fork() beside threads
]

SCRIPTS = {
    "env": 'printf "Content-Type: text/plain\\n\\n"; echo "$REQUEST_METHOD $QUERY_STRING $PATH_INFO $1"',
    "count": 'printf "Content-Type: text/plain\\r\\n\\r\\n"; head -c "$CONTENT_LENGTH" | wc -c',
    "part": 'printf "Content-Type: text/plain\\r\\n\\r\\n"; head -c 3',
    "empty": "exit 3",
}

Serve = Callable[[], AbstractAsyncContextManager[Any]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that everybody may look into: as root, scripts run as nobody."""
    made = Path(tempfile.mkdtemp())
    try:
        (made / "cgi-bin").mkdir()
        for name, text in SCRIPTS.items():
            script = made / "cgi-bin" / f"{name}.sh"
            script.write_text(f"#!/bin/sh\n{text}\n")
            script.chmod(0o755)
        (made / "a.txt").write_text("a file")
        made.chmod(0o755)
        yield made
    finally:
        shutil.rmtree(made)


@pytest.fixture(params=["app", "session", "HTTPServer", "ThreadingHTTPServer"])
def serve(request: pytest.FixtureRequest, folder: Path) -> Serve:
    class Handler(http.server.CGIHTTPRequestHandler):
        logged: list[str] = []

        def log_message(self, format: str, *args: Any) -> None:
            self.logged.append(format % args)

    if request.param == "session":

        def setup(self: Any) -> None:
            http.server.CGIHTTPRequestHandler.setup(self)

        Handler.setup = setup  # type: ignore[method-assign]
    factory: Any = functools.partial(Handler, directory=str(folder))

    @asynccontextmanager
    async def served() -> AsyncIterator[Any]:
        if request.param in ("app", "session"):
            async with running(factory) as server:
                yield server
            return
        with getattr(compat, request.param)(("127.0.0.1", 0), factory) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()

    return served


async def content(client: Client, request: bytes, *parts: bytes) -> bytes:
    await client.send(request, *parts)
    head, _, body = (await client.rest()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 Script output follows\r\n")
    assert head.endswith(b"Content-Type: text/plain")
    return body.strip()


async def test_get(serve: Serve) -> None:
    async with serve() as server:
        for path, found in (
            ("?a=1&b=2", b"GET a=1&b=2"),
            ("/more/path?word", b"GET word /more/path word"),
            ("", b"GET"),
        ):
            async with connected(server) as client:
                request = f"GET /cgi-bin/env.sh{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
                assert b" ".join((await content(client, request)).split()) == found


@pytest.mark.parametrize("size", [0, 1, 100_000, 2 * 1024 * 1024])
async def test_post(serve: Serve, size: int) -> None:
    async with serve() as server, connected(server) as client:
        head = f"POST /cgi-bin/count.sh HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n".encode()
        await client.send(head)
        assert await content(client, b"", bytes(size // 2), bytes(size - size // 2)) == b"%d" % size


async def test_a_script_that_reads_a_part(serve: Serve) -> None:
    async with serve() as server, connected(server) as client:
        head = b"POST /cgi-bin/part.sh HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n"
        assert await content(client, head, b"abc" + bytes(69997)) == b"abc"


async def test_what_is_no_script(serve: Serve) -> None:
    async with serve() as server:
        for request, status in (
            (b"GET /a.txt", b"200"),
            (b"GET /cgi-bin/none.sh", b"404"),
            (b"POST /a.txt", b"501"),
            (b"GET /cgi-bin/", b"403"),
        ):
            async with connected(server) as client:
                await client.send(request + b" HTTP/1.1\r\nHost: x\r\n\r\n")
                assert (await client.rest()).startswith(b"HTTP/1.0 " + status)


async def test_a_child_asks_too_late() -> None:
    """FAULT: in a child the loop does not run, and so it waits for ever. It is told what to do instead."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            reader, writer = os.pipe()
            if not (pid := os.fork()):
                try:
                    self.rfile.fileno()
                except OSError as error:
                    os.write(writer, str(error).encode())
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            os.close(writer)
            self.send_response(200)
            self.end_headers()
            with open(reader, "rb") as pipe:
                self.wfile.write(pipe.read())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"call fileno() before the fork" in await client.rest()
