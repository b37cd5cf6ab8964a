"""HandlerTask: the handler of a request, once it waits.

Owns its task, its deadline, why it is cancelled, and what its client can have received of its response. A handler that
never waits has none.
"""

import asyncio
from collections.abc import Callable

from ..net.deadlines import Deadlines, Fifo
from ..net.outgoing import Outgoing
from ..wire.request import Request
from .answer import Cause
from .response import StreamWriter

__all__ = ["HandlerTask"]


class HandlerTask:
    """A handler that waits.

    Args:
        task: it runs in.
        request: it is at work on.
        response: it gives.
        out: the content of the response goes there.
        started: when it began, of ``perf_counter``: uvloop's own time stands still within a callback.
        waits_for_client: says whether it waits for content of its client, whose rate is measured.
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
        *,
        started: float,
        waits_for_client: Callable[[], bool],
    ) -> None:
        self.task = task
        self.request = request
        self.response = response
        self.started = started
        self._out = out
        self._sent_before = out.total - response.size  # on the connection, before the content
        self._waits_for_client = waits_for_client
        self._deadlines: Deadlines | None = None
        self._deadline: Fifo | None = None

    # How long it may take to begin its answer.

    def begin_deadline(self, deadlines: Deadlines, deadline: Fifo) -> None:
        """Cancel it, unless its answer has begun by then; the time begins anew if there is a deadline already."""
        self._deadlines, self._deadline = deadlines, deadline
        deadlines.arm(deadline, self)

    def end_deadline(self) -> None:
        """It has ended."""
        if self._deadline is not None:
            self._deadline.pop(self, None)

    def deadline_expired(self, now: float) -> None:
        """It has not begun its answer in time; one that has may take what it needs."""
        if self._waits_for_client():
            assert self._deadlines is not None
            assert self._deadline is not None
            self._deadlines.arm(self._deadline, self)  # it is the client that is slow, and that is measured
        elif self.response.replaceable():
            self.cancel(Cause.DEADLINE)

    def check_transfer(self, now: float) -> None:
        """The connection measures transfers."""

    # Its end.

    def mark(self) -> None:
        """The client goes, or may: what has been sent by now may be all that it gets of the response."""
        self.response.mark(self._out.total - self._out.unsent - self._sent_before)

    def cancel(self, cause: Cause) -> None:
        """Cancel it; the first cause counts."""
        if self.response.cancelled is None:
            self.response.cancelled = cause
        self.task.cancel()

    def client_gone(self) -> None:
        """Cancel it, once, if it has asked for that."""
        if self.response.cancel_on_disconnect:
            self.response.cancel_on_disconnect = False
            self.cancel(Cause.DISCONNECT)
