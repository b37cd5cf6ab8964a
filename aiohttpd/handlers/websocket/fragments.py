"""Messages in several frames, RFC 6455 section 5.4: one that is received, and one that a handler gives in pieces."""

import codecs
from collections.abc import AsyncIterator, Iterable
from typing import Any

__all__ = ["FragmentedMessage", "Message", "each", "encoded"]

Message = str | bytes


class FragmentedMessage:
    """A message that is received in several frames.

    Attributes:
        frames: how many have come.
    """

    __slots__ = ("_content", "_decoder", "frames")

    def __init__(self, *, text: bool) -> None:
        self.frames = 0
        self._content = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")() if text else None

    def add(self, data: Any, *, last: bool) -> Message | None:
        """Append a frame; give the message if it is whole.

        Raises:
            UnicodeDecodeError: it cannot become text any more.
        """
        self.frames += 1
        self._content += data
        if self._decoder is not None:
            self._decoder.decode(data, last)  # for what is wrong with it: that is told at once
        if not last:
            return None
        return bytes(self._content) if self._decoder is None else str(self._content, "utf-8")


async def each(fragments: Iterable[Any]) -> AsyncIterator[Any]:
    """An iterable as an asynchronous iterator."""
    for fragment in fragments:
        yield fragment


async def encoded(first: Any, rest: AsyncIterator[Any], *, text: bool) -> AsyncIterator[bytes]:
    """The content of fragments, the first of which has been taken off.

    Raises:
        TypeError: one of them is not of the type of the first.
    """
    yield _content(first, text=text)
    async for fragment in rest:
        yield _content(fragment, text=text)


def _content(fragment: Any, *, text: bool) -> bytes:
    if isinstance(fragment, str) and text:
        return fragment.encode()
    if isinstance(fragment, (bytes, bytearray, memoryview)) and not text:
        return bytes(fragment)
    raise TypeError(f"the fragments of a message are all str or all bytes, not {type(fragment).__name__}")
