"""aiohttpd: http.server, grown up for asyncio.

Subclass `BaseHTTPRequestHandler`, write ``async def do_GET``, call ``send_response``, write to
``wfile``; `run` it, serve it with ``aiohttpd serve``, or embed an `HTTPServer`.
"""

from typing import TYPE_CHECKING, Any

from .errors import (
    BodyTimeout,
    ClientDisconnected,
    ContentTooLarge,
    ContractError,
    HTTPError,
    IncompleteBody,
    MissingField,
    WireError,
    WriteBufferFull,
)
from .handler import BaseHTTPRequestHandler
from .version import __version__
from .wire.headers import Headers
from .wire.request import Request

if TYPE_CHECKING:
    from . import compat as compat
    from . import compression as compression
    from . import testing as testing
    from .blocking_handler import BlockingHTTPRequestHandler
    from .config import Config
    from .files.handler import SimpleHTTPRequestHandler
    from .forms import FormData, UploadedFile
    from .interfaces import App
    from .listeners import BindError, UnixAddress
    from .reader import StreamReader
    from .runner import run
    from .server import HTTPServer
    from .threads.legacy import blocking
    from .threads.wsgi import wsgi
    from .tls import Certificates
    from .writer import StreamWriter

__all__ = [
    "App",
    "BaseHTTPRequestHandler",
    "BindError",
    "BlockingHTTPRequestHandler",
    "BodyTimeout",
    "Certificates",
    "ClientDisconnected",
    "Config",
    "ContentTooLarge",
    "ContractError",
    "FormData",
    "HTTPError",
    "HTTPServer",
    "Headers",
    "IncompleteBody",
    "MissingField",
    "Request",
    "SimpleHTTPRequestHandler",
    "StreamReader",
    "StreamWriter",
    "UnixAddress",
    "UploadedFile",
    "WireError",
    "WriteBufferFull",
    "__version__",
    "blocking",
    "run",
    "wsgi",
]

# A module that only defines handlers needs no server, so what makes one is imported when it is asked for.
_LATER = {
    "App": "service",
    "BindError": "listeners",
    "BlockingHTTPRequestHandler": "blocking_handler",
    "Certificates": "tls",
    "Config": "config",
    "FormData": "forms",
    "HTTPServer": "server",
    "SimpleHTTPRequestHandler": "files.handler",
    "StreamReader": "reader",
    "StreamWriter": "writer",
    "UnixAddress": "listeners",
    "UploadedFile": "forms",
    "blocking": "threads.legacy",
    "run": "runner",
    "wsgi": "threads.wsgi",
}


_MODULES = ("compat", "compression", "testing")

if not TYPE_CHECKING:  # a type checker would take every name then

    def __getattr__(name: str) -> Any:
        if name not in _LATER and name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
