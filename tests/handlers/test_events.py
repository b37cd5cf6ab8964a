"""Server-sent events: their format, and how a stream of them goes on, on both loops."""

import asyncio
import contextlib
import re
import ssl
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any

import pytest
import trustme

from aiohttpd import BaseHTTPRequestHandler, ContractError, HTTPError
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET
from ..support.clients import SOON, Client, connected, ended, expect_logged, get, head
from ..support.event_streams import (
    GOING,
    Block,
    Streaming,
    begin,
    block_left,
    head_fields,
    next_chunk,
    streaming,
    tick,
    wait_forever,
)
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.wire import split

MIB = 1024 * 1024


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

    @pytest.mark.parametrize(
        ("data", "more", "text"),
        [
            ({"a": 1}, {}, r"the data of an event is text, not dict: write json.dumps\("),
            (b"a", {}, "is text, not bytes"),
            ("a", {"id": 1}, "the id of an event is text, not 1"),
            ("a", {"event": 1}, "the event of an event is text, not 1"),
        ],
    )
    async def test_what_is_no_text(self, data: Any, more: dict[str, Any], text: str) -> None:
        async def block(self: Any, events: Any) -> None:
            with pytest.raises(TypeError, match=text):
                await events.send(data, **more)
            await events.send("b")

        [answer] = split(await exchange(streaming(block), get(), config=QUIET))
        assert answer.body == b"data: b\n\n"

    async def test_without_its_block(self) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(ContractError, match=r"in a block: async with self.event_stream\(\) as events"):
                await self.event_stream().send("a")
            self.send_text("well")

        handler = type("Handler", (BaseHTTPRequestHandler,), {"do_GET": body})
        [answer] = split(await exchange(handler, get(), config=QUIET))
        assert answer.body == b"well"

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
                assert await next_chunk(client) == f"data: {text}\n\n"
            asked.put_nowait("end")
            assert await next_chunk(client) == ""
            await block_left(handler)


@on_both_loops
async def test_an_error_within_the_block(caplog: pytest.LogCaptureFixture) -> None:
    async def block(self: Any, events: Any) -> None:
        await events.send("one")
        raise LookupError("oops")

    async with running(streaming(block)) as server, connected(server) as client:
        await begin(client)
        assert await next_chunk(client) == "data: one\n\n"
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


@GOING
@on_both_loops
async def test_the_client_goes_while_the_block_waits(go: Callable[[Client], None]) -> None:
    handler = streaming(tick)
    async with running(handler) as server, connected(server) as client:
        tasks = asyncio.all_tasks()
        await begin(client)
        assert await next_chunk(client) == "data: tick\n\n"
        go(client)
        await block_left(handler)
        if go is Client.send_eof:
            assert await next_chunk(client) == ""  # it still listens, and sees an end
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
        await next_chunk(client)
        go(client)
        await block_left(handler)


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
        await block_left(handler)


@on_both_loops
async def test_the_client_goes_on_tls() -> None:
    authority = trustme.CA()
    server_side, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)
    handler = streaming(tick)
    async with running(handler, ssl=server_side) as server, connected(server, tls=client_side) as client:
        await begin(client)
        assert await next_chunk(client) == "data: tick\n\n"
        client.close()
        await block_left(handler)


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
            await next_chunk(client)
        client.reset()
        await block_left(handler)


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
        assert await next_chunk(client) == "data: tick\n\n"
        async with asyncio.timeout(SOON):
            await server.shutdown()
        assert handler.left.is_set()
        assert await next_chunk(client) == ""
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
        await block_left(handler)
        await head_fields(client)
        assert await next_chunk(client) == ""


@on_both_loops
async def test_the_server_drains_while_the_client_is_slow() -> None:
    async def block(self: Any, events: Any) -> None:
        while True:
            await events.send("x" * 10_000)

    handler = streaming(block)
    async with running(handler) as server, connected(server, small=True) as client:
        await begin(client)
        shutdown = asyncio.create_task(server.shutdown())
        await block_left(handler)
        while await next_chunk(client):
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
        assert [await next_chunk(client) for _ in range(2)] == ["data: bye\n\n", ""]


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
            await block_left(handler)


@on_both_loops
async def test_http10() -> None:
    handler = streaming(tick)
    async with running(handler) as server, connected(server) as client:
        found = await begin(client, get("/", "Connection: keep-alive", version="1.0"))
        assert (found["connection"], "transfer-encoding" in found) == ("close", False)
        assert await client.reader.readexactly(12) == b"data: tick\n\n"
        await server.shutdown()
        assert await client.rest() == b""
        await block_left(handler)


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
        assert [await next_chunk(client) for _ in range(3)] == [":\n\n"] * 3
        client.close()
        await block_left(handler)


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
        found = []
        while found.count("data: x\n\n") < 8 or found[-1] != ":\n\n":
            found.append(await next_chunk(client))
        assert asyncio.get_running_loop().time() - times[-1] > 0.09
        pauses = sum(int((after - before) / 0.09) for before, after in pairwise(times))  # of a busy machine
        assert found.count(":\n\n") <= 1 + pauses


@on_both_loops
async def test_no_pings() -> None:
    async def block(self: Any, events: Any) -> None:
        await asyncio.sleep(0.03)
        await events.send("x")

    async with running(streaming(block, ping=0)) as server, connected(server) as client:
        await begin(client)
        assert await next_chunk(client) == "data: x\n\n"


async def test_in_memory_with_a_lifespan() -> None:
    """What it sets attributes on has no shutdown."""

    class Events(BaseHTTPRequestHandler):
        @staticmethod
        @contextlib.asynccontextmanager
        async def lifespan(server: Any) -> AsyncIterator[None]:
            yield

        async def do_GET(self) -> None:
            async with self.event_stream() as events:
                await events.send("first")

    assert b"data: first\n\n" in await exchange(Events, get(), config=QUIET)
