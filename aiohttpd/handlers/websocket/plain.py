"""The plain frame: a whole message, not compressed (RFC 6455 section 5.2). Most frames are, and need no state.

Owns the bytes around its content. Everything else about frames, and what is wrong with them, is the core's.
"""

import struct

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without its extension in C
    from websockets.utils import apply_mask

__all__ = ["BINARY_MESSAGE", "PLAIN_MESSAGES", "TEXT_MESSAGE", "frame_head", "unmasked"]

# The first byte: FIN, and the opcode.
TEXT_MESSAGE = 0x81
BINARY_MESSAGE = 0x82
PLAIN_MESSAGES = frozenset((TEXT_MESSAGE, BINARY_MESSAGE))

_SHORT = 1024  # bytes that are copied in less time than a view is made of them
_SMALL_HEADS = {first: [bytes((first, length)) for length in range(126)] for first in PLAIN_MESSAGES}
_pack_medium = struct.Struct("!BBH").pack
_pack_large = struct.Struct("!BBQ").pack


def unmasked(frame: bytes, start: int) -> bytes:
    """The content of a frame of a client, section 5.3.

    Args:
        frame: all of it.
        start: where its content begins, after the mask.
    """
    content = frame[start:] if len(frame) < _SHORT else memoryview(frame)[start:]
    return apply_mask(content, frame[start - 4 : start])


def frame_head(first: int, length: int) -> bytes:
    """What stands before the content of a frame of ours.

    Args:
        first: its first byte.
        length: bytes of content.
    """
    if length < 126:
        return _SMALL_HEADS[first][length]
    if length < 65536:
        return _pack_medium(first, 126, length)
    return _pack_large(first, 127, length)
