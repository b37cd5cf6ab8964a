"""The life of a connection on real sockets: reuse, half-close, disconnects, bodies, draining; on both loops."""

import asyncio
import contextlib
import contextvars
import functools
import hashlib
import inspect
import logging
import socket
import ssl
import struct
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from aiohttpd import (
    App,
    BaseHTTPRequestHandler,
    ClientDisconnected,
    HTTPError,
    HTTPServer,
    IncompleteBody,
    Request,
    StreamWriter,
)
from aiohttpd.connection import HTTPConnection
from aiohttpd.testing import exchange, running

from ..support.waiting import until
from ..support.wire import Response, split

BOUND = 15.0  # seconds after which a test has failed, whatever it waits for
SOON = 10.0  # seconds within which happens what needs no deadline to expire
MIB = 1024 * 1024
BLOCK = 64 * 1024

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

Scenario = Callable[..., Awaitable[None]]


def on_both_loops(test: Scenario) -> Callable[..., None]:
    """Make a test of a coroutine function that takes fixtures; it is run on either loop, within BOUND."""

    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(BOUND):
                await test(**fixtures)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(bounded())

    functools.update_wrapper(run, test)
    del run.__wrapped__  # type: ignore[attr-defined]
    parameter = inspect.Parameter("loop_factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.signature(test)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[parameter, *signature.parameters.values()], return_annotation=None
    )
    return pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS)(run)


class Client:
    """One connection, seen from the other side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        self.writer.writelines(parts)
        await self.writer.drain()

    def send_eof(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        """Close by RST."""
        sock = self.writer.get_extra_info("socket")
        with socket.socket(fileno=socket.dup(sock.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Close both sides."""
        self.writer.close()

    async def answer(self, method: str = "GET") -> Response:
        """Read one answer, interim ones too; raises IncompleteReadError if it is cut."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        [response] = split(head, [method])
        response.complete = True
        if method == "HEAD" or response.status < 200 or response.status in (204, 304):
            return response
        if response["Transfer-Encoding"] == "chunked":
            response.body = await self._chunks()
        elif response["Content-Length"] is not None:
            response.body = await self.reader.readexactly(int(response["Content-Length"] or 0))
        else:
            response.body = await self.reader.read()
        return response

    async def _chunks(self) -> bytes:
        parts = []
        while True:
            line = await self.reader.readuntil(b"\r\n")
            size = int(line, 16)
            parts.append((await self.reader.readexactly(size + 2))[:-2])
            if not size:
                return b"".join(parts)

    async def rest(self) -> bytes:
        """Everything up to the end of the stream; raises ConnectionResetError if there is no such end."""
        return await self.reader.read()

    async def ask(self, path: str = "/") -> Response:
        await self.send(get(path))
        return await self.answer()


@asynccontextmanager
async def connected(
    server: HTTPServer, *, small: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    """Connect to a server; ``small`` makes a client that takes next to nothing before it reads."""
    loop = asyncio.get_running_loop()
    address = server.server_address
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.setblocking(False)
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    await loop.sock_connect(sock, address)
    options: dict[str, Any] = {"limit": 1024 if small else BLOCK}
    if tls is not None:
        options |= {"ssl": tls, "server_hostname": "localhost"}
    client = Client(*await asyncio.open_connection(sock=sock, **options))
    try:
        yield client
    finally:
        client.writer.transport.abort()


def get(path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    return head("GET", path, *fields, version=version)


def head(method: str, path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def answer_with(text: str) -> App:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(text.encode())

    return app


async def echo_path(request: Request, response: StreamWriter) -> None:
    response.send_head(200)
    response.write(request.path.encode())


async def echo_path_later(request: Request, response: StreamWriter) -> None:
    await asyncio.sleep(0)
    await echo_path(request, response)


async def echo_body(request: Request, response: StreamWriter) -> None:
    content = await request.body.read()
    response.send_head(200)
    response.write(content)


async def ended(client: Client) -> bool:
    """Whether the connection ends, in whatever way, without another byte."""
    try:
        return await client.rest() == b""
    except ConnectionResetError:
        return True


def expect_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """One error has been logged, and it is this one."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in records] == ["aiohttpd.error"]
    assert records[0].exc_info is not None
    assert text in str(records[0].exc_info[1])
    caplog.clear()


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


# The client is gone.

WAYS_TO_GO = pytest.mark.parametrize("go", [Client.close, Client.reset], ids=["close", "reset"])


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


# 100 (Continue), RFC 9110 section 10.1.1.

EXPECT = "Expect: 100-continue"


def post(length: int, *fields: str, version: str = "1.1") -> bytes:
    return head("POST", "/", f"Content-Length: {length}", *fields, version=version)


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


# Bodies that nobody reads, and clients that do not stop.

FRAMINGS = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])


def framed(content: bytes, chunked: bool) -> tuple[bytes, bytes]:
    """Head and body of a POST."""
    if not chunked:
        return post(len(content)), content
    pieces = (content[at : at + 8000] for at in range(0, len(content), 8000))
    return head("POST", "/", "Transfer-Encoding: chunked"), b"".join(map(chunk, pieces)) + LAST_CHUNK


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


# Stopping.


class Waiting:
    """An App that waits until it is released."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        self.begun.set()
        await self.released.wait()
        await echo_path(request, response)


@asynccontextmanager
async def shutting_down(server: HTTPServer, grace: float | None = None) -> AsyncIterator[asyncio.Task[None]]:
    """While the block runs, the server drains; at its end it has stopped."""
    task = asyncio.create_task(server.shutdown(grace))
    await server.shutting_down.wait()
    for _ in range(8):  # in which the listeners are closed
        await asyncio.sleep(0)
    yield task
    async with asyncio.timeout(5):
        await task


@on_both_loops
async def test_shutdown_finishes_what_is_in_flight() -> None:
    app = Waiting()
    async with running(app) as server, connected(server) as client:
        await client.send(get("/last"))
        await app.begun.wait()
        async with shutting_down(server) as task:
            assert not task.done()
            app.released.set()
            answer = await client.answer()
            assert (answer.body, answer["Connection"]) == (b"/last", "close")
            assert await client.rest() == b""


@on_both_loops
async def test_shutdown_closes_idle_connections() -> None:
    async with running(echo_path, timeout_drain_idle=0.1) as server, connected(server) as client:
        await client.ask()
        async with shutting_down(server):
            assert await client.rest() == b""


@pytest.mark.parametrize("state", ["new", "head", "idle"])
@on_both_loops
async def test_a_request_on_its_way_is_served_while_draining(state: str) -> None:
    async with running(echo_path, timeout_drain_idle=5) as server, connected(server) as client:
        await until(lambda: server.connections)
        if state == "idle":
            await client.ask()
        begun, address = (5 if state == "head" else 0), server.server_address
        await client.send(get("/late")[:begun])
        async with shutting_down(server):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            await client.send(get("/late")[begun:])
            answer = await client.answer()
            assert (answer.body, answer["Connection"]) == (b"/late", "close")
            assert await client.rest() == b""


@on_both_loops
async def test_shutdown_without_grace() -> None:
    app = Waiting()
    async with (
        running(app) as server,
        connected(server) as busy,
        connected(server) as silent,
        connected(server) as begun,
    ):
        await busy.send(get())
        await begun.send(get()[:5])
        await app.begun.wait()
        await until(lambda: len(server.connections) == 3)
        async with asyncio.timeout(SOON):
            await server.shutdown(0)
        assert not server.connections
        answer = await busy.answer()
        assert (answer.status, answer["Connection"]) == (503, "close")
        assert await ended(busy)
        assert await ended(silent)
        assert await ended(begun)


@on_both_loops
async def test_a_handler_that_ignores_everything(caplog: pytest.LogCaptureFixture) -> None:
    begun, stop = asyncio.Event(), False
    cancelled = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal cancelled
        begun.set()
        while not stop:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
        response.send_head(200)

    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await begun.wait()
        async with asyncio.timeout(3):
            await server.shutdown(0.1)
        assert cancelled
        assert await ended(client)
        assert caplog.messages == ["'GET / HTTP/1.1' is cancelled: it has not ended within 0.1 s"]
        caplog.clear()
        stop = True


@on_both_loops
async def test_an_answer_that_is_cut_at_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(b"the beginning")
        await response.drain()
        await asyncio.Event().wait()

    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await client.reader.readuntil(b"the beginning")
        await server.shutdown(0.05)
        with contextlib.suppress(ConnectionResetError):
            assert LAST_CHUNK not in await client.rest()
    assert caplog.messages == ["'GET / HTTP/1.1' is cancelled: it has not ended within 0.05 s"]
    caplog.clear()


@on_both_loops
async def test_shutting_down_ends_a_stream() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(b"tick ")
        await response.drain()
        await request.server.shutting_down.wait()
        response.write(b"end")

    async with running(app) as server, connected(server) as client:
        await client.send(get())
        answer = asyncio.create_task(client.answer())
        await until(lambda: server.connections)
        await server.shutdown()
        assert (await answer).body == b"tick end"


@on_both_loops
async def test_two_shutdowns_at_once() -> None:
    app = Waiting()
    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await app.begun.wait()
        first, second = (asyncio.create_task(server.shutdown()) for _ in range(2))
        await server.shutting_down.wait()
        app.released.set()
        assert (await client.answer()).body == b"/"
        async with asyncio.timeout(SOON):
            await asyncio.gather(first, second, server.serve_forever())
        await server.shutdown()  # and once more


@on_both_loops
async def test_a_second_shutdown_that_does_not_wait() -> None:
    app = Waiting()
    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await app.begun.wait()
        async with shutting_down(server, 10) as first:
            await server.shutdown(0)
            assert (await client.answer()).status == 503
            async with asyncio.timeout(SOON):
                await first


@on_both_loops
async def test_serve_forever_that_is_cancelled_shuts_down() -> None:
    app = Waiting()
    async with running(app) as server, connected(server) as client:
        forever = asyncio.create_task(server.serve_forever())
        await client.send(get())
        await app.begun.wait()
        forever.cancel()
        await server.shutting_down.wait()
        app.released.set()
        assert (await client.answer())["Connection"] == "close"
        with pytest.raises(asyncio.CancelledError):
            await forever


@on_both_loops
async def test_leaving_by_an_error_does_not_wait() -> None:
    app = Waiting()
    server = HTTPServer(("127.0.0.1", 0), app)

    async def leave() -> None:
        async with server, connected(server) as client:
            await client.send(get())
            await app.begun.wait()
            raise LookupError

    with pytest.raises(LookupError):
        await leave()
    assert not server.connections


# Lifespan.


@on_both_loops
async def test_lifespan_surrounds_all_connections() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        server.greeting = "hello"  # type: ignore[attr-defined]
        events.append(f"enter, {len(server.connections)} connections")
        yield
        events.append(f"leave, {len(server.connections)} connections")

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            events.append("request")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.greeting.encode())

    async with running(Handler, lifespan=lifespan) as server, connected(server) as client:
        assert (await client.ask()).body == b"hello"
    assert events == ["enter, 0 connections", "request", "leave, 0 connections"]


@on_both_loops
async def test_an_error_on_the_way_into_the_lifespan() -> None:
    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        addresses.append(server.server_address)
        raise LookupError("no database")
        yield

    addresses: list[Any] = []
    with pytest.raises(LookupError, match="no database"):
        async with running(echo_path, lifespan=lifespan):
            pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*addresses[0])


@on_both_loops
async def test_an_error_on_the_way_out_of_the_lifespan() -> None:
    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        yield
        raise LookupError("the database is gone")

    server = HTTPServer(("127.0.0.1", 0), echo_path, lifespan=lifespan)
    await server.start()
    forever = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    with pytest.raises(LookupError, match="the database is gone"):
        await server.shutdown()
    done, _ = await asyncio.wait([forever], timeout=SOON)
    forever.cancel()
    assert done
    assert isinstance(forever.exception(), LookupError)


@on_both_loops
async def test_a_handler_without_a_client_is_waited_for() -> None:
    """It may use what the lifespan has opened."""
    begun, gone = asyncio.Event(), asyncio.Event()
    events = []

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        yield
        events.append("lifespan left")

    async def app(request: Request, response: StreamWriter) -> None:
        begun.set()
        await response.wait_closed()
        gone.set()
        await asyncio.sleep(0.2)  # work that is to be finished whether or not somebody waits for the answer
        events.append("handler ended")
        response.send_head(200)

    async with running(app, lifespan=lifespan) as server:
        async with connected(server) as client:
            await client.send(get())
            await begun.wait()
            client.reset()
            await gone.wait()
        await until(lambda: not server.connections)
    assert events == ["handler ended", "lifespan left"]


# Addresses.


@on_both_loops
async def test_several_addresses_and_free_ports() -> None:
    async with HTTPServer([("127.0.0.1", 0), ("127.0.0.1", 0)], echo_path) as server:
        ports = [sock.getsockname()[1] for sock in server.sockets]
        assert len(set(ports)) == 2
        assert server.urls == [f"http://127.0.0.1:{port}" for port in ports]
        assert (server.url, server.server_port, server.server_name) == (server.urls[0], ports[0], "127.0.0.1")
        for port in ports:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            client = Client(reader, writer)
            assert (await client.ask("/here")).body == b"/here"
            client.close()
        await server.shutdown(0)


@on_both_loops
async def test_two_servers_in_one_loop() -> None:
    async with running(answer_with("one")) as one, running(answer_with("two")) as two:
        assert one.url != two.url
        async with connected(one) as client, connected(two) as other:
            assert ((await client.ask()).body, (await other.ask()).body) == (b"one", b"two")


@on_both_loops
async def test_a_unix_socket() -> None:
    seen: list[object] = []

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            seen.extend((self.client_address, self.address_string(), self.request.server_address))
            self.send_response(200)
            self.end_headers()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "socket")
        async with HTTPServer(str(path), Handler) as server:
            assert (server.url, server.server_address, server.server_port) == (f"unix:{path}", str(path), None)
            async with connected(server) as client:
                assert (await client.ask()).status == 200
            await server.shutdown(0)
        assert seen == [("unix:", 0), "unix:", str(path)]
        assert not path.exists()


@on_both_loops
async def test_a_given_socket() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    address = sock.getsockname()
    async with HTTPServer(sock, echo_path) as server, connected(server) as client:
        assert server.server_address == address
        assert (await client.ask("/given")).body == b"/given"
        await server.shutdown(0)


@on_both_loops
async def test_an_address_is_known_to_the_last_handler() -> None:
    waiting = Waiting()
    seen = []

    async def app(request: Request, response: StreamWriter) -> None:
        await waiting(request, response)
        seen.append((request.server.url, request.server.server_port, request.server.server_name))

    async with running(app) as server, connected(server) as client:
        before = (server.url, server.server_port, server.server_name)
        await client.send(get())
        await waiting.begun.wait()
        async with shutting_down(server):
            waiting.released.set()
            assert (await client.answer()).status == 200
    assert seen == [before]


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
PATTERN = bytes(range(251)) * 1000


def pieces(size: int, piece: int) -> list[bytes]:
    """``size`` bytes that do not repeat at the borders of the pieces."""
    content = (PATTERN * (size // len(PATTERN) + 1))[:size]
    return [content[at : at + piece] for at in range(0, size, piece)]


def digest(parts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


@FRAMINGS
@on_both_loops
async def test_a_large_upload_with_back_pressure(chunked: bool) -> None:
    bodies: list[Any] = []
    released = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        if request.method == "GET":
            await echo_path(request, response)
            return
        bodies.append(request.body)
        await released.wait()
        sha = hashlib.sha256()
        largest = 0
        while data := await request.body.read(BLOCK):
            sha.update(data)
            largest = max(largest, len(data))
        response.send_head(200)
        response.write(f"{sha.hexdigest()} {largest <= BLOCK}".encode())

    parts = pieces(SIZE, 100_000)
    async with running(app) as server, connected(server) as client, connected(server) as other:
        if chunked:
            request = [head("POST", "/", "Transfer-Encoding: chunked"), *map(chunk, parts), LAST_CHUNK]
        else:
            request = [post(SIZE), *parts]
        sending = asyncio.create_task(client.send(*request))
        await until(lambda: bodies and bodies[0].received > BLOCK)
        for _ in range(20):
            await other.ask()
        assert bodies[0].received < MIB  # the rest waits with the client
        released.set()
        assert (await client.answer()).body.decode() == f"{digest(parts)} True"
        await sending


@pytest.mark.parametrize("framing", ["length", "chunked", "http10"])
@pytest.mark.parametrize("piece", [5_000, 300_000])
@on_both_loops
async def test_a_large_download(framing: str, piece: int) -> None:
    parts = pieces(SIZE, piece)

    async def app(request: Request, response: StreamWriter) -> None:
        if request.path == "/next":
            await echo_path(request, response)
            return
        response.send_head(200, [("Content-Length", SIZE)] if framing == "length" else [])
        for part in parts:
            response.write(part)
            await response.drain()

    async with running(app) as server, connected(server) as client:
        await client.send(get(version="1.0" if framing == "http10" else "1.1"))
        answer = await client.answer()
        assert hashlib.sha256(answer.body).hexdigest() == digest(parts)
        if framing == "http10":
            assert (answer["Connection"], answer["Content-Length"]) == ("close", None)
            assert answer["Transfer-Encoding"] is None
        else:
            assert (await client.ask("/next")).body == b"/next"  # the connection is in order


@pytest.mark.parametrize("small", [False, True], ids=["fast", "slow"])
@pytest.mark.parametrize("fields", [(), ("Connection: close",)], ids=str)
@on_both_loops
async def test_one_large_write(fields: tuple[str], small: bool) -> None:
    size = 8 * MIB
    content = b"".join(pieces(size, size))

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(content)

    async with running(app) as server, connected(server, small=small) as client:
        await client.send(get("/", *fields))
        answer = await client.answer()
        assert answer["Content-Length"] == str(size)
        assert answer.body == content
        if fields:
            assert await client.rest() == b""
        else:
            assert (await client.ask()).body == content


@on_both_loops
async def test_a_connection_that_is_closed_behind_a_queue() -> None:
    """The last piece leaves the queue when the transport asks for more: closing then is not to upset it."""
    size = 8_000_000

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(bytes(size))

    def download(address: tuple[str, int]) -> int:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            sock.settimeout(BOUND)
            sock.connect(address)
            sock.sendall(get("/", "Connection: close"))
            return sum(map(len, iter(lambda: sock.recv(BLOCK), b"")))

    async with running(app) as server:
        assert await asyncio.to_thread(download, server.server_address) > size
        await until(lambda: not server.connections)  # reported: asyncio logs an error of its own


@on_both_loops
async def test_a_client_that_reads_as_fast_as_a_handler_writes_does_not_stop_the_others() -> None:
    turns = meanwhile = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal meanwhile
        response.send_head(200)
        before = turns
        for _ in range(10_000):
            response.write(bytes(1000))
            await response.drain()
        meanwhile = turns - before

    counting = asyncio.create_task(count())
    await exchange(app, get())
    counting.cancel()
    assert meanwhile >= 10  # reported
