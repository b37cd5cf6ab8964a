"""Tasks that wait for messages run together: in the next turn of the loop, or as soon as enough bytes wait.

Otherwise they behave as with futures.
"""

import asyncio
import contextvars
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, Config, ConnectionClosed
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.wakeup import Batch, Wakeup
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport

from ..support.waiting import in_a_callback, turns
from ..support.websocket_clients import BINARY, TEXT, SocketBody, close_frame, frame, opening

ANSWER = b"\x81\x01a"
LARGE = 600_000  # bytes of a message for which its task runs at once
BATCH = 512 * 1024  # bytes of messages


class Marker:
    """An object that one context has."""


@asynccontextmanager
async def connected(body: SocketBody, count: int) -> AsyncIterator[list[MemoryTransport]]:
    """WebSockets in memory whose handlers run a body."""

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                await body(self, socket)

    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(Handler), Config(access_log=False), loop)
    transports = []
    for _ in range(count):
        transport = MemoryTransport(loop)
        transport.connect(HTTPConnection(context))
        transport.feed(opening())
        transports.append(transport)
    await turns()
    for transport in transports:
        transport.output.clear()
    yield transports
    for transport in transports:
        transport.abort()
    await turns()
    context.deadlines.close()


@asynccontextmanager
async def opened(body: SocketBody) -> AsyncIterator[MemoryTransport]:
    async with connected(body, 1) as (transport,):
        yield transport


async def echo(_: Any, socket: Any) -> None:
    async for message in socket:
        await socket.send(message)


async def test_small_messages_are_answered_in_the_next_turn() -> None:
    """All are read before, so that the answers are written one after another."""
    async with connected(echo, 8) as transports:

        def feed() -> list[int]:
            for transport in transports:
                transport.feed(frame(TEXT, b"a"))
            return [len(transport.output) for transport in transports]

        assert await in_a_callback(feed) == [0] * 8
        await turns(1)
        assert [transport.output for transport in transports] == [ANSWER] * 8


async def test_large_messages_are_answered_while_others_are_read() -> None:
    """Not more than a batch of them waits, and one message more."""
    size = 60_000
    async with connected(echo, 32) as transports:
        waited: list[int] = []

        def feed() -> None:
            for number, transport in enumerate(transports, 1):
                transport.feed(frame(BINARY, bytes(size)))
                answered = sum(bool(other.output) for other in transports)
                waited.append((number - answered) * size)

        await in_a_callback(feed)
        assert max(waited) <= BATCH
        assert waited.count(0) == 32 // 9
        await turns()
        assert {len(transport.output) for transport in transports} == {size + 4}


async def test_a_message_that_fills_a_batch_is_answered_at_once() -> None:
    async with opened(echo) as transport:

        def feed() -> int:
            transport.feed(frame(BINARY, bytes(LARGE)))
            return len(transport.output)

        for number in (1, 2, 3):
            assert await in_a_callback(feed) == number * (LARGE + 10)


async def test_a_task_that_feeds_is_not_interrupted() -> None:
    async with opened(echo) as transport:
        transport.feed(frame(BINARY, bytes(LARGE)))
        assert not transport.output
        await turns()
        assert len(transport.output) == LARGE + 10


async def test_messages_after_one_callback_s_share_of_work() -> None:
    """What is parsed in later turns is answered there."""
    count = 700
    async with opened(echo) as transport:
        await in_a_callback(lambda: transport.feed(frame(TEXT, b"a") * count))
        assert len(transport.output) < count * len(ANSWER)
        await turns(20)
        assert transport.output == ANSWER * count


async def test_a_handler_that_does_not_wait_is_not_run() -> None:
    """Its messages wait, however large they are; the tasks of others are run in time."""
    busy = asyncio.Event()
    first = True

    async def body(_: Any, socket: Any) -> None:
        nonlocal first
        mine, first = first, False
        async for message in socket:
            if mine:
                await busy.wait()
            await socket.send(message)

    async with connected(body, 2) as (slow, quick):
        for _ in range(3):
            await in_a_callback(lambda: slow.feed(frame(BINARY, bytes(LARGE))))
        await in_a_callback(lambda: quick.feed(frame(TEXT, b"a")))
        await turns()
        assert not slow.output
        assert quick.output == ANSWER
        busy.set()
        await turns()
        assert len(slow.output) == 3 * (LARGE + 10)


async def test_the_task_and_its_context() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="of nobody")
    seen: list[tuple[object, str]] = []
    tasks: list[object] = []

    async def body(_: Any, socket: Any) -> None:
        tasks.append(asyncio.current_task())
        name.set("of the handler")
        while await socket.receive():
            seen.append((asyncio.current_task(), name.get()))

    async with opened(body) as transport:
        await in_a_callback(lambda: transport.feed(frame(TEXT, b"a" * LARGE)))
        assert seen == [(tasks[0], "of the handler")]
    assert name.get() == "of nobody"


async def test_a_handler_that_ends_within_the_callback() -> None:
    async def body(_: Any, socket: Any) -> None:
        await socket.receive()

    async with opened(body) as transport:
        await in_a_callback(lambda: transport.feed(frame(TEXT, b"a" * LARGE) + frame(TEXT, b"b")))
        assert transport.output == b"\x88\x02\x03\xe8"
        await in_a_callback(lambda: transport.feed(close_frame(1000)))
        await transport.closed.wait()


async def test_a_message_and_the_close_in_one_piece() -> None:
    ends: list[int] = []

    async def body(_: Any, socket: Any) -> None:
        try:
            while True:
                await socket.receive()
        except ConnectionClosed as error:
            ends.append(error.code)

    async with opened(body) as transport:
        await in_a_callback(lambda: transport.feed(frame(TEXT, b"a") + close_frame(1001)))
        await turns()
        assert ends == [1001]


@pytest.mark.parametrize("impatient", ["timeout", "wait_for"])
async def test_a_wait_with_a_limit_of_time(impatient: str) -> None:
    """The wait is cancelled; the message that comes later is not lost."""
    seen: list[object] = []

    async def body(_: Any, socket: Any) -> None:
        try:
            if impatient == "wait_for":
                await asyncio.wait_for(socket.receive(), 0.001)
            else:
                async with asyncio.timeout(0.001):
                    await socket.receive()
        except TimeoutError as error:
            seen.append(error)
        gave_up.set()
        seen.append(await socket.receive())

    gave_up = asyncio.Event()
    async with opened(body) as transport:
        await gave_up.wait()
        await in_a_callback(lambda: transport.feed(frame(TEXT, b"a")))
        await turns(2)
        assert isinstance(seen[0], TimeoutError)
        assert seen[1:] == ["a"]


async def test_a_cancellation_after_the_message_has_arrived() -> None:
    """The task is scheduled already; it is cancelled nevertheless, and the message is kept for the next one."""
    seen: list[str] = []

    async def body(_: Any, socket: Any) -> None:
        waiting = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        transports[0].feed(frame(TEXT, b"a"))  # by a task, so it schedules the one that waits
        assert waiting.cancel("enough")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        seen.append(await socket.receive())

    transports: list[MemoryTransport] = []
    begun = asyncio.Event()

    async def when_told(handler: Any, socket: Any) -> None:
        await begun.wait()
        await body(handler, socket)

    async with opened(when_told) as transport:
        transports.append(transport)
        begun.set()
        await turns()
        assert seen == ["a"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_the_end_of_the_program_is_the_loop_s(kind: type[BaseException]) -> None:
    """The connection gets no exception, since uvloop would swallow it: the loop raises it after the callback."""
    loop = asyncio.new_event_loop()
    wakeup, batch = Wakeup(loop), Batch(loop)
    returned: list[bool] = []

    async def ends() -> None:
        await wakeup.wait()
        raise kind

    def received() -> None:
        batch.add(wakeup, LARGE)
        returned.append(task.done())

    task = loop.create_task(ends())
    loop.call_soon(received)
    with pytest.raises(kind):
        loop.run_until_complete(asyncio.sleep(60))
    assert returned == [True]
    assert isinstance(task.exception(), kind)
    loop.run_until_complete(cancelled_all())
    loop.close()


@pytest.mark.parametrize("how", ["wake", "batch", "cancel"])
async def test_the_context_of_the_task_is_forgotten(how: str) -> None:
    """A variable of it that refers to the request would keep it in memory: the body of the request has the wake-up."""
    loop = asyncio.get_running_loop()
    wakeup, batch = Wakeup(loop), Batch(loop)
    variable: contextvars.ContextVar[object] = contextvars.ContextVar("variable")
    kept: list[weakref.ref[Marker]] = []

    async def waits() -> None:
        marker = Marker()
        kept.append(weakref.ref(marker))
        variable.set(marker)
        del marker
        await wakeup.wait()

    task = loop.create_task(waits())
    await turns()
    if how == "wake":
        wakeup.wake()
    elif how == "batch":
        batch.add(wakeup, 1)
    else:
        task.cancel()
    await asyncio.wait([task])
    del task
    await turns()
    assert kept[0]() is None


async def test_a_task_in_whose_context_bytes_arrive() -> None:
    """Nothing can enter the context then, so it runs in the next turn. The other tasks run as ever."""
    loop = asyncio.get_running_loop()
    first, second, batch, context = Wakeup(loop), Wakeup(loop), Batch(loop), contextvars.copy_context()
    steps: list[str] = []

    async def waits(wakeup: Wakeup, name: str) -> None:
        await wakeup.wait()
        steps.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(waits(first, "same context"), context=context)
        group.create_task(waits(second, "other"))
        await turns()
        loop.call_soon(lambda: (batch.add(first, 1), batch.add(second, LARGE), steps.append("end")), context=context)
    assert steps == ["other", "end", "same context"]


async def cancelled_all() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@pytest.mark.parametrize("make_task", [asyncio.Task, asyncio.tasks._PyTask], ids=["C", "Python"])  # type: ignore[attr-defined]
async def test_each_implementation_of_tasks(make_task: Callable[..., Any]) -> None:
    """That of C, and that of Python, which debuggers and other interpreters use."""
    loop = asyncio.get_running_loop()
    wakeup, batch = Wakeup(loop), Batch(loop)
    steps: list[str] = []

    async def waits() -> None:
        while True:
            try:
                await wakeup.wait()
                steps.append("woken")
            except asyncio.CancelledError as error:
                steps.append(str(error))
                return

    wakeup.wake()  # nobody waits
    assert not wakeup.cancel()
    task = make_task(waits(), loop=loop)
    await asyncio.sleep(0)
    assert not steps
    await in_a_callback(lambda: batch.add(wakeup, LARGE))
    assert steps == ["woken"]
    wakeup.wake()
    assert steps == ["woken"]
    await turns(2)
    assert steps == ["woken"] * 2
    task.cancel("by the test")
    await turns(2)
    assert steps == ["woken", "woken", "by the test"]
