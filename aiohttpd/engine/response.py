"""StreamWriter: one answer, buffered, framed for the author, with back-pressure from the peer.

Owns the decision how an answer is framed (RFC 9112 section 6) and what a handler may not do to it. It
knows the connection only as the `Sink` that takes its bytes.

An answer that is complete before anything has left goes out in one piece with its Content-Length. One
that is flushed before its end is chunked, or ended by closing for HTTP/1.0.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ClientDisconnected, ContractError
from ..wire.body import ChunkedDecoder
from ..wire.request import Request
from ..wire.response import LAST_CHUNK, ResponseFields, status_line
from .answer import Buffer, Cause, HasFileno, ResponseFraming, ResponseState, Sink, check_chunks, check_length, to_bytes

__all__ = ["CLIENT_CLOSED", "StreamWriter"]

CLIENT_CLOSED = 499  # in records, as nginx has it: the client has gone before there was an answer
_TURNS = 64  # calls of drain() after which others have their turn
BUFFER = 64 * 1024  # bytes that a handler may write before they leave

START, HELD, SENT, DONE = ResponseState.START, ResponseState.HELD, ResponseState.SENT, ResponseState.DONE
AUTO, LENGTH, CHUNKED, MANUAL, CLOSE, NONE = ResponseFraming

_NO_CONTENT = frozenset((204, 205, 304))  # RFC 9110 sections 15.3.5, 15.3.6, 15.4.5
_SPECIAL_METHODS = frozenset(("HEAD", "CONNECT"))
_CHUNKED_FIELD = b"Transfer-Encoding: chunked\r\n"
_NO_FIELDS = ResponseFields()


class StreamWriter:
    """The answer to one request; asyncio's names.

    Attributes:
        request: what is answered.
        status: the status code, 0 before the head has been given.
        size: bytes of content that have left the buffer; in the end all of them, 0 if none are sent (HEAD, 204).
        state: how far the answer has come.
        head_mirrors_get: the handler answers HEAD as it would GET, so the head can be the same.
        log: takes the record of this answer instead of the access log: status and bytes.
        cancel_on_disconnect: whether the handler is cancelled once the client is gone.
        cancelled: why the connection has cancelled the handler; None if it has not.
        aborted: the client has gone, or has been cut off, before the end: ``status`` and ``size`` say in the end what
            has left, and `CLIENT_CLOSED` that nothing has.
    """

    # What most answers leave as it is, and the straight path does not look at.
    head_mirrors_get = False
    cancel_on_disconnect = False
    cancelled: Cause | None = None
    aborted = False
    _left: tuple[int, int] | None = None  # status and bytes that had left when the client was last seen to go
    log: Callable[[int, int], None] | None = None
    _closes = False
    _http10 = False
    _discards = False
    _framing = AUTO
    _drains = 0
    size = 0
    _cap = BUFFER  # what _room is while the buffer is empty
    _reason: str | None
    _checker: ChunkedDecoder
    _length: int

    def __init__(self, sink: Sink, request: Request) -> None:
        self._sink = sink
        self.request = request
        self.state = START
        self.status = 0
        self._fields: ResponseFields = _NO_FIELDS
        self._parts: list[bytes] = []
        self._room = -1  # bytes that may still be buffered without a further thought
        self._plain = True  # the framing is AUTO, and nothing in the head needs a second look

    # What handlers call.

    def send_head(
        self, status: int, fields: "ResponseFields | Iterable[tuple[str, str | int]]" = (), reason: str | None = None
    ) -> None:
        """Give status and fields; they leave with the first bytes of the content.

        An interim status (103, say) leaves at once, and the head of the answer is still to come.

        Args:
            status: 100 to 999.
            fields: ``(name, value)`` pairs.
            reason: the reason phrase, by default the standard one.

        Raises:
            ContractError: the head has been given already.
            ValueError: a name, a value or the reason holds what may not stand there.
        """
        if self.state is not START:
            raise ContractError(
                f"the head of this answer ({self.status}) has been given already: one request, one answer"
            )
        if not isinstance(fields, ResponseFields):
            fields = ResponseFields.of(fields)
        if reason is not None or status < 200:
            self._plain = False
            line = status_line(status, reason)
            if status < 200:
                self._send_interim(status, line, fields)
                return
        self.status = status
        self._fields = fields
        self._reason = reason
        self._room = BUFFER
        self.state = HELD
        if fields.deciding is not None or status in _NO_CONTENT or self.request.method in _SPECIAL_METHODS:
            self._decide(status, fields)

    def write(self, data: Buffer) -> None:
        """Append content. It leaves at the end of the handler, at `flush` or `drain`, or past 64 KiB.

        ``bytes`` are kept by reference, any other buffer is copied.

        Raises:
            ContractError: no head has been given, or more than Content-Length has been written.
            WriteBufferFull: far ahead of a slow peer; ``await drain()`` between writes.
            TypeError: this is no bytes-like object.
        """
        if type(data) is bytes and (room := self._room - len(data)) >= 0:
            self._room = room
            self._parts.append(data)
        else:
            self._write(data)

    def writelines(self, parts: Iterable[Buffer]) -> None:
        """`write` each of the parts."""
        for part in parts:
            self.write(part)

    def flush(self) -> None:
        """Let everything leave that has been written, the head included."""
        if self.state is START:
            raise ContractError("flush() before the head: call send_response() and end_headers() first")
        if self.state is HELD:
            if self._framing is AUTO:
                self._framing = CLOSE if self.http10 else CHUNKED
            self._sink.out.send([*self._head(_CHUNKED_FIELD if self._framing is CHUNKED else b""), *self._content()])
        elif self._parts:
            self._sink.out.send(self._content())

    async def drain(self) -> None:
        """`flush`, and wait while the peer is slow.

        Raises:
            ClientDisconnected: the peer is gone. After the head of an answer to HEAD has left, too: nobody
                wants the content.
        """
        unwanted = self.state is SENT and self.request.method == "HEAD"
        self.flush()
        if unwanted:
            raise ClientDisconnected("HEAD wants no content")
        if self._sink.lost:
            raise ClientDisconnected("the client is gone")
        self._drains += 1
        if self._drains % _TURNS == 0:
            await asyncio.sleep(0)  # a client that keeps up must not keep the loop from the others
        await self._sink.writable()

    async def sendfile(
        self,
        file: HasFileno | int,
        offset: int = 0,
        count: int | None = None,
        *,
        check: Callable[[], bool] | None = None,
    ) -> None:
        """Append a part of a file, and `drain`; by the kernel's ``sendfile`` where there is no TLS.

        Args:
            file: an open regular file, or its descriptor; its position does not count.
            offset: where the part begins.
            count: bytes of it, by default up to the end.
            check: asked before the last bytes leave, whether they may.

        Raises what `write` and `drain` do; EOFError if the file ends before, or the check says no.
        """
        descriptor = file if isinstance(file, int) else file.fileno()
        count = max(0, os.fstat(descriptor).st_size - offset) if count is None else count
        self._check_room(count)
        if self._framing is MANUAL:
            raise ContractError("sendfile() among chunks of your own: leave Transfer-Encoding out")
        if count and not self._discards:
            await self._sendfile(descriptor, offset, count, check)
        else:
            self.size += count

    def is_closing(self) -> bool:
        """Whether the peer is gone, as far as is known."""
        return self._sink.lost

    async def wait_closed(self) -> None:
        """Wait until the client is gone, or has closed its side."""
        await self._sink.wait_closed()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio's transport knows: ``peername sockname socket ssl_object cipher peercert``."""
        return self._sink.get_extra_info(name, default)

    def set_timeout(self, seconds: float) -> None:
        """Set what ``timeout_body`` and ``timeout_write`` are for this connection."""
        self._sink.set_timeout(seconds)

    @property
    def _written(self) -> int:
        waiting = self._cap - self._room if self.state is HELD or self.state is SENT else 0
        return self.size + waiting

    # What the connection and the handler class call.

    @property
    def http10(self) -> bool:
        """Whether the rules of HTTP/1.0 hold for the answer."""
        return self._http10

    def use_http10(self) -> None:
        """Answer by the rules of HTTP/1.0: the client, or the handler's class, knows no other."""
        self._http10 = True
        self._plain = False

    @property
    def close_connection(self) -> bool:
        """Whether the connection is closed after this answer; set it before the head leaves."""
        return self._closes

    @close_connection.setter
    def close_connection(self, closes: bool) -> None:
        self._closes = closes
        self._plain = self._plain and not closes

    def replaceable(self) -> bool:
        """Whether nothing of an answer has left, so that another may take its place."""
        return self.state is START or self.state is HELD

    def restart(self) -> None:
        """Forget a head and content that have not left."""
        self.state = START
        self.status = self.size = 0
        self._parts.clear()
        self._room = -1
        self._cap = BUFFER
        self._framing = AUTO
        self._discards = False
        self._plain = not (self._http10 or self._closes)

    def finish(self) -> None:
        """The handler has returned: let out what is left, and end the content.

        Raises:
            ContractError: no answer has been given, or less than its Content-Length.
        """
        sink = self._sink
        if self._plain and self.state is HELD and sink.persists:
            # The straight path: all is here, so the length is known, RFC 9110 section 8.6.
            self.size = size = BUFFER - self._room
            line = b"Content-Length: %d\r\n\r\n" % size
            sink.out.send([sink.service.prelude(self.status), *self._fields, line, *self._parts])
        elif self.state is HELD and self._framing is AUTO:
            size = self._written
            line = b"Content-Length: %d\r\n" % size
            if self._discards and not size and not self.head_mirrors_get:
                line = b""  # a do_HEAD that does not say how long the answer to GET would be
            sink.out.send([*self._head(line), *self._parts])
            self.size = 0 if self._discards else size
        elif self.state is not DONE:
            self._finish_framed()
        self.state = DONE
        self._room = -1

    def abort(self) -> None:
        """Cut the connection, so that what has left of the answer cannot look whole."""
        self.size = 0 if self._discards else self.size
        self.aborted = True
        self._left = None
        self.state = DONE
        self._room = -1
        self._parts.clear()
        self._sink.cut(reset=self._framing is CLOSE)

    def mark(self, most: int) -> None:
        """The client may be gone: remember what has left by now.

        Args:
            most: bytes of content that can have left.
        """
        if self.state is DONE:
            return
        if self._is_whole():
            self._left = None
        elif self.state is SENT:
            self._left = self.status, 0 if self._discards else max(0, min(self.size, most))
        else:
            self._left = CLIENT_CLOSED, 0

    def lose(self) -> None:
        """The client is gone: have ``status`` and ``size`` say what had left when `mark` was called last, if ever."""
        if self._left is None:
            self.mark(self.size)
        if self._left is not None:
            self.aborted = True
            self.status, self.size = self._left

    def _is_whole(self) -> bool:
        return self.state is SENT and (self._discards or (self._framing is LENGTH and self.size >= self._length))

    def is_ours(self, error: BaseException) -> bool:
        """Whether an exception that is no `Exception` is the connection's to deal with, no fault of the handler's.

        So are its own cancellations; one of somebody else's, of a task that the handler has awaited, is a fault.
        """
        if isinstance(error, asyncio.CancelledError):
            return self.cancelled is not None or self._sink.service.cancelling
        return isinstance(error, (KeyboardInterrupt, GeneratorExit))

    def report(self, error: BaseException) -> None:
        """Have an error logged that the handler did not catch, once."""
        self._sink.report(error, self.request)

    @property
    def empty(self) -> bool:
        """Whether there may be content, and none has been written."""
        return not (self._discards or self.size or self._parts)

    # The inner side.

    def _decide(self, status: int, fields: ResponseFields) -> None:
        """Look at what is not plain: fields that decide framing, methods and statuses without content."""
        self._plain = False
        deciding = fields.deciding or {}
        method = self.request.method
        if "close" in [token.strip().lower() for token in deciding.get("connection", "").split(",")]:
            self.close_connection = True
        tunnel = method == "CONNECT" and 200 <= status < 300
        if tunnel or status in _NO_CONTENT:
            self._framing = NONE
            if tunnel or status != 304:  # RFC 9110 section 8.6; RFC 9112 section 6.1
                fields.drop("content-length")
            fields.drop("transfer-encoding")
            self.close_connection |= tunnel
        elif "content-length" in deciding:
            self._framing = LENGTH
            self._length = int(deciding["content-length"])
            self._cap = self._room = min(BUFFER, self._length)
        elif "transfer-encoding" in deciding:
            self._framing = MANUAL
            self._checker = self._sink.check_chunks()
            self._cap = self._room = 0
            if self.http10:
                fields.drop("transfer-encoding")  # RFC 9112 section 6.1
        if self._framing is NONE or method == "HEAD":
            self._discards = True
            self._cap = self._room = 0

    def _send_interim(self, status: int, line: bytes, fields: ResponseFields) -> None:
        if status == 101:
            raise ContractError("101 (Switching Protocols) is nothing that a handler can send")
        if self.http10:
            return  # RFC 9110 section 15.2
        if status == 100:
            self._sink.continued()
        self._sink.out.send([line, *fields, b"\r\n"])

    def _write(self, data: Buffer) -> None:
        """`write` off the straight path."""
        if type(data) is not bytes:
            data = to_bytes(data)
        self._check_room(len(data))
        if self._framing is MANUAL:
            data = check_chunks(self._checker, data, keep=not self.http10)
        buffered = self._written if self._discards and self.state is HELD else self._cap - self._room
        if buffered >= BUFFER:
            self.flush()
        if self._discards:
            self.size += len(data)
        else:
            self._parts.append(data)
            self._room -= len(data)

    def _check_room(self, count: int) -> None:
        """See that so much content may come now."""
        if self.state is START:
            raise ContractError("content before the head: call send_response() and end_headers() first")
        if self.state is DONE:
            raise ContractError("write() after the handler has returned: nobody reads this answer any more")
        if self._framing is LENGTH:
            check_length(self._written + count, self._length)

    async def _sendfile(self, descriptor: int, offset: int, count: int, check: Callable[[], bool] | None) -> None:
        out = self._sink.out
        transfer = self._sink.file_transfer(descriptor)
        try:
            await self.drain()  # what has been written goes before
            if self._framing is CHUNKED:
                out.send([b"%x\r\n" % count])
            async for sent in transfer.parts(offset, count, check):
                self.size += sent
            if self._framing is CHUNKED:
                out.send([b"\r\n"])
        finally:
            transfer.close()
            self._cap = self._room = min(BUFFER, self._length - self.size) if self._framing is LENGTH else BUFFER

    def _head(self, framing: bytes) -> list[bytes]:
        """The head, as lines; now it is decided whether the connection persists."""
        self.state = SENT
        sink = self._sink
        fields = self._fields
        deciding = fields.deciding
        if self._reason is None and deciding is None:
            lines = [sink.service.prelude(self.status), *fields]
        else:
            lines = [status_line(self.status, self._reason)]
            if deciding is None or "server" not in deciding:
                lines.append(sink.service.server_field)
            if deciding is None or "date" not in deciding:
                lines.append(sink.service.date_field())
            lines += fields
        if self.close_connection or self._framing is CLOSE or not sink.persists:
            self.close_connection = True
            if deciding is not None and "connection" in deciding:
                lines = [line for line in lines if line[:11].lower() != b"connection:"]
            lines.append(b"Connection: close\r\n")
        elif self.http10:
            lines.append(b"Connection: keep-alive\r\n")
        lines.append(framing)
        lines.append(b"\r\n")
        return lines

    def _content(self) -> list[bytes]:
        """What is buffered, framed; the buffer is empty then."""
        parts = self._parts
        size = self._cap - self._room
        self._parts = []
        self.size += size
        if self._framing is LENGTH and not self._discards:
            self._cap = min(BUFFER, self._length - self.size)
        self._room = self._cap
        if self._framing is CHUNKED and size:
            return [b"%x\r\n" % size, *parts, b"\r\n"]
        return parts

    def _finish_framed(self) -> None:
        """End an answer whose framing is known, or of which a part has left."""
        if self.state is START:
            raise ContractError("the handler returned without an answer: no send_response() and end_headers()")
        if self._framing is LENGTH and not self._discards and self._written < self._length:
            raise ContractError(f"{self._written} bytes of content, but Content-Length says {self._length}")
        if self._framing is MANUAL and not self._discards and not self._checker.complete:
            raise ContractError("Transfer-Encoding is chunked, but the last chunk is missing")
        line = b"Content-Length: 0\r\n" if self._framing is NONE and self.status == 205 else b""
        parts = self._head(line) if self.state is HELD else []
        parts += self._content()
        if self._framing is CHUNKED and not self._discards:
            parts.append(LAST_CHUNK)
        if parts:
            self._sink.out.send(parts)
        if self._discards:
            self.size = 0
