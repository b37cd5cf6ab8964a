"""Sending files: by the system call ``sendfile`` where possible, else by reading and writing.

The loop never waits for a disk, if the kernel tells what is in the page cache. It knows nothing of HTTP.

uvloop has no ``sendfile``, and asyncio's needs a transport of asyncio. So `Sendfile` writes to the socket itself, while
the transport has nothing to write.
"""

import asyncio
import contextlib
import errno
import os
from collections.abc import AsyncIterator, Callable
from typing import cast

from ..errors import ClientDisconnected
from .outgoing import Outgoing

__all__ = ["FileTransfer", "file_transfer", "read_at", "read_at_once", "read_from"]

_PIECE = 1024 * 1024  # bytes for one call of sendfile; measured by benchmarks/bench.py, workload file-1m
_READ = 256 * 1024  # bytes that are read at a time and sent by the transport
_HELD_BACK = 4096  # bytes at the end of a part that are sent only after the check
_TURN = 4 * _PIECE  # bytes after which other tasks have their turn, even if the socket takes more

_NOWAIT = getattr(os, "RWF_NOWAIT", None)


class FileTransfer:
    """Sends parts of one open file by reading and writing.

    Args:
        out: the write side of the connection.
        descriptor: the descriptor of the file.
    """

    def __init__(self, out: Outgoing, descriptor: int) -> None:
        self._out = out
        self._descriptor = descriptor

    async def parts(self, offset: int, count: int, check: Callable[[], bool] | None) -> AsyncIterator[int]:
        """Send a part of the file; yield the number of bytes whenever some have been sent.

        Args:
            offset: where the part begins in the file.
            count: its length in bytes.
            check: called before the last bytes are sent; if it returns False, they are not sent, so that the peer sees
                an incomplete answer. None for no check.

        Raises:
            EOFError: the file is shorter, or the check has returned False.
            ClientDisconnected: the peer has closed the connection.
        """
        left = count if check is None else count - min(count, _HELD_BACK)
        while left:
            sent = await self.send(offset, left)
            if not sent:
                raise EOFError(f"the file has ended at {offset} bytes, before all was sent")
            offset += sent
            left -= sent
            yield sent
        if check is not None:
            left = min(count, _HELD_BACK)
            data = await read_at(self._descriptor, offset, left)
            if len(data) < left or not check():
                raise EOFError("the file has changed while it was sent")
            await self._out.writable()
            self._out.send([data])
            yield left

    async def send(self, offset: int, count: int) -> int:
        """Send at most ``count`` bytes from ``offset`` on; return how many, 0 at the end of the file."""
        await self._out.writable()
        data = await read_at(self._descriptor, offset, min(count, _READ))
        if data:
            self._out.send([data])
            await asyncio.sleep(0)  # a fast client must not keep other tasks waiting
        return len(data)

    def close(self) -> None:
        """Release what the transfer holds; it has to be called at the end in any case."""


def file_transfer(out: Outgoing, transport: asyncio.Transport, descriptor: int) -> FileTransfer:
    """Make the transfer of a file: a `Sendfile`, unless the connection has TLS or the system has no such call."""
    sock = transport.get_extra_info("socket")
    if hasattr(os, "sendfile") and sock is not None and transport.get_extra_info("sslcontext") is None:
        return Sendfile(out, transport, sock.fileno(), descriptor)
    return FileTransfer(out, descriptor)


async def read_at(descriptor: int, offset: int, count: int) -> bytes:
    """Read from a file: at once if the bytes are in the page cache, else in a thread.

    Returns:
        The bytes; fewer than ``count`` only at the end of a regular file.
    """
    if _in_memory(descriptor, offset + count - 1):
        return read_from(descriptor, offset, count)
    return await _read_in_thread(descriptor, offset, count)


async def _read_in_thread(descriptor: int, offset: int, count: int) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, read_from, descriptor, offset, count)


class Sendfile(FileTransfer):
    """Sends parts of one open file by ``os.sendfile``, from the page cache to the socket.

    It writes to the socket itself while the transport has nothing to write.

    A loop refuses to watch a socket that belongs to a transport, but not a duplicate of its descriptor. A TCP
    connection is closed only with its last descriptor, so the duplicate is always closed before the transport:
    `Outgoing.lose` does that, too.
    """

    def __init__(self, out: Outgoing, transport: asyncio.Transport, sock: int, descriptor: int) -> None:
        super().__init__(out, descriptor)
        self._transport = transport
        self._protocol = cast(asyncio.Protocol, transport.get_protocol())
        self._socket = sock
        self._duplicate = -1
        self._turn = _TURN
        out.companion = self
        out.unbuffer(on=True)

    async def send(self, offset: int, count: int) -> int:
        """Send as much as the socket takes; wait until it takes at least one byte."""
        await self._out.writable()
        count = min(count, _PIECE)
        if not _in_memory(self._descriptor, offset + count - 1):
            await _read_in_thread(self._descriptor, offset, count)  # for the page cache
        while True:
            if self._out.lost or self._transport.is_closing():
                raise self._gone()
            try:
                sent = os.sendfile(self._socket, self._descriptor, offset, count)
            except BlockingIOError:
                await self._socket_writable()
                continue
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # the file system does not support it
                    return await super().send(offset, count)
                if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT):
                    raise
                self._transport.abort()
                raise self._gone() from None
            self._out.passed(sent)
            await self._take_turns(sent)
            return sent

    def _gone(self) -> ClientDisconnected:
        self._out.lose()  # connection_lost() will follow
        return ClientDisconnected("the client is gone")

    async def _take_turns(self, sent: int) -> None:
        self._turn -= sent
        if self._turn < 0:
            self._turn = _TURN
            await asyncio.sleep(0)

    async def _socket_writable(self) -> None:
        self._turn = _TURN
        if self._duplicate < 0:
            self._duplicate = os.dup(self._socket)
        loop = asyncio.get_running_loop()
        self._protocol.pause_writing()  # as the transport does, so that the rate of the peer is measured
        loop.add_writer(self._duplicate, self._protocol.resume_writing)
        try:
            await self._out.writable()
        finally:
            if self._duplicate >= 0:
                loop.remove_writer(self._duplicate)
                if self._out.paused:
                    self._protocol.resume_writing()  # also after a cancellation

    def close(self) -> None:
        """Close the duplicate."""
        self._out.companion = None
        self._out.unbuffer(on=False)
        if self._duplicate >= 0:
            descriptor, self._duplicate = self._duplicate, -1
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                asyncio.get_running_loop().remove_writer(descriptor)
            os.close(descriptor)


def _in_memory(descriptor: int, offset: int) -> bool:
    """Whether the bytes are in the page cache; True if the file system cannot tell."""
    # The kernel reads ahead, so the last byte of a piece stands for all of it.
    if _NOWAIT is None:
        return True
    try:
        os.preadv(descriptor, [bytearray(1)], offset, _NOWAIT)
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
