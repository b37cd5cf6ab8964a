"""Reads of a body, in any pieces: what each method returns, and which bytes it leaves for the next one."""

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable

import pytest

from aiohttpd.engine.body import StreamReader
from aiohttpd.errors import ContentTooLarge, ContractError, IncompleteBody
from aiohttpd.wire.body import LengthDecoder

LINE = 64 * 1024
WORDS = [b"x", b"x" * 3000, b"\n", b"\r\n", b"\r", b"--ab", b"--a", b"-"]
PIECES = [1, 2, 3, 100, 4095, 4096, 5000]  # bytes; from 4096 on a piece is not joined to the one before


class Peer:
    """A client that sends some pieces whenever the handler waits."""

    def __init__(self, content: bytes, chance: random.Random, limit: int | None = None) -> None:
        self.content = self.left = content
        self.chance = chance
        self.decoder = LengthDecoder(len(content))
        self.asked = 0  # how often the handler has waited
        self.suffices: Callable[[bytes], bool] = bool  # whether these bytes are enough for the read that waits
        self.reader = StreamReader(self, self.decoder, limit, asyncio.get_running_loop())

    def body_wanted(self) -> None:
        self.asked += 1
        assert not self.suffices(self.content[self.reader.taken : self.reader.received])
        self.receive()
        self.reader.wake()

    def receive(self) -> None:
        for _ in range(self.chance.randrange(1, 4)):
            size = self.chance.choice(PIECES)
            piece, self.left = self.left[:size], self.left[size:]
            self.decoder.count(len(piece))
            self.reader.fill(self.chance.choice((bytes, bytearray))(piece))

    def resume_body(self) -> None: ...
    def body_arrived(self) -> None: ...


async def read(reader: StreamReader, way: str, argument: int | bytes) -> bytes:
    """Call one of the methods; what is left if it raises IncompleteReadError."""
    try:
        result: bytes = await getattr(reader, way)(argument)
    except asyncio.IncompleteReadError as error:
        result = error.partial
    assert type(result) is bytes
    return result


def expected(rest: bytes, way: str, argument: int | bytes) -> bytes:
    """What a method returns at most, if so much of the body is left."""
    if isinstance(argument, int) and way != "readline":
        return rest[:argument]
    separator, limit = (argument, -1) if isinstance(argument, bytes) else (b"\n", argument)
    end = rest.find(separator)
    found = rest if end < 0 else rest[: end + len(separator)]
    return found if limit < 0 else found[:limit]


def suffices(waiting: bytes, way: str, argument: int | bytes) -> bool:
    """Whether a method has to return without waiting for more."""
    if isinstance(argument, bytes):
        return argument in waiting
    if way == "readline":
        return b"\n" in waiting or 0 <= argument <= len(waiting)
    return len(waiting) >= (argument if way == "readexactly" else min(argument, 1))


async def test_any_reads_of_any_pieces() -> None:
    for seed in range(150):
        chance = random.Random(seed)
        content = b"".join(chance.choices(WORDS, k=30))
        peer = Peer(content, chance)
        reader, at = peer.reader, 0
        while not reader.at_eof():
            way: str
            argument: int | bytes
            way, argument = chance.choice(
                [
                    *[("read", size) for size in (0, 1, 7, 4096, 10_000)],
                    *[("readexactly", size) for size in (0, 1, 50, 9000)],
                    *[("readline", limit) for limit in (-1, 0, 1, 40, 5000)],
                    *[("readuntil", separator) for separator in (b"\n", b"\r\n", b"--ab")],
                ]
            )
            peer.suffices = functools.partial(suffices, way=way, argument=argument)
            result, wanted = await read(reader, way, argument), expected(content[at:], way, argument)
            if way == "read" and wanted:
                assert result and wanted.startswith(result), seed
            else:
                assert result == wanted, (seed, way, argument)
            at += len(result)
            assert reader.taken == at
        assert at == len(content) and await reader.read(1) == await reader.read() == await reader.readline() == b""


async def test_the_rest_after_any_reads() -> None:
    for seed in range(30):
        chance = random.Random(seed)
        content = b"".join(chance.choices(WORDS, k=20))
        peer = Peer(content, chance)
        peer.suffices = lambda waiting: False
        begin = await peer.reader.readexactly(chance.randrange(len(content)))
        if seed % 2:
            rest = await peer.reader.read()
            assert type(rest) is bytes
        else:
            pieces = [piece async for piece in peer.reader]
            assert {type(piece) for piece in pieces} <= {bytes} and all(pieces)
            rest = b"".join(pieces)
        assert begin + rest == content


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_longest_line(at_once: bool) -> None:
    """It depends on the line alone, not on how much of what follows has arrived."""
    for size, fits in ((LINE, True), (LINE + 1, False)):
        for way, error in (("readline", ValueError), ("readuntil", asyncio.LimitOverrunError)):
            line = b"x" * (size - 1) + b"\n"
            peer = Peer(line + b"y" * LINE, random.Random(1))
            peer.suffices = lambda waiting: len(waiting) >= LINE
            while at_once and not peer.decoder.complete:
                peer.receive()
            if fits:
                assert await getattr(peer.reader, way)() == line
            else:
                with pytest.raises(error):
                    await getattr(peer.reader, way)()
            assert peer.reader.taken == (size if fits else 0)
            assert await peer.reader.readline(LINE) == (b"y" * LINE if fits else line[:LINE])


@pytest.mark.parametrize(("way", "argument"), [("readexactly", -1), ("readuntil", b"")])
async def test_reads_of_nothing_that_exists(way: str, argument: int | bytes) -> None:
    peer = Peer(b"content", random.Random(1))
    with pytest.raises(ValueError, match="negative|empty"):
        await getattr(peer.reader, way)(argument)
    assert not peer.asked


READS: list[Callable[[StreamReader], Awaitable[object]]] = [
    lambda reader: reader.read(),
    lambda reader: reader.read(1),
    lambda reader: reader.readexactly(1),
    lambda reader: reader.readline(),
    lambda reader: reader.readuntil(),
    lambda reader: anext(aiter(reader)),
]


@pytest.mark.parametrize("read", READS, ids=["all", "some", "exactly", "line", "until", "pieces"])
@pytest.mark.parametrize("arrived", [True, False])
async def test_a_body_over_the_limit_is_not_read(
    read: Callable[[StreamReader], Awaitable[object]], arrived: bool
) -> None:
    for limit, refused in ((8, False), (7, True)):
        peer = Peer(b"abcd\nfgh", random.Random(1), limit)
        while arrived and not peer.decoder.complete:
            peer.receive()
        if refused:
            with pytest.raises(ContentTooLarge):
                await read(peer.reader)
            assert not peer.reader.taken and not peer.asked  # its length is known
        else:
            await read(peer.reader)
            assert peer.reader.taken


class Silent:
    """A client that sends nothing."""

    def body_wanted(self) -> None: ...
    def resume_body(self) -> None: ...
    def body_arrived(self) -> None: ...


async def test_two_tasks_that_read() -> None:
    reader = StreamReader(Silent(), LengthDecoder(3), None, asyncio.get_running_loop())
    first = asyncio.create_task(reader.readexactly(1))
    await asyncio.sleep(0)
    for read in READS:
        with pytest.raises(ContractError, match="another task"):
            await read(reader)
    reader.fail(IncompleteBody())
    with pytest.raises(IncompleteBody):
        await first


@pytest.mark.parametrize("read", READS[:-1], ids=["all", "some", "exactly", "line", "until"])
async def test_a_read_that_is_not_awaited(read: Callable[[StreamReader], Awaitable[object]]) -> None:
    peer = Peer(b"content\n", random.Random(1))
    peer.reader.check_awaited()
    call = read(peer.reader)
    with pytest.raises(ContractError, match="await"):
        peer.reader.check_awaited()
    with pytest.raises(RuntimeError):  # it has been closed
        await call
    await read(peer.reader)
    peer.reader.check_awaited()
