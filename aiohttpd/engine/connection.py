"""HTTPConnection: the server side of one HTTP/1.1 connection.

Owns the state of the connection and every transition between states (see `states`). It uses the parser of `wire` for
requests, a `StreamWriter` for each response, and calls the App of the server. It knows nothing of handlers.

A request whose handler never waits is served within one callback: one pass of the parser, one eager task, one write to
the transport. `ready` says when.
"""

import asyncio
import math
import sys
from asyncio import Task
from collections.abc import Callable
from operator import attrgetter
from time import perf_counter
from typing import Any

from ..config import Config
from ..errors import ClientDisconnected, WireError, meant_by
from ..net.transport import ReadBuffer, TransportProtocol
from ..wire.parser import RequestParser
from ..wire.request import Request
from .answer import Cause, PreparedResponse, ResponseState
from .body import StreamReader
from .context import ServerContext
from .delivery import Delivery
from .encoder import HTTP1Encoder
from .failures import answer_failure, check_result, refusal
from .handler_task import HandlerTask
from .interfaces import Forwarding
from .receiver import BodyReceiver, TunnelReceiver, begin_body, complete_body
from .response import StreamWriter
from .states import CLOSED, DISCARDING, HEAD, IDLE, LINGERING, NEW, READY, SERVING, UPGRADED, ConnectionState
from .upgraded import UpgradedProtocol

__all__ = ["ConnectionState", "HTTPConnection"]

_PIPELINED = 64 * 1024  # unparsed bytes after which reading is paused; one more read may arrive
_SMALL = 4 * 1024  # bytes; what is longer is not kept until the end of a turn of the loop, but served at once
_PIPELINE = 32  # pipelined requests served in one turn of the loop; then other connections are served
_HEAVY = 8  # a request with a large head, or that may have a body, counts as so many of these
_BETWEEN_REQUESTS = IDLE, READY, HEAD, NEW
_EAGER = sys.version_info >= (3, 12)  # a task runs at once until it first waits; the loop knows it only if it does
_LINGER_BYTES = 1024 * 1024  # bytes that are discarded during a lingering close


class HTTPConnection(TransportProtocol):
    """The server side of one connection.

    Args:
        context: what the connections of the server share.
        forwarding: finds the client behind trusted proxies; None if no proxy is trusted.

    Attributes:
        state: the state of the connection.
        handler: the handler that runs in a task of its own since it waits; None if there is none.
        upgraded: the protocol after an upgrade; None while the connection is HTTP.
    """

    __slots__ = (
        "__weakref__", "_body", "_delivery", "_encoder", "_forwarding", "_last_request", "_parser", "_timeouts",
        "context", "handler", "state", "upgraded",
    )  # fmt: skip

    def __init__(self, context: ServerContext, forwarding: Forwarding | None = None) -> None:
        super().__init__(context.deadlines, context.transfer_limits)
        self.context = context
        self._forwarding = forwarding
        self.state: ConnectionState = NEW
        self._parser = RequestParser(context.config)
        self._last_request = context.draining  # no request may follow the current one
        self._timeouts = context.timeouts
        self._body: BodyReceiver | None = None  # of the current request, while it arrives or waits to be read
        self.handler: HandlerTask | None = None
        self.upgraded: UpgradedProtocol | None = None
        self._encoder: HTTP1Encoder | None = None  # for all responses; None while there is no transport
        self._delivery: Delivery | None = None  # set when the client has closed its side

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected. It is called a second time if TLS begins after a PROXY protocol preamble."""
        super().connection_made(transport)
        self._encoder = HTTP1Encoder(self)
        context = self.context
        context.registry.connections.add(self)
        if context.recorder.access_log is not None or self._forwarding is not None:
            address = self.client_address  # remember it: the transport does not have it after the close
            if self._forwarding is not None:
                self._forwarding.connected(address)
        if context.silence is not None:
            self.set_silence(context.silence)
        self.arm(self._timeouts.head)

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived."""
        state = self.state
        parser = self._parser
        if state is IDLE and not parser.buffer and len(data) <= _SMALL:
            parser.buffer = data
            self.state = READY
            self.context.ready.add(self)
        elif state in _BETWEEN_REQUESTS:
            parser.feed(data)
            if self._process_scheduled:  # `_process` will serve it
                self.regulate_reading()
            else:
                self.serve_pending()
        elif state is SERVING or state is DISCARDING:
            parser.feed(data)
            body = self._body
            if self._process_scheduled or body is None or body.reader.complete:
                self.regulate_reading()
            elif state is SERVING:
                body.owes_continue = False  # the client sends the body without waiting for 100 (Continue)
                body.feed()
            else:
                self._discard(body)
        elif state is LINGERING:
            self.discard(len(data))
        elif self.upgraded is not None:
            self.upgraded.data_received(data)

    def eof_received(self) -> bool:
        """The peer has closed its side (half-close). Responses to requests that have arrived are still sent."""
        if self.handler is not None:
            self.handler.mark()
        self._delivery = Delivery(self.out, self.context.recorder)
        stays_open = super().eof_received()
        if self.state is SERVING:
            if self._body is not None and not self._process_scheduled:  # else `_process` feeds the pending bytes first
                self._body.reader.feed_eof()
        elif self.state is LINGERING:
            self.out.close()
        elif self.upgraded is not None:
            self.upgraded.eof_received()
        elif self.state in _BETWEEN_REQUESTS:
            if not self._process_scheduled:
                self.serve_pending()
        elif not self._process_scheduled:  # else a body is being discarded, and a request may follow it
            self._close()
        return stays_open

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, by either side."""
        self.state = CLOSED
        if self.handler is not None:
            self.handler.mark()
        if self._delivery is not None:
            self._delivery.settle()
        self.disarm()
        super().connection_lost(error)
        if self._body is not None:
            self._body.reader.fail(ClientDisconnected("the client is gone"))
        if self.upgraded is not None:
            self.upgraded.connection_lost(error)
            self.upgraded = None  # a reference cycle: it refers to this connection
        self.context.closed(self)
        self._encoder = None  # breaks a reference cycle; handlers that still run have their own reference

    def resume_writing(self) -> None:
        """The write buffer of the transport has drained."""
        super().resume_writing()
        if self.upgraded is not None:
            self.upgraded.resume_writing()
        elif self.state in _BETWEEN_REQUESTS:
            self.process_later()  # processing may close the transport, which asyncio does not expect in this call

    # From the bytes to the next request, and from its answer to the next.

    def serve_pending(self) -> None:
        """Serve requests of the buffer until a handler waits, the peer does not read, or `_PIPELINE` are served."""
        parser, out = self._parser, self.out
        served = 0
        together = out.held is not None  # until all connections that are ready have been served
        if self.state is READY:
            self.state = IDLE
        while not out.paused:
            try:
                request = parser.next_request()
            except WireError as error:
                self.refuse(error)
                break
            if request is None:
                break
            if parser.buffer:
                if out.held is None and request.framing.ordinary:
                    out.hold()
                served += _HEAVY if parser.heavy or not request.framing.ordinary else 1
            self._begin(request)
            if self.state is not IDLE or not parser.buffer:
                break
            if served >= _PIPELINE:
                self.process_later()
                self.disarm()
                out.release()
                return
        if not together and out.held is not None:
            out.release()
        if parser.heavy:
            self._yield_after_large_head()
        if self.state is IDLE and not parser.buffer and not self.eof:
            idle = self._timeouts.idle
            if self._fifo is not idle or idle[self] is not None:  # else the next sweep sets the deadline
                self.arm(idle)
        elif self.state is not SERVING and self.state in _BETWEEN_REQUESTS:
            self._wait_for_head()
        elif self.state is not UPGRADED and (parser.buffer or self._reading_paused):
            self.regulate_reading()

    def _yield_after_large_head(self) -> None:
        """Let other connections be served before more is read: uvloop reads up to 32 times in a row."""
        self._parser.heavy = False
        if self.state is IDLE:
            self.pause_reading()
            self.process_later()

    def _process(self) -> None:
        """Process the bytes that are pending in the parser."""
        if self.state in _BETWEEN_REQUESTS:
            self.serve_pending()
            if self.state is IDLE:
                self.regulate_reading()
        elif self._body is not None and not self._body.reader.complete:
            self._body.begin_turn()
            if self.state is SERVING:
                self._body.feed()
            elif self.state is DISCARDING:
                self._discard(self._body)

    def _wait_for_head(self) -> None:
        """The buffer has no complete head: arm the deadline for one, or close if the peer has closed its side."""
        if self.out.paused:
            self.disarm()  # the peer has to read first, and `check_transfer` measures its rate
            self.regulate_reading()
        elif self.eof:
            if self._parser.buffer:
                self.refuse(WireError(400, "the request ended before it was complete"))
            else:
                self._close()
        elif not self._parser.buffer:
            if self.state is HEAD:  # the bytes were only an empty line (RFC 9112 section 2.2)
                self.state = IDLE
            if self.state is IDLE:
                self.arm(self._timeouts.idle)
        else:
            self.resume_reading()  # the rest of a head is bounded by limit_head
            if self.state is IDLE:  # the deadline of the first head was armed when the client connected
                self.arm(self._timeouts.head)
                if self._timeouts.silence is not None:
                    self._timeouts.silence.begin()
            self.state = HEAD

    def _begin(self, request: Request) -> None:
        """Call the App for a request. If it waits, its task becomes `handler`."""
        context = self.context
        if self._forwarding is not None:
            request = self._forwarding.forwarded(request, self)
        request.peer = self
        if context.instant is not None and request.framing.ordinary and not self._last_request:
            answer = context.instant(request)
            if answer is not None:
                self._send_prepared(request, answer)
                return
        self.state = SERVING
        assert self._encoder is not None
        response = StreamWriter(self, self._encoder, request)
        if not request.framing.ordinary:
            self._prepare(request, response)
        started = perf_counter() if context.timed else 0.0
        coroutine = self._serve(request, response, started)
        if _EAGER:
            task = Task(coroutine, loop=context.loop, context=context.lifespan_context.copy(), eager_start=True)  # type: ignore[call-arg, unused-ignore]
        else:
            task = Task(coroutine, loop=context.loop, context=context.lifespan_context.copy())
        if not task.done():
            self.handler = HandlerTask(task, request, response, self.out, started or perf_counter(), self._is_receiving)
            self.restart_handler_deadline()
            if response.state is ResponseState.DONE:
                self.answered(response)

    def answered(self, response: StreamWriter) -> None:
        """A handler has called `StreamWriter.end`. If it does not return at once, the next request need not wait."""
        handler = self.handler
        if handler is not None and handler.response is response:
            self.context.loop.call_soon(self._release_handler, handler)

    def _release_handler(self, handler: HandlerTask) -> None:
        if self.handler is handler and self.state is not CLOSED:
            handler.response.released = True
            self.context.registry.add_orphan(handler.task)
            self._complete(handler.request, handler.response, handler.started)

    def _send_prepared(self, request: Request, answer: PreparedResponse) -> None:
        self.state = IDLE
        self.out.send([self.context.prelude(answer.status), answer.rest])
        if self.context.record is not None:
            self.context.record(request, answer, perf_counter() if self.context.timed else 0.0)

    def _prepare(self, request: Request, response: StreamWriter) -> None:
        """Prepare for what most requests do not have: a body, HTTP/1.0, ``Connection: close``."""
        framing = request.framing
        if framing.content_length or framing.chunked:
            self._body = begin_body(self, self._parser, request, response)
            if self._body is not None and self._parser.buffer:
                self._body.feed()
        if framing.http10:
            response.use_http10()
        if not framing.keep_alive:
            self._last_request = True

    async def _serve(self, request: Request, response: StreamWriter, started: float) -> None:
        context = self.context
        try:
            result: object = await context.app(request, response)  # type: ignore[func-returns-value]
            if result is not None:
                check_result("the App", result, response, handler=False)
            if request.known_body is not None:
                request.known_body.check_awaited()
            response.finish()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # no error of a handler may break the connection or the server
            meant = meant_by(error)
            # After a malformed body the next request cannot be found; after a cancellation the connection is closed.
            self._last_request = self._last_request or isinstance(meant, WireError) or response.is_ours(meant)
            answer_failure(meant, response, context.error_body, context.refusal_fields)
            del meant  # its traceback refers to this frame: a reference cycle with the handler's objects
        if response.released:
            context.registry.remove_orphan(asyncio.current_task())
        elif self.handler is None and self._body is None and not self._last_request and not response.close_connection:
            record = context.record if response.log is None else context.recorder.logged_by_handler
            if record is not None:
                record(request, response, started)
            if self.state is SERVING:
                self.state = IDLE  # the fast path: `serve_pending` continues its loop
        else:
            self._complete(request, response, started)

    def _complete(self, request: Request, response: StreamWriter, started: float) -> None:
        """The response is complete: log it, then close, discard the rest of the body, or serve the next request."""
        self._record(request, response, started)
        handler, self.handler = self.handler, None
        if handler is not None:
            handler.end_deadline()
        if self._body is not None:
            self._body.reader.detach()
        if self.state is CLOSED:
            self._body = None
            if handler is not None:
                self.context.registry.remove_orphan(handler.task)
            return
        self.end_request()
        closes = self._last_request or response.close_connection
        if self._body is not None and not self._body.reader.complete:
            self._end_body(self._body, closes=closes or self.context.draining)
            return
        self._body = None
        if closes or (self.context.closes_idle and not self._parser.buffer):
            self._close(expects_more=request.framing.keep_alive)
            return
        self._last_request = self.context.draining  # this head was sent before: the next response is the last one
        self.state = IDLE
        if self._reading_paused:
            self.process_later()  # it resumes reading, once the pending requests are served
        if handler is not None:  # else `serve_pending` continues its loop
            self._wait_for_next()

    def _wait_for_next(self) -> None:
        """Serve the next request, which may have arrived already."""
        idle = self._timeouts.idle
        if self._parser.buffer:
            self.disarm()
            self.process_later()
        elif self.out.paused or self.eof:
            self._wait_for_head()
        elif self._fifo is not idle or idle[self] is not None:  # else the next sweep sets the deadline
            self.arm(idle)

    # The body of the request.

    def empty_body(self) -> StreamReader:
        """The body of a request that has none."""
        return complete_body(b"", None, self.context.loop)

    def _end_body(self, body: BodyReceiver, *, closes: bool) -> None:
        """The response is complete, but the request body has not completely arrived: discard the rest, or close."""
        body.release_waiter()
        if closes or body.reader.failed or body.owes_continue:
            self._linger()
            return
        self.state = DISCARDING
        self.arm(self._timeouts.linger)
        body.begin_discarding()
        self.regulate_reading()

    def _discard(self, body: BodyReceiver) -> None:
        """Discard the rest of an unread body; begin a lingering close if it is longer than ``limit_discard``."""
        body.discard()
        if body.reader.complete:
            self._body, self.state = None, IDLE
            self._wait_for_next()
            if self.context.closes_idle and not self._parser.buffer:
                self._close()
            self.regulate_reading()
        elif body.reader.failed or body.discard_left < 0:
            self._linger()

    def regulate_reading(self) -> None:
        """Pause reading while too many bytes wait in the parser or the body, in any state; else resume it."""
        body = self._body
        if self._parser.pending > _PIPELINED or (body is not None and body.crowded):
            self.pause_reading()
        else:
            self.resume_reading()

    # Tunnels and other protocols after an upgrade.

    def open_tunnel(self, *, last: bool) -> StreamReader:
        """Stop parsing HTTP: return a reader of the bytes as they arrive.

        Args:
            last: no HTTP follows on this connection; otherwise `close_tunnel` may return to HTTP.
        """
        if last:
            self._last_request = True
            self.set_timeout(math.inf)  # in an unknown protocol either side may be silent, so no rate is measured
        self._body = tunnel = TunnelReceiver(self, self._parser, self._body)
        tunnel.feed()
        if self.out.lost:
            tunnel.reader.fail(ClientDisconnected("the client is gone"))
        return tunnel.reader

    def close_tunnel(self, unread: bytes) -> None:
        """Parse HTTP again: first ``unread``, then the bytes that the reader of the tunnel still has."""
        body, self._body = self._body, None
        if body is not None:
            unread += body.reader.take_back()
        if unread:
            self._parser.feed(unread + self._parser.take())

    def upgrade(self, protocol: UpgradedProtocol) -> None:
        """Switch to another protocol, which gets all further bytes; the head has been sent (RFC 9110 section 7.8)."""
        if self.state is not CLOSED:  # else the client has disconnected meanwhile, as `protocol` is told below
            self.state = UPGRADED
        self._last_request = True
        self.upgraded = None if self.out.lost else protocol
        self.divert(protocol.data_received)
        self.resume_reading()  # the protocol may pause it
        protocol.connection_made(self)
        if waiting := self._parser.take():
            protocol.data_received(waiting)
        if self.state is UPGRADED and self.eof:
            protocol.eof_received()
        if self.out.lost:
            protocol.connection_lost(None)
        elif self.context.draining:
            protocol.drain()

    def read_views(self, receive: Callable[[memoryview | bytes], None]) -> None:
        """See `Carrier.read_views`."""
        self.divert_views(self.context.shared(ReadBuffer).view, receive)

    def hang_up(self) -> None:
        """See `Carrier.hang_up`."""
        if self.state is UPGRADED:
            self._linger()

    # The `Sink` of responses.

    @property
    def persists(self) -> bool:
        """Whether the connection can be kept alive for another request, as far as is known now."""
        return not self._last_request and (self._body is None or self._body.may_persist())

    def continued(self) -> bool:
        """The handler sends 100 (Continue) itself; return whether the client waits for it."""
        return self._body is not None and self._body.take_continue()

    report: Callable[[BaseException, Request], None] = property(attrgetter("context.report"))  # type: ignore[assignment]

    def cut(self, *, reset: bool) -> None:
        """Close within a response that cannot be completed; by RST if a normal close would end its content."""
        if self.state is LINGERING:
            return  # the upgraded protocol has already closed the connection
        if reset:
            self.out.release()  # the reset tells the peer that what it has received is incomplete
            self.abort()
        else:
            self._last_request = True
            self._parser.take()
            self._close(expects_more=True)

    # The `Peer` of requests.

    @property
    def scheme(self) -> str:
        """``https`` on TLS, else ``http``."""
        return "https" if self.tls else "http"

    config: Config = property(attrgetter("context.config"))  # type: ignore[assignment]
    server: Any = property(attrgetter("context.server"))
    shared: Callable[..., Any] = property(attrgetter("context.shared"))  # type: ignore[assignment]
    background: Callable[..., Any] = property(attrgetter("context.background"))  # type: ignore[assignment]
    message: Callable[[str], None] = property(attrgetter("context.message"))  # type: ignore[assignment]

    def server_field(self) -> bytes:
        """The Server field with its CRLF; empty if none is to be sent."""
        return self.context.server_field

    @property
    def silence(self) -> float | None:
        """The timeout in seconds that `set_silence` has set; None if there is none."""
        silence = self._timeouts.silence
        return None if silence is None else silence.seconds

    def set_silence(self, seconds: float | None) -> None:
        """Set a timeout for each wait for bytes, as sockets have it, in place of the options; None: use the options."""
        self._timeouts = self.context.timeouts if seconds is None else self.context.timeouts.of_socket(seconds)
        if self._fifo is not None and self.state in _BETWEEN_REQUESTS:
            self.arm(self._timeouts.idle if self.state is IDLE else self._timeouts.head)

    # A handler that waits.

    def restart_handler_deadline(self) -> None:
        """Start ``timeout_handler``, or restart it after the handler has waited for its client."""
        deadline = self._timeouts.handler
        if self.handler is not None and deadline is not None and not self.out.lost:
            self.handler.begin_deadline(self.context.deadlines, deadline)

    def _set_events(self) -> None:
        super()._set_events()
        if self.handler is not None:
            self.handler.client_gone()

    def _record(self, request: Request, response: StreamWriter, started: float) -> None:
        """Log a response; after a half-close of the client, once it is known whether it has been delivered."""
        if self.out.lost or (response.cancelled is Cause.DISCONNECT and response.replaceable()):
            response.lose()
        if self._delivery is None:
            self.context.recorder.record(request, response, started)
        else:
            self._delivery.record(request, response, started)
            if self._delivery.is_open:
                self.watch()

    def _settle_delivery(self) -> bool:
        """Log the response whose delivery was unknown, if it is known now; return whether it is."""
        return self._delivery is not None and self._delivery.settle_early()

    # The end.

    def refuse(self, error: WireError) -> None:
        """Respond to a malformed request, then close."""
        context = self.context
        line, body, more = self._parser.refused or b"", context.error_body, context.refusal_fields
        self.out.send(refusal(context.prelude(error.status), error, line=line, error_body=body, more=more))
        context.refused(self.client_address, line, error)
        self._linger()

    def refuse_preamble(self, data: bytes, error: WireError) -> None:
        """Respond to bytes that are not a preamble of the PROXY protocol, then close."""
        self._parser.feed(data)
        self._parser.give_up()
        self.refuse(error)

    def _close(self, *, expects_more: bool = False) -> None:
        """Close; by a lingering close if bytes in flight could reset the connection (RFC 9112 section 9.6)."""
        if self.state is CLOSED or self.state is LINGERING:
            return
        if self.state is UPGRADED or (self._parser.buffer and not self.eof) or self._must_linger():
            self._linger()
        elif expects_more and not self.eof and self.may_reset():
            self._linger(until_delivered=True)
        else:
            self._end()

    def _must_linger(self) -> bool:
        """Whether the close must wait: output is not in the kernel yet, or the delivery of a response is unknown."""
        return self.out.lags or (self._delivery is not None and self._delivery.is_open)

    def _end(self) -> None:
        """Close the transport."""
        self.state = CLOSED
        self.close_transport(self._timeouts.linger)

    def _linger(self, *, until_delivered: bool = False) -> None:
        """Begin a lingering close: close our side, and discard input until the peer has closed its side."""
        self._parser.take()
        self._body = None
        if self.eof and not self._must_linger():
            self._end()
            return
        self.state = LINGERING
        self.close_sending(self._timeouts.linger, most=_LINGER_BYTES, until_delivered=until_delivered)

    def abort(self) -> None:
        """Cut the connection at once."""
        self.state = CLOSED
        if self.handler is not None:
            self.handler.mark()
        super().abort()

    def drain(self) -> None:
        """The server drains: the next response whose head is sent is the last on this connection, and says so."""
        self._last_request |= self.handler is None or self.handler.response.replaceable()  # else see `_complete`
        if self.upgraded is not None:
            self.upgraded.drain()

    def close_if_idle(self) -> None:
        """Close the connection if it is between two requests and nothing of the next one has arrived."""
        if self.state is IDLE or self.state is NEW:
            self._close()

    def cancel(self) -> None:
        """Cancel the handler; close if there is none."""
        if self.handler is not None:
            self.handler.cancel(Cause.SHUTDOWN)
            return
        self._parser.take()
        self._end()

    # Deadlines.

    def check_transfer(self, now: float) -> None:
        """Measure the transfer rates; after a half-close of the peer, check whether its response is delivered."""
        if self._settle_delivery() and self.state is LINGERING:
            self.out.close()
        if self._body is not None:
            self._body.check_rate(now, window=self.transfer_timeout(self.config.timeout_body))
        super().check_transfer(now)

    def transfer_timeout(self, usual: float) -> float:
        """See `TransportProtocol.transfer_timeout`; the timeout of `set_silence` comes before the options."""
        return super().transfer_timeout(self.silence or usual)

    def _is_receiving(self) -> bool:
        return self._body is not None and self._body.reader.waiting

    def deadline_expired(self, now: float) -> None:
        """The deadline of the current state has passed: refuse the head by 408, or close."""
        super().deadline_expired(now)
        if self.state is HEAD:
            self._head_overdue()
        elif self.state is LINGERING or self.state is CLOSED:
            if self._settle_delivery() or not self.extend_close(self._timeouts.linger):
                self.end_close()
        elif self.state is DISCARDING:
            self._linger()
        elif self.state is IDLE or self.state is NEW:
            self._close()

    def _head_overdue(self) -> None:
        silence = self._timeouts.silence
        if silence is not None and silence.goes_on(self._parser.pending):
            self.arm(self._timeouts.head)
            return
        self._parser.give_up()
        self.refuse(WireError(408, "the request head took too long"))
