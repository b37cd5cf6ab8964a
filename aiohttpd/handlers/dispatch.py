"""Dispatch: which ``do_*`` method of a handler is called for a request.

Owns the rules: a coroutine function is awaited, a plain function is called in a worker thread, HEAD calls ``do_GET`` if
there is no ``do_HEAD``. Without a ``do_*`` method, OPTIONS is answered with 204 and Allow, other methods of HTTP with
405 and Allow, and unknown methods with 501 (RFC 9110 sections 9.1, 9.3.7, 15.5.6 and 15.6.2).
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import HTTPError
from .answers import send_fields

__all__ = ["KNOWN_METHODS", "Method", "allowed_methods", "find_method"]

Method = Callable[[Any], Awaitable[object]]

# RFC 9110 section 9.3 and RFC 5789, in the order in which Allow has them.
KNOWN_METHODS = dict.fromkeys(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))


def find_method(handler: Any, command: str, methods: dict[str, Method]) -> Method:
    """Find ``do_<command>`` of a handler.

    Args:
        handler: the handler.
        command: the method of the request.
        methods: methods that have been found for the handler's class. A method of the class is added.
    """
    name = "do_" + command
    function: Any = getattr(type(handler), name, None)
    if function is not None:
        method = function if inspect.iscoroutinefunction(function) else _in_thread(function)
        methods[command] = method
        return method
    bound = getattr(handler, name, None)  # set on the instance, or by __getattr__
    if bound is not None:
        return _of_instance(bound)
    if command == "HEAD":
        return methods.setdefault("HEAD", _head_by_get(methods))
    return _options if command == "OPTIONS" else _unsupported


def allowed_methods(handler: Any) -> list[str]:
    """The methods that a handler or a handler class answers, for Allow: each ``do_*``, HEAD by GET, OPTIONS."""
    names = {name[3:] for name in dir(handler) if name.startswith("do_") and callable(getattr(handler, name))}
    if "GET" in names:
        names.add("HEAD")
    names.add("OPTIONS")
    return [*(name for name in KNOWN_METHODS if name in names), *sorted(names - KNOWN_METHODS.keys())]


def _in_thread(function: Callable[[Any], object]) -> Method:
    """Make an awaitable method of a plain function: it is called in a worker thread."""

    def call(handler: Any) -> Awaitable[object]:
        from ..threads.plain import call_method  # imported with the first plain function

        return call_method(handler, function)

    return call


def _of_instance(bound: Callable[[], Any]) -> Method:
    if inspect.iscoroutinefunction(bound):
        return lambda handler: bound()
    return _in_thread(lambda handler: bound())


def _head_by_get(methods: dict[str, Method]) -> Method:
    """Call ``do_GET`` for HEAD. The writer drops the content."""

    async def head(handler: Any) -> None:
        handler.wfile.head_mirrors_get = True
        await (methods.get("GET") or find_method(handler, "GET", methods))(handler)

    return head


async def _options(handler: Any) -> None:
    send_fields(handler, 204, [("Allow", _allow(handler))])


async def _unsupported(handler: Any) -> None:
    method = handler.request.method
    if method in KNOWN_METHODS:
        raise HTTPError(405, headers=[("Allow", _allow(handler))])
    handler.send_error(501, f"Unsupported method ({method!r})")


def _allow(handler: Any) -> str:
    # `SimpleHTTPRequestHandler` sets it: without uploads it has a do_PUT that refuses with an explanation.
    declared = getattr(handler, "allowed_methods", None)
    return declared if isinstance(declared, str) else ", ".join(allowed_methods(handler))
