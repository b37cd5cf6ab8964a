"""StreamWriter: what a handler writes a response to.

Owns the contract of a response: one head, content of exactly the declared length, no content where HTTP allows none,
back-pressure, and until when the response can be replaced by another one. Status, fields and content are given to an
`Encoder`, which frames them: `encoder.HTTP1Encoder`, unless `StreamWriter.encode_with` sets another one.

A response that is complete before any byte has been sent is given to the encoder by one call, and so needs one write.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ClientDisconnected, ContractError
from ..net.sendfile import size_of_part
from ..wire.request import Request
from ..wire.response import NO_CONTENT, ResponseFields, has_no_content, status_line
from .answer import Buffer, Cause, ChunkChecker, HasFileno, ResponseState, check_complete, check_write, to_bytes
from .interfaces import Encoder, Sink
from .turn import IDLE_TURN, Turn
from .upgraded import UpgradedProtocol

__all__ = ["CLIENT_CLOSED", "StreamWriter"]

CLIENT_CLOSED = 499  # the status in the access log if the client has disconnected before the response, as in nginx
BUFFER = 64 * 1024  # bytes of content that are buffered before they are sent

START, HELD, SENT, UPGRADED, DONE = ResponseState
_USUAL_STATUSES = frozenset(range(200, 1000)) - NO_CONTENT  # of final responses that may have content
_SPECIAL_METHODS = frozenset(("HEAD", "CONNECT"))
_NO_FIELDS = ResponseFields()


class StreamWriter:
    """The response to one request. The methods are named as those of `asyncio.StreamWriter`.

    It is also the `ResponseHead` that its encoder is given.

    ::

        async def app(request, response):
            response.send_head(200, [("Content-Type", "text/plain")])
            for part in parts:
                response.write(part)
                await response.drain()

    Args:
        sink: the connection.
        encoder: frames the response.
        request: the request.

    Attributes:
        request, sink: see the arguments.
        encoder: the encoder that frames the response; see `encode_with`.
        status: the status code; 0 before `send_head`.
        reason: the reason phrase; None for the standard one.
        fields: the fields of the head.
        size: bytes of content that have been sent so far; 0 if the response has no content (HEAD, 204).
        state: the state of the response.
        plain, has_content, length, own_chunks, http10: see `ResponseHead`.
        close_connection: whether the connection is closed after this response. It can be set until the head has been
            sent.
        head_mirrors_get: the handler answers HEAD as it would GET, so both heads can be the same.
        log: called with status and size when the response is complete, in place of the access log.
        cancel_on_disconnect: whether the handler is cancelled when the client disconnects.
        cancelled: why the server has cancelled the handler; None if it has not.
        released: the handler still runs after `end`, and the connection already serves the next request.
        aborted: the response is incomplete, since the client has disconnected or the connection was closed. Then
            ``status`` and ``size`` are those of the part that was sent; ``status`` is `CLIENT_CLOSED` if nothing was.
    """

    # Defaults as class attributes: most responses never set them.
    close_connection = False
    head_mirrors_get = False
    cancel_on_disconnect = False
    cancelled: Cause | None = None
    aborted = False
    released = False
    log: Callable[[int, int], None] | None = None
    plain = True
    has_content = True
    own_chunks = False
    reason: str | None = None
    _left: tuple[int, int] | None = None  # status and size of what had been sent at the last `mark`
    http10 = False
    _first: Encoder | None = None  # the encoder of the connection, once `encode_with` has set another one
    _early = False  # content is given to the encoder without buffering
    _sending_file = False  # sendfile() runs, or has failed
    _chunks: ChunkChecker | None = None  # checks the chunks of a handler that chunks its content itself
    _keeps_chunks = False
    _protocol: UpgradedProtocol | None = None  # after an upgrade
    _turn: Turn = IDLE_TURN
    _taken = 0  # bytes of content given to the encoder; content that HEAD leaves out counts, too

    def __init__(self, sink: Sink, encoder: Encoder, request: Request) -> None:
        self.sink = sink
        self.encoder = encoder
        self.request = request
        self.state = START
        self.status = self.size = 0
        self.length: int | None = None
        self.fields: ResponseFields = _NO_FIELDS
        self._parts: list[bytes] = []
        self._room = -1  # bytes that `write` may buffer on the fast path; negative: always the slow path
        self._capacity = BUFFER  # the value of _room while the buffer is empty

    # What handlers call.

    def send_head(
        self, status: int, fields: "ResponseFields | Iterable[tuple[str, str | int]]" = (), reason: str | None = None
    ) -> None:
        """Set status and fields. They are sent with the first bytes of the content.

        An interim head (a status below 200, such as 103) is sent at once; the final head has to follow.

        Args:
            status: 100 to 999.
            fields: ``(name, value)`` pairs.
            reason: the reason phrase, by default the standard one.

        Raises:
            ContractError: the head has been set already.
            ValueError: the status is outside of 100 to 999, or a field or the reason has a forbidden character.
        """
        if self.state is not START:
            raise ContractError(
                f"the head of this answer ({self.status}) has been given already: one request, one answer"
            )
        if not isinstance(fields, ResponseFields):
            fields = ResponseFields.of(fields)
        if reason is not None or status not in _USUAL_STATUSES:
            status_line(status, reason)  # raises ValueError if they are not valid
            if status < 200:
                self._send_interim(status, fields, reason)
                return
            self.reason = reason
            self.plain = False
        self.status = status
        self.fields = fields
        self._room = BUFFER
        self.state = HELD
        if not self.plain or fields.deciding is not None or self.request.method in _SPECIAL_METHODS:
            self._decide(status, fields)

    def write(self, data: Buffer) -> None:
        """Append content. It is sent when the handler returns, by `flush` or `drain`, or when 64 KiB are buffered.

        ``bytes`` are kept by reference, any other buffer is copied.

        Raises:
            ContractError: `send_head` has not been called, or the content is longer than Content-Length.
            WriteBufferFull: more than ``limit_unsent`` bytes wait for a slow peer; ``await drain()`` between writes.
            TypeError: ``data`` is not a bytes-like object.
        """
        if type(data) is bytes and (room := self._room - len(data)) >= 0:
            self._room = room
            self._parts.append(data)
        else:
            self._write(data)

    def writelines(self, parts: Iterable[Buffer]) -> None:
        """Call `write` for each of the parts."""
        for part in parts:
            self.write(part)

    def flush(self) -> None:
        """Send everything that has been written, the head included; after a `drain` at the end of this turn."""
        if self.state is START:
            raise ContractError("flush() before the head: call send_response() and end_headers() first")
        if self._turn.gathers:
            self._turn.drained = self._room
        elif self.state is not DONE and self.state is not UPGRADED:
            self._give(push=True)

    async def drain(self) -> None:
        """Call `flush`, and wait until the peer has read enough (back-pressure).

        What is written in the rest of this turn of the loop is sent at its end, together.

        Raises:
            ClientDisconnected: the client has disconnected. Also in a response to HEAD whose head has been sent: the
                content is not wanted, so the handler need not go on.
        """
        turn = self._turn
        if turn.free > 0:  # an earlier call in this turn has done the rest, and will be followed by `_end_turn`
            turn.free -= 1
            turn.drained = self._room
            return
        if self.state is SENT:
            self._give(push=True)
            if self.request.method == "HEAD":
                raise ClientDisconnected("HEAD wants no content")
        else:
            self.flush()
        if self.sink.lost:
            raise ClientDisconnected("the client is gone")
        if turn is IDLE_TURN:
            self._turn = turn = Turn()
        if turn.is_spent():
            await asyncio.sleep(0)  # a client that reads fast enough never makes the task wait: yield to others
        await self.encoder.drain()
        if self.state is SENT and self.has_content and not self._sending_file:
            turn.gather(self._end_turn)
            if self._early and not self._parts:
                self._empty_buffer()
            turn.drained = self._room

    async def sendfile(
        self,
        file: HasFileno | int,
        offset: int = 0,
        count: int | None = None,
        *,
        check: Callable[[], bool] | None = None,
    ) -> None:
        """Append a part of a file, and wait until it is sent; by the kernel's ``sendfile`` where there is no TLS.

        Args:
            file: an open regular file, or its descriptor; its position is ignored.
            offset: the position in bytes at which the part begins.
            count: the size of the part in bytes, by default up to the end of the file.
            check: called before the last bytes are sent; False if they must not be sent, since the file has changed.

        Raises:
            EOFError: the file ends before ``count`` bytes, or ``check`` has returned False.
            ContractError, ClientDisconnected: as for `write` and `drain`.
            ValueError: ``offset`` or ``count`` is negative.
        """
        descriptor = file if isinstance(file, int) else file.fileno()
        self._check_room(count := size_of_part(descriptor, offset, count))
        if self._chunks is not None:
            raise ContractError("sendfile() among chunks of your own: leave Transfer-Encoding out")
        if count and self.has_content:
            await self._sendfile(descriptor, offset, count, check)
        else:
            self._taken += count

    def upgrade(self, status: int, fields: ResponseFields, protocol: UpgradedProtocol) -> None:
        """Switch the connection to another protocol (RFC 9110 section 7.8): send the head, and hand over the bytes.

        The connection is closed once the handler has returned. ``size`` is then the number of bytes that the protocol
        has sent.

        Args:
            status: 101 (Switching Protocols), or 200 to CONNECT.
            fields: the fields of the head; for 101 they have to include ``Connection`` and ``Upgrade``.
            protocol: gets all events of the connection from now on, first the bytes that followed the request.

        Raises:
            ContractError: a head has been set already.
            ValueError: ``fields`` include Content-Length or Transfer-Encoding (RFC 9110 sections 8.6, 15.2).
        """
        if self.state is not START:
            raise ContractError(f"an answer ({self.status}) has been begun: upgrade() has to come before the head")
        if not {"content-length", "transfer-encoding"}.isdisjoint(fields.deciding or ()):
            raise ValueError("a response to an upgrade has no content: leave out Content-Length and Transfer-Encoding")
        self.status = status
        self.fields = fields
        self.close_connection = True
        self.encoder.upgrade(self)  # if it cannot, there may still be another answer
        self.state = UPGRADED
        self._protocol = protocol
        self.sink.upgrade(protocol)

    def send_whole(self, status: int, fields: ResponseFields, content: bytes) -> None:
        """Set head and content, and end the response: `send_head`, `write` and `end` in one call, and one write.

        Raises the errors of these methods.
        """
        size, deciding = len(content), fields.deciding
        if (
            self.state is START
            and self.plain
            and 200 <= status <= 999
            and status not in NO_CONTENT
            and self.request.method not in _SPECIAL_METHODS
            and (deciding is None or (len(deciding) == 1 and deciding.get("content-length") == str(size)))
        ):
            self.status, self.fields = status, fields
            if deciding is not None:
                self.length = size
            self.size = self.encoder.whole(self, [content], size)
            self.state = DONE
            self.sink.answered(self)
        else:
            self.send_head(status, fields)
            self.write(content)
            self.end()

    def end(self, trailers: ResponseFields | None = None) -> None:
        """End the response before the handler returns: send all of it, and let the connection serve the next request.

        If a part of the request body has not arrived by then, it is not received any more.

        Args:
            trailers: fields after the content (RFC 9110 section 6.5); they are dropped if the content is not chunked.

        Raises:
            ContractError: no head has been set, or the content is shorter than Content-Length.
        """
        if self.state is not DONE:
            if trailers:
                self.encoder.trail(trailers)
            self.finish()
            self.sink.answered(self)

    def is_closing(self) -> bool:
        """Whether the connection is lost, as far as is known."""
        return self.sink.lost

    async def wait_closed(self) -> None:
        """Wait until the client has disconnected, or has closed its side (half-close)."""
        await self.sink.wait_closed()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information of asyncio's transport: ``peername sockname socket ssl_object cipher peercert``."""
        return self.sink.get_extra_info(name, default)

    def set_timeout(self, seconds: float) -> None:
        """Set ``timeout_body`` and ``timeout_write``, in seconds, for this connection."""
        self.sink.set_timeout(seconds)

    @property
    def _written(self) -> int:
        waiting = self._capacity - self._room if self.state is HELD or self.state is SENT else 0
        return self._taken + waiting

    # For the connection, handler classes and middleware.

    def encode_with(self, encoder: Encoder) -> None:
        """Set another encoder: one around `encoder`, or one in place of it.

        It is kept when the response is restarted, unless its ``restart`` returns another one.

        Raises:
            ContractError: the head has been set.
        """
        if self.state is not START:
            raise ContractError("encode_with() after the head: the answer has been begun")
        self._first = self._first or self.encoder
        self.encoder = encoder
        self.plain = False

    def use_http10(self) -> None:
        """Follow the rules of HTTP/1.0, for an HTTP/1.0 client or a handler class with that ``protocol_version``."""
        self.http10 = True
        self.plain = False

    def replaceable(self) -> bool:
        """Whether no byte of the response has been sent, so that it can be replaced by another one (an error)."""
        return self.state is START or self.state is HELD or (self.state is SENT and not self.encoder.begun)

    def restart(self) -> None:
        """Drop the head and content of a response that is `replaceable`."""
        self.encoder = self.encoder.restart()
        self.state = START
        self.status = self.size = self._taken = 0
        self.reason = self.length = self._chunks = None
        self.fields = _NO_FIELDS
        self._parts.clear()
        self._turn.reset()
        self._room = -1
        self._capacity = BUFFER
        self.has_content = True
        self._early = self.own_chunks = self._keeps_chunks = self._sending_file = False
        self.plain = not (self.http10 or self._first is not None)

    def finish(self) -> None:
        """The handler has returned: send what is buffered, and end the content.

        Raises:
            ContractError: no head has been set, or the content is shorter than Content-Length.
        """
        if self.plain and self.state is HELD and (self.length is None or self._capacity - self._room == self.length):
            self.size = self.encoder.whole(self, self._parts, self._capacity - self._room)
        elif self.state is not DONE:
            if self.state is not UPGRADED:
                self._finish()
            self._encode_no_more()
        self.state = DONE
        self._room = -1

    def abort(self) -> None:
        """Close the connection so that the client does not take the response for complete, unless it is."""
        if self.state is DONE:
            return  # the connection may have the next request already
        if self._turn.gathers:
            self._end_turn()
        self.aborted, self._left = True, None
        self.state = DONE
        self._room = -1
        self._parts.clear()
        self.encoder.abort()
        self._encode_no_more()

    def relayed(self, status: int, size: int) -> None:
        """Record what has been sent of a response that the handler has framed itself (see `threads.relay`).

        Args:
            status: the final status; 0 if the connection ends without one.
            size: bytes of content since the last call.
        """
        if self.state is START:
            self.state = SENT
            self.status = status
        self.size += size

    def mark(self, most: int) -> None:
        """The client may have disconnected: remember how much of the response has been sent, for the access log.

        Args:
            most: bytes of content that can have reached the kernel.
        """
        if self.state is DONE:
            return
        self._turn.suspend()  # drain() has to raise
        sent = self.state is SENT and self.encoder.begun
        if self.state is UPGRADED or (sent and (not self.has_content or self.encoder.complete)):
            self._left = None  # it is whole; an upgraded connection ends when either side closes it
        elif sent:
            self._left = self.status, max(0, min(self.size, most))
        else:
            self._left = CLIENT_CLOSED, 0

    def lose(self) -> None:
        """The client has disconnected: set ``status`` and ``size`` to those at the last `mark`, or to those of now."""
        if self._left is None:
            self.mark(self.size)
        if self._left is not None:
            self.aborted = True
            self.status, self.size = self._left
        self._encode_no_more()

    def is_ours(self, error: BaseException) -> bool:
        """Whether a `BaseException` comes from the server, and is no error of the handler.

        That is a cancellation of the handler by the server, `KeyboardInterrupt` or `GeneratorExit`. A `CancelledError`
        of another task that the handler has awaited is an error of the handler.
        """
        if isinstance(error, asyncio.CancelledError):
            return self.cancelled is not None or self.sink.context.cancelling
        return isinstance(error, (KeyboardInterrupt, GeneratorExit))

    def report(self, error: BaseException) -> None:
        """Log an error that the handler did not catch."""
        self.sink.report(error, self.request)

    @property
    def empty(self) -> bool:
        """Whether content is allowed, and none has been written."""
        return self.has_content and not (self._taken or self._parts)

    def _decide(self, status: int, fields: ResponseFields) -> None:
        """Set the attributes of a head with fields for framing, or with a method or status that has no content."""
        deciding, method = fields.deciding or {}, self.request.method
        usual = self.plain and method not in _SPECIAL_METHODS
        if usual and len(deciding) == 1 and "content-length" in deciding:  # it stays plain
            self.length = length = int(deciding["content-length"])
            self._capacity = self._room = min(BUFFER, length)
            return
        self.plain = False
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
            self._chunks = ChunkChecker(self.sink.config)
            self._keeps_chunks = self.encoder.keeps_chunks(self)
            if not self._keeps_chunks:
                fields.drop("transfer-encoding")  # RFC 9112 section 6.1
        self.has_content = self.has_content and method != "HEAD"
        if self._first is not None:
            self._early = self.encoder.takes_early(self)
        self._empty_buffer()

    def _empty_buffer(self) -> None:
        """The buffer is empty: set how many bytes may be put into it."""
        if not self.has_content or self._sending_file:
            room = -1  # even empty parts take the slow path
        elif (self._early and not self._turn.gathers) or self._chunks is not None:
            room = 0
        else:
            room = BUFFER if self.length is None else min(BUFFER, self.length - self._taken)
        self._capacity = self._room = room

    def _send_interim(self, status: int, fields: ResponseFields, reason: str | None) -> None:
        if status == 101:
            raise ContractError("101 (Switching Protocols) is sent by 'await self.upgrade(...)', not as a head")
        self.encoder.interim(self, status, fields, reason)

    def _write(self, data: Buffer) -> None:
        """`write` without the fast path."""
        if type(data) is not bytes:
            data = to_bytes(data)
        self._check_room(len(data))
        if self._chunks is not None:
            data = self._chunks.check(data, keep=self._keeps_chunks)
        if not self.has_content:
            if data and self.state is HELD and self._taken >= BUFFER and not self._early:
                self.flush()
            self._taken += len(data)
            if self._early:
                self.encoder.unsent(data)
            return
        if self._capacity - self._room >= BUFFER:
            self._give(push=False)
        self._parts.append(data)
        self._room -= len(data)
        if self._capacity - self._room >= BUFFER:
            self._turn.suspend()
        if self._early and not self._turn.gathers:
            self._give(push=False)

    def _check_room(self, count: int) -> None:
        """Raise `ContractError` if ``count`` bytes of content are not allowed now."""
        check_write(self.state, self._written + count, self.length, sending_file=self._sending_file)

    def _encode_no_more(self) -> None:
        """Take over the size from an upgraded protocol, and drop the encoder of `encode_with`: a reference cycle."""
        if self._protocol is not None:
            self.size = self._protocol.size
            self._protocol = None
        if self._first is not None:
            self.encoder = self._first

    def _end_turn(self) -> None:
        """Send what has been drained in this turn of the loop; keep what has been written after that."""
        if self._turn.drained == self._capacity:  # nothing
            self._turn.stop()
            return
        later, size = self._turn.take_undrained(self._parts, self._room)
        self._room += size
        try:
            self._give(push=True)
        except Exception as error:  # of the encoder: the handler gets it when it drains again, or returns
            self._turn.failure = error
        self._parts, self._room = later, self._room - size

    def _give(self, *, push: bool) -> None:
        """Give the buffered content to the encoder, and the head before it if it has not been given.

        Args:
            push: everything has to be sent now, also what the encoder would buffer.
        """
        self._turn.stop()
        parts, size = self._parts, self._capacity - self._room
        self._parts = []
        self._taken += size
        self._empty_buffer()
        if self.state is HELD:
            self.state = SENT
            self.size = self.encoder.begin(self, parts, self._taken, push=push)
        else:
            self.size += self.encoder.data(parts, size, push=push)

    async def _sendfile(self, descriptor: int, offset: int, count: int, check: Callable[[], bool] | None) -> None:
        if not self._early and self.state is not HELD:
            await self.drain()  # send what has been written before
            self._check_room(count)  # another task may have written meanwhile
        source = self.encoder.file(descriptor)
        try:
            self._give(push=not self._early)
            self._sending_file = True
            self._capacity = self._room = -1
            if (rest := source.send(offset, count, check, self._passed)) is not None:
                await rest
            self._sending_file = False
            self._taken += count
            self._empty_buffer()
        finally:
            source.close()

    def _passed(self, sent: int) -> None:
        self.size += sent

    def _finish(self) -> None:
        """End a response that is not plain, or of which a part has been given to the encoder."""
        if self.state is START:
            raise ContractError("the handler returned without an answer: no send_response() and end_headers()")
        self._turn.stop()
        written = self._written
        if self.has_content:
            check_complete(written, self.length, self._chunks, sending_file=self._sending_file)
        parts, self._parts = self._parts, []
        if self.state is HELD:
            self.state = SENT
            self.size = self.encoder.whole(self, parts, written)
        else:
            self.size += self.encoder.end(parts, self._capacity - self._room)
