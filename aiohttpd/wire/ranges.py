"""Byte ranges (RFC 9110 section 14): the grammar of Range, and which ranges are served."""

import re
from typing import NamedTuple

__all__ = ["Span", "content_range", "select"]

# RFC 9110 section 14.1.1; the unit is case-insensitive, and lists may hold empty elements.
_RANGE = r"(?:[0-9]++-[0-9]*+|-[0-9]++)"
_is_range = re.compile(rf"(?i:bytes)=([\t ,]*+{_RANGE}(?:[\t ]*+,(?:[\t ]*+{_RANGE})?+)*+[\t ]*+)").fullmatch
_find_ranges = re.compile(r"([0-9]*+)-([0-9]*+)").findall

_DIGITS = 19  # digits of a number that is parsed; a longer one is greater than any file size
_BEYOND = 10**_DIGITS


class Span(NamedTuple):
    """A range of bytes: ``start`` is the first, ``stop`` the one after the last."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """The number of bytes."""
        return self.stop - self.start


def select(value: str, size: int, *, limit: int) -> list[Span] | None:
    """Read a Range field.

    Args:
        value: the value of the field.
        size: the size of the whole representation in bytes.
        limit: the maximum number of ranges.

    Returns:
        The spans in the order of the request; an empty list if no range can be satisfied (416); None if the field has
        to be ignored: another unit, a syntax error, too many ranges, ranges that overlap so much that together they
        are larger than the whole, or the last bytes of an empty representation (section 14.2).
    """
    match = _is_range(value)
    if match is None:
        return None
    found = _find_ranges(match[1])
    if len(found) > limit:
        return None
    spans = []
    for first, last in found:
        if first and last and _is_less(last, first):
            return None  # one invalid range makes the whole set invalid, section 14.1.1
        span = _span(first, last, size)
        if span is not None:
            spans.append(span)
    if not size and any(not first and last.strip("0") for first, last in found):
        return None  # the end of nothing is satisfiable (section 14.1.2), but not expressible in Content-Range
    if len(spans) > 1 and sum(span.size for span in spans) > size:
        return None
    return spans


def _span(first: str, last: str, size: int) -> Span | None:
    if not first:  # the last so many bytes
        length = min(_number(last), size)
        return Span(size - length, size) if length else None
    start = _number(first)
    if start >= size:
        return None
    return Span(start, min(_number(last) + 1, size) if last else size)


def _is_less(one: str, other: str) -> bool:
    """Compare two decimal numbers of any length."""
    one, other = one.lstrip("0"), other.lstrip("0")
    return (len(one), one) < (len(other), other)


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS else _BEYOND


def content_range(span: Span | None, size: int) -> str:
    """The value of Content-Range (section 14.4); without a span that of a 416."""
    return f"bytes */{size}" if span is None else f"bytes {span.start}-{span.stop - 1}/{size}"
