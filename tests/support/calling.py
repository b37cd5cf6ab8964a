"""Handlers that make one call, and what they answer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttpd import BaseHTTPRequestHandler
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import App, ServedApp
from aiohttpd.testing import MemoryTransport, exchange

from .asking import QUIET
from .clients import get
from .wire import Response, split

Body = Callable[[Any], Awaitable[None]]


def handling(body: Body, *bases: type, **attributes: Any) -> type[BaseHTTPRequestHandler]:
    """A handler class whose GET and POST run a coroutine function."""
    made = type("Handler", (*bases, BaseHTTPRequestHandler), {"do_GET": body, "do_POST": body, **attributes})
    assert issubclass(made, BaseHTTPRequestHandler)
    return made


async def given(body: Body | App, request: bytes = get(), method: str = "GET") -> Response:
    """The answer of a handler's method, or of an App, to one request in memory."""
    app: Any = body if isinstance(body, type) else handling(cast(Body, body))
    [answer] = split(await exchange(app, request, config=QUIET), [method])
    assert answer.complete
    return answer


def calling(name: str, *args: Any, **kwargs: Any) -> Body:
    """A ``do_GET`` of one call, awaited if it is to be."""

    async def body(self: Any) -> None:
        result = getattr(self, name)(*args, **kwargs)
        if result is not None:
            await result

    return body


def all_of(answer: Response, name: str) -> list[str]:
    return [value for key, value in answer.fields if key.lower() == name.lower()]


async def pieces_written(app: App, request: bytes) -> list[bytes]:
    """The pieces that are handed to the transport for one request."""
    pieces = []

    class Transport(MemoryTransport):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            pieces.append(bytes(data))
            super().write(data)

    loop = asyncio.get_running_loop()
    context = ServerContext(ServedApp(app), QUIET, loop)
    transport = Transport(loop)
    transport.connect(HTTPConnection(context))
    transport.feed(request)
    transport.feed_eof()
    await transport.closed.wait()
    context.deadlines.close()
    return pieces
