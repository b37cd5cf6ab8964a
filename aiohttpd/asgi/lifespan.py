"""The lifespan protocol of ASGI, version 2.0: an application is told that its server begins and ends.

Owns the messages ``lifespan.*`` and what comes of their failure. When they are sent, the server decides.
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

_PATIENCE = 1.0  # seconds for an application whose startup has failed to end by itself


@contextlib.asynccontextmanager
async def lifespan(application: Any, state: State, mode: Mode) -> AsyncIterator[None]:
    """Surround what is done with an application by its startup and its shutdown.

    What its startup sets in context variables is set for whoever is inside.

    Args:
        application: of ASGI 3.
        state: what it sets there, requests find in their scopes.
        mode: with ``"auto"`` it is no fault if the application does not know the protocol: it raises, or returns,
            before it has said that its startup is complete.

    Raises:
        StartupFailed: the application says so; or with ``"on"``, does not know the protocol.
    """
    life = _Life()
    context = contextvars.copy_context()
    task = asyncio.get_running_loop().create_task(_run(application, state, life), context=context)
    try:
        supported = await _start(life, task, mode)
        for variable, value in context.items():
            variable.set(value)
        try:
            yield
        except asyncio.CancelledError:
            supported = False  # nothing is waited for any more
            raise
        finally:
            if supported:
                await _stop(life, task)
    finally:
        if not task.done():
            task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it has been told, or is no fault


async def _run(application: Any, state: State, life: "_Life") -> None:
    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    await application(scope, life.receive, life.send)


async def _start(life: "_Life", task: asyncio.Task[None], mode: Mode) -> bool:
    """Wait for the startup; say whether the application knows the protocol."""
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
    """Have the application shut down, and log it if that fails."""
    if task.done():
        return  # that has been logged
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
    """Wait until one of them is done."""
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _error(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


def _explain(task: asyncio.Task[None]) -> str:
    error = _error(task)
    return "" if error is None else f"{type(error).__name__}: {error}"


class _Life:
    """The two ends of the conversation with one application."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        # Each has None in the end, or the message with which it has failed.
        self.started: asyncio.Future[str | None] = loop.create_future()
        self.stopped: asyncio.Future[str | None] = loop.create_future()
        self._stopping = asyncio.Event()
        self._asked = 0  # calls of receive()

    def stop(self) -> None:
        """All connections have been closed."""
        self._stopping.set()

    def tell_early_end(self, task: asyncio.Task[None]) -> None:
        """Log an application that has failed while the server serves: it will not shut down."""
        if not self._stopping.is_set() and (error := _error(task)) is not None:
            error_logger.error("the lifespan of the application has ended with an error", exc_info=error)

    async def receive(self) -> dict[str, Any]:
        """What an application calls: startup, and at the end shutdown."""
        self._asked += 1
        if self._asked == 1:
            return {"type": "lifespan.startup"}
        await self._stopping.wait()
        if self._asked > 2:
            await asyncio.get_running_loop().create_future()  # there is nothing more to come
        return {"type": "lifespan.shutdown"}

    async def send(self, message: dict[str, Any]) -> None:
        """What an application calls: it has begun, or ended, or failed to."""
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
