"""HTTP1Encoder alone, against a connection that only remembers: how each answer is framed, RFC 9112 section 6."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aiohttpd import Request
from aiohttpd.engine.encoder import ChangedHead, EncoderWrapper, HTTP1Encoder, _known_lengths
from aiohttpd.engine.interfaces import Encoder, HTTP1Sink
from aiohttpd.wire.headers import Headers
from aiohttpd.wire.request import RequestFraming
from aiohttpd.wire.response import ResponseFields, has_no_content, status_line

FRAMING = RequestFraming(False, "a", None, False, True, False, None, True)
PRELUDE = b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: d\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CLOSE = b"Connection: close\r\n"
KEEP = b"Connection: keep-alive\r\n"


class FakeTransfer:
    """Sends a file in pieces of four bytes, without one."""

    def __init__(self, out: "FakeOut") -> None:
        self.out = out
        self.closed = False

    async def send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> None:
        for at in range(0, count, 4):
            self.out.send([b"file"[: count - at]])
            passed(min(4, count - at))

    def close(self) -> None:
        self.closed = True


class FakeOut:
    """Remembers each send as one piece."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.released = 0

    def send(self, parts: list[bytes]) -> None:
        self.sent.append(b"".join(parts))

    def release(self) -> None:
        self.released += 1


class FakeSink:
    """A connection that persists until it is told otherwise."""

    def __init__(self) -> None:
        self.out = FakeOut()
        self.persists = True
        self.cuts: list[bool] = []
        self.continues = 0
        self.context = SimpleNamespace(
            prelude=lambda status: status_line(status) + b"Server: s\r\nDate: d\r\n",
            server_field=b"Server: s\r\n",
            date_field=lambda: b"Date: d\r\n",
        )
        self.transfer = FakeTransfer(self.out)

    def file_transfer(self, descriptor: int) -> FakeTransfer:
        return self.transfer

    def continued(self) -> bool:
        self.continues += 1
        return True

    def cut(self, *, reset: bool) -> None:
        self.cuts.append(reset)


class Head:
    """What the encoder is told of an answer."""

    reason: str | None = None
    head_mirrors_get = False
    close_connection = False

    def __init__(
        self,
        *fields: tuple[str, str | int],
        status: int = 200,
        method: str = "GET",
        http10: bool = False,
        plain: bool = False,
        own_chunks: bool = False,
    ) -> None:
        self.request = Request(method, "/", "HTTP/1.1", Headers(), FRAMING)
        self.status = status
        self.fields = ResponseFields.of(fields)
        length = (self.fields.deciding or {}).get("content-length")
        self.length = None if length is None else int(length)
        self.http10 = http10
        self.plain = plain
        self.own_chunks = own_chunks
        self.has_content = method != "HEAD" and not has_no_content(method, status)


@pytest.fixture
def sink() -> FakeSink:
    return FakeSink()


@pytest.fixture
def encoder(sink: FakeSink) -> HTTP1Encoder:
    return HTTP1Encoder(cast(HTTP1Sink, sink))


def of_200(*lines: bytes) -> bytes:
    return b"".join([PRELUDE, *lines, b"\r\n"])


TEXT = ("Content-Type", "text/plain")
TEXT_LINE = b"Content-Type: text/plain\r\n"


class TestWhole:
    """All is known, so the length is."""

    @pytest.mark.parametrize("persists", [True, False])
    @pytest.mark.parametrize("plain", [True, False])
    def test_length(self, encoder: HTTP1Encoder, sink: FakeSink, plain: bool, persists: bool) -> None:
        sink.persists = persists
        head = Head(TEXT, plain=plain)
        assert encoder.whole(head, [b"ab", b"c"], 3) == 3
        length = b"Content-Length: 3\r\n"
        assert sink.out.sent == [of_200(TEXT_LINE, *([length] if persists else [CLOSE, length])) + b"abc"]
        assert head.close_connection is not persists

    def test_length_of_each_size(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        """Short lengths are formatted once, long ones each time."""
        for size in (0, 1, 9, 10, 4096, 4097, 70_000) * 2:
            encoder.whole(Head(plain=True), [b"a" * size], size)
            assert sink.out.sent.pop() == of_200(b"Content-Length: %d\r\n" % size) + b"a" * size

    def test_no_client_makes_the_known_lengths_grow(self, encoder: HTTP1Encoder) -> None:
        for size in range(0, 20_000, 3):
            encoder.whole(Head(plain=True), [b""], size)
        assert len(_known_lengths) <= 4097

    def test_a_plain_response_that_closes_says_so(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        head = Head(plain=True)
        head.close_connection = True
        encoder.whole(head, [b"ab"], 2)
        assert sink.out.sent == [of_200(CLOSE, b"Content-Length: 2\r\n") + b"ab"]

    def test_http10_is_kept_if_it_may_be(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        encoder.whole(Head(http10=True), [b"ab"], 2)
        assert sink.out.sent == [of_200(KEEP, b"Content-Length: 2\r\n") + b"ab"]

    def test_the_handlers_length_is_not_told_twice(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        encoder.whole(Head(("Content-Length", 2)), [b"ab"], 2)
        [sent] = sink.out.sent
        assert sent.count(b"Content-Length: 2\r\n") == 1 and sent.endswith(b"\r\n\r\nab")

    def test_the_handlers_chunks(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        head = Head(("Transfer-Encoding", "chunked"), own_chunks=True)
        assert encoder.keeps_chunks(head)
        encoder.whole(head, [b"1\r\na\r\n0\r\n\r\n"], 11)
        [sent] = sink.out.sent
        assert sent.endswith(b"\r\n\r\n1\r\na\r\n0\r\n\r\n")
        assert sent.count(CHUNKED) == 1 and b"Content-Length" not in sent

    def test_http10_gets_what_is_in_them(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        head = Head(http10=True, own_chunks=True)
        assert not encoder.keeps_chunks(head)
        encoder.whole(head, [b"a"], 1)
        assert sink.out.sent == [of_200(KEEP, b"Content-Length: 1\r\n") + b"a"]

    @pytest.mark.parametrize(("size", "mirrors", "told"), [(5, False, True), (0, False, False), (0, True, True)])
    def test_head(self, encoder: HTTP1Encoder, sink: FakeSink, size: int, mirrors: bool, told: bool) -> None:
        """The size that is left out is told; a handler that writes nothing to HEAD does not mean 0."""
        head = Head(method="HEAD")
        head.head_mirrors_get = mirrors
        assert encoder.whole(head, [], size) == 0
        assert sink.out.sent == [of_200(b"Content-Length: %d\r\n" % size if told else b"")]

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("status", [204, 205, 304])
    def test_no_content(self, encoder: HTTP1Encoder, sink: FakeSink, status: int, method: str) -> None:
        assert encoder.whole(Head(status=status, method=method), [], 7) == 0
        [sent] = sink.out.sent
        assert sent.endswith(b"\r\n\r\n") and CHUNKED not in sent
        assert (b"Content-Length: 0\r\n" in sent) is (status == 205)  # for which a client would else wait

    @pytest.mark.parametrize("status", [200, 205])
    def test_tunnel(self, encoder: HTTP1Encoder, sink: FakeSink, status: int) -> None:
        encoder.whole(Head(method="CONNECT", status=status), [], 0)
        assert b"Content-Length" not in sink.out.sent[0] and CHUNKED not in sink.out.sent[0]

    def test_reason_and_fields_of_ours(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        head = Head(("Server", "mine"), ("Date", "now"), ("Connection", "keep-alive"))
        head.reason = "Fine"
        head.close_connection = True
        encoder.whole(head, [], 0)
        assert sink.out.sent == [
            b"HTTP/1.1 200 Fine\r\nServer: mine\r\nDate: now\r\n" + CLOSE + b"Content-Length: 0\r\n\r\n"
        ]


class TestStream:
    """More may follow, so the end has to be told otherwise."""

    def test_chunks(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        assert encoder.begin(Head(), [b"ab", b"c"], 3, push=True) == 3
        assert encoder.data([b"d"], 1, push=False) == 1
        assert not encoder.complete
        assert encoder.end([b"ef"], 2) == 2
        assert sink.out.sent == [of_200(CHUNKED) + b"3\r\nabc\r\n", b"1\r\nd\r\n", b"2\r\nef\r\n0\r\n\r\n"]

    def test_nothing_is_no_last_chunk(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        encoder.begin(Head(), [b""], 0, push=True)
        encoder.data([b"", b""], 0, push=True)
        encoder.data([], 0, push=True)
        assert sink.out.sent == [of_200(CHUNKED)]
        encoder.end([b""], 0)
        assert sink.out.sent[1:] == [b"0\r\n\r\n"]

    def test_http10_ends_by_closing(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        head = Head(http10=True)
        encoder.begin(head, [b"a"], 1, push=True)
        encoder.data([b"b"], 1, push=True)
        encoder.end([], 0)
        assert sink.out.sent == [of_200(CLOSE) + b"a", b"b"]
        assert head.close_connection and not encoder.complete

    @pytest.mark.parametrize("http10", [True, False])
    def test_length(self, encoder: HTTP1Encoder, sink: FakeSink, http10: bool) -> None:
        encoder.begin(Head(("Content-Length", 3), http10=http10), [b"a"], 1, push=True)
        assert not encoder.complete
        encoder.data([b"bc"], 2, push=True)
        assert encoder.complete
        encoder.end([], 0)
        assert sink.out.sent[1:] == [b"bc"] and (KEEP in sink.out.sent[0]) is http10

    def test_the_handlers_chunks(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        encoder.begin(Head(("Transfer-Encoding", "chunked"), own_chunks=True), [b"1\r\na\r\n"], 6, push=True)
        encoder.end([b"0\r\n\r\n"], 5)
        assert sink.out.sent[1:] == [b"0\r\n\r\n"] and sink.out.sent[0].endswith(b"\r\n\r\n1\r\na\r\n")

    def test_http10_ends_taken_apart_chunks_by_closing(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        """The connection could be kept, but nothing would tell the end."""
        encoder.begin(Head(http10=True, own_chunks=True), [b"a"], 1, push=True)
        assert sink.out.sent == [of_200(CLOSE) + b"a"]

    @pytest.mark.parametrize("http10", [True, False])
    def test_head(self, encoder: HTTP1Encoder, sink: FakeSink, http10: bool) -> None:
        """The head is that of the answer to GET, and no chunk follows it."""
        assert encoder.begin(Head(method="HEAD", http10=http10), [], 9, push=True) == 0
        assert encoder.end([], 0) == 0
        assert sink.out.sent == [of_200(CLOSE if http10 else CHUNKED)]

    @pytest.mark.parametrize("status", [204, 205, 304])
    def test_no_content(self, encoder: HTTP1Encoder, sink: FakeSink, status: int) -> None:
        encoder.begin(Head(status=status), [], 9, push=True)
        encoder.end([], 0)
        [sent] = sink.out.sent
        assert CHUNKED not in sent and (b"Content-Length: 0\r\n" in sent) is (status == 205)

    def test_one_answer_after_the_other(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        """Nothing of one is left for the next."""
        encoder.begin(Head(), [b"a"], 1, push=True)
        encoder.end([], 0)
        encoder.begin(Head(("Content-Length", 1)), [], 0, push=True)
        encoder.end([b"b"], 1)
        encoder.begin(Head(method="HEAD"), [], 0, push=True)
        encoder.end([], 0)
        assert sink.out.sent[3] == b"b" and sink.out.sent[4:] == [of_200(CHUNKED)]


class TestFiles:
    @pytest.mark.parametrize("chunked", [True, False])
    async def test_a_file_is_one_chunk(self, encoder: HTTP1Encoder, sink: FakeSink, chunked: bool) -> None:
        source = encoder.file(3)
        encoder.begin(Head(*([] if chunked else [("Content-Length", 10)])), [], 0, push=True)
        sent: list[int] = []
        await source.send(0, 10, None, sent.append)
        assert sent == [4, 4, 2]
        source.close()
        assert b"".join(sink.out.sent[1:]) == (b"a\r\nfilefilefi\r\n" if chunked else b"filefilefi")
        assert encoder.complete is not chunked and sink.transfer.closed


class TestRest:
    @pytest.mark.parametrize("http10", [True, False])
    def test_interim(self, encoder: HTTP1Encoder, sink: FakeSink, http10: bool) -> None:
        head = Head(http10=http10)
        encoder.interim(head, 103, ResponseFields.of([("Link", "</a>")]), None)
        encoder.interim(head, 100, ResponseFields(), "Go")
        expected = [b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 Go\r\n\r\n"]
        assert sink.out.sent == ([] if http10 else expected)  # RFC 9110 section 15.2
        assert sink.continues == (0 if http10 else 1)

    def test_upgrade(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        """Fields are those of the handler, and a cut is not to look like a regular end."""
        encoder.upgrade(Head(("Connection", "Upgrade"), ("Upgrade", "x"), status=101))
        assert sink.out.sent == [
            b"HTTP/1.1 101 Switching Protocols\r\nServer: s\r\nDate: d\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
        ]
        assert sink.out.released
        encoder.abort()
        assert sink.cuts == [True]

    @pytest.mark.parametrize("http10", [True, False])
    def test_abort_resets_where_closing_is_the_end(self, encoder: HTTP1Encoder, sink: FakeSink, http10: bool) -> None:
        encoder.begin(Head(http10=http10), [b"a"], 1, push=True)
        encoder.abort()
        assert sink.cuts == [http10]

    def test_redirect(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        """A thread encodes into something else, and the loop delivers."""
        other = FakeOut()
        encoder.redirect(other)
        encoder.begin(Head(), [b"a"], 1, push=True)
        assert sink.out.sent == [] and len(other.sent) == 1
        encoder.deliver(other.sent)
        encoder.framed([b"raw"])
        encoder.redirect(None)
        encoder.end([], 0)
        assert sink.out.sent == [of_200(CHUNKED) + b"1\r\na\r\n", b"raw", b"0\r\n\r\n"]

    def test_a_wrapper_passes_everything_on(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        calls: list[str] = []

        class Spy:
            def __getattr__(self, name: str) -> Any:
                calls.append(name)
                return getattr(encoder, name)

        wrapper = EncoderWrapper(cast(Encoder, Spy()))
        head = Head()
        assert (wrapper.takes_early(head), wrapper.keeps_chunks(head)) == (False, True)
        wrapper.unsent(b"a")
        wrapper.interim(head, 103, ResponseFields(), None)
        wrapper.whole(head, [], 0)
        wrapper.begin(head, [b"a"], 1, push=False)
        assert wrapper.begun and not wrapper.complete
        wrapper.data([b"b"], 1, push=True)
        wrapper.redirect(None)
        wrapper.deliver([b""])
        wrapper.framed([b""])
        wrapper.file(3).close()
        wrapper.trail(ResponseFields())
        wrapper.end([], 0)
        wrapper.upgrade(Head(status=101))
        wrapper.abort()
        assert wrapper.restart() is wrapper
        passed = {name for name in vars(Encoder) if not name.startswith("_")} - {"drain"}
        assert passed == set(calls)

    def test_a_changed_head_shares_the_persistence(self, encoder: HTTP1Encoder, sink: FakeSink) -> None:
        head = Head(("Content-Length", 5), http10=True)
        changed = ChangedHead(head, ResponseFields.of([TEXT]), length=None, mirrors_get=False)
        encoder.begin(changed, [b"abc"], 3, push=True)
        assert sink.out.sent == [of_200(TEXT_LINE, CLOSE) + b"abc"]
        assert head.close_connection and changed.close_connection
