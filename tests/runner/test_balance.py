"""Workers on the same sockets: each takes its part of the connections."""

import asyncio
import errno
import os
import socket
import tempfile
from collections.abc import Iterator

import pytest

from aiohttpd.engine.response import StreamWriter
from aiohttpd.runner.balance import Balance, ConnectionTable
from aiohttpd.testing import running
from aiohttpd.wire.request import Request

from ..support.loops import on_both_loops


class FakeServer:
    """Has a load, and remembers what it was told."""

    def __init__(self, load: int) -> None:
        self.load = load
        self.told: list[str] = []
        self.resumed = asyncio.Event()

    async def pause(self) -> None:
        self.told.append("pause")

    async def resume(self) -> None:
        self.told.append("resume")
        self.resumed.set()


async def no_content(request: Request, response: StreamWriter) -> None:
    response.send_head(204)


@pytest.fixture
def table() -> Iterator[ConnectionTable]:
    with tempfile.TemporaryFile() as file:
        yield ConnectionTable.create(file.fileno())


async def test_one_alone_never_waits(table: ConnectionTable) -> None:
    server = FakeServer(1000)
    Balance(table, 0, server).accepted()
    await asyncio.sleep(0)
    assert server.told == []


@pytest.mark.parametrize(("own", "others", "waits"), [(4, [0], True), (3, [0], False), (115, [100], False),
                                                      (116, [100], True), (40, [100, 20, 50], True)])  # fmt: skip
async def test_who_has_more_lets_others_go_first(
    table: ConnectionTable, own: int, others: list[int], waits: bool
) -> None:
    for slot, number in enumerate(others, 1):
        table.set(slot, number)
    server = FakeServer(own)
    Balance(table, 0, server).accepted()
    if waits:
        await server.resumed.wait()
    assert server.told == (["pause", "resume"] if waits else [])


async def test_others_that_take_nothing_are_not_waited_for_again(table: ConnectionTable) -> None:
    table.set(1, 0)
    server = FakeServer(100)
    balance = Balance(table, 0, server)
    balance.accepted()
    await server.resumed.wait()
    balance.accepted()
    await asyncio.sleep(0)
    assert server.told == ["pause", "resume"]


async def test_who_does_not_accept_does_not_count(table: ConnectionTable) -> None:
    server = FakeServer(100)
    table.set(1, 0)
    table.clear(1)
    Balance(table, 0, server).accepted()
    other = Balance(table, 2, FakeServer(0))
    assert table.others(0) == [0]
    other.end()
    assert table.others(0) == []
    await asyncio.sleep(0)
    assert server.told == []


async def test_a_burst_counts_before_it_is_in_the_books(table: ConnectionTable) -> None:
    table.set(1, 0)
    server = FakeServer(0)
    balance = Balance(table, 0, server)
    for _ in range(4):
        balance.accepted()
    assert table.others(1) == [4]
    await asyncio.sleep(0)
    server.load = 4
    assert server.told == []
    balance.accepted()
    assert table.others(1) == [5]
    await server.resumed.wait()
    assert server.told == ["pause", "resume"]


async def test_without_descriptors_it_goes_on_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And nothing is left of that if the server ends meanwhile."""
    monkeypatch.setattr("aiohttpd.server.acceptor._REST", 0.01)
    tried = asyncio.Event()

    def exhausted(sock: socket.socket) -> tuple[socket.socket, object]:
        tried.set()
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with running(no_content) as server:
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", exhausted)
            reader, writer = await asyncio.open_connection(*server.server_address)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            for _ in range(2):  # it tries again
                tried.clear()
                await tried.wait()
            assert server.acceptor is not None
            assert server.acceptor.load == 0
        assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
        writer.close()
        monkeypatch.setattr("aiohttpd.server.acceptor._REST", 3600)
        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "accept", exhausted)
            tried.clear()
            _, writer = await asyncio.open_connection(*server.server_address)
            await tried.wait()
            await server.shutdown()
            writer.close()
    assert len(asyncio.all_tasks()) == 1
    assert set(caplog.messages) == {"no connection can be accepted: Too many open files"}
    caplog.clear()


@on_both_loops
async def test_a_server_that_waits_refuses_nobody() -> None:
    async with running(no_content) as server:
        accepted = 0

        def count() -> None:
            nonlocal accepted
            accepted += 1

        acceptor = server.acceptor
        assert acceptor is not None
        acceptor.on_accept(count)
        await acceptor.pause()
        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        await asyncio.sleep(0.05)
        assert accepted == acceptor.load == 0
        await acceptor.begin()
        assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
        assert accepted == 1
        writer.close()
    await acceptor.begin()  # too late: nothing comes of it
    assert acceptor.load == 0


@on_both_loops
@pytest.mark.parametrize("last", [True, False])
async def test_what_waits_at_the_end(last: bool) -> None:
    """It is taken by who is the last to accept from a socket, and else left to others."""

    async with running(no_content) as server:
        assert server.acceptor is not None
        with server.sockets[0].dup() as other:
            await server.acceptor.pause()
            streams = [await asyncio.open_connection(*server.server_address) for _ in range(3)]
            for _, writer in streams:
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await server.shutdown(last=last)
            if not last:
                other.accept()[0].close()
        for reader, writer in streams:
            if last:
                assert (await reader.read()).startswith(b"HTTP/1.1 204 ")
            writer.close()
