"""Tasks that wait for messages run within the callback that receives them, and behave as with futures otherwise."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, Config, ConnectionClosed
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare
from aiohttpd.handlers.websocket.wakeup import Wakeup
from aiohttpd.testing import MemoryTransport

from ..support.websocket_clients import TEXT, SocketBody, close_frame, frame, opening

ANSWER = b"\x81\x01a"


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def in_a_callback(call: Callable[[], object]) -> None:
    """Call a function as the loop calls a protocol: outside of any task. Raises what it raises."""
    done = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    asyncio.get_running_loop().call_soon(run)
    await done


@asynccontextmanager
async def opened(body: SocketBody) -> AsyncIterator[MemoryTransport]:
    """A WebSocket in memory whose handler runs a body."""

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                await body(self, socket)

    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(Handler), Config(access_log=False), loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    transport.feed(opening())
    await turns()
    transport.output.clear()
    yield transport
    transport.abort()
    await turns()
    context.deadlines.close()


async def echo(_: Any, socket: Any) -> None:
    async for message in socket:
        await socket.send(message)


async def test_a_message_is_answered_within_the_callback() -> None:
    async with opened(echo) as transport:
        seen: list[bytes] = []

        def feed() -> None:
            transport.feed(frame(TEXT, b"a"))
            seen.append(bytes(transport.output))

        await in_a_callback(feed)
        await in_a_callback(feed)
        assert seen == [ANSWER, ANSWER * 2]


async def test_a_task_that_feeds_is_not_interrupted() -> None:
    async with opened(echo) as transport:
        transport.feed(frame(TEXT, b"a"))
        assert not transport.output
        await turns()
        assert transport.output == ANSWER


async def test_messages_after_one_callback_s_share_of_work() -> None:
    """What is parsed in later turns is answered there."""
    count = 700

    async with opened(echo) as transport:
        await in_a_callback(lambda: transport.feed(frame(TEXT, b"a") * count))
        assert len(transport.output) < count * len(ANSWER)
        await turns(20)
        assert transport.output == ANSWER * count


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
        await in_a_callback(lambda: transport.feed(frame(TEXT, b"a")))
        assert seen == [(tasks[0], "of the handler")]
    assert name.get() == "of nobody"


async def test_a_handler_that_ends_within_the_callback() -> None:
    async def body(_: Any, socket: Any) -> None:
        await socket.receive()

    async with opened(body) as transport:
        await in_a_callback(lambda: transport.feed(frame(TEXT, b"a") + frame(TEXT, b"b")))
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
    wakeup = Wakeup(loop)
    returned: list[bool] = []

    async def ends() -> None:
        await wakeup.wait()
        raise kind

    def received() -> None:
        wakeup.resume()
        returned.append(task.done())

    task = loop.create_task(ends())
    loop.call_soon(received)
    with pytest.raises(kind):
        loop.run_until_complete(asyncio.sleep(60))
    assert returned == [True]
    assert isinstance(task.exception(), kind)
    loop.run_until_complete(cancelled_all())
    loop.close()


async def cancelled_all() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


@pytest.mark.parametrize("make_task", [asyncio.Task, asyncio.tasks._PyTask], ids=["C", "Python"])  # type: ignore[attr-defined]
async def test_each_implementation_of_tasks(make_task: Callable[..., Any]) -> None:
    """That of C, and that of Python, which debuggers and other interpreters use."""
    loop = asyncio.get_running_loop()
    wakeup = Wakeup(loop)
    steps: list[str] = []

    async def waits() -> None:
        while True:
            try:
                await wakeup.wait()
                steps.append("woken")
            except asyncio.CancelledError as error:
                steps.append(str(error))
                return

    wakeup.resume()  # nobody waits
    wakeup.wake()
    assert not wakeup.cancel()
    task = make_task(waits(), loop=loop)
    await asyncio.sleep(0)
    assert not steps
    await in_a_callback(wakeup.resume)
    assert steps == ["woken"]
    wakeup.wake()
    assert steps == ["woken"]
    await turns(2)
    assert steps == ["woken"] * 2
    task.cancel("by the test")
    await turns(2)
    assert steps == ["woken", "woken", "by the test"]
