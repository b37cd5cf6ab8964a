"""TLS connections that are half-closed: one side has been closed (close_notify), and the other side goes on.

RFC 8446 section 6.1 allows it, but event loops close both sides. So a request that is followed by close_notify would
get no answer. And if the server has closed its side, bytes that the peer still sends would reset the connection, before
it has read the last answer (RFC 9112 section 9.6). `HalfClosable` prevents both. It knows nothing of HTTP.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

__all__ = ["HalfClosable", "half_closable", "hold_end"]

_PIECE = 64 * 1024  # bytes that are dropped at a time
_DROPPED = 1024 * 1024  # bytes of the peer that are dropped after the server's close_notify; then it is reset


class HalfClosable(ssl.SSLObject):
    """The TLS object of a server that does not show the peer's close_notify to the loop.

    Attributes:
        has_ended: whether the peer has closed its side.
        transport: the TCP transport; None if it is not known. After close_notify it is not read any more, since the
            loop would close the connection at the end of TCP, too.
    """

    has_ended = False
    transport: asyncio.Transport | None = None
    _tell: Callable[[], object] | None = None
    _left: int | None = None  # bytes that may still be dropped, once the server's side is being closed

    def on_end(self, tell: Callable[[], object]) -> None:
        """Set a function that is called when the peer has closed its side."""
        self._tell = tell
        if self.has_ended:
            tell()

    def stop_reading(self) -> None:
        """Stop reading from TCP if TLS has ended."""
        if self.has_ended and self.transport is not None and not self.transport.is_closing():
            with contextlib.suppress(RuntimeError):  # uvloop raises it if reading is paused
                self.transport.pause_reading()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read as `ssl.SSLObject` does, but do not return the end of the stream.

        Raises:
            SSLWantReadError: there is nothing to read, or the peer has closed its side.
        """
        if buffer is not None:
            return super().read(len, buffer)
        data = super().read(len)
        if data and self._left is not None:
            self._throw_away(data)
        if data or not len or not self.server_side:
            return data
        if not self.has_ended:
            self.has_ended = True
            self.stop_reading()
            if self._tell is not None:
                self._tell()
        raise ssl.SSLWantReadError

    def unwrap(self) -> Any:
        """Close the server's side, as `ssl.SSLObject` does; drop what the peer still sends, up to a limit.

        For OpenSSL such bytes are an error, and the loops would reset the connection, which destroys the last answer.

        Raises:
            ssl.SSLError: the peer has sent more than that.
        """
        if self.server_side:
            if self._left is None:
                self._left = _DROPPED
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while self.read(_PIECE):
                    pass
        return super().unwrap()

    def _throw_away(self, data: bytes) -> None:
        assert self._left is not None
        self._left -= len(data)
        if self._left < 0:
            raise ssl.SSLError("the peer goes on sending after close_notify")


def half_closable(context: ssl.SSLContext) -> ssl.SSLContext:
    """Have a TLS context make `HalfClosable` objects, unless the program has set another class."""
    if context.sslobject_class is ssl.SSLObject:
        context.sslobject_class = HalfClosable
    return context


def hold_end(transport: asyncio.Transport, secured: asyncio.Transport | None) -> None:
    """After the handshake, give the TLS object its TCP transport."""
    tls = None if secured is None else secured.get_extra_info("ssl_object")
    if isinstance(tls, HalfClosable):
        tls.transport = transport
        tls.stop_reading()
