"""Transfers: the way of a file's bytes to the peer, past Python where the kernel can do it.

Owns the choice between ``sendfile`` and reading, and keeps the loop from waiting for a disk where the
kernel says that it would. Knows nothing of HTTP.

uvloop has no ``sendfile``, and asyncio's wants a transport of its own kind. So the socket is written
beside the transport, while that has nothing to write: see `Sendfile`.
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

_PIECE = 1024 * 1024  # bytes for one call of sendfile; benchmarks/files.py
_READ = 256 * 1024  # bytes that are read, and sent by the transport
_HELD_BACK = 4096  # bytes at the end of what is sent only if it has not changed
_TURN = 4 * _PIECE  # bytes after which others have their turn, if the peer is that fast

_NOWAIT = getattr(os, "RWF_NOWAIT", None)


class FileTransfer:
    """Sends parts of one open file.

    Args:
        out: where what is written goes.
        descriptor: of the file.
    """

    def __init__(self, out: Outgoing, descriptor: int) -> None:
        self._out = out
        self._descriptor = descriptor

    async def parts(self, offset: int, count: int, check: Callable[[], bool] | None) -> AsyncIterator[int]:
        """Send ``count`` bytes from ``offset`` on; tells how many whenever some have been sent.

        Args:
            offset: where they begin in the file.
            count: how many they are.
            check: asked before the last of them leave, if the answer must not be whole without its yes.

        Raises:
            EOFError: the file ends before, or the check has failed.
            ClientDisconnected: the peer is gone.
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
        """Send some of the bytes from ``offset`` on, at most ``count``; return how many, 0 at the file's end."""
        await self._out.writable()
        data = await read_at(self._descriptor, offset, min(count, _READ))
        if data:
            self._out.send([data])
            await asyncio.sleep(0)  # a client that keeps up must not keep the loop from the others
        return len(data)

    def close(self) -> None:
        """End it, on every path."""


def file_transfer(out: Outgoing, transport: asyncio.Transport, descriptor: int) -> FileTransfer:
    """Choose how the bytes of a file go to a transport: by `Sendfile` unless there is TLS, or no such call."""
    sock = transport.get_extra_info("socket")
    if hasattr(os, "sendfile") and sock is not None and transport.get_extra_info("sslcontext") is None:
        return Sendfile(out, transport, sock.fileno(), descriptor)
    return FileTransfer(out, descriptor)


async def read_at(descriptor: int, offset: int, count: int) -> bytes:
    """Read from a file: at once if its bytes are in memory, else in a thread.

    Returns:
        Fewer bytes than asked for at the end of the file only, as far as files go.
    """
    if _in_memory(descriptor, offset + count - 1):
        return read_from(descriptor, offset, count)
    return await _read_in_thread(descriptor, offset, count)


async def _read_in_thread(descriptor: int, offset: int, count: int) -> bytes:
    return await asyncio.get_running_loop().run_in_executor(None, read_from, descriptor, offset, count)


class Sendfile(FileTransfer):
    """By ``os.sendfile``, from the page cache to the socket.

    It writes beside the transport, which has to have nothing to write then, and says so from now on.

    The loop does not let us wait for a socket that a transport has, but for a duplicate of its descriptor.
    A TCP connection is closed only with its last descriptor, so the duplicate goes first on every path:
    `Outgoing.lose` closes it, too.
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
        """Send as much as the socket takes; wait until it takes something."""
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
                if error.errno in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # a file system that has no such call
                    return await super().send(offset, count)
                if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ETIMEDOUT):
                    raise
                self._transport.abort()
                raise self._gone() from None
            self._out.passed(sent)
            await self._take_turns(sent)
            return sent

    def _gone(self) -> ClientDisconnected:
        self._out.lose()  # the loop is about to say so
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
        self._protocol.pause_writing()  # as the transport would: the peer is watched then
        loop.add_writer(self._duplicate, self._protocol.resume_writing)
        try:
            await self._out.writable()
        finally:
            if self._duplicate >= 0:
                loop.remove_writer(self._duplicate)
                if self._out.paused:
                    self._protocol.resume_writing()  # cancelled: what comes next may be written

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
    """Whether reading would not wait for a disk; a file system that cannot tell is taken to be fast."""
    # Files are read ahead, so the last byte of a piece stands for all of it.
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
    """Read from a file, in a thread where that may take its time."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, count)


def read_at_once(descriptor: int, offset: int, count: int) -> bytes | None:
    """Read from a file without waiting for a disk; None if that cannot be."""
    if _NOWAIT is None:
        return read_from(descriptor, offset, count)
    data = bytearray(count)
    try:
        return bytes(data[: os.preadv(descriptor, [data], offset, _NOWAIT)])
    except BlockingIOError:
        return None
    except OSError:  # a file system that cannot tell is taken to be fast
        return read_from(descriptor, offset, count)
