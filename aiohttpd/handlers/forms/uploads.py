"""Uploaded files of forms: small ones in memory, large ones in an unnamed temporary file that those of a form share.

Owns where the bytes are. Everything that uses the disk runs in a thread. So does closing: it waits for a write that has
begun, and freeing the space of a large file takes time.
"""

import asyncio
import contextlib
import errno
import io
import os
import shutil
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, TypeVar, cast

from ...errors import HTTPError
from ...wire.headers import Headers, headers_of
from ..files.paths import base_name, is_device

__all__ = ["SPOOLED", "Spool", "UploadedFile"]

SPOOLED = 1024 * 1024  # bytes of one file that are kept in memory
_WRITE_SIZE = 256 * 1024  # bytes that are collected for one write
_LONGEST_NAME = 254  # bytes, without the underscore that may be put before a reserved name
_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)

_SIGNS = frozenset('<>:"|?*/\\')  # reserved on Windows

T = TypeVar("T")


class Spool:
    """An unnamed temporary file with the uploaded files of a form one after the other, so a form uses one descriptor.

    The file is created with the first byte. It is closed when all users have left. `append` and `read` block; they are
    called in threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held during disk access, so the event loop must not acquire it
        self._file: BinaryIO | None = None
        self._position = self._end = 0
        self._counting = threading.Lock()
        self._users = 0
        self._closed = False

    def join(self) -> None:
        """Add a user: an uploaded file that will have bytes here."""
        with self._counting:
            self._users += 1

    def leave(self) -> None:
        """Remove a user. The last one closes the file."""
        with self._counting:
            self._users -= 1
            if self._users:
                return
        try:
            asyncio.get_running_loop().run_in_executor(None, self._close)
        except RuntimeError:  # no event loop is running, or its thread pool has been shut down
            self._close()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                with contextlib.suppress(OSError):  # a failed write of data that nobody will read
                    self._file.close()

    def append(self, data: bytes | bytearray | memoryview) -> int:
        """Write at the end. Returns the position of the first byte."""
        with self._lock:
            file = self._open()
            start = self._end
            self._go_to(file, start)
            file.write(data)
            file.flush()  # so that close() does not write
            self._position = self._end = start + len(data)
            return start

    def read(self, start: int, size: int) -> bytes:
        """Read bytes from a position on."""
        with self._lock:
            file = self._open()
            self._go_to(file, start)
            data = file.read(size)
            self._position = start + len(data)
            return data

    def _open(self) -> BinaryIO:
        if self._closed:
            raise ValueError("the files of a form last as long as its request")
        if self._file is None:
            import tempfile

            self._file = tempfile.TemporaryFile()  # noqa: SIM115  # leave() closes it
        return self._file

    def _go_to(self, file: BinaryIO, position: int) -> None:
        if self._position != position:
            file.seek(position)
        self._position = -1  # unknown, if the read or write that follows fails


class _Region:
    """The bytes of one uploaded file in a spool, as a readable file."""

    def __init__(self, spool: Spool, start: int, size: int) -> None:
        self._spool = spool
        self._start = start
        self._size = size
        self._position = 0
        self._lock = threading.Lock()

    def grow(self, size: int) -> None:
        """Add bytes that have been appended to the spool."""
        self._size += size

    def reopened(self) -> "_Region":
        """The same bytes with a position of its own, at the beginning."""
        return _Region(self._spool, self._start, self._size)

    def read(self, n: int = -1) -> bytes:
        with self._lock:
            left = max(0, self._size - self._position)
            data = self._spool.read(self._start + self._position, left if n < 0 else min(n, left))
            self._position += len(data)
            return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence not in (os.SEEK_SET, os.SEEK_CUR, os.SEEK_END):
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        with self._lock:
            position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
            if position < 0:
                raise ValueError(f"negative position {position}")
            self._position = position
            return position


class UploadedFile:
    """An uploaded file of a form. It is closed and deleted when the request ends.

    Attributes:
        filename: the name that the client has sent, unchecked; see `safe_filename`.
        content_type: the media type that the client has sent.
        headers: the header fields of the part, as `Headers`.
        size: bytes of the file.
    """

    def __init__(
        self, filename: str, content_type: str, headers: Headers | Mapping[str, str], spool: Spool | None = None
    ) -> None:
        self.filename = filename
        self.content_type = content_type
        self.headers = headers if isinstance(headers, Headers) else headers_of(headers.items())
        self.size = 0
        self._file: io.BytesIO | _Region = io.BytesIO()
        self._spool = Spool() if spool is None else spool
        self._joined = False  # is a user of the spool
        self._closed = False
        self._waiting = bytearray()  # bytes for the next write to disk

    def __repr__(self) -> str:
        return f"<UploadedFile {self.filename!r}, {self.size} bytes>"

    @property
    def safe_filename(self) -> str:
        """`filename` without folders and unsafe characters; ``"file"`` if nothing is left.

        It has at most 255 bytes, is not hidden, and is not reserved on Windows. A file of this name may exist already.
        """
        name = base_name(self.filename)
        name = "".join("_" if sign in _SIGNS or _is_invisible(sign) else sign for sign in name)
        # Shortened at the beginning, since the suffix is at the end.
        name = _trimmed(name).encode()[-_LONGEST_NAME:].decode(errors="ignore")
        name = _trimmed(name) or "file"
        return f"_{name}" if is_device(name) else name

    async def read(self, n: int = -1) -> bytes:
        """Read up to ``n`` bytes from the current position; all that are left if ``n`` is negative."""
        return await self._call(lambda file: file.read(n))

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Change the position; the arguments are those of ``io.IOBase.seek``. Returns the new position."""
        return await self._call(lambda file: file.seek(offset, whence))

    async def save_to(self, path: str | os.PathLike[str]) -> None:
        """Copy the uploaded file to a file, which is created or overwritten. If that fails, the copy is deleted.

        Args:
            path: the path of the file; or a folder, in which the file is called `safe_filename`.

        Raises:
            OSError: the file cannot be written.
            ValueError: the uploaded file has been closed.
        """

        def save() -> None:
            target = os.path.join(path, self.safe_filename) if os.path.isdir(path) else path
            with _complete_or_none(target) as file:
                shutil.copyfileobj(cast(BinaryIO, source), file, _WRITE_SIZE)

        self._check_open()
        stored = self._file
        source = io.BytesIO(stored.getvalue()) if isinstance(stored, io.BytesIO) else stored.reopened()
        await asyncio.get_running_loop().run_in_executor(None, save)

    def close(self) -> None:
        """Close the file. Its bytes on disk are deleted when all files of the form are closed."""
        self._closed = True
        self._waiting.clear()
        self._file = io.BytesIO()
        if self._joined:
            self._joined = False
            self._spool.leave()

    # Methods for reading a form.

    @property
    def in_memory(self) -> bool:
        """Whether all bytes are in memory."""
        return isinstance(self._file, io.BytesIO)

    async def append(self, data: bytes, spooled: int = SPOOLED) -> None:
        """Append bytes.

        Args:
            data: the bytes.
            spooled: the size in bytes beyond which the file is stored on disk.

        Raises:
            HTTPError: 503: there is no file descriptor left; 507: the disk is full.
        """
        self.size += len(data)
        if self.size <= spooled:
            cast(io.BytesIO, self._file).write(data)
            return
        self._waiting += data
        if len(self._waiting) >= _WRITE_SIZE:
            await self._write()

    async def complete(self) -> None:
        """Write the last bytes, and go to the beginning."""
        if self._waiting:
            await self._write()
        if isinstance(self._file, io.BytesIO):
            self._file.seek(0)

    async def _write(self) -> None:
        data, self._waiting = self._waiting, bytearray()
        if not self._joined:
            self._spool.join()
            self._joined = True
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._write_to_disk, data)
        except OSError as error:
            if error.errno in _FULL:
                raise HTTPError(507, None, "there is no room on the disk for the files of the form") from error
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise HTTPError(503, None, "too many files are open") from error
            raise

    def _write_to_disk(self, data: bytearray) -> None:
        """Write in a thread. A cancellation of the request does not stop it."""
        stored = self._file
        if isinstance(stored, io.BytesIO):
            data[:0] = stored.getbuffer()
            self._file = _Region(self._spool, self._spool.append(data), len(data))
        else:
            self._spool.append(data)
            stored.grow(len(data))

    async def _call(self, function: "Callable[[io.BytesIO | _Region], T]") -> T:
        self._check_open()
        if self.in_memory:
            return function(self._file)
        return await asyncio.get_running_loop().run_in_executor(None, function, self._file)

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self!r} is a closed file: it lasts as long as its request")


def _is_invisible(sign: str) -> bool:
    """Whether a character is invisible: controls, format characters, surrogates, line separators."""
    category = unicodedata.category(sign)
    return category[0] == "C" or category in ("Zl", "Zp")


def _trimmed(name: str) -> str:
    """Remove dots and white space at both ends."""
    while name != (name := name.strip().strip(".")):
        pass
    return name


@contextlib.contextmanager
def _complete_or_none(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing, and delete it if the block raises an exception."""
    file = open(path, "wb")  # noqa: SIM115  # before ``try``: a file that cannot be opened is not deleted
    try:
        with file:
            yield file
    except BaseException:
        if os.path.isfile(path):
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise
