"""Handlers of this package under the servers of ``socketserver``: two steps of a migration together.

Owns what such a handler finds there: the server, its hooks, the thread for plain methods, and a line on stderr for each
answer, as handlers of ``http.server`` write it.
"""

import asyncio
import contextlib
import dataclasses
import functools
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..config import Config
from ..engine.context import error_logger
from ..engine.response import StreamWriter
from ..handlers.base import BaseHTTPRequestHandler
from ..handlers.checks import explain_init
from ..server.access_log import AccessLog
from ..threads.call import threads_of
from ..threads.legacy import HandlerApp
from ..threads.pool import Workers
from ..wire.parser import TLS_HANDSHAKE
from ..wire.request import Address, Request

__all__ = ["Ours"]


class Ours:
    """An App that has handlers of this package answer where the server's class is one, and else another App.

    Args:
        server: of ``socketserver``; its class may be another one from one request to the next.
        other: answers where that is no handler of ours.
        workers: threads for plain methods, other than those of the engine.
        inside: its attribute ``handler`` is set in threads that run one.
        hooks: those of the server's hooks for single requests that somebody has overridden.

    Raises:
        TypeError: nobody would call these hooks.
    """

    def __init__(
        self, server: Any, other: HandlerApp, *, workers: Workers | None, inside: Any, hooks: list[str]
    ) -> None:
        self._server = weakref.ref(server)
        self._other = other
        self._hooks = hooks
        self._workers = workers
        self._inside = inside
        self._log = _Log()
        self._begins_with_ours = _cls(server.RequestHandlerClass) is not None
        if self._begins_with_ours and hooks:
            raise TypeError(
                f"{type(server).__name__}.{hooks[0]}() is for handlers of http.server, and "
                f"{_cls(server.RequestHandlerClass).__name__} is none any more: it would not be called. Leave it out, "
                "and give arguments of the handler by functools.partial"
            )
        self.aiohttpd_silence: float | None = getattr(other, "aiohttpd_silence", None)

    def aiohttpd_refused(self, line: bytes) -> None:
        """Something has been refused that is no request."""
        if line == TLS_HANDSHAKE and self._hooks:
            self._other.explain_tls()
        else:
            self._other.aiohttpd_refused(line)

    def options(self, config: Config) -> dict[str, Any]:
        """What the server of the engine is made with."""
        if not self._begins_with_ours or sys.stderr is None:
            return {"config": config}
        return {
            "config": dataclasses.replace(config, access_log=True),
            "access_log": self._log,
            "lifespan": self._log.kept,
        }

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        server = self._server()
        if server is None or _cls(server.RequestHandlerClass) is None:
            await self._other(request, response)
            return
        self._inside.handler = True  # for good: the loop must not wait in shutdown()
        threads = threads_of(request.peer)
        if not isinstance(threads.workers, _Marking):
            threads.workers = _Marking(self._workers or threads.pool, self._inside)
        response.report = functools.partial(_report, server, request)  # type: ignore[method-assign]
        await _made(server.RequestHandlerClass, server, request, response)


def _cls(factory: Any) -> Any:
    """The class of ours that a factory is, or is a ``functools.partial`` of; None if it is neither."""
    while isinstance(factory, functools.partial):
        factory = factory.func
    return factory if isinstance(factory, type) and issubclass(factory, BaseHTTPRequestHandler) else None


def _made(factory: Any, server: Any, request: Request, response: StreamWriter) -> Any:
    """Make a handler that knows its server from the beginning."""
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
    """Have the server handle an error as it does those of other handlers."""
    try:
        try:
            raise error
        except BaseException:
            server.handle_error(request, request.client_address)
    except BaseException as second:
        error_logger.error("handle_error() of the server has failed", exc_info=second)


class _Marking:
    """Threads that say that they run a handler."""

    def __init__(self, workers: Workers, inside: Any) -> None:
        self._workers = workers
        self._inside = inside

    def submit(self, call: Callable[[], None]) -> None:
        self._workers.submit(functools.partial(self._run, call))

    def _run(self, call: Callable[[], None]) -> None:
        before = getattr(self._inside, "handler", False)
        self._inside.handler = True
        try:
            call()
        finally:
            self._inside.handler = before


class _Log:
    """The log on stderr, from the moment on in which there is a loop."""

    _log: AccessLog

    @contextlib.asynccontextmanager
    async def kept(self, server: Any) -> AsyncIterator[None]:
        """Write while the server lives, and what is left at its end."""
        self._log = AccessLog(sys.stderr, asyncio.get_running_loop())
        try:
            yield
        finally:
            self._log.flush()

    # At once, as there: a program may end with its server, and is not waited for.

    def answered(self, request: Request, answer: Any, started: float) -> None:
        self._log.answered(request, answer, started)
        self._log.flush()

    def refused(self, client_address: Address, line: str, status: int) -> None:
        self._log.refused(client_address, line, status)
        self._log.flush()

    def message(self, text: str) -> None:
        self._log.message(text)
        self._log.flush()
