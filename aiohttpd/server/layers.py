"""The layers of a server and their order, from the socket to the App. A layer whose option is off is left out.

`connection_factory` makes the layers in front of HTTP, `_layers` those around the App::

    socket ─► max_connections ─► PROXY protocol ─► TLS ─► HTTP ─► hosts ─► pages ─► max_in_flight ─► App
"""

import asyncio
import contextvars
import functools
from collections.abc import Awaitable, Callable
from ssl import SSLContext
from typing import Any

from ..config import Config
from ..engine.connection import HTTPConnection
from ..engine.context import ServerContext
from ..engine.error_log import ErrorReporter
from ..engine.handshake import TLSHandshake
from ..engine.interfaces import AccessLogger, App, ServedApp
from ..engine.overload import ProtocolFactory, limit_connections, limit_in_flight
from ..engine.recorder import Recorder
from ..handlers.app import prepare
from ..wire.request import Request
from .access_log import LoggingAccessLog, access_logger, is_configured
from .metrics import Metrics
from .status import add_pages, health_page, is_path, metrics_page

__all__ = ["connection_factory", "make_context", "make_recorder"]


def make_context(
    app: App,
    config: Config,
    loop: asyncio.AbstractEventLoop,
    *,
    server: Any,
    access_log: AccessLogger | None,
    lifespan_context: contextvars.Context,
) -> ServerContext:
    """Make the context that the connections of a server share.

    Args:
        app: the App.
        config: the options.
        loop: the event loop of the server.
        server: the value of ``Request.server``. Its ``snapshots``, ``ready``, ``replaced`` and ``addresses`` are used.
        access_log: the access log. If the program has configured the logger ``aiohttpd.access``, that is used as well.
        lifespan_context: the context variables that the lifespan has set.
    """
    if is_configured(access_logger):
        access_log = LoggingAccessLog(config.access_log_format, access_log)
    recorder = make_recorder(config, access_log, Metrics() if config.metrics else None, server=server)
    served = _layers(prepare(app), config, recorder, server)
    return ServerContext(served, config, loop, server=server, recorder=recorder, lifespan_context=lifespan_context)


def make_recorder(
    config: Config, access_log: AccessLogger | None, metrics: Metrics | None = None, *, server: Any = None
) -> Recorder:
    """Make the `Recorder` for the access log and the metrics, as far as the options enable them."""
    log = access_log if config.access_log else None
    return Recorder(log, metrics, handlers_log=config.access_log, report=ErrorReporter(server))


def _layers(served: ServedApp, config: Config, recorder: Recorder, server: Any) -> ServedApp:
    """Put the layers of the options around an App, the innermost first."""
    if config.root_path:
        served = served._replace(app=_mounted_at(config.root_path, served.app))
    if config.max_in_flight:
        served = limit_in_flight(served, config.max_in_flight, recorder)
    if pages := _pages(config, server):
        served = add_pages(pages, served)
    if config.hosts:
        from ..middleware.allowed_hosts import check_hosts

        app, instant = check_hosts(served.app, served.instant, config, server.addresses)
        served = served._replace(app=app, instant=instant)
    return served


def _pages(config: Config, server: Any) -> dict[str, App]:
    """The pages of the server itself (metrics, health), by path."""
    pages: dict[str, App] = {}
    if is_path(config.metrics):
        pages[config.metrics] = metrics_page(lambda: server.snapshots())
    if config.health:
        pages[config.health] = health_page(lambda: server.ready or server.replaced)
    return pages


def _mounted_at(root_path: str, app: App) -> App:
    """Wrap an App: set ``root_path`` of its requests, the prefix under which a proxy has mounted the server."""

    def mounted(request: Request, response: Any) -> Awaitable[None]:
        request.root_path = root_path
        return app(request, response)

    return mounted


def connection_factory(context: ServerContext, tls_context: Callable[[], SSLContext | None]) -> ProtocolFactory:
    """Return the factory that makes the protocol of each accepted connection.

    Args:
        context: the context of the server.
        tls_context: returns the TLS context for the next connection; None for a server without TLS.
    """
    connection: ProtocolFactory = functools.partial(HTTPConnection, context)
    if context.config.trusted_proxies:
        from ..engine.proxied import behind_proxies

        connection, with_tls = behind_proxies(context, tls_context)
        if with_tls:
            return limit_connections(connection, context, silent=tls_context() is not None)
    connection = limit_connections(connection, context)
    if tls_context() is None:
        return connection

    def handshake() -> TLSHandshake:
        current = tls_context()
        assert current is not None
        return TLSHandshake(context, current, connection)

    return limit_connections(handshake, context, silent=True, handshakes=True)
