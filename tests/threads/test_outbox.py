"""The way of bytes from a thread to the loop."""

import asyncio
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from aiohttpd import ClientDisconnected, Config
from aiohttpd.threads.call import Threads
from aiohttpd.threads.outbox import Outbox
from aiohttpd.threads.spools import Spools

from ..support.threads import wait
from ..support.waiting import BOUND, block_until

Start = Callable[..., threading.Thread]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start threads that have to come to an end."""
    threads: list[threading.Thread] = []

    def begin(target: Callable[..., object], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    yield begin
    for thread in threads:
        thread.join(BOUND)
    assert not any(thread.is_alive() for thread in threads)


# From a thread to the loop.


class Waker:
    """Learns that an outbox wants to be emptied."""

    def __init__(self) -> None:
        self.called = threading.Semaphore(0)

    def __call__(self, box: Outbox) -> None:
        self.called.release()


def new_outbox(wake: Callable[[Outbox], None]) -> Outbox:
    return Outbox(cast(Any, None), wake, Spools(Config()).for_answer)


def emptied(box: Outbox) -> bytes:
    return b"".join(b"".join(parts) for parts in iter(box.take, []))


@pytest.mark.usefixtures("small")
class TestOutbox:
    def test_in_memory_then_in_a_file_then_waiting(self, start: Start) -> None:
        waker = Waker()
        box = new_outbox(waker)
        box.put(b"a" * 1000)
        assert box._file is None
        box.put(b"b" * 4000)
        assert (box._file is not None, box.waiting) == (True, 5000)
        thread = start(box.put, b"c" * 10)
        wait(waker.called)  # the thread has no other way left than to wait
        assert thread.is_alive()
        found = emptied(box)  # with or without what the thread adds meanwhile
        thread.join(BOUND)
        assert not thread.is_alive()
        assert found + emptied(box) == b"a" * 1000 + b"b" * 4000 + b"c" * 10
        box.close()

    def test_order(self, start: Start) -> None:
        box = new_outbox(Waker())
        pieces = [bytes([number % 251]) * (number * 37 % 900) for number in range(200)]

        def write() -> None:
            for piece in pieces:
                box.put(piece)
            box.end()

        start(write)
        found = b""
        while not box.ended or box.waiting:
            found += emptied(box)
            time.sleep(0)
        assert found == b"".join(pieces)
        box.close()

    def test_a_piece_larger_than_all(self, start: Start) -> None:
        box = new_outbox(Waker())
        data = random.Random(2).randbytes(30_000)
        thread = start(box.put, data)
        found = b""
        while thread.is_alive() or box.waiting:
            found += emptied(box)
            time.sleep(0)
        assert found == data
        box.close()

    def test_the_file_is_bounded(self, start: Start) -> None:
        """FAULT: it grows for as long as the thread stays ahead, since only an empty one begins anew."""
        box = new_outbox(Waker())
        box.put(bytes(1000))
        box.put(bytes(4000))
        thread = start(lambda: [box.put(bytes(500)) for _ in range(100)])
        largest = 0
        while thread.is_alive():
            if box.waiting > 2000:  # a client that is slower than the thread
                box.take()
            if (file := box._file) is not None:
                largest = max(largest, os.fstat(file.fileno()).st_size)
            time.sleep(0)
            if box.waiting <= 2500 and not thread.is_alive():
                break
        box.close()
        assert largest <= 4000

    def test_a_closed_one_raises(self) -> None:
        box = new_outbox(Waker())
        box.put(b"a" * 3000)
        box.close()
        assert (box.waiting, box.take(), box._file) == (0, [], None)
        with pytest.raises(ClientDisconnected):
            box.put(b"b")

    def test_a_closed_one_raises_where_threads_wait(self, start: Start) -> None:
        """FAULT: close() notifies one of two; the other one waits for ever. notify_all() would do."""
        waker = Waker()
        box = new_outbox(waker)
        box.put(bytes(1000))
        box.put(bytes(4000))
        raised: list[BaseException] = []

        def write() -> None:
            try:
                box.put(b"more")
            except ClientDisconnected as error:
                raised.append(error)

        threads = [start(write) for _ in range(2)]
        block_until(lambda: len(box._room._waiters) == 2)  # type: ignore[attr-defined]
        box.close()
        for thread in threads:
            thread.join(1)
        left, box._room = len(raised), box._room
        with box._lock:
            box._room.notify_all()
        assert left == 2

    def test_the_loop_has_been_closed(self, start: Start) -> None:
        """FAULT: Threads._wake closes the outbox then, but a thread that waits for room holds its lock already."""
        box = new_outbox(lambda box: box.close())
        box.put(bytes(1000))
        box._woken = False

        def write() -> None:
            with pytest.raises(ClientDisconnected):
                box.put(bytes(10_000))

        thread = start(write)
        thread.join(2)
        stuck = thread.is_alive()
        if stuck:
            box._lock.release()  # so that it ends
        assert not stuck

    async def test_through_a_loop(self) -> None:
        threads = Threads(Config(), asyncio.get_running_loop())
        chance = random.Random(3)
        pieces = [chance.randbytes(chance.randrange(3000)) for _ in range(300)]
        found: list[bytes] = []

        def call(box: Outbox) -> str:
            for piece in pieces:
                box.put(piece)
            return "result"

        async def writable() -> None:
            await asyncio.sleep(0)

        assert await threads.run(call, found.extend, writable, name="test") == "result"
        assert b"".join(found) == b"".join(pieces)
        threads.close()
        threads.pool.join(BOUND)
