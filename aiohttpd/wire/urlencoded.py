"""URL-encoded fields: a query, or a form in a body (``application/x-www-form-urlencoded``).

Owns the parser, and the mapping that it makes: names with values, in order; a name can have several values.
"""

import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar, overload

from ..errors import HTTPError, MissingField, shortened

__all__ = ["MultiMap", "read_query", "read_urlencoded"]

V = TypeVar("V")
T = TypeVar("T")

_NONE: object = object()
_PIECE = 64 * 1024  # bytes that are processed in one call
_SHOWN = 60  # characters of a name that an error message repeats


class MultiMap(Mapping[str, V], Generic[V]):
    """A mapping of names to values that keeps order and repeated names; ``map[name]`` is the first value of a name.

    ``map[name]`` raises `MissingField`, a KeyError that is answered with 400, if there is no such name.

    Args:
        pairs: ``(name, value)`` pairs.
    """

    def __init__(self, pairs: Iterable[tuple[str, V]] = ()) -> None:
        self._pairs = list(pairs)
        self._values: dict[str, list[V]] = {}
        for name, value in self._pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> V:
        values = self._values.get(name)
        if values is None:
            raise MissingField(name)
        return values[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return self._pairs == other._pairs if isinstance(other, MultiMap) else super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._pairs!r})"

    @overload
    def getall(self, name: str) -> list[V]: ...
    @overload
    def getall(self, name: str, default: T) -> list[V] | T: ...
    def getall(self, name: str, default: object = _NONE) -> object:
        """All values of a name, by default an empty list if there is none."""
        found = self._values.get(name)
        return list(found) if found is not None else [] if default is _NONE else default

    def pairs(self) -> list[tuple[str, V]]:
        """All ``(name, value)`` pairs in order; `items` has the first value of each name only."""
        return list(self._pairs)


def read_query(query: str, *, max_fields: int = 1000, max_field_size: int = 1024 * 1024) -> MultiMap[str]:
    """Parse a query, the text after the question mark. The limits are those of `read_urlencoded`.

    Raises:
        HTTPError: 400: the query has too many fields, a field is too large, or it is not UTF-8.
    """
    try:
        pairs = read_urlencoded(query.encode("latin-1"), max_fields=max_fields, max_field_size=max_field_size)
    except HTTPError as error:
        raise HTTPError(400, None, error.explain) from None
    return MultiMap(pairs)


def read_urlencoded(
    content: bytes | bytearray, *, max_fields: int = 1000, max_field_size: int = 1024 * 1024
) -> list[tuple[str, str]]:
    """Parse ``name=value&name=value``: percent-encoded UTF-8, with a plus sign for a space.

    Args:
        content: the text as it was sent.
        max_fields: the most fields (413).
        max_field_size: the most bytes of a name or a value, after decoding (413).

    Raises:
        HTTPError: 400: the text is not UTF-8; 413: it is over a limit.
    """
    if content.count(b"&") >= max_fields:
        raise HTTPError(413, None, f"more than {max_fields} fields")
    pairs = []
    try:
        content.decode()
        for field in _only_escapes(content).split(b"&"):
            if not field:
                continue
            name, _, value = field.partition(b"=")
            if len(field) > 6 * max_field_size + 1:  # name and value with all characters percent-encoded
                raise _field_too_large(name, max_field_size)
            name, value = _percent_decoded(name), _percent_decoded(value)
            if len(name) > max_field_size or len(value) > max_field_size:
                raise _field_too_large(name, max_field_size)
            pairs.append((name.decode(), value.decode()))
    except UnicodeDecodeError:
        raise HTTPError(400, None, "the fields are not in UTF-8") from None
    return pairs


_lone_percent = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def _only_escapes(content: bytes | bytearray) -> bytes | bytearray:
    """Encode percent signs that are not followed by two hexadecimal digits: they stand for themselves."""
    if b"%" not in content:
        return content
    pieces = []
    start = 0
    while start < len(content):  # in pieces: the interpreter lock is not released within one
        end = start + _PIECE
        if (escape := content.find(b"%", end - 2, end)) >= 0:
            end = escape
        pieces.append(_lone_percent.sub(b"%25", content[start:end]))
        start = end
    return b"".join(pieces)


def _percent_decoded(data: bytes | bytearray) -> bytes | bytearray:
    """Percent-decode with the C decoder of quoted-printable, which has ``=`` in place of ``%``."""
    data = data.replace(b"+", b" ")
    return data if b"%" not in data else binascii.a2b_qp(data.replace(b"=", b"=3D").replace(b"%", b"="))


def _field_too_large(name: bytes | bytearray, limit: int) -> HTTPError:
    text = shortened(name.decode(errors="replace"), _SHOWN)
    return HTTPError(413, None, f"the field {text!a} is larger than {limit} bytes")
