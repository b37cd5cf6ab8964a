"""Requests that have arrived together, when the connection or the server ends, or the client does not read."""

import asyncio

import pytest

from aiohttpd import Request, StreamWriter
from aiohttpd.engine.answer import PreparedResponse
from aiohttpd.engine.connection import ConnectionState

from ..support.one_connection import IDLE, Site, one_connection
from ..support.waiting import turns

GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
SMALL, WAITS, BEGINS = GET % b"small", GET % b"waits", GET % b"begins"


async def app(here: Site, request: Request, response: StreamWriter) -> None:
    """Handlers of /waits and /begins wait for `go`."""
    if request.path == "/waits":
        await here.go.wait()
    if request.path == "/reads":
        await request.body.read()
    response.send_head(200)
    response.write(request.path.encode())
    if request.path == "/aborts":
        await response.drain()
        response.abort()
    if request.path == "/begins":
        await response.drain()
        await here.go.wait()


def prepared(request: Request) -> PreparedResponse:
    return PreparedResponse(200, b"Content-Length: 8\r\n\r\nprepared", 8)


async def test_the_answers_before_a_reset_are_sent() -> None:
    async with one_connection(app) as here:
        here.transport.feed(SMALL + b"GET /aborts HTTP/1.0\r\n\r\n")
        await here.transport.closed.wait()
        assert here.served == ["/small", "/aborts"]
        assert here.transport.output.count(b"/small") == 1


async def test_100_is_sent_behind_an_answer_that_is_held_back() -> None:
    """Also if the requests are served at the end of a turn of the loop."""
    expects = b"POST /reads HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n"
    async with one_connection(app) as here:
        for count in (1, 2):
            here.transport.feed(SMALL + expects)
            await turns()
            assert here.transport.output.endswith(b"/small" + b"HTTP/1.1 100 Continue\r\n\r\n")
            here.transport.feed(b"a")
            await turns()
            assert here.answers == 2 * count


async def test_after_the_client_has_gone_nothing_is_served() -> None:
    async with one_connection(app) as here:
        here.transport.feed(WAITS + SMALL)
        await turns()
        here.transport.abort()
        await here.transport.closed.wait()
        here.go.set()
        await turns()
        assert here.served == ["/waits"]
        assert here.connection.state is ConnectionState.CLOSED
        assert here.connection not in here.context.timeouts.idle


async def test_an_idle_timeout_does_not_close_before_the_next_request() -> None:
    """It has been set before the requests, and passes between them."""
    async with one_connection(app) as here:
        here.transport.feed(SMALL)
        await turns()
        here.context.deadlines.sweep(0)
        here.transport.feed(WAITS + SMALL)
        await turns()
        here.go.set()
        while here.connection.state is not ConnectionState.IDLE:
            await asyncio.sleep(0)
        here.context.deadlines.sweep(IDLE)
        assert not here.transport.is_closing()
        await turns()
        assert here.answers == 3


async def test_a_client_that_reads_slowly_is_not_idle() -> None:
    async with one_connection(app) as here:
        here.transport.feed(WAITS)
        await turns()
        here.connection.pause_writing()
        here.go.set()
        await turns()
        here.context.deadlines.sweep(0)
        here.context.deadlines.sweep(IDLE)
        assert here.connection.state is ConnectionState.IDLE
        here.connection.resume_writing()
        here.transport.feed(SMALL)
        await turns()
        assert here.answers == 2


async def test_the_answer_after_one_that_had_begun_before_a_stop_is_the_last() -> None:
    async with one_connection(app) as here:
        here.transport.feed(BEGINS)
        await turns()
        here.context.drain()
        here.connection.drain()
        here.go.set()
        await turns()
        assert not here.transport.is_closing()
        here.transport.feed(SMALL)
        await turns()
        assert here.transport.output.count(b"Connection: close\r\n") == 1
        assert here.connection.state is not ConnectionState.IDLE


@pytest.mark.parametrize("follows", [b"", SMALL], ids=["nothing", "another"])
async def test_at_the_end_of_a_stop_one_that_had_begun_is_the_last(follows: bytes) -> None:
    """Unless the next request has arrived already."""
    async with one_connection(app) as here:
        here.transport.feed(BEGINS + follows)
        await turns()
        here.context.drain()
        here.connection.drain()
        here.context.closes_idle = True
        here.go.set()
        await here.transport.closed.wait()
        assert here.answers == (2 if follows else 1)


async def test_pipelined_requests_with_prepared_responses() -> None:
    async with one_connection(app, prepared) as here:
        here.transport.feed(3 * SMALL)
        await turns()
        assert here.transport.output.count(b"prepared") == 3
        assert here.connection.state is ConnectionState.IDLE


@pytest.mark.parametrize("fields", [b"HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", b"HTTP/1.0\r\n", b"stop"])
async def test_no_prepared_response_is_the_last(fields: bytes) -> None:
    """It does not say so, and the connection would stay open."""
    async with one_connection(app, prepared) as here:
        if fields == b"stop":
            here.context.drain()
            here.connection.drain()
            fields = b"HTTP/1.1\r\nHost: x\r\n"
        here.transport.feed(b"GET /last " + fields + b"\r\n")
        await turns()
        assert here.transport.output.endswith(b"/last")
        assert here.connection.state is not ConnectionState.IDLE
