"""JSON, text and URL-encoded fields that are large or odd: what is refused, and that the loop goes on meanwhile."""

import asyncio
import codecs
import gc
import json
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import aiohttpd.handlers.forms.read as reading
from aiohttpd import BaseHTTPRequestHandler, HTTPError
from aiohttpd.handlers import json_text
from aiohttpd.handlers.forms import decode, decode_large
from aiohttpd.testing import running

from ..support.asking import answer_to
from ..support.examples import examples
from ..support.forming import FORM_LIMITS
from ..support.steps import calls_of
from ..support.waiting import until

KIB = 1024
MIB = 1024 * KIB


class JSONTaker(BaseHTTPRequestHandler):
    error_message_format = "%(explain)s"
    error_content_type = "text/plain"

    async def do_POST(self) -> None:
        value = await self.json()
        try:
            self.send_json(value)
        except ValueError as error:
            raise AssertionError("what json() takes, send_json() sends") from error


def post_text(body: bytes, kind: str = "application/json", *, chunked: bool = False) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {kind}\r\n"
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    pieces = (body[at : at + 1000] for at in range(0, len(body), 1000))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


# Its type.


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ("", 200),  # no browser
        ("Content-Type: application/problem+json\r\nOrigin: http://evil.example\r\n", 200),  # asked for by CORS
        ("Origin: http://a\r\n", 200),
        ("Origin: http://a\r\nSec-Fetch-Site: same-origin\r\n", 200),
        ("Origin: http://evil.example\r\n", 415),
        ("Origin: http://a:8000\r\n", 415),
        ("Origin: null\r\nSec-Fetch-Site: cross-site\r\n", 415),
        ("Sec-Fetch-Site: same-origin\r\n", 200),
        ("Sec-Fetch-Site: same-site\r\n", 415),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type:\r\n", 415),
        ("Content-Type: text/plain; application/json\r\n", 415),
    ],
)
async def test_a_page_of_another_origin_says_that_it_is_json(fields: str, status: int) -> None:
    """A page can send content without a type to any server, without asking it before: fetch(url, {body: blob})."""
    request = f"POST / HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 2\r\n\r\n{{}}"
    assert (await answer_to(JSONTaker, request.encode())).status == status


# Its own limit.


def of_size(size: int) -> bytes:
    return b'"' + b"a" * (size - 2) + b'"'


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "status"), [(MIB, 200), (MIB + 1, 413), (3 * MIB, 413)])
async def test_the_limit(size: int, status: int, chunked: bool) -> None:
    answer = await answer_to(JSONTaker, post_text(of_size(size), chunked=chunked))
    assert answer.status == status
    if status == 413:
        assert answer.body == b"the body is larger than 1048576 bytes"


@pytest.mark.parametrize(
    ("attributes", "options", "size", "status"),
    [
        ({}, {"limit_json": 100}, 100, 200),
        ({}, {"limit_json": 100}, 101, 413),
        ({}, {"limit_json": 5000, "limit_body": 100}, 101, 413),
        ({"max_json_size": 200}, {"limit_json": 100}, 200, 200),
        ({"max_json_size": 200}, {}, 201, 413),
        ({"max_json_size": None}, {}, 2 * MIB, 200),
        ({"max_json_size": None}, {"limit_body": 100}, 101, 413),
        ({"max_body_size": None}, {"limit_json": 100}, 101, 413),
        ({"max_body_size": None, "max_json_size": None}, {"limit_body": 1, "limit_json": 1}, 500, 200),
        ({"max_body_size": 50}, {}, 51, 413),
    ],
)
async def test_limits(attributes: dict[str, Any], options: dict[str, int], size: int, status: int) -> None:
    app = type("Limited", (JSONTaker,), attributes)
    for chunked in (False, True):
        assert (await answer_to(app, post_text(of_size(size), chunked=chunked), **options)).status == status


async def test_the_limit_after_body() -> None:
    class Both(JSONTaker):
        async def do_POST(self) -> None:
            assert len(await self.body()) == 101
            with pytest.raises(HTTPError, match="413"):
                await self.json()
            self.send_text(str(len(await self.text())))

    assert (await answer_to(Both, post_text(of_size(101)), limit_json=100)).body == b"101"


async def test_the_limit_is_that_of_json_only() -> None:
    """After 413 the body can be read in another way, if none of it has been taken."""

    class Other(JSONTaker):
        async def do_POST(self) -> None:
            with pytest.raises(HTTPError, match="413"):
                await self.json()
            self.send_text(str(len(await self.text())))

    assert (await answer_to(Other, post_text(of_size(101)), limit_json=100)).body == b"101"


# Off the loop.


@pytest.fixture
def parsed_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, bool]]]:
    """In which threads texts were parsed, and whether with the garbage collector."""
    seen = []
    parse = json_text.loads

    def loads(data: bytes) -> Any:
        seen.append((threading.get_ident(), gc.isenabled()))
        return parse(data)

    monkeypatch.setattr(json_text, "loads", loads)
    yield seen
    assert gc.isenabled()
    assert not json_text._locks


@pytest.mark.parametrize("size", [1000, 32 * KIB, 32 * KIB + 1, MIB])
async def test_what_is_large_is_parsed_in_a_thread(size: int, parsed_in: list[tuple[int, bool]]) -> None:
    assert (await answer_to(JSONTaker, post_text(of_size(size)))).body == of_size(size)
    [(thread, collector)] = parsed_in
    large = size > 32 * KIB
    assert ((thread != threading.get_ident()), collector) == (large, not large)


async def test_a_collector_that_is_off_stays_off(parsed_in: list[tuple[int, bool]]) -> None:
    gc.disable()
    try:
        await json_text.loads_large(b"[1]")
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "body", [b"[" * 200_000, b"[" + b"1," * 50_000, b"\xff" * 50_000, b"[1e999," + b"1," * 50_000 + b"1]"]
)
async def test_what_is_large_and_refused(body: bytes, parsed_in: list[tuple[int, bool]]) -> None:
    answer = await answer_to(JSONTaker, post_text(body))
    assert answer.status == 400
    assert b"malformed JSON" in answer.body
    assert parsed_in


async def test_one_large_text_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are answered meanwhile; clients that go, and requests that are cancelled, leave nothing behind."""
    begun, go_on = threading.Semaphore(0), threading.Semaphore(0)
    parse = json_text.loads

    def loads(data: bytes) -> Any:
        if len(data) > KIB:
            begun.release()
            assert go_on.acquire(timeout=10)
        return parse(data)

    monkeypatch.setattr(json_text, "loads", loads)
    large = of_size(100 * KIB)
    tasks = [asyncio.create_task(json_text.loads_large(large)) for _ in range(4)]
    assert await asyncio.to_thread(begun.acquire, timeout=10)
    assert (await answer_to(JSONTaker, post_text(b"[1]"))).body == b"[1]"  # while the first is at it
    assert not begun.acquire(blocking=False)
    tasks[2].cancel()
    await asyncio.wait([tasks[2]])
    for number in (0, 1, 3):
        go_on.release()
        assert await tasks[number] == large[1:-1].decode()
    assert tasks[2].cancelled()
    assert not json_text._locks


def test_each_loop_has_its_turns(parsed_in: list[tuple[int, bool]]) -> None:
    async def two() -> None:
        assert await asyncio.gather(*(json_text.loads_large(b"[%d]" % n) for n in range(2))) == [[0], [1]]

    for _ in range(3):
        asyncio.run(two())


async def test_another_client_is_answered_while_large_texts_are_read() -> None:
    """Whatever is in them: the loop gets its turn between two of them."""
    body = b"[" + b"[]," * (MIB // 3 - 2) + b"[]]"

    class Handler(JSONTaker):
        async def do_GET(self) -> None:
            self.send_text("here")

        async def do_POST(self) -> None:
            self.send_text(str(len(await self.json())))

    async with running(Handler, access_log=False) as server:
        host, port = server.url.removeprefix("http://").rstrip("/").split(":")
        answered = []

        async def one(data: bytes, expected: bytes, name: str) -> None:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(data)
            await reader.readuntil(expected)
            answered.append(name)
            writer.close()

        async with asyncio.TaskGroup() as group:
            for _ in range(6):
                group.create_task(one(post_text(body), b"%d" % (MIB // 3 - 1), "large"))
            await until(lambda: json_text._locks)
            group.create_task(one(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"here", "small"))
        assert answered.index("small") < 6


# Values.


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"1e999", b"the number 1e999 is too large"),
        (b"-1e999", b"the number -1e999 is too large"),
        (b'{"a": [0, 1E+400]}', b"the number 1E+400 is too large"),
        (b"1.8e308", b"is too large"),
        (b"1" * 400 + b".5", b"the number " + b"1" * 30 + b"... is too large"),
        (b"1" * 5000, b"a number has too many digits"),
        (b"-" + b"1" * 5000, b"a number has too many digits"),
        (b"[" + b"9" * 900_000 + b"]", b"a number has too many digits"),
        (b"NaN", b"NaN is no JSON"),
        (b"-Infinity", b"-Infinity is no JSON"),
        (b"nan", b"Expecting value"),
        (b"[" * 500_000, b"malformed JSON"),
        (b'{"a":' * 100_000, b"malformed JSON"),
        (b'"\xed\xa0\x80"', b"it is not in UTF-8: byte 1"),
        (b"\xff\xfe1\x00", b"it is not in UTF-8: byte 0"),
        (b"01", b"Extra data"),
        (b"\0", b"Expecting value"),
        (b'"\x00"', b"Invalid control character"),
    ],
    ids=range(18),
)
async def test_what_is_refused(text: bytes, reason: bytes) -> None:
    answer = await answer_to(JSONTaker, post_text(text))
    assert answer.status == 400
    assert answer.body.startswith(b"malformed JSON: ")
    assert reason in answer.body
    assert b"set_int_max_str_digits" not in answer.body
    assert len(answer.body) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"1.7976931348623157e308", sys.float_info.max),
        (b"1e-999", 0.0),
        (b"-0.0", -0.0),
        (b"1" * 400, int("1" * 400)),
        (b'"\\ud800"', "\ud800"),  # kept as Python and JSON both write it: it comes back as it came
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\u0000"', "\0"),
        (b"[" * 100 + b"]" * 100, None),
    ],
    ids=range(8),
)
async def test_what_is_taken_can_be_sent(text: bytes, value: Any) -> None:
    answer = await answer_to(JSONTaker, post_text(text))
    assert answer.status == 200
    if value is not None:
        assert json.loads(answer.body) == value


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,5})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)


@examples(400)
@given(NUMBERS)
def test_any_number(text: str) -> None:
    try:
        value = json_text.loads(text.encode())
    except ValueError:
        assert abs(float(text)) == float("inf")
    else:
        assert json_text.loads(json_text.dumps(value)) == value == json.loads(text)


# Text.


@examples(400)
@given(
    charset=st.sampled_from(sorted(reading._CHARSETS)),
    content=st.text(max_size=60) | st.binary(max_size=60),
    piece=st.integers(1, 9),
)
@example(charset="utf-8", content=b"\xf0\x9f\x98\x80\xff", piece=1)
@example(charset="utf-16", content="ü\U0001f600", piece=1)
@example(charset="utf-16", content=b"\0\0", piece=1)
@example(charset="utf-16", content=b"\xfe\xff\0a\0", piece=1)
@example(charset="iso-2022-jp", content=b"\x1b$B0!", piece=1)
def test_text_in_pieces(charset: str, content: str | bytes, piece: int) -> None:
    """Whatever is in it, and wherever it is cut: the same, or the same place is told."""
    name = reading._NAMES_OF_PYTHON.get(charset, charset)
    data = content if isinstance(content, bytes) else content.encode(name, "ignore")

    def outcome(call: Callable[[], str]) -> Any:
        try:
            return call()
        except UnicodeDecodeError as error:
            return error.start

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_PIECE", piece)
        found = outcome(lambda: asyncio.run(decode_large(data, charset)))
    assert found == outcome(lambda: decode(data, charset))


async def test_a_large_text_lets_others_have_their_turn() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.create_task(others())
    assert await decode_large(b"\xb0\xa1" * (2 * MIB), "gb2312") == "啊" * (2 * MIB)
    task.cancel()
    assert turns > 60


async def test_large_texts() -> None:
    class Text(JSONTaker):
        async def do_POST(self) -> None:
            self.send_text(str(len(await self.text())))

    body = "ü€".encode() * 100_000
    assert (await answer_to(Text, post_text(body, "text/plain"))).body == b"200000"
    answer = await answer_to(Text, post_text(body + b"\xff", "text/plain"))
    assert (answer.status, answer.body) == (400, b"the text is not in utf-8: byte 500000")
    assert (await answer_to(Text, post_text(body, "text/plain; charset=klingon"))).status == 415


def test_every_charset_can_be_read_in_pieces() -> None:
    for charset in reading._CHARSETS:
        decoder = codecs.getincrementaldecoder(reading._NAMES_OF_PYTHON.get(charset, charset))()
        assert isinstance(decoder.getstate()[0], bytes)


# URL-encoded fields.


def of_urllib(content: bytes) -> Any:
    try:
        return parse_qsl(content.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return 400


def of_ours(content: bytes) -> Any:
    try:
        return reading._url_encoded(content, FORM_LIMITS)
    except HTTPError as error:
        return error.status


@examples(400)
@given(
    content=st.lists(st.sampled_from([b"%", b"=", b"&", b"+", b"41", b"%C3%BC", b"%f", b"\n", b"_", b"\xc3\xbc", b"a"]))
    | st.lists(st.binary(max_size=5)),
    piece=st.integers(3, 20),
)
@example(content=[b"a=%%41=%", b"%\r\n%3D=3D%0a"], piece=3)
def test_fields_as_urllib_reads_them(content: list[bytes], piece: int) -> None:
    data = b"".join(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_PIECE", piece)
        assert of_ours(data) == of_urllib(data) == of_ours(bytearray(data))  # type: ignore[arg-type]


@pytest.mark.parametrize("unit", [b"%", b"%41", b"%a", b"%3D", b"="])
def test_fields_take_no_step_for_each_escape(unit: bytes) -> None:
    """Counted by what Python calls, C included."""
    content = b"a=" + unit * (60_000 // len(unit))
    of_ours(content)
    assert calls_of(lambda: of_ours(content)) < 100
