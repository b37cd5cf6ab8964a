"""StreamWriter: the contract of one answer, whoever frames it.

Owns what a handler may do to an answer, in what order, and what of it can still be replaced: one head, the length that
was promised, no content where there may be none, back-pressure from the peer. Status, fields and content go to an
`Encoder`, which makes bytes of them: `encoder.HTTP1Encoder`, unless something else is put before it or in its place.

An answer that is complete before anything has left is given to the encoder in one piece.
"""

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ClientDisconnected, ContractError
from ..wire.body import ChunkedDecoder
from ..wire.request import Request
from ..wire.response import NO_CONTENT, ResponseFields, has_no_content, status_line
from .answer import Buffer, Cause, HasFileno, ResponseState, check_chunks, check_length, to_bytes
from .interfaces import Encoder, Sink
from .upgraded import UpgradedProtocol

__all__ = ["CLIENT_CLOSED", "StreamWriter"]

CLIENT_CLOSED = 499  # in records, as nginx has it: the client has gone before there was an answer
_TURNS = 64  # calls of drain() after which others have their turn
BUFFER = 64 * 1024  # bytes that a handler may write before they leave

START, HELD, SENT, UPGRADED, DONE = ResponseState
_SPECIAL_METHODS = frozenset(("HEAD", "CONNECT"))
_NO_FIELDS = ResponseFields()
_IN_FILE = "a file is being sent, or has not been sent to its end: nothing can follow it, so abort() the answer"


class StreamWriter:
    """The answer to one request; asyncio's names.

    It is also the `ResponseHead` that its encoder is given.

    Args:
        sink: the connection.
        encoder: makes bytes of the answer.
        request: what is answered.

    Attributes:
        request: what is answered.
        sink: the connection, as answers know it.
        encoder: what makes bytes of the answer; see `encode_with`.
        status: the status code, 0 before the head has been given.
        reason: the reason phrase; None for the standard one.
        fields: the fields of the head.
        size: bytes of content that have left the buffers; in the end all of them, 0 if none are sent (HEAD, 204).
        state: how far the answer has come.
        plain: see `ResponseHead`, as ``has_content``, ``length``, ``own_chunks``.
        head_mirrors_get: the handler answers HEAD as it would GET, so the head can be the same.
        log: takes the record of this answer instead of the access log: status and bytes.
        cancel_on_disconnect: whether the handler is cancelled once the client is gone.
        cancelled: why the connection has cancelled the handler; None if it has not.
        released: the handler goes on after its answer, and the connection without it; see `end`.
        aborted: the client has gone, or has been cut off, before the end: ``status`` and ``size`` say in the end what
            has left, and `CLIENT_CLOSED` that nothing has.
    """

    # What an answer begins with; most of it stays as it is.
    head_mirrors_get = False
    cancel_on_disconnect = False
    cancelled: Cause | None = None
    aborted = False
    released = False
    log: Callable[[int, int], None] | None = None
    plain = True
    has_content = True
    length: int | None = None
    own_chunks = False
    reason: str | None = None
    size = 0
    _left: tuple[int, int] | None = None  # status and bytes that had left when the client was last seen to go
    _closes = False
    _http10 = False
    _first: Encoder | None = None  # the encoder that another one has taken the place of
    _early = False  # the encoder is given content as it is written
    _in_file = False  # a file is being sent, or has not been sent to its end
    _chunks: ChunkedDecoder | None = None  # checks a handler's own
    _keeps_chunks = False
    _protocol: UpgradedProtocol | None = None  # after an upgrade
    _drains = 0
    _taken = 0  # bytes of content that the encoder has been given, or would have been if it were wanted
    _cap = BUFFER  # what _room is while the buffer is empty

    def __init__(self, sink: Sink, encoder: Encoder, request: Request) -> None:
        self.sink = sink
        self.encoder = encoder
        self.request = request
        self.state = START
        self.status = 0
        self.fields: ResponseFields = _NO_FIELDS
        self._parts: list[bytes] = []
        self._room = -1  # bytes that may still be buffered without a further thought

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
            status_line(status, reason)  # which sees whether they may stand there
            if status < 200:
                self._send_interim(status, fields, reason)
                return
            self.reason = reason
            self.plain = False
        self.status = status
        self.fields = fields
        self._room = BUFFER
        self.state = HELD
        if (
            not self.plain
            or fields.deciding is not None
            or status in NO_CONTENT
            or self.request.method in _SPECIAL_METHODS
        ):
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
        if self.state is not DONE and self.state is not UPGRADED:
            self._give(push=True)

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
        if self.sink.lost:
            raise ClientDisconnected("the client is gone")
        self._drains += 1
        if self._drains % _TURNS == 0:
            await asyncio.sleep(0)  # a client that keeps up must not keep the loop from the others
        await self.encoder.drain()

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
        if self._chunks is not None:
            raise ContractError("sendfile() among chunks of your own: leave Transfer-Encoding out")
        if count and self.has_content:
            await self._sendfile(descriptor, offset, count, check)
        else:
            self._taken += count

    def upgrade(self, status: int, fields: ResponseFields, protocol: UpgradedProtocol) -> None:
        """End HTTP on the connection: send the head, and let another protocol have what follows.

        The connection is closed once the handler has returned. ``size`` is then what the protocol has sent.

        Args:
            status: 101 (Switching Protocols), or 200 to CONNECT.
            fields: of the head; ``Connection`` and ``Upgrade`` among them for 101.
            protocol: is told what happens on the connection from now on, the bytes first that follow the request.

        Raises:
            ContractError: an answer has been begun.
            ValueError: a field that frames content, of which there is none (RFC 9110 sections 8.6, 15.2).
        """
        if self.state is not START:
            raise ContractError(f"an answer ({self.status}) has been begun: the protocol cannot be changed any more")
        if not {"content-length", "transfer-encoding"}.isdisjoint(fields.deciding or ()):
            raise ValueError("there is no content where the protocol changes: leave out what frames it")
        self.status = status
        self.fields = fields
        self.close_connection = True
        self.encoder.upgrade(self)  # if it cannot, there may still be another answer
        self.state = UPGRADED
        self._protocol = protocol
        self.sink.upgrade(protocol)

    def send_whole(self, status: int, fields: ResponseFields, content: bytes) -> None:
        """Give head and content, and `end` the answer; it leaves in one piece. Raises what these do."""
        size, deciding = len(content), fields.deciding
        if (
            self.state is START
            and self.plain
            and status >= 200
            and status not in NO_CONTENT
            and self.request.method not in _SPECIAL_METHODS
            and (deciding is None or (len(deciding) == 1 and deciding.get("content-length") == str(size)))
        ):
            self.status, self.fields = status, fields
            self.length = None if deciding is None else size
            self.size = self.encoder.whole(self, [content], size)
            self.state = DONE
            self.sink.answered(self)
        else:
            self.send_head(status, fields)
            self.write(content)
            self.end()

    def end(self, trailers: ResponseFields | None = None) -> None:
        """End the answer now, before the handler returns: all of it leaves, and the connection goes on without it.

        Args:
            trailers: fields after the content, which only chunks have room for; without them they are dropped.

        Raises:
            ContractError: no answer has been given, or less than its Content-Length.
        """
        if self.state is not DONE:
            if trailers:
                self.encoder.trail(trailers)
            self.finish()
            self.sink.answered(self)

    def is_closing(self) -> bool:
        """Whether the peer is gone, as far as is known."""
        return self.sink.lost

    async def wait_closed(self) -> None:
        """Wait until the client is gone, or has closed its side."""
        await self.sink.wait_closed()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What asyncio's transport knows: ``peername sockname socket ssl_object cipher peercert``."""
        return self.sink.get_extra_info(name, default)

    def set_timeout(self, seconds: float) -> None:
        """Set what ``timeout_body`` and ``timeout_write`` are for this connection."""
        self.sink.set_timeout(seconds)

    @property
    def _written(self) -> int:
        waiting = self._cap - self._room if self.state is HELD or self.state is SENT else 0
        return self._taken + waiting

    # What the connection and the handler class call.

    def encode_with(self, encoder: Encoder) -> None:
        """Have another encoder make bytes of the answer: one around `encoder`, or in its place.

        It stays when the answer is restarted, unless its ``restart`` gives another one.

        Raises:
            ContractError: the head has been given.
        """
        if self.state is not START:
            raise ContractError("encode_with() after the head: the answer has been begun")
        self._first = self._first or self.encoder
        self.encoder = encoder
        self.plain = False

    @property
    def http10(self) -> bool:
        """Whether the rules of HTTP/1.0 hold for the answer."""
        return self._http10

    def use_http10(self) -> None:
        """Answer by the rules of HTTP/1.0: the client, or the handler's class, knows no other."""
        self._http10 = True
        self.plain = False

    @property
    def close_connection(self) -> bool:
        """Whether the connection is closed after this answer; set it before the head leaves."""
        return self._closes

    @close_connection.setter
    def close_connection(self, closes: bool) -> None:
        self._closes = closes
        self.plain = self.plain and not closes

    def replaceable(self) -> bool:
        """Whether nothing of an answer has left, so that another may take its place."""
        return self.state is START or self.state is HELD or (self.state is SENT and not self.encoder.begun)

    def restart(self) -> None:
        """Forget a head and content that have not left."""
        self.encoder = self.encoder.restart()
        self.state = START
        self.status = self.size = self._taken = 0
        self.reason = self.length = self._chunks = None
        self.fields = _NO_FIELDS
        self._parts.clear()
        self._room = -1
        self._cap = BUFFER
        self.has_content = True
        self._early = self.own_chunks = self._keeps_chunks = False
        self.plain = not (self._http10 or self._closes or self._first is not None)

    def finish(self) -> None:
        """The handler has returned: let out what is left, and end the content.

        Raises:
            ContractError: no answer has been given, or less than its Content-Length.
        """
        if self.plain and self.state is HELD:
            self.size = self.encoder.whole(self, self._parts, BUFFER - self._room)
        elif self.state is UPGRADED:
            self._leave_protocol()
        elif self.state is not DONE:
            self._finish()
            self._give_up_encoder()
        self.state = DONE
        self._room = -1

    def abort(self) -> None:
        """Cut the connection, so that what has left of the answer cannot look whole."""
        self._leave_protocol()
        self.aborted = True
        self._left = None
        self.state = DONE
        self._room = -1
        self._parts.clear()
        self.encoder.abort()
        self._give_up_encoder()

    def relayed(self, status: int, size: int) -> None:
        """Note what has left of an answer that its encoder is given by somebody else, framed already.

        Args:
            status: the final status; 0 if the connection ends without one.
            size: bytes of content since the last call.
        """
        if self.state is START:
            self.state = SENT
            self.status = status
        self.size += size

    def mark(self, most: int) -> None:
        """The client may be gone: remember what has left by now.

        Args:
            most: bytes of content that can have left.
        """
        if self.state is DONE:
            return
        if self._is_whole():
            self._left = None
        elif self.state is SENT and self.encoder.begun:
            self._left = self.status, max(0, min(self.size, most))
        else:
            self._left = CLIENT_CLOSED, 0

    def lose(self) -> None:
        """The client is gone: have ``status`` and ``size`` say what had left when `mark` was called last, if ever."""
        if self._left is None:
            self.mark(self.size)
        if self._left is not None:
            self.aborted = True
            self.status, self.size = self._left
        self._leave_protocol()
        self._give_up_encoder()

    def _is_whole(self) -> bool:
        if self.state is UPGRADED:
            return True  # it ends when one of them goes
        return self.state is SENT and self.encoder.begun and (not self.has_content or self.encoder.complete)

    def is_ours(self, error: BaseException) -> bool:
        """Whether an exception that is no `Exception` is the connection's to deal with, no fault of the handler's.

        So are its own cancellations; one of somebody else's, of a task that the handler has awaited, is a fault.
        """
        if isinstance(error, asyncio.CancelledError):
            return self.cancelled is not None or self.sink.context.cancelling
        return isinstance(error, (KeyboardInterrupt, GeneratorExit))

    def report(self, error: BaseException) -> None:
        """Have an error logged that the handler did not catch, once."""
        self.sink.report(error, self.request)

    @property
    def empty(self) -> bool:
        """Whether there may be content, and none has been written."""
        return self.has_content and not (self._taken or self._parts)

    # The inner side.

    def _decide(self, status: int, fields: ResponseFields) -> None:
        """Look at what is not plain: fields that decide framing, methods and statuses without content."""
        self.plain = False
        deciding = fields.deciding or {}
        method = self.request.method
        self.own_chunks = "transfer-encoding" in deciding
        if "close" in [token.strip().lower() for token in deciding.get("connection", "").split(",")]:
            self.close_connection = True
        if has_no_content(method, status):
            self.has_content = False
            tunnel = method == "CONNECT" and status < 300
            if tunnel or status != 304:  # RFC 9110 section 8.6; RFC 9112 section 6.1
                fields.drop("content-length")
            fields.drop("transfer-encoding")
            self.close_connection |= tunnel
        elif "content-length" in deciding:
            self.length = int(deciding["content-length"])
        elif self.own_chunks:
            self._chunks = self.sink.check_chunks()
            self._keeps_chunks = self.encoder.keeps_chunks(self)
            if not self._keeps_chunks:
                fields.drop("transfer-encoding")  # RFC 9112 section 6.1
        self.has_content = self.has_content and method != "HEAD"
        if self._first is not None:
            self._early = self.encoder.takes_early(self)
        self._empty_buffer()

    def _empty_buffer(self) -> None:
        """There is nothing in the buffer: say what may be put there."""
        if not self.has_content:
            room = -1  # not even empty pieces
        elif self._early or self._chunks is not None:
            room = 0
        else:
            room = BUFFER if self.length is None else min(BUFFER, self.length - self._taken)
        self._cap = self._room = room

    def _send_interim(self, status: int, fields: ResponseFields, reason: str | None) -> None:
        if status == 101:
            raise ContractError("101 (Switching Protocols) is sent by 'await self.upgrade(...)', not as a head")
        self.encoder.interim(self, status, fields, reason)

    def _write(self, data: Buffer) -> None:
        """`write` off the straight path."""
        if type(data) is not bytes:
            data = to_bytes(data)
        self._check_room(len(data))
        if self._chunks is not None:
            data = check_chunks(self._chunks, data, keep=self._keeps_chunks)
        if not self.has_content:
            if data and self.state is HELD and self._taken >= BUFFER and not self._early:
                self.flush()
            self._taken += len(data)
            return
        if self._cap - self._room >= BUFFER:
            self._give(push=False)
        self._parts.append(data)
        self._room -= len(data)
        if self._early:
            self._give(push=False)

    def _check_room(self, count: int) -> None:
        """See that so much content may come now."""
        if self.state is START:
            raise ContractError("content before the head: call send_response() and end_headers() first")
        if self.state is UPGRADED:
            raise ContractError("HTTP has ended on this connection: write to what the upgrade has given")
        if self.state is DONE:
            raise ContractError("write() after the handler has returned: nobody reads this answer any more")
        if self._in_file:
            raise ContractError(_IN_FILE)
        if self.length is not None:
            check_length(self._written + count, self.length)

    def _leave_protocol(self) -> None:
        """The handler is done with the protocol after an upgrade: the record has what that has sent."""
        if self._protocol is not None:
            self.size = self._protocol.size
            self._protocol = None
            self._give_up_encoder()

    def _give_up_encoder(self) -> None:
        """Nothing more is to be encoded: an encoder that knows this answer must not keep it alive, nor the request."""
        if self._first is not None:
            self.encoder = self._first

    def _give(self, *, push: bool) -> None:
        """Give the encoder what is buffered, with the head if it has not had it.

        Args:
            push: it is to leave now, even what the encoder would keep.
        """
        parts, size = self._parts, self._cap - self._room
        self._parts = []
        self._taken += size
        self._empty_buffer()
        if self.state is HELD:
            self.state = SENT
            self.size = self.encoder.begin(self, parts, self._taken, push=push)
        else:
            self.size += self.encoder.data(parts, size, push=push)

    async def _sendfile(self, descriptor: int, offset: int, count: int, check: Callable[[], bool] | None) -> None:
        source = self.encoder.file(descriptor)
        try:
            if self._early:
                self._give(push=False)
            else:
                await self.drain()  # what has been written goes before
            self._in_file = True
            self._cap = self._room = -1
            async for sent in source.parts(offset, count, check):
                self.size += sent
            self._in_file = False
            self._taken += count
            self._empty_buffer()
        finally:
            source.close()

    def _finish(self) -> None:
        """End an answer that is not plain, or of which a part has been given to the encoder."""
        if self.state is START:
            raise ContractError("the handler returned without an answer: no send_response() and end_headers()")
        if self._in_file:
            raise ContractError(_IN_FILE)
        written = self._written
        if self.has_content and self.length is not None and written < self.length:
            raise ContractError(f"{written} bytes of content, but Content-Length says {self.length}")
        if self.has_content and self._chunks is not None and not self._chunks.complete:
            raise ContractError("Transfer-Encoding is chunked, but the last chunk is missing")
        parts, self._parts = self._parts, []
        if self.state is HELD:
            self.state = SENT
            self.size = self.encoder.whole(self, parts, written)
        else:
            self.size += self.encoder.end(parts, self._cap - self._room)
