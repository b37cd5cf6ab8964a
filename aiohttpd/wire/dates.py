"""Dates in header fields, RFC 9110 section 5.6.7: written as IMF-fixdate, read in all three formats.

Pure functions: the current time is an argument. `net.clock` reads the time.
"""

import functools
import re
from math import floor
from time import gmtime

__all__ = ["MONTHS", "WEEKDAYS", "http_date", "parse_http_date"]

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(timestamp: float) -> str:
    """Format seconds since the epoch as an IMF-fixdate, RFC 9110 section 5.6.7."""
    return _imf_fixdate(floor(timestamp))


@functools.lru_cache(maxsize=64)
def _imf_fixdate(timestamp: int) -> str:
    year, month, day, hour, minute, second, weekday, *_ = gmtime(timestamp)
    return f"{WEEKDAYS[weekday]}, {day:02d} {MONTHS[month]} {year:04d} {hour:02d}:{minute:02d}:{second:02d} GMT"


_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_LONG_DAY = r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day"
_MONTH = f"({'|'.join(MONTHS[1:])})"
_TIME = r"([0-9]{2}):([0-9]{2}):([0-9]{2})"
_IMF_FIXDATE = re.compile(rf"{_DAY}, ([0-9]{{2}}) {_MONTH} ([0-9]{{4}}) {_TIME} GMT")
_RFC850_DATE = re.compile(rf"{_LONG_DAY}, ([0-9]{{2}})-{_MONTH}-([0-9]{{2}}) {_TIME} GMT")
_ASCTIME_DATE = re.compile(rf"{_DAY} {_MONTH} ([0-9]{{2}}| [0-9]) {_TIME} ([0-9]{{4}})")


def parse_http_date(text: str, now: float) -> int | None:
    """Read a date in any of the three formats of RFC 9110 section 5.6.7.

    Args:
        text: the value of a field.
        now: the current time, in seconds since the epoch. The format of RFC 850 has a year of two digits; the date is
            in the past if it would be more than 50 years in the future.

    Returns:
        Seconds since the epoch; None if the text is not a valid date.
    """
    import datetime  # loaded only when a request has a date

    if match := _IMF_FIXDATE.fullmatch(text) or _RFC850_DATE.fullmatch(text):
        day, month, year, *clock = match.groups()
    elif match := _ASCTIME_DATE.fullmatch(text):
        month, day, *clock, year = match.groups()
    else:
        return None
    number = int(year)
    hour, minute, second = (int(part) for part in clock)
    if len(year) == 2:
        current = gmtime(now)
        number += current.tm_year - current.tm_year % 100
        number -= 100 * ((number - 50, MONTHS.index(month), int(day), hour, minute, second) > current[:6])
    try:
        moment = datetime.datetime(
            number, MONTHS.index(month), int(day), hour, minute, 59 if second == 60 else second, tzinfo=datetime.UTC
        )
    except ValueError:
        return None
    return int(moment.timestamp()) + (second == 60)  # a leap second counts as the next second
