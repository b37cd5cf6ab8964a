"""Progress of a transfer: whether a peer keeps up, and whether it is still there.

Measured from time to time, never timed byte by byte. Takes the time as an argument.
"""

import asyncio
import select

__all__ = ["Pace", "peer_has_closed"]


class Pace:
    """Whether a transfer keeps up with a minimum rate, over windows of time in which we waited for the peer.

    One byte now and then is no progress, and a pause that is ours is no fault of the peer's.

    Args:
        now: the time of the beginning.
        total: bytes transferred by then.
    """

    __slots__ = ("_base", "_looked", "_waited")

    def __init__(self, now: float, total: int) -> None:
        self._looked = now
        self._base = total
        self._waited = 0.0

    def too_slow(self, now: float, total: int, *, window: float, rate: int) -> bool:
        """Look at a transfer that has waited for the peer since the last look.

        Args:
            now: the time.
            total: bytes transferred so far.
            window: seconds of waiting after which the rate is judged.
            rate: bytes a second that are enough; with 0 one byte in a window is.
        """
        self._waited += now - self._looked
        self._looked = now
        if self._waited < window:
            return False
        if total - self._base < max(1, rate * window):
            return True
        self._base = total
        self._waited = 0.0
        return False

    def idle(self, now: float) -> None:
        """We have not waited for the peer since the last look."""
        self._looked = now


def peer_has_closed(transport: asyncio.BaseTransport) -> bool:
    """Ask the kernel whether the peer has closed, while we do not read and no loop would tell."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "POLLRDHUP"):
        return False
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))
