"""A server in memory with one connection, for tests that feed its transport."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttpd import Config, Request, StreamWriter
from aiohttpd.engine.answer import PreparedResponse
from aiohttpd.engine.connection import ConnectionState, HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.testing import MemoryTransport

from .waiting import turns

IDLE, HEAD = 30, 20  # seconds: the deadlines of the connection


@dataclass
class Site:
    """The connection, and what its handlers have to do with the test.

    Attributes:
        served: the paths of the requests that handlers have got.
        go: an event for which handlers may wait.
    """

    transport: MemoryTransport
    connection: HTTPConnection
    context: ServerContext
    served: list[str] = field(default_factory=list)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def answers(self) -> int:
        return self.transport.output.count(b"HTTP/1.1 200 ")

    async def answered(self, request: bytes) -> None:
        """Send requests, and wait for their answers."""
        count = self.answers + request.count(b"Host")
        self.transport.feed(request)
        while self.answers < count or self.connection.state is not ConnectionState.IDLE:
            await asyncio.sleep(0)


@asynccontextmanager
async def one_connection(
    app: Callable[[Site, Request, StreamWriter], Awaitable[None]],
    instant: Callable[[Request], PreparedResponse | None] | None = None,
) -> AsyncIterator[Site]:
    """Serve one connection by an App that gets the site, too, and by prepared responses."""

    async def serve(request: Request, response: StreamWriter) -> None:
        site.served.append(request.path)
        await app(site, request, response)

    loop = asyncio.get_running_loop()
    config = Config(access_log=False, timeout_idle=IDLE, timeout_head=HEAD, timeout_write=9 * IDLE)
    context = ServerContext(ServedApp(serve, instant), config, loop)
    site = Site(MemoryTransport(loop), HTTPConnection(context), context)
    site.transport.connect(site.connection)
    yield site
    site.transport.close()
    await site.transport.closed.wait()
    await turns()
    context.close()
