"""BodyReceiver: receives the body of one request, from the parser into a `StreamReader`.

Owns what is decoded in one callback, when the client is asked for the body by 100 (Continue), and whether it keeps up
with the minimum rate. A request whose body has come together with its head needs none of this.
"""

import asyncio
from typing import Protocol

from ..errors import BodyTimeout, ClientDisconnected
from ..net.outgoing import Outgoing
from ..net.transfer_rate import TransferRate
from ..wire.body import ChunkedDecoder, LengthDecoder, Unframed
from ..wire.parser import RequestParser
from ..wire.request import Request
from .body import StreamReader
from .context import ServerContext
from .response import StreamWriter

__all__ = ["BodyReceiver", "TunnelReceiver", "complete_body", "begin_body"]

_CHUNKS = 256  # that one callback decodes, before others have their turn; of tiny ones, 64 KiB

_ENDED = LengthDecoder(0)


class Receiving(Protocol):
    """The connection, as far as a body needs it."""

    context: ServerContext
    out: Outgoing
    eof: bool

    def regulate_reading(self) -> None:
        """Read from the peer or do not, by what waits."""

    def process_later(self) -> None:
        """Go on with what waits in the parser, in a later turn of the loop."""

    def restart_handler_deadline(self) -> None:
        """The handler has what it has waited for: its own time begins anew."""

    def watch(self) -> None:
        """Have transfers measured."""


class _Nothing:
    """The source of a body that has come whole."""

    def pause_body(self) -> None:
        """There is nothing to come."""

    resume_body = body_wanted = body_arrived = pause_body


_NOTHING = _Nothing()


def complete_body(content: bytes, limit: int | None, loop: asyncio.AbstractEventLoop) -> StreamReader:
    """A body that has come whole."""
    return StreamReader(_NOTHING, _ENDED, limit, loop, content)


class BodyReceiver:
    """Receives one body; it is the `Source` of the reader.

    Args:
        connection: it is received on.
        parser: has the bytes.
        decoder: decodes them.
        limit: see `StreamReader`.
        response: of the request; nothing of it must have left when 100 (Continue) is sent.

    Attributes:
        reader: the body.
        owes_continue: the client waits for 100 (Continue).
        discard_left: bytes that may still be thrown away; less than 0 if they were too many.
    """

    __slots__ = ("_connection", "_parser", "_rate", "_response", "discard_left", "owes_continue", "reader")

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
        self._rate: TransferRate | None = None  # once a handler has waited
        self.owes_continue = False
        self.reader = StreamReader(self, decoder, limit, connection.context.loop)

    def feed(self) -> int:
        """Take what the parser holds, or as much as one callback may decode; return the bytes that are taken."""
        reader, parser, connection = self.reader, self._parser, self._connection
        waiting = parser.pending
        reader.feed(parser)
        left = parser.pending
        if not (reader.complete or reader.failed):
            if left:
                connection.process_later()
            elif connection.eof:
                reader.feed_eof()
        connection.regulate_reading()
        return waiting - left

    def may_persist(self) -> bool:
        """Whether another request can follow the body, of which the handler may leave ``limit_discard`` bytes."""
        reader = self.reader
        if reader.complete:
            return True
        if self.owes_continue or reader.failed:
            return False  # the client may send the body or not: nobody could tell it from a request
        return reader.remaining is None or reader.remaining <= self._connection.context.config.limit_discard

    def release_waiter(self) -> None:
        """The answer is complete: who still waits for content gets no more of it."""
        if self.reader.waiting:
            self.reader.fail(ClientDisconnected("the answer is complete, and the rest of the body is not wanted"))

    def begin_discarding(self) -> None:
        """The handler did not read all: throw away what is here, and up to ``limit_discard`` bytes that are to come."""
        self.discard_left = self._connection.context.config.limit_discard
        self.reader.discard()

    def discard(self) -> None:
        """Throw away what has come; its framing counts, too, which is most of tiny chunks."""
        self.discard_left -= self.feed()
        self.reader.discard()

    def take_continue(self) -> bool:
        """Say whether 100 (Continue) is owed; whoever asks sends it."""
        owed, self.owes_continue = self.owes_continue, False
        return owed

    def check_rate(self, now: float, *, window: float) -> None:
        """Fail a body for which a handler waits if the client sends less than ``min_rate`` over a window (seconds)."""
        reader = self.reader
        if not reader.waiting or self._rate is None:
            return
        rate = self._connection.context.config.min_rate
        if self._rate.too_slow(now, reader.received, window=window, rate=rate):
            reader.fail(BodyTimeout())

    # What the reader calls.

    def pause_body(self) -> None:
        """The handler reads more slowly than the client sends."""
        self._connection.regulate_reading()

    def resume_body(self) -> None:
        """The handler has read."""
        self._connection.regulate_reading()

    def body_wanted(self) -> None:
        """The handler waits for content: now 100 (Continue) is due, RFC 9110 section 10.1.1."""
        if self.owes_continue:
            self.owes_continue = False
            if self._response is None or self._response.replaceable():
                out = self._connection.out
                out.release()
                out.send([b"HTTP/1.1 100 Continue\r\n\r\n"])
        if self._rate is None:
            self._rate = TransferRate(self.reader.received)
        self._rate.begin(self._connection.context.loop.time())
        self._connection.watch()

    def body_arrived(self) -> None:
        """The handler waits no longer."""
        if self._rate is not None:
            self._rate.end(self._connection.context.loop.time())
        self._connection.restart_handler_deadline()


class TunnelReceiver(BodyReceiver):
    """Receives what is no HTTP: it has no framing, and the client may be silent for as long as it likes."""

    __slots__ = ()

    def __init__(self, connection: Receiving, parser: RequestParser, before: BodyReceiver | None) -> None:
        super().__init__(connection, parser, Unframed())
        self.owes_continue = before is not None and before.owes_continue

    def body_wanted(self) -> None:
        """No rate is measured."""

    def body_arrived(self) -> None:
        """No rate is measured."""


def begin_body(
    connection: Receiving, parser: RequestParser, request: Request, response: StreamWriter
) -> BodyReceiver | None:
    """Give a request its body; return what receives the rest of it, None if all of it has come with the head."""
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
