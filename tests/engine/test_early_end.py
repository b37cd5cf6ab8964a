"""An answer that its handler ends before it returns: the connection goes on, and the handler, too."""

import asyncio

import pytest

from aiohttpd import Request, StreamWriter
from aiohttpd.testing import running
from aiohttpd.wire.response import ResponseFields

from ..support.clients import LAST_CHUNK, chunk, connected, expect_logged, get, head
from ..support.waiting import BOUND, until


@pytest.mark.parametrize("waits_before", [False, True])
async def test_the_next_request_does_not_wait(*, waits_before: bool) -> None:
    released = asyncio.Event()
    ended: list[str] = []

    async def app(request: Request, response: StreamWriter) -> None:
        if waits_before:
            await asyncio.sleep(0.01)
        response.send_head(200)
        response.write(request.path.encode())
        response.end()
        response.end()  # it has ended already
        await response.wait_closed()  # nobody is waited for any more
        await released.wait()
        ended.append(request.path)

    async with running(app) as server, connected(server) as client:
        await client.send(get("/1"), get("/2"), get("/3"))
        assert [(await client.answer()).body for _ in range(3)] == [b"/1", b"/2", b"/3"]
        await until(lambda: server.in_flight == 3)
        released.set()
        await until(lambda: not server.in_flight)
        assert sorted(ended) == ["/1", "/2", "/3"]
        assert (await client.ask("/4")).body == b"/4"


async def test_a_connection_that_is_to_be_closed_is() -> None:
    released = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_whole(200, ResponseFields.of([("Connection", "close")]), b"all")
        await released.wait()

    async with running(app) as server, connected(server) as client:
        await client.send(get())
        assert (await client.rest()).endswith(b"all")
        released.set()


@pytest.mark.parametrize("whole", [True, False])
async def test_another_one_after_a_status_that_is_refused(whole: bool) -> None:
    """FAULT: the second one had no Content-Length if the first had one. `send_head` did not refuse the status."""

    async def app(request: Request, response: StreamWriter) -> None:
        with pytest.raises(ValueError, match="three digits"):
            if whole:
                response.send_whole(1000, ResponseFields.of([("Content-Length", 3)]), b"all")
            else:
                response.send_head(1000, ResponseFields.of([("Content-Length", 3)]))
        response.send_whole(200, ResponseFields(), b"another")

    async with running(app) as server, connected(server) as client:
        answer = await client.ask("/")
        assert (answer.status, answer.body) == (200, b"another")


async def test_what_follows_is_refused() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_whole(200, ResponseFields(), b"all")
        with pytest.raises(RuntimeError):
            response.write(b"more")
        with pytest.raises(RuntimeError):
            response.send_head(200)

    async with running(app) as server, connected(server) as client:
        assert (await client.ask()).body == b"all"
        assert (await client.ask()).body == b"all"


async def test_the_rest_of_a_body_is_nobodys() -> None:
    """Who waits for more of it when the answer ends gets no more."""
    found: list[Exception] = []

    async def read(request: Request) -> None:
        try:
            await request.body.readexactly(100)
        except Exception as error:
            found.append(error)

    async def app(request: Request, response: StreamWriter) -> None:
        reading = asyncio.create_task(read(request))
        await asyncio.sleep(0)
        response.send_whole(200, ResponseFields(), b"enough")
        await reading

    async with running(app) as server, connected(server) as client:
        await client.send(head("POST", "/", "Content-Length: 100"), b"x")
        assert (await client.answer()).body == b"enough"
        await until(lambda: found)
    assert isinstance(found[0], ConnectionError)


@pytest.mark.parametrize("fields", ["Connection: close", "Connection: keep-alive"])
async def test_a_read_of_the_rest_after_the_end_does_not_wait(fields: str) -> None:
    """Neither if the connection is closed, nor if the rest is discarded."""
    errors: list[BaseException] = []

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_whole(200, ResponseFields(), b"all")
        await asyncio.sleep(0.01)  # until the connection has gone on
        try:
            await asyncio.wait_for(request.body.read(), BOUND)
        except Exception as error:
            errors.append(error)

    async with running(app) as server, connected(server) as client:
        await client.send(head("POST", "/", "Content-Length: 9", fields), b"a part")
        assert (await client.answer()).body == b"all"
        await until(lambda: errors)
        assert str(errors[0]) == "the answer is complete, and the rest of the body is not wanted"


@pytest.mark.parametrize("flushes", [False, True])
async def test_trailers_stand_after_chunks_only(*, flushes: bool) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(b"all")
        if flushes:
            response.flush()
        response.end(ResponseFields.of([("X-Sum", "7")]))

    async with running(app) as server, connected(server) as client:
        await client.send(get("/", "Connection: close"))
        got = await client.rest()
    if flushes:
        assert got.endswith(chunk(b"all") + LAST_CHUNK[:3] + b"X-Sum: 7\r\n\r\n")
    else:
        assert got.endswith(b"\r\n\r\nall") and b"X-Sum" not in got


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("flushes", [False, True])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_error_after_the_end_does_not_damage_the_response(
    caplog: pytest.LogCaptureFixture, version: str, *, waits: bool, flushes: bool
) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(b"all")
        if flushes:
            response.flush()
        response.end()
        if waits:
            await asyncio.sleep(0)
        raise ValueError("later")

    async with running(app) as server, connected(server) as client:
        await client.send(f"GET / HTTP/{version}\r\nHost: a\r\n\r\n".encode())
        assert (await client.answer()).body == b"all"
        await until(lambda: caplog.records)
        expect_logged(caplog, "later")
        if version == "1.1":
            await client.send(get("/", "Connection: close"))
            assert (await client.answer()).body == b"all"
            await until(lambda: caplog.records)
            expect_logged(caplog, "later")


async def test_a_handler_that_goes_on_without_its_client_is_no_error() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_whole(200, ResponseFields(), b"all")
        await until(response.is_closing)
        await response.drain()

    async with running(app) as server:
        async with connected(server) as client:
            assert (await client.ask()).body == b"all"
        await until(lambda: not server.in_flight)


@pytest.mark.parametrize("ends", [False, True])
async def test_an_abort_after_the_end_cuts_no_other_answer(*, ends: bool) -> None:
    """The connection belongs to the next request, which may be that of another user of a proxy."""
    first: list[StreamWriter] = []

    async def app(request: Request, response: StreamWriter) -> None:
        await asyncio.sleep(0)
        if first:
            first[0].abort()
        first.append(response)
        response.send_whole(200, ResponseFields(), request.path.encode())
        if ends:
            response.end()

    async with running(app) as server, connected(server) as client:
        await client.send(get("/1"), get("/2"))
        assert [(await client.answer()).body for _ in range(2)] == [b"/1", b"/2"]
        assert (await client.ask("/3")).body == b"/3"
    assert not first[0].aborted
