"""HandlerTask: the task of a handler that waits.

Owns its deadline (``timeout_handler``), its cancellation, and how much of its response the client can have received.
A handler that returns without waiting has no `HandlerTask`.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, cast

from ..net.deadlines import Deadlines, Fifo
from ..net.outgoing import Outgoing
from ..wire.request import Request
from .answer import Cause
from .response import StreamWriter

__all__ = ["HandlerTask", "cancel_task"]


def cancel_task(task: asyncio.Task[None]) -> None:
    """Cancel the task of a handler; not before its first step, or nothing of it would run, not even its end."""
    if inspect.getcoroutinestate(cast(Coroutine[Any, Any, None], task.get_coro())) == inspect.CORO_CREATED:
        task.get_loop().call_soon(task.cancel)  # Python 3.11, whose tasks do not run at once
    else:
        task.cancel()


class HandlerTask:
    """A handler that waits.

    Args:
        task: the task of the handler.
        request: the request.
        response: the response.
        out: the output of the connection.
        started: when the handler was called, by ``perf_counter`` (``loop.time`` of uvloop is constant in a callback).
        waits_for_client: returns whether the handler waits for the request body, whose rate is measured instead.
    """

    __slots__ = (
        "_deadline", "_deadlines", "_out", "_sent_before", "_waits_for_client", "request", "response", "started",
        "task",
    )  # fmt: skip

    def __init__(
        self,
        task: asyncio.Task[None],
        request: Request,
        response: StreamWriter,
        out: Outgoing,
        started: float,
        waits_for_client: Callable[[], bool],
    ) -> None:
        self.task = task
        self.request = request
        self.response = response
        self.started = started
        self._out = out
        self._sent_before = out.total - response.size  # bytes sent on the connection before the content
        self._waits_for_client = waits_for_client
        self._deadlines: Deadlines | None = None
        self._deadline: Fifo | None = None

    # The deadline for the beginning of the response.

    def begin_deadline(self, deadlines: Deadlines, deadline: Fifo) -> None:
        """Start the deadline, or restart it. The handler is cancelled if it has not begun its response by then."""
        self._deadlines, self._deadline = deadlines, deadline
        deadlines.arm(deadline, self)

    def end_deadline(self) -> None:
        """The handler has ended: remove the deadline."""
        if self._deadline is not None:
            self._deadline.pop(self, None)

    def deadline_expired(self, now: float) -> None:
        """Cancel the handler if nothing of its response has been sent. A response that has begun has no deadline."""
        if self._waits_for_client():
            assert self._deadlines is not None
            assert self._deadline is not None
            self._deadlines.arm(self._deadline, self)  # the client is slow; `check_rate` measures the body
        elif self.response.replaceable():
            self.cancel(Cause.DEADLINE)

    def check_transfer(self, now: float) -> None:
        """Do nothing: the connection measures transfers."""

    # The end of the handler or of its client.

    def mark(self) -> None:
        """The client may have disconnected: remember how much of the response has reached the kernel."""
        self.response.mark(self._out.total - self._out.unsent - self._sent_before)

    def cancel(self, cause: Cause) -> None:
        """Cancel the handler. If it is cancelled several times, the first cause is kept."""
        if self.response.cancelled is None:
            self.response.cancelled = cause
        cancel_task(self.task)

    def client_gone(self) -> None:
        """The client has disconnected: cancel the handler, once, if it has set ``cancel_on_disconnect``."""
        if self.response.cancel_on_disconnect:
            self.response.cancel_on_disconnect = False
            self.cancel(Cause.DISCONNECT)
