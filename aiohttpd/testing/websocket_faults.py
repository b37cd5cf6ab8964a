"""WebSockets that misbehave, one verb for each way (RFC 6455). Nothing but bytes: the library websockets is not needed.

Owns the verbs, the handshake with its faults, and how the connection ends. `websocket_frames` has the bytes.
"""

import asyncio
import contextlib
import enum
from collections.abc import Callable, Iterator
from typing import Self

from ..engine.interfaces import ResponseWriter
from ..engine.upgrade import check_upgrade
from ..wire.headers import list_elements
from ..wire.request import Request
from .raw import RawConnection
from .websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    TEXT,
    ClientFrames,
    accept_key,
    close_payload,
    deflated_zeros,
    frame,
    frame_head,
)  # fmt: skip

__all__ = ["WebSocketFaults"]

_PIECE = 1024 * 1024
_DEFLATE = "permessage-deflate"

Step = Callable[[], Iterator[bytes]] | int  # bytes to send, or a number of messages to wait for
Line = tuple[str, str]


class _End(enum.Enum):
    """What follows the last frame."""

    IN_ORDER = "Close, if the client closes and none has been sent, and then FIN"
    CLOSE = "FIN"
    RESET = "RST"
    SILENCE = "nothing: the connection stays open until the client closes it"


class WebSocketFaults:
    """An App: a WebSocket that goes wrong. Verbs return the object itself; what they send is sent in their order.

    ::

        httpd.expect("GET", "/chat").respond_with(WebSocketFaults().send("hello").masked())
        TestServer(WebSocketFaults().wrong_accept())

    Without a fault it accepts, with the first subprotocol that the client offers, and waits until the client closes.
    After most faults it waits so, too: a client that notices the fault sends Close. All that the client sends is read
    and thrown away. A request that is no handshake is answered with 426.
    """

    def __init__(self) -> None:
        self._steps: list[Step] = []
        self._end = _End.IN_ORDER
        self._edits: list[Callable[[list[Line], Request], list[Line]]] = []
        self._accepts = True
        self._close_sent = False
        self._rate: float | None = None

    # The handshake.

    def never_accept(self) -> Self:
        """Take the handshake and answer nothing, ever."""
        self._accepts, self._end = False, _End.SILENCE
        return self

    def wrong_accept(self, value: str | None = None) -> Self:
        """Send another Sec-WebSocket-Accept; by default that of another key."""
        return self._field("Sec-WebSocket-Accept", value or accept_key("AAAAAAAAAAAAAAAAAAAAAA=="))

    def no_accept(self) -> Self:
        """Send 101 without Sec-WebSocket-Accept."""
        return self._field("Sec-WebSocket-Accept", None)

    def no_upgrade(self) -> Self:
        """Send 101 without the field Upgrade."""
        return self._field("Upgrade", None)

    def no_connection(self) -> Self:
        """Send 101 without the field Connection."""
        return self._field("Connection", None)

    def subprotocol_not_offered(self, name: str = "surprise") -> Self:
        """Choose a subprotocol that the client has not offered, RFC 6455 section 4.1."""
        return self._field("Sec-WebSocket-Protocol", name)

    def extension_not_offered(self, value: str = "permessage-surprise") -> Self:
        """Use an extension that the client has not offered, RFC 6455 section 4.1."""
        return self._field("Sec-WebSocket-Extensions", value)

    # Valid messages before the fault.

    def send(self, message: str | bytes) -> Self:
        """Send a message as it should be: text of a string, binary of bytes."""
        if isinstance(message, str):
            return self.frame(TEXT, message.encode())
        return self.frame(BINARY, message)

    def receive(self, count: int = 1) -> Self:
        """Wait until the client has sent so many messages altogether."""
        self._steps.append(count)
        return self

    def drip(self, bytes_per_second: float) -> Self:
        """Send everything so slowly, the head included.

        Raises:
            ValueError: the rate is not above 0.
        """
        if not bytes_per_second > 0:
            raise ValueError(f"drip() takes bytes per second, more than 0, not {bytes_per_second!r}")
        self._rate = bytes_per_second
        return self

    # Bytes.

    def raw(self, data: bytes) -> Self:
        """Send any bytes."""
        return self._do(lambda: iter((data,)))

    def frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = False) -> Self:
        """Send a frame, whatever it is.

        Args:
            opcode: 0 to 15.
            payload: its content.
            fin: whether it is the last frame of its message.
            rsv: the three reserved bits, 0 to 7; RSV1 is 4.
            masked: masked, as those of clients are.

        Raises:
            ValueError: the opcode or the bits are out of their range.
        """
        if not (0 <= opcode <= 15 and 0 <= rsv <= 7):
            raise ValueError(f"frame() takes an opcode of 0 to 15 and bits of 0 to 7, not {opcode} and {rsv}")
        return self.raw(frame(opcode, payload, fin=fin, rsv=rsv, masked=masked))

    # Frames that are not allowed.

    def masked(self, text: str = "masked") -> Self:
        """Send a masked frame; a server must not mask, RFC 6455 section 5.1."""
        return self.frame(TEXT, text.encode(), masked=True)

    def reserved_opcode(self, opcode: int = 3) -> Self:
        """Send a frame of a type that does not exist: 3 to 7, or 11 to 15 of control frames."""
        return self.frame(opcode)

    def reserved_bits(self, rsv: int = 2) -> Self:
        """Send a message with reserved bits that no extension has defined; RSV1 is 4, RSV2 is 2, RSV3 is 1."""
        return self.frame(TEXT, b"reserved", rsv=rsv)

    def invalid_utf8(self, payload: bytes = b"caf\xe9") -> Self:
        """Send a text message that is not UTF-8, RFC 6455 section 8.1."""
        return self.frame(TEXT, payload)

    def unfinished_fragments(self) -> Self:
        """Send the first fragment of a message, and no other."""
        return self.frame(TEXT, b"first", fin=False)

    def interleaved_messages(self) -> Self:
        """Begin a message while the fragments of another one have not ended, RFC 6455 section 5.4."""
        return self.frame(TEXT, b"first", fin=False).frame(TEXT, b"second")

    def lone_continuation(self) -> Self:
        """Send a continuation frame of a message that has not begun."""
        return self.frame(CONTINUATION, b"of what?")

    def long_control_frame(self, size: int = 126) -> Self:
        """Send a Ping whose payload has more than 125 bytes, RFC 6455 section 5.5."""
        return self.frame(PING, b"x" * size)

    def fragmented_control_frame(self) -> Self:
        """Send a Ping in two fragments."""
        return self.frame(PING, b"pi", fin=False).frame(CONTINUATION, b"ng")

    # Lengths.

    def lying_length(self, more: int = 10) -> Self:
        """Send a text frame that says that it is longer by so many bytes than it is, then Close, then FIN.

        If the number is negative, the rest of the text is read as the next frame.
        """
        text = b"0123456789"
        self.raw(frame_head(TEXT, max(0, len(text) + more)) + text)
        return self.frame(CLOSE, close_payload(1000))._finish(_End.CLOSE)

    def padded_length(self) -> Self:
        """Send a frame whose length is not in its shortest form, RFC 6455 section 5.2."""
        return self.raw(b"\x81\x7e\x00\x05short")

    def impossible_length(self) -> Self:
        """Send the head of a frame of 2^63 bytes, whose first bit has to be 0, RFC 6455 section 5.2."""
        return self.raw(b"\x82\x7f" + (1 << 63).to_bytes(8))

    def huge_message(self, size: int = 64 * 1024 * 1024, fragments: int = 1) -> Self:
        """Send a binary message that is larger than the client wants, by default of 64 MiB.

        Args:
            size: in bytes.
            fragments: the number of frames.
        """

        def parts() -> Iterator[bytes]:
            for number in range(fragments):
                length = size * (number + 1) // fragments - size * number // fragments
                opcode = CONTINUATION if number else BINARY
                yield frame_head(opcode, length, fin=number == fragments - 1)
                for start in range(0, length, _PIECE):
                    yield bytes(min(_PIECE, length - start))

        return self._do(parts)

    def deflate_bomb(self, size: int = 100 * 1024 * 1024) -> Self:
        """Send about a thousandth of ``size`` bytes, which permessage-deflate makes ``size`` of, by default 100 MiB.

        The client has to offer permessage-deflate. If it does not, that is a reserved bit.
        """

        def agree(lines: list[Line], request: Request) -> list[Line]:
            offered = list_elements(request.headers["Sec-WebSocket-Extensions"] or "")
            if any(element.partition(";")[0].strip() == _DEFLATE for element in offered):
                return [*lines, ("Sec-WebSocket-Extensions", _DEFLATE)]
            return lines

        self._edits.append(agree)
        return self.frame(BINARY, deflated_zeros(size), rsv=4)

    def ping_flood(self, count: int = 10_000) -> Self:
        """Send so many Pings of 125 bytes, which the client has to answer."""
        pings = frame(PING, b"p" * 125) * 100

        def parts() -> Iterator[bytes]:
            for _ in range(count // 100):
                yield pings
            yield pings[: count % 100 * 127]

        return self._do(parts)

    # Ends.

    def invalid_close_code(self, code: int = 1005) -> Self:
        """Send Close with a code that must not be sent, as 1005, 1006 and 1015, or that is none, as 0 or 999."""
        return self._close(close_payload(code))

    def short_close(self) -> Self:
        """Send Close with one byte, which can be no code, RFC 6455 section 5.5.1."""
        return self._close(b"\x03")

    def invalid_close_reason(self) -> Self:
        """Send Close with a reason that is not UTF-8."""
        return self._close(close_payload(1000, b"caf\xe9"))

    def message_after_close(self, text: str = "late") -> Self:
        """Send Close, and then a message, RFC 6455 section 5.5.1."""
        return self._close(close_payload(1000)).send(text)

    def close_without_fin(self, code: int = 1000) -> Self:
        """Send Close, and leave the connection open, even if the client sends Close (RFC 6455 section 7.1.1)."""
        return self._close(close_payload(code))._silent()

    def close_without_frame(self) -> Self:
        """Close the connection (FIN) without Close. The client sees 1006."""
        return self._finish(_End.CLOSE)

    def reset(self) -> Self:
        """Reset the connection (RST) without Close."""
        return self._finish(_End.RESET)

    def stop_in_frame(self, sent: int = 5) -> Self:
        """Send the head of a text frame of 10 bytes and ``sent`` of them, then nothing."""
        return self.raw(frame_head(TEXT, 10) + b"0123456789"[:sent])._silent()

    def stop_in_frame_head(self) -> Self:
        """Send the first byte of a frame, then nothing; the connection stays open."""
        return self.raw(b"\x81")._silent()

    # Serving with the faults.

    async def __call__(self, request: Request, response: ResponseWriter) -> None:
        """Serve a request, as an App.

        Raises:
            HTTPError: 426: the request is no handshake.
        """
        check_upgrade(request, "websocket")
        connection = RawConnection(response)
        client = ClientFrames(connection.upgrade("websocket"))
        reading = asyncio.get_running_loop().create_task(client.read())
        try:
            if self._accepts:
                await connection.send(self._head(request), self._rate)
                await self._run(connection, client)
            await self._finish_with(connection, client)
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading

    def _head(self, request: Request) -> bytes:
        lines = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Accept", accept_key(request.headers["Sec-WebSocket-Key"] or "")),
        ]
        if offered := list_elements(request.headers["Sec-WebSocket-Protocol"] or ""):
            lines.append(("Sec-WebSocket-Protocol", offered[0]))
        for edit in self._edits:
            lines = edit(lines, request)
        fields = "".join(f"{name}: {value}\r\n" for name, value in lines)
        return f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n".encode("latin-1")

    async def _run(self, connection: RawConnection, client: ClientFrames) -> None:
        for step in self._steps:
            if isinstance(step, int):
                await client.received(step)
                continue
            for data in step():
                await connection.send(data, self._rate)

    async def _finish_with(self, connection: RawConnection, client: ClientFrames) -> None:
        if self._end is _End.RESET:
            await connection.reset()
            return
        if self._end is _End.IN_ORDER:
            await client.closed.wait()
            if client.close_frame is not None and not self._close_sent:
                await connection.send(frame(CLOSE, client.close_frame))
        elif self._end is _End.SILENCE:
            await connection.wait_closed()
        connection.close()

    def _do(self, step: Step) -> Self:
        self._steps.append(step)
        return self

    def _close(self, payload: bytes) -> Self:
        self._close_sent = True
        return self.frame(CLOSE, payload)

    def _field(self, name: str, value: str | None) -> Self:
        def edit(lines: list[Line], request: Request) -> list[Line]:
            kept = [line for line in lines if line[0] != name]
            return kept if value is None else [*kept, (name, value)]

        self._edits.append(edit)
        return self

    def _finish(self, end: _End) -> Self:
        self._end = end
        return self

    def _silent(self) -> Self:
        return self._finish(_End.SILENCE)
