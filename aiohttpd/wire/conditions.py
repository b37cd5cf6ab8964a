"""Preconditions: whether a request wants what there is now, RFC 9110 section 13.

Owns entity tags, how they compare, and the order in which conditions count. It sees header fields and
validators, and neither files nor connections.
"""

import enum
import re
from typing import NamedTuple

from .dates import parse_http_date
from .headers import Headers

__all__ = ["CONDITIONAL_FIELDS", "Outcome", "Validators", "evaluate", "find_tags", "is_known", "range_applies"]

# Fields that make a request conditional, RFC 9110 section 13.1. A request with none of them is not evaluated. If-Range
# is not here: it has an effect only together with Range. A request with one of these, or with Range, gets no prepared
# response from the cache of small files (`handlers.files.store`).
CONDITIONAL_FIELDS = ("if-match", "if-none-match", "if-modified-since", "if-unmodified-since")

# RFC 9110 section 8.8.3, and the list of section 5.6.1, which may hold empty elements.
_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"'
find_tags = re.compile(_TAG).findall
_is_tag_list = re.compile(rf"[\t ,]*+{_TAG}(?:[\t ]*+,(?:[\t ]*+{_TAG})?+)*+[\t ]*+").fullmatch


class Validators(NamedTuple):
    """Validators of a representation (RFC 9110 section 8.8).

    Attributes:
        etag: the entity tag, with quotes, and with ``W/`` if it is weak.
        modified: the time of the last change, in seconds since the epoch; None if the date says nothing.
        is_future: the date of the file lies in the future, and ``modified`` is the time of the response instead.
    """

    etag: str
    modified: int | None
    is_future: bool = False


class Outcome(enum.Enum):
    """The result of evaluating the conditions of a request."""

    PERFORM = "the method is performed"
    NOT_MODIFIED = "304: the client has the current representation"
    FAILED = "412: a condition is false"


def evaluate(headers: Headers, current: Validators | None, *, now: float, method: str = "GET") -> Outcome:
    """Evaluate the conditions of a request in the order of RFC 9110 section 13.2.2.

    Args:
        headers: the header fields of the request.
        current: the validators of the current representation; None if there is none.
        now: seconds since the epoch. Dates with two-digit years depend on it.
        method: the method of the request. 304 is for GET and HEAD only.
    """
    if current is None:
        return Outcome.FAILED if "If-Match" in headers else Outcome.PERFORM
    safe, modified = method in ("GET", "HEAD"), current.modified
    if (match := _combined(headers, "If-Match")) is not None:
        if not _matches(match, current.etag, strong=True):
            return Outcome.FAILED
    elif (
        modified is not None and (since := _date(headers, "If-Unmodified-Since", now)) is not None and modified > since
    ):
        return Outcome.FAILED
    if "If-None-Match" in headers:
        if is_known(headers, current.etag):
            return Outcome.NOT_MODIFIED if safe else Outcome.FAILED
    elif not safe or modified is None:
        return Outcome.PERFORM
    elif (since := _date(headers, "If-Modified-Since", now)) is not None and modified <= since:
        return Outcome.NOT_MODIFIED
    return Outcome.PERFORM


def is_known(headers: Headers, etag: str) -> bool:
    """Whether If-None-Match has an entity tag, by weak comparison (RFC 9110 section 13.1.2)."""
    value = _combined(headers, "If-None-Match")
    return value is not None and _matches(value, etag, strong=False)


def range_applies(headers: Headers, current: Validators, *, now: float) -> bool:
    """Whether Range is to be applied: there is no If-Range, or it matches (RFC 9110 section 13.1.5).

    Args:
        headers: the header fields of the request.
        current: the validators of the current representation.
        now: the time of the response, in seconds since the epoch. A date less than one second before it is no strong
            validator (section 8.8.2.2).
    """
    values = headers.get_all("If-Range")
    if values is None:
        return True
    if len(values) > 1:
        return False
    if values[0].startswith(('"', "W/")):
        return values[0] == current.etag and not current.etag.startswith("W/")
    if current.is_future or current.modified is None:
        return False
    return parse_http_date(values[0], now) == current.modified and current.modified + 1 <= now


def _combined(headers: Headers, name: str) -> str | None:
    values = headers.get_all(name)
    return None if values is None else ", ".join(values)


def _date(headers: Headers, name: str, now: float) -> int | None:
    """A date that counts: a malformed one, or a list, is as none, sections 13.1.3 and 13.1.4."""
    values = headers.get_all(name)
    return None if values is None or len(values) > 1 else parse_http_date(values[0], now)


def _matches(value: str, etag: str, *, strong: bool) -> bool:
    """Compare with a list of entity tags, section 8.8.3.2; what is no such list matches nothing."""
    if value == "*":
        return True
    tags = find_tags(value) if _is_tag_list(value) else []
    if strong:
        return not etag.startswith("W/") and etag in tags
    return etag.removeprefix("W/") in [tag.removeprefix("W/") for tag in tags]
