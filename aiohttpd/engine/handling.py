"""Handling: what a connection knows of the handler that is at work on it.

Owns the task of a handler that waits, how long it has, and the record that is made in the end. A handler that
never waits has no task and no deadline. The states are `connection`'s, which derives from it.
"""

import asyncio
from time import perf_counter

from ..wire.request import Request
from .answer import Cause
from .context import ServerContext
from .intake import Intake
from .response import StreamWriter

__all__ = ["Handling"]


class Handling(Intake):
    """What a connection does about its handler."""

    __slots__ = ("_before", "_started", "_task", "_unsettled")

    def __init__(self, service: ServerContext) -> None:
        super().__init__(service)
        # Of a request whose handler waits.
        self._task: asyncio.Task[None] | None = None
        self._before = 0  # bytes sent on the connection before its content
        # An answer of which the client has closed its side before: whether it has been there to read it, the end tells.
        self._unsettled: tuple[Request, StreamWriter, float] | None = None
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
        self._before = self.out.total - response.size
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
            self._cancel_handler(Cause.DEADLINE)

    def _cancel_handler(self, cause: Cause) -> None:
        assert self._task is not None
        if self._response is not None and self._response.cancelled is None:
            self._response.cancelled = cause
        self._task.cancel()

    def _tell_gone(self) -> None:
        super()._tell_gone()
        response = self._response
        if self._task is not None and response is not None and response.cancel_on_disconnect:
            response.cancel_on_disconnect = False  # once is enough
            self._cancel_handler(Cause.DISCONNECT)

    # The record.

    def abort(self) -> None:
        """Cut the connection at once."""
        self._mark()
        super().abort()

    def _mark(self) -> None:
        """The client goes, or may: what it has been sent by now may be all that it gets."""
        if self._task is not None and self._response is not None:
            self._response.mark(self.out.total - self.out.unsent - self._before)

    def _record(self, request: Request, response: StreamWriter, started: float) -> None:
        """Have an answer logged and counted, as what has left of it."""
        service = self.service
        if response.aborted:
            if service.record is not None or response.log is not None:
                service.record_aborted(request, response, started)
            return
        record = service.record if response.log is None else service.record_own
        if record is not None:
            record(request, response, started)

    def _settle_early(self) -> bool:
        """Make the record that waits for the end, if that is known now; say whether it was."""
        if self._unsettled is None:
            return False
        if self.out.refused or not self.out.undelivered:
            self._settle()
            return True
        self._watch()
        return False

    def _settle(self) -> None:
        """Make the record that waits for the end."""
        if self._unsettled is not None:
            request, response, started = self._unsettled
            self._unsettled = None
            if self.out.refused:
                response.lose()
            self._record(request, response, started)
