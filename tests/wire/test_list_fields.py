"""Fields that are lists, or have parameters: empty elements cost no step each, and the number of others is bounded."""

import asyncio
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiohttpd import BaseHTTPRequestHandler, Config
from aiohttpd.config.trust import TrustedProxies
from aiohttpd.engine.proxied import Origin, find_origin
from aiohttpd.errors import HTTPError, WireError
from aiohttpd.fileserver.folder import FolderOptions, folder_app
from aiohttpd.handlers.forms import read_form
from aiohttpd.testing import exchange
from aiohttpd.wire.conditions import Validators, evaluate
from aiohttpd.wire.headers import Headers, list_elements, without_escapes
from aiohttpd.wire.negotiation import accepted_codings, accepts_html, names_coding, prefers_json
from aiohttpd.wire.parser import RequestParser
from aiohttpd.wire.ranges import select
from aiohttpd.wire.request import Body, Request

from ..support.forming import FORM_LIMITS
from ..support.steps import calls_of
from ..support.wire import Response, split

DEFAULTS = Config()
LINE = 15_500  # characters of a value; four lines of it fill a head
SIGNS = ',;= a"\t\\'
STEPS = 300  # calls that 62 KiB may take if nothing is in them


class Cookies(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_json(self.cookies)


class Socket(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        async with self.websocket():
            pass


def lines(name: str, value: str, count: int = 4) -> bytes:
    return f"{name}: {value}\r\n".encode("latin-1") * count


def request(fields: bytes, config: Config = DEFAULTS) -> Request:
    parser = RequestParser(config)
    parser.feed(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n")
    found = parser.next_request()
    assert found is not None
    return found


async def cookies_of(fields: bytes, **options: Any) -> Response:
    data = b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"
    [found] = split(await exchange(Cookies, data, config=Config(access_log=False, **options)))
    return found


def steps(function: Callable[[], object]) -> int:
    """How many calls a function makes, those into C included, once all patterns have been compiled."""
    function()
    return calls_of(function)


def joined_as(headers: Headers, name: str) -> str:
    return ", ".join(headers.get_all(name) or ())


def origin(headers: Headers, name: str) -> object:
    peer = Origin(("10.0.0.1", 1), "http", None, None)
    return find_origin(headers, frozenset([name.lower()]), TrustedProxies("10.0.0.0/8"), peer)


def cookies(headers: Headers) -> dict[str, str]:
    asked = request(b"")
    asked.headers = headers
    return Cookies(asked, cast(Any, None)).cookies


READERS: dict[str, Callable[[Headers], object]] = {
    "Accept-Encoding": lambda headers: (
        accepted_codings(joined_as(headers, "Accept-Encoding")),
        names_coding(joined_as(headers, "Accept-Encoding") or ""),
    ),
    "Accept": lambda headers: (prefers_json(joined_as(headers, "Accept")), accepts_html(joined_as(headers, "Accept"))),
    "Connection": lambda headers: None,
    "Content-Type": lambda headers: (headers.get_content_charset(), headers.get_boundary()),
    "Cookie": cookies,
    "Forwarded": lambda headers: origin(headers, "Forwarded"),
    "If-Match": lambda headers: evaluate(headers, Validators('"x"', 0), now=0),
    "If-None-Match": lambda headers: evaluate(headers, Validators('"x"', 0), now=0),
    "Range": lambda headers: select(headers["Range"] or "", 1000, limit=16),
    "X-Forwarded-For": lambda headers: origin(headers, "X-Forwarded-For"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("sign", [",", ";", ", ", "; ", ",\t", " "])
def test_empty_elements_take_no_steps(name: str, sign: str) -> None:
    fields = lines(name, "x" + sign * (LINE // len(sign)) + "x")
    assert steps(lambda: READERS[name](request(fields).headers)) < STEPS


@pytest.mark.parametrize("name", READERS)
def test_elements_take_a_bounded_number_of_steps(name: str) -> None:
    """Whatever a field is filled with, it is refused, or read by steps for as many elements as there may be."""
    limit = 50
    config = Config(limit_elements=limit)

    def read(fields: bytes) -> None:
        try:
            READERS[name](request(fields, config).headers)
        except WireError as error:
            assert error.status == 431  # noqa: PT017

    for length in (1, 2, 3):
        for signs in itertools.product(SIGNS, repeat=length):
            fields = lines(name, "x" + "".join(signs) * (2000 // length) + "x")
            assert steps(lambda fields=fields: read(fields)) < STEPS + 40 * limit, signs  # type: ignore[misc]


@pytest.mark.parametrize("value", [",", "a,", ";", "a;", "close,", '"', '"";', "\\"])
def test_what_a_whole_server_does_for_it(value: str, tmp_path: Path) -> None:
    """Counted beside the same head without a list."""
    (tmp_path / "index.html").write_text("x" * 2000)
    app = folder_app(str(tmp_path), FolderOptions(compress=True, spa="index.html"))
    names = ("Accept-Encoding", "Accept", "If-None-Match", "Cookie", "Connection", "Content-Type", "TE")

    def run(fields: bytes) -> int:
        data = b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n"
        return steps(lambda: asyncio.run(exchange(app, data, config=Config(access_log=False))))

    control = run(lines("X", "a" * LINE))
    for name in names:
        assert run(lines(name, value * (LINE // len(value)))) < control + 1500, name


@pytest.mark.parametrize("value", [",", "a,", ";", "a;", " ,", '"'])
@pytest.mark.parametrize("name", ["Sec-WebSocket-Extensions", "Sec-WebSocket-Protocol"])
def test_what_a_handshake_does_for_it(name: str, value: str) -> None:
    """Counted beside the same head without a list."""

    def run(fields: bytes) -> int:
        opening = (
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        )
        data = opening + fields + b"\r\n"
        return steps(lambda: asyncio.run(exchange(Socket, data, config=Config(access_log=False))))

    control = run(lines("X", "a" * LINE))
    assert run(lines(name, value * (LINE // len(value)) + "a")) < control + 1500


@pytest.mark.parametrize(
    ("name", "element", "sign"),
    [
        ("Accept", "text/html", ", "),
        ("Accept-Encoding", "gzip", ","),
        ("Accept-Language", "de", ","),
        ("Cookie", "a=b", "; "),
        ("Connection", "close", ","),
        ("Content-Type", "a=b", ";"),
        ("Forwarded", "for=1.2.3.4", ","),
        ("forwarded", "a=1", ";"),
        ("IF-NONE-MATCH", '"a"', ", "),
        ("TE", "trailers", ","),
        ("X-Forwarded-For", "1.2.3.4", ","),
        ("Access-Control-Request-Headers", "x-a", ","),
        ("Sec-WebSocket-Extensions", "permessage-deflate", ","),
        ("Sec-WebSocket-Extensions", "a=1", ";"),
        ("Sec-WebSocket-Protocol", "chat", ","),
    ],
)
async def test_the_limit(name: str, element: str, sign: str) -> None:
    for count, status in ((5, 200), (6, 431)):
        value = (sign + sign).join([element] * count)
        assert (await cookies_of(lines(name, value, 1), limit_elements=5)).status == status
        split_over = lines(name, element + sign, count)
        assert (await cookies_of(split_over, limit_elements=5)).status == status
    answer = await cookies_of(lines(name, element + sign, 6), limit_elements=5)
    assert b"more than 5 elements in lists" in answer.body
    assert answer["Connection"] == "close"


async def test_the_default() -> None:
    for count, status in ((1000, 200), (1001, 431)):
        assert (await cookies_of(lines("Cookie", "a=b; " * count, 1))).status == status


async def test_all_lists_count_together() -> None:
    fields = lines("Accept", "a,b", 1) + lines("Cookie", "a=1;b=2", 1) + lines("Accept-Language", "a,b,c", 1)
    for limit, status in ((7, 200), (6, 431)):
        assert (await cookies_of(fields, limit_elements=limit)).status in (status, 200)
    many = lines("Accept", "a,b,c", 1) + lines("If-Match", "a,b,c", 1) + lines("Via", "a,b,c", 1)
    for limit, status in ((9, 200), (8, 431)):
        assert (await cookies_of(many, limit_elements=limit)).status == status


@pytest.mark.parametrize("name", ["X-Own", "User-Agent", "Referer", "Range", "Authorization"])
async def test_other_fields_hold_any_signs(name: str) -> None:
    assert (await cookies_of(lines(name, "a,b;c", 20), limit_elements=5)).status == 200


async def test_a_head_that_repeats_is_checked_as_well() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"a=b;" * 6 + b"\r\n\r\n"
    for limit, statuses in ((6, [200, 200, 200]), (5, [431])):
        found = split(await exchange(Cookies, data * 3, config=Config(access_log=False, limit_elements=limit)))
        assert [answer.status for answer in found] == statuses


# What is read stays what it was.


@given(st.text(', \ta"', max_size=12))
def test_list_elements(value: str) -> None:
    assert list_elements(value) == [part for element in value.split(",") if (part := element.strip(" \t"))]


@given(st.text('\\a"', max_size=12))
@example("\\\\\\a\\\\")
def test_without_escapes(text: str) -> None:
    text = text.removesuffix("\\" * (len(text) - len(text.rstrip("\\"))))
    assert without_escapes(text) == re.sub(r"\\(.)", r"\1", text)


@pytest.mark.parametrize(
    ("value", "charset"),
    [
        ("text/plain; charset=utf-8", "utf-8"),
        ('a/b;x="\\";charset=no";CharSet="UTF\\-8"', "utf-8"),
        ("a/b;;; ;charset=x;charset=y", "x"),
        ("a/b; other=1", None),
    ],
)
def test_parameters(value: str, charset: str | None) -> None:
    assert Headers(f"\nContent-Type: {value}\r\n").get_content_charset() == charset


@pytest.mark.parametrize(
    ("value", "media_type"),
    [
        ("\tText/HTML ;a/b", "text/html"),
        ("a/b", "a/b"),
        *((value, "text/plain") for value in ("", "a", "a/", "/b", "a/b/c", "a b/c", "a/b c")),
    ],
)
def test_media_types(value: str, media_type: str) -> None:
    headers = Headers(f"\nContent-Type: {value}\r\n")
    assert headers.get_content_type() == media_type
    assert (headers.get_content_maintype(), headers.get_content_subtype()) == tuple(media_type.split("/"))


def test_equal_fields() -> None:
    fields = [Headers(f"\n{text}") for text in ("", "A: b\r\n", "a: b\r\n", "A: b\r\nC: d\r\n", "C: d\r\nA: b\r\n")]
    for one, other in itertools.product(fields, repeat=2):
        assert (one == other) is (one is other)
    assert Headers("\nA: b \r\n") == fields[1] != "A: b"


@pytest.mark.parametrize(
    ("value", "codings"),
    [
        ("gzip;q=0.5, br", ("br", "gzip", "identity")),
        (",, gzip ;; q=0.5;q=1 ,,\t", ("gzip", "identity")),
        ("gzip;q=0", ("identity",)),
        (";, gzip", ("gzip", "identity")),
        ("gzip;q=1;", ("gzip", "identity")),
        ("x-gzip ; Q=0.1", ("gzip", "identity")),
    ],
)
def test_codings(value: str, codings: tuple[str, ...]) -> None:
    assert accepted_codings(value) == codings


@pytest.mark.parametrize("value", ["", "identity", "Identity;q=1, *;q=0", "*;q=0", " , identity ;q=0.5,,", "*;q=0.000"])
def test_no_coding_is_named(value: str) -> None:
    assert not names_coding(value)


@pytest.mark.parametrize(
    "value", ["gzip", "identity, br;q=0", "deflate", "*", "*;q=0.1", "unknown;q=0", "gzip;q=9", "GZIP"]
)
def test_a_coding_is_named(value: str) -> None:
    assert names_coding(value)


async def test_cookies_are_found_among_empty_ones() -> None:
    fields = lines("Cookie", ' ; ;;a = 1 ;=x;;b="2 3";c=;;;', 1) + lines("Cookie", "a=2;d=4=5;;nonsense", 1)
    assert json.loads((await cookies_of(fields)).body) == {"a": "1", "b": "2 3", "c": "", "d": "4=5"}


@pytest.mark.parametrize(
    ("raw", "cookies"),
    [
        ("ä=ü€\U0001f600".encode(), {"ä": "ü€\U0001f600"}),
        (b"a=\xfc", {"a": "\xfc"}),  # no UTF-8, so as it has always been
        ("a=ü; b=".encode() + b'\xe4; c="\xc3\xa4"', {"a": "ü", "b": "\xe4", "c": "ä"}),
        (b"a=\xc3", {"a": "\xc3"}),
    ],
)
async def test_cookies_are_in_utf8(raw: bytes, cookies: dict[str, str]) -> None:
    assert json.loads((await cookies_of(b"Cookie: " + raw + b"\r\n")).body) == cookies


# The heads of parts.


class Whole:
    """A body that is there."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, n: int = -1) -> bytes:
        content, self._content = self._content[:n], self._content[n:]
        return content


async def form_of(*fields: bytes) -> list[str]:
    content = b"--X\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\nv\r\n--X--\r\n"
    headers = Headers("\nContent-Type: multipart/form-data; boundary=X\r\n")
    return list(await read_form(headers, cast(Body, Whole(content)), FORM_LIMITS))


NAMED = b'Content-Disposition: form-data; name="a"'
DISTINCT = b"".join(b";%c%c=1" % pair for pair in itertools.product(range(97, 123), repeat=2))


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ([NAMED + b";;; ;" * 500], 200, ""),
        ([NAMED + DISTINCT[: 15 * 5]], 200, ""),
        ([NAMED + DISTINCT[: 16 * 5]], 400, "more than 16 parameters"),
        ([NAMED + DISTINCT], 400, "more than 16 parameters"),
        ([NAMED, *[b" x"] * 8], 400, "cannot be read"),
        ([NAMED, b"X: y", *[b" x"] * 8], 200, ""),
        ([NAMED, b"X: y", *[b"\tx"] * 9], 413, "more than 8 header fields"),
        ([NAMED, b"X: y", *[b" x"] * 1900], 413, "more than 8 header fields"),
        ([b'Content-Disposition: form-data; name="f"; filename="\xe4.txt"'], 400, "a file name failed to decode"),
        ([b'Content-Disposition: form-data; name="\xe4"'], 400, "a header field failed to decode"),
    ],
    ids=range(10),
)
async def test_heads_of_parts(fields: list[bytes], status: int, reason: str) -> None:
    try:
        assert await form_of(*fields) == ["a"]
        found, told = 200, ""
    except HTTPError as error:
        found, told = error.status, str(error.explain)
    assert (found, reason in told) == (status, True), told


async def test_escapes_in_names() -> None:
    name = b'Content-Disposition: form-data; name="' + b'\\"\\\\' * 3 + b'a\\b"'
    assert await form_of(name) == ['"\\' * 3 + "a\\b"]
