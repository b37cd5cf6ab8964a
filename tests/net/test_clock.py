"""The clock of the Date field."""

from aiohttpd.net.clock import Clock


def test_a_clock_that_is_set_back_within_a_call() -> None:
    """FAULT: the Date of all responses stayed the same for as long as the clock had been set back."""
    times = iter([1000.5, 1001.25, 400.0, 400.0])
    clock = Clock(lambda: next(times))
    assert clock.tick()
    assert clock.left() == 1.0
    assert clock.tick()
    assert clock.date == "Thu, 01 Jan 1970 00:06:40 GMT"
