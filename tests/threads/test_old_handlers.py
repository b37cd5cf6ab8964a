"""Handlers of ``http.server``, unmodified, on our engine: keep-alive is never poisoned, and nobody is harmed."""

import asyncio
import contextlib
import functools
import http.client
import http.server
import io
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aiohttpd import blocking
from aiohttpd.testing import exchange, running

from ..engine.test_connection_life import (
    BOUND,
    LAST_CHUNK,
    MIB,
    chunk,
    connected,
    ended,
    expect_logged,
    get,
    head,
    post,
)
from ..support.waiting import until
from ..support.wire import finals
from .test_threads import busy, threads_of, wait


class Old(http.server.BaseHTTPRequestHandler):
    """As one finds them, but for the version, which keeps the connection."""

    protocol_version = "HTTP/1.1"

    def answer(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.answer(self.path.encode())

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))


class ByConnection(Old):
    """It sees connections, and not only requests."""

    def handle(self) -> None:
        super().handle()


def writing(*pieces: bytes, base: Any = Old) -> Any:
    """A handler that writes just that, but for ``/next``."""

    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            if self.path == "/next":
                self.answer(b"next")
                return
            for piece in pieces:
                self.wfile.write(piece)

        do_HEAD = do_GET

        def do_POST(self) -> None:
            self.do_GET()

    return Handler


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What has been reported."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return [str(record.exc_info[1]) if record.exc_info else record.getMessage() for record in records]


# What is the same as under http.server.


async def test_what_a_handler_finds() -> None:
    found: dict[str, Any] = {}

    class Handler(Old):
        def do_GET(self) -> None:
            found.update(vars(self), ident=threading.get_ident(), type=type(self))
            super().do_GET()

    async with running(Handler) as server, connected(server) as client:
        assert (await client.ask("//a?b")).body == b"/a?b"
        await client.send(get("/a?b", "X-Two: 1", "X-Two: 2"))
        answer = await client.answer()
        assert (answer.body, answer["Server"]) == (b"/a?b", Handler.version_string(Handler))  # type: ignore[arg-type]
        assert found["server"] is server
        port = client.writer.get_extra_info("sockname")[1]
    assert (found["command"], found["path"], found["request_version"]) == ("GET", "/a?b", "HTTP/1.1")
    assert (found["requestline"], found["raw_requestline"]) == ("GET /a?b HTTP/1.1", b"GET /a?b HTTP/1.1\r\n")
    assert type(found["headers"]) is http.client.HTTPMessage
    assert found["headers"].get_all("x-two") == ["1", "2"]
    assert (found["client_address"], found["type"]) == (("127.0.0.1", port), Handler)
    assert found["ident"] != threading.get_ident()


@pytest.mark.parametrize("kind", ["class", "partial", "lambda"])
async def test_factories(kind: str) -> None:
    class Handler(Old):
        def __init__(self, *arguments: Any, word: str = "none") -> None:
            self.word = word
            super().__init__(*arguments)

        def do_GET(self) -> None:
            self.answer(self.word.encode())

    app: Any = {
        "class": Handler,
        "partial": functools.partial(Handler, word="word"),
        "lambda": blocking(lambda *arguments: Handler(*arguments, word="word")),
    }[kind]
    bodies = [answer.body for answer in finals(await exchange(app, get() + get()))]
    assert bodies == 2 * [b"none" if kind == "class" else b"word"]


async def test_a_folder(tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("a" * 100_000)
    (tmp_path / "sub").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

    app: Any = functools.partial(Handler, directory=str(tmp_path))
    requests = get("/a.txt") + head("HEAD", "/a.txt") + get("/sub") + get("/none") + get("/")
    data = await exchange(app, requests)
    answers = finals(data, ["GET", "HEAD"])
    assert [answer.status for answer in answers] == [200, 200, 301, 404]  # send_error() closes
    assert answers[0].body == b"a" * 100_000
    assert answers[1]["Content-Length"] == "100000"


async def test_the_version_of_http_server_closes() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"content")

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(get() + get("/next"))
        data = await client.rest()
        assert data.startswith(b"HTTP/1.0 200 OK\r\n")
        assert data.endswith(b"\r\n\r\ncontent")


async def test_keep_alive() -> None:
    async with running(Old) as server, connected(server) as client:  # type: ignore[arg-type]
        for number in range(3):
            answer = await client.ask(f"/{number}")
            assert (answer.body, answer["Connection"]) == (f"/{number}".encode(), None)
            await client.send(post(3), b"abc")
            assert (await client.answer()).body == b"abc"
        await client.send(get("/last", "Connection: close"))
        assert (await client.answer()).body == b"/last"
        assert await client.rest() == b""


async def test_pipelined_requests() -> None:
    paths = [f"/{number}" for number in range(40)]
    async with running(Old) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(*[get(path) + post(2) + b"ab" for path in paths])
        for path in paths:
            assert [(await client.answer()).body for _ in range(2)] == [path.encode(), b"ab"]


async def test_bodies() -> None:
    class Handler(Old):
        def do_PUT(self) -> None:
            length = int(self.headers["Content-Length"])
            first = self.rfile.read(length // 2)
            self.answer(f"{len(first)} {len(self.rfile.read(length))} {self.rfile.read(10)!r}".encode())  # past its end

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        for size in (0, 1, MIB, 3 * MIB):
            await client.send(head("PUT", "/", f"Content-Length: {size}"), bytes(size))
            assert (await client.answer()).body.decode() == f"{size // 2} {size - size // 2} b''"


async def test_chunks_are_passed_on() -> None:
    class Handler(Old):
        def do_PUT(self) -> None:
            content, trailers = b"", b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                assert self.rfile.readline() == b"\r\n"
            while (line := self.rfile.readline()) != b"\r\n":
                trailers += line
            self.answer(b"%b|%b|%b" % (content, trailers, self.rfile.read()))

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        begin = head("PUT", "/", "Transfer-Encoding: chunked")
        await client.send(begin, chunk(b"hello "), chunk(b"world"), b"0\r\nSum: 42\r\n\r\n", get("/next"))
        assert (await client.answer()).body == b"hello world|Sum: 42\r\n|"
        assert (await client.answer()).body == b"/next"
        await client.send(begin, b"5\r\nhellO\r\nx\r\n")
        assert (await client.answer()).status == 400
        assert await ended(client)


@pytest.mark.parametrize("kind", ["as it is", "by super", "own", "nothing"])
async def test_expect_100(kind: str) -> None:
    class Handler(Old):
        pass

    def handle_expect_100(self: Any) -> bool:
        if kind == "own":
            self.wfile.write(b"HTTP/1.1 100 Go on\r\n\r\n")
        elif kind == "by super":
            return bool(Old.handle_expect_100(self))
        return True

    if kind != "as it is":
        Handler.handle_expect_100 = handle_expect_100  # type: ignore[method-assign]
    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        for _ in range(2):
            await client.send(post(3, "Expect: 100-continue"))
            interim = await client.reader.readuntil(b"\r\n\r\n")
            assert interim in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Go on\r\n\r\n")
            await client.send(b"abc")
            assert (await client.answer()).body == b"abc"


async def test_expect_100_refused() -> None:
    class Handler(Old):
        def handle_expect_100(self) -> bool:
            self.send_error(417)
            return False

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(post(3, "Expect: 100-continue"))
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (417, "close")
        assert await ended(client)


# Whatever a handler writes.

OK = b"HTTP/1.1 200 OK\r\n"
CUT = None  # the connection ends within the answer, or before it

CASES: dict[str, tuple[bytes, Any, bool, str | None]] = {
    # what is written: the answer (status and body, or CUT), whether "next" is answered, what is reported
    "right": (OK + b"Content-Length: 2\r\n\r\nab", (200, b"ab"), True, None),
    "too short": (OK + b"Content-Length: 5\r\n\r\nab", CUT, False, "2 bytes of content, but Content-Length says 5"),
    "too long": (OK + b"Content-Length: 1\r\n\r\nab", (200, b"a"), False, "more content than Content-Length says"),
    "an answer too many": (2 * (OK + b"Content-Length: 1\r\n\r\na"), (200, b"a"), False, "more content than"),
    "contradicting": (OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc", (500, None), True, "contradicts"),
    "no number": (OK + b"Content-Length: 2x\r\n\r\nab", (500, None), True, "contradicts itself"),
    "negative": (OK + b"Content-Length: -1\r\n\r\nab", (500, None), True, "contradicts itself"),
    "endless": (OK + b"Content-Length: " + 5000 * b"9" + b"\r\n\r\nab", (500, None), True, ""),
    "no length": (OK + b"\r\nab", (200, b"ab"), False, None),
    "keep-alive without a length": (OK + b"Connection: keep-alive\r\n\r\nab", (200, b"ab"), False, None),
    "close": (OK + b"Content-Length: 2\r\nConnection: close\r\n\r\nab", (200, b"ab"), False, None),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"ab") + LAST_CHUNK, (200, b"ab"), True, None),
    "both": (
        OK + b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"ab") + LAST_CHUNK,
        (200, b"ab"),
        True,
        None,
    ),
    "wrong chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n", CUT, False, "what is written is not"),
    "a wrong chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n", CUT, False, "what is written is not"),
    "no last chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"ab"), CUT, False, "last chunk is missing"),
    "after the last chunk": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + LAST_CHUNK + b"more",
        CUT,
        False,
        "content after the last chunk",
    ),
    "another coding": (OK + b"Transfer-Encoding: gzip\r\n\r\nab", (500, None), True, "can be 'chunked' only"),
    "garbage": (b"garbage" + OK + b"Content-Length: 0\r\n\r\n", (500, None), True, "status line"),
    "content only": (b"<html>", (500, None), True, "status line"),
    "an empty line": (b"\r\n" + OK + b"Content-Length: 0\r\n\r\n", (500, None), True, "status line"),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", (500, None), True, "status line"),
    "another version": (b"HTTP/2 200 OK\r\n\r\n", (500, None), True, "status line"),
    "nothing": (b"", (500, None), True, "returned without an answer"),
    "a part of a head": (OK + b"Content-Len", (500, None), True, "returned without an answer"),
    "an endless head": (OK + 300_000 * b"a", (500, None), True, "status line"),
    "204": (b"HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", (204, b""), True, None),
    "204 with content": (b"HTTP/1.1 204 None\r\nContent-Length: 2\r\n\r\nab", (204, b""), False, None),
    "304": (b"HTTP/1.1 304 Same\r\n\r\nab", (304, b""), True, None),
    "304 and a length": (b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", (304, b""), True, None),
    "100, nobody waits": (
        b"HTTP/1.1 100 Go on\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nab",
        (200, b"ab"),
        True,
        None,
    ),
    "103": (
        b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nab",
        (200, b"ab"),
        True,
        None,
    ),
    "101, and what follows": (
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
        "101",
        False,
        None,
    ),
}


@pytest.mark.parametrize("pieces", [0, 1, 3, 4])
@pytest.mark.parametrize("name", CASES)
async def test_whatever_it_writes(name: str, pieces: int, caplog: pytest.LogCaptureFixture) -> None:
    written, expected, follows, reported = CASES[name]
    step = pieces if pieces and len(written) < 1000 else len(written) or 1
    handler = writing(*(written[at : at + step] for at in range(0, len(written), step)))
    async with running(handler) as server, connected(server) as client:
        await client.send(get() + get("/next"))
        if expected == "101":
            assert (await client.rest()) == written
        elif expected is CUT:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError, ValueError)):
                await client.answer()
        else:
            answer = await client.answer()
            if answer.status == 103:
                answer = await client.answer()
            status, body = expected
            assert answer.status == status
            assert body is None or answer.body == body
            if follows:
                assert (await client.answer()).body == b"next"
            else:
                assert await ended(client)
        await until(lambda: not server.in_flight, BOUND)
    errors = loud(caplog)
    if reported is None:
        assert errors == []
    else:
        assert len(errors) == 1
        assert reported in errors[0]


@pytest.mark.parametrize(
    "written",
    [
        OK + b"Content-Length: 2\r\n\r\n",
        OK + b"Content-Length: 2\r\n\r\nab",
        OK + b"\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"ab"),
    ],
    ids=["no content", "content", "no length", "chunks"],
)
async def test_head_requests(written: bytes) -> None:
    data = await exchange(writing(written), head("HEAD") + get("/next"))
    first, second = finals(data, ["HEAD", "GET"])
    assert (first.status, first.body, second.body) == (200, b"", b"next")


async def test_chunks_for_a_client_that_knows_none() -> None:
    written = OK + b"Transfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n" + chunk(b"ab") + chunk(b"c") + LAST_CHUNK
    request = get("/", "Connection: keep-alive", version="1.0")
    [answer] = finals(await exchange(writing(written), request + get("/next")))
    assert (answer.body, answer["Transfer-Encoding"], answer["Content-Length"]) == (b"abc", None, None)


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
@pytest.mark.parametrize("field", [b"", b"\r\nX: y"])
async def test_the_last_request(end: bytes, field: bytes) -> None:
    """FAULT: a status line alone with a bare LF: ValueError, 'substring not found', in _take_head."""
    handler = writing(b"HTTP/1.1 204 None" + field + end)
    data = await exchange(handler, get("/", "Connection: close"))
    assert data.startswith(b"HTTP/1.1 204 None")
    assert b"Connection: close\r\n" in data
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    assert lines.index(b"Connection: close") < lines.index(b"")


@pytest.mark.parametrize(
    "written", [b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab", OK + 2 * b"Content-Length: 2\r\n" + b"\r\nab"], ids=repr
)
async def test_unusual_heads(written: bytes) -> None:
    data = await exchange(writing(written), get() + get("/next"))
    first = read_by_http_client(data, "GET")
    assert first is not None
    assert first[0] == b"ab"
    assert read_by_http_client(first[1], "GET") == (b"next", b"")


@asynccontextmanager
async def others_served(app: Any, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A server and a client of it, and at the end another client is answered."""
    async with running(app, **options) as server, connected(server) as client:
        yield server, client
        async with connected(server) as other:
            assert (await other.ask("/next")).body in (b"next", b"/next")


def read_by_http_client(stream: bytes, method: str) -> tuple[bytes, bytes] | None:
    """Content of the first answer and what comes after it; None if there is nothing after it for this client."""

    class Socket:
        def makefile(self, mode: str) -> io.BytesIO:
            return file

    file = io.BytesIO(stream)
    file.close = lambda: None  # type: ignore[method-assign]
    try:
        while True:
            response = http.client.HTTPResponse(Socket(), method=method)  # type: ignore[arg-type]
            response.begin()
            content = response.read()
            if not 100 <= response.status < 200:  # it knows no interim answers but 100
                return None if response.will_close else (content, file.read())
    except (http.client.HTTPException, ValueError, OSError):
        return None


def read_by_h11(stream: bytes, method: str) -> tuple[bytes, bytes] | None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "localhost")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(stream)
    content = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            elif event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return None
    except h11.RemoteProtocolError:
        return None
    done = connection.their_state is h11.DONE and connection.our_state is h11.DONE
    return (content, connection.trailing_data[0]) if done else None


STATUS_LINES = st.sampled_from(
    [
        OK,
        OK,
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 None\r\n",
        b"HTTP/1.1 304 Same\n",
        b"HTTP/1.1 205 Reset\r\n",
        b"HTTP/1.1 200\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early\r\n\r\n",
    ]
)
FIELDS = st.sampled_from(
    [
        b"Content-Length: 5\r\n",
        b"Content-Length: 5\r\n",
        b"content-length:3\n",
        b"Content-Length: 5, 5\r\n",
        b"Content-Length : 3\r\n",
        b" Content-Length: 3\r\n",
        b"X: y\rContent-Length: 3\r\n",
        b"X: y\r\n",
        b"Content-Length: \r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-encoding: Chunked\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding:\r\n chunked\r\n",
        b"Transfer-Encoding: x\r\n",
        b"Connection: keep-alive\r\n",
        b"Connection: close\r\n",
        b"Keep-Alive: 5\r\n",
        b"\x00\r\n",
        b": \r\n",
        b"\r",
    ]
)
CONTENTS = st.sampled_from(
    [
        b"hello",
        b"hel",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nA: b\r\n\r\n",
        b"\r\n",
        OK,
        OK + b"Content-Length: 0\r\n\r\n",
    ]
)
ANSWERS = st.tuples(
    st.lists(STATUS_LINES, min_size=1, max_size=2),
    st.lists(FIELDS, max_size=4),
    st.sampled_from([b"\r\n", b"\r\n", b"\n", b""]),
    st.lists(CONTENTS, max_size=4),
).map(lambda parts: [*parts[0], *parts[1], parts[2], *parts[3]])
PIECES = ANSWERS | st.lists(STATUS_LINES | FIELDS | CONTENTS | st.binary(max_size=20), max_size=8)
PROPERTY = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@PROPERTY
@example([OK, b"X: y\rContent-Length: 3\r\n", b"\r\n", b"hello"], "GET", False, Old)
@given(PIECES, st.sampled_from(["GET", "GET", "HEAD"]), st.booleans(), st.sampled_from([Old, Old, ByConnection]))
def test_keep_alive_is_never_poisoned(
    caplog: pytest.LogCaptureFixture, pieces: list[bytes], method: str, joint: bool, base: Any
) -> None:
    """Whatever a handler writes, the next request is answered correctly or the connection is closed."""
    handler = writing(b"".join(pieces), base=base) if joint else writing(*pieces, base=base)
    data = asyncio.run(exchange(handler, head(method) + get("/next")))
    errors = loud(caplog)
    assert len(errors) <= 1
    for read in (read_by_http_client, read_by_h11):
        first = read(data, method)
        if first is None or not first[1]:
            continue
        assert first[1].startswith(b"HTTP/1.1 200 OK\r\nServer: "), (read.__name__, data)
        second = read(first[1], "GET")
        assert second == (b"next", b""), (read.__name__, data)


@pytest.mark.parametrize("base", [Old, ByConnection])
@pytest.mark.parametrize(
    "body", [b"abc", b"abc\n", get("/smuggled"), get("/smuggled")[:-2], b"GET /", 5000 * b"x"], ids=len
)
@pytest.mark.parametrize("amount", [0, 2])
async def test_a_body_that_is_not_read(base: Any, body: bytes, amount: int, caplog: pytest.LogCaptureFixture) -> None:
    """FAULT: who sees connections reads what is left of it as the beginning of the next request."""

    class Handler(base):  # type: ignore[misc]
        def do_POST(self) -> None:
            self.rfile.read(amount)
            self.answer(b"answer")

    async with running(Handler) as server, connected(server) as client:
        await client.send(post(len(body)), body)
        assert (await client.answer()).body == b"answer"
        await client.send(get("/next"))
        data = b""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            answer = await client.answer()
            data = answer.body
        assert data == b"/next" or (base is ByConnection and data == b"")
        await until(lambda: not server.in_flight, BOUND)
    caplog.clear()  # it may say that something is wrong


# A connection and its handler.


def on_connections(loop: asyncio.AbstractEventLoop) -> Any:
    """A class that sees connections: it counts its requests, and says when it comes to its end."""

    class Handler(Old):
        instances: list[Any] = []
        finished = asyncio.Event()

        def setup(self) -> None:
            super().setup()
            self.count = 0
            self.instances.append(self)

        def handle(self) -> None:
            super().handle()

        def do_GET(self) -> None:
            self.count += 1
            self.answer(f"{self.count} {self.path}".encode())

        def do_POST(self) -> None:
            self.count += 1
            super().do_POST()

        def finish(self) -> None:
            super().finish()
            loop.call_soon_threadsafe(self.finished.set)

    return Handler


async def nothing_left(server: Any) -> None:
    """All threads are idle, and nothing is kept of what they did."""
    threads = threads_of(server)
    await until(lambda: not busy(threads.pool), BOUND)
    await until(lambda: not threads._outboxes, BOUND / 5)


class TestSession:
    async def test_one_instance(self) -> None:
        handler = on_connections(asyncio.get_running_loop())
        async with running(handler) as server, connected(server) as client, connected(server) as other:
            for number in range(1, 4):
                assert (await client.ask("/a")).body == f"{number} /a".encode()
            assert (await other.ask("/b")).body == b"1 /b"
            await client.send(post(3), b"abc", get("/c"), get("/d"))
            assert [(await client.answer()).body for _ in range(3)] == [b"abc", b"5 /c", b"6 /d"]
            assert len(handler.instances) == 2

    async def test_a_client_that_closes_while_it_is_idle(self) -> None:
        handler = on_connections(asyncio.get_running_loop())
        async with running(handler) as server:
            async with connected(server) as client:
                assert (await client.ask()).body == b"1 /"
                assert not handler.finished.is_set()
            await handler.finished.wait()
            await nothing_left(server)

    async def test_a_client_that_says_close(self) -> None:
        handler = on_connections(asyncio.get_running_loop())
        async with running(handler) as server, connected(server) as client:
            await client.send(get("/", "Connection: close"))
            assert (await client.answer()).body == b"1 /"
            assert await client.rest() == b""
            await handler.finished.wait()
            await nothing_left(server)

    async def test_a_client_that_closes_its_side_within_a_request(self) -> None:
        """FAULT: nobody calls Threads.end(), so the outbox is swept for ever."""
        loop = asyncio.get_running_loop()
        begun, gate, answered = asyncio.Event(), threading.Event(), threading.Event()

        class Handler(on_connections(loop)):  # type: ignore[misc]
            def do_GET(self) -> None:
                loop.call_soon_threadsafe(begun.set)
                wait(gate)
                super().do_GET()

            def finish(self) -> None:
                wait(answered)
                super().finish()

        async with running(Handler) as server, connected(server) as client:
            await client.send(get())
            await begun.wait()
            client.send_eof()
            await until(lambda: all(connection.eof for connection in server.connections), BOUND)
            gate.set()
            assert (await client.answer()).body == b"1 /"
            assert await client.rest() == b""
            answered.set()
            await Handler.finished.wait()
            await nothing_left(server)

    async def test_pipelined_requests_and_an_end(self) -> None:
        """FAULT: the end reaches the handler before the second request does."""
        for _ in range(20):
            handler = on_connections(asyncio.get_running_loop())
            answers = finals(await exchange(handler, get("/a") + get("/b") + get("/c")))
            assert [answer.body for answer in answers] == [b"1 /a", b"2 /b", b"3 /c"]

    async def test_a_server_that_stops(self) -> None:
        handler = on_connections(asyncio.get_running_loop())
        async with running(handler) as server, connected(server) as client:
            await client.ask()
            workers = threads_of(server).pool
        await handler.finished.wait()
        await asyncio.to_thread(workers.join, BOUND)
        assert not len(workers)

    @pytest.mark.parametrize("method", ["parse_request", "handle_one_request", "handle", "setup", "finish"])
    async def test_overrides(self, method: str) -> None:
        """FAULT: with setup() or finish() alone, served() makes one that handles one request, and it closes."""
        calls: list[Any] = []

        def override(self: Any) -> Any:
            calls.append(self)
            return getattr(Old, method)(self)

        async with running(type("Handler", (Old,), {method: override})) as server:  # type: ignore[arg-type]
            async with connected(server) as client:
                for path in ("/a", "/b"):
                    assert (await client.ask(path)).body == path.encode()
                await client.send(post(2), b"ab")
                assert (await client.answer()).body == b"ab"
            await nothing_left(server)
        assert all(call is calls[0] for call in calls)
        # handle_one_request() is called once more, to find the end.
        assert len(calls) == {"handle_one_request": 4, "parse_request": 3}.get(method, 1)

    async def test_a_handler_that_serves_one_request(self) -> None:
        class Handler(Old):
            def handle(self) -> None:
                self.handle_one_request()

        async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
            assert (await client.ask()).body == b"/"
            assert await client.rest() == b""
            await nothing_left(server)

    async def test_errors(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(on_connections(asyncio.get_running_loop())):  # type: ignore[misc]
            def do_GET(self) -> None:
                if self.path == "/raise":
                    raise LookupError("oh")
                super().do_GET()

        async with running(Handler) as server, connected(server) as client, connected(server) as other:
            assert (await client.ask()).body == b"1 /"
            assert (await client.ask("/raise")).status == 500
            expect_logged(caplog, "oh")
            assert (await other.ask()).body == b"1 /"
            await Handler.finished.wait()

    async def test_an_error_at_the_end(self, caplog: pytest.LogCaptureFixture) -> None:
        """FAULT: socketserver would report it; here nobody looks at what the thread has raised."""

        class Handler(on_connections(asyncio.get_running_loop())):  # type: ignore[misc]
            def finish(self) -> None:
                super().finish()
                raise LookupError("at the end")

        async with running(Handler) as server:
            async with connected(server) as client:
                await client.ask()
            await Handler.finished.wait()
            await nothing_left(server)
        expect_logged(caplog, "at the end")

    async def test_content_past_the_body(self, caplog: pytest.LogCaptureFixture) -> None:
        """It gets what there is, or is told; it does not wait for ever."""
        handler = on_connections(asyncio.get_running_loop())
        handler.do_PUT = lambda self: self.answer(self.rfile.read(100))
        async with running(handler) as server, connected(server) as client, connected(server) as other:
            await client.send(head("PUT", "/", "Content-Length: 3"), b"abc")
            answer = await client.answer()
            if answer.status == 500:
                assert loud(caplog) == ["the handler returned without an answer: no send_response() and end_headers()"]
            else:
                assert answer.body == b"abc"
            assert (await other.ask()).body == b"1 /"


# Nobody else is harmed.


class Harmful(Old):
    gate: threading.Event
    begun: Callable[[], object]

    def do_GET(self) -> None:
        getattr(self, "get_" + self.path[1:])()

    def get_next(self) -> None:
        self.answer(b"next")

    def get_blocks(self) -> None:
        self.begun()
        wait(self.gate)
        self.answer(b"late")

    def get_raises(self) -> None:
        raise LookupError("oh")

    def get_raises_later(self) -> None:
        self.answer(b"content")
        raise LookupError("oh")

    def get_exits(self) -> None:
        raise SystemExit("exit")

    def get_writes(self) -> None:
        self.begun()
        wait(self.gate)
        while True:
            self.wfile.write(bytes(100_000))


def harmful() -> Any:
    loop = asyncio.get_running_loop()
    begun = asyncio.Event()

    class Handler(Harmful):
        pass

    Handler.gate = threading.Event()
    Handler.began = begun  # type: ignore[attr-defined]
    Handler.begun = lambda self: loop.call_soon_threadsafe(begun.set)  # type: ignore[misc, assignment]
    return Handler


@pytest.mark.parametrize("path", ["/raises", "/exits"])
async def test_errors_are_reported_once(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with others_served(harmful()) as (_, client):
        assert (await client.ask(path)).status == 500
        assert (await client.ask("/next")).body == b"next"
    expect_logged(caplog, "exit" if path == "/exits" else "oh")


async def test_an_error_after_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with others_served(harmful()) as (server, client):
        await client.send(get("/raises_later"))
        assert (await client.answer()).body == b"content"
        await until(lambda: not server.in_flight, BOUND)
    expect_logged(caplog, "oh")


async def test_writing_after_the_client_has_gone() -> None:
    handler = harmful()
    async with others_served(handler) as (server, client):
        await client.send(get("/writes"))
        await handler.began.wait()
        client.reset()
        await until(lambda: not server.connections, BOUND)
        handler.gate.set()
        await until(lambda: not server.in_flight, BOUND)
        await nothing_left(server)


async def test_blocking_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    handler = harmful()
    async with running(handler, timeout_grace=0.1) as server, connected(server) as client, connected(server) as other:
        await client.send(get("/blocks"))
        await handler.began.wait()
        assert (await other.ask("/next")).body == b"next"
        async with asyncio.timeout(BOUND):
            await server.shutdown()
        workers = threads_of(server).pool
        assert loud(caplog) == ["'GET /blocks HTTP/1.1' is cancelled: it has not ended within 0.1 s"]
    handler.gate.set()
    await asyncio.to_thread(workers.join, BOUND)


async def test_a_session_that_blocks_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(harmful()):  # type: ignore[misc]
        def setup(self) -> None:
            super().setup()

    async with running(Handler, timeout_grace=0.1) as server, connected(server) as client:
        await client.send(get("/next"), get("/blocks"))
        assert (await client.answer()).body == b"next"
        await Handler.began.wait()
        async with asyncio.timeout(BOUND):
            await server.shutdown()
        workers = threads_of(server).pool
        assert loud(caplog) == ["'GET /blocks HTTP/1.1' is cancelled: it has not ended within 0.1 s"]
    Handler.gate.set()
    await asyncio.to_thread(workers.join, BOUND)


async def test_a_timeout_of_the_class() -> None:
    class Handler(Old):
        timeout = 0.2

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        assert (await client.ask()).body == b"/"
        await client.send(post(10), b"abc")
        assert (await client.answer()).status == 408
        assert await ended(client)


# Sockets.


async def test_a_socket_that_is_taken_over() -> None:
    class Handler(Old):
        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            sock = self.connection
            assert isinstance(sock.fileno(), int)
            while data := sock.recv(1000):
                sock.sendall(data.upper())

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", b"early ")
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.readexactly(6) == b"EARLY "
        await client.send(b"late")
        assert await client.reader.readexactly(4) == b"LATE"
        client.send_eof()
        assert await client.rest() == b""
        await nothing_left(server)


async def test_what_a_socket_is_asked() -> None:
    class Handler(Old):
        def do_GET(self) -> None:
            sock: Any = self.connection
            assert sock is self.request
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self.answer(f"{sock.getpeername()} {sock.getsockname()} {sock.family is socket.AF_INET}".encode())

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        own = client.writer.get_extra_info("sockname")
        assert (await client.ask()).body.decode() == f"{own} {server.server_address} True"
        assert (await client.ask()).body.decode() == f"{own} {server.server_address} True"
