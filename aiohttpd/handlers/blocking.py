"""BlockingHTTPRequestHandler: the types of a handler whose methods are plain functions.

Owns type declarations only. Which methods run in a thread is decided in `dispatch`; their files are in `threads.plain`.
"""

import io
from typing import TYPE_CHECKING, cast

from ..engine.response import StreamWriter
from ..threads.plain import BlockingWriter
from ..wire.request import Body
from .base import BaseHTTPRequestHandler

__all__ = ["BlockingHTTPRequestHandler"]


class BlockingHTTPRequestHandler(BaseHTTPRequestHandler):
    """A `BaseHTTPRequestHandler` whose ``rfile`` and ``wfile`` are blocking files to a type checker.

    At run time it is a `BaseHTTPRequestHandler`: a plain ``def`` runs in a thread and gets blocking files, an
    ``async def`` gets the asyncio streams. To a type checker, an ``async def`` finds these as `async_rfile` and
    `async_wfile`. Methods that have to be awaited, such as `form` and `send_file`, are for ``async def`` only. When all
    methods are ``async def``, derive from `BaseHTTPRequestHandler` instead.

    Attributes:
        rfile: in a plain ``def``, the body of the request as a file.
        wfile: in a plain ``def``, the response as a file.
    """

    if TYPE_CHECKING:
        rfile: io.BufferedReader  # type: ignore[assignment]
        wfile: BlockingWriter  # type: ignore[assignment]

    @property
    def async_rfile(self) -> Body:
        """In an ``async def``, the body of the request: ``await self.async_rfile.read()``."""
        return self.request.body

    @property
    def async_wfile(self) -> StreamWriter:
        """In an ``async def``, the response: ``await self.async_wfile.drain()``."""
        return cast(StreamWriter, self.wfile)
