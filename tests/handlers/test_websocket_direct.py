"""Messages for which the handler waits go to it by the shortest way; the connection stays what it was.

Their order, the bound of the queue, the keep-alive, and the close do not depend on the way that a message takes.
"""

import asyncio
import dataclasses
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from aiohttpd import Config, HTTPServer
from aiohttpd.handlers.websocket.keepalive import Keepalive
from aiohttpd.handlers.websocket.message_queue import MessageQueue

from ..support.asking import QUIET
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.websocket_clients import (
    BINARY,
    CLOSE,
    TEXT,
    RawSocket,
    Sockets,
    close_frame,
    echo,
    frame,
    raw_socket,
    wait_for_end,
)

SIZES = [0, 5, 125, 126, 1024, 16 * 1024, 65535, 65536, 200_000]


# Each kind of transport.


@asynccontextmanager
async def connected_by(
    kind: str, sockets: Sockets, folder: Path, authority: trustme.CA, after: bytes = b""
) -> AsyncIterator[tuple[HTTPServer, RawSocket]]:
    """A WebSocket by its bytes; ``after`` is sent in one piece with the handshake."""
    certificate = trusting = None
    if kind == "tls":
        certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(certificate)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
    address = str(folder / "socket") if kind == "unix" else ("127.0.0.1", 0)
    config = dataclasses.replace(QUIET, timeout_drain_idle=0)
    async with HTTPServer(address, sockets.handler, config=config, ssl=certificate) as server:
        async with raw_socket(server, after=after, tls=trusting) as client:
            yield server, client


@on_both_loops
@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
async def test_each_transport(kind: str, tmp_path: Path, authority: trustme.CA) -> None:
    """A message that comes with the handshake, some by themselves and in pieces, many at once, then the close."""
    sockets = Sockets(echo)
    async with connected_by(kind, sockets, tmp_path, authority, frame(TEXT, b"first")) as (_, client):
        assert await client.message() == b"first"
        for size in SIZES:
            content = b"x" * size
            await client.send(frame(BINARY, content))
            assert await client.message() == content
            whole = frame(TEXT, content)
            await client.send(whole[:3])
            await client.send(whole[3:])
            assert await client.message() == content
        await client.send(b"".join(frame(TEXT, b"%d" % number) for number in range(600)))
        assert [await client.message() for _ in range(600)] == [b"%d" % number for number in range(600)]
        await client.send(close_frame(3000, "bye"))
        assert await client.closed() == 3000
        await until(lambda: sockets.ends)
    assert sockets.last.received == sockets.last.sent == 1 + 2 * len(SIZES) + 600


@on_both_loops
@pytest.mark.parametrize("kind", ["tcp", "unix", "tls"])
async def test_a_drain(kind: str, tmp_path: Path, authority: trustme.CA) -> None:
    """1001 comes after the answers; messages that come before the client's Close frame are still received."""
    sockets = Sockets(echo)
    async with connected_by(kind, sockets, tmp_path, authority) as (server, client):
        await client.send(frame(TEXT, b"before"))
        assert await client.message() == b"before"
        stopping = asyncio.create_task(server.shutdown(5))
        assert await client.closed() == 1001
        await client.send(frame(TEXT, b"late"), close_frame(1001))
        assert await client.client.reader.read() == b""
        client.client.close()
        await stopping
    assert sockets.last.received == 2


@on_both_loops
@pytest.mark.parametrize("kind", ["tcp", "unix"])
async def test_what_follows_the_close_is_no_message(kind: str, tmp_path: Path, authority: trustme.CA) -> None:
    """The connection counts it, and discards a bounded amount; TLS closes both sides at once."""
    sockets = Sockets(echo)
    async with connected_by(kind, sockets, tmp_path, authority) as (server, client):
        await client.send(frame(TEXT, b"first"))
        assert await client.message() == b"first"
        await client.send(close_frame(1000))
        assert await client.closed() == 1000
        await until(lambda: sockets.ends)
        [connection] = server.connections
        with pytest.raises(ConnectionError):
            while True:
                await client.send(frame(BINARY, bytes(65536)))
        await until(lambda: connection not in server.connections)
    assert sockets.last.received == 1


@on_both_loops
async def test_a_half_close(tmp_path: Path, authority: trustme.CA) -> None:
    """The messages before the end of the client's side are answered, as far as they were waited for."""
    sockets = Sockets(wait_for_end)
    async with connected_by("tcp", sockets, tmp_path, authority) as (_, client):
        await client.send(frame(TEXT, b"only"))
        await until(lambda: sockets.last.received == 1)
        client.client.send_eof()
        await until(lambda: sockets.ends)
    [error] = sockets.ends
    assert error is None or getattr(error, "code", None) == 1006


@on_both_loops
async def test_a_client_that_reads_late_gets_all(tmp_path: Path, authority: trustme.CA) -> None:
    """Long frames wait in the transport, not copied behind their headers; back-pressure holds, and nothing is mixed."""
    count, paused = 100, False

    async def body(handler: Any, socket: Any) -> None:
        nonlocal paused
        for number in range(count):
            sending = asyncio.ensure_future(socket.send(bytes([number]) * 65536))
            done, _ = await asyncio.wait([sending], timeout=0)
            paused = paused or not done
            await sending

    sockets = Sockets(body)
    async with HTTPServer(("127.0.0.1", 0), sockets.handler, config=QUIET) as server:
        async with raw_socket(server, small=True) as client:
            await until(lambda: paused)
            assert sockets.last.sent < count
            for number in range(count):
                assert await client.message() == bytes([number]) * 65536
            first, _ = await client.frame()
            assert first == 0x80 | CLOSE
            await client.send(close_frame(1000))


@on_both_loops
async def test_a_closed_websocket_takes_nothing() -> None:
    """Should a transport deliver bytes although it is closing: they are not kept for anybody."""
    sockets = Sockets(wait_for_end)
    async with HTTPServer(("127.0.0.1", 0), sockets.handler, config=QUIET) as server:
        async with raw_socket(server) as client:
            await client.send(frame(TEXT, b"first"), close_frame(1000))
            assert await client.closed() == 1000
            await until(lambda: sockets.ends)
            for late in (frame(TEXT, b"late"), frame(TEXT, b"late")[:4], frame(BINARY, b"late") * 2):
                sockets.last.data_received(late)
            assert sockets.last.received == 1
            assert "wait" not in sockets.last.describe()


# The queue.


def test_the_queue_is_full_as_all_of_its_messages_are() -> None:
    """Also if single messages are put and taken without it."""
    chance = random.Random(17)
    for limit in (0, 300, 1000):
        queue, model = MessageQueue(limit), list[bytes]()
        for _ in range(2000):
            if chance.random() < 0.5:
                message = bytes(chance.choice([0, 1, 44, 45, 400]))
                if not model and chance.random() < 0.5:
                    queue.messages.append(message)
                else:
                    queue.put(message)
                model.append(message)
            elif len(model) == 1 and chance.random() < 0.5:
                assert queue.messages.popleft() == model.pop(0)
            elif model:
                assert queue.take() == model.pop(0)
            assert list(queue.messages) == model
            assert queue.full is (sum(len(message) + 256 for message in model) > limit)


# The keep-alive.


class Watched:
    """What a `Keepalive` uses of a WebSocket."""

    def __init__(self) -> None:
        self.received = self.sent = self.pings = 0
        self.listens = True

    def ping_now(self) -> None:
        self.pings += 1

    def fail(self, code: int, reason: str) -> None:
        raise AssertionError

    def cut(self) -> None:
        raise AssertionError


@pytest.mark.parametrize(("received", "sent", "pings"), [(0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 0)])
def test_no_ping_while_messages_pass_both_ways(received: int, sent: int, pings: int) -> None:
    """They count up to each deadline, and not twice."""
    watched = Watched()
    deadlines = SimpleNamespace(fifo=lambda seconds: {}, arm=lambda fifo, waiting: None)
    context = SimpleNamespace(config=Config(websocket_ping_timeout=0), deadlines=deadlines)
    carrier: Any = SimpleNamespace(context=context, out=SimpleNamespace(paused=False))
    keepalive = Keepalive(watched, carrier)
    for number in range(3):
        watched.received += received
        watched.sent += sent
        keepalive.deadline_expired(60.0 * number)
        assert watched.pings == pings * (number + 1)
    before = watched.pings
    keepalive.deadline_expired(240.0)  # nothing has passed since
    assert watched.pings == before + 1
