"""CallingThread: what the thread does that has called ``serve_forever`` or ``handle_request``.

Owns the calls that wait for it.
"""

import contextlib
import queue
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["CallingThread", "Inside"]


class Inside(threading.local):
    """What a thread is at.

    Attributes:
        handler: it runs one.
        served: the connection that it has done something for.
        raised: what has left a handler or a hook there, and goes on out of serve_forever.
    """

    handler = False
    served: Any = None
    raised: BaseException | None = None


class CallingThread:
    """The thread that has called ``serve_forever`` or ``handle_request``: the one worker of a serial server.

    Where several servers are made for one socket, each in a thread of its own, these threads share the work: there
    each accepts when it is free, and here the loop of one may have accepted for all.

    Attributes:
        inside: what the current thread is at.
    """

    def __init__(self) -> None:
        self.inside = Inside()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lent: deque[Callable[[], None]] = deque()  # calls of threads that wait for them
        self._changing = threading.Lock()
        self._idents: list[int] = []  # there may be several, and one may have come twice
        self._bells: list[socket.socket] = []

    @staticmethod
    def of(sock: socket.socket, mine: "CallingThread") -> "CallingThread":
        """That of a listening socket, which is ``mine`` if nobody else has come before."""
        with _sharing:
            return _shared.setdefault(sock, mine)

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Be that thread."""
        self._idents.append(threading.get_ident())
        try:
            yield
        finally:
            with self._changing:
                self._idents.remove(threading.get_ident())
                there = bool(self._idents)
            while self._lent and not there:
                self._run_lent()

    @property
    def is_current(self) -> bool:
        """Whether this is that thread."""
        return threading.get_ident() in self._idents

    def submit(self, call: Callable[[], None]) -> None:
        """Have it run a call. There are not more of them than connections."""
        self._calls.put(call)
        self.ring()

    def lend(self, call: Callable[[], None]) -> None:
        """Have it run a call, now, or this thread if there is no such thread."""
        with self._changing:
            if there := bool(self._idents):
                self._lent.append(call)
                self.submit(self._run_lent)
        if not there:
            call()

    def _run_lent(self) -> None:
        with contextlib.suppress(IndexError):  # it has been run already
            self._lent.popleft()()

    def wake(self) -> None:
        """Have it look around. A handler of signals may call this."""
        self.submit(_nothing)

    def work(self, seconds: float | None) -> None:
        """Run the next call, or wait so long for one."""
        try:
            call = self._calls.get(timeout=seconds)
        except queue.Empty:
            return
        call()

    @contextlib.contextmanager
    def bell(self) -> Iterator[socket.socket]:
        """Make a socket that can be read when there is a call; then `answer` it."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            theirs.setblocking(False)
            self._bells.append(theirs)
            self.ring()
            try:
                yield ours
            finally:
                self._bells.remove(theirs)

    def ring(self) -> None:
        """Have whoever waits at a bell look."""
        for bell in tuple(self._bells):
            with contextlib.suppress(OSError):  # it has rung often enough, or is there no more
                bell.send(b"\0")

    def answer(self, bell: socket.socket) -> None:
        """Run one call if there is one."""
        bell.recv(1024)
        self.work(0)
        if not self._calls.empty():
            self.ring()


def _nothing() -> None:
    pass


_sharing = threading.Lock()
_shared: "weakref.WeakKeyDictionary[socket.socket, CallingThread]" = weakref.WeakKeyDictionary()
