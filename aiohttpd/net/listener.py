"""Listener: a listening socket for an event loop that handles the lack of descriptors.

When the process or the system has no descriptors left, accept() fails. uvloop then closes the connections that wait
(libuv keeps a spare descriptor for that), and goes on. asyncio would call accept() again as often as the backlog is
long, log each error, and come back after a second, even if the socket has been closed meanwhile. So it is told that no
connection waits, and `server.acceptor` that it should pause.
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
        sock: a listening socket.
        exhausted: called with the error when accept() fails for lack of descriptors or memory.
    """

    def __init__(self, sock: socket.socket, exhausted: Callable[[OSError], None]) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=os.dup(sock.fileno()))
        self.setblocking(False)
        self._exhausted = exhausted

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection.

        Raises:
            BlockingIOError: no connection waits, or there are no resources to accept it.
            OSError: any other error of the system.
        """
        try:
            return super().accept()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            self._exhausted(error)
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
