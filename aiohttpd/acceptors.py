"""Acceptors: what takes connections off the listening sockets, and when it does not.

Owns beginning, pausing and ending. None of them may lose a connection that the kernel has handed over.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

from .assembly import accept
from .load import ProtocolFactory
from .service import Service

__all__ = ["Acceptors", "turns"]


class Acceptors:
    """Those of one server.

    Args:
        service: of the server.
        sockets: they listen; they are closed at the end.
        factory: makes the protocol of a connection.

    Attributes:
        accepted: called, if it is set, for each connection that is accepted.
    """

    def __init__(self, service: Service, sockets: list[socket.socket], factory: ProtocolFactory) -> None:
        self._service = service
        self._sockets = sockets
        self._factory = factory
        self._servers: list[asyncio.Server] = []
        self._turn = asyncio.Lock()  # it begins or ends
        self._ended = False
        self.accepted: Callable[[], None] | None = None

    @property
    def load(self) -> int:
        """How many connections are open."""
        return len(self._service.connections) + len(self._service.handshakes)

    async def begin(self) -> None:
        """Accept, or accept again; nothing after the end.

        Raises:
            OSError: there are no descriptors left.
        """
        async with self._turn:
            if not self._servers and not self._ended:
                for sock in self._sockets:
                    self._servers.append(await accept(self._service, sock, self._make))

    async def pause(self) -> None:
        """Leave connections to whoever else accepts from the same sockets."""
        async with self._turn:
            await self._close()

    async def end(self, *, last: bool) -> None:
        """Accept no more, and close the sockets.

        Args:
            last: nobody else accepts from them, so what waits there is taken first.
        """
        self._ended = True
        await self.pause()
        # On uvloop a connection that was accepted already is made in a later turn of the loop.
        await turns(2)
        waiting = [connection for sock in self._sockets for connection in _waiting(sock)] if last else []
        for sock in self._sockets:
            sock.close()  # at once: who comes in between is lost
        for connection in waiting:
            with contextlib.suppress(OSError):  # it has gone
                await self._service.loop.connect_accepted_socket(self._make, connection)

    def _make(self) -> asyncio.Protocol:
        if self.accepted is not None:
            self.accepted()
        return self._factory()

    async def _close(self) -> None:
        servers, self._servers = self._servers, []
        loop = self._service.loop
        if isinstance(loop, asyncio.SelectorEventLoop):
            # What it has accepted becomes a connection in the next turn, and would be dropped if it were closed then.
            for server in servers:
                for sock in server.sockets:
                    loop.remove_reader(sock.fileno())
            await turns(2)
        for server in servers:
            server.close()


def _waiting(sock: socket.socket) -> Iterator[socket.socket]:
    """Accept all connections that wait."""
    with contextlib.suppress(OSError):  # there is none, or no descriptor for it
        while True:
            connection, _ = sock.accept()
            connection.setblocking(False)
            yield connection


async def turns(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)
