"""Hostile peers of WebSockets: each ends by a limit of its own, and another client does not notice."""

import asyncio
import random
import struct
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiohttpd import ConnectionClosed, WebSocket
from aiohttpd.handlers.websocket.cutter import FrameCutter
from aiohttpd.testing import running

from ..support.clients import MIB, connected, ended
from ..support.loops import joined, on_both_loops
from ..support.waiting import until
from ..support.websocket_clients import (
    BINARY,
    CLOSE,
    CONT,
    DEFLATE,
    FIELDS,
    PING,
    TEXT,
    Sockets,
    bystander,
    close_frame,
    deflated,
    echo,
    frame,
    never,
    opening,
    raw_socket,
    wait_for_end,
)

# Frames that may not be.


@on_both_loops
@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(TEXT, b"hello", masked=False), 1002),
        (frame(3, b""), 1002),
        (frame(11, b""), 1002),
        (frame(TEXT, b"a", rsv=4), 1002),
        (frame(TEXT, b"a", rsv=1), 1002),
        (frame(CONT, b"a"), 1002),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002),
        (frame(PING, b"a", fin=False), 1002),
        (frame(PING, b"x" * 126), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, struct.pack("!H", 1005)), 1002),
        (frame(CLOSE, struct.pack("!H", 1000) + b"\xff"), 1007),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xff") + close_frame(1000), 1007),
        (frame(TEXT, b"ok", fin=False) + frame(CONT, b"\xed\xa0\x80"), 1007),
        (b"\x82\xff" + (2**63 - 1).to_bytes(8) + b"\0\0\0\0", 1009),
        (frame(TEXT, b"x" * 1025), 1009),
        (frame(TEXT, b"x" * 1000, fin=False) + frame(CONT, b"x" * 25), 1009),
        (frame(TEXT, b"", fin=False) + frame(CONT, b"", fin=False) * 10, 1008),
    ],
)
async def test_each_ends_by_its_code(sent: bytes, code: int) -> None:
    sockets = Sockets(wait_for_end)
    async with running(sockets.handler, limit_websocket_message=1024, limit_websocket_frames=10) as server:
        async with raw_socket(server) as client:
            await client.send(sent)
            assert await client.closed() == code
            assert await client.client.rest() == b""
            await until(lambda: sockets.ends)
        async with raw_socket(server, after=sent) as client:  # and in one piece with the handshake
            assert await client.closed() == code
        await until(lambda: len(sockets.ends) == 2)
    for error in sockets.ends:
        assert isinstance(error, ConnectionClosed)
        assert (error.code, error.by_client) == (code, False)


TEXTS = ["κόσμε", "a𝄞b", "\ud7ff\ue000", "x" * 10 + "é"]
NO_TEXTS = [b"\xce\xba\xe1\xbd\xb9\xcf\x83\xed\xa0\x80", b"a\xf4\x90\x80\x80", b"\xc0\xaf", b"ok\xf0\x9d\x84", b"\xfe"]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
async def test_text_may_be_cut_anywhere(text: str) -> None:
    data = text.encode()
    async with running(Sockets(echo).handler) as server, raw_socket(server) as client:
        for cut in range(len(data) + 1):
            whole = frame(TEXT, data[:cut], fin=False) + frame(PING) + frame(CONT, data[cut:])
            await client.send(whole)
            assert (await client.frame())[1] == b""  # the pong
            assert await client.message() == data
        for byte in whole:  # and the bytes of the stream, too
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.frame())[1] == b""
        assert await client.message() == data


@pytest.mark.parametrize("data", NO_TEXTS, ids=ascii)
async def test_no_text_wherever_it_is_cut(data: bytes) -> None:
    async with running(Sockets(echo).handler) as server, bystander(server):
        for cut in range(len(data) + 1):
            async with raw_socket(server) as client:
                await client.send(frame(TEXT, data[:cut], fin=False), frame(CONT, data[cut:]))
                assert await client.closed() == 1007


async def test_no_text_is_told_as_soon_as_it_is_known() -> None:
    async with running(Sockets(echo).handler) as server, raw_socket(server) as client:
        await client.send(frame(TEXT, b"\xce\xba\xed\xa0\x80", fin=False))
        assert await client.closed() == 1007


# Compression.


@on_both_loops
async def test_a_bomb_is_not_inflated() -> None:
    bomb = deflated(bytes(64 * MIB))
    sockets = Sockets(wait_for_end)
    handler = Sockets(echo).handler
    async with running(handler) as control, running(sockets.handler, limit_websocket_message=MIB) as server:
        async with raw_socket(server, DEFLATE) as client, bystander(control):
            tracemalloc.start()
            try:
                await client.send(frame(BINARY, bomb, rsv=4))
                assert await client.closed() == 1009
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert peak < 16 * MIB
        async with raw_socket(server, DEFLATE) as client:  # and in fragments, each of which is small
            pieces = [bomb[at : at + 512] for at in range(0, len(bomb), 512)]
            await client.send(
                frame(BINARY, pieces[0], rsv=4, fin=False), *(frame(CONT, p, fin=False) for p in pieces[1:])
            )
            assert await client.closed() == 1009


async def test_small_bombs_wait_in_the_network() -> None:
    """Each message is within the limit, and 1,000 times as large as its frame: few are taken while nobody reads."""
    one = frame(BINARY, deflated(bytes(MIB)), rsv=4)
    sockets = Sockets(never)
    async with running(sockets.handler, timeout_grace=0) as server, raw_socket(server, DEFLATE) as client:
        client.client.writer.write(one * 2000)
        await until(lambda: sockets.opened and sockets.last.received)
        for _ in range(100):
            await asyncio.sleep(0)
        assert sockets.last.received < 20
        assert not sockets.last.listens


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x00" * 20, b"\x07"])
async def test_what_cannot_be_inflated(data: bytes) -> None:
    async with running(Sockets(echo).handler) as server, raw_socket(server, DEFLATE) as client:
        await client.send(frame(BINARY, data, rsv=4))
        assert await client.closed() == 1002


async def test_each_message_may_end_the_compressed_stream() -> None:
    """The example of RFC 7692 section 7.2.3.4: a block with BFINAL, and one byte more."""
    received: list[str] = []

    async def collect(handler: Any, socket: Any) -> None:
        received.extend([message async for message in socket])

    async with running(Sockets(collect).handler) as server, raw_socket(server, DEFLATE) as client:
        await client.send(*[frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=4)] * 3, close_frame(1000))
        assert await client.closed() == 1000
    assert received == ["Hello"] * 3


# Floods.


@on_both_loops
async def test_a_flood_of_tiny_frames() -> None:
    sockets = Sockets(echo)
    async with running(sockets.handler) as server, raw_socket(server) as client, bystander(server):
        sent = frame(TEXT, b"x", fin=False) + frame(CONT, b"x", fin=False) * 50_000 + frame(CONT, b"x")
        await client.send(sent)
        assert await client.message() == b"x" * 50_002


@on_both_loops
async def test_fragments_without_end() -> None:
    sockets = Sockets(wait_for_end)
    handler = Sockets(echo).handler
    async with running(handler) as control, running(sockets.handler, limit_websocket_message=MIB) as server:
        async with raw_socket(server) as client, bystander(control):
            await client.send(frame(TEXT, b"x" * 1000, fin=False))
            with pytest.raises(ConnectionError):
                while True:
                    await client.send(frame(CONT, b"x" * 1000, fin=False) * 10)
            await until(lambda: sockets.ends)
    assert getattr(sockets.ends[0], "code", None) == 1009


@on_both_loops
async def test_a_flood_of_pings_that_nobody_reads_the_answers_of() -> None:
    sockets = Sockets(echo)
    async with running(sockets.handler, timeout_write=0.5) as server, bystander(server):
        async with joined(server, window=4096) as flood:
            await flood.send(opening())
            await until(lambda: len(sockets.opened) == 2)
            with pytest.raises(ConnectionError):
                while True:
                    await flood.send(frame(PING, b"x" * 125) * 100)
            await until(lambda: any(end is not None for end in sockets.ends))
    assert [end.code for end in sockets.ends if isinstance(end, ConnectionClosed)] == [1006]


@on_both_loops
async def test_a_flood_of_pings_that_is_read() -> None:
    """Each is answered, and between them others have their turn."""
    sockets = Sockets(echo)
    async with running(sockets.handler) as server, raw_socket(server) as client, bystander(server):
        sending = asyncio.create_task(client.send(frame(PING) * 30_000))
        for _ in range(30_000):
            await client.client.reader.readexactly(2)
        await sending


@on_both_loops
async def test_a_handler_that_does_not_receive() -> None:
    """Its client is not read from; the rest waits in the network."""
    sockets = Sockets(never)
    async with running(sockets.handler, timeout_grace=0) as server, raw_socket(server) as client:
        client.client.writer.write(frame(BINARY, b"x" * 1000) * 20_000)
        await until(lambda: sockets.opened and not sockets.last.listens)
        for _ in range(100):
            await asyncio.sleep(0)
        assert sockets.last.received < 2 * 256 * 1024 / 1000
        assert server.connections


@on_both_loops
async def test_messages_of_a_slow_handler_are_not_lost() -> None:
    received: list[bytes] = []

    async def body(handler: Any, socket: Any) -> None:
        async for message in socket:
            received.append(message)
            await asyncio.sleep(0)

    sockets = Sockets(body)
    messages = [b"%d" % number * 100 for number in range(5000)]
    async with running(sockets.handler, limit_websocket_queue=4096) as server, raw_socket(server) as client:
        await client.send(*(frame(BINARY, message) for message in messages), close_frame(1000))
        client.client.send_eof()
        assert await client.closed() == 1000
        await until(lambda: sockets.ends)
    assert received == messages


@on_both_loops
async def test_a_client_that_never_reads() -> None:
    """What is sent waits for it, and it is cut off by timeout_write."""
    sent = 0

    async def body(handler: Any, socket: Any) -> None:
        nonlocal sent
        while True:
            await socket.send(b"x" * 65536)
            sent += 1

    sockets = Sockets(body)
    async with running(sockets.handler, timeout_write=0.5) as server, joined(server, window=4096) as client:
        await client.send(opening())
        await until(lambda: sockets.ends)
        assert sent * 65536 < 8 * MIB  # buffers of the kernel
    [error] = sockets.ends
    assert isinstance(error, ConnectionClosed)
    assert error.code == 1006


@on_both_loops
async def test_nothing_is_received_from_a_client_that_never_reads() -> None:
    """FAULT: a task waited for messages, so each was received; answers by another task could wait without a bound."""
    opened: list[WebSocket] = []

    async def body(handler: Any, socket: WebSocket) -> None:
        opened.append(socket)
        answering = asyncio.create_task(socket.send(bytes(32 * MIB)))  # more than the buffers of the kernel
        try:
            async for _ in socket:
                pass
        finally:
            answering.cancel()

    async with running(Sockets(body).handler) as server, joined(server, window=4096) as client:
        await client.send(opening())
        await until(lambda: any(connection.out.paused for connection in server.connections))
        assert opened[0].listens
        await client.send(frame(TEXT, b"1"))
        await until(lambda: not opened[0].listens)


@on_both_loops
async def test_senders_of_many_tasks_wait_for_a_slow_client() -> None:
    async def body(handler: Any, socket: Any) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(40):
                group.create_task(socket.send(b"x" * MIB))

    sockets = Sockets(body)
    async with running(sockets.handler, limit_unsent=4 * MIB) as server, raw_socket(server, small=True) as client:
        for _ in range(40):
            assert len(await client.message()) == MIB
        await client.send(close_frame(1000))


# The end.


@on_both_loops
async def test_a_closer_that_does_not_close() -> None:
    async def body(handler: Any, socket: Any) -> None:
        await socket.close(1000)

    sockets = Sockets(body)
    async with running(sockets.handler, websocket_close_timeout=0.2) as server, raw_socket(server) as client:
        assert await client.closed() == 1000
        await client.send(frame(TEXT, b"no answer to that"))
        assert await ended(client.client)
        await until(lambda: sockets.ends)
    assert sockets.ends == [None]


@on_both_loops
async def test_a_closer_that_keeps_the_connection() -> None:
    """Both have sent a Close frame, and the client stays: timeout_linger."""
    sockets = Sockets(wait_for_end)
    async with running(sockets.handler, timeout_linger=0.2) as server, raw_socket(server) as client:
        await client.send(close_frame(1000))
        assert await client.closed() == 1000
        assert await client.client.rest() == b""
        await until(lambda: not server.connections)


@on_both_loops
async def test_what_comes_after_the_close_is_dropped() -> None:
    sockets = Sockets(wait_for_end)
    async with running(sockets.handler) as server, raw_socket(server) as client:
        await client.send(close_frame(1000) + frame(TEXT, b"late") * 10_000)
        assert await client.closed() == 1000
        await until(lambda: sockets.ends)
    assert sockets.last.received == 0


@on_both_loops
async def test_handshakes_that_do_not_end() -> None:
    """They end by timeout_head; others come and go meanwhile."""
    sockets = Sockets(echo)
    async with running(sockets.handler, timeout_head=3.0) as server:
        unfinished = opening()[:-2]
        peers = []
        try:
            for _ in range(300):
                peers.append(await asyncio.open_connection(*server.server_address))
                peers[-1][1].write(unfinished)
            async with bystander(server):
                for reader, _ in peers:
                    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        finally:
            for _, writer in peers:
                writer.transport.abort()
        assert len(sockets.opened) == 1


@on_both_loops
async def test_garbage_after_the_handshake() -> None:
    random.seed(17)
    sockets = Sockets(echo)
    async with running(sockets.handler, limit_websocket_message=1000, websocket_close_timeout=0.2) as server:
        for _ in range(50):
            async with connected(server) as client:
                await client.send(opening(DEFLATE) + random.randbytes(random.randrange(1, 3000)))
                client.send_eof()
                await client.answer()
        await until(lambda: len(sockets.ends) == len(sockets.opened) and not server.connections)
    assert len(sockets.opened) == 50


# Where frames end.


@given(
    st.lists(st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 70000]), min_size=1, max_size=30),
    st.lists(st.integers(1, 200_000), max_size=30),
    st.integers(1, 20),
    st.booleans(),
)
def test_slices_have_so_much_work(sizes: list[int], cuts: list[int], work: int, compressed: bool) -> None:
    """However the bytes come: nothing is lost, and what is cut off holds at most so many frames."""
    frames = [frame(BINARY, bytes(size)) for size in sizes]
    stream = b"".join(frames)
    ends = []
    for one in frames:
        ends.append((ends[-1] if ends else 0) + len(one))
    cutter = FrameCutter(compressed=compressed)
    at, pieces = 0, []
    for cut in [*cuts, len(stream)]:
        piece, stream = stream[:cut], stream[cut:]
        if piece:
            pieces.append(piece)
    for piece in pieces:
        while piece:
            size = cutter.cut(piece, work)
            assert 0 < size <= len(piece)
            whole = [end for end in ends if at < end <= at + size]
            assert len(whole) <= work + 1  # one had begun before
            if size < len(piece):
                assert at + size in ends
            at += size
            piece = piece[size:]
            assert cutter.between is (at in ends)
    assert at == ends[-1]


def test_fields_of_a_handshake() -> None:
    """The bytes of the tests are those of RFC 6455 section 1.3."""
    assert "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" in FIELDS
    assert frame(TEXT, b"Hello", masked=False) == bytes.fromhex("810548656c6c6f")
