"""Messages that do not pass through the core of `websockets`: the same as those that it would have parsed.

The library parses each stream of bytes, and so does our WebSocket, in pieces: messages, answers and the code of the
close are equal, whatever the frames are and wherever the stream is cut.
"""

import asyncio
import codecs
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from aiohttpd import BaseHTTPRequestHandler, Config, ConnectionClosed
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare
from aiohttpd.handlers.websocket.plain import PartialFrame, plain_frame, unmasked
from aiohttpd.handlers.websocket.websocket import WebSocket
from aiohttpd.testing import MemoryTransport

from ..support.waiting import turns
from ..support.websocket_clients import (
    BINARY,
    CLOSE,
    CONT,
    DEFLATE,
    PING,
    PONG,
    TEXT,
    close_frame,
    frame,
    opening,
)  # fmt: skip

LIMIT = 70_000  # bytes of a message
SIZES = [0, 1, 2, 125, 126, 127, 1023, 1024, 4096, 65535, 65536, LIMIT]


class Outcome(NamedTuple):
    """What a stream has led to.

    Attributes:
        messages: the messages.
        pongs: the content of the Pong frames.
        code: the code of the Close frame that was sent; None without one.
    """

    messages: list[str | bytes]
    pongs: list[bytes]
    code: int | None


def of_the_library(stream: bytes, *, deflate: bool = False) -> Outcome:
    """What the library makes of the bytes."""
    core = ServerProtocol(state=OPEN, max_size=LIMIT)
    if deflate:
        core.extensions = [PerMessageDeflate(False, False, 15, 12)]
    core.receive_data(stream)
    messages: list[str | bytes] = []
    content, text, decoder = bytearray(), False, codecs.getincrementaldecoder("utf-8")()
    pongs: list[bytes] = []
    for event in core.events_received():
        assert isinstance(event, Frame)
        if event.opcode is Opcode.PING:
            pongs.append(bytes(event.data))
        if event.opcode not in (TEXT, BINARY, CONT):
            continue
        if event.opcode is not Opcode.CONT:
            content, text, decoder = bytearray(), event.opcode is Opcode.TEXT, codecs.getincrementaldecoder("utf-8")()
        content += event.data
        if text:
            try:
                decoder.decode(bytes(event.data), event.fin)
            except UnicodeDecodeError:  # the library leaves that to its users
                return Outcome(messages, pongs, 1007)
        if event.fin:
            messages.append(content.decode() if text else bytes(content))
    sent = core.close_sent
    return Outcome(messages, pongs, None if sent is None else int(sent.code))


async def of_ours(pieces: list[bytes], *, with_the_handshake: bool = False, deflate: bool = False) -> Outcome:
    """What our WebSocket makes of the pieces; the loop turns after each of them.

    Every other one is fed by a callback of the loop, as by a transport, so that the handler is resumed within it.
    """
    messages: list[str | bytes] = []

    class Handler(BaseHTTPRequestHandler):
        max_message_size = LIMIT

        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                try:
                    while True:
                        messages.append(await socket.receive())
                except ConnectionClosed:
                    return

    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(Handler), Config(access_log=False), loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    head = opening(DEFLATE) if deflate else opening()
    if with_the_handshake and pieces:
        head, pieces = head + pieces[0], pieces[1:]
    transport.feed(head)
    for number, piece in enumerate(pieces):
        if number % 2:
            transport.feed(piece)
        else:
            loop.call_soon(transport.feed, piece)
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    output = bytes(transport.output).partition(b"\r\n\r\n")[2]
    transport.abort()
    await asyncio.sleep(0)
    context.deadlines.close()
    pongs, code = [], None
    while output:
        first, length = output[0], output[1]
        assert first in (0x80 | PONG, 0x80 | CLOSE)
        assert length <= 125
        content, output = output[2 : 2 + length], output[2 + length :]
        if first == 0x80 | PONG:
            pongs.append(content)
        else:
            code = int.from_bytes(content[:2]) if content else 1005
    return Outcome(messages, pongs, code)


def in_pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    """The stream, cut at positions in thousandths of its length."""
    places = sorted({len(stream) * cut // 1000 for cut in cuts} | {0, len(stream)})
    return [stream[start:end] for start, end in pairwise(places)]


def longer_header(opcode: int, data: bytes, size: int) -> bytes:
    """A frame whose length has more bytes than it needs."""
    short = frame(opcode, data)
    assert len(data) < 126
    return short[:1] + (b"\xfe" if size == 2 else b"\xff") + len(data).to_bytes(size) + short[2:]


texts = st.sampled_from(["", "a", "é", "€" * 41, "😀" * 32, "x" * 125, "x" * 126, "ü" * 700, "y" * 65536])
usual = st.one_of(
    st.builds(lambda text: frame(TEXT, text.encode()), texts),
    st.builds(lambda size: frame(BINARY, (bytes(range(256)) * (size // 256 + 1))[:size]), st.sampled_from(SIZES)),
    st.builds(lambda data: frame(PING, data), st.binary(max_size=125)),
    st.just(frame(PONG)),
    st.just(frame(TEXT, b"\xe2\x82", fin=False) + frame(PING, b"!") + frame(CONT, b"\xac")),
    st.just(frame(BINARY, b"a", fin=False) + frame(CONT, b"b", fin=False) + frame(CONT, b"")),
    st.builds(longer_header, st.sampled_from([TEXT, BINARY]), st.just(b"abc"), st.sampled_from([2, 8])),
)
HOSTILE = {
    "not masked": frame(TEXT, b"abc", masked=False),
    "not masked, long": frame(BINARY, bytes(300), masked=False),
    "RSV1": frame(TEXT, b"abc", rsv=4),
    "RSV2": frame(BINARY, b"", rsv=2),
    "reserved opcode": frame(3, b"abc"),
    "reserved control opcode": frame(11, b"abc"),
    "too long": frame(BINARY, bytes(LIMIT + 1)),
    "2**63": b"\x82\xff" + (1 << 63).to_bytes(8) + b"mask" + b"content",
    "2**64 - 1": b"\x81\xff" + b"\xff" * 8 + b"mask" + b"content",
    "not UTF-8": frame(TEXT, b"abc\xff"),
    "UTF-8, not complete": frame(TEXT, "€".encode()[:2]),
    "surrogate": frame(TEXT, b"\xed\xa0\x80"),
    "continuation of nothing": frame(CONT, b"abc"),
    "message in a message": frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
    "message in a long message": frame(BINARY, bytes(70), fin=False) + frame(BINARY, bytes(65536)),
    "fragmented ping": frame(PING, b"a", fin=False),
    "long ping": frame(PING, bytes(126)),
    "close": close_frame(1000, "bye"),
    "close without a code": frame(CLOSE),
    "close of one byte": frame(CLOSE, b"\x03"),
    "fragments, too long": frame(BINARY, bytes(LIMIT), fin=False) + frame(CONT, b"!"),
}


@given(st.lists(usual, max_size=6), st.lists(st.integers(0, 1000), max_size=6), st.booleans())
@example([frame(BINARY, bytes(65536))], [999], False)
@example([frame(BINARY, bytes(65536))], [1, 500, 900], True)
@example([frame(BINARY, bytes(65536)), frame(PING, b"?"), frame(TEXT, b"a" * 2000)] * 2, [1, 150, 300, 550, 800], False)
@example([frame(TEXT, b"a")] * 600, [], False)
def test_streams(frames: list[bytes], cuts: list[int], early: bool) -> None:
    stream = b"".join(frames)
    outcome = asyncio.run(of_ours(in_pieces(stream, cuts), with_the_handshake=early))
    assert outcome == of_the_library(stream)


@given(
    st.lists(usual, max_size=3),
    st.sampled_from(sorted(HOSTILE)),
    st.lists(usual, max_size=2),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_streams_with_an_error_or_a_close(before: list[bytes], kind: str, after: list[bytes], cuts: list[int]) -> None:
    """What follows is dropped, the handler gets what was before."""
    stream = b"".join(before) + HOSTILE[kind]
    outcome = asyncio.run(of_ours(in_pieces(stream + b"".join(after), cuts)))
    expected = of_the_library(stream)
    assert (outcome.messages, outcome.code) == (expected.messages, expected.code)
    assert outcome.code is not None
    if outcome.code == 1007:  # those of the same piece are dropped: the connection has failed
        assert outcome.pongs == expected.pongs[: len(outcome.pongs)]
    else:
        assert outcome.pongs == expected.pongs


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_each_error_cut_at_each_byte_of_its_header(kind: str) -> None:
    stream = frame(TEXT, b"first") + HOSTILE[kind]
    expected = of_the_library(stream)

    async def each_cut() -> None:
        for cut in range(1, min(len(stream), 32)):
            assert await of_ours([stream[:cut], stream[cut:]]) == expected, cut

    asyncio.run(each_cut())


@pytest.mark.parametrize(
    "stream",
    [
        frame(TEXT, "aé€😀".encode()) + frame(BINARY, b"\xff" * 3) + frame(TEXT, b""),
        frame(TEXT, "€".encode() * 43),
        frame(BINARY, bytes(126)) + frame(PING, b"?") + frame(TEXT, b"x"),
    ],
)
def test_streams_cut_at_each_byte(stream: bytes) -> None:
    expected = of_the_library(stream)

    async def each_cut() -> None:
        for cut in range(1, len(stream)):
            assert await of_ours([stream[:cut], stream[cut:]]) == expected, cut
        assert await of_ours([stream[at : at + 1] for at in range(len(stream))]) == expected

    asyncio.run(each_cut())


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_each_error_for_which_the_handler_waits(kind: str) -> None:
    """It arrives by itself, as most messages do."""
    frames = [frame(TEXT, b"first"), frame(BINARY, bytes(125)), HOSTILE[kind]]
    assert asyncio.run(of_ours(frames)) == of_the_library(b"".join(frames))


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_each_size_for_which_the_handler_waits(opcode: int) -> None:
    frames = [frame(opcode, b"x" * size) for size in (*range(135), *SIZES)]
    assert asyncio.run(of_ours(frames)) == of_the_library(b"".join(frames))


@pytest.mark.parametrize("first", [b"\x82", b"\x02", b"\x89"])
def test_content_that_looks_like_frames(first: bytes) -> None:
    """A piece that is a whole message by its form is none after a frame, or a message, that is not complete."""
    looks = b"\x81\x83\0\0\0\0abc" * 3
    stream = first + b"\x9b\0\0\0\0" + looks  # with a mask of zeros the content is as it was
    if first == b"\x02":
        stream += frame(CONT, b"end")
    stream += frame(TEXT, b"after")
    expected = of_the_library(stream)

    async def each_cut() -> None:
        for cut in range(1, len(stream) - 1):
            for second in {len(stream) - 1, min(cut + 9, len(stream) - 1)}:
                pieces = [stream[:cut], stream[cut:second], stream[second:]]
                assert await of_ours([piece for piece in pieces if piece]) == expected, (cut, second)

    asyncio.run(each_cut())


@given(
    st.lists(st.tuples(texts, st.booleans()), max_size=8),
    st.sampled_from([b"", frame(TEXT, b"\xff" * 9, rsv=4), frame(BINARY, b"", rsv=2), frame(TEXT, b"\xff")]),
    st.lists(st.integers(0, 1000), max_size=6),
)
def test_compressed_and_other_messages_in_turns(messages: list[tuple[str, bool]], last: bytes, cuts: list[int]) -> None:
    """The context of the compression is that of the compressed messages alone."""
    compressor = zlib.compressobj(wbits=-12)
    stream = b""
    for text, compressed in messages:
        data = text.encode()
        if compressed:
            data = (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        stream += frame(TEXT, data, rsv=4 if compressed else 0)
    stream += last
    outcome = asyncio.run(of_ours(in_pieces(stream, cuts), deflate=True))
    assert outcome == of_the_library(stream, deflate=True)
    assert outcome.messages == [text for text, _ in messages]
    assert (outcome.code is None) is (not last)


# The functions.


@given(st.binary(max_size=20), st.integers(0, 20), st.integers(0, 300))
def test_any_bytes(data: bytes, at: int, limit: int) -> None:
    """What is found lies after the header, and is no longer than the limit."""
    start, end = plain_frame(data, at, limit)
    if start:
        assert at + 6 <= start <= min(len(data), at + 14)
        assert 0 <= end - start <= limit
        assert data[at] in (0x81, 0x82)
        assert data[at + 1] & 0x80
    else:
        assert end == 0


@given(st.binary(max_size=3000), st.binary(max_size=5))
def test_masks(content: bytes, before: bytes) -> None:
    data = before + frame(BINARY, content)
    start, end = plain_frame(data, len(before), 3000)
    assert end == len(data)
    assert unmasked(data, start, end) == content


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=2, max_size=10), st.integers(0, 40))
def test_partial_frames(pieces: list[bytes], more: int) -> None:
    """The frame is there with its last byte; what has arrived after it follows."""
    total = sum(map(len, pieces))
    size = max(len(pieces[0]) + 1, total - min(more, len(pieces[-1]) - 1))
    partial = PartialFrame(pieces[0], size - len(pieces[0]))
    got: Any = None
    seen = len(pieces[0])
    for piece in pieces[1:]:
        got = partial.add(piece)
        seen += len(piece)
        assert (got is None) is (seen < size)
        if got is not None:
            break
    assert got is None or got == b"".join(pieces)[:seen]


def test_a_dribbled_frame_takes_no_more_memory_than_its_bytes() -> None:
    """16 MiB in pieces of two bytes would be 450 MB as a list of them."""
    partial = PartialFrame(b"\x82\xff" + bytes(12), 200_000)
    tracemalloc.start()
    try:
        for number in range(99_999):
            assert partial.add(number.to_bytes(4)[-2:]) is None
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 400_000


# Sending.


@asynccontextmanager
async def echo_in_memory(
    pause: asyncio.Event | None = None, *, deflate: bool = False
) -> AsyncIterator[tuple[MemoryTransport, WebSocket]]:
    """An open WebSocket of an echo, which waits for an event after each answer."""
    opened: list[WebSocket] = []

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.websocket() as socket:
                opened.append(socket)
                async for message in socket:
                    await socket.send(message)
                    if pause is not None:
                        await pause.wait()

    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(Handler), Config(access_log=False), loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    transport.feed(opening(DEFLATE) if deflate else opening())
    await turns()
    transport.output.clear()
    transport.writes = 0
    yield transport, opened[0]
    transport.abort()
    await turns()
    context.deadlines.close()


async def test_answers_to_a_burst_are_sent_together() -> None:
    async with echo_in_memory() as (transport, _):
        transport.feed(b"".join(frame(TEXT, b"%d" % number) for number in range(10)))
        await turns()
        assert transport.output == b"".join(b"\x81\x01%d" % number for number in range(10))
        assert transport.writes == 1
        transport.feed(frame(TEXT, b"x"))
        await turns()
        assert transport.writes == 2


async def test_compressed_answers_are_sent_together() -> None:
    async with echo_in_memory(deflate=True) as (transport, socket):
        transport.feed(frame(TEXT, b"a") * 10)
        await turns()
        assert transport.output[0] == 0xC1  # FIN, RSV1, text
        assert (socket.sent, transport.writes) == (10, 1)


async def test_an_answer_does_not_wait_for_those_to_the_rest_of_the_burst() -> None:
    pause = asyncio.Event()
    async with echo_in_memory(pause) as (transport, _):
        transport.feed(frame(TEXT, b"a") + frame(TEXT, b"b"))
        await turns()
        assert transport.output == b"\x81\x01a"
        pause.set()
        await turns()
        assert transport.output == b"\x81\x01a\x81\x01b"


async def test_pongs_and_the_close_come_in_order_after_answers_that_are_held_back() -> None:
    async with echo_in_memory() as (transport, _):
        transport.feed(frame(TEXT, b"a") + frame(TEXT, b"b"))
        await asyncio.sleep(0)  # the handler has sent both, the loop has not turned
        transport.feed(frame(PING, b"?") + close_frame(1000))
        await turns()
        assert transport.output == b"\x81\x01a\x81\x01b\x8a\x01?\x88\x02\x03\xe8"


# Bounds.


@pytest.mark.parametrize("content", [b"", b"x", bytes(126)])
async def test_one_callback_takes_so_many_messages(content: bytes) -> None:
    """Other connections are served between two parts of a flood of small messages."""
    async with echo_in_memory() as (transport, socket):
        transport.feed(frame(BINARY, content) * 1000)
        assert socket.received == 256
        await turns(20)
        assert socket.received == socket.sent == 1000


async def test_one_callback_takes_so_many_bytes() -> None:
    async with echo_in_memory() as (transport, socket):
        transport.feed(frame(BINARY, bytes(65536)) * 100)
        assert 0 < socket.received <= 16
