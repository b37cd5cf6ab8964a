"""Bodies of requests on real sockets: 100 (Continue), bodies that nobody reads, clients that do not stop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from aiohttpd import Request, StreamWriter
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.testing import running

from ..support.clients import (
    BLOCK,
    EXPECT,
    FRAMINGS,
    MIB,
    WAYS_TO_GO,
    Client,
    answer_with,
    connected,
    echo_body,
    echo_path,
    framed,
    get,
    post,
)
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.wire import split


@on_both_loops
async def test_100_is_sent_at_the_first_read() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(103)
        await asyncio.sleep(0)
        await echo_body(request, response)

    async with running(app) as server, connected(server) as client:
        for _ in range(2):
            await client.send(post(5, EXPECT))
            assert [(await client.answer()).status for _ in range(2)] == [103, 100]
            await client.send(b"hello")
            assert (await client.answer()).body == b"hello"


@on_both_loops
async def test_100_is_sent_once() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        content = [await request.body.readexactly(1) for _ in range(4)]
        response.send_head(200)
        response.writelines(content)

    async with running(app) as server, connected(server) as client:
        await client.send(post(4, EXPECT))
        assert (await client.answer()).status == 100
        for byte in (b"a", b"b", b"c", b"d"):
            await client.send(byte)
        assert (await client.answer()).body == b"abcd"


@pytest.mark.parametrize("begun", [b"h", b"hello"])
@on_both_loops
async def test_no_100_once_the_body_has_begun_to_arrive(begun: bytes) -> None:
    async with running(echo_body) as server, connected(server) as client:
        await client.send(post(5, EXPECT) + begun)
        await client.send(b"hello"[len(begun) :])
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"hello")


@on_both_loops
async def test_no_100_to_http10() -> None:
    async with running(echo_body) as server, connected(server) as client:
        await client.send(post(5, EXPECT, version="1.0"))
        await client.send(b"hello")
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"hello")


@on_both_loops
async def test_no_100_within_an_answer() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.flush()
        response.write(await request.body.read())

    async with running(app) as server, connected(server) as client:
        await client.send(post(5, EXPECT))
        beginning = await client.reader.readuntil(b"\r\n\r\n")
        await client.send(b"hello")
        [answer] = split(beginning + await client.rest())
        assert (answer.status, answer.body, answer["Connection"]) == (200, b"hello", "close")


@on_both_loops
async def test_answered_without_a_100() -> None:
    async with running(answer_with("no, thanks")) as server, connected(server) as client:
        await client.send(post(5, EXPECT))
        answer = await client.answer()
        assert (answer.status, answer.body, answer["Connection"]) == (200, b"no, thanks", "close")
        await client.send(b"hello")  # as a client may that has not waited any longer
        assert await client.rest() == b""


@on_both_loops
async def test_a_body_that_is_here_lets_no_more_requests_in() -> None:
    waits: list[int] = []

    async def app(request: Request, response: StreamWriter) -> None:
        async for _ in lines(request):
            await asyncio.sleep(0.002)
            waits.append(cast(HTTPConnection, request.peer)._parser.pending)
        response.send_head(200)

    async with running(app) as server, connected(server) as client:
        client.writer.write(post(400) + b"a\n" * 200 + get() * 300_000)
        await until(lambda: len(waits) == 200, 5)
        assert max(waits) < MIB
        client.writer.transport.abort()


async def lines(request: Request) -> AsyncIterator[bytes]:
    while line := await request.body.readline():
        yield line


@on_both_loops
async def test_the_last_request_is_served_when_a_slow_reader_goes_on() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(bytes(BLOCK))

    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    for count in range(30, 90, 4):
        async with running(app) as server, connected(server, small=True) as client:
            await client.send(get() * count + get("/", "Connection: close"))
            await asyncio.sleep(0.005)
            assert len(split(await client.reader.read())) == count + 1
    assert not errors


@on_both_loops
async def test_a_search_that_failed_does_not_mislead_the_next() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        with contextlib.suppress(asyncio.LimitOverrunError):
            await request.body.readuntil(b"--")
        response.send_head(200)
        response.write(await request.body.readline())

    async with running(app) as server, connected(server) as client:
        await client.send(post(3 + BLOCK) + b"a\nb" + bytes(BLOCK))
        assert (await client.answer()).body == b"a\n"


@FRAMINGS
@pytest.mark.parametrize("late", [False, True], ids=["at once", "after the answer"])
@on_both_loops
async def test_a_short_body_that_nobody_reads(chunked: bool, late: bool) -> None:
    parts = framed(bytes(60_000), chunked)
    async with running(answer_with("read nothing")) as server, connected(server) as client:
        for _ in range(3):
            await client.send(parts[0])
            if late:
                answer = await client.answer()
                await client.send(parts[1])
            else:
                await client.send(parts[1])
                answer = await client.answer()
            assert (answer.body, answer["Connection"]) == (b"read nothing", None)


@FRAMINGS
@on_both_loops
async def test_a_long_body_that_nobody_reads(chunked: bool) -> None:
    parts = framed(bytes(MIB // 2), chunked)
    async with running(answer_with("read nothing")) as server, connected(server) as client:
        await client.send(parts[0])
        answer = await client.answer()
        assert answer.body == b"read nothing"
        assert answer["Connection"] == (None if chunked else "close")  # of chunks nobody knows how many
        await client.send(parts[1])
        assert await client.rest() == b""


@on_both_loops
async def test_an_answer_to_a_client_that_reads_last() -> None:
    content = bytes(range(256)) * 4096

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(content)

    async with running(app) as server, connected(server) as client:
        await client.send(post(MIB // 2), bytes(MIB // 2))
        assert (await client.answer()).body == content
        assert await client.rest() == b""


@on_both_loops
async def test_a_refusal_while_the_client_keeps_sending() -> None:
    async with running(echo_path) as server, connected(server) as client:
        await client.send(b"POST / HTTP/1.1\r\nHost : space\r\n\r\n")
        for _ in range(8):
            await client.send(bytes(BLOCK))
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (400, "close")
        assert await client.rest() == b""


@WAYS_TO_GO
@on_both_loops
async def test_lingering_ends_with_the_client(go: Callable[[Client], None]) -> None:
    async with running(echo_path, timeout_linger=60) as server, connected(server) as client:
        await client.send(b"bad\r\n\r\n")
        assert (await client.answer()).status == 400
        go(client)
        await until(lambda: not server.connections)
