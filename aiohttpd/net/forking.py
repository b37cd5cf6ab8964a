"""What a process that a handler forks must not inherit from the server.

A forked child has everything of its parent: signal handlers that wake the parent's loop, the listening port, the
connections of clients. The functions that are registered here run in the child before anything else. `subprocess`,
which forks to execute another program, does not call them, and inherits nothing of it.
"""

import asyncio
import contextlib
import os
import select
import signal
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

__all__ = ["end_child", "keep_from_children", "not_for_children"]

_PROGRAM = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGTTIN", "SIGTTOU")  # signals that `runner` handles


class _Holder(Protocol):
    def descriptors(self) -> Iterable[int]:
        """The descriptors that children must not have."""


_holders: "weakref.WeakSet[_Holder]" = weakref.WeakSet()
_masks = threading.local()  # signals that were blocked before the fork


class _Program:
    """The program that `runner` runs in this process, if there is one.

    Attributes:
        pid: its process; 0 if there is no program.
        before: the signal handlers before it started, by number.
        loop: its event loop.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.before: dict[int, Any] = {}
        self.loop: asyncio.AbstractEventLoop | None = None


_program = _Program()


def keep_from_children(holder: _Holder) -> None:
    """Have the descriptors of an object closed in children, as long as the object lives."""
    _holders.add(holder)


@contextlib.contextmanager
def not_for_children() -> Iterator[Callable[[asyncio.AbstractEventLoop], None]]:
    """Give children that are forked in this block the signal handlers of now, and keep them out of the loop.

    The block gets a function, to be called with the loop when it has been made.
    """
    global _program
    outer, _program = _program, _Program()
    program = _program
    program.pid = os.getpid()
    program.before = {number: signal.getsignal(number) for number in _numbers()}

    def is_loop(loop: asyncio.AbstractEventLoop) -> None:
        program.loop = loop

    try:
        yield is_loop
    finally:
        _program = outer


def end_child(error: BaseException | None, parent: int) -> None:
    """End the process, if it is a child that a handler has forked and that returns from the handler to the server.

    It must not go on: it would take requests, remove files at exit, and write again what waits in buffers.

    Args:
        error: the exception with which the handler has ended; None if there is none.
        parent: the pid of the server.
    """
    if os.getpid() == parent:
        return
    status = 0
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    elif error is not None:
        status = 1
        with contextlib.suppress(Exception):
            traceback.print_exception(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def _numbers() -> list[int]:
    return [number for name in _PROGRAM if (number := getattr(signal, name, None)) is not None]


def _before_fork() -> None:
    """Block signals, since a new child still has the parent's handlers."""
    if _program.pid:
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, _numbers())


def _after_fork() -> None:
    mask, _masks.before = getattr(_masks, "before", None), None
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    numbers: set[int] = set()
    for holder in list(_holders):
        with contextlib.suppress(Exception):
            numbers.update(holder.descriptors())
    if _program.pid:
        numbers.update(_tracker())
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)
        _replace(numbers, null)
        os.close(null)
    if _program.pid:
        signal.set_wakeup_fd(-1)
        for number, handler in _program.before.items():
            with contextlib.suppress(TypeError, ValueError, OSError):
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if hasattr(select, "epoll"):
            with contextlib.suppress(OSError), select.epoll() as empty:
                _replace(_pollers(empty.fileno()), empty.fileno())
        if _program.loop is not None:
            with contextlib.suppress(Exception):
                _program.loop.call_soon(end_child, None, _program.pid)
    _after_fork()


def _tracker() -> list[int]:
    """The descriptor that keeps multiprocessing's resource tracker alive; Python 3.13 waits at exit for its end.

    It is read from a private attribute: the public function takes a lock that a thread of the parent may hold.
    """
    module = sys.modules.get("multiprocessing.resource_tracker")
    number = getattr(getattr(module, "_resource_tracker", None), "_fd", None)
    return [] if number is None else [number]


def _pollers(but: int) -> list[int]:
    """The epoll descriptors, except one. They are shared: a child would add and remove sockets for its parent."""
    found = []
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                if int(name) != but and os.readlink(f"/proc/self/fd/{name}") == "anon_inode:[eventpoll]":
                    found.append(int(name))
    return found


def _replace(numbers: Iterable[int], by: int) -> None:
    """Close descriptors, and put a duplicate of another in their places, since objects will close these numbers."""
    for number in numbers:
        with contextlib.suppress(OSError, ValueError):
            if number > 2:
                os.dup2(by, number, inheritable=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
