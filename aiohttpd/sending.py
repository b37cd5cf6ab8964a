"""Outgoing: the way of bytes from an answer to the peer, and how far they have come.

Owns the write side of a transport: what waits for a slow peer, within a limit; what is held back so
that a batch of pipelined answers leaves in one piece; and the end of it. Knows nothing of HTTP.
"""

import asyncio
import socket
import sys
from collections import deque
from collections.abc import Callable

from .errors import ClientDisconnected, WriteBufferFull

__all__ = ["Outgoing"]

_SLICE = 64 * 1024  # a larger piece is handed over in slices, each only while the transport takes them
_HELD = 64 * 1024  # bytes of answers that may wait for the end of a batch

_TCP_INFO_BYTES_ACKED = slice(120, 128)  # struct tcp_info of Linux: __u64 tcpi_bytes_acked


class Outgoing:
    """The write side of one connection.

    Attributes:
        paused: whether the transport asks to wait.
        lost: whether there is nobody to write to.
        closing: whether the end of what is sent has been decided.
    """

    __slots__ = (
        "_end_of_queue", "_held", "_limit", "_queue", "_queued", "_total", "_transport", "_waiters", "closing", "lost",
        "paused",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, limit: int) -> None:
        self._transport = transport
        self._limit = limit
        self._queue: deque[memoryview] | None = None
        self._queued = 0
        self._total = 0  # bytes that went through the queue or in large pieces
        self._held: list[bytes] | None = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self._end_of_queue: Callable[[], None] | None = None
        self.paused = False
        self.lost = False
        self.closing = False

    def send(self, parts: list[bytes]) -> None:
        """Send pieces, at once if the peer is not slow.

        Raises:
            WriteBufferFull: too much waits already. The connection is aborted then.
        """
        if len(parts[-1]) > _SLICE:
            for part in parts:
                self._send_large(part)
            return
        data = b"".join(parts)
        if self._held is not None:
            self._hold(data)
        elif self.paused or self.lost or len(data) > _SLICE:
            self._send_large(data)
        else:
            self._transport.write(data)

    def hold(self) -> None:
        """Hold back what is sent from now on, until `release`."""
        if self._held is None:
            self._held = []

    def release(self) -> None:
        """Send what has been held back."""
        held = self._held
        self._held = None
        if held:
            self.send(held)

    async def writable(self) -> None:
        """Wait while the peer is slow.

        Raises:
            ClientDisconnected: the peer is gone.
        """
        while self.paused and not self.lost:
            waiter = asyncio.get_running_loop().create_future()
            if self._waiters is None:
                self._waiters = []
            self._waiters.append(waiter)
            await waiter
        if self.lost:
            raise ClientDisconnected("the client is gone")

    def pause(self) -> None:
        """The transport has enough."""
        self.paused = True

    def resume(self) -> None:
        """The transport takes more."""
        self.paused = False
        queue = self._queue
        while queue and not self.paused:
            part = queue.popleft()
            self._queued -= len(part)
            self._transport.write(part)
        if self.paused:
            return
        self._queue = None
        self._wake()
        end, self._end_of_queue = self._end_of_queue, None
        if end is not None:
            end()

    def lose(self) -> None:
        """The connection is lost."""
        self.lost = True
        self._queue = self._held = None
        self._queued = 0
        self._wake()

    def close(self) -> None:
        """Close the transport once everything has been handed to it."""
        self._end(self._transport.close)

    def write_eof(self) -> None:
        """Close our side once everything has been handed over; all of it where only that can be done (TLS)."""
        self._end(self._transport.write_eof if self._transport.can_write_eof() else self._transport.close)

    @property
    def unsent(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return 0 if self.lost else self._queued + self._transport.get_write_buffer_size()

    def delivered(self) -> int:
        """Bytes that have made progress so far: acknowledged by the peer where the kernel tells, else taken by it."""
        # The buffer's size alone is too coarse: the kernel wakes a writer once per third of megabytes.
        sock = self._transport.get_extra_info("socket")
        if sys.platform == "linux" and sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            try:
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES_ACKED.stop)
            except OSError:
                info = b""
            if len(info) == _TCP_INFO_BYTES_ACKED.stop:
                return int.from_bytes(info[_TCP_INFO_BYTES_ACKED], sys.byteorder)
        return self._total - self.unsent

    def _send_large(self, data: bytes) -> None:
        if self.lost:
            return
        if self._held:
            self.release()
        self._total += len(data)
        view = memoryview(data)
        start = 0
        while start < len(view) and not self.paused and not self._queue:
            self._transport.write(view[start : start + _SLICE])
            start += _SLICE
        if start < len(view):
            self._enqueue(view, start)

    def _enqueue(self, view: memoryview, start: int) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queued += len(view) - start
        if self._queued > self._limit:
            self._transport.abort()
            raise WriteBufferFull(self._limit)
        for at in range(start, len(view), _SLICE):
            self._queue.append(view[at : at + _SLICE])

    def _hold(self, data: bytes) -> None:
        assert self._held is not None
        self._held.append(data)
        if len(data) >= _HELD or sum(map(len, self._held)) >= _HELD:
            self.release()

    def _end(self, end: Callable[[], None]) -> None:
        self.release()
        self.closing = True
        if self._queue:
            self._end_of_queue = end
        else:
            end()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)
