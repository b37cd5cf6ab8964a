"""Receiving a file: written under a temporary name, then renamed when it is complete, or deleted.

Owns what happens on the disk: no other file is touched, some space stays free, and incomplete files are deleted. All
calls that may wait for the disk run in a thread pool of their own.
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
from typing import Any, NamedTuple, TypeVar

from ..errors import HTTPError
from ..handlers.files.tree import OpenFile

__all__ = ["PartialFile", "UploadLimits", "check_system", "is_temporary"]

_WRITE_SIZE = 256 * 1024  # bytes that are collected for one write
_DIRECT_WRITE = 64 * 1024  # bytes that are written at once, without collecting
_THREADS = 8  # threads that a slow disk can block
_LOCK_POLL = 0.02, 0.2  # seconds between attempts to lock a folder: the shortest and the longest
_RETRY_AFTER = ("Retry-After", "5")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

# The temporary name does not contain the file's name, which may have the greatest length that is allowed.
is_temporary = re.compile(r"\.aiohttpd-[0-9a-f]{16}\.part", re.IGNORECASE).fullmatch

T = TypeVar("T")

_commits = threading.Lock()
_threads = ThreadPoolExecutor(_THREADS, "aiohttpd-upload")  # threads are started when they are needed


def check_system() -> None:
    """Check that the system has what uploads need: functions that take an open folder instead of a path.

    Raises:
        NotImplementedError: it has not.
    """
    needed = {os.open, os.stat, os.link, os.rename, os.unlink}
    if not needed <= os.supports_dir_fd or not hasattr(os, "fstatvfs"):
        raise NotImplementedError("this system cannot hold a folder open, which uploads need")


class UploadLimits(NamedTuple):
    """What an upload may do on the disk.

    Attributes:
        overwrite: replace a file of the same name; otherwise 409. Its permissions are kept. A symbolic link is
            replaced, not followed.
        min_free: bytes that stay free on the disk (507).
        min_free_files: number of files that the disk keeps room for, where the file system counts them (507).
        timeout_lock: seconds to wait while another program has locked the folder (503).
    """

    overwrite: bool = False
    min_free: int = 0
    min_free_files: int = 0
    timeout_lock: float = 5.0


class PartialFile:
    """A file that is being received: an async context manager.

    If the block ends without an exception, the file is complete under its name; otherwise nothing of it is left.

    Args:
        folder: the folder of the file, open.
        name: the name of the file.
        limits: what the upload may do.
        expected: bytes that are expected, for the check of free space; 0 if that is not known.
        check: called in a thread at the beginning, and again before the file gets its name; raises `HTTPError` to
            refuse the upload.

    Attributes:
        size: bytes received.
        replaced: whether the file has replaced another one.
    """

    def __init__(
        self,
        folder: OpenFile,
        name: str,
        limits: UploadLimits,
        *,
        expected: int = 0,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._folder = folder
        self._name = name
        self._temporary = f".aiohttpd-{secrets.token_hex(8)}.part"
        self._limits = limits
        self._expected = expected
        self._check = check
        self._descriptor = -1
        self._is_created = False  # the temporary name exists
        self._mode = 0  # permissions of the file that will be replaced
        self._unwritten = bytearray()
        # When the request is cancelled, a thread may still be writing: the lock makes `_discard` wait for it.
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
            if self._unwritten:
                await self._in_thread(self._write, bytes(self._unwritten))
            await self._commit_when_unlocked()
        except BaseException:
            await self._give_up()
            raise

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            HTTPError: 507: the disk would have less free space than it must keep; 413: the file system does not take
                files of this size.
        """
        self.size += len(data)
        if not self._unwritten and len(data) >= _DIRECT_WRITE:
            await self._in_thread(self._write, data)
            return
        self._unwritten += data
        if len(self._unwritten) >= _WRITE_SIZE:
            unwritten, self._unwritten = self._unwritten, bytearray()
            await self._in_thread(self._write, unwritten)

    # Called in threads.

    def _open(self) -> None:
        with self._lock:
            if self._given_up:
                return
            self._check_name()
            self._check_free(self._expected)
            self._check_free_files()
            self._descriptor = os.open(self._temporary, _FLAGS, 0o666, dir_fd=self._folder.fileno())
            self._is_created = True
            if self._mode:  # users who cannot read the old file must not be able to read the new one, at no time
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
        """Give the file its name. Returns False if another program has locked the folder."""
        with self._lock:
            if self._given_up:
                return True
            self._close()
            if not self._limits.overwrite:
                self._check_name()
                self._take_free_name()
                return True
            # The locks keep other uploads, of this process and of other workers, from coming between check and rename.
            if not _commits.acquire(timeout=_LOCK_POLL[1]):
                return False
            try:
                if not _lock(self._folder.fileno()):
                    return False
                try:
                    self._check_name()
                    self._rename()
                finally:
                    _unlock(self._folder.fileno())
            finally:
                _commits.release()
            return True

    def _take_free_name(self) -> None:
        folder = self._folder.fileno()
        try:
            # A link, unlike a rename, fails if the name exists, even if it was created a moment ago.
            os.link(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links: reserve the name with an empty file
            os.close(os.open(self._name, _FLAGS, 0o666, dir_fd=folder))
            try:
                self._rename()
            except BaseException:
                os.unlink(self._name, dir_fd=folder)
                raise
        else:
            os.unlink(self._temporary, dir_fd=folder)
            self._is_created = False

    def _rename(self) -> None:
        folder = self._folder.fileno()
        os.replace(self._temporary, self._name, src_dir_fd=folder, dst_dir_fd=folder)
        self._is_created = False

    def _close(self) -> None:
        # A close that fails releases the descriptor, too. It must not be closed again.
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _discard(self) -> None:
        with self._lock:
            with contextlib.suppress(OSError):
                self._close()
            if self._is_created:
                with contextlib.suppress(OSError):
                    os.unlink(self._temporary, dir_fd=self._folder.fileno())
                self._is_created = False

    def _check_name(self) -> None:
        """Check that the file may have its name."""
        try:
            mode = os.stat(self._name, dir_fd=self._folder.fileno(), follow_symlinks=False).st_mode
        except FileNotFoundError:
            self.replaced = False
        else:
            if stat.S_ISDIR(mode):
                raise HTTPError(409, None, f"{self._name!r} is a folder")
            if not self._limits.overwrite:
                raise HTTPError(409, None, f"{self._name!r} is there already")
            if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
                raise HTTPError(409, None, f"{self._name!r} is no file")
            self.replaced = True
            self._mode = mode & 0o777 if stat.S_ISREG(mode) else 0
        if self._check is not None:
            self._check()

    def _check_free(self, size: int) -> None:
        status = os.fstatvfs(self._folder.fileno())
        if status.f_bavail * status.f_frsize - size < self._limits.min_free:
            short = (
                f"less than {self._limits.min_free} bytes of the disk would stay free"
                if self._limits.min_free
                else "the disk is full"
            )
            raise HTTPError(507, None, short)

    def _check_free_files(self) -> None:
        status = os.fstatvfs(self._folder.fileno())
        # File systems that do not count files (btrfs) have f_files == 0.
        if getattr(status, "f_files", 0) and status.f_favail - 1 < self._limits.min_free_files:
            raise HTTPError(
                507, None, f"the disk has no room for more files but the {self._limits.min_free_files} that stay free"
            )

    # Called in the event loop.

    async def _commit_when_unlocked(self) -> None:
        """Give the file its name as soon as the folder is not locked. No thread is blocked while it is."""
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._limits.timeout_lock, _LOCK_POLL[0]
        while not await self._in_thread(self._commit):
            if loop.time() > until:
                raise HTTPError(503, None, "another program keeps the folder locked", headers=(_RETRY_AFTER,))
            await asyncio.sleep(pause)  # there is no event for a lock that is released
            pause = min(2 * pause, _LOCK_POLL[1])

    async def _give_up(self) -> None:
        """Delete the temporary file. A second cancellation does not wait for that."""
        self._given_up = True
        self._unwritten = bytearray()
        try:
            discarding = asyncio.get_running_loop().run_in_executor(_threads, self._discard)
        except RuntimeError:  # the loop, or its thread pool, has been closed during the request
            self._discard()
        else:
            await asyncio.shield(discarding)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(_threads, function, *arguments)
        except OSError as error:
            answer = _STATUS_BY_ERRNO.get(error.errno or 0)
            if answer is None:
                raise
            raise HTTPError(answer[0], None, answer[1].format(repr(self._name), error.strerror)) from None


def _lock(folder: int) -> bool:
    """Lock a folder against other workers. Returns False if it is locked."""
    import fcntl  # systems that pass `check_system` have it

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


# Errors of the system that are answered with a status of their own. All others are logged and answered with 500.
_STATUS_BY_ERRNO = {
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
