"""WebSocket: messages both ways on a connection that has been upgraded, and its end.

Owns what the sans-I/O core of the library ``websockets`` does not: the queue of messages and the back-pressure on the
client, the work of one callback, the deadlines, and what a handler is told. Frames, masks, compression and the rules of
RFC 6455 sections 5 and 7 are the core's.
"""

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode

from ...engine.upgraded import Carrier, MessageMeter
from ...errors import ClientDisconnected, ConnectionClosed, ContractError
from ...wire.request import Request
from .cutter import FrameCutter
from .fragments import FragmentedMessage, Message, each, encoded
from .keepalive import Keepalive
from .pings import Pings
from .plain import BINARY_MESSAGE, PLAIN_MESSAGES, TEXT_MESSAGE, frame_head, unmasked

if TYPE_CHECKING:
    from websockets.server import ServerProtocol

__all__ = ["Message", "WebSocket", "WebSocketState"]

_WORK = 256  # frames that one callback parses, before others have their turn; large ones count more
_UNPARSED = 64 * 1024  # bytes that may wait for their turn before the client is not read from
_OVERHEAD = 256  # bytes that a message in the queue counts beside its content
_TURNS = 64  # messages sent after which others have their turn
_PIECE = 128 * 1024  # bytes that are compressed at once
_LONGEST_REASON = 123  # bytes, RFC 6455 section 5.5.1


class WebSocketState(enum.Enum):
    """How far the end of a WebSocket has come."""

    OPEN = "messages go both ways"
    CLOSING = "we have sent a Close frame, and the client has to answer it"
    CLOSED = "nothing more is received or sent"


OPEN, CLOSING, CLOSED = WebSocketState
CONT, TEXT, BINARY, CLOSE, PONG = Opcode.CONT, Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PONG


class WebSocket:
    """A WebSocket that is open, or has been; made by ``self.websocket()`` of a handler.

    Attributes:
        request: the request that has opened it.
        subprotocol: what has been agreed upon; None if nothing has.
        state: how far its end has come.
        received: messages that have come from the client.
        sent: messages that have been sent.
        size: bytes of these, before compression.
    """

    __slots__ = (
        "_alive", "_carrier", "_close", "_compresses", "_core", "_create_future", "_cutter", "_discards", "_ended",
        "_eof", "_error", "_goes_on", "_limit_frames", "_limit_message", "_limit_queue", "_message", "_meter",
        "_pings", "_queue", "_queued", "_stalled", "_stream", "_unparsed", "_waiter", "received", "request", "sent",
        "size", "state", "subprotocol",
    )  # fmt: skip

    _carrier: Carrier
    _alive: Keepalive
    _create_future: "Callable[[], asyncio.Future[Any]]"
    _meter: MessageMeter | None
    _limit_message: int

    def __init__(self, request: Request, core: "ServerProtocol", subprotocol: str | None) -> None:
        self.request = request
        self.subprotocol = subprotocol
        self.state = OPEN
        self.received = self.sent = self.size = 0
        self._core = core
        # What has been received and not been taken.
        self._queue: deque[Message] = deque()
        self._queued = 0  # what it counts
        self._waiter: asyncio.Future[None] | None = None  # of `receive`
        self._message: FragmentedMessage | None = None  # the one that is being received
        # Bytes that have come and are not parsed, since it is not their turn, or there is no room for more.
        self._unparsed = b""
        self._compresses = bool(core.extensions)
        self._cutter = FrameCutter(compressed=self._compresses)
        self._goes_on = False  # they have a turn in the loop
        self._stalled = False  # the client is not read from
        self._eof = False  # it has closed its side, after these bytes
        # What is sent.
        self._stream: asyncio.Future[None] | None = None  # a message of fragments is being sent, until this is done
        self._pings: Pings | None = None  # those that a handler waits for
        # The end.
        self._close: tuple[int, str] | None = None  # of our Close frame
        self._discards = False  # what still comes is for nobody
        self._error: ConnectionClosed | None = None
        self._ended: asyncio.Future[None] | None = None  # of who waits for the end

    # What handlers call.

    @property
    def closed(self) -> ConnectionClosed | None:
        """How it has been closed: code and reason; None while it is not."""
        return self._error

    async def receive(self) -> Message:
        """The next message: ``str`` for a text message, ``bytes`` for a binary one.

        Raises:
            ConnectionClosed: there will be none.
            ContractError: another task waits for one already.
        """
        while not self._queue:
            if self._error is not None:
                raise self._closed_error()
            await self._begin_wait()
        return self._take()

    def __aiter__(self) -> "WebSocket":
        return self

    async def __anext__(self) -> Message:
        """The next message; the iteration ends with a close that is `ConnectionClosed.normal`."""
        while not self._queue:
            if self._error is not None:
                raise StopAsyncIteration if self._error.normal else self._closed_error()
            await self._begin_wait()
        return self._take()

    async def send(
        self,
        message: "Message | bytearray | memoryview | Iterable[Message] | AsyncIterable[Message]",
    ) -> None:
        """Send a message, and wait while the client is slow.

        Args:
            message: text, bytes, or its fragments, each sent as it is given: all text, or all bytes.

        Raises:
            ConnectionClosed: it is closed, or being closed. What has been sent before may not have arrived.
            TypeError: it is nothing of these.
            UnicodeEncodeError: a surrogate, which UTF-8 has not.
        """
        out = self._carrier.out
        if self._stream is not None or out.paused:
            await self._turn()
        if self.state is not OPEN:
            raise self._closed_error()
        if isinstance(message, str):
            data = message.encode()
        elif isinstance(message, (bytes, bytearray, memoryview)):
            data = message if isinstance(message, bytes) else bytes(message)
        else:
            await self._send_fragments(message)
            return
        text = isinstance(message, str)
        if not self._compresses:
            self._send_plain(data, text=text)
        elif len(data) > _PIECE:
            await self._send_pieces(data, text=text)
            return
        else:
            self._send_fragment(data, first=True, last=True, text=text)
        self._count_sent()
        if self.sent % _TURNS == 0:
            await asyncio.sleep(0)  # a client that keeps up must not keep the loop from the others
        if out.paused:
            await self._writable()

    async def ping(self, data: bytes | None = None) -> float:
        """Send a ping, and wait until it is answered.

        Args:
            data: at most 125 bytes, by default some that no other ping has.

        Returns:
            The latency in seconds. `asyncio.timeout` limits it; without one, ``websocket_ping_timeout`` does.

        Raises:
            ConnectionClosed: it is closed, or has been before the answer came.
            ValueError: too much data, or a ping with the same waits.
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
        """Close it, and wait until the client has answered, for ``websocket_close_timeout`` at most.

        Messages that come until then are dropped. Harmless if it is closed already.

        Args:
            code: 1000 (normal), 1001, 1003, 1007 to 1014, or 3000 to 4999.
            reason: at most 123 bytes in UTF-8.

        Raises:
            ValueError: code or reason may not stand in a Close frame.
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
        """Wait until it is closed, by whomever."""
        while self._error is None:
            if self._ended is None:
                self._ended = self._create_future()
            await asyncio.shield(self._ended)

    def abandon(self, code: int) -> None:
        """Close it without a wait for the client's answer."""
        self._begin_close(code, "")
        self._end(ConnectionClosed(code, by_client=False))

    # What the connection calls.

    def connection_made(self, carrier: Carrier) -> None:
        """Begin."""
        self._carrier = carrier
        config = carrier.context.config
        self._limit_frames = config.limit_websocket_frames
        self._limit_queue = config.limit_websocket_queue
        self._limit_message = self._core.max_message_size or 0
        self._create_future = carrier.context.loop.create_future
        self._meter = carrier.context.recorder.metrics
        if self._meter is not None:
            self._meter.websockets += 1
        self._alive = Keepalive(self, carrier)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        self._alive.heard = True
        if self._unparsed:
            self._unparsed += data
            self._regulate()
        elif start := self._cutter.whole_frame(data):
            if not (data[0] in PLAIN_MESSAGES and self._message is None and self._take_plain(data, start)):
                self._parse(data)
            if self._queued > self._limit_queue or self._carrier.out.paused:
                self._regulate()
        else:
            self._unparsed = data
            self._go_on()

    def eof_received(self) -> None:
        """The client has closed its side."""
        self._eof = True
        if not self._unparsed:
            self._lose()

    def connection_lost(self, error: Exception | None) -> None:
        """The client is gone."""
        self._unparsed = b""
        self._lose()

    def resume_writing(self) -> None:
        """The client takes more."""
        if self._stalled:
            self._regulate()

    def drain(self) -> None:
        """The server stops: 1001 (going away). The handler has the messages that have come, and then the end."""
        self._begin_close(1001, "")

    def describe(self) -> str:
        """For the report of SIGUSR1."""
        text = f"WebSocket, {self.state.name.lower()}, {self.received} received, {self.sent} sent"
        return f"{text}, {len(self._queue)} wait for the handler" if self._queue else text

    # What the deadlines call.

    @property
    def listens(self) -> bool:
        """Whether its client is read from."""
        return not self._stalled

    def ping_now(self) -> None:
        """Send a ping that nobody waits for."""
        self._core.send_ping(b"")
        self._pass_on(0)

    def fail(self, code: int, reason: str) -> None:
        """Fail the connection, RFC 6455 section 7.1.7: say why, and hang up."""
        if self.state is OPEN:
            self._core.data_to_send()  # a Close frame that is answered already, after what was wrong
            self._carrier.out.send([Frame(CLOSE, Close(code, reason).serialize()).serialize(mask=False)])
        self._end(ConnectionClosed(code, reason, by_client=False))

    def cut(self) -> None:
        """Have done with a client that does not close."""
        self._carrier.abort()
        self._lose()

    # Receiving.

    @property
    def _crowded(self) -> bool:
        """Whether nothing more is to be parsed for now: the handler is slow, or the client does not read."""
        return (self._queued > self._limit_queue and not self._discards) or self._carrier.out.paused

    def _regulate(self) -> None:
        """Read from the client, or do not."""
        if self.state is CLOSED:
            return
        crowded = self._crowded
        if self._unparsed and not crowded and not self._goes_on:
            self._goes_on = True
            self._carrier.context.loop.call_soon(self._go_on)
        stalled = crowded or len(self._unparsed) > _UNPARSED
        if stalled is not self._stalled:
            self._stalled = stalled
            if stalled:
                self._carrier.pause_reading()
            else:
                self._carrier.resume_reading()

    def _go_on(self) -> None:
        """Parse what waits, for as long as it is our turn."""
        self._goes_on = False
        data = self._unparsed
        if data and not self._crowded and self.state is not CLOSED:
            size = self._cutter.cut(data, _WORK)
            self._unparsed = data[size:]
            self._parse(data[:size])
        if self._eof and not self._unparsed:
            self._lose()
        self._regulate()

    def _parse(self, data: bytes) -> None:
        """Have the core parse bytes, take what they mean, and send what it answers."""
        core = self._core
        core.receive_data(data)
        for frame in core.events_received():
            if not self._take_frame(frame):  # type: ignore[arg-type]  # after the handshake there is nothing else
                return
        self._pass_on(0)
        if core.parser_exc is not None:
            self._fail_as_core()
        elif core.close_rcvd is not None:
            self._end(self._closed_by_both())

    def _take_plain(self, data: bytes, start: int) -> bool:
        """Take a message that is one frame and not compressed, without the core; False if that has to look at it."""
        if len(data) - start > self._limit_message:
            return False
        content = unmasked(data, start)
        if data[0] == TEXT_MESSAGE:
            try:
                self._put(content.decode())
            except UnicodeDecodeError as error:
                self._fail_of(error)
        else:
            self._put(content)
        return True

    def _take_frame(self, frame: Frame) -> bool:
        """Take a frame that has come; False if the connection has failed for it."""
        opcode = frame.opcode
        if opcode is TEXT and frame.fin:
            try:
                self._put(str(frame.data, "utf-8"))
            except UnicodeDecodeError as error:
                return self._fail_of(error)
        elif opcode is BINARY and frame.fin:
            self._put(frame.data if type(frame.data) is bytes else bytes(frame.data))
        elif opcode is TEXT or opcode is BINARY:
            self._message = FragmentedMessage(text=opcode is TEXT)
            return self._take_fragment(self._message, frame)
        elif opcode is CONT:
            assert self._message is not None
            return self._take_fragment(self._message, frame)
        elif opcode is PONG and self._pings is not None:
            self._pings.answered(bytes(frame.data))
        return True

    def _take_fragment(self, message: "FragmentedMessage", frame: Frame) -> bool:
        try:
            whole = message.add(frame.data, last=frame.fin)
        except UnicodeDecodeError as error:
            return self._fail_of(error)
        if message.frames > self._limit_frames:
            self.fail(1008, f"a message of more than {self._limit_frames} frames")
            return False
        if whole is not None:
            self._message = None
            self._put(whole)
        return True

    def _begin_wait(self) -> "asyncio.Future[None]":
        """Wait for a message, or the end."""
        if self._waiter is not None and not self._waiter.done():
            raise ContractError("another task waits in receive() already: one takes the messages of a WebSocket")
        self._waiter = waiter = self._create_future()
        return waiter

    def _take(self) -> Message:
        """Take a message off the queue."""
        message = self._queue.popleft()
        self._queued -= len(message) + _OVERHEAD
        if self._stalled:
            self._regulate()
        return message

    def _put(self, message: Message) -> None:
        self.received += 1
        if self._meter is not None:
            self._meter.messages_received += 1
        if self._discards:
            return
        self._queue.append(message)
        self._queued += len(message) + _OVERHEAD
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Sending.

    def _pass_on(self, size: int) -> None:
        """Send what the core has made: of ``size`` bytes of a message, or of control frames."""
        data = self._core.data_to_send()
        out = self._carrier.out
        if data and not out.closing:  # else the handler has returned, and the connection is about to end
            self._alive.spoke = True
            self.size += size
            out.send(data)

    def _send_plain(self, data: bytes, *, text: bool) -> None:
        """Send a message as one frame, without the core: there is nothing to compress."""
        out = self._carrier.out
        if not out.closing:
            self._alive.spoke = True
            self.size += len(data)
            out.send([frame_head(TEXT_MESSAGE if text else BINARY_MESSAGE, len(data)), data])

    def _count_sent(self) -> None:
        self.sent += 1
        if self._meter is not None:
            self._meter.messages_sent += 1

    def _check_open(self) -> None:
        if self.state is not OPEN:
            raise self._closed_error()

    async def _turn(self) -> None:
        """Wait until a message can be begun: after the one that is sent in fragments, and while the client is slow."""
        while self._stream is not None or self._carrier.out.paused:
            if self._stream is not None:
                await asyncio.shield(self._stream)
            else:
                await self._writable()

    async def _writable(self) -> None:
        try:
            await self._carrier.out.writable()
        except ClientDisconnected:
            raise self._closed_error() from None

    async def _send_pieces(self, data: bytes, *, text: bool) -> None:
        """Send a large message in frames, so that its compression does not keep the loop from others."""
        pieces = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
        await self._send_all(each(pieces), text=text)

    async def _send_fragments(self, fragments: Any) -> None:
        if isinstance(fragments, AsyncIterable):
            iterator = aiter(fragments)
        elif isinstance(fragments, Iterable) and not isinstance(fragments, Mapping):
            iterator = each(fragments)
        else:
            raise TypeError(f"a message is str, bytes, or an iterable of these, not {type(fragments).__name__}")
        first = await anext(iterator, None)
        if first is not None:
            text = isinstance(first, str)
            await self._send_all(encoded(first, iterator, text=text), text=text)

    async def _send_all(self, fragments: AsyncIterator[bytes], *, text: bool) -> None:
        """Send fragments as they come; a message that is not completed cannot be followed by another."""
        await self._turn()
        self._check_open()
        stream = self._stream = self._create_future()
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
            self._count_sent()
        except BaseException:
            if begun and self.state is OPEN:
                self.fail(1011, "a message could not be completed")
            raise
        finally:
            self._stream = None
            stream.set_result(None)

    def _send_fragment(self, data: bytes, *, first: bool, last: bool, text: bool) -> None:
        core = self._core
        if not first:
            core.send_continuation(data, last)
        elif text:
            core.send_text(data, last)
        else:
            core.send_binary(data, last)
        self._pass_on(len(data))

    # The end.

    def _begin_close(self, code: int, reason: str) -> None:
        """Send our Close frame, unless there has been one."""
        if self.state is not OPEN:
            return
        if len(reason.encode()) > _LONGEST_REASON:
            raise ValueError(f"the reason of a Close frame has at most {_LONGEST_REASON} bytes")
        try:
            self._core.send_close(code, reason)
        except ProtocolError as error:
            raise ValueError(f"{code} is no code for a Close frame: {error}") from None
        self.state = CLOSING
        self._close = code, reason
        self._pass_on(0)
        self._alive.begin_close()

    def _closed_by_both(self) -> ConnectionClosed:
        """Both have sent a Close frame; the first of them counts."""
        if self._close is not None:
            return ConnectionClosed(*self._close, by_client=False)
        close = self._core.close_rcvd
        assert close is not None
        return ConnectionClosed(close.code, close.reason, by_client=True)

    def _closed_error(self) -> ConnectionClosed:
        """The exception to raise; a new one each time, since it collects a traceback."""
        error = self._error
        if error is not None:
            return ConnectionClosed(error.code, error.reason, by_client=error.by_client)
        if self._close is not None:
            return ConnectionClosed(*self._close, by_client=False)
        return ConnectionClosed(1006, by_client=True)

    def _lose(self) -> None:
        """The client has gone without a word."""
        if self._close is not None:
            self._end(ConnectionClosed(*self._close, by_client=False))
        else:
            self._end(ConnectionClosed(1006, by_client=True))

    def _fail_of(self, error: UnicodeDecodeError) -> bool:
        self.fail(1007, f"{error.reason} at position {error.start}")
        return False

    def _fail_as_core(self) -> None:
        """The core has failed the connection, and has said why."""
        sent = self._core.close_sent
        if self._close is not None or sent is None:
            self._lose()
        else:
            self._end(ConnectionClosed(sent.code, sent.reason, by_client=False))

    def _end(self, error: ConnectionClosed) -> None:
        if self.state is CLOSED:
            return
        self.state = CLOSED
        self._error = error
        self._message = None
        self._alive.stop()
        if self._meter is not None:
            self._meter.websockets -= 1
        for waiter in (self._waiter, self._ended):
            if waiter is not None and not waiter.done():
                waiter.set_result(None)
        if self._pings is not None:
            self._pings.fail(self._closed_error)
        self._carrier.hang_up()
