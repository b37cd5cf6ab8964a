"""Deadlines and paces, without a clock: the time is an argument."""

import asyncio

import pytest

from aiohttpd.net.deadlines import Deadlines
from aiohttpd.net.transfer_rate import TransferRate

from ..support.waiting import until


class WaitingOne:
    def __init__(self) -> None:
        self.expired: list[float] = []
        self.checked: list[float] = []

    def deadline_expired(self, now: float) -> None:
        self.expired.append(now)

    def check_transfer(self, now: float) -> None:
        self.checked.append(now)


@pytest.fixture
async def deadlines() -> Deadlines:
    return Deadlines(asyncio.get_running_loop(), 3600)


class TestDeadlines:
    async def test_first_come_first_expired(self, deadlines: Deadlines) -> None:
        fifo, one, two = deadlines.fifo(10), WaitingOne(), WaitingOne()
        deadlines.arm(fifo, one)
        deadlines.sweep(0)
        deadlines.arm(fifo, two)
        deadlines.sweep(5)
        deadlines.sweep(9.9)
        assert (one.expired, two.expired) == ([], [])
        deadlines.sweep(10)
        assert (one.expired, two.expired) == ([10], [])
        deadlines.sweep(20)
        assert (one.expired, two.expired) == ([10], [20])
        assert not fifo
        deadlines.close()

    async def test_however_late_a_sweep_is_nobody_is_early(self, deadlines: Deadlines) -> None:
        fifo, waiting = deadlines.fifo(10), WaitingOne()
        deadlines.sweep(0)
        deadlines.arm(fifo, waiting)
        deadlines.sweep(100)  # a handler has kept the loop, and it may have begun only now
        deadlines.sweep(109)
        assert waiting.expired == []
        deadlines.sweep(110)
        assert waiting.expired == [110]
        deadlines.close()

    async def test_arming_again_goes_to_the_end(self, deadlines: Deadlines) -> None:
        fifo, one, two = deadlines.fifo(10), WaitingOne(), WaitingOne()
        deadlines.arm(fifo, one)
        deadlines.sweep(0)
        deadlines.arm(fifo, two)
        deadlines.sweep(1)
        deadlines.arm(fifo, one)
        deadlines.sweep(2)
        deadlines.sweep(11)
        assert (one.expired, two.expired) == ([], [11])
        deadlines.close()

    async def test_one_that_waits_for_another_duration_next(self, deadlines: Deadlines) -> None:
        """As a WebSocket after its ping: the duration of the pong may be one that nobody has waited for."""

        class GoesOn(WaitingOne):
            def deadline_expired(self, now: float) -> None:
                super().deadline_expired(now)
                if now == 10:
                    deadlines.arm(deadlines.fifo(1), self)

        one, two = GoesOn(), WaitingOne()
        deadlines.arm(deadlines.fifo(10), one)
        deadlines.arm(deadlines.fifo(9), two)
        for now in (0, 10, 11, 12):
            deadlines.sweep(now)
        assert (one.expired, two.expired) == ([10, 12], [10])
        deadlines.close()

    async def test_one_that_ends_another_s_wait(self, deadlines: Deadlines) -> None:
        fifo, two = deadlines.fifo(10), WaitingOne()

        class Ends(WaitingOne):
            def deadline_expired(self, now: float) -> None:
                fifo.pop(two, None)

        deadlines.arm(fifo, Ends())
        deadlines.arm(fifo, two)
        deadlines.sweep(0)
        deadlines.sweep(10)
        assert two.expired == []
        deadlines.close()

    async def test_one_that_begins_another_s_wait_anew(self, deadlines: Deadlines) -> None:
        fifo, two = deadlines.fifo(10), WaitingOne()

        class Begins(WaitingOne):
            def deadline_expired(self, now: float) -> None:
                deadlines.arm(fifo, two)

        deadlines.arm(fifo, Begins())
        deadlines.arm(fifo, two)
        deadlines.sweep(0)
        deadlines.sweep(10)
        assert two.expired == []
        deadlines.sweep(11)
        deadlines.sweep(21)
        assert two.expired == [21]
        deadlines.close()

    async def test_watching(self, deadlines: Deadlines) -> None:
        transfer = WaitingOne()
        deadlines.watch(transfer)
        deadlines.sweep(1)
        deadlines.unwatch(transfer)
        deadlines.unwatch(transfer)
        deadlines.sweep(2)
        assert transfer.checked == [1]
        deadlines.close()

    async def test_no_timer_while_nothing_waits(self) -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), 0.01)
        assert deadlines._timer is None
        waiting = WaitingOne()
        deadlines.arm(deadlines.fifo(0.02), waiting)
        await until(lambda: waiting.expired and deadlines._timer is None, 5)
        assert len(waiting.expired) == 1


class TestPace:
    WINDOW = {"window": 10.0, "rate": 100}

    def test_silence(self) -> None:
        pace = TransferRate(0)
        pace.begin(0)
        pace.begin(5)  # it has begun already
        assert not pace.too_slow(9.9, 0, **self.WINDOW)
        assert pace.too_slow(10, 0, **self.WINDOW)

    def test_a_dribble(self) -> None:
        pace = TransferRate(0)
        pace.begin(0)
        assert [pace.too_slow(now, now, **self.WINDOW) for now in range(11)] == [False] * 10 + [True]

    def test_just_enough(self) -> None:
        pace = TransferRate(0)
        pace.begin(0)
        assert not any(pace.too_slow(now, now * 100, **self.WINDOW) for now in range(100))

    def test_a_stall_is_seen_one_window_after_the_last_progress(self) -> None:
        pace = TransferRate(0)
        pace.begin(0)
        assert not pace.too_slow(3, 1_000_000, **self.WINDOW)
        assert not pace.too_slow(12.9, 1_000_000, **self.WINDOW)
        assert pace.too_slow(13, 1_000_000, **self.WINDOW)

    def test_our_own_pauses_do_not_count(self) -> None:
        pace = TransferRate(0)
        for start in range(0, 1000, 100):
            pace.begin(start)
            pace.end(start + 0.9)
        assert not pace.too_slow(2000, 1, **self.WINDOW)
        pace.begin(2000)
        assert pace.too_slow(2002, 1, **self.WINDOW)

    def test_waits_before_the_last_progress_do_not_count(self) -> None:
        pace = TransferRate(0)
        pace.begin(0)
        pace.end(6)
        pace.begin(10)
        assert not pace.too_slow(13, 1000, **self.WINDOW)
        assert not pace.too_slow(22.9, 1000, **self.WINDOW)
        assert pace.too_slow(23, 1000, **self.WINDOW)

    def test_progress_without_a_wait_begins_none(self) -> None:
        pace = TransferRate(0)
        pace.end(1)
        assert not pace.too_slow(2, 1000, **self.WINDOW)
        assert not pace.too_slow(100, 1000, **self.WINDOW)
        pace.begin(100)
        pace.end(109)
        pace.end(111)  # it has ended already
        pace.begin(120)
        assert not pace.too_slow(120.9, 1999, **self.WINDOW)
        assert pace.too_slow(121, 1999, **self.WINDOW)

    def test_without_a_rate_any_byte_will_do(self) -> None:
        pace = TransferRate(0)
        pace.begin(0)
        assert not pace.too_slow(9, 1, window=10, rate=0)
        assert not pace.too_slow(18, 1, window=10, rate=0)
        assert pace.too_slow(19, 1, window=10, rate=0)
