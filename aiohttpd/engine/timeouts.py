"""Timeouts: the queues of deadlines of connections, one for each kind of wait; and timeouts as sockets have them."""

import math

from ..config import Config
from ..net.deadlines import FINEST, Deadlines, Fifo

__all__ = ["Silence", "Timeouts", "resolution"]

_COARSEST = 1.0  # the longest interval between two sweeps of the deadlines, in seconds


def resolution(config: Config) -> float:
    """The interval between two sweeps of the deadlines in seconds: a quarter of the shortest timeout, at most 1."""
    timeouts = [config.timeout_head, config.timeout_body, config.timeout_write, config.timeout_idle]
    shortest = min(*timeouts, config.timeout_linger, config.timeout_handler or config.timeout_idle)
    return max(FINEST, min(_COARSEST, shortest / 4))


class Silence:
    """The timeout of a head that begins anew with each byte, and a second timeout for the whole head.

    Args:
        seconds: the timeout of each wait for bytes.
        most: the timeout of the whole head, in seconds.
    """

    __slots__ = ("_heard", "_most", "_spent", "seconds")

    def __init__(self, seconds: float, most: float) -> None:
        self.seconds = seconds
        self._most = most
        self.begin()

    def begin(self) -> None:
        """A head begins."""
        self._heard = 0
        self._spent = 0.0

    def goes_on(self, heard: int) -> bool:
        """After a timeout: whether a part of the head has arrived within it, so that the next wait may begin.

        Args:
            heard: bytes of the head so far.
        """
        before, self._heard = self._heard, heard
        self._spent += self.seconds
        return heard > before and self._spent < self._most


class Timeouts:
    """The queues of deadlines. All connections share one object, except those with a socket timeout.

    Attributes:
        head: for the head of a request.
        idle: for the next request.
        linger: for the peer to close its side, and for the rest of a body that is discarded.
        handler: for a handler that waits; None if ``timeout_handler`` is 0.
        silence: the socket timeout of the connection; None if there is none.
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
        """Return the timeouts of a connection with a socket timeout, which is for each wait for bytes.

        So a head whose bytes keep arriving may take longer than the socket timeout, but not than ``timeout_head``.

        Args:
            seconds: the socket timeout.
        """
        timeouts = Timeouts(self._deadlines, self._config)
        timeouts.silence = Silence(seconds, self._config.timeout_head)
        seconds = _rounded(seconds)
        timeouts.idle = self._deadlines.fifo(seconds)
        timeouts.head = self._deadlines.fifo(min(seconds, self._config.timeout_head))
        return timeouts


def _rounded(seconds: float) -> float:
    """Round up to two significant digits: each duration has its own queue, and handlers may set any duration."""
    step = 10.0 ** (math.floor(math.log10(max(seconds, FINEST))) - 1)
    return math.ceil(seconds / step - 1e-6) * step
