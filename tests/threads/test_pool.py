"""The pool of worker threads."""

import random
import sys
import threading
import time

import pytest

from aiohttpd import Config
from aiohttpd.threads import pool
from aiohttpd.threads.pool import PoolFull, WorkerPool

from ..support.threads import busy, wait
from ..support.waiting import BOUND, block_until

# The pool.


class Blocking:
    """Calls that wait, and how many of them there are at a time."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.gate = threading.Event()
        self._lock = threading.Lock()
        self.now = self.most = self.ended = 0

    def __call__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self.begun.release()
        wait(self.gate)
        with self._lock:
            self.now -= 1
            self.ended += 1


class TestPool:
    def test_it_grows_on_demand_within_its_bound(self) -> None:
        workers, calls = WorkerPool(5, 100), Blocking()
        assert len(workers) == 0
        for _ in range(9):
            workers.submit(calls)
        assert (len(workers), workers.waiting) == (1, 8)
        sizes = []
        for _ in range(5):
            workers.grow()
            sizes.append((len(workers), workers.waiting))
        assert sizes == [(2, 7), (4, 5), (5, 4), (5, 4), (5, 4)]
        for _ in range(5):
            wait(calls.begun)
        calls.gate.set()
        block_until(lambda: calls.ended == 9)
        assert calls.most == 5
        workers.close()
        workers.join(BOUND)

    def test_threads_are_used_again(self) -> None:
        workers, calls = WorkerPool(5, 100), Blocking()
        calls.gate.set()
        for number in range(20):
            workers.submit(calls)
            block_until(lambda number=number: calls.ended == number + 1 and not busy(workers))
        assert len(workers) == 1
        workers.close()
        workers.join(BOUND)

    def test_calls_that_compute_get_no_more_threads(self) -> None:
        workers, quick, slow = WorkerPool(5, 100), Blocking(), Blocking()
        quick.gate.set()
        for number in range(6):
            workers.submit(quick)
            block_until(lambda number=number: quick.ended == number + 1 and not busy(workers))
        for _ in range(3):
            workers.submit(slow)
        workers.grow()
        # The one that is busy has ended six calls since the last look.
        assert (busy(workers), workers.waiting) == (1, 2)
        workers.grow()
        assert (busy(workers), workers.waiting) == (2, 1)
        slow.gate.set()
        workers.close()
        workers.join(BOUND)

    def test_the_queue_is_bounded(self) -> None:
        workers, calls = WorkerPool(1, 2), Blocking()
        for _ in range(3):
            workers.submit(calls)
        with pytest.raises(PoolFull) as caught:
            workers.submit(calls)
        assert (caught.value.status, dict(caught.value.headers)) == (503, {"Retry-After": "1"})
        calls.gate.set()
        block_until(lambda: calls.ended == 3)
        workers.submit(calls)
        block_until(lambda: calls.ended == 4)
        workers.close()
        workers.join(BOUND)

    def test_idle_threads_leave(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "_IDLE", 0.01)
        workers, calls = WorkerPool(8, 100), Blocking()
        for _ in range(6):
            workers.submit(calls)
        while workers.waiting:
            workers.grow()
        assert len(workers) == 6
        threads = tuple(workers._workers)
        calls.gate.set()
        block_until(lambda: len(workers) == 0)
        for thread in threads:
            thread.join(BOUND)
        assert not any(thread.is_alive() for thread in threads)
        workers.submit(calls)
        block_until(lambda: calls.ended == 7)
        workers.close()

    def test_closing(self) -> None:
        workers, calls = WorkerPool(1, 10), Blocking()
        for _ in range(3):
            workers.submit(calls)
        [thread] = workers._workers
        workers.close()
        assert thread.is_alive()
        calls.gate.set()
        workers.join(BOUND)
        assert not thread.is_alive()
        assert (calls.ended, len(workers)) == (3, 0)

    def test_closing_wakes_those_that_are_idle(self) -> None:
        workers, calls = WorkerPool(1, 10), Blocking()
        calls.gate.set()
        workers.submit(calls)
        [thread] = workers._workers
        block_until(lambda: not busy(workers))
        workers.close()
        thread.join(BOUND)
        assert not thread.is_alive()

    def test_the_system_has_no_threads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        workers, calls = WorkerPool(4, 10), Blocking()
        with monkeypatch.context() as patch:
            patch.setattr(pool._Worker, "start", fail)
            with pytest.raises(PoolFull):
                workers.submit(calls)
        workers.submit(calls)
        with monkeypatch.context() as patch:
            patch.setattr(pool._Worker, "start", fail)
            workers.submit(calls)
            assert (len(workers), workers.waiting) == (1, 1)
            workers.grow()
            assert (len(workers), workers.waiting) == (1, 1)
        calls.gate.set()
        block_until(lambda: calls.ended == 2)
        workers.close()
        workers.join(BOUND)

    def test_no_call_is_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pool, "_IDLE", 0.0002)  # they leave all the time
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        chance = random.Random(1)
        done: list[int] = []
        workers = WorkerPool(4, 10_000)
        try:
            for number in range(5000):
                workers.submit(lambda number=number: done.append(number))
                if chance.random() < 0.05:
                    workers.grow()
                if chance.random() < 0.02:
                    time.sleep(0.0004)
            block_until(lambda: len(done) == 5000)
        finally:
            sys.setswitchinterval(interval)
        assert sorted(done) == list(range(5000))
        workers.close()
        workers.join(BOUND)

    def test_a_server_without_threads_is_no_server(self) -> None:
        # FAULT: with worker_threads=0 every request waits for ever.
        with pytest.raises(ValueError, match="worker_threads must be positive"):
            Config(worker_threads=0)
