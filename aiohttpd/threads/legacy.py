"""Unmodified handlers of ``http.server`` as Apps.

Owns what is done for a request before and after its thread. The socket of a handler is in `fake_socket`; `instances`
makes the handler.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from ..config import Preset
from ..engine.apps import check_factory, check_init
from ..engine.error_log import error_logger
from ..engine.response import StreamWriter
from ..errors import ContentTooLarge
from ..wire.parser import TLS_HANDSHAKE
from ..wire.request import Address, Request
from .body import SpooledBody, gather
from .call import threads_of
from .exchange import Exchange
from .fake_socket import FakeSocket
from .instances import Factory, Kind, served
from .mount import MountEncoder
from .outbox import Outbox
from .pool import Workers
from .relay import RelayWriter
from .session import HandlerSession

__all__ = ["HandlerApp", "blocking"]

_TLS_IS_OURS = (
    "a client has begun a TLS handshake, and has been refused: requests are read before a handler could wrap its "
    "connection, in setup() or in finish_request(), say. Wrap the listening socket, "
    "server.socket = context.wrap_socket(server.socket, server_side=True), or what get_request() returns; "
    "without a server of your own, give --tls-cert and --tls-key, or ssl="
)

_HTTP_ONLY = (
    "a client has begun by %r, which is no HTTP, and has been refused: requests are read before a handler of "
    "aiohttpd.compat gets them. For another protocol take the server of the same name from socketserver"
)

Finish = Callable[[FakeSocket, Address], None]


class HandlerApp:
    """An App that answers each request by a handler of ``http.server`` in a worker thread.

    Args:
        factory: the handler class, or a function that makes a handler of ``(request, client_address, server)``.
        finish: called in place of the factory, as ``finish_request`` of ``socketserver`` is; it makes the handler.
        workers: other threads than those of the server.
        logs: whether the server writes the log lines, if the class does not override the log methods.

    Attributes:
        aiohttpd_silence: ``timeout`` of the class: seconds for which a client may send nothing; None for no limit.
    """

    def __init__(
        self, factory: Factory, *, finish: Finish | None = None, workers: Workers | None = None, logs: bool = True
    ) -> None:
        self._given = factory
        kind = self._kind = Kind.of(factory)
        self._minds_connections = kind.minds_connections
        self._by_lines = not kind.keeps("handle_one_request", "parse_request")
        self._factory = served(factory, quiet=logs)
        self._finish = finish or self._make
        self._workers = workers
        self.aiohttpd_silence: float | None = getattr(kind.cls, "timeout", None) or None
        self._logs_itself = not (logs and kind.parses_as_usual and kind.logs_as_usual)
        # An override may refuse before the body comes, so it is asked first, in the thread.
        self._asks = not kind.keeps("handle_expect_100")
        self._sessions: dict[Any, HandlerSession] = {}
        self._may_speak_otherwise = isinstance(factory, type) and kind.cls is None  # a class of socketserver
        self._explained: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return HandlerApp, (self._given,)  # for worker processes; other arguments are used only within one process

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        if self._logs_itself:
            response.log = _already_logged
        if request.root_path:
            response.encode_with(MountEncoder(response.encoder, request))
        incoming = await self._incoming(request) if request.framing.has_body else SpooledBody(b"")
        exchange = Exchange(request, RelayWriter(response), incoming, asyncio.get_running_loop())
        try:
            if self._minds_connections:
                await self._session(request).serve(exchange)
            else:
                await self._run(exchange)
                await exchange.ended()
        finally:
            exchange.release()
        if exchange.closes:
            exchange.writer.close_connection = True
        exchange.writer.ended()

    def aiohttpd_refused(self, line: bytes) -> None:
        """Bytes that are no valid request have been refused; a hint is logged if a handler may have wanted them."""
        if line == TLS_HANDSHAKE:
            if self._minds_connections:
                self.explain_tls()
        elif self._may_speak_otherwise and b" HTTP/" not in line:
            self._explain(_HTTP_ONLY, line[:40])

    def explain_tls(self) -> None:
        """Log once how to use TLS: the first bytes of a connection are read before there is a handler."""
        self._explain(_TLS_IS_OURS)

    def _explain(self, text: str, *arguments: object) -> None:
        if text not in self._explained:
            self._explained.add(text)
            error_logger.warning(text, *arguments)

    async def _incoming(self, request: Request) -> SpooledBody:
        """The body; it is received now if the handler will want it.

        Raises:
            ContentTooLarge: the body is larger than ``limit_body``, and that option has been set; or than `BodyLimit`.
        """
        body = request.body
        if isinstance(body.limit, Preset):
            body.limit = None  # the default of ``limit_body`` does not count for these handlers
        if body.limit is not None and (request.content_length or 0) > body.limit:
            raise ContentTooLarge(body.limit)
        asks = self._asks and request.expects_continue
        return await gather(request, framed=True, now=not asks and self._kind.may_have(request.method))

    def _run(self, exchange: Exchange) -> Awaitable[Any]:
        connection = FakeSocket(exchange)

        def call(outbox: Outbox) -> None:
            exchange.outbox = outbox
            self._finish(connection, exchange.request.client_address)

        request, writer = exchange.request, exchange.writer
        return threads_of(request.peer).run(
            call, writer.deliver, writer.writable, name=request.requestline, workers=self._workers
        )

    def _session(self, request: Request) -> HandlerSession:
        peer = request.peer
        session = self._sessions.get(peer)
        if session is None:
            session = HandlerSession(
                request, self._finish, self._workers, lambda: self._sessions.pop(peer, None), by_lines=self._by_lines
            )
            self._sessions[peer] = session
        return session

    def _make(self, connection: FakeSocket, client_address: Address) -> None:
        try:
            self._factory(connection, client_address, connection.exchange.request.server)
        except SystemExit:  # in http.server it ends the thread, and with it the answer
            if not connection.exchange.answered:
                raise


def _already_logged(status: int, size: int) -> None:
    """Do nothing: the handler has logged its answer itself."""


def blocking(factory: Factory) -> HandlerApp:
    """Make an App of a function that makes handlers of ``http.server``.

    It is needed for functions only: a handler class, or a ``functools.partial`` of one, is an App as it is. ::

        aiohttpd.run(blocking(lambda *args: Handler(*args, directory="site")))

    Args:
        factory: called with ``(request, client_address, server)``; returns a handler.

    Raises:
        TypeError: it cannot be called with these arguments, or it makes handlers of aiohttpd.
    """
    ours = isinstance(factory, type) and hasattr(factory, "serve") and Kind.of(factory).cls is None  # it may have one
    check_factory(factory, makes_handlers=ours)
    check_init(factory, "request", "client_address", "server")
    return HandlerApp(factory)
