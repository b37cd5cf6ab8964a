"""What a handler does after its answer, and again and again during it.

Owns `BaseHTTPRequestHandler.after` and ``every``, and the tasks that wait for the end of a long answer.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any

from ..errors import ContractError

if TYPE_CHECKING:
    from ..engine.interfaces import Responder

__all__ = ["ends_of", "every", "start"]


def start(handler: "Responder", work: Coroutine[Any, Any, Any]) -> None:
    """Start work once the task that runs now has ended."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work.close()
        raise ContractError("after() is for 'async def' methods, and this is a thread") from None
    handler.request.peer.background(work, after=True)


def every(handler: "Responder", seconds: float) -> AsyncIterator[int]:
    """Iterate until the client disconnects or the server stops; see `BaseHTTPRequestHandler.every`."""
    if not seconds > 0:
        raise ValueError(f"every() takes a number of seconds, not {seconds!r}")
    return _every(handler, seconds)


def ends_of(handler: "Responder") -> list[asyncio.Task[Any]]:
    """Tasks of which one ends when the client disconnects or the server stops. The caller has to cancel them.

    The server is that of the request: ``handler.server`` may be one of ``socketserver``. That of `testing.exchange` has
    no shutdown.
    """
    waits: list[Coroutine[Any, Any, Any]] = [handler.wfile.wait_closed()]
    stops: asyncio.Event | None = getattr(handler.request.server, "shutting_down", None)
    if stops is not None:
        waits.append(stops.wait())
    return [asyncio.create_task(wait) for wait in waits]


async def _every(handler: "Responder", seconds: float) -> AsyncIterator[int]:
    if handler.request.method == "HEAD":
        return
    loop = asyncio.get_running_loop()
    ends = ends_of(handler)
    began = loop.time()
    number = 0
    try:
        while not (any(end.done() for end in ends) or handler.wfile.is_closing()):
            yield number
            late = loop.time() - began - number * seconds
            number += max(1, int(late // seconds) + 1)
            await asyncio.wait(
                ends, timeout=began + number * seconds - loop.time(), return_when=asyncio.FIRST_COMPLETED
            )
    finally:
        for end in ends:
            end.cancel()
