"""Content in many messages: http.response.body with more_body, one after the other."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport, exchange, running

from ..support.asking import QUIET
from ..support.clients import MIB, connected, get
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.wire import finals

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
Send = Callable[[dict[str, Any]], Awaitable[None]]


def application(stream: Callable[[Send], Awaitable[None]], **start: Any) -> Any:
    """An application that sends a head, and then what ``stream`` sends."""

    async def app(scope: dict[str, Any], receive: Any, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []} | start)
        await stream(send)

    return aiohttpd.asgi.host(app, lifespan="off")


def content(body: Any, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def connection(app: Any) -> MemoryTransport:
    loop = asyncio.get_running_loop()
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(ServerContext(prepare(app), QUIET, loop)))
    return transport


async def test_many_messages_are_few_writes() -> None:
    async def stream(send: Send) -> None:
        for number in range(1000):
            await send(content(b"%d," % number))
        await send(content(b"end", more=False))

    transport = connection(application(stream))
    transport.feed(GET)
    await until(lambda: transport.output.endswith(b"0\r\n\r\n"))
    [found] = finals(bytes(transport.output))
    assert found.body == b"".join(b"%d," % number for number in range(1000)) + b"end"
    assert transport.writes < 20


async def test_kinds_of_content() -> None:
    async def stream(send: Send) -> None:
        for body in (b"a", b"", bytearray(b"b"), memoryview(b"c"), b"d" * 100_000, b"e"):
            await send(content(body))
        await send({"type": "http.response.body", "more_body": True})
        await send({"type": "http.response.body"})

    [found] = finals(await exchange(application(stream), GET, config=QUIET))
    assert found.body == b"abc" + b"d" * 100_000 + b"e"


@pytest.mark.parametrize("body", ["text", None, 3])
async def test_content_that_is_not_bytes(body: object) -> None:
    refused = 0

    async def stream(send: Send) -> None:
        nonlocal refused
        await send(content(b"a"))
        for _ in range(2):
            with pytest.raises(TypeError):
                await send(content(body))
            refused += 1
            await send(content(b"b"))
        await send(content(b"", more=False))

    [found] = finals(await exchange(application(stream), GET, config=QUIET))
    assert (found.body, refused) == (b"abb", 2)


async def test_more_than_the_length(caplog: pytest.LogCaptureFixture) -> None:
    async def stream(send: Send) -> None:
        for _ in range(3):
            await send(content(b"abcd"))

    transport = connection(application(stream, headers=[(b"content-length", b"10")]))
    transport.feed(GET)
    await transport.closed.wait()
    assert transport.output.endswith(b"\r\n\r\nabcdabcd")
    assert "12 bytes of content, but Content-Length says 10" in caplog.text
    caplog.clear()


async def test_messages_after_the_last(caplog: pytest.LogCaptureFixture) -> None:
    async def stream(send: Send) -> None:
        await send(content(b"a"))
        await send(content(b"b"))
        await send(content(b"c", more=False))
        await send(content(b"d"))

    [found] = finals(await exchange(application(stream), GET, config=QUIET))
    assert found.body == b"abc"
    assert "after the answer was complete" in caplog.text
    caplog.clear()


@on_both_loops
async def test_another_task_sends_the_last_message_while_one_waits(caplog: pytest.LogCaptureFixture) -> None:
    """The one that has waited for a slow client then sends more: that is ignored, as after any last message."""
    begun, complete, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stream(send: Send) -> None:
        async def first() -> None:
            begun.set()
            await send(content(b"a" * 16 * MIB))
            await send(content(b"b"))
            ended.set()

        waits = asyncio.create_task(first())
        await begun.wait()
        await send(content(b"c", more=False))
        complete.set()
        await waits

    async with running(application(stream)) as server, connected(server) as client:
        await client.send(get("/"))
        await complete.wait()  # before that the client reads next to nothing
        assert (await client.answer()).body == b"a" * 16 * MIB + b"c"
        await ended.wait()
    assert "after the answer was complete" in caplog.text
    caplog.clear()


async def test_who_streams_learns_in_the_same_turn_that_the_client_has_gone() -> None:
    raised: list[bool] = []

    async def stream(send: Send) -> None:
        await asyncio.sleep(0)
        for _ in range(3):
            await send(content(b"a"))
        transport.protocol.connection_lost(None)
        for _ in range(3):
            try:
                await send(content(b"a"))
            except OSError:
                raised.append(True)

    transport = connection(application(stream))
    transport.feed(GET)
    await until(lambda: len(raised) == 3)


async def test_head_of_a_stream() -> None:
    async def stream(send: Send) -> None:
        for _ in range(10):
            await send(content(b"a"))
        await send(content(b"", more=False))

    output = await exchange(application(stream), GET.replace(b"GET", b"HEAD") + GET, config=QUIET)
    assert [answer.body for answer in finals(output, ["HEAD", "GET"])] == [b"", b"a" * 10]


async def test_trailers_after_a_stream() -> None:
    async def stream(send: Send) -> None:
        for _ in range(10):
            await send(content(b"a"))
        await send(content(b"b", more=False))
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")]})

    request = GET.replace(b"\r\n\r\n", b"\r\nTE: trailers\r\n\r\n")
    output = await exchange(application(stream, trailers=True), request, config=QUIET)
    assert output.endswith(b"b\r\n0\r\nx-sum: 1\r\n\r\n")


@pytest.mark.parametrize("part", [{"count": -1}, {"offset": -1}, {"offset": -1, "count": 1}])
@pytest.mark.parametrize("length", [None, b"10"])
async def test_a_part_of_a_file_is_not_negative(part: dict[str, int], length: bytes | None) -> None:
    """The size would be a chunk of size -1, or more content than Content-Length could be sent after it."""

    async def stream(send: Send) -> None:
        with open(__file__, "rb") as file:
            with pytest.raises(ValueError, match="at least 0"):
                await send({"type": "http.response.zerocopysend", "file": file, "more_body": True, **part})
        await send(content(b"0123456789", more=False))

    headers = [] if length is None else [(b"content-length", length)]
    [found] = finals(await exchange(application(stream, headers=headers), GET, config=QUIET))
    assert found.body == b"0123456789"
