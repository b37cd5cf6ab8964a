"""WorkerPool: threads for blocking code, as many as are needed, up to a limit.

Owns when a thread is started and when it ends. The calls must not raise.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ..errors import HTTPError

__all__ = ["PoolFull", "WorkerPool", "Workers"]

_IDLE = 10.0  # seconds after which an idle thread ends
_QUICK = 3  # calls that a busy thread finishes between two calls of `grow`, if they compute and do not wait
_RETRY = "1"  # seconds, for Retry-After


class PoolFull(HTTPError):
    """All worker threads are busy, and ``limit_queue`` requests wait: 503 with Retry-After."""

    def __init__(self) -> None:
        super().__init__(503, None, "all worker threads are busy", headers=(("Retry-After", _RETRY),))


class Workers(Protocol):
    """Threads that run calls."""

    def submit(self, call: Callable[[], None]) -> None: ...


class _Worker(threading.Thread):
    """One thread; it is given one call after the other."""

    def __init__(self, pool: "WorkerPool", call: Callable[[], None], number: int) -> None:
        # A daemon, so that a handler that blocks for ever cannot keep the program from ending.
        super().__init__(name=f"aiohttpd-worker-{number}", daemon=True)
        self._pool = pool
        self._ready = threading.Lock()  # held while there is nothing to do
        self._ready.acquire()
        self._given: Callable[[], None] | None = call

    def give(self, call: Callable[[], None] | None) -> None:
        """Give it a call, or None to end it. It begins when it is woken."""
        self._given = call

    def wake(self) -> None:
        """Have it begin the call that it has been given."""
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
            self._ready.acquire()  # a call has been given just now
        return self.take()

    def take(self) -> Callable[[], None] | None:
        """The call that it has been given; None to end."""
        call, self._given = self._given, None
        return call


def _at_once(wake: Callable[[], None]) -> None:
    wake()


class WorkerPool:
    """A pool of threads that grows on demand.

    At first there is one thread. Since the interpreter runs one thread at a time, more threads would only slow down
    handlers that compute. For handlers that wait, the number doubles with each `grow`, within milliseconds.

    Args:
        threads: the maximum number of threads.
        queue: the maximum number of calls that wait for a thread.
        soon: gets a function that wakes idle threads which have got calls, and calls it now or soon, in the same
            thread. By default they are woken at once.
    """

    def __init__(self, threads: int, queue: int, *, soon: Callable[[Callable[[], None]], object] = _at_once) -> None:
        self._most = threads
        self._limit = queue
        self._soon = soon
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []  # the last one gets the next call; the first ones end
        self._queue: deque[Callable[[], None]] = deque()
        self._given: list[_Worker] = []  # they have been idle, have got a call, and are woken soon
        self._workers: set[_Worker] = set()
        self._started = 0  # number of threads so far
        self._ended = 0  # calls that have ended since the last `grow`
        self._closed = False

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """The number of calls that wait for a thread."""
        return len(self._queue)

    def submit(self, call: Callable[[], None]) -> None:
        """Have a thread run ``call``, now or when a thread is free.

        Raises:
            PoolFull: too many calls wait already.
        """
        with self._lock:
            if len(self._idle) == len(self._workers):  # none is busy
                worker = self._engage(call)
            elif len(self._queue) < self._limit:
                self._queue.append(call)
                return
            else:
                raise PoolFull
        self._start(worker)

    def grow(self) -> None:
        """Start more threads for calls that have waited, unless the busy threads finish their calls quickly."""
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
        """Give a call to an idle thread, or to a new one, which is returned."""
        if self._idle:
            worker = self._idle.pop()
            worker.give(call)
            self._given.append(worker)
            return None
        self._started += 1
        worker = _Worker(self, call, self._started)
        self._workers.add(worker)
        return worker

    def _wake(self) -> None:
        while self._given:
            self._given.pop().wake()

    def _start(self, worker: "_Worker | None") -> None:
        """Start a new thread that has got a call; with None wake the idle ones that have got one."""
        if worker is None:  # not under the lock, which the thread takes when its call has ended
            if self._given:
                self._soon(self._wake)
            return
        try:
            worker.start()
        except RuntimeError:  # the system allows no more threads
            with self._lock:
                self._workers.discard(worker)
                if not self._workers:
                    raise PoolFull from None
                if (call := worker.take()) is not None:
                    self._queue.appendleft(call)

    def close(self) -> None:
        """End each thread when it has no more calls."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            self._workers.difference_update(idle)
        self._wake()  # the loop may end before it would
        for worker in idle:
            worker.give(None)
            worker.wake()

    def join(self, seconds: float | None = None) -> None:
        """Wait for the end of all threads, after `close`; for some seconds at most.

        Args:
            seconds: the limit; None for no limit.
        """
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
                worker.wake()
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
