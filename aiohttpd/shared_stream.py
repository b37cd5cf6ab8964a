"""SharedStream: one stderr for several processes, on which no line is cut by another.

Owns the lock. A write to a pipe is whole up to 4 KiB only, and a batch of an access log is longer.
"""

import fcntl
import io
import os
import threading
from types import TracebackType
from typing import IO, Any

__all__ = ["SharedStream", "shared_file"]


def shared_file() -> IO[Any]:
    """A file for several processes, in memory where there is such a thing: no folder need be writable then."""
    try:
        return open(os.memfd_create("aiohttpd"), "w+b")
    except (AttributeError, OSError):
        import tempfile

        return tempfile.TemporaryFile()


class SharedStream(io.TextIOBase):
    """Text that leaves in whole lines, each batch under a lock that the processes share.

    The lock is one of POSIX's on a file: it is free again when its process dies, however that happens.

    Args:
        descriptor: where the text goes.
        lock: descriptor of a file of which all processes have a duplicate.
    """

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, descriptor: int, lock: int) -> None:
        self._descriptor = descriptor
        self._lock = _Lock(lock)
        self._begun = ""  # a line that is not ended yet

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor under it."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether a person reads it."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Write what ends a line; keep the rest until its line ends."""
        head, newline, rest = text.rpartition("\n")
        if not newline:
            self._begun += text
            return len(text)
        data, self._begun = self._begun + head + newline, rest
        self._write(data.encode(self.encoding, self.errors))
        return len(text)

    def flush(self) -> None:
        """Lines have left already; a line that is not ended waits for its end."""

    def _write(self, data: bytes) -> None:
        with self._lock:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]


class _Lock:
    """Holds off other processes, and other threads of this one, which POSIX's lock does not."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._threads = threading.RLock()  # a handler of signals may write while the same thread does
        self._depth = 0

    def __enter__(self) -> None:
        self._threads.acquire()
        if not self._depth:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX)
            except OSError:
                self._threads.release()
                raise
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if not self._depth:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        self._threads.release()
