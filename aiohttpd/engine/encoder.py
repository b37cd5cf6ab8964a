"""HTTP1Encoder: encodes responses as HTTP/1.1 messages, RFC 9112 sections 6, 7 and 9.

Owns the framing of the content (Content-Length, chunked, close), the rules for HTTP/1.0 clients, and the Connection
field. `response` has checked before that the handler keeps the contract.

`EncoderWrapper`, `ChangedHead` and `FileReader` are for encoders around an encoder, such as that of compression.
"""

import enum
from collections.abc import Awaitable, Callable

from ..net.sendfile import FileTransfer, read_piece
from ..wire.response import LAST_CHUNK, ResponseFields, has_no_content, status_line
from .answer import Buffer
from .interfaces import Encoder, FileSource, HTTP1Sink, Out, ResponseHead

__all__ = ["ChangedHead", "EncoderWrapper", "FileReader", "HTTP1Encoder", "ResponseFraming"]


class ResponseFraming(enum.Enum):
    """How the client finds the end of the content, RFC 9112 section 6."""

    LENGTH = "Content-Length"
    CHUNKED = "chunked by us"
    MANUAL = "chunked by the handler"
    CLOSE = "by closing, for HTTP/1.0"
    NONE = "there is none: 204, 205, 304, 2xx to CONNECT"


LENGTH, CHUNKED, MANUAL, CLOSE, NONE = ResponseFraming

_CHUNKED_FIELD = b"Transfer-Encoding: chunked\r\n"
_EMPTY_FIELD = b"Content-Length: 0\r\n"

# The end of the head of a complete response, by the size of its content, for sizes that occur often.
_known_lengths: dict[int, bytes] = {}
_LARGEST_KNOWN = 4096


def _length_line(size: int) -> bytes:
    line = b"Content-Length: %d\r\n\r\n" % size
    if size <= _LARGEST_KNOWN:
        _known_lengths[size] = line
    return line


class HTTP1Encoder:
    """Encodes the responses of one connection, one after the other. See `Encoder`.

    Args:
        sink: the connection.
    """

    __slots__ = ("_chunked", "_framing", "_left", "_out", "_sink", "_trailers")

    begun = True  # it buffers nothing

    def __init__(self, sink: HTTP1Sink) -> None:
        self._sink = sink
        self._out: Out = sink.out
        # These are of the response that has begun last.
        self._framing = NONE
        self._chunked = False  # there is content, and this encoder chunks it
        self._left = 0  # bytes of content that are missing to Content-Length
        self._trailers: ResponseFields | None = None

    @property
    def complete(self) -> bool:
        """Whether all bytes of Content-Length have been sent."""
        return self._framing is LENGTH and self._left <= 0

    def takes_early(self, head: ResponseHead) -> bool:
        """False: content may be buffered before it is given to this encoder."""
        return False

    def unsent(self, data: Buffer) -> None:
        """Drop it."""

    def keeps_chunks(self, head: ResponseHead) -> bool:
        """False for HTTP/1.0, which has no chunked coding, RFC 9112 section 6.1."""
        return not head.http10

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        """Send a complete response: its length is known, RFC 9110 section 8.6."""
        if head.plain and not head.close_connection and self._sink.persists:  # the fast path
            fields = head.fields
            line = b"\r\n" if head.length is not None else _known_lengths.get(size) or _length_line(size)
            self._out.send([self._sink.context.prelude(head.status), *fields, line, *parts])
            return size
        self._framing = framing = _known_framing(head) or LENGTH
        line = b""
        if framing is NONE:
            line = _empty_field(head)
        elif framing is LENGTH and head.length is None and (head.has_content or size or head.head_mirrors_get):
            line = b"Content-Length: %d\r\n" % size  # a do_HEAD that writes nothing does not know the length for GET
        self._out.send([*self._head(head, line), *parts])
        return size if parts else 0

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send the head and the first part of the content."""
        if head.plain and head.length is not None and not head.close_connection and self._sink.persists:
            # The same as below, for the usual response with Content-Length.
            self._framing, self._chunked, self._trailers = LENGTH, False, None
            self._left = head.length - size
            self._out.send([self._sink.context.prelude(head.status), *head.fields, b"\r\n", *parts])
            return size if parts else 0
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
        """Send the last part of the content; if it is chunked, also the last chunk and the trailers."""
        last = self._framed(parts, size)
        if self._chunked:
            last += [b"0\r\n", *self._trailers, b"\r\n"] if self._trailers else [LAST_CHUNK]
        if last:
            self._out.send(last)
        return size

    def trail(self, fields: ResponseFields) -> None:
        """Keep trailer fields for the end of chunked content, RFC 9112 section 7.1.2."""
        self._trailers = fields

    def interim(self, head: ResponseHead, status: int, fields: ResponseFields, reason: str | None) -> None:
        """Send an interim (1xx) head; not to HTTP/1.0 clients, RFC 9110 section 15.2."""
        if head.http10:
            return
        if status == 100:
            self._sink.continued()
        self._out.send([status_line(status, reason), *fields, b"\r\n"])

    def upgrade(self, head: ResponseHead) -> None:
        """Send the head of an upgrade, with the fields of the handler, RFC 9110 section 7.8."""
        self._framing = CLOSE  # so `abort` resets the connection
        self._sink.out.release()
        self._out.send([*self._first_lines(head), b"\r\n"])

    def file(self, descriptor: int) -> FileSource:
        """Return a `FileSource` that sends the file by the kernel's ``sendfile``, or reads it if there is TLS."""
        return _FramedFile(self, self._sink.file_transfer(descriptor))

    def framed(self, parts: list[bytes]) -> None:
        """Send bytes that are framed already."""
        self._sink.out.send(parts)

    def redirect(self, out: Out | None) -> None:
        """Write encoded bytes to another output; None: to the connection again."""
        self._out = self._sink.out if out is None else out

    def deliver(self, parts: list[bytes]) -> None:
        """Send bytes that were encoded for another output."""
        self._sink.out.send(parts)

    def drain(self) -> Awaitable[None]:
        """Wait until the peer has read enough (back-pressure)."""
        return self._sink.writable()

    def restart(self) -> Encoder:
        """Return itself: it buffers nothing that would have to be dropped."""
        return self

    def abort(self) -> None:
        """Close the connection; by RST if the client would take a normal close for the end of the content."""
        self._sink.cut(reset=self._framing is CLOSE)

    def open_chunk(self, size: int) -> None:
        """Begin a chunk of ``size`` bytes whose content is sent without this encoder (sendfile)."""
        if self._chunked:
            self._out.send([b"%x\r\n" % size])

    def release(self) -> None:
        """Send what is held back: while pipelined requests are answered, or for a part of a file."""
        self._sink.out.release()

    def passed(self, size: int) -> None:
        """Count bytes of content that were sent without this encoder."""
        self._left -= size

    def close_chunk(self) -> None:
        """End the chunk that `open_chunk` has begun."""
        if self._chunked:
            self._out.send([b"\r\n"])

    def _framed(self, parts: list[bytes], size: int) -> list[bytes]:
        self._left -= size
        if self._chunked:
            return [b"%x\r\n" % size, *parts, b"\r\n"] if parts and size else []
        return parts

    def _head(self, head: ResponseHead, framing_line: bytes) -> list[bytes]:
        """The lines of the head. They say whether the connection persists, RFC 9112 section 9.3."""
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
        """The status line, Server and Date unless the handler has set them, and the fields of the handler."""
        context, fields = self._sink.context, head.fields
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
    """The framing that the response requires or the handler has chosen; None if the encoder may choose."""
    if not head.has_content and has_no_content(head.request.method, head.status):
        return NONE
    if head.own_chunks and not head.http10:
        return MANUAL
    return None if head.length is None else LENGTH


def _empty_field(head: ResponseHead) -> bytes:
    """``Content-Length: 0`` for 205, whose content a client would wait for otherwise, RFC 9110 section 15.3.6."""
    return _EMPTY_FIELD if head.status == 205 and head.request.method != "CONNECT" else b""


class _FramedFile:
    """A `FileSource` that sends a file part by ``sendfile``, as one chunk if the content is chunked."""

    __slots__ = ("_encoder", "_passed", "_transfer")

    def __init__(self, encoder: HTTP1Encoder, transfer: FileTransfer) -> None:
        self._encoder = encoder
        self._transfer = transfer

    def send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> Awaitable[None] | None:
        """See `FileSource`."""
        self._passed = passed
        self._encoder.open_chunk(count)
        rest = self._transfer.send(offset, count, check, self._count)
        if rest is None:
            self._encoder.close_chunk()
            return None
        return self._continue(rest)

    async def _continue(self, rest: Awaitable[None]) -> None:
        await rest
        self._encoder.close_chunk()

    def _count(self, sent: int) -> None:
        self._encoder.passed(sent)
        self._passed(sent)

    def close(self) -> None:
        """Close the transfer; send the head if it still waits for a part."""
        self._transfer.close()
        del self._transfer  # a reference cycle, which would keep the file open: it calls `_count`
        self._encoder.release()


class EncoderWrapper:
    """An encoder that passes every call to another encoder. Derive from it to change content or fields.

    `Encoder` documents the methods.

    Args:
        inner: the encoder that gets the calls.
    """

    def __init__(self, inner: Encoder) -> None:
        self.inner = inner

    @property
    def begun(self) -> bool:
        """Whether any byte of the response has been sent."""
        return self.inner.begun

    @property
    def complete(self) -> bool:
        """Whether the client can tell that it has all of the content."""
        return self.inner.complete

    def takes_early(self, head: ResponseHead) -> bool:
        """Whether content has to be given to this encoder without buffering."""
        return self.inner.takes_early(head)

    def unsent(self, data: Buffer) -> None:
        """Take content of a response to HEAD."""
        self.inner.unsent(data)

    def keeps_chunks(self, head: ResponseHead) -> bool:
        """Whether chunks of the handler are sent as they are."""
        return self.inner.keeps_chunks(head)

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        """Send a complete response."""
        return self.inner.whole(head, parts, size)

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send the head and the first part of the content."""
        return self.inner.begin(head, parts, size, push=push)

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send more content."""
        return self.inner.data(parts, size, push=push)

    def end(self, parts: list[bytes], size: int) -> int:
        """Send the last part of the content, and end the response."""
        return self.inner.end(parts, size)

    def trail(self, fields: ResponseFields) -> None:
        """Set the trailer fields."""
        self.inner.trail(fields)

    def interim(self, head: ResponseHead, status: int, fields: ResponseFields, reason: str | None) -> None:
        """Send an interim (1xx) head."""
        self.inner.interim(head, status, fields, reason)

    def upgrade(self, head: ResponseHead) -> None:
        """Send the head of an upgrade."""
        self.inner.upgrade(head)

    def file(self, descriptor: int) -> FileSource:
        """Return a `FileSource`; a `FileReader` if this encoder changes content."""
        return self.inner.file(descriptor)

    def framed(self, parts: list[bytes]) -> None:
        """Send bytes that are framed already."""
        self.inner.framed(parts)

    def redirect(self, out: Out | None) -> None:
        """Write encoded bytes to another output."""
        self.inner.redirect(out)

    def deliver(self, parts: list[bytes]) -> None:
        """Send bytes that were encoded for another output."""
        self.inner.deliver(parts)

    def drain(self) -> Awaitable[None]:
        """Wait until the peer has read enough (back-pressure)."""
        return self.inner.drain()

    def restart(self) -> Encoder:
        """Drop a response of which nothing has been sent."""
        self.inner = self.inner.restart()
        return self

    def abort(self) -> None:
        """End the response so that the client does not take it for complete."""
        self.inner.abort()


class FileReader:
    """A `FileSource` for an encoder that changes or keeps content: the file is read, and given to the encoder.

    Args:
        encoder: gets the pieces by ``data``.
        descriptor: of the file; the caller closes it.
        most: bytes of a piece.
    """

    def __init__(self, encoder: Encoder, descriptor: int, most: int) -> None:
        self._encoder = encoder
        self._descriptor = descriptor
        self._most = most

    async def send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> None:
        """See `FileSource`."""
        end = offset + count
        while offset < end:
            data = await read_piece(self._descriptor, offset, end - offset, self._most, check)
            offset += len(data)
            passed(self._encoder.data([data], len(data), push=True))
            await self._encoder.drain()

    def close(self) -> None:
        """There is nothing to release."""


class ChangedHead:
    """A `ResponseHead` like another one, with other fields.

    Args:
        head: the other head: its request, status, reason and ``close_connection`` are used.
        fields: the fields in place of those of ``head``.
        length: the value of Content-Length in ``fields``; None if it is not there.
        mirrors_get: the value of ``head_mirrors_get``.
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
        """Whether the connection is closed after the response."""
        return self._head.close_connection

    @close_connection.setter
    def close_connection(self, closes: bool) -> None:
        self._head.close_connection = closes
