"""Tunnel: a connection that a handler has taken over.

Owns what happens once the bytes of a client may be no HTTP any more: they are read as they come, or pumped through a
real socket, for code that wants one. What such code has not read in the end is HTTP after all.
"""

import asyncio
import contextlib
import socket
from typing import IO

from ..errors import ClientDisconnected, ContractError, HTTPError
from ..wire.request import Body, Request
from .body import Read
from .relay import RelayWriter

__all__ = ["Tunnel"]

_PIECE = 64 * 1024


class Tunnel:
    """The bytes after a head, both ways.

    Attributes:
        theirs: the handler's end of a pair of sockets; None if it has not asked for one.
    """

    def __init__(self, writer: RelayWriter, request: Request) -> None:
        self.theirs: socket.socket | None = None
        self._writer = writer
        self._peer = request.peer
        self._reader: Body | None = None
        self._ours: socket.socket | None = None
        self._look: socket.socket | None = None  # another one for theirs, which has no timeout, whatever they set
        self._incoming: asyncio.Task[None] | None = None
        self._outgoing: asyncio.Task[None] | None = None
        self._unsent = memoryview(b"")  # of what is being passed on
        self._beyond = 0  # bytes that followed the request

    @property
    def is_open(self) -> bool:
        """Whether what the client sends comes here."""
        return self._reader is not None

    async def read(self, n: int) -> bytes:
        """Read what the client sends."""
        if self._reader is None:
            self._reader = self._peer.open_tunnel(last=self._writer.tunnelled)
        return await self._reader.read(n)

    def pair(self, waiting: bytes, file: IO[bytes] | None, rest: Read | None) -> socket.socket:
        """Make a pair of sockets and begin to pump: what waits already, the rest of the body, and what follows.

        Returns the handler's end.
        """
        loop = asyncio.get_running_loop()
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._look = self.theirs.dup()
        self._writer.spoken = self.spoken
        self._incoming = loop.create_task(self._pump_in(waiting, file, rest, self._ours))
        self._outgoing = loop.create_task(self._pump_out(self._ours))
        return self.theirs

    def spoken(self) -> bool:
        """Whether the handler has read of what follows its request: then the two of them speak as they like."""
        size = self._beyond - len(self._unsent)
        if size <= 0:
            return False
        try:
            assert self._look is not None
            return len(self._look.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT)) < size
        except OSError:  # all of it, or the socket is somebody else's now
            return True

    async def ended(self) -> None:
        """The handler has returned: wait until all that it has sent has been passed on.

        Raises:
            ContractError: what it has sent is no answer.
        """
        if self.theirs is not None:
            with contextlib.suppress(OSError):
                self.theirs.shutdown(socket.SHUT_WR)  # whoever else still has it
            if self._look is not None and self.theirs.fileno() < 0:  # it has been detached, and may go on
                self._look.close()
        if self._outgoing is not None:
            await self._outgoing

    async def end(self) -> bytes | None:
        """Pass nothing on any more; give what followed the request, or None if the handler has read of it."""
        if self._incoming is not None:
            self._incoming.cancel()
            await asyncio.wait([self._incoming])
        if self._look is None or self._look.fileno() < 0 or self.spoken():
            return None
        parts = []
        with contextlib.suppress(OSError):
            while part := self._look.recv(_PIECE, socket.MSG_DONTWAIT):
                parts.append(part)
        found = b"".join([*parts, self._unsent])
        return found[len(found) - self._beyond :]

    def give_back(self, unread: bytes) -> None:
        """What follows the request is HTTP."""
        if self._reader is not None:
            self._reader = None
            self._peer.close_tunnel(unread)

    def close(self) -> None:
        """It is over."""
        self._writer.spoken = None
        for task in (self._incoming, self._outgoing):
            if task is not None and not task.cancel() and not task.cancelled():
                task.exception()  # has been told already
        for sock in (self.theirs, self._look, self._ours):
            if sock is not None:
                sock.close()

    async def _pump_in(self, waiting: bytes, file: IO[bytes] | None, rest: Read | None, ours: socket.socket) -> None:
        with contextlib.suppress(OSError, HTTPError):  # either of them has gone
            try:
                await self._pass_on(waiting, ours)
                while file is not None and (data := file.read(_PIECE)):
                    await self._pass_on(data, ours)
                while rest is not None and (data := await rest(_PIECE)):
                    await self._pass_on(data, ours)
                while data := await self.read(_PIECE):
                    self._beyond += len(data)
                    await self._pass_on(data, ours)
            finally:
                ours.shutdown(socket.SHUT_WR)  # the handler reads an end, too

    async def _pass_on(self, data: bytes, ours: socket.socket) -> None:
        """Send all of it; ``_unsent`` says how far that has come."""
        self._unsent = memoryview(data)
        while self._unsent:
            try:
                sent = ours.send(self._unsent)
            except BlockingIOError:
                await _writable(ours)
            else:
                self._unsent = self._unsent[sent:]

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


async def _writable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    room = loop.create_future()
    descriptor = sock.fileno()
    loop.add_writer(descriptor, lambda: None if room.done() else room.set_result(None))
    try:
        await room
    finally:
        loop.remove_writer(descriptor)
