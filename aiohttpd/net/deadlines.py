"""Deadlines of connections: one FIFO for each duration, one timer for each loop.

Deadlines of the same duration expire in the order in which they were started. So a dict in that order is enough, and a
sweep of the timer looks only at its ends. No clock is read to start a deadline: the next sweep gives its time to all
that were started since the last one. So a deadline may be late by two sweeps, and is never early. Transfers (bodies and
answers under way) have no deadline: each sweep asks them for their progress.

It knows neither connections nor the protocol. The time is an argument, so tests need no clock.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

__all__ = ["FINEST", "Deadlines", "Expiring", "Fifo"]

FINEST = 0.01  # seconds between two sweeps, at least


class Expiring(Protocol):
    """An object with a deadline or a transfer: a connection, for example."""

    def deadline_expired(self, now: float) -> None:
        """The deadline has expired; it is not armed any more."""

    def check_transfer(self, now: float) -> None:
        """Check the progress of a transfer; each sweep calls it while the object is watched."""


Fifo = dict[Expiring, float | None]  # the time at which each deadline was started; None: since the last sweep


class Deadlines:
    """The deadlines of all connections of one loop.

    Args:
        loop: the event loop; it has a timer only while something is armed or watched.
        resolution: seconds between two sweeps; shorter if a duration needs it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, resolution: float = 1.0) -> None:
        self._loop = loop
        self._resolution = resolution
        self._fifos: dict[float, Fifo] = {}
        self._watched: dict[Expiring, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def fifo(self, duration: float) -> Fifo:
        """The queue of a duration in seconds, for `arm`."""
        self._resolution = min(self._resolution, max(FINEST, duration / 4))
        return self._fifos.setdefault(duration, {})

    def arm(self, fifo: Fifo, waiting: Expiring) -> None:
        """Start a deadline; one that is armed already starts anew."""
        fifo.pop(waiting, None)
        fifo[waiting] = None
        if self._timer is None:
            self._schedule()

    def watch(self, transfer: Expiring) -> None:
        """Have each sweep check the progress of a transfer, until `unwatch`."""
        self._watched[transfer] = None
        if self._timer is None:
            self._schedule()

    def unwatch(self, transfer: Expiring) -> None:
        """Stop checking a transfer; nothing happens if it is not watched."""
        self._watched.pop(transfer, None)

    def sweep(self, now: float) -> None:
        """Call the objects whose deadlines have expired at ``now``, and check the transfers."""
        for duration, fifo in tuple(self._fifos.items()):  # a call may arm a deadline of another duration
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
                if fifo.get(waiting) is not None:  # the call before may have ended it or started it anew
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
        except Exception as error:  # an error in one call must not stop the others
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
