"""The engine under a server of ``socketserver``: a loop in a thread of its own, and what the caller's thread does.

Owns the threads, and which hook of the server is called in which of them. It keeps no server alive that nothing is
asked of: that goes with its last reference, as there, and its port with it.
"""

import contextlib
import http.server
import selectors
import socket
import socketserver
import ssl
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import Future
from time import monotonic
from typing import Any

from ..errors import HTTPError
from ..net.sockets import ServerAddress
from ..server.server import HTTPServer as Server
from ..threads.fake_socket import FakeSocket
from ..threads.instances import Factory, served
from ..threads.legacy import HandlerApp
from .aiohttpd_handlers import Ours
from .calling_thread import CallingThread
from .loop_thread import LoopThread

__all__ = ["Engine"]

_PIECE = 16 * 1024  # bytes, a record of TLS
_LAST_ANSWER = 1.0  # seconds for the answers that are under way when a serial server stops
_SOON = 1.0  # seconds within which whoever connects has said something, or does not count
_LEFT = 1.0  # seconds between two looks whether a client is still there whom no handler has answered
_PATIENCE = 0.05  # seconds after which a client that is silent stands in nobody's way
_LOOK = 0.05  # seconds between two looks at a request that is under way when the time is up


class Engine:
    """The engine of one server: the loop in its thread, and what the thread of the caller does meanwhile."""

    def __init__(self, server: Any) -> None:
        self._server = weakref.ref(server)
        weakref.finalize(server, self._forget).atexit = False
        self._caller = CallingThread()
        self._thread: LoopThread | None = None
        self._starting = threading.Lock()
        self._accepting = threading.Lock()
        self._leaving: list[LoopThread] = []  # with handlers that have not ended
        self._stopped = threading.Event()
        self._stopped.set()
        # Of connections whose requests run in threads of the server's own making.
        self._handed_out: weakref.WeakKeyDictionary[FakeSocket, threading.Event] = weakref.WeakKeyDictionary()
        self._with_others: set[Any] = set()  # the connections
        self._failed: weakref.WeakSet[FakeSocket] = weakref.WeakSet()
        self._factory: tuple[Any, Factory | None] = None, None  # of the handler class, once it has been looked at

    def serve_forever(self, server: Any, poll_interval: float) -> None:
        is_shut_down = server._BaseServer__is_shut_down  # for programs that look at it
        is_shut_down.clear()
        self._stopped.clear()
        try:
            self._caller = CallingThread.of(server.socket, self._caller)
            self._leave(server)  # what handle_request has begun
            looks = _overridden(server, "get_request", "verify_request")
            with self._caller.here():  # before anybody can ask for it
                thread = self._thread = self._start(server, listen=not looks)
                thread.keep(server)
                self._serve(server, thread if looks else None, poll_interval)
        finally:
            serial = _is_serial(server)
            self._leave(server, _LAST_ANSWER if serial else None)
            if serial:  # what waits for this thread is answered
                self.close(server)
            server._BaseServer__shutdown_request = False
            is_shut_down.set()
            self._stopped.set()

    def _serve(self, server: Any, acceptor: "LoopThread | None", poll_interval: float) -> None:
        """Do what is asked of this thread, and accept connections where a hook sees them first."""
        with contextlib.ExitStack() as stack:
            if acceptor is not None:
                bell, selector = stack.enter_context(self._selecting(server))
            while not _is_stopping(server):
                if acceptor is None:
                    self._caller.work(poll_interval)
                else:
                    ready = _ready(selector, poll_interval)
                    if bell in ready:
                        self._caller.answer(bell)
                    if server in ready and not _is_stopping(server):
                        self._take_connection(server, acceptor)
                self._raise()
                if not _is_stopping(server):
                    server.service_actions()

    @contextlib.contextmanager
    def _selecting(self, server: Any) -> Iterator[tuple[socket.socket, selectors.BaseSelector]]:
        with self._caller.bell() as bell, selectors.DefaultSelector() as selector:
            selector.register(bell, selectors.EVENT_READ)
            selector.register(server, selectors.EVENT_READ)
            yield bell, selector

    def shutdown(self, server: Any) -> None:
        server._BaseServer__shutdown_request = True
        self._caller.wake()
        if not self._caller.is_current and not self._caller.inside.handler:
            self._stopped.wait()

    def close(self, server: Any) -> None:
        self._leave(server)
        waits = isinstance(server, socketserver.ThreadingMixIn) and server.block_on_close and not server.daemon_threads
        if waits or _is_serial(server):
            for thread in self._leaving:
                self._join(thread, serial=_is_serial(server))
            self._leaving.clear()

    def _leave(self, server: Any, grace: float | None = None) -> None:
        """Stop accepting; handlers that run go on, and the next caller gets a new loop."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop(grace)
            self._leaving = [*filter(LoopThread.is_alive, self._leaving), thread]
            with contextlib.suppress(OSError):  # closed
                server.socket.settimeout(server.socket.gettimeout())  # the loop does not block, and shares that

    def _forget(self) -> None:
        """Nobody has the server any more, so nothing is under way."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.begin_to_stop(0)

    def handle_request(self, server: Any) -> None:
        """Serve one connection, as ``handle_request`` does; who is silent keeps nobody else from being served.

        The timeout of the server is for a request to begin.
        """
        if _has_threads(server):
            socketserver.BaseServer.handle_request(server)
            return
        timeout = server.socket.gettimeout()
        if timeout is None:
            timeout = server.timeout
        elif server.timeout is not None:
            timeout = min(timeout, server.timeout)
        self._serve_one(server, timeout)

    def handle_connection(self, server: Any) -> None:
        """Somebody connects, whom ``handle_request`` or somebody's own selector has found."""
        if _has_threads(server):
            thread = self._ready(server)
            gone = self._take_connection(server, thread)
            if gone is not None:
                thread.keep(server, gone)
        else:
            self._serve_one(server, None)

    def _serve_one(self, server: Any, timeout: float | None) -> None:
        """Serve in this thread until a connection has been served, or a process_request of the server's has it."""
        self._caller = CallingThread.of(server.socket, self._caller)
        thread = self._ready(server)
        until = None if timeout is None else monotonic() + timeout
        ends: list[Future[None]] = []  # of connections that count: those of this call
        worked = False
        next_one = 0.0  # until then nobody else is accepted: who waits in the backlog is seen by select() on the server
        with self._caller.here(), self._selecting(server) as (bell, selector):
            while not any(map(Future.done, ends)):
                left = None if until is None else until - monotonic()
                if left is not None and left <= 0:
                    if not thread.asked() - self._with_others:
                        break
                    left = _LOOK
                patience = next_one - monotonic()
                if patience > 0:
                    ready = _readable(bell, patience if left is None else min(patience, left))
                else:
                    ready = _ready(selector, left)
                if server in ready:
                    with self._accepting:
                        if server not in _ready(selector, 0):
                            continue  # another thread has been faster
                        gone = self._take_connection(server, thread)
                    if gone is None:
                        return
                    if until is not None and timeout is not None and not ends:
                        until = max(until, monotonic() + min(timeout, _SOON))
                    self._count(ends, gone)
                    next_one = monotonic() + _PATIENCE
                if bell in ready:
                    self._caller.inside.served = None
                    self._caller.answer(bell)
                    self._raise()
                    if self._caller.inside.served is not None:
                        worked = True
                        if not _is_serial(server):
                            return
                        self._count(ends, thread.when_gone(self._caller.inside.served))
            else:
                return
        if not worked:
            server.handle_timeout()

    def _count(self, ends: list[Future[None]], gone: Future[None]) -> None:
        ends.append(gone)
        gone.add_done_callback(lambda _: self._caller.ring())

    def _ready(self, server: Any) -> LoopThread:
        """The loop of ``handle_request``, which goes on from one call to the next."""
        with self._starting:  # several threads may call it
            if self._thread is None:
                self._thread = self._start(server, listen=False)
            return self._thread

    def _start(self, server: Any, *, listen: bool) -> "LoopThread":
        context = None
        if isinstance(server.socket, ssl.SSLSocket):
            context = server.socket.context
            vars(server.socket)["do_handshake_on_connect"] = False  # it is ours to do, and must not stop accept()
        workers = self._caller if _is_serial(server) else None
        app = HandlerApp(server.RequestHandlerClass, finish=self._finish, workers=workers, logs=False)
        app.aiohttpd_silence = app.aiohttpd_silence or socket.getdefaulttimeout()
        hooks = [name for name in ("process_request", "finish_request") if _overridden(server, name)]
        ours = Ours(server, app, workers=workers, inside=self._caller.inside, hooks=hooks)
        sockets: list[ServerAddress] = [socket.socket(fileno=socket.dup(server.socket.fileno()))] if listen else []
        engine = Server(sockets, ours, ssl=context, **ours.options(server.aiohttpd_config))
        patient = isinstance(server, socketserver.ThreadingMixIn) and not server.daemon_threads
        return LoopThread(engine, patient=patient)

    def _join(self, thread: "LoopThread", *, serial: bool) -> None:
        while thread.is_alive() and thread is not threading.current_thread():
            if serial:
                self._caller.work(0.02)
                self._caller.inside.raised = None
            else:
                thread.join()

    def _raise(self) -> None:
        """What leaves a handler, or a hook, and no hook has kept: out of serve_forever."""
        error, self._caller.inside.raised = self._caller.inside.raised, None
        if error is not None:
            raise error

    # In the thread of a handler.

    def _finish(self, connection: FakeSocket, client_address: Any) -> None:
        """Do for one request what ``socketserver`` does for a connection."""
        self._answer(connection, client_address)
        if connection in self._failed:  # this traceback must not have the server
            raise HTTPError(500)  # to the client, if it has not had an answer; it has been reported

    def _answer(self, connection: FakeSocket, client_address: Any) -> None:
        server = self._server()
        if server is None:
            raise HTTPError(503)
        self._caller.inside.handler = True
        try:
            if _overridden(server, "process_request"):
                self._hand_out(server, connection, client_address)
            elif isinstance(server, socketserver.ThreadingMixIn) and _overridden(server, "process_request_thread"):
                server.process_request_thread(connection, client_address)  # type: ignore[arg-type]
            else:
                self._process(server, connection, client_address)
        finally:
            self._caller.inside.handler = False

    def _process(self, server: Any, connection: FakeSocket, client_address: Any) -> None:
        """Have a request answered in this thread."""
        if self._caller.is_current:
            self._caller.inside.served = connection.exchange.request.peer
        try:
            try:
                try:
                    server.finish_request(connection, client_address)
                finally:
                    connection.handled = True
            except Exception:
                self._failed.add(connection)
                server.handle_error(connection, client_address)  # may raise
            server.shutdown_request(connection)
        except BaseException as error:
            server.shutdown_request(connection)
            if _is_serial(server):
                self._caller.inside.raised = error
            elif not isinstance(error, SystemExit) or not connection.exchange.answered:
                raise
            if not connection.exchange.answered:
                raise HTTPError(500) from None
            self._failed.discard(connection)  # it has answered, and then it ends its server

    def _hand_out(self, server: Any, connection: FakeSocket, client_address: Any) -> None:
        """Have a hook of the server see to a request, in the calling thread as there, and wait until somebody has."""
        over = self._handed_out[connection] = threading.Event()
        connection.on_close = over.set
        peer: Any = connection.exchange.request.peer
        escaped: list[BaseException] = []

        def call() -> None:
            self._caller.inside.served = peer
            self._with_others.add(peer)
            try:
                try:
                    server.process_request(connection, client_address)
                except Exception:
                    self._failed.add(connection)
                    server.handle_error(connection, client_address)  # may raise
                    server.shutdown_request(connection)
                    over.set()
            except BaseException as error:
                self._failed.add(connection)
                if self._caller.is_current:
                    self._caller.inside.raised = error
                else:
                    escaped.append(error)
                server.shutdown_request(connection)
                over.set()

        try:
            self._caller.lend(call)
            while not over.wait(_LEFT):
                if peer.lost and connection in self._handed_out:
                    break  # it has been dropped without a word
        finally:
            self._with_others.discard(peer)
        if escaped:
            raise escaped.pop()
        if connection in self._handed_out and not connection.exchange.answered and connection not in self._failed:
            raise HTTPError(503)  # it has been closed, and no handler has been made

    def finish_request(self, server: Any, request: Any, client_address: Any) -> None:
        """Make a handler, which answers; for the socket of somebody who accepts himself, as there."""
        cls = server.RequestHandlerClass
        if not isinstance(request, FakeSocket):
            cls(request, client_address, server)
            return
        over = self._handed_out.pop(request, None)
        request.handled = False
        try:
            self._factory_of(cls)(request, client_address, server)
        except Exception:
            self._failed.add(request)
            raise
        finally:
            request.handled = True
            if over is not None:
                over.set()

    def _factory_of(self, cls: Any) -> Factory:
        """What makes handlers of the server's class, which may be another one from one request to the next."""
        known, factory = self._factory
        if known is not cls or factory is None:
            factory = served(cls)
            self._factory = cls, factory
        return factory

    # Where somebody has a hook that sees sockets before we do.

    def _take_connection(self, server: Any, thread: "LoopThread") -> Future[None] | None:
        """Accept; return what is done once the connection is over, None if it is to be none."""
        try:
            request, client_address = server.get_request()
        except OSError:
            return None
        if not server.verify_request(request, client_address):
            server.shutdown_request(request)
            return None
        try:
            timeout = request.gettimeout() or None
            return thread.serve(*_without_tls(request), client_address, timeout)
        except Exception:
            server.handle_error(request, client_address)
            server.shutdown_request(request)
            return None


def _without_tls(sock: Any) -> tuple[socket.socket, ssl.SSLContext | None, ssl.SSLSocket | None]:
    """Take TLS off a socket, so that the loop can do it.

    Where the handshake has been done already, by a ``get_request`` of somebody's own, a thread goes on with it, and
    handlers ask that socket about it, which is the third of what is returned.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return sock, None, None
    if sock.version() is None:
        return socket.socket(fileno=sock.detach()), sock.context, None
    ours, theirs = socket.socketpair()
    threading.Thread(target=_decrypt, args=(sock, ours), daemon=True).start()
    return theirs, None, sock


def _decrypt(sock: ssl.SSLSocket, plain: socket.socket) -> None:
    """Copy between a socket with TLS and one without, until either is closed."""
    with sock, plain, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(sock, selectors.EVENT_READ, plain)
        selector.register(plain, selectors.EVENT_READ, sock)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                while True:  # what TLS has decrypted already is nothing that can be selected
                    data = source.recv(_PIECE)
                    key.data.sendall(data)
                    if not data:
                        return
                    if source is plain or not sock.pending():
                        break


def _ready(selector: selectors.BaseSelector, seconds: float | None) -> set[Any]:
    return {key.fileobj for key, _ in selector.select(seconds)}


def _readable(sock: socket.socket, seconds: float) -> set[Any]:
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return _ready(selector, seconds)


def _is_stopping(server: Any) -> bool:
    """Whether somebody wants serve_forever to end; handlers of signals set that by its name in socketserver."""
    return bool(server._BaseServer__shutdown_request)


def _has_threads(server: Any) -> bool:
    """Whether requests run in threads of ours, as those of the mix-in."""
    return isinstance(server, socketserver.ThreadingMixIn) and not _overridden(server, "process_request")


def _is_serial(server: Any) -> bool:
    """Whether requests run in the calling thread."""
    return not isinstance(server, socketserver.ThreadingMixIn) and not _overridden(server, "process_request")


def _overridden(server: Any, *names: str) -> bool:
    """Whether a class has hooks of its own; those of mix-ins for threads and processes are what we replace."""
    own = (socketserver.__name__, http.server.__name__, __package__)
    return any(
        name in vars(server) or getattr(getattr(type(server), name), "__module__", None) not in own for name in names
    )
