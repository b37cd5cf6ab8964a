"""Twice the input is at most twice the work: heads, bodies, pipelined requests, forms, ranges, lists in fields.

Limits are out of the way, so that what they bound is seen as well: with the defaults most of these inputs are refused.
"""

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, Config, SimpleHTTPRequestHandler
from aiohttpd.compression import compress
from aiohttpd.wire.headers import Headers
from aiohttpd.wire.ranges import select

from ..support.steps import Lines, Timer, assert_linear, work_of
from ..support.websocket_clients import frame

BIG = 1 << 30
FREE = Config(
    access_log=False,
    limit_request_line=BIG,
    limit_field=BIG,
    limit_head=BIG,
    limit_fields=1_000_000,
    limit_elements=10_000_000,
    limit_body=BIG,
    limit_json=BIG,
    limit_chunk_extensions=BIG,
    trusted_proxies="127.0.0.1",
    trusted_fields="Forwarded",
)
SIZES = (40, 90)
LONG = 12  # bytes of what is long, for each of the sizes
NUMBERS = itertools.count(10_000)


class Unlimited(BaseHTTPRequestHandler):
    max_form_parts = max_part_headers = max_part_header_size = max_field_size = max_fields_size = BIG


class Reader(Unlimited):
    """Looks at all that a request has."""

    async def do_GET(self) -> None:
        asked = self.request
        seen = [self.cookies, str(asked.client_address), asked.scheme, asked.host, self.query.pairs(), self.path]
        self.send_text(str(len(str(seen))))

    async def do_POST(self) -> None:
        self.send_text(str(len(await self.body())))


class Pieces(BaseHTTPRequestHandler):
    """Reads a body as it comes."""

    async def do_POST(self) -> None:
        size = 0
        async for data in self.rfile:
            size += len(data)
        self.send_text(str(size))


class Form(Unlimited):
    async def do_POST(self) -> None:
        form = await self.form()
        self.send_text(str(len(form)))


class Parts(Unlimited):
    async def do_POST(self) -> None:
        count = 0
        async for _ in self.parts():
            count += 1
        self.send_text(str(count))


class JSON(BaseHTTPRequestHandler):
    async def do_POST(self) -> None:
        self.send_text(str(len(str(await self.json()))))


NUMBERS = itertools.count()


class Writer(BaseHTTPRequestHandler):
    """Answers with as many fields and writes as the path says."""

    async def do_GET(self) -> None:
        count, new = int(self.path[1:]), str(next(NUMBERS))
        self.send_response(200)
        for number in range(count):
            self.send_header(f"X-{number}", new)  # a line that was sent before would be known
        self.end_headers()
        for _ in range(count):
            self.wfile.write(b"abc")
            await self.wfile.drain()


def whole(data: bytes) -> list[bytes]:
    return [data]


def by_byte(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def get(fields: str = "", target: str = "/") -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n".encode("latin-1")


def post(content: bytes, kind: str = "text/plain") -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def chunked(content: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + content


def multipart(content: bytes) -> bytes:
    return post(content + b"--b--\r\n", "multipart/form-data; boundary=b")


def part(number: int, content: bytes = b"x", fields: bytes = b"") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%d"\r\n%b\r\n%b\r\n' % (number, fields, content)


Made = Callable[[int], bytes]

LISTS: dict[str, Made] = {
    f"{name}: {element!r} repeated": lambda n, name=name, element=element, begin=begin: get(
        f"{name}: {begin}{element * n}\r\n"
    )
    for name, begin, elements in [
        ("Accept", "", ["a/b,", ",", "a;", "a;q=0.5,", '"', 'a="\\', " ", "\t,"]),
        ("Accept-Encoding", "", ["gzip,", ",", ";", "gzip;q=0,", "*;q=1,"]),
        ("Connection", "", ["a,", ",", "keep-alive,", "close,"]),
        ("Cookie", "", ["a=b; ", ";", "=", 'a="b";', "a=b,", " ;"]),
        ("Forwarded", "", ["for=1.1.1.1,", ",", ";", "for=_a;by=_b,", 'for="', '"\\', "for="]),
        ("If-None-Match", "", ['"a",', ",", 'W/"a",', '"', "W/", '"a" ']),
        ("If-Match", "", ['"a",', ","]),
        ("Range", "bytes=", ["0-0,", "1-,", "-1,", ",", "0-", "9", "-"]),
        ("Expect", "", ["100-continue,", ","]),
        ("Upgrade", "", ["a/1,", ","]),
        ("Transfer-Encoding", "", ["chunked,", "gzip,", ","]),
        ("TE", "", ["trailers,", ",", "a;q=1,"]),
        ("Host", "", ["a", ".", ":", "["]),
        ("Authorization", "Basic ", ["A", "=", " "]),
    ]
    for element in elements
}
HEADS: dict[str, Made] = {
    "fields": lambda n: get("".join(f"X-{next(NUMBERS)}: a\r\n" for _ in range(n))),  # none that is remembered
    "fields of one name": lambda n: get("Accept: a/b\r\n" * n),
    "cookies in fields": lambda n: get("Cookie: a=b\r\n" * n),
    "Forwarded fields": lambda n: get("Forwarded: for=1.1.1.1\r\n" * n),
    "a long value": lambda n: get(f"X: {'a' * LONG * n}\r\n"),
    "a long name": lambda n: get(f"{'a' * LONG * n}: a\r\n"),
    "spaces before a value": lambda n: get(f"X:{' ' * LONG * n}a\r\n"),
    "spaces in a value": lambda n: get(f"X: a{' ' * LONG * n}a\r\n"),
    "spaces before a colon, refused": lambda n: get(f"X{' ' * LONG * n}: a\r\n"),
    "a control at the end of long fields, refused": lambda n: get("X: abc\r\n" * n + "Y: \0\r\n"),
    "folded lines, refused": lambda n: get("X: a\r\n" + " b\r\n" * n),
    "a long target": lambda n: get(target="/" + "a" * LONG * n),
    "segments": lambda n: get(target="/a" * n),
    "dots": lambda n: get(target="/a/.." * n),
    "slashes": lambda n: get(target="/" * n),
    "escapes": lambda n: get(target="/" + "%41" * n),
    "incomplete escapes": lambda n: get(target="/" + "%4" * n),
    "parameters": lambda n: get(target="/?" + "a=b&" * n),
    "ampersands": lambda n: get(target="/?" + "&" * n),
    "empty lines before a request, refused": lambda n: b"\r\n" * n + get(),
    "a long method, refused": lambda n: b"A" * LONG * n + get(),
    "pipelined requests": lambda n: get() * n,
    "pipelined requests that differ": lambda n: b"".join(get(f"X: {next(NUMBERS)}\r\n", f"/{at}") for at in range(n)),
    "pipelined POSTs": lambda n: post(b"abc") * n,
    "pipelined POSTs in chunks": lambda n: chunked(b"3\r\nabc\r\n0\r\n\r\n") * n,
    **LISTS,
}
BODIES: dict[str, tuple[Any, Made]] = {
    "content": (Reader, lambda n: post(b"x" * LONG * n)),
    "content, in pieces": (Pieces, lambda n: post(b"x" * LONG * n)),
    "chunks": (Reader, lambda n: chunked(b"1\r\nx\r\n" * n + b"0\r\n\r\n")),
    "chunks, in pieces": (Pieces, lambda n: chunked(b"1\r\nx\r\n" * n + b"0\r\n\r\n")),
    "a chunk": (Reader, lambda n: chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (LONG * n, b"x" * LONG * n))),
    "extensions": (Reader, lambda n: chunked(b"1;a=b\r\nx\r\n" * n + b"0\r\n\r\n")),
    "extensions of one chunk, refused": (Reader, lambda n: chunked(b"1" + b";a" * n + b"\r\nx\r\n0\r\n\r\n")),
    "zeros before a size, refused": (Reader, lambda n: chunked(b"0" * n + b"1\r\nx\r\n0\r\n\r\n")),
    "trailers": (Reader, lambda n: chunked(b"1\r\nx\r\n0\r\n" + b"X: a\r\n" * n + b"\r\n")),
    "parts": (Form, lambda n: multipart(b"".join(part(at) for at in range(n)))),
    "parts of one name": (Form, lambda n: multipart(part(1) * n)),
    "parts, one after the other": (Parts, lambda n: multipart(part(1) * n)),
    "a large part": (Form, lambda n: multipart(part(1, b"x" * LONG * n))),
    "a part of nearly boundaries": (Form, lambda n: multipart(part(1, b"\r\n--" * n))),
    "a part of line ends": (Form, lambda n: multipart(part(1, b"\r\n" * n))),
    "a part of carriage returns": (Form, lambda n: multipart(part(1, b"\r" * n))),
    "before the first part, refused": (Form, lambda n: multipart(b"-" * n)),
    "URL-encoded fields": (Form, lambda n: post(b"a=b&" * n, "application/x-www-form-urlencoded")),
    "URL-encoded escapes": (Form, lambda n: post(b"a=" + b"%41" * n, "application/x-www-form-urlencoded")),
    "JSON list": (JSON, lambda n: post(b"[" + b"1," * n + b"1]", "application/json")),
    "JSON string": (JSON, lambda n: post(b'"' + b"\\u0041" * n + b'"', "application/json")),
}


async def check(app: Any, made: Made, cut: Callable[[bytes], Sequence[bytes]], *, most: float = 2.2) -> None:
    async def measured(size: int, measure: Lines | Timer) -> None:
        data = made(size)
        output = await work_of(app, cut(data), FREE, measure)
        assert output.startswith(b"HTTP/1.1 "), data[:100]
        assert b"HTTP/1.1 500" not in output
        if output.startswith(b"HTTP/1.1 200"):
            assert output.count(b"HTTP/1.1 200") == data.count(b" HTTP/1.1\r\n")

    await assert_linear(measured, SIZES, most=most)


@pytest.mark.parametrize("name", HEADS)
async def test_heads(name: str) -> None:
    await check(Reader, HEADS[name], whole)


@pytest.mark.parametrize("name", [name for name in HEADS if name not in LISTS])
async def test_heads_by_byte(name: str) -> None:
    await check(Reader, HEADS[name], by_byte)


@pytest.mark.parametrize("cut", [whole, by_byte])
@pytest.mark.parametrize("name", BODIES)
async def test_bodies(name: str, cut: Callable[[bytes], Sequence[bytes]]) -> None:
    app, made = BODIES[name]
    await check(app, made, cut)


@pytest.mark.parametrize("name", [name for name in LISTS if name.startswith(("Range", "If-", "Accept"))])
async def test_lists_for_files(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 100_000)
    os.utime(path, (0, 0))
    files = type("Files", (SimpleHTTPRequestHandler,), {"directory": str(tmp_path)})
    await check(compress(files), lambda n: LISTS[name](n).replace(b"GET / ", b"GET /a.txt "), whole)


@pytest.mark.parametrize("app", [Writer, compress(Writer)])
async def test_answers(app: Any) -> None:
    await check(app, lambda n: get("Accept-Encoding: gzip\r\n", f"/{n}"), whole)


class Echo(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        async with self.websocket() as ws:
            async for message in ws:
                await ws.send(message)


HANDSHAKE = get(
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
CLOSE = frame(8, b"\x03\xe8")
FRAMES: dict[str, Made] = {
    "messages": lambda n: frame(1, b"abc") * n,
    "fragments": lambda n: frame(1, b"a", fin=False) + frame(0, b"a", fin=False) * n + frame(0, b"a"),
    "empty fragments": lambda n: frame(1, b"", fin=False) + frame(0, b"", fin=False) * n + frame(0, b"a"),
    "pings": lambda n: frame(9, b"a") * n,
    "pings between fragments": lambda n: frame(1, b"a", fin=False) + frame(9, b"a") * n + frame(0, b"a"),
    "a long message": lambda n: frame(1, b"a" * LONG * n),
}


@pytest.mark.parametrize("cut", [whole, by_byte])
@pytest.mark.parametrize("name", FRAMES)
async def test_websockets(name: str, cut: Callable[[bytes], Sequence[bytes]]) -> None:
    async def measured(size: int, measure: Lines | Timer) -> None:
        pieces = [HANDSHAKE, *cut(FRAMES[name](size) + CLOSE)]
        output = await work_of(Echo, pieces, FREE, measure)
        assert output.startswith(b"HTTP/1.1 101 ")
        assert output.endswith(b"\x88\x02\x03\xe8"), output[-50:]

    await assert_linear(measured, SIZES)


@pytest.mark.parametrize("form", ["0-0,", "1-,", "-1,", ",", "0-1, ,", "5-4,", "0-0,,,,", "99999999999999999999-,"])
async def test_ranges(form: str) -> None:
    async def measured(size: int, measure: Lines | Timer) -> None:
        with measure:
            select("bytes=" + form * size + "0-0", 1 << 40, limit=BIG)

    await assert_linear(measured, SIZES)


async def test_fields_of_a_message() -> None:
    async def measured(size: int, measure: Lines | Timer) -> None:
        headers = Headers("\r\n" + "".join(f"X-{number}: a\r\n" for number in range(size)))
        with measure:
            for number in range(size):
                headers.get(f"x-{number}")

    await assert_linear(measured, SIZES)


async def test_that_can_fail() -> None:
    """What is quadratic in Python, and what is in C."""

    async def lines(size: int, measure: Lines | Timer) -> None:
        with measure:
            for _ in range(size):
                select("bytes=" + "0-0," * size, 1, limit=BIG)

    async def copies(size: int, measure: Lines | Timer) -> None:
        data = bytearray(b"x" * size * 2000)
        with measure:
            for _ in range(size):
                bytes(data)
            select("bytes=0-0", 1, limit=1)

    for quadratic in (lines, copies):
        with pytest.raises(AssertionError):
            await assert_linear(quadratic, SIZES)
