"""A tree of files: from a path of the file system to an open file inside of a root, and never outside.

Owns what may be opened: regular files and folders, inside of the root, not through a link that leads
out of it, whatever happens to the tree meanwhile. Its functions block; they are called in threads.
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
# A folder on the way need not be readable.
_PASS = getattr(os, "O_PATH", os.O_RDONLY) | _DIRECTORY | _NOFOLLOW | _CLOEXEC
# What was a file a moment ago may be a FIFO now, which must neither block us nor become our terminal.
_READ = (
    os.O_RDONLY | _NOFOLLOW | _CLOEXEC
    | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
)  # fmt: skip
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.stat in os.supports_dir_fd

# Our reading does not count as such, so the time of the last one tells `touch` from a write: see `OpenFile.unchanged`.
_NOATIME = getattr(os, "O_NOATIME", 0)

_SETTLED = 0.05  # seconds; a change within one tick of the file system's clock does not show in its times
_SAMPLES = 32  # blocks of a file by which it is known again
_SAMPLE = 512  # bytes of each
_WELL_KNOWN = ".well-known"  # RFC 8615

FileState = tuple[int, int, int, int, int]


def state_of(status: os.stat_result) -> FileState:
    """Which file it is, and in which state: any change of content or permissions shows, as far as its clock goes."""
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


class OpenFile:
    """A file or folder that is open for reading, until nobody refers to it any more.

    Attributes:
        size: bytes, when it was opened.
        modified: when its content last changed, in nanoseconds since the epoch.
        is_directory: whether it is a folder.
        is_readable: whether it can be read; a folder may be passed only.
        settled: whether its last change is long enough ago for the next one to show.
        identity: which file it is, and in which state.
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
        """An entity tag, RFC 9110 section 8.8.3: strong, unless another change may have the same one."""
        # The time of the last change of status cannot be set, so a copy with an old date has another tag.
        tag = f'"{self.modified:x}-{self.size:x}-{self.modified ^ self._changed:x}"'
        return tag if self.settled else f"W/{tag}"

    def unchanged(self) -> bool:
        """Whether the content is still what it was when the file was opened; what has been appended does not count.

        Times and size cannot tell each change of the bytes from what leaves them alone. Where that may be, `sample`
        decides: the file has grown; or it keeps its size, and the time of its last access is that of its change, as
        `touch` sets both and a write does not.
        """
        now = os.fstat(self._descriptor)
        if state_of(now)[2:] == self.identity[2:]:
            return True
        if now.st_size == self.size and now.st_mtime_ns == self.modified and self._samples is None:
            return True  # permissions, another name
        touched = self._leaves_no_trace and now.st_atime_ns == now.st_mtime_ns
        if now.st_size < self.size or not (now.st_size > self.size or touched or now.st_mtime_ns == self.modified):
            return False
        return self._samples is not None and all(
            read_at_once(self._descriptor, offset, len(block)) in (block, None) for offset, block in self._samples
        )

    def sample(self) -> None:
        """Remember some of the content, for `unchanged`: both ends, and between them what is in memory already."""
        last = max(0, self.size - 1) // _SAMPLE  # a block lies in one page, so that it is read whole or not at all
        found: list[tuple[int, bytes]] = []
        for number in range(_SAMPLES):
            offset = last * number // (_SAMPLES - 1) * _SAMPLE
            read = read_at_once if 0 < number < _SAMPLES - 1 else read_from
            block = read(self._descriptor, offset, _SAMPLE)
            if block:
                found.append((offset, block))
        if state_of(os.fstat(self._descriptor)) == self.identity:
            self._samples = found

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
    """Whether a part of a path below the root begins with a dot; ``.well-known`` is for all to see, RFC 8615."""
    if not path.startswith(root):
        return False
    parts = path[len(root) :].lstrip(os.sep).split(os.sep)
    return any(part.startswith(".") for part in parts[parts[0] == _WELL_KNOWN :])


def open_inside(
    root: str, path: str, *, follow_symlinks: bool = False, unread_folders: bool = False
) -> OpenFile | None:
    """Open a file or a folder, if it is one and lies inside of the root.

    Args:
        root: the folder outside of which nothing is opened.
        path: the path, with the root in it.
        follow_symlinks: let links lead out of the root.
        unread_folders: open a folder, too, that may be passed and not be read.

    Returns:
        The open file; None if there is nothing that may be opened.

    Raises:
        HTTPError: 403: it is there, or may be, but we may not read it; 503: we have no descriptor left, which says
            nothing about the file.
    """
    try:
        # What does not exist, or lies behind more links than the system follows, costs one look.
        try:
            if not _is_served(os.stat(path)):
                return None
        except PermissionError:
            if not follow_symlinks and _below(os.path.realpath(root), os.path.realpath(path)) is None:
                return None  # what lies outside is not there
            raise
        real = os.path.realpath(path)
        if follow_symlinks:
            file = _open(real, None)
        else:
            root = os.path.realpath(root)
            inside = _below(root, real)
            file = None if inside is None else _open_below(root, inside)
        if file is not None and not file.is_readable and not unread_folders:
            raise PermissionError
        return file
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise HTTPError(503, None, "too many files are open") from error
        if isinstance(error, PermissionError):
            raise HTTPError(403, None, "the server may not read it") from error
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
    seen = os.stat(path, dir_fd=folder, follow_symlinks=False)
    if not _is_served(seen):
        return None
    if stat.S_ISDIR(seen.st_mode):
        (descriptor, is_readable), leaves_no_trace = _open_folder(path, folder), False
    else:
        (descriptor, leaves_no_trace), is_readable = _open_regular(path, folder), True
    status = os.fstat(descriptor)
    # Closes it if it is something else now.
    file = OpenFile(descriptor, status, is_readable=is_readable, leaves_no_trace=leaves_no_trace)
    return file if _is_served(status) else None


def _open_folder(path: str, folder: int | None) -> tuple[int, bool]:
    """A descriptor, and whether it can be read: what is in a folder that cannot may be readable all the same."""
    try:
        return os.open(path, _READ, dir_fd=folder), True
    except PermissionError:
        return os.open(path, _PASS, dir_fd=folder), False


def _open_regular(path: str, folder: int | None) -> tuple[int, bool]:
    """A descriptor, and whether reading leaves the time of the last access as it is."""
    if _NOATIME:
        with contextlib.suppress(PermissionError):  # of somebody else's file
            return os.open(path, _READ | _NOATIME, dir_fd=folder), True
    return os.open(path, _READ, dir_fd=folder), False


def _is_served(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)


def read_names(folder: OpenFile, path: str, is_listed: Callable[[str], bool], limit: int) -> tuple[list[str], bool]:
    """Read the names in a folder, in no order.

    Args:
        folder: it, open.
        path: it, where systems cannot read what is open.
        is_listed: whether a name counts.
        limit: how many are read at most.

    Returns:
        The names, and whether there are more.

    Raises:
        HTTPError: 403: it may not be read.
        OSError: it cannot be read.
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
    return found, False


def read_entries(folder: OpenFile, root: str, path: str, names: Iterable[str], *, follow_symlinks: bool) -> list[Entry]:
    """Look at names in a folder: what would be served of them.

    Args:
        folder: it, open.
        root: the folder outside of which nothing is served.
        path: the folder, with the root in it.
        names: in the folder.
        follow_symlinks: as for `open_inside`.
    """
    found: list[Entry] = []
    for name in names:
        try:
            if _BY_DESCRIPTOR:
                status = os.stat(name, dir_fd=folder.fileno(), follow_symlinks=False)
            else:
                status = os.stat(os.path.join(path, name), follow_symlinks=False)
        except OSError:  # gone meanwhile
            continue
        if stat.S_ISLNK(status.st_mode):
            try:
                file = open_inside(root, os.path.join(path, name), follow_symlinks=follow_symlinks)
            except HTTPError as error:
                if error.status != 403:
                    raise
                continue
            if file is not None:
                found.append(Entry(name, file.is_directory, True, file.size, file.modified / 1e9))
        elif _is_served(status):
            found.append(Entry(name, stat.S_ISDIR(status.st_mode), False, status.st_size, status.st_mtime))
    return found
