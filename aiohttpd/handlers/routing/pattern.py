"""Patterns: parsing and comparison of the texts of routes, such as ``example.org/notes/{id:int}``.

Owns the grammar of patterns, the converters of parameters, and the comparison of two patterns. Patterns are parsed and
compared when routes are added; for requests only converters and `split_path` are used.

A pattern is an optional host and a path. Each segment of the path is literal, or one parameter. The end of the pattern
decides what may follow the segments: nothing; one slash (``{$}``); any path for an App that is mounted there (the
pattern ends with a slash); or any path as a parameter (``{rest...}``).
"""

import enum
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from ...config.hosts import IPV6, NAME

__all__ = ["CONVERTERS", "NO_MATCH", "Converter", "End", "Param", "Pattern", "Relation", "compare", "split_path"]

NO_MATCH: Any = object()  # the result of `Converter.read` for a text that does not match
_LARGEST = 2**63 - 1  # the largest int of a parameter: the largest 64-bit integer of databases


class Converter:
    """Converts the text of a path segment to the value of a parameter.

    ::

        site = Router({"/archive/{year:year}": Archive}, converters={"year": Converter("[0-9]{4}", int)})

    Args:
        pattern: a regular expression that the whole segment has to match, after percent-decoding. It is tried only if
            all segments before have matched.
        parse: converts the text to the value; ValueError means that the text does not match.
        format: converts a value to its text, for `Router.url`.
    """

    def __init__(self, pattern: str, parse: Callable[[str], Any] = str, format: Callable[[Any], str] = str) -> None:
        self.pattern = pattern
        self._match = re.compile(pattern).fullmatch
        self._parse = parse
        self._format = format

    def read(self, text: str) -> Any:
        """Return the value of a text; `NO_MATCH` if the text does not match."""
        if self._match(text) is None:
            return NO_MATCH
        try:
            return self._parse(text)
        except ValueError:
            return NO_MATCH

    def write(self, value: Any) -> str:
        """Return the text of a value.

        Raises:
            ValueError: the text does not match this converter.
        """
        text = self._format(value)
        if self.read(text) is NO_MATCH:
            raise ValueError(f"{value!r} does not match")
        return text


class _Text(Converter):
    """The converter ``str``: it takes any segment that is not empty and valid UTF-8."""

    def __init__(self) -> None:
        super().__init__("(?s:.+)")

    def read(self, text: str) -> Any:
        if not text:
            return NO_MATCH
        return text if text.isascii() or text.encode("utf-8", "ignore").decode() == text else NO_MATCH


def _integer(text: str) -> int:
    value = int(text)
    if value > _LARGEST:
        raise ValueError("larger than 64 bits")
    return value


_TEXT = _Text()
_INT = Converter("[0-9]{1,19}", _integer)
_UUID = Converter("[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}", uuid.UUID)

CONVERTERS: Mapping[str, Converter] = {"str": _TEXT, "int": _INT, "uuid": _UUID}


class End(enum.Enum):
    """What may follow the segments of a pattern."""

    NOTHING = "nothing"
    SLASH = "one slash"
    REST = "a slash and any path, which is a parameter"
    MOUNT = "a slash and any path, which is the path for the App that is mounted"

    @property
    def is_open(self) -> bool:
        """Whether any path may follow."""
        return self is End.REST or self is End.MOUNT


class Param(NamedTuple):
    """A segment that is a parameter."""

    name: str
    kind: str
    converter: Converter


class Pattern(NamedTuple):
    """A parsed route text.

    Attributes:
        text: the text.
        host: the host in lower case; ``*.`` at its beginning stands for all its subdomains; empty for any host.
        segments: the literal segments, decoded, and the parameters.
        end: what may follow the segments.
        rest: the name of the parameter ``{rest...}``; empty if there is none.
    """

    text: str
    host: str
    segments: tuple[str | Param, ...]
    end: End
    rest: str = ""

    @classmethod
    def of(cls, text: str, converters: Mapping[str, Converter] = CONVERTERS) -> "Pattern":
        """Parse a text.

        Args:
            text: the text.
            converters: the converters by name.

        Raises:
            ValueError: it is not a valid pattern; the message says what to write.
        """
        host, slash, path = text.partition("/")
        if not slash:
            raise _error(text, "a path begins with a slash")
        if host and not _is_host(host):
            raise _error(text, f"{host!r} is no host: write 'example.org/path' or '*.example.org/path', without a port")
        *parts, last = path.split("/")
        end, rest = End.NOTHING, ""
        if last == "":
            end = End.MOUNT if parts else End.SLASH
        elif last == "{$}":
            end = End.SLASH
        elif match := _is_rest(last):
            end, rest = End.REST, match[1]
        else:
            parts.append(last)
        segments = tuple(_segment(text, part, converters) for part in parts)
        pattern = cls(text, host.lower().removesuffix("."), segments, end, rest)
        names = pattern.names
        for name in names:
            if names.count(name) > 1:
                raise _error(text, f"the parameter {name!r} is there twice")
        return pattern

    @property
    def names(self) -> list[str]:
        """The names of its parameters, in the order of the text."""
        return [segment.name for segment in self.segments if isinstance(segment, Param)] + [self.rest] * bool(self.rest)

    @property
    def literal(self) -> str | None:
        """The only path that it matches, if it has no parameters and no character that needs percent-encoding."""
        if self.end.is_open or not all(isinstance(part, str) and _is_plain(part) for part in self.segments):
            return None
        path = "/" + "/".join(map(str, self.segments))
        return f"{path}/" if self.end is End.SLASH and self.segments else path


_is_host = re.compile(rf"(?:\*\.)?{NAME}\.?|{IPV6}", re.ASCII | re.IGNORECASE).fullmatch
_is_rest = re.compile(r"\{([^\W\d]\w*)\.\.\.\}").fullmatch
_is_param = re.compile(r"\{([^\W\d]\w*)(?::(\w+))?\}").fullmatch
_is_foreign = re.compile(r"<(?:(\w+):)?(\w+)>|:(\w+)|\*(\w*)").fullmatch
_is_plain = re.compile(r"[A-Za-z0-9!$&'()*+,;=:@~._-]+").fullmatch


def _segment(text: str, part: str, converters: Mapping[str, Converter]) -> str | Param:
    if match := _is_param(part):
        kind = match[2] or "str"
        if kind not in converters:
            hint = f"; or write '{{{match[1]}...}}' for the rest of a path" if kind == "path" else ""
            raise _error(
                text, f"there is no converter {kind!r}: there are {', '.join(converters)}; or give converters={hint}"
            )
        return Param(match[1], kind, converters[kind])
    if "{" in part or "}" in part:
        raise _error(
            text,
            f"{part!r} is no parameter: one is a whole segment, '{{name}}' or '{{name:int}}', '{{rest...}}' the last",
        )
    if match := _is_foreign(part):  # as Flask, Express and others write it
        rest = "..." if part[0] == "*" or match[1] == "path" else ""
        name = match[2] or match[3] or match[4] or "rest"
        raise _error(text, f"{part!r} is no parameter: write '{{{name}{rest}}}'")
    if part in ("", ".", ".."):
        raise _error(text, "an empty segment, '.' or '..' is never reached: such paths are redirected")
    if re.search("%[0-9A-Fa-f]{2}", part):
        raise _error(text, f"{part!r} is encoded: write it as text")
    if "?" in part or "#" in part:
        raise _error(text, "a path has no '?' and no '#': look at self.query for the query")
    return part


def _error(text: str, why: str) -> ValueError:
    return ValueError(f"the route {text!r}: {why}")


def split_path(path: str) -> list[str]:
    """Split a path as the client has sent it into segments, and percent-decode each once.

    A slash at the end gives an empty last segment. An encoded slash (``%2F``) becomes part of its segment. Bytes that
    are not UTF-8 become surrogates.
    """
    parts = path.split("/")
    del parts[0]
    if "%" in path:
        return [unquote_to_bytes(part).decode("utf-8", "surrogateescape") if "%" in part else part for part in parts]
    return parts


class Relation(enum.Enum):
    """How the set of paths of one pattern relates to that of another."""

    EQUAL = "the same paths"
    NARROWER = "a subset of the paths of the other"
    WIDER = "a superset of the paths of the other"
    OVERLAP = "some paths in common, and each has others"
    DISJOINT = "no paths in common"


EQUAL, NARROWER, WIDER, OVERLAP, DISJOINT = Relation


def compare(one: Pattern, other: Pattern) -> Relation:
    """Compare the paths of two patterns; their hosts are ignored."""
    found = EQUAL
    for mine, theirs in zip(one.segments, other.segments, strict=False):
        found = _combine(found, _compare_segments(mine, theirs))
        if found is DISJOINT:
            return DISJOINT
    return _combine(found, _compare_ends(one, other))


def _combine(one: Relation, other: Relation) -> Relation:
    if one is other or other is EQUAL:
        return one
    if one is EQUAL or other is DISJOINT:
        return other
    return DISJOINT if one is DISJOINT else OVERLAP


def _compare_segments(one: str | Param, other: str | Param) -> Relation:
    if isinstance(one, str) and isinstance(other, str):
        return EQUAL if one == other else DISJOINT
    if isinstance(one, str):
        assert isinstance(other, Param)
        return DISJOINT if other.converter.read(one) is NO_MATCH else NARROWER
    if isinstance(other, str):
        return DISJOINT if one.converter.read(other) is NO_MATCH else WIDER
    if one.converter is other.converter:
        return EQUAL
    if other.converter is _TEXT:
        return NARROWER
    if one.converter is _TEXT:
        return WIDER
    return DISJOINT if {one.converter, other.converter} == {_INT, _UUID} else OVERLAP


def _compare_ends(one: Pattern, other: Pattern) -> Relation:
    length = len(one.segments) - len(other.segments)
    if length > 0:
        return NARROWER if other.end.is_open else DISJOINT
    if length < 0:
        return WIDER if one.end.is_open else DISJOINT
    if one.end.is_open:
        return EQUAL if other.end.is_open else WIDER if other.end is End.SLASH else DISJOINT
    if other.end.is_open:
        return NARROWER if one.end is End.SLASH else DISJOINT
    return EQUAL if one.end is other.end else DISJOINT
