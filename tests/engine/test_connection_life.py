"""The life of a connection on real sockets: reuse, half-close, clients that go, errors; on both loops."""

import asyncio
import contextvars
import time
from collections.abc import Callable

import pytest

from aiohttpd import App, BaseHTTPRequestHandler, ClientDisconnected, HTTPError, IncompleteBody, Request, StreamWriter
from aiohttpd.testing import running

from ..support.clients import (
    BLOCK,
    LAST_CHUNK,
    MIB,
    SOON,
    WAYS_TO_GO,
    Client,
    chunk,
    connected,
    echo_path,
    echo_path_later,
    expect_logged,
    get,
    head,
)
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.wire import drive, split

# Reuse.


@on_both_loops
async def test_a_connection_is_reused() -> None:
    async with running(echo_path) as server, connected(server) as client:
        for path in ("/one", "/two", "/three"):
            answer = await client.ask(path)
            assert (answer.status, answer.body, answer["Connection"]) == (200, path.encode(), None)
        assert len(server.connections) == 1


@pytest.mark.parametrize("fields", [(), (("Content-Length", 2),), (("Server", "mine"),)], ids=str)
@on_both_loops
async def test_reuse_after_a_pause(fields: tuple[tuple[str, str]]) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, fields)
        response.write(b"ok")

    # Deadlines are looked at every 10 ms here.
    async with running(app, timeout_head=0.04, timeout_idle=5) as server, connected(server) as client:
        assert (await client.ask()).body == b"ok"
        await asyncio.sleep(0.1)
        assert (await client.ask()).body == b"ok"


@on_both_loops
async def test_the_time_for_a_head_begins_with_it() -> None:
    """A client whose requests never end where its segments end is not slow."""
    request = get()
    async with running(echo_path, timeout_head=0.3) as server, connected(server) as client:
        await client.send(request[:10])
        for _ in range(12):
            await client.send(request[10:] + request[:10])
            assert (await client.answer()).status == 200
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@on_both_loops
async def test_connection_close(version: str) -> None:
    async with running(echo_path) as server, connected(server) as client:
        await client.send(get("/", "Connection: close", version=version))
        answer = await client.answer()
        assert (answer.body, answer["Connection"]) == (b"/", "close")
        assert await client.rest() == b""


@on_both_loops
async def test_http10_keeps_the_connection_if_asked() -> None:
    async with running(echo_path) as server, connected(server) as client:
        for _ in range(2):
            await client.send(get("/", "Connection: keep-alive", version="1.0"))
            answer = await client.answer()
            assert (answer.body, answer["Connection"]) == (b"/", "keep-alive")


# The client closes its side.


@pytest.mark.parametrize("app", [echo_path, echo_path_later])
@pytest.mark.parametrize("count", [2, 40, 100])
@on_both_loops
async def test_half_close_after_pipelined_requests(app: App, count: int) -> None:
    paths = [f"/{number}" for number in range(count)]
    async with running(app) as server, connected(server) as client:
        await client.send(*map(get, paths))
        client.send_eof()
        answers = split(await client.rest())
        assert [answer.body.decode() for answer in answers] == paths


async def test_half_close_while_the_rest_of_a_body_is_discarded() -> None:
    """FAULT: the requests after it were lost, if the body had so many chunks that one callback did not decode all."""
    body = (chunk(b"x" * 20) + chunk(b"y")) * 300 + LAST_CHUNK
    pieces = head("POST", "/unread", "Transfer-Encoding: chunked"), body + get("/one") + get("/two")
    output, closed = await drive(echo_path, pieces, eof=True, wait=True)
    assert [answer.body for answer in split(output)] == [b"/unread", b"/one", b"/two"]
    assert closed


@on_both_loops
async def test_a_batch_that_takes_longer_than_a_head_may() -> None:
    """Handlers that never wait, and keep the loop busy past the deadline of what has arrived long ago."""

    async def app(request: Request, response: StreamWriter) -> None:
        time.sleep(0.002)
        await echo_path(request, response)

    paths = [f"/{number}" for number in range(200)]
    async with running(app, timeout_head=0.1, timeout_idle=0.1) as server, connected(server) as client:
        await client.send(*map(get, paths))
        for path in paths:
            assert (await client.answer()).body.decode() == path  # reported


@on_both_loops
async def test_half_close_while_the_handler_waits() -> None:
    seen = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        await response.wait_closed()
        seen.set()
        await echo_path(request, response)

    async with running(app) as server, connected(server) as client:
        await client.send(get("/one"), get("/two"))
        client.send_eof()
        assert [answer.body for answer in split(await client.rest())] == [b"/one", b"/two"]
        assert seen.is_set()


@on_both_loops
async def test_end_in_the_middle_of_a_head() -> None:
    async with running(echo_path) as server, connected(server) as client:
        await client.send(get()[:-4])
        client.send_eof()
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (400, "close")
        assert await client.rest() == b""


@pytest.mark.parametrize("caught", [True, False])
@pytest.mark.parametrize("body", [("Content-Length: 10", b"12345"), ("Transfer-Encoding: chunked", b"a\r\n12345")])
@on_both_loops
async def test_end_in_the_middle_of_a_body(caught: bool, body: tuple[str, bytes]) -> None:
    raised = []

    async def app(request: Request, response: StreamWriter) -> None:
        try:
            await request.body.read()
        except IncompleteBody as error:
            raised.append(error)
            if not caught:
                raise
        response.send_head(200)

    async with running(app) as server, connected(server) as client:
        await client.send(head("POST", "/", body[0]), body[1])
        client.send_eof()
        answer = await client.answer()
        assert answer.status == (200 if caught else 400)
        assert await client.rest() == b""
        assert len(raised) == 1


@WAYS_TO_GO
@on_both_loops
async def test_wait_closed_tells_of_a_client_that_goes(go: Callable[[Client], None]) -> None:
    begun, told, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        begun.set()
        await response.wait_closed()
        told.set()
        await until(lambda: not server.connections or response.is_closing() or go is Client.close)
        for _ in range(5):
            await asyncio.sleep(0)
        finished.set()  # nobody has cancelled it
        await echo_path(request, response)

    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await begun.wait()
        go(client)
        async with asyncio.timeout(SOON):
            await told.wait()
            await finished.wait()
        await until(lambda: not server.connections)


@WAYS_TO_GO
@pytest.mark.parametrize("notices", ["while it waits", "while it writes"])
@on_both_loops
async def test_drain_tells_of_a_client_that_has_gone(go: Callable[[Client], None], notices: str) -> None:
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    begun = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        begun.set()
        if notices == "while it writes":
            await response.wait_closed()
        response.send_head(200)
        try:
            for _ in range(1000):
                response.write(bytes(BLOCK))
                await response.drain()
        except ClientDisconnected:
            outcome.set_result("told")
            raise
        outcome.set_result("never told")

    async with running(app) as server, connected(server, small=True) as client:
        await client.send(get())
        await begun.wait()
        if notices == "while it waits":
            await client.reader.readexactly(1)
        go(client)
        assert await outcome == "told"
        await until(lambda: not server.connections)


@WAYS_TO_GO
@on_both_loops
async def test_a_large_write_to_a_client_that_has_gone(go: Callable[[Client], None]) -> None:
    """Nothing is logged: asyncio complains of the fifth write to a connection that is lost."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        begun.set()
        await response.wait_closed()
        response.send_head(200)
        response.write(bytes(SIZE))
        response.flush()  # reported
        ended.set()

    async with running(app) as server, connected(server, small=True) as client:
        await client.send(get())
        await begun.wait()
        go(client)
        await ended.wait()
        await until(lambda: not server.connections)


@WAYS_TO_GO
@on_both_loops
async def test_cancel_on_disconnect(go: Callable[[Client], None]) -> None:
    begun, cleaned = asyncio.Event(), asyncio.Event()
    cancelled = 0

    class Handler(BaseHTTPRequestHandler):
        cancel_on_disconnect = True

        async def do_GET(self) -> None:
            nonlocal cancelled
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1
                raise
            finally:
                await asyncio.sleep(0.05)
                cleaned.set()

    async with running(Handler) as server, connected(server) as client:
        await client.send(get())
        await begun.wait()
        go(client)
        async with asyncio.timeout(SOON):
            await cleaned.wait()
        await until(lambda: not server.connections)
        assert cancelled == 1


# More than waits for a handler, and the rest fits into the kernel's buffer: a FIN behind it is seen.
PAUSING = 300_000  # bytes of a body that nobody reads, after which the peer is paused


@WAYS_TO_GO
@on_both_loops
async def test_a_client_that_goes_while_reading_is_paused(go: Callable[[Client], None]) -> None:
    begun, told = asyncio.Event(), asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        begun.set()
        await response.wait_closed()
        told.set()
        response.send_head(200)

    async with running(app, timeout_head=0.2) as server, connected(server) as client:
        await client.send(head("POST", "/", "Content-Length: 1000000"), bytes(PAUSING))
        await begun.wait()
        await until(lambda: all(connection._reading_paused for connection in server.connections))
        go(client)
        async with asyncio.timeout(SOON):
            await told.wait()
        await until(lambda: not server.connections)


@on_both_loops
async def test_a_cleanup_is_cancelled_once_while_reading_is_paused() -> None:
    cleaned = asyncio.Event()

    class Handler(BaseHTTPRequestHandler):
        cancel_on_disconnect = True

        async def do_POST(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.3)  # several sweeps
                cleaned.set()

    async with running(Handler, timeout_head=0.2) as server, connected(server) as client:
        await client.send(head("POST", "/", "Content-Length: 1000000"), bytes(PAUSING))
        await until(lambda: any(connection._reading_paused for connection in server.connections))
        client.close()
        async with asyncio.timeout(SOON):
            await cleaned.wait()


# Errors.


@pytest.mark.parametrize("framing", ["length", "chunked", "http10"])
@on_both_loops
async def test_an_error_within_an_answer(framing: str, caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [("Content-Length", 10)] if framing == "length" else [])
        response.write(b"12345")
        await response.drain()
        raise LookupError("in the middle")

    async with running(app) as server, connected(server) as client:
        await client.send(get(version="1.0" if framing == "http10" else "1.1"))
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await client.answer()
        await until(lambda: not server.connections)
    expect_logged(caplog, "in the middle")


@pytest.mark.parametrize("head_set", [False, True])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_client_of_another_connection_has_gone(
    method: str, caplog: pytest.LogCaptureFixture, *, head_set: bool
) -> None:
    """FAULT: HEAD got no response at all, so that the client took the next one for it."""

    async def app(request: Request, response: StreamWriter) -> None:
        if request.path == "/fails":
            if head_set:
                response.send_head(200)
            raise ClientDisconnected("a client to which this handler passes something on")
        await echo_path(request, response)

    async with running(app) as server, connected(server) as client:
        await client.send(head(method, "/fails"))
        assert (await client.answer(method)).status == 500
        expect_logged(caplog, "passes something on")
        assert (await client.ask("/next")).body == b"/next"


@on_both_loops
async def test_an_error_before_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        await asyncio.sleep(0)
        raise LookupError("before anything")

    async with running(app) as server, connected(server) as client:
        assert (await client.ask()).status == 500
        expect_logged(caplog, "before anything")
        assert (await client.ask()).status == 500
    expect_logged(caplog, "before anything")


@pytest.mark.parametrize(
    "error", [HTTPError(404, "two\nlines"), HTTPError(404, headers=[("No Name", "")]), HTTPError(42)], ids=repr
)
@on_both_loops
async def test_an_error_that_cannot_be_answered_as_it_is(error: HTTPError, caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        await asyncio.sleep(0)
        raise error

    async with running(app) as server, connected(server) as client:
        async with asyncio.timeout(SOON):
            assert (await client.ask()).status in (404, 500)
    caplog.clear()


@on_both_loops
async def test_handle_error_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        await asyncio.sleep(0)
        raise LookupError("first")

    def handle_error(error: BaseException, request: Request) -> None:
        raise LookupError("second")

    async with running(app) as server, connected(server) as client:
        server.handle_error = handle_error  # type: ignore[method-assign]
        async with asyncio.timeout(SOON):
            assert (await client.ask()).status == 500
    caplog.clear()


# What requests must not see of one another.

user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("pipelined", [False, True])
@on_both_loops
async def test_context_variables_do_not_leak(waits: bool, pipelined: bool) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        found = user.get()
        user.set(request.path)
        if waits:
            await asyncio.sleep(0)
        response.send_head(200)
        response.write(f"{found} {user.get()}".encode())

    paths = ["/alice", "/bob", "/carol"]
    async with running(app) as server, connected(server) as client:
        if pipelined:
            await client.send(*map(get, paths))
            answers = [await client.answer() for _ in paths]
        else:
            answers = [await client.ask(path) for path in paths]
        assert [answer.body.decode() for answer in answers] == [f"nobody {path}" for path in paths]


# Large transfers.

SIZE = 20 * MIB
