"""The head leaves in one system call with what follows it, since a small segment alone costs the receiver dearly."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiohttpd import BaseHTTPRequestHandler, HTTPServer
from aiohttpd.net.outgoing import LEADING, Outgoing
from aiohttpd.net.sendfile import FileTransfer
from aiohttpd.testing import MemoryTransport

from ..support.loops import on_both_loops
from ..support.waiting import BOUND

MIB = 1024 * 1024
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"


class Recorded(MemoryTransport):
    """A transport that keeps a copy of each write."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.pieces: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def get_write_buffer_size(self) -> int:
        return 0


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("size", [200_000, MIB, 5 * MIB + 1])
async def test_content_in_memory(held: bool, size: int) -> None:
    """Then there are few writes, none of which is too large for one turn of the loop."""
    transport = Recorded()
    out = Outgoing(transport, MIB)
    content = os.urandom(size)
    if held:
        out.hold()
        out.send([b"before"])
        assert not transport.pieces
    out.send([HEAD, content])
    sizes = [len(piece) for piece in transport.pieces]
    assert b"".join(transport.pieces) == b"before" * held + HEAD + content
    assert sizes[0] == len(b"before") * held + len(HEAD) + LEADING
    assert len(sizes) == 1 + -(-(size - LEADING) // MIB) and max(sizes) <= MIB
    assert out.total == sum(sizes) and out.held is None


async def test_a_large_chunk_that_is_held_back() -> None:
    """Its last piece, the line end, is small. It is too large for one write all the same."""
    transport, content = Recorded(), os.urandom(5 * MIB)
    out = Outgoing(transport, MIB)
    out.hold()
    out.send([HEAD, b"%x\r\n" % len(content), content, b"\r\n"])
    out.release()
    assert b"".join(transport.pieces) == HEAD + b"500000\r\n" + content + b"\r\n"
    assert max(map(len, transport.pieces)) <= MIB
    assert out.total == sum(map(len, transport.pieces)) and out.held is None


async def test_a_large_piece_before_which_nothing_is_held_back() -> None:
    """None of it is copied."""
    transport = Recorded()
    out = Outgoing(transport, MIB)
    out.hold()
    out.send([bytes(200_000)])
    assert transport.pieces == [bytes(200_000)] and out.held is None


async def test_a_file_that_is_read(tmp_path: Path) -> None:
    """As with TLS: the first record that is sent has the head and content."""
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)
    transport = Recorded()
    out = Outgoing(transport, MIB)
    with (tmp_path / "file").open("rb") as file:
        transfer = FileTransfer(out, file.fileno())
        out.send([HEAD])
        assert not transport.pieces
        rest = transfer.send(0, len(content), None, lambda _: None)
        assert rest is not None
        await rest
    assert b"".join(transport.pieces) == HEAD + content and len(transport.pieces[0]) == len(HEAD) + LEADING
    assert out.total == len(HEAD) + len(content)


@asynccontextmanager
async def asked(handler: type[BaseHTTPRequestHandler]) -> AsyncIterator[socket.socket]:
    """A client that has sent a request over TCP; it does not block."""
    async with HTTPServer(("127.0.0.1", 0), handler) as server:
        with socket.create_connection(("127.0.0.1", server.server_port)) as client:
            client.setblocking(False)
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            yield client


def arrived(client: socket.socket) -> int:
    """How many bytes the client could read now."""
    try:
        return len(client.recv(4096, socket.MSG_PEEK))
    except BlockingIOError:
        return 0


async def read(client: socket.socket, count: int) -> bytes:
    """Read the head and ``count`` bytes."""
    received = b""
    while not received or len(received.partition(b"\r\n\r\n")[2]) < count:
        received += await asyncio.get_running_loop().sock_recv(client, MIB)
    return received.partition(b"\r\n\r\n")[2]


def handler_of(path: Path) -> type[BaseHTTPRequestHandler]:
    class Sends(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            with path.open("rb") as file:
                self.send_response(200)
                self.send_header("Content-Length", str(path.stat().st_size))
                self.end_headers()
                await self.wfile.sendfile(file)

    return Sends


@pytest.mark.skipif(not hasattr(socket, "MSG_MORE"), reason="the system has no MSG_MORE")
@on_both_loops
@pytest.mark.parametrize("size", [1, 5000, MIB])
async def test_a_file_by_sendfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Nothing has been sent when ``sendfile`` is called first."""
    path = tmp_path / "file"
    path.write_bytes(content := os.urandom(size))
    seen: list[int] = []
    sendfile = os.sendfile

    def observed(*args: int) -> int:
        seen.append(arrived(client))
        return sendfile(*args)

    monkeypatch.setattr(os, "sendfile", observed)
    async with asked(handler_of(path)) as client:
        assert await read(client, size) == content
    assert seen[0] == 0


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the kernel cannot tell what is in the page cache")
@on_both_loops
async def test_the_head_does_not_wait_for_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent before a thread reads the file."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    has_head = threading.Event()
    waited: list[bool] = []
    pread = os.pread

    def cold(*_: object) -> int:
        raise BlockingIOError

    def slow(descriptor: int, count: int, offset: int) -> bytes:
        waited.append(has_head.wait(BOUND))
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "preadv", cold)
    monkeypatch.setattr(os, "pread", slow)
    async with asked(handler_of(path)) as client:
        assert await read(client, 0) == b""
        has_head.set()
        assert await asyncio.get_running_loop().sock_recv(client, 100) == b"content"
    assert waited == [True]
