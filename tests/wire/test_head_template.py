"""Heads that fit the template of their connection: each is seen as a parser sees it that has no template."""

import functools
import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttpd.config import Config
from aiohttpd.errors import WireError
from aiohttpd.wire import head_template
from aiohttpd.wire import parser as parser_module
from aiohttpd.wire.body import LengthDecoder
from aiohttpd.wire.head_template import HeadTemplate
from aiohttpd.wire.parser import RequestParser
from aiohttpd.wire.request import Request, RequestFraming

from ..support.examples import examples

DEFAULTS = Config()
TIGHT = Config(limit_request_line=40, limit_field=30, limit_head=100, limit_fields=4, limit_elements=20)
HEAD = (
    b"GET /a HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive\r\nX-Id: id=%b\r\nAccept: */*\r\n"
    b"Cookie: a=b; c=%b; d=e\r\n\r\n"
)
LEARNED = [HEAD % (word, word) for word in (b"6", b"7", b"8", b"9")]  # after these there is a template
WORDS = [b"1", b"", b"2; x", b"\xff\t\x80", b"a=b", b"\0", b"\n", b"\r", b"\r\n", b"\r\nHost: b", b"\x7f", b"x" * 5000]


def seen(request: Request | None) -> object:
    if request is None:
        return None
    return request.method, request.target, request.version, request.headers.items(), request.framing


def outcomes(pieces: Iterable[bytes], config: Config = DEFAULTS) -> list[object]:
    """What one parser makes of pieces, one after the other."""
    parser = RequestParser(config)
    found: list[object] = []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (request := parser.next_request()) is not None:
                found.append((seen(request), parser.pending))
                if request.content_length:
                    content = bytearray()
                    parser.decode(LengthDecoder(request.content_length), content)
                    found.append(bytes(content))
        except WireError as error:
            return [*found, (error.status, error.reason)]
        found.append(parser.pending)
    return found


def taught(*heads: bytes, config: Config = DEFAULTS) -> RequestParser:
    """A parser that has seen these heads."""
    parser = RequestParser(config)
    for head in heads:
        parser.feed(head)
        assert parser.next_request() is not None
    return parser


@functools.cache
def alone(head: bytes, config: Config = DEFAULTS) -> list[Any]:
    return outcomes([head], config)


@pytest.fixture
def read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fields of heads that no template has fitted."""
    found: list[str] = []
    usual = parser_module.deciding_lines

    def deciding_lines(fields: str, limit: int) -> tuple[str, ...] | None:
        found.append(fields)
        return usual(fields, limit)

    monkeypatch.setattr(parser_module, "deciding_lines", deciding_lines)
    return found


class TestWhatFits:
    def test_it_is_not_read_line_by_line(self, read_line_by_line: list[str]) -> None:
        parser = RequestParser(DEFAULTS)
        for number in range(100, 200):
            head = HEAD % (b"%d" % number, b"word%d-%d" % (number, number % 7))
            parser.feed(head.replace(b"/a", b"/%d" % (number % 3)))
            request = parser.next_request()
            assert request is not None
            assert request.headers["X-Id"] == f"id={number}"
            assert request.headers["Cookie"] == f"a=b; c=word{number}-{number % 7}; d=e"
            assert request.headers.size == len(head) - len(b"GET /a HTTP/1.1\r\n\r\n")
        assert len(read_line_by_line) == 4

    def test_a_gap_grows(self, read_line_by_line: list[str]) -> None:
        parser = RequestParser(DEFAULTS)
        for number in range(2000):
            parser.feed(HEAD % (b"%d-%d" % (number // 100, number), b"x"))
            assert parser.next_request() is not None
        assert len(read_line_by_line) <= 8

    def test_another_kind_of_client(self, read_line_by_line: list[str]) -> None:
        """What is sent now counts, not what was sent before."""
        parser = RequestParser(DEFAULTS)
        for kind in (HEAD, HEAD.replace(b"Accept", b"Accept-Encoding"), HEAD.replace(b"X-Id", b"Y: z\r\nX-Id")):
            read_line_by_line.clear()
            for number in range(100):
                parser.feed(kind % (b"%d" % number, b"x"))
                assert parser.next_request() is not None
            assert len(read_line_by_line) <= 10

    def test_clients_in_turn(self, read_line_by_line: list[str]) -> None:
        """The connection of a proxy."""
        parser = RequestParser(DEFAULTS)
        kinds = [HEAD, HEAD.replace(b"Accept", b"Accept-Encoding"), HEAD.replace(b"X-Id", b"Y: z\r\nX-Id")]
        for number in range(600):
            if number == 400:
                read_line_by_line.clear()
            parser.feed(kinds[number % 3] % (b"%d" % number, b"x"))
            request = parser.next_request()
            assert request is not None
            assert request.headers["X-Id"] == f"id={number}"
        assert not read_line_by_line

    def test_bodies_of_any_length(self, read_line_by_line: list[str]) -> None:
        head = b"POST /%d HTTP/1.1\r\nHost: a\r\ncontent-length: %d\r\nX: %d\r\n\r\n"
        sizes = [1, 2, 0, *range(3, 200), 10, 9, 1000]  # the template is made of the third head and the fourth
        posts = [head % (size % 3, size, size) + b"x" * size for size in sizes]
        found = [outcome[0] if isinstance(outcome, tuple) else outcome for outcome in outcomes(posts)]
        assert [one for one in found if isinstance(one, bytes)] == [b"x" * size for size in sizes if size]
        assert len(read_line_by_line) <= 4
        assert found == [one[0] if isinstance(one, tuple) else one for post in posts for one in alone(post)]

    def test_pipelined(self, read_line_by_line: list[str]) -> None:
        heads = [HEAD % (b"%d" % number, b"x" * number) for number in range(20)]
        body = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nX: %d\r\n\r\nabc"
        posts = [body % number for number in range(20)]
        together = outcomes([b"".join(heads + posts)])
        assert len(read_line_by_line) <= 8
        one_by_one = [alone(head)[0] for head in heads] + [one for post in posts for one in alone(post)[:2]]

        def without_pending(found: list[object]) -> list[object]:
            return [one[0] if isinstance(one, tuple) else one for one in found]

        assert without_pending(together[:-1]) == without_pending(one_by_one)


class TestSharing:
    def test_like_clients_share_one(self) -> None:
        one, two = (taught(*LEARNED) for _ in range(2))
        assert one._templates[0] is two._templates[0]
        new = [head.replace(b"keep-alive", b"x") for head in LEARNED]
        old = [head.replace(b"/1.1", b"/1.0") for head in new]
        assert taught(*old)._templates[0] is not taught(*new)._templates[0]

    def test_nobody_makes_it_grow(self) -> None:
        for number in range(500):
            taught(*(head.replace(b"Accept", b"X-%d" % number) for head in LEARNED))
        assert 0 < len(head_template._known) <= head_template._KNOWN


class TestWhatDoesNotFit:
    @pytest.mark.parametrize("word", WORDS)
    @pytest.mark.parametrize("gap", [0, 1])
    def test_a_gap_takes_characters_of_a_value_only(self, word: bytes, gap: int) -> None:
        parser = taught(*LEARNED)
        assert parser._templates
        head = HEAD % ((word, b"3") if gap == 0 else (b"3", word))
        assert _next(parser, head) == _next(RequestParser(DEFAULTS), head)

    @pytest.mark.parametrize(
        "length",
        [
            b"0", b"00", b"007", b"5 ", b" 5", b"", b"+5", b"-5", b"5_0", b"5, 5", b"\xb2", b"9" * 15, b"9" * 16,
            b"9" * 19, b"9" * 20, b"5\r\nContent-Length: 5", b"5\r\nTransfer-Encoding: chunked", b"5\r\n 6",
        ],
    )  # fmt: skip
    def test_lengths(self, length: bytes) -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\nX: y\r\n\r\n"
        parser = RequestParser(DEFAULTS)
        for size in (3, 4, 5, 6):
            parser.feed(head % (b"%d" % size) + b"x" * size)
            assert parser.next_request() is not None
            parser.decode(LengthDecoder(size), bytearray())
        assert parser._templates
        assert _next(parser, head % length) == _next(RequestParser(DEFAULTS), head % length)

    @pytest.mark.parametrize("change", ["replaced", "inserted", "deleted", "cut"])
    def test_each_byte_changed(self, change: str) -> None:
        head = HEAD % (b"7", b"7")
        for at in range(len(head)):
            rest = head[at + (change in ("replaced", "deleted")) :]
            for byte in (b"",) if change in ("deleted", "cut") else (b"\0", b"\n", b"\r", b" ", b":", b"\xff", b"h"):
                changed = head[:at] if change == "cut" else head[:at] + byte + rest
                parser = taught(*LEARNED)
                assert _next(parser, changed) == _next(RequestParser(DEFAULTS), changed), changed

    def test_framing_is_that_of_the_template(self) -> None:
        """A head between two that fit does not lend them its framing."""
        first, second, third = (HEAD % (word, b"x") for word in (b"1", b"2", b"3"))
        for other in (
            b"POST /a HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n",
            first.replace(b"HTTP/1.1", b"HTTP/1.0"),
            second.replace(b"keep-alive", b"close"),
            second.replace(b"a.example", b"b.example"),
        ):
            expected = [*LEARNED, first, other, third, other, second]
            found = outcomes(expected)
            assert found == [one for head in expected for one in alone(head)]

    @pytest.mark.parametrize(
        ("config", "size"),
        [(Config(limit_field=300), 400), (Config(limit_head=4500), 4500), (Config(limit_elements=100), 210)],
        ids=["field", "head", "lists"],
    )
    def test_a_gap_passes_no_limit(self, config: Config, size: int) -> None:
        heads = [HEAD % (b"1", word) for word in (b"1", b"2", b"3", b"4", b"a;" * (size // 2))]
        assert taught(*heads[:-1], config=config)._templates
        assert outcomes(heads, config) == [one for head in heads for one in alone(head, config)]
        assert alone(heads[-1], config)[0][0] == 431

    def test_what_follows_a_gap_passes_no_limit(self) -> None:
        config = Config(limit_head=4500, limit_elements=5000)
        heads = [
            (HEAD % (word, b"1")).replace(b"*/*", b"x" * 3000)
            for word in (b"1", b"2", b"3", b"4", b"5" * 500, b"6" * 2000)
        ]
        assert taught(*heads[:-1], config=config)._templates
        assert outcomes(heads, config) == [one for head in heads for one in alone(head, config)]
        assert alone(heads[-1], config)[0][0] == 431

    @pytest.mark.parametrize("gap", [0, 1])
    def test_the_limit_of_small_heads_anywhere(self, gap: int) -> None:
        """In a gap, or in a literal before another gap."""
        for size in range(1860, 2000):
            values = [b"1", b"1"]
            values[gap] = b"x" * size
            head = HEAD % tuple(values)
            assert _next(taught(*LEARNED), head) == _next(RequestParser(DEFAULTS), head), size

    def test_another_version(self) -> None:
        old = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"keep-alive", b"x")
        new = HEAD.replace(b"keep-alive", b"x")
        pieces = [kind % (b"%d" % number, b"x") for number in range(9) for kind in (old, new, new)]
        assert outcomes(pieces) == [one for piece in pieces for one in alone(piece)]

    @pytest.mark.parametrize(
        "name", [b"Host", b"content-length", b"CONNECTION", b"Transfer-Encoding", b"Expect", b"Upgrade"]
    )
    def test_no_gap_is_in_a_line_that_decides_framing(self, name: bytes) -> None:
        known = HeadTemplate((b"\r\n" + name + b": a 1\r\nX: y\r\n\r\n",), "HTTP/1.1", _framing())
        assert known.widened(b"\r\n" + name + b": a 2\r\nX: y\r\n\r\n", "HTTP/1.1") is None
        assert known.widened(b"\r\n" + name + b": a 1\r\nX: z\r\n\r\n", "HTTP/1.1") is not None

    def test_names_that_differ(self) -> None:
        known = HeadTemplate((b"\r\nX-A: y\r\n\r\n",), "HTTP/1.1", _framing())
        for head in (b"\r\nX-B: y\r\n\r\n", b"\r\nX-a: y\r\n\r\n", b"\r\nX: y\r\n\r\n", b"\r\nX-A: y\r\nZ: z\r\n\r\n"):
            assert known.widened(head, "HTTP/1.1") is None
        assert known.widened(b"\r\nX-A:z\r\n\r\n", "HTTP/1.0") is None
        assert known.widened(b"\r\nX-A:z\r\n\r\n", "HTTP/1.1") is not None

    def test_too_many_gaps(self) -> None:
        def head(value: bytes, count: int) -> bytes:
            return b"\r\n" + b"".join(b"X-%d: %b\r\n" % (number, value) for number in range(count)) + b"\r\n"

        for count, possible in ((32, True), (33, False)):
            known = HeadTemplate((head(b"a", count),), "HTTP/1.1", _framing())
            assert (known.widened(head(b"b", count), "HTTP/1.1") is not None) == possible

    def test_large_heads_are_not_compared(self) -> None:
        parser = taught(*(HEAD % (b"%d" % number, b"x" * 5000) for number in range(9)))
        assert not parser._templates

    def test_heads_that_have_nothing_in_common_are_compared_seldom(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compared = []
        widened = HeadTemplate.widened

        def counted(template: HeadTemplate, head: bytes, version: str) -> HeadTemplate | None:
            compared.append(head)
            return widened(template, head, version)

        monkeypatch.setattr(HeadTemplate, "widened", counted)
        parser = taught(*(b"GET / HTTP/1.1\r\nHost: a\r\nX-%d: y\r\n\r\n" % number for number in range(1000)))
        assert len(compared) <= 50
        assert len(parser._templates) == 4


SAME, OTHER = (b"GET /%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (host, host) for host in (b"a", b"b"))
FITS, FITS_TOO = HEAD % (b"1", b"2"), HEAD % (b"3", b"4")


@pytest.mark.parametrize(
    ("before", "pieces"),
    [
        ([], [SAME, SAME * 2, OTHER, SAME + OTHER, b"\r\n" + SAME]),
        (LEARNED, [FITS, FITS * 2, FITS_TOO, FITS_TOO + SAME]),
    ],
    ids=["repeated", "template"],
)
def test_pieces_in_any_order(before: list[bytes], pieces: list[bytes]) -> None:
    """Each way to parse a head leaves what the next head needs, whichever way that one is parsed."""
    for order in itertools.product(pieces, repeat=4):
        sent = [*before, *order]
        assert outcomes(sent) == [one for piece in sent for one in alone(piece)]


def _framing() -> RequestFraming:
    return taught(HEAD % (b"1", b"1"))._framing


def _next(parser: RequestParser, data: bytes) -> object:
    parser.feed(data)
    try:
        return seen(parser.next_request()), parser.pending
    except WireError as error:
        return error.status, error.reason


# Whatever comes on a connection, one after the other: it is as if each head came alone.

VALUES = st.sampled_from(
    [
        b"a",
        b"b c",
        b"",
        b"12",
        b"0",
        b"12 ",
        b"013",
        b"aa=1",
        b"aa=2; x",
        b"\xff",
        b"close",
        b"3",
        b"x\ty",
        b"x" * 30,
        b"\0",
        b"a\rb",
    ]
)
NAMES = st.sampled_from([b"X", b"x", b"X-Id", b"Cookie", b"Connection", b"Content-Length", b"Host", b"X "])
LINES = st.builds(b"%b: %b\r\n".__mod__, st.tuples(NAMES, VALUES))
FIRST_LINES = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"GET /b HTTP/1.1\r\n", b"GET / HTTP/1.0\r\n", b"GET  / HTTP/1.1\r\n"]
)


@st.composite
def conversations(draw: st.DrawFn) -> list[bytes]:
    """Heads of a few kinds, in which some lines have other values from head to head."""
    kinds = draw(st.lists(st.lists(LINES, min_size=1, max_size=5), min_size=1, max_size=2))
    heads = []
    for _ in range(draw(st.integers(5, 14))):
        lines = list(draw(st.sampled_from(kinds)))
        for at in draw(st.lists(st.integers(0, 4), max_size=2)):
            name, _, _ = lines[at % len(lines)].partition(b":")
            lines[at % len(lines)] = b"%b: %b\r\n" % (name, draw(VALUES))
        heads.append(draw(FIRST_LINES) + b"Host: a\r\n" + b"".join(lines) + b"\r\n")
    return heads


@examples(1600)
@given(conversations(), st.booleans())
def test_each_head_is_as_if_it_came_alone(heads: list[bytes], tight: bool) -> None:
    config = TIGHT if tight else DEFAULTS
    parser = RequestParser(config)
    for head in heads:
        found = _next(parser, head)
        assert found == _next(RequestParser(config), head)
        if parser.refused is not None:
            return
        parser.take()  # what would be a body
