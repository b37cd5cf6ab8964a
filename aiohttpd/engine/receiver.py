"""BodyReceiver: receives the body of one request: takes bytes from the parser, and feeds a `StreamReader`.

Owns the bound on the chunks that one callback decodes, the sending of 100 (Continue), and the check of ``min_rate``.
A request whose body has arrived together with its head has no `BodyReceiver`.
"""

import asyncio
from typing import Protocol

from ..errors import BodyTimeout, ClientDisconnected
from ..net.outgoing import Outgoing
from ..net.transfer_rate import TransferRate
from ..wire.body import ChunkedDecoder, LengthDecoder, Unframed
from ..wire.parser import RequestParser
from ..wire.request import Request
from .body import NOT_WANTED, NOTHING, StreamReader
from .context import ServerContext
from .response import StreamWriter

__all__ = ["BodyReceiver", "TunnelReceiver", "complete_body", "begin_body"]

_BURST = 2 * 1024 * 1024  # bytes after which reading is paused for a turn of the loop: uvloop reads 32 times in a row
_CHUNKS = 256  # chunks that one callback decodes, then other connections are served

_ENDED = LengthDecoder(0)


class Receiving(Protocol):
    """The connection, as a `BodyReceiver` uses it."""

    context: ServerContext
    out: Outgoing
    eof: bool

    def regulate_reading(self) -> None:
        """Pause or resume reading, by the number of bytes that wait."""

    def process_later(self) -> None:
        """Process the bytes that are pending in the parser in a later turn of the loop."""

    def restart_handler_deadline(self) -> None:
        """Restart ``timeout_handler``: the handler no longer waits for the client."""

    def watch(self) -> None:
        """Measure transfer rates, from the next sweep of the deadlines on."""


def complete_body(content: bytes, limit: int | None, loop: asyncio.AbstractEventLoop) -> StreamReader:
    """Return the reader of a body that has completely arrived.

    Args:
        content: the body.
        limit: see `StreamReader`.
        loop: the event loop.
    """
    return StreamReader(NOTHING, _ENDED, limit, loop, content)


class BodyReceiver:
    """Receives one body. It is the `Source` of its reader.

    Args:
        connection: the connection.
        parser: the parser, which buffers the bytes.
        decoder: removes the framing of the body.
        limit: see `StreamReader`.
        response: the response to the request; 100 (Continue) is only sent before it has begun.

    Attributes:
        reader: the reader of the body.
        owes_continue: the client waits for 100 (Continue).
        discard_left: bytes that may still be discarded; negative if the client has sent more.
    """

    __slots__ = ("_burst", "_connection", "_parser", "_rate", "_response", "discard_left", "owes_continue", "reader")

    discard_left: int

    def __init__(
        self,
        connection: Receiving,
        parser: RequestParser,
        decoder: LengthDecoder | ChunkedDecoder | Unframed,
        *,
        limit: int | None = None,
        response: StreamWriter | None = None,
    ) -> None:
        self._connection = connection
        self._parser = parser
        self._response = response
        self._burst = 0  # bytes that have arrived since `begin_turn`
        self._rate: TransferRate | None = None  # set when the handler first waits for content
        self.owes_continue = False
        self.reader = StreamReader(self, decoder, limit, connection.context.loop)

    def feed(self) -> None:
        """Decode the bytes in the parser, up to the limit for one callback.

        Call it last in a callback of the loop: the handler that waits for the content may run at once.
        """
        self._decode()
        self.reader.wake(self._connection.context.batch)

    def _decode(self) -> int:
        """Decode bytes, without waking the handler; return how many bytes were taken."""
        reader, parser, connection = self.reader, self._parser, self._connection
        waiting = parser.pending
        reader.feed(parser)
        left = parser.pending
        taken = waiting - left
        self._burst += taken
        if not (reader.complete or reader.failed):
            if left or self._burst > _BURST:
                connection.process_later()
            elif connection.eof:
                reader.feed_eof()
        connection.regulate_reading()
        return taken

    def begin_turn(self) -> None:
        """Others have had their turn: `feed` takes more."""
        self._burst = 0

    @property
    def crowded(self) -> bool:
        """Whether reading should be paused: too much waits for the handler, or it is the turn of others."""
        reader = self.reader
        return reader.crowded or (self._burst > _BURST and not (reader.complete or reader.failed))

    def may_persist(self) -> bool:
        """Whether the connection can be kept alive after this body: at most ``limit_discard`` bytes are missing."""
        reader = self.reader
        if reader.complete:
            return True
        if self.owes_continue or reader.failed:
            return False  # without 100 (Continue) the client may send the body or not, RFC 9110 section 10.1.1
        return reader.remaining is None or reader.remaining <= self._connection.context.config.limit_discard

    def release_waiter(self) -> None:
        """The response is complete: fail a read that still waits for content."""
        if self.reader.waiting:
            self.reader.fail(ClientDisconnected(NOT_WANTED))

    def begin_discarding(self) -> None:
        """The handler has not read all of the body: discard the rest, up to ``limit_discard`` bytes."""
        self.discard_left = self._connection.context.config.limit_discard
        self.reader.discard()

    def discard(self) -> None:
        """Discard the bytes that have arrived, for which nobody waits any more.

        Their framing is counted, too: tiny chunks consist mostly of framing.
        """
        self.discard_left -= self._decode()
        self.reader.discard()
        self._connection.regulate_reading()  # what has been discarded does not wait any more

    def take_continue(self) -> bool:
        """Return whether the client waits for 100 (Continue); the caller sends it."""
        owed, self.owes_continue = self.owes_continue, False
        return owed

    def check_rate(self, now: float, *, window: float) -> None:
        """If the handler waits for content and the client is too slow, raise `BodyTimeout` in the handler.

        Args:
            now: the time of the loop in seconds.
            window: the client has to send ``min_rate * window`` bytes in so many seconds.
        """
        reader = self.reader
        if not reader.waiting or self._rate is None:
            return
        rate = self._connection.context.config.min_rate
        if self._rate.too_slow(now, reader.received, window=window, rate=rate):
            reader.fail(BodyTimeout())

    # The `Source` of the reader.

    def resume_body(self) -> None:
        """The reader can take more."""
        self._connection.regulate_reading()

    def body_wanted(self) -> None:
        """The handler waits for content: send 100 (Continue) if the client waits for it, RFC 9110 section 10.1.1."""
        if self.owes_continue:
            self.owes_continue = False
            if self._response is None or self._response.replaceable():
                self._connection.out.send([b"HTTP/1.1 100 Continue\r\n\r\n"])
        if self._rate is None:
            self._rate = TransferRate(self.reader.received)
        self._rate.begin(self._connection.context.loop.time())
        self._connection.watch()

    def body_arrived(self) -> None:
        """The handler no longer waits for content."""
        if self._rate is not None:
            self._rate.end(self._connection.context.loop.time())
        self._connection.restart_handler_deadline()


class TunnelReceiver(BodyReceiver):
    """Receives bytes of another protocol than HTTP: without framing, without a minimum rate."""

    __slots__ = ()

    def __init__(self, connection: Receiving, parser: RequestParser, before: BodyReceiver | None) -> None:
        super().__init__(connection, parser, Unframed())
        self.owes_continue = before is not None and before.owes_continue

    def body_wanted(self) -> None:
        """Do nothing: no rate is measured."""

    def body_arrived(self) -> None:
        """Do nothing: no rate is measured."""


def begin_body(
    connection: Receiving, parser: RequestParser, request: Request, response: StreamWriter
) -> BodyReceiver | None:
    """Set ``request.known_body``; return the receiver of the body, or None if all of it has arrived with the head."""
    config, loop = connection.context.config, connection.context.loop
    length = request.framing.content_length
    decoder: ChunkedDecoder | LengthDecoder
    if length is None:
        decoder = ChunkedDecoder(config, request.headers, _CHUNKS)
    elif length <= parser.pending:
        request.known_body = complete_body(parser.take_some(length), config.limit_body, loop)
        return None
    else:
        decoder = LengthDecoder(length)
    receiver = BodyReceiver(connection, parser, decoder, limit=config.limit_body, response=response)
    receiver.owes_continue = request.framing.expects_continue and not parser.buffer
    request.known_body = receiver.reader
    return receiver
