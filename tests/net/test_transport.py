"""TransportProtocol: what a connection has without HTTP, by a protocol that echoes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttpd.errors import ClientDisconnected
from aiohttpd.net.deadlines import Deadlines
from aiohttpd.net.transport import UNIX_PEER, TransferLimits, TransportProtocol, peer_of
from aiohttpd.testing import MemoryTransport

from ..support.loops import Peer, on_both_loops
from ..support.waiting import BOUND, until

MIB = 1024 * 1024


class Echo(TransportProtocol):
    """Sends back what it gets, in a later turn of the loop."""

    def __init__(self, deadlines: Deadlines, limits: TransferLimits) -> None:
        super().__init__(deadlines, limits)
        self.received = bytearray()
        self.turns = 0
        self.expired = 0

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.process_later()

    def _process(self) -> None:
        self.turns += 1
        self.out.send([bytes(self.received)])
        self.received.clear()

    def deadline_expired(self, now: float) -> None:
        super().deadline_expired(now)
        self.expired += 1
        self.out.close()


@asynccontextmanager
async def echoing(*, timeout: float = BOUND, window: int | None = None) -> AsyncIterator[tuple[Echo, Peer]]:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, 0.02)
    made: list[Echo] = []

    def factory() -> Echo:
        made.append(Echo(deadlines, TransferLimits(64 * MIB, 1000, timeout)))
        return made[-1]

    server = await loop.create_server(factory, "127.0.0.1", 0)
    sock = socket.socket()
    if window is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, server.sockets[0].getsockname())
        await until(lambda: made and hasattr(made[0], "out"))
        yield made[0], Peer(sock)
    finally:
        sock.close()
        for echo in made:
            echo.abort()
            await echo.wait_lost()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)  # uvloop closes what it has been given a turn later
        deadlines.close()


@on_both_loops
async def test_it_echoes_and_knows_both_ends() -> None:
    async with echoing() as (echo, peer):
        await peer.send(b"hello")
        assert await peer.receive() == b"hello"
        assert echo.client_address == peer.sock.getsockname()
        assert echo.server_address == peer.sock.getpeername()
        assert not echo.tls


@on_both_loops
async def test_what_comes_in_one_turn_is_processed_once() -> None:
    async with echoing() as (echo, _):
        for _ in range(3):
            echo.data_received(b"x")
        await until(lambda: echo.turns)
        assert echo.turns == 1
        assert not echo.received


@on_both_loops
async def test_a_peer_that_closes_its_side_is_told_to_those_who_wait() -> None:
    async with echoing() as (echo, peer):
        closed, lost = asyncio.create_task(echo.wait_closed()), asyncio.create_task(echo.wait_lost())
        await peer.send(b"last words")
        peer.half_close()
        await closed
        assert not lost.done()
        assert await peer.receive() == b"last words"  # our side stays open
        echo.abort()
        await lost
        await echo.wait_closed()  # at once from now on
        await echo.wait_lost()


@on_both_loops
async def test_a_reset_is_seen_while_nothing_is_read() -> None:
    async with echoing() as (echo, peer):
        echo.pause_reading()
        peer.reset()
        await echo.wait_closed()
        echo.abort()
        await echo.wait_lost()


@on_both_loops
async def test_a_peer_that_reads_nothing_is_cut() -> None:
    async with echoing(timeout=0.2, window=4096) as (echo, _):
        echo.out.send([bytes(16 * MIB)])
        try:
            while True:
                await echo.writable()
                await asyncio.sleep(0.01)
        except ClientDisconnected:
            assert echo.lost


@on_both_loops
async def test_a_timeout_of_ones_own() -> None:
    async with echoing(timeout=0.1, window=4096) as (echo, _):
        echo.set_timeout(BOUND)
        echo.out.send([bytes(16 * MIB)])
        await asyncio.sleep(0.5)  # several times what would else be the end
        assert not echo.lost
        echo.set_timeout(None)
        await echo.wait_lost()


@on_both_loops
async def test_one_deadline_at_a_time() -> None:
    async with echoing() as (echo, peer):
        deadlines = Deadlines(asyncio.get_running_loop(), 0.02)
        echo._deadlines = deadlines
        long, short = deadlines.fifo(BOUND), deadlines.fifo(0.05)
        echo.arm(long)
        echo.arm(short)
        assert (long, list(short)) == ({}, [echo])
        assert await peer.receive() == b""
        assert echo.expired == 1
        assert not short
        echo.disarm()  # harmless
        deadlines.close()


@on_both_loops
async def test_a_close_that_waits_for_the_peer() -> None:
    async with echoing() as (echo, peer):
        deadlines = Deadlines(asyncio.get_running_loop(), 0.02)
        echo._deadlines = deadlines
        echo.close_sending(deadlines.fifo(BOUND), most=10)
        assert await peer.receive() == b""
        echo.discard(10)
        assert not echo._transport.is_closing()
        echo.discard(1)  # more than it may
        await echo.wait_lost()
        deadlines.close()


async def test_peers_without_a_name() -> None:
    loop = asyncio.get_running_loop()

    class Nameless(MemoryTransport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return None if name == "peername" else default

    assert peer_of(Nameless(loop)) == UNIX_PEER
    assert peer_of(MemoryTransport(loop)) == ("127.0.0.1", 50000)


async def connected(limits: TransferLimits, transport: MemoryTransport) -> tuple[Echo, Deadlines]:
    deadlines = Deadlines(asyncio.get_running_loop(), 60)  # the tests sweep
    echo = Echo(deadlines, limits)
    transport.connect(echo)
    return echo, deadlines


async def test_a_transport_without_limits() -> None:
    """A program's own transport need not implement `set_write_buffer_limits`: `asyncio.Transport` does not."""

    class Bare(MemoryTransport):
        set_write_buffer_limits = asyncio.Transport.set_write_buffer_limits

    transport = Bare(asyncio.get_running_loop())
    _, deadlines = await connected(TransferLimits(MIB, 1000, BOUND), transport)
    transport.feed(b"hello")
    await until(lambda: transport.output == b"hello")
    transport.close()
    await transport.closed.wait()
    deadlines.close()


async def test_the_time_between_two_transfers_does_not_count() -> None:
    transport = MemoryTransport(asyncio.get_running_loop())
    echo, deadlines = await connected(TransferLimits(MIB, 1000, 10), transport)
    echo.pause_writing()
    deadlines.sweep(0)
    echo.resume_writing()
    deadlines.sweep(1)
    echo.pause_writing()
    deadlines.sweep(100)
    deadlines.sweep(108)
    assert not transport.is_closing()
    deadlines.sweep(109)  # 1 + 9 seconds of waiting, and no byte was taken
    assert transport.is_closing()
    await transport.closed.wait()
    deadlines.close()


async def test_small_pieces_that_wait_are_joined() -> None:
    """Otherwise a peer that reads again would cause a system call for each, all in one callback."""
    transport = MemoryTransport(asyncio.get_running_loop())
    echo, deadlines = await connected(TransferLimits(MIB, 1000, BOUND), transport)
    echo.pause_writing()
    pieces = [b"%06d" % number for number in range(40_000)]
    pieces[20_000] = bytes(200_000)
    for piece in pieces:
        echo.out.send([piece])
    echo.resume_writing()
    assert transport.output == b"".join(pieces)
    assert transport.writes < 10
    transport.close()
    await transport.closed.wait()
    deadlines.close()


async def test_what_is_held_back_counts() -> None:
    """It has been sent, but it is not in the kernel: a client that has gone cannot have received it."""
    transport = MemoryTransport(asyncio.get_running_loop())
    echo, deadlines = await connected(TransferLimits(MIB, 1000, BOUND), transport)
    out = echo.out
    out.hold()
    out.send([b"head", b"content"])
    assert (out.total, out.unsent, out.undelivered, out.delivered()) == (11, 11, 11, 0)
    out.release()
    assert (out.total, out.unsent, out.undelivered, out.delivered()) == (11, 0, 0, 11)
    transport.close()
    await transport.closed.wait()
    deadlines.close()
