"""The signals of a program: SIGINT and SIGTERM stop it, SIGHUP has it reload.

Owns two decisions: whether a second signal to stop is a new one, and whether SIGHUP means that the terminal of the
program has been closed.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable

__all__ = ["TWICE", "handle_signals", "stop_and_reload"]

TWICE = 0.3  # seconds in which a second signal to stop is the same one: a supervisor passes on what its group got too

Action = Callable[[], None]


def handle_signals(loop: asyncio.AbstractEventLoop, actions: dict[str, Action]) -> Action:
    """Install handlers of signals in a loop.

    On Windows, and in a thread that is not the main one, signals cannot be handled: then nothing is installed.

    Args:
        loop: the running loop.
        actions: functions by names of signals; the loop calls them.

    Returns:
        A function that removes the handlers.
    """
    numbers: list[int] = []
    try:
        for name, action in actions.items():
            number = getattr(signal, name)
            loop.add_signal_handler(number, action)
            numbers.append(number)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        pass

    def restore() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    return restore


def stop_and_reload(stop: Action, reload: Action) -> dict[str, Action]:
    """The actions for SIGINT, SIGTERM and SIGHUP, for `handle_signals`.

    Args:
        stop: called for SIGINT and SIGTERM, but not for one that comes within `TWICE` seconds of another. Also called
            for SIGHUP if the program was started on a terminal that has been closed, and not by nohup.
        reload: called for any other SIGHUP.
    """
    repeated = _Repeated()
    on_terminal = not _ignores_hang_up() and _has_terminal()

    def stop_once() -> None:
        if not repeated.is_same():
            stop()

    def hang_up() -> None:
        if on_terminal and not _has_terminal():
            stop_once()
        else:
            reload()

    return {"SIGINT": stop_once, "SIGTERM": stop_once, "SIGHUP": hang_up}


class _Repeated:
    """Tells a second signal to stop from the first one that comes twice."""

    def __init__(self) -> None:
        self._last: float | None = None  # when a signal has counted

    def is_same(self) -> bool:
        """Whether a signal that comes now belongs to the one before."""
        now = time.monotonic()
        if self._last is not None and now < self._last + TWICE:
            return True
        self._last = now
        return False


def _ignores_hang_up() -> bool:
    """Whether SIGHUP is ignored, as nohup has it, or does not exist on this system."""
    return not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
