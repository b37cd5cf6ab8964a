"""Heads of old handlers that are no HTTP: nothing of them leaves, or the connection ends with them."""

import re
from typing import Any

import pytest

from aiohttpd.testing import exchange

from ..support.old_handlers import ByConnection, Old, loud, writing
from ..support.wire import finals

OK = b"HTTP/1.1 200 OK\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
LENGTH = b"Content-Length: 2\r\n"

# RFC 9112 sections 4 and 5, without what a sender must not generate.
GRAMMAR = re.compile(
    rb"HTTP/1\.[01] [1-9][0-9]{2} [\t\x20-\x7e\x80-\xff]*\r\n"
    rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*"
)

NO_HEADS = {
    "space before the colon": OK + b"Content-Length : 2\r\n",
    "tab before the colon": OK + LENGTH + b"X\t: y\r\n",
    "folded after the status line": OK + b" X: y\r\n" + LENGTH,
    "a line of white space": OK + LENGTH + b"  \r\nX: y\r\n",
    "no colon": OK + LENGTH + b"nonsense\r\n",
    "no name": OK + LENGTH + b": y\r\n",
    "NUL in a name": OK + LENGTH + b"X\x00Y: z\r\n",
    "NUL in a value": OK + LENGTH + b"X: a\x00b\r\n",
    "a control character in a value": OK + LENGTH + b"X: a\x1bb\r\n",
    "DEL in a value": OK + LENGTH + b"X: a\x7fb\r\n",
    "a name in parentheses": OK + LENGTH + b"(X): y\r\n",
    "a name in Latin": OK + LENGTH + "X\u00e9: y\r\n".encode("latin-1"),
    "a bare CR": OK + LENGTH + b"X: a\rb\r\n",
    "two CRs": OK + LENGTH + b"X: a\r\r\n",
    "a reason of two lines with NUL": b"HTTP/1.1 200 a\nb\x00\r\n" + LENGTH,
    "a field without a colon, ended by LF": b"HTTP/1.1 200 OK\nX: y\nnonsense\n" + LENGTH[:-2] + b"\n",
    "a bare CR in the status line": b"HTTP/1.1 200 O\rK\r\n" + LENGTH,
    "NUL in the status line": b"HTTP/1.1 200 O\x00K\r\n" + LENGTH,
    "a status line again": OK + LENGTH + OK,
    "two lengths": OK + LENGTH + b"Content-Length: 3\r\n",
    "two lengths in one": OK + b"Content-Length: 2, 2\r\n",
    "two lengths that are written differently": OK + LENGTH + b"Content-Length: 02\r\n",
    "no number": OK + b"Content-Length: two\r\n",
    "hexadecimal": OK + b"Content-Length: 0x2\r\n",
    "a sign": OK + b"Content-Length: +2\r\n",
    "negative": OK + b"Content-Length: -2\r\n",
    "a fraction": OK + b"Content-Length: 2.0\r\n",
    "an underscore": OK + b"Content-Length: 1_0\r\n",
    "digits of another script": OK + "Content-Length: \u00b2\r\n".encode("latin-1"),
    "an empty length": OK + b"Content-Length:\r\n",
    "None": OK + b"Content-Length: None\r\n",
    "too many digits": OK + b"Content-Length: " + 20 * b"0" + b"2\r\n",
    "another coding": OK + b"Transfer-Encoding: gzip\r\n",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n",
    "a coding twice": OK + 2 * b"Transfer-Encoding: chunked\r\n",
    "an empty coding": OK + b"Transfer-Encoding: \r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n" + LENGTH,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + LENGTH,
    "status 0": b"HTTP/1.1 000 OK\r\n" + LENGTH,
    "two spaces": b"HTTP/1.1  200 OK\r\n" + LENGTH,
    "another protocol": b"ICY 200 OK\r\n" + LENGTH,
    "in lower case": b"http/1.1 200 OK\r\n" + LENGTH,
    "an interim head that is none": b"HTTP/1.1 103 Early\r\nX : y\r\n",
}


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("base", [Old, ByConnection])
@pytest.mark.parametrize("name", NO_HEADS)
async def test_what_is_no_head(name: str, base: Any, step: int, caplog: pytest.LogCaptureFixture) -> None:
    written = NO_HEADS[name] + b"\r\nab"
    handler = writing(*(written[at : at + step] for at in range(0, len(written), step)), base=base)
    first, *others = finals(await exchange(handler, GET + NEXT))
    assert first.status == 500
    assert [answer.body for answer in others] == ([] if first["Connection"] == "close" else [b"next"])
    assert len(loud(caplog)) == 1


async def test_two_heads_in_one(caplog: pytest.LogCaptureFixture) -> None:
    """``send_error`` after ``send_response``, whose head has not been sent: the message says what has happened."""

    class Handler(Old):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_error(404)

    [first] = finals(await exchange(Handler, GET))
    assert first.status == 500
    [message] = loud(caplog)
    assert "send_response() or send_error() has been called twice" in message


# What can be put right leaves as HTTP, and the connection goes on.
MENDED = {
    "ended by LF": (b"HTTP/1.1 200 OK\nContent-Length: 2\nX: y\n\nab", b"ab"),
    "ended by both": (OK + b"Content-Type: text/html\nContent-Length: 2\n\nab", b"ab"),
    "no space, no reason": (b"HTTP/1.1 200\r\n" + LENGTH + b"\r\nab", b"ab"),
    "a reason of two lines": (b"HTTP/1.1 200 a\nb <c>\r\n" + LENGTH + b"\r\nab", b"ab"),
    "a reason that looks folded": (b"HTTP/1.1 200 a\n  b\nc: d\n\te f\r\n" + LENGTH + b"\r\nab", b"ab"),
    "a reason like a field, and another line": (b"HTTP/1.1 200 a\nb: c\nd e\r\n" + LENGTH + b"\r\nab", b"ab"),
    "the same length twice": (OK + 2 * LENGTH + b"\r\nab", b"ab"),
    "length and chunks": (OK + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", b"ab"),
    "white space around a value": (OK + b"Content-Length: \t2 \r\n\r\nab", b"ab"),
    "204, and a length of nothing": (b"HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n", b""),
    "103 with a length": (b"HTTP/1.1 103 Early\r\nContent-Length: 2\r\n\r\n" + OK + LENGTH + b"\r\nab", b"ab"),
}


@pytest.mark.parametrize("step", [1, 10_000])
@pytest.mark.parametrize("name", MENDED)
async def test_what_is_put_right(name: str, step: int) -> None:
    written, body = MENDED[name]
    handler = writing(*(written[at : at + step] for at in range(0, len(written), step)))
    data = await exchange(handler, GET + NEXT)
    first, second = finals(data)
    assert (first.body, second.body) == (body, b"next")
    for head in re.findall(rb"HTTP/1\.[01] .*?\r\n\r\n", data, re.DOTALL):
        assert GRAMMAR.fullmatch(head[:-2])
        lengths = re.findall(rb"(?im)^(?:content-length|transfer-encoding):", head)
        assert len(lengths) == (0 if head[9:12] in (b"204", b"103") else 1)


@pytest.mark.parametrize("base", [Old, ByConnection])
@pytest.mark.parametrize("text", ["a\n", "a\nb\n", "Traceback:\n  b\n\nAgain:\n  c\n", "E: a\nb: c\n\n", "a\n\nb"])
async def test_an_error_with_a_traceback(text: str, base: Any) -> None:
    """FAULT: ``send_error(400, traceback.format_exc())`` becomes 500: an empty line is taken for the head's end."""

    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            if self.path == "/next":
                self.answer(b"next")
            else:
                self.send_error(400, text)
                self.close_connection = False

    data = await exchange(Handler, GET)
    [first] = finals(data)
    assert (first.status, first["Connection"], first["Content-Type"]) == (400, "close", "text/html;charset=utf-8")
    assert data.startswith(f"HTTP/1.1 400 {text.rstrip()}".replace("\n", " ").encode() + b"\r\nServer: ")
    assert f"Message: {text}".encode() in first.body


async def test_content_that_looks_like_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Only a head that has been written by itself may have lines in its reason phrase."""
    written = b"HTTP/1.1 200 OK\nX: y\n\nab\r\nServer: z\r\n\r\ncd"
    [first] = finals(await exchange(writing(written), GET))
    assert (first.status, first["X"], first["Server"]) == (200, "y", None)
    assert first.body == b"ab\r\nServer: z\r\n\r\ncd"
    assert not loud(caplog)


# These end the connection, and say so.
LAST = {
    "204 with content": (b"HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\nhello", b"", []),
    "204 with chunks": (b"HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"", []),
    "keep-alive without a length": (OK + b"Connection: keep-alive\r\n\r\nab", b"ab", []),
    "folded": (OK + LENGTH + b"X: y\r\n z\r\n\tw\r\n\r\nab", b"ab", []),
    "folded by LF": (OK + LENGTH + b"X: y\n  z\n\nab", b"ab", []),
    "a folded length": (OK + b"Content-Length:\r\n\t2\r\n\r\nab", b"ab", []),
    "a folded coding": (OK + b"Transfer-Encoding:\r\n chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", b"ab", ["chunked"]),
    "chunks of HTTP/1.0": (
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n2\r\nab\r\n0\r\n\r\n",
        b"ab",
        ["chunked"],
    ),
}


@pytest.mark.parametrize("name", LAST)
async def test_what_ends_the_connection(name: str) -> None:
    written, body, codings = LAST[name]
    data = await exchange(writing(written), GET + NEXT)
    assert b"next" not in data
    [first] = finals(data.replace(b"HTTP/1.0", b"HTTP/1.1"))
    assert (first.body, first["Connection"]) == (body, "close")
    assert [value for key, value in first.fields if key == "Transfer-Encoding"] == codings
    assert first.status == 200 or first["Content-Length"] is None
    assert GRAMMAR.fullmatch(data.partition(b"\r\n\r\n")[0] + b"\r\n")


@pytest.mark.parametrize("status", [102, 103])
async def test_an_interim_answer_as_the_last_one(status: int) -> None:
    """As CPython's own test wants it; no other request follows it."""
    data = await exchange(writing(b"HTTP/1.1 %d Early\r\nContent-Length: 0\r\n\r\n" % status), GET + NEXT)
    assert data == b"HTTP/1.1 %d Early\r\n\r\n" % status


async def test_head_of_an_answer_to_head() -> None:
    """FAULT: Content-Length beside Transfer-Encoding leaves where no content does."""
    written = OK + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n"
    data = await exchange(writing(written), GET.replace(b"GET", b"HEAD") + NEXT)
    first, second = finals(data, ["HEAD", "GET"])
    assert (first["Content-Length"], first["Transfer-Encoding"], second.body) == (None, "chunked", b"next")
