"""Requests that have arrived together: others have their turn between them, and deadlines and reading go on."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from aiohttpd import Config, Request, StreamWriter
from aiohttpd.engine.connection import ConnectionState, HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.testing import MemoryTransport

EAGER = sys.version_info >= (3, 12)  # a handler that does not wait is done before the next one begins
SMALL = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
WAITS = b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n"
MEDIUM = b"GET /medium HTTP/1.1\r\nHost: x\r\nA: " + 4500 * b"a" + b"\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: %s\r\n" % (n, 500 * b"a") for n in range(20)) + b"\r\n"
POST = b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"
IDLE, HEAD = 30, 20  # seconds


@dataclass
class Site:
    """A server in memory with one connection; handlers of /waits wait for `go`."""

    transport: MemoryTransport
    connection: HTTPConnection
    context: ServerContext
    served: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def answers(self) -> int:
        return self.transport.output.count(b"HTTP/1.1 200 ")

    async def answered(self, request: bytes) -> None:
        """Send requests, and wait for their answers."""
        count = self.answers + request.count(b"Host")
        self.transport.feed(request)
        while self.answers < count or self.connection.state is not ConnectionState.IDLE:
            await asyncio.sleep(0)


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    async def app(request: Request, response: StreamWriter) -> None:
        here.served.append(request.path)
        if request.path == "/waits":
            await here.go.wait()
        response.send_head(200)
        response.write(request.path.encode())

    loop = asyncio.get_running_loop()
    config = Config(access_log=False, timeout_idle=IDLE, timeout_head=HEAD)
    context = ServerContext(ServedApp(app), config, loop)
    transport, connection = MemoryTransport(loop), HTTPConnection(context)
    here = Site(transport, connection, context)
    transport.connect(connection)
    yield here
    transport.close()
    await transport.closed.wait()
    context.close()


@pytest.mark.parametrize(
    ("request_", "most"),
    [(SMALL, 32), (POST, 4), (LARGE, 4), (LARGE + SMALL, 4)],
    ids=["small", "post", "large", "both"],
)
async def test_others_have_their_turn(request_: bytes, most: int) -> None:
    """After 32 requests; one with a large head or a body counts as eight.

    The answers of a turn are one write, unless the requests have bodies.
    """
    count = 3 * most
    async with site() as here:
        here.transport.feed(count * request_)
        bursts = [len(here.served)]
        while here.answers < count * request_.count(b"Host"):
            await asyncio.sleep(0)
            bursts.append(len(here.served) - sum(bursts))
        assert max(bursts) <= most
        if EAGER:
            assert [burst for burst in bursts if burst][:3] == [most] * 3
            assert request_ is POST or here.transport.writes <= len(bursts)
        assert here.transport.output.count(b"\r\n\r\n/") == len(here.served)


async def test_reading_goes_on_after_a_turn_of_others() -> None:
    """After a large head nothing is read for one turn: uvloop would read 32 times before others have theirs."""
    async with site() as here:
        here.transport.feed(LARGE)
        while not here.answers:
            await asyncio.sleep(0)
        if EAGER:
            assert not here.transport.is_reading()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for count in (2, 3):
            here.transport.feed(SMALL)
            assert here.transport.is_reading()
            while here.answers < count:
                await asyncio.sleep(0)
            assert here.transport.is_reading()


@pytest.mark.skipif(not EAGER, reason="a handler begins in a turn of its own, in which nothing is read")
async def test_a_large_head_before_one_that_is_not() -> None:
    async with site() as here:
        here.transport.feed(LARGE + MEDIUM)
        assert here.served == ["/large", "/medium"]
        assert not here.transport.is_reading()
        await asyncio.sleep(0)
        assert here.transport.is_reading()


@pytest.mark.parametrize("requests", [LARGE.replace(b"large", b"waits"), 3000 * SMALL + WAITS], ids=["large", "many"])
async def test_while_a_handler_waits_a_disconnect_is_noticed(requests: bytes) -> None:
    async with site() as here:
        here.transport.feed(requests)
        while here.served[-1:] != ["/waits"]:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert here.transport.is_reading()
        here.go.set()


async def test_an_answer_begins_the_wait_for_the_next_request_anew() -> None:
    for request in (SMALL, WAITS, POST, 2 * SMALL, 100 * SMALL, 20 * LARGE):
        async with site() as here:
            here.go.set()
            sweep = here.context.deadlines.sweep
            await here.answered(SMALL)
            sweep(0)
            await here.answered(request)
            sweep(IDLE - 1)
            sweep(IDLE + 1)
            assert not here.transport.is_closing(), request
            sweep(2 * IDLE)
            assert here.transport.is_closing(), request


@pytest.mark.parametrize("before", [b"", SMALL, WAITS, 40 * SMALL], ids=["first", "small", "waits", "many"])
async def test_bytes_of_a_head_do_not_begin_its_deadline_anew(before: bytes) -> None:
    async with site() as here:
        here.go.set()
        sweep = here.context.deadlines.sweep
        if before:
            await here.answered(before)
        here.transport.feed(SMALL[:5])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number in range(5, 5 + HEAD):
            sweep(number)
            here.transport.feed(SMALL[number : number + 1])
            await asyncio.sleep(0)
        sweep(5 + HEAD)
        assert b"HTTP/1.1 408 " in here.transport.output
