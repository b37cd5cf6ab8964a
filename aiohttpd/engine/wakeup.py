"""Wakeup: lets a task wait for bytes. Batch: resumes the tasks whose bytes have arrived in a turn of the loop.

They are for the messages of WebSockets and for the bodies of requests. A task that awaits an `asyncio.Future` runs in
the turn of the loop after the one in which the bytes arrive: all connections are read before it. If they send much, its
bytes are not in the processor's cache any more then. So a batch runs the tasks as soon as enough bytes wait.
"""

import asyncio
import types
from asyncio import current_task
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any

from ..errors import ContractError
from .ready import raise_later

__all__ = ["Batch", "Wakeup"]

# Bytes that wait before their tasks run: a part of the cache of a core. If the tasks ran one by one, each answer would
# wake a client on the same machine: 64 messages of 100 bytes cost 5 to 10 % more then.
_BATCH = 128 * 1024


class Wakeup:
    """Lets one task wait, again and again.

    It takes the place of a new `asyncio.Future` for each wait. `asyncio.Task` awaits any object that behaves like one
    (`asyncio.isfuture`): it sets ``_asyncio_future_blocking`` to false, calls ``add_done_callback`` with its wake-up,
    and ``cancel`` when it is cancelled. A future would schedule that wake-up in the loop; a `Batch` calls it.

    Args:
        loop: the running loop.

    Attributes:
        waiter: the wake-up of the task that waits, and its context; None if none waits, or if its wake-up is scheduled
            already. The context is not kept then: its variables often refer to the request.
    """

    __slots__ = ("_asyncio_future_blocking", "_loop", "waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop  # `asyncio.Task` compares it with its own
        self.waiter: tuple[Callable[[Any], object], Context] | None = None

    def __repr__(self) -> str:
        return "<Wakeup: bytes of the client>"  # in reports of the stacks of tasks

    # For the task.

    @types.coroutine
    def wait(self) -> "Generator[Wakeup, None, None]":
        """Wait for `wake` or `Batch.add`.

        Raises:
            ContractError: another task waits already.
        """
        if self.waiter is not None:
            raise ContractError("another task waits for the client already: one task reads a body or a WebSocket")
        self._asyncio_future_blocking = True
        yield self

    # For those who wake it.

    def wake(self) -> None:
        """Run the task that waits, if there is one, in the next turn of the loop."""
        if self.waiter is not None:
            self._call_soon(self.waiter, self)

    # For `asyncio.Task`.

    def add_done_callback(self, wake: Callable[[Any], object], *, context: Context) -> None:
        """Take the wake-up of the task that waits."""
        self.waiter = wake, context

    # Returns the result of the wait, which is None. A class is called without a frame of Python.
    result: Callable[[], None] = types.NoneType

    def cancel(self, msg: Any = None) -> bool:
        """The task is cancelled: run it in the next turn of the loop; return False if it is scheduled already."""
        if self.waiter is None:
            return False
        cancelled = self._loop.create_future()
        cancelled.cancel(msg)
        self._call_soon(self.waiter, cancelled)
        return True

    def _call_soon(self, waiter: tuple[Callable[[Any], object], Context], future: Any) -> None:
        wake, context = waiter
        self._loop.call_soon(wake, future, context=context)
        self.waiter = None


class Batch:
    """The tasks whose bytes have arrived in one turn of the loop. All connections of a server share it.

    Args:
        loop: the running loop.
    """

    __slots__ = ("_loop", "_size", "_steps")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._steps: list[tuple[Any, Wakeup]] = []
        self._size = 0

    def add(self, wakeup: Wakeup, size: int) -> None:
        """Bytes have arrived for a task: run it in the next turn of the loop, or now, if they are many.

        Call it last in a callback of the loop. This task, and those of other connections, may run within the call: they
        may end their responses, and close or upgrade their connections.

        Args:
            wakeup: that of the task, which waits.
            size: the number of bytes; a caller whose bytes are to count less gives a part of it.
        """
        steps = self._steps
        if not steps:
            self._loop.call_soon(self._run)
        steps.append((wakeup.waiter, wakeup))
        wakeup.waiter = None
        self._size = size = self._size + size
        if size > _BATCH and current_task(self._loop) is None:  # only tests receive bytes within a task
            self._run()

    def _run(self) -> None:
        steps, self._steps = self._steps, []
        self._size = 0
        for (wake, context), wakeup in steps:
            try:
                context.run(wake, wakeup)
            except (KeyboardInterrupt, SystemExit) as error:
                raise_later(error, self._loop)  # uvloop would take it for an error of the connection
            except RuntimeError:  # not of the task: this callback runs in its context, which is entered once only
                self._loop.call_soon(wake, wakeup, context=context)
