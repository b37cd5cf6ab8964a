"""Processes for work that burns CPU: what is behind ``await self.run_in_process(function, *args)``.

Owns the pool: when it begins, how large it becomes, and that no process of it outlives its server. What
is computed in it is the handlers'.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from typing import TypeVar

from .program import cores

__all__ = ["ProcessPool"]

T = TypeVar("T")


class ProcessPool:
    """Spawned processes, made when they are first needed.

    Args:
        size: how many at most; 0 for as many as there are cores.
    """

    def __init__(self, size: int) -> None:
        self._size = size or cores()
        self._executor: ProcessPoolExecutor | None = None
        self._life: Connection | None = None  # each process ends when this end of it is closed
        self._closed = False

    async def run(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in one of the processes, and wait for what it returns.

        The function and what it takes can be pickled: it is defined at the top of a module. Who is cancelled takes
        back what has not begun; what has, runs to its end, or to that of the server.

        Raises:
            BrokenProcessPool: a process has died over its work; the next call has new ones.
            RuntimeError: the server has stopped.
            Exception: what the function raises.
        """
        executor = self._executor or self._begin()
        try:
            return await asyncio.wrap_future(executor.submit(function, *args))
        except BrokenProcessPool:
            if executor is self._executor:
                self._end()
            raise

    def close(self) -> None:
        """End the processes, whatever they are at."""
        self._closed = True
        self._end()

    def _begin(self) -> ProcessPoolExecutor:
        if self._closed:
            raise RuntimeError("run_in_process() after the server has stopped")
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._life = ours
        self._executor = ProcessPoolExecutor(self._size, context, _live_with, (theirs,))
        return self._executor

    def _end(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False, cancel_futures=True)
        if self._life is not None:
            self._life.close()
            self._life = None


def _live_with(life: Connection) -> None:
    """Prepare a process of the pool: what a group is sent is not for it, and it ends when its server does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()


def _end_with(life: Connection) -> None:
    life.poll(None)  # until the other end is closed, by whom or what ever
    os._exit(1)
