"""Pieces of content that are drained in one turn of the loop: the first is sent at once, the others together."""

import asyncio
import os
import re
import zlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, ClientDisconnected, Request, StreamWriter, WriteBufferFull
from aiohttpd.compression import compress
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.encoder import EncoderWrapper
from aiohttpd.engine.interfaces import Answer, App
from aiohttpd.engine.recorder import Recorder
from aiohttpd.errors import ContractError
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport, exchange, running
from aiohttpd.wire.address import Address
from aiohttpd.wire.response import ResponseFields

from ..support.asking import QUIET
from ..support.clients import MIB, connected, get
from ..support.loops import joined, on_both_loops
from ..support.waiting import until
from ..support.wire import finals

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def asked(app: App, data: bytes = GET) -> MemoryTransport:
    """A connection in memory that has got a request."""
    loop = asyncio.get_running_loop()
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(ServerContext(prepare(app), QUIET, loop)))
    transport.feed(data)
    return transport


async def test_large_pieces_leave_turns_to_others() -> None:
    """Each is sent at once; a client that reads fast never makes the task wait."""
    done = most = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal done
        response.send_head(200)
        for _ in range(600):
            response.write(bytes(64 * 1024))
            await response.drain()
            done += 1

    transport = await asked(app)
    while not transport.output.endswith(b"0\r\n\r\n"):
        before = done
        transport.output.clear()
        await asyncio.sleep(0)
        most = max(most, done - before)
    assert done == 600
    assert 100 < most <= 256


async def test_many_small_pieces_are_few_writes() -> None:
    class Pieces(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(1000):
                self.wfile.write(b"x" * 100)
                await self.wfile.drain()

    transport = await asked(Pieces)
    await until(lambda: transport.output.endswith(b"0\r\n\r\n"))
    [found] = finals(bytes(transport.output))
    assert found.body == b"x" * 100_000
    assert transport.writes < 20
    assert transport.output.count(b"\r\n") < 60  # the pieces of a turn are one chunk


async def test_what_is_held_leaves_before_a_handler_goes_on_waiting() -> None:
    gate = asyncio.Event()

    class Waits(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for piece in (b"one", b"two", b"three"):
                self.wfile.write(piece)
                await self.wfile.drain()
            await gate.wait()

    transport = await asked(Waits)
    await until(lambda: b"three" in transport.output)
    assert b"0\r\n\r\n" not in transport.output
    gate.set()
    await until(lambda: transport.output.endswith(b"0\r\n\r\n"))


async def test_a_broken_response_has_what_was_drained(caplog: pytest.LogCaptureFixture) -> None:
    class Breaks(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for piece in (b"one", b"two"):
                self.wfile.write(piece)
                await self.wfile.drain()
            raise RuntimeError("broken")

    transport = await asked(Breaks)
    await transport.closed.wait()
    assert b"one" in transport.output
    assert b"two" in transport.output
    assert "broken" in caplog.text
    caplog.clear()


async def test_a_file_comes_after_what_is_held(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)

    class Mixed(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for piece in (b"a" * 10, b"b" * 10):
                self.wfile.write(piece)
                await self.wfile.drain()
            with (tmp_path / "file").open("rb") as file:
                await self.wfile.sendfile(file)
            self.wfile.write(b"end")
            await self.wfile.drain()

    async with aiohttpd.HTTPServer(("127.0.0.1", 0), Mixed, config=QUIET) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
        writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        [found] = finals(await reader.read())
        writer.close()
    assert found.body == b"a" * 10 + b"b" * 10 + content + b"end"


@on_both_loops
async def test_who_writes_too_much_gets_the_error() -> None:
    """Not the callback that sends what was held back: nobody could tell which handler has to be corrected."""
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(bytes(8 * MIB))
        others = [asyncio.create_task(response.drain())]
        try:
            for _ in range(100):
                await asyncio.sleep(0)
                others.append(asyncio.create_task(response.drain()))
                await asyncio.sleep(0)
                for _ in range(16):
                    response.write(bytes(1024))
                    response.flush()
            ended.set_result("nothing")
        except WriteBufferFull as error:
            ended.set_result(str(error))
        finally:
            assert {type(error) for error in await asyncio.gather(*others, return_exceptions=True)} == {
                ClientDisconnected
            }

    async with running(app, limit_unsent=100_000) as server, joined(server, window=8192) as peer:
        await peer.send(GET)
        assert "more than 100000 bytes" in await ended


Work = Callable[[StreamWriter], Awaitable[None]]


def app_of(work: Work, *fields: tuple[str, str]) -> App:
    """An App that sends a head, and then does what ``work`` does."""

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, fields)
        await work(response)

    return app


async def drained(response: StreamWriter, *pieces: bytes) -> None:
    for piece in pieces:
        response.write(piece)
        await response.drain()


async def body_of(transport: MemoryTransport) -> bytes:
    """The content of the response, when the connection has been closed."""
    await transport.closed.wait()
    [found] = finals(bytes(transport.output))
    return found.body


async def test_what_is_drained_leaves_at_the_end_of_the_turn() -> None:
    """The first piece at once, the others not before the handler waits, and then all before anything else runs."""
    seen: list[bytes] = []

    async def work(response: StreamWriter) -> None:
        seen.append(bytes(transport.output))
        for piece in (b"one", b"two", b"three"):
            await drained(response, piece)
            seen.append(bytes(transport.output))
        await asyncio.sleep(0)  # one turn
        seen.append(bytes(transport.output))
        await drained(response, b"four")  # the first one of the next turn
        seen.append(bytes(transport.output))

    transport = MemoryTransport(loop := asyncio.get_running_loop())
    transport.connect(HTTPConnection(ServerContext(prepare(app_of(work)), QUIET, loop)))
    transport.feed(GET)
    await until(lambda: transport.output.endswith(b"0\r\n\r\n"))
    start, one, two, three, later, four = seen
    assert not start
    assert one.endswith(b"\r\n3\r\none\r\n")
    assert one == two == three
    assert later == one + b"8\r\ntwothree\r\n"
    assert four == later + b"4\r\nfour\r\n"


async def test_flush_keeps_the_order() -> None:
    async def work(response: StreamWriter) -> None:
        await drained(response, b"a", b"b")
        response.write(b"c")
        response.flush()
        response.write(b"d")

    transport = await asked(app_of(work))
    await until(lambda: transport.output.endswith(b"\r\n3\r\nbcd\r\n0\r\n\r\n"))


@pytest.mark.parametrize("drains", [True, False])
async def test_what_is_not_drained_is_dropped_with_a_failed_response(
    drains: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(response: StreamWriter) -> None:
        await drained(response, b"a", b"b")
        response.write(b"c")
        (await response.drain()) if drains else response.write(b"")
        response.write(b"d")
        raise RuntimeError("broken")

    transport = await asked(app_of(work, ("Content-Length", "4")))
    assert await body_of(transport) == (b"abc" if drains else b"ab")
    assert "broken" in caplog.text
    caplog.clear()


async def test_what_is_not_drained_stays_at_the_end_of_a_turn(caplog: pytest.LogCaptureFixture) -> None:
    seen = b""

    async def work(response: StreamWriter) -> None:
        nonlocal seen
        await drained(response, b"a", b"b")
        response.write(b"")
        response.write(b"c")
        response.write(b"d")
        for _ in range(3):
            await asyncio.sleep(0)
        seen = bytes(transport.output)
        await drained(response, b"e", b"f")
        response.write(b"g")
        for _ in range(3):
            await asyncio.sleep(0)
        raise RuntimeError("broken")

    transport = MemoryTransport(loop := asyncio.get_running_loop())
    transport.connect(HTTPConnection(ServerContext(prepare(app_of(work, ("Content-Length", "7"))), QUIET, loop)))
    transport.feed(GET)
    assert await body_of(transport) == b"abcdef"
    assert seen.endswith(b"\r\n\r\nab")
    assert "broken" in caplog.text
    caplog.clear()


async def test_cancellation_leaves_what_was_drained() -> None:
    async def work(response: StreamWriter) -> None:
        response.cancel_on_disconnect = True
        await asyncio.sleep(0)  # now it can be cancelled
        await drained(response, b"a", b"b")
        transport.feed_eof()  # cancels at once
        await drained(response, b"c")
        await asyncio.Event().wait()

    transport = MemoryTransport(loop := asyncio.get_running_loop())
    transport.connect(HTTPConnection(ServerContext(prepare(app_of(work)), QUIET, loop)))
    transport.feed(GET)
    assert (await body_of(transport)).startswith(b"ab")


async def test_the_log_counts_what_was_sent_of_a_response_without_client() -> None:
    """What was gathered when the client had gone did not leave, and drain() says so in the same turn."""
    answers: list[tuple[int, int, bool]] = []

    class Log:
        def answered(self, request: Request, answer: Answer, started: float) -> None:
            answers.append((answer.status, answer.size, answer.aborted))

        def refused(self, client_address: Address, line: str, status: int) -> None: ...

        def message(self, text: str) -> None: ...

    async def work(response: StreamWriter) -> None:
        await asyncio.sleep(0)
        await drained(response, b"a" * 10, b"b" * 10)
        transport.protocol.connection_lost(None)
        response.write(b"c" * 10)
        with pytest.raises(ClientDisconnected):
            await response.drain()
        answers.append((0, 0, True))

    transport = MemoryTransport(loop := asyncio.get_running_loop())
    context = ServerContext(prepare(app_of(work)), QUIET, loop, recorder=Recorder(Log()))
    transport.connect(HTTPConnection(context))
    transport.feed(GET)
    await until(lambda: len(answers) == 2)
    assert answers == [(0, 0, True), (200, 10, True)]


@pytest.mark.parametrize(
    ("version", "fields", "end"),
    [
        ("1.1", [], b"\r\n5\r\nabcde\r\n0\r\n\r\n"),
        ("1.0", [], b"\r\n\r\nabcde"),
        ("1.1", [("Content-Length", "5")], b"\r\n\r\nabcde"),
        ("1.0", [("Content-Length", "5")], b"\r\n\r\nabcde"),
    ],
)
async def test_each_framing(version: str, fields: list[tuple[str, str]], end: bytes) -> None:
    async def work(response: StreamWriter) -> None:
        await response.drain()  # the head alone
        await drained(response, b"", b"a", b"", b"bc", b"")
        response.write(b"")
        response.write(b"de")

    output = await exchange(app_of(work, *fields), GET.replace(b"1.1", version.encode()), config=QUIET)
    assert output.endswith(end)


async def test_head_has_no_content() -> None:
    reached: list[str] = []

    async def work(response: StreamWriter) -> None:
        await drained(response, b"a")
        reached.append("first")
        await drained(response, b"b")
        reached.append("second")

    output = await exchange(app_of(work), GET.replace(b"GET", b"HEAD") + GET, config=QUIET)
    assert reached[0] == "first"
    assert reached.count("second") == 1  # of GET
    [head, got] = finals(output, ["HEAD", "GET"])
    assert (head.body, got.body) == (b"", b"ab")


async def test_no_content() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(204)
        for _ in range(600):
            await response.drain()

    output = await exchange(app, GET + GET, config=QUIET)
    assert [answer.status for answer in finals(output)] == [204, 204]


async def test_chunks_of_the_handler_stay_as_they_are() -> None:
    async def work(response: StreamWriter) -> None:
        await drained(response, b"3\r\nabc\r\n", b"1\r", b"\nd\r\n", b"0\r\n\r\n")

    output = await exchange(app_of(work, ("Transfer-Encoding", "chunked")), GET, config=QUIET)
    assert output.endswith(b"\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")


async def test_trailers_follow_what_is_gathered() -> None:
    async def work(response: StreamWriter) -> None:
        await drained(response, b"a", b"b")
        response.write(b"c")
        response.end(ResponseFields.of([("X-Sum", "1")]))
        await asyncio.sleep(0)

    output = await exchange(app_of(work), GET + GET, config=QUIET)
    assert output.count(b"\r\n1\r\na\r\n2\r\nbc\r\n0\r\nX-Sum: 1\r\n\r\n") == 2


async def test_responses_to_pipelined_requests_stay_in_order() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        await drained(response, request.path.encode(), b"-", b".")

    requests = b"".join(GET.replace(b"/ ", b"/%d " % number) for number in range(50))
    found = finals(await exchange(app, requests, config=QUIET))
    assert [answer.body for answer in found] == [b"/%d-." % number for number in range(50)]


@on_both_loops
async def test_large_pieces_among_small_ones_wait_for_the_client() -> None:
    """Of a client that does not read, no more waits than one piece and what a turn gathers."""
    sizes = [100, 100, 300_000, 10, 65_536, 65_536, 1, 65_535, 5_000_000, 100, 5_000_000, 5_000_000, 100]
    pieces = [bytes([65 + number]) * size for number, size in enumerate(sizes)]
    passed = 0

    async def work(response: StreamWriter) -> None:
        nonlocal passed
        for piece in pieces:
            await drained(response, piece)
            passed += 1

    async with running(app_of(work), access_log=False, limit_unsent=64 * 1024) as server, connected(server) as client:
        await client.send(get("/"))
        await until(lambda: passed >= 8)
        for _ in range(20):
            await asyncio.sleep(0)
        assert passed < len(pieces)
        assert (await client.answer()).body == b"".join(pieces)


async def test_other_tasks_run_between() -> None:
    turns: list[int] = []
    done = asyncio.Event()

    async def work(response: StreamWriter) -> None:
        for number in range(2_000):
            response.write(b"x")
            await response.drain()
            if number % 100 == 0:
                turns.append(others)
        done.set()

    others = 0
    await asked(app_of(work))
    while not done.is_set():
        others += 1
        await asyncio.sleep(0)
    assert len(set(turns)) >= 7  # at least a turn for 256 pieces


async def test_tasks_may_drain_at_the_same_time() -> None:
    async def work(response: StreamWriter) -> None:
        async def part(letter: bytes) -> None:
            for number in range(300):
                await drained(response, letter * (number % 7))
                if number % 5 == 0:
                    await asyncio.sleep(0)

        await asyncio.gather(*[part(letter) for letter in (b"a", b"b", b"c")])

    [found] = finals(await exchange(app_of(work), GET, config=QUIET))
    size = sum(number % 7 for number in range(300))
    assert {letter: found.body.count(letter) for letter in (b"a", b"b", b"c")} == dict.fromkeys(
        (b"a", b"b", b"c"), size
    )


async def test_compressed_pieces_of_a_turn_are_flushed_together() -> None:
    async def work(response: StreamWriter) -> None:
        for number in range(100):
            await drained(response, b"line %d\n" % number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert decoded(transport).endswith(b"line 99\n")
        await drained(response, b"a\n", b"b\n")
        response.write(b"c\n")

    def decoded(transport: MemoryTransport) -> bytes:
        [found] = finals(bytes(transport.output))
        return zlib.decompressobj(31).decompress(found.body)

    app = compress(app_of(work, ("Content-Type", "text/plain")))
    transport = MemoryTransport(loop := asyncio.get_running_loop())
    transport.connect(HTTPConnection(ServerContext(prepare(app), QUIET, loop)))
    transport.feed(GET.replace(b"\r\n\r\n", b"\r\nAccept-Encoding: gzip\r\n\r\n"))
    await until(lambda: transport.output.endswith(b"0\r\n\r\n"))
    assert decoded(transport) == b"".join(b"line %d\n" % number for number in range(100)) + b"a\nb\nc\n"
    assert len(re.findall(rb"\x00\x00\xff\xff", bytes(transport.output))) <= 4  # of Z_SYNC_FLUSH


class Failing(EncoderWrapper):
    """An encoder that fails with some content."""

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        if b"bad" in parts:
            raise RuntimeError("this encoder fails")
        return super().data(parts, size, push=push)


@pytest.mark.parametrize("drains", [True, False])
async def test_the_handler_gets_what_the_encoder_raises_at_the_end_of_a_turn(
    drains: bool, caplog: pytest.LogCaptureFixture
) -> None:
    raised = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal raised
        response.encode_with(Failing(response.encoder))
        response.send_head(200)
        await drained(response, b"good", b"bad")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        response.write(b"more")
        if drains:
            for _ in range(2):
                with pytest.raises(RuntimeError, match="this encoder fails"):
                    await response.drain()
                raised += 1

    transport = await asked(app)
    assert await body_of(transport) == b"good"
    assert not transport.output.endswith(b"0\r\n\r\n")  # it is not taken for complete
    assert raised == 2 * drains
    assert "this encoder fails" in caplog.text
    caplog.clear()


async def test_an_encoder_that_fails_does_not_keep_a_failed_response_open(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.encode_with(Failing(response.encoder))
        response.send_head(200)
        await drained(response, b"good", b"bad")
        raise RuntimeError("of the handler")

    transport = await asked(app)
    assert await body_of(transport) == b"good"
    assert "of the handler" in caplog.text
    caplog.clear()


async def test_nothing_takes_the_place_of_a_file_that_was_too_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"F" * 10)
    refused = 0

    async def work(response: StreamWriter) -> None:
        nonlocal refused
        with (tmp_path / "file").open("rb") as file, pytest.raises(EOFError):
            await response.sendfile(file, 0, 20)
        for _ in range(3):
            with pytest.raises(ContractError):
                response.write(b"other")
            refused += 1
            await response.drain()
            response.flush()

    async with running(app_of(work, ("Content-Length", "30"))) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port)
        writer.write(GET)
        [found] = finals(await reader.read())
        writer.close()
    assert found.body == b"F" * 10
    assert refused == 3
    caplog.clear()
