"""Work that outlives an answer: coroutines that a program has started and does not wait for.

Owns how they are counted, what becomes of their errors, and that they begin after an answer if that is wanted. The
server waits for them when it stops, as for handlers; see `Registry`.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from ..errors import ContractError, HTTPError
from .error_log import error_logger
from .registry import Registry

__all__ = ["start_after", "start_background"]


def start_background(
    work: Coroutine[Any, Any, Any], registry: Registry, most: int, *, name: str | None = None
) -> asyncio.Task[None]:
    """Start a coroutine that nobody waits for. An exception of it is logged, once.

    Args:
        work: the coroutine. It sees the context variables of the caller.
        registry: of the server, which waits for it when it stops.
        most: how many there may be at a time.
        name: for the log, by default that of the coroutine.

    Returns:
        The task; it need not be kept.

    Raises:
        ContractError: it is called in a thread without an event loop. The coroutine is closed.
        HTTPError: 503, with Retry-After: there are ``most`` already. The coroutine is closed.
    """
    _check(work)
    loop = _running_loop(work)
    if len(registry.background) >= most:
        work.close()
        raise HTTPError(503, None, "the server has too much to do", headers=[("Retry-After", "1")])
    task = loop.create_task(_logged(work), name=name or _name_of(work))
    registry.background.add(task)
    task.add_done_callback(lambda done: _ended(done, work, registry))
    return task


def start_after(
    work: Coroutine[Any, Any, Any], registry: Registry, most: int, *, name: str | None = None
) -> asyncio.Task[None]:
    """Start a coroutine once the task that runs now has ended; see `start_background`.

    Raises:
        RuntimeError: there is no task: it is called by a callback of the loop.
    """
    _check(work)
    task = asyncio.current_task()
    if task is None:
        work.close()
        raise RuntimeError("there is no task after which the work could begin")
    try:
        started = start_background(_after(task, work), registry, most, name=name or _name_of(work))
    except HTTPError:
        work.close()
        raise
    started.add_done_callback(lambda done: work.close())  # of work that was cancelled before it began
    return started


def _running_loop(work: Coroutine[Any, Any, Any]) -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        work.close()
        raise ContractError(
            "background() is called in a thread, and the work runs in the event loop: write 'async def' for the method"
        ) from None


def _check(work: object) -> None:
    if not asyncio.iscoroutine(work):
        raise TypeError(f"background work is a coroutine, the result of calling an 'async def', not {work!r}")


async def _after(task: asyncio.Task[Any], work: Coroutine[Any, Any, Any]) -> None:
    await asyncio.wait([task])
    await work


async def _logged(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except Exception as error:
        task = asyncio.current_task()
        name = "" if task is None else task.get_name()
        error_logger.error("unhandled exception in the background work %s", name, exc_info=error)


def _name_of(work: Coroutine[Any, Any, Any]) -> str:
    return getattr(work, "__qualname__", type(work).__qualname__)


def _ended(task: asyncio.Task[None], work: Coroutine[Any, Any, Any], registry: Registry) -> None:
    work.close()  # of one that was cancelled before it began
    registry.remove_background(task)
