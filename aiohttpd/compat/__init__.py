"""The servers of ``http.server`` and ``socketserver`` on the engine of aiohttpd. A program changes only its import.

::

    from aiohttpd.compat import ThreadingHTTPServer  # was: from http.server import ThreadingHTTPServer

The blocking methods are here: ``serve_forever``, ``shutdown``, ``handle_request`` and the hooks. An event loop in a
thread of its own accepts connections, and does TLS, deadlines and slow clients. Handlers run where ``http.server`` runs
them: those of `HTTPServer` one after the other in the thread that has called ``serve_forever``, those of
`ThreadingHTTPServer` in worker threads.
"""

import http.server
import socketserver
import ssl
import sys
import warnings
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from socketserver import BaseRequestHandler, BaseServer, StreamRequestHandler, ThreadingMixIn
from typing import TYPE_CHECKING, Any

from ..config import Config
from .engine import Engine

__all__ = [
    "BaseHTTPRequestHandler", "BaseRequestHandler", "BaseServer", "HTTPSServer", "HTTPServer", "HTTPStatus",
    "SimpleHTTPRequestHandler", "StreamRequestHandler", "TCPServer", "ThreadingHTTPSServer", "ThreadingHTTPServer",
    "ThreadingMixIn", "ThreadingTCPServer",
]  # fmt: skip


class _Blocking:
    """A mix-in for servers of ``socketserver`` that replaces their loop; it stands before them among the base classes.

    Attributes:
        aiohttpd_config: the options of the engine; a subclass or an instance may have another `Config`, made of this
            one by ``dataclasses.replace``.
    """

    aiohttpd_config = Config(
        access_log=False,
        timeout_drain_idle=0,
        limit_request_line=64 * 1024,  # as in http.server
        limit_field=64 * 1024,
        limit_head=128 * 1024,
    )

    if TYPE_CHECKING:  # handler classes of this package are accepted too

        def __init__(self, server_address: Any, RequestHandlerClass: Any, bind_and_activate: bool = True) -> None: ...  # noqa: N803

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown` is called.

        Args:
            poll_interval: seconds between two calls of ``service_actions``, at most.
        """
        _warn_of_forks(self)
        _engine_of(self).serve_forever(self, poll_interval)

    def shutdown(self) -> None:
        """Stop ``serve_forever``, and wait until it has returned. In a handler it does not wait."""
        _engine_of(self).shutdown(self)

    def server_close(self) -> None:
        """Close the listening socket. With ``block_on_close`` wait for handlers, unless threads are daemons."""
        super().server_close()  # type: ignore[misc]
        _engine_of(self).close(self)

    def handle_request(self) -> None:
        """Serve one connection; call ``handle_timeout`` if no request begins within ``timeout`` seconds."""
        _warn_of_forks(self)
        _engine_of(self).handle_request(self)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make an instance of the handler class, which answers one request."""
        _engine_of(self).finish_request(self, request, client_address)

    def _handle_request_noblock(self) -> None:
        """Serve a connection that waits to be accepted; ``BaseServer.handle_request`` calls it."""
        _engine_of(self).handle_connection(self)


def _engine_of(server: Any) -> Engine:
    engine = server.__dict__.get("_aiohttpd_engine")
    if engine is None:  # setdefault(), since two threads may be here at the same time
        engine = vars(server).setdefault("_aiohttpd_engine", Engine(server))
    assert isinstance(engine, Engine)
    return engine


def _warn_of_forks(server: Any) -> None:
    if isinstance(server, getattr(socketserver, "ForkingMixIn", ())):
        warnings.warn(
            "ForkingMixIn does nothing here: requests are handled one after the other. Use ThreadingMixIn for threads, "
            "or aiohttpd.run(Handler, workers=4) for several processes",
            RuntimeWarning,
            stacklevel=3,
        )


class TCPServer(_Blocking, socketserver.TCPServer):
    """``socketserver.TCPServer`` for handlers of HTTP."""


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """``socketserver.ThreadingTCPServer`` for handlers of HTTP."""


if sys.version_info < (3, 15):
    __all__ += ["CGIHTTPRequestHandler"]

    from http.server import CGIHTTPRequestHandler

if sys.platform != "win32":
    __all__ += ["ForkingMixIn", "ForkingTCPServer", "ThreadingUnixStreamServer", "UnixStreamServer"]

    from socketserver import ForkingMixIn

    class ForkingTCPServer(ForkingMixIn, TCPServer):
        """``socketserver.ForkingTCPServer``, which handles one request after the other here."""

    class UnixStreamServer(TCPServer, socketserver.UnixStreamServer):
        """``socketserver.UnixStreamServer`` for handlers of HTTP."""

    class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
        """``socketserver.ThreadingUnixStreamServer`` for handlers of HTTP."""


class HTTPServer(TCPServer, http.server.HTTPServer):
    """``http.server.HTTPServer``: one request after the other, in the thread that has called ``serve_forever``."""

    # What ``http.server`` has set here counts more than what a program sets in `TCPServer`.
    allow_reuse_address = http.server.HTTPServer.allow_reuse_address
    allow_reuse_port = http.server.HTTPServer.allow_reuse_port

    def server_bind(self) -> None:
        """Bind the socket. Unlike ``http.server`` it looks up no name, which could take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


class ThreadingHTTPServer(ThreadingMixIn, HTTPServer):
    """``http.server.ThreadingHTTPServer``: each request in a thread, in ``aiohttpd_config.worker_threads`` at most."""

    daemon_threads = True


class HTTPSServer(HTTPServer):
    """``http.server.HTTPSServer`` of Python 3.14, for all versions of Python.

    Args:
        server_address: ``(host, port)``.
        RequestHandlerClass: the handler class.
        bind_and_activate: whether to bind the socket and to listen now.
        certfile: path of the certificate in PEM.
        keyfile: path of its private key; by default it is in ``certfile``.
        password: the password of the key, or a function that returns it.
        alpn_protocols: protocols offered by ALPN; by default ``["http/1.1"]``.
    """

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Any,  # noqa: N803  # its name in socketserver
        bind_and_activate: bool = True,
        *,
        certfile: str,
        keyfile: str | None = None,
        password: Any = None,
        alpn_protocols: Sequence[str] | None = None,
    ) -> None:
        self.certfile = certfile
        self.keyfile = keyfile
        self.password = password
        self.alpn_protocols = ["http/1.1"] if alpn_protocols is None else list(alpn_protocols)
        super().__init__(server_address, RequestHandlerClass, bind_and_activate)

    def server_activate(self) -> None:
        """Listen, with TLS."""
        super().server_activate()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.certfile, self.keyfile, self.password)
        context.set_alpn_protocols(self.alpn_protocols)
        self.socket = context.wrap_socket(self.socket, server_side=True)


class ThreadingHTTPSServer(ThreadingMixIn, HTTPSServer):
    """``http.server.ThreadingHTTPSServer`` of Python 3.14."""

    daemon_threads = True


_of_test: Any = http.server.test.__defaults__[0]  # type: ignore[attr-defined]  # it depends on the version of Python


def test(  # not in __all__, as in http.server
    HandlerClass: Any = _of_test,  # noqa: N803, PT028  # its name in http.server; no test of pytest
    ServerClass: Any = ThreadingHTTPServer,  # noqa: N803, PT028
    *arguments: Any,
    **options: Any,
) -> None:
    """``http.server.test``: serve until Ctrl-C.

    Args:
        HandlerClass: the handler class; the default is that of ``http.server``.
        ServerClass: the class of the server.
        arguments: as for ``http.server.test``: protocol, port, address.
        options: the same by name.
    """
    http.server.test(HandlerClass, ServerClass, *arguments, **options)  # type: ignore[attr-defined]


test.__test__ = False  # type: ignore[attr-defined]  # pytest must not collect it


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Another name of ``http.server`` or ``socketserver``: ``UDPServer``, ``DEFAULT_ERROR_MESSAGE`` and others."""
        for module in (http.server, socketserver):
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
