"""Server-sent events: their format, and how a stream of them ends, on both loops."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trustme

from aiohttpd import BaseHTTPRequestHandler, ClientDisconnected, Config, HTTPError, HTTPServer
from aiohttpd.testing import exchange, running

from ..support.clients import SOON, Client, connected, ended, expect_logged, get, head
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.wire import split

QUIET = Config(access_log=False)
MIB = 1024 * 1024

Block = Callable[[Any, Any], Awaitable[None]]


class Streaming(BaseHTTPRequestHandler):
    """Streams what `block` sends; tells when the block has begun, and how it has been left."""

    ping = 15.0
    begun: asyncio.Event
    left: asyncio.Event
    tasks: list[Any]  # of the stream, that it has left behind

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.begun, cls.left = asyncio.Event(), asyncio.Event()
        cls.tasks = []

    async def block(self, events: Any) -> None:
        """What the stream does."""

    async def do_GET(self) -> None:
        cls: Any = type(self)
        async with self.event_stream(ping=self.ping) as events:
            cls.begun.set()
            await self.block(events)
        cls.tasks = [task for task in events._ends if not task.done()]
        cls.left.set()


def streaming(block: Block, **attributes: Any) -> Any:
    return type("Handler", (Streaming,), {"block": block, **attributes})


async def wait_forever(self: Any, events: Any) -> None:
    """For what never comes."""
    await asyncio.Event().wait()


async def tick(self: Any, events: Any) -> None:
    await events.send("tick")
    await asyncio.Event().wait()


async def begin(client: Client, request: bytes = get()) -> dict[str, str]:
    """Ask for a stream; give the fields of its head."""
    await client.send(request)
    return await fields(client)


async def fields(client: Client) -> dict[str, str]:
    text = (await client.reader.readuntil(b"\r\n\r\n")).decode()
    assert text.startswith("HTTP/1.1 200 OK\r\n")
    return {name.lower(): value for name, value in re.findall("(.*): (.*)\r\n", text)}


async def chunk(client: Client) -> str:
    """The next chunk; ``""`` for the last."""
    size = int(await client.reader.readuntil(b"\r\n"), 16)
    return (await client.reader.readexactly(size + 2))[:-2].decode()


async def left(handler: Any) -> None:
    """Wait until the block has been left in peace: the handler goes on, and nothing of the stream does."""
    async with asyncio.timeout(SOON):
        await handler.left.wait()
    assert not handler.tasks


# The format.


async def sent(*calls: tuple[str, dict[str, Any]], name: str = "send") -> str:
    """What a client gets."""

    async def block(self: Any, events: Any) -> None:
        for text, options in calls:
            await getattr(events, name)(text, **options)

    [answer] = split(await exchange(streaming(block), get(), config=QUIET))
    assert answer.complete
    return answer.body.decode()


def received(stream: str) -> list[tuple[str, str, str]]:
    """Type, data and last id of each event, by the algorithm of HTML, section 9.2.6."""
    found = []
    kind, last = "", ""
    data: list[str] = []
    for line in re.split(r"\r\n|\r|\n", stream):
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                found.append((kind or "message", "\n".join(data), last))
            kind, data = "", []
        elif name == "data":
            data.append(value)
        elif name == "event":
            kind = value
        elif name == "id" and "\0" not in value:
            last = value
    return found


class TestFormat:
    async def test_head(self) -> None:
        [answer] = split(await exchange(streaming(wait_forever), get(), config=QUIET))
        assert (answer.status, answer.body, answer.complete) == (200, b"", True)
        assert answer["Content-Type"] == "text/event-stream; charset=utf-8"
        assert (answer["Cache-Control"], answer["X-Accel-Buffering"]) == ("no-store", "no")
        assert (answer["Transfer-Encoding"], answer["Content-Length"]) == ("chunked", None)

    @pytest.mark.parametrize(
        ("data", "options", "text"),
        [
            ("a", {}, "data: a\n\n"),
            ("", {}, "data: \n\n"),
            ("a\nb", {}, "data: a\ndata: b\n\n"),
            ("a\rb", {}, "data: a\ndata: b\n\n"),
            ("a\r\nb\n\r\n", {}, "data: a\ndata: b\ndata: \ndata: \n\n"),
            ("\n", {}, "data: \ndata: \n\n"),
            (" a", {}, "data:  a\n\n"),
            ("a", {"event": "tick"}, "event: tick\ndata: a\n\n"),
            ("a", {"id": "1"}, "id: 1\ndata: a\n\n"),
            ("a", {"id": ""}, "id: \ndata: a\n\n"),
            ("a", {"retry": 2.5}, "retry: 2500\ndata: a\n\n"),
            ("a", {"retry": 0}, "retry: 0\ndata: a\n\n"),
            ("a", {"event": "e", "id": "i", "retry": 1}, "event: e\nid: i\nretry: 1000\ndata: a\n\n"),
        ],
    )
    async def test_event(self, data: str, options: dict[str, Any], text: str) -> None:
        assert await sent((data, options)) == text

    @pytest.mark.parametrize(
        "data",
        [
            "\ufeff",
            "\u2028\u2029\x85\x0b\x0c\x1c",
            "data: x",
            ":",
            "\0",
            "id: 5\n\nevent: x",
            "  ",
            "☃\U0001f600",
            "\n\n",
        ],
    )
    async def test_round_trip(self, data: str) -> None:
        """Nothing in the data can become anything else, another event least of all."""
        options = {"event": "a: \u2028b", "id": "7"}
        assert received(await sent((data, options), ("next", {}))) == [
            ("a: \u2028b", data, "7"),
            ("message", "next", "7"),
        ]

    async def test_lone_surrogates(self) -> None:
        """One who posts such a text is not to end the streams of all others."""
        assert await sent(("a\ud800\udcff", {})) == "data: a??\n\n"

    @pytest.mark.parametrize("value", ["a\nb", "a\rb", "\r\n", "\n", "a\0", "x\n\ndata: y"])
    @pytest.mark.parametrize("name", ["id", "event"])
    async def test_one_line(self, name: str, value: str) -> None:
        async def block(self: Any, events: Any) -> None:
            with pytest.raises(ValueError, match=f"the {name} of an event is one line"):
                await events.send("a", **{name: value})
            await events.send("b")

        [answer] = split(await exchange(streaming(block), get(), config=QUIET))
        assert answer.body == b"data: b\n\n"

    @pytest.mark.parametrize("retry", [-1, float("nan")])
    async def test_retry(self, retry: float) -> None:
        async def block(self: Any, events: Any) -> None:
            with pytest.raises(ValueError, match="a number of seconds"):
                await events.send("a", retry=retry)

        assert split(await exchange(streaming(block), get(), config=QUIET))[0].body == b""

    async def test_comment(self) -> None:
        text = await sent(("", {}), ("a", {}), ("a\r\ndata: b\rc", {}), name="comment")
        assert text == ": \n\n: a\n\n: a\n: data: b\n: c\n\n"
        assert received(text) == []

    @pytest.mark.parametrize("last", ["", "5", "ü ☃", "a: b"])
    async def test_last_event_id(self, last: str) -> None:
        """Browsers send it in UTF-8, whatever HTTP says."""

        async def block(self: Any, events: Any) -> None:
            await events.send(events.last_event_id)

        request = get("/", *([f"Last-Event-ID: {last}"] if last else []))
        [answer] = split(await exchange(streaming(block), request, config=QUIET))
        assert received(answer.body.decode()) == [("message", last, "")]

    async def test_last_event_id_that_is_no_utf8(self) -> None:
        async def block(self: Any, events: Any) -> None:
            await events.send(events.last_event_id)

        request = get("/", "Last-Event-ID: x").replace(b": x", b": \xff")
        assert "data: \ufffd\n\n".encode() in await exchange(streaming(block), request, config=QUIET)

    @pytest.mark.parametrize("ping", [-1, float("nan")])
    async def test_ping(self, ping: float, caplog: pytest.LogCaptureFixture) -> None:
        answer = split(await exchange(streaming(wait_forever, ping=ping), get(), config=QUIET))[0]
        assert answer.status == 500
        expect_logged(caplog, "ping is a number of seconds")

    async def test_after_a_head(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_text("x")
                async with self.event_stream():
                    pass

        assert split(await exchange(Handler, get(), config=QUIET))[0].status == 500
        expect_logged(caplog, "one request, one answer")

    async def test_with_a_cookie(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.set_cookie("a", "b")
                async with self.event_stream() as events:
                    await events.send("x")

        [answer] = split(await exchange(Handler, get(), config=QUIET))
        assert (answer["Set-Cookie"] or "").startswith("a=b;")


# The end by the block.


@on_both_loops
async def test_each_event_leaves_at_once_and_the_connection_goes_on() -> None:
    asked: asyncio.Queue[str] = asyncio.Queue()

    async def block(self: Any, events: Any) -> None:
        while (text := await asked.get()) != "end":
            await events.send(text)

    handler = streaming(block)
    async with running(handler) as server, connected(server) as client:
        for _ in range(2):
            await begin(client)
            for text in ("one", "two"):
                asked.put_nowait(text)
                assert await chunk(client) == f"data: {text}\n\n"
            asked.put_nowait("end")
            assert await chunk(client) == ""
            await left(handler)


@on_both_loops
async def test_an_error_within_the_block(caplog: pytest.LogCaptureFixture) -> None:
    async def block(self: Any, events: Any) -> None:
        await events.send("one")
        raise LookupError("oops")

    async with running(streaming(block)) as server, connected(server) as client:
        await begin(client)
        assert await chunk(client) == "data: one\n\n"
        assert await ended(client)  # without the last chunk
    expect_logged(caplog, "oops")


@on_both_loops
async def test_an_http_error_within_the_block() -> None:
    """Its answer comes too late, so it is a cut."""

    async def block(self: Any, events: Any) -> None:
        raise HTTPError(404)

    async with running(streaming(block)) as server, connected(server) as client:
        await begin(client)
        assert await ended(client)


# The end by the client.

GOING = pytest.mark.parametrize("go", [Client.close, Client.reset, Client.send_eof], ids=["close", "reset", "half"])


@GOING
@on_both_loops
async def test_the_client_goes_while_the_block_waits(go: Callable[[Client], None]) -> None:
    handler = streaming(tick)
    async with running(handler) as server, connected(server) as client:
        tasks = asyncio.all_tasks()
        await begin(client)
        assert await chunk(client) == "data: tick\n\n"
        go(client)
        await left(handler)
        if go is Client.send_eof:
            assert await chunk(client) == ""  # it still listens, and sees an end
            assert await client.rest() == b""
        await until(lambda: not server.connections and not server.in_flight)
        assert asyncio.all_tasks() <= tasks


@GOING
@on_both_loops
async def test_the_client_goes_while_the_block_sends(go: Callable[[Client], None]) -> None:
    async def block(self: Any, events: Any) -> None:
        while True:
            await events.send("x" * 1000)
            await asyncio.sleep(0)

    handler = streaming(block)
    async with running(handler) as server, connected(server) as client:
        await begin(client)
        await chunk(client)
        go(client)
        await left(handler)


@on_both_loops
async def test_the_client_has_gone_before() -> None:
    class Handler(Streaming):
        async def do_GET(self) -> None:
            await self.wfile.wait_closed()
            await super().do_GET()

        block = wait_forever

    handler: Any = Handler
    async with running(handler) as server, connected(server) as client:
        await client.send(get())
        await until(lambda: server.in_flight)
        client.reset()
        await left(handler)


@on_both_loops
async def test_the_client_goes_on_tls() -> None:
    authority = trustme.CA()
    server_side, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)
    handler = streaming(tick)
    async with running(handler, ssl=server_side) as server, connected(server, tls=client_side) as client:
        await begin(client)
        assert await chunk(client) == "data: tick\n\n"
        client.close()
        await left(handler)


@on_both_loops
async def test_a_slow_client_is_waited_for() -> None:
    """And when it goes, or the server stops, that is no wait for ever."""
    count = 0

    async def block(self: Any, events: Any) -> None:
        nonlocal count
        while True:
            await events.send("x" * 10_000)
            count += 1

    handler = streaming(block)
    async with running(handler) as server, connected(server, small=True) as client:
        await begin(client)
        seen = -1
        while seen != count:
            seen = count
            await asyncio.sleep(0.02)
        assert count * 10_000 < 16 * MIB
        for _ in range(20):
            await chunk(client)
        client.reset()
        await left(handler)


@on_both_loops
async def test_no_ping_to_a_slow_client() -> None:
    """It has enough to read."""
    waiting = asyncio.Event()

    async def block(self: Any, events: Any) -> None:
        while True:
            waiting.clear()
            await events.send("x" * 100_000)
            waiting.set()

    handler = streaming(block, ping=0.005)
    async with running(handler) as server, connected(server, small=True) as client:
        await begin(client)
        await asyncio.sleep(0.2)
        assert not waiting.is_set()
        shutdown = asyncio.create_task(server.shutdown())
        content = await client.rest()
        await shutdown
        assert content.endswith(b"\r\n0\r\n\r\n")
        assert b"\n:\n" not in content


# The end by the server.


@on_both_loops
async def test_the_server_drains() -> None:
    handler = streaming(tick)
    async with running(handler, timeout_grace=5) as server, connected(server) as client:
        await begin(client)
        assert await chunk(client) == "data: tick\n\n"
        async with asyncio.timeout(SOON):
            await server.shutdown()
        assert handler.left.is_set()
        assert await chunk(client) == ""
        assert await client.rest() == b""


@on_both_loops
async def test_the_server_drains_already() -> None:
    class Handler(Streaming):
        async def do_GET(self) -> None:
            await self.server.shutting_down.wait()
            await super().do_GET()

        block = wait_forever

    handler: Any = Handler
    async with running(handler) as server, connected(server) as client:
        await client.send(get())
        await until(lambda: server.in_flight)
        async with asyncio.timeout(SOON):
            await server.shutdown()
        await left(handler)
        await fields(client)
        assert await chunk(client) == ""


@on_both_loops
async def test_the_server_drains_while_the_client_is_slow() -> None:
    async def block(self: Any, events: Any) -> None:
        while True:
            await events.send("x" * 10_000)

    handler = streaming(block)
    async with running(handler) as server, connected(server, small=True) as client:
        await begin(client)
        shutdown = asyncio.create_task(server.shutdown())
        await left(handler)
        while await chunk(client):
            pass
        assert await client.rest() == b""
        await shutdown


@on_both_loops
async def test_a_last_event() -> None:
    """What the block does at its end is not disturbed, and reaches the client."""

    async def block(self: Any, events: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            await events.send("bye")

    handler = streaming(block)
    async with running(handler) as server, connected(server) as client:
        await begin(client)
        async with asyncio.timeout(SOON):
            await server.shutdown()
        assert [await chunk(client) for _ in range(2)] == ["data: bye\n\n", ""]


@on_both_loops
async def test_a_block_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    """The grace is for it, too; then it is cancelled like any other, and the stream looks like what it is."""
    swallowed = asyncio.Event()

    async def block(self: Any, events: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        swallowed.set()
        await asyncio.Event().wait()

    handler = streaming(block)
    async with running(handler) as server, connected(server) as client:
        await begin(client)
        await server.shutdown(0.1)
        assert swallowed.is_set()
        assert not handler.left.is_set()
        assert await ended(client)
    assert caplog.messages == ["'GET / HTTP/1.1' is cancelled: it has not ended within 0.1 s"]
    caplog.clear()


# HEAD, and HTTP/1.0.


@pytest.mark.parametrize("block", [wait_forever, tick])
@on_both_loops
async def test_head(block: Block) -> None:
    """Nobody waits for events, and the connection is wanted for something else."""
    handler = streaming(block)
    async with running(handler) as server, connected(server) as client:
        for _ in range(2):
            handler.left.clear()
            found = await begin(client, head("HEAD"))
            assert found["content-type"] == "text/event-stream; charset=utf-8"
            await left(handler)


@on_both_loops
async def test_http10() -> None:
    handler = streaming(tick)
    async with running(handler) as server, connected(server) as client:
        found = await begin(client, get("/", "Connection: keep-alive", version="1.0"))
        assert (found["connection"], "transfer-encoding" in found) == ("close", False)
        assert await client.reader.readexactly(12) == b"data: tick\n\n"
        await server.shutdown()
        assert await client.rest() == b""
        await left(handler)


@on_both_loops
async def test_an_error_in_http10(caplog: pytest.LogCaptureFixture) -> None:
    """Closing would look like the end."""
    released = asyncio.Event()

    async def block(self: Any, events: Any) -> None:
        await events.send("x")
        await released.wait()
        raise LookupError("oops")

    async with running(streaming(block)) as server, connected(server) as client:
        await begin(client, get(version="1.0"))
        await client.reader.readexactly(9)
        released.set()
        with pytest.raises(ConnectionResetError):
            await client.rest()
    expect_logged(caplog, "oops")


# Pings.


@on_both_loops
async def test_pings_while_nothing_is_sent() -> None:
    handler = streaming(wait_forever, ping=0.01)
    async with running(handler) as server, connected(server) as client:
        await begin(client)
        assert [await chunk(client) for _ in range(3)] == [":\n\n"] * 3
        client.close()
        await left(handler)


@on_both_loops
async def test_a_ping_comes_after_the_last_event() -> None:
    times = []

    async def block(self: Any, events: Any) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(8):
            await events.send("x")
            times.append(loop.time())
            await asyncio.sleep(0.02)
        await asyncio.Event().wait()

    async with running(streaming(block, ping=0.1)) as server, connected(server) as client:
        await begin(client)
        found = [await chunk(client) for _ in range(9)]
        assert found == ["data: x\n\n"] * 8 + [":\n\n"]
        assert asyncio.get_running_loop().time() - times[-1] > 0.09


@on_both_loops
async def test_no_pings() -> None:
    async def block(self: Any, events: Any) -> None:
        await asyncio.sleep(0.03)
        await events.send("x")

    async with running(streaming(block, ping=0)) as server, connected(server) as client:
        await begin(client)
        assert await chunk(client) == "data: x\n\n"


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
            await fields(client)
            while await chunk(client):
                pass
    if errors:
        raise errors[0]


@pytest.mark.parametrize(
    ("cancel", "waits"),
    [
        (lambda task, events: task.cancel(), True),
        (lambda task, events: task.cancel(), False),
        (lambda task, events: (events._tell(), task.cancel()), True),
        (lambda task, events: (task.cancel(), events._tell()), True),
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
            asyncio.get_running_loop().call_soon(events._tell)
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
                asyncio.get_running_loop().call_soon(events._tell)
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
        assert [await chunk(client) for _ in range(3)] == ["data: nothing new\n\n"] * 3
        client.close()
        await left(handler)


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
                    loop.call_soon(events._tell)
                limit.reschedule(loop.time())
                if first == "them":
                    loop.call_soon(events._tell)
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
                await chunk(client)
                go(client)
                await left(handler)


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
        await left(handler)
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
        assert await chunk(client) == ""
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
        assert await asyncio.gather(*map(chunk, clients)) == [f"data: {text}\n\n"] * len(clients)

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
        assert await asyncio.gather(*map(chunk, clients[1::2])) == [""] * 20
    await until(lambda: asyncio.all_tasks() <= tasks)
