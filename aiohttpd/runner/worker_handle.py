"""Watching: one worker as its supervisor sees it.

Owns the process, its end of the channel, and how long it may be silent. When a worker begins, and when
its time is over, is for `supervisor` to say.

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

_OVERTIME = 4.0  # seconds after its grace in which a worker ends by itself
_LAST_WORDS = 1.0  # seconds for what a worker has sent before its end

_OF_THE_LIVING = ("in_flight", "connections")  # of a snapshot, what the dead have no more

_spawn = multiprocessing.get_context("spawn")


class WorkerState(enum.Enum):
    """What a worker is doing."""

    STARTING = "loading its target"
    READY = "serving"
    RETIRED = "finishing what it has"
    GONE = "nothing"


STARTING, READY, RETIRED, GONE = WorkerState


class WorkerHandle:
    """A worker process.

    Args:
        make_job: makes the job around the worker's end of the channel.
        sockets: what it accepts from.
        slot: in the table of connections.
        config: the options.
        changed: called with the worker when it is ready, and when it has gone.
        asked: called with the worker and the number of its question for metrics.

    Attributes:
        begun: set once Python runs in it, or it has gone.
        settled: whether it has become ready; done when that is known.
        failure: what it has said of why it cannot start, and the status to end with.
        extra: it is to take the place of another, which serves still.
        retired: its end is expected.
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
        self._channel = Channel(self._received, self._lost)
        self._process: Any = None
        self._status: int | None = None  # with which it has ended
        self._exit = -1  # descriptor that becomes readable when the process ends
        self._channel_lost = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._spread = random.uniform(0.9, 1.1)  # so that workers of one age do not wear out together
        self._born = self._heard = self._loop.time()
        self._kill_at: float | None = None
        self._killed_for: str | None = None
        self.state = STARTING
        self.sockets = sockets
        self.slot = slot
        self.begun = asyncio.Event()
        self.settled: asyncio.Future[bool] = self._loop.create_future()
        self.failure: tuple[str, int] | None = None
        self.extra = False
        self.retired = False
        self.pid: int | None = None  # None before it has begun
        self.requests = 0
        self.rss = 0
        self.snapshot: Any = None

    # Its beginning.

    async def begin(self) -> None:
        """Spawn the process."""
        if self.state is not STARTING:
            self._gone()  # it was not to begin any more
            return
        ours = theirs = None
        try:
            ours, theirs = socket.socketpair()
            process = _spawn.Process(target=work, args=(self._make_job(theirs, self),), name="aiohttpd-worker")
            # What a terminal sends to all of the group is the supervisor's; until the worker can see to that.
            signal.pthread_sigmask(signal.SIG_BLOCK, HANDED)
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED)
        except Exception as error:  # whatever it is, somebody waits for a worker
            if ours is not None:
                ours.close()
            self.failure = (f"aiohttpd: no worker can be started: {error}", 1)
            self._gone()
            return
        finally:
            if theirs is not None:
                theirs.close()
        self._process, self.pid = process, process.pid
        self._exit = _exit_descriptor(process)
        self._loop.add_reader(self._exit, self._exited)
        await self._loop.create_unix_connection(lambda: self._channel, sock=ours)

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

    def answer(self, number: int, snapshots: list[Any]) -> None:
        """Answer its question for metrics."""
        self._channel.send("metrics", number=number, snapshots=snapshots)

    # Its life.

    def look(self, now: float, late: float) -> None:
        """End it if it is silent for too long, or has not ended in time.

        Args:
            now: the loop's time.
            late: seconds for which we could not look, and it may not have run either.
        """
        self._heard += late
        silent, limit = now - self._heard, self._config.timeout_heartbeat
        if self.state in (READY, RETIRED) and limit and silent > limit:
            self.kill(f"did not answer for {silent:.0f} s, so it was killed")
        elif self._kill_at is not None and now > self._kill_at:
            self.kill("did not end within its grace, so it was killed")

    def worn(self, now: float) -> str | None:
        """Why it should be replaced, if it should."""
        config, spread = self._config, self._spread
        if config.recycle_requests and self.requests >= config.recycle_requests * spread:
            return f"has had {self.requests} requests"
        if config.recycle_age and now - self._born >= config.recycle_age * spread:
            return f"is {now - self._born:.0f} s old"
        if config.recycle_rss and self.rss >= config.recycle_rss * spread:
            return f"takes {self.rss >> 20} MiB"
        return None

    def stop(self, grace: float, idle: float, delay: float = 0, *, replaced: bool = False, last: bool = True) -> None:
        """Let it finish what it has; one that does not serve yet ends at once.

        Args:
            grace: seconds for what is in flight.
            idle: seconds for idle connections.
            delay: seconds for which it accepts connections still.
            replaced: the service goes on without it.
            last: nobody else accepts from its sockets.
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
        """End it at once."""
        self._killed_for = self._killed_for or why
        if self._process is not None and self.state is not GONE:
            self._process.kill()

    @property
    def killed(self) -> bool:
        """Whether we have had to end it."""
        return self._killed_for is not None

    @property
    def end(self) -> str:
        """How it has ended, as a sentence goes on."""
        status = self._status
        if self._killed_for is not None:
            return self._killed_for
        if status is not None and status < 0:
            with contextlib.suppress(ValueError):
                return f"was ended by {signal.Signals(-status).name}"
        return f"has ended with status {status}"

    # Its end.

    def _lost(self) -> None:
        self._channel_lost.set()

    def _exited(self) -> None:
        self._loop.remove_reader(self._exit)
        os.close(self._exit)
        self._ending = self._loop.create_task(self._listen_to_the_end())

    async def _listen_to_the_end(self) -> None:
        with contextlib.suppress(TimeoutError):  # a program that it has started may hold the channel open
            await asyncio.wait_for(self._channel_lost.wait(), _LAST_WORDS)
        self._channel.close()
        self._process.join()
        self._status = self._process.exitcode
        self._process.close()  # with its descriptors
        self._gone()

    def _gone(self) -> None:
        self.state = GONE
        self.begun.set()
        if not self.settled.done():
            self.settled.set_result(False)
        self._changed(self)


def counted(snapshot: Snapshot) -> Snapshot:
    """What of a worker's snapshot counts when it is dead: sums, and not what it had at the time."""
    return {name: value for name, value in snapshot.items() if name not in _OF_THE_LIVING}


def _exit_descriptor(process: Any) -> int:
    """What becomes readable when a process ends; best of all one that nobody else can hold open."""
    with contextlib.suppress(AttributeError, OSError):
        return os.pidfd_open(process.pid)
    return os.dup(process.sentinel)
