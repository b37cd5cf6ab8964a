"""Timeouts: how long a connection waits, for each thing that it waits for."""

import math

from ..config import Config
from ..net.deadlines import FINEST, Deadlines, Fifo
from ..net.transfer_rate import Silence

__all__ = ["Timeouts", "resolution"]

_COARSEST = 1.0  # seconds between two sweeps of deadlines, at most; they are a quarter of the shortest one


def resolution(config: Config) -> float:
    """Seconds between two sweeps of the deadlines."""
    timeouts = [config.timeout_head, config.timeout_body, config.timeout_write, config.timeout_idle]
    shortest = min(*timeouts, config.timeout_linger, config.timeout_handler or config.timeout_idle)
    return max(FINEST, min(_COARSEST, shortest / 4))


class Timeouts:
    """The queues of deadlines in which a connection can be armed; all connections share one such object.

    Attributes:
        head: for the head of a request.
        idle: for the next request.
        linger: for the peer to close, and for the rest of a body that nobody reads.
        handler: for a handler that waits; None if it has no deadline.
        silence: of a connection whose handlers have set the timeout of its socket; None if the options hold.
    """

    __slots__ = ("_config", "_deadlines", "handler", "head", "idle", "linger", "silence")

    silence: Silence | None

    def __init__(self, deadlines: Deadlines, config: Config) -> None:
        self._deadlines = deadlines
        self._config = config
        self.head: Fifo = deadlines.fifo(config.timeout_head)
        self.idle: Fifo = deadlines.fifo(config.timeout_idle)
        self.linger: Fifo = deadlines.fifo(config.timeout_linger)
        self.handler: Fifo | None = deadlines.fifo(config.timeout_handler) if config.timeout_handler else None
        self.silence = None

    def of_socket(self, seconds: float) -> "Timeouts":
        """Those of one connection whose socket has a timeout: it is for each wait for bytes.

        So a head that goes on to come may take longer, up to ``timeout_head``.
        """
        timeouts = Timeouts(self._deadlines, self._config)
        timeouts.silence = Silence(seconds, self._config.timeout_head)
        seconds = _rounded(seconds)
        timeouts.idle = self._deadlines.fifo(seconds)
        timeouts.head = self._deadlines.fifo(min(seconds, self._config.timeout_head))
        return timeouts


def _rounded(seconds: float) -> float:
    """Round up to two digits: there is a queue for each duration, and handlers may ask for any."""
    step = 10.0 ** (math.floor(math.log10(max(seconds, FINEST))) - 1)
    return math.ceil(seconds / step - 1e-6) * step
