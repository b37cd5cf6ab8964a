"""The signals of a program: SIGINT and SIGTERM stop it, SIGHUP has it reload.

Owns three decisions: whether a second signal to stop is a new one, whether SIGHUP means that the terminal of the
program has been closed, and what signals do before and after the time in which the loop handles them.
"""

import asyncio
import atexit
import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

__all__ = ["TWICE", "handle_signals", "hang_up_awaited", "stop_and_reload"]

TWICE = 0.3  # seconds in which a second signal to stop is the same one: a supervisor passes on what its group got too

Action = Callable[[], None]


def handle_signals(loop: asyncio.AbstractEventLoop, actions: dict[str, Action]) -> Action:
    """Install handlers of signals in a loop.

    On Windows, and in a thread that is not the main one, signals cannot be handled: then nothing is installed.

    Args:
        loop: the running loop.
        actions: functions by names of signals; the loop calls them.

    Returns:
        A function that removes the handlers: the program ends. Where the program had a handler of its own before, it
        has it again.
    """
    before: dict[int, Any] = {}
    try:
        for name, action in actions.items():
            number = getattr(signal, name)
            handler = signal.getsignal(number)
            loop.add_signal_handler(number, action)
            before[number] = handler
            if isinstance(handler, _AwaitedHangUp) and handler.has_come:
                loop.call_soon(action)
    except (AttributeError, NotImplementedError, RuntimeError, ValueError):
        pass

    def restore() -> None:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            after = _Afterwards() if _is_default(handler) else handler
            if after is not None:  # else it is no handler of Python, and cannot be set
                signal.signal(number, after)

    return restore


@contextlib.contextmanager
def hang_up_awaited() -> Iterator[None]:
    """In this block a program starts: SIGHUP does not end it, and waits for `handle_signals`.

    Until then there is nothing to reload. But if the terminal of the program has been closed, the program ends. A
    program that handles or ignores SIGHUP itself goes on doing that.
    """
    number: int = getattr(signal, "SIGHUP", 0)
    is_awaited = False
    before = signal.getsignal(number) if number else None
    if before is signal.SIG_DFL or isinstance(before, _Afterwards):  # the program has run a server before
        with contextlib.suppress(ValueError):  # this is not the main thread
            signal.signal(number, _AwaitedHangUp())
            is_awaited = True
    try:
        yield
    finally:
        if is_awaited and isinstance(signal.getsignal(number), _AwaitedHangUp):
            signal.signal(number, signal.SIG_DFL)


class _AwaitedHangUp:
    """The handler of SIGHUP while a program starts.

    Attributes:
        has_come: whether there was such a signal, not from a terminal that has been closed.
    """

    def __init__(self) -> None:
        self._on_terminal = _has_terminal()
        self.has_come = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if self._on_terminal and not _has_terminal():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.has_come = True


def _forked() -> None:
    """A child is no program that starts or ends."""
    for number in signal.valid_signals():
        if isinstance(signal.getsignal(number), (_AwaitedHangUp, _Afterwards)):
            signal.signal(number, _default(number))


def _default(number: int) -> Any:
    """The handler that a signal has by default in Python."""
    return signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)  # called after that of `net.forking`, which sets earlier handlers again


class _Afterwards:
    """The handler of a signal after the server has ended, for the time in which the process ends.

    For `TWICE` seconds it does nothing: what the signal is for has been done, and it would end the process with another
    status, before everything has been written. After that it does what the signal does by default.
    """

    def __init__(self) -> None:
        self._until = time.monotonic() + TWICE

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """A signal has come."""
        if time.monotonic() >= self._until:
            signal.signal(number, _default(number))
            signal.raise_signal(number)


@atexit.register  # when this is imported, so it is called after most other functions
def _ignore_at_exit() -> None:
    """Python sets its handlers back to the default while it still takes itself down."""
    for number in signal.valid_signals():
        if isinstance(signal.getsignal(number), _Afterwards):
            signal.signal(number, signal.SIG_IGN)


def _is_default(handler: Any) -> bool:
    """Whether a handler is that of Python, of `asyncio.Runner` or of this module, and not one of the program."""
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    of_python = handler in (signal.SIG_DFL, signal.default_int_handler)
    return of_python or isinstance(handler, (_AwaitedHangUp, _Afterwards)) or isinstance(runner, asyncio.Runner)


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
