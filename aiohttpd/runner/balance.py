"""Balance: workers that accept from the same sockets get about the same number of connections.

The kernel decides which process it wakes: of 64 connections that come at once, one of two workers may accept 60, and
it keeps them as long as they are kept alive. So each worker writes its number of connections to a table in shared
memory, and a worker that has clearly more than another stops accepting for a few milliseconds.
"""

import asyncio
import mmap
from typing import Protocol

__all__ = ["Balance", "ConnectionTable"]

_SLOTS = 128
_NOBODY = 0xFFFFFFFF  # in the slot of a worker that does not accept
_SLACK = 4  # connections more than another worker that are no reason to pause
_PAUSE = 0.005  # seconds for others to accept
_PATIENCE = 0.1  # seconds without another pause, after one in which no other worker has accepted


class ConnectionTable:
    """The number of connections of each worker, in shared memory. Each worker has a slot.

    Args:
        descriptor: of a file that all processes have open; `create` has written it.
    """

    def __init__(self, descriptor: int) -> None:
        self._numbers = memoryview(mmap.mmap(descriptor, 4 * _SLOTS)).cast("I")

    @classmethod
    def create(cls, descriptor: int) -> "ConnectionTable":
        """Make the table in an empty file."""
        with open(descriptor, "wb", closefd=False) as file:
            file.write(b"\xff" * 4 * _SLOTS)
        return cls(descriptor)

    def free_slot(self, used: set[int]) -> int:
        """A slot that is not in use; the last one, which is shared then, if all are."""
        return next((slot for slot in range(_SLOTS) if slot not in used), _SLOTS - 1)

    def set(self, slot: int, number: int) -> None:
        """Write the number of connections of a worker."""
        self._numbers[slot] = number

    def clear(self, slot: int) -> None:
        """Write that the worker of this slot does not accept any more."""
        self._numbers[slot] = _NOBODY

    def others(self, slot: int) -> list[int]:
        """The numbers of all other workers that accept."""
        return [number for other, number in enumerate(self._numbers.tolist()) if number != _NOBODY and other != slot]


class PausableAcceptor(Protocol):
    """What `Balance` needs of an `Acceptor`."""

    @property
    def load(self) -> int:
        """The number of open connections."""

    async def pause(self) -> None:
        """Stop accepting."""

    async def resume(self) -> None:
        """Accept again."""


class Balance:
    """Pauses the acceptor of one worker while others have fewer connections.

    Args:
        table: the table of all workers.
        slot: the slot of this worker.
        acceptor: of its server, which has been started.
    """

    def __init__(self, table: ConnectionTable, slot: int, acceptor: PausableAcceptor) -> None:
        self._loop = asyncio.get_running_loop()
        self._table = table
        self._slot = slot
        self._acceptor = acceptor
        self._pausing: asyncio.Task[None] | None = None
        self._ended = False
        self._burst = 0  # connections accepted in this turn of the loop, which ``acceptor.load`` does not count yet
        self._not_before = 0.0  # the loop's time of the next pause
        self.update()

    def update(self) -> None:
        """Write the number of connections to the table."""
        self._table.set(self._slot, self._acceptor.load)

    def accepted(self) -> None:
        """Count a connection that has just been accepted, and pause if others have fewer."""
        if self._ended:
            return
        if not self._burst:
            self._loop.call_soon(self._end_burst)
        self._burst += 1
        own = self._acceptor.load + self._burst
        self._table.set(self._slot, own)
        if self._pausing is None and self._loop.time() >= self._not_before:
            others = self._table.others(self._slot)
            least = min(others, default=own)
            if own > least + least // 8 + _SLACK:
                self._pausing = self._loop.create_task(self._pause(sum(others)))

    def _end_burst(self) -> None:
        self._burst = 0

    async def _pause(self, before: int) -> None:
        """Leave new connections to others, which have ``before`` connections together."""
        try:
            await self._acceptor.pause()
            await asyncio.sleep(_PAUSE)
            if sum(self._table.others(self._slot)) <= before:
                self._not_before = self._loop.time() + _PATIENCE
        finally:
            await self._acceptor.resume()
            self._pausing = None

    def end(self) -> None:
        """Write that this worker does not accept any more, and never pause again."""
        self._ended = True
        self._table.clear(self._slot)
