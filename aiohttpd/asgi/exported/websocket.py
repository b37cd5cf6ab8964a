"""Frames: the carrier of a `WebSocket` whose connection an ASGI server has.

Owns the translation between messages of ASGI and frames of RFC 6455. Our WebSocket reads and writes frames, so the
messages are framed again, in memory and without masking. So a handler has the whole `WebSocket`, with its limits and
its back-pressure. Compression, pings and their deadlines are those of the ASGI server.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Any

from ...engine.context import ServerContext
from ...engine.upgraded import UpgradedProtocol
from ...net.outgoing import Outgoing
from .sender import Message, Sender

__all__ = ["Frames"]

_CONT, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_FIN, _MASKED = 0x80, 0x80
_NO_KEY = bytes(4)  # a mask key that changes nothing
_HIGH = 64 * 1024  # bytes that may wait for the ASGI server before `send` of the handler waits
_UNSAID = (1005, 1006)  # codes that must not be in a Close frame, RFC 6455 section 7.4.1
_CODES = range(1000, 5000)  # section 7.4.2; another code from a server counts as no Close frame


class FrameReader:
    """Reads the frames that our `WebSocket` writes: gives complete messages, and control frames."""

    def __init__(self, limit: int, take: Callable[[int, bytes], None]) -> None:
        self._limit = limit
        self._take = take
        self._bytes = bytearray()
        self._message = bytearray()
        self._kind = _TEXT  # of the message whose fragments are collected

    def feed(self, data: bytes | bytearray | memoryview) -> bool:
        """Take bytes; False if a message of fragments has become larger than the limit."""
        self._bytes += data
        while (frame := self._next()) is not None:
            first, content = frame
            opcode = first & 0x0F
            if opcode >= _CLOSE:
                self._take(opcode, content)
                continue
            if opcode != _CONT:
                self._kind = opcode
            if first & _FIN and not self._message:
                self._take(self._kind, content)
                continue
            self._message += content
            if len(self._message) > self._limit:
                return False
            if first & _FIN:
                whole = bytes(self._message)
                self._message.clear()
                self._take(self._kind, whole)
        return True

    def _next(self) -> tuple[int, bytes] | None:
        data = self._bytes
        if len(data) < 2:
            return None
        start, size = 2, data[1]
        if size == 126:
            start = 4
        elif size == 127:
            start = 10
        if len(data) < start:
            return None
        if start > 2:
            size = int.from_bytes(data[2:start])
        if len(data) < start + size:
            return None
        frame = data[0], bytes(memoryview(data)[start : start + size])
        del data[: start + size]
        return frame


class Frames(asyncio.Transport):
    """The `Carrier` of a WebSocket of ours.

    Args:
        context: what all requests share.
        sender: takes messages.
        protocol: our WebSocket.
        get_extra_info: what is known of the client.
        resume: called when more may be received.
    """

    def __init__(
        self,
        context: ServerContext,
        sender: Sender,
        protocol: UpgradedProtocol,
        get_extra_info: Callable[..., Any],
        resume: Callable[[], None],
    ) -> None:
        super().__init__()
        self.context = context
        self._sender = sender
        self._protocol = protocol
        self._get_extra_info = get_extra_info
        self._resume = resume
        self._reader = FrameReader(context.config.limit_websocket_message, self._send)
        self.out = Outgoing(self, context.config.limit_unsent)
        self.stalled = False  # reading is paused
        self._closed = False  # websocket.close has been sent
        self._over = False
        self._lost = asyncio.Event()
        sender.emptied = self._emptied
        sender.failed = self.lose

    # From the ASGI server.

    def take(self, message: Message) -> bool:
        """Take a message; False after the last one."""
        if message["type"] == "websocket.disconnect":
            code = message.get("code") or 1005
            if not self._closed and code != 1006 and code in _CODES:
                content = b"" if code in _UNSAID else struct.pack("!H", code) + (message.get("reason") or "").encode()
                self._closed = True  # the Close frame with which our WebSocket answers is dropped
                self._protocol.data_received(_frame(_CLOSE, content))
            self.lose()
            return False
        text, data = message.get("text"), message.get("bytes")
        if text is not None:
            self._protocol.data_received(_frame(_TEXT, text.encode("utf-8", "surrogatepass")))
        elif data is not None:
            self._protocol.data_received(_frame(_BINARY, data))
        return True

    def lose(self) -> None:
        """Nothing more is received or sent."""
        if not self._over:
            self._over = True
            self.out.lose()
            self._lost.set()
            self._protocol.connection_lost(None)

    # To the ASGI server: what `Outgoing` writes.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Our WebSocket sends frames."""
        if self._over or self._closed:
            return
        if not self._reader.feed(data):
            self._send(_CLOSE, struct.pack("!H", 1009) + b"too large for one message")
        elif self._sender.unsent > _HIGH and not self.out.paused:
            self.out.pause()

    def _send(self, opcode: int, content: bytes) -> None:
        if opcode == _TEXT:
            self._sender.put({"type": "websocket.send", "text": content.decode()}, len(content))
        elif opcode == _BINARY:
            self._sender.put({"type": "websocket.send", "bytes": content}, len(content))
        elif opcode == _PING:  # ASGI has no pings: it is answered here
            self.context.loop.call_soon(self._answer, _frame(_PONG, content))
        elif opcode == _CLOSE and not self._closed:
            self._closed = True
            code = struct.unpack("!H", content[:2])[0] if content else 1000
            self._sender.put({"type": "websocket.close", "code": code, "reason": content[2:].decode()})
            self.context.loop.call_soon(self._answer, _frame(_CLOSE, content))

    def _answer(self, data: bytes) -> None:
        if not self._over:
            self._protocol.data_received(data)

    def _emptied(self) -> None:
        if self.out.paused and not self._over:
            self.out.resume()
            self._protocol.resume_writing()

    # What our WebSocket calls.

    def pause_reading(self) -> None:
        """Receive nothing more for now."""
        self.stalled = True

    def resume_reading(self) -> None:
        """Receive again."""
        self.stalled = False
        self._resume()

    def read_views(self, receive: Callable[[memoryview | bytes], None]) -> None:
        """Do nothing: messages are bytes already."""

    def hang_up(self) -> None:
        """End it: with the code 1011 if no Close frame has been sent."""
        self.end(1011)

    def end(self, code: int) -> None:
        """Close with a code, if it is not closed."""
        if not self._closed and not self._over:
            self._closed = True
            self._sender.put({"type": "websocket.close", "code": code})

    def abort(self) -> None:
        """Close it, and drop what arrives."""
        self.hang_up()
        self._over = True
        self._lost.set()

    async def wait_lost(self) -> None:
        """Wait until the WebSocket has ended."""
        await self._lost.wait()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What is known of the client."""
        return self._get_extra_info(name, default)

    def is_closing(self) -> bool:
        """Whether nothing more is sent."""
        return self._over

    def get_write_buffer_size(self) -> int:
        """Bytes that wait for the ASGI server."""
        return self._sender.unsent


def _frame(opcode: int, content: bytes) -> bytes:
    """A frame as a client sends it."""
    size = len(content)
    if size < 126:
        return bytes((_FIN | opcode, _MASKED | size)) + _NO_KEY + content
    if size < 65536:
        return struct.pack("!BBH", _FIN | opcode, _MASKED | 126, size) + _NO_KEY + content
    return struct.pack("!BBQ", _FIN | opcode, _MASKED | 127, size) + _NO_KEY + content
