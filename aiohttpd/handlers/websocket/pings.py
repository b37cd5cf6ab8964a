"""Pings of handlers, which wait for the pong, RFC 6455 sections 5.5.2 and 5.5.3."""

import asyncio
import secrets
from collections.abc import Callable
from time import perf_counter

__all__ = ["Pings"]

_MOST = 125  # bytes of a control frame, section 5.5


class Pings:
    """The pings of one WebSocket that have no pong yet, the oldest first."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[bytes, tuple[asyncio.Future[float], float]] = {}

    def begin(self, data: bytes | None) -> tuple[bytes, "asyncio.Future[float]"]:
        """Register a ping.

        Args:
            data: its content; None for random content.

        Returns:
            The content, and a future of the latency in seconds.

        Raises:
            ValueError: more than 125 bytes, or a ping with the same content has no pong yet.
        """
        if data is None:
            data = secrets.token_bytes(8)
        if len(data) > _MOST or data in self._waiting:
            raise ValueError(f"the data of a ping has at most {_MOST} bytes, and is like that of no other that waits")
        answer: asyncio.Future[float] = self._loop.create_future()
        self._waiting[data] = answer, perf_counter()
        return data, answer

    def forget(self, data: bytes) -> None:
        """Remove a ping."""
        self._waiting.pop(data, None)

    def answered(self, data: bytes) -> None:
        """A pong has arrived: it answers its ping and all earlier ones, section 5.5.3."""
        if data not in self._waiting:
            return  # an unsolicited pong
        now = perf_counter()
        for sent in list(self._waiting):
            answer, since = self._waiting.pop(sent)
            if not answer.done():
                answer.set_result(now - since)
            if sent == data:
                return

    def fail(self, error: Callable[[], Exception]) -> None:
        """The WebSocket is closed: fail all pings."""
        for answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(error())
