"""The first process of a container: it buries what others leave behind, and does nothing else.

Owns being process 1. The dead that nobody waits for become its children; a server could not tell them from those that
its handlers wait for, whose status it would take from them. So the server is a child, which has none but its own.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn

__all__ = ["leave_pid1"]

_OF_A_PROCESS = ("LISTEN_PID", "WATCHDOG_PID")  # variables that name who is meant


def leave_pid1() -> None:
    """Go on in a child if this is process 1, which stays behind: it passes signals on, and ends as the child does.

    Not in a program that has threads or children already: a child would be without the former, and could not wait for
    the latter.
    """
    if os.getpid() != 1 or not hasattr(signal, "sigwaitinfo") or threading.active_count() > 1 or _has_children():
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    signals = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would not come
        child = os.fork()
        if child:
            _bury(child, signals)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for name in _OF_A_PROCESS:
        if os.environ.get(name) == "1":
            os.environ[name] = str(os.getpid())


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _bury(child: int, signals: set[signal.Signals]) -> NoReturn:
    """Wait for all that die, until the child has."""
    while True:
        info = signal.sigwaitinfo(signals)
        if info.si_signo != signal.SIGCHLD:
            # What a terminal sends, a Ctrl-C say, goes to all of a group; only its end is told to one process.
            if info.si_code <= 0 or info.si_signo == signal.SIGHUP:
                os.kill(child, info.si_signo)
            continue
        while (found := _dead()) is not None:
            pid, status = found
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _dead() -> tuple[int, int] | None:
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        return (pid, status) if pid else None
    return None
