"""Faults: how an answer goes wrong, one verb for each way.

Owns the verbs and their order: first the answer is changed (head, framing, content), then it is cut, then it is sent,
slowly perhaps, and then the connection ends. `raw` has the bytes.
"""

import asyncio
import enum
import functools
import gzip
import zlib
from collections.abc import Callable
from typing import Self

from ..asgi.host import hosted
from ..engine.interfaces import App, ResponseWriter
from ..handlers.app import forward_attributes, resolve_app
from ..wire.request import Request
from ..wire.response import status_line
from .raw import RawAnswer, RawConnection, answer_of

__all__ = ["Faults", "refused_for_reuse"]

Edit = Callable[[RawAnswer, Request], RawAnswer]


class _End(enum.Enum):
    """What follows the last byte."""

    AS_ANSWERED = "what the answer itself says"
    CLOSE = "FIN"
    RESET = "RST"
    SILENCE = "nothing: the connection stays open until the client closes it"
    NO_NOTIFY = "FIN without close_notify of TLS"
    NEXT_REQUEST = "FIN as soon as another request comes"


class Faults:
    """How an answer goes wrong. Each verb returns the object itself, so that they can be chained.

    ::

        httpd.expect("GET", "/report").respond(text="x" * 1000).reset(after=100)   # of an expectation
        TestServer(Faults().drip(100).around(site))                                # of any App

    Counts are exact: ``reset(after=100)`` sends the whole head and 100 bytes of the body. Bytes of the body are those
    on the wire; where an answer is chunked, the chunks' sizes are among them. An answer is collected in memory before
    it is sent, so an App under faults has to end.
    """

    def __init__(self) -> None:
        self._edits: list[Edit] = []
        self._cut: Callable[[RawAnswer], int] | None = None
        self._end = _End.AS_ANSWERED
        self._rate: float | None = None
        self._interim = b""

    # Early ends.

    def reset(self, after: int | None = None, *, in_head: int | None = None) -> Self:
        """Reset the connection (RST): before the head, or after some bytes.

        Args:
            after: bytes of the body that are sent before, and the whole head.
            in_head: bytes of the head that are sent before, and nothing else.

        Raises:
            ValueError: a number is negative.
        """
        return self._cut_at(after, in_head, _End.RESET)

    def truncate(self, after: int = 0, *, in_head: int | None = None) -> Self:
        """Close the connection (FIN) after the head and some bytes of the body, or within the head."""
        return self._cut_at(after, in_head, _End.CLOSE)

    def stall(self, after: int = 0, *, in_head: int | None = None) -> Self:
        """Send the head and some bytes of the body, then nothing; the connection stays open."""
        return self._cut_at(after, in_head, _End.SILENCE)

    def never_answer(self) -> Self:
        """Take the request and send nothing, ever."""
        return self._cut_at(None, None, _End.SILENCE)

    def close_without_answer(self) -> Self:
        """Take the request and close the connection."""
        return self._cut_at(None, None, _End.CLOSE)

    def close_after(self) -> Self:
        """Close the connection after the answer, although its head does not say so.

        A second request that has been pipelined gets no answer.
        """
        self._end = _End.CLOSE
        return self

    def close_on_reuse(self) -> Self:
        """Answer, keep the connection, and close it when the next request comes on it.

        This happens when a server closes an idle connection while a request is on its way.
        """
        self._end = _End.NEXT_REQUEST
        return self

    def no_close_notify(self) -> Self:
        """Close the connection after the answer without the end of TLS; the answer has no length.

        A client that does not look for close_notify cannot tell that nothing is missing.
        """
        self._end = _End.NO_NOTIFY
        return self.no_length()

    # Timing.

    def drip(self, bytes_per_second: float) -> Self:
        """Send the whole answer, head included, so slowly.

        Raises:
            ValueError: the rate is not above 0.
        """
        if not bytes_per_second > 0:
            raise ValueError(f"drip() takes bytes per second, more than 0, not {bytes_per_second!r}; or use stall()")
        self._rate = bytes_per_second
        return self

    def interim(self, *statuses: int, fields: dict[str, str] | None = None) -> Self:
        """Send interim heads (1xx) before the answer: ``interim(100, 103, 103)``.

        Args:
            statuses: of the heads, 100 to 199.
            fields: of each head.

        Raises:
            ValueError: a status is not within 100 to 199.
        """
        if not all(100 <= status <= 199 for status in statuses):
            raise ValueError(
                f"interim() takes statuses from 100 to 199, not {statuses}; the last is respond(status=...)"
            )
        lines = "".join(f"{name}: {value}\r\n" for name, value in (fields or {}).items()).encode("latin-1")
        self._interim += b"".join(status_line(status) + lines + b"\r\n" for status in statuses)
        return self

    # Framing.

    def wrong_length(self, length: int) -> Self:
        """Send this Content-Length, the body as it is, and close the connection."""
        return self._lengths(length)

    def double_length(self, *lengths: int) -> Self:
        """Send several fields Content-Length, and close the connection; by default the right one and one more."""

        def edit(answer: RawAnswer, request: Request) -> RawAnswer:
            values = lengths or (len(answer.content), len(answer.content) + 1)
            return _with_lengths(answer, *values)

        return self._edit(edit, _End.CLOSE)

    def no_length(self) -> Self:
        """Send neither Content-Length nor chunks: the body ends where the connection is closed."""
        return self._lengths()

    def lying_chunk(self, more: int = 1) -> Self:
        """Send the content as one chunk that says that it is larger by so many bytes, or smaller; then the last one."""
        return self._chunks(lambda content: b"%x\r\n%b\r\n0\r\n\r\n" % (len(content) + more, content))

    def unfinished_chunks(self) -> Self:
        """Send the content as a chunk, and close the connection without the last chunk."""
        return self._chunks(lambda content: b"%x\r\n%b\r\n" % (len(content), content))

    def bad_chunk_size(self, size: bytes = b"zz") -> Self:
        """Send the content as a chunk whose size is no number."""
        return self._chunks(lambda content: b"%b\r\n%b\r\n0\r\n\r\n" % (size, content))

    # The head.

    def garbage_status_line(self, line: bytes = b"\x00\xffICY 2OO fine") -> Self:
        """Send other bytes in place of the status line."""

        def edit(answer: RawAnswer, request: Request) -> RawAnswer:
            return answer._replace(head=line + answer.head[answer.head.index(b"\r\n") :])

        return self._edit(edit, _End.CLOSE)

    def unfinished_head(self) -> Self:
        """Send the head without the empty line at its end, and close the connection."""
        return self._edit(lambda answer, request: RawAnswer(answer.head[:-2], b""), _End.CLOSE)

    def huge_header(self, size: int = 1024 * 1024) -> Self:
        """Send a field whose value has so many bytes, by default 1 MiB."""
        return self._edit(lambda answer, request: answer.having(b"X-Huge: " + b"x" * size))

    def folded_header(self) -> Self:
        """Send a field whose value goes on in a second line (obs-fold, RFC 9112 section 5.2)."""
        return self._edit(lambda answer, request: answer.having(b"X-Folded: one\r\n two"))

    def nul_in_header(self) -> Self:
        """Send a field whose value has a NUL in it."""
        return self._edit(lambda answer, request: answer.having(b"X-Nul: one\x00two"))

    # The content.

    def broken_gzip(self) -> Self:
        """Send the content compressed by gzip, with bytes in its middle that are not what was compressed."""

        def broken(content: bytes) -> bytes:
            data = bytearray(gzip.compress(content, mtime=0))
            middle = max(10, len(data) // 2)
            data[middle : middle + 4] = b"\xff\xff\xff\xff"
            return bytes(data)

        return self._as_gzip(broken)

    def truncated_gzip(self) -> Self:
        """Send the first half of the content compressed by gzip, with a Content-Length that agrees."""

        def half(content: bytes) -> bytes:
            data = gzip.compress(content, mtime=0)
            return data[: len(data) // 2]

        return self._as_gzip(half)

    def gzip_bomb(self, size: int = 100 * 1024 * 1024) -> Self:
        """Send about a thousandth of ``size`` bytes, that gzip makes ``size`` of, by default 100 MiB."""
        data = _zeros(size)
        return self._as_gzip(lambda content: data)

    def mislabelled_gzip(self) -> Self:
        """Send the content as it is, with ``Content-Encoding: gzip``."""
        return self._as_gzip(lambda content: content)

    def cut_event(self) -> Self:
        """Close the connection in the middle of the last server-sent event."""

        def middle(answer: RawAnswer) -> int:
            content = answer.content.rstrip(b"\n")
            start = max(content.rfind(b"\n\n") + 2, 0) if b"\n\n" in content else 0
            return len(answer.head) + start + (len(content) - start) // 2

        self._cut, self._end = middle, _End.CLOSE
        return self.no_length()

    # Redirects.

    def redirect_loop(self, status: int = 302) -> Self:
        """Redirect to the same URL, always."""
        return self._edit(lambda answer, request: _redirect(answer, status, request.target))

    def redirect_chain(self, count: int, status: int = 302) -> Self:
        """Redirect so many times, each to another URL (``?hop=1`` and so on), before the answer."""

        def edit(answer: RawAnswer, request: Request) -> RawAnswer:
            hop = request.query.get("hop", "0")
            number = int(hop) if isinstance(hop, str) and hop.isdecimal() else 0
            return answer if number >= count else _redirect(answer, status, f"{request.path}?hop={number + 1}")

        return self._edit(edit)

    # Answering with the faults.

    @property
    def active(self) -> bool:
        """Whether there is any fault."""
        return bool(
            self._edits
            or self._interim
            or self._cut is not None
            or self._rate is not None
            or self._end is not _End.AS_ANSWERED
        )

    def around(self, app: App) -> App:
        """An App whose answers are those of another one, but go wrong.

        Raises:
            TypeError: ``app`` is no App.
        """
        app = hosted(app)
        resolved = resolve_app(app)

        async def faulty(request: Request, response: ResponseWriter) -> None:
            await self.answer(resolved, request, response)

        forward_attributes(app, faulty)
        return faulty

    async def answer(self, app: App, request: Request, response: ResponseWriter) -> None:
        """Have an App answer one request, and send its answer with the faults."""
        if not self.active:
            await app(request, response)
            return
        if refused_for_reuse(request, response):
            return
        captured = await answer_of(app, request, response)
        answer = captured.raw
        for edit in self._edits:
            answer = edit(answer, request)
        data = answer.head + answer.body
        if self._cut is not None:
            data = data[: self._cut(answer)]
        connection = RawConnection(response)
        connection.begin(captured.status, closes=captured.closes)
        await connection.send(self._interim * bool(data) + data, self._rate)
        await self._finish(connection)

    async def _finish(self, connection: RawConnection) -> None:
        if self._end is _End.CLOSE:
            connection.close()
        elif self._end is _End.RESET:
            await connection.reset()
        elif self._end is _End.NO_NOTIFY:
            await connection.close_without_notify()
        elif self._end is _End.SILENCE:
            await connection.wait_closed()
            connection.close()
        elif self._end is _End.NEXT_REQUEST:
            _close_on_reuse(connection)

    def _edit(self, edit: Edit, end: _End | None = None) -> Self:
        self._edits.append(edit)
        if end is not None and self._end is _End.AS_ANSWERED:
            self._end = end
        return self

    def _lengths(self, *lengths: int) -> Self:
        return self._edit(lambda answer, request: _with_lengths(answer, *lengths), _End.CLOSE)

    def _chunks(self, body: Callable[[bytes], bytes]) -> Self:
        def edit(answer: RawAnswer, request: Request) -> RawAnswer:
            head = answer.without("Content-Length", "Transfer-Encoding").having(b"Transfer-Encoding: chunked")
            return head._replace(body=body(answer.content))

        return self._edit(edit, _End.CLOSE)

    def _as_gzip(self, made: Callable[[bytes], bytes]) -> Self:
        """Say that the content is compressed by gzip, and send what is made of it."""
        return self._edit(lambda answer, request: answer.with_content(made(answer.content), b"Content-Encoding: gzip"))

    def _cut_at(self, after: int | None, in_head: int | None, end: _End) -> Self:
        if min(after or 0, in_head or 0) < 0:
            raise ValueError(f"a number of bytes is 0 or more, not {min(after or 0, in_head or 0)}")

        def cut(answer: RawAnswer) -> int:
            if in_head is not None:
                return min(in_head, len(answer.head))
            return 0 if after is None else len(answer.head) + after

        self._cut, self._end = cut, end
        return self


def _with_lengths(answer: RawAnswer, *lengths: int) -> RawAnswer:
    lines = [b"Content-Length: %d" % length for length in lengths]
    return answer.without("Content-Length", "Transfer-Encoding").having(*lines)._replace(body=answer.content)


def _redirect(answer: RawAnswer, status: int, target: str) -> RawAnswer:
    line = status_line(status) + answer.head.partition(b"\r\n")[2]
    return answer._replace(head=line).with_content(b"", b"Location: " + target.encode("latin-1"))


@functools.lru_cache(4)
def _zeros(size: int) -> bytes:
    """``size`` zeros, compressed by gzip, made without having them all."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    piece = bytes(1024 * 1024)
    parts = [compressor.compress(piece) for _ in range(size // len(piece))]
    return b"".join([*parts, compressor.compress(bytes(size % len(piece))), compressor.flush()])


_closing_on_reuse: dict[object, asyncio.Task[None]] = {}  # connections, until they are closed


def _close_on_reuse(connection: RawConnection) -> None:
    peer = connection.peer

    async def forget() -> None:
        try:
            await peer.wait_lost()
        finally:
            _closing_on_reuse.pop(peer, None)

    _closing_on_reuse[peer] = asyncio.get_running_loop().create_task(forget())


def refused_for_reuse(request: Request, response: ResponseWriter) -> bool:
    """Close a connection that is to be closed when another request comes, and say whether it was one."""
    if request.peer not in _closing_on_reuse:
        return False
    response.abort()
    return True
