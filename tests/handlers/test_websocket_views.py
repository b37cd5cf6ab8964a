"""Large messages: the transport reads them into a buffer of all connections, from which they are unmasked."""

import asyncio
import ssl
from typing import Any

import pytest
import trustme

from aiohttpd import BaseHTTPRequestHandler
from aiohttpd.handlers.websocket.plain import large_message
from aiohttpd.net import transport as transports
from aiohttpd.testing import running

from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.websocket_clients import BINARY, PING, PONG, TEXT, RawSocket, close_frame, frame, raw_socket

KIB = 1024
LARGE = 40 * KIB  # with its header it is one segment


class Echo(BaseHTTPRequestHandler):
    """Sends each message back."""

    sockets: list[Any] = []

    async def do_GET(self) -> None:
        async with self.websocket() as ws:
            self.sockets.append(ws)
            async for message in ws:
                await ws.send(message)


@pytest.fixture(autouse=True)
def viewed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the views that protocols have been given."""
    sizes: list[int] = []
    given = transports._DiversionOfViews.buffer_updated

    def counted(self: Any, nbytes: int) -> None:
        sizes.append(nbytes)
        given(self, nbytes)

    monkeypatch.setattr(transports._DiversionOfViews, "buffer_updated", counted)
    monkeypatch.setattr(Echo, "sockets", [])
    return sizes


def content(number: int, size: int) -> bytes:
    """Text that differs in each message."""
    return (b"%d:" % number + b"0123456789abcdef" * (size // 16 + 1))[:size]


async def echoes(socket: RawSocket, number: int, size: int) -> None:
    data = content(number, size)
    await socket.send(frame(TEXT if number % 2 else BINARY, data))
    assert await socket.message() == data


async def become_large(socket: RawSocket, viewed: list[int]) -> None:
    """Send large messages until they are read as views: a message that has arrived in pieces changes nothing."""
    for number in range(100):
        before = len(viewed)
        await echoes(socket, number, LARGE)
        if len(viewed) > before:
            return
    pytest.fail("no view has been given")


@on_both_loops
async def test_messages_of_all_sizes(viewed: list[int]) -> None:
    async with running(Echo) as server, raw_socket(server) as socket:
        await echoes(socket, 0, 100)
        assert not viewed
        await become_large(socket, viewed)
        sizes = (LARGE, 100, 0, 125, 126, 1000, 16 * KIB, 33 * KIB, 65535, 65536, 200 * KIB, 300 * KIB, 1024 * KIB, 7)
        for number, size in enumerate(sizes):
            await echoes(socket, number, size)
            await echoes(socket, number + 1, size)
        await socket.send(close_frame(1000))
        assert await socket.closed() == 1000


@on_both_loops
async def test_clients_that_share_the_buffer(viewed: list[int]) -> None:
    """Messages that arrive in one turn of the loop, and in pieces between those of others."""
    async with running(Echo) as server, raw_socket(server) as one, raw_socket(server) as two:
        await become_large(one, viewed)
        await become_large(two, viewed)
        for number in range(3, 20):
            first, second = content(number, LARGE), content(number + 100, LARGE + number)
            parts = frame(TEXT, first)
            cut = number * 2000
            await one.send(parts[:cut])
            await two.send(frame(TEXT, second))
            await one.send(parts[cut:])
            assert await two.message() == second
            assert await one.message() == first
        assert len(viewed) > 30


@on_both_loops
async def test_messages_that_wait(viewed: list[int]) -> None:
    """Several in one read, behind a handler that is busy: what waits is no view."""
    begin = asyncio.Event()

    class Busy(Echo):
        async def do_GET(self) -> None:
            async with self.websocket() as ws:
                async for message in ws:
                    if message == "wait":
                        await begin.wait()
                    await ws.send(message)

    async with running(Busy) as server, raw_socket(server) as socket, raw_socket(server) as other:
        await become_large(socket, viewed)
        await become_large(other, viewed)
        for each in (socket, other):
            await each.send(frame(TEXT, b"wait"))
        messages = [content(number, 40 * KIB) for number in range(8)]
        sending = asyncio.create_task(socket.send(b"".join(frame(TEXT, message) for message in messages)))
        before = len(viewed)
        await until(lambda: len(viewed) > before)
        await other.send(frame(BINARY, b"\xff" * LARGE))  # overwrites the buffer
        await until(lambda: len(viewed) > before + 1)
        begin.set()
        for each in (socket, other):
            assert await each.message() == b"wait"
        for message in messages:
            assert await socket.message() == message
        assert await other.message() == b"\xff" * LARGE
        await sending


@on_both_loops
async def test_other_frames_in_between(viewed: list[int]) -> None:
    async with running(Echo) as server, raw_socket(server) as socket:
        await become_large(socket, viewed)
        await socket.send(frame(TEXT, content(1, LARGE)) + frame(PING, b"here"))
        got = [await socket.frame() for _ in range(2)]
        assert sorted(got)[1] == (0x80 | PONG, b"here")
        await socket.send(frame(TEXT, b"a" * LARGE, fin=False))
        await socket.send(frame(0, b"b" * LARGE))
        assert await socket.message() == b"a" * LARGE + b"b" * LARGE
        await socket.send(frame(TEXT, b"a" * LARGE + b"\xff"))
        assert await socket.closed() == 1007


@on_both_loops
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"a" * 65536 + b"\xff"), 1007),
        (frame(BINARY, bytes(100_001)), 1009),
        (frame(BINARY, bytes(70_000), masked=False), 1002),
        (frame(3, bytes(70_000)), 1002),
        (frame(PING, bytes(70_000)), 1002),
        (frame(0, bytes(70_000)), 1002),
    ],
)
async def test_large_frames_that_are_invalid(viewed: list[int], sent: bytes, code: int) -> None:
    class Limited(Echo):
        max_message_size = 100_000

    async with running(Limited) as server, raw_socket(server) as socket:
        await become_large(socket, viewed)
        await echoes(socket, 1, 100_000)
        await socket.send(sent)
        assert await socket.closed() == code


def test_what_is_exactly_one_large_message() -> None:
    content = b"0123456789" * 7000
    for opcode in (TEXT, BINARY):
        assert large_message(memoryview(frame(opcode, content)), len(content)) == content
    whole = frame(TEXT, content)
    for other in (b"", whole[:13], whole[:-1], whole + b"x", frame(PING, content), frame(TEXT, content, fin=False)):
        assert large_message(memoryview(other), len(content)) is None
    assert large_message(frame(TEXT, content, masked=False), len(content)) is None
    assert large_message(frame(TEXT, content), len(content) - 1) is None
    assert large_message(frame(TEXT, b"short"), len(content)) is None


@on_both_loops
async def test_bytes_after_the_end_are_discarded(viewed: list[int]) -> None:
    """The lingering close gets bytes, not views."""
    async with running(Echo) as server, raw_socket(server) as socket:
        await become_large(socket, viewed)
        before = len(viewed)
        await socket.send(frame(TEXT, b"x", masked=False))
        assert await socket.closed() == 1002
        after = len(viewed)
        assert after > before
        await socket.send(bytes(200 * KIB))
        socket.client.send_eof()
        assert not await socket.client.reader.read()
        assert len(viewed) == after


@on_both_loops
async def test_the_client_closes_its_side(viewed: list[int]) -> None:
    async with running(Echo) as server, raw_socket(server) as socket:
        await become_large(socket, viewed)
        socket.client.send_eof()
        await until(lambda: Echo.sockets[0].closed is not None)
        assert Echo.sockets[0].closed.code == 1006
        assert not await socket.client.reader.read()


@on_both_loops
async def test_tls_reads_bytes(viewed: list[int], authority: trustme.CA) -> None:
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    async with running(Echo, ssl=ours) as server, raw_socket(server, tls=theirs) as socket:
        for number in range(4):
            await echoes(socket, number, LARGE)
    assert not viewed
