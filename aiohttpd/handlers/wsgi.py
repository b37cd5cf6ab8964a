"""WSGI applications (PEP 3333) as Apps, in worker threads.

Owns the environ dictionary, ``start_response``, and the iteration over what an application returns. Framing,
back-pressure and deadlines are those of all responses.
"""

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from ..config.hosts import without_port
from ..engine.apps import check_wsgi
from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import ContractError
from ..threads.plain import BlockingWriter, call_in_thread
from ..wire.product import __version__
from ..wire.request import Request
from .app import is_handler_class

__all__ = ["wsgi"]

WSGIApplication = Callable[[dict[str, Any], Callable[..., Callable[[bytes], object]]], Iterable[bytes]]

# Fields without an HTTP_ variable: those with variables of their own (RFC 3875 section 4.1.18), and Proxy, since many
# programs take HTTP_PROXY for the address of a proxy.
_WITHOUT_VARIABLE = frozenset(("content-type", "content-length", "proxy"))
# Fields of the connection, which an application must not set (PEP 3333).
_HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
)


def wsgi(application: WSGIApplication) -> App:
    """Make an App of a WSGI application.

    ::

        aiohttpd.run(aiohttpd.wsgi(flask_app))

    Args:
        application: a callable with the arguments ``environ`` and ``start_response``.

    Raises:
        TypeError: it is no WSGI application: it cannot be called, or it is an App already.
    """
    check_wsgi(application, makes_handlers=isinstance(application, type) and is_handler_class(application))
    return _Application(application)


class _Application:
    """A WSGI application as an App. It can be pickled for workers if the application can."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        def call(rfile: io.BufferedIOBase, wfile: BlockingWriter) -> None:
            _Response(wfile).run(self._application, _environment(request, rfile))

        await call_in_thread(request, response, call)


def _environment(request: Request, body: io.BufferedIOBase) -> dict[str, Any]:
    """The environ dictionary of a request (PEP 3333, RFC 3875).

    Args:
        request: the request.
        body: its body as a file.
    """
    environ = {**_request_variables(request), **_WSGI_VARIABLES, "wsgi.url_scheme": request.scheme, "wsgi.input": body}
    environ["wsgi.errors"] = sys.stderr
    environ["wsgi.multiprocess"] = _is_worker()
    for name, value in request.headers.items():
        # A field with "_" would have the variable of the field with "-", so a client could forge one.
        if name.lower() in _WITHOUT_VARIABLE or "_" in name:
            continue
        variable = "HTTP_" + name.upper().replace("-", "_")
        before = environ.get(variable)
        separator = "; " if variable == "HTTP_COOKIE" else ","
        environ[variable] = value if before is None else f"{before}{separator}{value}"
    if request.host is not None:
        environ["HTTP_HOST"] = request.host  # the client's, where a trusted proxy has sent another one
    return environ


_WSGI_VARIABLES: dict[str, Any] = {
    "wsgi.version": (1, 0),
    "wsgi.input_terminated": True,
    "wsgi.multithread": True,
    "wsgi.run_once": False,
    "wsgi.file_wrapper": FileWrapper,
}


def _is_worker() -> bool:
    """Whether this process was started by another one of Python, so that others may serve the same application."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _request_variables(request: Request) -> dict[str, Any]:
    client = request.client_address
    host, port = _name_and_port(request)
    variables = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": str(unquote_to_bytes(request.root_path), "latin-1"),
        "PATH_INFO": str(unquote_to_bytes(request.path), "latin-1"),  # PEP 3333: bytes decoded as ISO 8859-1
        "QUERY_STRING": request.query_string,
        "REQUEST_URI": request.root_path + request.target if request.target[0] == "/" else request.target,
        "SERVER_NAME": host,
        "SERVER_PORT": port,
        "SERVER_PROTOCOL": request.version,
        "SERVER_SOFTWARE": f"aiohttpd/{__version__}",
        "REMOTE_ADDR": str(client[0]),
        "REMOTE_PORT": str(client[1]),
    }
    if (content_type := request.headers["Content-Type"]) is not None:
        variables["CONTENT_TYPE"] = content_type
    if request.content_length is not None:
        variables["CONTENT_LENGTH"] = str(request.content_length)
    return variables


def _name_and_port(request: Request) -> tuple[str, str]:
    """SERVER_NAME and SERVER_PORT, which are never empty; a unix socket has those that the client has asked for."""
    server = request.server_address
    if isinstance(server, tuple):
        return server[0], str(server[1])
    host = request.host or "localhost"
    name = without_port(host)
    return name, host[len(name) + 1 :] or {"https": "443"}.get(request.scheme, "80")


class _Response:
    """The response of an application to one request."""

    def __init__(self, wfile: BlockingWriter) -> None:
        self._wfile = wfile
        self._head: tuple[int, list[tuple[str, str]], str | None] | None = None
        self._head_sent = False

    def run(self, application: WSGIApplication, environ: dict[str, Any]) -> None:
        """Call the application, and send what it returns."""
        result = application(environ, self._start_response)
        try:
            for data in result:
                if data:
                    self._write(data)  # sent while the application makes the next piece, as PEP 3333 requires
            self._send_head()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            try:
                if self._head_sent and not self._wfile.replaceable():
                    raise exc_info[1].with_traceback(exc_info[2])
                if self._head_sent:
                    self._wfile.restart()
                    self._head_sent = False
            finally:
                exc_info = None
        elif self._head is not None:
            raise ContractError("start_response() was called twice without exc_info")
        code, _, reason = status.partition(" ")
        if not (len(code) == 3 and code.isascii() and code.isdigit()):
            raise ContractError(f"{status!r} is no status: '200 OK', say")
        for name, _ in headers:
            if name.lower() in _HOP_BY_HOP:
                raise ContractError(f"{name} is for the server to send (PEP 3333)")
        self._head = (int(code), headers, reason or None)
        return self._write

    def _write(self, data: bytes) -> None:
        self._send_head()
        self._wfile.write(data)

    def _send_head(self) -> None:
        if self._head_sent:
            return
        if self._head is None:
            raise ContractError("the application has not called start_response()")
        self._head_sent = True
        self._wfile.send_head(*self._head)
