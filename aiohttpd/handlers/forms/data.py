"""What has been read of a query or a form: names with values, in order, a name more than once.

Owns the mapping; it reads nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar, overload

from ...errors import MissingField
from .uploads import UploadedFile

__all__ = ["FormData", "MultiMap"]

V = TypeVar("V")
T = TypeVar("T")

_NONE: object = object()


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


class FormData(MultiMap[str | UploadedFile]):
    """A form: text for fields, `UploadedFile` for files."""

    def text(self, name: str, default: str = "") -> str:
        """The first value of a name if it is text; ``default`` if there is none, or it is a file."""
        value = self.get(name)
        return value if isinstance(value, str) else default

    def file(self, name: str) -> UploadedFile | None:
        """The first value of a name if it is a file that somebody has chosen."""
        value = self.get(name)
        return value if isinstance(value, UploadedFile) and (value.filename or value.size) else None

    def close(self) -> None:
        """Close all files, and with that delete what is on the disk of them."""
        for _, value in self._pairs:
            if isinstance(value, UploadedFile):
                value.close()
