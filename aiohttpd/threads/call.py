"""Threads: one call in a worker thread, and what it writes on its way to the client meanwhile.

Owns the seam between loop and thread. What is called, and what its bytes mean, is up to the caller.
"""

import asyncio
import contextvars
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from ..config import Config
from ..errors import ClientDisconnected, ContractError
from ..net.forking import end_child
from ..wire.request import Peer
from .outbox import Outbox
from .pool import WorkerPool, Workers
from .spools import Spools

__all__ = ["Run", "Threads", "threads_of"]

Call = Callable[[Outbox], Any]
Deliver = Callable[[list[bytes]], None]
Writable = Callable[[], Awaitable[None]]

error_logger = logging.getLogger("aiohttpd.error")

# Seconds after which what a thread has written leaves without a flush: it costs the loop nothing then.
_SWEEP = 0.01
# Seconds after which calls that wait for a thread may have another one.
_GROWTH = 0.002


class Threads:
    """The worker threads of one server, and what they have under way.

    Attributes:
        workers: where calls go that name no threads; at first the pool.
    """

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.pool = WorkerPool(config.worker_threads, config.limit_queue)
        self.workers: Workers = self.pool
        self.spools = Spools(config)
        self._loop = loop
        self._outboxes: set[Outbox] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._growth: asyncio.TimerHandle | None = None
        self._woken: deque[Outbox] = deque()
        self._waking = False

    async def run(
        self, call: Call, deliver: Deliver, writable: Writable, *, name: str, workers: Workers | None = None
    ) -> Any:
        """Run ``call(outbox)`` in a thread; return what it returns, once all that it has written has been delivered.

        Args:
            call: runs in the thread, and writes to the outbox.
            deliver: takes what has been written, in the loop.
            writable: waits while the client is slow.
            name: what is said of a call that is left behind.
            workers: other threads than those of the server.

        Raises what the call raises; `PoolFull`; `ClientDisconnected`.
        """
        run = self.begin(call, workers)
        try:
            await self.pump(run, deliver, writable, name=name)
        finally:
            self.end(run)
        return run.outcome()

    def begin(self, call: Call, workers: Workers | None = None) -> "Run":
        """Have a thread begin with a call.

        Raises:
            PoolFull: there is none for it.
        """
        outbox = Outbox(self._loop, self._wake, self.spools.for_answer)
        run = Run(call, outbox)
        (workers or self.workers).submit(run)
        self._outboxes.add(outbox)
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP, self._sweep)
        if self.pool.waiting and self._growth is None:
            self._growth = self._loop.call_later(_GROWTH, self._grow)
        return run

    async def pump(self, run: "Run", deliver: Deliver, writable: Writable, *, name: str) -> None:
        """Deliver what a thread writes, until it ends or rests.

        A client that goes is told to the thread when it writes, and the thread is waited for. Cancelled, this leaves
        the thread behind, whose writes fail then.

        Raises:
            ClientDisconnected: the client is gone, and the call has not raised anything itself.
        """
        outbox = run.outbox
        gone: ClientDisconnected | None = None
        try:
            while outbox.waiting or not (outbox.ended or outbox.rests):
                await outbox.filled()
                try:
                    while parts := outbox.take():
                        deliver(parts)
                        await writable()
                except ClientDisconnected as error:
                    gone = error
                    outbox.close()
        except asyncio.CancelledError:
            if run.begun and not outbox.ended:
                error_logger.info("left behind in its thread, which does not end: '%s'", name)
            raise
        if gone is not None and run.error is None:
            raise gone

    def end(self, run: "Run") -> None:
        """Nobody waits for a call any more."""
        run.outbox.close()
        self._outboxes.discard(run.outbox)

    def close(self) -> None:
        """Let the threads leave that have nothing to do."""
        self.pool.close()
        for timer in (self._timer, self._growth):
            if timer is not None:
                timer.cancel()

    def _wake(self, outbox: Outbox) -> None:
        """Called by threads: have the loop look at an outbox. They wake it once for all of them."""
        self._woken.append(outbox)
        if not self._waking:
            self._waking = True
            try:
                self._loop.call_soon_threadsafe(self._tell)
            except RuntimeError:  # the loop has been closed
                outbox.close()

    def _tell(self) -> None:
        self._waking = False
        while self._woken:
            self._woken.popleft().tell()

    def _grow(self) -> None:
        self._growth = None
        self.pool.grow()
        if self.pool.waiting:
            self._growth = self._loop.call_later(_GROWTH, self._grow)

    def _sweep(self) -> None:
        self._timer = None
        for outbox in self._outboxes:
            outbox.sweep()
        if self._outboxes:
            self._timer = self._loop.call_later(_SWEEP, self._sweep)


class Run:
    """What a thread does; the outcome is for the loop.

    Attributes:
        outbox: what it writes.
        result: what the call has returned.
        error: what it has raised.
    """

    result: Any = None
    error: BaseException | None = None
    begun = False

    def __init__(self, call: Call, outbox: Outbox) -> None:
        self._call = call
        self.outbox = outbox
        self._context = contextvars.copy_context()

    def outcome(self) -> Any:
        """Return or raise what the call has; once, since a traceback that is kept keeps alive whatever it has seen."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error
        return self.result

    def __call__(self) -> None:
        if self.outbox.closed:  # it has waited for a thread for too long
            self.outbox.end()
            return
        self.begun = True
        pid = os.getpid()
        try:
            self.result = self._context.run(self._call, self.outbox)
        except KeyboardInterrupt:  # it has not come from the terminal, that is the main thread's
            self.error = ContractError("the handler raised KeyboardInterrupt")
        except BaseException as error:  # sys.exit() as well: the thread is not the handler's to end
            self.error = error
        finally:
            end_child(self.error, pid)
            self.outbox.end()


def threads_of(peer: Peer) -> Threads:
    """The worker threads of the server that a request has come to; there are none before somebody asks."""
    threads: Threads = peer.shared(Threads)
    return threads
