"""Requests that have arrived together: others have their turn between them, and deadlines and reading go on."""

import asyncio
import sys

import pytest

from aiohttpd import Config, Request, StreamWriter
from aiohttpd.engine.connection import ConnectionState, HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.engine.upgraded import Carrier
from aiohttpd.testing import MemoryTransport
from aiohttpd.wire.response import ResponseFields

from ..support.one_connection import HEAD, IDLE, Site, one_connection
from ..support.waiting import turns

EAGER = sys.version_info >= (3, 12)  # a handler that does not wait is done before the next one begins
SMALL = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"
WAITS = b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n"
MEDIUM = b"GET /medium HTTP/1.1\r\nHost: x\r\nA: " + 4500 * b"a" + b"\r\n\r\n"
LARGE = b"GET /large HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: %s\r\n" % (n, 500 * b"a") for n in range(20)) + b"\r\n"
POST = b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na"


async def app(here: Site, request: Request, response: StreamWriter) -> None:
    """Handlers of /waits wait for `go`."""
    if request.path == "/waits":
        await here.go.wait()
        await asyncio.sleep(0)
    response.send_head(200)
    response.write(request.path.encode())


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
    async with one_connection(app) as here:
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


async def test_reading_goes_on_after_a_turn_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a large head nothing is read for one turn: uvloop would read 32 times before others have theirs."""
    pauses = 0
    pause = MemoryTransport.pause_reading

    def pause_and_count(transport: MemoryTransport) -> None:
        nonlocal pauses
        pauses += 1
        pause(transport)

    monkeypatch.setattr(MemoryTransport, "pause_reading", pause_and_count)
    async with one_connection(app) as here:
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
        assert pauses <= 1


@pytest.mark.skipif(not EAGER, reason="a handler begins in a turn of its own, in which nothing is read")
async def test_a_large_head_before_one_that_is_not() -> None:
    async with one_connection(app) as here:
        here.transport.feed(LARGE + MEDIUM)
        assert here.served == ["/large", "/medium"]
        assert not here.transport.is_reading()
        await asyncio.sleep(0)
        assert here.transport.is_reading()


@pytest.mark.parametrize("requests", [LARGE.replace(b"large", b"waits"), 83 * MEDIUM + WAITS], ids=["large", "many"])
async def test_while_a_handler_waits_a_disconnect_is_noticed(requests: bytes) -> None:
    async with one_connection(app) as here:
        here.transport.feed(requests)
        while here.served[-1:] != ["/waits"]:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert here.transport.is_reading()
        here.go.set()


class Other:
    """A protocol after an upgrade, which reads or does not."""

    size = 0
    received = b""

    def __init__(self, *, pauses: bool) -> None:
        self.pauses = pauses

    def connection_made(self, carrier: Carrier) -> None:
        if self.pauses:
            carrier.pause_reading()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None: ...
    def eof_received(self) -> None: ...
    def resume_writing(self) -> None: ...
    def drain(self) -> None: ...
    def describe(self) -> str:
        return ""


async def test_after_an_upgrade_the_other_protocol_decides_what_is_read() -> None:
    """Also if the request had a large head, or bytes followed it."""
    loop = asyncio.get_running_loop()
    for request, pauses in ((LARGE, False), (LARGE, True), (SMALL, True), (LARGE + SMALL, False)):
        other = Other(pauses=pauses)

        async def app(request: Request, response: StreamWriter, other: Other = other) -> None:
            response.upgrade(101, ResponseFields.of([("Connection", "upgrade"), ("Upgrade", "other")]), other)
            await response.wait_closed()

        context = ServerContext(ServedApp(app), Config(access_log=False), loop)
        transport = MemoryTransport(loop)
        transport.connect(HTTPConnection(context))
        transport.feed(request)
        await turns()
        assert transport.output.startswith(b"HTTP/1.1 101 ")
        assert transport.is_reading() is not pauses
        if not pauses:
            transport.feed(b"end")
            assert other.received.endswith(b"end")
        transport.close()
        await transport.closed.wait()
        context.close()


async def test_an_answer_begins_the_wait_for_the_next_request_anew() -> None:
    for request in (SMALL, WAITS, POST, 2 * SMALL, 100 * SMALL, 20 * LARGE):
        async with one_connection(app) as here:
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
    async with one_connection(app) as here:
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


async def test_an_empty_line_in_two_pieces_is_no_head() -> None:
    """So its connection is idle; 408 would be taken for the answer to the next request."""
    async with one_connection(app) as here:
        await here.answered(SMALL)
        for byte in (b"\r", b"\n"):
            here.transport.feed(byte)
            await asyncio.sleep(0)
        assert here.connection.state is ConnectionState.IDLE
        here.context.deadlines.sweep(0)
        here.context.deadlines.sweep(IDLE - 1)
        assert not here.transport.is_closing()
        here.context.deadlines.sweep(IDLE)
        assert here.transport.is_closing()
        assert b" 408 " not in here.transport.output


async def test_an_empty_line_does_not_begin_the_first_wait_anew() -> None:
    async with one_connection(app) as here:
        here.context.deadlines.sweep(0)
        here.transport.feed(b"\r\n")
        await asyncio.sleep(0)
        here.context.deadlines.sweep(HEAD)
        assert here.transport.is_closing()
        assert not here.transport.output


async def test_a_request_of_a_client_that_does_not_read_waits_without_a_deadline() -> None:
    async with one_connection(app) as here:
        await here.answered(SMALL)
        here.connection.pause_writing()
        here.transport.feed(SMALL)
        await asyncio.sleep(0)
        here.context.deadlines.sweep(0)
        here.context.deadlines.sweep(2 * IDLE)
        assert here.served == ["/small"] and not here.transport.is_closing()
        here.connection.resume_writing()
        await turns()
        assert here.answers == 2
