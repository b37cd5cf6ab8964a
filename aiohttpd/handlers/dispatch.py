"""How a request finds the ``do_*`` that answers it.

Owns what is called for which method: a coroutine function as it is, a plain one in a worker thread, GET for HEAD, and
501 where there is nothing.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Method", "find_method"]

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
    return _unsupported


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


async def _unsupported(handler: Any) -> None:
    handler.send_error(501, f"Unsupported method ({handler.request.method!r})")
