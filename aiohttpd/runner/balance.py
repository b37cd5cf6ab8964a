"""Balance: workers that accept from the same sockets take about as many connections each.

Owns the table of how many connections each worker has, which all of them share, and when one lets the
others go first. The kernel wakes whom it likes: of 64 connections that come at once, one of two workers may get
60, and keeps them for as long as they are kept alive.
"""

import asyncio
import mmap
from typing import Protocol

__all__ = ["Balance", "Table"]

_SLOTS = 128
_NOBODY = 0xFFFFFFFF  # in the slot of a worker that does not accept
_SLACK = 4  # connections more than another that nobody minds
_PAUSE = 0.005  # seconds for others to accept
_PATIENCE = 0.1  # seconds without another pause, if no other has


class Table:
    """A number for each worker, in memory that they share.

    Args:
        descriptor: of a file that all of them have open.
    """

    def __init__(self, descriptor: int) -> None:
        self._numbers = memoryview(mmap.mmap(descriptor, 4 * _SLOTS)).cast("I")

    @classmethod
    def of(cls, descriptor: int) -> "Table":
        """Make the table in a file that is empty."""
        with open(descriptor, "wb", closefd=False) as file:
            file.write(b"\xff" * 4 * _SLOTS)
        return cls(descriptor)

    def take(self, used: set[int]) -> int:
        """A slot that nobody has."""
        return next((slot for slot in range(_SLOTS) if slot not in used), _SLOTS - 1)

    def set(self, slot: int, number: int) -> None:
        """Say how many connections there are."""
        self._numbers[slot] = number

    def clear(self, slot: int) -> None:
        """Say that nobody accepts there."""
        self._numbers[slot] = _NOBODY

    def others(self, slot: int) -> list[int]:
        """The numbers of all other workers that accept."""
        return [number for other, number in enumerate(self._numbers.tolist()) if number != _NOBODY and other != slot]


class Accepting(Protocol):
    """What accepts, and can be told to wait: `Acceptor`."""

    @property
    def load(self) -> int:
        """How many connections are open."""

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...


class Balance:
    """One worker's part in it.

    Args:
        table: of all.
        slot: its own.
        acceptors: of its server, which has been started.
    """

    def __init__(self, table: Table, slot: int, acceptors: Accepting) -> None:
        self._loop = asyncio.get_running_loop()
        self._table = table
        self._slot = slot
        self._acceptors = acceptors
        self._pausing: asyncio.Task[None] | None = None
        self._ended = False
        self._burst = 0  # accepted in this turn of the loop, so that they are not in the books yet
        self._not_before = 0.0  # the loop's time of the next pause
        self.update()

    def update(self) -> None:
        """Say how many connections we have."""
        self._table.set(self._slot, self._acceptors.load)

    def accepted(self) -> None:
        """We have taken one more: enough for now?"""
        if self._ended:
            return
        if not self._burst:
            self._loop.call_soon(self._burst_is_in_the_books)
        self._burst += 1
        own = self._acceptors.load + self._burst
        self._table.set(self._slot, own)
        if self._pausing is None and self._loop.time() >= self._not_before:
            others = self._table.others(self._slot)
            least = min(others, default=own)
            if own > least + least // 8 + _SLACK:
                self._pausing = self._loop.create_task(self._let_others(sum(others)))

    def _burst_is_in_the_books(self) -> None:
        self._burst = 0

    async def _let_others(self, before: int) -> None:
        try:
            await self._acceptors.pause()
            await asyncio.sleep(_PAUSE)
            if sum(self._table.others(self._slot)) <= before:
                self._not_before = self._loop.time() + _PATIENCE  # there is nothing to take, or nobody who does
        finally:
            await self._acceptors.resume()
            self._pausing = None

    def end(self) -> None:
        """We do not accept any more."""
        self._ended = True
        self._table.clear(self._slot)
