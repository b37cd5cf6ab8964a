"""Siblings: whether ``name.br``, ``name.zst`` or ``name.gz`` can be sent for ``name``.

Owns how one is known that is not complete, or made of something else. It is given open files, and reads little of them.
"""

import enum
import time
from typing import Final

from ...net.sendfile import read_from
from .tree import OpenFile

__all__ = ["Fitness", "fitness", "is_gzip"]

_COMPLETE: Final = 3.0  # seconds without a change after which nobody writes to it any more, as far as can be known

_GZIP = b"\x1f\x8b\x08"  # RFC 1952 section 2.3.1
_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1
_SKIPPED = b"\x2a\x4d\x18"
_ZSTD_HEAD: Final = 18  # bytes of the longest head of a frame
_ZSTD_BLOCKS: Final = 10_000  # that are looked at: of a file of a gigabyte
_GZIP_LEAST: Final = 18  # bytes of head and end
_ROUNDED: Final = 1000  # nanoseconds by which a date may be less than the one that it is a copy of


class Fitness(enum.Enum):
    """What a sibling is good for."""

    FITS = "it can be sent"
    YOUNG = "it may not be complete yet"
    NEVER = "it is empty, older, or in no such coding"


def fitness(sibling: OpenFile, coding: str, original: OpenFile) -> Fitness:
    """Judge a sibling.

    Args:
        sibling: the file in another coding.
        coding: the name of the coding.
        original: the file itself.
    """
    if not sibling.size or _is_older(sibling, original):
        return Fitness.NEVER
    if time.time_ns() - sibling.modified < _COMPLETE * 1e9:
        return Fitness.YOUNG
    fits = {"gzip": _is_gzip_of, "zstd": _is_zstd}.get(coding)  # Brotli has nothing to be known by
    return Fitness.FITS if fits is None or fits(sibling, original) else Fitness.NEVER


def is_gzip(file: OpenFile) -> bool:
    """Whether a file begins as one in gzip."""
    return read_from(file.fileno(), 0, len(_GZIP)) == _GZIP


def _is_gzip_of(sibling: OpenFile, original: OpenFile) -> bool:
    """It ends with the size of what it was made of, so one that is cut is found out, RFC 1952 section 2.3.1."""
    if sibling.size < _GZIP_LEAST or not is_gzip(sibling):
        return False
    size = read_from(sibling.fileno(), sibling.size - 4, 4)
    return int.from_bytes(size, "little") == original.size & 0xFFFFFFFF


def _is_zstd(sibling: OpenFile, original: OpenFile) -> bool:
    """It has all its blocks, RFC 8878 section 3.1.1; the head of each tells where the next one is."""
    descriptor, offset = sibling.fileno(), 0
    blocks = 0
    while offset < sibling.size:
        head = read_from(descriptor, offset, _ZSTD_HEAD)
        if len(head) >= 8 and head[1:4] == _SKIPPED and head[0] >> 4 == 5:  # section 3.1.2
            offset += 8 + int.from_bytes(head[4:8], "little")
            continue
        if head[:4] != _ZSTD or len(head) < 5:
            return False
        kind = head[4]
        one = bool(kind & 0x20)
        offset += 5 + (not one) + (0, 1, 2, 4)[kind & 3] + (one, 2, 4, 8)[kind >> 6]
        last = False
        while not last:
            block = int.from_bytes(read_from(descriptor, offset, 3).ljust(3, b"\xff"), "little")
            last, form, size = bool(block & 1), block >> 1 & 3, block >> 3
            offset += 3 + (1 if form == 1 else size)
            blocks += 1
            if form == 3 or offset > sibling.size:
                return False
            if blocks == _ZSTD_BLOCKS:
                return True
        offset += 4 * bool(kind & 4)
    return offset == sibling.size


def _is_older(sibling: OpenFile, original: OpenFile) -> bool:
    """Made of what the original was before; its date may be a copy of the original's, in whole seconds."""
    copied = original.modified // 10**9 * 10**9
    return sibling.modified + _ROUNDED < original.modified and sibling.modified != copied
