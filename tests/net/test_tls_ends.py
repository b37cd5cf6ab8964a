"""How TLS ends: in the middle of a handshake, right behind a request, and with a client that does not read."""

import asyncio
import contextlib
import logging
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trustme

from aiohttpd import BaseHTTPRequestHandler, HTTPServer
from aiohttpd.testing import running

from ..support.loops import kernel_keeps, on_both_loops
from ..support.waiting import until
from ..support.wire import finals

VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
GET = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n"
PREAMBLE = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
PATIENCE = 10.0  # seconds of a client


class FlightClient:
    """A client that blocks, and has each flight of TLS in its hands."""

    def __init__(self, server: HTTPServer, trust: ssl.SSLContext, *, window: int | None = None) -> None:
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = trust.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost")
        self.sock = socket.socket()
        if window is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(server.server_address)

    def hello(self) -> bytes:
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing.read()

    def shake_hands(self) -> None:
        """All but the last flight is sent."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self.incoming.write(self.sock.recv(65536))
            else:
                return

    def flush(self) -> None:
        self.sock.sendall(self.outgoing.read())

    def end(self) -> None:
        """Close our side of TLS: close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.unwrap()

    def rest(self) -> bytes:
        """All that comes, decrypted; raises if TLS was not ended by the server."""
        while data := self.sock.recv(65536):
            self.incoming.write(data)
        self.incoming.write_eof()
        content = bytearray()
        while True:
            try:
                data = self.tls.read(65536)
            except ssl.SSLZeroReturnError:
                break
            if not data:
                break
            content += data
        return bytes(content)

    def close(self, *, reset: bool = False) -> None:
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class EchoHandler(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        if self.path == "/wait":
            await asyncio.sleep(0.02)
        self.send_text("x" * 1_000_000 if self.path == "/large" else "hello")

    async def do_POST(self) -> None:
        self.send_text(str(len(await self.rfile.read())))


# Broken handshakes.


def leave(client: FlightClient, reset: bool) -> None:
    client.sock.sendall(client.hello())
    client.close(reset=reset)


def half(client: FlightClient, reset: bool) -> None:
    client.sock.sendall(client.hello()[:60])
    client.close(reset=reset)


def wait_for_end(client: FlightClient, reset: bool) -> None:
    client.sock.sendall(client.hello())
    client.sock.recv(1)
    client.close(reset=reset)


def garbage(client: FlightClient, reset: bool) -> None:
    client.sock.sendall(b"\x16\x03\x01\x02\x00" + b"z" * 600)
    client.close(reset=reset)


def alert(client: FlightClient, reset: bool) -> None:
    client.sock.sendall(client.hello() + b"\x15\x03\x03\x00\x02\x02\x30")
    client.close(reset=reset)


def nothing(client: FlightClient, reset: bool) -> None:
    client.close(reset=reset)


def finished(client: FlightClient, reset: bool) -> None:
    client.shake_hands()
    client.flush()
    client.close(reset=reset)


def bad_record(client: FlightClient, reset: bool) -> None:
    client.shake_hands()
    client.sock.sendall(client.outgoing.read() + b"\x17\x03\x03\x00\x20" + b"z" * 32)
    client.close(reset=reset)


@pytest.mark.parametrize("preamble", [False, True], ids=["", "preamble"])
@VERSIONS
@on_both_loops
async def test_broken_handshakes_are_no_news(
    context: ssl.SSLContext,
    trust: ssl.SSLContext,
    preamble: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that goes at whatever moment leaves no traceback and no connection."""
    caplog.set_level(logging.WARNING)
    options: dict[str, Any] = {"trusted_proxies": "127.0.0.1", "proxy_protocol": True} if preamble else {}

    def probe(server: HTTPServer, way: Callable[[FlightClient, bool], None], reset: bool) -> None:
        client = FlightClient(server, trust)
        with contextlib.suppress(OSError):
            if preamble:
                client.sock.sendall(PREAMBLE)
            way(client, reset)

    async with running(EchoHandler, ssl=context, timeout_handshake=5, **options) as server:
        for way in (leave, half, wait_for_end, garbage, alert, nothing, finished, bad_record):
            for reset in (False, True):
                await asyncio.gather(*(asyncio.to_thread(probe, server, way, reset) for _ in range(4)))
        assert server._context is not None
        registry = server._context.registry
        await until(lambda: not registry.in_use)
    assert not caplog.records


# Requests, and the end right behind them.


@pytest.fixture(params=["with the handshake", "behind it", "later"])
def moment(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("fin", [False, True], ids=["close_notify", "and FIN"])
@pytest.mark.parametrize("path", ["/", "/wait", "/large"])
@VERSIONS
@on_both_loops
async def test_a_request_with_its_end_is_answered(
    context: ssl.SSLContext, trust: ssl.SSLContext, moment: str, path: str, fin: bool
) -> None:
    if fin and moment == "with the handshake":
        return  # uvloop has seen all of it before anybody is told that hands have been shaken

    def ask(server: HTTPServer) -> bytes:
        with contextlib.closing(FlightClient(server, trust)) as client:
            client.shake_hands()
            if moment != "with the handshake":
                client.flush()
            if moment == "later":
                connected.wait(PATIENCE)
            client.tls.write(GET % path.encode() * 2)
            client.end()
            client.flush()
            if fin:
                client.sock.shutdown(socket.SHUT_WR)
            return client.rest()

    connected = threading.Event()
    async with running(EchoHandler, ssl=context, timeout_linger=0.5) as server:
        asking = asyncio.create_task(asyncio.to_thread(ask, server))
        if moment == "later":
            await until(lambda: server.connections)
            connected.set()
        answers = finals(await asking)
        assert [answer.status for answer in answers] == [200, 200]
        assert all(len(answer.body) == (1_000_000 if path == "/large" else 5) for answer in answers)
        await until(lambda: not server.connections)


@pytest.mark.parametrize("path", ["/", "/wait"])
@VERSIONS
@on_both_loops
async def test_after_a_preamble_too(context: ssl.SSLContext, trust: ssl.SSLContext, path: str) -> None:
    def ask(server: HTTPServer) -> bytes:
        with contextlib.closing(FlightClient(server, trust)) as client:
            client.sock.sendall(PREAMBLE)
            client.shake_hands()
            client.flush()
            client.tls.write(GET % path.encode() * 2)
            client.end()
            client.flush()
            client.sock.shutdown(socket.SHUT_WR)
            return client.rest()

    more: dict[str, Any] = {"trusted_proxies": "127.0.0.1", "proxy_protocol": True}
    async with running(EchoHandler, ssl=context, timeout_linger=0.5, **more) as server:
        answers = finals(await asyncio.to_thread(ask, server))
        assert [answer.status for answer in answers] == [200, 200]
        await until(lambda: not server.connections)


@VERSIONS
@on_both_loops
async def test_an_end_within_a_body(context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    def ask(server: HTTPServer) -> bytes:
        with contextlib.closing(FlightClient(server, trust)) as client:
            client.shake_hands()
            client.tls.write(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf")
            client.end()
            client.flush()
            return client.rest()

    async with running(EchoHandler, ssl=context) as server:
        [answer] = finals(await asyncio.to_thread(ask, server))
        assert answer.status == 400
        await until(lambda: not server.connections)


@VERSIONS
@on_both_loops
async def test_an_end_without_a_request(context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """The server closes, too, at once."""

    def ask(server: HTTPServer) -> bytes:
        with contextlib.closing(FlightClient(server, trust)) as client:
            client.shake_hands()
            client.end()
            client.flush()
            return client.rest()

    async with running(EchoHandler, ssl=context, timeout_head=60, timeout_idle=60) as server:
        assert await asyncio.to_thread(ask, server) == b""
        await until(lambda: not server.connections)


async def test_a_context_with_an_object_of_its_own(ca: trustme.CA) -> None:
    """It is left as it is."""

    class Own(ssl.SSLObject):
        pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(context)
    context.sslobject_class = Own
    trust = ssl.create_default_context()
    ca.configure_trust(trust)

    async with running(EchoHandler, ssl=context) as server:
        reader, writer = await asyncio.open_connection(*server.server_address, ssl=trust, server_hostname="localhost")
        writer.write(GET % b"/")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.transport.abort()
    assert context.sslobject_class is Own


# Clients that do not read.


@VERSIONS
@on_both_loops
async def test_nothing_is_left_in_the_kernel(context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    class Large(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", 100 << 20)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(bytes(1 << 20))
                await self.wfile.drain()

    options = {"timeout_write": 0.3, "timeout_linger": 0.2, "timeout_idle": 0.3}
    async with running(Large, ssl=context, **options) as server:
        client = FlightClient(server, trust, window=4096)

        def ask() -> None:
            client.shake_hands()
            client.tls.write(GET % b"/")
            client.flush()
            client.sock.recv(1)

        await asyncio.to_thread(ask)
        await until(lambda: not server.connections, 20)
        assert not [size for size in kernel_keeps(server.server_port or 0) if size > 65536]
        client.close()


@VERSIONS
@on_both_loops
async def test_who_reads_slowly_gets_all(context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """The end of a connection is not cut since TLS takes longer to end than it lingers."""

    class Closing(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.close_connection = True
            self.send_text("x" * 2_000_000)

    def ask(server: HTTPServer) -> bytes:
        with contextlib.closing(FlightClient(server, trust, window=4096)) as client:
            client.shake_hands()
            client.tls.write(GET % b"/")
            client.flush()
            client.incoming.write(client.sock.recv(1))
            released.wait(PATIENCE)
            return client.rest()

    released = threading.Event()
    async with running(Closing, ssl=context, timeout_linger=0.05) as server:
        asking = asyncio.create_task(asyncio.to_thread(ask, server))
        await asyncio.sleep(0.5)  # several times as long as it lingers
        released.set()
        [answer] = finals(await asking)
        assert len(answer.body) == 2_000_000
        await until(lambda: not server.connections)
