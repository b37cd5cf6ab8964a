"""HTTPServer: serves an App in one process, inside any asyncio program.

Owns start and stop, and the listening sockets. How connections end is in `shutdown`, the lifespan in `lifespan`. It
installs no signal handlers, no logging handlers and no event loop policy. It never looks up the name of a client or of
the machine.
"""

import asyncio
import contextlib
import socket
import ssl as ssl_module
from collections.abc import Callable, Coroutine, Mapping
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, Never, TypeVar, cast

from ..asgi.host import hosted
from ..config import Config
from ..config.hosts import is_loopback
from ..engine.connection import HTTPConnection
from ..engine.context import ServerContext
from ..engine.error_log import log_error
from ..engine.handshake import tls_options
from ..engine.interfaces import AccessLogger, App
from ..handlers.app import Lifespan, lifespans_of, resolve_app
from ..net.sockets import ServerAddress, check_address, listen, url_of
from ..net.tls import Certificates
from ..net.tls_half_close import half_closable
from ..wire.request import Address, Request
from .acceptor import Acceptor
from .layers import connection_factory, make_context
from .lifespan import LifespanTask
from .metrics import Metrics, Snapshot
from .shutdown import Shutdown
from .status import Snapshots

if TYPE_CHECKING:
    from ..handlers.routing.errors import ErrorHandler
    from ..threads.cpu_pool import ProcessPool

__all__ = ["HTTPServer"]

T = TypeVar("T")


class HTTPServer:
    """A server of one App.

    ::

        async with HTTPServer(("127.0.0.1", 0), Handler) as server:
            print(server.url)
            await server.serve_forever()

    In a handler it is ``self.server``, with all attributes that the program or ``lifespan`` has set on it.

    Args:
        server_address: ``(host, port)``, the path of a unix socket, a listening socket, or a list of
            these. Port 0 takes a free port. All these sockets are closed when the server stops, also a given one.
        app: a handler class, another App, or an ASGI application.
        config: the options; by default ``Config()``.
        lifespan: a function that gets the server and returns an async context manager. It is entered before the
            first connection is accepted, and left when all connections have been closed. The lifespan of the App, its
            attribute ``lifespan``, is inside of it.
        ssl: the TLS context; with it the server speaks HTTPS.
        access_log: gets a record of each answer. The logger ``aiohttpd.access`` gets one too, if it has a handler or a
            level of its own when the server starts.
        snapshots: an async function that returns the metrics of all processes that serve together, for the page of
            the option ``metrics``; by default only this process is shown.
        error_handlers: ``async def page(self, error)`` by status code or exception class: what answers for errors of
            the App, as for a `Router`. `handle_errors` does the same to an App that is given to `run`.

    Raises:
        TypeError: ``app`` is not an App, ``server_address`` is not an address, or ``config``, ``lifespan`` or ``ssl``
            is of a wrong kind; the text says what to write.
        ValueError: ``server_address`` is a path that looks like a host, or the port is out of range.

    Attributes:
        state: what the program has of its own, for its handlers: set attributes of it, or set another object, in the
            lifespan say. ``BaseHTTPRequestHandler[State]`` tells type checkers what it is.
        shutting_down: an ``asyncio.Event``, set at the beginning of a shutdown, so that long streams can end.
        sockets: the listening sockets.
        acceptor: accepts the connections; None before the server has been started.
        replaced: whether another process takes over when this server stops; then its health page stays at 200.
    """

    def __init__(
        self,
        server_address: ServerAddress | list[ServerAddress],
        app: App,
        *,
        config: Config | None = None,
        lifespan: Lifespan | None = None,
        ssl: ssl_module.SSLContext | None = None,
        access_log: AccessLogger | None = None,
        snapshots: Snapshots | None = None,
        error_handlers: "Mapping[Any, ErrorHandler] | None" = None,
        **others: Never,
    ) -> None:
        if others:
            raise TypeError(_no_argument(next(iter(others))))
        app = hosted(app)
        resolve_app(app)  # an error is better raised here than once the server listens
        check_address(server_address)
        _check_config(config)
        _check_context(ssl)
        _check_access_log(access_log)
        if error_handlers is not None:
            from ..handlers.routing import handle_errors  # not every program has these

            app = handle_errors(app, error_handlers)
        self.app = app
        self.config = config or Config()
        self.sockets: list[socket.socket] = []
        self.state: Any = SimpleNamespace()
        self.shutting_down = asyncio.Event()
        self._snapshots = snapshots
        self._given_address = server_address
        self._lifespans = lifespans_of(app, lifespan)
        self._ssl = ssl
        self._access_log = access_log
        self._context: ServerContext | None = None
        self.acceptor: Acceptor | None = None
        self.replaced = False
        self._names: list[Any] = []
        self._life: LifespanTask  # made by `start`
        self._stopped: asyncio.Future[None] | None = None
        self._shutdown: Shutdown | None = None  # and the task of it
        self._closer: asyncio.Task[None] | None = None
        self._processes: ProcessPool | None = None

    # Its addresses and its state.

    @property
    def server_address(self) -> Any:
        """The bound address: ``(host, port)``, or the path of a unix socket; before `start` the given one."""
        return self._names[0] if self._names else self._given_address

    @property
    def server_port(self) -> int | None:
        """The bound port; None on a unix socket."""
        address = self.server_address
        return address[1] if isinstance(address, tuple) else None

    @property
    def server_name(self) -> str:
        """The host of `server_address`, or the path of a unix socket. No name is looked up."""
        address = self.server_address
        return str(address[0] if isinstance(address, tuple) else address)

    @property
    def url(self) -> str:
        """The URL of the first socket without a slash at its end, so that ``server.url + "/path"`` is a URL.

        Raises:
            RuntimeError: the server has not been started.
        """
        if not self._names:
            raise RuntimeError("the server has no URL before it has been started")
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """The URL of each socket; empty before `start`."""
        return [url_of(name, tls=self.tls) for name in self._names]

    @property
    def addresses(self) -> list[Any]:
        """The address of each socket; the first is `server_address`. Empty before `start`."""
        return list(self._names)

    @property
    def tls(self) -> bool:
        """Whether it speaks HTTPS."""
        return self._ssl is not None

    @property
    def connections(self) -> frozenset[HTTPConnection]:
        """The open connections."""
        return frozenset(cast(set[HTTPConnection], self._context.registry.connections) if self._context else ())

    @property
    def in_flight(self) -> int:
        """The number of requests whose handlers have not ended."""
        return len(self.orphans) + sum(connection.handler is not None for connection in self.connections)

    @property
    def orphans(self) -> frozenset[asyncio.Task[None]]:
        """The tasks of handlers that go on although their client has closed the connection."""
        return frozenset(self._context.registry.orphans if self._context else ())

    @property
    def ready(self) -> bool:
        """Whether it has been started, and its shutdown has not begun."""
        return self._context is not None and not self.shutting_down.is_set()

    def snapshot(self) -> Snapshot:
        """The metrics of this process as plain data; all counters are zero if the option ``metrics`` is off."""
        metrics = self._context.recorder.metrics if self._context is not None else None
        return (metrics or Metrics()).snapshot(self.connections, self.in_flight)

    async def snapshots(self) -> list[Snapshot]:
        """The metrics of all processes that serve together, one `snapshot` each."""
        return [self.snapshot()] if self._snapshots is None else await self._snapshots()

    # Start and stop.

    async def __aenter__(self) -> "HTTPServer":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._shutdown_completed(None if kind is None else 0)

    async def start(self) -> None:
        """Listen, enter the lifespan, and accept connections.

        Raises:
            BindError: the server cannot listen on an address.
            RuntimeError: it has been started before.
            ValueError: the option ``debug`` is on, and an address is not on loopback.
            Exception: the lifespan has raised it when it was entered.
        """
        if self._stopped is not None:
            raise RuntimeError("a server can be started only once; make another HTTPServer")
        loop = asyncio.get_running_loop()
        stopped = self._stopped = loop.create_future()
        try:
            await self._start(loop)
        except BaseException:
            if not stopped.done():
                stopped.set_result(None)  # nobody may wait for ever
            raise

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._listen()
        self._life = LifespanTask(self._lifespans, self)
        try:
            entered = await self._life.entered()
        except BaseException:
            self._close_sockets()
            if not self._life.task.done():  # this call has been cancelled
                await _done(loop.create_task(self._life.cancel()))
            raise
        try:
            context = self._context = make_context(
                self.app, self.config, loop, server=self, access_log=self._access_log, lifespan_context=entered
            )
        except BaseException:  # the format of the log is read only if the program has configured the logger
            self._close_sockets()
            await self._life.leave()
            raise
        factory = connection_factory(context, lambda: self._ssl)
        self.acceptor = Acceptor(context, self.sockets, factory)
        try:
            await self.acceptor.begin()
        except BaseException:
            await self._shutdown_completed(0)
            raise

    async def serve_forever(self) -> None:
        """Start the server if that has not been done, and wait until it has been shut down.

        If this call is cancelled, the server is shut down first. If it is cancelled again, requests in flight have no
        more time.

        Raises:
            Exception: the lifespan has raised it when it was left.
            RuntimeError: another call of `start` has failed.
        """
        if self._stopped is None:
            await self.start()
        assert self._stopped is not None
        try:
            await asyncio.shield(self._stopped)
        except asyncio.CancelledError:
            if not self._stopped.done():
                await self._shutdown_completed(None)
            raise
        if self._closer is None:
            raise RuntimeError("the server does not run: its start() has failed; make another HTTPServer")
        await self._closer  # raises what the lifespan has raised when it was left

    def use_ssl(self, context: ssl_module.SSLContext) -> None:
        """Use another TLS context for new connections; open connections keep theirs.

        Args:
            context: the new context.

        Raises:
            RuntimeError: the server was made without TLS.
        """
        if self._ssl is None:
            raise RuntimeError("the server was made without TLS; give ssl= to HTTPServer for HTTPS")
        _check_context(context)
        self._ssl = context

    def background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        """Start work that outlives the answer of the handler that starts it.

        ::

            self.server.background(send_mail(address))

        There are ``max_background`` (an option) at a time. When the server stops, it waits for them as for handlers:
        within ``timeout_grace``, then they are cancelled. An exception of one is logged.

        Args:
            work: the coroutine. It sees the context variables of the caller.

        Returns:
            The task; it need not be kept.

        Raises:
            HTTPError: 503: there are too many already.
            RuntimeError: the server is not running.
        """
        if self._context is None or self._life.leaving:
            work.close()
            raise RuntimeError("the server is not running")
        return self._context.background(work)

    async def run_in_process(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in another process, for work that would block the event loop.

        The server has at most ``processes`` processes (an option); they end with the server.

        Args:
            function: a function at the top of a module; it and its arguments must be picklable.
            args: its arguments.

        Returns:
            What the function returns. `ProcessPool.run` says what is raised.
        """
        if self._processes is None:
            from ..threads.cpu_pool import ProcessPool  # it imports multiprocessing

            self._processes = ProcessPool(self.config.processes)
        return await self._processes.run(function, *args)

    async def serve_connection(
        self,
        sock: socket.socket,
        ssl: ssl_module.SSLContext | None = None,
        client_address: Address | None = None,
        *,
        secured: ssl_module.SSLSocket | None = None,
    ) -> HTTPConnection:
        """Serve a connection that the program has accepted itself.

        Args:
            sock: the socket of the connection; from now on the server closes it.
            ssl: the TLS context; with it the connection is HTTPS.
            client_address: the address of the client, if ``sock`` does not know it.
            secured: a TLS socket that stands in front of ``sock``, if TLS has been set up already; handlers see it.

        Raises:
            RuntimeError: the server is not running.
            OSError: the TLS handshake has failed.
        """
        if self._context is None or self.shutting_down.is_set():
            sock.close()
            raise RuntimeError("the server is not running")
        loop = asyncio.get_running_loop()
        sock.setblocking(False)
        options = {} if ssl is None else {"ssl": half_closable(ssl), **tls_options(self.config)}
        connection = HTTPConnection(self._context)  # with TLS, uvloop returns another protocol
        if client_address is not None:
            connection.client_address = client_address  # before the first request can arrive
        connection.secured = secured
        try:
            await loop.connect_accepted_socket(lambda: connection, sock, **options)
        except asyncio.CancelledError:  # uvloop closes the socket then, and does not call connection_lost()
            loop.call_soon(self._context.registry.remove_connection, connection)
            raise
        return connection

    def serve_transport(self, transport: asyncio.Transport) -> HTTPConnection:
        """Serve a connection on a transport that the program has made, one in memory for example.

        Args:
            transport: it calls the methods of the connection that is returned, an ``asyncio.Protocol``, from
                ``data_received`` on; ``connection_made`` has been called.

        Raises:
            RuntimeError: the server is not running.
        """
        if self._context is None or self.shutting_down.is_set():
            raise RuntimeError("the server is not running")
        connection = HTTPConnection(self._context)
        connection.connection_made(transport)
        return connection

    async def closed(self, connection: HTTPConnection) -> None:
        """Wait until a connection has been closed."""
        while self._context is not None and connection in self._context.registry.connections:
            self._context.registry.changed.clear()
            await self._context.registry.changed.wait()

    async def shutdown(
        self,
        grace: float | None = None,
        *,
        idle: float | None = None,
        delay: float | None = None,
        replaced: bool = False,
        last: bool = True,
    ) -> None:
        """Stop: close the listening sockets, finish the requests in flight, close the connections.

        For ``shutdown_delay`` seconds connections are still accepted, and the health page answers 503. Then the
        listening sockets are closed. An idle connection, and one that has sent nothing yet, is kept for another
        ``timeout_drain_idle`` seconds, since a request may be on its way; such a request is answered. All answers have
        ``Connection: close``.

        A second call with ``grace`` shortens a shutdown that is under way; its other arguments do not count.

        A call in a handler, in background work or in the lifespan does not wait, since the shutdown waits for these.

        Args:
            grace: seconds for requests in flight, by default ``timeout_grace``; then their handlers are
                cancelled. With 0 there is no delay either, and idle connections are closed at once.
            idle: seconds for idle connections, by default ``timeout_drain_idle``; one that has sent nothing yet has
                ``timeout_drain_idle`` at least.
            delay: seconds for which connections are still accepted, by default ``shutdown_delay``.
            replaced: another process takes over, so the health page stays at 200.
            last: no other process accepts from the sockets, so connections that wait there are served first.

        Raises:
            RuntimeError: this is another event loop than that of the server.
        """
        if self._context is None or self._stopped is None or self._stopped.done():
            return
        if asyncio.get_running_loop() is not self._stopped.get_loop():
            raise RuntimeError(
                "shutdown() is called in another event loop than that of the server; in another thread write "
                "asyncio.run_coroutine_threadsafe(server.shutdown(), loop_of_the_server).result()"
            )
        if self._shutdown is None:
            assert self.acceptor is not None
            self.replaced = replaced
            self.shutting_down.set()
            config = self.config
            delay = config.shutdown_delay if delay is None else delay
            self._shutdown = Shutdown(
                self._context,
                self.acceptor,
                grace=config.timeout_grace if grace is None else grace,
                idle=config.timeout_drain_idle if idle is None else idle,
                delay=0 if grace == 0 else delay,
                last=last,
            )
            self._closer = asyncio.get_running_loop().create_task(self._shut_down(self._shutdown, self._stopped))
        elif grace is not None:
            self._shorten(self._shutdown, grace, idle)
        assert self._closer is not None
        await asyncio.sleep(0)  # the first step of a handler runs before its connection knows its task
        if not self._waits_for(asyncio.current_task()):
            await asyncio.shield(self._closer)

    async def _shutdown_completed(self, grace: float | None) -> None:
        """Shut down; a cancellation in the meantime shortens that, and is raised when it is done.

        A cancel scope of anyio cancels its tasks in each turn of the loop until they end.
        """
        try:
            await self.shutdown(grace)
        except asyncio.CancelledError:
            if self._shutdown is not None and not self._waits_for(asyncio.current_task()):
                self._shorten(self._shutdown, 0, None)
                assert self._closer is not None
                await _done(self._closer)
            raise

    def _shorten(self, shutdown: Shutdown, grace: float, idle: float | None) -> None:
        """Give a shutdown that is under way less time; without any, the lifespan is cancelled, too."""
        shutdown.shorten(grace, idle)
        if not grace:
            self._life.cancel_soon()

    def _waits_for(self, task: Any) -> bool:
        """Whether the shutdown waits for a task, so that this task must not wait for the shutdown."""
        assert self._context is not None
        handlers = (connection.handler.task for connection in self.connections if connection.handler is not None)
        return task is self._life.task or task in self._context.registry.background | self.orphans or task in handlers

    def handle_error(self, error: BaseException, request: Request) -> None:
        """Log an exception that a handler has not caught, on the logger ``aiohttpd.error``.

        Override it to report exceptions elsewhere.

        Args:
            error: the exception.
            request: the request that was being handled.
        """
        log_error(error, request)

    # The end, and the sockets.

    async def _shut_down(self, shutdown: Shutdown, stopped: asyncio.Future[None]) -> None:
        try:
            await shutdown.run()
            if self._processes is not None:
                self._processes.close()
            await self._life.leave()
        finally:  # whatever has been raised: nobody may wait for ever
            stopped.set_result(None)
        self._life.raise_error()

    def _listen(self) -> None:
        self.sockets = listen(self._given_address, self.config.backlog, reuse_port=self.config.reuse_port)
        self._names = [sock.getsockname() for sock in self.sockets]
        if self.config.debug and not all(is_loopback(name) for name in self._names):
            self._close_sockets()
            raise ValueError("debug shows tracebacks: all addresses have to be on loopback, 127.0.0.1 for example")

    def _close_sockets(self) -> None:
        for sock in self.sockets:
            sock.close()


async def _done(task: asyncio.Task[None]) -> None:
    """Wait until a task is done, however often that is cancelled."""
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])


def _no_argument(name: str) -> str:
    if name in Config.__dataclass_fields__:
        return f"HTTPServer has no argument {name!r}: write config=aiohttpd.Config({name}=...)"
    return f"HTTPServer has no argument {name!r}; options of the server are given as config=aiohttpd.Config(...)"


def _check_config(config: Any) -> None:
    if config is not None and not isinstance(config, Config):
        raise TypeError(f"config is {config!r}: write aiohttpd.Config(...) with the options as keywords")


def _check_access_log(log: Any) -> None:
    if log is not None and not hasattr(log, "answered"):
        raise TypeError(
            f"access_log is {log!r}: leave it out for no log; or call logging.getLogger('aiohttpd.access')."
            "setLevel(logging.INFO), or give an object with the methods of AccessLogger"
        )


def _check_context(context: Any) -> None:
    """Refuse what is no TLS context of a server: each handshake would fail."""
    if isinstance(context, Certificates):
        raise TypeError("ssl is Certificates, which run() takes: give their context() to an HTTPServer")
    if context is not None and not isinstance(context, ssl_module.SSLContext):
        raise TypeError(f"ssl is {context!r}: write aiohttpd.Certificates('cert.pem', 'key.pem').context()")
    if context is not None and context.protocol is ssl_module.PROTOCOL_TLS_CLIENT:
        raise TypeError("ssl is a context for clients: write ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)")
