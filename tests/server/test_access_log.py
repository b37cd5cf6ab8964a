"""The log: http.server's line, safe for a terminal, never in the way."""

import asyncio
import io
import re

import pytest

import aiohttpd
from aiohttpd import HTTPServer
from aiohttpd.server.access_log import AccessLog
from aiohttpd.server.log_format import escape
from aiohttpd.testing import exchange

from ..support.loops import joined
from ..support.wire import Echo

LINE = re.compile(r'127\.0\.0\.1 - - \[\d\d/[A-Z][a-z]{2}/\d{4} \d\d:\d\d:\d\d\] "(.*)" (\d{3}) (\d+|-)\n')


async def logged(data: bytes, app: aiohttpd.App = Echo) -> list[tuple[str, str, str]]:
    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop())
    await exchange(app, data, access_log=log)
    log.flush()
    lines = stream.getvalue().splitlines(keepends=True)
    matches = [LINE.fullmatch(line) for line in lines]
    assert all(matches), lines
    return [match.group(1, 2, 3) for match in matches if match]  # type: ignore[misc]


async def test_one_line_for_each_answer() -> None:
    get = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n"
    head = b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"
    bad = b"NO\r\n\r\n"
    assert await logged(get + head + bad) == [
        ("GET /a?b HTTP/1.1", "200", "3"),
        ("HEAD / HTTP/1.1", "200", "0"),
        ("NO", "400", "-"),
    ]


async def test_what_a_client_sends_is_escaped() -> None:
    assert await logged(b'GET /" HTTP/1.1\r\nHost: a\r\n\r\n') == [(r"GET /\" HTTP/1.1", "200", "3")]
    assert await logged(b"GET /\\ HTTP/1.1\r\nHost: a\r\n\r\n") == [(r"GET /\\ HTTP/1.1", "200", "3")]
    assert await logged(b'\x1b[31mred\x07" 200\n\r\n\r\n') == [(r"\x1b[31mred\x07\" 200\x0a", "400", "-")]
    assert escape("\x7f\x9b\n") == r"\x7f\x9b\x0a"


async def test_a_refused_line_is_cut() -> None:
    [(line, status, _)] = await logged(b"GET /" + b"x" * 100_000)
    assert status == "414"
    assert len(line) == 200


async def test_tls_where_there_is_none() -> None:
    """Its bytes would tell nobody what is wrong: somebody has written https:// for http://."""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)) + b"\r\n"
    assert await logged(hello) == [("TLS handshake on a port without TLS", "400", "-")]


async def test_log_error_of_send_error() -> None:
    class Missing(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_error(404)

    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop())
    await exchange(Missing, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", access_log=log)
    log.flush()
    first, second = stream.getvalue().splitlines()
    assert first.endswith("] code 404, message Not Found")
    assert '"GET / HTTP/1.1" 404' in second


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


async def test_a_stream_that_is_gone_stops_nobody() -> None:
    log = AccessLog(Broken(), asyncio.get_running_loop())
    assert b"200 OK" in await exchange(Echo, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", access_log=log)
    log.flush()


class Failing:
    """An access log of a program."""

    def answered(self, *given: object) -> None:
        raise ValueError("answered")

    def refused(self, *given: object) -> None:
        raise ValueError("refused")

    def message(self, text: str) -> None: ...


async def test_an_access_log_that_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the response nor the close after it, which waits until the client has it."""
    async with HTTPServer(("127.0.0.1", 0), Echo, access_log=Failing()) as server, joined(server) as client:
        await client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nNO\r\n\r\n")
        answers = await client.rest()
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")] == [b"", b"200", b"400"]
    assert [record.getMessage() for record in caplog.records] == [
        "unhandled exception in 'GET / HTTP/1.1'",
        "unhandled exception in 'NO'",
    ]
    caplog.clear()


async def test_lines_do_not_pile_up() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop())
    for _ in range(2000):
        log.message("x" * 99 + "\n")
    assert len(log._texts) < 128
    assert len(stream.getvalue()) >= 180_000
    log.flush()
    assert len(stream.getvalue()) == 200_000


async def test_lines_are_written_soon() -> None:
    flushed = asyncio.Event()

    class Stream(io.StringIO):
        def flush(self) -> None:
            flushed.set()

    stream = Stream()
    AccessLog(stream, asyncio.get_running_loop()).message("soon\n")
    async with asyncio.timeout(5):
        await flushed.wait()
    assert stream.getvalue() == "soon\n"
