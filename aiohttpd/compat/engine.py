"""The engine of a server of ``socketserver``: an event loop in a thread of its own, and the calling thread.

Owns these threads, and decides which hook of the server is called in which of them. It keeps only a weak reference to
the server. So a server that is forgotten without ``server_close`` is deleted, and its port is closed, as in
``socketserver``.
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
from functools import partial
from time import monotonic
from typing import Any

from ..errors import HTTPError
from ..net.sockets import ServerAddress
from ..server.server import HTTPServer as Server
from ..threads.fake_socket import FakeSocket
from ..threads.instances import Factory, served
from ..threads.legacy import HandlerApp
from .aiohttpd_handlers import AiohttpdHandlers
from .calling_thread import CallingThread
from .loop_thread import LoopThread

__all__ = ["Engine"]

_PIECE = 16 * 1024  # bytes; a record of TLS
_LAST_ANSWERS = 1.0  # seconds for requests in flight when a serial server stops
_FIRST_REQUEST = 1.0  # seconds for the first request of a client that connects shortly before the timeout
_CHECK_CLIENT = 1.0  # seconds between two checks whether the client of a request that has no answer is still connected
_PATIENCE = 0.05  # seconds for a client that is silent before another connection is accepted
_CHECK_REQUEST = 0.05  # seconds between two checks of a request that is under way when the time is up
_USUAL = socketserver.__name__, http.server.__name__, __package__  # modules whose hooks are no overrides


class Engine:
    """The engine of one server.

    Args:
        server: a server of ``socketserver``. Methods get it as an argument, since the engine must not keep it alive.
    """

    def __init__(self, server: Any) -> None:
        self._server = weakref.ref(server)
        weakref.finalize(server, self._forget).atexit = False
        self._caller = CallingThread()
        self._thread: LoopThread | None = None
        self._starting = threading.Lock()
        self._accepting = threading.Lock()
        self._leaving: list[LoopThread] = []  # loops that have stopped accepting, and have running handlers
        self._stopped = threading.Event()
        self._stopped.set()
        # Requests that a hook of the server has, perhaps in a thread of its own; the event is set when they are done.
        self._handed_out: weakref.WeakKeyDictionary[FakeSocket, threading.Event] = weakref.WeakKeyDictionary()
        self._with_others: set[Any] = set()  # their connections
        self._calls: list[_Call] = []  # of handle_request; see `begin_call`
        # By connection the call that has served it; None if that has returned at once, so that its end ends no call.
        self._calls_of: weakref.WeakKeyDictionary[Any, _Call | None] = weakref.WeakKeyDictionary()
        self._factory: tuple[Any, Factory | None] = None, None  # the handler class, and its factory

    def serve_forever(self, server: Any, poll_interval: float) -> None:
        """Serve until `shutdown`; ``service_actions`` is called each ``poll_interval`` seconds at least.

        Raises:
            ValueError: the listening socket has been closed.
        """
        if server.fileno() < 0:
            raise ValueError(f"Invalid file descriptor: {server.fileno()}")  # as the selector of socketserver
        is_shut_down = server._BaseServer__is_shut_down  # some programs use it
        is_shut_down.clear()
        self._stopped.clear()
        self._caller = CallingThread.of(server.socket, self._caller)
        try:
            with self._caller.accepting_from(server.socket):
                self._serve_until_stopped(server, poll_interval)
        finally:
            server._BaseServer__shutdown_request = False
            is_shut_down.set()
            self._stopped.set()

    def _serve_until_stopped(self, server: Any, poll_interval: float) -> None:
        self._leave()  # the loop of handle_request
        try:
            accepts = _overridden(server, "get_request", "verify_request")  # these see the sockets of clients
            with self._caller.here():  # before the first request can need this thread
                thread = self._thread = self._start(server, listen=not accepts)
                thread.keep(server)
                self._serve(server, thread if accepts else None, poll_interval)
        finally:
            serial = _is_serial(server)
            self._leave(_LAST_ANSWERS if serial else None)
            if serial:  # requests that wait for this thread are answered
                self.close(server)

    def _serve(self, server: Any, acceptor: "LoopThread | None", poll_interval: float) -> None:
        """Run calls in this thread; with ``acceptor`` accept connections here too, since hooks see them first."""
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
        """Stop `serve_forever`, and wait for it, unless this is its thread or the thread of a handler."""
        server._BaseServer__shutdown_request = True
        self._caller.wake()
        if not self._caller.is_current and not self._caller.state.handler:
            self._stopped.wait()

    def close(self, server: Any) -> None:
        """Stop the loop; wait for running handlers where ``socketserver`` would."""
        self._leave()
        waits = _is_threading(server) and server.block_on_close and not server.daemon_threads
        if waits or _is_serial(server):
            for thread in self._leaving:
                self._join(thread, serial=_is_serial(server))
            self._leaving.clear()

    def _leave(self, grace: float | None = None) -> None:
        """Stop accepting. Running handlers go on, and the next call gets a new loop."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop(grace)
            self._leaving = [*filter(LoopThread.is_alive, self._leaving), thread]

    def _forget(self) -> None:
        """The server has been deleted, so no request is under way."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.begin_to_stop(0)

    def handle_request(self, server: Any) -> None:
        """Serve one connection, as ``handle_request`` does.

        The timeout of the server is the time for a request to begin.
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
        """Serve a connection that waits to be accepted, as ``handle_request`` or a selector has found."""
        if _has_threads(server):
            thread = self._ready(server)
            gone = self._take_connection(server, thread)
            if gone is not None:
                thread.keep(server, gone)
        else:
            self._serve_one(server, None)

    def _serve_one(self, server: Any, timeout: float | None) -> None:
        """Serve in this thread until one connection has been served, or ``process_request`` of the server has it."""
        self._caller = CallingThread.of(server.socket, self._caller)
        if not _OneConnection(self, server, self._ready(server), timeout).serve():
            server.handle_timeout()

    def begin_call(self) -> "_Call":
        """Count a call of ``handle_request``.

        The end of a connection ends one of the calls that run in several threads at once, or one after the other
        without a pause between. A connection that is left from before ends no later one.
        """
        with self._starting:
            running = [call for call in self._calls if not call.is_over]
            if running:
                self._calls[:] = running
            else:
                self._calls = []
            call = _Call(self._caller, self._calls)
            self._calls.append(call)
            return call

    def _ready(self, server: Any) -> LoopThread:
        """The loop of ``handle_request``; it goes on between two calls."""
        with self._starting:  # several threads may be here
            if self._thread is None:
                self._thread = self._start(server, listen=False)
            return self._thread

    def _start(self, server: Any, *, listen: bool) -> "LoopThread":
        context = None
        if isinstance(server.socket, ssl.SSLSocket):
            context = server.socket.context
            vars(server.socket)["do_handshake_on_connect"] = False  # the loop does it; here it would block accept()
        workers = self._caller if _is_serial(server) else None
        app = HandlerApp(server.RequestHandlerClass, finish=self._finish, workers=workers, logs=False)
        app.aiohttpd_silence = app.aiohttpd_silence or socket.getdefaulttimeout()
        hooks = [name for name in ("process_request", "finish_request") if _overridden(server, name)]
        ours = AiohttpdHandlers(server, app, workers=workers, state=self._caller.state, hooks=hooks)
        sockets: list[ServerAddress] = [socket.socket(fileno=socket.dup(server.socket.fileno()))] if listen else []
        engine = Server(sockets, ours, ssl=context, **ours.options(server.aiohttpd_config))
        patient = _is_threading(server) and not server.daemon_threads
        return LoopThread(engine, patient=patient)

    def _join(self, thread: "LoopThread", *, serial: bool) -> None:
        while thread.is_alive() and thread is not threading.current_thread():
            if serial:
                self._caller.work(0.02)
                self._caller.state.raised = None
            else:
                thread.join()

    def _raise(self) -> None:
        """Raise here what a handler or a hook has raised, and ``handle_error`` has not handled."""
        error, self._caller.state.raised = self._caller.state.raised, None
        if error is not None:
            raise error

    # In the thread of a handler.

    def _finish(self, connection: FakeSocket, client_address: Any) -> None:
        """Do for one request what ``socketserver`` does for a connection."""
        self._answer(connection, client_address)
        if connection.failed:  # not raised in `_answer`: its frames would keep the server alive
            raise HTTPError(500)  # for a client that has no answer yet; the exception has been reported

    def _answer(self, connection: FakeSocket, client_address: Any) -> None:
        server = self._server()
        if server is None:
            raise HTTPError(503)
        self._caller.state.handler = True
        try:
            if _overridden(server, "process_request"):
                self._hand_out(server, connection, client_address)
            elif _is_threading(server) and _overridden(server, "process_request_thread"):
                server.process_request_thread(connection, client_address)
            else:
                self._process(server, connection, client_address)
        finally:
            self._caller.state.handler = False

    def _process(self, server: Any, connection: FakeSocket, client_address: Any) -> None:
        """Have a request answered in this thread, as ``process_request`` does."""
        if self._caller.is_current:
            self._serves(connection.exchange.request.peer)
        try:
            try:
                try:
                    server.finish_request(connection, client_address)
                finally:
                    connection.handled = True
            except Exception:
                connection.failed = True
                server.handle_error(connection, client_address)  # may raise
            server.shutdown_request(connection)
        except BaseException as error:
            server.shutdown_request(connection)
            if _is_serial(server):
                self._caller.state.raised = error
            elif not isinstance(error, SystemExit) or not connection.exchange.answered:
                raise
            if not connection.exchange.answered:
                raise HTTPError(500) from None
            connection.failed = False  # it has answered before

    def _serves(self, peer: Any) -> None:
        """The current thread serves a connection."""
        state = self._caller.state
        state.served = peer
        known = self._calls_of.get(peer)
        if state.call is not None and (known is None or known.is_over):
            self._calls_of[peer] = state.call

    def _hand_out(self, server: Any, connection: FakeSocket, client_address: Any) -> None:
        """Give a request to ``process_request`` of the server, in the calling thread; wait until it is done."""
        over = self._handed_out[connection] = threading.Event()
        connection.on_close = over.set
        peer: Any = connection.exchange.request.peer
        raised: list[BaseException] = []
        try:
            self._caller.lend(partial(self._process_request, server, connection, client_address, over, raised))
            while not over.wait(_CHECK_CLIENT):
                if peer.lost and connection in self._handed_out:
                    break  # the client has gone, and the hook has dropped the connection without closing it
        finally:
            self._with_others.discard(peer)
        if raised:
            raise raised.pop()
        if connection in self._handed_out and not connection.exchange.answered and not connection.failed:
            raise HTTPError(503)  # the hook has closed it, and has made no handler

    def _process_request(
        self,
        server: Any,
        connection: FakeSocket,
        client_address: Any,
        over: threading.Event,
        raised: list[BaseException],
    ) -> None:
        """Call ``process_request`` of the server; what it raises goes to ``handle_error``, or else to its caller."""
        peer: Any = connection.exchange.request.peer
        self._serves(peer)
        self._with_others.add(peer)
        try:
            try:
                server.process_request(connection, client_address)
            except Exception:
                connection.failed = True
                server.handle_error(connection, client_address)  # may raise
                server.shutdown_request(connection)
                over.set()
        except BaseException as error:
            connection.failed = True
            if self._caller.is_current:
                self._caller.state.raised = error
            else:
                raised.append(error)
            server.shutdown_request(connection)
            over.set()

    def finish_request(self, server: Any, request: Any, client_address: Any) -> None:
        """Make a handler, which answers. A real socket, of a program that accepts itself, is given to the class."""
        cls = server.RequestHandlerClass
        if not isinstance(request, FakeSocket):
            cls(request, client_address, server)
            return
        over = self._handed_out.pop(request, None) if self._handed_out else None
        request.handled = False
        try:
            self._factory_of(cls)(request, client_address, server)
        except Exception:
            request.failed = True
            raise
        finally:
            request.handled = True
            if over is not None:
                over.set()

    def _factory_of(self, cls: Any) -> Factory:
        """The factory of a handler class; the server may have another class for the next request."""
        known, factory = self._factory
        if known is not cls or factory is None:
            factory = served(cls)
            self._factory = cls, factory
        return factory

    # Accepting in the calling thread, for servers with hooks that see the sockets of clients.

    def _take_connection(self, server: Any, thread: "LoopThread") -> Future[Any] | None:
        """Accept; return a future that is done when the connection has been closed, None if there is none."""
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


class _OneConnection:
    """One call of ``handle_request`` that runs handlers in the calling thread.

    While the accepted client is silent, other connections are accepted too, one each `_PATIENCE` seconds, so that a
    silent client keeps nobody else from being served. Of several calls, in several threads, one may accept a connection
    and another one serve it, and one may serve two. So the end of a connection ends one call, whichever has served it.

    Args:
        engine: the engine of the server.
        server: the server of ``socketserver``.
        thread: its loop.
        timeout: seconds for a request to begin; None for no limit.
    """

    def __init__(self, engine: Engine, server: Any, thread: LoopThread, timeout: float | None) -> None:
        self._engine = engine
        self._caller = engine._caller
        self._server = server
        self._thread = thread
        self._timeout = timeout
        self._until = None if timeout is None else monotonic() + timeout
        self._call = engine.begin_call()
        self._has_accepted = False
        self._worked = False
        self._next_accept = 0.0  # until then connections stay in the backlog, where select() on the server shows them

    def serve(self) -> bool:
        """Serve until a connection is over; return False if no request has begun in time."""
        with self._caller.here(), self._counted(), self._engine._selecting(self._server) as (bell, selector):
            while not self._call.is_over:
                left = self._left()
                ready = self._wait(bell, selector, left)
                if left == 0 and not ready:
                    return self._worked
                if self._server in ready and not self._accept(selector):
                    return True
                if bell in ready and self._run_call(bell):
                    return True
        return True

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """The call is one of those that the end of a connection can end, and that of this thread."""
        self._caller.state.call = self._call
        try:
            yield
        finally:
            self._call.is_over = True
            self._caller.state.call = None

    def _is_of_another(self, connection: Any) -> bool:
        """Whether another call has served a connection."""
        return self._engine._calls_of.get(connection) not in (None, self._call)

    def _left(self) -> float | None:
        """Seconds to wait; None for no limit, 0 when the time is up and no request is under way."""
        if self._until is None:
            return None
        left = self._until - monotonic()
        if left > 0:
            return left
        under_way = self._thread.with_requests() - self._engine._with_others
        return 0.0 if all(map(self._is_of_another, under_way)) else _CHECK_REQUEST

    def _wait(self, bell: socket.socket, selector: selectors.BaseSelector, left: float | None) -> set[Any]:
        patience = self._next_accept - monotonic()
        if patience > 0:
            return _readable(bell, patience if left is None else min(patience, left))
        return _ready(selector, left)

    def _accept(self, selector: selectors.BaseSelector) -> bool:
        """Accept a connection; return False if a hook has refused it or has taken it for itself."""
        with self._engine._accepting:
            if self._server not in _ready(selector, 0):
                return True  # another thread has accepted it
            gone = self._engine._take_connection(self._server, self._thread)
        if gone is None:
            return False
        if self._until is not None and self._timeout is not None and not self._has_accepted:
            first = min(max(self._timeout, _PATIENCE), _FIRST_REQUEST)
            self._until = max(self._until, monotonic() + first)
        self._has_accepted = True
        gone.add_done_callback(partial(_end_one, self._call, self._engine._calls_of))  # must not keep the server alive
        self._next_accept = monotonic() + _PATIENCE
        return True

    def _run_call(self, bell: socket.socket) -> bool:
        """Run a handler or a hook; return True if the connection is served by a thread of the server's own making."""
        state = self._caller.state
        state.served = None
        self._caller.answer(bell)
        if state.served is None:
            self._engine._raise()
            return False
        self._worked = True
        ends = not _is_serial(self._server)
        if ends or state.raised is not None:
            self._engine._calls_of[state.served] = None  # it ends this call now, so its end ends no other one
            if self._call.is_over:
                self._call.end_one()  # the end of another connection has ended this call meanwhile
        self._engine._raise()
        return ends


class _Call:
    """A call of ``handle_request``.

    Args:
        caller: the calling threads.
        together: this call, and those of other threads that run beside it; see `Engine.begin_call`.

    Attributes:
        is_over: it returns, or has returned.
    """

    def __init__(self, caller: CallingThread, together: "list[_Call]") -> None:
        self._caller = caller
        self._together = together
        self.is_over = False

    def end_one(self) -> None:
        """Have it return; if it does so already, another one of those beside it."""
        for call in (self, *tuple(self._together)):
            if not call.is_over:
                call.is_over = True
                self._caller.ring()
                return


def _end_one(accepting: _Call, calls_of: weakref.WeakKeyDictionary[Any, _Call | None], gone: Future[Any]) -> None:
    """End one call, since a connection has been closed: the one that has served it, or else has accepted it."""
    connection = None if gone.cancelled() or gone.exception() is not None else gone.result()
    call = accepting if connection is None else calls_of.get(connection, accepting)
    if call is not None:
        call.end_one()


def _without_tls(sock: Any) -> tuple[socket.socket, ssl.SSLContext | None, ssl.SSLSocket | None]:
    """Separate a socket from its TLS, which the loop does then.

    If ``get_request`` of the server has done the handshake already, a thread goes on encrypting.

    Returns:
        The socket for the loop; the TLS context, if the loop has to do the handshake; the TLS socket, if the handshake
        has been done, so that handlers can ask it for certificates.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return sock, None, None
    if sock.version() is None:
        return socket.socket(fileno=sock.detach()), sock.context, None
    ours, theirs = socket.socketpair()
    threading.Thread(target=_decrypt, args=(sock, ours), daemon=True).start()
    return theirs, None, sock


def _decrypt(sock: ssl.SSLSocket, plain: socket.socket) -> None:
    """Copy between a TLS socket and a plain socket, until either is closed."""
    with sock, plain, selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
        selector.register(sock, selectors.EVENT_READ, plain)
        selector.register(plain, selectors.EVENT_READ, sock)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                while True:  # until pending() is 0: a selector does not show data that has been decrypted already
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
    """Whether serve_forever has to end. Signal handlers of some programs set this attribute of socketserver."""
    return bool(server._BaseServer__shutdown_request)


def _has_threads(server: Any) -> bool:
    """Whether requests run in worker threads, in place of those of ThreadingMixIn."""
    return _is_threading(server) and not _overridden(server, "process_request")


def _is_serial(server: Any) -> bool:
    """Whether requests run in the calling thread, one after the other."""
    return not _is_threading(server) and not _overridden(server, "process_request")


def _is_threading(server: Any) -> bool:
    """Whether a server derives from ThreadingMixIn first, then from a server; the other way round it has no effect."""
    if not isinstance(server, socketserver.ThreadingMixIn):
        return False
    order = type(server).__mro__
    return order.index(socketserver.ThreadingMixIn) < order.index(socketserver.BaseServer)


def _overridden(server: Any, *names: str) -> bool:
    """Whether a server overrides hooks; those of ThreadingMixIn and ForkingMixIn do not count, they are replaced."""
    attributes, kind = vars(server), type(server)
    for name in names:  # noqa: SIM110  # a generator expression costs more, and this is called for each request
        if name in attributes or getattr(getattr(kind, name), "__module__", None) not in _USUAL:
            return True
    return False
