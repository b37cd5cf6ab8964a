"""Keep-alive of a WebSocket: pings while it is silent, and the deadlines of their answers and of the close.

Owns one deadline for each WebSocket, in the queues of the server, and so no task and no timer.
"""

from typing import Protocol

from ...engine.upgraded import Carrier
from ...net.deadlines import Fifo

__all__ = ["Keepalive"]


class Watched(Protocol):
    """A WebSocket, as far as its deadlines go."""

    @property
    def listens(self) -> bool:
        """Whether its client is read from."""

    def ping_now(self) -> None: ...
    def fail(self, code: int, reason: str) -> None: ...
    def cut(self) -> None:
        """Have done with a client that does not close."""


class Keepalive:
    """The deadlines of one WebSocket.

    Attributes:
        heard: whether something has come from the client since the last look.
        spoke: whether something has been sent to it.
    """

    __slots__ = ("_carrier", "_closing", "_fifo", "_pinged", "_watched", "heard", "spoke")

    def __init__(self, watched: Watched, carrier: Carrier) -> None:
        self._watched = watched
        self._carrier = carrier
        self._fifo: Fifo | None = None
        self._pinged = False  # an answer is waited for
        self._closing = False  # the answer to a Close frame is
        self.heard = self.spoke = False
        self._arm(carrier.context.config.websocket_ping_interval)

    def begin_close(self) -> None:
        """A Close frame has been sent."""
        self._closing = True
        self._arm(self._carrier.context.config.websocket_close_timeout)

    def stop(self) -> None:
        """There is nothing to wait for any more."""
        if self._fifo is not None:
            self._fifo.pop(self, None)
            self._fifo = None

    def deadline_expired(self, now: float) -> None:
        """Time for a ping, or what is waited for has not come."""
        self._fifo = None
        config, watched = self._carrier.context.config, self._watched
        if self._closing:
            watched.cut()
            return
        heard = self.heard or not watched.listens
        if self._pinged and not heard:
            watched.fail(1011, "keepalive ping timeout")
            return
        # A client that does not read has its own deadline, and gets no more to read.
        silent = not (heard and self.spoke) and not self._carrier.out.paused
        self.heard = self.spoke = self._pinged = False
        if not silent:
            self._arm(config.websocket_ping_interval)
            return
        watched.ping_now()
        self._pinged = config.websocket_ping_timeout > 0
        self._arm(config.websocket_ping_timeout or config.websocket_ping_interval)

    def check_transfer(self, now: float) -> None:
        """Transfers are measured by the connection."""

    def _arm(self, seconds: float) -> None:
        self.stop()
        if seconds:
            deadlines = self._carrier.context.deadlines
            self._fifo = deadlines.fifo(seconds)
            deadlines.arm(self._fifo, self)
