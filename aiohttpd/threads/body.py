"""SpooledBody: the body of a request for code that blocks.

Owns how a body is gathered before a thread is taken, so that a slow client costs none, and the files from
which the thread reads it: real ``io`` objects, which end where the body ends.
"""

import asyncio
import io
import socket
import tempfile
from collections.abc import Awaitable, Callable
from typing import IO, Any, Protocol

from ..errors import BodyTimeout, IncompleteBody
from ..wire.headers import Headers
from ..wire.request import Body, Request
from ..wire.response import LAST_CHUNK
from .call import threads_of
from .spools import Spools

__all__ = ["Content", "SpooledBody", "Owner", "Read", "Source", "gather"]

KIB = 1024
_MEMORY = 1024 * KIB  # bytes of a body that are kept in memory
_SPOOLED = 64 * 1024 * KIB  # bytes that are kept in a file; what is beyond the thread has to wait for
_PIECE = 256 * KIB

Read = Callable[[int], Awaitable[bytes]]


class SpooledBody:
    """A body that has been gathered: what is here, and the way to the rest of it.

    Attributes:
        content: the first bytes, all of them unless there is a file.
        file: those that follow.
        rest: reads those that have not arrived; None if all have.
    """

    def __init__(
        self,
        content: bytes,
        file: IO[bytes] | None = None,
        rest: Read | None = None,
        forget: Callable[[], None] | None = None,
    ) -> None:
        self.content = content
        self.file = file
        self.rest = rest
        self._forget = forget

    def open(self, loop: asyncio.AbstractEventLoop) -> io.BufferedReader:
        """Make the file that the thread reads."""
        if self.file is None and self.rest is None:
            return io.BufferedReader(io.BytesIO(self.content))  # which has peek()
        return io.BufferedReader(Source(self.content, self, loop), _PIECE)

    def open_for(
        self, owner: "Owner", loop: asyncio.AbstractEventLoop, before: bytes, *, ends: bool
    ) -> "tuple[Content | Source, Content | io.BufferedReader]":
        """Make what the thread reads, and what a socket can take the place of; that may be the same.

        Args:
            owner: knows what follows.
            loop: reads what has not arrived.
            before: comes before the body.
            ends: nothing follows that is to be read from there.
        """
        content = before + self.content if before else self.content
        small = self.file is None and self.rest is None
        if small and ends:
            made = Content(content)
            made.owner = owner
            return made, made
        source = Source(content, self, loop, owner)
        return source, io.BufferedReader(source, io.DEFAULT_BUFFER_SIZE if small else _PIECE)

    def close(self) -> None:
        """Forget what is in a file."""
        if self.file is not None:
            self.file.close()
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()


async def gather(request: Request, *, framed: bool = False, now: bool = True) -> SpooledBody:
    """Wait for a body, the first 64 MiB of it at most.

    Args:
        request: whose body.
        framed: keep the chunks of a body that came in chunks, for code that takes them apart itself.
        now: False leaves all of it to the thread, which then decides whether it wants it at all.

    Raises what reading the body raises; `SpoolsFull`.
    """
    if not request.framing.has_body:
        return SpooledBody(b"")
    body = request.body
    framed = framed and request.framing.chunked
    read = _framed(body, request) if framed else body.read
    if not now:
        return SpooledBody(b"", rest=read)
    if not framed and (whole := body.read_at_once()) is not None:
        return SpooledBody(whole)
    content = bytearray()  # not a list: a piece may be of one byte, and a million objects cost more than their bytes
    while len(content) < _MEMORY:
        part = await read(_PIECE)
        if not part:
            return SpooledBody(bytes(content))
        content += part
    return await _spool(bytes(content), read, threads_of(request.peer).spools)


async def _spool(content: bytes, read: Read, spools: Spools) -> SpooledBody:
    """Write to a file what follows, while there is space; the rest of it is for the thread to wait for."""
    space = spools.for_body()
    waits = False

    def forget() -> None:
        space.close()
        if waits:
            spools.end_reading()

    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # until SpooledBody.close()
    incoming = SpooledBody(content, file, forget=forget)
    try:
        more = True
        while more and space.size < _SPOOLED:
            part = await read(_PIECE)
            if not part:
                break
            room = space.grow(len(part))
            await asyncio.to_thread(file.write, part[:room])
            more = room == len(part)
        else:
            spools.begin_to_read()
            waits = True
            incoming.rest = read if more else _after(part[room:], read)
        file.seek(0)
    except BaseException:
        incoming.close()
        raise
    return incoming


def _after(content: bytes, read: Read) -> Read:
    """Read content that is here already, and then the rest."""

    async def first(n: int) -> bytes:
        nonlocal content
        part, content = content[:n], content[n:]
        return part or await read(n)

    return first


def _framed(body: Body, request: Request) -> Read:
    """Read a body as chunks: their sizes are ours, their content and the trailers are the client's."""
    ended = False

    async def read(n: int) -> bytes:
        nonlocal ended
        if ended:
            return b""
        content = await body.read(n)
        if content:
            return b"%x\r\n%b\r\n" % (len(content), content)
        ended = True
        return _last_chunk(request.trailers)

    return read


def _last_chunk(trailers: Headers) -> bytes:
    if not len(trailers):
        return LAST_CHUNK
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers.items())
    return f"0\r\n{lines}\r\n".encode("latin-1")


class _Incomplete(IncompleteBody, ConnectionResetError):
    """What sockets raise; uncaught it is the client's fault, not the handler's."""


class _TooSlow(BodyTimeout, TimeoutError):
    """What sockets raise; uncaught it is the client's fault, not the handler's."""


class Owner(Protocol):
    """Who knows what follows a body."""

    @property
    def answered(self) -> bool:
        """The answer has begun."""

    async def read_after(self, n: int) -> bytes:
        """Read what follows if the protocol has been changed; nothing if it has not."""

    def take_over(self) -> socket.socket:
        """Get a real socket, and `Source.switch` to it."""


class Content(io.BytesIO):
    """A body that is in memory, whole; or what comes from a socket instead."""

    owner: Owner
    mode = "rb"

    def peek(self, size: int = 0) -> bytes:
        """What is to be read next, and is here."""
        return bytes(self.getbuffer()[self.tell() :])

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def fileno(self) -> int:
        """The descriptor of a real socket, from which all is read from now on."""
        return self.owner.take_over().fileno()

    def hand_over(self) -> tuple[bytes, None, None]:
        """What has not been read. Nothing is left here."""
        return b"" if self.closed else self.read(), None, None

    def switch(self, sock: socket.socket) -> None:
        """Read from a socket from now on."""
        file = io.BufferedReader(socket.SocketIO(sock, "r"))
        for name in ("peek", "read", "read1", "readinto", "readline", "readlines"):
            setattr(self, name, getattr(file, name))


class Source(io.RawIOBase):
    """Content, then a file, then what is still to come, in one row; then what follows that, or a socket instead."""

    mode = "rb"  # as socket.SocketIO has it

    def __init__(
        self, content: bytes, incoming: SpooledBody, loop: asyncio.AbstractEventLoop, owner: Owner | None = None
    ) -> None:
        self._content = memoryview(content)
        self._file = incoming.file
        self._rest = incoming.rest
        self._left = b""  # of the rest, what has come and was more than was asked for
        self._loop = loop
        self._owner = owner
        self._sock: socket.socket | None = None
        self._given = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        """Bytes that have been read; with it a buffer knows what of them it has still got."""
        return self._given

    def fileno(self) -> int:
        """The descriptor of a real socket, from which all is read from now on."""
        if self._owner is None:
            return super().fileno()
        return self._owner.take_over().fileno()

    def hand_over(self) -> tuple[bytes, IO[bytes] | None, Read | None]:
        """What has not been read: bytes, a file, and the way to the rest. Nothing is left here."""
        here = bytes(self._content) + self._left
        found = here, self._file, self._rest
        self._content, self._left = memoryview(b""), b""
        self._file = self._rest = None
        return found

    def switch(self, sock: socket.socket) -> None:
        """Read from a socket from now on."""
        self._sock = sock

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        size = self._read(view) if self._sock is None else self._sock.recv_into(view)
        self._given += size
        return size

    def _read(self, view: memoryview) -> int:
        if self._content:
            return self._give(view, self._content, "_content")
        if self._file is not None:
            size = self._file.readinto(view)  # type: ignore[attr-defined]
            if size:
                return int(size)
            self._file = None
        if not self._left and self._rest is not None:
            self._left = self._wait(self._rest, len(view))
            if not self._left:
                self._rest = None
        if not self._left and self._owner is not None and self._owner.answered:
            self._left = self._wait(self._owner.read_after, len(view))
        return self._give(view, self._left, "_left")

    def _give(self, view: memoryview, source: Any, name: str) -> int:
        size = min(len(view), len(source))
        view[:size] = source[:size]
        setattr(self, name, source[size:])
        return size

    def _wait(self, read: Read, n: int) -> bytes:
        """Have the loop read, and wait for it.

        Raises:
            TimeoutError: the client is too slow.
            ConnectionError: the client is gone, or has closed in the middle of the body.
        """
        future = asyncio.run_coroutine_threadsafe(_call(read, n), self._loop)
        try:
            return future.result()
        except BodyTimeout as error:
            raise _TooSlow from error
        except IncompleteBody as error:
            raise _Incomplete from error


async def _call(read: Read, n: int) -> bytes:
    return await read(n)
