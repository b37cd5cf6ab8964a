"""Functions and single methods as routes: each becomes a ``do_*`` method of a handler class made here.

So they can use everything that handlers can. `router` adds these classes to its table.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

from ...engine.apps import describe
from ...wire.headers import is_token
from ..base import BaseHTTPRequestHandler

__all__ = ["F", "Marked", "add_function", "function_class", "marked_methods", "methods_of", "route"]

F = TypeVar("F", bound=Callable[[Any], Any])

_MARK = "aiohttpd_routes"  # the attribute of a method


class _Mark(NamedTuple):
    methods: tuple[str, ...]
    path: str
    name: str | None


class Marked(NamedTuple):
    """A route made of methods of a class that have the same path in their `route` decorator.

    Attributes:
        path: the text of the route.
        names: the names of the route: those of the methods, or of their decorators.
        cls: a class derived from the handler class, with these methods as its only ``do_*``.
    """

    path: str
    names: list[str]
    cls: type[BaseHTTPRequestHandler]


def route(methods: str | Iterable[str], path: str, *, name: str | None = None) -> Callable[[F], F]:
    """Decorate a method of a handler class: it responds to requests for a path of its own.

    ::

        class Note(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None: ...

            @aiohttpd.route("POST", "/notes/{id:int}/star")
            async def star(self) -> None: ...

        site = aiohttpd.Router({"/notes/{id:int}": Note})

    The path is relative to the root of the `Router` that has the class in its table, or gets it by `Router.include`.

    Args:
        methods: one HTTP method, or several.
        path: as in the table of a `Router`.
        name: the name for `Router.url`, by default that of the function.

    Raises:
        ValueError: a method is not a valid HTTP method.
    """
    mark = _Mark(methods_of(methods), path, name)

    def decorate(function: F) -> F:
        marks = (*getattr(function, _MARK, ()), mark)
        setattr(function, _MARK, marks)
        return function

    return decorate


def methods_of(methods: str | Iterable[str]) -> tuple[str, ...]:
    """Return HTTP methods as a tuple.

    Args:
        methods: one method, or several.

    Raises:
        ValueError: there is none, or one is not a valid method in upper case; or it is CONNECT, whose target is not a
            path.
    """
    names = (methods,) if isinstance(methods, str) else tuple(methods)
    for name in names:
        if not is_token(name) or not name.isidentifier():
            raise ValueError(f"{name!r} is no method of HTTP")
        if name != name.upper():
            raise ValueError(f"methods are told apart by case: write {name.upper()!r}, not {name!r}")
        if name == "CONNECT":
            raise ValueError("CONNECT has a host and a port for its target, and no path: give Router(connect=...)")
    if not names:
        raise ValueError("a route has at least one method")
    return names


def function_class(path: str, base: type[BaseHTTPRequestHandler], module: str) -> type[BaseHTTPRequestHandler]:
    """Return a new handler class for `add_function`.

    Args:
        path: the text of the route.
        base: the class to derive from.
        module: the module of the functions.
    """
    made = _derived("Functions", base, {"__module__": module, "__doc__": f"The functions of the route {path}."})
    made.__qualname__ = ""
    return made


def add_function(
    cls: type[BaseHTTPRequestHandler], path: str, methods: Iterable[str], function: Callable[[Any], Any]
) -> None:
    """Add a function to a class of `function_class` as the ``do_*`` of HTTP methods.

    The name of the function is appended to the qualified name of the class, for error messages.

    Raises:
        TypeError: the function cannot be called with one argument, the handler.
        ValueError: the class has a function for one of the methods already.
    """
    _check_function(function)
    for method in methods:
        if f"do_{method}" in vars(cls):
            raise ValueError(f"the route {path!r} has a function for {method} already")
        setattr(cls, f"do_{method}", function)
    cls.__qualname__ = ", ".join(filter(None, (cls.__qualname__, describe(function))))


def marked_methods(cls: type[BaseHTTPRequestHandler]) -> Iterator[Marked]:
    """Yield a route for each path in the `route` decorators of a class and its base classes."""
    found: dict[str, dict[str, Any]] = {}
    names: dict[str, list[str]] = {}
    for attribute in dir(cls):
        function = inspect.getattr_static(cls, attribute)
        for mark in getattr(function, _MARK, ()) if inspect.isfunction(function) else ():
            methods = found.setdefault(mark.path, {})
            names.setdefault(mark.path, []).append(mark.name or attribute)
            for method in mark.methods:
                if method in methods:
                    raise ValueError(f"{cls.__qualname__} has two methods for {method} {mark.path}")
                methods[method] = function
    for path, methods in found.items():
        others = {name: None for name in dir(cls) if name.startswith("do_")}
        own = {f"do_{method}": function for method, function in methods.items()}
        namespace = {"__module__": cls.__module__, "__doc__": cls.__doc__, **others, **own}
        yield Marked(path, names[path], _derived(f"{cls.__name__}.{names[path][0]}", cls, namespace))


def _derived(name: str, base: Any, namespace: dict[str, Any]) -> type[BaseHTTPRequestHandler]:
    made: type[BaseHTTPRequestHandler] = type(base)(name, (base,), namespace)
    return made


def _check_function(function: Callable[[Any], Any]) -> None:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(
            f"{name} cannot be a route: a function takes the handler, 'async def page(self)', and answers by "
            "self.send_text() and its like"
        ) from None
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"{function.__qualname__} yields, and what it yields is not used: write to self.wfile")
