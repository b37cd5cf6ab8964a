"""Apps exported as ASGI: WebSockets, by a server in memory."""

import asyncio
from typing import Any

import pytest

import aiohttpd
from aiohttpd.asgi import export

from ..support.asgi import http_scope
from ..support.waiting import BOUND


class OuterSocket:
    """One WebSocket of an ASGI server."""

    def __init__(self, application: Any, *fields: tuple[str, str], **more: Any) -> None:
        scope = http_scope("GET", "/chat?a=b", *fields)
        scope |= {"type": "websocket", "scheme": "ws", "subprotocols": [], **more}
        del scope["method"]
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = 0
        self.error: Exception | None = None  # what ``send`` raises
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.give({"type": "websocket.connect"})
        self.task = asyncio.create_task(application(scope, self._receive, self._send))

    def give(self, message: dict[str, Any]) -> None:
        self._events.put_nowait(message)

    def say(self, message: str | bytes) -> None:
        self.give({"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message})

    def close(self, code: int, reason: str = "") -> None:
        self.give({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        event = await self._events.get()
        if event["type"] == "an error":
            raise RuntimeError("the ASGI server has an error")
        return event

    async def _send(self, message: dict[str, Any]) -> None:
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        await self.sent.put(message)

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(BOUND):
            return await self.sent.get()

    async def ends(self) -> list[dict[str, Any]]:
        """Wait for the application, and give what it has sent that nobody has taken."""
        async with asyncio.timeout(BOUND):
            await self.task
        return [self.sent.get_nowait() for _ in range(self.sent.qsize())]


class Echo(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        async with self.websocket(subprotocols=["chat"]) as socket:
            async for message in socket:
                if message == "bye":
                    await socket.close(4001, "told to")
                elif message == "fail":
                    raise KeyError("fail")
                elif message == "ping":
                    await socket.send(str(await socket.ping() < 10))
                else:
                    await socket.send(message)


ACCEPT = {"type": "websocket.accept", "headers": []}


async def test_messages_both_ways() -> None:
    outer = OuterSocket(export(Echo))
    assert await outer.next() == ACCEPT
    for message in ("", "hello ä", "x" * 200, "y" * 70_000, b"", b"\0\xff" * 40_000):
        outer.say(message)
        answer = await outer.next()
        assert answer == {"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message}
    outer.say("ping")
    assert (await outer.next())["text"] == "True"
    outer.close(1000)
    assert await outer.ends() == []


async def test_subprotocols_and_fields() -> None:
    class Handler(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket(subprotocols=["b", "a"], headers={"X-A": "1"}) as socket:
                await socket.send(f"{socket.subprotocol} {self.path} {self.request.scheme}")

    outer = OuterSocket(export(Handler), subprotocols=["a", "b"])
    assert await outer.next() == {"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-a", b"1")]}
    assert (await outer.next())["text"] == "b /chat?a=b http"
    assert await outer.ends() == [{"type": "websocket.close", "code": 1000, "reason": ""}]


async def test_the_handler_closes() -> None:
    outer = OuterSocket(export(Echo))
    outer.say("bye")
    outer.say("nobody hears that")
    assert await outer.ends() == [ACCEPT, {"type": "websocket.close", "code": 4001, "reason": "told to"}]


async def test_the_handler_fails(caplog: pytest.LogCaptureFixture) -> None:
    outer = OuterSocket(export(Echo))
    outer.say("fail")
    assert await outer.ends() == [ACCEPT, {"type": "websocket.close", "code": 1011, "reason": ""}]
    assert "KeyError" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1006, 4000])
async def test_the_client_closes(code: int) -> None:
    seen: list[Any] = []

    class Handler(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                try:
                    await socket.receive()
                except aiohttpd.ConnectionClosed as error:
                    seen.append((error.code, error.reason))
                    raise

    outer = OuterSocket(export(Handler))
    await outer.next()
    outer.close(code, "why" if code == 4000 else "")
    assert await outer.ends() == []
    assert seen == [(code, "why" if code == 4000 else "")]


@pytest.mark.parametrize("offered", [True, False])
async def test_it_is_denied(offered: bool) -> None:
    class Handler(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_error(404)

    extensions = {"websocket.http.response": {}} if offered else {}
    sent = await OuterSocket(export(Handler), extensions=extensions).ends()
    if offered:
        assert sent[0]["type"] == "websocket.http.response.start"
        assert sent[0]["status"] == 404
        assert sent[-1]["type"] == "websocket.http.response.body"
        assert not sent[-1]["more_body"]
        assert b"404" in sent[1]["body"]
    else:
        assert sent == [{"type": "websocket.close", "code": 1000}]


async def test_a_plain_method_denies_it() -> None:
    class Handler(aiohttpd.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(402)
            self.end_headers()
            self.wfile.write(b"x" * 100_000)

    sent = await OuterSocket(export(Handler), extensions={"websocket.http.response": {}}).ends()
    assert sent[0]["status"] == 402
    assert b"".join(each["body"] for each in sent[1:]) == b"x" * 100_000


async def test_origins() -> None:
    outer = OuterSocket(export(Echo), ("origin", "http://elsewhere.example"))
    assert await outer.ends() == [{"type": "websocket.close", "code": 1000}]


async def test_a_client_that_does_not_read_holds_the_handler_back() -> None:
    sent = 0

    class Handler(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            nonlocal sent
            async with self.websocket() as socket:
                for _ in range(100):
                    await socket.send(b"x" * 65536)
                    sent += 1

    outer = OuterSocket(export(Handler))
    await outer.next()
    outer.gate.clear()
    for _ in range(500):
        await asyncio.sleep(0)
    assert sent < 10
    outer.gate.set()
    messages = await outer.ends()
    assert len(messages) == 101


async def test_a_handler_that_does_not_read_is_not_fed() -> None:
    goes_on = asyncio.Event()

    class Handler(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                await goes_on.wait()
                for _ in range(100):
                    assert await socket.receive() == b"x" * 65536

    outer = OuterSocket(export(Handler))
    for _ in range(100):
        outer.say(b"x" * 65536)
    await outer.next()
    for _ in range(500):
        await asyncio.sleep(0)
    assert outer.asked < 20
    goes_on.set()
    assert await outer.ends() == [{"type": "websocket.close", "code": 1000, "reason": ""}]


async def test_fragments_are_one_message() -> None:
    class Handler(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                await socket.send(["a", "b", "c"])

    sent = await OuterSocket(export(Handler)).ends()
    assert sent[1] == {"type": "websocket.send", "text": "abc"}


async def test_a_message_of_fragments_is_bounded() -> None:
    class Handler(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                await socket.send(b"x" * 1000 for _ in range(100))

    sent = await OuterSocket(export(Handler, limit_websocket_message=10_000)).ends()
    assert [each["type"] for each in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == 1009


async def test_messages_of_the_client_are_bounded() -> None:
    outer = OuterSocket(export(Echo, limit_websocket_message=10_000))
    outer.say("x" * 10_001)
    sent = await outer.ends()
    assert sent[1]["code"] == 1009


async def test_the_server_outside_cancels() -> None:
    outer = OuterSocket(export(Echo))
    await outer.next()
    outer.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await outer.task
    assert len(asyncio.all_tasks()) == 1


class Talker(aiohttpd.BaseHTTPRequestHandler):
    """Sends without an end, and reads nothing."""

    async def do_GET(self) -> None:
        async with self.websocket() as socket:
            while True:
                await socket.send(b"x" * 1000)


@pytest.mark.parametrize("error", [OSError("the client is gone"), RuntimeError("the server has closed it")])
async def test_who_only_sends_learns_by_send_that_the_client_has_gone(error: Exception) -> None:
    outer = OuterSocket(export(Talker))
    for _ in range(100):
        outer.say(b"x" * 65536)  # more than waits for a handler, so that "websocket.disconnect" is not received
    outer.close(1001)
    await outer.next()
    outer.error = error
    if isinstance(error, OSError):
        await outer.ends()
    else:
        with pytest.raises(RuntimeError, match="closed"):
            await outer.ends()
    assert outer.asked < 20


@pytest.mark.parametrize("handler", [Echo, Talker])
async def test_a_receive_that_raises_ends_it(handler: Any, caplog: pytest.LogCaptureFixture) -> None:
    outer = OuterSocket(export(handler))
    await outer.next()
    outer.give({"type": "an error"})
    await outer.ends()
    assert "failed in receive()" in caplog.records[0].message
    caplog.clear()


@pytest.mark.parametrize("code", [0, 999, 1004, 5000, 70_000, -1])
async def test_codes_that_are_none(code: int) -> None:
    outer = OuterSocket(export(Echo))
    await outer.next()
    outer.close(code)
    assert await outer.ends() == []
