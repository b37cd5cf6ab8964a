"""Clients on real sockets by asyncio streams, the bytes of their requests, and small Apps to ask."""

import asyncio
import logging
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiohttpd import App, HTTPServer, Request, StreamWriter

from .wire import Response, split

SOON = 10.0  # seconds within which happens what needs no deadline to expire
MIB = 1024 * 1024
BLOCK = 64 * 1024


class Client:
    """One connection, seen from the other side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        self.writer.writelines(parts)
        await self.writer.drain()

    def send_eof(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        """Close by RST."""
        sock = self.writer.get_extra_info("socket")
        with socket.socket(fileno=socket.dup(sock.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        """Close both sides."""
        self.writer.close()

    async def answer(self, method: str = "GET") -> Response:
        """Read one answer, interim ones too; raises IncompleteReadError if it is cut."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        [response] = split(head, [method])
        response.complete = True
        if method == "HEAD" or response.status < 200 or response.status in (204, 304):
            return response
        if response["Transfer-Encoding"] == "chunked":
            response.body = await self._chunks()
        elif response["Content-Length"] is not None:
            response.body = await self.reader.readexactly(int(response["Content-Length"] or 0))
        else:
            response.body = await self.reader.read()
        return response

    async def _chunks(self) -> bytes:
        parts = []
        while True:
            line = await self.reader.readuntil(b"\r\n")
            size = int(line, 16)
            parts.append((await self.reader.readexactly(size + 2))[:-2])
            if not size:
                return b"".join(parts)

    async def rest(self) -> bytes:
        """Everything up to the end of the stream; raises ConnectionResetError if there is no such end."""
        return await self.reader.read()

    async def ask(self, path: str = "/") -> Response:
        await self.send(get(path))
        return await self.answer()


@asynccontextmanager
async def connected(
    server: HTTPServer, *, small: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Client]:
    """Connect to a server; ``small`` makes a client that takes next to nothing before it reads."""
    loop = asyncio.get_running_loop()
    address = server.server_address
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    try:
        sock.setblocking(False)
        if small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        await loop.sock_connect(sock, address)
        options: dict[str, Any] = {"limit": 1024 if small else BLOCK}
        if tls is not None:
            options |= {"ssl": tls, "server_hostname": "localhost"}
        client = Client(*await asyncio.open_connection(sock=sock, **options))
    except BaseException:  # refused, or cancelled by the end of a test that has taken too long
        sock.close()
        raise
    try:
        yield client
    finally:
        client.writer.transport.abort()


def get(path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    return head("GET", path, *fields, version=version)


def head(method: str, path: str = "/", *fields: str, version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *fields, "", ""]
    return "\r\n".join(lines).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"


def answer_with(text: str) -> App:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(text.encode())

    return app


async def echo_path(request: Request, response: StreamWriter) -> None:
    response.send_head(200)
    response.write(request.path.encode())


async def echo_path_later(request: Request, response: StreamWriter) -> None:
    await asyncio.sleep(0)
    await echo_path(request, response)


async def echo_body(request: Request, response: StreamWriter) -> None:
    content = await request.body.read()
    response.send_head(200)
    response.write(content)


async def ended(client: Client) -> bool:
    """Whether the connection ends, in whatever way, without another byte."""
    try:
        return await client.rest() == b""
    except ConnectionResetError:
        return True


def expect_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """One error has been logged, and it is this one."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.name for record in records] == ["aiohttpd.error"]
    assert records[0].exc_info is not None
    assert text in str(records[0].exc_info[1])
    caplog.clear()


# The client is gone.

WAYS_TO_GO = pytest.mark.parametrize("go", [Client.close, Client.reset], ids=["close", "reset"])

# 100 (Continue), RFC 9110 section 10.1.1.

EXPECT = "Expect: 100-continue"


def post(length: int, *fields: str, version: str = "1.1") -> bytes:
    return head("POST", "/", f"Content-Length: {length}", *fields, version=version)


# Bodies that nobody reads, and clients that do not stop.

FRAMINGS = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])


def framed(content: bytes, chunked: bool) -> tuple[bytes, bytes]:
    """Head and body of a POST."""
    if not chunked:
        return post(len(content)), content
    pieces = (content[at : at + 8000] for at in range(0, len(content), 8000))
    return head("POST", "/", "Transfer-Encoding: chunked"), b"".join(map(chunk, pieces)) + LAST_CHUNK


# Stopping.


class Waiting:
    """An App that waits until it is released."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.released = asyncio.Event()

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        self.begun.set()
        await self.released.wait()
        await echo_path(request, response)


@asynccontextmanager
async def shutting_down(server: HTTPServer, grace: float | None = None) -> AsyncIterator[asyncio.Task[None]]:
    """While the block runs, the server drains; at its end it has stopped."""
    task = asyncio.create_task(server.shutdown(grace))
    await server.shutting_down.wait()
    for _ in range(8):  # in which the listeners are closed
        await asyncio.sleep(0)
    yield task
    async with asyncio.timeout(5):
        await task
