"""Headers of the frames of the server that are a complete message, RFC 6455 section 5.2. They have no mask."""

import struct

from .plain import BINARY_MESSAGE, TEXT_MESSAGE

__all__ = ["BINARY_HEADS", "TEXT_HEADS", "long_head"]

# By the length of the content, if that is less than 126 bytes.
TEXT_HEADS = [bytes((TEXT_MESSAGE, length)) for length in range(126)]
BINARY_HEADS = [bytes((BINARY_MESSAGE, length)) for length in range(126)]
_pack_medium = struct.Struct("!BBH").pack
_pack_large = struct.Struct("!BBQ").pack


def long_head(heads: list[bytes], length: int) -> bytes:
    """Return the header of a frame of the server with more than 125 bytes of content.

    Args:
        heads: `TEXT_HEADS` or `BINARY_HEADS`.
        length: the length of the content in bytes.
    """
    first = heads[0][0]
    return _pack_medium(first, 126, length) if length < 65536 else _pack_large(first, 127, length)
