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
# Seconds after which answers are sent, though not all connections have been served: handlers may take long.
_LONGEST = 0.001


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

    __slots__ = ("_loop", "_scheduled", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._scheduled = False
        self._waiting: list[Ready] = []

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
        """Serve the connections that are ready, then send their answers; if it takes long, send those so far before."""
        waiting, self._waiting = self._waiting, []
        sent, until = 0, perf_counter() + _LONGEST
        for number, connection in enumerate(waiting, 1):
            try:
                if connection.state is READY:  # else the client has closed its side, or sent more, or is gone
                    connection.out.held = b""
                    connection.serve_pending()
            except BaseException as error:  # `KeyboardInterrupt` of a handler; the other connections are served
                connection.abort()
                raise_later(error, self._loop)
            if perf_counter() > until:
                _send(waiting[sent:number])
                sent, until = number, perf_counter() + _LONGEST
        _send(waiting[sent:])

    def _end_of_turn(self) -> None:
        self._scheduled = False
        self.serve()


def _send(served: list[Ready]) -> None:
    for connection in served:
        connection.out.release()


def raise_later(error: BaseException, loop: asyncio.AbstractEventLoop) -> None:
    """Raise an exception in a callback of the loop that belongs to no connection, so that the loop deals with it."""
    loop.call_soon(_raise, error)


def _raise(error: BaseException) -> None:
    raise error
