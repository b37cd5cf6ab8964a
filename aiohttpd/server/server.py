"""HTTPServer: one process that serves an App, inside anybody's asyncio program.

Owns the life of a server: sockets, lifespan, draining. It installs no signal handlers, no logging and
no loop policy, and never resolves the name of a client or of the machine.
"""

import asyncio
import contextlib
import contextvars
import socket
import ssl as ssl_module
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..config import Config
from ..engine.connection import HTTPConnection
from ..engine.context import ServerContext, error_logger, log_error
from ..engine.interfaces import AccessLogger, App
from ..handlers.app import resolve_app
from ..net.half_closing import half_closable
from ..net.sockets import ServerAddress, check_address, listen, url_of
from ..wire.request import Address, Request
from .acceptor import Acceptor
from .layers import connection_factory, make_service, tls_options
from .metrics import Metrics, Snapshot
from .status import Snapshots

if TYPE_CHECKING:
    from .cpu_pool import ProcessPool

__all__ = ["HTTPServer", "Lifespan"]

T = TypeVar("T")

Lifespan = Callable[["HTTPServer"], AbstractAsyncContextManager[Any]]

_CANCELLED = 1.0  # seconds for handlers, and for the lifespan, to end once they are to


class HTTPServer:
    """A server of one App.

    ::

        async with HTTPServer(("127.0.0.1", 0), Handler) as server:
            print(server.url)
            await server.serve_forever()

    Handlers find it as ``self.server``, with every attribute that you or ``lifespan`` set on it.

    Args:
        server_address: ``(host, port)``, the path of a unix socket, a listening socket, or a list of
            these. Port 0 takes a free one. The sockets are closed when it stops, those that were given too.
        app: a handler class, or another App.
        config: the options.
        lifespan: ``lifespan(server)`` is an async context manager, entered before a connection is
            accepted and left when all have been closed.
        ssl: makes it HTTPS.
        access_log: takes a record for each answer; by default nothing does but the logger ``aiohttpd.access``,
            if that has a handler or a level of its own when the server starts.

    Raises:
        TypeError: ``app`` is no App, or ``server_address`` no address; the text says what to write.
        ValueError: ``server_address`` looks like another address than it would be; or there is no such port.

    Attributes:
        shutting_down: an ``asyncio.Event`` that is set first of all, so that long streams can end.
        sockets: the listening sockets.
        acceptors: what accepts connections; None before it has been started.
        replaced: another process takes over, so the service is there, though this server stops.
        last: nobody else accepts from the sockets, so what waits there when it stops is for it.
        snapshots: gives the metrics that ``metrics`` shows, those of other processes included.
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
    ) -> None:
        resolve_app(app)  # what is no App is better told here than once it listens
        check_address(server_address)
        self.app = app
        self.config = config or Config()
        self.sockets: list[socket.socket] = []
        self.shutting_down = asyncio.Event()
        self.snapshots: Snapshots = self._own_snapshots
        self._given_address = server_address
        self._lifespan = lifespan
        self._ssl = ssl
        self._access_log = access_log
        self._service: ServerContext | None = None
        self.acceptors: Acceptor | None = None
        self.replaced = False
        self.last = True
        self._names: list[Any] = []
        self._life: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()
        self._stopped: asyncio.Future[None] | None = None
        self._closer: asyncio.Task[None] | None = None
        # In the loop's time, when it stops.
        self._deaf = 0.0  # no connection is accepted from then on
        self._until = 0.0  # the end of the grace
        self._grace = self._quiet = 0.0  # seconds
        self._processes: ProcessPool | None = None

    # What it is called.

    @property
    def server_address(self) -> Any:
        """The address that is really bound: ``(host, port)``, or the path of a unix socket."""
        return self._names[0] if self._names else self._given_address

    @property
    def server_port(self) -> int | None:
        """The port that is really bound, None on a unix socket."""
        address = self.server_address
        return address[1] if isinstance(address, tuple) else None

    @property
    def server_name(self) -> str:
        """The host as it was given or bound; never looked up."""
        address = self.server_address
        return str(address[0] if isinstance(address, tuple) else address)

    @property
    def url(self) -> str:
        """Where it is reached, ``http://127.0.0.1:8000`` say: ``server.url + "/path"``."""
        if not self._names:
            raise RuntimeError("the server has no URL before it has been started")
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """Where it is reached, for each socket; nothing before it has been started."""
        return [url_of(name, tls=self.tls) for name in self._names]

    @property
    def addresses(self) -> list[Any]:
        """The address of each socket, as `server_address` is that of the first."""
        return list(self._names)

    @property
    def tls(self) -> bool:
        """Whether it speaks HTTPS."""
        return self._ssl is not None

    @property
    def connections(self) -> frozenset[HTTPConnection]:
        """The connections that are open."""
        return frozenset(cast(set[HTTPConnection], self._service.connections) if self._service else ())

    @property
    def in_flight(self) -> int:
        """How many requests are being handled."""
        return len(self.orphans) + sum(connection.busy for connection in self.connections)

    @property
    def orphans(self) -> frozenset[asyncio.Task[None]]:
        """Handlers at work whose client has gone."""
        return frozenset(self._service.orphans if self._service else ())

    @property
    def ready(self) -> bool:
        """Whether it takes requests, and has not begun to stop."""
        return self._service is not None and not self.shutting_down.is_set()

    def snapshot(self) -> Snapshot:
        """The metrics of this process, as plain data; only zeros if the option ``metrics`` is off."""
        metrics = self._service.metrics if self._service is not None else None
        return (metrics or Metrics()).snapshot(self.connections, self.in_flight)

    async def _own_snapshots(self) -> list[Snapshot]:
        return [self.snapshot()]

    # Its life.

    async def __aenter__(self) -> "HTTPServer":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.shutdown(None if kind is None else 0)

    async def start(self) -> None:
        """Listen, enter the lifespan, and accept connections.

        Raises:
            BindError: an address cannot be listened on.
            RuntimeError: it has been started before.
            Exception: what the lifespan raises at its beginning.
        """
        if self._stopped is not None:
            raise RuntimeError("a server is started once; make another")
        loop = asyncio.get_running_loop()
        self._stopped = loop.create_future()
        self.sockets = listen(self._given_address, self.config.backlog, reuse_port=self.config.reuse_port)
        self._names = [sock.getsockname() for sock in self.sockets]
        begun = loop.create_future()
        self._life = loop.create_task(self._live(begun))
        try:
            await asyncio.wait([begun, self._life], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self._life.cancel()
            self._close_sockets()
            raise
        if self._life.done():
            self._close_sockets()
            await self._life
        service = self._service = make_service(
            self.app, self.config, loop, server=self, access_log=self._access_log, context=begun.result()
        )
        factory = connection_factory(service, lambda: self._ssl)
        self.acceptors = Acceptor(service, self.sockets, factory)
        try:
            await self.acceptors.begin()
        except BaseException:
            await self.shutdown(0)
            raise

    async def serve_forever(self) -> None:
        """Wait until the server has been shut down; start it if it is not; shut it down if cancelled."""
        if self._stopped is None:
            await self.start()
        assert self._stopped is not None
        try:
            await asyncio.shield(self._stopped)
        except asyncio.CancelledError:
            if not self._stopped.done():
                await self.shutdown()
            raise
        if self._closer is not None:
            await self._closer  # for what the lifespan has raised at its end

    def use_ssl(self, context: ssl_module.SSLContext) -> None:
        """Take another context for TLS, from the next connection on; those that are open keep theirs.

        Raises:
            RuntimeError: this is no HTTPS server, and does not become one.
        """
        if self._ssl is None:
            raise RuntimeError("the server was made without TLS: ssl= makes it HTTPS")
        self._ssl = context

    async def run_in_process(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in a process of the server's, for work that would keep the loop from turning.

        See `ProcessPool.run`; there are at most ``processes`` of them, and they end with the server.
        """
        if self._processes is None:
            from .cpu_pool import ProcessPool  # with multiprocessing

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
        """Serve a connection that somebody else has accepted.

        Args:
            sock: the connection; it belongs to the server from now on.
            ssl: makes it HTTPS.
            client_address: who is at the other end, if the socket does not know.
            secured: the TLS that somebody else has in front of it.

        Raises:
            RuntimeError: the server is not running.
            OSError: the handshake of TLS has failed.
        """
        if self._service is None or self.shutting_down.is_set():
            raise RuntimeError("the server is not running")
        loop = asyncio.get_running_loop()
        service = self._service
        sock.setblocking(False)
        options = tls_options(self.config) if ssl is not None else {}
        if ssl is not None:
            half_closable(ssl)
        connection = HTTPConnection(service)  # with TLS, uvloop returns a protocol of its own
        if client_address is not None:
            connection.client_address = client_address  # now: its first request may come before we go on
        connection.secured = secured
        await loop.connect_accepted_socket(lambda: connection, sock, ssl=ssl, **options)
        return connection

    async def closed(self, connection: HTTPConnection) -> None:
        """Wait until a connection has been closed."""
        while self._service is not None and connection in self._service.connections:
            self._service.changed.clear()
            await self._service.changed.wait()

    async def shutdown(
        self, grace: float | None = None, *, idle: float | None = None, delay: float | None = None
    ) -> None:
        """Stop: close the listeners, finish what is in flight, close the rest.

        The listeners are closed after ``shutdown_delay``; until then the server says that it stops to whoever asks.
        A connection that is idle, or has sent nothing yet, is kept for another ``timeout_drain_idle``,
        since a request may be on its way; it is served. Answers say ``Connection: close``.

        Args:
            grace: seconds for requests in flight, by default ``timeout_grace``; then their handlers are
                cancelled. With 0 there is no delay, and idle connections are not waited for either.
            idle: seconds for idle connections, by default ``timeout_drain_idle``.
            delay: seconds for which connections are accepted still, by default ``shutdown_delay``.
        """
        if self._service is None or self._stopped is None or self._stopped.done():
            return
        loop = asyncio.get_running_loop()
        if self._closer is None:
            self.shutting_down.set()
            self._grace = self.config.timeout_grace if grace is None else grace
            self._quiet = self.config.timeout_drain_idle if idle is None else idle
            delay = self.config.shutdown_delay if delay is None else delay
            self._deaf = loop.time() + (0 if grace == 0 else delay)
            self._until = self._deaf + self._grace
            self._closer = loop.create_task(self._shut_down(self._service, self._stopped))
        elif grace is not None:
            self._grace = grace
            self._until = min(self._until, loop.time() + grace)
            self._deaf = min(self._deaf, self._until)
            self._let_idle_go(self._service, self._quiet if idle is None else idle)
            self._service.changed.set()
            if not grace and self._life is not None:  # handlers are cancelled, and then cut, before
                loop.call_later((1 if self._drained.is_set() else 3) * _CANCELLED, self._life.cancel)
        await asyncio.shield(self._closer)

    def handle_error(self, error: BaseException, request: Request) -> None:
        """Log what a handler did not catch, on the logger ``aiohttpd.error``; override it to do more."""
        log_error(error, request)

    # The inner side.

    async def _shut_down(self, service: ServerContext, stopped: asyncio.Future[None]) -> None:
        service.draining = True
        for connection in service.connections:
            connection.drain()
        while (left := self._deaf - service.loop.time()) > 0:
            await self._change(service, left)
        assert self.acceptors is not None
        assert self._life is not None
        await self.acceptors.end(last=self.last)
        self._let_idle_go(service, self._quiet)
        await self._emptied(service)
        if _anything(service):
            await self._cancel(service)
        for protocol in tuple(service.turned_away):
            protocol.close()
        service.close()
        if self._processes is not None:
            self._processes.close()
        self._drained.set()
        try:
            await asyncio.wait([self._life])
        finally:
            stopped.set_result(None)
        if not self._life.cancelled():
            self._life.result()  # raises what it has

    async def _live(self, begun: asyncio.Future[contextvars.Context]) -> None:
        """Be inside of the lifespan from the start to the end, in one task as context managers want it."""
        async with self._lifespan(self) if self._lifespan is not None else contextlib.nullcontext():
            begun.set_result(contextvars.copy_context())  # what it has set, handlers see
            await self._drained.wait()

    async def _cancel(self, service: ServerContext) -> None:
        """The grace is over: cancel the handlers, and then do without them."""
        if self._grace:  # else nothing was to be waited for
            for connection in service.connections:
                if connection.request is not None:
                    line = connection.request.requestline
                    error_logger.warning("'%s' is cancelled: it has not ended within %g s", line, self._grace)
        service.cancelling = True
        for task in service.orphans:
            task.cancel()
        for handshake in tuple(service.handshakes):
            handshake.abort()
        for connection in tuple(service.connections):
            connection.cancel()
        for end in (False, True):
            self._until = asyncio.get_running_loop().time() + _CANCELLED
            if await self._emptied(service) or end:
                return
            for connection in tuple(service.connections):
                connection.abort()

    def _let_idle_go(self, service: ServerContext, after: float) -> None:
        """Close idle connections after some seconds, at the end of the grace at the latest."""
        loop = asyncio.get_running_loop()
        loop.call_later(max(0, min(after, self._until - loop.time())), _close_idle, service)

    async def _emptied(self, service: ServerContext) -> bool:
        """Wait until nothing is open any more, or the time is up."""
        loop = asyncio.get_running_loop()
        while _anything(service):
            left = self._until - loop.time()
            if left <= 0:
                return False
            await self._change(service, left)
        return True

    async def _change(self, service: ServerContext, seconds: float) -> None:
        """Wait until the books change, or what is waited for, or so long."""
        service.changed.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(service.changed.wait(), seconds)

    def _close_sockets(self) -> None:
        for sock in self.sockets:
            sock.close()


def _anything(service: ServerContext) -> bool:
    """Whether anything is open."""
    return bool(service.connections or service.handshakes or service.orphans)


def _close_idle(service: ServerContext) -> None:
    for handshake in tuple(service.handshakes):
        handshake.abort()
    for connection in tuple(service.connections):
        connection.close_if_idle()
