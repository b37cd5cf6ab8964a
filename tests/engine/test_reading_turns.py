"""A handler that reads: others have their turn between its reads, and what waits for it is bounded."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aiohttpd import Config, Request, StreamWriter
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.testing import MemoryTransport

KIB = 1024
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
