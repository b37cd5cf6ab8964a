"""How a request finds the ``do_*`` that answers it.

Owns what is called for which method: a coroutine function as it is, a plain one in a worker thread, GET for HEAD.
Without a ``do_*``, OPTIONS is 204 with Allow, another method of HTTP is 405 with Allow, and what is none is 501
(RFC 9110 sections 9.1, 9.3.7, 15.5.6 and 15.6.2).
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import HTTPError

__all__ = ["Method", "allowed_methods", "find_method"]

Method = Callable[[Any], Awaitable[object]]


def find_method(handler: Any, methods: dict[str, Method]) -> Method:
    """Find ``do_<command>`` of a handler.

    Args:
        handler: of the request.
        methods: what has been found for its class; what belongs to the class is added.
    """
    name = "do_" + handler.command
    function: Any = getattr(type(handler), name, None)
    if function is not None:
        method = function if inspect.iscoroutinefunction(function) else _in_thread(function)
        methods[handler.command] = method
        return method
    bound = getattr(handler, name, None)  # set on the instance, or by __getattr__
    if bound is not None:
        return _of_instance(bound)
    if handler.command == "HEAD":
        return methods.setdefault("HEAD", _head_by_get(methods))
    return _options if handler.command == "OPTIONS" else _unsupported


def allowed_methods(handler: Any) -> list[str]:
    """The methods that a handler or a handler class answers, for Allow: each ``do_*``, HEAD by GET, OPTIONS."""
    names = {name[3:] for name in dir(handler) if name.startswith("do_") and callable(getattr(handler, name))}
    if "GET" in names:
        names.add("HEAD")
    names.add("OPTIONS")
    return [*(name for name in _KNOWN if name in names), *sorted(names - _KNOWN.keys())]


# RFC 9110 section 9.3 and RFC 5789, in the order in which Allow has them.
_KNOWN = dict.fromkeys(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"))


def _in_thread(function: Callable[[Any], object]) -> Method:
    """Make a plain ``def do_GET`` one that can be awaited."""

    def call(handler: Any) -> Awaitable[object]:
        from ..threads.plain import call_method  # not every program has one

        return call_method(handler, function)

    return call


def _of_instance(bound: Callable[[], Any]) -> Method:
    if inspect.iscoroutinefunction(bound):
        return lambda handler: bound()
    return _in_thread(lambda handler: bound())


def _head_by_get(methods: dict[str, Method]) -> Method:
    """Answer HEAD as GET; the writer sends no content."""

    async def head(handler: Any) -> None:
        handler.wfile.head_mirrors_get = True
        handler.command = "GET"
        method = methods.get("GET") or find_method(handler, methods)
        handler.command = "HEAD"
        await method(handler)

    return head


async def _options(handler: Any) -> None:
    handler.send_response(204)
    handler.send_header("Allow", _allow(handler))
    handler.end_headers()


async def _unsupported(handler: Any) -> None:
    method = handler.request.method
    if method in _KNOWN:
        raise HTTPError(405, headers=[("Allow", _allow(handler))])
    handler.send_error(501, f"Unsupported method ({method!r})")


def _allow(handler: Any) -> str:
    # `SimpleHTTPRequestHandler` says it, since one without uploads has a do_PUT that explains why.
    said = getattr(handler, "allowed_methods", None)
    return said if isinstance(said, str) else ", ".join(allowed_methods(handler))
