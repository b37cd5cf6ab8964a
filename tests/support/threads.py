"""Worker threads under test: waiting in them, and what a server has of them."""

import threading
from typing import Any, cast

from aiohttpd.threads.call import Threads
from aiohttpd.threads.pool import WorkerPool

from .waiting import BOUND


def wait(event: threading.Event | threading.Semaphore) -> None:
    """Wait in a thread for what has to come."""
    if isinstance(event, threading.Event):
        assert event.wait(BOUND)
    else:
        assert event.acquire(timeout=BOUND)


def busy(workers: WorkerPool) -> int:
    return len(workers) - len(workers._idle)


def threads_of(server: Any) -> Threads:
    return cast(Threads, server._context.shared(Threads))
