"""HTTPConnection: one client, from its first byte to its last.

Owns the states of a connection and every transition between them. What bytes mean is `wire`'s, what
an answer looks like is `response`'s, what handlers do is theirs: it awaits an App and knows no more.

::

    NEW ──► HEAD ──► SERVING ──► (DISCARDING) ──► IDLE ──► HEAD …
      └───────┴─────────┴─────────────┴────────────┴──► LINGERING ──► CLOSED

A request whose handler never waits is served within one call of `data_received`: parser, eager task,
one write.
"""

import asyncio
import enum
import sys
from asyncio import Task
from time import perf_counter

from ..errors import ClientDisconnected, ContractError, WireError, meant_by
from ..wire.request import Request
from .answer import Cause
from .context import ServerContext
from .encoder import HTTP1Encoder
from .failures import answer_failure, check_result, refusal
from .handling import Handling
from .response import StreamWriter

__all__ = ["ConnectionState", "HTTPConnection"]


class ConnectionState(enum.Enum):
    """What a connection waits for, and what ends the wait."""

    NEW = "the first byte; timeout_head"
    HEAD = "the rest of a head; timeout_head"
    SERVING = "a handler; timeout_body while it waits for content"
    DISCARDING = "the rest of a body that nobody read; timeout_linger"
    IDLE = "the next request; timeout_idle"
    LINGERING = "the peer to close, so that the last answer is not lost; timeout_linger"
    CLOSED = "nothing"


NEW, HEAD, SERVING, DISCARDING, IDLE, LINGERING, CLOSED = ConnectionState

_PIPELINE = 32  # requests served in one callback, before others have their turn
_HEAVY = 8  # of them, for which one counts that may have a body or has a large head
_LINGER_BYTES = 1024 * 1024  # that are thrown away after a refusal


class HTTPConnection(Handling):
    """The server side of one connection."""

    __slots__ = ("_encoder", "_linger_left", "_state")

    def __init__(self, service: ServerContext) -> None:
        super().__init__(service)
        self._state = NEW
        self._encoder: HTTP1Encoder | None = None  # of all answers, while there is a transport

    @property
    def state(self) -> ConnectionState:
        """What it waits for."""
        return self._state

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.attach(transport)
        self._encoder = HTTP1Encoder(self)
        self.service.connections.add(self)
        if self.service.silence is not None:
            self.set_silence(self.service.silence)
        self._arm(self._heads)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        state = self._state
        if state is IDLE or state is NEW or state is HEAD:
            parser = self._parser
            if parser.buffer:
                parser.feed(data)
                if self._goes_on:  # it has its turn already, and this is not another
                    self._regulate()
                    return
            else:
                parser.buffer = data
            self._advance()
        elif state is SERVING or state is DISCARDING:
            self._parser.feed(data)
            body = self._body
            if self._goes_on or body is None or body.complete:
                self._regulate()
            elif state is SERVING:
                self._owes_100 = False  # the client has not waited for it
                self._feed_body(body)
            else:
                self._discard()
        elif state is LINGERING:
            self._lingered(len(data))

    def eof_received(self) -> bool:
        """The peer has closed its side; the answers that it is owed are still sent."""
        self.eof = True
        self._mark()
        self._tell_gone()
        if self._state is SERVING:
            if self._body is not None and not self._goes_on:  # else what waits comes first
                self._body.feed_eof()
        elif self._state is LINGERING:
            self.out.close()
        elif self._between_requests():
            if not self._goes_on:
                self._advance()
        else:
            self._close()
        # That of TLS, the loops do not let us hold back: this is of who has only closed TCP.
        return self.scheme == "http"

    def connection_lost(self, error: Exception | None) -> None:
        """The end, whoever brought it about."""
        self._state = CLOSED
        self._mark()
        self._settle()
        self.out.lose()
        if self._fifo is not self.service.handlers:  # a handler has its deadline without a client, too
            self._disarm()
        self.service.deadlines.unwatch(self)
        self._tell_gone()
        if self._body is not None:
            self._body.fail(ClientDisconnected("the client is gone"))
        self.service.closed(self, self._task)
        self._encoder = None  # answers that go on have it; they would keep each other alive

    def pause_writing(self) -> None:
        """The transport has enough to send for now."""
        self.out.pause()
        self._watch()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.out.resume()
        if self._between_requests():
            self._go_on_soon()  # it may close, which asyncio does not expect within this call

    # From the bytes to the next request, and from its answer to the next.

    def _advance(self) -> None:
        """Serve what has arrived, in order, until a handler waits, the peer is slow or the bytes run out."""
        parser = self._parser
        out = self.out
        served = 0
        while parser.buffer and not out.paused:
            if served >= _PIPELINE:
                self._go_on_soon()
                self._disarm()
                out.release()
                return
            try:
                request = parser.next_request()
            except WireError as error:
                self._refuse(error)
                break
            if request is None:
                break
            if parser.buffer:
                if request.framing.ordinary:
                    out.hold()
                if parser.heavy or not request.framing.ordinary:
                    served += _HEAVY
            self._begin(request)
            if self._state is not IDLE:
                break
            served += 1
        if out.held is not None:
            out.release()
        if parser.heavy:
            self._rest()
        if self._state is IDLE and not parser.buffer and not self.eof:
            idles = self._idles
            if self._fifo is not idles or idles[self] is not None:  # else the next sweep will see to it
                self._arm(idles)
        elif self._between_requests():
            self._wait_for_head()
        else:
            self._regulate()

    def _rest(self) -> None:
        """Large heads have been served: others have their turn before more is read. uvloop reads 32 times in a row."""
        self._parser.heavy = False
        if self._state is IDLE:
            self._pause_reading()
            self._go_on_soon()

    def _go_on(self) -> None:
        """Go on with what waits, in a later turn of the loop, if nobody else has done so before."""
        self._goes_on = False
        if self._between_requests():
            self._advance()
            if self._state is IDLE:
                self._regulate()
        elif self._body is not None and not self._body.complete:
            if self._state is SERVING:
                self._feed_body(self._body)
            elif self._state is DISCARDING:
                self._discard()

    def _between_requests(self) -> bool:
        return self._state is IDLE or self._state is HEAD or self._state is NEW

    def _wait_for_head(self) -> None:
        """There is no whole head to serve: wait for one, or do not."""
        if self.out.paused:
            self._disarm()  # it is the peer that has to read now, and that is measured
            self._regulate()
        elif self.eof:
            if self._parser.buffer:
                self._refuse(WireError(400, "the request ended before it was complete"))
            else:
                self._close()
        elif not self._parser.buffer:
            if self._state is HEAD:  # it was nothing but an empty line
                self._state = IDLE
            if self._state is IDLE:
                self._arm(self._idles)
        else:
            self._resume_reading()  # the rest of a head is bounded by limit_head
            if self._state is HEAD:
                return
            # The time for the first head runs from the beginning of the connection, and has begun to.
            if self._state is not NEW:
                self._arm(self._heads)
                if self._silence is not None:
                    self._silence.begin()
            self._state = HEAD

    def _begin(self, request: Request) -> None:
        service = self.service
        request.peer = self
        if service.instant is not None and request.framing.ordinary and not self._last:
            answer = service.instant(request)
            if answer is not None:
                self._state = IDLE
                self.out.send([service.prelude(answer.status), answer.rest])
                if service.record is not None:
                    service.record(request, answer, perf_counter() if service.timed else 0.0)
                return
        self._state = SERVING
        assert self._encoder is not None
        response = StreamWriter(self, self._encoder, request)
        if not request.framing.ordinary:
            self._prepare(request, response)
        if service.timed:
            self._started = perf_counter()
        coroutine = self._serve(request, response)
        if sys.version_info >= (3, 12):
            # It runs until it first waits; only if it does, the loop hears of it.
            task = Task(coroutine, loop=service.loop, context=service.context.copy(), eager_start=True)
        else:
            task = Task(coroutine, loop=service.loop, context=service.context.copy())
        if not task.done():
            self._wait_for_handler(task, response)

    def _prepare(self, request: Request, response: StreamWriter) -> None:
        """See to what most requests have not: a body, an old version, the wish to close."""
        if request.framing.has_body:
            self._begin_body(request)
            if self._body is not None:
                self._response = response
        if request.framing.http10:
            response.use_http10()
        if not request.framing.keep_alive:
            self._last = True

    async def _serve(self, request: Request, response: StreamWriter) -> None:
        try:
            result: object = await self.service.app(request, response)  # type: ignore[func-returns-value]
            if result is not None:
                check_result("the App", result, response, handler=False)
            if request.known_body is not None and request.known_body.drop_forgotten():
                raise ContractError("a read of the body was called but not awaited: put 'await' before the call")
            response.finish()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it was, the next request must not suffer
            meant = meant_by(error)
            # The rest of a body that is wrong cannot be trusted; one whom we cancel is the last.
            self._last = self._last or isinstance(meant, WireError) or response.is_ours(meant)
            answer_failure(meant, response, self.service.error_body, self.service.refusal_fields)
            del meant  # its traceback has this frame, and would keep alive all that the handler has seen
        if self._task is None and self._body is None and not self._last and not response.close_connection:
            record = self.service.record if response.log is None else self.service.record_own
            if record is not None:
                record(request, response, self._started)
            if self._state is SERVING:
                self._state = IDLE  # the straight path: _advance goes on by itself
        else:
            self._complete(request, response)

    def _complete(self, request: Request, response: StreamWriter) -> None:
        """The answer is complete: log it, and go on to what follows."""
        self._settle()
        if self.out.lost or (response.cancelled is Cause.DISCONNECT and response.replaceable()):
            response.lose()
            self._record(request, response, self._started)
        elif self.eof and not response.aborted:
            self._unsettled = (request, response, self._started)
            self._settle_early()
        else:
            self._record(request, response, self._started)
        task, self._task = self._task, None
        self._response = None
        self._end_deadline()
        if self._state is CLOSED:
            if task is not None:
                self.service.ended(task)
            return
        self._timeout = self._receive_pace = None
        closes = self._last or response.close_connection
        body = self._body
        if body is not None and not body.complete:
            if closes or body.failed or self._owes_100:
                self._linger()
            else:
                self._state = DISCARDING
                self._linger_left = self.service.config.limit_discard
                self._arm(self.service.lingers)
                body.discard()
                self._regulate()
            return
        self._body = None
        if closes:
            self._close()
            return
        self._state = IDLE
        self._regulate()
        if task is not None:  # else _advance goes on by itself
            if self._parser.buffer:
                self._go_on_soon()
            else:
                self._wait_for_head()

    def _discard(self) -> None:
        """Throw away the rest of a body that the handler did not read, if it is short."""
        body = self._body
        assert body is not None
        self._linger_left -= self._feed_body(body)  # with its framing, which is most of tiny chunks
        body.discard()
        if body.complete:
            self._body = None
            self._state = IDLE
            if self._parser.buffer:
                self._go_on_soon()
            else:
                self._wait_for_head()
            self._regulate()
        elif body.failed or self._linger_left < 0:
            self._linger()

    # The end.

    def _refuse(self, error: WireError) -> None:
        """Answer what is no request: one answer, then close."""
        service = self.service
        line, body, more = self._parser.refused, service.error_body, service.refusal_fields
        self.out.send(refusal(service.prelude(error.status), error, line=line, error_body=body, more=more))
        service.log_refusal(self.client_address, line, error)
        self._linger()

    def _close(self) -> None:
        """Close, and linger if bytes may be in flight that would destroy the answer (RFC 9112 section 9.6)."""
        if self._state is CLOSED or self._state is LINGERING:
            return
        if (self._parser.buffer and not self.eof) or self._is_owed():
            self._linger()
        else:
            self._end()

    def _is_owed(self) -> bool:
        """Whether the peer has still to read what is not left to the kernel, or what tells whether it is there."""
        return self.out.lags or self._unsettled is not None

    def _end(self) -> None:
        self._state = CLOSED
        self._disarm()
        if self.scheme == "https":  # whose end the peer has to answer
            self._resume_reading()
            self._arm(self.service.lingers)
        self.out.close()
        if self.out.unsent:
            self._watch()

    def _linger(self) -> None:
        if self.eof and not self._is_owed():
            self._parser.take()
            self._end()
            return
        self._state = LINGERING
        self._linger_left = _LINGER_BYTES
        self._parser.take()
        self._body = None
        self._resume_reading()  # before the end: TLS has only one, and cannot be told any more
        self.out.write_eof()
        self._arm(self.service.lingers)

    def _lingered(self, size: int) -> None:
        self._linger_left -= size
        if self._linger_left < 0:
            self.out.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._state = CLOSED
        super().abort()

    def cut(self, *, reset: bool) -> None:
        """End an answer that cannot be completed; earlier ones still arrive.

        Args:
            reset: closing is how the answer would end, so it must not look like that.
        """
        if not reset:
            self._last = True
            self._parser.take()
            self._close()
            return
        self.out.prepare_reset()
        self.abort()

    def drain(self) -> None:
        """The server stops: the current request, or the one that may be on its way already, is the last."""
        self._last = True

    def close_if_idle(self) -> None:
        """Close a connection on which nothing happens."""
        if self._state is IDLE or self._state is NEW:
            self._close()

    def cancel(self) -> None:
        """Cancel the handler; close if there is none."""
        if self._task is not None:
            self._cancel_handler(Cause.SHUTDOWN)
            return
        self._parser.take()
        self._end()

    # Deadlines.

    def check_transfer(self, now: float) -> None:
        """See also whether a peer that has closed its side has got its answer."""
        if self._settle_early() and self._state is LINGERING:
            self.out.close()
        super().check_transfer(now)

    def set_silence(self, seconds: float | None) -> None:
        """See `Link.set_silence`; what is waited for now has the new deadline."""
        super().set_silence(seconds)
        if self._fifo is not None and self._between_requests():
            self._arm(self._idles if self._state is IDLE else self._heads)

    def deadline_expired(self, now: float) -> None:
        """What the state waits for has not come in time."""
        fifo, self._fifo = self._fifo, None
        if fifo is self.service.handlers:
            self._overdue()
        elif self._state is HEAD:
            if self._silence is not None and self._silence.goes_on(self._parser.pending):
                self._arm(self._heads)
                return
            self._parser.give_up()
            self._refuse(WireError(408, "the request head took too long"))
        elif self._state is LINGERING or self._state is CLOSED:
            if self.out.undelivered and not self._settle_early():  # who does not read it is cut by `check_transfer`
                self._arm(self.service.lingers)
                self._watch()
            elif self.scheme == "https":
                self._transport.abort()
            else:
                self.out.close()
        elif self._state is DISCARDING:
            self._linger()
        else:
            self._close()
