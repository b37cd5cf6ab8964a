"""When the server closes a connection, the client gets all that was sent before (RFC 9112 section 9.6)."""

import asyncio
import socket
import sys

import pytest

from aiohttpd import BaseHTTPRequestHandler, HTTPServer, Request, StreamWriter
from aiohttpd.engine.connection import ConnectionState

from ..support.loops import on_both_loops
from ..support.waiting import until

SIZE = 20_000


def request(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path.encode()


@on_both_loops
@pytest.mark.parametrize("way", ["Connection: close", "close_connection", "abort"])
async def test_a_client_that_sends_more(way: str) -> None:
    """It has not received all, and sends a request that nobody reads: a close at once would answer that by RST."""
    done: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(SIZE))
            if self.path == "/last" and way == "Connection: close":
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"x" * SIZE)
            if self.path == "/last" and way == "close_connection":
                self.close_connection = True
            elif self.path == "/last" and way == "abort":
                self.wfile.abort()
            done.append(self.path)

    loop = asyncio.get_running_loop()
    async with HTTPServer(("127.0.0.1", 0), Handler) as server:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", server.server_port))
            await loop.sock_sendall(client, request("/first") + request("/last"))
            await until(lambda: "/last" in done)
            await loop.sock_sendall(client, request("/more"))
            received = b""
            while data := await loop.sock_recv(client, 65536):
                received += data
    complete = 1 if way == "abort" else 2
    assert received.count(b"x" * SIZE) == complete and done == ["/first", "/last"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what the client has acknowledged")
@on_both_loops
async def test_a_client_that_reads_late() -> None:
    """Much is left in the kernel: the connection stays, so that the rate of the client is measured."""
    size = 500_000

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(bytes(size))

    loop = asyncio.get_running_loop()
    async with HTTPServer(("127.0.0.1", 0), app) as server:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", server.server_port))
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            await until(lambda: any(connection.out.total > size for connection in server.connections))
            [connection] = server.connections
            assert connection.out.lags
            assert connection.state is ConnectionState.LINGERING
            received = 0
            while data := await loop.sock_recv(client, 65536):
                received += len(data)
            assert received > size
            assert connection in server.connections  # until the client closes its side
        await until(lambda: not server.connections)
