"""SharedStream: a stderr that never holds up who writes, and on which no line is cut.

Owns what waits for a reader of stderr, the thread that writes it, and the lock of several processes: a write to a pipe
is whole up to 4 KiB only, and a batch of an access log is longer.
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
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import IO, Any

__all__ = ["SharedStream", "shared_file"]

_MOST = 1024 * 1024  # bytes that wait for a reader of stderr; what comes then is dropped and counted
_PATIENCE = 0.05  # seconds that a writer waits for its text to be out
_STALLED = 1.0  # seconds in which nobody waits, after one has waited in vain
_LAST_WORDS = 1.0  # seconds at the end for what waits
_LONGEST = 64 * 1024  # characters of one message
_NEWLINE = 0x0A

_streams: "weakref.WeakSet[SharedStream]" = weakref.WeakSet()


def shared_file() -> IO[Any]:
    """A file for several processes, in memory where there is such a thing: no folder need be writable then."""
    try:
        return open(os.memfd_create("aiohttpd"), "w+b")
    except (AttributeError, OSError):
        import tempfile

        return tempfile.TemporaryFile()


class SharedStream(io.TextIOBase):
    """Text that leaves in whole lines, each batch under a lock where processes share the stream.

    A regular file is written to at once, and gets everything. Anything else (a pipe, a terminal, a socket) may have
    nobody who reads it, so a thread writes there. Who writes waits a moment for the thread, so that a line is out
    before the process can end; while nobody reads, nobody waits. What finds no room is dropped, and a line says
    how many lines that were.

    Args:
        descriptor: where the text goes.
        lock: as for `share`.
        encoding: of the text.
        message: makes a line of the log, its end included, of text that is none yet.
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
        # Reentrant, since a handler of signals may write while the same thread does.
        self._changed = threading.Condition(threading.RLock())
        self._thread: threading.Thread | None = None
        self._lock = _Lock(lock)
        self._begun = ""  # a line that is not ended yet
        self._waiting: deque[bytes | int] = deque()  # text, and numbers of lines that are missing between two
        self._size = 0  # of what waits or is being written, in bytes
        self._put_so_far = self._written = 0  # items
        self._dropped = 0  # lines of which nobody has been told
        self._rest = b""  # of a line that has been written in part, when a write failed
        self._failed = False  # the last write
        self._stalled = 0.0  # nobody waits before this time

    def forked(self) -> None:
        """Be of use in a child, where the thread is not: what waits is for the parent to write."""
        self._begin(self._lock.descriptor)

    def share(self, lock: int | None) -> None:
        """Write under a lock from now on.

        Args:
            lock: descriptor of a file of which all processes have a duplicate, None if there is one alone. The lock is
                one of POSIX's: it is free again when its process dies, however that happens.
        """
        with self._changed:
            self._lock = _Lock(lock)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """How text becomes bytes."""
        return self._encoding

    @property
    def buffer(self) -> "_Bytes":
        """Takes bytes."""
        return _Bytes(self)

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
        """Write what ends a line; keep the rest until its line ends.

        What becomes a message is kept until the text ends with a line, as that of ``print`` and of tracebacks does.
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
        """Write lines that are as the log wants them, and wait for nothing."""
        with self._changed:
            self._put(lines)

    def flush(self) -> None:
        """Lines have left already; one that is not ended waits for its end where others could write into it."""
        with self._changed:
            if self._begun and self._message is None and self._lock.descriptor is None:
                text, self._begun = self._begun, ""
                self._put(text)
                self._wait()

    def finish(self) -> None:
        """Give what waits a moment to be written, at the end of the program."""
        atexit.unregister(self.finish)
        with self._changed:
            if self._begun:
                self.write("\n")
            self._changed.wait_for(lambda: self._written == self._put_so_far, _LAST_WORDS)

    # Who writes. The condition is held.

    def _put(self, text: str) -> None:
        data = text.encode(self._encoding, self.errors)
        idle = self._written == self._put_so_far
        if not idle and self._size + len(data) > _MOST:
            self._dropped += text.count("\n")
            return
        if idle and self._is_file():
            if not self._dropped or self._tell(self._taken()):
                self._write(data)
            else:
                self._dropped += text.count("\n")
            return
        if self._dropped:
            self._enqueue(self._taken())
        self._size += len(data)
        self._enqueue(data)
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="aiohttpd-stderr", daemon=True)
            with contextlib.suppress(RuntimeError):  # there is none for us now; the next line tries again
                thread.start()
                self._thread = thread

    def _enqueue(self, item: bytes | int) -> None:
        self._waiting.append(item)
        self._put_so_far += 1
        self._changed.notify_all()

    def _taken(self) -> int:
        count, self._dropped = self._dropped, 0
        return count

    def _is_file(self) -> bool:
        """Whether it takes whatever there is; it may be something else than it was."""
        try:
            return stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        except OSError:
            return True  # nothing is there: no write can wait

    def _wait(self) -> None:
        if monotonic() < self._stalled or threading.current_thread() is self._thread:
            return
        own = self._put_so_far
        if not self._changed.wait_for(lambda: self._written >= own, _PATIENCE):
            self._stalled = monotonic() + _STALLED

    # Who really writes: the thread, or who finds a file.

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and self._dropped and not self._failed:
                    self._enqueue(self._taken())
                self._changed.wait_for(lambda: self._waiting)
                item = self._waiting.popleft()
            if isinstance(item, int):
                self._tell(item)
            else:
                self._write(item)
            with self._changed:
                self._size -= 0 if isinstance(item, int) else len(item)
                self._written += 1
                self._changed.notify_all()

    def _tell(self, count: int) -> bool:
        """Say how many lines are missing here; whether that could be said."""
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
        """Write, however long that takes; give the lines that could not be, of which none has begun.

        The rest of one that has is kept for the next time, so that no line is cut.
        """
        whole = self._rest + data
        left = memoryview(whole)
        with contextlib.suppress(OSError, ValueError), self._lock:
            while left:
                try:
                    left = left[os.write(self._descriptor, left) :]
                except BlockingIOError:  # somebody who shares it wants it so
                    _until_writable(self._descriptor)
            self._rest, self._failed = b"", False
            return b""
        self._failed = True
        done = len(whole) - len(left)
        begun = whole[done - 1] != _NEWLINE if done else bool(self._rest)
        end = (whole.find(b"\n", done) + 1 or len(whole)) if begun else done
        self._rest = whole[done:end]
        return whole[end:]


class _Bytes(io.BufferedIOBase):
    """What takes bytes for a stream of text."""

    def __init__(self, stream: SharedStream) -> None:
        self._stream = stream

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor under it."""
        return self._stream.fileno()

    def write(self, data: Any) -> int:
        """Write text that is encoded."""
        self._stream.write(bytes(data).decode(self._stream.encoding, "backslashreplace"))
        return len(data)


def _until_writable(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    poll.poll()


def _are_objects(lines: str) -> bool:
    """Whether each line is a JSON object already: somebody formats what he logs himself."""
    with contextlib.suppress(ValueError):
        return all(line.startswith("{") and isinstance(json.loads(line), dict) for line in lines.splitlines())
    return False


class _Lock:
    """Holds off other processes, and other threads of this one, which POSIX's lock does not."""

    def __init__(self, descriptor: int | None) -> None:
        self.descriptor = descriptor
        self._threads = threading.RLock()  # a handler of signals may write while the same thread does
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
