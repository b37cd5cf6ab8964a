"""Tools for tests of handlers: `exchange` works in memory, `running` over a real socket.

::

    async def test_hello():
        answer = await exchange(Hello, b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
        assert answer.startswith(b"HTTP/1.1 200 ")

The tests of this package compare the transport in memory with real sockets.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, nullcontext
from ssl import SSLContext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Unpack, cast

from ..asgi.host import hosted
from ..config import Config
from ..engine.context import ServerContext
from ..engine.interfaces import AccessLogger, App
from ..handlers.app import Lifespan, enter_lifespan, lifespan_of, prepare
from ..server.layers import connection_factory, make_recorder
from ..server.server import HTTPServer

if TYPE_CHECKING:
    from ..config.keywords import Options

__all__ = ["MemoryTransport", "exchange", "running"]


class MemoryTransport(asyncio.Transport):
    """A transport in memory: a test feeds it what a client sends, and reads what the server has written.

    The client reads at once, so writing is never paused.

    Args:
        loop: the running loop.

    Attributes:
        output: all bytes that the server has sent.
        writes: the number of writes in which it has sent them.
        closed: an ``asyncio.Event``, set when the connection is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8000)})
        self._loop = loop
        self._protocol: asyncio.Protocol | None = None
        self._incoming: list[bytes | None] = []
        self._paused = False
        self._closing = False
        self.output = bytearray()
        self.writes = 0
        self.closed = asyncio.Event()

    def connect(self, protocol: asyncio.Protocol) -> None:
        """Connect a protocol, whose ``connection_made`` is called."""
        self._protocol = protocol
        protocol.connection_made(self)

    @property
    def protocol(self) -> asyncio.Protocol:
        """The protocol that is connected."""
        return cast(asyncio.Protocol, self._protocol)

    def feed(self, data: bytes) -> None:
        """Send bytes as the client. While the server has paused reading they wait."""
        self._incoming.append(data)
        self._deliver()

    def feed_eof(self) -> None:
        """Close the client's side of the connection, after the bytes that wait."""
        self._incoming.append(None)
        self._deliver()

    def _deliver(self) -> None:
        while self._incoming and not self._paused and not self._closing:
            data = self._incoming.pop(0)
            if data is not None:
                self.protocol.data_received(data)
            elif not self.protocol.eof_received():
                self.close()

    # The methods of asyncio.Transport.

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast(asyncio.Protocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._paused

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._closing:
            self.output += data
            self.writes += 1

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        # The client sees the end of the server's side, and closes its own.
        self._loop.call_soon(self.close)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass  # the buffer is always empty

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._lost)

    def abort(self) -> None:
        self.close()

    def _lost(self) -> None:
        self.protocol.connection_lost(None)
        self.closed.set()


async def exchange(
    app: App, data: bytes | Iterable[bytes], *, config: Config | None = None, access_log: AccessLogger | None = None
) -> bytes:
    """Send bytes to an App on a connection in memory, and return all bytes that come back.

    The client closes its side of the connection after its last byte. The call returns when the server has answered
    everything and closed the connection.

    The lifespan of the App surrounds it; ``Request.server`` is a bare object then, which has what that sets, else None.

    Args:
        app: a handler class, another App, or an ASGI application.
        data: what the client sends, in one piece or in several.
        config: the options; by default ``Config()``.
        access_log: gets a record of each answer.

    Returns:
        The bytes of all responses.
    """
    app, config = hosted(app), config or Config()
    lifespan = lifespan_of(app)
    server = None if lifespan is None else _Server()
    async with nullcontext() if lifespan is None else enter_lifespan(lifespan, server):
        loop, recorder = asyncio.get_running_loop(), make_recorder(config, access_log)
        context = ServerContext(prepare(app), config, loop, server=server, recorder=recorder)
        if server is not None:
            server.background = context.background
        return await _exchange(context, data)


class _Server:
    """What a lifespan sets attributes on where there is no server."""

    background: Any  # see `HTTPServer.background`

    def __init__(self) -> None:
        self.state: Any = SimpleNamespace()


async def _exchange(context: ServerContext, data: bytes | Iterable[bytes]) -> bytes:
    transport = MemoryTransport(context.loop)
    transport.connect(connection_factory(context, lambda: None)())
    try:
        for part in (data,) if isinstance(data, bytes) else data:
            transport.feed(part)
        transport.feed_eof()
        await transport.closed.wait()
        if context.registry.orphans:
            await asyncio.wait(tuple(context.registry.orphans))
        while context.registry.background:  # which may start more
            await asyncio.wait(tuple(context.registry.background))
    finally:
        context.close()
    return bytes(transport.output)


@asynccontextmanager
async def running(
    app: App, *, lifespan: Lifespan | None = None, ssl: SSLContext | None = None, **options: "Unpack[Options]"
) -> AsyncIterator[HTTPServer]:
    """Run a server on a free port of 127.0.0.1 during a block.

    ::

        async with running(Handler) as server, httpx.AsyncClient(base_url=server.url) as client:
            ...

    Args:
        app: a handler class, another App, or an ASGI application.
        lifespan: as for `HTTPServer`.
        ssl: the TLS context; with it the server speaks HTTPS.
        options: fields of `Config`. By default ``timeout_drain_idle`` is 0: idle connections are closed at once when
            the block ends.

    Raises:
        TypeError, ValueError: an option is unknown or out of its range.
    """
    options.setdefault("timeout_drain_idle", 0)
    config = Config(**options)
    async with HTTPServer(("127.0.0.1", 0), app, config=config, lifespan=lifespan, ssl=ssl) as server:
        yield server
