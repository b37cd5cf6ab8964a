"""Decoders of message bodies, by length or by chunks (RFC 9112 sections 6 and 7).

A decoder gets the bytes that have arrived, appends the content to a buffer, and returns where it has stopped. It
keeps only a few numbers, so a thousand tiny chunks need no more memory than their bytes. A run of chunks of less than
16 bytes is matched by one pattern. The work of one call can be bounded.
"""

import functools
import re

from ..config import Config
from ..errors import WireError
from . import refusals
from .headers import FIELD_LINE, TOKEN, Headers

__all__ = ["ChunkedDecoder", "LengthDecoder", "Unframed"]


class LengthDecoder:
    """A body whose length is in Content-Length.

    Attributes:
        remaining: bytes of the body that have not been decoded yet.
    """

    __slots__ = ("complete", "remaining")

    trailers: Headers | None = None

    def __init__(self, length: int) -> None:
        self.remaining = length
        self.complete = length == 0

    def decode(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        """Append content to ``out``; return where in ``data`` the body goes on, or has ended."""
        length = len(data) - start
        if length > self.remaining:
            length = self.remaining
        out += memoryview(data)[start : start + length] if start or length < len(data) else data
        self.count(length)
        return start + length

    def count(self, length: int) -> None:
        """Count bytes of the body that the caller has taken without `decode`."""
        self.remaining -= length
        self.complete = not self.remaining


class Unframed:
    """The bytes after a change of protocol (Upgrade, CONNECT): no framing, the end is the end of the connection."""

    __slots__ = ("complete",)

    trailers: Headers | None = None
    remaining: int | None = None

    def __init__(self) -> None:
        self.complete = False

    def decode(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        """Append all bytes to ``out``; return the end of ``data``."""
        out += memoryview(data)[start:]
        return len(data)


# RFC 9112 section 7.1: at most 16 hexadecimal digits, no sign, no 0x, no white space; extensions by
# their grammar, with no bare CR or LF inside of a quoted value.
_QUOTED = r'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
_CHUNK_SIZE = rf"([0-9A-Fa-f]{{1,16}}+)((?:;{TOKEN}(?:=(?:{TOKEN}|{_QUOTED}))?)*+)\r\n"
_TRAILERS = rf"((?:{FIELD_LINE})*+)\r\n"

# Whole chunks of 1 to 15 bytes, whose size has one hexadecimal digit, and the content of one of them.
_TINY = "|".join(rf"[{size:x}{size:X}]\r\n[\s\S]{{{size}}}" for size in range(1, 16))
_TINY_RUN = rf"(?:0{{0,15}}+(?:{_TINY})\r\n)++"
_TINY_CONTENT = "|".join(rf"(?<=[{size:x}{size:X}]\r\n)[\s\S]{{{size}}}" for size in range(1, 16))
_TINY_ONE = rf"0{{0,15}}+[1-9A-Fa-f]\r\n({_TINY_CONTENT})\r\n"
_RUN = 16 * 1024  # bytes of tiny chunks that are matched together
_AS_ONE = 256  # bytes of tiny chunks that cost about as much time as one larger chunk


@functools.cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Compile a pattern when the first chunked body arrives."""
    return re.compile(pattern)


@functools.cache
def _compiled_bytes(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode())


_LONGEST_SIZE = 16 + len("\r\n")
_LARGEST_SIZE = 2**63 - 1


class ChunkedDecoder:
    """A chunked body, with its trailers.

    Args:
        config: the limits.
        headers: the fields of the message; the limits count trailers together with them.
        chunks: the number of chunks after which one call of `decode` returns early; None for no limit.

    Attributes:
        trailers: the fields after the last chunk; None until they are complete.
    """

    __slots__ = (
        "_chunks",
        "_config",
        "_extensions",
        "_field_room",
        "_head_room",
        "_left",
        "_line",
        "_step",
        "complete",
        "trailers",
    )

    remaining: int | None = None

    def __init__(self, config: Config, headers: Headers, chunks: int | None = None) -> None:
        self._config = config
        self._chunks = chunks
        self._step = ChunkedDecoder._size  # a function, not a bound method: no cycle
        self._line = bytearray()  # the beginning of a line, or of the trailers
        self._left = 0  # bytes of the current chunk
        self._extensions = 0  # bytes of chunk extensions so far
        self._head_room = max(2, config.limit_head - headers.size)
        self._field_room = config.limit_fields - len(headers)
        self.complete = False
        self.trailers: Headers | None = None

    def decode(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        """Append content to ``out``; return where in ``data`` the body goes on, or has ended.

        Raises:
            WireError: the framing is malformed, or a limit is exceeded.
        """
        end = len(data)
        left = len(data) if self._chunks is None else self._chunks
        try:
            while start < end and not self.complete and left > 0:
                if self._step is ChunkedDecoder._size and not self._line:
                    before, start = start, self._tiny_ones(data, start, out)
                    left -= 1 + (start - before) // _AS_ONE
                    if start > before:
                        continue
                start = self._step(self, data, start, out)
        except WireError:
            self._step = ChunkedDecoder._refused  # nothing more is decoded
            raise
        return start

    def _refused(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        raise WireError(400, "the body has been refused before")

    def _tiny_ones(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        """Decode a run of tiny chunks, if one begins here; return where the body goes on."""
        run = _compiled_bytes(_TINY_RUN).match(data, start, start + _RUN)
        if run is None:
            return start
        contents = _compiled_bytes(_TINY_ONE).findall(data, start, run.end())
        out += b"".join(contents)
        return run.end()

    def _size(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        line_end = data.find(b"\n", start)
        limit = _LONGEST_SIZE + self._config.limit_chunk_extension - len(self._line)
        end = len(data) if line_end < 0 else line_end + 1
        if end - start > limit:
            raise WireError(400, "a chunk size line that is too long")
        self._line += data[start:end]
        if line_end < 0:
            return end
        match = _compiled(_CHUNK_SIZE).fullmatch(str(self._line, "latin-1"))
        if match is None:
            raise WireError(400, "malformed chunk size")
        self._extensions += len(match[2])
        if len(match[2]) > self._config.limit_chunk_extension or self._extensions > self._config.limit_chunk_extensions:
            raise WireError(400, "too many bytes of chunk extensions")
        self._left = int(match[1], 16)
        if self._left > _LARGEST_SIZE:
            raise WireError(400, "a chunk size that is too large")
        self._line.clear()
        self._step = ChunkedDecoder._data if self._left else ChunkedDecoder._trailers
        return end

    def _data(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        end = min(len(data), start + self._left)
        out += memoryview(data)[start:end]
        self._left -= end - start
        if not self._left:
            self._step = ChunkedDecoder._data_end
        return end

    def _data_end(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        # Both bytes are checked: a parser that skips any two bytes here had CVE-2025-43859.
        end = start + 2 - len(self._line)
        self._line += data[start:end]
        if not b"\r\n".startswith(self._line):
            raise WireError(400, "chunk data longer than its size")
        if len(self._line) == 2:
            self._line.clear()
            self._step = ChunkedDecoder._size
        return min(end, len(data))

    def _trailers(self, data: bytes | bytearray, start: int, out: bytearray) -> int:
        line = self._line
        known = len(line)
        line += memoryview(data)[start : start + self._head_room + 1 - known]
        searched = max(0, known - 3)
        end = 2 if line.startswith(b"\r\n") else line.find(b"\r\n\r\n", searched) + 4
        if end == 3:  # not found
            if re.compile(rb"(?<!\r)\n").search(line, searched):
                raise WireError(400, "a bare LF")
            if len(line) > self._head_room:
                raise WireError(431, "trailers larger than what the head has left")
            return len(data)
        text = str(line[:end], "latin-1")
        # First, since the search for the error below looks at each field.
        refusals.check_limits("\r\n" + text, self._config)
        match = _compiled(_TRAILERS).fullmatch(text)
        if match is None:
            raise refusals.of_trailers(text)
        self.trailers = Headers("\n" + match[1])
        if len(self.trailers) > self._field_room:
            raise WireError(431, f"more than {self._config.limit_fields} fields, trailers included")
        self._line = bytearray()
        self.complete = True
        return start + end - known
