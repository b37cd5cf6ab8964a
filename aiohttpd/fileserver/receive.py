"""Receiving files: under a temporary name, then under their own at once, or not at all.

Owns what happens on the disk: no other file is touched, a minimum of it stays free, and nothing is left of
what is not complete. Whatever waits for the disk does so in a thread, of those that are for this alone.
"""

import asyncio
import contextlib
import errno
import os
import re
import secrets
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..errors import HTTPError
from ..handlers.files.tree import OpenFile

__all__ = ["PartialFile", "check_system", "is_temporary"]

_WRITTEN = 256 * 1024  # bytes that are written together
_WORTH_IT = 64 * 1024  # bytes that are worth a write of their own
_THREADS = 8  # a disk that is slow, or hangs, keeps no other thread than these
_AGAIN = 0.02, 0.2  # seconds between looks whether a folder is still locked: at first, and at last
_RETRY_AFTER = ("Retry-After", "5")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

# Not made of the name, which may be as long as names may be.
is_temporary = re.compile(r"\.aiohttpd-[0-9a-f]{16}\.part", re.IGNORECASE).fullmatch

T = TypeVar("T")

_commits = threading.Lock()
_threads = ThreadPoolExecutor(_THREADS, "aiohttpd-upload")  # which begin when they are needed


def check_system() -> None:
    """See whether files can be received here.

    Raises:
        NotImplementedError: a folder cannot be held while its path may come to mean another.
    """
    needed = {os.open, os.stat, os.link, os.rename, os.unlink}
    if not needed <= os.supports_dir_fd or not hasattr(os, "fstatvfs"):
        raise NotImplementedError("this system cannot hold a folder open, which uploads need")


class PartialFile:
    """A file that is arriving; an async context manager, after which it is there whole, or nothing of it.

    Args:
        folder: where it is to be, open.
        name: what it is to be called.
        overwrite: let it take the place of another file, and its permissions. A link is replaced, not followed.
        min_free: bytes of the disk that stay free (507).
        min_free_files: files for which there stays room, where the disk has room for a number (507).
        patience: seconds for which another program may keep the folder locked (503).
        expected: bytes that are to come, as far as is known.
        check: a further look, in a thread, at the beginning and before the file gets its name.

    Attributes:
        size: bytes so far.
        replaced: whether it has taken the place of another.
    """

    def __init__(
        self,
        folder: OpenFile,
        name: str,
        *,
        overwrite: bool,
        min_free: int,
        min_free_files: int = 0,
        patience: float = 5.0,
        expected: int = 0,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._temporary = f".aiohttpd-{secrets.token_hex(8)}.part"
        self._overwrite = overwrite
        self._min_free = min_free
        self._min_free_files = min_free_files
        self._patience = patience
        self._expected = expected
        self._check = check
        self._descriptor = -1
        self._made = False  # the temporary name is there
        self._mode = 0  # permissions of what it will replace
        self._waiting = bytearray()
        # A thread may still write when the request is cancelled; it ends before anything else happens.
        self._lock = threading.Lock()
        self._given_up = False
        self.size = 0
        self.replaced = False

    async def __aenter__(self) -> "PartialFile":
        try:
            await self._in_thread(self._open)
        except BaseException:
            await self._give_up()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            await self._give_up()
            return
        try:
            if self._waiting:
                await self._in_thread(self._write, bytes(self._waiting))
            await self._commit_patiently()
        except BaseException:
            await self._give_up()
            raise

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            HTTPError: 507: the disk would be too full; 413: the file is larger than files may be there.
        """
        self.size += len(data)
        if not self._waiting and len(data) >= _WORTH_IT:
            await self._in_thread(self._write, data)
            return
        self._waiting += data
        if len(self._waiting) >= _WRITTEN:
            waiting, self._waiting = self._waiting, bytearray()
            await self._in_thread(self._write, waiting)

    # In a thread.

    def _open(self) -> None:
        with self._lock:
            if self._given_up:
                return
            self._look()
            self._check_free(self._expected)
            self._check_free_files()
            self._descriptor = os.open(self._temporary, _FLAGS, 0o666, dir_fd=self._folder.fileno())
            self._made = True
            if self._mode:  # whoever could not read the file before must not read it now, or meanwhile
                with contextlib.suppress(OSError):  # a file system without permissions
                    os.fchmod(self._descriptor, self._mode)

    def _write(self, data: bytes | bytearray) -> None:
        with self._lock:
            if self._given_up:
                return
            self._check_free(len(data))
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def _commit(self) -> bool:
        """Give the file its name; say no if somebody else keeps the folder locked."""
        with self._lock:
            if self._given_up:
                return True
            self._close()
            if not self._overwrite:
                self._look()
                self._take_free_name()
                return True
            # Between a look at what has a name and taking its place no other upload comes, nor one of another worker.
            if not _commits.acquire(timeout=_AGAIN[1]):
                return False
            try:
                if not _lock(self._folder.fileno()):
                    return False
                try:
                    self._look()
                    self._rename()
                finally:
                    _unlock(self._folder.fileno())
            finally:
                _commits.release()
            return True

    def _take_free_name(self) -> None:
        folder = self._folder.fileno()
        try:
            # Unlike renaming, this replaces nothing, whoever else takes the name now.
            os.link(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            raise
        except OSError:  # a file system without links: hold the name by an empty file
            os.close(os.open(self._name, _FLAGS, 0o666, dir_fd=folder))
            try:
                self._rename()
            except BaseException:
                os.unlink(self._name, dir_fd=folder)
                raise
        else:
            os.unlink(self._temporary, dir_fd=folder)
            self._made = False

    def _rename(self) -> None:
        folder = self._folder.fileno()
        os.replace(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        self._made = False

    def _close(self) -> None:
        # Even a close that fails gives the number free, for somebody else's file.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _discard(self) -> None:
        with self._lock:
            with contextlib.suppress(OSError):
                self._close()
            if self._made:
                with contextlib.suppress(OSError):
                    os.unlink(self._temporary, dir_fd=self._folder.fileno())
                self._made = False

    def _look(self) -> None:
        """See whether the name may be taken."""
        try:
            mode = os.stat(self._name, dir_fd=self._folder.fileno(), follow_symlinks=False).st_mode
        except FileNotFoundError:
            self.replaced = False
        else:
            if stat.S_ISDIR(mode):
                raise HTTPError(409, None, f"{self._name!r} is a folder")
            if not self._overwrite:
                raise HTTPError(409, None, f"{self._name!r} is there already")
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                raise HTTPError(409, None, f"{self._name!r} is no file")
            self.replaced = True
            self._mode = mode & 0o777 if stat.S_ISREG(mode) else 0
        if self._check is not None:
            self._check()

    def _check_free(self, size: int) -> None:
        status = os.fstatvfs(self._folder.fileno())
        if status.f_bavail * status.f_frsize - size < self._min_free:
            short = (
                f"less than {self._min_free} bytes of the disk would stay free"
                if self._min_free
                else "the disk is full"
            )
            raise HTTPError(507, None, short)

    def _check_free_files(self) -> None:
        status = os.fstatvfs(self._folder.fileno())
        # Where they are not counted (btrfs), there is room for none in all.
        if getattr(status, "f_files", 0) and status.f_favail - 1 < self._min_free_files:
            raise HTTPError(
                507, None, f"the disk has no room for more files but the {self._min_free_files} that stay free"
            )

    # Between the loop and the threads.

    async def _commit_patiently(self) -> None:
        """Give the file its name, as soon as nobody else keeps the folder locked; no thread waits for that."""
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._patience, _AGAIN[0]
        while not await self._in_thread(self._commit):
            if loop.time() > until:
                raise HTTPError(503, None, "another program keeps the folder locked", headers=(_RETRY_AFTER,))
            await asyncio.sleep(pause)  # a lock tells nobody that it has been given up
            pause = min(2 * pause, _AGAIN[1])

    async def _give_up(self) -> None:
        """Leave nothing behind. Who is cancelled meanwhile need not wait for it."""
        self._given_up = True
        self._waiting = bytearray()
        try:
            discarding = asyncio.get_running_loop().run_in_executor(_threads, self._discard)
        except RuntimeError:  # the loop has been closed in the middle of the request, or has no threads any more
            self._discard()
        else:
            await asyncio.shield(discarding)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)
        except OSError as error:
            answer = _ANSWERS.get(error.errno or 0)
            if answer is None:
                raise
            raise HTTPError(answer[0], None, answer[1].format(repr(self._name), error.strerror)) from None


def _lock(folder: int) -> bool:
    """Lock a folder for other workers; say no if it is locked."""
    import fcntl  # which systems have that pass `check_system`

    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _unlock(folder: int) -> None:
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(folder, fcntl.LOCK_UN)


# What is no fault of ours; everything else is logged, and answered with 500.
_ANSWERS = {
    getattr(errno, name): answer
    for names, answer in [
        (("ENOSPC", "EDQUOT"), (507, "the disk is full")),
        (("EACCES", "EPERM", "EROFS"), (403, "the folder cannot be written to")),
        (("ENOENT", "ESTALE"), (404, "the folder is gone")),
        (("EEXIST", "ENOTEMPTY"), (409, "{0} is there already")),
        (("EISDIR",), (409, "{0} is a folder")),
        (("ENAMETOOLONG", "EINVAL", "EILSEQ"), (400, "no file can be called {0}: {1}")),
        (("EFBIG",), (413, "the disk takes no file that large")),
        (("EMFILE", "ENFILE"), (503, "too many files are open")),
    ]
    for name in names
    if hasattr(errno, name)
}
