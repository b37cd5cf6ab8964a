"""WorkerPool: threads for code that blocks, as many as are needed, within a bound.

Owns when a thread begins and when it leaves. What runs in it is somebody else's, and never raises here.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..errors import HTTPError

__all__ = ["PoolFull", "WorkerPool", "Workers"]

_IDLE = 10.0  # seconds that a thread waits for work before it leaves
_EAGER = 1  # threads that are given work at once
_QUICK = 3  # calls that a busy thread ends between two looks, if they are of the kind that computes
_RETRY = "1"  # seconds: what queues up is short, or nothing would help


class PoolFull(HTTPError):
    """All worker threads are busy, and as many requests wait as may: 503 with Retry-After."""

    def __init__(self) -> None:
        super().__init__(503, None, "all worker threads are busy", headers=(("Retry-After", _RETRY),))


class Workers(Protocol):
    """Where calls that block go."""

    def submit(self, call: Callable[[], None]) -> None: ...


class _Worker(threading.Thread):
    """One thread; it is given one call after the other."""

    def __init__(self, pool: "WorkerPool", call: Callable[[], None], number: int) -> None:
        # As a daemon: a handler that blocks for ever must not keep the program from its end.
        super().__init__(name=f"aiohttpd-worker-{number}", daemon=True)
        self._pool = pool
        self._ready = threading.Lock()  # held while there is nothing to do
        self._ready.acquire()
        self._given: Callable[[], None] | None = call

    def give(self, call: Callable[[], None] | None) -> None:
        """Wake it up: a call, or None to leave."""
        self._given = call
        self._ready.release()

    def run(self) -> None:
        call = self.take()
        while call is not None:
            call()
            call = None  # an idle thread keeps nothing alive
            call = self._pool._next(self) or self._wait()

    def _wait(self) -> Callable[[], None] | None:
        if not self._ready.acquire(timeout=_IDLE):
            if self._pool._leave(self):
                return None
            self._ready.acquire()  # it has been given a call in this moment
        return self.take()

    def take(self) -> Callable[[], None] | None:
        """What it has been given."""
        call, self._given = self._given, None
        return call


class WorkerPool:
    """Threads that grow on demand.

    One is given work at once. Since the interpreter runs one of them at a time, more would only get in the way of
    handlers that compute; for those that wait the pool doubles with each `grow`, within milliseconds.

    Args:
        threads: how many there may be.
        queue: how many calls may wait for one.
    """

    def __init__(self, threads: int, queue: int) -> None:
        self._most = threads
        self._limit = queue
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []  # the last one that had work is the next to get some; the first ones leave
        self._queue: deque[Callable[[], None]] = deque()
        self._workers: set[_Worker] = set()
        self._started = 0  # threads so far
        self._ended = 0  # calls since the last look
        self._closed = False

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return len(self._queue)

    def submit(self, call: Callable[[], None]) -> None:
        """Have a thread run ``call``, now or once one is free.

        Raises:
            PoolFull: too many wait already.
        """
        with self._lock:
            if len(self._workers) - len(self._idle) < min(_EAGER, self._most):
                worker = self._engage(call)
            elif len(self._queue) < self._limit:
                self._queue.append(call)
                return
            else:
                raise PoolFull
        self._start(worker)

    def grow(self) -> None:
        """Calls have waited for a moment: have more threads see to them, unless those that are busy are quick."""
        with self._lock:
            busy = len(self._workers) - len(self._idle)
            ended, self._ended = self._ended, 0
            if ended >= busy * _QUICK:
                return
            room = self._most - busy
            started = [self._engage(self._queue.popleft()) for _ in range(min(room, max(busy, 1), len(self._queue)))]
        for worker in started:
            self._start(worker)

    def _engage(self, call: Callable[[], None]) -> "_Worker | None":
        """Give a call to a thread that is idle, or to a new one, which is returned."""
        if self._idle:
            self._idle.pop().give(call)
            return None
        self._started += 1
        worker = _Worker(self, call, self._started)
        self._workers.add(worker)
        return worker

    def _start(self, worker: "_Worker | None") -> None:
        if worker is None:
            return
        try:
            worker.start()
        except RuntimeError:  # the system has no more threads for us
            with self._lock:
                self._workers.discard(worker)
                if not self._workers:
                    raise PoolFull from None
                if (call := worker.take()) is not None:
                    self._queue.appendleft(call)

    def close(self) -> None:
        """Have every thread leave once it has nothing more to do."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._workers.difference_update(idle)
        for worker in idle:
            worker.give(None)

    def join(self, seconds: float | None = None) -> None:
        """Wait for the threads that there are to leave, after `close`."""
        for worker in tuple(self._workers):
            worker.join(seconds)

    def _next(self, worker: _Worker) -> Callable[[], None] | None:
        with self._lock:
            self._ended += 1
            if self._queue:
                return self._queue.popleft()
            if self._closed:
                self._workers.discard(worker)
                worker.give(None)
            else:
                self._idle.append(worker)
            return None

    def _leave(self, worker: _Worker) -> bool:
        with self._lock:
            if worker not in self._idle:
                return False
            self._idle.remove(worker)
            self._workers.discard(worker)
            return True
