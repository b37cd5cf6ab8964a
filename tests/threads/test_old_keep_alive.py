"""Whatever a handler of ``http.server`` writes, keep-alive is never poisoned."""

import asyncio
import contextlib
import http.client
import http.server
import io
from typing import Any

import h11
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aiohttpd.testing import exchange, running

from ..support.clients import LAST_CHUNK, chunk, connected, ended, get, head, post
from ..support.old_handlers import OK, ByConnection, Old, loud, writing
from ..support.waiting import BOUND, until
from ..support.wire import finals

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
