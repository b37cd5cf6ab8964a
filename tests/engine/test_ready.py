"""Requests that arrive in one turn of the loop on connections that were idle: they are served together at its end."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from aiohttpd import Config, Request, StreamWriter
from aiohttpd.engine import ready
from aiohttpd.engine.connection import ConnectionState, HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.engine.ready import ReadyConnections
from aiohttpd.net.outgoing import Outgoing
from aiohttpd.testing import MemoryTransport

EAGER = sys.version_info >= (3, 12)  # a handler that does not wait is done before the next one begins
FIRST = b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n"
NEXT = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Site:
    """A server in memory whose connections have had a response and are idle."""

    context: ServerContext
    transports: list[MemoryTransport] = field(default_factory=list)
    connections: list[HTTPConnection] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    answer: Callable[[Request, StreamWriter], Awaitable[None]] | None = None

    async def app(self, request: Request, response: StreamWriter) -> None:
        self.served.append(request.path)
        response.send_head(200)
        response.write(request.path.encode())

    async def connect(self, count: int) -> None:
        for _ in range(count):
            transport, connection = MemoryTransport(self.context.loop), HTTPConnection(self.context)
            transport.connect(connection)
            transport.feed(FIRST)
            await turns()
            assert transport.output.endswith(b"/first")
            transport.output.clear()
            self.transports.append(transport)
            self.connections.append(connection)
        self.served.clear()


async def turns() -> None:
    for _ in range(4):  # before Python 3.12 a handler begins in a turn of the loop
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time passes while connections are served, on however busy a machine."""
    monkeypatch.setattr(ready, "perf_counter", float)


@asynccontextmanager
async def site(count: int = 1, **options: Any) -> AsyncIterator[Site]:
    apps: list[Site] = []

    async def app(request: Request, response: StreamWriter) -> None:
        await (apps[0].answer or apps[0].app)(request, response)

    config = Config(access_log=False, **options)
    context = ServerContext(ServedApp(app), config, asyncio.get_running_loop())
    apps.append(Site(context))
    await apps[0].connect(count)
    yield apps[0]
    for transport in apps[0].transports:
        transport.close()
    await turns()
    context.close()


async def test_what_arrives_in_one_turn_is_served_at_its_end() -> None:
    async with site(3) as here:
        for number, transport in enumerate(here.transports):
            transport.feed(NEXT % number)
        assert here.served == []
        assert {connection.state for connection in here.connections} == {ConnectionState.READY}
        await turns()
        assert here.served == ["/0", "/1", "/2"]
        assert [bytes(transport.output[-2:]) for transport in here.transports] == [b"/0", b"/1", b"/2"]
        assert {connection.state for connection in here.connections} == {ConnectionState.IDLE}


async def test_many_are_served_before_the_end_of_the_turn() -> None:
    """So the first ones are still in the processor's cache."""
    count = 3 * ready._MOST + 5
    async with site(count) as here:
        most = 0
        for number, transport in enumerate(here.transports):
            transport.feed(NEXT % number)
            most = max(most, sum(connection.state is ConnectionState.READY for connection in here.connections))
        assert most < ready._MOST
        await turns()
        assert here.served == [f"/{number}" for number in range(count)]


async def test_answers_are_sent_when_all_are_served() -> None:
    """One write for each connection, also if it has had several requests."""
    async with site(3) as here:
        before = [transport.writes for transport in here.transports]
        sent: list[int] = []

        async def app(request: Request, response: StreamWriter) -> None:
            sent.append(sum(len(transport.output) for transport in here.transports))
            response.send_head(200)

        here.answer = app
        for number, transport in enumerate(here.transports):
            transport.feed(NEXT % number + NEXT % number)
        await turns()
        if EAGER:
            assert sent == [0] * 6
        assert [transport.writes - count for transport, count in zip(here.transports, before, strict=True)] == (
            [1] * 3 if EAGER else [2] * 3
        )


@pytest.mark.skipif(not EAGER, reason="a handler begins in a turn of its own, after the answers have been sent")
async def test_behind_a_handler_that_blocks_the_answers_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the connections after it are held back again, for a millisecond at most."""
    now = 0.0
    monkeypatch.setattr(ready, "perf_counter", lambda: now)
    times = [0.0002, 0.0002, 0.005, 0.0004, 0.0004, 0.0004, 0.0002]
    sent: list[int] = []  # how many answers have been sent when each handler runs

    async with site(len(times)) as here:

        async def answer(request: Request, response: StreamWriter) -> None:
            nonlocal now
            sent.append(sum(bool(transport.output) for transport in here.transports))
            now += times[int(request.path[1:])]
            response.send_head(200)

        here.answer = answer
        for number, transport in enumerate(here.transports):
            transport.feed(NEXT % number)
        await turns()
        assert all(transport.output for transport in here.transports)
    assert sent == [0, 0, 0, 3, 3, 3, 6]


@pytest.mark.skipif(not EAGER, reason="a handler begins in a turn of its own, after the answers have been sent")
@pytest.mark.parametrize(("size", "held"), [(16_000, True), (16 * 1024, False), (300_000, False)])
async def test_a_long_answer_is_sent_at_once(size: int, held: bool) -> None:
    """Those of many connections would not fit into the processor's cache."""
    async with site(2) as here:
        before: list[int] = []

        async def answer(request: Request, response: StreamWriter) -> None:
            before.append(len(here.transports[0].output))
            response.send_head(200)
            response.write(bytes(size))

        here.answer = answer
        for number, transport in enumerate(here.transports):
            transport.feed(NEXT % number)
        await turns()
        assert (before[1] == 0) is held
        assert all(len(transport.output) > size for transport in here.transports)


async def test_the_rest_of_a_request_in_the_same_turn() -> None:
    async with site() as here:
        (transport,) = here.transports
        for byte in NEXT % 1 + NEXT % 2:
            transport.feed(bytes([byte]))
        await turns()
        assert here.served == ["/1", "/2"]
        assert transport.output.count(b"HTTP/1.1 200 ") == 2


async def test_a_request_after_a_split_one_in_the_same_turn() -> None:
    """The answer to the split one is held back until the end of the turn, and must not be lost."""
    async with site() as here:
        for part in (b"GET /spl", b"it HTTP/1.1\r\nHost: x\r\n\r\n", NEXT % 2):
            here.transports[0].feed(part)
        await turns()
        assert here.served == ["/split", "/2"]
        assert here.transports[0].output.count(b"HTTP/1.1 200 ") == 2


async def test_a_part_of_a_head_is_waited_for_as_ever() -> None:
    async with site() as here:
        (transport,) = here.transports
        transport.feed((NEXT % 1)[:9])
        await turns()
        assert here.connections[0].state is ConnectionState.HEAD
        transport.feed((NEXT % 1)[9:])
        await turns()
        assert here.served == ["/1"]


async def test_an_empty_line_is_no_request() -> None:
    async with site() as here:
        here.transports[0].feed(b"\r\n")
        await turns()
        assert here.connections[0].state is ConnectionState.IDLE


async def test_what_is_long_is_served_at_once() -> None:
    async with site() as here:
        here.transports[0].feed(b"GET /1 HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 5000 + b"\r\n\r\n")
        assert here.connections[0].state is not ConnectionState.READY
        await turns()
        assert here.served == ["/1"]


async def test_the_client_closes_its_side_in_the_same_turn() -> None:
    async with site() as here:
        (transport,) = here.transports
        transport.feed(NEXT % 1)
        transport.feed_eof()
        await turns()
        assert here.served == ["/1"]
        assert transport.output.endswith(b"/1")
        await transport.closed.wait()


async def test_the_client_vanishes_in_the_same_turn() -> None:
    async with site(2) as here:
        for number, transport in enumerate(here.transports):
            transport.feed(NEXT % number)
        here.connections[0].connection_lost(ConnectionResetError())
        await turns()
        assert here.served == ["/1"]


async def test_a_stop_in_the_same_turn_loses_nothing() -> None:
    """Connections that are idle are closed when the server stops; this one is not."""
    async with site() as here:
        (transport,) = here.transports
        transport.feed(NEXT % 1)
        here.context.drain()
        here.connections[0].close_if_idle()
        await turns()
        assert transport.output.endswith(b"/1")
        assert b"Connection: close\r\n" in transport.output
        await transport.closed.wait()


async def test_the_deadline_passes_in_the_same_turn() -> None:
    async with site() as here:
        (transport,) = here.transports
        transport.feed(NEXT % 1)
        here.connections[0].deadline_expired(here.context.loop.time())
        await turns()
        assert transport.output.endswith(b"/1")
        assert not transport.is_closing()
        assert here.connections[0] in here.context.timeouts.idle  # the next wait has its deadline


async def test_a_cut_in_the_same_turn() -> None:
    """The grace period of a stop ends between the bytes and the handler."""
    async with site() as here:
        here.transports[0].feed(NEXT % 1)
        here.connections[0].cancel()
        await turns()
        assert here.served == []
        await here.transports[0].closed.wait()


class Raising:
    """A connection whose handler raises."""

    state = ConnectionState.READY
    aborted = served = False

    def __init__(self, loop: asyncio.AbstractEventLoop, error: BaseException | None) -> None:
        self.error = error
        self.out = Outgoing(MemoryTransport(loop), 0)

    def serve_pending(self) -> None:
        self.served = True
        if self.error is not None:
            raise self.error

    def abort(self) -> None:
        self.aborted = True


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=["KeyboardInterrupt", "SystemExit"])
def test_an_exception_that_ends_the_program(error: BaseException) -> None:
    """The loop raises it; the others are served before. No connection gets it: uvloop would swallow it."""
    loop = asyncio.new_event_loop()
    waiting = ReadyConnections(loop)
    one, two = Raising(loop, error), Raising(loop, None)
    loop.call_soon(waiting.add, one)
    loop.call_soon(waiting.add, two)
    with pytest.raises(type(error)):
        loop.run_until_complete(asyncio.sleep(60))
    assert one.aborted
    assert two.served and not two.aborted
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
