"""Registry: the open connections, TLS handshakes and running handlers of one server."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from .interfaces import Abortable, Closable, OpenConnection

__all__ = ["Registry"]


@dataclass(slots=True)
class Registry:
    """The registry of a server.

    Attributes:
        handshakes: the TLS handshakes.
        connections: the open connections.
        turned_away: connections over ``max_connections``, until they are closed.
        orphans: tasks of handlers that still run after their connection is closed or their response is complete. They
            are kept here because asyncio has only weak references to tasks.
        background: tasks of `background`, which no request waits for; the server waits for them when it stops.
        changed: an event that is set whenever something has been removed.
    """

    handshakes: set[Abortable] = field(default_factory=set)
    connections: set[OpenConnection] = field(default_factory=set)
    turned_away: set[Closable] = field(default_factory=set)
    orphans: set[asyncio.Task[None]] = field(default_factory=set)
    background: set[asyncio.Task[None]] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def in_use(self) -> bool:
        """Whether there is a handshake, a connection, a running handler or background work."""
        return bool(self.handshakes or self.connections or self.orphans or self.background)

    def remove_handshake(self, handshake: Abortable) -> None:
        """A handshake has ended, successfully or not."""
        self.handshakes.discard(handshake)
        self.changed.set()

    def remove_connection(self, connection: OpenConnection) -> None:
        """A connection has been closed. If its handler still runs, it becomes an orphan."""
        self.connections.discard(connection)
        if connection.handler is not None:
            self.orphans.add(connection.handler.task)
        self.changed.set()

    def add_orphan(self, handler: asyncio.Task[None]) -> None:
        """A handler still runs after its response is complete, and its connection serves the next request."""
        self.orphans.add(handler)

    def remove_orphan(self, handler: asyncio.Task[Any] | None) -> None:
        """The handler of an orphan has ended."""
        self.orphans.discard(handler)
        self.changed.set()

    def remove_background(self, task: asyncio.Task[None]) -> None:
        """Work in the background has ended."""
        self.background.discard(task)
        self.changed.set()
