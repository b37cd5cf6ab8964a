"""Large bodies and answers on real sockets: back-pressure holds on both sides, and nobody else waits."""

import asyncio
import hashlib
import socket
from typing import Any

import pytest

from aiohttpd import Request, StreamWriter
from aiohttpd.testing import exchange, running

from ..support.clients import BLOCK, FRAMINGS, LAST_CHUNK, MIB, chunk, connected, echo_path, get, head, post
from ..support.loops import on_both_loops
from ..support.waiting import BOUND, until

# Large transfers.

SIZE = 20 * MIB

PATTERN = bytes(range(251)) * 1000


def pieces(size: int, piece: int) -> list[bytes]:
    """``size`` bytes that do not repeat at the borders of the pieces."""
    content = (PATTERN * (size // len(PATTERN) + 1))[:size]
    return [content[at : at + piece] for at in range(0, size, piece)]


def digest(parts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


@FRAMINGS
@on_both_loops
async def test_a_large_upload_with_back_pressure(chunked: bool) -> None:
    bodies: list[Any] = []
    released = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        if request.method == "GET":
            await echo_path(request, response)
            return
        bodies.append(request.body)
        await released.wait()
        sha = hashlib.sha256()
        largest = 0
        while data := await request.body.read(BLOCK):
            sha.update(data)
            largest = max(largest, len(data))
        response.send_head(200)
        response.write(f"{sha.hexdigest()} {largest <= BLOCK}".encode())

    parts = pieces(SIZE, 100_000)
    async with running(app) as server, connected(server) as client, connected(server) as other:
        if chunked:
            request = [head("POST", "/", "Transfer-Encoding: chunked"), *map(chunk, parts), LAST_CHUNK]
        else:
            request = [post(SIZE), *parts]
        sending = asyncio.create_task(client.send(*request))
        await until(lambda: bodies and bodies[0].received > BLOCK)
        for _ in range(20):
            await other.ask()
        assert bodies[0].received < MIB  # the rest waits with the client
        released.set()
        assert (await client.answer()).body.decode() == f"{digest(parts)} True"
        await sending


@pytest.mark.parametrize("framing", ["length", "chunked", "http10"])
@pytest.mark.parametrize("piece", [5_000, 300_000])
@on_both_loops
async def test_a_large_download(framing: str, piece: int) -> None:
    parts = pieces(SIZE, piece)

    async def app(request: Request, response: StreamWriter) -> None:
        if request.path == "/next":
            await echo_path(request, response)
            return
        response.send_head(200, [("Content-Length", SIZE)] if framing == "length" else [])
        for part in parts:
            response.write(part)
            await response.drain()

    async with running(app) as server, connected(server) as client:
        await client.send(get(version="1.0" if framing == "http10" else "1.1"))
        answer = await client.answer()
        assert hashlib.sha256(answer.body).hexdigest() == digest(parts)
        if framing == "http10":
            assert (answer["Connection"], answer["Content-Length"]) == ("close", None)
            assert answer["Transfer-Encoding"] is None
        else:
            assert (await client.ask("/next")).body == b"/next"  # the connection is in order


@pytest.mark.parametrize("small", [False, True], ids=["fast", "slow"])
@pytest.mark.parametrize("fields", [(), ("Connection: close",)], ids=str)
@on_both_loops
async def test_one_large_write(fields: tuple[str], small: bool) -> None:
    size = 8 * MIB
    content = b"".join(pieces(size, size))

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(content)

    async with running(app) as server, connected(server, small=small) as client:
        await client.send(get("/", *fields))
        answer = await client.answer()
        assert answer["Content-Length"] == str(size)
        assert answer.body == content
        if fields:
            assert await client.rest() == b""
        else:
            assert (await client.ask()).body == content


@on_both_loops
async def test_a_connection_that_is_closed_behind_a_queue() -> None:
    """The last piece leaves the queue when the transport asks for more: closing then is not to upset it."""
    size = 8_000_000

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(bytes(size))

    def download(address: tuple[str, int]) -> int:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            sock.settimeout(BOUND)
            sock.connect(address)
            sock.sendall(get("/", "Connection: close"))
            return sum(map(len, iter(lambda: sock.recv(BLOCK), b"")))

    async with running(app) as server:
        assert await asyncio.to_thread(download, server.server_address) > size
        await until(lambda: not server.connections)  # reported: asyncio logs an error of its own


@on_both_loops
async def test_a_client_that_reads_as_fast_as_a_handler_writes_does_not_stop_the_others() -> None:
    turns = meanwhile = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal meanwhile
        response.send_head(200)
        before = turns
        for _ in range(10_000):
            response.write(bytes(1000))
            await response.drain()
        meanwhile = turns - before

    counting = asyncio.create_task(count())
    await exchange(app, get())
    counting.cancel()
    assert meanwhile >= 10  # reported
