"""HeadTemplate: what the heads of one client have in common, from the end of the request line on.

A client that does not repeat its fields byte for byte mostly repeats their names and the beginnings of their values; an
identifier, a time or a cookie differs. Two heads that the grammar has accepted give a template: literal parts, and a
gap between each two of them. A head that fits it is valid, and has the framing of these two, since

- a gap goes on to the end of its line, and only characters that a value may have fit into it;
- no gap is in a line that decides framing, except Content-Length. There the framing differs by the number only.
"""

import re

from .framing import DECIDING
from .headers import FIELD_VALUE
from .request import RequestFraming

__all__ = ["HeadTemplate"]

_CRLF = b"\r\n"
_GAP = b"\0"  # stands for a gap where lines are compared; no head has it
_WORD = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_GAPS = 32  # each takes some 40 bytes of memory beside the literals

_match_value = re.compile(FIELD_VALUE.encode("latin-1")).match
_decides = re.compile(rf"(?:{DECIDING}):".encode()).match
_is_length = re.compile(rb"(?i:content-length):[\t ]*+").fullmatch
_LONGEST_LENGTH = 15  # digits that are read here


class HeadTemplate:
    """Literal parts of a head, with a gap after each but the last.

    Args:
        literals: the parts. The first one begins where the request line ends, and the last one ends with the head.
        version: the version in the request line, which takes part in the framing.
        framing: the framing of a head that fits; another one may have another Content-Length.

    Attributes:
        first: the first literal.
        version: the same.
        framing: the framing of all heads that fit; None if `framing_of` has to look at the Content-Length of each.
    """

    __slots__ = ("_before_length", "_framing", "_others", "first", "framing", "version")

    def __init__(self, literals: tuple[bytes, ...], version: str, framing: RequestFraming) -> None:
        self.first = literals[0]
        self._others = literals[1:]
        self.version = version
        self._framing = framing
        lines = [literal[literal.rfind(_CRLF) :] for literal in literals[:-1]]
        self._before_length = next((line for line in lines if _is_length(line, len(_CRLF))), None)
        self.framing = framing if self._before_length is None else None

    def end(self, data: bytes | bytearray, at: int, limit: int) -> int:
        """The end of the head that fits the template; -1 if it does not fit.

        Args:
            data: bytes that have been received.
            at: the end of `first`, which the caller has found at the end of the request line.
            limit: the end of a head must not be after it.
        """
        for literal in self._others:
            value = _match_value(data, at, limit)  # an empty value matches, too, but none after the limit
            if value is None or not data.startswith(literal, at := value.end()):
                return -1
            at += len(literal)
        return at if at <= limit else -1

    def framing_of(self, head: bytes) -> RequestFraming | None:
        """The framing of a head that fits; None if its Content-Length is not just a number above 0.

        Args:
            head: the head from the end of its request line on.
        """
        before = self._before_length
        if before is None:
            return self._framing
        start = head.find(before) + len(before)
        value = head[start : head.find(_CRLF, start)]
        if not value.isdigit() or len(value) > _LONGEST_LENGTH or not (length := int(value)):
            return None  # whether it is valid is for `framing` to decide
        return self._framing.with_length(length)

    def widened(self, head: bytes, version: str) -> "HeadTemplate | None":
        """A template that fits one more head, with more or longer gaps; None if it has not enough in common.

        Args:
            head: a head that the grammar has accepted, from the end of its request line on.
            version: the version in that line.
        """
        if version != self.version:
            return None
        lines, others = _GAP.join((self.first, *self._others)).split(_CRLF), head.split(_CRLF)
        if len(lines) != len(others):
            return None
        common = []
        for line, other in zip(lines, others, strict=True):
            found = line if line == other else _common_part(line, other)
            if found is None:
                return None
            common.append(found)
        literals = tuple(_CRLF.join(common).split(_GAP))
        return None if len(literals) > _GAPS + 1 else _shared(literals, self.version, self._framing)


# Templates of all connections: those of like clients share one object, which saves memory and the processor's cache.
_known: dict[tuple[str | bytes, ...], HeadTemplate] = {}
_KNOWN = 64


def _shared(literals: tuple[bytes, ...], version: str, framing: RequestFraming) -> HeadTemplate:
    key: tuple[str | bytes, ...] = (version, *literals)  # the framing follows from these, but for a number
    found = _known.get(key)
    if found is None:
        if len(_known) >= _KNOWN:
            _known.clear()
        found = _known[key] = HeadTemplate(literals, version, framing)
    return found


def _common_part(line: bytes, other: bytes) -> bytes | None:
    """What two lines have in common, and a gap; None if they differ in their names, or in what decides framing.

    The gap begins with a word: the next head has another word there, and not only another end of this one.
    """
    same = line[: _equal_bytes(line, other)].rstrip(_WORD)
    return None if b":" not in same or (_decides(same) and not _is_length(same)) else same + _GAP


def _equal_bytes(one: bytes, two: bytes) -> int:
    """How many bytes at the beginning are equal. As large numbers they are compared at once, and not byte by byte."""
    size = min(len(one), len(two))
    differing = int.from_bytes(one[:size], "big") ^ int.from_bytes(two[:size], "big")
    return size - (differing.bit_length() + 7) // 8
