"""WebSockets behind nginx and HAProxy, with the files of examples/deploy."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import websockets

from aiohttpd import Config, HTTPServer

from ..support.fronts import FRONTS, PACKAGES, find
from ..support.waiting import until
from ..support.websocket_clients import Sockets

BEHIND: dict[str, dict[str, Any]] = {
    "nginx": {"trusted_proxies": "unix:"},
    "haproxy": {"proxy_protocol": True, "trusted_proxies": "127.0.0.1", "health": "/healthz"},
}
HOST = {"Host": "site.example"}


@asynccontextmanager
async def behind(name: str, body: Any, **options: Any) -> AsyncIterator[tuple[HTTPServer, int, Sockets]]:
    """A server behind a proxy; gives it, the port of the proxy, and the WebSockets."""
    if find(name) is None:
        pytest.skip(f"{name} is missing: install Debian's package {PACKAGES[name]}")
    sockets = Sockets(body)
    with tempfile.TemporaryDirectory() as folder:
        address: Any = f"{folder}/s" if name == "nginx" else ("127.0.0.1", 0)
        config = Config(access_log=False, timeout_drain_idle=0, **BEHIND[name], **options)
        async with HTTPServer(address, sockets.handler, config=config) as server:
            target = f"unix:{address}" if name == "nginx" else f"127.0.0.1:{server.server_port}"
            async with FRONTS[name](Path(folder), target) as front:
                yield server, front.port, sockets
            await server.shutdown(0)


def dialled(port: int, origin: str | None = None) -> Any:
    return websockets.connect(
        "ws://site.example/", host="127.0.0.1", port=port, origin=origin, max_size=None, proxy=None
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", list(FRONTS))
async def test_messages_pass(name: str) -> None:
    async def body(handler: Any, socket: Any) -> None:
        await socket.send(f"{handler.client_address[0]} {handler.request.host}")
        async for message in socket:
            await socket.send(message)

    async with behind(name, body) as (_, port, sockets):
        for origin in (None, "http://site.example"):
            async with dialled(port, origin) as client:
                assert await client.recv() == "127.0.0.1 site.example"
                for message in ("text", b"bytes", "x" * 1_000_000):
                    await client.send(message)
                    assert await client.recv() == message
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with dialled(port, "http://evil.example"):
                pass
        assert refused.value.response.status_code == 403
        await until(lambda: len(sockets.ends) == 3)
        assert sockets.ends == [None, None, None]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", list(FRONTS))
async def test_the_end_passes(name: str) -> None:
    async def body(handler: Any, socket: Any) -> None:
        async for _ in socket:
            pass

    async with behind(name, body) as (server, port, sockets), dialled(port) as client:
        stop = asyncio.create_task(server.shutdown(5))
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1001
        await stop
        assert sockets.ends == [None]
