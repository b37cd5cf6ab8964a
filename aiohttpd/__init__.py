"""aiohttpd: http.server, grown up for asyncio.

Subclass `BaseHTTPRequestHandler`, write ``async def do_GET``, call ``send_response``, write to
``wfile``; `run` it, serve it with ``aiohttpd serve``, or embed an `HTTPServer`.
"""

# For type checkers it is true. `typing` is not imported here: it takes 5 ms, in which Ctrl-C shows a traceback.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from . import asgi as asgi
    from . import compat as compat
    from . import compression as compression
    from . import middleware as middleware
    from . import testing as testing
    from .config import Config
    from .engine.body import StreamReader
    from .engine.interfaces import App
    from .engine.response import StreamWriter
    from .errors import (
        BodyTimeout,
        ClientDisconnected,
        ConnectionClosed,
        ContentTooLarge,
        ContractError,
        HTTPError,
        IncompleteBody,
        InvalidData,
        MissingField,
        WireError,
        WriteBufferFull,
    )
    from .fileserver.handler import SimpleHTTPRequestHandler
    from .handlers.base import BaseHTTPRequestHandler
    from .handlers.blocking import BlockingHTTPRequestHandler
    from .handlers.events import EventStream
    from .handlers.forms import FormData, UploadedFile
    from .handlers.routing import Converter, Router, handle_errors, route
    from .handlers.websocket.websocket import WebSocket as WebSocket
    from .handlers.wsgi import wsgi
    from .middleware.layer import layers
    from .net.sockets import BindError, UnixAddress
    from .net.tls import Certificates
    from .runner.run import run
    from .server.server import HTTPServer
    from .threads.legacy import blocking
    from .wire.headers import Headers
    from .wire.product import __version__
    from .wire.request import Request

__all__ = [
    "App", "BaseHTTPRequestHandler", "BindError", "BlockingHTTPRequestHandler", "BodyTimeout", "Certificates",
    "ClientDisconnected", "Config", "ConnectionClosed", "ContentTooLarge", "ContractError", "Converter",
    "EventStream", "FormData", "HTTPError", "HTTPServer", "Headers", "IncompleteBody", "InvalidData",
    "MissingField", "Request", "Router", "SimpleHTTPRequestHandler", "StreamReader", "StreamWriter", "UnixAddress",
    "UploadedFile", "WireError", "WriteBufferFull", "__version__", "blocking", "handle_errors", "layers", "route",
    "run", "wsgi",
]  # fmt: skip

# The names by their modules. A module is imported when one of its names is asked for: a program that only defines
# handlers needs no server, and the plugin for pytest, which every run of pytest imports, needs nothing. WebSocket needs
# an extra, so it is not in __all__.
_LATER = {
    "config": "Config",
    "engine.body": "StreamReader",
    "engine.interfaces": "App",
    "engine.response": "StreamWriter",
    "errors": "BodyTimeout ClientDisconnected ConnectionClosed ContentTooLarge ContractError HTTPError "
    "IncompleteBody InvalidData MissingField WireError WriteBufferFull",
    "fileserver.handler": "SimpleHTTPRequestHandler",
    "handlers.base": "BaseHTTPRequestHandler",
    "handlers.blocking": "BlockingHTTPRequestHandler",
    "handlers.events": "EventStream",
    "handlers.forms": "FormData UploadedFile",
    "handlers.routing": "Converter Router handle_errors route",
    "handlers.websocket.websocket": "WebSocket",
    "handlers.wsgi": "wsgi",
    "middleware.layer": "layers",
    "net.sockets": "BindError UnixAddress",
    "net.tls": "Certificates",
    "runner.run": "run",
    "server.server": "HTTPServer",
    "threads.legacy": "blocking",
    "wire.headers": "Headers",
    "wire.product": "__version__",
    "wire.request": "Request",
}
_MODULE_OF = {name: module for module, names in _LATER.items() for name in names.split()}
_MODULES = ("asgi", "compat", "compression", "middleware", "testing")

if not TYPE_CHECKING:  # a type checker would take every name then

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF and name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        value = globals()[name] = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
