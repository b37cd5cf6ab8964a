"""Load: more connections, requests, descriptors or time than there are."""

import asyncio
import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import aiohttpd
from aiohttpd.net.listener import Listener
from aiohttpd.testing import running

from ..support.loops import on_both_loops
from ..support.waiting import block_until, until
from ..support.wire import Echo, split

BOUND = 15.0  # seconds after which a test has failed, whatever it waits for
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Gate:
    """An App that waits until it is told to go on."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[None] = asyncio.Queue()
        self.go_on = asyncio.Event()

    async def __call__(self, request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
        if request.method == "POST":
            await request.body.read()
        if request.path != "/quick":
            self.begun.put_nowait(None)
            await self.go_on.wait()
        response.send_head(200)
        response.write(b"ok\n")


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def writers_to(server: aiohttpd.HTTPServer, count: int = 1) -> AsyncIterator[list[Stream]]:
    streams = [await asyncio.open_connection(*server.server_address) for _ in range(count)]
    try:
        yield streams
    finally:
        for _, writer in streams:
            writer.close()


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    [response] = split(head)
    await reader.readexactly(int(response["Content-Length"] or 0))
    return response.status, {name.lower(): value for name, value in response.fields}


class TestConnections:
    @staticmethod
    @on_both_loops
    async def test_one_too_many() -> None:
        async with running(Echo, max_connections=2, metrics="/metrics") as server, writers_to(server, 2) as streams:
            for reader, writer in streams:
                writer.write(GET)
                assert (await answer(reader))[0] == 200
            async with writers_to(server) as [(reader, writer)]:
                writer.write(GET)  # on its way, but nobody needs it
                status, fields = await answer(reader)
                assert (status, fields["retry-after"], fields["connection"]) == (503, "1", "close")
                assert await reader.read() == b""
            streams[0][1].close()
            await streams[0][1].wait_closed()
            await until(lambda: len(server.connections) == 1, BOUND)
            async with writers_to(server) as [(reader, writer)]:
                writer.write(GET)
                assert (await answer(reader))[0] == 200
            assert server.snapshot()["refusals"] == {"max_connections": 1}

    @staticmethod
    @on_both_loops
    async def test_who_is_turned_away_and_stays_is_cut() -> None:
        options = {"max_connections": 1, "timeout_linger": 0.05}
        async with running(Echo, **options) as server, writers_to(server) as [(reader, writer)]:
            writer.write(GET)
            await answer(reader)
            async with writers_to(server) as [(other, other_writer)]:
                assert (await answer(other))[0] == 503
                with pytest.raises(ConnectionError):
                    while True:  # until the server has gone, too
                        other_writer.write(b"x" * 1000)
                        await other_writer.drain()
                        await asyncio.sleep(0.01)

    async def test_shutdown_does_not_wait_for_them(self) -> None:
        async with running(Echo, max_connections=1, timeout_linger=3600.0) as server:
            async with writers_to(server) as [(reader, writer)]:
                writer.write(GET)
                await answer(reader)
                async with writers_to(server) as [(other, _)]:
                    assert (await answer(other))[0] == 503
                    async with asyncio.timeout(BOUND):
                        await server.shutdown()
                    assert server._context is not None
                    assert not server._context.registry.turned_away or await other.read() == b""


class TestInFlight:
    @staticmethod
    @on_both_loops
    async def test_one_too_many() -> None:
        gate = Gate()
        options = {"max_in_flight": 2, "metrics": "/metrics", "health": "/health"}
        async with running(gate, **options) as server, writers_to(server, 3) as streams:
            for _, writer in streams[:2]:
                writer.write(GET)
                await gate.begun.get()
            reader, writer = streams[2]
            writer.write(GET)
            status, fields = await answer(reader)
            assert (status, fields["retry-after"], fields.get("connection")) == (503, "1", None)
            writer.write(GET.replace(b" / ", b" /health "))  # which is not the App's
            assert (await answer(reader))[0] == 200
            gate.go_on.set()
            for other, _ in streams[:2]:
                assert (await answer(other))[0] == 200
            writer.write(GET)
            assert (await answer(reader))[0] == 200
            assert server.snapshot()["refusals"] == {"max_in_flight": 1}

    async def test_all_at_once(self) -> None:
        """What has arrived in one turn of the loop is counted one by one, on Python 3.11 too."""
        gate = Gate()
        async with running(gate, max_in_flight=2) as server, writers_to(server, 6) as streams:
            for _, writer in streams:
                writer.write(GET)
            for _ in range(2):
                await gate.begun.get()
            gate.go_on.set()
            found = [(await answer(reader))[0] for reader, _ in streams]
            assert found.count(200) >= 2
            assert set(found) <= {200, 503}

    async def test_a_handler_that_fails_leaves_its_place(self) -> None:
        async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
            raise aiohttpd.HTTPError(404)

        async with running(app, max_in_flight=1) as server, writers_to(server) as [(reader, writer)]:
            for _ in range(3):
                writer.write(GET)
                assert (await answer(reader))[0] == 404


class TestHandlerDeadline:
    @staticmethod
    @on_both_loops
    async def test_a_handler_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
        gate = Gate()
        async with running(gate, timeout_handler=0.1) as server, writers_to(server) as [(reader, writer)]:
            writer.write(GET)
            status, fields = await answer(reader)
            assert (status, fields["connection"]) == (503, "close")
            assert await reader.read() == b""
        [record] = caplog.records
        assert record.getMessage() == "unhandled exception in 'GET / HTTP/1.1'"
        assert "await self.go_on.wait()" in caplog.text  # what it waited for
        assert "no answer was begun within timeout_handler" in caplog.text
        caplog.clear()

    @staticmethod
    @on_both_loops
    async def test_an_answer_that_has_begun_may_take_its_time() -> None:
        gate = Gate()

        async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
            response.send_head(200)
            await response.drain()
            gate.begun.put_nowait(None)
            await gate.go_on.wait()
            response.write(b"end")

        async with running(app, timeout_handler=0.5) as server, writers_to(server) as [(reader, writer)]:
            writer.write(GET)
            await gate.begun.get()
            assert server._context is not None
            await until(lambda: not server._context.timeouts.handler, BOUND)  # it has fallen due
            gate.go_on.set()
            assert b"end" in await reader.readuntil(b"0\r\n\r\n")

    @staticmethod
    @on_both_loops
    async def test_a_client_that_sends_slowly_is_not_the_handler_s_fault() -> None:
        gate = Gate()
        gate.go_on.set()
        async with running(gate, timeout_handler=0.1) as server, writers_to(server) as [(reader, writer)]:
            writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n")
            for _ in range(8):
                await asyncio.sleep(0.05)
                writer.write(b"x")
            assert (await answer(reader))[0] == 200

    @staticmethod
    @on_both_loops
    async def test_it_ends_with_the_request() -> None:
        async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
            await asyncio.sleep(0)
            response.send_head(200)

        async with running(app, timeout_handler=5.0) as server, writers_to(server) as [(reader, writer)]:
            assert server._context is not None
            for data in (GET, GET * 3):
                writer.write(data)
                for _ in range(data.count(GET)):
                    assert (await answer(reader))[0] == 200
                assert server._context.timeouts.handler == {}
                assert len(server._context.timeouts.idle) == 1  # what it waits for now

    @staticmethod
    @on_both_loops
    async def test_a_handler_whose_client_has_gone(caplog: pytest.LogCaptureFixture) -> None:
        gate = Gate()
        async with running(gate, timeout_handler=0.2) as server:
            async with writers_to(server) as [(_, writer)]:
                writer.write(GET)
                await gate.begun.get()
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
                writer.transport.abort()
            await until(lambda: not server.in_flight, BOUND)
        assert "no answer was begun within timeout_handler" in caplog.text
        caplog.clear()


SERVER = """
import asyncio, logging, resource, sys
import aiohttpd, uvloop
logging.basicConfig()

async def app(request, response):
    response.send_head(200)

async def main():
    async with aiohttpd.HTTPServer(("127.0.0.1", 0), app) as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        print(server.server_port, flush=True)
        await server.serve_forever()

loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
asyncio.Runner(loop_factory=loops[sys.argv[1]]).run(main())
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors by /proc")
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_no_descriptors_left(loop: str, tmp_path: Path) -> None:
    """The server goes on when there are some again, and does not fill a disk with tracebacks until then."""
    errors = tmp_path / "errors"
    with errors.open("w") as log:
        process = subprocess.Popen([sys.executable, "-c", SERVER, loop], stdout=subprocess.PIPE, stderr=log, text=True)
    clients = []

    def connect() -> socket.socket:
        client = socket.create_connection(("127.0.0.1", port), timeout=BOUND)
        client.sendall(GET)
        return client

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{process.pid}/fd"))

    try:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        clients = [connect() for _ in range(48)]
        assert clients[0].recv(1000).startswith(b"HTTP/1.1 200 ")
        if loop == "uvloop":
            with contextlib.suppress(ConnectionResetError):
                assert clients[-1].recv(1000) == b""  # libuv closes what it cannot take
        else:
            clients[-1].settimeout(0.1)
            with pytest.raises(TimeoutError):
                clients[-1].recv(1000)  # it waits
            clients[-1].settimeout(BOUND)
        assert descriptors() >= 31
        for client in clients[:-1]:
            client.close()
        if loop == "asyncio":
            assert clients[-1].recv(1000).startswith(b"HTTP/1.1 200 ")
        block_until(lambda: descriptors() <= 24)  # the server has seen that they are gone
        clients.append(connect())
        assert clients[-1].recv(1000).startswith(b"HTTP/1.1 200 ")
        assert errors.read_text().count("Traceback") == 0
    finally:
        process.kill()
        process.communicate()
        for client in clients:
            client.close()


def test_accept_without_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(sock: socket.socket) -> tuple[socket.socket, object]:
        raise OSError(24, "Too many open files")

    errors: list[OSError] = []
    with socket.create_server(("127.0.0.1", 0)) as sock, Listener(sock, errors.append) as listener:
        with pytest.raises(BlockingIOError):
            listener.accept()
        assert errors == []
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", exhausted)
            with pytest.raises(BlockingIOError):
                listener.accept()
        assert [error.strerror for error in errors] == ["Too many open files"]
        with socket.create_connection(sock.getsockname()) as client:
            listener.setblocking(True)
            accepted, address = listener.accept()
            accepted.close()
            assert address == client.getsockname()
