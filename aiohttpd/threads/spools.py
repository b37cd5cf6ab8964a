"""Spools: limits the temporary files between clients and threads, by one account for the process.

The files themselves are in `body` and `outbox`.
"""

import threading

from ..config import Config
from ..errors import HTTPError

__all__ = ["Space", "Spools", "SpoolsFull"]

_OF_BODIES = 4  # request bodies may use a quarter of the space, since clients can fill it easily
_OF_THREADS = 4  # a quarter of the threads may wait for the rest of a body for which there is no space
_RETRY = "1"  # seconds


class SpoolsFull(HTTPError):
    """There is no space for another request body (``limit_spools``): 503 with Retry-After."""

    def __init__(self) -> None:
        super().__init__(503, None, "too many bodies wait already", headers=(("Retry-After", _RETRY),))


class _Account:
    """The bytes that all servers of a process use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.used = 0

    def take(self, wanted: int, limit: int) -> int:
        """Reserve up to ``wanted`` bytes; return how many have been reserved."""
        with self._lock:
            granted = max(0, min(wanted, limit - self.used))
            self.used += granted
        return granted

    def give_back(self, size: int) -> None:
        with self._lock:
            self.used -= size


_all, _bodies = _Account(), _Account()


class Space:
    """The account of one file.

    Attributes:
        size: the bytes that it uses.
    """

    def __init__(self, *accounts: tuple[_Account, int]) -> None:
        self._accounts = accounts  # each with its limit
        self.size = 0

    def grow(self, wanted: int) -> int:
        """Reserve up to ``wanted`` more bytes; return how many have been reserved."""
        granted = wanted
        for number, (account, limit) in enumerate(self._accounts):
            less = account.take(granted, limit)
            for earlier, _ in self._accounts[:number]:
                earlier.give_back(granted - less)
            granted = less
        self.size += granted
        return granted

    def close(self) -> None:
        """Give the bytes back, when the file has been closed."""
        if self.size:
            size, self.size = self.size, 0
            for account, _ in self._accounts:
                account.give_back(size)


class Spools:
    """The limits of one server: for its files, and for threads that wait for clients."""

    def __init__(self, config: Config) -> None:
        self._limit = config.limit_spools
        self._readers = max(1, config.worker_threads // _OF_THREADS)

    def for_body(self) -> Space:
        """Make the account of a body, which is empty."""
        return Space((_all, self._limit), (_bodies, self._limit // _OF_BODIES))

    def for_answer(self) -> Space:
        """Make the account of an answer, which is empty."""
        return Space((_all, self._limit))

    def begin_to_read(self) -> None:
        """Count a thread that is going to wait for the rest of a body; the loop calls it.

        Raises:
            SpoolsFull: too many threads wait already.
        """
        if not self._readers:
            raise SpoolsFull
        self._readers -= 1

    def end_reading(self) -> None:
        """Count a thread that waits no more."""
        self._readers += 1
