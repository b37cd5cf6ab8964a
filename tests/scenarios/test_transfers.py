"""Files on real sockets, by sendfile and by reading: whole, in order, at the peer's pace; on both loops."""

import asyncio
import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiohttpd import (
    App,
    ClientDisconnected,
    Config,
    ContractError,
    HTTPServer,
    Request,
    SimpleHTTPRequestHandler,
    StreamWriter,
)
from aiohttpd.testing import exchange, running

from ..support.clients import MIB, Client, connected, expect_logged, get, head
from ..support.loops import on_both_loops
from ..support.waiting import until
from ..support.wire import split

BOTH_SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])
LARGE = 3 * MIB + 17


Contexts = tuple[ssl.SSLContext | None, ssl.SSLContext | None]


@pytest.fixture(scope="module")
def content() -> bytes:
    return os.urandom(LARGE)


@pytest.fixture
def large(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(content)
    return path


def serve_file(path: Path, *, memory: int = 1024) -> App:
    """Serves the folder of a file; what is larger than ``memory`` by a transfer."""

    class Files(SimpleHTTPRequestHandler):
        directory = path.parent
        cache_file_size = memory

    return Files


@asynccontextmanager
async def at(
    app: App, tls: Contexts, *, small: bool = False, **options: float
) -> AsyncIterator[tuple[HTTPServer, Client]]:
    async with running(app, ssl=tls[0], **options) as server, connected(server, tls=tls[1], small=small) as client:
        yield server, client


def sender(path: Path, *parts: tuple[int, int | None], length: int | None = None, around: bytes = b"") -> App:
    """An App that sends parts of a file with ``sendfile``."""

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [] if length is None else [("Content-Length", length)])
        with path.open("rb") as file:
            for offset, count in parts:
                response.write(around)
                await response.sendfile(file, offset, count)
            response.write(around)

    return app


@BOTH_SCHEMES
@on_both_loops
async def test_content_length(tls: Contexts, large: Path, content: bytes) -> None:
    async with at(sender(large, (0, None), length=LARGE), tls) as (_, client):
        for _ in range(2):  # the connection is as good as before
            answer = await client.ask()
            assert answer["Content-Length"] == str(LARGE)
            assert answer.body == content


@BOTH_SCHEMES
@on_both_loops
async def test_chunked_among_other_content(tls: Contexts, large: Path, content: bytes) -> None:
    parts = (5, 100), (MIB, None), (0, 0), (0, 1)
    expected = b"|" + b"|".join([content[5:105], content[MIB:], b"", content[:1]]) + b"|"
    async with at(sender(large, *parts, around=b"|"), tls) as (_, client):
        for _ in range(2):
            answer = await client.ask()
            assert answer["Transfer-Encoding"] == "chunked"
            assert answer.body == expected


@BOTH_SCHEMES
@on_both_loops
async def test_http10(tls: Contexts, large: Path, content: bytes) -> None:
    async with at(sender(large, (0, None)), tls) as (_, client):
        await client.send(get("/", version="1.0"))
        assert (await client.answer()).body == content


@on_both_loops
async def test_head_reads_nothing(large: Path) -> None:
    async with running(sender(large, (0, None), length=LARGE)) as server, connected(server) as client:
        await client.send(head("HEAD"))
        assert (await client.answer("HEAD"))["Content-Length"] == str(LARGE)
        await client.send(head("HEAD"))
        assert (await client.answer("HEAD")).status == 200


@BOTH_SCHEMES
@on_both_loops
async def test_pipelined(tls: Contexts, large: Path, content: bytes) -> None:
    async with at(serve_file(large), tls) as (_, client):
        await client.send(get("/large.bin") * 3, get("/none"))
        for _ in range(3):
            assert (await client.answer()).body == content
        assert (await client.answer()).status == 404


async def test_in_memory(large: Path, content: bytes) -> None:
    """Without a socket, too."""
    [response] = split(await exchange(serve_file(large), get("/large.bin"), config=Config(access_log=False)))
    assert response.body == content


@on_both_loops
async def test_unix_socket(large: Path, content: bytes, tmp_path: Path) -> None:
    async with HTTPServer(str(tmp_path / "s"), serve_file(large)) as server:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
        writer.write(get("/large.bin"))
        assert (await Client(reader, writer).answer()).body == content
        writer.close()
        await server.shutdown(0)


@BOTH_SCHEMES
@on_both_loops
async def test_short_file(tls: Contexts, large: Path, caplog: pytest.LogCaptureFixture) -> None:
    """More bytes than there are: an error, and no answer that looks whole."""
    async with at(sender(large, (0, LARGE + 1), length=LARGE + 1), tls) as (_, client):
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.ask()
    expect_logged(caplog, "the file has ended")


@pytest.mark.parametrize("change", ["rewritten", "truncated"])
@BOTH_SCHEMES
@on_both_loops
async def test_a_file_that_changes(tls: Contexts, large: Path, change: str) -> None:
    """An answer never looks whole if the file is another one at its end."""
    size = 20 * MIB
    large.write_bytes(bytes(size))
    os.utime(large, (1e9, 1e9))
    async with at(serve_file(large), tls, small=True) as (_, client):
        await client.send(get("/large.bin"))
        await client.reader.readuntil(b"\r\n\r\n")
        got = len(await client.reader.readexactly(MIB))
        with large.open("r+b") as file:
            if change == "truncated":
                file.truncate(size - 1)
            else:
                file.write(b"x")
        try:
            while data := await client.reader.read(MIB):
                got += len(data)
        except ConnectionResetError:
            pass
        assert got < size


@on_both_loops
async def test_a_file_that_is_replaced(large: Path, content: bytes) -> None:
    """What is renamed over a file does not touch the answer that is under way."""
    other = large.with_name("other")
    other.write_bytes(b"other")
    async with running(serve_file(large)) as server, connected(server, small=True) as client:
        await client.send(get("/large.bin"))
        await client.reader.readuntil(b"\r\n\r\n")
        other.rename(large)
        assert await client.reader.readexactly(LARGE) == content


@BOTH_SCHEMES
@on_both_loops
async def test_a_slow_reader_lives(tls: Contexts, large: Path, content: bytes) -> None:
    async with at(serve_file(large), tls, small=True, timeout_write=0.4) as (_, client):
        await client.send(get("/large.bin"))
        await client.reader.readuntil(b"\r\n\r\n")
        body = b""
        begun = time.monotonic()
        while len(body) < LARGE:
            body += await client.reader.read(128 * 1024)
            if time.monotonic() - begun < 1:
                await asyncio.sleep(0.02)
        assert body == content


@on_both_loops
async def test_a_slow_reader_on_a_unix_socket(large: Path, tmp_path: Path) -> None:
    config = Config(timeout_write=1.0, min_rate=1000)
    async with HTTPServer(str(tmp_path / "s"), serve_file(large), config=config) as server, connected(server) as client:
        await client.send(get("/large.bin"))
        await client.reader.readuntil(b"\r\n\r\n")
        left = LARGE
        while left:
            left -= len(await client.reader.readexactly(min(64 * 1024, left)))
            await asyncio.sleep(0.04)


@BOTH_SCHEMES
@on_both_loops
async def test_a_reader_that_stops_is_cut(tls: Contexts, large: Path) -> None:
    large.write_bytes(bytes(30 * MIB))
    async with at(serve_file(large), tls, small=True, timeout_write=0.2) as (server, client):
        await client.send(get("/large.bin"))
        await client.reader.readuntil(b"\r\n\r\n")
        assert server.connections
        await until(lambda: not server.connections, 5)


@BOTH_SCHEMES
@on_both_loops
async def test_a_client_that_goes(tls: Contexts, large: Path) -> None:
    """The handler learns of it, and no descriptor is left."""
    large.write_bytes(bytes(30 * MIB))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    ended = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        try:
            with large.open("rb") as file:
                await response.sendfile(file)
        except ClientDisconnected:
            ended.set()
            raise

    async with running(app, ssl=tls[0]) as server:
        for way in ("close", "reset"):
            ended.clear()
            async with connected(server, tls=tls[1], small=True) as client:
                await client.send(get())
                await client.reader.readuntil(b"\r\n\r\n")
                getattr(client, way)() if tls[1] is None else client.writer.transport.abort()
                await ended.wait()
        await until(lambda: not server.connections)
    if before:
        # The loop itself, and uvloop's own, come and go.
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1)


@on_both_loops
async def test_the_end_is_seen_at_once(large: Path) -> None:
    """No duplicate of the descriptor keeps the connection open behind its end."""
    async with running(serve_file(large)) as server, connected(server, small=True) as client:
        await client.send(get("/large.bin", "Connection: close"))
        await client.reader.readuntil(b"\r\n\r\n")
        await client.reader.readexactly(LARGE)
        async with asyncio.timeout(20):  # the idle timeout is 75 s
            assert await client.rest() == b""


@BOTH_SCHEMES
@on_both_loops
async def test_others_are_served(tls: Contexts, large: Path) -> None:
    """A client that reads as fast as it can does not keep the loop from the others."""
    large.write_bytes(bytes(64 * MIB))
    async with at(serve_file(large), tls) as (server, greedy), connected(server, tls=tls[1]) as other:
        await greedy.send(get("/large.bin"))
        reading = asyncio.create_task(greedy.reader.read(-1))
        worst = 0.0
        for _ in range(20):
            begun = time.process_time()  # another process does not count
            assert (await other.ask("/none")).status == 404
            worst = max(worst, time.process_time() - begun)
        reading.cancel()
        assert worst < 0.5


@on_both_loops
async def test_cancelled(large: Path) -> None:
    """A handler that is cancelled in the middle leaves nothing behind."""
    large.write_bytes(bytes(30 * MIB))
    async with running(serve_file(large)) as server, connected(server, small=True) as client:
        await client.send(get("/large.bin"))
        await client.reader.readuntil(b"\r\n\r\n")
        await server.shutdown(0)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.reader.readexactly(30 * MIB)


async def test_contract(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        with large.open("rb") as file:
            with pytest.raises(ContractError, match="content before the head"):
                await response.sendfile(file)
            response.send_head(200, [("Content-Length", 5)])
            with pytest.raises(ContractError, match="6 bytes of content, but Content-Length says 5"):
                await response.sendfile(file, 0, 6)
            await response.sendfile(file.fileno(), 0, 5)

    [response] = split(await exchange(app, get()))
    assert len(response.body) == 5

    async def own_chunks(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [("Transfer-Encoding", "chunked")])
        with large.open("rb") as file, pytest.raises(ContractError, match="chunks of your own"):
            await response.sendfile(file)
        response.write(b"0\r\n\r\n")

    [response] = split(await exchange(own_chunks, get()))
    assert response.body == b""


@on_both_loops
async def test_cold_file(large: Path, content: bytes) -> None:
    """One that is not in memory is read in a thread first."""
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("the kernel cannot be asked to forget a file")
    descriptor = os.open(large, os.O_RDONLY)
    os.fsync(descriptor)
    async with running(serve_file(large)) as server, connected(server) as client:
        for _ in range(2):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            assert (await client.ask("/large.bin")).body == content
    os.close(descriptor)


@on_both_loops
async def test_a_file_system_without_sendfile(large: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    async with running(serve_file(large)) as server, connected(server) as client:
        for _ in range(2):
            assert (await client.ask("/large.bin")).body == content


@on_both_loops
async def test_many_slow_readers_cost_no_memory(large: Path) -> None:
    """What waits for them waits in the file."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    large.write_bytes(bytes(30 * MIB))
    clients = []
    try:
        async with running(serve_file(large)) as server:
            before = _resident()
            for _ in range(100):
                sock = socket.socket()
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                sock.setblocking(False)
                await asyncio.get_running_loop().sock_connect(sock, server.server_address)
                await asyncio.get_running_loop().sock_sendall(sock, get("/large.bin"))
                clients.append(sock)
            await until(lambda: server.in_flight == 100, 5)
            assert _resident() - before < 8 * MIB
            for sock in clients:
                sock.close()
            await until(lambda: not server.connections, 5)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@on_both_loops
async def test_one_that_closes_its_side_and_then_goes(large: Path) -> None:
    """It is no slow reader: what an RST has destroyed is not waited for, though the kernel counts it still."""
    large.write_bytes(bytes(3 * MIB // 2))
    async with at(serve_file(large), (None, None), timeout_write=60, timeout_linger=0.1) as (server, client):
        await client.send(get("/large.bin"))
        await client.reader.readuntil(b"\r\n\r\n")
        client.writer.write_eof()
        await until(lambda: all(connection.state.name == "LINGERING" for connection in server.connections))
        client.writer.transport.abort()
        await until(lambda: not server.connections, 20)
