"""WebSockets of an application, beyond the rows of the table: frameworks, refusals, the end of a server."""

import asyncio
import ssl
import sys
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

import aiohttpd
from aiohttpd.errors import ContractError
from aiohttpd.testing import running

from ..support.clients import connected, get
from ..support.waiting import until

Scope = dict[str, Any]
HANDSHAKE = [
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
]  # fmt: skip


def opened(server: aiohttpd.HTTPServer, path: str = "/", **options: Any) -> connect:
    return connect(server.url.replace("http", "ws", 1) + path, proxy=None, **options)


class Echo:
    """Echoes; keeps what it has seen."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []
        self.ends: list[Any] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        self.scopes.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 404})
            await send({"type": "http.response.body", "body": b"http"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({**message, "type": "websocket.send"})
        self.ends.append(message)


async def echoes(client: ClientConnection, message: str = "hello") -> None:
    await client.send(message)
    assert await client.recv() == message


async def test_tls_and_root_path(authority: trustme.CA) -> None:
    app = Echo()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with running(app, ssl=context, root_path="/api") as server:
        async with opened(server, "/a%20b?c", ssl=trusting) as client:
            await echoes(client)
    [scope] = app.scopes
    assert (scope["scheme"], scope["path"], scope["root_path"]) == ("wss", "/api/a b", "/api")
    assert (scope["raw_path"], scope["query_string"]) == (b"/a%20b", b"c")
    assert set(scope["extensions"]) == {"websocket.http.response", "tls"}
    assert "method" not in scope


async def test_pages_of_other_origins() -> None:
    """They are the application's to refuse, as on other servers of ASGI."""
    async with running(Echo()) as server, opened(server, origin="http://elsewhere.example") as client:
        await echoes(client)


async def test_the_server_stops() -> None:
    app = Echo()
    async with running(app) as server:
        client = await opened(server)
        await echoes(client)
    with pytest.raises(ConnectionClosed):
        await client.recv()
    assert client.close_code == 1001
    assert app.ends == [{"type": "websocket.disconnect", "code": 1001, "reason": ""}]


async def test_behind_a_router_and_with_a_lifespan() -> None:
    class Stateful(Echo):
        async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await receive()
                scope["state"]["word"] = "set"
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
            else:
                await super().__call__(scope, receive, send)

    app = Stateful()
    async with running(aiohttpd.Router({"/shop/": aiohttpd.asgi.host(app)})) as server:
        async with opened(server, "/shop/talk") as client:
            await echoes(client)
    assert (app.scopes[0]["path"], app.scopes[0]["root_path"]) == ("/shop/talk", "/shop")
    assert app.scopes[0]["state"] == {"word": "set"}


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([*HANDSHAKE[:3], "Sec-WebSocket-Key: short"], 400),
        ([*HANDSHAKE[:3]], 400),
        ([*HANDSHAKE[:2], "Sec-WebSocket-Version: 8", HANDSHAKE[3]], 426),
        ([HANDSHAKE[0], "Upgrade: h2c", *HANDSHAKE[2:]], 404),
        ([HANDSHAKE[0], "Upgrade: websocket2", *HANDSHAKE[2:]], 404),  # another protocol, RFC 9110 section 7.8
        (HANDSHAKE[1:], 404),
    ],
)
async def test_what_is_no_handshake(lines: list[str], status: int) -> None:
    app = Echo()
    async with running(app) as server, connected(server) as client:
        await client.send(get("/", *lines))
        assert (await client.answer()).status == status
    assert [scope["type"] for scope in app.scopes] == (["http"] if status == 404 else [])


async def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request is one of HTTP then."""
    monkeypatch.setattr(sys.modules["aiohttpd.asgi.host"], "can_websocket", lambda: False)
    app = Echo()
    async with running(app) as server:
        with pytest.raises(InvalidStatus):
            await opened(server)
    assert app.scopes[0]["type"] == "http"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"type": "websocket.accept", "headers": [("x-a", "b")]}, TypeError),
        ({"type": "websocket.accept", "headers": [(b"sec-websocket-protocol", b"b")]}, ValueError),
        ({"type": "websocket.accept", "headers": [(b"x-a", b"b\r\nx: y")]}, ValueError),
        ({"type": "websocket.accept", "subprotocol": "not offered"}, ValueError),
        ({"type": "websocket.http.response.body", "body": b""}, ContractError),
        ({"type": "http.response.start", "status": 200}, ContractError),
    ],
    ids=range(6),
)
async def test_wrong_answers_to_the_handshake(message: Any, error: type[Exception]) -> None:
    """They raise; the handshake can still be answered."""

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        with pytest.raises(error):
            await send(message)
        await send({"type": "websocket.close"})

    async with running(aiohttpd.asgi.host(app, lifespan="off")) as server:
        with pytest.raises(InvalidStatus) as caught:
            await opened(server)
    assert caught.value.response.status_code in (403, 500)


async def test_a_denial_that_is_not_complete(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 401})

    async with running(aiohttpd.asgi.host(app, lifespan="off")) as server, connected(server) as client:
        await client.send(get("/", *HANDSHAKE))
        assert (await client.answer()).status == 500
    assert "before its last websocket.http.response.body" in caplog.text
    caplog.clear()


async def test_who_leaves_the_handshake() -> None:
    kinds: list[Any] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        kinds.append(await receive())
        with pytest.raises(OSError, match="the client is gone"):
            await send({"type": "websocket.accept"})
        kinds.append("raised")

    async with running(aiohttpd.asgi.host(app, lifespan="off")) as server, connected(server) as client:
        await client.send(get("/", *HANDSHAKE))
        await until(lambda: server.in_flight)
        client.reset()
        await until(lambda: len(kinds) == 2)
    assert kinds[0] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}


@pytest.mark.parametrize("accepts", [True, False])
async def test_another_task_answers_the_handshake(*, accepts: bool) -> None:
    """Who waits in receive() meanwhile gets what comes after."""
    found: list[Any] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await receive()
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await send({"type": "websocket.accept" if accepts else "websocket.close"})
        found.append(await waiting)

    async with running(aiohttpd.asgi.host(app, lifespan="off")) as server:
        if accepts:
            async with opened(server) as client:
                await client.send("hello")
                await until(lambda: found)
            assert found == [{"type": "websocket.receive", "text": "hello"}]
        else:
            with pytest.raises(InvalidStatus):
                await opened(server)
            await until(lambda: found)
            assert found == [{"type": "websocket.disconnect", "code": 1006, "reason": ""}]


async def test_an_exception_for_a_client_that_has_gone_is_none() -> None:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.routing import WebSocketRoute
    from starlette.websockets import WebSocket

    async def talk(websocket: WebSocket) -> None:
        await websocket.accept()
        while True:
            await websocket.send_text((await websocket.receive_text()).upper())

    async with running(Starlette(routes=[WebSocketRoute("/", talk)])) as server:
        for leave in (lambda client: client.close(), lambda client: asyncio.sleep(0, client.transport.abort())):
            async with opened(server) as client:
                await client.send("hello")
                assert await client.recv() == "HELLO"
                await leave(client)
                await until(lambda: not server.in_flight)
