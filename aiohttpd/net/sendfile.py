"""Sending files: by the system call ``sendfile`` where possible, else by reading and writing.

The loop never waits for a disk, if the kernel tells what is in the page cache. It knows nothing of HTTP.

uvloop has no ``sendfile``, and asyncio's needs a transport of asyncio. So `Sendfile` writes to the socket itself, while
the transport has nothing to write.
"""

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import cast

from ..errors import ClientDisconnected
from .outgoing import LEADING, Outgoing

__all__ = ["FileTransfer", "file_transfer", "read_at_once", "read_from", "read_piece", "size_of_part"]

_PIECE = 1024 * 1024  # bytes for one call of sendfile; measured by benchmarks/bench.py, workload file-1m
_READ = 128 * 1024  # bytes that are read at a time and sent by the transport
_HELD_BACK = 4096  # bytes at the end of a part that `Sendfile` sends only after the check
_TURN = 4 * _PIECE  # bytes after which other tasks have their turn, even if the socket takes more
_READ_TURN = 256 * 1024  # the same for bytes that are read, and perhaps encrypted

_NOWAIT = getattr(os, "RWF_NOWAIT", None)
_SENDFILE = hasattr(os, "sendfile")
_MORE = getattr(socket, "MSG_MORE", 0)
_probe = [bytearray(1)]  # what is read into it is not used


class _ReadBuffer(threading.local):
    """Memory into which pieces of files are read, one for each thread that runs an event loop.

    A piece has been given to the transport before the next one is read. TLS has encrypted it then, so that the memory
    can be used again, and stays in the cache of the processor.
    """

    _memory: memoryview | None = None

    def read(self, descriptor: int, offset: int, count: int) -> bytes | memoryview | None:
        """Read from a file without waiting for a disk.

        Returns:
            The bytes, which are valid until the next call; empty at the end of the file; None if the bytes are not in
            the page cache.
        """
        if _NOWAIT is None:
            return read_from(descriptor, offset, count)
        if self._memory is None:
            self._memory = memoryview(bytearray(_READ))
        piece = self._memory[:count]
        try:
            return piece[: os.preadv(descriptor, [piece], offset, _NOWAIT)]
        except BlockingIOError:
            return None
        except OSError:  # the file system cannot tell
            return read_from(descriptor, offset, count)

    def drop(self) -> None:
        """The transport still refers to the last piece: take other memory for the next one."""
        self._memory = None


_buffer = _ReadBuffer()


class FileTransfer:
    """Sends parts of one open file by reading and writing.

    What is given to the output before a part, such as the head, is held back and leaves with the first bytes of the
    part.

    Args:
        out: the write side of the connection.
        descriptor: the descriptor of the file.
    """

    def __init__(self, out: Outgoing, descriptor: int) -> None:
        self._out = out
        self._descriptor = descriptor
        out.hold()

    def send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> Awaitable[None] | None:
        """Send a part of the file.

        Args:
            offset: where the part begins in the file.
            count: its length in bytes.
            check: called before the last bytes are sent; if it returns False, they are not sent, so that the peer sees
                an incomplete answer. None for no check.
            passed: called with the number of bytes whenever some have been sent.

        Returns:
            What has to be awaited; None if all is sent already.

        Raises:
            EOFError: the file is shorter, or the check has returned False.
            ClientDisconnected: the peer has closed the connection.
        """
        return self._send(offset, count, check, passed)

    async def _send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> None:
        out, descriptor = self._out, self._descriptor
        end, turn = offset + count, 0
        while offset < end:
            if out.paused or out.lost:
                await out.writable()
            wanted = min(end - offset, LEADING if out.held else _READ)
            piece: bytes | memoryview | None = _buffer.read(descriptor, offset, wanted)
            if piece is None:
                out.release()
                piece = await _read_in_thread(descriptor, offset, wanted)
                await out.writable()
            if not piece:
                raise _ended(offset)
            size = len(piece)
            offset += size
            if offset == end and check is not None and not check():
                raise _changed()
            if not out.lend(piece):
                _buffer.drop()
            passed(size)
            turn += size
            if turn >= _READ_TURN or offset == end:
                turn = 0
                await asyncio.sleep(0)  # a fast client must not keep other tasks waiting

    def close(self) -> None:
        """Release what the transfer holds; it has to be called at the end in any case."""


def file_transfer(out: Outgoing, transport: asyncio.Transport, descriptor: int) -> FileTransfer:
    """Make the transfer of a file: a `Sendfile`, unless the connection has TLS or the system has no such call."""
    sock = transport.get_extra_info("socket")
    if _SENDFILE and sock is not None and transport.get_extra_info("sslcontext") is None:
        return Sendfile(out, transport, sock.fileno(), descriptor)
    return FileTransfer(out, descriptor)


def size_of_part(descriptor: int, offset: int, count: int | None) -> int:
    """Return the size of a part of a file that begins at ``offset``: ``count``, or all up to the end of the file.

    Raises:
        ValueError: ``offset`` or ``count`` is negative.
    """
    if offset < 0 or (count is not None and count < 0):
        raise ValueError(f"the offset and the size of a part of a file are at least 0, not {offset} and {count}")
    return max(0, os.fstat(descriptor).st_size - offset) if count is None else count


class Pause(Enum):
    """Why `Sendfile` cannot send the next bytes now."""

    FULL = "the socket takes no more bytes"
    COLD = "the bytes are not in the page cache"
    TURN = "other tasks have their turn"
    REFUSED = "the file system does not support sendfile, or there is no descriptor to watch the socket by"


FULL, COLD, TURN, REFUSED = Pause


class Sendfile(FileTransfer):
    """Sends parts of one open file by ``os.sendfile``, from the page cache to the socket.

    It writes to the socket itself while the transport has nothing to write. What the socket takes is sent at once, and
    the rest whenever the loop says that the socket can be written to; the task that waits for it is not woken before
    the end.

    A loop refuses to watch a socket that belongs to a transport, but not a duplicate of its descriptor. A TCP
    connection is closed only with its last descriptor, so the duplicate is always closed before the transport:
    `Outgoing.lose` does that, too.
    """

    def __init__(self, out: Outgoing, transport: asyncio.Transport, sock: int, descriptor: int) -> None:
        out.release()
        super().__init__(out, descriptor)
        self._transport = transport
        self._socket = sock
        self._duplicate = -1
        self._waiter: asyncio.Future[Pause | None] | None = None  # of the task, while the socket is full

    def send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> Awaitable[None] | None:
        """See `FileTransfer.send`. It raises the same errors."""
        self._check = check
        self._passed = passed
        # Positions in the file: of the next byte, of the end of the part, and of what is sent before the check; bytes
        # before the last one are in the page cache.
        self._next = self._cached = offset
        self._last = self._end = offset + count
        if check is not None:
            self._end -= min(count, _HELD_BACK)
        if self._out.held is not None:
            self._lead()
        pause = FULL if self._out.paused else self._advance()
        return None if pause is None else self._continue(pause)

    def _lead(self) -> None:
        """Send what has been held back; together with the first bytes of the part, if they are in the page cache."""
        out = self._out
        free = not (out.paused or self._transport.is_closing())
        if not (free and out.held and self._is_cached(min(self._last, self._next + _PIECE))):
            out.release()
            return
        data = out.take_held()
        sent = _send_more(self._transport, data)
        if sent < len(data):
            self._transport.write(data[sent:])

    def _run_check(self) -> None:
        """Allow the last bytes to be sent, unless the check says that the file has changed."""
        check, self._check = self._check, None
        if check is not None and not check():
            raise _changed()
        self._end = self._last

    async def _continue(self, pause: Pause | None) -> None:
        if self._out.paused or self._out.lost:
            await self._out.writable()  # the transport still has to write what was given to it before
            pause = self._advance()
        while pause is not None:
            if pause is FULL:
                pause = await self._until_sent()
                continue
            if pause is COLD:
                wanted = min(self._last, self._next + _PIECE)
                await _read_in_thread(self._descriptor, self._next, wanted - self._next)  # into the page cache
                self._cached = wanted
            elif pause is TURN:
                await asyncio.sleep(0)
            else:
                await self._send(self._next, self._last - self._next, self._check, self._passed)
                return
            pause = self._advance()

    def _advance(self) -> Pause | None:
        """Send what the socket takes; return why it has paused, or None at the end."""
        out = self._out
        if out.lost or self._transport.is_closing():
            raise self._gone()
        stop = self._next + _TURN
        while True:
            start = self._next
            if start >= self._end:
                if self._check is not None:
                    self._run_check()
                if start >= self._last:
                    return None
            if start >= self._cached and not self._is_cached(min(self._last, start + _PIECE)):
                return COLD
            count = min(self._end, self._cached) - start
            try:
                sent = os.sendfile(self._socket, self._descriptor, start, count)
            except BlockingIOError:
                return FULL
            except OSError as error:
                return self._failed(error)
            if not sent:
                raise _ended(start)
            self._next = start + sent
            out.passed(sent)
            self._passed(sent)
            if sent < count:  # if the file has ended, the socket can be written to, and the next call sends nothing
                return FULL
            if self._next >= stop and self._next < self._last:
                return TURN

    def _is_cached(self, end: int) -> bool:
        """Whether the bytes before ``end`` are in the page cache."""
        if not _in_memory(self._descriptor, end - 1):
            return False
        self._cached = end
        return True

    def _failed(self, error: OSError) -> Pause:
        if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # the file system does not support it
            return REFUSED
        if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT):
            raise error
        self._transport.abort()
        raise self._gone() from None

    def _gone(self) -> ClientDisconnected:
        self._out.lose()  # connection_lost() will follow
        return ClientDisconnected("the client is gone")

    async def _until_sent(self) -> Pause | None:
        """Send whenever the socket can be written to, until there is another reason to pause, or all is sent."""
        loop = asyncio.get_running_loop()
        protocol = cast(asyncio.Protocol, self._transport.get_protocol())
        self._waiter = loop.create_future()
        if self._duplicate < 0:
            try:
                self._duplicate = os.dup(self._socket)
            except OSError:  # no descriptor is left
                return REFUSED
            self._out.companion = self
        protocol.pause_writing()  # as the transport does, so that the rate of the peer is measured
        loop.add_writer(self._duplicate, self._socket_writable, self._waiter)
        try:
            return await self._waiter
        finally:
            self._waiter = None  # the traceback of its exception refers to this object
            if self._duplicate >= 0:
                loop.remove_writer(self._duplicate)
                if self._out.paused:
                    protocol.resume_writing()  # also after a cancellation

    def _socket_writable(self, waiter: "asyncio.Future[Pause | None]") -> None:
        if waiter.done():
            return  # the task will run in this iteration of the loop
        self._cached = min(self._cached, self._next)  # a slow peer may have let the bytes leave the page cache
        try:
            pause = self._advance()
        except Exception as error:
            if not waiter.done():
                waiter.set_exception(error)
            return
        if pause is not FULL and pause is not TURN:  # else the loop calls again
            waiter.set_result(pause)

    def close(self) -> None:
        """Close the duplicate. A task that waits learns that the client is gone."""
        if self._duplicate < 0:
            return
        self._out.companion = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ClientDisconnected("the client is gone"))
        descriptor, self._duplicate = self._duplicate, -1
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            asyncio.get_running_loop().remove_writer(descriptor)
        os.close(descriptor)


def _send_more(transport: asyncio.Transport, data: bytes) -> int:
    """Write to the socket bytes that others will follow at once; return how many it has taken."""
    sock = transport.get_extra_info("socket")
    try:
        # The loops' objects cannot send.
        plain = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.fileno())
        try:
            plain.setblocking(False)  # the object: the descriptor does not block
            return plain.send(data, _MORE)
        finally:
            plain.detach()
    except OSError:
        return 0  # the socket is full, or the transport will have the error


def _ended(offset: int) -> EOFError:
    return EOFError(f"the file has ended at {offset} bytes, before all was sent")


def _changed() -> EOFError:
    return EOFError("the file has changed while it was sent")


async def read_piece(descriptor: int, offset: int, left: int, most: int, check: Callable[[], bool] | None) -> bytes:
    """Read the next piece of a part of a file: at once if it is in the page cache, else in a thread.

    Args:
        descriptor: the descriptor of the file.
        offset: where the piece begins in the file.
        left: bytes up to the end of the part.
        most: bytes of the piece, at most.
        check: called after the last piece has been read; if it returns False, the file has changed.

    Raises:
        EOFError: the file has ended, or has changed.
    """
    count = min(left, most)
    if _in_memory(descriptor, offset + count - 1):
        data = read_from(descriptor, offset, count)
    else:
        data = await _read_in_thread(descriptor, offset, count)
    if not data:
        raise _ended(offset)
    if len(data) == left and check is not None and not check():
        raise _changed()
    return data


async def _read_in_thread(descriptor: int, offset: int, count: int) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, read_from, descriptor, offset, count)


def _in_memory(descriptor: int, offset: int) -> bool:
    """Whether the bytes are in the page cache; True if the file system cannot tell."""
    # The kernel reads ahead, so the last byte of a piece stands for all of it.
    if _NOWAIT is None:
        return True
    try:
        os.preadv(descriptor, _probe, offset, _NOWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def read_from(descriptor: int, offset: int, count: int) -> bytes:
    """Read from a file; to be called in a thread, since it may wait for a disk."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)


def read_at_once(descriptor: int, offset: int, count: int) -> bytes | None:
    """Read from a file without waiting for a disk; None if the bytes are not in the page cache."""
    if _NOWAIT is None:
        return read_from(descriptor, offset, count)
    data = bytearray(count)
    try:
        return bytes(data[: os.preadv(descriptor, [data], offset, _NOWAIT)])
    except BlockingIOError:
        return None
    except OSError:  # the file system cannot tell
        return read_from(descriptor, offset, count)
