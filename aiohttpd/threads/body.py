"""SpooledBody: a request body for blocking code.

A body is received before a thread is taken, so that a slow client does not occupy a thread. The thread reads it from
``io`` objects, which end where the body ends.
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

__all__ = ["MemoryBody", "SpooledBody", "Owner", "Read", "StreamedBody", "gather"]

KIB = 1024
_MEMORY = 1024 * KIB  # bytes of a body that are kept in memory
_SPOOLED = 64 * 1024 * KIB  # bytes that are kept in a file; for more the thread has to wait
_PIECE = 256 * KIB

Read = Callable[[int], Awaitable[bytes]]


class SpooledBody:
    """A body that has been received, as far as it is kept, and a function that reads the rest.

    Attributes:
        content: the first bytes; all of them, if there is no file.
        file: the bytes after them; None if ``content`` has all.
        rest: a coroutine function that reads bytes which have not arrived; None if all have.
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
            return io.BufferedReader(io.BytesIO(self.content))  # it has peek()
        return io.BufferedReader(StreamedBody(self.content, self, loop), _PIECE)

    def open_for(
        self, owner: "Owner", loop: asyncio.AbstractEventLoop, before: bytes, *, ends: bool
    ) -> "tuple[MemoryBody | StreamedBody, MemoryBody | io.BufferedReader]":
        """Make the file that the thread reads, and the object in it that can be switched to a socket.

        Args:
            owner: reads what follows the body.
            loop: the loop, which reads what has not arrived.
            before: bytes before the body.
            ends: whether the file ends with the body.
        """
        content = before + self.content if before else self.content
        small = self.file is None and self.rest is None
        if small and ends:
            made = MemoryBody(content)
            made.owner = owner
            return made, made
        source = StreamedBody(content, self, loop, owner)
        return source, io.BufferedReader(source, io.DEFAULT_BUFFER_SIZE if small else _PIECE)

    def close(self) -> None:
        """Close the temporary file."""
        if self.file is not None:
            self.file.close()
        forget, self._forget = self._forget, None
        if forget is not None:
            forget()


async def gather(request: Request, *, framed: bool = False, now: bool = True) -> SpooledBody:
    """Receive a body, the first 64 MiB of it at most.

    Args:
        request: the request.
        framed: write a chunked body as chunks, for code that decodes them itself.
        now: False leaves the whole body to the thread, for code that may not want it.

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
    """Write the next bytes to a file, while there is space; the thread has to wait for the rest."""
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
    """Make a function that returns bytes which are here already, and then reads the rest."""

    async def first(n: int) -> bytes:
        nonlocal content
        part, content = content[:n], content[n:]
        return part or await read(n)

    return first


def _framed(body: Body, request: Request) -> Read:
    """Make a function that reads a body as chunks. Chunk sizes may differ from the client's."""
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
    """A ConnectionResetError, as sockets raise it; if it is not caught, the answer is 400 and not 500."""


class _TooSlow(BodyTimeout, TimeoutError):
    """A TimeoutError, as sockets raise it; if it is not caught, the answer is 408 and not 500."""


class Owner(Protocol):
    """What the files need of the exchange."""

    @property
    def answered(self) -> bool:
        """Whether the answer has begun."""

    async def read_after(self, n: int) -> bytes:
        """Read what follows the body, if the protocol has been changed; else nothing."""

    def take_over(self) -> socket.socket:
        """Make a real socket, and switch the files to it."""


class MemoryBody(io.BytesIO):
    """A whole body in memory; it can be switched to a socket."""

    owner: Owner
    mode = "rb"

    def peek(self, size: int = 0) -> bytes:
        """The bytes that can be read without waiting; they are not consumed."""
        return bytes(self.getbuffer()[self.tell() :])

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def fileno(self) -> int:
        """Switch to a real socket, and return its descriptor."""
        return self.owner.take_over().fileno()

    def hand_over(self) -> tuple[bytes, None, None]:
        """Remove and return what has not been read."""
        return b"" if self.closed else self.read(), None, None

    def switch(self, sock: socket.socket) -> None:
        """Switch to a socket: all further reads are from it."""
        file = io.BufferedReader(socket.SocketIO(sock, "r"))
        for name in ("peek", "read", "read1", "readinto", "readline", "readlines"):
            setattr(self, name, getattr(file, name))


class StreamedBody(io.RawIOBase):
    """Reads the content, then the file, then the rest, then what follows the body; it can be switched to a socket."""

    mode = "rb"  # as socket.SocketIO has it

    def __init__(
        self, content: bytes, incoming: SpooledBody, loop: asyncio.AbstractEventLoop, owner: Owner | None = None
    ) -> None:
        self._content = memoryview(content)
        self._file = incoming.file
        self._rest = incoming.rest
        self._left = b""  # bytes of the rest that have arrived and were not asked for
        self._loop = loop
        self._owner = owner
        self._sock: socket.socket | None = None
        self._given = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        """The number of bytes that have been read; io.BufferedReader needs it."""
        return self._given

    def fileno(self) -> int:
        """Switch to a real socket, and return its descriptor."""
        if self._owner is None:
            return super().fileno()
        return self._owner.take_over().fileno()

    def hand_over(self) -> tuple[bytes, IO[bytes] | None, Read | None]:
        """Remove and return what has not been read: bytes, a file, and the function that reads the rest."""
        here = bytes(self._content) + self._left
        found = here, self._file, self._rest
        self._content, self._left = memoryview(b""), b""
        self._file = self._rest = None
        return found

    def switch(self, sock: socket.socket) -> None:
        """Switch to a socket: all further reads are from it."""
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
            ConnectionError: the client has closed the connection, or its side within the body.
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
