"""Formats of the access log: what they say, that nobody can break out of a line, and what goes to `logging`."""

import asyncio
import io
import json
import logging
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aiohttpd
from aiohttpd.engine.answer import PreparedResponse
from aiohttpd.engine.recorder import Recorder
from aiohttpd.server.access_log import AccessLog, LoggingAccessLog
from aiohttpd.server.layers import make_recorder
from aiohttpd.server.log_format import FIELDS, LineFormat
from aiohttpd.server.metrics import Metrics
from aiohttpd.testing import exchange
from aiohttpd.wire.headers import Headers

from ..support.examples import examples
from ..support.wire import Echo

CLF_TIME = r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"
ISO_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d"
REQUEST = (
    b"GET /a?b=1 HTTP/1.1\r\nHost: example.org\r\nReferer: http://x/\r\nUSER-AGENT: Some/1.0 (thing) \r\n"
    b"Authorization: Basic YWRhOnNlY3JldA==\r\n\r\n"
)


async def lines(format: str, data: bytes, app: aiohttpd.App = Echo) -> list[str]:
    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop(), format)
    await exchange(app, data, access_log=log)
    log.flush()
    text = stream.getvalue()
    assert text.endswith("\n")
    return text[:-1].split("\n")


def line_of(format: str, request: aiohttpd.Request, size: int) -> str:
    now = time.perf_counter()
    [line] = LineFormat(format).lines([(request, 200, size, now, now)])
    return line


async def test_common() -> None:
    [line] = await lines("common", REQUEST)
    assert re.fullmatch(rf'127\.0\.0\.1 - ada {CLF_TIME} "GET /a\?b=1 HTTP/1\.1" 200 3', line)


async def test_the_host_behind_a_proxy_is_the_one_the_client_has_asked_for() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop(), "json")
    config = aiohttpd.Config(trusted_proxies="127.0.0.1")
    fields = b"Host: inner\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: shop.example\r\n"
    await exchange(Echo, b"GET / HTTP/1.1\r\n" + fields + b"\r\n", config=config, access_log=log)
    log.flush()
    line = json.loads(stream.getvalue())
    assert (line["client"], line["host"]) == ("192.0.2.1", "shop.example")


@pytest.mark.parametrize(
    ("format", "timed"),
    [("http.server", False), ("common", False), ("combined", False), ("json", True), ("{status}", False)]
    + [(f"{{{field}}} {{status}}", True) for field in ("seconds", "milliseconds", "microseconds")],
)
async def test_no_clock_is_read_for_durations_that_no_line_tells(format: str, timed: bool) -> None:
    loop = asyncio.get_running_loop()
    log = AccessLog(io.StringIO(), loop, format)
    assert Recorder(log).timed is timed
    assert Recorder(log, Metrics()).timed
    assert Recorder(LoggingAccessLog(format)).timed
    assert not make_recorder(aiohttpd.Config(access_log=False), log).timed


async def test_combined() -> None:
    [line] = await lines("combined", REQUEST)
    assert line.endswith(' "GET /a?b=1 HTTP/1.1" 200 3 "http://x/" "Some/1.0 (thing)"')
    [line] = await lines("combined", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert line.startswith("127.0.0.1 - - [")
    assert line.endswith(' 200 3 "-" "-"')


async def test_json() -> None:
    first, second = map(json.loads, await lines("json", REQUEST + b'NO "\x1b\r\n\r\n'))
    assert re.fullmatch(ISO_TIME, first.pop("time"))
    assert 0 < first.pop("seconds") < 60
    assert first == {
        "client": "127.0.0.1", "method": "GET", "target": "/a?b=1", "version": "HTTP/1.1", "host": "example.org",
        "status": 200, "bytes": 3, "referer": "http://x/", "user_agent": "Some/1.0 (thing)",
    }  # fmt: skip
    del second["time"]
    assert second == {"client": "127.0.0.1", "status": 400, "request": 'NO "\x1b'}


async def test_records_keep_their_order_and_the_second_in_which_they_were_complete() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop(), "{unix_time} {iso_time} {status}")
    request = aiohttpd.Request("GET", "/", "HTTP/1.1", Headers(), None)  # type: ignore[arg-type]
    request.peer = FakePeer()  # type: ignore[assignment]
    begun = time.time()
    log.answered(request, PreparedResponse(201, b"", 0), time.perf_counter())
    after = time.time()
    log.message("between\n")
    while int(time.time()) == int(begun):
        pass  # a handler that has burned a second, and let nobody write meanwhile
    log.answered(request, PreparedResponse(202, b"", 0), time.perf_counter())
    log.refused(("1.2.3.4", 1), "NO", 400)
    log.flush()
    first, between, second, refused = (line.split() for line in stream.getvalue().splitlines())
    assert (first[2], between, second[2], refused[2]) == ("201", ["between"], "202", "400")
    assert begun - 0.001 <= float(first[0]) <= after + 0.001
    assert int(float(second[0])) > int(begun)
    assert first[1] != second[1]


async def test_what_waits_is_bounded() -> None:
    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop())
    request = aiohttpd.Request("GET", "/", "HTTP/1.1", Headers(), None)  # type: ignore[arg-type]
    request.peer = FakePeer()  # type: ignore[assignment]
    for number in range(1000):
        log.answered(request, PreparedResponse(200, b"", number), time.perf_counter())
    assert 1000 - 128 < stream.getvalue().count("\n") < 1000
    log.flush()
    assert [int(line.split()[-1]) for line in stream.getvalue().splitlines()] == list(range(1000))


async def test_json_stays_json_whatever_a_handler_logs() -> None:
    class Missing(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_error(404)

    message, answer = map(json.loads, await lines("json", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", Missing))
    assert message["message"].endswith("] code 404, message Not Found")
    assert (answer["status"], answer["referer"]) == (404, None)


async def test_a_format_of_one_s_own() -> None:
    [line] = await lines("{method}|{path}|{query}|{host}|{scheme}|{status}|{bytes}|100%|{{x}}|'{user}'", REQUEST)
    assert line == "GET|/a|b=1|example.org|http|200|3|100%|{x}|'ada'"
    [line] = await lines("{seconds} {milliseconds} {microseconds} {pid} {unix_time} {iso_time}", REQUEST)
    assert re.fullmatch(rf"\d+\.\d{{6}} \d+\.\d{{3}} \d+ \d+ \d+\.\d{{3}} {ISO_TIME}", line)


@pytest.mark.parametrize("format", ["{host} {status}", "json"])
async def test_what_a_client_repeats_is_its_fields_not_the_host_of_a_target(format: str) -> None:
    fields = b" HTTP/1.1\r\nHost: a\r\n\r\n"
    found = await lines(
        format, b"".join(b"GET " + target + fields for target in (b"http://b/", b"/", b"http://c/", b"/"))
    )
    hosts = [json.loads(line)["host"] for line in found] if format == "json" else [line.split()[0] for line in found]
    assert hosts == ["b", "a", "c", "a"]


async def test_every_field_is_there_for_what_is_no_request() -> None:
    template = "\t".join(f"{name}={{{name}}}" for name in FIELDS)
    answered, refused = await lines(template, REQUEST + b"NO\r\n\r\n")
    assert [part.split("=", 1)[0] for part in answered.split("\t")] == list(FIELDS)
    found = dict(part.split("=", 1) for part in refused.split("\t"))
    assert (found["request"], found["method"], found["status"], found["bytes"]) == ("NO", "-", "400", "-")


async def test_time_that_a_handler_has_taken() -> None:
    async def slow(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + 0.02
        while loop.time() < end:  # without a turn of the loop, whose own time may stand still meanwhile
            pass
        response.send_head(200)

    [line] = await lines("{seconds}", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", slow)
    assert float(line) >= 0.02


@pytest.mark.parametrize(
    ("format", "text"),
    [
        ("apache", "none of http.server, common, combined, json and none"),
        ("{nothing}", "no field {nothing}; there are request, client,"),
        ("{status:d}", "no field {status:d}"),
        ("{status!r}", "no field {status!r}"),
        ("{}", "no field {}"),
        ("{status", "expected '}'"),
        ("{status.__class__}", "no field {status.__class__}"),
    ],
)
def test_a_format_that_cannot_be(format: str, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        LineFormat(format)


def test_a_format_is_data() -> None:
    """Whatever stands in it beside its fields is written as it is."""
    template = """'); raise SystemExit  # " \\N{{x}} {status} {{0}} %s \\"""
    request = aiohttpd.Request("GET", "/", "HTTP/1.1", Headers(), None)  # type: ignore[arg-type]
    line = line_of(template, request, 0)
    assert line == """'); raise SystemExit  # " \\N{x} 200 {0} %s \\\n"""


class FakePeer:
    scheme = "http"
    client_address = ('1.2.3.4"\n', 1)


# Of the request line what the grammar lets through; of a field what it does, and more.
targets = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")).map("/".__add__)
values = st.text(st.characters(max_codepoint=0xFF, exclude_characters="\r\n"))


@examples(400)
@given(target=targets, referer=values, agent=values, user=values)
def test_nobody_breaks_out(target: str, referer: str, agent: str, user: str) -> None:
    block = f"\nReferer: {referer}\r\nUser-Agent: {agent}\r\nAuthorization: Basic {user}\r\n"
    framing = aiohttpd.wire.request.RequestFraming(False, 'h"', None, False, True, False, None, True)  # type: ignore[attr-defined]
    request = aiohttpd.Request("GET", target, "HTTP/1.1", Headers(block), framing)
    request.peer = FakePeer()  # type: ignore[assignment]
    for name in ("http.server", "common", "combined", "{client} {host} {user} {path} {query} {referer} {user_agent}"):
        line = line_of(name, request, 3)
        assert line.isascii()
        assert line[:-1].isprintable()
        assert line[-1] == "\n"
    combined = line_of("combined", request, 3)
    quoted = re.findall(r'"((?:[^"\\]|\\.)*)"', combined[combined.index("] ") :])
    assert len(quoted) == 3
    record = json.loads(line_of("json", request, 3))
    assert record["target"] == target
    assert record["user_agent"] == (agent.strip(" \t") or "")


def test_fields_are_found_as_by_reading_them_all() -> None:
    block = "\nX-User-Agent: no\r\nuser-AGENT:  yes \t\r\nUser-Agent: second\r\nReferer:\r\n"
    for name in ("user-agent", "referer", "x-user-agent", "agent", "authorization"):
        assert Headers(block).peek(name) == Headers(block)[name]


class TestLogging:
    @pytest.fixture(autouse=True)
    def _as_it_was(self) -> object:
        logger = logging.getLogger("aiohttpd.access")
        yield
        logger.setLevel(logging.NOTSET)
        logger.handlers.clear()

    @staticmethod
    async def get(**options: object) -> None:
        async with aiohttpd.testing.running(Echo, **options) as server:  # type: ignore[attr-defined]
            reader, writer = await asyncio.open_connection(*server.server_address)
            writer.write(REQUEST + b"NO\r\n\r\n")
            assert (await reader.read()).count(b"HTTP/1.1 ") == 2
            writer.close()

    async def test_who_configures_the_logger_gets_records(self, caplog: pytest.LogCaptureFixture) -> None:
        logging.getLogger("aiohttpd.access").setLevel(logging.INFO)
        await self.get(access_log_format="{method} {target}")
        answered, refused = (record for record in caplog.records if record.name == "aiohttpd.access")
        assert answered.getMessage() == "GET /a?b=1"
        assert (answered.status, answered.bytes, answered.user_agent) == (200, 3, "Some/1.0 (thing)")  # type: ignore[attr-defined]
        assert answered.seconds > 0  # type: ignore[attr-defined]
        assert (refused.request, refused.status) == ("NO", 400)  # type: ignore[attr-defined]

    async def test_a_handler_of_its_own_is_configuration_too(self) -> None:
        stream = io.StringIO()
        logger = logging.getLogger("aiohttpd.access")
        logger.addHandler(logging.StreamHandler(stream))
        await self.get()
        assert stream.getvalue() == ""  # WARNING is what passes where nobody has set a level
        logger.setLevel(logging.INFO)
        await self.get(access_log_format="none")
        assert stream.getvalue().count('"GET /a?b=1 HTTP/1.1" 200 3\n') == 1

    @pytest.mark.parametrize("configure", [lambda logger: None, lambda logger: logger.setLevel(logging.WARNING)])
    async def test_nobody_else_does(
        self, configure: Callable[[logging.Logger], None], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)  # the root logger's, which is not about us
        configure(logging.getLogger("aiohttpd.access"))
        await self.get()
        assert not [record for record in caplog.records if record.name == "aiohttpd.access"]

    async def test_no_access_log_is_none_at_all(self, caplog: pytest.LogCaptureFixture) -> None:
        logging.getLogger("aiohttpd.access").setLevel(logging.INFO)
        await self.get(access_log=False)
        assert not [record for record in caplog.records if record.name == "aiohttpd.access"]
