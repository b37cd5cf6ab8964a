"""Pings that somebody waits for, RFC 6455 section 5.5.2."""

import asyncio
import secrets
from collections.abc import Callable
from time import perf_counter

__all__ = ["Pings"]

_MOST = 125  # bytes of a control frame, section 5.5


class Pings:
    """The pings of one WebSocket that have no answer yet, the oldest first."""

    __slots__ = ("_loop", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[bytes, tuple[asyncio.Future[float], float]] = {}

    def begin(self, data: bytes | None) -> tuple[bytes, "asyncio.Future[float]"]:
        """Begin one.

        Args:
            data: its content; None for some that no other has.

        Returns:
            The content, and what will have the latency in seconds.

        Raises:
            ValueError: too much data, or that of another that waits.
        """
        if data is None:
            data = secrets.token_bytes(8)
        if len(data) > _MOST or data in self._waiting:
            raise ValueError(f"the data of a ping has at most {_MOST} bytes, and is like that of no other that waits")
        answer: asyncio.Future[float] = self._loop.create_future()
        self._waiting[data] = answer, perf_counter()
        return data, answer

    def forget(self, data: bytes) -> None:
        """Nobody waits for it any more."""
        self._waiting.pop(data, None)

    def answered(self, data: bytes) -> None:
        """A pong has come: it answers its ping and all before it, section 5.5.3."""
        if data not in self._waiting:
            return  # one that nobody has asked for
        now = perf_counter()
        for sent in list(self._waiting):
            answer, since = self._waiting.pop(sent)
            if not answer.done():
                answer.set_result(now - since)
            if sent == data:
                return

    def fail(self, error: Callable[[], Exception]) -> None:
        """There will be no answers."""
        for answer, _ in self._waiting.values():
            if not answer.done():
                answer.set_exception(error())
