"""Exchange: one request and its answer, as the thread of a handler of ``http.server`` deals with them.

Owns the ways of the bytes: the request is read as it was sent, the answer goes through `passing`, and who takes the
connection over gets a `tunnel`.
"""

import asyncio
import contextlib
import io
import socket
from typing import Any

from ..errors import ClientDisconnected
from ..wire.request import Request
from .incoming import Incoming
from .outbox import Outbox
from .passing import PassingWriter
from .tunnel import Tunnel

__all__ = ["Exchange"]


class Exchange:
    """One request of one handler.

    Attributes:
        request: the request.
        writer: checks the answer.
        outbox: takes it from the thread.
        closes: the handler wants no other request on the connection.
        answered: the answer has begun, interim ones apart.
    """

    outbox: Outbox

    def __init__(
        self, request: Request, writer: PassingWriter, incoming: Incoming, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.request = request
        self.writer = writer
        self.closes = False
        self.answered = False
        self._incoming = incoming
        self._loop = loop
        self._tunnel: Tunnel | None = None
        self._rfile: io.BufferedIOBase | None = None

    # In the thread.

    def open(self, *, with_head: bool) -> io.BufferedIOBase:
        """What is to be read; it ends where the body ends, or with the connection once that is no HTTP any more."""
        if self.request.method == "CONNECT" or self.request.upgrade is not None:
            before = self._incoming.rest

            async def rest(n: int) -> bytes:
                data = await before(n) if before is not None else b""
                return data or await self._after_head(n)

            self._incoming.rest = rest
        self._rfile = self._incoming.open(self._loop, replay_head(self.request) if with_head else b"")
        return self._rfile

    def send(self, data: Any) -> None:
        """Send bytes of the answer; this waits only if the client is very far behind.

        Raises:
            ClientDisconnected: it is gone.
        """
        if self.taken_over is not None:
            self.taken_over.sendall(data)
            return
        if self.writer.is_closing():
            raise ClientDisconnected("the client is gone")
        self.answered = self.answered or bytes(data[:10]) != b"HTTP/1.1 1"  # an interim one
        self.outbox.put(data if type(data) is bytes else bytes(data))

    def set_silence(self, seconds: float | None) -> None:
        """Say how long the client may be silent, on this connection."""
        peer = self.request.peer
        if seconds is not None:
            self.writer.set_timeout(seconds)
        if peer.silence != seconds:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(peer.set_silence, seconds)

    @property
    def taken_over(self) -> socket.socket | None:
        """The real socket, if the handler has one."""
        return None if self._tunnel is None else self._tunnel.theirs

    def take_over(self) -> socket.socket:
        """Get a real socket, made when it is first asked for."""
        if self.taken_over is None:
            rfile = self._rfile
            # What has not been read is in both: nobody knows from where it will be.
            waiting = bytes(rfile.getbuffer()[rfile.tell() :]) if isinstance(rfile, io.BytesIO) else b""
            asyncio.run_coroutine_threadsafe(self._pair(waiting), self._loop).result()
        assert self.taken_over is not None
        return self.taken_over

    # In the loop.

    async def ended(self) -> None:
        """Wait until all has been passed on that was written to a real socket."""
        if self._tunnel is not None:
            await self._tunnel.ended()

    def release(self) -> None:
        """The request is over."""
        if self._tunnel is not None:
            self._tunnel.close()
        self._incoming.close()

    async def _after_head(self, n: int) -> bytes:
        """Read what follows an answer that changes the protocol; nothing before."""
        self._deliver()
        return await self._open_tunnel().read(n) if self.writer.tunnelled else b""

    def _deliver(self) -> None:
        while parts := self.outbox.take():
            self.writer.deliver(parts)

    def _open_tunnel(self) -> Tunnel:
        if self._tunnel is None:
            self._tunnel = Tunnel(self.writer, self.request)
        return self._tunnel

    async def _pair(self, waiting: bytes) -> None:
        self._deliver()  # what has been written before goes before
        self.closes = True
        self._open_tunnel().pair(waiting, self._incoming)


def replay_head(request: Request) -> bytes:
    """The head as it was sent, for code that parses it itself."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"{request.requestline}\r\n{lines}\r\n".encode("latin-1")
