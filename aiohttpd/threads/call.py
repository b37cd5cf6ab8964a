"""Threads: runs calls in worker threads, and delivers to the loop what they write meanwhile."""

import asyncio
import contextvars
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from ..config import Config
from ..engine.error_log import error_logger
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

# Seconds after which what a thread has written is delivered without a flush.
_SWEEP = 0.01
# Seconds after which another thread is started for calls that wait.
_GROWTH = 0.002
# Lets another thread run that waits for the interpreter (GIL) or for this core.
_give_way: Callable[[], object] = getattr(os, "sched_yield", partial(time.sleep, 0))


class Threads:
    """The worker threads of one server, and their running calls.

    Attributes:
        workers: the threads for calls that name no others; by default the pool.
    """

    def __init__(self, config: Config, loop: asyncio.AbstractEventLoop) -> None:
        self.config = config
        self.pool = WorkerPool(config.worker_threads, config.limit_queue, soon=self._soon)
        self.workers: Workers = self.pool
        self.spools = Spools(config)
        self._loop = loop
        self._outboxes: set[Outbox] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._growth: asyncio.TimerHandle | None = None
        self._woken: deque[Outbox] = deque()
        self._waking = False
        self._calls = 0  # in this turn of the loop
        self._single = False  # there was one call in the last turn that had any
        self._waking_threads: Callable[[], None] | None = None  # called at the end of this turn

    async def run(
        self, call: Call, deliver: Deliver, writable: Writable, *, name: str, workers: Workers | None = None
    ) -> Any:
        """Run ``call(outbox)`` in a thread.

        Args:
            call: a function that runs in the thread, and may write to the outbox.
            deliver: called in the loop with what has been written.
            writable: a coroutine function that waits while the client is slow.
            name: the name of the call in warnings.
            workers: other threads than those of the server, whose context variables the call has then.

        Returns:
            What the call returns, after everything that it has written has been delivered.

        Raises:
            PoolFull: too many calls wait for a thread.
            ClientDisconnected: the client has closed the connection.
            BaseException: the call has raised it.
        """
        run = self.begin(call, workers)
        try:
            await self.pump(run, deliver, writable, name=name)
        finally:
            self.end(run)
        return run.outcome()

    def begin(self, call: Call, workers: Workers | None = None) -> "Run":
        """Start a call in a thread.

        Raises:
            PoolFull: too many calls wait for a thread.
        """
        outbox = Outbox(self._loop, self._wake, self.spools.for_answer)
        run = Run(call, outbox, contextvars.copy_context() if workers is None else None)
        self._calls += 1
        if self._calls == 1:
            self._loop.call_soon(self._end_turn)
        (workers or self.workers).submit(run)
        self._outboxes.add(outbox)
        if self._timer is None:
            self._timer = self._loop.call_later(_SWEEP, self._sweep)
        if self.pool.waiting and self._growth is None:
            self._growth = self._loop.call_later(_GROWTH, self._grow)
        return run

    async def pump(self, run: "Run", deliver: Deliver, writable: Writable, *, name: str) -> None:
        """Deliver what a thread writes, until its call ends or rests.

        When the client has closed the connection, writes of the thread fail, and the thread is waited for. When this is
        cancelled, the thread is not waited for, and its writes fail.

        Raises:
            ClientDisconnected: the client has closed the connection, and the call has raised nothing.
        """
        outbox = run.outbox
        gone: str | None = None  # a message: an exception would refer to this frame, and this frame to it
        try:
            while outbox.waiting or not (outbox.ended or outbox.rests):
                if not outbox.waiting:
                    await outbox.filled()
                try:
                    while outbox.waiting:
                        deliver(outbox.take())
                        await writable()
                except ClientDisconnected as error:
                    gone = str(error)
                    outbox.close()
        except asyncio.CancelledError:
            if run.begun and not outbox.ended:
                error_logger.info("left behind in its thread, which does not end: '%s'", name)
            raise
        if gone is not None and run.error is None:
            raise ClientDisconnected(gone)

    def end(self, run: "Run") -> None:
        """Forget a call: nothing waits for it any more."""
        run.outbox.close()
        self._outboxes.discard(run.outbox)

    def close(self) -> None:
        """End the threads that have nothing to do."""
        self.pool.close()
        for timer in (self._timer, self._growth):
            if timer is not None:
                timer.cancel()

    def _soon(self, wake: Callable[[], None]) -> None:
        """Wake threads that have got calls: at once, or at the end of this turn of the loop if it has more calls.

        Whether it has more is guessed by the last turn that had any. With one call in a turn, it has mostly ended when
        this returns, and its task never waits. With many, the threads run one after the other without going back and
        forth. Only the first call of a turn is handed over at once: a client may pipeline many.
        """
        if self._calls == 0 or (self._calls == 1 and self._single):  # 0: a timer has found threads for old calls
            self._hand_over(wake)
        else:
            self._waking_threads = wake

    def _end_turn(self) -> None:
        self._single = self._calls == 1
        self._calls = 0
        wake, self._waking_threads = self._waking_threads, None
        if wake is not None:
            self._hand_over(wake)

    def _hand_over(self, wake: Callable[[], None]) -> None:
        """Wake threads that have got calls, and give way to them. What they finish meanwhile needs no wake of the loop.

        They keep the interpreter until they wait for something, and for the switch interval (5 ms) at most, as they
        would when the loop waits for events.
        """
        wake()
        self._waking = True
        _give_way()
        self._tell()

    def _wake(self, outbox: Outbox) -> None:
        """Have the loop look at an outbox; threads call it. The loop is woken once for several outboxes."""
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
    """A call in a thread, and its outcome.

    Args:
        call: the function.
        outbox: what it writes to.
        context: its context variables; None for those of the thread in which it runs.

    Attributes:
        outbox: takes what the call writes.
        result: what the call has returned.
        error: what the call has raised.
    """

    result: Any = None
    error: BaseException | None = None
    begun = False

    def __init__(self, call: Call, outbox: Outbox, context: contextvars.Context | None) -> None:
        self._call = call
        self.outbox = outbox
        self._context = context

    def outcome(self) -> Any:
        """Return the result, or raise the error. Only once: a kept traceback keeps objects alive."""
        error, self.error = self.error, None
        try:
            if error is not None:
                raise error
        finally:
            del error
        return self.result

    def __call__(self) -> None:
        if self.outbox.closed:  # the caller has been cancelled while the call waited for a thread
            self.outbox.end()
            return
        self.begun = True
        pid = os.getpid()
        try:
            call, context = self._call, self._context
            self.result = call(self.outbox) if context is None else context.run(call, self.outbox)
        except KeyboardInterrupt:  # not by Ctrl-C, which goes to the main thread
            self.error = ContractError("the handler raised KeyboardInterrupt")
        except BaseException as error:  # also SystemExit, since a handler must not end a worker thread
            self.error = error
        finally:
            end_child(self.error, pid)
            self.outbox.end()


def threads_of(peer: Peer) -> Threads:
    """The worker threads of the server of a request; they are made by the first call."""
    threads: Threads = peer.shared(Threads)
    return threads
