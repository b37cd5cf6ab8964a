"""Streams of events that are cancelled, time out or fail: what ends, and what goes on."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, ClientDisconnected, HTTPServer
from aiohttpd.testing import running

from ..support.clients import SOON, Client, connected, ended, expect_logged, get
from ..support.event_streams import GOING, begin, block_left, head_fields, next_chunk, streaming
from ..support.loops import on_both_loops
from ..support.waiting import until

# Cancellation, and what else asyncio has.


async def stream(app: Callable[[Any], Awaitable[None]]) -> None:
    """Run a ``do_GET`` for a client that stays, until it returns."""
    errors: list[BaseException] = []
    done = asyncio.Event()

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            try:
                await app(self)
            except BaseException as error:
                errors.append(error)
                raise
            finally:
                done.set()

    async with running(Handler) as server, connected(server) as client:
        await client.send(get())
        await done.wait()
        if not errors:
            await head_fields(client)
            while await next_chunk(client):
                pass
    if errors:
        raise errors[0]


@pytest.mark.parametrize(
    ("cancel", "waits"),
    [
        (lambda task, events: task.cancel(), True),
        (lambda task, events: task.cancel(), False),
        (lambda task, events: (events._cancel(), task.cancel()), True),
        (lambda task, events: (task.cancel(), events._cancel()), True),
    ],
    ids=["alone", "while it is left", "after us", "before us"],
)
@on_both_loops
async def test_cancelled_by_somebody_else(cancel: Callable[..., Any], waits: bool) -> None:
    """What we do ends here; the other is not for us to swallow."""

    async def inner(self: Any) -> None:
        async with self.event_stream() as events:
            asyncio.get_running_loop().call_soon(cancel, asyncio.current_task(), events)
            if waits:
                await asyncio.Event().wait()

    async def app(self: Any) -> None:
        task = asyncio.create_task(inner(self))
        await asyncio.wait([task])
        assert task.cancelled()

    await stream(app)


@on_both_loops
async def test_a_cancellation_that_belongs_to_a_task_of_the_block(caplog: pytest.LogCaptureFixture) -> None:
    async def app(self: Any) -> None:
        async with self.event_stream():
            other = asyncio.create_task(asyncio.sleep(10))
            other.cancel()
            await other

    with pytest.raises(asyncio.CancelledError):
        await stream(app)
    assert [record.getMessage() for record in caplog.records] == ["unhandled exception in 'GET / HTTP/1.1'"]
    caplog.clear()  # it is a fault of the handler's


@on_both_loops
async def test_a_block_that_swallows_its_end() -> None:
    """It is left then, and the handler goes on in peace."""

    async def app(self: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        async with self.event_stream() as events:
            asyncio.get_running_loop().call_soon(events._cancel)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
        assert not task.cancelling()
        async with asyncio.timeout(1):
            await asyncio.sleep(0)

    await stream(app)


@on_both_loops
async def test_in_a_task_that_was_cancelled_before() -> None:
    async def inner(self: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            async with self.event_stream() as events:
                asyncio.get_running_loop().call_soon(events._cancel)
                await asyncio.Event().wait()
            self.left = True

    async def app(self: Any) -> None:
        task = asyncio.create_task(inner(self))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert (self.left, task.cancelled()) == (True, True)

    await stream(app)


@on_both_loops
async def test_a_timeout_within() -> None:
    async def block(self: Any, events: Any) -> None:
        while True:
            try:
                async with asyncio.timeout(0.01):
                    await asyncio.Event().wait()
            except TimeoutError:
                await events.send("nothing new")

    handler = streaming(block)
    async with running(handler) as server, connected(server) as client:
        await begin(client)
        assert [await next_chunk(client) for _ in range(3)] == ["data: nothing new\n\n"] * 3
        client.close()
        await block_left(handler)


@on_both_loops
async def test_a_timeout_around() -> None:
    async def app(self: Any) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), self.event_stream():
                await asyncio.Event().wait()
        async with asyncio.timeout(1):
            await asyncio.sleep(0)

    await stream(app)


@pytest.mark.parametrize("first", ["us", "them"])
@on_both_loops
async def test_a_timeout_around_at_the_same_time(first: str) -> None:
    async def app(self: Any) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as limit, self.event_stream() as events:
                if first == "us":
                    loop.call_soon(events._cancel)
                limit.reschedule(loop.time())
                if first == "them":
                    loop.call_soon(events._cancel)
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()

    await stream(app)


@on_both_loops
async def test_a_task_group_within() -> None:
    """What its tasks send fails first, or the block is cancelled first: neither is worth a word in the log."""

    async def send(events: Any, text: str) -> None:
        while True:
            await events.send(text * 1000)
            await asyncio.sleep(0)

    async def block(self: Any, events: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(send(events, "a"))
            group.create_task(send(events, "b"))
            if self.path == "/wait":
                await asyncio.Event().wait()

    for path in ("/", "/wait"):
        for go in (Client.close, Client.reset, Client.send_eof):
            handler = streaming(block)
            async with running(handler) as server, connected(server) as client:
                await begin(client, get(path))
                await next_chunk(client)
                go(client)
                await block_left(handler)


@on_both_loops
async def test_an_error_in_a_task_group_within(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise LookupError("oops")

    async def block(self: Any, events: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    async with running(streaming(block)) as server, connected(server) as client:
        await begin(client)
        assert await ended(client)
    expect_logged(caplog, "unhandled errors in a TaskGroup")


@on_both_loops
async def test_an_error_in_the_cleanup(caplog: pytest.LogCaptureFixture) -> None:
    async def block(self: Any, events: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise LookupError("oops")

    handler = streaming(block)
    async with running(handler) as server, connected(server) as client:
        await begin(client)
        client.close()
        await until(lambda: not server.in_flight)
    expect_logged(caplog, "oops")


@pytest.mark.parametrize("cancels", [False, True])
@pytest.mark.parametrize("sends", [False, True])
@GOING
@on_both_loops
async def test_a_cleanup_is_not_disturbed(go: Callable[[Client], None], sends: bool, cancels: bool) -> None:
    """The block is told once, by a cancellation or by what send() raises, and not in its ``finally`` again."""
    cleaned = False

    async def block(self: Any, events: Any) -> None:
        nonlocal cleaned
        try:
            while True:
                await (events.send("x") if sends else asyncio.Event().wait())
        finally:
            await asyncio.sleep(0.02)
            cleaned = True

    handler = streaming(block, cancel_on_disconnect=cancels)
    async with running(handler) as server, connected(server) as client:
        await begin(client)
        await handler.begun.wait()
        go(client)
        await block_left(handler)
        assert cleaned


@on_both_loops
async def test_cancel_on_disconnect_holds_after_the_block() -> None:
    after, cancelled = asyncio.Event(), asyncio.Event()

    class Handler(BaseHTTPRequestHandler):
        cancel_on_disconnect = True

        async def do_GET(self) -> None:
            async with self.event_stream() as events:
                await events.send("x")
            after.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    async with running(Handler) as server, connected(server) as client:
        await begin(client)
        await after.wait()
        client.close()
        async with asyncio.timeout(SOON):
            await cancelled.wait()


@on_both_loops
async def test_send_after_the_end() -> None:
    """Who has kept the stream learns that nobody is there, and not that it has broken a contract."""
    kept = []

    async def block(self: Any, events: Any) -> None:
        kept.append(events)

    handler = streaming(block)
    async with running(handler) as server, connected(server) as client:
        await begin(client)
        assert await next_chunk(client) == ""
        with pytest.raises(ClientDisconnected):
            await kept[0].send("x")


@on_both_loops
async def test_the_end_of_another_stream_is_not_taken_for_ours(caplog: pytest.LogCaptureFixture) -> None:
    async def block(self: Any, events: Any) -> None:
        raise ClientDisconnected("somebody else")

    async with running(streaming(block)) as server, connected(server) as client:
        await begin(client)
        assert await ended(client)
    expect_logged(caplog, "somebody else")


# Many.


@on_both_loops
async def test_many_streams() -> None:
    """Each event goes to all who are there; some go, then the server does, and nothing is left."""
    queues: set[asyncio.Queue[str]] = set()

    async def block(self: Any, events: Any) -> None:
        queue: asyncio.Queue[str] = asyncio.Queue()
        queues.add(queue)
        try:
            while True:
                await events.send(await queue.get())
        finally:
            queues.discard(queue)

    async def publish(text: str, clients: list[Client]) -> None:
        for queue in queues:
            queue.put_nowait(text)
        assert await asyncio.gather(*map(next_chunk, clients)) == [f"data: {text}\n\n"] * len(clients)

    tasks = asyncio.all_tasks()
    async with contextlib.AsyncExitStack() as stack:
        server: HTTPServer = await stack.enter_async_context(running(streaming(block)))
        clients = [await stack.enter_async_context(connected(server)) for _ in range(40)]
        await asyncio.gather(*map(begin, clients))
        await until(lambda: len(queues) == 40)
        await publish("one", clients)
        for client in clients[::2]:
            client.reset()
        await until(lambda: len(queues) == 20)
        await publish("two", clients[1::2])
        await server.shutdown()
        assert not queues
        assert await asyncio.gather(*map(next_chunk, clients[1::2])) == [""] * 20
    await until(lambda: asyncio.all_tasks() <= tasks)
