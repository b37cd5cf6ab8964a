"""Registry: what is open on one server."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from .interfaces import Abortable, Closable, OpenConnection

__all__ = ["Registry"]


@dataclass(slots=True)
class Registry:
    """The connections of a server, and what comes before and after them.

    Attributes:
        handshakes: what becomes a connection once TLS is agreed upon.
        connections: the connections that are open.
        turned_away: connections over ``max_connections``, until they are closed.
        orphans: handlers at work whose client is gone, or has its answer; asyncio itself holds tasks only weakly.
        background: work that nobody waits for, see `background`; the server does when it stops.
        changed: is set whenever something has been removed.
    """

    handshakes: set[Abortable] = field(default_factory=set)
    connections: set[OpenConnection] = field(default_factory=set)
    turned_away: set[Closable] = field(default_factory=set)
    orphans: set[asyncio.Task[None]] = field(default_factory=set)
    background: set[asyncio.Task[None]] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def in_use(self) -> bool:
        """Whether there is a handshake, a connection, a handler at work, or work in the background."""
        return bool(self.handshakes or self.connections or self.orphans or self.background)

    def remove_handshake(self, handshake: Abortable) -> None:
        """A handshake has ended, by a connection or without."""
        self.handshakes.discard(handshake)
        self.changed.set()

    def remove_connection(self, connection: OpenConnection) -> None:
        """A connection has been closed; its handler may still be at work, and becomes an orphan."""
        self.connections.discard(connection)
        if connection.handler is not None:
            self.orphans.add(connection.handler.task)
        self.changed.set()

    def add_orphan(self, handler: asyncio.Task[None]) -> None:
        """A handler goes on after its answer, and its connection without it."""
        self.orphans.add(handler)

    def remove_orphan(self, handler: asyncio.Task[Any] | None) -> None:
        """A handler has ended whose client had gone before, or had its answer."""
        self.orphans.discard(handler)
        self.changed.set()

    def remove_background(self, task: asyncio.Task[None]) -> None:
        """Work in the background has ended."""
        self.background.discard(task)
        self.changed.set()
