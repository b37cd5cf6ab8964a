"""Fields that are URL-encoded: a query, or a form in a body (``application/x-www-form-urlencoded``).

Owns how they are read, and the map that they make: names with values, in order, a name more than once.
"""

import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar, overload

from ..errors import HTTPError, MissingField

__all__ = ["MultiMap", "read_query", "read_urlencoded"]

V = TypeVar("V")
T = TypeVar("T")

_NONE: object = object()
_PIECE = 64 * 1024  # bytes that are decoded before others have their turn
_SHOWN = 60  # characters of a client's word in a reason


class MultiMap(Mapping[str, V], Generic[V]):
    """Names with values in the order in which they came; ``map[name]`` is the first value of a name.

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
        """All values of a name, an empty list if there is none."""
        found = self._values.get(name)
        return list(found) if found is not None else [] if default is _NONE else default

    def pairs(self) -> list[tuple[str, V]]:
        """All ``(name, value)`` pairs as they came; `items` has each name once."""
        return list(self._pairs)


def read_query(query: str, *, max_fields: int = 1000, max_field_size: int = 1024 * 1024) -> MultiMap[str]:
    """Read a query, the text after the question mark; the arguments are those of `read_urlencoded`.

    Raises:
        HTTPError: 400: it has too many fields, or is no UTF-8.
    """
    try:
        pairs = read_urlencoded(query.encode("latin-1"), max_fields=max_fields, max_field_size=max_field_size)
    except HTTPError as error:
        raise HTTPError(400, None, error.explain) from None
    return MultiMap(pairs)


def read_urlencoded(
    content: bytes | bytearray, *, max_fields: int = 1000, max_field_size: int = 1024 * 1024
) -> list[tuple[str, str]]:
    """Read ``name=value&name=value``, percent-encoded UTF-8, a plus sign for a space.

    Args:
        content: the text as it was sent.
        max_fields: how many there may be.
        max_field_size: bytes of a name or a value, decoded.

    Raises:
        HTTPError: 413: there are more, or one is larger; 400: they are not in UTF-8.
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
            if len(field) > 6 * max_field_size + 1:  # name and value, each of them encoded
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
    """The same with each percent sign that begins no escape encoded."""
    if b"%" not in content:
        return content
    pieces = []
    start = 0
    while start < len(content):  # in pieces, since a thread does not let go of the interpreter within one
        end = start + _PIECE
        if (escape := content.find(b"%", end - 2, end)) >= 0:
            end = escape
        pieces.append(_lone_percent.sub(b"%25", content[start:end]))
        start = end
    return b"".join(pieces)


def _percent_decoded(data: bytes | bytearray) -> bytes | bytearray:
    """Decode what holds nothing but escapes; quoted-printable has another sign for them, and a decoder in C."""
    data = data.replace(b"+", b" ")
    return data if b"%" not in data else binascii.a2b_qp(data.replace(b"=", b"=3D").replace(b"%", b"="))


def _field_too_large(name: bytes | bytearray, limit: int) -> HTTPError:
    text = name.decode(errors="replace")
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
    return HTTPError(413, None, f"the field {text!a} is larger than {limit} bytes")
