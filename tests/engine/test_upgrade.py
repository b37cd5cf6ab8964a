"""A change of protocol: what `upgrade` of a handler gives, what it refuses, and the bounds of what waits."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme

from aiohttpd import (
    BaseHTTPRequestHandler,
    ClientDisconnected,
    ConnectionClosed,
    ContractError,
    HTTPServer,
    WriteBufferFull,
)
from aiohttpd.server.stacks import report
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, answer_to
from ..support.clients import MIB, connected, ended, expect_logged, get, head, shutting_down
from ..support.loops import joined, on_both_loops
from ..support.waiting import until
from ..support.websocket_clients import TEXT, frame, opening

FIELDS = ("Connection: Upgrade", "Upgrade: echo")
ASKS = get("/", *FIELDS)

Body = Callable[[asyncio.StreamReader, Any], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: Any) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class Upgrading:
    """A handler class that changes the protocol and runs a body, and what became of that."""

    def __init__(self, body: Body = echo, protocol: str = "echo") -> None:
        self.ends: list[BaseException | None] = []
        upgrading = self

        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                await self.serve_as(protocol)

            async def do_CONNECT(self) -> None:
                await self.serve_as(None)

            async def serve_as(self, name: str | None) -> None:
                reader, writer = await self.upgrade(name, headers={"X-More": "1"})
                try:
                    await body(reader, writer)
                except BaseException as error:
                    upgrading.ends.append(error)
                    raise
                upgrading.ends.append(None)

        self.handler = Handler


# What it gives.


@on_both_loops
@pytest.mark.parametrize("request_", [ASKS, head("CONNECT", "localhost:80")], ids=["GET", "CONNECT"])
async def test_bytes_both_ways(request_: bytes) -> None:
    upgrading = Upgrading()
    async with running(upgrading.handler) as server, connected(server) as client:
        await client.send(request_ + b"with the head")
        answer = await client.reader.readuntil(b"\r\n\r\n")
        lines = answer.split(b"\r\n")
        connect = request_.startswith(b"CONNECT")
        assert lines[0] == (b"HTTP/1.1 200 OK" if connect else b"HTTP/1.1 101 Switching Protocols")
        assert (b"Connection: Upgrade" in lines and b"Upgrade: echo" in lines) is not connect
        assert b"X-More: 1" in lines
        assert not any(line.lower().startswith((b"content-length", b"transfer-encoding")) for line in lines)
        assert await client.reader.readexactly(13) == b"with the head"
        for size in (1, 1000, MIB):
            data = bytes(range(256)) * (size // 256 + 1)
            _, found = await asyncio.gather(client.send(data), client.reader.readexactly(len(data)))
            assert found == data
        client.send_eof()
        assert await client.rest() == b""
        await until(lambda: upgrading.ends)


@on_both_loops
async def test_tls(authority: trustme.CA) -> None:
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(certificate)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with running(Upgrading().handler, ssl=certificate) as server, connected(server, tls=trusting) as client:
        await client.send(ASKS + b"hello")
        assert (await client.answer()).status == 101
        assert await client.reader.readexactly(5) == b"hello"


@on_both_loops
async def test_our_side_closes_and_theirs_goes_on() -> None:
    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        assert writer.can_write_eof()
        assert writer.get_extra_info("peername")[0] == "127.0.0.1"
        writer.writelines([b"go", b" on"])
        writer.write_eof()
        assert writer.is_closing()
        with pytest.raises(ContractError):
            writer.write(b"more")
        assert await reader.readline() == b"and more\n"
        assert await reader.readexactly(3) == b"end"

    upgrading = Upgrading(body)
    async with running(upgrading.handler) as server, connected(server) as client:
        await client.send(ASKS)
        await client.answer()
        assert await client.rest() == b"go on"
        await client.send(b"and more\nend")
        await until(lambda: upgrading.ends)
    assert upgrading.ends == [None]


@on_both_loops
async def test_close_and_abort() -> None:
    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        if await reader.readexactly(1) == b"c":
            writer.write(b"x" * MIB)
            writer.close()
        else:
            writer.abort()
        await writer.wait_closed()
        with pytest.raises(ClientDisconnected):
            await writer.drain()

    upgrading = Upgrading(body)
    async with running(upgrading.handler, timeout_linger=5) as server:
        async with connected(server) as client:
            await client.send(ASKS + b"c" + b"never read" * 1000)
            await client.answer()
            assert len(await client.rest()) == MIB  # nothing of it is lost by what has not been read
        async with connected(server) as client:
            await client.send(ASKS + b"a")
            await client.answer()
            assert await ended(client)
        await until(lambda: len(upgrading.ends) == 2)
    assert upgrading.ends == [None, None]


@pytest.mark.parametrize("gone", ["close", "reset"])
async def test_the_client_goes(gone: str) -> None:
    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0)

    upgrading = Upgrading(body)
    async with running(upgrading.handler) as server:
        async with connected(server) as client:
            await client.send(ASKS)
            await client.answer()
            getattr(client, gone)()
        await until(lambda: upgrading.ends)
    assert isinstance(upgrading.ends[0], ClientDisconnected)  # and nothing has been logged


async def test_a_reader_that_waits_is_told() -> None:
    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        await reader.read(1)

    upgrading = Upgrading(body)
    async with running(upgrading.handler) as server, connected(server) as client:
        await client.send(ASKS)
        await client.answer()
        client.reset()
        await until(lambda: upgrading.ends)
    assert isinstance(upgrading.ends[0], ClientDisconnected)


async def test_a_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The end must not look like a regular one."""

    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        raise LookupError("not there")

    async with running(Upgrading(body).handler) as server, connected(server) as client:
        await client.send(ASKS)
        await client.answer()
        with pytest.raises(ConnectionResetError):
            await client.rest()
    expect_logged(caplog, "not there")


async def test_one_that_returns_at_once() -> None:
    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        writer.write(b"done")

    stream = await exchange(Upgrading(body).handler, ASKS + ASKS, config=QUIET)
    assert stream.endswith(b"\r\n\r\ndone")
    assert stream.count(b"HTTP/1.1") == 1  # what follows is no request


# What is refused.


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(), 426),
        (get("/", "Upgrade: echo"), 426),
        (get("/", "Connection: Upgrade"), 426),
        (get("/", "Connection: Upgrade", "Upgrade: other, echo2"), 426),
        (get("/", *FIELDS, version="1.0"), 426),
        (head("HEAD", "/", *FIELDS), 426),
        (get("/", *FIELDS, "Content-Length: 4") + b"body", 400),
        (get("/", *FIELDS, "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
        (head("CONNECT", "localhost:80", "Content-Length: 4") + b"body", 400),
    ],
)
async def test_refused(request_: bytes, status: int) -> None:
    answer = await answer_to(Upgrading().handler, request_)
    assert answer.status == status
    if status == 426:
        assert answer["Upgrade"] == "echo"


@pytest.mark.parametrize("offered", ["echo", "ECHO", "h2c, echo", "a/1,\techo ,b"])
async def test_offered(offered: str) -> None:
    stream = await exchange(Upgrading().handler, get("/", "Connection: upgrade", f"Upgrade: {offered}"), config=QUIET)
    assert stream.startswith(b"HTTP/1.1 101 ")


async def test_wrong_calls(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            if self.path == "/begun":
                self.send_text("begun")
            await self.upgrade(None if self.path == "/none" else "echo", headers=[("Content-Length", "1")])

        async def do_CONNECT(self) -> None:
            await self.upgrade("echo")

    for request, text in (
        (get("/begun", *FIELDS), "has been begun"),
        (get("/none", *FIELDS), "which protocol"),
        (get("/", *FIELDS), "leave out Content-Length"),
        (head("CONNECT", "localhost:80"), "CONNECT has no protocol"),
    ):
        answer = await answer_to(Handler, request)
        assert answer.status == 500
        expect_logged(caplog, text)


# Bounds.


@on_both_loops
async def test_a_slow_handler_slows_the_client_down() -> None:
    """At most 64 KiB wait, and what one read of the loop brings; the rest is the network's."""
    go = asyncio.Event()
    readers: list[Any] = []
    size = 0

    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        nonlocal size
        readers.append(reader)
        await go.wait()
        while data := await reader.read(65536):
            size += len(data)

    upgrading = Upgrading(body)
    async with running(upgrading.handler) as server, connected(server) as client:
        await client.send(ASKS)
        await client.answer()
        client.writer.write(b"x" * 16 * MIB)
        await until(lambda: len(readers[0]._buffer) > 64 * 1024)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(readers[0]._buffer) <= 64 * 1024 + 256 * 1024
        go.set()
        client.send_eof()
        assert await client.rest() == b""
    assert size == 16 * MIB


@on_both_loops
async def test_much_that_follows_the_request_at_once() -> None:
    async with running(Upgrading().handler) as server, connected(server) as client:
        client.writer.write(ASKS + b"x" * 4 * MIB)
        assert (await client.answer()).status == 101
        assert await client.reader.readexactly(4 * MIB) == b"x" * 4 * MIB


@on_both_loops
async def test_a_client_that_never_reads() -> None:
    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    upgrading = Upgrading(body)
    async with running(upgrading.handler, timeout_write=0.5) as server, joined(server, window=4096) as client:
        await client.send(ASKS)
        await until(lambda: upgrading.ends)
    assert isinstance(upgrading.ends[0], ClientDisconnected)


async def test_who_does_not_drain(caplog: pytest.LogCaptureFixture) -> None:
    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        for _ in range(1000):
            writer.write(b"x" * 65536)

    upgrading = Upgrading(body)
    async with running(upgrading.handler, limit_unsent=MIB) as server, joined(server, window=4096) as client:
        await client.send(ASKS)
        await until(lambda: upgrading.ends)
        [error] = upgrading.ends
        assert isinstance(error, WriteBufferFull)
    expect_logged(caplog, "drain")


# Beside it.


async def test_a_tunnel_to_another_server() -> None:
    """A proxy in a few lines: what CONNECT is for."""

    class Proxy(BaseHTTPRequestHandler):
        async def do_CONNECT(self) -> None:
            host, _, port = self.path.rpartition(":")
            there_reader, there = await asyncio.open_connection(host, int(port))
            reader, writer = await self.upgrade()
            async with asyncio.TaskGroup() as group:
                group.create_task(self.pump(reader, there))
                group.create_task(self.pump(there_reader, writer))
            there.close()

        async def pump(self, source: asyncio.StreamReader, target: Any) -> None:
            while data := await source.read(65536):
                target.write(data)
                await target.drain()
            target.write_eof()

    class Target(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_text("through")

    async with running(Target) as target, running(Proxy) as proxy, connected(proxy) as client:
        await client.send(head("CONNECT", f"127.0.0.1:{target.server_port}"))
        await client.reader.readuntil(b"\r\n\r\n")
        await client.send(get())
        assert (await client.answer()).body == b"through"
        client.send_eof()
        assert await client.rest() == b""


async def test_who_looks_sees_it(capfd: pytest.CaptureFixture[str]) -> None:
    records: list[tuple[int, int]] = []

    class Log:
        def answered(self, request: Any, answer: Any, started: float) -> None:
            records.append((answer.status, answer.size))

        def refused(self, *_: Any) -> None: ...

        def message(self, *_: Any) -> None: ...

    upgrading = Upgrading()
    server = HTTPServer(("127.0.0.1", 0), upgrading.handler, access_log=Log())
    async with server, connected(server) as client:
        await client.send(ASKS + b"hello")
        await client.answer()
        await client.reader.readexactly(5)
        assert "UPGRADED GET / HTTP/1.1" in report(server)
        assert "5 bytes sent" in report(server)
        client.send_eof()
        await client.rest()
        await until(lambda: records)
    assert records == [(101, 5)]


async def test_the_end_of_the_server() -> None:
    """The handler has the grace to end by itself; idle streams do not keep a server from its end."""

    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        await reader.read(1)

    upgrading = Upgrading(body)
    async with running(upgrading.handler, timeout_linger=0.1) as server, connected(server) as client:
        await client.send(ASKS)
        await client.answer()
        async with shutting_down(server, 5):
            await client.send(b"x")
            await until(lambda: upgrading.ends)
    assert upgrading.ends == [None]


async def test_sockets_of_the_kernel() -> None:
    """``get_extra_info`` has what asyncio's transports have."""
    found: list[Any] = []

    async def body(reader: asyncio.StreamReader, writer: Any) -> None:
        found.append(writer.get_extra_info("socket").family)
        found.append(writer.get_extra_info("nothing", 17))

    async with running(Upgrading(body).handler) as server, connected(server) as client:
        await client.send(ASKS)
        await client.answer()
        await client.rest()
    assert found == [socket.AF_INET, 17]


@on_both_loops
async def test_a_client_that_disconnects_before_the_upgrade() -> None:
    """The handler learns it, nothing is logged, and its task does not stay in the list of those that still run."""
    found: list[Any] = []

    class Late(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            await until(self.wfile.is_closing)
            try:
                if self.path == "/socket":
                    async with self.websocket() as messages:
                        while True:
                            found.append(await messages.receive())
                reader, writer = await self.upgrade("echo")
                writer.write_eof()
                await reader.read()
            except (ClientDisconnected, ConnectionClosed) as error:
                found.append(type(error))
                raise

    opened = opening(path="/socket")
    async with running(Late) as server:
        for data in (ASKS + b"a", opened, opened + frame(TEXT, b"b"), opened + frame(TEXT, b"c", masked=False)):
            async with joined(server) as peer:
                await peer.send(data)
                await until(lambda: server.in_flight)
                peer.reset()
            await until(lambda: not server.in_flight)
        assert found == [ClientDisconnected, ConnectionClosed, "b", ConnectionClosed, ConnectionClosed]
        assert not server.orphans
