"""Acceptor: what takes connections off the listening sockets, and when it does not.

Owns beginning, pausing and ending. None of them may lose a connection that the kernel has handed over.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from time import monotonic

from ..engine.context import ServerContext, error_logger
from ..engine.overload import ProtocolFactory
from ..net.forking import keep_from_children
from ..net.listener import EXHAUSTED
from .layers import accept

__all__ = ["Acceptor", "turns"]

_REST = 1.0  # seconds without descriptors before we look whether there are some again
_QUIET = 60.0  # seconds from one line about that to the next


class Acceptor:
    """Those of one server.

    Args:
        service: of the server.
        sockets: they listen; they are closed at the end.
        factory: makes the protocol of a connection.
    """

    def __init__(self, service: ServerContext, sockets: list[socket.socket], factory: ProtocolFactory) -> None:
        self._service = service
        self._sockets = sockets
        self._factory = factory
        self._servers: list[asyncio.Server] = []
        self._turn = asyncio.Lock()  # it begins or ends
        self._ended = False
        self._resting: asyncio.Task[None] | None = None
        self._quiet_until = 0.0
        self._tells = isinstance(service.loop, asyncio.SelectorEventLoop)  # of itself that there are none
        self._accepted: Callable[[], None] | None = None
        keep_from_children(self)

    def on_accept(self, accepted: Callable[[], None]) -> None:
        """Have a function called for each connection that is accepted from now on."""
        self._accepted = accepted

    def descriptors(self) -> Iterator[int]:
        """Those of the sockets and of the connections, which children must not keep open."""
        for sock in self._sockets:
            yield sock.fileno()
        for server in self._servers:
            for listener in server.sockets:
                yield listener.fileno()
        for connection in tuple(self._service.connections):
            with contextlib.suppress(Exception):  # it has been closed meanwhile
                yield connection.get_extra_info("socket").fileno()

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
                    self._servers.append(await accept(self._service, sock, self._make, self._exhausted))

    async def pause(self) -> None:
        """Leave connections to whoever else accepts from the same sockets."""
        async with self._turn:
            await self._close()

    async def resume(self) -> None:
        """Accept again, as soon as there are descriptors for that."""
        while True:
            try:
                await self.begin()
                return
            except OSError:
                await self.pause()
                await asyncio.sleep(_REST)

    def _exhausted(self, error: OSError) -> None:
        """There are no descriptors left for a connection: all that come have to wait."""
        if self._resting is None:
            self._tell(error)
            self._resting = self._service.loop.create_task(self._rest())

    def _tell(self, error: OSError) -> None:
        now = monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + _QUIET
            error_logger.warning("no connection can be accepted: %s", error.strerror)

    async def _rest(self) -> None:
        await self.pause()
        await asyncio.sleep(_REST)
        await self.resume()
        self._resting = None

    async def end(self, *, last: bool) -> None:
        """Accept no more, and close the sockets.

        Args:
            last: nobody else accepts from them, so what waits there is taken first.
        """
        self._ended = True
        if self._resting is not None:
            self._resting.cancel()
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
        if self._accepted is not None:
            self._accepted()
        if not self._tells:
            try:
                os.close(os.dup(self._sockets[0].fileno()))
            except OSError as error:  # it was the last one; libuv closes those that come now
                if error.errno in EXHAUSTED:
                    self._tell(error)
        return self._factory()

    async def _close(self) -> None:
        servers, self._servers = self._servers, []
        loop = self._service.loop
        try:
            if isinstance(loop, asyncio.SelectorEventLoop):
                # What it has accepted becomes a connection in the next turn, unless it has been closed by then.
                for server in servers:
                    for sock in server.sockets:
                        loop.remove_reader(sock.fileno())
                await turns(2)
        finally:
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
