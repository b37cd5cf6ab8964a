"""The servers of ``http.server`` and ``socketserver``, with this engine under them: change the import, no more.

Owns the blocking surface: ``serve_forever``, ``shutdown``, ``handle_request`` and the hooks. The loop runs in a thread
of its own; it owns sockets, TLS, deadlines and slow clients. Handlers run where they always did: those of
`HTTPServer` one after the other in the thread that called ``serve_forever``, those of `ThreadingHTTPServer` in worker
threads.
"""

import http.server
import socketserver
import ssl
from collections.abc import Sequence
from typing import Any

from ..config import Config
from .engine import Engine

__all__ = ["HTTPSServer", "HTTPServer", "TCPServer", "ThreadingHTTPSServer", "ThreadingHTTPServer", "ThreadingMixIn"]

ThreadingMixIn = socketserver.ThreadingMixIn


class _Blocking:
    """What `TCPServer` has instead of the loop of ``socketserver``: to be put before it among the base classes.

    Attributes:
        config: options of the engine, for a class or an instance.
    """

    config = Config(access_log=False, timeout_drain_idle=0)

    RequestHandlerClass: Any
    socket: Any
    get_request: Any
    verify_request: Any
    shutdown_request: Any
    process_request: Any
    handle_error: Any
    service_actions: Any

    @property
    def _engine(self) -> Engine:
        if "_engine_of_server" not in vars(self):
            self._engine_of_server = Engine(self)
        return self._engine_of_server

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `shutdown`; see ``socketserver``. ``service_actions`` is called at least so often, in seconds."""
        self._engine.serve_forever(poll_interval)

    def shutdown(self) -> None:
        """Stop ``serve_forever``, and wait until it has; a handler may call it, and does not wait."""
        self._engine.shutdown()

    def server_close(self) -> None:
        """Close the listening socket; with ``block_on_close``, wait for the handlers in threads that are no daemons."""
        super().server_close()  # type: ignore[misc]
        self._engine.close()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make an instance of the handler class, which answers one request."""
        self._engine.factory_of(self.RequestHandlerClass)(request, client_address, self)

    def _handle_request_noblock(self) -> None:
        """``handle_request`` has found that somebody connects."""
        self._engine.handle_connection()


class TCPServer(_Blocking, socketserver.TCPServer):
    """``socketserver.TCPServer`` for handlers of HTTP."""


class HTTPServer(_Blocking, http.server.HTTPServer):
    """``http.server.HTTPServer``: one request after the other, in the thread that called ``serve_forever``."""

    def server_bind(self) -> None:
        """Bind the socket; no name is looked up, which could take seconds."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]


class ThreadingHTTPServer(ThreadingMixIn, HTTPServer):
    """``http.server.ThreadingHTTPServer``: each request in a worker thread, ``config.worker_threads`` at most."""

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
