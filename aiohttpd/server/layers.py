"""Assembly: what the options of a server put around its App, and in front of its connections.

Owns the order of these layers, from the listening socket to the App. Each is a room of its own, and what is off is
not there.
"""

import asyncio
import contextvars
import functools
import socket
import sys
from collections.abc import Callable
from ssl import SSLContext
from typing import Any

from ..config import Config
from ..engine.connection import HTTPConnection
from ..engine.context import ServerContext
from ..engine.handshake import SHUTDOWN, Handshake
from ..engine.interfaces import AccessLogger, App
from ..engine.overload import ProtocolFactory, limit_connections, limit_in_flight
from ..handlers.app import prepare
from ..net.listener import Listener
from .access_log import LoggingAccessLog, access_logger, is_configured
from .metrics import Metrics
from .status import add_pages, health_page, is_path, metrics_page

__all__ = ["accept", "connection_factory", "make_service", "tls_options"]


def make_service(
    app: App,
    config: Config,
    loop: asyncio.AbstractEventLoop,
    *,
    server: Any,
    access_log: AccessLogger | None,
    context: contextvars.Context,
) -> ServerContext:
    """Make what the connections of a server share.

    Args:
        app: the App.
        config: the options.
        loop: of the server.
        server: what ``Request.server`` gives; its ``snapshots`` and ``ready`` are asked for the pages.
        access_log: takes the records, beside a logger that somebody has configured.
        context: in which handlers run.
    """
    if is_configured(access_logger):
        access_log = LoggingAccessLog(config.access_log_format, access_log)
    metrics = Metrics() if config.metrics else None
    service = ServerContext(
        app, config, loop, server=server, access_log=access_log, metrics=metrics, context=context, prepare=prepare
    )
    if config.max_in_flight:
        service.app = limit_in_flight(service.app, service, config.max_in_flight)
    pages: dict[str, App] = {}
    if is_path(config.metrics):
        pages[config.metrics] = metrics_page(lambda: server.snapshots())
    if config.health:
        pages[config.health] = health_page(lambda: server.ready or server.replaced)
    if pages:
        add_pages(pages, service)
    if config.hosts:
        from ..middleware.allowed_hosts import check_hosts

        service.app, service.instant = check_hosts(service.app, service.instant, config, server.addresses)
    return service


def connection_factory(service: ServerContext, context: Callable[[], SSLContext | None]) -> ProtocolFactory:
    """What makes the protocol of a connection that has been accepted.

    Args:
        service: of the server.
        context: gives that of TLS, which may be another one for each connection; None for a server without TLS.
    """
    connection: ProtocolFactory = functools.partial(HTTPConnection, service)
    if service.config.trusted_proxies:
        from ..engine.proxied import behind_proxies

        connection, with_tls = behind_proxies(service, context, tls_options(service.config))
        if with_tls:
            return limit_connections(connection, service, silent=context() is not None)
    connection = limit_connections(connection, service)
    if context() is None:
        return connection

    def handshake() -> Handshake:
        current = context()
        assert current is not None
        return Handshake(service, current, connection)

    return limit_connections(handshake, service, silent=True, handshakes=True)


def tls_options(config: Config) -> dict[str, float]:
    """The deadlines of TLS, as the methods of loops take them."""
    return {"ssl_handshake_timeout": config.timeout_handshake, "ssl_shutdown_timeout": SHUTDOWN}


async def accept(
    service: ServerContext, sock: socket.socket, factory: ProtocolFactory, exhausted: Callable[[OSError], None]
) -> asyncio.Server:
    """Begin to accept connections on a socket that listens; ``exhausted`` is called if that cannot be."""
    options: dict[str, Any] = {"backlog": service.config.backlog}
    unix = sock.family not in (socket.AF_INET, socket.AF_INET6)
    if unix and sys.version_info >= (3, 13):
        options["cleanup_socket"] = False  # it is for us, and others may listen on it too
    make: Any = service.loop.create_unix_server if unix else service.loop.create_server
    # The loop closes the socket that it is given, and its name is asked for longer than that.
    acceptor: asyncio.Server = await make(factory, sock=Listener(sock, exhausted), **options)
    return acceptor
