"""StreamReader: a request body as a stream, bounded by the body, with back-pressure on the peer.

Owns the decoded bytes that wait for the handler, and the rules of reading: limits, 100 (Continue), end
of file. It knows the connection only as the `Source` that it may pause.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol, cast

from ..errors import ContentTooLarge, ContractError, IncompleteBody, WireError
from ..wire.body import ChunkedDecoder, LengthDecoder, Unframed
from ..wire.headers import Headers
from ..wire.parser import RequestParser

__all__ = ["Source", "StreamReader"]

READ_AHEAD = 256 * 1024  # bytes that wait for the handler before the peer is paused; the loops read that much at once
_SMALL = 4096  # bytes of a piece that is joined to the one before: an object for each would cost more than its bytes
_LINE = 64 * 1024  # the longest line that readline and readuntil look for
_READS = 1000  # of what is here already, before others have their turn: lines and pieces may be of one byte


class Source(Protocol):
    """Where the bytes come from: the connection."""

    def pause_body(self) -> None: ...
    def resume_body(self) -> None: ...
    def body_wanted(self) -> None:
        """The handler waits for bytes: send 100 (Continue) if the client waits for it."""

    def body_arrived(self) -> None:
        """The handler waits no longer."""


class StreamReader:
    """The body of a request; asyncio's names, ends where the body ends.

    Attributes:
        limit: bytes that a handler may read, None for any number; at first ``Config.limit_body``.
        received: bytes of content so far.
    """

    __slots__ = (
        "_call", "_decoder", "_error", "_framing", "_loop", "_pieces", "_reads", "_scanned", "_source", "_start",
        "_waiter", "_waiting", "limit", "received",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        decoder: LengthDecoder | ChunkedDecoder | Unframed,
        limit: int | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._loop = loop
        # What waits for the handler, as it has arrived, from _start in the first piece on.
        self._pieces: deque[bytes | bytearray] = deque()
        self._start = 0
        self._waiting = 0
        self._framing = 0  # bytes that the framing took of what waits, or a part of it
        self._scanned = 0  # no separator ends before it in the first piece
        self._reads = 0  # since others have had their turn
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._call: Coroutine[Any, Any, bytes] | None = None
        self.limit = limit
        self.received = 0

    # What handlers call.

    def read(self, n: int = -1) -> Coroutine[Any, Any, bytes]:
        """Read up to ``n`` bytes as soon as there are any; all of the body if ``n`` is negative.

        Returns ``b""`` at the end of the body.

        Raises:
            ContentTooLarge: the body is larger than `limit`.
            IncompleteBody: the client closed in the middle of the body.
            BodyTimeout: the client is too slow.
            WireError: chunked framing is malformed.
        """
        return self._called(self._read(n))

    def read_at_once(self) -> bytes | None:
        """All of the body if all of it has arrived; None if that has to be waited for.

        Raises:
            ContentTooLarge: the body is larger than `limit`.
        """
        if not self._decoder.complete:
            return None
        if self.limit is not None and self.received > self.limit:
            raise ContentTooLarge(self.limit)
        return self._take(self._waiting)

    def readexactly(self, n: int) -> Coroutine[Any, Any, bytes]:
        """Read exactly ``n`` bytes.

        Raises:
            asyncio.IncompleteReadError: the body ends before; and what `read` raises.
        """
        return self._called(self._readexactly(n))

    def readline(self, limit: int = -1) -> Coroutine[Any, Any, bytes]:
        r"""Read up to and with the next ``\n``, at most ``limit`` bytes; what is left at the end of the body.

        Raises:
            ValueError: a line of more than 64 KiB, if no ``limit`` is given; and what `read` raises.
        """
        return self._called(self._readline(limit))

    def readuntil(self, separator: bytes = b"\n") -> Coroutine[Any, Any, bytes]:
        """Read up to and with the separator.

        Raises:
            asyncio.IncompleteReadError: the body ends before.
            asyncio.LimitOverrunError: none within 64 KiB; and what `read` raises.
        """
        return self._called(self._readuntil(separator))

    @property
    def taken(self) -> int:
        """Bytes that the handler has read so far."""
        return self.received - self._waiting

    def at_eof(self) -> bool:
        """Whether all of the body has been read."""
        return not self._waiting and self._decoder.complete

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._check_limit()
        while self._pieces or await self._more():
            if self._pieces:
                yield self._take(len(self._pieces[0]) - self._start)

    @property
    def trailers(self) -> Headers | None:
        """The fields after a chunked body, None before its end."""
        return self._decoder.trailers

    # What the connection calls.

    @property
    def complete(self) -> bool:
        """Whether the whole body has arrived."""
        return self._decoder.complete

    @property
    def remaining(self) -> int | None:
        """Bytes that are still to arrive; None if only the end will tell."""
        return self._decoder.remaining

    @property
    def waiting(self) -> bool:
        """Whether a handler waits for bytes right now."""
        return self._waiter is not None

    @property
    def crowded(self) -> bool:
        """Whether so much waits for a handler that more should not come."""
        return (
            self._waiting + self._framing > READ_AHEAD
            and self._waiting > 0
            and (self._waiter is None or self._waiter.done())  # else it wants more than there is
            and not self._decoder.complete
        )

    @property
    def failed(self) -> bool:
        """Whether the body will never be complete."""
        return self._error is not None

    def drop_forgotten(self) -> bool:
        """Whether the last read was called but never awaited; it is closed then."""
        call = self._call
        if call is None or call.cr_frame is None:  # type: ignore[attr-defined]
            return False
        if inspect.getcoroutinestate(call) != inspect.CORO_CREATED:
            return False
        call.close()
        return True

    def feed(self, parser: RequestParser) -> None:
        """Take what the parser holds of the body."""
        if self._error is not None:
            parser.take()
            return
        decoder = self._decoder
        data: bytes | bytearray
        if type(decoder) is LengthDecoder:
            data = parser.take_some(decoder.remaining)
            decoder.count(len(data))
        else:
            data = bytearray()
            pending = parser.pending
            try:
                parser.decode(decoder, data)
            except WireError as error:
                self.fill(data)
                self.fail(error)
                return
            self._framing += pending - parser.pending - len(data)
        self.fill(data)
        if self._waiting + self._framing > READ_AHEAD and self.crowded:
            self._source.pause_body()
        self._wake()

    def fill(self, data: bytes | bytearray) -> None:
        """Append what has arrived."""
        if data:
            pieces = self._pieces
            if pieces and len(data) < _SMALL:
                self._join(data)
            else:
                pieces.append(data)
            self._waiting += len(data)
            self.received += len(data)

    def _join(self, data: bytes | bytearray) -> None:
        last = self._pieces[-1]
        if type(last) is bytearray:
            last += data
        elif len(last) < _SMALL:
            self._pieces[-1] = bytearray(last) + data
        else:
            self._pieces.append(bytearray(data))

    def fail(self, error: Exception) -> None:
        """The rest of the body will not come; reads raise ``error`` once they reach it."""
        if self._error is None and not self._decoder.complete:
            self._error = error
            self._wake()

    def feed_eof(self) -> None:
        """The peer has closed its side: the end of what has no framing, else too early."""
        if isinstance(self._decoder, Unframed):
            self._decoder.complete = True
            self._wake()
        else:
            self.fail(IncompleteBody())

    def discard(self) -> int:
        """Drop what waits; say how many bytes that were."""
        size = self._waiting
        self._pieces.clear()
        self._start = self._waiting = self._framing = self._scanned = 0
        return size

    def take_back(self) -> bytes:
        """What has arrived and nobody has read."""
        return self._take(self._waiting) if self._waiting else b""

    # The inner side of reading.

    def _called(self, call: Coroutine[Any, Any, bytes]) -> Coroutine[Any, Any, bytes]:
        self._call = call
        return call

    def _check_limit(self) -> None:
        if self.limit is not None and self.received + (self._decoder.remaining or 0) > self.limit:
            raise ContentTooLarge(self.limit)

    async def _more(self) -> bool:
        """Wait until more has arrived; False if the body is complete."""
        self._check_limit()
        if self._decoder.complete:
            return False
        if self._error is not None:
            raise self._error
        if self._waiter is not None:
            raise ContractError("the body is being read by another task already")
        self._waiter = self._loop.create_future()
        self._framing = self._reads = 0
        self._source.resume_body()
        self._source.body_wanted()
        try:
            await self._waiter
        finally:
            self._waiter = None
            self._source.body_arrived()
        self._check_limit()
        return True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _take(self, n: int) -> bytes:
        """Take up to ``n`` bytes off the front."""
        pieces = self._pieces
        if n >= self._waiting and len(pieces) == 1 and not self._start and type(pieces[0]) is bytes:
            self._waiting = self._framing = self._scanned = 0
            if not self._decoder.complete:
                self._source.resume_body()
            return cast(bytes, pieces.popleft())
        n = min(n, self._waiting)
        found: list[bytes | bytearray | memoryview] = []
        left = n
        while left:
            piece, start = self._pieces[0], self._start
            if len(piece) - start <= left:
                found.append(memoryview(piece)[start:] if start else piece)
                left -= len(piece) - start
                self._pieces.popleft()
                self._start = 0
            else:
                found.append(memoryview(piece)[start : start + left])
                self._start += left
                left = 0
        self._waiting -= n
        self._scanned = 0
        if self._waiting < READ_AHEAD // 2:
            self._framing = 0
            self._source.resume_body()
        return found[0] if len(found) == 1 and type(found[0]) is bytes else b"".join(found)

    async def _take_turns(self) -> None:
        self._reads = 0
        await asyncio.sleep(0)

    async def _read(self, n: int) -> bytes:
        self._reads += 1
        if self._reads > _READS:
            await self._take_turns()
        if n < 0:
            if (content := self.read_at_once()) is not None:
                return content
            while await self._more():
                pass  # it waits in pieces that are joined once
            return self._take(self._waiting)
        self._check_limit()
        while n and not self._waiting:
            if not await self._more():
                return b""
        return self._take(n)

    async def _readexactly(self, n: int) -> bytes:
        if n < 0:
            raise ValueError("readexactly() wants a size that is not negative")
        self._reads += 1
        if self._reads > _READS:
            await self._take_turns()
        while self._waiting < n:
            if not await self._more():
                raise asyncio.IncompleteReadError(self._take(self._waiting), n)
        return self._take(n) if n else b""

    async def _until(self, separator: bytes, limit: int) -> int:
        """How many bytes there are up to and with the separator, or -1 at the end of the body or past the limit."""
        self._check_limit()
        self._reads += 1
        if self._reads > _READS:
            await self._take_turns()
        self._scanned = 0  # a search that has failed or been cancelled may have been for another separator
        while True:
            if self._pieces:
                piece = self._in_one_piece()
                found = piece.find(separator, max(self._scanned, self._start))
                if found >= 0:
                    return found + len(separator) - self._start
                self._scanned = max(self._start, len(piece) + 1 - len(separator))
            if self._waiting >= limit or not await self._more():
                return -1

    def _in_one_piece(self) -> bytes | bytearray:
        """All that waits as one piece, which grows: each byte is copied once, however it comes."""
        pieces = self._pieces
        if len(pieces) > 1:
            first = pieces.popleft()
            if type(first) is not bytearray or self._start:
                self._scanned = max(0, self._scanned - self._start)
                first = bytearray(memoryview(first)[self._start :])
                self._start = 0
            for piece in pieces:
                first += piece
            pieces.clear()
            pieces.append(first)
        return pieces[0]

    async def _readline(self, limit: int) -> bytes:
        end = await self._until(b"\n", _LINE if limit < 0 else limit)
        if limit >= 0:
            return self._take(limit if end < 0 else min(end, limit))
        if end < 0 and self._waiting >= _LINE:
            raise ValueError(f"a line of more than {_LINE} bytes; give readline() a limit")
        return self._take(self._waiting if end < 0 else end)

    async def _readuntil(self, separator: bytes) -> bytes:
        if not separator:
            raise ValueError("the separator is empty")
        end = await self._until(separator, _LINE)
        if end >= 0:
            return self._take(end)
        if self._waiting >= _LINE:
            raise asyncio.LimitOverrunError(f"no separator within {_LINE} bytes", self._waiting)
        raise asyncio.IncompleteReadError(self._take(self._waiting), None)
