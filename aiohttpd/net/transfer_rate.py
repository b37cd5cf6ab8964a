"""The progress of a transfer: whether a peer is too slow, and whether it is still connected.

It is measured at intervals; the time is an argument.
"""

import asyncio
import select

__all__ = ["TransferRate", "has_input", "peer_has_closed"]


class TransferRate:
    """Compares a transfer with a minimum rate, over windows of time in which the server waits for the peer.

    A single byte now and then is not enough, and time in which the server does not wait does not count.

    Args:
        total: bytes transferred so far.
    """

    __slots__ = ("_base", "_since", "_waited")

    def __init__(self, total: int) -> None:
        self._base = total
        self._waited = 0.0
        self._since: float | None = None  # the time at which the wait has begun; None while the server does not wait

    def begin(self, now: float) -> None:
        """The server begins to wait for the peer."""
        if self._since is None:
            self._since = now

    def end(self, now: float) -> None:
        """The server does not wait any more."""
        if self._since is not None:
            self._waited += now - self._since
            self._since = None

    def too_slow(self, now: float, total: int, *, window: float, rate: int) -> bool:
        """Check the transfer. A window ends, and the next begins, when ``rate * window`` bytes have been transferred.

        Args:
            now: the time.
            total: bytes transferred so far.
            window: seconds of waiting within which that has to happen.
            rate: the minimum rate in bytes per second; with 0 one byte in a window is enough.
        """
        if total - self._base >= max(1, rate * window):
            self._base = total
            self._waited = 0.0
            if self._since is not None:
                self._since = now
            return False
        return self._waited + (now - self._since if self._since is not None else 0.0) >= window


def peer_has_closed(transport: asyncio.BaseTransport) -> bool:
    """Ask the kernel whether the peer has closed its side; the loop does not notice it while reading is paused."""
    return _poll(transport, getattr(select, "POLLRDHUP", 0))


def has_input(transport: asyncio.BaseTransport) -> bool:
    """Ask the kernel whether there is something to read: bytes, or the end of the peer's side."""
    return _poll(transport, getattr(select, "POLLIN", 0))


def _poll(transport: asyncio.BaseTransport, event: int) -> bool:
    """Whether an event has occurred; False if the system cannot tell."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0 or not event:
        return False
    poll = select.poll()
    poll.register(sock.fileno(), event)
    return bool(poll.poll(0))
