"""Handler classes of this package on servers of ``socketserver``: for a program that is migrated step by step.

Owns what such a handler has there: ``self.server``, error reports by ``handle_error``, threads for plain methods, and a
line on stderr for each answer, as handlers of ``http.server`` write it.
"""

import asyncio
import contextlib
import dataclasses
import functools
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ..config import Config
from ..engine.apps import check_factory, unwrap_partial
from ..engine.error_log import error_logger
from ..engine.response import StreamWriter
from ..handlers.app import enter_lifespan, lifespan_of
from ..handlers.base import BaseHTTPRequestHandler
from ..handlers.checks import explain_init
from ..server.access_log import AccessLog
from ..threads.call import threads_of
from ..threads.legacy import HandlerApp
from ..threads.pool import Workers
from ..wire.parser import TLS_HANDSHAKE
from ..wire.request import Address, Request
from .calling_thread import ThreadState

__all__ = ["AiohttpdHandlers"]


class AiohttpdHandlers:
    """An App: if the server's handler class is one of this package, it answers, else another App does.

    Args:
        server: a server of ``socketserver``; its handler class may change from one request to the next.
        other: the App for handler classes of ``http.server``.
        workers: threads for plain methods, in place of those of the engine.
        state: its attribute ``handler`` is True in a thread that runs a handler.
        hooks: the hooks for single requests that the server overrides.

    Raises:
        TypeError: the handler class is one of this package, and there are such hooks: they would not be called; or it
            is no handler class but another App.
    """

    def __init__(
        self, server: Any, other: HandlerApp, *, workers: Workers | None, state: ThreadState, hooks: list[str]
    ) -> None:
        self._server = weakref.ref(server)
        self._other = other
        self._hooks = hooks
        self._workers = workers
        self._state = state
        self._log = _Log()
        self._logs = _handler_class(server.RequestHandlerClass) is not None
        if self._logs and hooks:
            raise TypeError(
                f"{type(server).__name__}.{hooks[0]}() is a hook for handlers of http.server, and "
                f"{_handler_class(server.RequestHandlerClass).__name__} is a handler of aiohttpd: it would not be "
                "called. Remove it, and give arguments to the handler class with functools.partial"
            )
        if not self._logs and not hooks and callable(server.RequestHandlerClass):  # hooks may mean something else by it
            _check_factory(server)
        self.aiohttpd_silence: float | None = getattr(other, "aiohttpd_silence", None)
        own = lifespan_of(server.RequestHandlerClass) if self._logs else None
        # It sets attributes on the server that handlers know, which is that of ``socketserver``.
        self.lifespan = None if own is None else lambda _: enter_lifespan(own, self._server())

    def aiohttpd_refused(self, line: bytes) -> None:
        """Bytes that are not a valid request have been refused.

        Args:
            line: their first line.
        """
        if line == TLS_HANDSHAKE and self._hooks:
            self._other.explain_tls()
        else:
            self._other.aiohttpd_refused(line)

    def options(self, config: Config) -> dict[str, Any]:
        """The arguments for the server of the engine."""
        if not self._logs or sys.stderr is None:
            return {"config": config}
        return {
            "config": dataclasses.replace(config, access_log=True),
            "access_log": self._log,
            "lifespan": self._log.kept,
        }

    def __call__(self, request: Request, response: StreamWriter) -> Awaitable[None]:
        server = self._server()
        if server is None or _handler_class(server.RequestHandlerClass) is None:
            return self._other(request, response)
        return self._serve(server, request, response)

    async def _serve(self, server: Any, request: Request, response: StreamWriter) -> None:
        self._state.handler = True  # in the thread of the loop: shutdown() must not wait there
        threads = threads_of(request.peer)
        if not isinstance(threads.workers, _MarkedWorkers):
            threads.workers = _MarkedWorkers(self._workers or threads.pool, self._state)
        response.report = functools.partial(_report, server, request)  # type: ignore[method-assign]
        await _make_handler(server.RequestHandlerClass, server, request, response)


def _handler_class(factory: Any) -> Any:
    """The handler class of this package that a factory is, or is a ``functools.partial`` of; None for any other."""
    factory = unwrap_partial(factory)
    return factory if isinstance(factory, type) and issubclass(factory, BaseHTTPRequestHandler) else None


def _check_factory(server: Any) -> None:
    try:
        check_factory(server.RequestHandlerClass, makes_handlers=False)
    except TypeError as error:
        raise TypeError(
            f"{error}. {type(server).__name__} of aiohttpd.compat takes handler classes only: a Router, layers and "
            "other Apps are for aiohttpd.HTTPServer, or aiohttpd.run()"
        ) from None


def _make_handler(factory: Any, server: Any, request: Request, response: StreamWriter) -> Any:
    """Make a handler that has its attribute ``server`` before ``__init__`` is called."""
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    while isinstance(factory, functools.partial):
        args, keywords = factory.args + args, {**factory.keywords, **keywords}
        factory = factory.func
    handler = factory.__new__(factory)
    handler.server = server
    try:
        handler.__init__(*args, request, response, **keywords)
    except TypeError as error:
        explain_init(factory, error)
        raise
    return handler


def _report(server: Any, request: Request, error: BaseException) -> None:
    """Have the server's ``handle_error`` report an exception, as it does for handlers of ``http.server``."""
    try:
        try:
            raise error
        except BaseException:
            server.handle_error(request, request.client_address)
    except BaseException as second:
        error_logger.error("handle_error() of the server has failed", exc_info=second)


class _MarkedWorkers:
    """Worker threads; while they run a call, their `ThreadState` says that they run a handler."""

    def __init__(self, workers: Workers, state: ThreadState) -> None:
        self._workers = workers
        self._state = state

    def submit(self, call: Callable[[], None]) -> None:
        self._workers.submit(functools.partial(self._run, call))

    def _run(self, call: Callable[[], None]) -> None:
        before = self._state.handler
        self._state.handler = True
        try:
            call()
        finally:
            self._state.handler = before


class _Log:
    """The access log on stderr. It is made when there is a loop; every line is written at once.

    A program may end with its server, so no line may wait for a batch.
    """

    _log: AccessLog

    @contextlib.asynccontextmanager
    async def kept(self, server: Any) -> AsyncIterator[None]:
        """A lifespan: make the log, and write what waits when the server ends."""
        self._log = AccessLog(sys.stderr, asyncio.get_running_loop())
        try:
            yield
        finally:
            self._log.flush()

    def answered(self, request: Request, answer: Any, started: float) -> None:
        self._log.answered(request, answer, started)
        self._log.flush()

    def refused(self, client_address: Address, line: str, status: int) -> None:
        self._log.refused(client_address, line, status)
        self._log.flush()

    def message(self, text: str) -> None:
        self._log.message(text)
        self._log.flush()
