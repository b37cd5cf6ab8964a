"""Outbox: the queue of bytes from a worker thread to the loop.

Bytes wait in memory, then in a file, so that a slow client does not block the thread; the thread waits only when the
file is full too. It knows nothing of HTTP.
"""

import asyncio
import errno
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from typing import IO

from ..errors import ClientDisconnected
from .spools import Space

__all__ = ["Outbox", "broken_pipe"]

KIB = 1024
_MEMORY = 1024 * KIB  # bytes that wait in memory
_SPOOLED = 64 * 1024 * KIB  # bytes that wait in the file
_PROMPT = 64 * KIB  # bytes at which the loop is woken at once
_PIECE = 256 * KIB  # bytes that the loop takes at a time


def broken_pipe() -> ClientDisconnected:
    """Make the error of a write to a client that has gone; number and text are those of a socket."""
    return ClientDisconnected(errno.EPIPE, f"{os.strerror(errno.EPIPE)}: the client is gone")


class Outbox:
    """The bytes of one thread for one client.

    Args:
        loop: the loop that takes the bytes.
        wake: called in the thread, to have the loop take bytes.
        space: makes the account for the file.

    Attributes:
        waiting: bytes that the loop has not taken.
        ended: the thread writes no more.
        rests: the thread writes no more until it gets another request.
        nudge: flushes the buffer of a writer; None if there is no buffer.
    """

    nudge: Callable[[], None] | None = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        wake: Callable[["Outbox"], None],
        space: Callable[[], Space],
    ) -> None:
        self._loop = loop
        self._make_space = space
        self._space: Space | None = None
        self._wake = wake
        self._lock = threading.Lock()
        self._room: threading.Condition | None = None  # made when the thread has to wait for room
        self._parts: deque[bytes] = deque()
        self._file: IO[bytes] | None = None
        self._read_at = self._write_at = 0  # positions in the file
        self._taken = 0  # how often the loop has taken bytes
        self.closed = False
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None
        self.waiting = 0
        self.ended = False
        self.rests = False

    # In the thread.

    def put(self, data: bytes) -> None:
        """Append bytes; wait while memory and file are full.

        Raises:
            ClientDisconnected: the loop takes no more.
        """
        with self._lock:
            if self.closed:
                raise broken_pipe()
            if self._file is None and self.waiting + len(data) <= _MEMORY:
                self._parts.append(data)
                self.waiting += len(data)
            else:
                self._spool(data)
            prompt = self.waiting >= _PROMPT
        if prompt:
            self.wake()

    def end(self) -> None:
        """The thread writes no more."""
        self.ended = True
        self.wake()

    def rest(self) -> None:
        """The thread has finished a request, and waits for the next one."""
        self.rests = True
        self.wake()

    def wake(self) -> None:
        """Have the loop take the bytes now and not at the next sweep. Any thread may call it."""
        if not self._woken:
            self._woken = True
            self._wake(self)

    def _spool(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            if self.closed:
                raise broken_pipe()
            if room := self._room_in_file(len(view)):
                if self._file is None:
                    self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # until close()
                written = os.pwrite(self._file.fileno(), view[:room], self._write_at % _SPOOLED)
                self._write_at += written
                self.waiting += written
                view = view[written:]
            elif self._file is None and self.waiting < _MEMORY:  # there is no space for a file
                part = bytes(view[: _MEMORY - self.waiting])
                self._parts.append(part)
                self.waiting += len(part)
                view = view[len(part) :]
            else:
                self._wait_for_room()

    def _room_in_file(self, wanted: int) -> int:
        """The number of bytes that fit into the file in one piece. The file is a ring buffer, and may grow."""
        at = self._write_at % _SPOOLED
        room = min(wanted, _SPOOLED - (self._write_at - self._read_at), _SPOOLED - at)
        if self._space is None:
            self._space = self._make_space()
        missing = max(0, min(self._write_at + room, _SPOOLED) - self._space.size)
        room -= missing - self._space.grow(missing)
        if self._file is None and room < min(wanted, _PIECE):  # so little is not worth a file
            self._space.close()
            return 0
        return room

    def _wait_for_room(self) -> None:
        waited_for = self._taken
        self._room = room = self._room or threading.Condition(self._lock)
        self._lock.release()
        try:
            self.wake()  # which may close the outbox
        finally:
            self._lock.acquire()
        if self._taken == waited_for and not self.closed:
            room.wait()

    # In the loop.

    def sweep(self) -> None:
        """Deliver bytes that have waited for some time, also those in the buffer of the writer."""
        if self.nudge is not None and self.waiting < _PROMPT:  # so that flushing cannot block the loop
            self.nudge()
        if self.waiting:
            self.wake()

    async def filled(self) -> None:
        """Wait until there are bytes, or the thread has ended or rests. Only one task may wait."""
        if not (self.waiting or self.ended or self.rests):
            assert self._waiter is None or self._waiter.done(), "another task waits"
            self._waiter = self._loop.create_future()
            await self._waiter

    def take(self) -> list[bytes]:
        """Remove and return up to 256 KiB, in the order of writing; an empty list if nothing waits."""
        with self._lock:
            if self._parts and self._file is None and self.waiting <= _PIECE:
                parts = list(self._parts)
                self._parts.clear()
                size = self.waiting
            elif self._parts:
                parts = []
                size = 0
                while self._parts and size < _PIECE:
                    parts.append(self._parts.popleft())
                    size += len(parts[-1])
            elif self._file is not None:
                at = self._read_at % _SPOOLED
                count = min(_PIECE, self._write_at - self._read_at, _SPOOLED - at)
                parts = [os.pread(self._file.fileno(), count, at)]
                size = len(parts[0])
                self._read_at += size
                if self._read_at == self._write_at:
                    self._drop_file()
            else:
                return []
            self.waiting -= size
            self._taken += 1
            if self._room is not None:
                self._room.notify_all()
            return parts

    def close(self) -> None:
        """The loop takes no more; further writes of the thread raise ClientDisconnected."""
        self.nudge = None  # it refers to the writer, and the writer refers to this
        with self._lock:
            self.closed = True
            self._parts.clear()
            self.waiting = 0
            self._drop_file()
            if self._room is not None:
                self._room.notify_all()

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._space is not None:
            self._space.close()
        self._read_at = self._write_at = 0

    def tell(self) -> None:
        """The loop has been woken: wake those that wait in `filled`."""
        self._woken = False
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
