"""Fragmented messages, RFC 6455 section 5.4: assembled when they are received, and encoded when they are sent."""

import codecs
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from typing import Any

__all__ = ["FragmentedMessage", "Message", "encoded", "iterator_of", "pieces"]

Message = str | bytes


class FragmentedMessage:
    """A message that is received in several frames.

    Args:
        text: whether it is a text message.

    Attributes:
        frames: the number of frames so far.
    """

    __slots__ = ("_content", "_decoder", "frames")

    def __init__(self, *, text: bool) -> None:
        self.frames = 0
        self._content = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")() if text else None

    def add(self, data: Any, *, last: bool) -> Message | None:
        """Append a frame; return the message if this is its last frame.

        Raises:
            UnicodeDecodeError: the content of a text message is not valid UTF-8.
        """
        self.frames += 1
        self._content += data
        if self._decoder is not None:
            self._decoder.decode(data, last)  # raises at the first invalid byte, not only after the last frame
        if not last:
            return None
        return bytes(self._content) if self._decoder is None else str(self._content, "utf-8")


def iterator_of(fragments: Any) -> AsyncIterator[Any]:
    """Return an asynchronous iterator of the fragments of a message.

    Raises:
        TypeError: it is not iterable, or a mapping.
    """
    if isinstance(fragments, AsyncIterable):
        return aiter(fragments)
    if isinstance(fragments, Iterable) and not isinstance(fragments, Mapping):
        return _each(fragments)
    raise TypeError(f"a message is str, bytes, or an iterable of these, not {type(fragments).__name__}")


def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    """Return an asynchronous iterator of pieces of bytes, of the given size."""
    return _each(data[at : at + size] for at in range(0, len(data), size))


async def _each(fragments: Iterable[Any]) -> AsyncIterator[Any]:
    for fragment in fragments:
        yield fragment


async def encoded(first: Any, rest: AsyncIterator[Any], *, text: bool) -> AsyncIterator[bytes]:
    """Yield the content of the fragments of a message as bytes.

    Args:
        first: the first fragment.
        rest: the other fragments.
        text: whether it is a text message.

    Raises:
        TypeError: the fragments are not all str or all bytes.
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
