"""Handling: what a connection knows of the handler that is at work on it.

Owns the task of a handler that waits, how long it has, and the record that is made in the end. A handler that
never waits has no task and no deadline. The states are `connection`'s, which derives from it.
"""

import asyncio
from time import perf_counter

from .intake import Intake
from .service import Service
from .wire.request import Request
from .writer import StreamWriter

__all__ = ["Handling"]


class Handling(Intake):
    """What a connection does about its handler."""

    __slots__ = ("_started", "_task")

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        # Of a request whose handler waits.
        self._task: asyncio.Task[None] | None = None
        self._started = 0.0  # of perf_counter: uvloop's own time stands still within a callback

    @property
    def busy(self) -> bool:
        """Whether a handler is at work."""
        return self._task is not None

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The handler that waits."""
        return self._task

    @property
    def busy_since(self) -> float | None:
        """When the handler that waits has begun, in the time of `perf_counter`."""
        return None if self._task is None else self._started

    @property
    def request(self) -> Request | None:
        """What the handler that waits is at work on."""
        return None if self._response is None else self._response.request

    def body_arrived(self) -> None:
        """The handler waits for the client no longer; its own time begins anew."""
        super().body_arrived()
        if self._task is not None:
            self._begin_deadline()

    def _wait_for_handler(self, task: asyncio.Task[None], response: StreamWriter) -> None:
        self._task = task
        self._response = response
        self._disarm()
        if not self.service.timed:
            self._started = perf_counter()
        self._begin_deadline()

    def _begin_deadline(self) -> None:
        if self.service.handlers is not None and not self.out.lost:
            self._arm(self.service.handlers)

    def _end_deadline(self) -> None:
        if self._fifo is self.service.handlers:
            self._disarm()

    def _overdue(self) -> None:
        """The handler has not begun its answer in time; one that has may take what it needs."""
        assert self._task is not None
        assert self._response is not None
        if self._body is not None and self._body.waiting:
            self._begin_deadline()  # it is the client that is slow, and that is measured
        elif self._response.replaceable():
            self._response.overdue = True
            self._task.cancel()

    def _tell_gone(self) -> None:
        super()._tell_gone()
        response = self._response
        if self._task is not None and response is not None and response.cancel_on_disconnect:
            response.cancel_on_disconnect = False  # once is enough
            self._task.cancel()
