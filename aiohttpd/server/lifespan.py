"""LifespanTask: the lifespan of a server, from its entry to its exit.

Owns the task in which it is entered and left, and how long it is waited for after a cancellation.
"""

import asyncio
import contextvars
from collections.abc import Iterable
from typing import Any

from ..engine.error_log import error_logger
from ..handlers.app import Lifespan, enter_lifespans
from .shutdown import CANCELLED

__all__ = ["LifespanTask"]


class LifespanTask:
    """Enters lifespans and leaves them in one task, since a cancel scope or task group in one of them needs that.

    Args:
        lifespans: the first one is the outermost.
        server: they are called with it.

    Attributes:
        task: the task.
    """

    def __init__(self, lifespans: Iterable[Lifespan], server: Any) -> None:
        loop = asyncio.get_running_loop()
        self._entered: asyncio.Future[Any] = loop.create_future()  # its result is the context after the entry
        self._leaving = asyncio.Event()
        self._left_behind: asyncio.Future[None] = loop.create_future()  # done when it is not waited for any more
        self.task = loop.create_task(self._hold(lifespans, server))

    @property
    def leaving(self) -> bool:
        """Whether it is to be left: all connections of the server have been closed."""
        return self._leaving.is_set()

    async def entered(self) -> contextvars.Context:
        """Wait until it has been entered; return the context variables that it has set.

        Raises:
            Exception: the lifespan has raised it.
        """
        await asyncio.wait([self._entered, self.task], return_when=asyncio.FIRST_COMPLETED)
        if self.task.done():
            await self.task
        context: contextvars.Context = self._entered.result()
        return context

    async def cancel(self) -> None:
        """Cancel it while it is being entered, and wait until it has ended, or is left behind."""
        self.task.cancel()
        self._leaving.set()  # for a lifespan that has ignored the cancellation and begun
        self.task.get_loop().call_later(CANCELLED, self._leave_behind)
        await self._ended()

    async def leave(self) -> None:
        """Have it left, and wait until it has been, or is left behind."""
        self._leaving.set()
        await self._ended()

    def cancel_soon(self) -> None:
        """Cancel it when the handlers have been cancelled and their time is over, and leave it behind soon after."""
        loop, left = self.task.get_loop(), (1 if self.leaving else 3) * CANCELLED
        loop.call_later(left, self.task.cancel)
        loop.call_later(left + CANCELLED, self._leave_behind)

    def raise_error(self) -> None:
        """Raise what the lifespan has raised when it was left."""
        if self.task.done() and not self.task.cancelled():
            self.task.result()

    async def _hold(self, lifespans: Iterable[Lifespan], server: Any) -> None:
        async with enter_lifespans(lifespans, server):
            self._entered.set_result(contextvars.copy_context())
            await self._leaving.wait()

    async def _ended(self) -> None:
        await asyncio.wait([self.task, self._left_behind], return_when=asyncio.FIRST_COMPLETED)

    def _leave_behind(self) -> None:
        """It has been cancelled, and its time for that is over: it is not waited for."""
        if not self.task.done() and not self._left_behind.done():
            error_logger.error("the lifespan ignores its cancellation, and is left behind")
            self._left_behind.set_result(None)
