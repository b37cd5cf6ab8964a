"""What all connections of one server share: the App, the options, the clock, the books.

Owns no socket: `aiohttpd.server` puts one on the network, `aiohttpd.testing` feeds one from memory.
"""

import asyncio
import contextvars
import functools
import logging
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from .access_log import AccessLog, access_logger
from .apps import check_callable, explain_class, explain_value
from .clock import Clock
from .config import Config
from .deadlines import FINEST, Deadlines, Fifo
from .error_body import error_body_of
from .errors import WireError
from .forking import end_child
from .metrics import Metrics
from .version import __version__
from .wire.request import Address, Request
from .wire.response import status_line

if TYPE_CHECKING:
    from .answer import Instant
    from .connection import HTTPConnection
    from .handshake import Handshake
    from .threads.running import Threads
    from .writer import StreamWriter

__all__ = ["AccessLogger", "Answer", "App", "Service", "handlers_in", "is_handler_class", "refused_as", "resolve_app"]

App = Callable[[Request, "StreamWriter"], Awaitable[None]]
Recorder = Callable[[Request, "Answer", float], None]

error_logger = logging.getLogger("aiohttpd.error")

_COARSEST = 1.0  # seconds between two sweeps of deadlines, at most; they are a quarter of the shortest one


_REFUSAL_FIELDS = "refusal_fields"  # the attribute of an App


class Closable(Protocol):
    """Something to be closed."""

    def close(self) -> None: ...


class Answer(Protocol):
    """What a record needs of an answer that is complete."""

    @property
    def status(self) -> int:
        """The status code; 0 if there was none."""

    @property
    def size(self) -> int:
        """Bytes of content that have left."""

    @property
    def aborted(self) -> bool:
        """Whether the client has gone, or has been cut off, before the end of it."""


class AccessLogger(Protocol):
    """Takes one record for each answer."""

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        """A request has been answered that has been begun at ``started``, of ``time.perf_counter``."""

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """Something that is no request has been refused; ``line`` is what began it, escaped."""

    def message(self, text: str) -> None:
        """A line of a handler's own."""


def resolve_app(app: Any) -> App:
    """Take the short way into a handler class.

    Calling a handler class makes an instance, and an instance is awaitable, so a class is an App as
    it is; its ``serve`` does the same in one coroutine less.

    Raises:
        TypeError: this is no App.
    """
    if _is_of_http_server(app):
        return import_module("aiohttpd.threads.legacy").blocking(app)  # type: ignore[no-any-return]
    if isinstance(app, type):
        return _resolve_class(app)  # type: ignore[no-any-return]
    if not callable(app):
        raise TypeError(explain_value(app, handlers=handlers_in(app), makes_handlers=is_handler_class(type(app))))
    if isinstance(app, functools.partial) and isinstance(app.func, type):
        _resolve_class(app.func)
    else:
        check_callable(app)
    return app  # type: ignore[no-any-return]


def refused_as(outer: App, inner: Any) -> App:
    """Have what is refused in front of an App look as it would in front of the one that it is around."""
    more = {_REFUSAL_FIELDS: _refusal_fields(inner), "error_body": error_body_of(inner)}
    vars(outer).update({name: value for name, value in more.items() if value})
    return outer


def _refusal_fields(app: Any) -> tuple[tuple[str, str], ...]:
    if _is_of_http_server(app):  # which may mean another thing by it
        return ()
    fields = getattr(getattr(app, "func", app), _REFUSAL_FIELDS, ())
    return tuple(fields) if isinstance(fields, (tuple, list)) else ()  # a mock has everything


def _resolve_class(cls: type) -> Any:
    serve = getattr(cls, "serve", None)
    if serve is None and not hasattr(cls, "__await__"):
        raise TypeError(explain_class(cls))
    return cls if serve is None else serve


def is_handler_class(cls: type) -> bool:
    """Whether a class makes handlers: ours, or those of ``http.server``."""
    return hasattr(cls, "serve") or _is_of_http_server(cls)


def handlers_in(module: Any) -> list[str]:
    """The names of the handler classes that a module defines; none if this is no module."""
    if not isinstance(module, ModuleType):
        return []
    own = [(name, value) for name, value in vars(module).items() if isinstance(value, type)]
    return [name for name, value in own if value.__module__ == module.__name__ and is_handler_class(value)]


def _is_of_http_server(app: Any) -> bool:
    """Whether this is a handler class of ``http.server``, or a ``functools.partial`` of one."""
    old: Any = sys.modules.get("http.server")  # if nobody has imported it, nobody has derived a class from it
    cls = getattr(app, "func", app)
    return old is not None and isinstance(cls, type) and issubclass(cls, old.BaseHTTPRequestHandler)


class Service:
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
        metrics: Metrics | None = None,
        context: contextvars.Context | None = None,
    ) -> None:
        self.app = resolve_app(app)
        self.error_body = error_body_of(app)
        self.instant: Callable[[Request], Instant | None] | None = (
            # Of a class of ours only: functools.wraps would copy it, and those of http.server may mean another thing.
            getattr(app, "instant", None) if isinstance(app, type) and not _is_of_http_server(app) else None
        )
        self.refusal_fields = _refusal_fields(app)
        silence = getattr(self.app, "aiohttpd_silence", None)
        self.silence: float | None = silence if isinstance(silence, (int, float)) else None  # a mock has everything
        self.config = config
        self.loop = loop
        self._pid = os.getpid()
        self.server = server
        self.access_log = access_log if config.access_log else None
        self.metrics = metrics
        self.record = self._recorder()
        self.timed = self.record is not None and not (
            metrics is None and isinstance(self.access_log, AccessLog) and not self.access_log.timed
        )
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
        self.connections: set[HTTPConnection] = set()
        self.handshakes: set[Handshake] = set()
        self.turned_away: set[Closable] = set()
        self.draining = False
        self.cancelling = False
        # Handlers whose client has gone; asyncio itself holds tasks only weakly.
        self.orphans: set[asyncio.Task[None]] = set()
        self._threads: Threads | None = None
        self._ident = threading.get_ident()  # of the thread with the loop
        self.changed = asyncio.Event()  # a connection, a handshake or an orphan is no more
        self._preludes: dict[int, bytes] = {}
        self.server_field = f"Server: aiohttpd/{__version__}\r\n".encode() if config.server_header else b""

    @property
    def threads(self) -> "Threads":
        """The worker threads, of which there are none before one is needed."""
        if self._threads is None:
            from .threads.running import Threads  # with tempfile; most programs have no such code

            self._threads = Threads(self.config, self.loop)
        return self._threads

    def close(self) -> None:
        """The last connection has been closed."""
        self.deadlines.close()
        if self._second is not None:
            self._second.cancel()
            self._end_second()
        if self._threads is not None:
            self._threads.close()

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

    def _recorder(self) -> "Recorder | None":
        """The shortest way for a record, since every answer takes it."""
        if self.access_log is None:
            return None if self.metrics is None else self.metrics.answered
        if self.metrics is not None:
            return self._count_and_log
        return self.access_log.answered if isinstance(self.access_log, AccessLog) else self._log

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

    def record_aborted(self, request: Request, response: "StreamWriter", started: float) -> None:
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

    def record_own(self, request: Request, response: "StreamWriter", started: float) -> None:
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
            access_logger.info("%s", line.rstrip("\n"))

    def closed(self, connection: "HTTPConnection", task: asyncio.Task[None] | None) -> None:
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
