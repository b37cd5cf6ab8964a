"""Transfers of files, counted: system calls, bytes of one turn of the loop, wake-ups; by a ``sendfile`` of the test."""

import asyncio
import errno
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from aiohttpd import Request, StreamWriter
from aiohttpd.errors import ClientDisconnected
from aiohttpd.net import sendfile
from aiohttpd.net.deadlines import Deadlines
from aiohttpd.net.outgoing import Outgoing
from aiohttpd.net.sendfile import FileTransfer
from aiohttpd.net.transport import TransferLimits, TransportProtocol
from aiohttpd.testing import MemoryTransport, running

from ..support.loops import joined, on_both_loops
from ..support.waiting import BOUND, until

MIB = 1024 * 1024
TAIL = 4096  # bytes that are sent after the check
TURN = 4 * MIB  # bytes of one turn of the loop, and at most one piece more
pytestmark = pytest.mark.skipif(not hasattr(os, "sendfile"), reason="the system has no sendfile")


class Takes:
    """In place of ``os.sendfile``: a socket that takes a number of bytes at a time, and is full after each."""

    def __init__(self, most: int | None = None, *, full: bool = False) -> None:
        self.most = most
        self.full = full
        self.size: int | None = None  # of the file, if it has become shorter
        self.calls: list[tuple[int, int]] = []  # offset and bytes sent

    def __call__(self, out: int, file: int, offset: int, count: int) -> int:
        if self.full:
            raise BlockingIOError
        taken = count if self.most is None else min(count, self.most)
        if self.size is not None:
            taken = max(0, min(taken, self.size - offset))
        self.calls.append((offset, taken))
        return taken

    @property
    def total(self) -> int:
        return sum(taken for _, taken in self.calls)


@pytest.fixture
def takes(monkeypatch: pytest.MonkeyPatch) -> Takes:
    made = Takes()
    monkeypatch.setattr(os, "sendfile", made)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    """The descriptor of a file of 20 MiB."""
    path = tmp_path / "file"
    path.touch()
    os.truncate(path, 20 * MIB)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[TransportProtocol, socket.socket]]:
    """A connection, and the socket of its peer."""
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, 0.02)
    protocol = TransportProtocol(deadlines, TransferLimits(64 * MIB, 1000, BOUND))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    await loop.connect_accepted_socket(lambda: protocol, ours)
    try:
        yield protocol, theirs
    finally:
        protocol.abort()
        await protocol.wait_lost()
        theirs.close()
        await asyncio.sleep(0)  # uvloop closes what it has been given a turn later
        deadlines.close()


@asynccontextmanager
async def connection() -> AsyncIterator[TransportProtocol]:
    async with pair() as (protocol, _):
        yield protocol


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[object]:
    """Have the calls of a function of `os` counted."""
    calls: list[object] = []
    function = getattr(os, name)

    def counting(*args: object) -> object:
        calls.append(args)
        return function(*args)

    monkeypatch.setattr(os, name, counting)
    return calls


def nothing(_: int) -> None:
    pass


async def finished(rest: Awaitable[None] | None) -> None:
    if rest is not None:
        await rest


@on_both_loops
async def test_a_reader_that_keeps_up(takes: Takes, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call for each MiB and one for the tail; no descriptor of its own, nothing to be awaited."""
    asked, doubled = count_calls(monkeypatch, "preadv"), count_calls(monkeypatch, "dup")
    checks: list[int] = []
    passed: list[int] = []

    def check() -> bool:
        checks.append(takes.total)
        return True

    async with connection() as protocol:
        before = protocol.out.total
        transfer = protocol.file_transfer(file)
        assert transfer.send(0, 3 * MIB, check, passed.append) is None
        transfer.close()
        assert protocol.out.total - before == sum(passed) == 3 * MIB
    assert [taken for _, taken in takes.calls] == passed == [MIB, MIB, MIB - TAIL, TAIL]
    assert checks == [3 * MIB - TAIL] and not doubled
    if hasattr(os, "RWF_NOWAIT"):
        assert len(asked) == 3  # whether the bytes are in the page cache, for each MiB


@on_both_loops
async def test_a_slow_reader(takes: Takes, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop goes on whenever the socket can be written to; the task is woken once, and one descriptor is doubled."""
    takes.most = 100_000
    doubled = count_calls(monkeypatch, "dup")
    async with connection() as protocol:
        transfer = protocol.file_transfer(file)
        rest = transfer.send(5, 3 * MIB, lambda: True, nothing)
        assert rest is not None and len(takes.calls) == 1
        wakes = 0

        class Counted:
            """Awaits as a task does, and counts how often."""

            def __await__(self) -> Iterator[object]:
                nonlocal wakes
                steps = rest.__await__()
                for step in steps:
                    wakes += 1
                    yield step

        await Counted()
        transfer.close()
        assert (takes.total, wakes, len(doubled)) == (3 * MIB, 1, 1)
        assert not protocol.out.paused and protocol.out.companion is None
    positions = [offset for offset, _ in takes.calls]
    assert positions == sorted(set(positions)) and positions[0] == 5


@on_both_loops
@pytest.mark.parametrize(("taken", "cold"), [(0, False), (3, False), (None, False), (None, True)])
@pytest.mark.parametrize("before", [0, 4 * MIB])
async def test_what_was_sent_before_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int, taken: int | None, cold: bool
) -> None:
    """Also if the transport could not write all of it, or the socket has taken only a part of what was held back."""
    if cold:
        monkeypatch.setattr(sendfile, "_in_memory", lambda descriptor, offset: False)
    send_more = sendfile._send_more
    monkeypatch.setattr(sendfile, "_send_more", lambda transport, data: send_more(transport, data[:taken]))
    path = tmp_path / "file"
    path.write_bytes(b"content" * 20_000)
    expected = b"x" * before + b"pipelined" + b"head" + path.read_bytes()
    received = bytearray()
    async with pair() as (protocol, theirs):
        if before:
            protocol.out.send([b"x" * before])
        assert protocol.out.paused is (before > 0)
        protocol.out.hold()
        protocol.out.send([b"pipelined"])
        with path.open("rb") as file:
            transfer = protocol.file_transfer(file.fileno())
            protocol.out.send([b"head"])
            sending = asyncio.ensure_future(finished(transfer.send(0, 140_000, None, nothing)))
            theirs.setblocking(False)
            while len(received) < len(expected):
                received += await asyncio.get_running_loop().sock_recv(theirs, MIB)
            await sending
            transfer.close()
        assert protocol.out.total == len(expected)
    assert received == expected


@on_both_loops
@pytest.mark.parametrize("full_first", [False, True])
async def test_one_turn_is_bounded(takes: Takes, file: int, full_first: bool) -> None:
    """However much the socket takes, other callbacks run after some bytes."""
    takes.full = full_first
    turns: list[int] = []
    loop = asyncio.get_running_loop()

    def turn() -> None:
        turns.append(takes.total)
        if takes.total < 20 * MIB:
            takes.full = False
            loop.call_soon(turn)

    async with connection() as protocol:
        transfer = protocol.file_transfer(file)
        loop.call_soon(turn)
        await finished(transfer.send(0, 20 * MIB, None, nothing))
        transfer.close()
    assert takes.total == 20 * MIB
    sent = [after - before for before, after in zip([0, *turns], [*turns, 20 * MIB], strict=False)]
    assert max(sent) <= TURN + MIB


@on_both_loops
@pytest.mark.parametrize("most", [None, 100_000])
async def test_the_file_changes(takes: Takes, file: int, most: int | None) -> None:
    """Its last bytes are not sent."""
    takes.most = most
    async with connection() as protocol:
        transfer = protocol.file_transfer(file)
        with pytest.raises(EOFError, match="changed"):
            await finished(transfer.send(0, MIB, lambda: False, nothing))
        transfer.close()
    assert takes.total == MIB - TAIL


@on_both_loops
@pytest.mark.parametrize("size", [0, 300_000, MIB - 1])
async def test_the_file_becomes_shorter(takes: Takes, file: int, size: int) -> None:
    """Whether before the first byte, among the others, or after the check."""
    takes.size = size
    async with connection() as protocol:
        transfer = protocol.file_transfer(file)
        with pytest.raises(EOFError, match=f"ended at {size} bytes"):
            await finished(transfer.send(0, MIB, lambda: True, nothing))
        transfer.close()
    assert takes.total == size


@on_both_loops
@pytest.mark.parametrize("way", ["lost", "reset", "cancelled"])
async def test_the_end_while_the_socket_is_full(takes: Takes, file: int, way: str) -> None:
    """The task learns of it, and the doubled descriptor is closed."""
    takes.full = True
    async with connection() as protocol:
        before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
        transfer = protocol.file_transfer(file)
        task = asyncio.ensure_future(finished(transfer.send(0, MIB, None, nothing)))
        await until(lambda: protocol.out.paused)
        if way == "lost":
            protocol.out.lose()
        elif way == "cancelled":
            task.cancel()
        else:

            def reset(*_: int) -> int:
                raise ConnectionResetError(errno.ECONNRESET, "reset")

            takes.full = False
            os.sendfile = reset  # `takes` restores it
        with pytest.raises(asyncio.CancelledError if way == "cancelled" else ClientDisconnected):
            await task
        assert protocol.out.lost is (way != "cancelled")
        transfer.close()
        if before:
            await until(lambda: set(os.listdir("/proc/self/fd")) <= before)


@on_both_loops
async def test_bytes_that_are_not_in_memory(takes: Takes, file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read in a thread, and not by the loop; then they are sent without a second question."""
    if not hasattr(os, "RWF_NOWAIT"):
        pytest.skip("the kernel cannot tell")
    questions = 0

    def cold(*_: object) -> int:
        nonlocal questions
        questions += 1
        raise BlockingIOError

    monkeypatch.setattr(os, "preadv", cold)
    read = count_calls(monkeypatch, "pread")
    async with connection() as protocol:
        transfer = protocol.file_transfer(file)
        await finished(transfer.send(0, 2 * MIB, lambda: True, nothing))
        transfer.close()
    assert (takes.total, questions, len(read)) == (2 * MIB, 2, 2)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="the system cannot tell what is in memory")
async def test_a_file_that_is_read_and_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with TLS. The head does not wait for the disk."""
    path = tmp_path / "file"
    path.write_bytes(b"content" * 100_000)
    transport = MemoryTransport(asyncio.get_running_loop())
    transport.connect(asyncio.Protocol())
    sent_before: list[int] = []
    pread = os.pread

    def cold(descriptor: int, *rest: object) -> int:
        raise BlockingIOError

    def reading(descriptor: int, count: int, offset: int) -> bytes:
        assert threading.current_thread() is not threading.main_thread()
        sent_before.append(len(transport.output))
        return pread(descriptor, count, offset)

    monkeypatch.setattr(os, "preadv", cold)
    monkeypatch.setattr(os, "pread", reading)
    with path.open("rb") as file:
        out = Outgoing(transport, MIB)
        transfer = FileTransfer(out, file.fileno())
        out.send([b"head"])
        await finished(transfer.send(7, 350_000, None, nothing))
        transfer.close()
    assert transport.output == b"head" + b"content" * 50_000
    assert sent_before[0] == 4 and len(sent_before) > 1
    transport.close()
    await transport.closed.wait()


class Keeping(MemoryTransport):
    """A transport that keeps what is written by reference, as asyncio's do with what the socket has not taken."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, keeps: bool) -> None:
        super().__init__(loop)
        self.keeps = keeps
        self.kept: list[bytes | bytearray | memoryview] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.kept.append(data if self.keeps else bytes(data))

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.kept)) if self.keeps else 0


@pytest.mark.parametrize("keeps", [False, True])
async def test_memory_is_used_again_only_if_it_is_free(tmp_path: Path, keeps: bool) -> None:
    """What is read, for TLS, is in one piece of memory, as long as no transport refers to it."""
    content = os.urandom(MIB + 5)
    path = tmp_path / "file"
    path.write_bytes(content)
    transport = Keeping(asyncio.get_running_loop(), keeps=keeps)
    out = Outgoing(transport, MIB)
    with path.open("rb") as opened:
        await finished(FileTransfer(out, opened.fileno()).send(3, MIB, lambda: True, nothing))
        assert b"".join(transport.kept) == content[3 : MIB + 3]
        transport.kept.clear()
        called: Callable[[], bool] = lambda: False  # noqa: E731
        with pytest.raises(EOFError, match="changed"):
            await finished(FileTransfer(out, opened.fileno()).send(0, MIB, called, nothing))
    assert 0 < sum(map(len, transport.kept)) < MIB
    assert out.total == MIB + sum(map(len, transport.kept))


async def test_pipelined_answers_keep_their_order(tmp_path: Path) -> None:
    """What is held back is sent before the pieces of a file."""
    path = tmp_path / "file"
    path.write_bytes(b"file")
    transport = Keeping(asyncio.get_running_loop(), keeps=False)
    out = Outgoing(transport, MIB)
    out.hold()
    out.send([b"before "])
    with path.open("rb") as opened:
        await finished(FileTransfer(out, opened.fileno()).send(0, 4, None, nothing))
    out.send([b" after"])
    out.release()
    assert b"".join(transport.kept) == b"before file after"


@on_both_loops
async def test_no_descriptor_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket cannot be watched beside its transport: the rest is read and written by the transport."""

    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    content = os.urandom(10 * MIB)  # more than both kernels take
    (tmp_path / "file").write_bytes(content)

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [("Content-Length", len(content))])
        monkeypatch.setattr(os, "dup", refuse)
        with open(tmp_path / "file", "rb") as file:
            await response.sendfile(file, check=lambda: True)

    async with running(app) as server, joined(server, window=8192) as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await until(lambda: server.in_flight)
        assert (await peer.rest()).endswith(b"\r\n\r\n" + content)
