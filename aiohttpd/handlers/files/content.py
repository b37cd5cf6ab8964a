"""The content of a response with a file: the whole file, one range, or ``multipart/byteranges``.

Owns the pieces of the content (RFC 9110 section 14.6), and the check that the file has not changed while it was sent.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ...net.sendfile import read_from
from ...wire.ranges import Span, content_range
from .store import Representation

if TYPE_CHECKING:
    from ...engine.interfaces import ResponseWriter

__all__ = ["Content", "FileChanged", "Readable"]


class Readable(Protocol):
    """What `SimpleHTTPRequestHandler.copyfile` can send: a `Content`, or an open file."""

    def read(self, size: int = -1, /) -> bytes: ...
    def close(self) -> None: ...


class FileChanged(Exception):
    """A file has changed while it was sent. The response has to be aborted."""


class Content:
    """A sequence of bytes and spans of a file. It has the methods of a file, too; `read` may block.

    Args:
        source: the file.
        parts: spans of the file, and bytes between them.
    """

    def __init__(self, source: Representation, parts: Sequence[bytes | Span]) -> None:
        self._source = source
        self._parts = parts
        self._position = 0
        self.size = sum(len(part) if isinstance(part, bytes) else part.size for part in parts)

    @classmethod
    def whole(cls, source: Representation) -> "Content":
        """The whole file."""
        return cls(source, [Span(0, source.size)])

    @classmethod
    def multipart(cls, source: Representation, spans: Sequence[Span]) -> tuple["Content", str]:
        """Several ranges as ``multipart/byteranges``. Also returns the boundary."""
        boundary = os.urandom(16).hex()
        parts: list[bytes | Span] = []
        for span in spans:
            head = (
                f"--{boundary}\r\nContent-Type: {source.content_type}\r\n"
                f"Content-Range: {content_range(span, source.size)}\r\n\r\n"
            )
            parts += [b"\r\n" * bool(parts) + head.encode("latin-1"), span]
        parts.append(f"\r\n--{boundary}--\r\n".encode())
        return cls(source, parts), boundary

    async def send(self, wfile: "ResponseWriter") -> None:
        """Send all of it.

        Raises:
            FileChanged: the file has changed. The content is incomplete then.
        """
        file, content = self._source.file, self._source.content
        for part in self._parts:
            if isinstance(part, bytes):
                wfile.write(part)
            elif content is not None:
                wfile.write(content if part.size == len(content) else content[part.start : part.stop])
            elif file is not None:
                try:
                    await wfile.sendfile(file, part.start, part.size, check=file.unchanged)
                except EOFError:
                    raise FileChanged from None

    def read(self, size: int = -1) -> bytes:
        """Read up to ``size`` bytes, by default all that are left; empty at the end."""
        stop = self.size if size < 0 else min(self.size, self._position + size)
        found = []
        offset = 0
        for part in self._parts:
            length = len(part) if isinstance(part, bytes) else part.size
            start, end = max(self._position - offset, 0), min(stop - offset, length)
            if start < end:
                found.append(
                    part[start:end] if isinstance(part, bytes) else self._read(part.start + start, end - start)
                )
            offset += length
        data = b"".join(found)
        self._position += len(data)
        return data

    def _read(self, start: int, count: int) -> bytes:
        if self._source.content is not None:
            return self._source.content[start : start + count]
        assert self._source.file is not None
        return read_from(self._source.file.fileno(), start, count)

    def close(self) -> None:
        """Do nothing: the file is closed when nothing refers to it."""
