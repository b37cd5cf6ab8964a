"""Signals of a program, and its terminal, whose end is one of them (SIGHUP)."""

import asyncio
import os
import signal
import time
from collections.abc import Callable

__all__ = ["TWICE", "Repeated", "ends_with_terminal", "handle_signals", "has_terminal"]

TWICE = 0.3  # seconds in which another signal to stop is the same: a supervisor and its group pass on what all got


def handle_signals(loop: asyncio.AbstractEventLoop, actions: dict[str, Callable[[], None]]) -> Callable[[], None]:
    """Call the actions when the signals come by whose names they go; return what undoes it."""
    numbers: list[int] = []
    try:
        for name, action in actions.items():
            number = getattr(signal, name)
            loop.add_signal_handler(number, action)
            numbers.append(number)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        # Windows has no such thing; a thread other than the main one must not touch signals.
        pass

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return restore


class Repeated:
    """Tells a second signal to stop from the same one that comes twice."""

    def __init__(self) -> None:
        self._last: float | None = None  # when the first of the last ones came

    def is_same(self) -> bool:
        """Whether a signal that comes now belongs to one that has come a moment ago."""
        now = time.monotonic()
        if self._last is not None and now < self._last + TWICE:
            return True
        self._last = now
        return False


def ends_with_terminal() -> bool:
    """Whether there is a terminal, and its end is ours: it is not under nohup."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    return has_terminal()


def has_terminal() -> bool:
    """Whether we have a terminal that can hang up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
