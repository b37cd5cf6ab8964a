"""Half-closing: TLS of a connection whose peer has closed its side, and still reads.

Owns what keeps the loops from closing both sides then, as they do: RFC 8446 section 6.1 lets the other side go on, and
a request that is followed by the end at once is to be answered. And the other way round: a peer that still sends when
our side has been closed gets what it has been sent before (RFC 9112 section 9.6). Knows nothing of HTTP.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

__all__ = ["HalfClosable", "half_closable", "hold_end"]

_PIECE = 64 * 1024  # bytes that are thrown away at once
_THROWN_AWAY = 1024 * 1024  # bytes after our end, before the connection is cut


class HalfClosable(ssl.SSLObject):
    """TLS of a server that keeps the end of what the peer sends from the loop, for whoever closes the connection later.

    Attributes:
        has_ended: the peer has closed its side.
        transport: that of TCP; None if it is not known. It is not read from once TLS has ended, since its end is one
            that the loop would not keep for itself, either.
    """

    has_ended = False
    transport: asyncio.Transport | None = None
    _tell: Callable[[], object] | None = None
    _left: int | None = None  # of _THROWN_AWAY, once our side is being closed

    def on_end(self, tell: Callable[[], object]) -> None:
        """Have something called when the peer has closed its side."""
        self._tell = tell
        if self.has_ended:
            tell()

    def stop_reading(self) -> None:
        """Read no more of TCP than of TLS."""
        if self.has_ended and self.transport is not None and not self.transport.is_closing():
            with contextlib.suppress(RuntimeError):  # of uvloop, where nobody reads
                self.transport.pause_reading()

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """Read as `ssl.SSLObject` does, but for the end.

        Raises:
            SSLWantReadError: there is nothing to read.
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
        """Close our side, as `ssl.SSLObject` does; what the peer goes on to send is thrown away, up to a bound.

        OpenSSL takes it for an error, by which the loops would reset the connection: that destroys the answer.
        """
        if self.server_side:
            if self._left is None:
                self._left = _THROWN_AWAY
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLZeroReturnError):
                while self.read(_PIECE):
                    pass
        return super().unwrap()

    def _throw_away(self, data: bytes) -> None:
        assert self._left is not None
        self._left -= len(data)
        if self._left < 0:
            raise ssl.SSLError("the peer goes on after the end")


def half_closable(context: ssl.SSLContext) -> ssl.SSLContext:
    """Have a context make TLS that can be closed by half, unless somebody has it make something else."""
    if context.sslobject_class is ssl.SSLObject:
        context.sslobject_class = HalfClosable
    return context


def hold_end(transport: asyncio.Transport, secured: asyncio.Transport | None) -> None:
    """TLS has been agreed upon: say on what it stands."""
    tls = None if secured is None else secured.get_extra_info("ssl_object")
    if isinstance(tls, HalfClosable):
        tls.transport = transport
        tls.stop_reading()
