"""The time of day as HTTP and the log write it, formatted once a second.

Owns every date format of the package. It knows neither connections nor handlers.
"""

import re
import time
from collections.abc import Callable

__all__ = ["MONTHS", "WEEKDAYS", "Clock", "http_date", "log_date", "parse_http_date"]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(timestamp: float) -> str:
    """Format seconds since the epoch as an IMF-fixdate, RFC 9110 section 5.6.7."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(timestamp)
    return f"{WEEKDAYS[weekday]}, {day:02d} {MONTHS[month]} {year:04d} {hour:02d}:{minute:02d}:{second:02d} GMT"


_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH = f"({'|'.join(MONTHS[1:])})"
_TIME = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_IMF_FIXDATE = re.compile(rf"{_DAY}, ([0-9]{{2}}) {_MONTH} ([0-9]{{4}}) {_TIME} GMT")
_RFC850_DATE = re.compile(rf"{_LONG_DAY}, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_TIME} GMT")
_ASCTIME_DATE = re.compile(rf"{_DAY} {_MONTH} ([0-9]{{2}}| [0-9]) {_TIME} ([0-9]{{4}})")


def parse_http_date(text: str) -> int | None:
    """Read a date in any of the three formats of RFC 9110 section 5.6.7; None if it is none of them."""
    import datetime  # only where somebody asks with a date

    if match := _IMF_FIXDATE.fullmatch(text) or _RFC850_DATE.fullmatch(text):
        day, month, year, *clock = match.groups()
    elif match := _ASCTIME_DATE.fullmatch(text):
        month, day, *clock, year = match.groups()
    else:
        return None
    number = int(year)
    hour, minute, second = (int(part) for part in clock)
    if len(year) == 2:
        # More than 50 years in the future is the past.
        now = time.gmtime()
        number += now.tm_year - now.tm_year % 100
        number -= 100 * ((number - 50, MONTHS.index(month), int(day), hour, minute, second) > now[:6])
    try:
        moment = datetime.datetime(
            number, MONTHS.index(month), int(day), hour, minute, 59 if second == 60 else second, tzinfo=datetime.UTC
        )
    except ValueError:
        return None
    return int(moment.timestamp()) + (second == 60)  # a leap second is the second after


def log_date(timestamp: float) -> str:
    """Format seconds since the epoch as http.server's log does, in local time."""
    year, month, day, hour, minute, second, *_ = time.localtime(timestamp)
    return f"{day:02d}/{MONTHS[month]}/{year:04d} {hour:02d}:{minute:02d}:{second:02d}"


class Clock:
    """The current second, and what was formatted in it.

    ``tick()`` is true once in every new second: the caller then drops what it derived from the old one.
    """

    __slots__ = ("_now", "_second", "date", "log")

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._second = 0
        self.date = ""
        self.log = ""
        self.tick()

    def tick(self) -> bool:
        """Look at the time; say whether a new second has begun."""
        second = int(self._now())
        if second == self._second:
            return False
        self._second = second
        self.date = http_date(second)
        self.log = log_date(second)
        return True

    def left(self) -> float:
        """How long the current second lasts, in seconds."""
        return max(0.0, self._second + 1 - self._now())
