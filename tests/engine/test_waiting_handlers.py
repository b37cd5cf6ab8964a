"""A handler that waits: the deadline of its connection does not count for it, and begins anew after it."""

import asyncio
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, Config, Request, StreamWriter
from aiohttpd.engine.connection import ConnectionState, HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import App
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport

from ..support.waiting import until

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LATER = 1_000_000.0  # seconds: no deadline is as long


class Clock:
    """A connection in memory, and its deadlines, which this sweeps at times of its own."""

    def __init__(self, app: App, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        self._context = ServerContext(prepare(app), Config(access_log=False, **options), loop)
        self._now = loop.time()
        self.transport = MemoryTransport(loop)
        self.connection = HTTPConnection(self._context)
        self.transport.connect(self.connection)

    def passes(self, seconds: float) -> bool:
        """Let time pass; return whether the connection is still open."""
        self._context.deadlines.sweep(self._now)  # what has been started is started now
        self._now += seconds
        self._context.deadlines.sweep(self._now)
        return not self.transport.is_closing()

    def close(self) -> None:
        self._context.deadlines.close()


class Waits:
    """An App that waits for `go` before it answers."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        self.waiting += 1
        await self.go.wait()
        self.go.clear()
        response.send_head(200)
        response.write(b"answer")


@pytest.mark.parametrize("same", [False, True])
async def test_the_deadlines_of_the_connection_do_not_count_for_a_handler(same: bool) -> None:
    app = Waits()
    clock = Clock(app, timeout_head=7, timeout_idle=7 if same else 5)
    for number in range(1, 4):
        clock.transport.feed(GET)
        await until(lambda number=number: app.waiting == number)  # type: ignore[misc]
        assert clock.passes(LATER)
        app.go.set()
        await until(lambda number=number: clock.transport.output.count(b"answer") == number)  # type: ignore[misc]
        assert clock.passes(4)
    assert not clock.passes(4)
    clock.close()


async def test_the_deadline_begins_with_the_end_of_the_response() -> None:
    app = Waits()
    clock = Clock(app, timeout_head=7, timeout_idle=5)
    clock.transport.feed(GET)
    await until(lambda: app.waiting == 1)
    assert clock.passes(4)  # nearly over, when the handler returns
    app.go.set()
    await until(lambda: b"answer" in clock.transport.output)
    assert clock.passes(4)
    assert not clock.passes(2)
    clock.close()


async def test_what_waits_behind_a_handler_has_no_deadline() -> None:
    app = Waits()
    clock = Clock(app, timeout_head=5, timeout_idle=5)
    clock.transport.feed(GET * 3)
    for number in range(1, 4):
        await until(lambda number=number: app.waiting == number)  # type: ignore[misc]
        app.go.set()
        await until(lambda number=number: clock.transport.output.count(b"answer") == number)  # type: ignore[misc]
        assert clock.passes(4)
        clock.passes(0)
    clock.close()


async def test_the_rest_of_a_head_has_a_deadline() -> None:
    app = Waits()
    clock = Clock(app, timeout_head=5, timeout_idle=50)
    clock.transport.feed(GET + GET[:-4])
    await until(lambda: app.waiting == 1)
    assert clock.passes(LATER)
    app.go.set()
    await until(lambda: b"answer" in clock.transport.output)
    await asyncio.sleep(0)
    assert clock.passes(4)
    clock.passes(2)
    await until(lambda: b" 408 " in clock.transport.output)
    clock.close()


async def test_the_rest_of_a_body_that_nobody_reads_has_a_deadline() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(b"answer")

    clock = Clock(app, timeout_linger=5)
    clock.transport.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    await until(lambda: b"answer" in clock.transport.output)
    assert clock.passes(4)
    assert clock.connection.state is ConnectionState.DISCARDING
    clock.transport.feed(b"content")  # it does not restart the deadline
    assert clock.passes(2)
    assert clock.connection.state is ConnectionState.LINGERING
    assert clock.passes(4)
    assert not clock.passes(2)
    clock.close()


async def test_the_deadline_of_a_handler_does_not_count_while_it_waits_for_its_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It begins anew with the content."""
    received = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        assert await request.body.readexactly(1) == b"1"
        received.set()
        await asyncio.Event().wait()

    clock = Clock(app, timeout_handler=5, timeout_body=60)
    clock.transport.feed(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    await until(lambda: clock.connection.handler is not None)
    for seconds in (6, 6, 3):
        await asyncio.sleep(0)
        assert clock.passes(seconds)
    clock.transport.feed(b"1")
    await received.wait()
    assert clock.passes(4)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not clock.transport.output
    assert clock.passes(2)
    await until(lambda: b" 503 " in clock.transport.output)
    assert "no answer was begun within timeout_handler" in caplog.text
    caplog.clear()
    clock.close()


async def test_an_upgraded_connection_has_none() -> None:
    upgraded = asyncio.Event()

    class Upgrades(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            reader, writer = await self.upgrade("echo")
            upgraded.set()
            writer.write(await reader.read(100))
            await writer.drain()

    clock = Clock(Upgrades, timeout_head=5, timeout_idle=5)
    clock.transport.feed(GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"))
    await upgraded.wait()
    assert clock.passes(LATER)
    clock.transport.feed(b"hello")
    await until(lambda: clock.transport.output.endswith(b"hello"))
    clock.close()
