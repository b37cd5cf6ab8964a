"""Keep-alive of WebSockets: pings while no messages arrive, and the deadlines of pongs and of the closing handshake.

Each WebSocket has one deadline in the queues of the server; it needs no task and no timer of its own.
"""

from typing import Protocol

from ...engine.upgraded import Carrier
from ...net.deadlines import Fifo

__all__ = ["Keepalive"]


class Watched(Protocol):
    """A WebSocket, as its `Keepalive` uses it."""

    received: int
    sent: int

    @property
    def listens(self) -> bool:
        """Whether bytes are read from the client: reading is not paused."""

    def ping_now(self) -> None: ...
    def fail(self, code: int, reason: str) -> None: ...
    def cut(self) -> None:
        """Close the connection of a client that has not answered the Close frame in time."""


class Keepalive:
    """The deadlines of one WebSocket.

    Args:
        watched: the WebSocket.
        carrier: its connection.

    Attributes:
        heard: whether other bytes than whole messages have arrived from the client since the last deadline.
        spoke: whether other frames than messages have been sent to the client since then.
    """

    __slots__ = ("_carrier", "_closing", "_fifo", "_pinged", "_received", "_sent", "_watched", "heard", "spoke")

    def __init__(self, watched: Watched, carrier: Carrier) -> None:
        self._watched = watched
        self._carrier = carrier
        self._fifo: Fifo | None = None
        self._pinged = False  # the deadline is that of a pong
        self._closing = False  # the deadline is that of the client's Close frame
        self.heard = self.spoke = False
        self._received = self._sent = 0  # messages, up to the last deadline
        self._arm(carrier.context.config.websocket_ping_interval)

    def begin_close(self) -> None:
        """A Close frame has been sent: start ``websocket_close_timeout``."""
        self._closing = True
        self._arm(self._carrier.context.config.websocket_close_timeout)

    def stop(self) -> None:
        """Remove the deadline."""
        if self._fifo is not None:
            self._fifo.pop(self, None)
            self._fifo = None

    def deadline_expired(self, now: float) -> None:
        """Send a ping, or fail the connection if no pong or Close frame has arrived in time."""
        self._fifo = None
        config, watched = self._carrier.context.config, self._watched
        if self._closing:
            watched.cut()
            return
        heard = self.heard or watched.received != self._received or not watched.listens
        spoke = self.spoke or watched.sent != self._sent
        self._received, self._sent = watched.received, watched.sent
        if self._pinged and not heard:
            watched.fail(1011, "keepalive ping timeout")
            return
        # No ping to a client that does not read: `min_rate` and `timeout_write` apply to it.
        silent = not (heard and spoke) and not self._carrier.out.paused
        self.heard = self.spoke = self._pinged = False
        if not silent:
            self._arm(config.websocket_ping_interval)
            return
        watched.ping_now()
        self._pinged = config.websocket_ping_timeout > 0
        self._arm(config.websocket_ping_timeout or config.websocket_ping_interval)

    def check_transfer(self, now: float) -> None:
        """Do nothing: the connection measures transfers."""

    def _arm(self, seconds: float) -> None:
        self.stop()
        if seconds:
            deadlines = self._carrier.context.deadlines
            self._fifo = deadlines.fifo(seconds)
            deadlines.arm(self._fifo, self)
