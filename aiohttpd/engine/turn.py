"""Turn: what a response gathers during one turn of the event loop.

Owns when drained content is sent: that of the first `drain` of a turn at once, what follows together at its end. And
after how many calls of `drain` a task yields to the loop.
"""

import asyncio
from collections.abc import Callable

__all__ = ["IDLE_TURN", "Turn"]

_DRAINS = 256  # calls of drain() after which the task yields to the loop once: some 50 µs of them


class Turn:
    """The current turn of the loop, as a response uses it.

    Attributes:
        gathers: what is drained is kept until the end of the turn.
        free: so many calls of drain() have only to decrement this, and to set ``drained``.
        drained: the room in the buffer at the last drain() or flush(), while this gathers.
        failure: what sending at the end of a turn has raised.
    """

    __slots__ = ("_left", "_scheduled", "drained", "failure", "free", "gathers")

    def __init__(self) -> None:
        self.gathers = False
        self.free = 0
        self.drained = 0
        self.failure: Exception | None = None
        self._left = _DRAINS  # besides the free ones
        self._scheduled = False

    def is_spent(self) -> bool:
        """Count a call of drain() that is not free; return whether there were enough of them in this turn."""
        self._left -= 1
        if self._left > 0:
            return False
        self._left = _DRAINS
        return True

    def gather(self, end: Callable[[], None]) -> None:
        """Everything has been sent: gather what is drained from now on. ``drained`` has to be set after this.

        Args:
            end: called at the end of the turn, if this gathers then.
        """
        self.gathers = True
        self.free, self._left = self.free + self._left, 0
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._end, end)

    def take_undrained(self, parts: list[bytes], room: int) -> tuple[list[bytes], int]:
        """Remove from the buffer what has been written after the last drain(), and return it with its size."""
        size = left = self.drained - room
        first = len(parts)
        while left > 0:
            first -= 1
            left -= len(parts[first])
        undrained = parts[first:]
        del parts[first:]
        return undrained, size

    def suspend(self) -> None:
        """Let the next drain() send everything."""
        self._left += self.free
        self.free = 0

    def stop(self) -> None:
        """Everything that was drained is sent now. Raises `failure`, if there is one."""
        self._left += self.free
        self.free = 0
        self.gathers = False
        if self.failure is not None:
            raise self.failure

    def reset(self) -> None:
        """Another response takes the place of this one, of which nothing has been sent."""
        self.failure = None
        self.stop()

    def _end(self, end: Callable[[], None]) -> None:
        self._scheduled = False
        self.free, self._left = 0, _DRAINS
        if self.gathers:
            end()


IDLE_TURN = Turn()  # of all responses that have not been drained: it never gathers
