"""WebSockets in handlers: messages both ways, the handshake, subprotocols, origins, pings and the end."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
import websockets

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, ConnectionClosed, ContractError, HTTPError
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, answer_to
from ..support.clients import MIB, connected, expect_logged, get, head
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.websocket_clients import (
    BINARY,
    CONT,
    DEFLATE,
    FIELDS,
    KEY,
    PING,
    PONG,
    TEXT,
    Sockets,
    close_frame,
    dial,
    echo,
    frame,
    opening,
    raw_socket,
    wait_for_end,
)

MESSAGES: list[Any] = ["", "text", "snow ☃ and 𝄞", b"", b"\0\xff", "long" * 50_000, b"x" * (3 * MIB)]


# Messages.


@on_both_loops
@pytest.mark.parametrize("compression", ["deflate", None])
async def test_echo(compression: str | None) -> None:
    async with running(Sockets(echo).handler) as server, dial(server, compression=compression) as client:
        for message in MESSAGES:
            await client.send(message)
            assert await client.recv() == message
            fragments = [message[:3], message[3:]]
            await client.send(fragments)
            assert await client.recv() == message


@on_both_loops
async def test_echo_by_tls(authority: trustme.CA) -> None:
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(certificate)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with running(Sockets(echo).handler, ssl=certificate) as server, dial(server, ssl=trusting) as client:
        for message in MESSAGES:
            await client.send(message)
            assert await client.recv() == message


@on_both_loops
async def test_echo_by_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    async with aiohttpd.HTTPServer(path, Sockets(echo).handler, config=QUIET):
        async with websockets.unix_connect(path, "ws://localhost/") as client:
            await client.send("text")
            assert await client.recv() == "text"


@on_both_loops
async def test_fragments_are_sent_as_they_are_given() -> None:
    asked = asyncio.Event()

    async def pieces() -> Any:
        yield "one"
        await asked.wait()
        yield "two"

    async def body(handler: Any, socket: Any) -> None:
        await asyncio.gather(socket.send(pieces()), socket.send("whole"))  # the second waits for the first
        await socket.send([b"a", bytearray(b"b"), memoryview(b"c")])
        await socket.send([])  # no message
        await socket.receive()

    async with running(Sockets(body).handler) as server, raw_socket(server) as client:
        assert await client.frame() == (TEXT, b"one")
        asked.set()
        assert [await client.frame() for _ in range(3)] == [(CONT, b"two"), (0x80 | CONT, b""), (0x80 | TEXT, b"whole")]
        assert [await client.frame() for _ in range(3)] == [(BINARY, b"a"), (CONT, b"b"), (CONT, b"c")]
        assert await client.frame() == (0x80 | CONT, b"")
        await client.send(close_frame(1000))
        assert await client.closed() == 1000


@pytest.mark.parametrize("message", [None, 1, {"a": 1}, ["a", b"b"], [b"a", "b"], [1]], ids=repr)
async def test_what_is_no_message(message: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def body(handler: Any, socket: Any) -> None:
        await socket.send(message)

    async with running(Sockets(body).handler) as server, raw_socket(server) as client:
        assert await client.closed() == 1011
        await client.send(close_frame(1011))
        await until(lambda: caplog.records)
        assert isinstance(caplog.records[0].exc_info[1], TypeError)  # type: ignore[index]
        caplog.clear()


async def test_a_message_that_is_not_completed_is_the_last(caplog: pytest.LogCaptureFixture) -> None:
    async def pieces() -> Any:
        yield "one"
        raise LookupError("no more")

    async def body(handler: Any, socket: Any) -> None:
        with pytest.raises(LookupError):
            await socket.send(pieces())
        with pytest.raises(ConnectionClosed):
            await socket.send("another")

    sockets = Sockets(body)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        assert await client.frame() == (TEXT, b"one")
        assert await client.closed() == 1011
        await until(lambda: sockets.ends)
    assert sockets.ends == [None]


async def test_one_task_receives() -> None:
    async def body(handler: Any, socket: Any) -> None:
        waits = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        with pytest.raises(ContractError, match="another task"):
            await socket.receive()
        await socket.send(await waits)
        waits = asyncio.create_task(socket.receive())
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.wait([waits])
        await socket.send(await socket.receive())  # the one that was cancelled has taken nothing

    async with running(Sockets(body).handler) as server, dial(server) as client:
        for text in ("one", "two"):
            await client.send(text)
            assert await client.recv() == text


# The handshake.


async def refusal(*fields: str, request: bytes | None = None, **options: Any) -> Any:
    sockets = Sockets(echo, **options)
    answer = await answer_to(sockets.handler, get("/", *fields) if request is None else request)
    assert not sockets.opened
    return answer


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([], 426),
        (FIELDS[1:], 426),
        (["Connection: Upgrade", "Upgrade: h2c", *FIELDS[2:]], 426),
        ([*FIELDS[:2], "Sec-WebSocket-Version: 8", FIELDS[3]], 426),
        ([*FIELDS[:2], FIELDS[3]], 426),
        ([*FIELDS, "Sec-WebSocket-Version: 13"], 426),
        (FIELDS[:3], 400),
        ([*FIELDS, f"Sec-WebSocket-Key: {KEY}"], 400),
        ([*FIELDS[:3], "Sec-WebSocket-Key: c2hvcnQ="], 400),
        ([*FIELDS[:3], "Sec-WebSocket-Key: ????????????????????????"], 400),
        ([*FIELDS[:3], "Sec-WebSocket-Key: é"], 400),
        ([*FIELDS, "Sec-WebSocket-Protocol: a, a"], 400),
        ([*FIELDS, "Sec-WebSocket-Protocol: a b"], 400),
        ([*FIELDS, "Origin: https://evil.example"], 403),
        ([*FIELDS, "Origin: null"], 403),
        ([*FIELDS, "Origin: http://localhost", "Origin: https://evil.example"], 403),
        ([*FIELDS, "Origin: http://localhost:81"], 403),
        ([*FIELDS, "Origin: http://localhost.evil.example"], 403),
    ],
)
async def test_refused_handshakes(fields: list[str], status: int) -> None:
    answer = await refusal(*fields)
    assert answer.status == status
    if status == 426:
        assert answer["Upgrade"] == "websocket"
        assert answer["Connection"] == "Upgrade"
    if "Sec-WebSocket-Version: 8" in fields:
        assert answer["Sec-WebSocket-Version"] == "13"


async def test_refused_requests() -> None:
    assert (await refusal(request=get("/", *FIELDS, version="1.0"))).status == 426
    assert (await refusal(request=get("/", *FIELDS, "Content-Length: 4") + b"body")).status == 400
    assert (await refusal(request=head("HEAD", "/", *FIELDS))).status == 426

    class Post(Sockets(echo).handler):  # type: ignore[misc]
        async def do_POST(self) -> None:
            await self.do_GET()

    answer = await answer_to(Post, head("POST", "/", *FIELDS))
    assert (answer.status, answer["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        (["Origin: http://localhost"], {}),
        (["Origin: http://localhost:80"], {}),
        (["Origin: https://localhost"], {}),  # TLS ends at a proxy
        (["Origin: https://other.example"], {"origins": ["https://other.example"]}),
        (["Origin: https://other.example"], {"origins": "https://other.example"}),
        (["Origin: https://any.example"], {"origins": ["*"]}),
        (["Origin: http://localhost"], {"origins": ["https://other.example"]}),
    ],
)
async def test_origins_that_may(fields: list[str], options: dict[str, Any]) -> None:
    async with running(Sockets(echo, **options).handler) as server, raw_socket(server, *fields) as client:
        await client.send(frame(TEXT, b"hello"))
        assert await client.message() == b"hello"


async def test_origins_of_a_class() -> None:
    handler = Sockets(echo).handler
    handler.websocket_origins = ["https://other.example"]
    async with running(handler) as server, raw_socket(server, "Origin: https://other.example"):
        pass


@pytest.mark.parametrize(
    ("offered", "spoken", "chosen"),
    [
        (["chat"], ["chat"], "chat"),
        (["a", "b"], ["b", "a"], "b"),
        (["a"], ["b"], None),
        ([], ["b"], None),
        (["a"], [], None),
        (["a"], "a", "a"),
    ],
)
async def test_subprotocols(offered: list[str], spoken: list[str], chosen: str | None) -> None:
    sockets = Sockets(echo, subprotocols=spoken)
    async with running(sockets.handler) as server, dial(server, subprotocols=offered or None) as client:
        assert client.subprotocol == chosen
        assert sockets.last.subprotocol == chosen


async def test_the_head_of_the_answer() -> None:
    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.set_cookie("seen", "1")
            async with self.websocket(headers={"X-More": "2"}) as socket:
                assert socket.request is self.request

    stream = await exchange(Handler, opening(DEFLATE), config=QUIET)
    lines = stream.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 101 Switching Protocols"
    assert b"Connection: Upgrade" in lines
    assert b"Upgrade: websocket" in lines
    assert b"X-More: 2" in lines
    assert any(line.startswith(b"Set-Cookie: seen=1") for line in lines)
    assert any(line.startswith(b"Sec-WebSocket-Extensions: permessage-deflate") for line in lines)
    assert not any(line.lower().startswith((b"content-length", b"transfer-encoding")) for line in lines)


@pytest.mark.parametrize(
    "offer",
    ["permessage-deflate; a_b", "permessage-deflate; server_max_window_bits=7", "x; y; =", "permessage-deflate;;", "é"],
)
async def test_offers_that_are_not_taken(offer: str) -> None:
    async with running(Sockets(echo).handler) as server:
        async with connected(server) as client:
            await client.send(opening(f"Sec-WebSocket-Extensions: {offer}"))
            answer = await client.answer()
            assert (answer.status, answer["Sec-WebSocket-Extensions"]) == (101, None)


async def test_compression_can_be_left_out() -> None:
    async with running(Sockets(echo, compression=False).handler) as server, dial(server) as client:
        assert not client.protocol.extensions


async def test_an_answer_that_has_been_begun(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_text("begun")
            async with self.websocket():
                pass

    answer = await answer_to(Handler, opening())
    assert answer.status == 500
    expect_logged(caplog, "has been begun")


async def test_http_ends(caplog: pytest.LogCaptureFixture) -> None:
    async def body(handler: Any, socket: Any) -> None:
        for call in (
            lambda: handler.send_text("a"),
            lambda: handler.wfile.write(b"b"),
            lambda: handler.send_error(404),
        ):
            with pytest.raises(ContractError):
                call()
        raise HTTPError(404)

    async with running(Sockets(body).handler) as server, raw_socket(server) as client:
        assert await client.closed() == 1011


def test_a_plain_method_says_what_to_write() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                with self.websocket():  # type: ignore[attr-defined]
                    pass
            except ContractError as error:
                self.send_text(str(error))

    answer = asyncio.run(answer_to(Handler, opening()))
    assert b"async def do_GET" in answer.body


async def _awaited(handler: Any) -> None:
    await handler.websocket()


async def _sent(handler: Any) -> None:
    await handler.websocket().send("x")


async def _received(handler: Any) -> None:
    async for _ in handler.websocket():
        pass


@pytest.mark.parametrize("use", [_awaited, _sent, _received])
async def test_a_websocket_outside_of_a_block_says_what_to_write(
    use: Callable[[Any], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            await use(self)

    assert (await answer_to(Handler, opening())).status == 500
    expect_logged(caplog, "write 'async with self.websocket() as socket:' in an 'async def do_GET'")


# Pings.


@on_both_loops
async def test_ping() -> None:
    latencies: list[float] = []

    async def body(handler: Any, socket: Any) -> None:
        first, second = socket.ping(b"1"), socket.ping(b"2")
        latencies.extend(await asyncio.gather(first, second, socket.ping()))
        with pytest.raises(ValueError, match="125"):
            await socket.ping(b"x" * 126)
        await socket.receive()

    async with running(Sockets(body).handler) as server, raw_socket(server) as client:
        pings = [await client.frame() for _ in range(3)]
        assert [data for _, data in pings[:2]] == [b"1", b"2"]
        assert {first for first, _ in pings} == {0x80 | PING}
        await client.send(frame(PONG, b"unasked"), frame(PONG, b"2"), frame(PONG, pings[2][1]))
        await until(lambda: len(latencies) == 3)
        assert all(0 < latency < 30 for latency in latencies)
        await client.send(frame(PING, b"ours"))
        assert await client.frame() == (0x80 | PONG, b"ours")


async def test_a_ping_ends_with_the_connection() -> None:
    async def body(handler: Any, socket: Any) -> None:
        await socket.ping()

    sockets = Sockets(body)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        await client.frame()
        await client.send(close_frame(1001))
        await until(lambda: sockets.ends)
    assert isinstance(sockets.ends[0], ConnectionClosed)
    assert sockets.ends[0].code == 1001


@on_both_loops
async def test_silent_clients_are_pinged() -> None:
    sockets = Sockets(wait_for_end)
    async with running(sockets.handler, websocket_ping_interval=0.1, websocket_ping_timeout=0.1) as server:
        async with raw_socket(server) as silent, raw_socket(server) as alive:
            for _ in range(5):  # one that answers lives on, though the other has its end meanwhile
                assert await alive.frame() == (0x80 | PING, b"")
                await alive.send(frame(PONG))
            assert await silent.frame() == (0x80 | PING, b"")
            assert await silent.closed() == 1011
            assert [getattr(end, "code", None) for end in sockets.ends] == [1011]
            assert await silent.client.rest() == b""


async def test_pings_can_be_off() -> None:
    async with running(Sockets(echo).handler, websocket_ping_interval=0) as server, raw_socket(server):
        [connection] = server.connections
        assert connection.upgraded is not None
        assert not any(connection.context.deadlines.fifo(seconds) for seconds in (20.0, 0))


# The end.


@on_both_loops
@pytest.mark.parametrize(
    ("sent", "code", "reason"),
    [(close_frame(1000), 1000, ""), (close_frame(4001, "why"), 4001, "why"), (frame(8), 1005, "")],
)
async def test_the_client_closes(sent: bytes, code: int, reason: str) -> None:
    sockets = Sockets(wait_for_end)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        await client.send(sent)
        assert await client.closed() == code
        assert await client.client.rest() == b""
        await until(lambda: sockets.ends)
    [error] = sockets.ends
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.reason, error.by_client) == (code, reason, True)
    assert sockets.last.closed.code == code


async def test_a_close_within_a_message() -> None:
    """Control frames may come between fragments, RFC 6455 section 5.4."""
    sockets = Sockets(wait_for_end)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        await client.send(frame(TEXT, b"begun", fin=False), close_frame(1000), frame(CONT, b"late"))
        assert await client.closed() == 1000
        await until(lambda: sockets.ends)
    assert [getattr(end, "code", None) for end in sockets.ends] == [1000]


@on_both_loops
async def test_an_iteration_ends_with_a_normal_close() -> None:
    sockets = Sockets(echo)
    async with running(sockets.handler) as server:
        for code in (1000, 1001, 1005, 4000):
            async with raw_socket(server) as client:
                await client.send(frame(TEXT, b"last"))
                assert await client.message() == b"last"
                await client.send(frame(8) if code == 1005 else close_frame(code))
                assert await client.closed() == code
        await until(lambda: len(sockets.ends) == 4)
    assert [end if end is None else end.code for end in sockets.ends] == [None, None, None, 4000]  # type: ignore[attr-defined]


@on_both_loops
@pytest.mark.parametrize("how", ["close", "reset", "send_eof"])
async def test_the_client_goes_without_a_word(how: str) -> None:
    sockets = Sockets(echo)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        getattr(client.client, how)()
        await until(lambda: sockets.ends)
    [error] = sockets.ends
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.by_client, error.normal) == (1006, True, False)


@on_both_loops
async def test_the_handler_closes() -> None:
    async def body(handler: Any, socket: Any) -> None:
        await socket.receive()
        await socket.close(4000, "enough")
        await socket.close()  # harmless
        with pytest.raises(ConnectionClosed) as caught:
            await socket.receive()
        assert (caught.value.code, caught.value.reason, caught.value.by_client) == (4000, "enough", False)
        with pytest.raises(ConnectionClosed):
            await socket.send("more")

    sockets = Sockets(body)
    async with running(sockets.handler) as server, dial(server) as client:
        await client.send("go on")
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await client.recv()
        await until(lambda: sockets.ends)
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4000, "enough")
    assert sockets.ends == [None]


@pytest.mark.parametrize(
    ("code", "reason"), [(999, ""), (1004, ""), (1005, ""), (1006, ""), (5000, ""), (1000, "x" * 124)]
)
async def test_what_no_close_frame_says(code: int, reason: str) -> None:
    async def body(handler: Any, socket: Any) -> None:
        with pytest.raises(ValueError, match="Close frame"):
            await socket.close(code, reason)

    async with running(Sockets(body).handler) as server, raw_socket(server) as client:
        assert await client.closed() == 1000  # as the block ends


@on_both_loops
async def test_a_handler_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    async def body(handler: Any, socket: Any) -> None:
        raise LookupError("not there")

    async with running(Sockets(body).handler) as server, dial(server) as client:
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1011
        await until(lambda: caplog.records)
        expect_logged(caplog, "not there")


@on_both_loops
async def test_a_handler_that_is_cancelled() -> None:
    async def body(handler: Any, socket: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        await socket.receive()

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            try:
                async with asyncio.timeout(0), self.websocket() as socket:
                    await socket.receive()
            except TimeoutError:
                pass

    async with running(Handler) as server, raw_socket(server) as client:
        assert await client.closed() == 1001


@on_both_loops
async def test_groups_of_tasks_end_quietly() -> None:
    async def body(handler: Any, socket: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(socket.receive())
            group.create_task(socket.ping())

    sockets = Sockets(body)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        await client.send(close_frame(1000))
        await until(lambda: sockets.ends)
    assert isinstance(sockets.ends[0], BaseExceptionGroup)


@on_both_loops
async def test_a_stopping_server_says_so() -> None:
    async def body(handler: Any, socket: Any) -> None:
        async for _ in socket:
            pass

    sockets = Sockets(body)
    async with running(sockets.handler) as server:
        async with dial(server) as client, raw_socket(server) as raw:
            stop = asyncio.create_task(server.shutdown(5))
            with pytest.raises(websockets.ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
            assert await raw.closed() == 1001
            # A message that has been sent before the client knew is still received, and then the end.
            await raw.send(frame(TEXT, b"late"), close_frame(1001))
            raw.client.close()
            await stop
    assert sockets.ends == [None, None]
    assert sorted(socket.received for socket in sockets.opened) == [0, 1]


async def test_handlers_have_the_grace_to_end() -> None:
    done = asyncio.Event()

    async def body(handler: Any, socket: Any) -> None:
        with pytest.raises(ConnectionClosed) as caught:
            await socket.receive()
        assert (caught.value.code, caught.value.by_client) == (1001, False)
        await asyncio.sleep(0.05)
        done.set()

    async with running(Sockets(body).handler) as server, dial(server):
        await server.shutdown(5)
        assert done.is_set()


async def test_handlers_without_an_end_are_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    async def body(handler: Any, socket: Any) -> None:
        await asyncio.Event().wait()

    sockets = Sockets(body)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        await asyncio.create_task(server.shutdown(0.2))
        assert await client.closed() == 1001
    assert isinstance(sockets.ends[0], asyncio.CancelledError)
    assert "is cancelled" in caplog.text
    caplog.clear()


async def test_cancel_on_disconnect() -> None:
    async def body(handler: Any, socket: Any) -> None:
        await asyncio.Event().wait()

    sockets = Sockets(body)

    class Cancelled(sockets.handler):  # type: ignore[misc, name-defined]
        cancel_on_disconnect = True

    async with running(Cancelled) as server:
        async with raw_socket(server) as client:
            await client.send(close_frame(1000))
            await client.closed()
        await until(lambda: sockets.ends)
    assert isinstance(sockets.ends[0], asyncio.CancelledError)
