"""Frames of a WebSocket server as bytes, right or wrong, and what the client has sent (RFC 6455 section 5).

Owns the bytes of a frame and of the handshake. No rule is checked: the faults have to be sent.
"""

import asyncio
import base64
import hashlib
import struct
import zlib

__all__ = [
    "BINARY", "CLOSE", "CONTINUATION", "PING", "TEXT", "ClientFrames", "accept_key", "close_payload", "deflated_zeros",
    "frame", "frame_head",
]  # fmt: skip

CONTINUATION, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9

_MASK = b"\x01\x02\x03\x04"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_PIECE = 64 * 1024
_BLOCK = 1024 * 1024


def accept_key(key: str) -> str:
    """Sec-WebSocket-Accept for a Sec-WebSocket-Key, RFC 6455 section 4.2.2."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID).digest()).decode()


def frame_head(opcode: int, length: int, *, fin: bool = True, rsv: int = 0, masked: bool = False) -> bytes:
    """The head of a frame, with the shortest form of the length.

    Args:
        opcode: 0 to 15.
        length: of the payload in bytes, as the frame says.
        fin: whether it is the last frame of its message.
        rsv: the three reserved bits, 0 to 7; RSV1 is 4.
        masked: set the bit; the mask is not included.
    """
    first = bytes([fin << 7 | rsv << 4 | opcode])
    mask = masked << 7
    if length < 126:
        return first + bytes([mask | length])
    if length < 1 << 16:
        return first + struct.pack("!BH", mask | 126, length)
    return first + struct.pack("!BQ", mask | 127, length)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = False) -> bytes:
    """A frame; the arguments are those of `frame_head`."""
    head = frame_head(opcode, len(payload), fin=fin, rsv=rsv, masked=masked)
    if not masked:
        return head + payload
    return head + _MASK + bytes(byte ^ _MASK[place % 4] for place, byte in enumerate(payload))


def close_payload(code: int, reason: bytes = b"") -> bytes:
    """The payload of a Close frame, RFC 6455 section 5.5.1."""
    return struct.pack("!H", code) + reason


def deflated_zeros(size: int) -> bytes:
    """The payload of a message of zeros that is compressed by permessage-deflate, RFC 7692 section 7.2.1."""
    whole, rest = divmod(size, _BLOCK)
    data = _deflated_block(_BLOCK) * whole + _deflated_block(rest)  # a block needs none before it
    return data[:-4]


def _deflated_block(size: int) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(bytes(size)) + compressor.flush(zlib.Z_FULL_FLUSH)


class ClientFrames:
    """What a client sends on a WebSocket. It is read all the time and thrown away; memory does not grow with it.

    Args:
        reader: the bytes of the client.

    Attributes:
        messages: the number of messages that have come whole.
        closed: set when the client has sent a Close frame, or closed its side.
        close_frame: the payload of its Close frame; None if there was none.
    """

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._changed = asyncio.Event()
        self.messages = 0
        self.closed = asyncio.Event()
        self.close_frame: bytes | None = None

    async def read(self) -> None:
        """Read until the end."""
        try:
            while self.close_frame is None:
                await self._read_frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it has gone, or closed its side within a frame
        finally:
            self.closed.set()
            self._changed.set()

    async def received(self, count: int) -> None:
        """Wait until so many messages have come, or the client has closed."""
        while self.messages < count and not self.closed.is_set():
            self._changed.clear()
            await self._changed.wait()

    async def _read_frame(self) -> None:
        first, second = await self._reader.readexactly(2)
        length = second & 127
        if length > 125:
            length = int.from_bytes(await self._reader.readexactly(2 if length == 126 else 8))
        mask = await self._reader.readexactly(4) if second & 128 else bytes(4)
        opcode = first & 15
        if opcode == CLOSE and length < 126:
            masked = await self._reader.readexactly(length)
            self.close_frame = bytes(byte ^ mask[place % 4] for place, byte in enumerate(masked))
            return
        while length:
            length -= len(await self._reader.readexactly(min(length, _PIECE)))
        if first & 128 and opcode < CLOSE:
            self.messages += 1
            self._changed.set()
