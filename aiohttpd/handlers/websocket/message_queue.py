"""MessageQueue: messages that were received, and not yet taken by the handler."""

from collections import deque

from .fragments import Message

__all__ = ["MessageQueue"]

_OVERHEAD = 256  # bytes that each message counts in addition to its content


class MessageQueue:
    """The received messages of one WebSocket.

    Args:
        limit: bytes after which the queue is full.

    Attributes:
        messages: the messages, the oldest first.
        size: the bytes of the messages; each counts some more.
        full: whether they have more bytes than the limit. They are kept nevertheless: the caller stops to read.
    """

    __slots__ = ("_limit", "full", "messages", "size")

    def __init__(self, limit: int) -> None:
        self.messages: deque[Message] = deque()
        self.full = False
        self._limit = limit
        self.size = 0

    def put(self, message: Message) -> None:
        """Append a message."""
        self.messages.append(message)
        self.size = size = self.size + len(message) + _OVERHEAD
        if size > self._limit:
            self.full = True

    def take(self) -> Message:
        """Remove the oldest message, and return it."""
        message = self.messages.popleft()
        self.size = size = self.size - len(message) - _OVERHEAD
        if self.full:
            self.full = size > self._limit
        return message
