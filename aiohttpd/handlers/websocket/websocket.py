"""WebSocket: sends and receives messages on an upgraded connection, and closes it.

Owns what the sans-I/O core of the library ``websockets`` leaves to its users: back-pressure, the bound on the work of
one callback, and the interface for handlers. The core has frames, masks, compression, and the rules of RFC 6455
sections 5 and 7. Messages that are one frame and not compressed do not pass through it, see `plain`.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode
from websockets.server import ServerProtocol

from ...engine.upgraded import Carrier, MessageMeter
from ...engine.wakeup import Wakeup
from ...errors import ClientDisconnected, ConnectionClosed
from ...wire.request import Request
from .cutter import FrameCutter, frame_work, whole_frame
from .ending import Ending
from .fragments import FragmentedMessage, Message, encoded, iterator_of, pieces
from .heads import BINARY_HEADS, TEXT_HEADS, long_head
from .keepalive import Keepalive
from .message_queue import MessageQueue
from .pings import Pings
from .plain import BINARY_MESSAGE, LARGE, TEXT_MESSAGE, PartialFrame, apply_mask, large_message, plain_frame, unmasked
from .states import CLOSED, CLOSING, OPEN, WebSocketState

__all__ = ["Message", "WebSocket", "WebSocketState"]

_WORK = 256  # frames that one callback parses, then other connections are served; large frames count more
_UNPARSED = 64 * 1024  # unparsed bytes after which reading is paused
_TURNS = 64  # messages sent after which the task yields to the loop once
_PIECE = 128 * 1024  # bytes that are compressed in one step; a longer message is sent in several frames
_SHARE = 2  # a batch takes four times as many bytes of messages as of bodies: 512 KiB
_LONGEST_REASON = 123  # bytes, RFC 6455 section 5.5.1

CONT, TEXT, BINARY, CLOSE, PONG = Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PONG


class WebSocket:
    """A WebSocket; made by ``self.websocket()`` of a handler.

    Attributes:
        request: the request that has opened it.
        subprotocol: the negotiated subprotocol; None if there is none.
        state: the state.
        received: the number of messages received.
        sent: the number of messages sent.
        size: the bytes of the messages sent, before compression.
    """

    __slots__ = (
        "_alive", "_arrival", "_batch", "_carrier", "_compresses", "_core", "_cutter", "_discards", "_ended", "_ending",
        "_eof", "_limit_direct", "_limit_frames", "_limit_message", "_message", "_messages", "_meter", "_out",
        "_partial", "_pings", "_queue", "_scheduled", "_stalled", "_stream", "_turn_at", "_unparsed", "received",
        "request", "sent", "size", "state", "subprotocol",
    )  # fmt: skip

    _carrier: Carrier
    _alive: Keepalive
    _queue: MessageQueue
    _messages: deque[Message]
    _meter: MessageMeter | None

    def __init__(self, request: Request, core: ServerProtocol, subprotocol: str | None) -> None:
        self.request = request
        self.subprotocol = subprotocol
        self.state = OPEN
        self.received = self.sent = self.size = 0
        self._core = core
        self._message: FragmentedMessage | None = None  # the fragmented message that is being received
        self._partial: PartialFrame | None = None  # the frame that is being received, if the core does not parse it
        self._unparsed: bytes | bytearray = b""  # waits for the next callback, or for room in the queue
        self._compresses = bool(core.extensions)
        self._cutter = FrameCutter(compressed=self._compresses)
        self._scheduled = False  # `_parse_pending` is scheduled
        self._stalled = False  # reading is paused
        self._eof = False  # the client has closed its side, after these bytes
        self._turn_at = _TURNS  # the number of messages after which the task yields to the loop
        self._stream: asyncio.Future[None] | None = None  # done when the fragmented message being sent is complete
        self._pings: Pings | None = None  # the pings of handlers
        self._ending = Ending()
        self._discards = False  # messages that still arrive are dropped
        self._ended: asyncio.Future[None] | None = None  # the future of tasks in `wait_closed`

    # For handlers.

    @property
    def closed(self) -> ConnectionClosed | None:
        """Code and reason of the close; None while it is not closed."""
        return self._ending.error

    async def receive(self) -> Message:
        """Return the next message: ``str`` for a text message, ``bytes`` for a binary one.

        Raises:
            ConnectionClosed: the WebSocket is closed, and all messages have been returned.
            ContractError: another task waits in ``receive`` already.
        """
        messages = self._messages
        while not messages:
            if self._ending.error is not None:
                raise self._ending.exception()
            await self._arrival.wait()
        return self._take() if self._stalled or len(messages) > 1 else messages.popleft()

    def __aiter__(self) -> "WebSocket":
        return self

    async def __anext__(self) -> Message:
        """Return the next message. The iteration ends after a normal close, see `ConnectionClosed.normal`."""
        messages = self._messages
        while not messages:
            if self._ending.error is not None:
                raise StopAsyncIteration if self._ending.error.normal else self._ending.exception()
            await self._arrival.wait()
        return self._take() if self._stalled or len(messages) > 1 else messages.popleft()

    async def send(
        self,
        message: "Message | bytearray | memoryview | Iterable[Message] | AsyncIterable[Message]",
    ) -> None:
        """Send a message, and wait until the client has read enough (back-pressure).

        Args:
            message: ``str`` for a text message, bytes for a binary one; or an iterable of these for a fragmented
                message, whose fragments are all text or all bytes.

        Raises:
            ConnectionClosed: the WebSocket is closed or being closed. Earlier messages may not have arrived.
            TypeError: the message has another type.
            UnicodeEncodeError: the text contains a surrogate, which cannot be encoded in UTF-8.
        """
        out = self._out
        if self._stream is not None or out.paused:
            await self._turn()
        if self.state is not OPEN:
            raise self._ending.exception()
        if isinstance(message, str):
            heads, data = TEXT_HEADS, message.encode()
        elif isinstance(message, (bytes, bytearray, memoryview)):
            heads, data = BINARY_HEADS, message if isinstance(message, bytes) else bytes(message)
        else:
            await self._send_fragments(message)
            return
        size = len(data)
        if self._messages and out.held is None and not out.closing:
            out.hold()  # the handler has more messages to answer: send the answers together when the loop turns
            self._carrier.context.loop.call_soon(out.release)
        if not self._compresses:
            if not out.closing:  # it is closing if the handler has returned
                self.size += size
                out.send_piece(heads[size] + data) if size < 126 else out.send_frame(long_head(heads, size), data)
        elif size > _PIECE:
            await self._send_all(pieces(data, _PIECE), text=heads is TEXT_HEADS)
            return
        else:
            self._send_fragment(data, first=True, last=True, text=heads is TEXT_HEADS)
        self.sent = sent = self.sent + 1
        if self._meter is not None:
            self._meter.messages_sent += 1
        if sent >= self._turn_at:
            self._turn_at = sent + _TURNS
            await asyncio.sleep(0)  # a client that reads fast enough never makes us wait: yield to other tasks
        if out.paused:
            await self._writable()

    async def ping(self, data: bytes | None = None) -> float:
        """Send a ping, and wait for the pong.

        `asyncio.timeout` limits the wait. Without it, the wait ends at the latest when the keep-alive closes the
        connection (``websocket_ping_timeout``).

        Args:
            data: the content, at most 125 bytes; by default random bytes.

        Returns:
            The latency in seconds.

        Raises:
            ConnectionClosed: the WebSocket is closed, or was closed before the pong arrived.
            ValueError: ``data`` is too long, or is that of another ping without a pong.
        """
        self._check_open()
        if self._pings is None:
            self._pings = Pings(self._carrier.context.loop)
        data, answer = self._pings.begin(data)
        self._core.send_ping(data)
        self._pass_on(0)
        try:
            return await answer
        finally:
            self._pings.forget(data)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a Close frame, and wait for that of the client, at most ``websocket_close_timeout`` seconds.

        Messages that arrive until then are dropped. If the WebSocket is closed already, nothing happens.

        Args:
            code: 1000 (normal), 1001, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ValueError: the code or the reason is not allowed in a Close frame.
        """
        self._begin_close(code, reason)
        self._discards = True
        self._regulate()
        try:
            await self.wait_closed()
        except asyncio.CancelledError:
            self._carrier.hang_up()
            raise

    async def wait_closed(self) -> None:
        """Wait until it is closed, by either side."""
        while self._ending.error is None:
            if self._ended is None:
                self._ended = self._carrier.context.loop.create_future()
            await asyncio.shield(self._ended)

    def abandon(self, code: int) -> None:
        """Send a Close frame, and close without waiting for that of the client."""
        self._begin_close(code, "")
        self._end(ConnectionClosed(code, by_client=False))

    # The `UpgradedProtocol` of the connection.

    def connection_made(self, carrier: Carrier) -> None:
        """The response has been sent: start the keep-alive."""
        self._carrier, self._out = carrier, carrier.out
        config = carrier.context.config
        self._limit_frames = config.limit_websocket_frames
        self._queue = MessageQueue(config.limit_websocket_queue)
        self._messages = self._queue.messages
        self._arrival = Wakeup(carrier.context.loop)  # of messages, or of the end
        self._batch = carrier.context.batch
        self._limit_direct = self._limit_message = self._core.max_message_size or 0
        self._meter = carrier.context.recorder.metrics
        if self._meter is not None:
            self._meter.websockets += 1
        self._alive = Keepalive(self, carrier)

    def data_received(self, data: bytes | memoryview) -> None:
        """Bytes have arrived; usually they are one message, and the handler waits for it."""
        size, arrival = len(data), self._arrival
        start = 6 if 5 < size < 132 and data[1] == size + 122 else whole_frame(data)
        if not start or arrival.waiter is None or size - start > self._limit_direct or self._out.paused:
            self._receive_any(bytes(data))
            return
        kind = data[0]
        if kind != TEXT_MESSAGE and kind != BINARY_MESSAGE:
            self._parse_whole(bytes(data))
            return
        if size >= LARGE and isinstance(data, bytes):
            self._carrier.read_views(self._view_received)
        self._deliver(kind, apply_mask(data[6:], data[2:6]) if start == 6 else unmasked(data, start, size))

    def _view_received(self, data: memoryview | bytes) -> None:
        """Bytes of a client that has sent a large message; usually they are the next one."""
        direct = self._arrival.waiter is not None and not self._out.paused
        if direct and (content := large_message(data, self._limit_direct)):
            self._deliver(data[0], content)
        else:
            self.data_received(data)

    def _deliver(self, kind: int, message: Any) -> None:
        """Hand the content of a message to the handler, which waits for it."""
        size = len(message)
        if kind == TEXT_MESSAGE:
            try:
                message = message.decode()
            except UnicodeDecodeError as error:
                self._fail_decoding(error)
                return
        self.received += 1
        if self._meter is not None:
            self._meter.messages_received += 1
        self._messages.append(message)
        self._batch.add(self._arrival, size >> _SHARE)

    def eof_received(self) -> None:
        """The client has closed its side; without a Close frame, that is code 1006."""
        self._eof = True
        if not self._unparsed:
            self._lose()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is lost."""
        self._unparsed = b""
        self._lose()

    def resume_writing(self) -> None:
        """The output has drained."""
        if self._stalled:
            self._regulate()

    def drain(self) -> None:
        """The server drains: send Close with 1001 (going away). The handler still gets the received messages."""
        self._begin_close(1001, "")

    def describe(self) -> str:
        """Return its state in a few words, for the report of SIGUSR1."""
        text = f"WebSocket, {self.state.name.lower()}, {self.received} received, {self.sent} sent"
        return f"{text}, {len(self._messages)} wait for the handler" if self._messages else text

    # For `Keepalive`.

    @property
    def listens(self) -> bool:
        """Whether bytes are read from the client: reading is not paused."""
        return not self._stalled

    def ping_now(self) -> None:
        """Send a ping of the keep-alive."""
        self._core.send_ping(b"")
        self._pass_on(0)

    def fail(self, code: int, reason: str) -> None:
        """Fail the connection, RFC 6455 section 7.1.7: send a Close frame, and begin a lingering close."""
        if self.state is OPEN and not self._out.closing:  # it is closing if the handler has returned
            self._core.data_to_send()  # drop the core's answer to a Close frame that followed the invalid frame
            self._out.send([Frame(CLOSE, Close(code, reason).serialize()).serialize(mask=False)])
        self._end(ConnectionClosed(code, reason, by_client=False))

    def cut(self) -> None:
        """Close the connection of a client that has not answered the Close frame in time."""
        self._carrier.abort()
        self._lose()

    # Receiving.

    @property
    def _crowded(self) -> bool:
        """Whether parsing is paused: the queue is full, or the client does not read."""
        return (self._queue.full and not self._discards) or self._out.paused

    def _receive_any(self, data: bytes) -> None:
        if self.state is CLOSED:
            return
        self._alive.heard = True
        if self._unparsed or self._stalled:
            self._unparsed += data
        else:
            self._receive(data)
        self._regulate()
        self._announce()

    def _parse_whole(self, data: bytes) -> None:
        """Parse one frame that is complete, when nothing else waits, nor is incomplete."""
        self._alive.heard = True
        self._parse(data)
        if self._message is not None or self._crowded:
            self._regulate()
        self._announce()

    def _announce(self) -> None:
        if self._messages and self._arrival.waiter is not None:
            self._batch.add(self._arrival, (self._queue.size + len(self._messages[0])) >> _SHARE)

    def _regulate(self) -> None:
        """Pause or resume parsing and reading."""
        if self.state is CLOSED:
            return
        crowded = self._crowded
        waits = self._unparsed or self._message is not None or self._partial is not None or not self._cutter.between
        self._limit_direct = -1 if waits or self._discards else self._limit_message
        if self._unparsed and not crowded and not self._scheduled:
            self._scheduled = True
            self._carrier.context.loop.call_soon(self._parse_pending)
        stalled = crowded or len(self._unparsed) > _UNPARSED
        if stalled is not self._stalled:
            self._stalled = stalled
            if stalled:
                self._carrier.pause_reading()
            else:
                self._carrier.resume_reading()

    def _parse_pending(self) -> None:
        self._scheduled = False
        if self._unparsed and not self._crowded and self.state is not CLOSED:
            data, self._unparsed = self._unparsed, b""
            self._receive(data)
        if self._eof and not self._unparsed:
            self._lose()
        self._regulate()
        self._announce()

    def _receive(self, data: bytes | bytearray) -> None:
        """Parse bytes, up to `_WORK` frames; what remains waits in `_unparsed`."""
        if self._partial is not None:
            whole = self._partial.add(data)
            if whole is None:
                return
            self._partial = None
            data = whole
        at, work = self._receive_plain(data) if self._message is None and self._cutter.between else (0, _WORK)
        if at < len(data) and work > 0:
            rest = data[at:]
            size = len(rest) if self._cutter.between and whole_frame(rest) else self._cutter.cut(rest, work)
            self._parse(rest[:size])
            at += size
        self._unparsed = data[at:]

    def _receive_plain(self, data: bytes | bytearray) -> tuple[int, int]:
        """Take the messages before the first frame that is for the core.

        Returns:
            The position of that frame, and how many frames may still be parsed.
        """
        at, size, work = 0, len(data), _WORK
        while at < size and work > 0:
            start, end = plain_frame(data, at, self._limit_message)
            if end > size:
                self._partial = PartialFrame(data[at:], end - size)
                return size, 0
            if not start:
                break
            content = unmasked(data, start, end)
            if not (self._put_text(content) if data[at] == TEXT_MESSAGE else self._put(content)):
                return size, 0
            at = end
            work -= frame_work(end - start)
        return at, work

    def _parse(self, data: bytes | bytearray) -> None:
        """Parse bytes by the core, take their frames, and send the core's output (pongs, Close)."""
        core = self._core
        core.receive_data(data)
        for frame in core.events_received():
            if not self._take_frame(frame):  # type: ignore[arg-type]  # after the handshake there is nothing else
                return
        self._pass_on(0)
        if core.parser_exc is not None:
            self._end(self._ending.by_core(core.close_sent))
        elif (close := core.close_rcvd) is not None:
            self._end(self._ending.by_both(close.code, close.reason))

    def _take_frame(self, frame: Frame) -> bool:
        """Take a frame; return False if it is invalid, and the connection has failed."""
        opcode = frame.opcode
        if opcode is TEXT and frame.fin:
            return self._put_text(frame.data)
        if opcode is BINARY and frame.fin:
            return self._put(frame.data if type(frame.data) is bytes else bytes(frame.data))
        if opcode is TEXT or opcode is BINARY:
            self._message = FragmentedMessage(text=opcode is TEXT)
        if opcode is TEXT or opcode is BINARY or opcode is CONT:
            assert self._message is not None
            return self._take_fragment(self._message, frame)
        if opcode is PONG and self._pings is not None:
            self._pings.answered(bytes(frame.data))
        return True

    def _take_fragment(self, message: "FragmentedMessage", frame: Frame) -> bool:
        try:
            whole = message.add(frame.data, last=frame.fin)
        except UnicodeDecodeError as error:
            return self._fail_decoding(error)
        if message.frames > self._limit_frames:
            self.fail(1008, f"a message of more than {self._limit_frames} frames")
            return False
        if whole is not None:
            self._message = None
            self._put(whole)
        return True

    def _take(self) -> Message:
        message = self._queue.take()
        if self._stalled:
            self._regulate()
        return message

    def _put_text(self, content: Any) -> bool:
        """Queue a text message; return False if it is not UTF-8, and the connection has failed."""
        try:
            message = str(content, "utf-8")
        except UnicodeDecodeError as error:
            return self._fail_decoding(error)
        return self._put(message)

    def _put(self, message: Message) -> bool:
        self.received += 1
        if self._meter is not None:
            self._meter.messages_received += 1
        if not self._discards:
            self._queue.put(message)
        return True

    # Sending.

    def _pass_on(self, size: int) -> None:
        """Send the frames that the core has made; ``size`` is the number of bytes of message content in them."""
        data, out = self._core.data_to_send(), self._out
        if data and not out.closing:  # it is closing if the handler has returned
            self._alive.spoke = True
            self.size += size
            out.send(data)

    def _check_open(self) -> None:
        if self.state is not OPEN:
            raise self._ending.exception()

    async def _turn(self) -> None:
        """Wait until no fragmented message is being sent, and the client has read enough."""
        while self._stream is not None or self._out.paused:
            if self._stream is not None:
                await asyncio.shield(self._stream)
            else:
                await self._writable()

    async def _writable(self) -> None:
        try:
            await self._out.writable()
        except ClientDisconnected:
            raise self._ending.exception() from None

    async def _send_fragments(self, fragments: Any) -> None:
        iterator = iterator_of(fragments)
        first = await anext(iterator, None)
        if first is not None:
            text = isinstance(first, str)
            await self._send_all(encoded(first, iterator, text=text), text=text)

    async def _send_all(self, fragments: AsyncIterator[bytes], *, text: bool) -> None:
        """Send the fragments of a message. If an error ends it early, fail the connection: no message can follow."""
        await self._turn()
        self._check_open()
        stream = self._stream = self._carrier.context.loop.create_future()
        begun = False
        try:
            async for data in fragments:
                self._check_open()
                self._send_fragment(data, first=not begun, last=False, text=text)
                begun = True
                await asyncio.sleep(0)
                await self._writable()
            self._check_open()
            self._send_fragment(b"", first=False, last=True, text=text)
            self.sent += 1
            if self._meter is not None:
                self._meter.messages_sent += 1
        except BaseException:
            if begun and self.state is OPEN:
                self.fail(1011, "a message could not be completed")
            raise
        finally:
            self._stream = None
            stream.set_result(None)

    def _send_fragment(self, data: bytes, *, first: bool, last: bool, text: bool) -> None:
        core = self._core
        send = core.send_continuation if not first else core.send_text if text else core.send_binary
        send(data, last)
        self._pass_on(len(data))

    # The end.

    def _begin_close(self, code: int, reason: str) -> None:
        """Send our Close frame, unless one has been sent or received."""
        if self.state is not OPEN:
            return
        if len(reason.encode()) > _LONGEST_REASON:
            raise ValueError(f"the reason of a Close frame has at most {_LONGEST_REASON} bytes")
        try:
            self._core.send_close(code, reason)
        except ProtocolError as error:
            raise ValueError(f"{code} is no code for a Close frame: {error}") from None
        self.state = CLOSING
        self._ending.sent = code, reason
        self._pass_on(0)
        self._alive.begin_close()

    def _lose(self) -> None:
        """The connection is lost without a Close frame of the client."""
        self._end(self._ending.exception())

    def _fail_decoding(self, error: UnicodeDecodeError) -> bool:
        self.fail(1007, f"{error.reason} at position {error.start}")
        return False

    def _end(self, error: ConnectionClosed) -> None:
        if self.state is CLOSED:
            return
        self.state = CLOSED
        self._ending.error = error
        self._message = self._partial = None
        self._alive.stop()
        if self._meter is not None:
            self._meter.websockets -= 1
        self._arrival.wake()
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        if self._pings is not None:
            self._pings.fail(self._ending.exception)
        self._carrier.hang_up()
