"""Matching: whether a request is the one that is expected, and if not, in what it differs.

Owns the comparisons and their words. A mismatch is told as lines of a diff: ``-`` is what was
expected, ``+`` what came.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from ..handlers.routing.pattern import NO_MATCH, End, Param, Pattern, split_path
from ..wire.headers import Headers

__all__ = ["ANYTHING", "Mismatch", "Pairs", "RequestMatcher"]

ANYTHING: Any = ...  # of an argument that has not been given

Pairs = Mapping[str, Any] | Iterable[tuple[str, Any]]


class Mismatch(NamedTuple):
    """One thing in which a request is not the expected one.

    Attributes:
        what: ``method``, ``path``, ``query``, a header field, ``json`` or ``body``.
        weight: how far this is from the expectation.
        lines: the diff.
    """

    what: str
    weight: float
    lines: list[str]


class RequestMatcher:
    """What is expected of a request. The arguments are those of `TestServer.expect`."""

    def __init__(
        self,
        method: str | None,
        path: str | re.Pattern[str],
        *,
        query: str | Pairs | None = None,
        headers: Mapping[str, Any] | None = None,
        json: Any = ANYTHING,
        body: bytes | str | re.Pattern[Any] | None = None,
    ) -> None:
        if json is not ANYTHING and body is not None:
            raise ValueError("an expectation has json= or body=, not both: they are the same bytes")
        if method is not None and not isinstance(method, str):
            raise TypeError(f"the method of an expectation is text, or None for any method, not {method!r}")
        if body is not None and not isinstance(body, (bytes, bytearray, str, re.Pattern)):
            raise TypeError(
                f"the body of an expectation is bytes, text or a compiled regular expression, not "
                f"{type(body).__name__}: write json=... for a value"
            )
        self.method = method
        self.path = path
        self._pattern = Pattern.of(_checked(path)) if isinstance(path, str) else None
        self._query = None if query is None else _pairs(query)
        self._headers = dict(headers or {})
        self._json = json
        self._body = body.encode() if isinstance(body, str) else body

    def __str__(self) -> str:
        path = self.path if isinstance(self.path, str) else f"/{self.path.pattern}/"
        return f"{self.method or 'any method'} {path}"

    def params(self, target_path: str) -> dict[str, Any] | None:
        """The parameters of a path as it was sent; None if it is another path."""
        if self._pattern is None:
            assert isinstance(self.path, re.Pattern)
            match = self.path.fullmatch(target_path)
            return None if match is None else match.groupdict()
        return _match_path(self._pattern, split_path(target_path))

    def mismatches(
        self, method: str, target_path: str, query: list[tuple[str, str]], headers: Headers, body: bytes
    ) -> list[Mismatch]:
        """In what a request is not the expected one; empty if it is."""
        found: list[Mismatch] = []
        if self.method is not None and method != self.method:
            found.append(Mismatch("method", 2, [f"- {self.method}", f"+ {method}"]))
        if self.params(target_path) is None:
            text = str(self.path) if isinstance(self.path, str) else self.path.pattern
            likeness = difflib.SequenceMatcher(None, text, target_path).ratio()
            found.append(Mismatch("path", 8 - 6 * likeness, [f"- {text}", f"+ {target_path}"]))
        if self._query is not None and not _same_pairs(self._query, query):
            lines = [f"- {name}={_shown(value)}" for name, value in self._query if (name, value) not in query]
            lines += [f"+ {name}={value}" for name, value in query if (name, value) not in self._query]
            found.append(Mismatch("query", 0.5, lines or ["- (the same fields, another number of times)"]))
        for name, wanted in self._headers.items():
            values = headers.get_all(name) or []
            if not _header_matches(wanted, values):
                came = [f"+ {name}: {value}" for value in values] or [f"+ (no field {name})"]
                lines = [f"- (no field {name})" if wanted is None else f"- {name}: {_shown(wanted)}", *came]
                found.append(Mismatch(f"header {name}", 0.5, lines))
        found += self._content_mismatch(body)
        return found

    def _content_mismatch(self, body: bytes) -> Iterable[Mismatch]:
        if self._json is not ANYTHING:
            try:
                value = json.loads(body)
            except ValueError:
                yield Mismatch(
                    "json", 0.5, [*(f"- {line}" for line in _pretty(self._json)), f"+ (no JSON) {_shown(body)}"]
                )
                return
            if not _same_json(self._json, value):
                yield Mismatch("json", 0.5, _diff(_pretty(self._json), _pretty(value)))
        elif isinstance(self._body, re.Pattern):
            text: Any = body if isinstance(self._body.pattern, bytes) else body.decode("utf-8", "replace")
            if not self._body.search(text):
                yield Mismatch("body", 0.5, [f"- matches {self._body.pattern!r}", f"+ {_shown(body)}"])
        elif self._body is not None and body != self._body:
            yield Mismatch("body", 0.5, [f"- {_shown(self._body)}", f"+ {_shown(body)}"])


def _checked(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"the path {path!r} of an expectation begins with a slash: '/{path}'")
    if "?" in path:
        raise ValueError(f"the path {path!r} has a query: give it as query={path.partition('?')[2]!r}")
    return path


def _match_path(pattern: Pattern, parts: list[str]) -> dict[str, Any] | None:
    count = len(pattern.segments)
    rest = parts[count:]
    if len(parts) < count or not _end_matches(pattern.end, rest):
        return None
    params: dict[str, Any] = {}
    for segment, part in zip(pattern.segments, parts, strict=False):
        if isinstance(segment, Param):
            value = segment.converter.read(part)
            if value is NO_MATCH:
                return None
            params[segment.name] = value
        elif segment != part:
            return None
    if pattern.rest:
        params[pattern.rest] = "/".join(rest)
    return params


def _end_matches(end: End, rest: list[str]) -> bool:
    if end is End.NOTHING:
        return not rest
    return bool(rest) if end is End.REST else rest == [""]  # a slash at the end is no mount here: no App is meant


def _pairs(query: str | Pairs) -> list[tuple[str, Any]]:
    if isinstance(query, str):
        return list(parse_qsl(query.removeprefix("?"), keep_blank_values=True))
    items = query.items() if isinstance(query, Mapping) else query
    pairs: list[tuple[str, Any]] = []
    for name, value in items:
        values = value if isinstance(value, (list, tuple)) else [value]
        pairs += [(name, one if isinstance(one, re.Pattern) or callable(one) else str(one)) for one in values]
    return pairs


def _same_pairs(wanted: list[tuple[str, Any]], came: list[tuple[str, str]]) -> bool:
    """Whether each wanted field has one of its own among those that came, and none is left.

    A pattern may match several values, so a field that has been given to one wanted field is given to another if the
    first can have another one (augmenting paths).
    """
    given: dict[int, int] = {}  # places in ``wanted``, by places in ``came``

    def find_one(at: int, tried: set[int]) -> bool:
        name, value = wanted[at]
        for place, (other, text) in enumerate(came):
            if place not in tried and name == other and _value_matches(value, text):
                tried.add(place)
                if place not in given or find_one(given[place], tried):
                    given[place] = at
                    return True
        return False

    return len(wanted) == len(came) and all(find_one(at, set()) for at in range(len(wanted)))


def _value_matches(wanted: str | re.Pattern[str] | Callable[[str], bool], value: str) -> bool:
    if isinstance(wanted, re.Pattern):
        return wanted.search(value) is not None
    return bool(wanted(value)) if callable(wanted) else wanted == value


def _header_matches(wanted: Any, values: list[str]) -> bool:
    if wanted is None:
        return not values
    if not callable(wanted) and not isinstance(wanted, re.Pattern):
        wanted = str(wanted)
    return any(_value_matches(wanted, value) for value in values)


def _shown(value: Any) -> str:
    if isinstance(value, re.Pattern):
        return f"(matches {value.pattern!r})"
    text = repr(value) if not isinstance(value, str) else value
    return text if len(text) <= 500 else f"{text[:500]}... ({len(value)} in all)"


def _same_json(wanted: Any, value: Any) -> bool:
    """Whether a value is the wanted one. In JSON, unlike in Python, true is not 1, and false is not 0."""
    if isinstance(wanted, dict) and isinstance(value, dict):
        return wanted.keys() == value.keys() and all(_same_json(wanted[key], value[key]) for key in wanted)
    if isinstance(wanted, (list, tuple)) and isinstance(value, list):
        return len(wanted) == len(value) and all(map(_same_json, wanted, value))
    if isinstance(wanted, (bool, int, float)) and isinstance(value, bool) is not isinstance(wanted, bool):
        return False
    return bool(wanted == value)


def _pretty(value: Any) -> list[str]:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=repr)
    return text.encode("utf-8", "backslashreplace").decode().splitlines()  # a lone surrogate could not be printed


def _diff(wanted: list[str], came: list[str]) -> list[str]:
    return [line.rstrip("\n") for line in difflib.ndiff(wanted, came) if not line.startswith("?")][:200]
