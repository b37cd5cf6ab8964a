"""A handler that reads: others have their turn between its reads, and what waits for it is bounded."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from aiohttpd import Config, Request, StreamWriter
from aiohttpd.engine.body import StreamReader
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.errors import IncompleteBody
from aiohttpd.testing import MemoryTransport
from aiohttpd.wire.body import LengthDecoder
from aiohttpd.wire.parser import RequestParser

from ..support.waiting import in_a_callback

KIB, MIB = 1024, 1024 * 1024
PIECE = 256 * KIB  # what event loops read at once
LINES = 50_000
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"

Read = Callable[[Request], Awaitable[bytes]]
READS: dict[str, Read] = {
    "readline": lambda request: request.body.readline(),
    "readuntil": lambda request: request.body.readuntil(),
    "readexactly": lambda request: request.body.readexactly(1),
    "read": lambda request: request.body.read(1),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_tiny_reads_leave_turns_to_others(read: Read) -> None:
    most = done = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal done
        for _ in range(LINES):
            assert await read(request) == b"\n"
            done += 1
        response.send_head(200)

    loop = asyncio.get_running_loop()
    context = ServerContext(ServedApp(app), Config(access_log=False), loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    transport.feed(HEAD % LINES + LINES * b"\n")
    while not transport.output:
        before = done
        await asyncio.sleep(0)
        most = max(most, done - before)
    assert done == LINES
    assert most <= 2000
    transport.close()
    await transport.closed.wait()
    context.close()


async def test_many_pieces_in_one_callback() -> None:
    """uvloop gives up to 32 reads at once, before a handler that waits for the first has had it."""
    size = 64 * 256 * KIB
    taken: list[bytes] = []

    async def app(request: Request, response: StreamWriter) -> None:
        while data := await request.body.read(KIB * KIB):
            taken.append(data)
        response.send_head(200)

    loop = asyncio.get_running_loop()
    context = ServerContext(ServedApp(app), Config(access_log=False), loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    transport.feed(HEAD % size)
    await asyncio.sleep(0)  # it waits
    left, most = size, 0
    while left:
        fed = 0
        while left and transport.is_reading():
            transport.feed(bytes(256 * KIB))
            fed += 256 * KIB
            left -= 256 * KIB
        most = max(most, fed)
        await asyncio.sleep(0)
    assert most <= 3 * 256 * KIB
    while not transport.output:
        await asyncio.sleep(0)
    assert sum(map(len, taken)) == size
    transport.close()
    await transport.closed.wait()
    context.close()


@asynccontextmanager
async def connected(
    app: Callable[[Request, StreamWriter], Awaitable[None]], config: Config | None = None
) -> AsyncIterator[MemoryTransport]:
    loop = asyncio.get_running_loop()
    context = ServerContext(ServedApp(app), config or Config(access_log=False), loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    yield transport
    transport.close()
    await transport.closed.wait()
    context.close()


async def test_large_pieces_are_read_in_the_callback_that_brings_them() -> None:
    """They are in the processor's cache then. After 2 MiB of one client, others have their turn."""
    size, taken = 64 * PIECE, 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal taken
        async for piece in request.body:
            taken += len(piece)
        response.send_head(200)

    async with connected(app) as transport:
        transport.feed(HEAD % size)
        await asyncio.sleep(0)  # it waits
        sent = 0

        def receive() -> int:
            nonlocal sent
            before = sent
            while sent < size and transport.is_reading():
                transport.feed(bytes(PIECE))
                sent += PIECE
                assert taken == sent
            return sent - before

        bursts = []
        while sent < size:
            bursts.append(await in_a_callback(receive))
        assert max(bursts) == 2 * MIB + PIECE
        while not transport.output:
            await asyncio.sleep(0)


async def test_many_small_reads_of_large_pieces_leave_turns_to_others() -> None:
    """Each piece wakes the handler within the callback, so a wait is no turn of the loop."""
    part, each, pieces = 320, 800, 64
    done = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal done
        while await request.body.read(part):
            done += 1
        response.send_head(200)

    async with connected(app) as transport:
        transport.feed(HEAD % (part * each * pieces))
        await asyncio.sleep(0)
        sent = most = 0

        def receive() -> int:
            nonlocal sent
            before = done
            while sent < pieces and transport.is_reading():
                transport.feed(bytes(part * each))
                sent += 1
            return done - before

        while sent < pieces:
            most = max(most, await in_a_callback(receive))
        assert 800 <= most <= 2000
        while not transport.output:
            await asyncio.sleep(0)
        assert done == each * pieces


async def test_a_small_piece_waits_for_the_next_turn() -> None:
    taken = []

    async def app(request: Request, response: StreamWriter) -> None:
        taken.extend([piece async for piece in request.body])
        response.send_head(200)

    async with connected(app) as transport:
        transport.feed(HEAD % 200)
        await asyncio.sleep(0)
        await in_a_callback(lambda: transport.feed(bytes(100)))
        await in_a_callback(lambda: transport.feed(bytes(100)))
        while not transport.output:
            await asyncio.sleep(0)
        assert taken == [bytes(100)] * 2


async def test_a_whole_body_of_which_much_has_arrived_before_the_read() -> None:
    """Reading was paused, since nobody read; the read needs more than there is."""
    size, begin = 4 * MIB, asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        await begin.wait()
        response.send_head(200)
        response.write(b"%d" % len(await request.body.read()))

    async with connected(app) as transport:
        transport.feed(HEAD % size)
        sent = 0
        while transport.is_reading():
            transport.feed(bytes(PIECE))
            sent += PIECE
        assert sent < MIB
        begin.set()
        while sent < size:
            await asyncio.sleep(0)
            if transport.is_reading():
                transport.feed(bytes(PIECE))
                sent += PIECE
        while not transport.output:
            await asyncio.sleep(0)
        assert transport.output.endswith(b"%d" % size)


async def test_a_large_body_that_nobody_reads_is_discarded_in_turns() -> None:
    size = 8 * MIB

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(request.method.encode())

    async with connected(app, Config(access_log=False, limit_discard=2 * size)) as transport:
        transport.feed(HEAD % size)
        turns, sent = 0, 0
        while sent < size:
            await asyncio.sleep(0)
            turns += 1
            while sent < size and transport.is_reading():
                transport.feed(bytes(PIECE))
                sent += PIECE
        assert 3 <= turns <= 2 * size // PIECE
        transport.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not transport.output.endswith(b"GET"):
            await asyncio.sleep(0)


async def test_what_waits_when_discarding_begins_is_discarded() -> None:
    """The rest would not be read: as much waits as may wait."""
    size = 4 * PIECE
    end = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        if request.method == "POST":
            await end.wait()
        response.send_head(200)
        response.write(request.method.encode())

    async with connected(app, Config(access_log=False, limit_discard=size)) as transport:
        sent = 0
        transport.feed(HEAD % size)
        while transport.is_reading():
            transport.feed(bytes(PIECE))
            sent += PIECE
            await asyncio.sleep(0)
        assert sent == 2 * PIECE
        end.set()
        while not transport.output.endswith(b"POST"):
            await asyncio.sleep(0)
        assert transport.is_reading()
        transport.feed(bytes(size - sent) + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            while not transport.output.endswith(b"GET"):
                await asyncio.sleep(0)


async def test_a_piece_that_is_discarded_is_larger_than_what_may_wait() -> None:
    """It does not wait, so reading goes on. A transport, or 256 chunks, may bring more than a loop reads at once."""
    size = 3 * 2 * PIECE

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(request.method.encode())

    async with connected(app, Config(access_log=False, limit_discard=2 * size)) as transport:
        transport.feed(HEAD % size)
        for _ in range(3):
            await asyncio.sleep(0)
            await in_a_callback(lambda: transport.feed(bytes(2 * PIECE)))
        transport.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(10):
            while not transport.output.endswith(b"GET"):
                await asyncio.sleep(0)


async def test_bytes_that_arrive_while_a_read_begins_to_wait() -> None:
    """Before its task is suspended: they wake it as well."""
    parser = RequestParser(Config())

    class Source:
        def resume_body(self) -> None: ...
        def body_arrived(self) -> None: ...
        def body_wanted(self) -> None:
            parser.feed(b"x")
            reader.feed(parser)
            reader.wake()

    reader = StreamReader(Source(), LengthDecoder(3), None, asyncio.get_running_loop())
    assert await asyncio.wait_for(reader.read(), 10) == b"xxx"


async def test_a_body_of_many_chunks_that_the_client_does_not_end() -> None:
    """The end of its side arrives before all chunks have been decoded; then a read does not wait for ever."""
    errors: list[type[Exception]] = []

    async def app(request: Request, response: StreamWriter) -> None:
        try:
            await request.body.read()
        except Exception as error:
            errors.append(type(error))
        response.send_head(200)

    chunk = b"40\r\n" + bytes(64) + b"\r\n"
    async with connected(app) as transport:
        transport.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + 600 * chunk)
        transport.feed_eof()
        assert not errors
        for _ in range(20):
            await asyncio.sleep(0)
        assert errors == [IncompleteBody]


async def test_after_a_large_body_a_disconnect_is_noticed() -> None:
    """The turn of others is over, though the body has ended."""
    size, taken, go = 2 * MIB + PIECE, [], asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        taken.append(len(await request.body.read()))
        await go.wait()
        response.send_head(200)

    async with connected(app) as transport:
        transport.feed(HEAD % size)
        await asyncio.sleep(0)

        def receive() -> None:
            for _ in range(size // PIECE):
                transport.feed(bytes(PIECE))

        await in_a_callback(receive)
        while not taken:
            await asyncio.sleep(0)
        assert taken == [size]
        assert transport.is_reading()
        go.set()
        while not transport.output:
            await asyncio.sleep(0)


async def test_a_read_that_is_cancelled_and_repeated_sends_100_once() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        reading = asyncio.ensure_future(request.body.read())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        response.send_head(200)
        response.write(await request.body.read())

    async with connected(app) as transport:
        transport.feed(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        for _ in range(9):
            await asyncio.sleep(0)
        assert transport.output == b"HTTP/1.1 100 Continue\r\n\r\n"
        transport.feed(b"ok")
        while not transport.output.endswith(b"ok"):
            await asyncio.sleep(0)
        assert transport.output.count(b" 100 ") == 1
