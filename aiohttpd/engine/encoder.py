"""HTTP1Encoder: answers as bytes of HTTP/1.1, RFC 9112 sections 6, 7 and 9.

Owns how the end of the content is told (Content-Length, chunks, closing the connection), what HTTP/1.0 has of that,
and whether the head says that the connection persists. What an answer may be is `response`'s; it has been checked.

`EncoderWrapper` and `ChangedHead` are what encoders around an encoder are made of; compression is one.
"""

import enum
from collections.abc import AsyncIterator, Awaitable, Callable

from ..net.sendfile import FileTransfer
from ..wire.response import LAST_CHUNK, ResponseFields, has_no_content, status_line
from .interfaces import Encoder, FileSource, HTTP1Sink, Out, ResponseHead

__all__ = ["ChangedHead", "EncoderWrapper", "HTTP1Encoder", "ResponseFraming"]


class ResponseFraming(enum.Enum):
    """How the end of the content is told, RFC 9112 section 6."""

    LENGTH = "Content-Length"
    CHUNKED = "chunked by us"
    MANUAL = "chunked by the handler"
    CLOSE = "by closing, for HTTP/1.0"
    NONE = "there is none: 204, 205, 304, 2xx to CONNECT"


LENGTH, CHUNKED, MANUAL, CLOSE, NONE = ResponseFraming

_CHUNKED_FIELD = b"Transfer-Encoding: chunked\r\n"
_EMPTY_FIELD = b"Content-Length: 0\r\n"


class HTTP1Encoder:
    """Frames the answers of one connection, one after the other. See `Encoder`.

    Args:
        sink: the connection.
    """

    __slots__ = ("_chunked", "_context", "_framing", "_left", "_out", "_sink", "_trailers")

    begun = True  # whatever it is given leaves at once

    def __init__(self, sink: HTTP1Sink) -> None:
        self._sink = sink
        self._context = sink.context
        self._out: Out = sink.out
        # Of the answer that has begun last.
        self._framing = NONE
        self._chunked = False  # there is content, and we chunk it
        self._left = 0  # bytes of content up to its Content-Length
        self._trailers: ResponseFields | None = None

    @property
    def complete(self) -> bool:
        """Whether all that Content-Length says has left."""
        return self._framing is LENGTH and self._left <= 0

    def takes_early(self, head: ResponseHead) -> bool:
        """It has no work to do on content."""
        return False

    def keeps_chunks(self, head: ResponseHead) -> bool:
        """HTTP/1.0 knows no chunks, RFC 9112 section 6.1."""
        return not head.http10

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        """Send a whole answer: its length is known, RFC 9110 section 8.6."""
        if head.plain and self._sink.persists:  # the straight path
            fields = head.fields
            line = b"Content-Length: %d\r\n\r\n" % size if fields.deciding is None else b"\r\n"
            self._out.send([self._context.prelude(head.status), *fields, line, *parts])
            return size
        self._framing = framing = _known_framing(head) or LENGTH
        line = b""
        if framing is NONE:
            line = _empty_field(head)
        elif framing is LENGTH and head.length is None and (head.has_content or size or head.head_mirrors_get):
            line = b"Content-Length: %d\r\n" % size  # else a do_HEAD does not say how long the answer to GET would be
        self._out.send([*self._head(head, line), *parts])
        return size if parts else 0

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send the head, and the first content."""
        framing = _known_framing(head)
        line = _empty_field(head) if framing is NONE else b""
        if framing is None:
            framing = CLOSE if head.http10 else CHUNKED
            line = b"" if framing is CLOSE else _CHUNKED_FIELD
        self._framing = framing
        self._chunked = framing is CHUNKED and head.has_content
        self._left = head.length or 0
        self._trailers = None
        self._out.send([*self._head(head, line), *self._framed(parts, size)])
        return size if parts else 0

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send more content."""
        if framed := self._framed(parts, size):
            self._out.send(framed)
        return size

    def end(self, parts: list[bytes], size: int) -> int:
        """Send the last content, and the end where bytes tell it."""
        last = self._framed(parts, size)
        if self._chunked:
            last += [b"0\r\n", *self._trailers, b"\r\n"] if self._trailers else [LAST_CHUNK]
        if last:
            self._out.send(last)
        return size

    def trail(self, fields: ResponseFields) -> None:
        """Keep fields for the end of chunks, RFC 9112 section 7.1.2."""
        self._trailers = fields

    def interim(self, head: ResponseHead, status: int, fields: ResponseFields, reason: str | None) -> None:
        """Send an interim head; HTTP/1.0 has none, RFC 9110 section 15.2."""
        if head.http10:
            return
        if status == 100:
            self._sink.continued()
        self._out.send([status_line(status, reason), *fields, b"\r\n"])

    def upgrade(self, head: ResponseHead) -> None:
        """Send a head that ends HTTP on the connection; its fields are those of the handler, RFC 9110 section 7.8."""
        self._framing = CLOSE  # so that `abort` does not look like a regular end
        self._sink.out.release()
        self._out.send([*self._first_lines(head), b"\r\n"])

    def file(self, descriptor: int) -> FileSource:
        """Make the way of a file, by the kernel's ``sendfile`` where there is no TLS."""
        return _FramedFile(self, self._sink.file_transfer(descriptor))

    def framed(self, parts: list[bytes]) -> None:
        """Send bytes that somebody else has framed."""
        self._sink.out.send(parts)

    def redirect(self, out: Out | None) -> None:
        """Have what is encoded go somewhere else."""
        self._out = self._sink.out if out is None else out

    def deliver(self, parts: list[bytes]) -> None:
        """Send what has been redirected."""
        self._sink.out.send(parts)

    def drain(self) -> Awaitable[None]:
        """Wait while the peer is slow."""
        return self._sink.writable()

    def restart(self) -> Encoder:
        """There is nothing to forget."""
        return self

    def abort(self) -> None:
        """Cut the connection; by a reset where closing it is how the content would end."""
        self._sink.cut(reset=self._framing is CLOSE)

    def open_chunk(self, size: int) -> None:
        """Content of this size is about to go past the encoder, by `passed`."""
        if self._chunked:
            self._out.send([b"%x\r\n" % size])

    def passed(self, size: int) -> None:
        """So many bytes of it have left."""
        self._left -= size

    def close_chunk(self) -> None:
        """All of it has left."""
        if self._chunked:
            self._out.send([b"\r\n"])

    def _framed(self, parts: list[bytes], size: int) -> list[bytes]:
        self._left -= size
        if self._chunked:
            return [b"%x\r\n" % size, *parts, b"\r\n"] if parts and size else []
        return parts

    def _head(self, head: ResponseHead, framing_line: bytes) -> list[bytes]:
        """The head, as lines; now it is decided whether the connection persists, RFC 9112 section 9.3."""
        deciding = head.fields.deciding
        lines = self._first_lines(head)
        if head.close_connection or self._framing is CLOSE or not self._sink.persists:
            head.close_connection = True
            if deciding is not None and "connection" in deciding:
                lines = [line for line in lines if line[:11].lower() != b"connection:"]
            lines.append(b"Connection: close\r\n")
        elif head.http10:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(framing_line)
        lines.append(b"\r\n")
        return lines

    def _first_lines(self, head: ResponseHead) -> list[bytes]:
        """The status line, Server and Date if the handler has none of its own, and the handler's fields."""
        context, fields = self._context, head.fields
        deciding = fields.deciding
        if head.reason is None and (deciding is None or not ("server" in deciding or "date" in deciding)):
            return [context.prelude(head.status), *fields]
        lines = [status_line(head.status, head.reason)]
        if deciding is None or "server" not in deciding:
            lines.append(context.server_field)
        if deciding is None or "date" not in deciding:
            lines.append(context.date_field())
        return [*lines, *fields]


def _known_framing(head: ResponseHead) -> ResponseFraming | None:
    """How the end is told, as far as the handler has decided it; None if it is the encoder's to choose."""
    if not head.has_content and has_no_content(head.request.method, head.status):
        return NONE
    if head.own_chunks and not head.http10:
        return MANUAL
    return None if head.length is None else LENGTH


def _empty_field(head: ResponseHead) -> bytes:
    """The field of an answer without content that a client would else wait for, RFC 9110 section 15.3.6."""
    return _EMPTY_FIELD if head.status == 205 and head.request.method != "CONNECT" else b""


class _FramedFile:
    """A file on its way past the encoder, as one chunk if the content is chunked."""

    __slots__ = ("_encoder", "_transfer")

    def __init__(self, encoder: HTTP1Encoder, transfer: FileTransfer) -> None:
        self._encoder = encoder
        self._transfer = transfer

    async def parts(self, offset: int, count: int, check: Callable[[], bool] | None) -> AsyncIterator[int]:
        """See `FileSource`."""
        self._encoder.open_chunk(count)
        async for sent in self._transfer.parts(offset, count, check):
            self._encoder.passed(sent)
            yield sent
        self._encoder.close_chunk()

    def close(self) -> None:
        """End it."""
        self._transfer.close()


class EncoderWrapper:
    """An encoder that passes everything on: derive from it to change some of it. See `Encoder`.

    Args:
        inner: the encoder behind it.
    """

    def __init__(self, inner: Encoder) -> None:
        self.inner = inner

    @property
    def begun(self) -> bool:
        """Whether anything has left."""
        return self.inner.begun

    @property
    def complete(self) -> bool:
        """Whether the client can tell that it has everything."""
        return self.inner.complete

    def takes_early(self, head: ResponseHead) -> bool:
        """Whether content is given as it is written."""
        return self.inner.takes_early(head)

    def keeps_chunks(self, head: ResponseHead) -> bool:
        """Whether a handler's own chunks stay."""
        return self.inner.keeps_chunks(head)

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        """Send a whole answer."""
        return self.inner.whole(head, parts, size)

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        """Begin an answer."""
        return self.inner.begin(head, parts, size, push=push)

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send more content."""
        return self.inner.data(parts, size, push=push)

    def end(self, parts: list[bytes], size: int) -> int:
        """Send the last of the content, and the end."""
        return self.inner.end(parts, size)

    def trail(self, fields: ResponseFields) -> None:
        """Have fields follow the content."""
        self.inner.trail(fields)

    def interim(self, head: ResponseHead, status: int, fields: ResponseFields, reason: str | None) -> None:
        """Send an interim head."""
        self.inner.interim(head, status, fields, reason)

    def upgrade(self, head: ResponseHead) -> None:
        """Send a head that ends HTTP on the connection."""
        self.inner.upgrade(head)

    def file(self, descriptor: int) -> FileSource:
        """Make the way of a file. An encoder that changes content has to read it."""
        return self.inner.file(descriptor)

    def framed(self, parts: list[bytes]) -> None:
        """Send bytes that somebody else has framed."""
        self.inner.framed(parts)

    def redirect(self, out: Out | None) -> None:
        """Have what is encoded go somewhere else."""
        self.inner.redirect(out)

    def deliver(self, parts: list[bytes]) -> None:
        """Send what has been redirected."""
        self.inner.deliver(parts)

    def drain(self) -> Awaitable[None]:
        """Wait while the peer is slow."""
        return self.inner.drain()

    def restart(self) -> Encoder:
        """Forget an answer that has not begun."""
        self.inner = self.inner.restart()
        return self

    def abort(self) -> None:
        """Have the answer end in a way that cannot be taken for its end."""
        self.inner.abort()


class ChangedHead:
    """The head of an answer with other fields. See `ResponseHead`.

    Args:
        head: whose status, reason and persistence it has.
        fields: in place of its own.
        length: the Content-Length among them, if there is one.
        mirrors_get: see ``head_mirrors_get``.
    """

    plain = False

    def __init__(self, head: ResponseHead, fields: ResponseFields, *, length: int | None, mirrors_get: bool) -> None:
        self._head = head
        self.request = head.request
        self.status = head.status
        self.reason = head.reason
        self.fields = fields
        self.has_content = head.has_content
        self.length = length
        self.own_chunks = head.own_chunks
        self.http10 = head.http10
        self.head_mirrors_get = mirrors_get

    @property
    def close_connection(self) -> bool:
        """Whether the connection is closed after the answer."""
        return self._head.close_connection

    @close_connection.setter
    def close_connection(self, closes: bool) -> None:
        self._head.close_connection = closes
