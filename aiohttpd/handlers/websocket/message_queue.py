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
        messages: the messages, the oldest first. ``size`` does not depend on a single one: a caller may put or take it.
        size: the bytes of all messages but the oldest; each counts some more.
    """

    __slots__ = ("_limit", "messages", "size")

    def __init__(self, limit: int) -> None:
        self.messages: deque[Message] = deque()
        self._limit = limit
        self.size = 0

    @property
    def full(self) -> bool:
        """Whether they have more bytes than the limit. They are kept nevertheless: the caller stops to read."""
        messages = self.messages
        return len(messages) > 0 and self.size + len(messages[0]) + _OVERHEAD > self._limit

    def put(self, message: Message) -> None:
        """Append a message."""
        if self.messages:
            self.size += len(message) + _OVERHEAD
        self.messages.append(message)

    def take(self) -> Message:
        """Remove the oldest message, and return it."""
        messages = self.messages
        message = messages.popleft()
        if messages:
            self.size -= len(messages[0]) + _OVERHEAD
        return message
