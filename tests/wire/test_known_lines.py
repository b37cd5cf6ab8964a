"""The memory of field lines: what is known changes no answer, and nobody can make it grow."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttpd.config import Config
from aiohttpd.errors import WireError
from aiohttpd.wire import known_lines
from aiohttpd.wire.body import LengthDecoder
from aiohttpd.wire.framing import DECIDING
from aiohttpd.wire.headers import FIELD_LINE
from aiohttpd.wire.known_lines import deciding_lines
from aiohttpd.wire.parser import RequestParser

NAMES = st.sampled_from(
    ["Host", "host", "HOST ", "Connection", "Content-Length", "content-lengthy", "hos", "X", "", "Cookie", "Expect"]
)
VALUES = st.sampled_from([" a", "", " a\tb", " \xff", " \x00", " a\nb", " a\rb", " " + "x" * 300, " close", ":"])
LINES = st.lists(st.one_of(st.builds("{}:{}".format, NAMES, VALUES), st.sampled_from(["", "no colon", " folded: a"])))


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_lines, "_plain", set())
    monkeypatch.setattr(known_lines, "_deciding", set())


def by_grammar(block: str, limit: int) -> tuple[str, ...] | None:
    """What `deciding_lines` is to say, without a memory and without lines."""
    if re.fullmatch(rf"\n(?:{FIELD_LINE}){{0,{limit}}}", block) is None:
        return None
    return tuple(re.findall(rf"\n((?:{DECIDING}):[^\r]*)", block))


@given(LINES.filter(lambda lines: lines != [""]))  # an empty line alone is the end of a head without fields
def test_a_memory_changes_no_answer(lines: list[str]) -> None:
    block = "\n" + "".join(f"{line}\r\n" for line in lines)
    expected = by_grammar(block, 5)
    assert deciding_lines(block[1:-2], 5) == expected
    assert deciding_lines(block[1:-2], 5) == expected, "the second time, with what the first has left"


def test_framing_fields_are_seen_however_often_they_were_accepted() -> None:
    for line in ("Host: a", "Content-Length: 1", "Transfer-Encoding: chunked"):
        for _ in range(3):
            assert deciding_lines(f"X: y\r\n{line}\r\n{line}", 100) == (line, line)


def test_it_does_not_grow() -> None:
    for number in range(10_000):
        deciding_lines(f"X-{number}: {'y' * (number % 400)}\r\nHost: h{number}", 100)
    kept = known_lines._plain | known_lines._deciding
    assert len(kept) <= 2 * known_lines._LINES
    assert max(map(len, kept)) <= known_lines._LONGEST


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (b"Host: a\r\nHost: a\r\n", 400),
        (b"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n", 400),
        (b"X: y\r\n", 400),
        (b"Host: a\r\nX : y\r\n", 400),
        (b"Host: a\r\n X: folded\r\n", 400),
        (b"Host: a\r\n" + b"X: y\r\n" * 200, 431),
    ],
)
def test_refusals_are_those_of_the_grammar(fields: bytes, status: int) -> None:
    for lines in (
        b"Host: a\r\nX: y\r\n",
        b"Host: a\r\nContent-Length: 1\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\n",
    ):
        parser = RequestParser(Config())
        parser.feed(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")
        assert parser.next_request() is not None  # each line is known now
    parser = RequestParser(Config())
    parser.feed(b"GET / HTTP/1.1\r\n" + fields + b"\r\n")
    with pytest.raises(WireError) as caught:
        parser.next_request()
    assert caught.value.status == status


class TestRepeatedRequests:
    """A request that is repeated byte for byte is not parsed again."""

    def test_it_is_the_same_request(self) -> None:
        parser = RequestParser(Config())
        data = b"GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
        found = []
        for _ in range(4):
            parser.feed(data)
            request = parser.next_request()
            assert request is not None
            assert parser.next_request() is None
            found.append((request.method, request.target, request.version, request.headers.items(), request.framing))
        assert found == [found[0]] * 4

    def test_what_follows_a_part_that_was_consumed_is_another(self) -> None:
        parser = RequestParser(Config())
        head = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"
        for _ in range(3):  # the head comes alone, and is remembered
            parser.feed(head)
            assert parser.next_request() is not None
            parser.feed(b"x" * 10)
            parser.decode(LengthDecoder(10), bytearray())
        parser.feed(head)
        assert parser.next_request() is not None
        parser.feed(head)  # now these bytes are content, and what is left of them is no request
        parser.decode(LengthDecoder(10), bytearray())
        with pytest.raises(WireError):
            parser.next_request()

    def test_after_one_in_two_pieces_a_request_line_is_checked_before_it_ends(self) -> None:
        data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        parser = RequestParser(Config(limit_request_line=100))
        for piece in (data, data, data, data[:20], data[20:]):
            parser.feed(piece)
            parser.next_request()
        parser.feed(b"GET /" + b"a" * 100)
        with pytest.raises(WireError, match="the request line is longer"):
            parser.next_request()

    def test_nothing_is_remembered_after_a_refusal_or_an_empty_line(self) -> None:
        data = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        parser = RequestParser(Config())
        for _ in range(3):
            parser.feed(data)
            assert parser.next_request() is not None
        for _ in range(2):
            parser.feed(b"\r\n")
            assert parser.next_request() is None
            parser.feed(data)
            assert parser.next_request() is not None
        parser.feed(b"nonsense\r\n\r\n")
        with pytest.raises(WireError):
            parser.next_request()
        parser.feed(data)
        assert parser.next_request() is None

    def test_readers_remember_for_the_connection_only(self) -> None:
        """What they remember may be of the client (its address in a log line), so it is not for another connection."""
        parsers = [RequestParser(Config()) for _ in range(2)]
        for parser in parsers:
            seen = []
            for data in (b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n", b"GET /b HTTP/1.1\r\nHost: a\r\n\r\n") * 2:
                parser.feed(data)
                request = parser.next_request()
                assert request is not None
                seen.append(request.headers.memo.get("key"))
                assert request.headers.remember("key", parser) is parser
            assert seen == [None, parser, parser, parser]

    @pytest.mark.parametrize("limit_head", [1000, 5000, 20_000])
    def test_known_fields_exempt_no_head_from_its_limit(self, limit_head: int) -> None:
        fields = b"\r\nHost: a\r\nX: %b\r\n\r\n" % (b"x" * 500)
        answers = []
        for known in (True, False):
            found: list[object] = []
            parser = RequestParser(Config(limit_head=limit_head))
            for size in (100, limit_head - len(fields) - 20, limit_head):
                if not known:
                    parser = RequestParser(Config(limit_head=limit_head))
                parser.feed(b"GET /%b HTTP/1.1" % (b"a" * size) + fields)
                try:
                    found.append(parser.next_request() is not None)
                except WireError as error:
                    found.append(error.status)
                    break
            answers.append(found)
        assert answers[0] == answers[1]
        assert answers[0][0] is True and answers[0][-1] in (414, 431)

    def test_large_requests_are_not_kept(self) -> None:
        parser = RequestParser(Config())
        data = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 5000)
        for _ in range(3):
            parser.feed(data)
            assert parser.next_request() is not None
        assert parser._repeated is None
