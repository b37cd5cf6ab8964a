"""Accepting: a listening socket that bears it when the process or the system has no descriptors left.

Owns what an error of accept() means to the loop. uvloop closes the connections that wait then (libuv keeps a
descriptor in reserve for that), and goes on. asyncio would try again as often as the backlog is long, log each time,
and come back after a second, be the socket closed meanwhile or not; so it is told that nobody waits, and
`server.acceptor` that it should leave the socket alone for a while.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import Any

__all__ = ["EXHAUSTED", "Listener"]

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener(socket.socket):
    """A duplicate of a listening socket, for the loop.

    Args:
        sock: it listens.
        exhausted: called with the error when accept() fails for the lack of resources.
    """

    def __init__(self, sock: socket.socket, exhausted: Callable[[OSError], None]) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
        self.setblocking(False)
        self._without = exhausted

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, if there is one that can be accepted.

        Raises:
            OSError: as the system says.
        """
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            self._without(error)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
