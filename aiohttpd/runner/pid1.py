"""Process 1 of a container: it reaps orphaned processes and passes signals on; the server runs in a child.

When a process dies, its children become children of process 1, which has to wait for them; else they stay zombies. A
server could not tell them from the children that its handlers wait for, whose exit status it would take away. So
process 1 does nothing else, and the server has no children but its own.
"""

import contextlib
import os
import signal
import sys
import threading
from typing import NoReturn

__all__ = ["leave_pid1"]

_NAMES_OF_PROCESSES = ("LISTEN_PID", "WATCHDOG_PID")  # variables of systemd that hold the pid they are meant for


def leave_pid1() -> None:
    """If this is process 1, fork, and return in the child.

    Process 1 stays behind: it passes signals on to the child, reaps orphans, and exits as the child does. Nothing is
    done in a program that has threads or children already: the child would not have the threads, and could not wait
    for the children.
    """
    if os.getpid() != 1 or not hasattr(signal, "sigwaitinfo") or threading.active_count() > 1 or _has_children():
        return
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    signals = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # sigwaitinfo() does not get it while it is ignored
        child = os.fork()
        if child:
            _reap_until_exit_of(child, signals)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for name in _NAMES_OF_PROCESSES:
        if os.environ.get(name) == "1":
            os.environ[name] = str(os.getpid())


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _reap_until_exit_of(child: int, signals: set[signal.Signals]) -> NoReturn:
    """Wait for all processes that die; exit when the child has."""
    while True:
        info = signal.sigwaitinfo(signals)
        if info.si_signo != signal.SIGCHLD:
            # A terminal sends SIGINT to the whole process group, so the child has it; SIGHUP goes to process 1 only.
            if info.si_code <= 0 or info.si_signo == signal.SIGHUP:
                os.kill(child, info.si_signo)
            continue
        while (found := _dead_child()) is not None:
            pid, status = found
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)


def _dead_child() -> tuple[int, int] | None:
    """The pid and wait status of a child that has died; None if there is none."""
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        return (pid, status) if pid else None
    return None
