"""CallingThread: the thread that has called ``serve_forever`` or ``handle_request`` runs handlers.

Owns the queue of calls for that thread.
"""

import contextlib
import queue
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["CallingThread", "ThreadState"]


class ThreadState(threading.local):
    """What the current thread is doing.

    Attributes:
        handler: whether it runs a handler.
        call: the call of ``handle_request`` that runs in it; None outside of such a call.
        served: the connection for which it has run a handler or a hook.
        raised: an exception that a handler or a hook has raised, and that ``serve_forever`` raises again.
    """

    handler = False
    call: Any = None
    served: Any = None
    raised: BaseException | None = None


class CallingThread:
    """The thread that has called ``serve_forever`` or ``handle_request``; the only worker of a serial server.

    A program may make several servers for one listening socket, each in a thread of its own. These threads share one
    queue: in ``http.server`` each thread accepts when it is free, but here the loop of one may have accepted for all.

    Attributes:
        state: what the current thread is doing.
    """

    def __init__(self) -> None:
        self.state = ThreadState()
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lent: deque[Callable[[], None]] = deque()  # calls for which another thread waits
        self._changing = threading.Lock()
        self._idents: list[int] = []  # of all calling threads; one that has called twice is twice in it
        self._bells: list[socket.socket] = []
        self._accepting = 0  # loops that accept from the listening socket

    @staticmethod
    def of(sock: socket.socket, mine: "CallingThread") -> "CallingThread":
        """The one of a listening socket: ``mine``, unless another server has this socket already."""
        with _sharing:
            return _shared.setdefault(sock, mine)

    @contextlib.contextmanager
    def here(self) -> Iterator[None]:
        """Make the current thread the calling thread for the time of a block."""
        self._idents.append(threading.get_ident())
        try:
            yield
        finally:
            with self._changing:
                self._idents.remove(threading.get_ident())
                there = bool(self._idents)
            while self._lent and not there:
                self._run_lent()

    @contextlib.contextmanager
    def accepting_from(self, sock: socket.socket) -> Iterator[None]:
        """Have a loop that begins and ends in a block accept from ``sock``, which is non-blocking for that time.

        The mode belongs to all that share the socket: the loop of another server would block in accept(), if another
        loop has taken the connection. So the last one makes it what the socket wants again.
        """
        with self._changing:
            self._accepting += 1
        try:
            yield
        finally:
            with self._changing:
                self._accepting -= 1
                if not self._accepting:
                    with contextlib.suppress(OSError):  # it has been closed
                        sock.settimeout(sock.gettimeout())

    @property
    def is_current(self) -> bool:
        """Whether the current thread is a calling thread."""
        return threading.get_ident() in self._idents

    def submit(self, call: Callable[[], None]) -> None:
        """Have the calling thread run a call. The queue has at most one call for each connection."""
        self._calls.put(call)
        self.ring()

    def lend(self, call: Callable[[], None]) -> None:
        """Have the calling thread run a call; run it here if there is no calling thread."""
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
        """Wake the calling thread, so that it checks whether it has to stop. A signal handler may call this."""
        self.submit(_nothing)

    def work(self, seconds: float | None) -> None:
        """Run the next call; wait for one for some seconds at most, with None as long as it takes."""
        try:
            call = self._calls.get(timeout=seconds)
        except queue.Empty:
            return
        call()

    @contextlib.contextmanager
    def bell(self) -> Iterator[socket.socket]:
        """Give a socket that becomes readable when there is a call, for a selector; then call `answer`."""
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
        """Make the bells readable."""
        for bell in tuple(self._bells):
            with contextlib.suppress(OSError):  # its buffer is full, or it has been closed
                bell.send(b"\0")

    def answer(self, bell: socket.socket) -> None:
        """Run one call, if there is one, after its bell has become readable."""
        bell.recv(1024)
        self.work(0)
        if not self._calls.empty():
            self.ring()


def _nothing() -> None:
    pass


_sharing = threading.Lock()
_shared: "weakref.WeakKeyDictionary[socket.socket, CallingThread]" = weakref.WeakKeyDictionary()
