"""The servers of ``http.server`` and ``socketserver``, with this engine under them: change the import, no more.

Owns the blocking surface: ``serve_forever``, ``shutdown``, ``handle_request`` and the hooks. The loop runs in a thread
of its own; it owns sockets, TLS, deadlines and slow clients. Handlers run where they always did: those of
`HTTPServer` one after the other in the thread that called ``serve_forever``, those of `ThreadingHTTPServer` in worker
threads.
"""

import http.server
import socketserver
import ssl
import sys
import warnings
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from socketserver import BaseRequestHandler, BaseServer, StreamRequestHandler, ThreadingMixIn
from typing import TYPE_CHECKING, Any

from ..config import Config
from .engine import Engine

__all__ = [
    "BaseHTTPRequestHandler", "BaseRequestHandler", "BaseServer", "HTTPSServer", "HTTPServer",
    "SimpleHTTPRequestHandler", "StreamRequestHandler", "TCPServer", "ThreadingHTTPSServer", "ThreadingHTTPServer",
    "ThreadingMixIn", "ThreadingTCPServer",
]  # fmt: skip


class _Blocking:
    """What `TCPServer` has instead of the loop of ``socketserver``: to be put before it among the base classes.

    Attributes:
        aiohttpd_config: options of the engine, for a class or an instance.
    """

    aiohttpd_config = Config(access_log=False, timeout_drain_idle=0)

    if TYPE_CHECKING:  # handlers of this package, too

        def __init__(self, server_address: Any, RequestHandlerClass: Any, bind_and_activate: bool = True) -> None: ...  # noqa: N803

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown`; see ``socketserver``. ``service_actions`` is called at least so often, in seconds."""
        _warn_of_forks(self)
        _engine_of(self).serve_forever(self, poll_interval)

    def shutdown(self) -> None:
        """Stop ``serve_forever``, and wait until it has; a handler may call it, and does not wait."""
        _engine_of(self).shutdown(self)

    def server_close(self) -> None:
        """Close the listening socket; with ``block_on_close``, wait for the handlers in threads that are no daemons."""
        super().server_close()  # type: ignore[misc]
        _engine_of(self).close(self)

    def handle_request(self) -> None:
        """Serve one connection; ``timeout`` is how long to wait for a request, then ``handle_timeout`` is called."""
        _warn_of_forks(self)
        _engine_of(self).handle_request(self)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make an instance of the handler class, which answers one request."""
        _engine_of(self).finish_request(self, request, client_address)

    def _handle_request_noblock(self) -> None:
        """``handle_request`` has found that somebody connects."""
        _engine_of(self).handle_connection(self)


def _engine_of(server: Any) -> Engine:
    engine = vars(server).get("_aiohttpd_engine")
    if engine is None:  # two threads may come at once
        engine = vars(server).setdefault("_aiohttpd_engine", Engine(server))
    assert isinstance(engine, Engine)
    return engine


def _warn_of_forks(server: Any) -> None:
    if isinstance(server, getattr(socketserver, "ForkingMixIn", ())):
        warnings.warn(
            "ForkingMixIn does nothing here: requests are handled one after the other. ThreadingMixIn has each in a "
            "thread; aiohttpd.run(Handler, workers=4) serves in several processes",
            RuntimeWarning,
            stacklevel=3,
        )


class TCPServer(_Blocking, socketserver.TCPServer):
    """``socketserver.TCPServer`` for handlers of HTTP."""


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """``socketserver.ThreadingTCPServer`` for handlers of HTTP."""


if sys.platform != "win32":
    __all__ += ["ForkingMixIn", "ThreadingUnixStreamServer", "UnixStreamServer"]

    from socketserver import ForkingMixIn

    class UnixStreamServer(_Blocking, socketserver.UnixStreamServer):
        """``socketserver.UnixStreamServer`` for handlers of HTTP."""

    class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
        """``socketserver.ThreadingUnixStreamServer`` for handlers of HTTP."""


class HTTPServer(_Blocking, http.server.HTTPServer):
    """``http.server.HTTPServer``: one request after the other, in the thread that called ``serve_forever``."""

    def server_bind(self) -> None:
        """Bind the socket; no name is looked up, which could take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


class ThreadingHTTPServer(ThreadingMixIn, HTTPServer):
    """``http.server.ThreadingHTTPServer``: each request in a thread, ``aiohttpd_config.worker_threads`` at most."""

    daemon_threads = True


class HTTPSServer(HTTPServer):
    """``http.server.HTTPSServer`` of Python 3.14.

    Args:
        certfile: path of the certificate in PEM.
        keyfile: path of its key, by default in the same file.
        password: of the key, or a function that returns it.
        alpn_protocols: by default ``["http/1.1"]``.
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
