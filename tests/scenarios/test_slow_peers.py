"""Slow peers on real sockets: each ends by its own deadline, or lives, and nobody else notices; on both loops."""

import asyncio
import contextlib
import resource
import socket
import ssl
import tempfile
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from aiohttpd import App, BodyTimeout, ClientDisconnected, Config, HTTPServer, Request, StreamWriter, WriteBufferFull
from aiohttpd.testing import running

from ..support.clients import (
    BLOCK,
    LAST_CHUNK,
    MIB,
    SOON,
    Client,
    chunk,
    connected,
    echo_body,
    echo_path,
    expect_logged,
    get,
    head,
    post,
)
from ..support.loops import on_both_loops
from ..support.waiting import until

DEADLINE = 0.2  # seconds, for whatever a test is about
FAR = 60.0  # seconds, for what it is not about
LATE = 20.0  # seconds after its deadline that a peer may still be there, on a busy machine
PROMPT = 0.5  # seconds of CPU time within which others are served; another process does not count there

BOTH_SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])


def deadlines(**own: float) -> dict[str, Any]:
    """Options that let only the given deadlines expire."""
    return {f"timeout_{name}": own.get(name, FAR) for name in ("head", "handshake", "body", "write", "idle")}


Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


@asynccontextmanager
async def running_either(app: App, tls: Contexts, **options: Any) -> AsyncIterator[HTTPServer]:
    """`running`, with TLS or without."""
    async with running(app, ssl=tls[0], **options) as server:
        yield server
        await server.shutdown(0)


@asynccontextmanager
async def others_are_served(server: HTTPServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[None]:
    """While the block runs, another client asks again and again, and is answered at once."""
    worst, answers, stopped = 0.0, 0, False

    async def ask() -> None:
        nonlocal worst, answers
        while not stopped:
            async with connected(server, tls=tls) as other:
                for _ in range(3):
                    begun = time.process_time()
                    assert (await other.ask("/other")).body == b"/other"
                    worst = max(worst, time.process_time() - begun)
                    answers += 1
                    await asyncio.sleep(0.02)

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        stopped = True
        async with asyncio.timeout(SOON):
            await asking
    assert answers
    assert worst < PROMPT


@asynccontextmanager
async def takes(seconds: float) -> AsyncIterator[None]:
    """The block ends when a deadline of so many seconds expires, neither before nor much later."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asyncio.timeout(seconds + LATE):
        yield
    assert loop.time() - begun > 0.9 * seconds


@asynccontextmanager
async def dribbling(client: Client, data: bytes, *, size: int = 1, pause: float = 0.02) -> AsyncIterator[None]:
    """While the block runs, the client sends a few bytes now and then."""

    async def send() -> None:
        for at in range(0, len(data), size):
            await client.send(data[at : at + size])
            await asyncio.sleep(pause)

    task = asyncio.create_task(send())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await task


@contextmanager
def memory_bounded(limit: int) -> Iterator[None]:
    """The memory that Python takes in addition never exceeds ``limit`` while the block runs."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < limit


async def assert_refused(client: Client, status: int) -> None:
    answer = await client.answer()
    assert (answer.status, answer["Connection"]) == (status, "close")
    assert await client.rest() == b""


# Heads.


@on_both_loops
async def test_a_head_that_is_dribbled() -> None:
    async with (
        running(echo_path, **deadlines(head=DEADLINE)) as server,
        others_are_served(server),
        connected(server) as client,
        takes(DEADLINE),
        dribbling(client, get("/" + 100 * "x")),
    ):
        await assert_refused(client, 408)


@BOTH_SCHEMES
@on_both_loops
async def test_a_head_that_stalls(tls: Contexts) -> None:
    async with (
        running_either(echo_path, tls, **deadlines(head=DEADLINE)) as server,
        others_are_served(server, tls[1]),
        connected(server, tls=tls[1]) as client,
    ):
        await client.ask()
        async with takes(DEADLINE):
            await client.send(get()[:-2])
            await assert_refused(client, 408)  # reported: on TLS asyncio logs an error in eof_received


@on_both_loops
async def test_a_connection_that_sends_nothing() -> None:
    async with (
        running(echo_path, **deadlines(head=DEADLINE)) as server,
        others_are_served(server),
        takes(DEADLINE),
        connected(server) as client,
    ):
        assert await client.rest() == b""


@pytest.mark.parametrize("scheme", ["https"])
@on_both_loops
async def test_a_handshake_that_does_not_begin(tls: Contexts) -> None:
    async with (
        running_either(echo_path, tls, **deadlines(handshake=DEADLINE)) as server,
        others_are_served(server, tls[1]),
        takes(DEADLINE),
        connected(server) as client,
    ):
        assert await client.rest() == b""


@on_both_loops
async def test_a_thousand_connections_that_send_nothing() -> None:
    number = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * number + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"no more than {hard} open files are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        async with running(echo_path, **deadlines(head=2.0)) as server, others_are_served(server):
            with contextlib.ExitStack() as stack, memory_bounded(8 * MIB):
                async with takes(2.0):
                    clients = [
                        stack.enter_context(socket.create_connection(server.server_address)) for _ in range(number)
                    ]
                    await until(lambda: len(server.connections) >= number)
                    await until(lambda: len(server.connections) <= 1, 2.0 + LATE)
                for client in clients:
                    client.settimeout(SOON)
                    assert client.recv(1) == b""
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("fields", [(), (("Content-Length", 2),)], ids=str)
@on_both_loops
async def test_an_idle_connection(fields: tuple[tuple[str, int]]) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, fields)
        response.write(b"ok")

    async with (
        running(app, **deadlines(idle=DEADLINE)) as server,
        connected(server) as client,
    ):
        assert (await client.ask()).body == b"ok"
        await asyncio.sleep(0.5 * DEADLINE)  # not yet
        assert (await client.ask()).body == b"ok"
        async with takes(DEADLINE):
            assert await client.rest() == b""


# Bodies.


async def echo(request: Request, response: StreamWriter) -> None:
    await (echo_path if request.method == "GET" else echo_body)(request, response)


@pytest.mark.parametrize("caught", [False, True])
@on_both_loops
async def test_a_body_that_stalls(caught: bool) -> None:
    raised: list[BodyTimeout] = []

    async def app(request: Request, response: StreamWriter) -> None:
        try:
            await echo(request, response)
        except BodyTimeout as error:
            raised.append(error)
            if not caught:
                raise
            response.send_head(408)

    async with (
        running(app, **deadlines(body=DEADLINE)) as server,
        others_are_served(server),
        connected(server) as client,
        takes(DEADLINE),
    ):
        await client.send(post(1000), bytes(500))
        await assert_refused(client, 408)
        assert len(raised) == 1


@on_both_loops
async def test_a_body_that_is_dribbled() -> None:
    async with (
        running(echo, **deadlines(body=DEADLINE), min_rate=1000) as server,
        others_are_served(server),
        connected(server) as client,
        takes(DEADLINE),
    ):
        await client.send(post(MIB))
        async with dribbling(client, bytes(MIB), size=4):  # 100 bytes a second
            await assert_refused(client, 408)


@on_both_loops
async def test_a_chunked_body_without_content() -> None:
    """Bytes of chunk extensions are no progress."""
    async with (
        running(echo, **deadlines(body=DEADLINE), min_rate=1000) as server,
        connected(server) as client,
        takes(DEADLINE),
    ):
        await client.send(head("POST", "/", "Transfer-Encoding: chunked"))
        async with dribbling(client, b"1;" + 1000 * b"x", size=1):
            await assert_refused(client, 408)


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@on_both_loops
async def test_a_slow_body_above_the_rate(chunked: bool) -> None:
    size, part = 12_000, 400  # 20,000 bytes a second, for three times the deadline
    content = bytes(range(250)) * (size // 250)
    data = content
    if chunked:
        data = b"".join(chunk(content[at : at + 100]) for at in range(0, size, 100)) + LAST_CHUNK
    async with (
        running(echo, **deadlines(body=DEADLINE), min_rate=1000) as server,
        others_are_served(server),
        connected(server) as client,
        takes(3 * DEADLINE),
    ):
        await client.send(head("POST", "/", "Transfer-Encoding: chunked") if chunked else post(size))
        async with dribbling(client, data, size=part):
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, content)


@on_both_loops
async def test_a_handler_that_takes_its_time_is_no_fault_of_the_client() -> None:
    waits_again = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        await request.body.readexactly(1)
        await asyncio.sleep(2 * DEADLINE)  # busy with what it has read
        waits_again.set()
        await echo_body(request, response)

    async with running(app, **deadlines(body=DEADLINE)) as server, connected(server) as client:
        await client.send(post(10))
        await asyncio.sleep(0.3 * DEADLINE)
        await client.send(b"a")
        await waits_again.wait()
        await asyncio.sleep(0.3 * DEADLINE)
        await client.send(b"bcdefghij")
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"bcdefghij")


# Answers.


class Download:
    """An App that writes an answer in blocks, and keeps the error that ended it; ``/other`` is echoed."""

    def __init__(self, size: int, block: int = BLOCK) -> None:
        self.size = size
        self.block = block
        self.ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        if request.path == "/other":
            await echo_path(request, response)
            return
        response.send_head(200, [("Content-Length", self.size)])
        try:
            await self.send(response)
        except BaseException as error:
            self.ended.set_result(error)
            raise
        self.ended.set_result(None)

    async def send(self, response: StreamWriter) -> None:
        for _ in range(0, self.size, self.block):
            response.write(bytes(self.block))
            await response.drain()


class Undrained(Download):
    """The same, without a thought of the client."""

    async def send(self, response: StreamWriter) -> None:
        for _ in range(0, self.size, self.block):
            response.write(bytes(self.block))


async def assert_cut(client: Client) -> None:
    """What is left of the answer does not look whole."""
    with pytest.raises((ConnectionResetError, ssl.SSLError, asyncio.IncompleteReadError)):
        await client.answer()


@BOTH_SCHEMES
@on_both_loops
async def test_a_reader_that_stalls(tls: Contexts) -> None:
    app = Download(100 * MIB)
    async with (
        running_either(app, tls, **deadlines(write=DEADLINE)) as server,
        others_are_served(server, tls[1]),
        connected(server, small=True, tls=tls[1]) as client,
    ):
        with memory_bounded(4 * MIB):
            async with takes(DEADLINE):
                await client.send(get())
                assert isinstance(await app.ended, ClientDisconnected)
        await assert_cut(client)


@on_both_loops
async def test_a_reader_that_stalls_after_the_handler() -> None:
    """The handler is done with its answer long before the client is."""
    app = Undrained(20 * MIB)
    async with (
        running(app, **deadlines(write=DEADLINE)) as server,
        connected(server, small=True) as client,
    ):
        async with takes(DEADLINE):
            await client.send(get("/", "Connection: close"))
            assert await app.ended is None
            await until(lambda: not server.connections, DEADLINE + LATE)
        await assert_cut(client)


@on_both_loops
async def test_a_slow_reader_above_the_rate() -> None:
    app = Download(6 * MIB)
    async with (
        running(app, **deadlines(write=DEADLINE), min_rate=200_000) as server,
        others_are_served(server),
        connected(server, small=True) as client,
        takes(3 * DEADLINE),
    ):
        await client.send(get())
        await read_slowly(client, app.size, 50_000, pause=0.005)
        assert await app.ended is None


async def read_slowly(client: Client, size: int, part: int, pause: float) -> None:
    """Read an answer of ``size`` bytes."""
    await client.reader.readuntil(b"\r\n\r\n")
    while size:
        size -= len(await client.reader.readexactly(min(part, size)))
        await asyncio.sleep(pause)


@pytest.mark.parametrize("block", [5_000, 100_000])
@on_both_loops
async def test_a_slow_reader_on_a_unix_socket(block: int) -> None:
    app = Download(3_000_000, block)
    config = Config(**deadlines(write=5 * DEADLINE), min_rate=200_000, timeout_drain_idle=0)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            HTTPServer(f"{folder}/socket", app, config=config) as server,
            connected(server) as client,
            takes(5 * DEADLINE),
        ):
            await client.send(get())
            await read_slowly(client, app.size, 20_000, pause=0.01)
            assert await app.ended is None


@on_both_loops
async def test_a_reader_that_stalls_on_a_unix_socket() -> None:
    app = Download(3_000_000)
    config = Config(**deadlines(write=DEADLINE), timeout_drain_idle=0)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            HTTPServer(f"{folder}/socket", app, config=config) as server,
            connected(server) as client,
            takes(DEADLINE),
        ):
            await client.send(get())
            assert isinstance(await app.ended, ClientDisconnected)


@on_both_loops
async def test_a_handler_that_does_not_wait_for_its_client(caplog: pytest.LogCaptureFixture) -> None:
    app = Undrained(100 * MIB)
    async with (
        running(app, **deadlines(), limit_unsent=4 * MIB) as server,
        connected(server, small=True) as client,
    ):
        with memory_bounded(16 * MIB):
            await client.send(get())
            assert isinstance(await app.ended, WriteBufferFull)
        await assert_cut(client)
        await until(lambda: not server.connections)
    expect_logged(caplog, "drain()")


# Many requests, and nobody who reads the answers.


@on_both_loops
async def test_a_flood_of_pipelined_requests() -> None:
    number, size = 10_000, 2_000
    served = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal served
        served += 1
        response.send_head(200)
        response.write(request.path.encode().ljust(size))

    async with (
        running(app, **deadlines(head=DEADLINE, idle=DEADLINE)) as server,
        connected(server, small=True) as client,
    ):
        requests = b"".join(get(f"/{index}") for index in range(number))
        with memory_bounded(4 * MIB):
            sending = asyncio.create_task(client.send(requests))
            await until(lambda: served > 100)
            await asyncio.sleep(2 * DEADLINE)  # neither a head nor the next request is late
        assert served < number
        for index in range(number):
            assert (await client.answer()).body.rstrip() == f"/{index}".encode()
        await sending
        assert (await client.ask("/last")).body.rstrip() == b"/last"


@on_both_loops
async def test_a_flood_that_is_never_read() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(bytes(10_000))

    async with running(app, **deadlines(write=DEADLINE)) as server, connected(server, small=True) as client:
        with memory_bounded(4 * MIB):
            async with takes(DEADLINE):
                sending = asyncio.create_task(client.send(10_000 * get()))
                await until(lambda: server.connections)
                await until(lambda: not server.connections, DEADLINE + LATE)
            await asyncio.wait([sending])
            sending.exception()


# Refusals.


@BOTH_SCHEMES
@on_both_loops
async def test_a_refusal_of_one_who_keeps_sending(tls: Contexts) -> None:
    async with (
        running_either(echo_path, tls, **deadlines()) as server,
        others_are_served(server, tls[1]),
        connected(server, tls=tls[1]) as client,
    ):
        await client.send(b"POST / HTTP/1.1\r\nHost : space\r\n\r\n")
        for _ in range(8):
            await client.send(bytes(BLOCK))
        await assert_refused(client, 400)


@BOTH_SCHEMES
@on_both_loops
async def test_one_who_never_closes(tls: Contexts) -> None:
    """A refused peer that neither closes nor reads is waited for as long as timeout_linger says."""
    async with (
        running_either(echo_path, tls, **deadlines(head=DEADLINE), timeout_linger=DEADLINE) as server,
        connected(server, tls=tls[1]) as client,
    ):
        await until(lambda: server.connections)
        if tls[1] is not None:
            client.writer.transport.pause_reading()  # it does not answer the end of TLS either
        async with takes(DEADLINE):
            await client.send(b"bad\r\n\r\n")
            await until(lambda: not server.connections, DEADLINE + LATE)
