"""A tree of files: from a path of the file system to an open file inside of a root, and never outside.

Owns what may be opened: regular files and folders, inside of the root, not through a link that leads
out of it, whatever happens to the tree meanwhile. Its functions block; they are called in threads.
"""

import errno
import os
import stat
import time
from typing import NamedTuple

from ..errors import HTTPError

__all__ = ["Entry", "OpenFile", "is_hidden", "open_inside", "scan"]

_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
# A folder on the way need not be readable.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY | _NOFOLLOW | _CLOEXEC
# What was a file a moment ago may be a FIFO now, which must neither block us nor become our terminal.
_READ = (
    os.O_RDONLY | _NOFOLLOW | _CLOEXEC
    | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd

_SETTLED = 0.05  # seconds; a change within one tick of the file system's clock does not show in its times


class OpenFile:
    """A file or folder that is open for reading, until nobody refers to it any more.

    Attributes:
        size: bytes, when it was opened.
        modified: when its content last changed, in nanoseconds since the epoch.
        is_directory: whether it is a folder.
        settled: whether its last change is long enough ago for the next one to show.
        identity: which file it is, and in which state.
    """

    __slots__ = ("_changed", "_descriptor", "identity", "is_directory", "modified", "settled", "size")

    def __init__(self, descriptor: int, status: os.stat_result) -> None:
        self._descriptor = descriptor
        self.size = status.st_size
        self.modified = status.st_mtime_ns
        self._changed = status.st_ctime_ns
        self.identity = (status.st_dev, status.st_ino, self.size, self.modified, self._changed)
        self.is_directory = stat.S_ISDIR(status.st_mode)
        self.settled = time.time_ns() - max(self.modified, self._changed) > _SETTLED * 1e9

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    @property
    def etag(self) -> str:
        """An entity tag, RFC 9110 section 8.8.3: strong, unless another change may have the same one."""
        # The time of the last change of status cannot be set, so a copy with an old date has another tag.
        tag = f'"{self.modified:x}-{self.size:x}-{self.modified ^ self._changed:x}"'
        return tag if self.settled else f"W/{tag}"

    def unchanged(self) -> bool:
        """Whether the content is still what it was when the file was opened."""
        now = os.fstat(self._descriptor)
        return (now.st_size, now.st_mtime_ns) == (self.size, self.modified)

    def __del__(self, close=os.close) -> None:  # type: ignore[no-untyped-def]  # bound, for the end of the interpreter
        if getattr(self, "_descriptor", None) is not None:
            close(self._descriptor)


class Entry(NamedTuple):
    """One line of a folder."""

    name: str
    is_directory: bool
    is_link: bool
    size: int
    modified: float  # seconds since the epoch


def is_hidden(root: str, path: str) -> bool:
    """Whether a part of a path below the root begins with a dot."""
    return path.startswith(root) and any(part.startswith(".") for part in path[len(root) :].split(os.sep))


def open_inside(root: str, path: str, *, follow_symlinks: bool = False) -> OpenFile | None:
    """Open a file or a folder, if it is one and lies inside of the root.

    Args:
        root: the folder outside of which nothing is opened.
        path: the path, with the root in it.
        follow_symlinks: let links lead out of the root.

    Returns:
        The open file; None if there is nothing that may be opened.

    Raises:
        HTTPError: 503: we have no descriptor left, which says nothing about the file.
    """
    try:
        # What does not exist, or lies behind more links than the system follows, costs one look.
        if not _is_served(os.stat(path)):
            return None
        real = os.path.realpath(path)
        if follow_symlinks:
            return _open(real, None)
        root = os.path.realpath(root)
        inside = _below(root, real)
        return None if inside is None else _open_below(root, inside)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise HTTPError(503, None, "too many files are open") from error
        return None
    except ValueError:  # a NUL in the path
        return None


def _below(root: str, real: str) -> list[str] | None:
    """The parts of a path below a root; None if it is not below it."""
    if real == root:
        return []
    prefix = root if root.endswith(os.sep) else root + os.sep
    return real[len(prefix) :].split(os.sep) if real.startswith(prefix) else None


def _open_below(root: str, parts: list[str]) -> OpenFile | None:
    """Open what has no link on its way: one that comes in between is not followed."""
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
    """Open a regular file or a folder; to open a device can do something already."""
    if not _is_served(os.stat(path, dir_fd=folder, follow_symlinks=False)):
        return None
    descriptor = os.open(path, _READ, dir_fd=folder)
    status = os.fstat(descriptor)
    file = OpenFile(descriptor, status)  # which closes it if it is something else now
    return file if _is_served(status) else None


def _is_served(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)


def scan(root: str, path: str, *, follow_symlinks: bool, hidden: bool, limit: int) -> tuple[list[Entry], bool] | None:
    """Read a folder: what would be served of it, in no order.

    Args:
        root: the folder outside of which nothing is served.
        path: the folder to read.
        follow_symlinks: as for `open_inside`.
        hidden: show names that begin with a dot.
        limit: how many entries are read at most.

    Returns:
        The entries, and whether there are more; None if it cannot be read.
    """
    folder = open_inside(root, path, follow_symlinks=follow_symlinks)
    if folder is None or not folder.is_directory:
        return None
    found: list[Entry] = []
    try:
        with os.scandir(folder.fileno() if os.scandir in os.supports_fd else path) as entries:
            for entry in entries:
                if entry.name.startswith(".") and not hidden:
                    continue
                if len(found) == limit:
                    return found, True
                if entry.is_symlink():
                    file = open_inside(root, os.path.join(path, entry.name), follow_symlinks=follow_symlinks)
                    if file is not None:
                        found.append(Entry(entry.name, file.is_directory, True, file.size, file.modified / 1e9))
                    continue
                try:
                    status = (
                        os.stat(entry.name, dir_fd=folder.fileno(), follow_symlinks=False)
                        if _BY_DESCRIPTOR
                        else entry.stat(follow_symlinks=False)
                    )
                except OSError:  # gone meanwhile
                    continue
                if _is_served(status):
                    directory = stat.S_ISDIR(status.st_mode)
                    found.append(Entry(entry.name, directory, False, status.st_size, status.st_mtime))
    except OSError:
        return None
    return found, False
