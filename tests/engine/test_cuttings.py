"""Requests with bodies, in any pieces, several of which arrive in one turn of the loop: the same answers."""

import asyncio
import contextlib
import functools
import itertools
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from aiohttpd import Config, Request, StreamWriter
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import ServedApp
from aiohttpd.testing import MemoryTransport

from ..support.examples import examples
from ..support.waiting import BOUND, in_a_callback
from ..support.wire import finals

READS = ("all", "pieces", "slowly", "lines", "exactly", "again", "late", "never")
SIZES = (0, 1, 20, 4096, 70_000, 300_000)


@dataclass
class Asked:
    """A request: how its handler reads the body, and the bytes of both."""

    way: str
    size: int
    chunk: int | None

    @property
    def wire(self) -> bytes:
        line = b"POST /%s HTTP/1.1\r\nHost: x\r\n" % self.way.encode()
        content = (b"0123456789abcd\n" * (self.size // 15 + 1))[: self.size]
        if self.chunk is None:
            return line + (b"Content-Length: %d\r\n\r\n" % self.size if self.size else b"\r\n") + content
        parts = [content[at : at + self.chunk] for at in range(0, self.size, self.chunk)]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        return line + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\nT: %d\r\n\r\n" % self.size

    @property
    def answer(self) -> bytes:
        size = 0 if self.way == "never" else self.size
        return b"%s %d" % (self.way.encode(), size)


async def read(request: Request, way: str) -> int:
    """Read the body in one of the ways; return its size."""
    body, size = request.body, 0
    if way in ("pieces", "slowly"):
        async for piece in body:
            size += len(piece)
            if way == "slowly":
                await asyncio.sleep(0)
    elif way == "lines":
        while line := await body.readline(5000):
            size += len(line)
    elif way == "exactly":
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                size += len(await body.readexactly(1))
    elif way == "again":  # reads are given up, and begun again
        while not body.at_eof():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    size += len(await body.read(50_000))
            await asyncio.sleep(0)
    elif way != "never":
        for _ in range(3 if way == "late" else 0):
            await asyncio.sleep(0)
        size = len(await body.read())
    return size


async def app(request: Request, response: StreamWriter) -> None:
    way = request.path[1:]
    size = await read(request, way)
    response.send_head(200)
    response.write(b"%s %d" % (way.encode(), size))


async def answers(pieces: list[bytes], together: list[int]) -> list[bytes]:
    """What a connection answers, if so many pieces arrive in one callback of the loop, then so many, and so on."""
    loop = asyncio.get_running_loop()
    context = ServerContext(ServedApp(app), Config(access_log=False, limit_discard=10**7), loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    left = pieces[::-1]

    def receive(count: int) -> None:
        for _ in range(min(count, len(left))):
            transport.feed(left.pop())

    while left:
        for count in together:
            await in_a_callback(functools.partial(receive, count))
    transport.feed_eof()
    async with asyncio.timeout(BOUND):
        await transport.closed.wait()
    context.close()
    return [answer.body for answer in finals(bytes(transport.output))]


@st.composite
def requests(draw: st.DrawFn) -> list[Asked]:
    found = []
    for _ in range(draw(st.integers(1, 6))):
        size = draw(st.sampled_from(SIZES))
        chunk = draw(st.sampled_from((None, max(1, size // 300), 70_000)))
        ways = READS if size < 10_000 else [way for way in READS if way != "exactly"]
        found.append(Asked(draw(st.sampled_from(ways)), size, chunk))
    return found


@examples(2400)
@given(requests(), st.data())
def test_any_pieces_are_answered_as_the_whole(asked: list[Asked], data: st.DataObject) -> None:
    """They are cut between two requests more often than chance would."""
    stream, ends = b"", {0}
    for request in asked:
        stream += request.wire
        ends.add(len(stream))
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=8) | st.sets(st.integers(0, 2000), max_size=8))
    marks = sorted(mark for mark in ends | cuts if mark <= len(stream))
    pieces = [stream[start:end] for start, end in itertools.pairwise(marks)]
    together = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    assert asyncio.run(answers(pieces, together)) == [request.answer for request in asked]
