"""Tunnel: raw access to a connection, for handlers of ``http.server`` that read beyond their request.

The bytes after the request may be another protocol (after CONNECT or an upgrade) or the next request. A handler reads
them as they arrive, or through a socket pair if it uses ``self.connection``. If the handler has read none of them, they
are parsed as the next request.
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
    """The bytes after a request, in both directions.

    Args:
        writer: the response.
        request: the request.

    Attributes:
        theirs: the handler's end of the socket pair; None if the handler has not used its socket.
    """

    def __init__(self, writer: RelayWriter, request: Request) -> None:
        self.theirs: socket.socket | None = None
        self._writer = writer
        self._peer = request.peer
        self._reader: Body | None = None
        self._ours: socket.socket | None = None
        self._peek: socket.socket | None = None  # a duplicate of ``theirs``, for peeking with MSG_DONTWAIT
        self._incoming: asyncio.Task[None] | None = None
        self._outgoing: asyncio.Task[None] | None = None
        self._unsent = memoryview(b"")  # bytes that are not in the socket pair yet
        self._after_request = 0  # number of bytes that followed the request

    @property
    def is_open(self) -> bool:
        """Whether the bytes of the client come to this tunnel."""
        return self._reader is not None

    async def read(self, n: int) -> bytes:
        """Read at most ``n`` bytes of the client; the first call opens the tunnel."""
        if self._reader is None:
            self._reader = self._peer.open_tunnel(last=self._writer.tunnelled)
        return await self._reader.read(n)

    def pair(self, waiting: bytes, file: IO[bytes] | None, rest: Read | None) -> socket.socket:
        """Make a socket pair, and begin to copy bytes between it and the client.

        Args:
            waiting: bytes that have been read and come first.
            file: the spooled part of the body, which comes next.
            rest: reads the rest of the body. After it come the bytes that follow the request.

        Returns:
            The handler's end of the pair.
        """
        loop = asyncio.get_running_loop()
        self._ours, self.theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._peek = self.theirs.dup()
        self._writer.spoken = self.spoken
        self._incoming = loop.create_task(self._pump_in(waiting, file, rest, self._ours))
        self._outgoing = loop.create_task(self._pump_out(self._ours))
        return self.theirs

    def spoken(self) -> bool:
        """Whether the handler has read bytes that follow its request; then they are not parsed as HTTP."""
        size = self._after_request - len(self._unsent)
        if size <= 0:
            return False
        try:
            assert self._peek is not None
            return len(self._peek.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT)) < size
        except OSError:  # nothing is left, or the handler has closed or detached the socket
            return True

    async def ended(self) -> None:
        """The handler has returned: wait until all bytes that it has written to its socket have been sent.

        Raises:
            ContractError: the bytes are not a valid response.
        """
        if self.theirs is not None:
            with contextlib.suppress(OSError):
                self.theirs.shutdown(socket.SHUT_WR)  # also if another thread or a child process has the socket
            if self._peek is not None and self.theirs.fileno() < 0:  # the handler has detached it, and may still use it
                self._peek.close()
        if self._outgoing is not None:
            await self._outgoing

    async def end(self) -> bytes | None:
        """Stop copying to the handler; return the bytes that followed the request, None if the handler has read any."""
        if self._incoming is not None:
            self._incoming.cancel()
            await asyncio.wait([self._incoming])
        if self._peek is None or self._peek.fileno() < 0 or self.spoken():
            return None
        parts = []
        with contextlib.suppress(OSError):
            while part := self._peek.recv(_PIECE, socket.MSG_DONTWAIT):
                parts.append(part)
        found = b"".join([*parts, self._unsent])
        return found[len(found) - self._after_request :]

    def give_back(self, unread: bytes) -> None:
        """Close the tunnel: the bytes after the request, ``unread`` first, are parsed as HTTP."""
        if self._reader is not None:
            self._reader = None
            self._peer.close_tunnel(unread)

    def close(self) -> None:
        """Cancel the copying, and close the sockets."""
        self._writer.spoken = None
        for task in (self._incoming, self._outgoing):
            if task is not None and not task.cancel() and not task.cancelled():
                task.exception()  # retrieve it, so that asyncio does not log it; `ended` has raised it
        for sock in (self.theirs, self._peek, self._ours):
            if sock is not None:
                sock.close()

    async def _pump_in(self, waiting: bytes, file: IO[bytes] | None, rest: Read | None, ours: socket.socket) -> None:
        with contextlib.suppress(OSError, HTTPError):  # the client or the handler has closed its side
            try:
                await self._pass_on(waiting, ours)
                while file is not None and (data := file.read(_PIECE)):
                    await self._pass_on(data, ours)
                while rest is not None and (data := await rest(_PIECE)):
                    await self._pass_on(data, ours)
                while data := await self.read(_PIECE):
                    self._after_request += len(data)
                    await self._pass_on(data, ours)
            finally:
                ours.shutdown(socket.SHUT_WR)  # the handler reads the end of the stream

    async def _pass_on(self, data: bytes, ours: socket.socket) -> None:
        """Send bytes into the socket pair; ``_unsent`` is the part that is still to be sent."""
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
                ours.shutdown(socket.SHUT_RDWR)  # the next read or write of the handler fails
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
