"""Header fields: the grammar of names and values, and a read-only mapping of the fields of a request.

The grammar is used for requests and for responses.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

__all__ = [
    "FIELD_LINE", "FIELD_VALUE", "OWS", "TOKEN", "Headers", "headers_of", "is_token", "is_field_value",
    "list_elements", "without_escapes",
]  # fmt: skip

# RFC 9110 section 5.6.2. Possessive quantifiers (++, *+) never backtrack, so every pattern that is
# built of these is linear in its input.
TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# RFC 9110 section 5.5: HTAB, SP, VCHAR and obs-text; white space around it is trimmed later.
FIELD_VALUE = r"[\t\x20-\x7e\x80-\xff]*+"
# RFC 9112 section 5: no space before the colon, no obs-fold, lines end in CRLF.
FIELD_LINE = rf"{TOKEN}:{FIELD_VALUE}\r\n"

OWS = " \t"


@functools.cache
def _finder(name: str) -> Callable[[str], re.Match[str] | None]:
    """The search for one field; a character class for each letter is faster than re.IGNORECASE."""
    either = [f"[{letter.upper()}{letter.lower()}]" if letter.isalpha() else re.escape(letter) for letter in name]
    return re.compile(rf"\n{''.join(either)}:[\t ]*+([^\r]*+)").search


_PAIR = re.compile(r"\n([^:]++):[\t ]*+([^\r]*+)")
is_token = re.compile(TOKEN).fullmatch
is_field_value = re.compile(FIELD_VALUE).fullmatch

_find_elements = re.compile(r"[^\t ,][^,]*+").findall

_TEXT_PLAIN = "text/plain"

_NO_MEMO: dict[object, Any] = {}  # of all fields of which nothing is remembered

T = TypeVar("T")


def list_elements(value: str) -> list[str]:
    """The elements of a list (RFC 9110 section 5.6.1) without empty ones, which are skipped together."""
    return [element.rstrip(OWS) for element in _find_elements(value)]


def without_escapes(text: str) -> str:
    """The content of a quoted string (RFC 9110 section 5.6.4). `re.sub` would take a step for each backslash."""
    return "\\".join([piece.replace("\\", "") for piece in text.split("\\\\")])


class Headers:
    """The header fields of a request: ordered, case-insensitive, duplicates kept, read-only.

    It has the methods of ``email.message.Message`` that http.server code uses. ``headers["X"]`` is the first value of
    a field, and ``None`` if there is none.

    Args:
        block: LF, then field lines that match the grammar, each ended by CRLF, decoded as ISO 8859-1. The LF at the
            beginning stands before each name, so a name is found fast. Or the bytes of a head from the CRLF of its
            request line on; they are decoded when the fields are first read.

    Attributes:
        memo: what readers of the fields have remembered, each with a key of its own; see `remember`. Requests on a
            connection that repeat the fields byte for byte share one object.
    """

    __slots__ = ("_block", "_index", "_pairs", "memo")

    def __init__(self, block: str | bytes = "\n") -> None:
        self._block = block
        self._pairs: list[tuple[str, str]] | None = None
        self._index: dict[str, list[str]] | None = None
        self.memo: Mapping[object, Any] = _NO_MEMO

    def remember(self, key: object, value: T) -> T:
        """Keep what a reader has found out about the fields in `memo`, and return it."""
        if self.memo is _NO_MEMO:
            self.memo = {}
        self.memo[key] = value  # type: ignore[index]
        return value

    @property
    def size(self) -> int:
        """The size of the fields on the wire, in bytes."""
        return len(self._text()) - 1

    def _text(self) -> str:
        block = self._block
        if isinstance(block, bytes):
            block = self._block = str(block[1:-2], "latin-1")
        return block

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """Iterate over ``(name, value)`` in the order of the wire, names as they were sent."""
        return iter(self.items())

    def items(self) -> list[tuple[str, str]]:
        """All ``(name, value)`` pairs in the order of the wire."""
        if self._pairs is None:
            self._pairs = [(name, value.rstrip(OWS)) for name, value in _PAIR.findall(self._text())]
        return self._pairs

    def keys(self) -> list[str]:
        """All names in the order of the wire; a name that is repeated is there as often."""
        return [name for name, _ in self.items()]

    def values(self) -> list[str]:
        """All values in the order of the wire."""
        return [value for _, value in self.items()]

    def _all(self, name: str) -> list[str] | None:
        index = self._index
        if index is None:
            index = self._index = {}
            for key, value in self.items():
                index.setdefault(key.lower(), []).append(value)
        return index.get(name.lower())

    @overload
    def get(self, name: str, failobj: None = None) -> str | None: ...
    @overload
    def get(self, name: str, failobj: T) -> str | T: ...
    def get(self, name: str, failobj: T | None = None) -> str | T | None:
        """The first value of a field, or ``failobj``."""
        found = self._all(name)
        return failobj if found is None else found[0]

    def peek(self, name: str) -> str | None:
        """The first value of a field by a search for its name, which is faster than a parse of all fields."""
        match = _finder(name)(self._text())
        return None if match is None else match[1].rstrip(OWS)

    @overload
    def get_all(self, name: str, failobj: None = None) -> list[str] | None: ...
    @overload
    def get_all(self, name: str, failobj: T) -> list[str] | T: ...
    def get_all(self, name: str, failobj: T | None = None) -> list[str] | T | None:
        """All values of a field as a list, or ``failobj``."""
        found = self._all(name)
        return failobj if found is None else list(found)

    def __getitem__(self, name: str) -> str | None:
        found = self._all(name)
        return None if found is None else found[0]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._all(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self.items() == other.items()

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return self.as_string()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.items()!r})"

    def as_string(self) -> str:
        r"""The fields as ``email.message.Message`` writes them: ``\n`` for line ends, a blank line last."""
        return "".join(f"{name}: {value}\n" for name, value in self.items()) + "\n"

    # The Content-Type family, with email.message.Message's names and defaults.

    def get_content_type(self) -> str:
        """The media type in lower case; ``text/plain`` if the field is missing or malformed."""
        media = (self["Content-Type"] or "").split(";", 1)[0].strip(OWS).lower()
        kind, slash, subtype = media.partition("/")
        return media if slash and is_token(kind) and is_token(subtype) else _TEXT_PLAIN

    def get_content_maintype(self) -> str:
        """The part of the media type before the slash."""
        return self.get_content_type().partition("/")[0]

    def get_content_subtype(self) -> str:
        """The part of the media type after the slash."""
        return self.get_content_type().partition("/")[2]

    @overload
    def get_content_charset(self, failobj: None = None) -> str | None: ...
    @overload
    def get_content_charset(self, failobj: str) -> str: ...
    def get_content_charset(self, failobj: str | None = None) -> str | None:
        """The ``charset`` parameter in lower case."""
        charset = self.get_param("charset")
        return failobj if charset is None else charset.lower()

    def get_boundary(self, failobj: str | None = None) -> str | None:
        """The ``boundary`` parameter of a multipart type."""
        boundary = self.get_param("boundary")
        return failobj if boundary is None else boundary.rstrip()

    def get_param(self, param: str, failobj: str | None = None, header: str = "content-type") -> str | None:
        """One parameter of a field such as Content-Type, unquoted."""
        wanted = param.lower()
        for name, quoted, plain in _find_parameters(self[header] or ""):
            if name.lower() == wanted:
                return without_escapes(quoted) if quoted else plain
        return failobj


# RFC 9110 section 5.6.6. A parameter without value is accepted, since it decides no framing.
_find_parameters = re.compile(rf';[\t ]*+({TOKEN})=(?:"((?:[^"\\]|\\.)*+)"|([^;\t ]*+))').findall


def headers_of(pairs: Iterable[tuple[str, str]]) -> Headers:
    """The header fields of names and values, which are not checked."""
    return Headers("\n" + "".join([f"{name}: {value}\r\n" for name, value in pairs]))
