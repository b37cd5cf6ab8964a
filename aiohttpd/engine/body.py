"""StreamReader: a request body as a stream, with back-pressure on the client.

Owns the decoded bytes that wait for the handler, and the rules of reading: limits, 100 (Continue), end of file. It
knows the connection only as a `Source`.
"""

import asyncio
import copy
import inspect
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Protocol, cast

from ..errors import ClientDisconnected, ContentTooLarge, ContractError, IncompleteBody, WireError
from ..wire.body import ChunkedDecoder, LengthDecoder, Unframed
from ..wire.headers import Headers
from ..wire.parser import RequestParser
from .wakeup import Batch, Wakeup

__all__ = ["NOTHING", "NOT_WANTED", "Source", "StreamReader"]

READ_AHEAD = 256 * 1024  # bytes that wait for the handler before reading is paused; event loops read that much at once
NOT_WANTED = "the answer is complete, and the rest of the body is not wanted"
_SMALL = 4096  # bytes; a smaller piece is joined to the one before, since an object for each would be larger than it
_LINE = 64 * 1024  # bytes of the longest line for readline() and readuntil()
_READS = 1000  # reads after which others have their turn: lines and pieces may have one byte, and waits take no turn


class Source(Protocol):
    """What the reader needs of its connection."""

    def resume_body(self) -> None:
        """The reader can take more. Whether it can after `feed`, `StreamReader.crowded` says."""

    def body_wanted(self) -> None:
        """The handler waits for bytes: send 100 (Continue) if the client waits for it."""

    def body_arrived(self) -> None:
        """The handler does not wait any more."""


class _Nothing:
    """The `Source` of a body that has completely arrived, or whose request has ended."""

    def resume_body(self) -> None:
        """Do nothing."""

    body_wanted = body_arrived = resume_body


NOTHING = _Nothing()


class StreamReader:
    """The body of a request, with the methods of ``asyncio.StreamReader``. It ends where the body ends.

    ::

        line = await self.rfile.readline()
        async for piece in self.rfile:
            ...

    Attributes:
        limit: the number of bytes that a handler may read; None for no limit. It begins as ``Config.limit_body``.
        received: the number of bytes of content that have arrived.
        waiting: whether a handler waits for bytes.
    """

    __slots__ = (
        "_arrival", "_asleep", "_call", "_decoder", "_error", "_framing", "_loop", "_pieces", "_reads", "_scanned",
        "_source", "_start", "_waiting", "limit", "received", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        source: Source,
        decoder: LengthDecoder | ChunkedDecoder | Unframed,
        limit: int | None,
        loop: asyncio.AbstractEventLoop,
        content: bytes = b"",
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._loop = loop
        # The pieces that wait for the handler; the first one from _start on. There are at most some hundred.
        self._pieces: list[bytes | bytearray] = [content] if content else []
        self._start = 0
        self._waiting = self.received = len(content)
        self._framing = 0  # bytes of framing that belong to what waits, or to a part of it
        self._scanned = 0  # no separator ends before it in the first piece
        self._reads = 0  # reads since others have had their turn
        self._error: Exception | None = None
        self._arrival: Wakeup | None = None  # of content, or of the end; None if no read has waited
        self._asleep = False  # a handler waits, and has not been woken
        self.waiting = False
        self._call: Coroutine[Any, Any, bytes] | None = None
        self.limit = limit

    # What handlers call.

    def read(self, n: int = -1) -> Coroutine[Any, Any, bytes]:
        """Read up to ``n`` bytes as soon as there are any; the whole body if ``n`` is negative.

        Returns:
            The bytes; ``b""`` at the end of the body.

        Raises:
            ContentTooLarge: the body is larger than `limit`.
            IncompleteBody: the client has closed the connection within the body.
            BodyTimeout: the client is too slow.
            WireError: chunked framing is malformed.
        """
        self._call = call = self._read(n)  # not by `_called`: most bodies are read by one call of this
        return call

    def read_at_once(self) -> bytes | None:
        """The whole body if it has arrived; else None.

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
            asyncio.IncompleteReadError: the body ends before.
            HTTPError: as `read`.
        """
        return self._called(self._readexactly(n))

    def readline(self, limit: int = -1) -> Coroutine[Any, Any, bytes]:
        r"""Read a line with its ``\n``; at the end of the body what is left.

        Args:
            limit: the maximum number of bytes; a longer line is returned in parts.

        Raises:
            ValueError: the line has more than 64 KiB, and no ``limit`` is given.
            HTTPError: as `read`.
        """
        return self._called(self._readline(limit))

    def readuntil(self, separator: bytes = b"\n") -> Coroutine[Any, Any, bytes]:
        """Read up to a separator; the separator is a part of the result.

        Raises:
            asyncio.IncompleteReadError: the body ends before a separator.
            asyncio.LimitOverrunError: there is no separator within 64 KiB.
            HTTPError: as `read`.
        """
        return self._called(self._readuntil(separator))

    @property
    def taken(self) -> int:
        """The number of bytes that the handler has read."""
        return self.received - self._waiting

    def at_eof(self) -> bool:
        """Whether the whole body has been read."""
        return not self._waiting and self._decoder.complete

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._check_limit()
        while self._pieces or await self._more():
            if self._pieces:
                yield self._take(len(self._pieces[0]) - self._start)

    @property
    def trailers(self) -> Headers | None:
        """The trailer fields of a chunked body; None before its end."""
        return self._decoder.trailers

    # What the connection calls.

    @property
    def complete(self) -> bool:
        """Whether the whole body has arrived."""
        return self._decoder.complete

    @property
    def remaining(self) -> int | None:
        """The number of bytes that have not arrived; None for a body without known length."""
        return self._decoder.remaining

    @property
    def crowded(self) -> bool:
        """Whether so many bytes wait for the handler that reading should be paused."""
        return (
            self._waiting + self._framing > READ_AHEAD
            and self._waiting > 0
            and not self._asleep  # it needs more than there is
            and not self._decoder.complete
        )

    @property
    def failed(self) -> bool:
        """Whether the body cannot become complete."""
        return self._error is not None

    def check_awaited(self) -> None:
        """Check that the last read was awaited; if not, close its coroutine.

        Raises:
            ContractError: it was not.
        """
        call = self._call
        if call is None or call.cr_frame is None:  # type: ignore[attr-defined]
            return
        if inspect.getcoroutinestate(call) == inspect.CORO_CREATED:
            call.close()
            raise ContractError("a read of the body was called but not awaited: put 'await' before the call")

    def feed(self, parser: RequestParser) -> None:
        """Decode what the parser's buffer has of the body. `wake` has to follow."""
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

    def wake(self, batch: Batch | None = None) -> None:
        """Content has arrived, or the body has ended: resume the handler that waits for it.

        Args:
            batch: resumes it, maybe at once; by default it is resumed in the next turn of the loop.
        """
        self._asleep = False
        arrival = self._arrival
        if arrival is None or arrival.waiter is None:
            return
        if batch is None:
            arrival.wake()
        else:
            batch.add(arrival, self._waiting)

    def fill(self, data: bytes | bytearray) -> None:
        """Append content that has arrived."""
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
        """The rest of the body will not arrive; reads raise ``error`` when they reach the end of what has."""
        if self._error is None and not self._decoder.complete:
            self._error = error.with_traceback(None)  # see `_more`
            self.wake()

    def feed_eof(self) -> None:
        """The client has closed its side. That is the end of a body without framing; any other is incomplete."""
        if isinstance(self._decoder, Unframed):
            self._decoder.complete = True
            self.wake()
        else:
            self.fail(IncompleteBody())

    def detach(self) -> None:
        """The request has ended: forget its connection. This reference cycle would keep the content in memory."""
        self._source = NOTHING

    def discard(self) -> int:
        """Drop the bytes that wait; return their number."""
        size = self._waiting
        self._pieces.clear()
        self._start = self._waiting = self._framing = self._scanned = 0
        return size

    def take_back(self) -> bytes:
        """Remove and return the bytes that have not been read."""
        return self._take(self._waiting) if self._waiting else b""

    # How the methods for handlers work.

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
            # A copy: the traceback of what is raised refers to the handler, and so to this reader and all it has read.
            raise copy.copy(self._error)
        if self._source is NOTHING:  # a handler that goes on after the end of its response would wait for ever
            raise ClientDisconnected(NOT_WANTED)
        if self.waiting:
            raise ContractError("the body is being read by another task already")
        self.waiting = self._asleep = True
        if self._arrival is None:
            self._arrival = Wakeup(self._loop)
        self._framing = 0
        self._source.resume_body()
        self._source.body_wanted()
        try:
            if self._asleep:  # no bytes have arrived in the calls above
                await self._arrival.wait()
        finally:
            self.waiting = self._asleep = False
            self._source.body_arrived()
        self._check_limit()
        return True

    def _take(self, n: int) -> bytes:
        """Remove and return up to ``n`` bytes."""
        pieces = self._pieces
        if n >= self._waiting and len(pieces) == 1 and not self._start and type(pieces[0]) is bytes:
            self._waiting = self._framing = self._scanned = 0
            if not self._decoder.complete:
                self._source.resume_body()
            return cast(bytes, pieces.pop(0))
        n = min(n, self._waiting)
        found: list[bytes | bytearray | memoryview] = []
        left = n
        while left:
            piece, start = self._pieces[0], self._start
            if len(piece) - start <= left:
                found.append(memoryview(piece)[start:] if start else piece)
                left -= len(piece) - start
                self._pieces.pop(0)
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
        if n < 0 and (content := self.read_at_once()) is not None:
            return content
        self._reads += 1
        if self._reads > _READS:
            await self._take_turns()
        if n < 0:
            while await self._more():
                pass  # pieces wait, and are joined only once
            return self._take(self._waiting)
        self._check_limit()
        while n and not self._waiting:
            if not await self._more():
                return b""
        return self._take(n)

    async def _readexactly(self, n: int) -> bytes:
        if n < 0:
            raise ValueError("readexactly() needs a size that is not negative")
        self._check_limit()
        self._reads += 1
        if self._reads > _READS:
            await self._take_turns()
        while self._waiting < n:
            if not await self._more():
                raise asyncio.IncompleteReadError(self._take(self._waiting), n)
        return self._take(n)

    async def _until(self, separator: bytes, limit: int) -> int:
        """The number of bytes up to the end of a separator; -1 if it does not end before the end or the limit."""
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
                    size = found + len(separator) - self._start
                    return size if size <= limit else -1
                self._scanned = max(self._start, len(piece) + 1 - len(separator))
            if self._waiting >= limit or not await self._more():
                return -1

    def _in_one_piece(self) -> bytes | bytearray:
        """Join all that waits to one piece. It grows in place, so each byte is copied once, however it arrives."""
        pieces = self._pieces
        if len(pieces) > 1:
            first = pieces.pop(0)
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
            return self._take(limit if end < 0 else end)
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
