"""aiohttpd: http.server, grown up for asyncio.

Subclass `BaseHTTPRequestHandler`, write ``async def do_GET``, call ``send_response``, write to
``wfile``; `run` it, serve it with ``aiohttpd serve``, or embed an `HTTPServer`.
"""

from .config import Config
from .errors import (
    BodyTimeout,
    ClientDisconnected,
    ContentTooLarge,
    ContractError,
    HTTPError,
    IncompleteBody,
    WireError,
    WriteBufferFull,
)
from .handler import BaseHTTPRequestHandler
from .listeners import BindError
from .reader import StreamReader
from .runner import run
from .server import HTTPServer
from .service import App
from .version import __version__
from .wire.headers import Headers
from .wire.request import Request
from .writer import StreamWriter

__all__ = [
    "App",
    "BaseHTTPRequestHandler",
    "BindError",
    "BodyTimeout",
    "ClientDisconnected",
    "Config",
    "ContentTooLarge",
    "ContractError",
    "HTTPError",
    "HTTPServer",
    "Headers",
    "IncompleteBody",
    "Request",
    "StreamReader",
    "StreamWriter",
    "WireError",
    "WriteBufferFull",
    "__version__",
    "run",
]
