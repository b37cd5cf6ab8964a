"""Wakeup: lets a task wait for messages, and resumes it within the callback that has received them."""

import asyncio
import types
from asyncio import current_task
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from ...errors import ContractError

__all__ = ["Wakeup"]


class Wakeup:
    """Lets one task wait, again and again.

    It takes the place of a new `asyncio.Future` for each wait. `asyncio.Task` awaits any object that behaves like one
    (`asyncio.isfuture`): it sets ``_asyncio_future_blocking`` to false, calls ``add_done_callback`` with its wake-up,
    and ``cancel`` when it is cancelled. A future would call that wake-up in the next turn of the loop, when the other
    connections have been read as well: with 64 messages of 64 KiB, the first one is not in the processor's cache any
    more. `resume` calls it at once.

    Args:
        loop: the running loop.
    """

    __slots__ = ("_asyncio_future_blocking", "_context", "_loop", "_wake")

    _context: Context

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop  # `asyncio.Task` compares it with its own
        self._wake: Callable[[Any], object] | None = None  # the wake-up of the task that waits

    # For the task.

    @types.coroutine
    def wait(self) -> "Generator[Wakeup, None, None]":
        """Wait for `resume` or `wake`.

        Raises:
            ContractError: another task waits already.
        """
        if self._wake is not None:
            raise ContractError("another task waits in receive() already: one takes the messages of a WebSocket")
        self._asyncio_future_blocking = True
        yield self

    # For those who wake it.

    def resume(self) -> None:
        """Run the task that waits, if there is one, until it waits again; call it last in a callback of the loop.

        If it is called by another task, the one that waits runs in the next turn of the loop.
        """
        wake = self._wake
        if wake is None:
            return
        if current_task(self._loop) is not None:
            self.wake()
            return
        self._wake = None
        try:
            self._context.run(wake, self)
        except (KeyboardInterrupt, SystemExit) as error:
            self._loop.call_soon(_raise, error)  # uvloop would take it for an error of the connection

    def wake(self) -> None:
        """Run the task that waits, if there is one, in the next turn of the loop."""
        if self._wake is not None:
            self._loop.call_soon(self._wake, self, context=self._context)
            self._wake = None

    # For `asyncio.Task`.

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Context) -> None:
        """Take the wake-up of the task that waits."""
        self._wake, self._context = wake, context

    # Returns the result of the wait, which is None. A class is called without a frame of Python.
    result: Callable[[], None] = types.NoneType

    def cancel(self, msg: Any = None) -> bool:
        """The task is cancelled: run it in the next turn of the loop; return False if it is scheduled already."""
        if self._wake is None:
            return False
        cancelled = self._loop.create_future()
        cancelled.cancel(msg)
        self._loop.call_soon(self._wake, cancelled, context=self._context)
        self._wake = None
        return True


def _raise(error: BaseException) -> None:
    raise error
