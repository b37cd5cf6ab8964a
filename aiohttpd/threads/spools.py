"""Spools: what waits in temporary files between clients and threads, within one bound for the process.

Owns the account of their bytes. The files are `body`'s and `outbox`'s.
"""

import threading

from ..config import Config
from ..errors import HTTPError

__all__ = ["Space", "Spools", "SpoolsFull"]

_OF_BODIES = 4  # bodies may take this part of the whole: what they hold, clients decide without any effort
_OF_THREADS = 4  # this part of the threads may wait for the rest of a body that does not fit
_RETRY = "1"  # seconds


class SpoolsFull(HTTPError):
    """What waits for threads fills its space already: 503 with Retry-After."""

    def __init__(self) -> None:
        super().__init__(503, None, "too many bodies wait already", headers=(("Retry-After", _RETRY),))


class _Account:
    """Bytes in use, by all servers of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.used = 0

    def take(self, wanted: int, limit: int) -> int:
        """Take up to so many bytes; say how many those were."""
        with self._lock:
            granted = max(0, min(wanted, limit - self.used))
            self.used += granted
        return granted

    def give_back(self, size: int) -> None:
        with self._lock:
            self.used -= size


_all, _bodies = _Account(), _Account()


class Space:
    """What one file takes of the whole, and of a part of it.

    Attributes:
        size: bytes so far.
    """

    def __init__(self, *accounts: tuple[_Account, int]) -> None:
        self._accounts = accounts  # each with its limit
        self.size = 0

    def grow(self, wanted: int) -> int:
        """Take up to so many bytes more; say how many there were."""
        granted = wanted
        for number, (account, limit) in enumerate(self._accounts):
            less = account.take(granted, limit)
            for earlier, _ in self._accounts[:number]:
                earlier.give_back(granted - less)
            granted = less
        self.size += granted
        return granted

    def close(self) -> None:
        """The file is no more."""
        if self.size:
            size, self.size = self.size, 0
            for account, _ in self._accounts:
                account.give_back(size)


class Spools:
    """What the threads of one server may spool, and how many of them may wait for clients instead."""

    def __init__(self, config: Config) -> None:
        self._limit = config.limit_spools
        self._readers = max(1, config.worker_threads // _OF_THREADS)

    def for_body(self) -> Space:
        """Space for a body; nothing of it has been taken."""
        return Space((_all, self._limit), (_bodies, self._limit // _OF_BODIES))

    def for_answer(self) -> Space:
        """Space for an answer; nothing of it has been taken."""
        return Space((_all, self._limit))

    def begin_to_read(self) -> None:
        """A thread is to wait for the rest of a body itself; in the loop.

        Raises:
            SpoolsFull: too many do.
        """
        if not self._readers:
            raise SpoolsFull
        self._readers -= 1

    def end_reading(self) -> None:
        """It does no more."""
        self._readers += 1
