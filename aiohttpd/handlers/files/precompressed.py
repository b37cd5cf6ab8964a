"""Precompressed files: whether ``name.br``, ``name.zst`` or ``name.gz`` can be sent for ``name``.

Owns the checks that such a file is complete and belongs to the original. It is given open files, and reads only a few
bytes of them.
"""

import enum
import time
from typing import Final

from ...net.sendfile import read_from
from .tree import OpenFile

__all__ = ["Usability", "check_precompressed", "is_gzip"]

_COMPLETE_AFTER: Final = 3.0  # seconds without a change after which a file is taken as complete

_GZIP_MAGIC = b"\x1f\x8b\x08"  # RFC 1952 section 2.3.1
_GZIP_SMALLEST: Final = 18  # bytes of header and trailer
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"  # section 3.1.2, after a first byte of 0x50 to 0x5f
_ZSTD_LONGEST_HEADER: Final = 18  # bytes
_ZSTD_MOST_BLOCKS: Final = 10_000  # blocks that are checked: those of about one gigabyte
_MTIME_PRECISION: Final = 1000  # nanoseconds that a copied date may lose


class Usability(enum.Enum):
    """Whether a precompressed file can be sent."""

    USABLE = "it can be sent"
    TOO_NEW = "it may be incomplete"
    UNUSABLE = "it is empty, older than the original, or not in this coding"


def check_precompressed(file: OpenFile, coding: str, original: OpenFile) -> Usability:
    """Check a precompressed file.

    Args:
        file: the precompressed file.
        coding: its content coding: ``br``, ``zstd`` or ``gzip``.
        original: the file that it was made of.
    """
    if not file.size or _is_older(file, original):
        return Usability.UNUSABLE
    if time.time_ns() - file.modified < _COMPLETE_AFTER * 1e9:
        return Usability.TOO_NEW
    if coding == "gzip":
        valid = _is_gzip_of(file, original)
    elif coding == "zstd":
        valid = _is_complete_zstd(file)
    else:
        valid = True  # Brotli has no magic number and no length
    return Usability.USABLE if valid else Usability.UNUSABLE


def is_gzip(file: OpenFile) -> bool:
    """Whether a file begins with the magic number of gzip."""
    return read_from(file.fileno(), 0, len(_GZIP_MAGIC)) == _GZIP_MAGIC


def _is_gzip_of(file: OpenFile, original: OpenFile) -> bool:
    """Compare the size at the end of a gzip file with that of the original (RFC 1952 section 2.3.1)."""
    if file.size < _GZIP_SMALLEST or not is_gzip(file):
        return False
    size = read_from(file.fileno(), file.size - 4, 4)
    return int.from_bytes(size, "little") == original.size & 0xFFFFFFFF


def _is_complete_zstd(file: OpenFile) -> bool:
    """Follow the frames of a zstd file to its end (RFC 8878 section 3.1)."""
    offset, blocks = 0, 0
    while offset < file.size:
        header = read_from(file.fileno(), offset, _ZSTD_LONGEST_HEADER)
        if len(header) >= 8 and header[1:4] == _ZSTD_SKIPPABLE and header[0] >> 4 == 5:
            offset += 8 + int.from_bytes(header[4:8], "little")
            continue
        if header[:4] != _ZSTD_MAGIC or len(header) < 5:
            return False
        descriptor = header[4]
        end, count = _end_of_blocks(file, offset + _zstd_header_size(descriptor), _ZSTD_MOST_BLOCKS - blocks)
        if end is None:
            return False
        blocks += count
        if blocks == _ZSTD_MOST_BLOCKS:
            return True
        has_checksum = bool(descriptor & 4)
        offset = end + 4 * has_checksum
    return offset == file.size


def _zstd_header_size(descriptor: int) -> int:
    """The size of a frame header by its descriptor (RFC 8878 section 3.1.1.1)."""
    single_segment = bool(descriptor & 0x20)
    window, dictionary = not single_segment, (0, 1, 2, 4)[descriptor & 3]
    content_size = (single_segment, 2, 4, 8)[descriptor >> 6]
    return 5 + window + dictionary + content_size


def _end_of_blocks(file: OpenFile, offset: int, most: int) -> tuple[int | None, int]:
    """The offset after the last block of a frame, and the number of blocks (RFC 8878 section 3.1.1.2).

    The offset is None if a block is malformed or incomplete.
    """
    count, last = 0, False
    while not last and count < most:
        header = int.from_bytes(read_from(file.fileno(), offset, 3).ljust(3, b"\xff"), "little")
        last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        offset += 3 + (1 if kind == 1 else size)  # 1: one byte that is repeated
        count += 1
        if kind == 3 or offset > file.size:
            return None, count
    return offset, count


def _is_older(file: OpenFile, original: OpenFile) -> bool:
    """Whether a precompressed file was made of an older original.

    Its date may be a copy of the original's, with less precision, or in whole seconds.
    """
    in_seconds = original.modified // 10**9 * 10**9
    return file.modified + _MTIME_PRECISION < original.modified and file.modified != in_seconds
