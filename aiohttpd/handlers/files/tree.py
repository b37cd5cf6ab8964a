"""Opening files and folders below a root, and never outside of it.

Owns what may be opened: regular files and folders below the root, not through a symbolic link that leads out of it,
also if the folders change meanwhile. Its functions block; they are called in threads.
"""

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ...errors import HTTPError
from ...net.sendfile import read_at_once, read_from

__all__ = [
    "Entry",
    "OpenFile",
    "FileState",
    "is_hidden",
    "read_entries",
    "open_inside",
    "read_names",
    "state_of",
]

_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
# Folders on the path need not be readable.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY | _NOFOLLOW | _CLOEXEC
# A file may have been replaced by a FIFO or a terminal: it must not block, or become the controlling terminal.
_READ = (
    os.O_RDONLY | _NOFOLLOW | _CLOEXEC
    | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd

# Reading does not change the access time then, so the access time tells `touch` from a write: see `OpenFile.unchanged`.
_NOATIME = getattr(os, "O_NOATIME", 0)

_SETTLED = 0.05  # seconds; two changes within one tick of the file system's clock have the same date
_SAMPLES = 32  # blocks of a file that are compared to notice a change
_SAMPLE = 512  # bytes of one block
_WELL_KNOWN = ".well-known"  # RFC 8615

FileState = tuple[int, int, int, int, int]


def state_of(status: os.stat_result) -> FileState:
    """Identity and state of a file. A change of content or permissions changes it, except within one clock tick."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class OpenFile:
    """A file or folder that is open for reading. It is closed when nothing refers to it.

    Attributes:
        size: bytes, when it was opened.
        modified: when its content was changed, in nanoseconds since the epoch.
        is_directory: whether it is a folder.
        is_readable: whether it can be read. A folder that cannot may have files that can.
        settled: whether its last change is so long ago that the next one will change its dates.
        identity: identity and state, when it was opened.
    """

    __slots__ = (
        "_changed", "_descriptor", "_leaves_no_trace", "_samples",
        "identity", "is_directory", "is_readable", "modified", "settled", "size",
    )  # fmt: skip

    def __init__(
        self,
        descriptor: int,
        status: os.stat_result,
        *,
        is_readable: bool = True,
        leaves_no_trace: bool = False,
    ) -> None:
        self._descriptor = descriptor
        self.is_readable = is_readable
        self._leaves_no_trace = leaves_no_trace
        self._samples: list[tuple[int, bytes]] | None = None
        self.size = status.st_size
        self.modified = status.st_mtime_ns
        self._changed = status.st_ctime_ns
        self.identity = state_of(status)
        self.is_directory = stat.S_ISDIR(status.st_mode)
        self.settled = time.time_ns() - max(self.modified, self._changed) > _SETTLED * 1e9

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    @property
    def etag(self) -> str:
        """The entity tag (RFC 9110 section 8.8.3). It is weak if a further change could have the same dates."""
        # The time of the last status change (ctime) cannot be set, so a copy with an old date has another tag.
        tag = f'"{self.modified:x}-{self.size:x}-{self.modified ^ self._changed:x}"'
        return tag if self.settled else f"W/{tag}"

    def unchanged(self) -> bool:
        """Whether the content that the file had when it was opened is unchanged. Bytes may have been appended.

        In two cases dates and size do not tell, and the blocks of `sample` are compared: the file has grown; or its
        size is the same, and its access time equals its modification time, as after `touch`, but not after a write.
        """
        now = os.fstat(self._descriptor)
        if state_of(now)[2:] == self.identity[2:]:
            return True
        if now.st_size == self.size and now.st_mtime_ns == self.modified and self._samples is None:
            return True  # permissions, or a new name
        touched = self._leaves_no_trace and now.st_atime_ns == now.st_mtime_ns
        if now.st_size < self.size or not (now.st_size > self.size or touched or now.st_mtime_ns == self.modified):
            return False
        return self._samples is not None and all(
            read_at_once(self._descriptor, offset, len(block)) in (block, None) for offset, block in self._samples
        )

    def sample(self) -> None:
        """Read blocks of the content for `unchanged`: at both ends, and between them those in the page cache."""
        last = max(0, self.size - 1) // _SAMPLE  # a block lies within one page, so it is cached whole or not at all
        found: list[tuple[int, bytes]] = []
        for number in range(_SAMPLES):
            offset = last * number // (_SAMPLES - 1) * _SAMPLE
            read = read_at_once if 0 < number < _SAMPLES - 1 else read_from
            block = read(self._descriptor, offset, _SAMPLE)
            if block:
                found.append((offset, block))
        if state_of(os.fstat(self._descriptor)) == self.identity:
            self._samples = found

    def __del__(self, close=os.close) -> None:  # type: ignore[no-untyped-def]  # a default, since globals may be gone
        if getattr(self, "_descriptor", None) is not None:
            close(self._descriptor)


class Entry(NamedTuple):
    """One entry of a folder."""

    name: str
    is_directory: bool
    is_link: bool
    size: int
    modified: float  # seconds since the epoch


def is_hidden(root: str, path: str) -> bool:
    """Whether a part of a path below the root begins with a dot; ``.well-known`` (RFC 8615) is not hidden."""
    if not path.startswith(root):
        return False
    parts = path[len(root) :].lstrip(os.sep).split(os.sep)
    return any(part.startswith(".") for part in parts[parts[0] == _WELL_KNOWN :])


def open_inside(
    root: str, path: str, *, follow_symlinks: bool = False, unread_folders: bool = False
) -> OpenFile | None:
    """Open a regular file or a folder below a root.

    Args:
        root: the folder outside of which nothing is opened.
        path: the path, below the root.
        follow_symlinks: follow symbolic links that lead out of the root.
        unread_folders: also open folders without read permission. Files in them may be readable.

    Returns:
        The open file; None if it does not exist, or may not be opened.

    Raises:
        HTTPError: 403: no permission to read it, or to look whether it exists; 503: there is no file descriptor left.
    """
    try:
        file = _open_path(root, path, follow_symlinks)
        if file is not None and not file.is_readable and not unread_folders:
            raise PermissionError
        return file
    except OSError as error:
        _check_exhausted(error)
        if isinstance(error, PermissionError):
            raise HTTPError(403, None, "the server may not read it") from error
        return None
    except ValueError:  # a NUL in the path
        return None


def _check_exhausted(error: OSError) -> None:
    """Raise `HTTPError` (503) if the error means that there are no descriptors left."""
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise HTTPError(503, None, "too many files are open") from error


def _open_path(root: str, path: str, follow_symlinks: bool) -> OpenFile | None:
    try:
        if not _is_served(os.stat(path)):  # one call suffices for most paths that cannot be opened
            return None
    except PermissionError:
        if not follow_symlinks and _below(os.path.realpath(root), os.path.realpath(path)) is None:
            return None  # outside of the root: do not tell that it exists
        raise
    real = os.path.realpath(path)
    if follow_symlinks:
        return _open(real, None)
    root = os.path.realpath(root)
    parts = _below(root, real)
    return None if parts is None else _open_below(root, parts)


def _below(root: str, real: str) -> list[str] | None:
    """The parts of a path below a root; None if it is not below it."""
    if real == root:
        return []
    prefix = root if root.endswith(os.sep) else root + os.sep
    return real[len(prefix) :].split(os.sep) if real.startswith(prefix) else None


def _open_below(root: str, parts: list[str]) -> OpenFile | None:
    """Open a path without symbolic links. One that is created meanwhile is not followed."""
    if not _BY_DESCRIPTOR or not parts:
        return _open(os.path.join(root, *parts), None)
    folder = os.open(root, _PASS & ~_NOFOLLOW)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _PASS, dir_fd=folder)
            os.close(folder)
            folder = inner
        return _open(parts[-1], folder)
    finally:
        os.close(folder)


def _open(path: str, folder: int | None) -> OpenFile | None:
    """Open a regular file or a folder. Devices are not opened: opening one can have side effects."""
    seen = os.stat(path, dir_fd=folder, follow_symlinks=False)
    if not _is_served(seen):
        return None
    is_readable, leaves_no_trace = True, False
    if stat.S_ISDIR(seen.st_mode):
        descriptor, is_readable = _open_folder(path, folder)
    else:
        descriptor, leaves_no_trace = _open_regular(path, folder)
    try:
        status = os.fstat(descriptor)
    except OSError:  # a file system on the network has lost the file
        os.close(descriptor)
        raise
    # An OpenFile closes the descriptor, also if the file has been replaced by a device meanwhile.
    file = OpenFile(descriptor, status, is_readable=is_readable, leaves_no_trace=leaves_no_trace)
    return file if _is_served(status) else None


def _open_folder(path: str, folder: int | None) -> tuple[int, bool]:
    """A descriptor of a folder, and whether the folder can be read."""
    try:
        return os.open(path, _READ, dir_fd=folder), True
    except PermissionError:
        return os.open(path, _PASS, dir_fd=folder), False


def _open_regular(path: str, folder: int | None) -> tuple[int, bool]:
    """A descriptor of a file, and whether reading leaves its access time unchanged."""
    if _NOATIME:
        with contextlib.suppress(PermissionError):  # only the owner of a file may do so
            return os.open(path, _READ | _NOATIME, dir_fd=folder), True
    return os.open(path, _READ, dir_fd=folder), False


def _is_served(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)


def read_names(folder: OpenFile, path: str, is_listed: Callable[[str], bool], limit: int) -> tuple[list[str], bool]:
    """Read the names in a folder, in the order of the file system.

    Args:
        folder: the folder.
        path: its path, for systems that cannot list an open folder.
        is_listed: whether a name is included.
        limit: the most names that are returned.

    Returns:
        The names, and whether there are more.

    Raises:
        HTTPError: 403: no permission to read the folder; 503: there is no file descriptor left.
        OSError: reading failed.
    """
    found: list[str] = []
    try:
        with os.scandir(folder.fileno() if os.scandir in os.supports_fd else path) as entries:
            for entry in entries:
                if is_listed(entry.name):
                    if len(found) == limit:
                        return found, True
                    found.append(entry.name)
    except PermissionError:
        raise HTTPError(403, "No permission to list directory") from None
    except OSError as error:
        _check_exhausted(error)
        raise
    return found, False


def read_entries(folder: OpenFile, root: str, path: str, names: Iterable[str], *, follow_symlinks: bool) -> list[Entry]:
    """Read type, size and date of files and folders, for a listing. Those that are not served are left out.

    Args:
        folder: the folder.
        root: the folder outside of which nothing is served.
        path: path of the folder, below the root.
        names: names in the folder.
        follow_symlinks: as for `open_inside`.

    Raises:
        HTTPError: 503: there is no file descriptor left.
    """
    found: list[Entry] = []
    for name in names:
        try:
            if _BY_DESCRIPTOR:
                status = os.stat(name, dir_fd=folder.fileno(), follow_symlinks=False)
            else:
                status = os.stat(os.path.join(path, name), follow_symlinks=False)
        except OSError:  # deleted meanwhile
            continue
        if stat.S_ISLNK(status.st_mode):
            entry = _linked_entry(root, path, name, follow_symlinks)
            if entry is not None:
                found.append(entry)
        elif _is_served(status):
            found.append(Entry(name, stat.S_ISDIR(status.st_mode), False, status.st_size, status.st_mtime))
    return found


def _linked_entry(root: str, path: str, name: str, follow_symlinks: bool) -> Entry | None:
    try:
        file = open_inside(root, os.path.join(path, name), follow_symlinks=follow_symlinks)
    except HTTPError as error:
        if error.status != 403:
            raise
        return None
    return None if file is None else Entry(name, file.is_directory, True, file.size, file.modified / 1e9)
