"""Preludes: status line, Server and Date, with which each response begins; made once a second."""

import asyncio

from ..net.clock import Clock
from ..wire.product import __version__
from ..wire.response import status_line

__all__ = ["Preludes"]


class Preludes(dict[int, bytes]):
    """A dictionary of preludes by status. A missing one is made, and kept until the end of the current second.

    Args:
        loop: runs the timer that drops them. The timer runs only while there are preludes.
        server_header: whether there is a Server field.

    Attributes:
        server_field: the Server field with its CRLF; empty if there is none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, server_header: bool) -> None:
        self._loop = loop
        self._clock = Clock()
        self._timer: asyncio.TimerHandle | None = None  # runs until the end of the second
        self.server_field = f"Server: aiohttpd/{__version__}\r\n".encode() if server_header else b""

    def __missing__(self, status: int) -> bytes:
        prelude = self[status] = status_line(status) + self.server_field + self.date_field()
        if self._timer is None:
            self._timer = self._loop.call_later(self._clock.left(), self._end_second)
        return prelude

    def date_field(self) -> bytes:
        """The Date field with its CRLF, RFC 9110 section 6.6.1."""
        self._clock.tick()
        return b"Date: %b\r\n" % self._clock.date.encode()

    def close(self) -> None:
        """Cancel the timer, and drop all preludes."""
        if self._timer is not None:
            self._timer.cancel()
            self._end_second()

    def _end_second(self) -> None:
        self._timer = None
        self.clear()
