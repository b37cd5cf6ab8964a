"""Exchange: one request and its answer, for the thread of a handler of ``http.server``.

The thread reads the request as it was sent; its answer goes through `relay`; a handler that takes over the connection
gets a `tunnel`.
"""

import asyncio
import contextlib
import io
import os
import socket
from typing import Any

from ..wire.request import Request
from .body import MemoryBody, SpooledBody, StreamedBody
from .outbox import Outbox, broken_pipe
from .relay import RelayWriter
from .tunnel import Tunnel

__all__ = ["Exchange"]

_IN_A_CHILD = "a child has no socket that its parent has not asked for: call fileno() before the fork"

_process = os.getpid()


def _forked() -> None:
    global _process
    _process = os.getpid()


os.register_at_fork(after_in_child=_forked)


class Exchange:
    """One request of one handler.

    Attributes:
        request: the request.
        writer: parses and checks the answer.
        outbox: takes the answer from the thread.
        closes: whether the handler wants the connection to be closed after the answer.
    """

    outbox: Outbox

    def __init__(
        self, request: Request, writer: RelayWriter, incoming: SpooledBody, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.request = request
        self.writer = writer
        self.closes = False
        self._answered = False
        self._silence = request.peer.silence  # what has been asked for last; the loop may not have set it yet
        self._incoming = incoming
        self._loop = loop
        self._tunnel: Tunnel | None = None
        self._source: MemoryBody | StreamedBody | None = None
        self._rfile: MemoryBody | io.BufferedReader | None = None
        self._process = _process

    # In the thread.

    def open(self, *, with_head: bool, ends: bool = True) -> MemoryBody | io.BufferedReader:
        """Make the file that the handler reads. It ends with the body, or with the connection (Upgrade).

        Args:
            with_head: whether it begins with the head of the request.
            ends: whether it ends with the body, unless the client wants to change the protocol.
        """
        request = self.request
        ends = ends and request.upgrade is None and request.method != "CONNECT"
        head = _replay_head(request) if with_head else b""
        self._source, self._rfile = self._incoming.open_for(self, self._loop, head, ends=ends)
        return self._rfile

    @property
    def answered(self) -> bool:
        """Whether the final answer has begun."""
        return self._answered or self.writer.status > 0

    def send(self, data: Any) -> None:
        """Send bytes of the answer; this waits only if very much waits for a slow client.

        Raises:
            TypeError: they are no bytes-like object.
            ClientDisconnected: the client has closed the connection.
            OSError: this is a forked child, which has no socket.
        """
        if type(data) is not bytes:
            data = memoryview(data).tobytes()  # bytes() would make bytes of a number and of a list, too
        if not self._answered:
            begin = data[:12]
            self._answered = begin[:10] != b"HTTP/1.1 1" or begin == b"HTTP/1.1 101"  # not for an interim answer
        if self._tunnel is not None and self._tunnel.theirs is not None:
            self._tunnel.theirs.sendall(data)
            return
        if _process != self._process:
            raise OSError(_IN_A_CHILD)
        if self.writer.is_closing():
            raise broken_pipe()
        self.outbox.put(data)

    def hang_up(self, *, reset: bool) -> None:
        """Close the connection. An answer that has begun is completed, if its length allows that.

        Args:
            reset: close it with RST in any case.
        """
        self.writer.resets = reset
        if not self.answered:
            self.closes = self.writer.hangs_up = True

    def set_silence(self, seconds: float | None) -> None:
        """Set how long the client of this connection may send nothing, in seconds; None for the usual deadlines."""
        peer = self.request.peer
        if seconds is not None:
            self.writer.set_timeout(seconds)
        if self._silence != seconds:
            self._silence = seconds
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                self._loop.call_soon_threadsafe(peer.set_silence, seconds)

    @property
    def taken_over(self) -> socket.socket | None:
        """The real socket, if the handler has one."""
        return None if self._tunnel is None else self._tunnel.theirs

    def take_over(self) -> socket.socket:
        """Get a real socket; the first call makes it. What has not been read of the request is read from it.

        Raises:
            OSError: this is a forked child.
        """
        sock = self.taken_over
        if sock is None:
            if _process != self._process:
                raise OSError(_IN_A_CHILD)
            if self._rfile is None:
                self.open(with_head=False)
            assert self._source is not None
            sock = asyncio.run_coroutine_threadsafe(self._pair(self._unread()), self._loop).result()
            self._source.switch(sock)
        return sock

    def _unread(self) -> bytes:
        """The bytes that a buffered reader has read ahead."""
        rfile, source = self._rfile, self._source
        if source is None or rfile is None or rfile is source or rfile.closed:
            return b""
        size = source.tell() - rfile.tell()
        return rfile.read(size) if size else b""

    # In the loop.

    async def ended(self) -> None:
        """Wait until everything that was written to a real socket has been sent.

        If the handler has not read behind its request, the bytes there are the next request; else there is none.
        """
        tunnel = self._tunnel
        if tunnel is None:
            return
        await tunnel.ended()
        unread = None if self.writer.tunnelled else await tunnel.end()
        if unread is None:
            self.closes = True
        else:
            tunnel.give_back(unread)

    def release(self) -> None:
        """Release files and sockets at the end of the request."""
        if self._tunnel is not None:
            if self._tunnel.is_open:
                self.writer.close_connection = True
            self._tunnel.close()
        self._incoming.close()
        self._rfile = self._source = None

    async def read_after(self, n: int) -> bytes:
        """Read what follows an answer that changes the protocol; nothing before such an answer."""
        self._deliver()
        return await self._open_tunnel().read(n) if self.writer.tunnelled else b""

    def _deliver(self) -> None:
        while parts := self.outbox.take():
            self.writer.deliver(parts)

    def _open_tunnel(self) -> Tunnel:
        if self._tunnel is None:
            self._tunnel = Tunnel(self.writer, self.request)
        return self._tunnel

    async def _pair(self, waiting: bytes) -> socket.socket:
        self._deliver()  # first what has been written before
        assert self._source is not None
        content, file, rest = self._source.hand_over()
        return self._open_tunnel().pair(waiting + content, file, rest)


def _replay_head(request: Request) -> bytes:
    """The head as the client has sent it, for code that parses it again."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    return f"{request.requestline}\r\n{lines}\r\n".encode("latin-1")
