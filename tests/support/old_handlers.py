"""Handlers of http.server for tests: what they are made of, and what they have made the server say."""

import asyncio
import contextlib
import http.server
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from .wire import Response, split

BOUND = 15.0  # seconds after which a test has failed, whatever it waits for


class Old(http.server.BaseHTTPRequestHandler):
    """As one finds them, but for the version, which keeps the connection, and the log, which is quiet."""

    protocol_version = "HTTP/1.1"

    def answer(self, content: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.answer(self.path.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


class ByConnection(Old):
    """It sees connections, and not only requests."""

    def handle(self) -> None:
        super().handle()


def writing(*pieces: bytes, base: Any = Old) -> Any:
    """A handler that writes just that, but for ``/next``."""

    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            if self.path == "/next":
                self.answer(b"next")
                return
            for piece in pieces:
                self.wfile.write(piece)

        do_HEAD = do_GET

    return Handler


def loud(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What has been reported."""
    records = [record for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    return [str(record.exc_info[1]) if record.exc_info else record.getMessage() for record in records]


class Client:
    """One connection to a server; it takes no longer than BOUND for anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *parts: bytes) -> None:
        self.writer.writelines(parts)
        await self.writer.drain()

    async def answer(self) -> Response:
        """Read one answer with its content."""
        async with asyncio.timeout(BOUND):
            [response] = split(await self.reader.readuntil(b"\r\n\r\n"), ["HEAD"])
            if response.status >= 200 and response.status != 204:
                length = response["Content-Length"]
                content = self.reader.read() if length is None else self.reader.readexactly(int(length))
                response.body = await content
        return response

    async def ask(self, path: str = "/") -> Response:
        await self.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return await self.answer()

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        async with asyncio.timeout(BOUND):
            return await self.reader.read()


@asynccontextmanager
async def connected(server: Any, context: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    """Connect to a server, in TLS if there is a context."""
    host, port = server.server_address[:2]
    client = Client(*await asyncio.open_connection(host, port, ssl=context))
    try:
        yield client
    finally:
        client.writer.close()
        with contextlib.suppress(OSError):
            await client.writer.wait_closed()
