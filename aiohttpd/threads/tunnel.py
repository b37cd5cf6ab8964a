"""Tunnel: a connection that a handler has taken over.

Owns what happens once the bytes of a client are no HTTP any more: they are read as they come, or pumped through a real
socket, for code that wants one.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from ..errors import ClientDisconnected, ContractError, HTTPError
from ..wire.request import Body, Request
from .incoming import Incoming
from .passing import PassingWriter

__all__ = ["Tunnel"]

_PIECE = 64 * 1024


class Tunnel:
    """The bytes after a head, both ways.

    Attributes:
        theirs: the handler's end of a pair of sockets; None if it has not asked for one.
    """

    def __init__(self, writer: PassingWriter, request: Request) -> None:
        self.theirs: socket.socket | None = None
        self._writer = writer
        self._open: Callable[[], Body] = request.peer.open_tunnel
        self._reader: Body | None = None
        self._ours: socket.socket | None = None
        self._incoming: asyncio.Task[None] | None = None
        self._outgoing: asyncio.Task[None] | None = None

    async def read(self, n: int) -> bytes:
        """Read what the client sends."""
        if self._reader is None:
            self._reader = self._open()
        return await self._reader.read(n)

    def pair(self, waiting: bytes, incoming: Incoming) -> None:
        """Make a pair of sockets and begin to pump: what waits already, the rest of the body, and what follows."""
        loop = asyncio.get_running_loop()
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._incoming = loop.create_task(self._pump_in(waiting, incoming, self._ours))
        self._outgoing = loop.create_task(self._pump_out(self._ours))

    async def ended(self) -> None:
        """The handler has returned: wait until all that it has sent has been passed on.

        Raises:
            ContractError: what it has sent is no answer.
        """
        if self.theirs is not None:
            with contextlib.suppress(OSError):
                self.theirs.shutdown(socket.SHUT_WR)  # whoever else still has it
            self.theirs.close()
        if self._outgoing is not None:
            await self._outgoing

    def close(self) -> None:
        """It is over."""
        for task in (self._incoming, self._outgoing):
            if task is not None and not task.cancel() and not task.cancelled():
                task.exception()  # has been told already
        for sock in (self.theirs, self._ours):
            if sock is not None:
                sock.close()

    async def _pump_in(self, waiting: bytes, incoming: Incoming, ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError, HTTPError):  # either of them has gone
            try:
                await loop.sock_sendall(ours, waiting)
                while incoming.rest is not None and (data := await incoming.rest(_PIECE)):
                    await loop.sock_sendall(ours, data)
                while data := await self.read(_PIECE):
                    await loop.sock_sendall(ours, data)
            finally:
                ours.shutdown(socket.SHUT_WR)  # the handler reads an end, too

    async def _pump_out(self, ours: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError):
            try:
                while data := await loop.sock_recv(ours, _PIECE):
                    self._writer.deliver([data])
                    await self._writer.writable()
            except (ClientDisconnected, ContractError):
                ours.shutdown(socket.SHUT_RDWR)  # the handler learns of it when it reads or writes
                raise
