"""The fast path for frames that are a complete message and not compressed (RFC 6455 section 5.2), as most are.

Owns header and mask of such frames. All other frames, and all errors, are left to the core of ``websockets``.
"""

import struct
from collections.abc import Callable
from typing import Any

try:
    from websockets.speedups import apply_mask as _apply_mask
except ImportError:  # ``websockets`` was installed without its C extension
    from websockets.utils import apply_mask as _apply_mask

__all__ = [
    "BINARY_MESSAGE", "LARGE", "TEXT_MESSAGE", "PartialFrame", "apply_mask", "large_message", "plain_frame", "unmasked",
]  # fmt: skip

apply_mask: Callable[[Any, Any], bytes] = _apply_mask  # content and mask; what is short is never a view

# The first byte of a frame: FIN and the opcode.
TEXT_MESSAGE = 0x81
BINARY_MESSAGE = 0x82
_MESSAGES = frozenset((TEXT_MESSAGE, BINARY_MESSAGE))

LARGE = 32 * 1024  # bytes of a frame; who sends one is read by views from then on
_LARGE_HEAD = struct.Struct("!BBQ4s")  # of a frame of a client with more than 65535 bytes; the mask is the last part
_MASKED_LARGE = 0x80 | 127  # its second byte
_SHORT = 1024  # up to so many bytes a copy is faster than a memoryview


def plain_frame(data: bytes | bytearray, at: int, limit: int) -> tuple[int, int]:
    """Find the content of a frame that is a complete message and not compressed.

    Args:
        data: bytes of a client.
        at: the position of the frame.
        limit: the longest content in bytes.

    Returns:
        Where the content begins and ends; the end is after the data if they are not complete. ``(0, 0)`` for all other
        frames, for errors, and if the header is not complete.
    """
    size = len(data)
    if size - at < 6 or data[at] not in _MESSAGES:
        return 0, 0
    start = at + 6
    length = data[at + 1] - 0x80  # negative if the frame is not masked, which is an error
    if length == 126:
        start += 2
        length = int.from_bytes(data[at + 2 : at + 4])
    elif length == 127:
        start += 8
        length = int.from_bytes(data[at + 2 : at + 10])
    if 0 <= length <= limit and start <= size:
        return start, start + length
    return 0, 0


def unmasked(data: bytes | bytearray | memoryview, start: int, end: int) -> bytes:
    """Return the unmasked content of a frame of a client, section 5.3.

    Args:
        data: bytes that contain the frame.
        start: the position of its content, after the mask.
        end: the position of its end.
    """
    content = data[start:end] if end - start < _SHORT else memoryview(data)[start:end]
    mask = data[start - 4 : start]
    return apply_mask(content, bytes(mask) if isinstance(mask, memoryview) else mask)


def large_message(data: bytes | memoryview, limit: int) -> bytes | None:
    """Return the unmasked content of a message of more than 65535 bytes, if the bytes are exactly one; else None.

    Args:
        data: bytes of a client.
        limit: the longest content in bytes.
    """
    size = len(data) - _LARGE_HEAD.size
    if size < 0:
        return None
    kind, second, length, mask = _LARGE_HEAD.unpack_from(data)
    if second != _MASKED_LARGE or length != size or size > limit or kind not in _MESSAGES:
        return None
    return apply_mask(data[_LARGE_HEAD.size :], mask)


class PartialFrame:
    """A frame as those that `plain_frame` finds, of which not all bytes have arrived.

    Args:
        data: its first bytes.
        missing: the number of bytes that have not arrived.
    """

    __slots__ = ("_data", "_missing")

    def __init__(self, data: bytes | bytearray, missing: int) -> None:
        self._data = data
        self._missing = missing

    def add(self, data: bytes | bytearray) -> bytes | bytearray | None:
        """Take more bytes; return the frame when it is complete, with the bytes that have arrived after it."""
        self._missing -= len(data)
        if isinstance(self._data, bytes):
            if self._missing <= 0:
                return b"".join((self._data, data))
            self._data = bytearray(self._data)  # it grows without copies of all bytes, however small the pieces are
        self._data += data
        return self._data if self._missing <= 0 else None
