"""Errors in one place: functions that answer for a status or an exception, for all of an application.

Owns which function answers for which error. That a handler asks for it is written in `base`; for Apps that are no
handlers it is done here.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ...engine.failures import check_result
from ...engine.interfaces import App
from ...engine.response import StreamWriter
from ...errors import ClientDisconnected, HTTPError, meant_by
from ...wire.request import ErrorPages, Request
from ..app import copy_error_format, is_handler_class, resolve_app
from ..base import BaseHTTPRequestHandler

__all__ = ["ErrorHandler", "ErrorHandlers", "answer_error", "guarded", "handle_errors"]

ErrorHandler = Callable[[Any, Any], Awaitable[None]]


class ErrorHandlers:
    """Functions by the status or the class of the errors that they answer for.

    Args:
        handlers: ``async def page(self, error)`` by status code or exception class. ``self`` is the handler, with the
            whole contract.
        outer: those of a router around; asked for what these have nothing for.

    Raises:
        TypeError: a key is neither, or a function is not asynchronous or takes other arguments.
        ValueError: a key is no status of an error.
    """

    def __init__(self, handlers: Mapping[Any, ErrorHandler], outer: ErrorPages | None = None) -> None:
        for key, function in handlers.items():
            _check(key, function)
        self._handlers = dict(handlers)
        self._outer = outer

    def within(self, outer: ErrorPages | None) -> "ErrorHandlers":
        """The same, within those of a router around."""
        return self if outer is None or outer is self else ErrorHandlers(self._handlers, outer)

    def has(self, error: BaseException) -> bool:
        """Whether there is a function for an error."""
        return self._find(error) is not None or (self._outer is not None and self._outer.has(error))

    async def answer(self, handler: Any, error: BaseException) -> bool:
        """Have a function answer for an error; say whether there is one.

        What no function was written for, but `Exception` or 500, is logged with its traceback as well.
        """
        key = self._find(error)
        if key is None:
            return self._outer is not None and await self._outer.answer(handler, error)
        if not isinstance(error, HTTPError) and key in (Exception, 500):
            handler.wfile.report(error)
        function = self._handlers[key]
        result: object = await function(handler, error)
        if result is not None:
            check_result(getattr(function, "__qualname__", "the error handler"), result, handler.wfile)
        return True

    def _find(self, error: BaseException) -> int | type[Exception] | None:
        """The key for an error: the nearest class; the status before `HTTPError`; `Exception` for no `HTTPError`."""
        is_http = isinstance(error, HTTPError)
        for cls in type(error).__mro__:
            if is_http and cls is HTTPError and error.status in self._handlers:  # type: ignore[attr-defined]
                return error.status  # type: ignore[attr-defined, no-any-return]
            if cls in self._handlers and not (is_http and cls is Exception):
                return cls
        return 500 if isinstance(error, Exception) and not is_http and 500 in self._handlers else None


def _check(key: Any, function: Any) -> None:
    if isinstance(key, int):
        if not 400 <= key <= 599:
            raise ValueError(f"error_handlers: {key} is no status of an error, 400 to 599")
    elif not (isinstance(key, type) and issubclass(key, Exception)):
        raise TypeError(f"error_handlers: {key!r} is neither a status nor a class of exceptions")
    if not (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)):
        raise TypeError(f"error_handlers: what answers for {key!r} is 'async def page(self, error)'")
    try:
        inspect.signature(function).bind(None, None)
    except TypeError:
        raise TypeError(f"error_handlers: what answers for {key!r} takes (self, error)") from None


def handle_errors(
    app: App,
    error_handlers: Mapping[Any, ErrorHandler],
    *,
    handler: type[BaseHTTPRequestHandler] = BaseHTTPRequestHandler,
) -> App:
    """Make an App around an App, with functions that answer for its errors.

    Args:
        app: a handler class, or another App.
        error_handlers: as for `ErrorHandlers`.
        handler: the class of the handler that functions get for an App that is no handler class.

    Raises:
        TypeError: ``app`` is no App; or as `ErrorHandlers`.
    """
    return _Handling(app, error_handlers, handler)


class _Handling:
    """An App with answers for its errors; it can be handed to workers if the functions can."""

    def __init__(
        self,
        app: App,
        error_handlers: Mapping[Any, ErrorHandler],
        handler: type[BaseHTTPRequestHandler],
    ) -> None:
        self._given = app, error_handlers, handler
        self._pages = ErrorHandlers(error_handlers)
        self._inner = guarded(app, handler)
        lifespan = getattr(app, "lifespan", None)
        if lifespan is not None:
            self.lifespan = lifespan
        copy_error_format(app, self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Handling, self._given

    def __call__(self, request: Request, response: StreamWriter) -> Awaitable[None]:
        request.error_pages = self._pages.within(request.error_pages)
        return self._inner(request, response)


def guarded(app: Any, base: type[BaseHTTPRequestHandler]) -> App:
    """An App whose errors ``request.error_pages`` answers: handler classes ask for it, others have an App around."""
    inner = resolve_app(app)
    if isinstance(app, type) and is_handler_class(app) and hasattr(app, "serve"):
        return inner

    async def guard(request: Request, response: StreamWriter) -> None:
        try:
            return await inner(request, response)
        except ClientDisconnected:
            raise
        except Exception as error:
            meant = meant_by(error)
            pages = request.error_pages
            if isinstance(meant, Exception) and pages is not None and pages.has(meant) and response.replaceable():
                await answer_error(base, request, response, meant)
                return None
            raise

    return guard


def answer_error(
    base: type[BaseHTTPRequestHandler], request: Request, response: StreamWriter, error: Exception
) -> Awaitable[None]:
    """Answer for an error as a handler of a class does that raises it."""
    response.restart()
    cls: Any = base
    handler: Awaitable[None] = _raising(cls)(request, response)
    vars(handler)["error"] = error
    return handler


@functools.cache
def _raising(base: Any) -> Callable[[Request, StreamWriter], Awaitable[None]]:
    """A class of handlers that have nothing but an error to answer for."""

    async def setup(self: Any) -> None:
        raise self.error

    made: Any = type(base)(base.__name__, (base,), {"__module__": base.__module__, "setup": setup})
    return made  # type: ignore[no-any-return]
