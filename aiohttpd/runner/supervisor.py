"""The supervisor: keeps a number of workers running on listening sockets that live longer than each worker.

It binds once (see `socket_pool`) and never imports the App. So a connection that waits in the kernel is not lost when a
worker dies, and new code needs no new supervisor. `supervise` has the signals.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from ..config import Config
from ..net.sockets import BindError, ServerAddress, url_of
from ..server.metrics import Snapshot, merge
from .balance import ConnectionTable
from .job import BEAT, Descriptor, Job
from .process import MOST_WORKERS, say
from .socket_pool import SocketPool, SocketSet
from .worker_handle import WorkerHandle, WorkerState, counted

__all__ = ["Supervisor", "Watch"]

_RECENT = 60.0  # seconds for which the death of a worker delays restarts
_LONGEST = 10.0  # seconds between two restarts, at most
_ATTEMPTS = 5  # to start a worker while none serves; then the program ends
_RECYCLED = 10.0  # seconds from one recycled worker to the next
_NOT_RECYCLED = 60.0  # seconds to the next attempt, if the replacement could not start
_LATE = 2.0  # seconds by which a check must be late to assume that all processes were stopped, or the machine slept

Watch = Callable[[Callable[[str], None]], Coroutine[Any, Any, None]]


class Supervisor:
    """The parent process of all workers.

    Args:
        address: as for `HTTPServer`.
        target: a pickled `Target`.
        config: the options.
        count: the number of workers.
        shared: descriptor of a file that all processes share: the lock for stderr, and a `ConnectionTable`.
        tls: whether the workers speak HTTPS.
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
        self._table = ConnectionTable.create(shared)
        self.tls = tls
        self._workers: list[WorkerHandle] = []  # the oldest first
        self._due: list[asyncio.TimerHandle] = []  # one for each worker that is started after a pause
        self._deaths: list[float] = []  # recent ones, in the loop's time
        self._restarts = 0
        self._past: Snapshot = {}  # the counters of workers that have ended
        self._failed = 0  # attempts to start a worker that have failed in a row
        self._last_failure = ""
        self._survives = False  # it goes on when code cannot be loaded
        self._complete = False  # all workers have been ready once
        self._stopping = False
        self._status = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._roll_waits = False
        self._recycle_after = 0.0  # the loop's time

    # Its addresses and state, as `HTTPServer` has them.

    @property
    def ready(self) -> bool:
        """Whether a worker serves, and no stop has begun."""
        return not self._stopping and any(worker.state is WorkerState.READY for worker in self._workers)

    @property
    def addresses(self) -> list[Any]:
        """The address of each socket."""
        return list(self._sets.names)

    @property
    def urls(self) -> list[str]:
        """The URL of each socket."""
        return [url_of(name, tls=self.tls) for name in self._sets.names]

    @property
    def server_port(self) -> int | None:
        """The port of the first socket; None on a unix socket."""
        name = self._sets.names[0]
        return name[1] if isinstance(name, tuple) else None

    # Start and end.

    async def run(
        self,
        watch: Watch | None,
        started: Callable[["Supervisor"], None],
    ) -> int:
        """Keep the workers running until `stop`; `supervise` describes arguments, result and errors."""
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()  # one worker is replaced at a time
        self._ended = asyncio.Event()
        self._survives = watch is not None
        self._sets = SocketPool(self._given, self.config)
        self._checked = self._loop.time()
        self._check_workers()
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
        """Start all workers; return False if it has been stopped meanwhile."""
        first = self._new()
        await first.begun.wait()  # an error that keeps all workers from starting is reported only once
        if not self._stopping:
            workers = [first, *(self._new() for _ in range(self._count - len(self._active)))]
            await asyncio.gather(*(worker.settled for worker in workers))
        self._complete = True
        return not self._stopping

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The number of workers.

    @property
    def _active(self) -> list[WorkerHandle]:
        """The workers that serve or start, without replacements of workers that still serve."""
        return [worker for worker in self._workers if not worker.retired and not worker.replacement]

    def _new(self, *, instead: WorkerHandle | None = None) -> WorkerHandle:
        """Start a worker: a replacement of another that still serves, or one more."""
        slot = self._table.free_slot({worker.slot for worker in self._workers})
        sockets = instead.sockets if instead else self._sets.least_used([one.sockets for one in self._active])
        worker = WorkerHandle(self._job, sockets, slot, self.config, self._changed, self._answer)
        worker.replacement = instead is not None
        self._workers.append(worker)
        self._begin(worker.begin())
        return worker

    def _job(self, channel: socket.socket, worker: WorkerHandle) -> Job:
        return Job(
            target=self._target, sockets=[Descriptor(sock.fileno()) for sock in worker.sockets], channel=channel,
            shared=self._shared, slot=worker.slot, balanced=self._sets.shared, config=self.config,
        )  # fmt: skip

    def _changed(self, worker: WorkerHandle) -> None:
        """A worker is ready, or its process has ended."""
        if worker.state is WorkerState.READY:
            self._failed = 0
            self._last_failure = ""
            if self._complete:
                self._start_or_retire()
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
        self._start_or_retire()

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

    def _start_or_retire(self) -> None:
        """Start or retire workers until their number is right."""
        if self._stopping:
            return
        active = self._active
        for _ in range(self._count - len(active) - len(self._due)):
            self._due.append(self._loop.call_later(self._pause(), self._restart))
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
        """The socket sets of workers that accept, or will accept."""
        return [worker.sockets for worker in self._workers if not worker.retired]

    def _restart(self) -> None:
        del self._due[0]
        if not self._stopping and len(self._active) + len(self._due) < self._count:
            self._restarts += 1
            self._new()

    def _pause(self) -> float:
        """Seconds before a dead worker is replaced: 0, and more if workers have died again and again."""
        now = self._loop.time()
        self._deaths = [death for death in self._deaths if death > now - _RECENT]
        again = len(self._deaths) / self._count - 1
        return 0.0 if again <= 0 else min(_LONGEST, 0.1 * 2**again)

    def resize(self, more: int) -> None:
        """Change the number of workers.

        Args:
            more: the number to add; it may be negative.
        """
        if self._stopping:
            return
        if self._count + more < 1:
            say("There has to be one worker")
            return
        if self._count + more > MOST_WORKERS:
            say(f"No worker is added: {MOST_WORKERS} is the most")
            return
        try:
            self._sets.provide(self._count + more)
        except BindError as error:
            say(f"No worker is added: {error}")
            return
        self._count += more
        say(f"{self._count} worker{'s' * (self._count > 1)} from now on")
        self._start_or_retire()

    # Replacement.

    async def roll(self, *, now: bool = False) -> None:
        """Replace all workers, one after the other.

        Args:
            now: old workers get ``timeout_grace`` and close idle connections at once, since their code is outdated.
        """
        for worker in self._workers:
            if worker.replacement and worker.state is WorkerState.STARTING:
                worker.stop(0, 0)  # it may hang, and has not loaded the newest code
        if self._roll_waits:
            return  # another roll has not begun yet; it will load the newest code
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
        self._start_or_retire()

    async def _watch(self, watch: Watch) -> None:
        try:
            await watch(self._reload)
        except Exception as error:  # there may be more files than the system can watch
            say(f"Files are not watched for changes any more: {error}")

    def _reload(self, path: str) -> None:
        """Code has changed: replace the workers, without a pause for earlier deaths."""
        say(f"{path} has changed")
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
        """Start a replacement, and retire the old worker when it is ready; return False if it could not start."""
        new = self._new(instead=worker)
        if not await new.settled or self._stopping:
            return False
        new.replacement = False
        if not worker.retired and worker.state is not WorkerState.GONE:
            self._retire(worker, now=now)
        self._start_or_retire()
        return True

    def _retire(self, worker: WorkerHandle, *, now: bool = False) -> None:
        config, last = self.config, self._taken().count(worker.sockets) == 1
        if now:
            worker.stop(config.timeout_grace, 0, replaced=True, last=last)
        else:
            worker.stop(config.timeout_retire, config.timeout_retire_idle, replaced=True, last=last)

    def _check_workers(self) -> None:
        """Each second, kill workers that hang, and recycle those that have reached a limit."""
        self._loop.call_later(BEAT, self._check_workers)
        now = self._loop.time()
        late, self._checked = now - self._checked - BEAT, now
        for worker in tuple(self._workers):
            worker.check(now, late if late > _LATE else 0)
        if self._stopping or self._turn.locked() or now < self._recycle_after:
            return
        for worker in self._active:
            if worker.state is WorkerState.READY and (why := worker.recycle_reason(now)) is not None:
                self._begin(self._recycle(worker, why))
                return  # one at a time

    def _answer(self, worker: WorkerHandle, number: int) -> None:
        """Answer the question of a worker for the metrics of all."""
        worker.answer(number, self._snapshots())

    async def snapshots(self) -> list[Snapshot]:
        """The metrics of all workers, those that have ended included. They are a second old at most."""
        return self._snapshots()

    def _snapshots(self) -> list[Snapshot]:
        living = [worker.snapshot for worker in self._workers if worker.snapshot is not None]
        return [*living, {**self._past, "worker_restarts": self._restarts}]

    def signal(self, number: int) -> None:
        """Pass a signal on to all workers that serve."""
        for worker in self._workers:
            if worker.state in (WorkerState.READY, WorkerState.RETIRED):
                worker.send_signal(number)

    # End.

    def stop(self, grace: float | None = None) -> None:
        """Stop all workers; called a second time, stop them at once.

        Args:
            grace: seconds for requests in flight, by default ``timeout_grace``.
        """
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
