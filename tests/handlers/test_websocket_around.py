"""What is around a WebSocket: the record, metrics, the report, layers, proxies, and the program without the library."""

import asyncio
import contextvars
import io
import subprocess
import sys

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, Config, ConnectionClosed, HTTPServer, WebSocket
from aiohttpd.compression import compress
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare
from aiohttpd.server.access_log import AccessLog
from aiohttpd.server.stacks import report
from aiohttpd.testing import MemoryTransport, running

from ..support.clients import connected, get
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.websocket_clients import (
    DEFLATE,
    FIELDS,
    TEXT,
    Sockets,
    close_frame,
    dial,
    echo,
    frame,
    never,
    opening,
    raw_socket,
    wait_for_end,
)

# Who looks.


async def test_the_line_of_the_log() -> None:
    """Status 101, the bytes of the messages that were sent, and how long it was open."""
    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop(), "{status} {bytes} {milliseconds}")
    server = HTTPServer(("127.0.0.1", 0), Sockets(echo).handler, access_log=log, config=Config(timeout_drain_idle=0))
    async with server, dial(server) as client:
        for message in ("x" * 1000, b"y" * 500):
            await client.send(message)
            await client.recv()
        await asyncio.sleep(0.02)
        assert not stream.getvalue()
    log.flush()
    [line] = stream.getvalue().splitlines()
    status, size, milliseconds = line.split()
    assert (status, size) == ("101", "1500")
    assert float(milliseconds) >= 20


async def test_metrics_and_the_report() -> None:
    sockets = Sockets(echo)
    async with running(sockets.handler, metrics="/metrics") as server:
        async with dial(server) as client, raw_socket(server):
            await client.send("hello")
            await client.recv()
            snapshot = server.snapshot()
            assert snapshot["websockets"] == 2
            assert snapshot["websocket_messages"] == {"received": 1, "sent": 1}
            assert snapshot["connections"]["upgraded"] == 2
            async with connected(server) as other:
                page = (await other.ask("/metrics")).body.decode()
            assert "\naiohttpd_websockets 2\n" in page
            assert '\naiohttpd_websocket_messages_total{direction="received"} 1\n' in page
            text = report(server)
            assert "UPGRADED GET / HTTP/1.1" in text
            assert "WebSocket, open, 1 received, 1 sent" in text
            assert "socket.send(message)" in text or "async for message in socket" in text  # where the handler waits
        await until(lambda: len(sockets.ends) == 2)
        assert server.snapshot()["websockets"] == 0
        assert server.snapshot()["requests"]["GET 101"] == 2


async def test_the_report_tells_of_a_slow_handler() -> None:
    sockets = Sockets(never)
    async with running(sockets.handler, timeout_grace=0) as server, raw_socket(server) as client:
        await client.send(frame(TEXT, b"a"), frame(TEXT, b"b"))
        await until(lambda: sockets.opened and sockets.last.received == 2)
        assert "2 wait for the handler" in report(server)


async def test_no_deadline_of_handlers_and_no_idle_one() -> None:
    sockets = Sockets(echo)
    async with running(sockets.handler, timeout_handler=0.05, timeout_idle=0.05, timeout_head=0.05) as server:
        async with raw_socket(server) as client:
            await asyncio.sleep(0.3)
            await client.send(frame(TEXT, b"still here"))
            assert await client.message() == b"still here"


async def test_requests_in_flight_are_counted() -> None:
    async with running(Sockets(echo).handler, max_in_flight=1) as server:
        async with raw_socket(server), connected(server) as client:
            await client.send(opening())
            assert (await client.answer()).status == 503


# Layers.


async def test_compression_of_answers_is_something_else() -> None:
    async with running(compress(Sockets(echo).handler)) as server:
        async with raw_socket(server, "Accept-Encoding: gzip") as client:
            await client.send(frame(TEXT, b"x" * 10_000))
            assert await client.message() == b"x" * 10_000
        async with connected(server) as client:
            await client.send(get("/", "Accept-Encoding: gzip"))
            answer = await client.answer()
            assert (answer.status, answer["Upgrade"]) == (426, "websocket")


async def test_hooks_and_context_variables() -> None:
    calls: list[str] = []
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    class Handler(BaseHTTPRequestHandler):
        async def setup(self) -> None:
            variable.set("set")
            calls.append("setup")

        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                await socket.send(variable.get())
                await socket.wait_closed()

        async def finish(self) -> None:
            calls.append("finish")

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            calls.append(f"{code} {size}")

    async with running(Handler) as server:
        async with dial(server) as client:
            assert await client.recv() == "set"
        await until(lambda: len(calls) == 3)
    assert calls == ["setup", "finish", "101 3"]


# Proxies that are trusted.


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://site.example", 101),
        ("http://site.example", 403),
        ("https://site.example:8443", 403),
        ("https://localhost", 403),
        ("https://evil.example", 403),
    ],
)
async def test_the_origin_is_that_of_the_proxy(origin: str, status: int) -> None:
    """TLS ends there: scheme and host are those that the client has asked the proxy for."""
    forwarded = ("X-Forwarded-Proto: https", "X-Forwarded-Host: site.example", "X-Forwarded-For: 192.0.2.1")
    async with running(Sockets(echo).handler, trusted_proxies="127.0.0.1") as server, connected(server) as client:
        await client.send(opening(*forwarded, f"Origin: {origin}"))
        assert (await client.answer()).status == status


async def test_who_is_no_proxy_is_not_believed() -> None:
    async with running(Sockets(echo).handler) as server, connected(server) as client:
        await client.send(opening("X-Forwarded-Host: evil.example", "Origin: http://evil.example"))
        assert (await client.answer()).status == 403


# Bodies, and what follows.


async def test_a_handshake_after_another_request() -> None:
    class Handler(Sockets(echo).handler):  # type: ignore[misc]
        async def do_POST(self) -> None:
            self.send_text(await self.text())

    async with running(Handler) as server, connected(server) as client:
        await client.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" + opening() + frame(TEXT, b"a")
        )
        assert (await client.answer()).body == b"body"
        assert (await client.answer()).status == 101
        assert await client.reader.readexactly(3) == b"\x81\x01a"


async def test_a_handler_that_goes_on_after_the_end() -> None:
    """The connection has gone by then; the block has been left, and the handler may take its time."""
    released, ended = asyncio.Event(), asyncio.Event()

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                async for _ in socket:
                    pass
            await released.wait()
            ended.set()

    async with running(Handler) as server:
        async with raw_socket(server) as client:
            await client.send(close_frame(1000))
            await client.closed()
            assert await client.client.rest() == b""
        await until(lambda: not server.connections)
        assert server.in_flight == 1
        released.set()
        await ended.wait()


async def test_compressed_messages() -> None:
    """Both directions keep their context: the second of two messages is shorter than the first."""
    sockets = Sockets(echo)
    async with running(sockets.handler) as server, raw_socket(server, DEFLATE) as client, dial(server) as library:
        await client.send(frame(TEXT, b"not compressed"))
        first = await client.frame()
        await client.send(frame(TEXT, b"not compressed"))
        second = await client.frame()
        assert first[0] == second[0] == 0xC1
        assert len(second[1]) < len(first[1])
        for size in (1, 2043, 2044, 2045, 100_000, 1_000_000):
            await library.send("ab" * size)
            assert await library.recv() == "ab" * size
        assert sockets.last.size == sum(2 * size for size in (1, 2043, 2044, 2045, 100_000, 1_000_000))


# The library.


def test_without_the_library() -> None:
    """The server says what to install; nothing else needs it."""
    code = """
import sys, asyncio

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "websockets":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import aiohttpd
from aiohttpd.testing import exchange

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        async with self.websocket():
            pass

request = "\\r\\n".join(["GET / HTTP/1.1", "Host: a", *FIELDS, "", ""]).encode()
print(asyncio.run(exchange(Handler, request, config=aiohttpd.Config(access_log=False)))[:12])
"""
    code = code.replace("FIELDS", repr(FIELDS))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "b'HTTP/1.1 500'\n"
    assert "pip install 'aiohttpd[websocket]'" in done.stderr


def test_what_is_public() -> None:
    error = aiohttpd.ConnectionClosed(1001, "why", by_client=True)
    assert isinstance(error, aiohttpd.ClientDisconnected)
    assert str(error) == "the WebSocket was closed by the client: 1001 why"


async def test_reports_of_an_end() -> None:
    """A handler is told the code whichever way it asks."""
    sockets = Sockets(wait_for_end)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        assert sockets.last.closed is None
        await client.send(close_frame(3000, "over"))
        await until(lambda: sockets.ends)
    for call in (sockets.last.receive, lambda: sockets.last.send("a"), sockets.last.ping):
        with pytest.raises(aiohttpd.ConnectionClosed) as caught:
            await call()
        assert (caught.value.code, caught.value.reason) == (3000, "over")
    await sockets.last.wait_closed()
    await sockets.last.close()


@on_both_loops
async def test_a_handler_that_returns_without_the_end_of_its_block() -> None:
    """The connection is closed, and the keep-alive does not write to it, however long the client takes to notice."""
    opened: list[WebSocket] = []

    class Returns(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            opened.append(await self.websocket().__aenter__())

    async with running(Returns, websocket_ping_interval=0.05, websocket_ping_timeout=0.05) as server:
        async with raw_socket(server) as client:
            assert await client.client.rest() == b""
            await until(lambda: opened[0].closed)
            with pytest.raises(ConnectionClosed):
                await opened[0].send("a")


# The end of the server, while a handler has not opened its WebSocket yet.


@pytest.mark.parametrize("end", ["the server drains", "the client is gone"])
async def test_a_websocket_that_opens_at_the_end(end: str) -> None:
    begin, ends = asyncio.Event(), list[int]()

    class Late(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            await begin.wait()
            async with self.websocket() as socket:
                with pytest.raises(ConnectionClosed) as caught:
                    await socket.receive()
                ends.append(caught.value.code)

    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(Late), Config(access_log=False), loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    transport.feed(opening())
    if end == "the server drains":
        context.drain()
    else:
        transport.close()
        await transport.closed.wait()
    begin.set()
    if end == "the server drains":
        await until(lambda: transport.output.endswith(b"\r\n\r\n\x88\x02\x03\xe9"))  # Close, 1001 (going away)
        assert transport.output.startswith(b"HTTP/1.1 101 ")
        transport.feed(close_frame(1001))
    await until(lambda: bool(ends))
    if end == "the server drains":
        assert ends == [1001]
        transport.close()
        await transport.closed.wait()
    else:
        assert ends == [1006]
    context.close()
