"""BlockingHTTPRequestHandler: a handler whose methods are a plain ``def``, as a type checker should see it.

Owns no behaviour: what runs in a thread, and with what files, is `dispatch`'s and `threads.plain`'s.
"""

import io
from typing import TYPE_CHECKING, cast

from ..engine.response import StreamWriter
from ..threads.plain import BlockingWriter
from ..wire.request import Body
from .base import BaseHTTPRequestHandler

__all__ = ["BlockingHTTPRequestHandler"]


class BlockingHTTPRequestHandler(BaseHTTPRequestHandler):
    """A `BaseHTTPRequestHandler` for methods that are a plain ``def``: to a type checker its files block.

    When it runs it is no other: a plain ``def`` finds such files in a thread, an ``async def`` those of asyncio, which
    have names of their own here. Once no method is a plain ``def`` any more, derive from `BaseHTTPRequestHandler`.

    Attributes:
        rfile: in a plain ``def``, the request's body as a file.
        wfile: in a plain ``def``, the answer as a file.
    """

    if TYPE_CHECKING:
        rfile: io.BufferedReader  # type: ignore[assignment]
        wfile: BlockingWriter  # type: ignore[assignment]

    @property
    def async_rfile(self) -> Body:
        """In an ``async def``, the request's body: ``await self.async_rfile.read()``."""
        return self.request.body

    @property
    def async_wfile(self) -> StreamWriter:
        """In an ``async def``, the answer: ``await self.async_wfile.drain()``."""
        return cast(StreamWriter, self.wfile)
