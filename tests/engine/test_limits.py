"""Every limit has a name, a default, a status code and a test: just within it, and just past it."""

import asyncio

import pytest

import aiohttpd
from aiohttpd.config import options
from aiohttpd.errors import WireError
from aiohttpd.testing import running
from aiohttpd.wire.body import ChunkedDecoder
from aiohttpd.wire.parser import RequestParser
from aiohttpd.wire.request import Request

from ..support.places import TESTS
from ..support.wire import Echo, drive, finals


def parse_head(data: bytes, **limits: int) -> Request:
    """Parse one head, in one piece and byte by byte, with the same outcome."""
    outcomes = []
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        parser = RequestParser(aiohttpd.Config(**limits))  # type: ignore[arg-type]
        request = None
        try:
            for piece in pieces:
                parser.feed(piece)
                request = parser.next_request() or request
            assert request is not None
            outcomes.append(request)
        except WireError as error:
            outcomes.append(error)
    whole, bytewise = outcomes
    if isinstance(whole, WireError):
        assert isinstance(bytewise, WireError)
        assert bytewise.status == whole.status
        raise whole
    assert isinstance(bytewise, Request)
    assert bytewise.headers == whole.headers
    return whole


def head_refused(data: bytes, **limits: int) -> int:
    with pytest.raises(WireError) as caught:
        parse_head(data, **limits)
    return caught.value.status


def head_with(line: bytes = b"GET / HTTP/1.1", *fields: bytes) -> bytes:
    return b"\r\n".join([line, b"Host: a", *fields, b"", b""])


class TestHead:
    def test_request_line(self) -> None:
        line = b"GET /" + b"x" * 86 + b" HTTP/1.1"  # 100 bytes
        assert parse_head(head_with(line), limit_request_line=100).target == "/" + "x" * 86
        assert head_refused(head_with(line), limit_request_line=99) == 414

    def test_field(self) -> None:
        field = b"X: " + b"y" * 97
        assert parse_head(head_with(b"GET / HTTP/1.1", field), limit_field=100).headers["x"] == "y" * 97
        assert head_refused(head_with(b"GET / HTTP/1.1", field), limit_field=99) == 431

    def test_head(self) -> None:
        data = head_with(b"GET / HTTP/1.1", *[b"X: " + b"y" * 50] * 20)
        assert len(parse_head(data, limit_head=len(data)).headers) == 21
        assert head_refused(data, limit_head=len(data) - 1) == 431

    def test_fields(self) -> None:
        data = head_with(b"GET / HTTP/1.1", *[b"X: y"] * 9)
        assert len(parse_head(data, limit_fields=10).headers) == 10
        assert head_refused(data, limit_fields=9) == 431

    @pytest.mark.parametrize(
        ("field", "within", "past", "status"),
        [
            (b"Host: a:%b", b"65535", b"65536", 400),
            (b"Content-Length: %b", b"9" * 19, b"1" * 20, 400),
            (b"Transfer-Encoding: %b", b"x" * (256 - 9) + b", chunked", b"x" * (257 - 9) + b", chunked", 400),
        ],
        ids=["port", "length", "codings"],
    )
    def test_numbers_that_no_option_limits(self, field: bytes, within: bytes, past: bytes, status: int) -> None:
        def head(value: bytes) -> bytes:
            host = [] if field.startswith(b"Host") else [b"Host: a"]
            return b"\r\n".join([b"POST / HTTP/1.1", *host, field % value, b"", b""])

        if b"chunked" in within:
            assert head_refused(head(within)) == 501  # the grammar is kept, the coding is not known
        else:
            assert within.decode() in str(parse_head(head(within)).headers)
        assert head_refused(head(past)) == status

    def test_an_endless_line_is_refused_before_it_ends(self) -> None:
        parser = RequestParser(aiohttpd.Config(limit_request_line=100))
        parser.feed(b"GET /" + b"x" * 200)
        with pytest.raises(WireError) as caught:
            parser.next_request()
        assert caught.value.status == 414

    def test_an_endless_head_is_refused_before_it_ends(self) -> None:
        parser = RequestParser(aiohttpd.Config(limit_head=1000))
        parser.feed(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 300)
        with pytest.raises(WireError) as caught:
            parser.next_request()
        assert caught.value.status == 431

    def test_dribbling_costs_no_more_than_its_bytes(self) -> None:
        """However a head is cut, no byte is looked at again and again: the offset is kept."""
        parser = RequestParser(aiohttpd.Config())
        data = head_with(b"GET / HTTP/1.1", *[b"X-Field: " + b"y" * 491] * 100)
        for at in range(len(data) - 1):
            parser.feed(data[at : at + 1])
            assert parser.next_request() is None
            assert parser._searched >= at - 3
        parser.feed(data[-1:])
        assert parser.next_request() is not None

    def test_the_parser_is_dead_after_a_refusal(self) -> None:
        parser = RequestParser(aiohttpd.Config())
        parser.feed(head_with(b"GET / HTTP/9.9") + head_with())
        with pytest.raises(WireError):
            parser.next_request()
        assert not parser.buffer
        assert parser.refused == b"GET / HTTP/9.9"


def test_expectations_are_of_http_1_1() -> None:
    """RFC 9110 section 10.1.1: in HTTP/1.0 they are ignored, whatever they are."""
    for value in (b"100-continue", b"something else"):
        assert not parse_head(head_with(b"POST / HTTP/1.0", b"Expect: " + value)).expects_continue
    assert parse_head(head_with(b"POST / HTTP/1.1", b"Expect: 100-continue")).expects_continue
    assert head_refused(head_with(b"POST / HTTP/1.1", b"Expect: something else")) == 417


class TestRepeatedHead:
    """The shortcut for a client that repeats its fields gives what the grammar gives."""

    FIELDS = (b"X: 1", b"Connection: keep-alive")

    def test_only_the_request_line_is_new(self) -> None:
        parser = RequestParser(aiohttpd.Config())
        parser.feed(head_with(b"GET /1 HTTP/1.1", *self.FIELDS))
        first = parser.next_request()
        parser.feed(head_with(b"PUT /2 HTTP/1.1", *self.FIELDS) + head_with(b"GET /3 HTTP/1.1", *self.FIELDS))
        second, third = parser.next_request(), parser.next_request()
        assert first and second and third
        assert (second.method, second.target, third.target) == ("PUT", "/2", "/3")
        assert second.headers is first.headers
        assert not parser.buffer

    @pytest.mark.parametrize(
        "line",
        [b"GET / HTTP/1.1 ", b"GET  / HTTP/1.1", b"GET / HTTP/2.0", b"GET /#x HTTP/1.1", b"GET x HTTP/1.1", b"GET /"],
    )
    def test_a_bad_request_line_is_refused(self, line: bytes) -> None:
        parser = RequestParser(aiohttpd.Config())
        parser.feed(head_with(b"GET / HTTP/1.1", *self.FIELDS))
        assert parser.next_request()
        parser.feed(head_with(line, *self.FIELDS))
        with pytest.raises(WireError):
            parser.next_request()

    def test_another_version_is_not_the_same_head(self) -> None:
        parser = RequestParser(aiohttpd.Config())
        parser.feed(head_with())
        assert parser.next_request().keep_alive  # type: ignore[union-attr]
        parser.feed(head_with(b"GET / HTTP/1.0"))
        assert not parser.next_request().keep_alive  # type: ignore[union-attr]

    def test_a_long_line_is_held_to_its_limit(self) -> None:
        parser = RequestParser(aiohttpd.Config(limit_request_line=100))
        parser.feed(head_with())
        assert parser.next_request()
        parser.feed(head_with(b"GET /" + b"x" * 200 + b" HTTP/1.1"))
        with pytest.raises(WireError) as caught:
            parser.next_request()
        assert caught.value.status == 414

    def test_what_is_remembered_is_bounded(self) -> None:
        parser = RequestParser(aiohttpd.Config())
        parser.feed(head_with(b"GET / HTTP/1.1", b"X: " + b"y" * 10_000))
        assert parser.next_request()
        assert parser._tail == b""


class TestBody:
    @staticmethod
    def status(data: bytes, config: aiohttpd.Config, headers: int = 1) -> int:
        decoder = ChunkedDecoder(config, TestBody.head_of(headers))
        with pytest.raises(WireError) as caught:
            decoder.decode(data, 0, bytearray())
        bytewise = ChunkedDecoder(config, TestBody.head_of(headers))
        with pytest.raises(WireError) as again:
            for at in range(len(data)):
                bytewise.decode(data[at : at + 1], 0, bytearray())
        assert again.value.status == caught.value.status
        return caught.value.status

    @staticmethod
    def head_of(fields: int) -> aiohttpd.Headers:
        return parse_head(head_with(b"GET / HTTP/1.1", *[b"X: y"] * (fields - 1))).headers

    @staticmethod
    def accepts(data: bytes, config: aiohttpd.Config, headers: int = 1) -> bool:
        decoder = ChunkedDecoder(config, TestBody.head_of(headers))
        assert decoder.decode(data, 0, bytearray()) == len(data)
        return decoder.complete

    def test_chunk_extension(self) -> None:
        data = b"1;" + b"e" * 9 + b"\r\nx\r\n0\r\n\r\n"
        assert self.accepts(data, aiohttpd.Config(limit_chunk_extension=10))
        assert self.status(data, aiohttpd.Config(limit_chunk_extension=9)) == 400

    def test_chunk_size(self) -> None:
        for size, accepted in ((b"7" + b"f" * 15, True), (b"8" + b"0" * 15, False)):
            decoder = ChunkedDecoder(aiohttpd.Config(), aiohttpd.Headers())
            if accepted:
                assert decoder.decode(size + b"\r\nx", 0, bytearray()) == 19
            else:
                assert self.status(size + b"\r\nx", aiohttpd.Config()) == 400

    def test_chunks_of_one_call(self) -> None:
        """The rest waits in the parser, while more arrives and is decoded."""
        parser = RequestParser(aiohttpd.Config())
        parser.feed(head_with(b"POST / HTTP/1.1", b"Transfer-Encoding: chunked"))
        request = parser.next_request()
        assert request is not None
        decoder, out = ChunkedDecoder(aiohttpd.Config(), request.headers, 1), bytearray()
        contents = [b"%020d" % number for number in range(40)]
        for at in range(0, 40, 2):
            parser.feed(b"".join(b"14\r\n%b\r\n" % content for content in contents[at : at + 2]))
            before = len(out)
            parser.decode(decoder, out)
            assert len(out) - before <= 20
        parser.feed(b"0\r\n\r\n" + head_with(b"GET /next HTTP/1.1"))
        for _ in range(30):
            parser.decode(decoder, out)
        assert decoder.complete
        assert out == b"".join(contents)
        assert parser.next_request().target == "/next"  # type: ignore[union-attr]

    def test_digits_of_a_chunk_size(self) -> None:
        """However many zeros it has, alone and in a run of chunks; at most 16 digits, beside the longest extension."""
        config = aiohttpd.Config(limit_chunk_extension=10)
        for size in (1, 9, 10, 15, 16, 17):
            for digits in range(2, 17):
                chunk = (b"%0*x" % (digits, size)).swapcase() + b";" + b"e" * 9 + b"\r\n" + b"x" * size + b"\r\n"
                run = chunk.replace(b";" + b"e" * 9, b"") * 3
                for data in (chunk, run, run.lower()):
                    out, decoder = bytearray(), ChunkedDecoder(config, aiohttpd.Headers())
                    assert decoder.decode(data + b"0\r\n\r\n", 0, out) == len(data) + 5
                    assert out == b"x" * size * (1 if data is chunk else 3)
            for data in (b"0" + chunk, b"0" + run):
                assert self.status(data, config) == 400

    def test_chunk_extensions(self) -> None:
        data = b"1;ext\r\nx\r\n" * 10 + b"0\r\n\r\n"
        assert self.accepts(data, aiohttpd.Config(limit_chunk_extensions=40))
        assert self.status(data, aiohttpd.Config(limit_chunk_extensions=39)) == 400

    def test_trailers_share_the_budget_of_the_head(self) -> None:
        data = b"0\r\n" + b"X: y\r\n" * 5 + b"\r\n"
        assert self.accepts(data, aiohttpd.Config(limit_fields=10), headers=5)
        assert self.status(data, aiohttpd.Config(limit_fields=9), headers=5) == 431
        assert self.status(b"0\r\nX: " + b"y" * 200, aiohttpd.Config(limit_head=100)) == 431
        assert self.status(b"0\r\nX: " + b"y" * 200 + b"\r\n\r\n", aiohttpd.Config(limit_field=100)) == 431

    def test_trailers_are_kept_apart(self) -> None:
        decoder = ChunkedDecoder(aiohttpd.Config(), aiohttpd.Headers())
        assert decoder.trailers is None
        decoder.decode(b"0\r\nX-Sum: 1\r\nHost: evil\r\n\r\nrest", 0, bytearray())
        assert decoder.trailers is not None
        assert decoder.trailers.items() == [("X-Sum", "1"), ("Host", "evil")]

    def test_tiny_chunks_keep_nothing_but_their_bytes(self) -> None:
        decoder = ChunkedDecoder(aiohttpd.Config(), aiohttpd.Headers())
        out = bytearray()
        decoder.decode(b"1\r\nx\r\n" * 50_000, 0, out)
        assert out == b"x" * 50_000
        assert len(decoder._line) == 0

    async def test_body(self) -> None:
        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        for data in (post, chunked):
            for limit, status in ((5, 200), (4, 413)):
                output, _ = await drive(Echo, [data], config=aiohttpd.Config(limit_body=limit))
                assert [answer.status for answer in finals(output)] == [status]

    async def test_discard(self) -> None:
        async def ignore(request: Request, response: aiohttpd.StreamWriter) -> None:
            response.send_head(200)

        post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
        for limit, connection in ((5, None), (4, "close")):
            output, closed = await drive(
                ignore, [post, b"", b"hello"], config=aiohttpd.Config(limit_discard=limit), wait=True
            )
            [answer] = finals(output)
            assert (answer["Connection"], closed) == (connection, connection == "close")

    async def test_discard_of_chunks(self) -> None:
        async def ignore(request: Request, response: aiohttpd.StreamWriter) -> None:
            response.send_head(200)

        post = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for limit, closes in ((15, False), (10, False), (9, True)):  # bytes with their framing
            pieces = [post, b"", b"5\r\nhello\r\n"]  # and the end never comes
            output, closed = await drive(ignore, pieces, config=aiohttpd.Config(limit_discard=limit), wait=True)
            assert len(finals(output)) == 1
            assert closed is closes
            output, closed = await drive(
                ignore, [*pieces, b"0\r\n\r\n"], config=aiohttpd.Config(limit_discard=limit), wait=True
            )
            assert closed is closes


async def test_grace(caplog: pytest.LogCaptureFixture) -> None:
    """A handler that does not end is cancelled at the end of the grace, and its client is told."""
    begun = asyncio.Event()

    async def endless(request: Request, response: aiohttpd.StreamWriter) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with running(endless, timeout_grace=0.05) as server:
        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.write(head_with())
        await begun.wait()
        async with asyncio.timeout(5):
            await server.shutdown()
            [answer] = finals(await reader.read())
        writer.close()
    assert (answer.status, answer["Connection"]) == (503, "close")
    assert caplog.messages == ["'GET / HTTP/1.1' is cancelled: it has not ended within 0.05 s"]
    caplog.clear()


def test_every_limit_is_tested_somewhere() -> None:
    """By its name; deadlines by what ``deadlines(head=...)`` of the slow peers calls them."""
    tests = "".join(path.read_text() for path in TESTS.rglob("test_*.py"))
    for option in options():
        if option.name.startswith(("limit_", "timeout_", "min_")):
            short = option.name.removeprefix("timeout_")
            assert f"{option.name}=" in tests or f"deadlines({short}=" in tests, option.name
