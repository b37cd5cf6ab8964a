"""What all connections of one server share: the App, the options, the clock, the books.

Owns no socket: `aiohttpd.server.server` puts one on the network, `aiohttpd.testing` feeds one from memory.
"""

import asyncio
import contextvars
import logging
import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..config import Config
from ..errors import WireError
from ..net.clock import Clock
from ..net.deadlines import FINEST, Deadlines, Fifo
from ..net.forking import end_child
from ..wire.product import __version__
from ..wire.request import Address, Request
from ..wire.response import status_line
from .interfaces import (
    Abortable,
    AccessLogger,
    Answer,
    App,
    Closable,
    Meter,
    OpenConnection,
    Recorder,
    ResponseWriter,
    ServedApp,
)

__all__ = ["ServerContext", "error_logger", "log_error"]

T = TypeVar("T", bound=Closable)

error_logger = logging.getLogger("aiohttpd.error")

_COARSEST = 1.0  # seconds between two sweeps of deadlines, at most; they are a quarter of the shortest one


class ServerContext:
    """The part of a server that its connections know.

    Attributes:
        connections: all connections that are open.
        handshakes: those that become connections once TLS is agreed upon.
        instant: how the App answers at once what it can; None if it has no such way.
        refusal_fields: added to what is answered without the App, or for it: 400, 401, 413, 503 and so on.
        metrics: counts; None if nobody wants to know.
        record: takes the record of each answer: request, answer, when it began; None if nobody wants to know.
        timed: whether it wants to know when, for which a clock is read before each handler.
        handlers: the queue of handlers that have a deadline; None if they have none.
        turned_away: connections that there was no room for, until they are closed.
        error_body: makes the content of errors that no handler answers; None for plain text.
        draining: no request may follow on any connection.
        cancelling: the grace is over: who is cancelled now is cancelled by us.
        silence: seconds that a peer may say nothing, if the App has a timeout as sockets have it.
        server: what ``Request.server`` gives, opaque here.
    """

    def __init__(
        self,
        app: App,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        *,
        server: Any = None,
        access_log: AccessLogger | None = None,
        metrics: Meter | None = None,
        context: contextvars.Context | None = None,
        prepare: Callable[[App], ServedApp] = ServedApp,
    ) -> None:
        self.app, self.instant, self.error_body, self.refusal_fields, self.silence = prepare(app)
        self.config = config
        self.loop = loop
        self._pid = os.getpid()
        self.server = server
        self.access_log = access_log if config.access_log else None
        self.metrics = metrics
        self.record = self._recorder()
        self.timed = self.record is not None and (metrics is not None or getattr(self.access_log, "timed", True))
        # Each request gets a copy, so no request sees what another has set.
        self.context = context if context is not None else contextvars.copy_context()
        self.clock = Clock()
        self._second: asyncio.TimerHandle | None = None  # its end, while there are preludes made in it
        timeouts = [config.timeout_head, config.timeout_body, config.timeout_write, config.timeout_idle]
        shortest = min(*timeouts, config.timeout_linger, config.timeout_handler or config.timeout_idle)
        self.deadlines = Deadlines(loop, max(FINEST, min(_COARSEST, shortest / 4)))
        self.heads = self.deadlines.fifo(config.timeout_head)
        self.idles = self.deadlines.fifo(config.timeout_idle)
        self.lingers = self.deadlines.fifo(config.timeout_linger)
        self.handlers: Fifo | None = None
        if config.timeout_handler:
            self.handlers = self.deadlines.fifo(config.timeout_handler)
        self.connections: set[OpenConnection] = set()
        self.handshakes: set[Abortable] = set()
        self.turned_away: set[Closable] = set()
        self.draining = False
        self.cancelling = False
        # Handlers whose client has gone; asyncio itself holds tasks only weakly.
        self.orphans: set[asyncio.Task[None]] = set()
        self._shared: dict[Any, Closable] = {}
        self._ident = threading.get_ident()  # of the thread with the loop
        self.changed = asyncio.Event()  # a connection, a handshake or an orphan is no more
        self._preludes: dict[int, bytes] = {}
        self.server_field = f"Server: aiohttpd/{__version__}\r\n".encode() if config.server_header else b""

    def shared(self, kind: Callable[[Config, asyncio.AbstractEventLoop], T]) -> T:
        """The one object of a class that all requests share: made when it is first asked for, closed at the end."""
        found = self._shared.get(kind)
        if found is None:
            found = self._shared[kind] = kind(self.config, self.loop)
        return cast(T, found)

    def close(self) -> None:
        """The last connection has been closed."""
        self.deadlines.close()
        if self._second is not None:
            self._second.cancel()
            self._end_second()
        for made in self._shared.values():
            made.close()

    def prelude(self, status: int) -> bytes:
        """The beginning of an answer: status line, Server and Date, made once a second."""
        return self._preludes.get(status) or self._make_prelude(status)

    def date_field(self) -> bytes:
        """The Date field, RFC 9110 section 6.6.1."""
        self.clock.tick()
        return b"Date: %b\r\n" % self.clock.date.encode()

    def _make_prelude(self, status: int) -> bytes:
        prelude = self._preludes[status] = status_line(status) + self.server_field + self.date_field()
        if self._second is None:
            self._second = self.loop.call_later(self.clock.left(), self._end_second)
        return prelude

    def _end_second(self) -> None:
        self._second = None
        self._preludes.clear()

    def handle_error(self, error: BaseException, request: Request) -> None:
        """A handler raised what it should have caught."""
        end_child(error, self._pid)
        handle = getattr(self.server, "handle_error", None) or log_error
        try:
            handle(error, request)
        except Exception as second:
            log_error(error, request)
            log_error(second, request)

    def _recorder(self) -> Recorder | None:
        """The shortest way for a record, since every answer takes it."""
        if self.access_log is None:
            return None if self.metrics is None else self.metrics.answered
        if self.metrics is not None:
            return self._count_and_log
        return self.access_log.answered if getattr(self.access_log, "direct", False) else self._log

    def _count_and_log(self, request: Request, answer: Answer, started: float) -> None:
        assert self.metrics is not None
        self.metrics.answered(request, answer, started)
        self._log(request, answer, started)

    def _log(self, request: Request, answer: Answer, started: float) -> None:
        """Log an answer; with somebody else's log, that may raise."""
        assert self.access_log is not None
        try:
            self.access_log.answered(request, answer, started)
        except Exception as error:
            self.handle_error(error, request)

    def record_aborted(self, request: Request, response: ResponseWriter, started: float) -> None:
        """Take the record of an answer whose end has not left."""
        if self.metrics is not None:
            self.metrics.aborted()
        if response.log is not None:
            self.record_own(request, response, started)
            return
        if self.metrics is not None:
            self.metrics.answered(request, response, started)
        if self.access_log is not None:
            try:
                # Whose log has no words for it can ask the answer.
                getattr(self.access_log, "aborted", self.access_log.answered)(request, response, started)
            except Exception as error:
                self.handle_error(error, request)

    def record_own(self, request: Request, response: ResponseWriter, started: float) -> None:
        """Take the record of an answer that its handler logs itself."""
        if self.metrics is not None:
            self.metrics.answered(request, response, started)
        if self.config.access_log and response.log is not None:
            try:
                response.log(response.status, response.size)
            except Exception as error:
                self.handle_error(error, request)

    def log_refusal(self, client_address: Address, line: bytes, error: WireError) -> None:
        """Log the refusal of what is no request but began with ``line``, and count it."""
        if self.metrics is not None:
            self.metrics.refused(error.status)
        tell = getattr(self.app, "aiohttpd_refused", None)  # an App that knows what its program meant
        if tell is not None:
            tell(line)
        if self.access_log is not None:
            self.access_log.refused(client_address, str(line, "latin-1"), error.status)

    def message(self, line: str) -> None:
        """Write a line of a handler's own where the access log goes; without one, to ``aiohttpd.access``.

        May be called from any thread.
        """
        if threading.get_ident() != self._ident:
            self.loop.call_soon_threadsafe(self.message, line)
            return
        if self.access_log is not None:
            self.access_log.message(line)
        else:
            logging.getLogger("aiohttpd.access").info("%s", line.rstrip("\n"))

    def closed(self, connection: OpenConnection, task: asyncio.Task[None] | None) -> None:
        """Strike a connection from the books; its handler may go on."""
        self.connections.discard(connection)
        if self.metrics is not None:
            self.metrics.closed(connection.out.total)
        if task is not None:
            self.orphans.add(task)
        self.changed.set()

    def ended(self, task: asyncio.Task[None]) -> None:
        """Strike a handler from the books whose client has gone before."""
        self.orphans.discard(task)
        self.changed.set()


def log_error(error: BaseException, request: Request) -> None:
    """Log an unhandled exception, one traceback with the request line, on ``aiohttpd.error``."""
    error_logger.error("unhandled exception in '%s'", request.requestline, exc_info=error)
