"""Uploaded files: in memory while they are small, then in an unnamed file on the disk, which those of a form share.

Owns where the bytes are. Whatever touches the disk does so in a thread, closing too: to give the room of a
large file back takes its time, and a write may still be under way.
"""

import asyncio
import contextlib
import errno
import io
import os
import re
import shutil
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, TypeVar, cast

from ...errors import HTTPError
from ...wire.headers import Headers

__all__ = ["SPOOLED", "Spool", "UploadedFile"]

SPOOLED = 1024 * 1024  # bytes of one file that stay in memory
_WRITTEN = 256 * 1024  # bytes that are written together
_LONGEST_NAME = 254  # bytes, and one for what makes a reserved name harmless
_FULL = (errno.ENOSPC, errno.EDQUOT) if hasattr(errno, "EDQUOT") else (errno.ENOSPC,)

# What Windows reserves: signs, and the names of devices, with any suffix.
_SIGNS = frozenset('<>:"|?*/\\')
_DEVICE = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3])[ ]*+(?:\..*)?", re.I | re.S)

T = TypeVar("T")


class Spool:
    """A file without a name on the disk for uploaded files, one after the other: one descriptor for all of a form.

    It is made with the first byte, and closed when all have left that have joined. `append` and `read` are for threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held while the disk is slow, so not for the loop
        self._file: BinaryIO | None = None
        self._position = self._end = 0
        self._counting = threading.Lock()
        self._users = 0
        self._closed = False

    def join(self) -> None:
        """One more file is about to have bytes here."""
        with self._counting:
            self._users += 1

    def leave(self) -> None:
        """One less; the last one has it closed."""
        with self._counting:
            self._users -= 1
            if self._users:
                return
        try:
            asyncio.get_running_loop().run_in_executor(None, self._close)
        except RuntimeError:  # there is no loop, or it has no threads any more
            self._close()

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            if self._file is not None:
                with contextlib.suppress(OSError):  # what has not been written is not wanted
                    self._file.close()

    def append(self, data: bytes | bytearray | memoryview) -> int:
        """Write at the end; returns where that is."""
        with self._lock:
            file = self._open()
            start = self._end
            self._go_to(file, start)
            file.write(data)
            file.flush()  # so that closing has nothing left to write
            self._position = self._end = start + len(data)
            return start

    def read(self, start: int, size: int) -> bytes:
        """The bytes from a place on."""
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
        self._position = -1  # unless all goes well


class _Region:
    """The part of a spool that is one uploaded file, as a file to be read."""

    def __init__(self, spool: Spool, start: int, size: int) -> None:
        self._spool = spool
        self._start = start
        self._size = size
        self._position = 0
        self._lock = threading.Lock()

    def grow(self, size: int) -> None:
        """So much more of the spool belongs to it."""
        self._size += size

    def again(self) -> "_Region":
        """The same from the beginning, with a position of its own."""
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
    """A file that came with a form. It is closed, and deleted, when the request ends.

    Attributes:
        filename: its name as the client says, which may hold anything; see `safe_filename`.
        content_type: its media type as the client says.
        headers: the fields of its part, as `Headers`.
        size: bytes of it.
    """

    def __init__(
        self, filename: str, content_type: str, headers: Headers | Mapping[str, str], spool: Spool | None = None
    ) -> None:
        self.filename = filename
        self.content_type = content_type
        self.headers = headers if isinstance(headers, Headers) else Headers(_block(headers))
        self.size = 0
        self._file: io.BytesIO | _Region = io.BytesIO()
        self._spool = Spool() if spool is None else spool
        self._joined = False  # the spool, and has to leave it
        self._closed = False
        self._waiting = bytearray()  # for the next write to the disk

    def __repr__(self) -> str:
        return f"<UploadedFile {self.filename!r}, {self.size} bytes>"

    @property
    def safe_filename(self) -> str:
        """The last part of `filename`, without what could lead anywhere else; ``"file"`` if nothing is left.

        At most 255 bytes, no hidden name, and none that Windows reserves. It may be the name of another file.
        """
        name = self.filename.replace("\\", "/").rpartition("/")[2]
        name = "".join("_" if sign in _SIGNS or _is_unseen(sign) else sign for sign in name)
        name = _trimmed(name).encode()[-_LONGEST_NAME:].decode(errors="ignore")  # the end has the suffix
        name = _trimmed(name) or "file"
        return f"_{name}" if _DEVICE.fullmatch(name) else name

    async def read(self, n: int = -1) -> bytes:
        """Read up to ``n`` bytes from the current position, all that are left if ``n`` is negative."""
        return await self._call(lambda file: file.read(n))

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; returns the new one."""
        return await self._call(lambda file: file.seek(offset, whence))

    async def save_to(self, path: str | os.PathLike[str]) -> None:
        """Copy all of it to a file, which is made or overwritten; a copy that fails is deleted.

        Args:
            path: the path of the file, or a folder, which gets it as `safe_filename`.
        """

        def save() -> None:
            target = os.path.join(path, self.safe_filename) if os.path.isdir(path) else path
            with _complete_or_none(target) as file:
                shutil.copyfileobj(cast(BinaryIO, source), file, _WRITTEN)

        self._check_open()
        stored = self._file
        source = io.BytesIO(stored.getvalue()) if isinstance(stored, io.BytesIO) else stored.again()
        await asyncio.get_running_loop().run_in_executor(None, save)

    def close(self) -> None:
        """Close it; what is on the disk has no name, and is gone when all files of the form are closed."""
        self._closed = True
        self._waiting.clear()
        self._file = io.BytesIO()
        if self._joined:
            self._joined = False
            self._spool.leave()

    # What fills it.

    @property
    def in_memory(self) -> bool:
        """Whether nothing of it is on the disk."""
        return isinstance(self._file, io.BytesIO)

    async def append(self, data: bytes, spooled: int = SPOOLED) -> None:
        """Add bytes at the end.

        Args:
            data: the bytes.
            spooled: bytes of the file beyond which it goes to the disk.

        Raises:
            HTTPError: 507: the disk is full; 503: too many files are open.
        """
        self.size += len(data)
        if self.size <= spooled:
            cast(io.BytesIO, self._file).write(data)
            return
        self._waiting += data
        if len(self._waiting) >= _WRITTEN:
            await self._write()

    async def complete(self) -> None:
        """All of it is there: it can be read from its beginning."""
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
        """In a thread, which goes on if the request is cancelled meanwhile."""
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


def _block(headers: Mapping[str, str]) -> str:
    return "\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _is_unseen(sign: str) -> bool:
    """Whether it is a control, a surrogate or a mark of direction, or ends a line."""
    category = unicodedata.category(sign)
    return category[0] == "C" or category in ("Zl", "Zp")


def _trimmed(name: str) -> str:
    """Without dots and white space at its ends."""
    while name != (name := name.strip().strip(".")):
        pass
    return name


@contextlib.contextmanager
def _complete_or_none(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to be written, and delete it if that fails."""
    file = open(path, "wb")  # noqa: SIM115  # if it cannot be opened, what is there stays
    try:
        with file:
            yield file
    except BaseException:
        if os.path.isfile(path):
            with contextlib.suppress(OSError):
                os.unlink(path)
        raise
