"""The lifespan protocol of ASGI, version 2.0: startup and shutdown of an application.

Owns the messages ``lifespan.*`` and the handling of failures. The server enters and leaves the context manager.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator
from typing import Any, Literal

from ..engine.error_log import error_logger
from ..errors import ContractError, StartupFailed
from .scope import State

__all__ = ["Mode", "lifespan"]

Mode = Literal["auto", "on", "off"]

_PATIENCE = 1.0  # seconds in which an application has to return after its startup has failed, or its shutdown has ended


@contextlib.asynccontextmanager
async def lifespan(application: Any, state: State, mode: Mode) -> AsyncIterator[None]:
    """Run the startup of an application, then the body of the ``with`` statement, then the shutdown.

    Context variables that the startup has set are set in the body, too.

    Args:
        application: an ASGI 3 application.
        state: the dictionary ``state`` of the scope; the scopes of requests get copies of it.
        mode: with ``"auto"`` the application need not support the protocol: it may raise or return before
            ``lifespan.startup.complete``.

    Raises:
        StartupFailed: the application has sent ``lifespan.startup.failed``; or it does not support the protocol and the
            mode is ``"on"``.
    """
    life = _Life()
    context = contextvars.copy_context()
    task = asyncio.get_running_loop().create_task(_run(application, state, life), context=context)
    # asyncio would log an exception that nobody retrieves. A SystemExit stops the loop before `_start` can.
    task.add_done_callback(_error)
    try:
        supported = await _start(life, task, mode)
        for variable, value in context.items():
            variable.set(value)
        try:
            yield
        except asyncio.CancelledError:
            supported = False  # do not wait for the shutdown
            raise
        finally:
            if supported:
                await _stop(life, task)
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait([task])


async def _run(application: Any, state: State, life: "_Life") -> None:
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    await application(scope, life.receive, life.send)


async def _start(life: "_Life", task: asyncio.Task[None], mode: Mode) -> bool:
    """Wait for the startup; return whether the application supports the protocol."""
    await _first(life.started, task)
    if life.started.done():
        failure = life.started.result()
        if failure is None:
            task.add_done_callback(life.tell_early_end)
            return True
        await asyncio.wait([task], timeout=_PATIENCE)
        raise StartupFailed(failure or _explain(task) or "the application gives no reason")
    if not task.cancelled() and isinstance(task.exception(), (SystemExit, KeyboardInterrupt)):
        task.result()
    if mode == "on":
        raise StartupFailed(_explain(task) or "it has returned before lifespan.startup.complete") from (
            None if task.cancelled() else task.exception()
        )
    error_logger.debug("the application does not know the lifespan protocol", exc_info=_error(task))
    return False


async def _stop(life: "_Life", task: asyncio.Task[None]) -> None:
    """Shut the application down; log a failure."""
    if task.done():
        return  # `tell_early_end` has logged it
    life.stop()
    await _first(life.stopped, task)
    if not life.stopped.done():
        if (error := _error(task)) is not None:
            error_logger.error("the application has failed to shut down", exc_info=error)
        return
    failure = life.stopped.result()
    await asyncio.wait([task], timeout=_PATIENCE)
    if failure is not None:
        error_logger.error("the application has failed to shut down: %s", failure, exc_info=_error(task))


async def _first(*futures: asyncio.Future[Any]) -> None:
    """Wait until one of the futures is done."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _error(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


def _explain(task: asyncio.Task[None]) -> str:
    error = _error(task)
    return "" if error is None else f"{type(error).__name__}: {error}"


class _Life:
    """The ``receive`` and ``send`` of the lifespan of one application."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        # The results: None for complete, the message for failed.
        self.started: asyncio.Future[str | None] = loop.create_future()
        self.stopped: asyncio.Future[str | None] = loop.create_future()
        self._stopping = asyncio.Event()
        self._asked = 0  # number of calls of receive()

    def stop(self) -> None:
        """All connections have been closed: send ``lifespan.shutdown``."""
        self._stopping.set()

    def tell_early_end(self, task: asyncio.Task[None]) -> None:
        """Log an error of the lifespan task before the shutdown; the application will not be shut down."""
        if not self._stopping.is_set() and (error := _error(task)) is not None:
            error_logger.error("the lifespan of the application has ended with an error", exc_info=error)

    async def receive(self) -> dict[str, Any]:
        """Return ``lifespan.startup``; at the second call wait, and return ``lifespan.shutdown``."""
        self._asked += 1
        if self._asked == 1:
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        if self._asked > 2:
            await asyncio.get_running_loop().create_future()  # wait for ever: there are no more messages
        return {"type": "lifespan.shutdown"}

    async def send(self, message: dict[str, Any]) -> None:
        """Take ``lifespan.startup.*`` or ``lifespan.shutdown.*``.

        Raises:
            ContractError: another message is expected.
        """
        kind = message["type"]
        future = self.started if not self.started.done() else self.stopped
        expected = "lifespan.startup" if future is self.started else "lifespan.shutdown"
        if kind not in (f"{expected}.complete", f"{expected}.failed"):
            raise ContractError(f"{kind!r} was sent where {expected}.complete or {expected}.failed is due")
        if future is self.stopped and not self._stopping.is_set():
            raise ContractError(f"{kind!r} was sent before lifespan.shutdown has been received")
        if future.done():
            raise ContractError(f"{kind!r} was sent, and the lifespan has ended already")
        future.set_result(message.get("message", "") if kind.endswith(".failed") else None)
