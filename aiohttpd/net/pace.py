"""Progress of a transfer: whether a peer keeps up, and whether it is still there.

Measured from time to time, never timed byte by byte. Takes the time as an argument.
"""

import asyncio
import select

__all__ = ["TransferRate", "Silence", "peer_has_closed"]


class TransferRate:
    """Whether a transfer keeps up with a minimum rate, over windows of time in which we waited for the peer.

    One byte now and then is no progress, and a pause that is ours is no fault of the peer's.

    Args:
        total: bytes transferred so far.
    """

    __slots__ = ("_base", "_since", "_waited")

    def __init__(self, total: int) -> None:
        self._base = total
        self._waited = 0.0
        self._since: float | None = None  # while we wait

    def begin(self, now: float) -> None:
        """We wait for the peer."""
        if self._since is None:
            self._since = now

    def end(self, now: float) -> None:
        """We do not wait any longer."""
        if self._since is not None:
            self._waited += now - self._since
            self._since = None

    def too_slow(self, now: float, total: int, *, window: float, rate: int) -> bool:
        """Look at the transfer: a window begins anew whenever as much has come as one window wants.

        Args:
            now: the time.
            total: bytes transferred so far.
            window: seconds of waiting within which ``rate * window`` bytes have to come.
            rate: bytes a second that are enough; with 0 one byte in a window is.
        """
        if total - self._base >= max(1, rate * window):
            self._base = total
            self._waited = 0.0
            if self._since is not None:
                self._since = now
            return False
        return self._waited + (now - self._since if self._since is not None else 0.0) >= window


class Silence:
    """Whether a head goes on to come, where each wait for bytes has a timeout and the head as a whole has another.

    Args:
        seconds: for each wait.
        most: seconds for the whole head.
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
        """The timeout is over: say whether more of the head has come within it, and more may come.

        Args:
            heard: bytes of the head so far.
        """
        before, self._heard = self._heard, heard
        self._spent += self.seconds
        return heard > before and self._spent < self._most


def peer_has_closed(transport: asyncio.BaseTransport) -> bool:
    """Ask the kernel whether the peer has closed, while we do not read and no loop would tell."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or not hasattr(select, "POLLRDHUP"):
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
