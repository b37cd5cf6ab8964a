"""Deadlines without a timer each: one FIFO per duration, one timer per loop.

All that wait for the same duration fall due in the order in which they began, so a dict kept in that
order is enough, and a sweep looks at its ends only. Nobody reads a clock to begin a deadline: the next sweep
gives its time to all that have begun one since the last, so that a deadline may be late by two sweeps and is
never early. Transfers (bodies and answers under way) are measured, not timed: the sweep asks each of them for
its progress.

Knows neither connections nor the protocol, and takes the time as an argument, so tests need no clock.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

__all__ = ["FINEST", "Deadlines", "Expiring", "Fifo"]

FINEST = 0.01  # seconds between two sweeps, at least


class Expiring(Protocol):
    """What can have a deadline."""

    def deadline_expired(self, now: float) -> None:
        """The time is up; the deadline is no longer armed."""

    def check_transfer(self, now: float) -> None:
        """Look at the progress of a transfer; called at each sweep while watched."""


Fifo = dict[Expiring, float | None]  # since when each waits; None: since the last sweep


class Deadlines:
    """The deadlines of all connections of one loop.

    Args:
        loop: its timer is used, and only while something is armed or watched.
        resolution: seconds between two sweeps.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, resolution: float = 1.0) -> None:
        self._loop = loop
        self._resolution = resolution
        self._fifos: dict[float, Fifo] = {}
        self._watched: dict[Expiring, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def fifo(self, duration: float) -> Fifo:
        """The queue for a duration, to be passed to `arm`."""
        self._resolution = min(self._resolution, max(FINEST, duration / 4))
        return self._fifos.setdefault(duration, {})

    def arm(self, fifo: Fifo, waiting: Expiring) -> None:
        """Start a deadline; whoever is in the queue already goes to its end."""
        fifo.pop(waiting, None)
        fifo[waiting] = None
        if self._timer is None:
            self._schedule()

    def watch(self, transfer: Expiring) -> None:
        """Have the progress of a transfer looked at in each sweep, until `unwatch`."""
        self._watched[transfer] = None
        if self._timer is None:
            self._schedule()

    def unwatch(self, transfer: Expiring) -> None:
        """Stop looking at a transfer; harmless if it is not watched."""
        self._watched.pop(transfer, None)

    def sweep(self, now: float) -> None:
        """Tell all whose time is up at ``now``, and ask the transfers."""
        for duration, fifo in self._fifos.items():
            for waiting in reversed(fifo):
                if fifo[waiting] is not None:
                    break
                fifo[waiting] = now
            due = []
            for waiting, since in fifo.items():
                if since is None or since + duration > now:
                    break
                due.append(waiting)
            for waiting in due:
                if fifo.get(waiting) is not None:  # another's end may have been this one's too, or its new beginning
                    del fifo[waiting]
                    self._call(waiting.deadline_expired, now)
        for transfer in tuple(self._watched):
            if transfer in self._watched:
                self._call(transfer.check_transfer, now)

    def close(self) -> None:
        """Drop the timer and all deadlines."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fifos.clear()
        self._watched.clear()

    def _call(self, method: Callable[[float], None], now: float) -> None:
        try:
            method(now)
        except Exception as error:  # one must not cost the others their deadlines
            self._loop.call_exception_handler({"message": f"error in {method.__qualname__}", "exception": error})

    def _schedule(self) -> None:
        self._timer = self._loop.call_later(self._resolution, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        try:
            self.sweep(self._loop.time())
        finally:
            if self._timer is None and (self._watched or any(self._fifos.values())):
                self._schedule()
