"""More rows: WebSockets, by the client of the library ``websockets``."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from .asgi_faults import ROWS as ROWS
from .asgi_rows import NotClaimed, TableServer, path_of, request, row, same
from .clients import MIB
from .websocket_clients import FIELDS


def opened(server: TableServer, path: str, **options: Any) -> AbstractAsyncContextManager[ClientConnection]:
    return connect(f"ws://{server.host}:{server.port}{path}", proxy=None, max_size=None, **options)


async def _refused(server: TableServer, name: str) -> tuple[InvalidStatus, list[Any]]:
    path = path_of(name)
    try:
        async with opened(server, path):
            raise AssertionError("it is opened")
    except InvalidStatus as error:
        return error, await server.seen(path)


async def _end(server: TableServer, name: str) -> tuple[list[Any], int, str]:
    """What a client gets up to the end, and its code and reason."""
    got: list[Any] = []
    async with opened(server, path_of(name)) as client, asyncio.timeout(5):
        try:
            while True:
                got.append(await client.recv())
        except ConnectionClosed:
            return got, client.close_code or 0, client.close_reason or ""


@row("websocket", "its scope, and websocket.connect first")
async def row_socket_scope(server: TableServer) -> None:
    path = path_of("socket_scope")
    async with opened(server, path, subprotocols=["a", "b"]) as client:  # type: ignore[list-item]
        await client.wait_closed()
    scope, first = await server.seen(path)
    same(
        [scope["type"], scope["scheme"], scope["subprotocols"], first],
        ["websocket", "ws", ["a", "b"], "websocket.connect"],
    )
    same([scope["path"], scope.get("query_string", ""), dict(scope["headers"])["upgrade"]], [path, "", "websocket"])


@row("websocket", "its scope has the state of the lifespan, if that of requests has")
async def row_socket_state(server: TableServer) -> None:
    if "state" not in await server.scope():
        raise NotClaimed
    path = path_of("socket_scope")
    async with opened(server, path) as client:
        await client.wait_closed()
    same((await server.seen(path))[0].get("state", {}).get("word"), "begun")


@row("websocket", "accept: subprotocol and headers")
async def row_accept(server: TableServer) -> None:
    async with opened(server, path_of("socket_echoes"), subprotocols=["a", "b"]) as client:  # type: ignore[list-item]
        same(client.subprotocol, "b")
        assert client.response is not None
        same([client.response.headers[name] for name in ("x-accepted", "set-cookie")], ["yes", "a=1"])


@row("websocket", "text and bytes, both ways, in their order; large ones")
async def row_echo(server: TableServer) -> None:
    messages = ["é", b"\0\xff", "", b"", "x" * MIB, bytes(MIB)]
    async with opened(server, path_of("socket_echoes")) as client, asyncio.timeout(10):
        for message in messages:
            await client.send(message)
        same([await client.recv() == message for message in messages], [True] * len(messages))


@row("websocket", "fragments are one message; pings are answered, and not seen")
async def row_fragments(server: TableServer) -> None:
    async with opened(server, path_of("socket_echoes")) as client, asyncio.timeout(5):
        await client.send(["one ", "", "message"])
        same(await client.recv(), "one message")
        await (await client.ping(b"are you there"))
        await client.send(b"next")
        same(await client.recv(), b"next")


@row("websocket", "messages that came before the close are received before it")
async def row_rest_first(server: TableServer) -> None:
    path = path_of("socket_collects")
    async with opened(server, path) as client:
        for text in "abc":
            await client.send(text)
        await client.close(4003)
    same(await server.seen(path), ["a", "b", "c", 4003])


@row("websocket", "the client closes without a code: 1005")
async def row_no_code(server: TableServer) -> None:
    path = path_of("socket_collects")
    async with opened(server, path) as client:
        client.protocol.send_close()
        client.transport.write(b"".join(client.protocol.data_to_send()))
        await client.wait_closed()
    same(await server.seen(path), [1005])


@row("websocket", "the client goes in the handshake: websocket.disconnect")
async def row_leaves_handshake(server: TableServer) -> None:
    path = path_of("socket_waits")
    async with server.connected() as client:
        await client.send(request(path, *FIELDS))
        async with asyncio.timeout(5):
            while await server.seen(path, end=False) != ["websocket.connect"]:
                await asyncio.sleep(0.01)
        client.reset()
        same(await server.seen(path), ["websocket.connect", "websocket.disconnect"])


@row("websocket", "the client closes: code and reason (2.5), then no more; send() raises an OSError")
async def row_client_closes(server: TableServer) -> None:
    path = path_of("socket_echoes")
    async with opened(server, path) as client:
        await client.close(4002, "bye")
    same(await server.seen(path), [[4002, "bye"], "websocket.disconnect", "OSError"])


@row("websocket", "the client is gone without a word: 1006")
async def row_client_vanishes(server: TableServer) -> None:
    path = path_of("socket_echoes")
    async with opened(server, path) as client:
        client.transport.abort()
        same((await server.seen(path, end=False))[0][0], 1006)


@row("websocket", "the application closes: code and reason")
async def row_application_closes(server: TableServer) -> None:
    same(await _end(server, "socket_closes"), (["last"], 4001, "enough"))


@row("websocket", "close before accept: 403")
async def row_denied(server: TableServer) -> None:
    error, _ = await _refused(server, "socket_denied")
    same(error.response.status_code, 403)


@row("extension", "an answer in place of a WebSocket")
async def row_answered(server: TableServer) -> None:
    error, seen = await _refused(server, "socket_answered")
    if seen[:1] == ["not claimed"]:
        raise NotClaimed
    same(
        [error.response.status_code, error.response.headers.get("x-why"), error.response.body],
        [401, "no", b"who is it?"],
    )


@row("beyond", "the application returns: its WebSocket is closed with 1000")
async def row_socket_returns(server: TableServer) -> None:
    same((await _end(server, "socket_returns"))[1], 1000)


@row("beyond", "the application raises: its WebSocket is closed with 1011")
async def row_socket_raises(server: TableServer) -> None:
    same((await _end(server, "socket_raises"))[1], 1011)


@row("beyond", "the application raises, or returns, before it has accepted a WebSocket: 500")
async def row_socket_raises_first(server: TableServer) -> None:
    for name in ("socket_raises_first", "socket_returns_first"):
        error, _ = await _refused(server, name)
        same(error.response.status_code, 500)


@row("order", "messages of a WebSocket that are not due raise")
async def row_socket_wrong(server: TableServer) -> None:
    path = path_of("socket_wrong")
    async with opened(server, path) as client, asyncio.timeout(5):
        same(await client.recv(), "still here")
    same(await server.seen(path), ["raises"] * 4)
