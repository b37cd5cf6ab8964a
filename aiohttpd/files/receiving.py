"""Receiving files: under a temporary name, then under their own at once, or not at all.

Owns what happens on the disk: no other file is touched, a minimum of it stays free, and nothing is left of
what is not complete. Whatever waits for the disk does so in a thread.
"""

import asyncio
import contextlib
import os
import secrets
import threading

from ..errors import HTTPError
from .tree import OpenFile

__all__ = ["Incoming"]

_WRITTEN = 1024 * 1024  # bytes that are written together
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


class Incoming:
    """A file that is arriving; an async context manager, after which it is there whole, or nothing of it.

    Args:
        folder: where it is to be, open.
        name: what it is to be called.
        overwrite: let it take the place of another file.
        min_free: bytes of the disk that stay free (507).
    """

    def __init__(self, folder: OpenFile, name: str, *, overwrite: bool, min_free: int) -> None:
        self._folder = folder
        self._name = name
        # Hidden, so it is neither listed nor served.
        self._temporary = f".{name.lstrip('.')[:100]}.{secrets.token_hex(6)}.part"
        self._overwrite = overwrite
        self._min_free = min_free
        self._descriptor = -1
        self._waiting = bytearray()
        # A thread may still write when the request is cancelled; it ends before anything else happens.
        self._lock = threading.Lock()
        self._given_up = False
        self.size = 0
        self.replaced = False

    async def __aenter__(self) -> "Incoming":
        await self._in_thread(self._open)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            try:
                await self._in_thread(self._write, bytes(self._waiting))
                await self._in_thread(self._commit)
                return
            except BaseException:
                self._give_up()
                raise
        self._give_up()

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            HTTPError: 507: the disk would be too full.
        """
        self.size += len(data)
        self._waiting += data
        if len(self._waiting) >= _WRITTEN:
            waiting, self._waiting = self._waiting, bytearray()
            await self._in_thread(self._write, waiting)

    # In a thread.

    def _open(self) -> None:
        with self._lock:
            if self._given_up:
                return
            self._check_free(0)
            if not self._overwrite and self._exists():
                raise _exists(self._name)
            self._descriptor = os.open(self._temporary, _FLAGS, 0o666, dir_fd=self._folder.fileno())

    def _write(self, data: bytes | bytearray) -> None:
        with self._lock:
            if self._given_up:
                return
            self._check_free(len(data))
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def _commit(self) -> None:
        with self._lock:
            if self._given_up:
                return
            folder = self._folder.fileno()
            os.close(self._descriptor)
            self._descriptor = -1
            self.replaced = self._exists()
            if self._overwrite:
                os.replace(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
                return
            try:
                # A link is made only if the name is free, and at once.
                os.link(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
            except FileExistsError:
                raise _exists(self._name) from None
            except OSError:  # a file system without links
                if self._exists():
                    raise _exists(self._name) from None
                os.rename(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
                return
            os.unlink(self._temporary, dir_fd=folder)

    def _discard(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            os.unlink(self._temporary, dir_fd=self._folder.fileno())

    def _give_up(self) -> None:
        """Leave nothing behind; nobody waits for it, since nobody may be there any more."""
        self._given_up = True
        self._waiting.clear()
        asyncio.get_running_loop().run_in_executor(None, self._discard)

    def _exists(self) -> bool:
        try:
            os.stat(self._name, dir_fd=self._folder.fileno(), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _check_free(self, size: int) -> None:
        status = os.fstatvfs(self._folder.fileno())
        if status.f_bavail * status.f_frsize - size < self._min_free:
            raise HTTPError(507, None, f"less than {self._min_free} bytes of the disk would stay free")

    async def _in_thread(self, function, *arguments) -> None:  # type: ignore[no-untyped-def]  # those above
        try:
            await asyncio.get_running_loop().run_in_executor(None, function, *arguments)
        except OSError as error:
            raise _explained(error, self._name) from None


def _exists(name: str) -> HTTPError:
    return HTTPError(409, None, f"{name!r} is there already")


def _explained(error: OSError, name: str) -> HTTPError:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HTTPError(507, None, "the disk is full")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return HTTPError(403, None, "the folder cannot be written to")
    if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EISDIR, errno.EILSEQ):
        return HTTPError(400, None, f"no file can be called {name!r}: {error.strerror}")
    raise error
