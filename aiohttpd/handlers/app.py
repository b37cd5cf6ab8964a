"""What can be served as an App: handler classes, ours and those of http.server, and callables.

Owns the checks and conversions. They run once, when a server is made, not for each request.
"""

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import ModuleType
from typing import Any

from ..engine.apps import check_callable, check_init, describe, explain_class, explain_value, unwrap_partial
from ..engine.error_body import error_body_of
from ..engine.interfaces import App, Instant, ServedApp

__all__ = [
    "Lifespan", "NoLifespan", "check_lifespan", "enter_lifespan", "enter_lifespans", "forward_attributes",
    "handlers_in", "innermost", "instant_of", "is_handler_class", "lifespan_of", "lifespans_of", "prepare",
    "resolve_app",
]  # fmt: skip

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]  # it is called with the server

_REFUSAL_FIELDS = "refusal_fields"  # attribute of an App: fields that error responses outside of it have, too
_LIFESPAN = "lifespan"  # another one
_SILENCE = "aiohttpd_silence"  # of `threads.legacy.HandlerApp`
_INNER = "inner_app"  # attribute of a layer: the App in it
_MANAGER = "an asynchronous function that yields once, decorated with contextlib.asynccontextmanager"


class NoLifespan(TypeError):
    """What should be a lifespan is none: it is not called with the server, or gives no async context manager."""


def resolve_app(app: Any) -> App:
    """The callable that serves an App.

    A handler class is an App: calling it makes an instance, and the instance is awaitable. Its ``serve`` does the same
    with one coroutine less. Handler classes of http.server get an App that runs them in threads.

    Raises:
        TypeError: ``app`` is no App; the message says what it looks like.
    """
    app = _derived(app)
    if _is_of_http_server(app):
        from ..threads.legacy import blocking  # imports the thread pool, which other Apps do not need

        return blocking(app)
    check_init(app, "request", "response")
    if isinstance(app, type):
        return _resolve_class(app)
    if not callable(app):
        raise TypeError(explain_value(app, handlers=handlers_in(app), makes_handlers=is_handler_class(type(app))))
    if isinstance(app, functools.partial) and isinstance(app.func, type):
        _resolve_class(app.func)
    else:
        check_callable(app)
    return app  # type: ignore[no-any-return]


def prepare(app: Any) -> ServedApp:
    """Read from an App how it is to be served.

    Raises:
        TypeError: ``app`` is no App.
    """
    resolved = resolve_app(app)
    return ServedApp(resolved, instant_of(app), error_body_of(app), _refusal_fields(app), _silence_of(resolved))


def instant_of(app: Any) -> Instant | None:
    """The function of an App that gives prepared responses; None if it has none. See `PreparedResponse`.

    It is the class method ``instant`` of a handler class, or the method of an object whose ``has_instant`` is True.
    """
    app = _derived(app)
    # Not of anything else: functools.wraps copies attributes, a mock has all, and a class may mean another thing.
    if isinstance(app, type):
        return None if _is_of_http_server(app) else getattr(app, "instant", None)
    return app.instant if inspect.getattr_static(app, "has_instant", None) and app.has_instant is True else None


def _derived(app: Any) -> Any:
    """A `functools.partial` of a class as a class, if the class has a method ``derived`` and that can make it."""
    if not isinstance(app, functools.partial) or app.args or not isinstance(app.func, type):
        return app
    derive = getattr(app.func, "derived", None) if hasattr(app.func, "serve") else None
    return app if derive is None else derive(**app.keywords) or app


def forward_attributes(app: Any, layer: App) -> None:
    """Give a layer the ``error_body``, the ``refusal_fields`` and the ``lifespan`` of the App in it, and that App.

    Errors that are answered outside of the App (400, 401, 503 and so on) then look like those of the App, and a server
    of the layer enters the lifespan of the App. The ``timeout`` of a handler class of http.server is kept, too.

    Args:
        app: the App in the layer.
        layer: the App around it; its attributes are set.
    """
    attributes = {
        _REFUSAL_FIELDS: _refusal_fields(app), "error_body": error_body_of(app), _LIFESPAN: lifespan_of(app),
        _SILENCE: _silence_of(resolve_app(app)),
    }  # fmt: skip
    vars(layer).update({name: value for name, value in attributes.items() if value})
    vars(layer)[_INNER] = app


def innermost(app: Any) -> Any:
    """The App in all layers around it, for tables and names of routes; the App itself if it has none."""
    while not isinstance(app, type) and callable(inner := inspect.getattr_static(app, _INNER, None)):
        app = inner
    return app


def lifespan_of(app: Any) -> Lifespan | None:
    """The lifespan that an App has as its attribute ``lifespan``; None if it has none.

    It is called with the server and gives an async context manager, which surrounds all connections. A handler class
    has it as a function, a static or a class method; any other App as an attribute. Classes of ``http.server`` have
    none: the name may mean another thing there.

    Raises:
        NoLifespan: there is such an attribute, and it cannot be called.
    """
    owner = unwrap_partial(app)
    # Statically, since a mock has everything.
    if _is_of_http_server(owner) or inspect.getattr_static(owner, _LIFESPAN, None) is None:
        return None
    found: Any = getattr(owner, _LIFESPAN)
    return check_lifespan(found, f"the lifespan of {describe(owner)}")


def lifespans_of(app: Any, outer: Lifespan | None) -> list[Lifespan]:
    """The lifespan of the program, if there is one, and that of the App, in the order in which they are entered.

    Raises:
        NoLifespan: one of them cannot be called.
    """
    found = [] if outer is None else [check_lifespan(outer)]
    own = lifespan_of(app)
    return found if own is None else [*found, own]


def check_lifespan(lifespan: Any, what: str = "lifespan") -> Lifespan:
    """Give back a lifespan that can be called.

    Args:
        lifespan: the lifespan.
        what: how the error names it.

    Raises:
        NoLifespan: it cannot be called.
    """
    if not callable(lifespan):
        raise NoLifespan(f"{what} is {lifespan!r}: write {_MANAGER}")
    return lifespan  # type: ignore[no-any-return]


def enter_lifespan(lifespan: Lifespan, server: Any) -> AbstractAsyncContextManager[Any]:
    """Call a lifespan.

    Raises:
        NoLifespan: what it gives is no async context manager.
    """
    manager: Any = lifespan(server)
    if not hasattr(manager, "__aenter__"):
        if inspect.iscoroutine(manager):
            manager.close()
        raise NoLifespan(f"the lifespan {describe(lifespan)} gives no async context manager: write {_MANAGER}")
    return manager  # type: ignore[no-any-return]


@asynccontextmanager
async def enter_lifespans(lifespans: Iterable[Lifespan], server: Any) -> AsyncIterator[None]:
    """Enter lifespans, the first one outermost; they are left in the reverse order. Raises what they do."""
    async with AsyncExitStack() as stack:
        for lifespan in lifespans:
            await stack.enter_async_context(enter_lifespan(lifespan, server))
        yield


def _silence_of(resolved: Any) -> float | None:
    """The ``timeout`` of a handler class of http.server, in seconds; None for other Apps."""
    silence = getattr(resolved, _SILENCE, None)
    return silence if isinstance(silence, (int, float)) else None  # a mock has any attribute


def _refusal_fields(app: Any) -> tuple[tuple[str, str], ...]:
    if _is_of_http_server(app):  # its attribute of this name would be something else
        return ()
    fields = getattr(unwrap_partial(app), _REFUSAL_FIELDS, ())
    return tuple(fields) if isinstance(fields, (tuple, list)) else ()  # a mock has any attribute


def _resolve_class(cls: Any) -> App:
    serve: App | None = getattr(cls, "serve", None)
    if serve is None and not hasattr(cls, "__await__"):
        raise TypeError(explain_class(cls))
    return cls if serve is None else serve


def is_handler_class(cls: type) -> bool:
    """Whether a class makes handlers: ours, or those of ``http.server``."""
    return hasattr(cls, "serve") or _is_of_http_server(cls)


def handlers_in(module: Any) -> list[str]:
    """The names of the handler classes that a module defines; empty if ``module`` is no module."""
    if not isinstance(module, ModuleType):
        return []
    own = [(name, value) for name, value in vars(module).items() if isinstance(value, type)]
    return [name for name, value in own if value.__module__ == module.__name__ and is_handler_class(value)]


def _is_of_http_server(app: Any) -> bool:
    """Whether this is a handler class of ``http.server``, or a ``functools.partial`` of one."""
    old: Any = sys.modules.get("http.server")  # not imported: there are no classes of it
    cls = unwrap_partial(app)
    return old is not None and isinstance(cls, type) and issubclass(cls, old.BaseHTTPRequestHandler)
