"""Intake: the request side of a connection, and above all its bodies.

Owns the parser and the body under way: who feeds it, when the client is asked for it with 100
(Continue), and whether what is left of it allows another request. The states are `connection`'s, which
derives from it.
"""

import math

from ..errors import ClientDisconnected
from ..net.pace import TransferRate
from ..wire.body import ChunkedDecoder, LengthDecoder, Unframed
from ..wire.headers import Headers
from ..wire.parser import RequestParser
from ..wire.request import Request
from .body import StreamReader
from .context import ServerContext
from .link import Link
from .response import StreamWriter

__all__ = ["PIPELINED", "Intake"]

PIPELINED = 64 * 1024  # bytes that wait in a connection before it is not read from; one read more may come
_CHUNKS = 256  # that one callback decodes, before others have their turn; of tiny ones, 64 KiB

_ENDED = LengthDecoder(0)


class Intake(Link):
    """What a connection does to take requests in."""

    __slots__ = ("_goes_on", "_last", "_owes_100", "_parser", "_response")

    def __init__(self, service: ServerContext) -> None:
        super().__init__(service)
        self._parser = RequestParser(service.config)
        self._last = service.draining  # no request may follow the current one
        self._owes_100 = False
        self._goes_on = False  # `_go_on` is to be called in a later turn of the loop
        self._response: StreamWriter | None = None  # of a request whose handler waits

    def _go_on(self) -> None:
        """Go on with what waits, in a later turn of the loop; what that is, the states tell."""

    def _go_on_soon(self) -> None:
        if not self._goes_on:
            self._goes_on = True
            self.service.loop.call_soon(self._go_on)

    def _regulate(self) -> None:
        """Read from the peer, or do not: what waits decides, whatever the state."""
        body = self._body
        if self._parser.pending > PIPELINED or (body is not None and body.crowded):
            self._pause_reading()
        else:
            self._resume_reading()

    @property
    def persists(self) -> bool:
        """Whether another request may follow, as far as is known now."""
        if self._last:
            return False
        body = self._body
        if body is None or body.complete:
            return True
        if self._owes_100 or body.failed:
            return False  # the client may send the body or not: nobody could tell it from a request
        return body.remaining is None or body.remaining <= self.service.config.limit_discard

    def _begin_body(self, request: Request) -> None:
        service = self.service
        length = request.framing.content_length
        if length is not None and length <= self._parser.pending:
            # It has come with its head, so there is nothing to wait for, and nothing to see to later.
            content = self._parser.take_some(length)
            request.known_body = StreamReader(self, _ENDED, service.config.limit_body, service.loop, content)
            return
        if length is None:
            decoder: ChunkedDecoder | LengthDecoder = ChunkedDecoder(service.config, request.headers, _CHUNKS)
        else:
            decoder = LengthDecoder(length)
        self._body = StreamReader(self, decoder, service.config.limit_body, service.loop)
        request.body = self._body
        self._owes_100 = request.framing.expects_continue and not self._parser.buffer
        if self._parser.buffer:
            self._feed_body(self._body)

    def _feed_body(self, body: StreamReader) -> int:
        """Give a body what waits for it, or as much as one callback may decode; return the bytes that it has taken."""
        waiting = self._parser.pending
        body.feed(self._parser)
        left = self._parser.pending
        if not (body.complete or body.failed):
            if left:
                self._go_on_soon()
            elif self.eof:
                body.feed_eof()
        self._regulate()
        return waiting - left

    def empty_body(self) -> StreamReader:
        """The body of a request that has none."""
        return StreamReader(self, _ENDED, None, self.service.loop)

    def pause_body(self) -> None:
        """The handler reads more slowly than the client sends."""
        self._regulate()

    def resume_body(self) -> None:
        """The handler has read."""
        self._regulate()

    def body_wanted(self) -> None:
        """The handler waits for content: now 100 (Continue) is due, RFC 9110 section 10.1.1."""
        if self._owes_100:
            self._owes_100 = False
            if self._response is None or self._response.replaceable():
                self.out.release()
                self.out.send([b"HTTP/1.1 100 Continue\r\n\r\n"])
        if self._receive_pace is None:
            self._receive_pace = TransferRate(self._body.received if self._body is not None else 0)
        self._receive_pace.begin(self.service.loop.time())
        self._watch()

    def body_arrived(self) -> None:
        """The handler waits no longer."""
        if self._receive_pace is not None:
            self._receive_pace.end(self.service.loop.time())

    def check_chunks(self) -> ChunkedDecoder:
        """A decoder to hold a handler's own chunks against."""
        return ChunkedDecoder(self.service.config, Headers())

    def continued(self) -> bool:
        """The handler sends 100 (Continue) itself; say whether the client has waited for it."""
        owed, self._owes_100 = self._owes_100, False
        return owed

    def open_tunnel(self, *, last: bool) -> StreamReader:
        """What arrives from now on may be no HTTP, and is given as it comes.

        Args:
            last: it is none, for as long as the connection lasts; else `close_tunnel` may follow.
        """
        if last:
            self._last = True
            self._timeout = math.inf  # nobody knows whose turn it is
        self._receive_pace = None
        self._body = StreamReader(_Patient(self), Unframed(), None, self.service.loop)
        if self._parser.buffer:
            self._feed_body(self._body)
        elif self.eof:
            self._body.feed_eof()
        if self.out.lost:
            self._body.fail(ClientDisconnected("the client is gone"))
        self._regulate()
        return self._body

    def close_tunnel(self, unread: bytes) -> None:
        """What arrives is HTTP after all, what nobody has read included."""
        body, self._body = self._body, None
        if body is not None:
            unread += body.take_back()
        if unread:
            self._parser.feed(unread + self._parser.take())


class _Patient:
    """The source of a tunnel: the client may be silent for as long as it likes."""

    __slots__ = ("pause_body", "resume_body")

    def __init__(self, intake: Intake) -> None:
        self.pause_body = intake.pause_body
        self.resume_body = intake.resume_body

    def body_wanted(self) -> None:
        """No pace is kept."""

    def body_arrived(self) -> None:
        """No pace is kept."""
