"""The report that SIGUSR1 writes: the connections, and the stacks of their handlers."""

import asyncio
import linecache
import os
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from ..engine.connection import HTTPConnection
from .log_format import escape
from .server import HTTPServer

__all__ = ["report"]

_MOST = 1000  # connections in a report


def report(server: HTTPServer) -> str:
    """A text with a line for each connection of a server, and the stacks of the handlers that wait."""
    connections = sorted(server.connections, key=_since)
    in_flight = server.in_flight
    lines = [f"aiohttpd, process {os.getpid()}: {_count(len(connections), 'connection')}, "
             f"{_count(in_flight, 'request')} in flight"]  # fmt: skip
    for connection in connections[:_MOST]:
        lines += _connection(connection)
    if len(connections) > _MOST:
        lines.append(f"and {len(connections) - _MOST} more connections")
    for task in server.orphans:
        lines += ["a handler whose client has gone", *_waits(task)]
    return "\n".join(lines)


def _since(connection: HTTPConnection) -> float:
    """When its handler has begun, in the time of `perf_counter`; now if none is at work."""
    return time.perf_counter() if connection.handler is None else connection.handler.started


def _connection(connection: HTTPConnection) -> Iterator[str]:
    address = connection.client_address
    where = f"{escape(str(address[0]))}:{address[1]}" if isinstance(address, tuple) else escape(address)
    line = f"{where} {connection.state.name}"
    handler = connection.handler
    if handler is not None:
        line += f" {escape(handler.request.requestline)}, for {time.perf_counter() - handler.started:.3f} s"
    if connection.upgraded is not None:
        line += f", {connection.upgraded.describe()}"
    if connection.out.unsent:
        line += f", {connection.out.unsent} bytes wait for the client"
    yield line
    if handler is not None:
        yield from _waits(handler.task)


def _waits(task: "asyncio.Task[None]") -> Iterator[str]:
    """The stack of a task, outermost call first, down to the object for which it waits."""
    # Task.get_stack() shows only the outermost coroutine; each coroutine has what it awaits.
    awaited: Any = task.get_coro()
    while (prefix := _prefix(awaited)) is not None:
        frame: FrameType | None = getattr(awaited, f"{prefix}_frame")
        if frame is not None:
            code = frame.f_code
            text = linecache.getline(code.co_filename, frame.f_lineno).strip()
            yield f"    {code.co_filename}:{frame.f_lineno} in {code.co_qualname}: {text}"
        awaited = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await")
    waiter = getattr(task, "_fut_waiter", None)  # there is no public attribute
    yield f"    waits for {escape(repr(awaited if waiter is None else waiter))}"


def _prefix(awaited: Any) -> str | None:
    """The prefix of attributes of a coroutine, a generator or an asynchronous generator; None for other objects."""
    return next((prefix for prefix in ("cr", "gi", "ag") if hasattr(awaited, f"{prefix}_frame")), None)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
