"""Accepting: a listening socket that bears it when the process or the system has no descriptors left.

Owns what an error of accept() means to the loop. uvloop closes the connections that wait then (libuv keeps a
descriptor in reserve for that), and goes on. asyncio stops for a second, and they wait; but in the same turn it
tries again as often as the backlog is long, and logs each time: thousands of tracebacks a second.
"""

import errno
import os
import socket
import time
from typing import Any

__all__ = ["Listener"]

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE = 0.5  # seconds; asyncio comes again after one


class Listener(socket.socket):
    """A duplicate of a listening socket, for the loop, whose accept() fails for the lack of resources once a pause."""

    _exhausted_until = 0.0

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
        self.setblocking(False)

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection; in the pause there is none.

        Raises:
            OSError: as the system says.
        """
        if self._exhausted_until and time.monotonic() < self._exhausted_until:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        try:
            return super().accept()
        except OSError as error:
            if error.errno in _EXHAUSTED:
                self._exhausted_until = time.monotonic() + _PAUSE
            raise
