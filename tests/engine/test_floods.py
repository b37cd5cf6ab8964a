"""Floods from one client: what waits for it is bounded, and so is the work of one callback."""

import asyncio
import contextlib
import socket
import tracemalloc
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, Config, Request, StreamReader, StreamWriter
from aiohttpd.engine.connection import ConnectionState, HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.errors import WireError
from aiohttpd.testing import MemoryTransport, running
from aiohttpd.wire.body import ChunkedDecoder
from aiohttpd.wire.headers import Headers
from aiohttpd.wire.parser import RequestParser

from ..support.loops import joined, kernel_keeps, on_both_loops
from ..support.waiting import until
from ..support.wire import finals

KIB, MIB = 1024, 1024 * 1024
READ = 256 * KIB  # what the loops read at once
WAITS = 64 * KIB  # what may wait besides
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Turns:
    """An App that answers at once, or waits for a turn of the loop."""

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self.answered = 0

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        if self._waits:
            await asyncio.sleep(0)
        response.send_head(200)
        self.answered += 1


class Slow(MemoryTransport):
    """A transport whose client does not read, or reads when it is told to."""

    def stall(self, *, on: bool) -> None:
        assert self._protocol is not None
        (self._protocol.pause_writing if on else self._protocol.resume_writing)()


class TestPipelining:
    """The client sends whenever it is read from: what it is ahead of the answers is what waits."""

    @pytest.mark.parametrize("waits", [False, True])
    @pytest.mark.parametrize("read", [8 * KIB, READ])
    async def test_what_waits_is_bounded(self, waits: bool, read: int) -> None:
        app = Turns(waits=waits)
        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = Slow(loop)
        transport.connect(HTTPConnection(context))
        stream = GET * (read // len(GET) + 1)
        sent = ahead = 0
        for _ in range(3000):
            if transport.is_reading():
                transport.feed(stream)
                sent += len(stream)
            ahead = max(ahead, sent - app.answered * len(GET))
            await asyncio.sleep(0)
        assert app.answered > 500  # its answers do not starve
        assert ahead <= WAITS + len(stream) + 2 * 32 * len(GET)
        transport.close()
        await transport.closed.wait()
        context.close()

    @pytest.mark.parametrize("heads", [1, 2, 4])
    async def test_large_heads_of_many_reads_in_one_callback(self, heads: int) -> None:
        """uvloop reads up to 32 times in one callback: of heads of 60 KiB no more than a few are served in it."""
        app = Turns(waits=False)
        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = Slow(loop)
        transport.connect(HTTPConnection(context))
        large = GET[:-2] + b"".join(b"Cookie: " + b";" * 15_000 + b"\r\n" for _ in range(4)) + b"\r\n"
        for _ in range(32):
            transport.feed(large * heads)
        assert app.answered <= 4
        assert not transport.is_reading()
        await until(lambda: app.answered == 32 * heads)
        await until(transport.is_reading)
        transport.close()
        await transport.closed.wait()
        context.close()

    async def test_bodies_that_are_served_at_once(self) -> None:
        """Reading is paused at the first one, since much follows it; it goes on, although no handler has waited."""
        app = Turns(waits=False)
        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = Slow(loop)
        transport.connect(HTTPConnection(context))
        large = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
        transport.feed(CHUNKED + b"0\r\n\r\n" + large + GET)
        transport.feed(GET)
        await until(lambda: app.answered == 4)
        assert transport.is_reading()
        transport.close()
        await transport.closed.wait()
        context.close()

    async def test_it_goes_on_to_the_end(self) -> None:
        """Nothing is forgotten, however much came, and reading is paused no longer."""
        app = Turns(waits=True)
        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = Slow(loop)
        transport.connect(HTTPConnection(context))
        for _ in range(3):
            transport.feed(GET * 10_000)
        await until(lambda: app.answered == 30_000)
        await until(transport.is_reading)
        transport.close()
        await transport.closed.wait()
        context.close()

    @pytest.mark.parametrize("waits", [False, True])
    async def test_a_client_that_does_not_read(self, waits: bool) -> None:
        app = Turns(waits=waits)
        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = Slow(loop)
        transport.connect(HTTPConnection(context))
        transport.stall(on=True)
        sent = 0
        for _ in range(100):
            if transport.is_reading():
                transport.feed(GET * 1000)
                sent += 1000
            await asyncio.sleep(0)
        assert app.answered <= 1
        assert sent * len(GET) <= WAITS + READ
        transport.stall(on=False)
        await until(lambda: app.answered == sent)
        assert transport.is_reading()
        transport.close()
        await transport.closed.wait()
        context.close()

    async def test_a_head_is_no_backlog(self) -> None:
        """A limit that is larger than what may wait holds."""
        app = Turns(waits=False)
        loop = asyncio.get_running_loop()
        config = Config(access_log=False, limit_head=MIB, limit_field=MIB)
        context = ServerContext(ServedApp(app), config, loop)
        transport = Slow(loop)
        transport.connect(HTTPConnection(context))
        transport.feed(GET * 3000 + GET[:-2] + b"a: ")
        for _ in range(8):
            transport.feed(b"b" * 100_000)
        transport.feed(b"\r\n\r\n")
        await until(lambda: app.answered == 3001)
        transport.close()
        await transport.closed.wait()
        context.close()

    @pytest.mark.parametrize("way", ["half-closed", "behind a body", "behind a body that nobody reads"])
    async def test_ends(self, way: str) -> None:
        async def app(request: Request, response: StreamWriter) -> None:
            if way == "behind a body":
                await request.body.read()
            response.send_head(200)

        first = GET if way == "half-closed" else CHUNKED + b"1\r\nx\r\n" * 9000 + b"0\r\n\r\n"
        data = first + GET * 5000
        async with running(app) as server, joined(server) as client:
            sending = asyncio.create_task(client.send(data))
            received = 0
            while received < 5001:
                received += (await client.receive()).count(b"HTTP/1.1 200")
            await sending
            client.half_close()
            assert await client.rest() == b""

    @pytest.mark.parametrize("path", [b"/", b"/wait"])
    @on_both_loops
    async def test_memory(self, path: bytes) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                if self.path == "/wait":
                    await asyncio.sleep(0.001)
                self.send_text("x")

        requests = GET.replace(b"/", path, 1) * 2000
        async with running(Handler) as server, joined(server) as client:
            got = 0

            async def flood() -> None:
                while True:
                    await client.send(requests)

            tracemalloc.start()
            try:
                flooding = asyncio.create_task(flood())
                async with asyncio.timeout(20):
                    while got < 200 * KIB if path == b"/" else got < 20 * KIB:
                        got += len(await client.receive())
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            flooding.cancel()
        assert peak < 8 * MIB

    async def test_a_tunnel_is_paused_too(self) -> None:
        """Whatever it was when it began."""
        bodies: list[Any] = []
        go_on = asyncio.Event()

        async def app(request: Request, response: StreamWriter) -> None:
            body = request.peer.open_tunnel(last=True)
            bodies.append(body)
            response.close_connection = True
            response.send_head(200, [("Content-Length", 0)])
            response.flush()
            await go_on.wait()

        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = Slow(loop)
        transport.connect(HTTPConnection(context))
        transport.feed(GET + bytes(READ + 1))
        await asyncio.sleep(0)
        await until(lambda: bodies)
        await until(lambda: not transport.is_reading())
        await bodies[0].read(READ)
        await until(transport.is_reading)
        go_on.set()
        transport.close()
        await transport.closed.wait()
        context.close()


UNITS = {
    "tiny": b"1\r\nx\r\n",
    "padded": b"00001\r\nx\r\n",
    "fifteen": b"F\r\n" + b"x" * 15 + b"\r\n",
    "sixteen": b"10\r\n" + b"x" * 16 + b"\r\n",
    "mixed": b"1\r\nx\r\n2\r\nxx\r\n10\r\n" + b"x" * 16 + b"\r\n",
    "extended": b"1;a\r\nx\r\n",
}


class TestChunks:
    @pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
    def test_one_call_is_bounded(self, unit: bytes) -> None:
        """In steps: 256 chunks, or 64 KiB of tiny ones; and in the end all of it is there."""
        count = MIB // len(unit)
        data = unit * count + b"0\r\n\r\n"
        decoder = ChunkedDecoder(Config(limit_chunk_extensions=MIB), Headers(), 256)
        content = bytearray()
        start = 0
        while start < len(data):
            end = decoder.decode(data, start, content)
            assert start < end <= start + max(257 * 32, 96 * KIB)
            start = end
        assert decoder.complete
        assert content == b"x" * content.count(b"x")
        assert len(content) == count * unit.count(b"x")

    @pytest.mark.parametrize(
        "broken",
        [b"1\r\nxx\r\n", b"1\r\nx\n\n", b"g\r\nx\r\n", b"1 \r\nx\r\n", b"+1\r\nx\r\n", b"1\nx\r\n", b"1\r\nx\r1"],
    )
    def test_a_run_ends_where_it_is_broken(self, broken: bytes) -> None:
        decoder = ChunkedDecoder(Config(), Headers())
        content = bytearray()
        with pytest.raises(WireError):
            decoder.decode(b"1\r\na\r\n" * 100 + broken + b"1\r\nb\r\n" * 100, 0, content)
        assert content.startswith(b"a" * 100)
        assert b"b" not in content

    def test_a_run_is_what_its_chunks_are(self) -> None:
        """Content that looks like framing."""
        parts = [b"\r\n", b"1\r\nx", b"0\r\n\r\n", b"\n", b"\r\n1\r\n", b"5", b"f\r\nffffffffffff", b"x" * 16]
        data = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts * 50) + b"0\r\n\r\n"
        for size in (1, 7, 1000, len(data)):
            decoder = ChunkedDecoder(Config(), Headers())
            content = bytearray()
            for at in range(0, len(data), size):
                decoder.decode(data[at : at + size], 0, content)
            assert content == b"".join(parts * 50)
            assert decoder.complete

    @pytest.mark.parametrize("limit", [100, 101])
    async def test_limit_discard_counts_framing(self, limit: int) -> None:
        async def app(request: Request, response: StreamWriter) -> None:
            response.send_head(401)

        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False, limit_discard=limit), loop)
        transport, connection = MemoryTransport(loop), HTTPConnection(context)
        transport.connect(connection)
        transport.feed(CHUNKED)
        await until(lambda: connection.state is ConnectionState.DISCARDING)
        transport.feed(b"1\r\nx\r\n" * 16 + b"0\r\n\r\n")  # 101 bytes
        await asyncio.sleep(0)
        # As many as are allowed, or closed.
        assert (connection.state is ConnectionState.IDLE) is True or limit == 100
        transport.close()
        await transport.closed.wait()
        context.close()

    async def test_read_ahead_counts_framing(self) -> None:
        """Nobody reads, so the client is paused by what it has sent, not by what is content of that."""
        go_on = asyncio.Event()
        sizes: list[int] = []

        async def app(request: Request, response: StreamWriter) -> None:
            await go_on.wait()
            sizes.append(len(await request.body.read()))
            response.send_head(200)

        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = MemoryTransport(loop)
        transport.connect(HTTPConnection(context))
        transport.feed(CHUNKED)
        sent = 0
        for _ in range(200):
            if transport.is_reading():
                transport.feed(b"1\r\nx\r\n" * 10_000)
                sent += 10_000
            await asyncio.sleep(0)
        assert sent * 6 <= 2 * READ + WAITS
        go_on.set()
        transport.feed(b"0\r\n\r\n")
        await until(lambda: sizes)
        assert sizes == [sent]
        transport.close()
        await transport.closed.wait()
        context.close()

    @pytest.mark.parametrize("status", [200, 401, 405])
    @on_both_loops
    async def test_others_have_their_turn(self, status: int) -> None:
        """Between two pieces of a body: as many turns of the loop as it has pieces, and more."""
        read = status == 200

        async def app(request: Request, response: StreamWriter) -> None:
            if read and request.method == "POST":
                assert len(await request.body.read()) == 200_000
            response.send_head(status)

        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False, limit_discard=10 * MIB), loop)
        connection, transport = HTTPConnection(context), MemoryTransport(loop)
        transport.connect(connection)
        transport.feed(CHUNKED + b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n")
        turns = 0
        while connection.state is not ConnectionState.IDLE:
            turns += 1
            await asyncio.sleep(0)
        assert turns >= 200_000 * 6 // (96 * KIB)
        assert len(finals(bytes(transport.output))) == 1
        transport.close()
        await transport.closed.wait()
        context.close()

    async def test_half_closed_behind_chunks(self) -> None:
        """The end of the stream is no end of a body that has come already."""

        async def app(request: Request, response: StreamWriter) -> None:
            size = len(await request.body.read())
            response.send_head(200)
            response.write(b"%d" % size)

        async with running(app) as server, joined(server) as client:
            await client.send(CHUNKED + b"10\r\n0123456789abcdef\r\n" * 5000 + b"0\r\n\r\n")
            client.half_close()
            [answer] = finals(await client.rest())
        assert answer.body == b"80000"

    async def test_trailers_without_number(self) -> None:
        """They are counted before anybody looks at each of them."""
        parser = RequestParser(Config())
        parser.feed(b"0\r\n" + b"a:\r\n" * 15_000 + b"no colon\r\n\r\n")
        with pytest.raises(WireError) as refusal:
            parser.decode(ChunkedDecoder(Config(), Headers()), bytearray())
        assert refusal.value.status == 431

    async def test_dribbled_bodies_take_their_bytes(self) -> None:
        """Pieces of two bytes wait as bytes, not as objects."""
        got: list[StreamReader] = []

        async def app(request: Request, response: StreamWriter) -> None:
            got.append(request.body)  # type: ignore[arg-type]
            await response.wait_closed()
            response.send_head(200)

        loop = asyncio.get_running_loop()
        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = MemoryTransport(loop)
        transport.connect(HTTPConnection(context))
        transport.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        await until(lambda: got)
        tracemalloc.start()
        for _ in range(50_000):
            transport.feed(b"ab")
        size, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size < 400_000
        transport.close()
        await transport.closed.wait()
        await until(lambda: not context.registry.orphans)
        context.close()


@pytest.mark.parametrize("value", [b"," * 16_000, b", " * 8000, b"\t " * 8000], ids=["commas", "spaced", "spaces"])
async def test_empty_elements_of_connection(value: bytes) -> None:
    """They mean nothing, whatever they cost; and there are not many others."""
    parser = RequestParser(Config())
    parser.feed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: " + value + b", close\r\n\r\n")
    request = parser.next_request()
    assert request is not None
    assert not request.keep_alive
    parser = RequestParser(Config())
    parser.feed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: " + b"a," * 5000 + b"\r\n\r\n")
    with pytest.raises(WireError) as refusal:
        parser.next_request()
    assert refusal.value.status == 431


# Clients that do not read.


class Large(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", 100 * MIB)
        if self.path == "/close":
            self.close_connection = True
        self.end_headers()
        for _ in range(100):
            self.wfile.write(bytes(MIB))
            await self.wfile.drain()


class Kept(BaseHTTPRequestHandler):
    """An answer that the kernel takes whole, and the client does not."""

    async def do_GET(self) -> None:
        self.close_connection = self.path == "/close"
        self.send_text("x" * 500_000)


@pytest.mark.skipif(not hasattr(socket, "TCP_INFO"), reason="the kernel does not tell")
class TestNobodyReads:
    @pytest.mark.parametrize("handler", [Large, Kept])
    @pytest.mark.parametrize("path", ["/", "/close"])
    @on_both_loops
    async def test_nothing_is_left_in_the_kernel(self, handler: Any, path: str) -> None:
        options = {"timeout_write": 0.3, "timeout_linger": 0.2, "timeout_idle": 0.3}
        async with running(handler, **options) as server, joined(server, window=4096) as client:
            await client.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert await client.receive(1)
            await until(lambda: not server.connections, 20)
            assert not [size for size in kernel_keeps(server.server_port or 0) if size > WAITS]
            with pytest.raises(ConnectionResetError):
                await client.rest()

    @on_both_loops
    async def test_limit_unsent(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                while True:
                    self.wfile.write(bytes(MIB))

        async with running(Handler, limit_unsent=4 * MIB) as server, joined(server, window=4096) as client:
            await client.send(GET)
            await until(lambda: caplog.records and not server.connections)
            assert not [size for size in kernel_keeps(server.server_port or 0) if size > WAITS]
        caplog.clear()

    @on_both_loops
    async def test_the_end_of_the_grace(self) -> None:
        async with running(Large) as server, joined(server, window=4096) as client:
            await client.send(GET)
            assert await client.receive(1)
            await server.shutdown(0)
            assert not [size for size in kernel_keeps(server.server_port or 0) if size > WAITS]

    @on_both_loops
    async def test_who_reads_slowly_gets_all(self) -> None:
        """Its answer is in the kernel when the connection would be closed: it is not cut by the linger."""
        async with running(Kept, timeout_linger=0.05) as server, joined(server, window=4096) as client:
            await client.send(b"GET /close HTTP/1.1\r\nHost: x\r\n\r\n")
            data = bytearray(await client.receive(1000))
            await asyncio.sleep(0.5)
            data += await client.rest()
            [answer] = finals(bytes(data))
            assert len(answer.body) == 500_000
            with contextlib.suppress(ConnectionError):
                client.close()
            await until(lambda: not server.connections)
