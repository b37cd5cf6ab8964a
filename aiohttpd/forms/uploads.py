"""Uploaded files: in memory while they are small, then in an unnamed file on the disk.

Owns where the bytes are. Whatever touches the disk does so in a thread.
"""

import asyncio
import io
import os
import shutil
import unicodedata
from collections.abc import Callable
from typing import BinaryIO, TypeVar

__all__ = ["SPOOLED", "UploadedFile"]

SPOOLED = 1024 * 1024  # bytes of one file that stay in memory
_WRITTEN = 256 * 1024  # bytes that are written together
_LONGEST_NAME = 255

T = TypeVar("T")


class UploadedFile:
    """A file that came with a form. It is closed, and deleted, when the request ends.

    Attributes:
        filename: its name as the client says, which may hold anything; see `safe_filename`.
        content_type: its media type as the client says.
        headers: the fields of its part.
        size: bytes of it.
    """

    def __init__(self, filename: str, content_type: str, headers: dict[str, str]) -> None:
        self.filename = filename
        self.content_type = content_type
        self.headers = headers
        self.size = 0
        self._file: BinaryIO = io.BytesIO()
        self._closed = False
        self._waiting = bytearray()  # for the next write to the disk

    def __repr__(self) -> str:
        return f"<UploadedFile {self.filename!r}, {self.size} bytes>"

    @property
    def safe_filename(self) -> str:
        """The last part of `filename`, without what could lead anywhere else; ``"file"`` if nothing is left."""
        name = self.filename.replace("\\", "/").rpartition("/")[2]
        name = "".join("_" if unicodedata.category(sign)[0] == "C" else sign for sign in name).strip().lstrip(".")
        while len(name.encode("utf-8", "replace")) > _LONGEST_NAME:
            name = name[1:]  # the end has the suffix
        return name or "file"

    async def read(self, n: int = -1) -> bytes:
        """Read up to ``n`` bytes from the current position, all that are left if ``n`` is negative."""
        return await self._call(lambda: self._file.read(n))

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position; returns the new one."""
        return await self._call(lambda: self._file.seek(offset, whence))

    async def save_to(self, path: str | os.PathLike[str]) -> None:
        """Copy all of it to a file, which is made or overwritten.

        Args:
            path: the path of the file, or a folder, which gets it as `safe_filename`.
        """

        def save() -> None:
            target = os.path.join(path, self.safe_filename) if os.path.isdir(path) else path
            position = self._file.tell()
            self._file.seek(0)
            try:
                with open(target, "wb") as file:
                    shutil.copyfileobj(self._file, file, _WRITTEN)
            finally:
                self._file.seek(position)

        await asyncio.get_running_loop().run_in_executor(None, save)

    def close(self) -> None:
        """Close it; what is on the disk has no name, and is gone with that."""
        self._closed = True
        self._file.close()
        self._waiting.clear()

    # What fills it.

    async def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self.size += len(data)
        if self.size <= SPOOLED:
            self._file.write(data)
            return
        self._waiting += data
        if len(self._waiting) >= _WRITTEN:
            await self._write()

    async def complete(self) -> None:
        """All of it is there: it can be read from its beginning."""
        if self._waiting:
            await self._write()
        await self.seek(0)

    async def _write(self) -> None:
        data, self._waiting = self._waiting, bytearray()
        await asyncio.get_running_loop().run_in_executor(None, self._write_to_disk, data)

    def _write_to_disk(self, data: bytearray) -> None:
        """In a thread, which goes on if the request is cancelled meanwhile."""
        try:
            if isinstance(self._file, io.BytesIO):
                import tempfile

                small, self._file = self._file, tempfile.TemporaryFile()  # noqa: SIM115  # close() closes it
                self._file.write(small.getbuffer())
            self._file.write(data)
        finally:
            if self._closed:
                self._file.close()

    async def _call(self, function: Callable[[], T]) -> T:
        if not isinstance(self._file, io.BytesIO):
            return await asyncio.get_running_loop().run_in_executor(None, function)
        return function()
