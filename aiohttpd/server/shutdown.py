"""Shutdown: the end of a server, from the last connection that it accepts to the last that is closed.

Owns its steps and their times: accepting goes on for a delay, idle connections are closed, handlers that do not end
within the grace are cancelled, and what is left after that is cut off.
"""

import asyncio
import contextlib
from typing import cast

from ..engine.connection import ConnectionState, HTTPConnection
from ..engine.context import ServerContext
from ..engine.error_log import error_logger
from ..engine.handler_task import cancel_task
from .acceptor import Acceptor

__all__ = ["CANCELLED", "Shutdown"]

CANCELLED = 1.0  # seconds for handlers, and for the lifespan, to end after their cancellation


class Shutdown:
    """The shutdown of one server. `HTTPServer.shutdown` describes the times.

    Args:
        context: the context of the server.
        acceptor: accepts its connections.
        grace: seconds for requests in flight.
        idle: seconds for idle connections.
        delay: seconds for which connections are still accepted.
        last: no other process accepts from the sockets.
    """

    def __init__(
        self, context: ServerContext, acceptor: Acceptor, *, grace: float, idle: float, delay: float, last: bool
    ) -> None:
        self._context = context
        self._acceptor = acceptor
        self._grace = grace
        self._idle = idle
        self._last = last
        # Points of the loop's time.
        self._accepts_until = context.loop.time() + delay
        self._grace_ends = self._accepts_until + grace

    def shorten(self, grace: float, idle: float | None) -> None:
        """Give the requests in flight no more than this grace from now on.

        Args:
            grace: in seconds.
            idle: seconds for idle connections; None for those of before.
        """
        self._grace = grace
        self._grace_ends = min(self._grace_ends, self._context.loop.time() + grace)
        self._accepts_until = min(self._accepts_until, self._grace_ends)
        self._close_idle_after(self._idle if idle is None else idle)
        self._context.registry.changed.set()

    async def run(self) -> None:
        """Do all steps; return when nothing is open."""
        context = self._context
        context.drain()
        while (left := self._accepts_until - context.loop.time()) > 0:
            await self._change(left)
        await self._acceptor.end(last=self._last)
        self._close_idle_after(self._idle)
        await self._emptied()
        if context.registry.in_use:
            await self._cancel()
        for protocol in tuple(context.registry.turned_away):
            protocol.close()
        context.close()

    async def _cancel(self) -> None:
        """The grace is over: cancel the handlers, then abort the connections of those that do not end."""
        context, registry = self._context, self._context.registry
        if self._grace:  # with 0 a cancellation is what the caller wants, and no news
            self._log_cancellations()
        context.begin_cancelling()
        for task in registry.orphans:
            cancel_task(task)
        for task in registry.background:
            task.cancel()
        for handshake in tuple(registry.handshakes):
            handshake.abort()
        for connection in tuple(registry.connections):
            connection.cancel()
        for aborted in (False, True):
            self._grace_ends = context.loop.time() + CANCELLED
            if await self._emptied() or aborted:
                return
            for connection in tuple(registry.connections):
                connection.abort()

    def _log_cancellations(self) -> None:
        for connection in self._context.registry.connections:
            if connection.handler is not None:
                line = connection.handler.request.requestline
                error_logger.warning("'%s' is cancelled: it has not ended within %g s", line, self._grace)
        for task in self._context.registry.background:
            error_logger.warning("%s is cancelled: it has not ended within %g s", task.get_name(), self._grace)

    def _close_idle_after(self, seconds: float) -> None:
        """Close idle connections after some seconds, at the end of the grace at the latest.

        New ones have sent nothing yet. No client repeats a request that has failed on such a one.
        """
        loop, config = self._context.loop, self._context.config
        left = max(0, self._grace_ends - loop.time())
        loop.call_later(min(seconds, left), _close_idle, self._context)
        loop.call_later(min(max(seconds, config.timeout_drain_idle), left), _close_new, self._context)

    async def _emptied(self) -> bool:
        """Wait until nothing is open; return False if the grace ends before."""
        while self._context.registry.in_use:
            left = self._grace_ends - self._context.loop.time()
            if left <= 0:
                return False
            await self._change(left)
        return True

    async def _change(self, seconds: float) -> None:
        """Wait until connections, handlers or deadlines change, for some seconds at most."""
        changed = self._context.registry.changed
        changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), seconds)


def _close_idle(context: ServerContext) -> None:
    context.closes_idle = True
    for connection in cast(tuple[HTTPConnection, ...], tuple(context.registry.connections)):
        if connection.state is not ConnectionState.NEW:
            connection.close_if_idle()


def _close_new(context: ServerContext) -> None:
    for handshake in tuple(context.registry.handshakes):
        handshake.abort()
    for connection in tuple(context.registry.connections):
        connection.close_if_idle()
