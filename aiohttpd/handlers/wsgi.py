"""WSGI applications as Apps, in worker threads (PEP 3333).

Owns the environment that an application is given and the way of what it returns. Framing, back-pressure and deadlines
are those of every other answer.
"""

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

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

# RFC 3875 section 4.1.18: these have names of their own; and a client must not set the variable HTTP_PROXY.
_OTHERWISE = frozenset(("content-type", "content-length", "proxy"))
# PEP 3333: what belongs to the connection is the server's.
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

    Raises:
        TypeError: it is none: it cannot be called, or is an App already.
    """
    check_wsgi(application, makes_handlers=isinstance(application, type) and is_handler_class(application))
    return _Application(application)


class _Application:
    """A WSGI application as an App; it can be handed to workers if the application can."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        def call(rfile: io.BufferedIOBase, wfile: BlockingWriter) -> None:
            _Answer(wfile).give(self._application, environment(request, rfile))

        await call_in_thread(request, response, call)


def environment(request: Request, body: io.BufferedIOBase) -> dict[str, Any]:
    """The environment of a request, as PEP 3333 and RFC 3875 have it."""
    server, client = request.server_address, request.client_address
    host, port = (server[0], server[1]) if isinstance(server, tuple) else (request.host or "localhost", "")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": str(unquote_to_bytes(request.root_path), "latin-1"),
        "PATH_INFO": str(unquote_to_bytes(request.path), "latin-1"),  # bytes in the shape of a str
        "QUERY_STRING": request.query_string,
        "REQUEST_URI": request.root_path + request.target if request.target[0] == "/" else request.target,
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": request.version,
        "SERVER_SOFTWARE": f"aiohttpd/{__version__}",
        "REMOTE_ADDR": str(client[0]),
        "REMOTE_PORT": str(client[1]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": request.scheme,
        "wsgi.input": body,
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    headers = request.headers
    if (content_type := headers["Content-Type"]) is not None:
        environ["CONTENT_TYPE"] = content_type
    if request.content_length is not None:
        environ["CONTENT_LENGTH"] = str(request.content_length)
    for name, value in headers.items():
        # Another client could send a_b to be taken for a-b.
        if name.lower() in _OTHERWISE or "_" in name:
            continue
        variable = "HTTP_" + name.upper().replace("-", "_")
        before = environ.get(variable)
        joint = "; " if variable == "HTTP_COOKIE" else ","
        environ[variable] = value if before is None else f"{before}{joint}{value}"
    if request.host is not None:
        environ["HTTP_HOST"] = request.host  # that of the client, where a trusted proxy has another
    return environ


class _Answer:
    """What one application answers to one request."""

    def __init__(self, wfile: BlockingWriter) -> None:
        self._wfile = wfile
        self._head: tuple[int, list[tuple[str, str]], str | None] | None = None
        self._given = False

    def give(self, application: WSGIApplication, environ: dict[str, Any]) -> None:
        """Call the application, and write what it returns."""
        result = application(environ, self._start_response)
        try:
            for data in result:
                if data:
                    self._write(data)  # it leaves while the application makes the next piece, as PEP 3333 wants it
            self._give_head()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def _start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], object]:
        if exc_info is not None:
            try:
                if self._given and not self._wfile.replaceable():
                    raise exc_info[1].with_traceback(exc_info[2])
                if self._given:
                    self._wfile.restart()
                    self._given = False
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
        self._give_head()
        self._wfile.write(data)

    def _give_head(self) -> None:
        if self._given:
            return
        if self._head is None:
            raise ContractError("the application has not called start_response()")
        self._given = True
        self._wfile.send_head(*self._head)
