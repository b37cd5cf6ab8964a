"""client: an ``httpx.AsyncClient`` that talks to an App in memory.

Owns the connection in memory that httpcore reads and writes: bytes in order, back-pressure on both sides. The server is
a whole one, with lifespan and ``self.server``, but for the socket.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Unpack

try:
    import httpcore
    import httpx
except ModuleNotFoundError:
    raise ModuleNotFoundError("aiohttpd.testing.client needs httpx: pip install httpx") from None

from ..config import Config
from ..engine.interfaces import App
from ..handlers.app import Lifespan
from ..server.server import HTTPServer
from .memory import MemoryTransport

if TYPE_CHECKING:
    from ..config.keywords import Options

__all__ = ["client"]

_HIGH = 64 * 1024  # bytes that wait for the client before the server's writing is paused


def client(
    app: App,
    *,
    lifespan: Lifespan | None = None,
    base_url: str = "http://testserver",
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    auth: tuple[str, str] | httpx.Auth | None = None,
    follow_redirects: bool = False,
    timeout: float | None = 5.0,
    **options: "Unpack[Options]",
) -> httpx.AsyncClient:
    """Make an ``httpx.AsyncClient`` for an App; no socket is opened.

    ::

        async with aiohttpd.testing.client(site) as client:
            answer = await client.get("/notes")

    Requests and answers are streamed, so a client can read the first event of an endless stream. The lifespan is
    entered and left with the ``async with`` of the client; without it there is no server. A request of an https URL is
    one of TLS for the App, without certificates.

    Args:
        app: a handler class, another App, or an ASGI application.
        lifespan: as for `HTTPServer`; that of the App is entered, too.
        base_url: of the client; its host is what the App finds in ``Host``.
        headers, cookies, auth, follow_redirects, timeout: as for ``httpx.AsyncClient``.
        options: fields of `Config`.

    Raises:
        ImportError: httpx is not installed.
        TypeError, ValueError: an option is unknown or out of its range.
    """
    given: Options = {"timeout_drain_idle": 0, "access_log": False, **options}
    server = HTTPServer([], app, config=Config(**given), lifespan=lifespan)
    return httpx.AsyncClient(
        transport=_Transport(server), base_url=base_url, headers=headers, cookies=dict(cookies or {}), auth=auth,
        follow_redirects=follow_redirects, timeout=timeout, trust_env=False,
    )  # fmt: skip


class _Pipe(MemoryTransport):
    """The two directions of a connection in memory: the client may be slow to read, and the server, too.

    Args:
        loop: the running loop.
        tls: what a TLS transport has as its ``sslcontext``; None if the connection is to be one without TLS.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tls: ssl.SSLContext | None) -> None:
        super().__init__(loop)
        self._tls = tls
        self._changed = asyncio.Event()
        self._full = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self._changed.set()
        if not self._full and len(self.output) > _HIGH:
            self._full = True
            self.protocol.pause_writing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return default if self._tls is None else self._tls
        return super().get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return len(self.output)

    def close(self) -> None:
        super().close()
        self._changed.set()

    def write_eof(self) -> None:
        super().write_eof()
        self._changed.set()

    def resume_reading(self) -> None:
        super().resume_reading()
        self._changed.set()

    async def read(self, most: int) -> bytes:
        """Take what the server has sent; empty at the end."""
        while not self.output and not self.is_closing():
            await self._change()
        data = bytes(self.output[:most])
        del self.output[:most]
        if self._full and len(self.output) <= _HIGH // 4 and not self.is_closing():
            self._full = False
            self.protocol.resume_writing()
        return data

    async def send(self, data: bytes) -> None:
        """Send to the server; waits while it does not read."""
        if self.is_closing():
            raise BrokenPipeError("the server has closed the connection")
        self.feed(data)
        while not self.is_reading() and not self.is_closing():
            await self._change()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


class _Stream(httpcore.AsyncNetworkStream):
    """A connection as httpcore uses it."""

    def __init__(self, pipe: _Pipe) -> None:
        self._pipe = pipe

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            async with asyncio.timeout(timeout):
                return await self._pipe.read(max_bytes)
        except TimeoutError:
            raise httpcore.ReadTimeout("the answer takes too long") from None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._pipe.send(buffer)
        except TimeoutError:
            raise httpcore.WriteTimeout("the server does not read") from None
        except OSError as error:
            raise httpcore.WriteError(str(error)) from None

    async def aclose(self) -> None:
        self._pipe.feed_eof()
        self._pipe.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # asked of an idle connection: whether the server has closed it
            return self._pipe.is_closing()
        return self._pipe.get_extra_info(info)


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects to the server in memory, whatever the host is."""

    def __init__(self, server: HTTPServer, tls: ssl.SSLContext | None) -> None:
        self._server = server
        self._tls = tls

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> _Stream:
        pipe = _Pipe(asyncio.get_running_loop(), self._tls)
        try:
            pipe.set_protocol(self._server.serve_transport(pipe))
        except RuntimeError:
            raise httpcore.ConnectError("there is no server: use the client in 'async with client(app) as c'") from None
        return _Stream(pipe)


class _Transport(httpx.AsyncBaseTransport):
    """A transport of httpx with a server of its own."""

    def __init__(self, server: HTTPServer) -> None:
        self._server = server
        self._pools = {"http": _pool(server, None), "https": _pool(server, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))}

    async def __aenter__(self) -> "_Transport":
        await self._server.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()
        await self._server.shutdown(0)

    async def aclose(self) -> None:
        for pool in self._pools.values():
            await pool.aclose()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the answer when its head has come."""
        pool = self._pools.get(request.url.scheme)
        if pool is None:
            raise httpx.UnsupportedProtocol(f"in memory there are http and https: {request.url}")
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = httpcore.URL(
            scheme=b"http",  # for the pool, which would begin a handshake
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        inner = httpcore.Request(
            request.method, url, headers=request.headers.raw, content=request.stream, extensions=request.extensions
        )
        with _errors():
            answer = await pool.handle_async_request(inner)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Content(answer), extensions=answer.extensions
        )


def _pool(server: HTTPServer, tls: ssl.SSLContext | None) -> httpcore.AsyncConnectionPool:
    return httpcore.AsyncConnectionPool(
        max_connections=None, max_keepalive_connections=20, network_backend=_Backend(server, tls)
    )


class _Content(httpx.AsyncByteStream):
    """The content of an answer, as it comes."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors():
            async for part in self._answer.aiter_stream():
                yield part

    async def aclose(self) -> None:
        await self._answer.aclose()


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Raise the exceptions of httpcore as those of httpx, which have the same names."""
    try:
        yield
    except Exception as error:
        kind = getattr(httpx, type(error).__name__, None)
        if type(error).__module__.startswith("httpcore") and isinstance(kind, type):
            raise kind(str(error)) from error
        raise
