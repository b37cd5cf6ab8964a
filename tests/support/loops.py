"""Tests on both event loops, and a client that reads only when it is told to."""

import asyncio
import functools
import inspect
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from aiohttpd import HTTPServer

from .waiting import BOUND

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def on_both_loops(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make a test of a coroutine function that takes fixtures; it is run on either loop, within BOUND."""

    def run(*own: object, loop_factory: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(BOUND):
                await test(*own, **fixtures)

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(bounded())

    functools.update_wrapper(run, test)
    del run.__wrapped__  # type: ignore[attr-defined]
    parameter = inspect.Parameter("loop_factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.signature(test)
    parameters = [*signature.parameters.values(), parameter]  # after self
    run.__signature__ = signature.replace(parameters=parameters, return_annotation=None)  # type: ignore[attr-defined]
    return pytest.mark.parametrize("loop_factory", LOOPS.values(), ids=LOOPS)(run)


class Peer:
    """A client by its socket: it reads only when it is told to."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self, most: int = 65536) -> bytes:
        """Some bytes; nothing at the end; raises ConnectionResetError after an RST."""
        return await asyncio.get_running_loop().sock_recv(self.sock, most)

    async def rest(self) -> bytes:
        """All up to the end."""
        data = bytearray()
        while part := await self.receive():
            data += part
        return bytes(data)

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


@asynccontextmanager
async def joined(server: HTTPServer, *, window: int | None = None) -> AsyncIterator[Peer]:
    """Connect to a server; ``window`` is about what the client's kernel takes before the client reads."""
    sock = socket.socket()
    try:
        if window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, server.server_address)
        yield Peer(sock)
    finally:
        sock.close()


def kernel_keeps(port: int) -> list[int]:
    """Bytes in the queues of the kernel for peers of a port, of sockets that no process has."""
    found = []
    with open("/proc/net/tcp") as file:
        for line in list(file)[1:]:
            _, local, _, state, queues, *_, inode = line.split()[:10]
            if int(local.rsplit(":", 1)[1], 16) == port and inode == "0" and state != "06":  # TIME_WAIT
                found.append(int(queues.split(":")[0], 16))
    return found


def trusting(certificate: str) -> ssl.SSLContext:
    """The context of a client that trusts a certificate."""
    return ssl.create_default_context(cafile=certificate)
