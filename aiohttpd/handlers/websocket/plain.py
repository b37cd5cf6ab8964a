"""The fast path for frames that are a complete message and not compressed (RFC 6455 section 5.2), as most are.

Owns header and mask of such frames. All other frames, and all errors, are left to the core of ``websockets``.
"""

import struct

try:
    from websockets.speedups import apply_mask
except ImportError:  # ``websockets`` was installed without its C extension
    from websockets.utils import apply_mask

__all__ = ["BINARY_MESSAGE", "PLAIN_MESSAGES", "TEXT_MESSAGE", "frame_head", "unmasked"]

# The first byte of a frame: FIN and the opcode.
TEXT_MESSAGE = 0x81
BINARY_MESSAGE = 0x82
PLAIN_MESSAGES = frozenset((TEXT_MESSAGE, BINARY_MESSAGE))

_SHORT = 1024  # up to so many bytes a copy is faster than a memoryview
_SMALL_HEADS = {first: [bytes((first, length)) for length in range(126)] for first in PLAIN_MESSAGES}
_pack_medium = struct.Struct("!BBH").pack
_pack_large = struct.Struct("!BBQ").pack


def unmasked(frame: bytes, start: int) -> bytes:
    """Return the unmasked content of a frame of a client, section 5.3.

    Args:
        frame: the complete frame.
        start: the position of its content, after the mask.
    """
    content = frame[start:] if len(frame) < _SHORT else memoryview(frame)[start:]
    return apply_mask(content, frame[start - 4 : start])


def frame_head(first: int, length: int) -> bytes:
    """Return the header of a frame of the server, which is not masked.

    Args:
        first: the first byte.
        length: the length of the content in bytes.
    """
    if length < 126:
        return _SMALL_HEADS[first][length]
    if length < 65536:
        return _pack_medium(first, 126, length)
    return _pack_large(first, 127, length)
