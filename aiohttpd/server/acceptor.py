"""Acceptor: accepts connections from the listening sockets of a server.

Owns when it starts, pauses and ends. At no time a connection that accept() has returned may be lost.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from ..engine.context import ServerContext
from ..engine.error_log import error_logger
from ..engine.overload import ProtocolFactory
from ..net.forking import keep_from_children
from ..net.listener import EXHAUSTED, Listener

__all__ = ["Acceptor"]

_REST = 1.0  # seconds to pause when there are no descriptors left
_WARNING_INTERVAL = 60.0  # seconds between two warnings about that


class Acceptor:
    """Accepts the connections of one server.

    Args:
        context: of the server.
        sockets: the listening sockets; they are closed by `end`.
        factory: makes the protocol of a connection.
    """

    def __init__(self, context: ServerContext, sockets: list[socket.socket], factory: ProtocolFactory) -> None:
        self._context = context
        self._sockets = sockets
        self._factory = factory
        self._servers: list[asyncio.Server] = []
        self._turn = asyncio.Lock()  # held while it starts or pauses
        self._ended = False
        self._resting: asyncio.Task[None] | None = None
        self._next_warning = 0.0
        self._reports_exhaustion = isinstance(context.loop, asyncio.SelectorEventLoop)  # by `Listener`
        self._accepted: Callable[[], None] | None = None
        keep_from_children(self)

    def on_accept(self, accepted: Callable[[], None]) -> None:
        """Have a function called for each connection that is accepted from now on."""
        self._accepted = accepted

    def descriptors(self) -> Iterator[int]:
        """The descriptors of all sockets and connections, which forked children must not keep open."""
        for sock in self._sockets:
            yield sock.fileno()
        for server in self._servers:
            for listener in server.sockets:
                yield listener.fileno()
        for connection in tuple(self._context.registry.connections):
            with contextlib.suppress(Exception):  # it has been closed meanwhile
                yield connection.get_extra_info("socket").fileno()

    @property
    def load(self) -> int:
        """The number of open connections, those in a TLS handshake included."""
        return len(self._context.registry.connections) + len(self._context.registry.handshakes)

    async def begin(self) -> None:
        """Start accepting, or start again after `pause`. After `end` nothing happens.

        Raises:
            OSError: there are no descriptors left.
        """
        async with self._turn:
            if not self._servers and not self._ended:
                for sock in self._sockets:
                    server = await _prepare(self._context, sock, self._make, self._exhausted)
                    self._servers.append(server)  # before it accepts: a cancellation there must not lose it
                    await server.start_serving()

    async def pause(self) -> None:
        """Stop accepting; connections wait in the kernel, or are accepted by other processes."""
        async with self._turn:
            servers, self._servers = self._servers, []
            loop = self._context.loop
            try:
                if isinstance(loop, asyncio.SelectorEventLoop):
                    # An accepted connection gets its protocol in the next turn, unless the server is closed by then.
                    for server in servers:
                        for sock in server.sockets:
                            loop.remove_reader(sock.fileno())
                    await _turns(2)
            finally:
                for server in servers:
                    server.close()

    async def resume(self) -> None:
        """Accept again, as soon as there are enough descriptors."""
        while True:
            try:
                await self.begin()
                return
            except OSError:
                await self.pause()
                await asyncio.sleep(_REST)

    def _exhausted(self, error: OSError) -> None:
        """Pause when there are no descriptors left; connections wait in the kernel."""
        if self._resting is None:
            self._warn(error)
            self._resting = self._context.loop.create_task(self._rest())

    def _warn(self, error: OSError) -> None:
        now = monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _WARNING_INTERVAL
            error_logger.warning("no connection can be accepted: %s", error.strerror)

    async def _rest(self) -> None:
        await self.pause()
        await asyncio.sleep(_REST)
        await self.resume()
        self._resting = None

    async def end(self, *, last: bool) -> None:
        """Stop accepting for good, and close the sockets.

        Args:
            last: no other process accepts from them, so connections that wait there are accepted first.
        """
        self._ended = True
        if self._resting is not None:
            self._resting.cancel()
        await self.pause()
        # uvloop makes the protocol of an accepted connection in a later turn of the loop.
        await _turns(2)
        most = self._context.config.backlog + 1 if last else 0  # the kernel keeps so many; others may come all the time
        waiting = [connection for sock in self._sockets for connection in _waiting(sock, most)]
        for sock in self._sockets:
            with contextlib.suppress(OSError):  # the program has closed the descriptor
                sock.close()  # at once, since connections that arrive meanwhile are lost
        for connection in waiting:
            with contextlib.suppress(OSError):  # it has gone
                await self._context.loop.connect_accepted_socket(self._make, connection)

    def _make(self) -> asyncio.Protocol:
        if self._accepted is not None:
            self._accepted()
        if not self._reports_exhaustion:
            try:
                os.close(os.dup(self._sockets[0].fileno()))
            except OSError as error:  # no descriptor is left; libuv closes further connections
                if error.errno in EXHAUSTED:
                    self._warn(error)
        return self._factory()


def _waiting(sock: socket.socket, most: int) -> Iterator[socket.socket]:
    """Accept the connections that wait, at most so many."""
    with contextlib.suppress(OSError):  # none is left, or no descriptor
        for _ in range(most):
            connection, _ = sock.accept()
            connection.setblocking(False)
            yield connection


async def _turns(count: int) -> None:
    """Wait for a number of turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _prepare(
    context: ServerContext, sock: socket.socket, factory: ProtocolFactory, exhausted: Callable[[OSError], None]
) -> asyncio.Server:
    """Make the loop's server for a listening socket; it does not accept yet.

    ``exhausted`` is called when there are no descriptors left for connections.
    """
    options: dict[str, Any] = {"backlog": context.config.backlog, "start_serving": False}
    unix = sock.family not in (socket.AF_INET, socket.AF_INET6)
    if unix and sys.version_info >= (3, 13):
        options["cleanup_socket"] = False  # the server removes the socket's file itself; others may listen on it, too
    make: Any = context.loop.create_unix_server if unix else context.loop.create_server
    # The loop closes the socket that it is given, but the server needs its address for longer.
    acceptor: asyncio.Server = await make(factory, sock=Listener(sock, exhausted), **options)
    return acceptor
