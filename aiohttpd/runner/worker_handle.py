"""One worker as its supervisor sees it.

Owns the process, the supervisor's end of the channel, and the time limits for heartbeats and for the end. `supervisor`
decides when a worker is started and stopped.

::

    STARTING ──► READY ──► RETIRED ──► GONE
        └──────────┴───────────────────► GONE
"""

import asyncio
import contextlib
import enum
import multiprocessing
import os
import random
import signal
import socket
from collections.abc import Callable
from typing import Any

from ..config import Config
from ..server.metrics import Snapshot
from .channel import Channel, Message
from .job import HANDED, Job
from .socket_pool import SocketSet
from .worker import work

__all__ = ["WorkerState", "WorkerHandle", "counted"]

_OVERTIME = 4.0  # seconds after its grace before a worker is killed
_LAST_MESSAGES = 1.0  # seconds for messages that a worker has sent before its end

_GAUGES = ("in_flight", "connections")  # members of a snapshot that end with the worker; all others are counters

_spawn = multiprocessing.get_context("spawn")


class WorkerState(enum.Enum):
    """The state of a worker."""

    STARTING = "it loads its target"
    READY = "it serves"
    RETIRED = "it finishes its requests, and accepts no connection"
    GONE = "the process has ended"


STARTING, READY, RETIRED, GONE = WorkerState


class WorkerHandle:
    """A worker process.

    Args:
        make_job: makes the job; it is called with the worker's end of the channel, and the handle.
        sockets: the sockets from which it accepts.
        slot: its slot in the `ConnectionTable`.
        config: the options.
        changed: called with the handle when the worker is ready, and when it has gone.
        asked: called with the handle and the number of a question for metrics.

    Attributes:
        begun: set when Python runs in the process, or it has gone.
        settled: a future; its result says whether the worker has become ready.
        failure: why it cannot start, as a text for stderr, and the exit status for the program.
        replacement: it is to replace another worker, which still serves.
        retired: it has been told to stop.
        pid: the process; None before it has been started.
        requests: the number of requests in its last heartbeat.
        rss: its memory in its last heartbeat, in bytes.
        snapshot: its metrics in its last heartbeat; None without metrics.
    """

    def __init__(
        self,
        make_job: Callable[[socket.socket, "WorkerHandle"], Job],
        sockets: SocketSet,
        slot: int,
        config: Config,
        changed: Callable[["WorkerHandle"], None],
        asked: Callable[["WorkerHandle", int], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._make_job = make_job
        self._config = config
        self._changed = changed
        self._asked = asked
        self._channel_lost = asyncio.Event()
        self._channel = Channel(self._received, self._channel_lost.set)
        self._process: Any = None
        self._status: int | None = None  # its exit status
        self._exit = -1  # descriptor that becomes readable when the process ends
        self._ending: asyncio.Task[None] | None = None
        # Factor of the limits, so that workers of the same age are not recycled together.
        self._spread = random.uniform(0.9, 1.1)
        self._born = self._heard = self._loop.time()
        self._kill_at: float | None = None
        self._killed_for: str | None = None
        self.state = STARTING
        self.sockets = sockets
        self.slot = slot
        self.begun = asyncio.Event()
        self.settled: asyncio.Future[bool] = self._loop.create_future()
        self.failure: tuple[str, int] | None = None
        self.replacement = False
        self.retired = False
        self.pid: int | None = None
        self.requests = 0
        self.rss = 0
        self.snapshot: Snapshot | None = None

    # Start.

    async def begin(self) -> None:
        """Start the process."""
        if self.state is not STARTING:
            self._gone()  # it has been stopped before
            return
        try:
            ours = self._start_process()
        except Exception as error:  # of any kind: the supervisor waits for an outcome
            self.failure = (f"aiohttpd: no worker can be started: {error}", 1)
            self._gone()
            return
        self._loop.add_reader(self._exit, self._exited)
        await self._loop.create_unix_connection(lambda: self._channel, sock=ours)

    def _start_process(self) -> socket.socket:
        """Start the process, and return this end of the channel."""
        ours, theirs = socket.socketpair()
        with contextlib.ExitStack() as undo, theirs:
            undo.callback(ours.close)
            process = _spawn.Process(target=work, args=(self._make_job(theirs, self),), name="aiohttpd-worker")
            # Block what a terminal sends to the whole process group, until the worker has handlers that ignore it.
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDED)
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED)
            undo.callback(process.join)
            undo.callback(process.kill)  # nobody would notice its end
            self._exit = _exit_descriptor(process)
            undo.pop_all()
        self._process, self.pid = process, process.pid
        return ours

    def _received(self, message: Message) -> None:
        self._heard = self._loop.time()
        tell = message["tell"]
        if tell == "begun":
            self.begun.set()
        elif tell == "ready" and self.state is STARTING:
            self.state = READY
            self.settled.set_result(True)
            self._changed(self)
        elif tell == "failed":
            self.failure = (message["text"], message["status"])
        elif tell == "beat":
            self.requests, self.rss, self.snapshot = message["requests"], message["rss"], message["metrics"]
        elif tell == "metrics":
            self.snapshot = message["metrics"]
            self._asked(self, message["number"])

    def answer(self, number: int, snapshots: list[Snapshot]) -> None:
        """Answer the question for metrics with a number."""
        self._channel.send("metrics", number=number, snapshots=snapshots)

    # Limits.

    def check(self, now: float, late: float) -> None:
        """Kill it if there has been no heartbeat within ``timeout_heartbeat``, or if it has not ended in time.

        A worker that hangs gets SIGABRT, for which it writes the stacks of its threads to stderr and ends. If it has
        not ended by the next check, it is killed.

        Args:
            now: the loop's time.
            late: seconds for which the supervisor has not run; the machine may have slept, so they do not count.
        """
        self._heard += late
        silent, limit = now - self._heard, self._config.timeout_heartbeat
        if self.killed:
            self.kill()
        elif self.state in (READY, RETIRED) and limit and silent > limit:
            self._killed_for = f"did not answer for {silent:.0f} s, so it was killed"
            self.send_signal(signal.SIGABRT)
        elif self._kill_at is not None and now > self._kill_at:
            self.kill("did not end within its grace, so it was killed")

    def recycle_reason(self, now: float) -> str | None:
        """Why it should be recycled, as the end of a sentence; None if no ``recycle_`` limit is reached."""
        config, spread = self._config, self._spread
        if config.recycle_requests and self.requests >= config.recycle_requests * spread:
            return f"has had {self.requests} requests"
        if config.recycle_age and now - self._born >= config.recycle_age * spread:
            return f"is {now - self._born:.0f} s old"
        if config.recycle_rss and self.rss >= config.recycle_rss * spread:
            return f"takes {self.rss >> 20} MiB"
        return None

    def stop(self, grace: float, idle: float, delay: float = 0, *, replaced: bool = False, last: bool = True) -> None:
        """Have it finish its requests and end. A worker that does not serve yet ends at once.

        Args:
            grace: seconds for requests in flight.
            idle: seconds for idle connections.
            delay: seconds for which it still accepts connections.
            replaced: other workers go on serving.
            last: no other worker accepts from its sockets.
        """
        self.retired = True
        kill_at = self._loop.time() + delay + grace + _OVERTIME
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)
        if self.state is STARTING:
            self.state = RETIRED
            if self._process is not None:
                self._process.terminate()
        elif self.state is not GONE:
            self.state = RETIRED
            self._channel.send("stop", grace=grace, idle=idle, delay=delay, replaced=replaced, last=last)

    def kill(self, why: str | None = None) -> None:
        """Kill the process.

        Args:
            why: for the message, as the end of a sentence.
        """
        self._killed_for = self._killed_for or why
        self.send_signal(signal.SIGKILL)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, if it has been started and still runs."""
        if self.pid is not None and self.state is not GONE:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    @property
    def killed(self) -> bool:
        """Whether it has been killed for a reason of `check`."""
        return self._killed_for is not None

    @property
    def end(self) -> str:
        """How it has ended, as the end of a sentence."""
        status = self._status
        if self._killed_for is not None:
            return self._killed_for
        if status is not None and status < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-status).name}"
        return f"has ended with status {status}"

    # End.

    def _exited(self) -> None:
        self._loop.remove_reader(self._exit)
        os.close(self._exit)
        self._ending = self._loop.create_task(self._read_last_messages())

    async def _read_last_messages(self) -> None:
        with contextlib.suppress(TimeoutError):  # a child process of the worker may keep the channel open
            await asyncio.wait_for(self._channel_lost.wait(), _LAST_MESSAGES)
        self._channel.close()
        self._process.join()
        self._status = self._process.exitcode
        self._process.close()  # closes its descriptors
        self._gone()

    def _gone(self) -> None:
        self.state = GONE
        self.begun.set()
        if not self.settled.done():
            self.settled.set_result(False)
        self._changed(self)


def counted(snapshot: Snapshot) -> Snapshot:
    """The counters of a snapshot, which still count when the worker has ended."""
    return {name: value for name, value in snapshot.items() if name not in _GAUGES}


def _exit_descriptor(process: Any) -> int:
    """A descriptor that becomes readable when a process ends.

    A pidfd if the system has it; other processes could keep the pipe of `multiprocessing` open.
    """
    with contextlib.suppress(AttributeError, OSError):
        return os.pidfd_open(process.pid)
    return os.dup(process.sentinel)
