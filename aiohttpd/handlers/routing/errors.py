"""Error handlers: functions that respond to a status or an exception, for all handlers of an application.

Owns the choice of the function for an error, and the calls for Apps that are not handler classes. Handler classes call
their error handlers in `base`.
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
from ..app import forward_attributes, resolve_app
from ..base import BaseHTTPRequestHandler

__all__ = ["ErrorHandler", "ErrorHandlers", "answer_error", "guarded", "handle_errors"]

ErrorHandler = Callable[[Any, Any], Awaitable[None]]


class ErrorHandlers:
    """Error handlers by status code or exception class.

    Args:
        handlers: functions ``async def page(self, error)`` by status code or exception class. ``self`` is the handler,
            and the function sends a response as a ``do_GET`` does.
        outer: the error handlers of a router around, for errors that have no function here.

    Raises:
        TypeError: a key is neither a status nor an exception class; or a function is not asynchronous, or has other
            parameters.
        ValueError: a status is not 400 to 599.
    """

    def __init__(self, handlers: Mapping[Any, ErrorHandler], outer: ErrorPages | None = None) -> None:
        for key, function in handlers.items():
            _check(key, function)
        self._handlers = dict(handlers)
        self._outer = outer

    def within(self, outer: ErrorPages | None) -> "ErrorHandlers":
        """Return the same error handlers with those of a router around as ``outer``."""
        return self if outer is None or outer is self else ErrorHandlers(self._handlers, outer)

    def has(self, error: BaseException) -> bool:
        """Whether there is a function for an error."""
        return self._find(error) is not None or (self._outer is not None and self._outer.has(error))

    async def answer(self, handler: Any, error: BaseException) -> bool:
        """Call the function for an error, which sends a response; return False if there is none.

        If the function is that for `Exception` or 500, the error is unexpected, and is also logged with its traceback.
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
        """Return the key for an error: the first of its classes in MRO order that is a key.

        For an `HTTPError` its status is tried before the class `HTTPError`, and `Exception` is not used. For other
        exceptions 500 is tried last.
        """
        status = error.status if isinstance(error, HTTPError) else None
        for cls in type(error).__mro__:
            if cls is HTTPError and status in self._handlers:
                return status
            if cls in self._handlers and (status is None or cls is not Exception):
                return cls
        return 500 if isinstance(error, Exception) and status is None and 500 in self._handlers else None


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
    """Wrap an App: functions respond to its errors.

    ::

        async def not_found(self, error):
            self.send_text("There is no such page.", 404)

        app = aiohttpd.handle_errors(Handler, {404: not_found})

    Args:
        app: a handler class, or another App.
        error_handlers: as for `ErrorHandlers`.
        handler: the class of ``self`` in the functions if ``app`` is not a handler class.

    Raises:
        TypeError: ``app`` is not an App; or as for `ErrorHandlers`.
        ValueError: as for `ErrorHandlers`.
    """
    return _Handling(app, error_handlers, handler)


class _Handling:
    """An App with error handlers. It can be pickled for workers if the App and the functions can."""

    def __init__(
        self,
        app: App,
        error_handlers: Mapping[Any, ErrorHandler],
        handler: type[BaseHTTPRequestHandler],
    ) -> None:
        self._given = app, error_handlers, handler
        self._pages = ErrorHandlers(error_handlers)
        self._inner = guarded(app, handler)
        forward_attributes(app, self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Handling, self._given

    def __call__(self, request: Request, response: StreamWriter) -> Awaitable[None]:
        request.error_pages = self._pages.within(request.error_pages)
        return self._inner(request, response)


def guarded(app: Any, base: type[BaseHTTPRequestHandler]) -> App:
    """Return an App that uses ``request.error_pages``. Handler classes do that themselves; other Apps are wrapped.

    Args:
        app: an App.
        base: the class of ``self`` in error handlers if ``app`` is not a handler class.
    """
    inner = resolve_app(app)
    if isinstance(app, type) and hasattr(app, "serve"):
        return inner

    async def guard(request: Request, response: StreamWriter) -> None:
        try:
            return await inner(request, response)
        except ClientDisconnected:
            raise
        except Exception as error:
            if not _has_page(request, response, meant_by(error)):
                raise
            await answer_error(base, request, response, meant_by(error))
            return None

    return guard


def _has_page(request: Request, response: StreamWriter, error: BaseException) -> bool:
    """Whether an error handler of the application can answer for an exception."""
    pages = request.error_pages
    return isinstance(error, Exception) and pages is not None and pages.has(error) and response.replaceable()


def answer_error(
    base: type[BaseHTTPRequestHandler], request: Request, response: StreamWriter, error: BaseException
) -> Awaitable[None]:
    """Respond to an error as if a handler of the class ``base`` had raised it."""
    response.restart()
    cls: Any = base
    handler: Awaitable[None] = _raising(cls)(request, response)
    vars(handler)["error"] = error
    return handler


@functools.cache
def _raising(base: Any) -> Callable[[Request, StreamWriter], Awaitable[None]]:
    """Derive a handler class whose ``setup`` raises the attribute ``error``."""

    async def setup(self: Any) -> None:
        raise vars(self).pop("error")  # a reference would be a cycle: the traceback refers to ``self``

    made: Any = type(base)(base.__name__, (base,), {"__module__": base.__module__, "setup": setup})
    return made  # type: ignore[no-any-return]
