"""ReadyConnections: the connections that have received bytes in one turn of the loop are served together.

Reading and sending are the kernel's work, serving is Python's. If they alternated for each connection, each would find
the other's code and data in the processor's cache, and not its own (`benchmarks/NOTES.md`).
"""

import asyncio
from time import perf_counter
from typing import Protocol

from ..net.outgoing import Outgoing
from .states import READY, ConnectionState

__all__ = ["ReadyConnections", "raise_later"]

# Connections that are served together, at most: with more, the first ones are not in the processor's cache any more.
_MOST = 32
# A handler that blocks delays the answers that are held back. After a batch of so many seconds, those of the next ones
# are sent at once, each by itself. Then it is tried again.
_SLOW = 0.001
_BATCHES = 16


class Ready(Protocol):
    """A connection that has received bytes of a request."""

    state: ConnectionState
    out: Outgoing

    def serve_pending(self) -> None: ...
    def abort(self) -> None: ...


class ReadyConnections:
    """The connections that have received bytes of a request in this turn of the loop.

    Args:
        loop: the running loop.
    """

    __slots__ = ("_at_once", "_loop", "_scheduled", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._scheduled = False
        self._waiting: list[Ready] = []
        self._at_once = 0  # batches whose answers are not held back

    def add(self, connection: Ready) -> None:
        """Serve a connection at the end of this turn of the loop, or now, if many are ready."""
        waiting = self._waiting
        waiting.append(connection)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._end_of_turn)
        elif len(waiting) >= _MOST:
            self.serve()

    def serve(self) -> None:
        """Serve the connections that are ready, then send their answers."""
        waiting, self._waiting = self._waiting, []
        holds = not self._at_once
        started = perf_counter()
        for connection in waiting:
            try:
                if connection.state is READY:  # else the client has closed its side, or sent more, or is gone
                    if holds:
                        connection.out.held = b""
                    connection.serve_pending()
            except BaseException as error:  # `KeyboardInterrupt` of a handler; the other connections are served
                connection.abort()
                raise_later(error, self._loop)
        if holds:
            for connection in waiting:
                connection.out.release()
            if perf_counter() - started > _SLOW:
                self._at_once = _BATCHES
        else:
            self._at_once -= 1

    def _end_of_turn(self) -> None:
        self._scheduled = False
        self.serve()


def raise_later(error: BaseException, loop: asyncio.AbstractEventLoop) -> None:
    """Raise an exception in a callback of the loop that belongs to no connection, so that the loop deals with it."""
    loop.call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
