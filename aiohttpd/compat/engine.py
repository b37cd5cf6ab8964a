"""The engine under a server of ``socketserver``: a loop in a thread of its own, and what the caller's thread does.

Owns the threads, and which hook of the server is called in which of them.
"""

import asyncio
import contextlib
import http.server
import queue
import selectors
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from ..errors import HTTPError
from ..listeners import ServerAddress
from ..program import loop_factory
from ..server import HTTPServer as Server
from ..threads.instances import Factory, served
from ..threads.legacy import HandlerApp
from ..threads.stand_in import Connection

__all__ = ["Engine"]

_PIECE = 16 * 1024  # bytes, a record of TLS
_LAST_ANSWER = 1.0  # seconds for the answers that are under way when a serial server stops


class _CallingThread:
    """The one worker of a serial server: the thread that has called ``serve_forever`` or ``handle_request``."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def submit(self, call: Callable[[], None]) -> None:
        """Have it run a call. There are not more of them than connections."""
        self._calls.put(call)

    def wake(self) -> None:
        """Have it look around."""
        self._calls.put(_nothing)

    def work(self, seconds: float | None) -> None:
        """Run the next call, or wait so long for one."""
        try:
            call = self._calls.get(timeout=seconds)
        except queue.Empty:
            return
        call()


def _nothing() -> None:
    pass


class Engine:
    """The engine of one server: the loop in its thread, and what the thread of the caller does meanwhile."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._caller = _CallingThread()
        self._thread: _LoopThread | None = None
        self._leaving: list[_LoopThread] = []  # with handlers that have not ended
        self._stopping = False
        self._stopped = threading.Event()
        self._stopped.set()
        self._inside = threading.local()
        self._raised: BaseException | None = None
        self._factory: tuple[Any, Factory | None] = None, None  # of the handler class, once it has been looked at

    @property
    def _threads(self) -> bool:
        return isinstance(self._server, socketserver.ThreadingMixIn)

    def serve_forever(self, poll_interval: float) -> None:
        self._stopped.clear()
        self._leave()  # what handle_request has begun
        looks = _overridden(self._server, "get_request", "verify_request")
        thread = self._thread = self._start(listen=not looks)
        acceptor = threading.Thread(target=self._accept, args=(thread,), daemon=True) if looks else None
        try:
            if acceptor is not None:
                acceptor.start()
            while not self._stopping:
                self._work(poll_interval)
                if not self._stopping:
                    self._server.service_actions()
        finally:
            self._stopping = True
            if acceptor is not None:
                acceptor.join()
            self._leave(None if self._threads else _LAST_ANSWER)
            if not self._threads:  # what waits for this thread is answered
                self.close()
            self._stopping = False
            self._stopped.set()

    def factory_of(self, cls: Any) -> Factory:
        """What makes handlers of the server's class, which may be another one from one request to the next."""
        known, factory = self._factory
        if known is not cls or factory is None:
            factory = served(cls)
            self._factory = cls, factory
        return factory

    def shutdown(self) -> None:
        self._stopping = True
        self._caller.wake()
        if not getattr(self._inside, "handler", False):
            self._stopped.wait()

    def close(self) -> None:
        self._leave()
        if not self._threads or (self._server.block_on_close and not self._server.daemon_threads):
            for thread in self._leaving:
                self._join(thread)
            self._leaving.clear()

    def _leave(self, grace: float | None = None) -> None:
        """Stop accepting; handlers that run go on, and the next caller gets a new loop."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop(grace)
            self._leaving = [*filter(_LoopThread.is_alive, self._leaving), thread]

    def handle_connection(self) -> None:
        thread = self._thread = self._thread or self._start(listen=False)
        made = self._take_connection(thread)
        if made is None or self._threads:
            return
        try:
            gone = thread.when_gone(made.result())
        except OSError:  # the handshake has failed
            return
        gone.add_done_callback(lambda _: self._caller.wake())
        try:
            while not gone.done():
                self._work(None)
        finally:
            self.close()  # nobody may ever call us again

    def _start(self, *, listen: bool) -> "_LoopThread":
        server = self._server
        context = None
        if isinstance(server.socket, ssl.SSLSocket):
            context = server.socket.context
            vars(server.socket)["do_handshake_on_connect"] = False  # it is ours to do, and must not stop accept()
        app = HandlerApp(
            server.RequestHandlerClass,
            finish=self._finish,
            workers=None if self._threads else self._caller,
            logs=False,
        )
        sockets: list[ServerAddress] = [socket.socket(fileno=socket.dup(server.socket.fileno()))] if listen else []
        return _LoopThread(Server(sockets, app, config=server.config, ssl=context))

    def _join(self, thread: "_LoopThread") -> None:
        while thread.is_alive():
            if self._threads:
                thread.join()
            else:
                self._caller.work(0.02)
                self._raised = None

    def _work(self, seconds: float | None) -> None:
        self._caller.work(seconds)
        error, self._raised = self._raised, None
        if error is not None:
            raise error

    # In the thread of a handler.

    def _finish(self, connection: Connection, client_address: Any) -> None:
        """Do for one request what ``socketserver`` does for a connection."""
        server = self._server
        self._inside.handler = True
        try:
            try:
                if _overridden(server, "process_request"):
                    closed = threading.Event()
                    connection.on_close = closed.set
                    server.process_request(connection, client_address)
                    closed.wait()
                else:
                    server.finish_request(connection, client_address)
                    server.shutdown_request(connection)
                return
            except Exception:
                server.handle_error(connection, client_address)  # may raise
            server.shutdown_request(connection)
            raise HTTPError(500)  # to the client, if it has not had an answer; it has been reported
        except HTTPError:
            raise
        except BaseException as error:
            server.shutdown_request(connection)
            if self._threads:
                raise
            self._raised = error  # out of serve_forever
            raise HTTPError(500) from None
        finally:
            self._inside.handler = False

    # Where somebody has a hook that sees sockets before we do.

    def _accept(self, thread: "_LoopThread") -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server.fileno(), selectors.EVENT_READ)
            while not self._stopping and thread.is_alive():
                if selector.select(0.1) and not self._stopping:
                    self._take_connection(thread)

    def _take_connection(self, thread: "_LoopThread") -> Any:
        server = self._server
        try:
            request, client_address = server.get_request()
        except OSError:
            return None
        try:
            if server.verify_request(request, client_address):
                return thread.serve(*_without_tls(request), client_address)
        except Exception:
            server.handle_error(request, client_address)
        server.shutdown_request(request)
        return None


class _LoopThread(threading.Thread):
    """A thread with a loop and a server in it."""

    def __init__(self, server: Server) -> None:
        super().__init__(name="aiohttpd-loop", daemon=True)
        self._server = server
        self._begun = threading.Event()
        self._error: list[BaseException] = []
        self._deaf = threading.Event()  # it accepts no more
        self._stops: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop
        self.start()
        self._begun.wait()
        if self._error:
            self.join()
            raise self._error.pop()

    def run(self) -> None:
        # If the interpreter is ending, no thread can be started that would wait for others; the loop is closed then.
        with contextlib.suppress(RuntimeError), asyncio.Runner(loop_factory=loop_factory()) as runner:
            self._loop = runner.get_loop()
            try:
                runner.run(self._serve())
            except BaseException as error:
                self._error.append(error)
                self._begun.set()
        self._deaf.set()

    async def _serve(self) -> None:
        await self._server.start()
        self._begun.set()
        await self._server.serve_forever()
        await asyncio.sleep(0)  # uvloop closes what it has been given a turn later

    def stop(self, grace: float | None = None) -> None:
        """Begin to stop, and wait until it accepts no more: whoever comes then is for the next one."""
        with contextlib.suppress(RuntimeError):  # it has stopped
            self._loop.call_soon_threadsafe(self._begin_to_stop, grace)
            self._deaf.wait()

    def _begin_to_stop(self, grace: float | None) -> None:
        self._stops.add(self._loop.create_task(self._server.shutdown(grace)))
        self._stops.add(self._loop.create_task(self._tell()))

    async def _tell(self) -> None:
        for _ in range(3):  # a connection that uvloop has accepted already is made in a later turn
            await asyncio.sleep(0)
        self._deaf.set()

    def serve(self, sock: socket.socket, context: ssl.SSLContext | None, client_address: Any) -> Any:
        """Serve a connection; return a future of it."""
        return self._ask(self._server.serve_connection(sock, context, client_address))

    def when_gone(self, connection: Any) -> Any:
        """Return a future that is done when a connection has been closed."""
        return self._ask(self._server.closed(connection))

    def _ask(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # it has stopped
            coroutine.close()
            raise


def _without_tls(sock: Any) -> tuple[socket.socket, ssl.SSLContext | None]:
    """Take TLS off a socket, so that the loop can do it.

    Where the handshake has been done already, by a ``get_request`` of somebody's own, a thread goes on with it.
    """
    if not isinstance(sock, ssl.SSLSocket):
        return sock, None
    if sock.version() is None:
        return socket.socket(fileno=sock.detach()), sock.context
    ours, theirs = socket.socketpair()
    threading.Thread(target=_decrypt, args=(sock, ours), daemon=True).start()
    return theirs, None


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


def _overridden(server: Any, *names: str) -> bool:
    """Whether a class has hooks of its own; those of mix-ins for threads and processes are what we replace."""
    own = (socketserver.__name__, http.server.__name__, __package__)
    return any(
        name in vars(server) or getattr(getattr(type(server), name), "__module__", None) not in own for name in names
    )
