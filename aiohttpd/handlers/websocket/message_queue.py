"""MessageQueue: messages that were received, and not yet taken by the handler."""

import asyncio
from collections import deque

from ...errors import ContractError
from .fragments import Message

__all__ = ["MessageQueue"]

_OVERHEAD = 256  # bytes that each message counts in addition to its content


class MessageQueue:
    """The received messages of one WebSocket.

    Args:
        limit: bytes after which the queue is full.
        loop: the running loop.

    Attributes:
        messages: the messages, the oldest first.
        full: whether they have more bytes than the limit. They are kept nevertheless: the caller stops to read.
    """

    __slots__ = ("_limit", "_loop", "_size", "_waiter", "full", "messages")

    def __init__(self, limit: int, loop: asyncio.AbstractEventLoop) -> None:
        self.messages: deque[Message] = deque()
        self.full = False
        self._limit = limit
        self._loop = loop
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None  # the future of a task in `receive`

    def put(self, message: Message) -> None:
        """Append a message."""
        self.messages.append(message)
        self._size += len(message) + _OVERHEAD
        self.full = self._size > self._limit
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def take(self) -> Message:
        """Remove the oldest message, and return it."""
        message = self.messages.popleft()
        self._size -= len(message) + _OVERHEAD
        self.full = self._size > self._limit
        return message

    def wait(self) -> "asyncio.Future[None]":
        """Return a future that is done when a message is put, or by `wake`.

        Raises:
            ContractError: another task waits already.
        """
        if self._waiter is not None and not self._waiter.done():
            raise ContractError("another task waits in receive() already: one takes the messages of a WebSocket")
        self._waiter = waiter = self._loop.create_future()
        return waiter

    def wake(self) -> None:
        """Wake the task that waits, if there is one."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
