"""A client that goes on to send when it has been refused: what it was answered arrives, and there is a bound to it."""

import asyncio
import socket
import ssl

import pytest

from aiohttpd import BaseHTTPRequestHandler, HTTPServer, Request, StreamWriter
from aiohttpd.testing import running

from ..support.loops import on_both_loops
from ..support.waiting import until

KIB, MIB = 1024, 1024 * 1024
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
BAD = b"GET / HTTP/1.1\r\nHost : x\r\n\r\n"
LARGE = b"POST /unread HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n"
LAST = b"POST /last HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n" + bytes(200_000)


class Handler(BaseHTTPRequestHandler):
    async def do_POST(self) -> None:
        if self.path == "/last":
            self.close_connection = True
        self.send_text("answered")


def connect(server: HTTPServer, trust: ssl.SSLContext) -> ssl.SSLSocket:
    sock = socket.create_connection(server.server_address, timeout=20)
    return trust.wrap_socket(sock, server_hostname="localhost")


async def heard(server: HTTPServer) -> None:
    """The server has read what the client has sent."""
    await until(lambda: not kernel_holds(server.server_port), 10)


def kernel_holds(port: int) -> int:
    """Bytes that wait in the kernel, either way, on connections of a port."""
    held = 0
    with open("/proc/net/tcp") as file:
        for line in list(file)[1:]:
            _, local, remote, state, queues, *_ = line.split()
            if f"{port:04X}" in (local.rsplit(":", 1)[1], remote.rsplit(":", 1)[1]) and state != "0A":
                held += int(queues.split(":")[0], 16)  # to be sent: not taken by the other kernel
                if local.rsplit(":", 1)[1] == f"{port:04X}":
                    held += int(queues.split(":")[1], 16)
    return held


class TestWhatWasAnsweredArrives:
    @VERSIONS
    @pytest.mark.parametrize("request_", [BAD, LARGE, LAST], ids=["refused", "unread body", "last"])
    @on_both_loops
    async def test_it(self, context: ssl.SSLContext, trust: ssl.SSLContext, request_: bytes) -> None:
        async with running(Handler, ssl=context, timeout_linger=20.0, access_log=False) as server:
            client = await asyncio.to_thread(connect, server, trust)
            with client:
                await asyncio.to_thread(client.sendall, request_)
                for _ in range(8):  # after the end as well as before
                    await heard(server)
                    await asyncio.to_thread(client.sendall, bytes(64 * KIB))
                await heard(server)

                def rest() -> bytes:
                    return b"".join(iter(lambda: client.recv(65536), b""))

                answer = await asyncio.to_thread(rest)
                assert answer.startswith(b"HTTP/1.1 400" if request_ is BAD else b"HTTP/1.1 200")
                assert answer.endswith(b"field name and colon\n" if request_ is BAD else b"answered")
                client.close()
                await until(lambda: not server.connections)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3], ids=lambda v: v.name)
@on_both_loops
async def test_who_never_stops_is_cut(context: ssl.SSLContext, trust: ssl.SSLContext) -> None:
    """By what it sends, long before the deadline."""
    async with running(Handler, ssl=context, timeout_linger=600.0, access_log=False) as server:
        client = await asyncio.to_thread(connect, server, trust)

        def send() -> int:
            sent = 0
            try:
                client.sendall(BAD)
                while sent < 64 * MIB:
                    client.sendall(bytes(64 * KIB))
                    sent += 64 * KIB
            except OSError:
                pass
            return sent

        with client:
            assert await asyncio.to_thread(send) < 64 * MIB
            await until(lambda: not server.connections)


@on_both_loops
async def test_an_end_that_comes_after_the_client() -> None:
    """A handler cuts the connection when its client has gone: there is nothing to be told to the kernel any more."""
    errors: list[BaseException] = []
    cut = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(b"x" * 10)
        response.flush()
        await response.wait_closed()
        try:
            response.abort()
        except BaseException as error:
            errors.append(error)
        cut.set()

    async with running(app, access_log=False) as server:
        with socket.create_connection(server.server_address) as client:
            await asyncio.to_thread(client.sendall, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await asyncio.to_thread(client.recv, 1000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await cut.wait()
    assert not errors
