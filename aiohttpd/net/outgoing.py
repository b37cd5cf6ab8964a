"""Outgoing: the write side of a connection.

Owns the queue of bytes that wait for a slow peer, within a limit; the bytes that are held back so that the answers to
pipelined requests are sent together; the end of the connection; and how many bytes the peer has received. It knows
nothing of HTTP.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import ClientDisconnected, WriteBufferFull

__all__ = ["LEADING", "Closable", "Outgoing"]

_JOINED = 128 * 1024  # bytes; pieces that are not larger are joined, and given to the transport at once
_SLICE = 1024 * 1024  # bytes; larger pieces are given to the transport in slices, while it accepts them
_TLS_SLICE = 128 * 1024  # bytes; TLS encrypts a slice in one call
# Bytes of a large piece that leave together with what is before it, such as the head. From a small segment alone a TCP
# receiver concludes that small ones will follow, and it offers a small window (benchmarks/bench.py, workload down-1m).
LEADING = 64 * 1024
_GATHERED = 16 * 1024  # bytes; longer content is not copied behind the header of its frame
# In some versions of Python, asyncio's `writelines` does not call `pause_writing` (CVE-2024-12254).
_WRITELINES_PAUSES = not ((3, 12) <= sys.version_info < (3, 12, 9) or (3, 13) <= sys.version_info < (3, 13, 2))
# Bytes of answers that are held back. More is sent at once: what 32 connections hold back has to fit into the cache.
_HELD = 16 * 1024

_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 seconds; close() sends RST
_TCP_INFO_BYTES_ACKED = slice(120, 128)  # struct tcp_info of Linux: __u64 tcpi_bytes_acked
_TCP_CLOSE = 7  # linux/tcp_states.h: the connection does not exist any more
_SIOCOUTQ = 0x5411  # Linux: bytes that the peer has not acknowledged, and one more after FIN
_FEW = 64 * 1024  # bytes that may be left to the kernel when the connection is closed


class Closable(Protocol):
    """An object with a method ``close``."""

    def close(self) -> None: ...


class Outgoing:
    """The write side of one connection.

    Attributes:
        paused: whether the transport has paused writing.
        lost: whether the connection is lost.
        closing: whether `close` or `write_eof` has been called.
        held: what is held back until `release`, at first no bytes; None if bytes are sent at once.
        companion: an object that writes to the socket beside the transport, and is closed before it; or None.
    """

    __slots__ = (
        "_end_of_queue", "_limit", "_open", "_queue", "_queued", "_refused", "_total", "_transport",
        "_waiters", "closing", "companion", "held", "lost", "paused",
    )  # fmt: skip

    def __init__(self, transport: asyncio.Transport, limit: int) -> None:
        self._transport = transport
        # The transport; None while it takes no bytes: it has paused writing, or is lost.
        self._open: asyncio.Transport | None = transport
        self._limit = limit
        self._queue: deque[memoryview | bytearray] | None = None
        self._queued = 0
        self._total = 0  # bytes given to `send` so far
        self.held: bytes | bytearray | None = None
        self.companion: Closable | None = None
        self._waiters: list[asyncio.Future[None]] | None = None
        self._end_of_queue: Callable[[], None] | None = None
        self.paused = False
        self.lost = False
        self._refused = False
        self.closing = False

    def send(self, parts: list[bytes]) -> None:
        """Send pieces: at once, or later if the peer is slow.

        Raises:
            WriteBufferFull: more bytes than the limit wait already. The connection is aborted.
        """
        transport = self._open
        if transport is None or len(parts[-1]) > _JOINED:
            self._send_in_pieces(parts)
            return
        data = b"".join(parts)
        held = self.held
        if held is not None:
            if held or len(data) >= _HELD:
                self._hold_more(held, data)
            else:
                self.held = data  # usually one answer is held back
        elif (size := len(data)) <= _JOINED:
            self._total += size
            transport.write(data)
        else:
            self._send_large(data)

    def send_piece(self, data: bytes) -> None:
        """Send one piece of at most 128 KiB. See `send`."""
        transport = self._open
        if transport is None or self.held is not None:
            self.send([data])
        else:
            self._total += len(data)
            transport.write(data)

    def send_frame(self, head: bytes, content: bytes) -> None:
        """Send a frame of a protocol that has many: its header and its content. See `send`."""
        transport = self._open
        size = len(content)
        if transport is None or self.held is not None or size > _JOINED:
            self.send([head, content])
            return
        self._total += len(head) + size
        if size >= _GATHERED and self._gathers:
            transport.writelines((head, content))
        else:
            transport.write(head + content)

    @property
    def _gathers(self) -> bool:
        """Whether the transport writes several pieces by one system call. TLS would make a record of each.

        Not while it closes: in some versions of Python, asyncio's `writelines` to a lost connection leaves the number
        of its socket in the selector, and the next connection with that number is never read (gh-136234).
        """
        transport = self._transport
        return _WRITELINES_PAUSES and not transport.is_closing() and transport.get_extra_info("sslcontext") is None

    def hold(self) -> None:
        """Hold back what is sent, until `release`. While the peer is slow nothing is held back: it is queued."""
        if self.held is None:
            self.held = b""

    def _hold_more(self, held: bytes | bytearray, data: bytes) -> None:
        size = len(held) + len(data)
        if not held:
            self.held = data
        elif isinstance(held, bytearray):
            held += data
        else:
            self.held = bytearray(held)  # it grows in place
            self.held += data
        if size >= _HELD:
            self.release()
            self.hold()

    def release(self) -> None:
        """Send what has been held back, and stop holding back."""
        held, self.held = self.held, None
        if held:
            transport = self._open
            if transport is not None and len(held) <= _JOINED:
                self._total += len(held)
                transport.write(held)
            else:
                self._send_large(held)

    def take_held(self) -> bytes:
        """Return what has been held back, for the caller to send it, and stop holding back."""
        held, self.held = self.held, None
        self._total += len(held or b"")
        return bytes(held or b"")

    async def writable(self) -> None:
        """Wait until the transport accepts bytes.

        Raises:
            ClientDisconnected: the connection is lost.
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
        """The transport has called ``pause_writing``."""
        self.paused = True
        self._open = None

    def resume(self) -> None:
        """The transport has called ``resume_writing``."""
        self.paused = False
        queue = self._queue
        while queue and not self.paused and not self._transport.is_closing():
            part = queue.popleft()
            self._queued -= len(part)
            self._transport.write(part)
        if self.paused:
            return
        self._queue = None
        if not self.lost:
            self._open = self._transport
        self._wake()
        end, self._end_of_queue = self._end_of_queue, None
        if end is not None:
            asyncio.get_running_loop().call_soon(end)  # asyncio does not allow it within resume_writing

    def lend(self, data: bytes | memoryview) -> bool:
        """Send bytes of a buffer that the caller uses again. It must have waited for `writable` in this iteration.

        Returns:
            Whether the buffer is free again; if not, the transport may still refer to it.
        """
        held = self.take_held() if self.held is not None else b""
        self._total += len(data)
        if not self._transport.is_closing():
            self._transport.write(held + data if held else data)
        return bool(held) or self._transport.get_write_buffer_size() == 0

    def passed(self, size: int) -> None:
        """Count bytes that have been written to the socket beside the transport."""
        self._total += size

    def lose(self) -> None:
        """The connection is lost: drop all bytes."""
        self.lost = True
        if self.companion is not None:
            self.companion.close()
        self._queue = self.held = self._open = None
        self._queued = 0
        self._wake()

    def close(self) -> None:
        """Close the transport after all bytes have been written to it."""
        self._end(self._close)

    def write_eof(self) -> None:
        """Close the write side after all bytes have been written; with TLS close the whole connection."""
        self._end(self._write_eof if self._transport.can_write_eof() else self._close)

    def _close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()

    def _write_eof(self) -> None:
        if self._transport.is_closing():
            return  # uvloop would raise RuntimeError
        try:
            self._transport.write_eof()
        except OSError:  # the peer has reset the connection
            self._close()

    def drop_unread(self) -> None:
        """Have close() send RST and drop what the peer has not read; else the kernel keeps it for minutes."""
        sock = self._tcp_socket()
        if sock is not None:
            with contextlib.suppress(OSError):  # it has been closed
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    @property
    def total(self) -> int:
        """The number of bytes sent so far, including those that still wait."""
        return self._total + self._held_bytes

    @property
    def unsent(self) -> int:
        """The number of bytes that have not been written to the socket."""
        return 0 if self.lost else self._held_bytes + self._queued + self._transport.get_write_buffer_size()

    @property
    def _held_bytes(self) -> int:
        return len(self.held or b"")

    @property
    def undelivered(self) -> int:
        """The number of bytes that the peer has not acknowledged; elsewhere than on Linux, those not in the kernel."""
        waiting = self.unsent
        sock = self._tcp_socket() if sys.platform == "linux" and not self.lost else None
        if sock is not None:
            import fcntl  # needed only at the end of some connections

            with contextlib.suppress(OSError):  # it has been closed
                (queued,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQ, bytes(4)))
                if (
                    sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _TCP_CLOSE
                ):  # after RST the count stays
                    waiting += max(0, queued - 1)
        return waiting

    @property
    def refused(self) -> bool:
        """Whether the peer has reset the connection (RST)."""
        sock = self._tcp_socket()
        if sock is not None and not self._refused:
            with contextlib.suppress(OSError):  # it has been closed
                self._refused = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        return self._refused

    @property
    def lags(self) -> bool:
        """Whether too many bytes are unacknowledged to leave them to the kernel when the connection is closed."""
        return self._total > _FEW and self.undelivered > _FEW

    def delivered(self) -> int:
        """The number of bytes that the peer has acknowledged; on other systems than Linux those in the kernel."""
        # What is in the kernel is too coarse: it wakes a writer only when a third of its megabytes is free.
        sock = self._tcp_socket()
        if sys.platform == "linux" and sock is not None:
            try:
                info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES_ACKED.stop)
            except OSError:
                info = b""
            if len(info) == _TCP_INFO_BYTES_ACKED.stop:
                return int.from_bytes(info[_TCP_INFO_BYTES_ACKED], sys.byteorder)
        return self.total - self.unsent

    def _tcp_socket(self) -> socket.socket | None:
        sock: socket.socket | None = self._transport.get_extra_info("socket")
        if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.fileno() < 0:
            return None  # a closed socket raises ValueError in uvloop, OSError in asyncio
        return sock

    def _send_in_pieces(self, parts: Sequence[bytes | bytearray]) -> None:
        if self.held:
            parts = [self.held, *parts]
        self.held = None
        small: list[bytes | bytearray | memoryview] = []
        for part in parts:
            if len(part) <= _JOINED:
                small.append(part)
                continue
            large = memoryview(part)
            if small:
                self._send_large(b"".join([*small, large[:LEADING]]))
                small.clear()
                large = large[LEADING:]
            self._send_large(large)
        self._send_large(b"".join(small))

    def _send_large(self, data: bytes | bytearray | memoryview) -> None:
        if self.lost:
            return
        self._total += len(data)
        view = memoryview(data)
        most = _SLICE if self._transport.get_extra_info("sslcontext") is None else _TLS_SLICE
        start = 0
        while start < len(view) and not self.paused and not self._queue:
            if self._transport.is_closing():
                return  # the peer has gone; connection_lost() will follow
            self._transport.write(view[start : start + most])
            start += most
        if start < len(view):
            self._enqueue(view, start, most)

    def _enqueue(self, view: memoryview, start: int, most: int) -> None:
        if self._queue is None:
            self._queue = deque()
        queue, size = self._queue, len(view) - start
        # One piece of any size may wait, since it is kept by reference. The limit is for more pieces.
        if queue and self._queued + size > self._limit:
            self.drop_unread()
            self._transport.abort()
            self.lose()
            raise WriteBufferFull(self._limit)
        self._queued += size
        last = queue[-1] if queue else None
        if size >= _GATHERED:
            queue.extend(view[at : at + most] for at in range(start, len(view), most))
        elif isinstance(last, bytearray) and len(last) + size <= _JOINED:
            last += view[start:]  # else each small piece would be an object, and later a system call
        else:
            queue.append(bytearray(view[start:]))

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
