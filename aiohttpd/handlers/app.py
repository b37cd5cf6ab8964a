"""Which App serves what a program gives: handler classes, ours and http.server's, and functions.

Owns the question what can be an App, and the short way into it. It is asked once, when a server is made.
"""

import functools
import sys
from types import ModuleType
from typing import Any

from ..engine.apps import check_callable, explain_class, explain_value
from ..engine.error_body import error_body_of
from ..engine.interfaces import App, ServedApp

__all__ = ["handlers_in", "is_handler_class", "prepare", "refused_as", "resolve_app"]

_REFUSAL_FIELDS = "refusal_fields"  # the attribute of an App


def resolve_app(app: Any) -> App:
    """Take the short way into a handler class.

    Calling a handler class makes an instance, and an instance is awaitable, so a class is an App as
    it is; its ``serve`` does the same in one coroutine less.

    Raises:
        TypeError: this is no App.
    """
    if _is_of_http_server(app):
        from ..threads.legacy import blocking  # with the threads

        return blocking(app)
    if isinstance(app, type):
        return _resolve_class(app)  # type: ignore[no-any-return]
    if not callable(app):
        raise TypeError(explain_value(app, handlers=handlers_in(app), makes_handlers=is_handler_class(type(app))))
    if isinstance(app, functools.partial) and isinstance(app.func, type):
        _resolve_class(app.func)
    else:
        check_callable(app)
    return app  # type: ignore[no-any-return]


def prepare(app: Any) -> ServedApp:
    """Find out how an App is served.

    Raises:
        TypeError: this is no App.
    """
    resolved = resolve_app(app)
    # Of a class of ours only: functools.wraps would copy it, and those of http.server may mean another thing.
    instant = getattr(app, "instant", None) if isinstance(app, type) and not _is_of_http_server(app) else None
    silence = getattr(resolved, "aiohttpd_silence", None)
    silence = silence if isinstance(silence, (int, float)) else None  # a mock has everything
    return ServedApp(resolved, instant, error_body_of(app), _refusal_fields(app), silence)


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
