"""The supervisor: keeps as many workers as wanted on sockets that outlive each of them.

Owns the count. It binds once (see `socket_pool`) and imports nothing of the App, so whatever happens to a worker, what
waits in the kernel is accepted by another, and new code needs no new supervisor. When it does what is for
`supervise` to say.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from ..config import Config
from ..net.sockets import BindError, ServerAddress, url_of
from ..server.metrics import merge
from .balance import Table
from .job import BEAT, Descriptor, Job
from .process import say
from .socket_pool import SocketPool, SocketSet
from .worker_handle import WorkerHandle, WorkerState, counted

__all__ = ["Supervisor", "Watch"]

_RECENT = 60.0  # seconds for which a death counts
_LONGEST = 10.0  # seconds between two attempts
_ATTEMPTS = 5  # to start a worker when there is none
_RECYCLED = 10.0  # seconds from one worker that is worn out to the next
_NOT_RECYCLED = 60.0  # seconds, if no other can start
_LATE = 2.0  # seconds after which a look counts as late: the machine slept, or somebody stopped us all

Watch = Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]


class Supervisor:
    """The parent of all workers.

    Args:
        address: what `HTTPServer` takes.
        target: a `Target`, pickled.
        config: the options.
        count: how many workers.
        shared: descriptor of a file: the lock of what all of us write to stderr, and a table of connections.
        tls: whether they speak HTTPS.
    """

    def __init__(
        self,
        address: ServerAddress | list[ServerAddress],
        target: bytes,
        config: Config,
        count: int,
        shared: int,
        *,
        tls: bool,
    ) -> None:
        self._given = address if isinstance(address, list) else [address]
        self._target = target
        self.config = config
        self._count = count
        self._shared = Descriptor(shared)
        self._table = Table.of(shared)
        self.tls = tls
        self._workers: list[WorkerHandle] = []  # the oldest first
        self._due: list[asyncio.TimerHandle] = []  # of workers that begin after a pause
        self._deaths: list[float] = []  # of late, in the loop's time
        self._restarts = 0
        self._past: dict[str, Any] = {}  # what the dead have counted
        self._failed = 0  # attempts to start in a row
        self._last_failure = ""
        self._survives = False  # code that cannot be loaded
        self._complete = False  # all have been ready once
        self._stopping = False
        self._status = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._roll_waits = False
        self._recycle_after = 0.0  # the loop's time

    # What it is called, as `HTTPServer` has it.

    @property
    def ready(self) -> bool:
        """Whether workers take requests, and it has not begun to stop."""
        return not self._stopping and any(worker.state is WorkerState.READY for worker in self._workers)

    @property
    def addresses(self) -> list[Any]:
        """The address of each socket."""
        return list(self._sets.names)

    @property
    def urls(self) -> list[str]:
        """Where the workers are reached, for each socket."""
        return [url_of(name, tls=self.tls) for name in self._sets.names]

    @property
    def server_port(self) -> int | None:
        """The port that is really bound, None on a unix socket."""
        name = self._sets.names[0]
        return name[1] if isinstance(name, tuple) else None

    # Its life.

    async def run(
        self,
        watch: Watch | None,
        started: Callable[["Supervisor"], None],
    ) -> int:
        """Live; see `supervise`."""
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()  # one worker is replaced at a time
        self._ended = asyncio.Event()
        self._survives = watch is not None
        self._sets = SocketPool(self._given, self.config)
        self._looked = self._loop.time()
        self._look()
        if watch is not None:
            self._begin(self._watch(watch))
        try:
            self._sets.provide(self._count)
            if await self._start():
                started(self)
            await self._ended.wait()
        finally:
            for worker in self._workers:
                worker.kill()
            for task in self._tasks:
                task.cancel()
            self._sets.close()
        return self._status

    async def _start(self) -> bool:
        """Start all workers; say whether they are ready."""
        first = self._new()
        await first.begun.wait()  # what keeps all of them from beginning is told once
        if not self._stopping:
            workers = [first, *(self._new() for _ in range(self._count - len(self._active)))]
            await asyncio.gather(*(worker.settled for worker in workers))
        self._complete = True
        return not self._stopping

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # How many there are.

    @property
    def _active(self) -> list[WorkerHandle]:
        """Those that count: they serve, or will."""
        return [worker for worker in self._workers if not worker.retired and not worker.extra]

    def _new(self, *, instead: WorkerHandle | None = None) -> WorkerHandle:
        """Begin a worker, to take the place of one that serves or to be one more."""
        slot = self._table.take({worker.slot for worker in self._workers})
        sockets = instead.sockets if instead else self._sets.for_one_more([one.sockets for one in self._active])
        worker = WorkerHandle(self._job, sockets, slot, self.config, self._changed, self._answer)
        worker.extra = instead is not None
        self._workers.append(worker)
        self._begin(worker.begin())
        return worker

    def _job(self, channel: socket.socket, worker: WorkerHandle) -> Job:
        return Job(
            target=self._target, sockets=[Descriptor(sock.fileno()) for sock in worker.sockets], channel=channel,
            shared=self._shared, slot=worker.slot, balanced=self._sets.shared, config=self.config,
        )  # fmt: skip

    def _changed(self, worker: WorkerHandle) -> None:
        """A worker is ready, or has gone."""
        if worker.state is WorkerState.READY:
            self._failed = 0
            self._last_failure = ""
            if self._complete:
                self._balance()
            return
        self._workers.remove(worker)
        self._table.clear(worker.slot)
        self._past = merge([self._past, counted(worker.snapshot or {})])
        if self._stopping:
            if not self._workers:
                self._ended.set()
            return
        if worker.retired and worker.killed:
            say(f"Worker {worker.pid} {worker.end}")
        elif not worker.retired and worker.settled.result():
            say(f"Worker {worker.pid} {worker.end}; another takes its place")
            self._deaths.append(self._loop.time())
        elif not worker.retired:
            self._cannot_start(worker)
        self._balance()

    def _cannot_start(self, worker: WorkerHandle) -> None:
        if worker.sockets not in self._taken():
            self._sets.renew(worker.sockets)
        text, status = worker.failure or (f"Worker {worker.pid} {worker.end} before it was ready", 1)
        self._failed += 1
        self._deaths.append(self._loop.time())
        if text != self._last_failure:
            self._last_failure = text
            say(text)
        nobody = not any(other.state is WorkerState.READY for other in self._workers)
        if not self._survives and nobody and (not self._complete or self._failed >= _ATTEMPTS):
            self._status = status
            self.stop(0)

    def _balance(self) -> None:
        """Bring the number of workers to what it should be."""
        if self._stopping:
            return
        active = self._active
        for _ in range(self._count - len(active) - len(self._due)):
            self._due.append(self._loop.call_later(self._pause(), self._begin_due))
        ready = [worker for worker in active if worker.state is WorkerState.READY]
        starting = [worker for worker in reversed(active) if worker.state is WorkerState.STARTING]
        candidates = [*starting, *ready]
        while len(candidates) > self._count:
            taken = [worker.sockets for worker in candidates]
            worker = next((one for one in candidates if taken.count(one.sockets) > 1), candidates[0])
            candidates.remove(worker)
            self._retire(worker)
        self._sets.drop(self._count, self._taken())

    def _taken(self) -> list[SocketSet]:
        """What workers accept from, or will."""
        return [worker.sockets for worker in self._workers if not worker.retired]

    def _begin_due(self) -> None:
        del self._due[0]
        if not self._stopping and len(self._active) + len(self._due) < self._count:
            self._restarts += 1
            self._new()

    def _pause(self) -> float:
        """Seconds before a worker takes the place of another: none, unless they die again and again."""
        now = self._loop.time()
        self._deaths = [death for death in self._deaths if death > now - _RECENT]
        again = len(self._deaths) / self._count - 1
        return 0.0 if again <= 0 else min(_LONGEST, 0.1 * 2**again)

    def resize(self, more: int) -> None:
        """Have so many workers more."""
        if self._count + more < 1:
            say("One worker is the least")
            return
        try:
            self._sets.provide(self._count + more)
        except BindError as error:
            say(f"No worker more: {error}")
            return
        self._count += more
        say(f"{self._count} worker{'s' * (self._count > 1)} from now on")
        self._balance()

    # New ones for old ones.

    async def roll(self, *, now: bool = False) -> None:
        """Replace all workers, one after the other.

        Args:
            now: nobody is to be served by the old code any more.
        """
        for worker in self._workers:
            if worker.extra and worker.state is WorkerState.STARTING:
                worker.stop(0, 0)  # it may hang, and what it has loaded is not the newest
        if self._roll_waits:
            return  # it has not begun yet, so it will see what there is to see
        self._roll_waits = True
        async with self._turn:
            self._roll_waits = False
            self._last_failure = ""
            for worker in self._active:
                if worker.retired or worker.state is WorkerState.GONE or await self._renew(worker, now=now):
                    continue
                if not self._stopping:
                    say("The workers stay as they are")
                break
        self._balance()

    async def _watch(self, watch: Watch) -> None:
        try:
            await watch(self._reload)
        except Exception as error:  # there are too many files for the system, say
            say(f"Changes of code are not noticed any more: {error}")

    def _reload(self, what: str) -> None:
        """Code has changed."""
        say(f"{what} has changed")
        self._deaths.clear()
        for pause in self._due:
            pause.cancel()
        self._due.clear()
        self._begin(self.roll(now=True))

    async def _recycle(self, worker: WorkerHandle, why: str) -> None:
        async with self._turn:
            if not worker.retired and worker.state is WorkerState.READY:
                say(f"Worker {worker.pid} {why}: another takes its place")
                renewed = await self._renew(worker)
                self._recycle_after = self._loop.time() + (_RECYCLED if renewed else _NOT_RECYCLED)

    async def _renew(self, worker: WorkerHandle, *, now: bool = False) -> bool:
        """Start a worker, and retire another once the new one is ready; say whether it is."""
        new = self._new(instead=worker)
        if not await new.settled or self._stopping:
            return False
        new.extra = False
        if not worker.retired and worker.state is not WorkerState.GONE:
            self._retire(worker, now=now)
        self._balance()
        return True

    def _retire(self, worker: WorkerHandle, *, now: bool = False) -> None:
        config, last = self.config, self._taken().count(worker.sockets) == 1
        if now:
            worker.stop(config.timeout_grace, 0, replaced=True, last=last)
        else:
            worker.stop(config.timeout_retire, config.timeout_retire_idle, replaced=True, last=last)

    def _look(self) -> None:
        """Look after the workers, each second."""
        self._loop.call_later(BEAT, self._look)
        now = self._loop.time()
        late, self._looked = now - self._looked - BEAT, now
        for worker in tuple(self._workers):
            worker.look(now, late if late > _LATE else 0)
        if self._stopping or self._turn.locked() or now < self._recycle_after:
            return
        for worker in self._active:
            if worker.state is WorkerState.READY and (why := worker.worn(now)) is not None:
                self._begin(self._recycle(worker, why))
                return  # one at a time

    def _answer(self, worker: WorkerHandle, number: int) -> None:
        """A worker asks what all of them have counted."""
        worker.answer(number, self._snapshots())

    async def snapshots(self) -> list[Any]:
        """The metrics of all workers, of the dead too, a second old at most."""
        return self._snapshots()

    def _snapshots(self) -> list[Any]:
        living = [worker.snapshot for worker in self._workers if worker.snapshot is not None]
        return [*living, {**self._past, "worker_restarts": self._restarts}]

    def signal(self, number: int) -> None:
        """Pass a signal on to all workers that serve."""
        for worker in self._workers:
            if worker.state in (WorkerState.READY, WorkerState.RETIRED) and worker.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker.pid, number)

    # The end.

    def stop(self, grace: float | None = None) -> None:
        """Stop; called a second time, stop at once."""
        delay = self.config.shutdown_delay if grace is None and not self._stopping else 0.0
        if grace is None:
            grace = 0 if self._stopping else self.config.timeout_grace
        if not self._stopping:
            self._stopping = True
            self._loop.call_later(delay + self.config.timeout_drain_idle + 0.5, self._say_what_is_waited_for)
            self._loop.call_later(delay, self._sets.close)
        for worker in tuple(self._workers):
            worker.stop(grace, min(grace, self.config.timeout_drain_idle), delay)
        if not self._workers:
            self._ended.set()

    def _say_what_is_waited_for(self) -> None:
        say(f"Finishing what is in flight, at most {self.config.timeout_grace:g} s (Ctrl-C again stops at once)")
