"""The current time as the Date field and the log show it, formatted once a second.

It knows neither connections nor handlers.
"""

import time
from collections.abc import Callable

from ..wire.dates import MONTHS, http_date

__all__ = ["Clock", "log_date"]


def log_date(timestamp: float) -> str:
    """Format seconds since the epoch in the way of http.server's log, in local time."""
    year, month, day, hour, minute, second, *_ = time.localtime(timestamp)
    return f"{day:02d}/{MONTHS[month]}/{year:04d} {hour:02d}:{minute:02d}:{second:02d}"


class Clock:
    """The current second, in the formats of the Date field and of the log.

    Args:
        now: returns the time in seconds since the epoch.

    Attributes:
        date: the current second as an HTTP-date.
        log: the current second as `log_date` formats it.
    """

    __slots__ = ("_now", "_second", "date", "log")

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._second = 0
        self.date = ""
        self.log = ""
        self.tick()

    def tick(self) -> bool:
        """Read the time; return True if a new second has begun, so that cached texts are outdated."""
        second = int(self._now())
        if second == self._second:
            return False
        self._second = second
        self.date = http_date(second)
        self.log = log_date(second)
        return True

    def left(self) -> float:
        """The rest of the current second, in seconds; at most 1, also if the clock has been set back meanwhile."""
        return min(1.0, max(0.0, self._second + 1 - self._now()))
