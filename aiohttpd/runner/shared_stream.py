"""SharedStream: a stderr that never blocks its writers, and on which several processes write whole lines.

Owns the text that waits for a reader of stderr, the thread that writes it, and the lock between processes: the kernel
keeps a write to a pipe together only up to 4 KiB, and a batch of the access log is longer.
"""

import atexit
import contextlib
import fcntl
import io
import json
import os
import select
import stat
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from types import TracebackType
from typing import IO, Any

__all__ = ["SharedStream", "shared_file"]

_MOST = 1024 * 1024  # bytes that may wait for a reader of stderr; more lines are dropped and counted
_PATIENCE = 0.05  # seconds that a writer waits until its text has been written
_STALLED = 1.0  # seconds in which no writer waits, after one has waited in vain
_LAST_LINES = 1.0  # seconds at the end of the program for text that waits
_LONGEST = 64 * 1024  # characters of one message
_NEWLINE = 0x0A

_streams: "weakref.WeakSet[SharedStream]" = weakref.WeakSet()


def shared_file() -> IO[bytes]:
    """A file that several processes can share; in memory on Linux, where no folder has to be writable for it."""
    try:
        return open(os.memfd_create("aiohttpd"), "w+b")
    except (AttributeError, OSError):
        import tempfile

        return tempfile.TemporaryFile()


class SharedStream(io.TextIOBase):
    """A text stream that writes whole lines; if processes share it, each write is made under a lock.

    To a regular file text is written at once. Anything else (a pipe, a terminal, a socket) may have no reader, so a
    thread writes there. A writer waits up to 0.05 seconds for the thread, so that its line is written before the
    process can end. After a wait in vain no writer waits for a second. Text for which there is no room is dropped, and
    a line says how many lines have been dropped.

    Args:
        descriptor: the descriptor that is written to.
        lock: as for `share`.
        encoding: the encoding of the text.
        message: makes a line of the log, with its newline, of any other text.
    """

    errors = "backslashreplace"

    def __init__(
        self,
        descriptor: int,
        lock: int | None = None,
        *,
        encoding: str = "utf-8",
        message: Callable[[str], str] | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._encoding = encoding
        self._message = message
        self._begin(lock)
        _streams.add(self)
        atexit.register(self.finish)

    def _begin(self, lock: int | None) -> None:
        # Reentrant, since a signal handler may write while its thread is writing.
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._lock = _Lock(lock)
        self._begun = ""  # the beginning of a line whose end has not been written yet
        self._waiting: deque[bytes | int] = deque()  # text, and numbers of lines that have been dropped there
        self._size = 0  # bytes that wait or are being written
        self._put_so_far = self._written = 0  # items
        self._dropped = 0  # lines that no line reports yet
        self._rest = b""  # the rest of a line whose write has failed in the middle
        self._failed = False  # whether the last write has failed
        self._stalled = 0.0  # no writer waits before this time

    def forked(self) -> None:
        """Begin anew in a forked child: it does not have the thread, and the parent writes what waits."""
        self._begin(self._lock.descriptor)

    def share(self, lock: int | None) -> None:
        """Write under a lock from now on.

        Args:
            lock: descriptor of a file that all processes have open; None if this process writes alone. It is a POSIX
                lock, which the kernel releases when its process dies.
        """
        with self._changed:
            self._lock = _Lock(lock)

    @contextlib.contextmanager
    def shared(self, lock: int) -> Iterator[None]:
        """`share` for the time of a block."""
        self.share(lock)
        try:
            yield
        finally:
            self.share(None)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the text."""
        return self._encoding

    @property
    def buffer(self) -> "_BinaryStream":
        """A stream that takes bytes."""
        return _BinaryStream(self)

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor that is written to."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, text: str) -> int:
        """Write whole lines, and keep the rest until its line ends.

        With ``message`` all is kept until a text ends with a newline, as that of ``print`` and of a traceback does,
        so that it becomes one message.
        """
        with self._changed:
            self._begun += text
            if "\n" in text and (self._message is None or text.endswith("\n") or len(self._begun) > _LONGEST):
                self._put_lines()
                self._wait()
        return len(text)

    def _put_lines(self) -> None:
        head, newline, self._begun = self._begun.rpartition("\n")
        lines = head + newline
        self._put(lines if self._message is None or _are_objects(lines) else self._message(lines))

    def log(self, lines: str) -> None:
        """Write lines that have the format of the log already, and wait for nothing."""
        with self._changed:
            self._put(lines)

    def flush(self) -> None:
        """Write the beginning of a line too, unless other processes could write into it."""
        with self._changed:
            if self._begun and self._message is None and self._lock.descriptor is None:
                text, self._begun = self._begun, ""
                self._put(text)
                self._wait()

    def finish(self) -> None:
        """At the end of the program, wait up to a second until everything has been written."""
        atexit.unregister(self.finish)
        with self._changed:
            if self._begun:
                self.write("\n")
            self._changed.wait_for(lambda: self._written == self._put_so_far, _LAST_LINES)

    # For writers, who hold the condition.

    def _put(self, text: str) -> None:
        data = text.encode(self._encoding, self.errors)
        idle = self._written == self._put_so_far
        if not idle and self._size + len(data) > _MOST:
            self._dropped += text.count("\n")
            return
        if idle and self._is_file():
            if not self._dropped or self._report_dropped(self._take_dropped()):
                self._write(data)
            else:
                self._dropped += text.count("\n")
            return
        if self._dropped:
            self._enqueue(self._take_dropped())
        self._size += len(data)
        self._enqueue(data)
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="aiohttpd-stderr", daemon=True)
            with contextlib.suppress(RuntimeError):  # no thread can be started now; the next line tries again
                thread.start()
                self._thread = thread

    def _enqueue(self, item: bytes | int) -> None:
        self._waiting.append(item)
        self._put_so_far += 1
        self._changed.notify_all()

    def _take_dropped(self) -> int:
        count, self._dropped = self._dropped, 0
        return count

    def _is_file(self) -> bool:
        """Whether the descriptor is a regular file, so that writes do not block. That may change (dup2)."""
        try:
            return stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except OSError:
            return True  # it is closed: a write fails at once

    def _wait(self) -> None:
        if monotonic() < self._stalled or threading.current_thread() is self._thread:
            return
        own = self._put_so_far
        if not self._changed.wait_for(lambda: self._written >= own, _PATIENCE):
            self._stalled = monotonic() + _STALLED

    # Writing: by the thread, or by the writer itself if it is a regular file.

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and self._dropped and not self._failed:
                    self._enqueue(self._take_dropped())
                self._changed.wait_for(lambda: self._waiting)
                item = self._waiting.popleft()
            if isinstance(item, int):
                self._report_dropped(item)
            else:
                self._write(item)
            with self._changed:
                self._size -= 0 if isinstance(item, int) else len(item)
                self._written += 1
                self._changed.notify_all()

    def _report_dropped(self, count: int) -> bool:
        """Write how many lines have been dropped here; return False if that could not be written."""
        text = f"... {count} line{'s' * (count != 1)} dropped: nobody read stderr"
        line = text + "\n" if self._message is None else self._message(text)
        if not self._push(line.encode(self._encoding, self.errors)):
            return True
        with self._changed:
            self._dropped += count
        return False

    def _write(self, data: bytes) -> None:
        lost = self._push(data)
        with self._changed:
            self._dropped += lost.count(b"\n")

    def _push(self, data: bytes) -> bytes:
        """Write, however long that takes; return the lines of which no byte could be written.

        The rest of a line that has been written in part is kept and written next time, so that no line is cut.
        """
        whole = self._rest + data
        left = memoryview(whole)
        with contextlib.suppress(OSError, ValueError), self._lock:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # a program that shares the descriptor has made it non-blocking
                    _until_writable(self._descriptor)
            self._rest, self._failed = b"", False
            return b""
        self._failed = True
        done = len(whole) - len(left)
        begun = whole[done - 1] != _NEWLINE if done else bool(self._rest)
        end = (whole.find(b"\n", done) + 1 or len(whole)) if begun else done
        self._rest = whole[done:end]
        return whole[end:]


class _BinaryStream(io.BufferedIOBase):
    """The ``buffer`` of a text stream."""

    def __init__(self, stream: SharedStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor that is written to."""
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        """Write encoded text."""
        self._stream.write(bytes(data).decode(self._stream.encoding, "backslashreplace"))
        return len(data)


def _until_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def _are_objects(lines: str) -> bool:
    """Whether each line is a JSON object already, since the program formats its log messages itself."""
    with contextlib.suppress(ValueError):
        return all(line.startswith("{") and isinstance(json.loads(line), dict) for line in lines.splitlines())
    return False


class _Lock:
    """A lock between processes, and between threads of one process, for which a POSIX lock does nothing."""

    def __init__(self, descriptor: int | None) -> None:
        self.descriptor = descriptor
        self._threads = threading.RLock()  # reentrant, as above
        self._depth = 0

    def __enter__(self) -> None:
        self._threads.acquire()
        if self.descriptor is not None and not self._depth:
            try:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            except OSError:
                self._threads.release()
                raise
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self.descriptor is not None and not self._depth:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
        self._threads.release()


def _forked() -> None:
    for stream in list(_streams):
        stream.forked()


os.register_at_fork(after_in_child=_forked)
