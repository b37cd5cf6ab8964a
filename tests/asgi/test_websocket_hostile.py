"""Hostile WebSockets of an application: each ends by its limit; the application and other clients do not suffer."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aiohttpd.asgi import host
from aiohttpd.testing import running

from ..support.clients import MIB, ended
from ..support.loops import joined, on_both_loops
from ..support.waiting import until
from ..support.websocket_clients import (
    BINARY,
    CONT,
    DEFLATE,
    PING,
    TEXT,
    RawSocket,
    bystander,
    close_frame,
    deflated,
    frame,
    opening,
    raw_socket,
)

Scope = dict[str, Any]


class Echo:
    """Echoes; at /closes it closes at once. Keeps what it has got at the end."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, int]] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/closes":
            await send({"type": "websocket.close", "code": 4001})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        self.ends.append((scope["path"], message["code"]))


async def fragments_without_end(client: RawSocket) -> None:
    await client.send(frame(TEXT, b"x", fin=False))
    while True:
        await client.send(frame(CONT, b"x" * 1000, fin=False) * 10)
        await asyncio.sleep(0)


async def empty_fragments_without_end(client: RawSocket) -> None:
    await client.send(frame(TEXT, fin=False))
    while True:
        await client.send(frame(CONT, fin=False) * 100)
        await asyncio.sleep(0)


def sends(*frames: bytes) -> Callable[[RawSocket], Awaitable[None]]:
    async def attack(client: RawSocket) -> None:
        await client.send(*frames)

    return attack


ATTACKS = {
    "a message that is too large": (fragments_without_end, 1009),
    "fragments without content": (empty_fragments_without_end, 1008),
    "a frame without a mask": (sends(frame(TEXT, b"hello", masked=False)), 1002),
    "text that is none": (sends(frame(TEXT, b"ok\xf0", fin=False), frame(CONT, b"\x9dx")), 1007),
    "a deflate bomb": (sends(frame(BINARY, deflated(bytes(8 * MIB)), rsv=4)), 1009),
    "what cannot be inflated": (sends(frame(BINARY, b"\xff\xff\xff", rsv=4)), 1002),
}


@on_both_loops
@pytest.mark.parametrize("name", ATTACKS)
async def test_attacks(name: str) -> None:
    attack, code = ATTACKS[name]
    app = Echo()
    options = {"limit_websocket_message": MIB, "limit_websocket_frames": 5000}
    async with running(host(app, lifespan="off"), **options) as server, bystander(server):
        async with raw_socket(server, DEFLATE, path="/hostile") as client:
            attacking = asyncio.create_task(attack(client))
            assert await client.closed() == code
            client.client.close()
            await asyncio.gather(attacking, return_exceptions=True)  # a ConnectionError of an endless one
        await until(lambda: app.ends)
    assert app.ends[0] == ("/hostile", code)


@on_both_loops
async def test_pings_whose_answers_nobody_reads() -> None:
    app = Echo()
    async with running(host(app, lifespan="off"), timeout_write=0.5) as server, bystander(server):
        async with joined(server, window=4096) as flood:
            await flood.send(opening(path="/hostile"))
            with pytest.raises(ConnectionError):
                while True:
                    await flood.send(frame(PING, b"x" * 125) * 100)
            await until(lambda: app.ends)
    assert app.ends[0] == ("/hostile", 1006)


@on_both_loops
async def test_a_client_that_does_not_close() -> None:
    app = Echo()
    async with running(host(app, lifespan="off"), websocket_close_timeout=0.2) as server, bystander(server):
        async with raw_socket(server, path="/closes") as client:
            assert await client.closed() == 4001
            assert await ended(client.client)
            await until(lambda: app.ends)


@on_both_loops
async def test_a_client_that_keeps_the_connection() -> None:
    app = Echo()
    async with running(host(app, lifespan="off"), timeout_linger=0.2) as server:
        async with raw_socket(server, path="/hostile") as client:
            await client.send(close_frame(4002) + frame(TEXT, b"late") * 1000)
            assert await client.closed() == 4002
            await until(lambda: not server.connections)
    assert app.ends == [("/hostile", 4002)]
