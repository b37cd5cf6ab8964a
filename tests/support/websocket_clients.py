"""WebSockets from the other side: the client of the library `websockets`, and one that sends what bytes it likes."""

import asyncio
import contextlib
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import websockets

from aiohttpd import BaseHTTPRequestHandler, HTTPServer

from .clients import Client, connected, get

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FIELDS = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"

SocketBody = Callable[[Any, Any], Awaitable[None]]


def opening(*fields: str, path: str = "/") -> bytes:
    """A handshake, with more fields."""
    return get(path, *FIELDS, *fields)


def frame(opcode: int, data: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """A frame of a client."""
    length = len(data)
    mask = 0x80 if masked else 0
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        head += bytes([mask | length])
    elif length < 65536:
        head += bytes([mask | 126]) + struct.pack("!H", length)
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", length)
    if not masked:
        return head + data
    key = b"\x01\x02\x03\x04"
    repeated = (key * (length // 4 + 1))[:length]
    return head + key + (int.from_bytes(data) ^ int.from_bytes(repeated)).to_bytes(length)


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason.encode())


class RawSocket:
    """A WebSocket by its bytes."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def send(self, *parts: bytes) -> None:
        await self.client.send(*parts)

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode, with FIN as bit 7 and RSV1 as bit 6, and content."""
        first, second = await self.client.reader.readexactly(2)
        assert not second & 0x80, "a server does not mask"
        length = second
        if length >= 126:
            size = 2 if length == 126 else 8
            length = int.from_bytes(await self.client.reader.readexactly(size))
        return first, await self.client.reader.readexactly(length)

    async def closed(self) -> int:
        """Skip to the Close frame; its code, 1005 if it has none."""
        while True:
            first, data = await self.frame()
            if first & 0x0F == CLOSE:
                return int.from_bytes(data[:2]) if data else 1005

    async def message(self) -> bytes:
        """The content of a message that is one frame."""
        first, data = await self.frame()
        assert first in (0x80 | TEXT, 0x80 | BINARY), hex(first)
        return data


@asynccontextmanager
async def raw_socket(
    server: HTTPServer,
    *fields: str,
    path: str = "/",
    after: bytes = b"",
    small: bool = False,
    tls: Any = None,
) -> AsyncIterator[RawSocket]:
    """Open a WebSocket; ``after`` is sent in one piece with the handshake."""
    async with connected(server, small=small, tls=tls) as client:
        await client.send(opening(*fields, path=path) + after)
        answer = await client.answer()
        assert answer.status == 101, answer
        assert answer["Sec-WebSocket-Accept"] == ACCEPT
        yield RawSocket(client)


def url_of(server: HTTPServer, path: str = "/") -> str:
    return "ws" + server.url.removeprefix("http") + path


def dial(server: HTTPServer, path: str = "/", **options: Any) -> Any:
    """The client of the library, to be used as ``async with``."""
    return websockets.connect(url_of(server, path), **{"max_size": None, "proxy": None, **options})


@asynccontextmanager
async def bystander(server: HTTPServer, rounds: int = 20) -> AsyncIterator[None]:
    """While the block runs, another client has its messages answered; it goes on until it has had so many.

    It sends those as fast as it can, later ones every 10 ms: a loop without a pause would only take CPU from the block.
    """
    enough = asyncio.Event()
    over = asyncio.Event()

    async def talk() -> None:
        async with dial(server) as client:
            count = 0
            while count < rounds or not over.is_set():
                await client.send(f"{count}")
                assert await client.recv() == f"{count}"
                count += 1
                if count >= rounds:
                    enough.set()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(over.wait(), 0.01)

    task = asyncio.create_task(talk())
    try:
        yield
        await enough.wait()
    finally:
        over.set()
        await task


def deflated(data: bytes) -> bytes:
    """The content of a compressed message, RFC 7692 section 7.2.1."""
    maker = zlib.compressobj(wbits=-12)
    return (maker.compress(data) + maker.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Sockets:
    """A handler class whose WebSockets run a body, and what became of each of them.

    Attributes:
        opened: those that have been opened, the last one last.
        ends: what each body has raised, or None.
    """

    def __init__(self, body: SocketBody, **options: Any) -> None:
        self.opened: list[Any] = []
        self.ends: list[BaseException | None] = []
        sockets = self

        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                error: BaseException | None = None
                try:
                    async with self.websocket(**options) as socket:
                        sockets.opened.append(socket)
                        try:
                            await body(self, socket)
                        except BaseException as raised:
                            error = raised
                            raise
                finally:
                    sockets.ends.append(error)

        self.handler = Handler

    @property
    def last(self) -> Any:
        return self.opened[-1]


async def echo(handler: Any, socket: Any) -> None:
    async for message in socket:
        await socket.send(message)


async def wait_for_end(handler: Any, socket: Any) -> None:
    """A handler that waits for a message, of which there is none."""
    await socket.receive()


async def never(handler: Any, socket: Any) -> None:
    """A handler that does not look at its WebSocket."""
    await asyncio.Event().wait()
