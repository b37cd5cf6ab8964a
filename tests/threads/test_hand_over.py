"""The hand-over of calls from the loop to worker threads: one wake for a turn of the loop, and nothing to collect."""

import asyncio
import gc
import random
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiohttpd import BaseHTTPRequestHandler, Config, wsgi
from aiohttpd.testing import running
from aiohttpd.threads import call, pool
from aiohttpd.threads.call import Run, Threads
from aiohttpd.threads.outbox import Outbox
from aiohttpd.threads.plain import BlockingWriter
from aiohttpd.threads.pool import WorkerPool
from aiohttpd.threads.relay import _end_of_head

from ..support.clients import connected, get
from ..support.old_handlers import Old
from ..support.threads import busy, threads_of, wait
from ..support.waiting import BOUND, block_until, until


class Later:
    """Keeps functions that are to be called soon."""

    def __init__(self) -> None:
        self.functions: list[Callable[[], None]] = []

    def __call__(self, function: Callable[[], None]) -> None:
        self.functions.append(function)

    def run(self) -> None:
        functions, self.functions = self.functions, []
        for function in functions:
            function()


@pytest.fixture
def idle() -> Iterator[tuple[WorkerPool, Later]]:
    """A pool of one thread, which is idle."""
    soon = Later()
    workers = WorkerPool(1, 100, soon=soon)
    first = threading.Event()
    workers.submit(first.set)
    wait(first)
    block_until(lambda: not busy(workers))
    assert not soon.functions  # a new thread needs no wake
    yield workers, soon
    workers.close()
    workers.join(BOUND)


class TestWake:
    def test_an_idle_thread_is_woken_once_for_all_calls_of_a_turn(self, idle: tuple[WorkerPool, Later]) -> None:
        workers, soon = idle
        done: list[int] = []
        over = threading.Event()
        for number in range(5):
            workers.submit(lambda number=number: done.append(number))
        workers.submit(over.set)
        assert len(soon.functions) == 1
        assert (busy(workers), workers.waiting, done) == (1, 5, [])
        soon.run()
        wait(over)
        assert done == [0, 1, 2, 3, 4]

    def test_a_pool_that_is_closed_before_the_wake_runs_its_calls(self, idle: tuple[WorkerPool, Later]) -> None:
        """The loop may end in between, and never wake the thread."""
        workers, soon = idle
        first, second = threading.Event(), threading.Event()
        workers.submit(first.set)
        workers.submit(second.set)
        workers.close()
        wait(first)
        wait(second)
        workers.join(BOUND)
        assert len(workers) == 0
        soon.run()  # too late, and harmless

    def test_a_thread_whose_time_is_up_keeps_a_call_that_it_has_been_given(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pool, "_IDLE", 0.01)
        soon, first, second = Later(), threading.Event(), threading.Event()
        workers = WorkerPool(1, 100, soon=soon)
        workers.submit(first.set)
        wait(first)
        block_until(lambda: not busy(workers))
        workers.submit(second.set)
        if soon.functions:  # else the thread had ended already, and another one was started
            [thread] = workers._workers
            left = threading.Event()
            leave = workers._leave

            def notice(worker: Any) -> bool:
                left.set()
                return leave(worker)

            workers._leave = notice  # type: ignore[method-assign]
            wait(left)
            assert thread.is_alive()
            assert not second.is_set()
            soon.run()
        wait(second)
        workers.close()
        workers.join(BOUND)

    async def test_requests_of_one_turn_of_the_loop(self) -> None:
        names: list[str] = []

        class Handler(Old):
            def do_GET(self) -> None:
                names.append(threading.current_thread().name)
                super().do_GET()

        async with running(Handler) as server:
            clients = [connected(server) for _ in range(8)]
            opened = [await client.__aenter__() for client in clients]
            for _ in range(3):
                await asyncio.gather(*(client.send(get("/")) for client in opened))
                assert {(await client.answer()).status for client in opened} == {200}
            await until(lambda: not busy(threads_of(server).pool), BOUND)
            for client in clients:
                await client.__aexit__(None, None, None)
        assert len(names) == 24


class Loop:
    """As much of a loop as `Threads` needs."""

    def __init__(self) -> None:
        self.soon: deque[Callable[[], object]] = deque()
        self.wakes = 0

    def call_soon(self, function: Callable[..., object], *arguments: Any) -> None:
        self.soon.append(partial(function, *arguments))

    def call_soon_threadsafe(self, function: Callable[..., object], *arguments: Any) -> None:
        self.wakes += 1
        self.call_soon(function, *arguments)

    def call_later(self, seconds: float, function: Callable[..., object]) -> asyncio.TimerHandle:
        return cast(asyncio.TimerHandle, Later())

    def turn(self) -> None:
        for _ in range(len(self.soon)):
            self.soon.popleft()()


@pytest.fixture
def threads() -> Iterator[tuple[Threads, Loop]]:
    """Threads of which one is idle; the last turn of the loop had two calls."""
    loop = Loop()
    found = Threads(Config(worker_threads=1), cast(Any, loop))
    end(found, loop, [found.begin(lambda outbox: None) for _ in range(2)])
    yield found, loop
    found.pool.close()
    found.pool.join(BOUND)


def end(found: Threads, loop: Loop, runs: list[Run]) -> None:
    """Turn the loop until calls have ended and it has nothing to do."""
    block_until(lambda: loop.turn() or (all(run.outbox.ended for run in runs) and not busy(found.pool)))
    for run in runs:
        found.end(run)
    while loop.soon:
        loop.turn()
    loop.wakes = 0


class Ended:
    """Gives way until calls have ended; counts how often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[Run] = []
        self.count = 0
        monkeypatch.setattr(call, "_give_way", self)
        self.wait = True

    def __call__(self) -> None:
        self.count += 1
        block_until(lambda: not self.wait or all(run.outbox.ended for run in self.runs))


class TestGiveWay:
    def test_what_ends_while_the_loop_gives_way_does_not_wake_it(
        self, threads: tuple[Threads, Loop], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found, loop = threads
        ended = Ended(monkeypatch)
        ended.runs = runs = [found.begin(lambda outbox, n=n: outbox.put(b"%d" % n)) for n in range(3)]
        told: list[Outbox] = []
        monkeypatch.setattr(Outbox, "tell", lambda outbox: told.append(outbox))
        assert ended.count == 0
        loop.turn()
        assert ended.count == 1
        assert told == [run.outbox for run in runs]
        assert (loop.wakes, len(loop.soon)) == (0, 0)
        assert [run.outbox.take() for run in runs] == [[b"0"], [b"1"], [b"2"]]

    def test_a_single_call_ends_before_its_task_would_wait(
        self, threads: tuple[Threads, Loop], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found, loop = threads
        end(found, loop, [found.begin(lambda outbox: None)])  # now the last turn had one call
        over = threading.Event()
        monkeypatch.setattr(call, "_give_way", lambda: wait(over))
        run = found.begin(lambda outbox: over.set())
        block_until(lambda: run.outbox.ended)
        assert loop.wakes == 0
        end(found, loop, [run])

    def test_after_the_first_call_of_a_turn_the_others_wait_for_its_end(
        self, threads: tuple[Threads, Loop], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client that pipelines must not have its calls run one after the other in one callback of the loop."""
        found, loop = threads
        end(found, loop, [found.begin(lambda outbox: None)])
        ended = Ended(monkeypatch)
        ended.wait = False
        first = found.begin(lambda outbox: None)
        assert ended.count == 1
        block_until(lambda: first.outbox.ended and not busy(found.pool))
        others = [found.begin(lambda outbox: None) for _ in range(5)]
        assert ended.count == 1
        assert not any(run.begun for run in others)
        loop.turn()
        assert ended.count == 2
        end(found, loop, [first, *others])
        next_one = found.begin(lambda outbox: None)  # the last turn had many
        assert ended.count == 2
        end(found, loop, [next_one])
        assert ended.count == 3

    def test_threads_for_calls_that_have_waited_are_woken_by_the_timer(
        self, threads: tuple[Threads, Loop], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found, loop = threads
        gate = threading.Event()
        found.pool._most = 3
        slow = [found.begin(lambda outbox: wait(gate)) for _ in range(3)]
        loop.turn()
        while found.pool.waiting:
            found._grow()
        gate.set()
        end(found, loop, slow)
        gate.clear()
        slow = [found.begin(lambda outbox: wait(gate)) for _ in range(3)]
        loop.turn()
        assert (busy(found.pool), found.pool.waiting) == (1, 2)
        found.pool._ended = 0
        while found.pool.waiting:
            found._grow()
        block_until(lambda: all(run.begun for run in slow))
        gate.set()
        end(found, loop, slow)

    def test_what_ends_later_wakes_it(self, threads: tuple[Threads, Loop], monkeypatch: pytest.MonkeyPatch) -> None:
        found, loop = threads
        begun, gate = threading.Event(), threading.Event()

        def work(outbox: Outbox) -> None:
            begun.set()
            wait(gate)

        run = found.begin(work)
        monkeypatch.setattr(call, "_give_way", lambda: wait(begun))
        loop.turn()
        assert loop.wakes == 0
        gate.set()
        block_until(lambda: run.outbox.ended and loop.wakes == 1)
        told: list[Outbox] = []
        monkeypatch.setattr(Outbox, "tell", lambda outbox: told.append(outbox))
        loop.turn()
        assert told == [run.outbox]

    def test_each_end_is_told_whatever_wakes_are_on_their_way(
        self, threads: tuple[Threads, Loop], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found, loop = threads
        monkeypatch.setattr(call, "_give_way", lambda: None)
        chance = random.Random(1)
        told: list[Outbox] = []
        tell = Outbox.tell

        def notice(outbox: Outbox) -> None:
            told.append(outbox)
            tell(outbox)

        monkeypatch.setattr(Outbox, "tell", notice)
        runs = []
        for number in range(300):
            runs.append(found.begin(lambda outbox: None))
            if chance.random() < 0.3:
                block_until(lambda number=number: runs[number - 1].outbox.ended or loop.soon)
            if chance.random() < 0.7:
                loop.turn()
        block_until(lambda: loop.turn() or len(told) == len(runs))
        assert set(told) == {run.outbox for run in runs}


class Plain(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(b"plain")


def application(environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"plain"]


class TestGarbage:
    @pytest.mark.parametrize("wbufsize", [0, -1, 100])
    async def test_a_request_leaves_no_reference_cycles(self, wbufsize: int) -> None:
        """FAULT: the socket of each handler referred to itself, so the collector had to free all of a request."""
        kept: list[weakref.ref[Any]] = []

        class Handler(Old):
            def do_GET(self) -> None:
                kept.extend(map(weakref.ref, (self, self.connection, self.connection.exchange)))
                super().do_GET()

        Handler.wbufsize = wbufsize
        async with running(Handler) as server, connected(server) as client:
            await client.ask("/")  # what is made once
            gc.collect()
            gc.disable()
            try:
                kept.clear()
                for _ in range(3):
                    await client.ask("/")
                await until(lambda: not any(ref() for ref in kept), BOUND)
            finally:
                gc.enable()
        assert len(kept) == 9

    @pytest.mark.parametrize("by", ["a plain method", "WSGI"])
    async def test_nor_does_one_for_a_plain_method_or_wsgi(self, by: str) -> None:
        """FAULT: the writer of the thread and its outbox referred to each other."""
        kept: list[weakref.ref[Any]] = []
        begin = BlockingWriter.begin

        def notice(writer: BlockingWriter, outbox: Outbox) -> None:
            kept.extend(map(weakref.ref, (writer, outbox)))
            begin(writer, outbox)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(BlockingWriter, "begin", notice)
            async with running(Plain if by != "WSGI" else wsgi(application)) as server, connected(server) as client:
                await client.ask("/")
                gc.collect()
                gc.disable()
                try:
                    kept.clear()
                    for _ in range(3):
                        assert (await client.ask("/")).body == b"plain"
                    await until(lambda: not any(ref() for ref in kept), BOUND)
                finally:
                    gc.enable()
        assert len(kept) == 6


EMPTY_LINE = re.compile(rb"\r?\n\r?\n")


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a"]), max_size=12).map(b"".join))
@example(b"a\n\n\r\n")
@example(b"a\r\n\r\n\n")
@example(b"a\r\n\n\r\n\r\n")
def test_the_end_of_a_head(data: bytes) -> None:
    found = EMPTY_LINE.search(data)
    assert _end_of_head(data) == (0 if found is None else found.end())
