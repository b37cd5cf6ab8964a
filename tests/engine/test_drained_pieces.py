"""Pieces of content that are drained in one turn of the loop: the first is sent at once, the others together."""

import asyncio
import os
from pathlib import Path

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, ClientDisconnected, Request, StreamWriter, WriteBufferFull
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import App
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport, running

from ..support.asking import QUIET
from ..support.clients import MIB
from ..support.loops import joined, on_both_loops
from ..support.waiting import until
from ..support.wire import finals

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def asked(app: App, data: bytes = GET) -> MemoryTransport:
    """A connection in memory that has got a request."""
    loop = asyncio.get_running_loop()
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(ServerContext(prepare(app), QUIET, loop)))
    transport.feed(data)
    return transport


async def test_many_small_pieces_are_few_writes() -> None:
    class Pieces(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b"x" * 100)
                await self.wfile.drain()

    transport = await asked(Pieces)
    await until(lambda: transport.output.endswith(b"0\r\n\r\n"))
    [found] = finals(bytes(transport.output))
    assert found.body == b"x" * 100_000
    assert transport.output.count(b"\r\n64\r\n") == 1000  # 100 bytes: each piece is a chunk of its own, as before
    assert transport.writes < 50


async def test_what_is_held_leaves_before_a_handler_goes_on_waiting() -> None:
    gate = asyncio.Event()

    class Waits(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for piece in (b"one", b"two", b"three"):
                self.wfile.write(piece)
                await self.wfile.drain()
            await gate.wait()

    transport = await asked(Waits)
    await until(lambda: b"three" in transport.output)
    assert b"0\r\n\r\n" not in transport.output
    gate.set()
    await until(lambda: transport.output.endswith(b"0\r\n\r\n"))


async def test_a_broken_response_has_what_was_drained(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for piece in (b"one", b"two"):
                self.wfile.write(piece)
                await self.wfile.drain()
            raise RuntimeError("broken")

    transport = await asked(Breaks)
    await transport.closed.wait()
    assert b"one" in transport.output
    assert b"two" in transport.output
    assert "broken" in caplog.text
    caplog.clear()


async def test_a_file_comes_after_what_is_held(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)

    class Mixed(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for piece in (b"a" * 10, b"b" * 10):
                self.wfile.write(piece)
                await self.wfile.drain()
            with (tmp_path / "file").open("rb") as file:
                await self.wfile.sendfile(file)
            self.wfile.write(b"end")
            await self.wfile.drain()

    async with aiohttpd.HTTPServer(("127.0.0.1", 0), Mixed, config=QUIET) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
        writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        [found] = finals(await reader.read())
        writer.close()
    assert found.body == b"a" * 10 + b"b" * 10 + content + b"end"


@on_both_loops
async def test_who_writes_too_much_gets_the_error() -> None:
    """Not the callback that sends what was held back: nobody could tell which handler has to be corrected."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(bytes(8 * MIB))
        others = [asyncio.create_task(response.drain())]
        try:
            for _ in range(100):
                await asyncio.sleep(0)
                others.append(asyncio.create_task(response.drain()))
                await asyncio.sleep(0)
                for _ in range(16):
                    response.write(bytes(1024))
                    response.flush()
            ended.set_result("nothing")
        except WriteBufferFull as error:
            ended.set_result(str(error))
        finally:
            assert {type(error) for error in await asyncio.gather(*others, return_exceptions=True)} == {
                ClientDisconnected
            }

    async with running(app, limit_unsent=100_000) as server, joined(server, window=8192) as peer:
        await peer.send(GET)
        assert "more than 100000 bytes" in await ended
