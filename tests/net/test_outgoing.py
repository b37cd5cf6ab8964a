"""All ways to send, in any order, to a transport that pauses at any time: the peer gets the bytes in that order."""

import asyncio
import os
import random

import pytest

from aiohttpd import WriteBufferFull
from aiohttpd.net.outgoing import Outgoing
from aiohttpd.testing import MemoryTransport

KIB, MIB = 1024, 1024 * 1024
SIZES = [0, 1, 100, 16 * KIB - 1, 16 * KIB, 64 * KIB, 128 * KIB, 128 * KIB + 1, 2 * MIB + 1]
BYTES = os.urandom(3 * MIB)


class Pausing(MemoryTransport):
    """A transport that pauses writing after some writes; then `Outgoing` must write no more."""

    def __init__(self, chance: random.Random, *, tls: bool = False) -> None:
        super().__init__(asyncio.get_running_loop())
        self.chance = chance
        self.tls = tls
        self.largest = 0
        self.out = Outgoing(self, 100 * MIB)
        self.connect(asyncio.Protocol())

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (object() if self.tls else None) if name == "sslcontext" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.out.paused and not self.is_closing()
        self.largest = max(self.largest, len(data))
        super().write(data)
        if self.chance.random() < 0.2:
            self.out.pause()


def send(out: Outgoing, way: str, size: int, start: int) -> bytes:
    """Send some bytes in one of the ways; return them."""
    data = BYTES[start : start + size]
    if way in ("piece", "lend"):
        data = data[: 128 * KIB]
    if way == "piece":
        out.send_piece(data)
        return data
    if way == "frame":
        out.send_frame(b"head", data)
        return b"head" + data
    if way == "lend" and not out.paused:
        buffer = bytearray(data)
        if out.lend(memoryview(buffer)):
            buffer[:] = bytes(len(buffer))  # the caller uses it again
        return data
    cuts = sorted(start % (size + 1) for start in (size // 3, size // 2, start))
    out.send([data[: cuts[0]], data[cuts[0] : cuts[1]], data[cuts[1] : cuts[2]], data[cuts[2] :]])
    return data


@pytest.mark.parametrize("tls", [False, True])
async def test_the_order_of_bytes(tls: bool) -> None:
    for seed in range(60):
        chance = random.Random(seed)
        transport = Pausing(chance, tls=tls)
        out, expected = transport.out, bytearray()
        for _ in range(30):
            way = chance.choice(
                ["send", "send", "piece", "frame", "lend", "hold", "hold", "release", "resume", "pause"]
            )
            if way == "hold":
                out.hold()
            elif way == "release":
                out.release()
                assert out.paused or len(transport.output) == len(expected)
            elif way == "resume":
                if out.paused:
                    out.resume()
            elif way == "pause":  # uvloop writes at the end of a turn, and may pause then
                if not out.paused:
                    out.pause()
            else:
                expected += send(out, way, chance.choice(SIZES), chance.randrange(MIB))
            assert out.total == len(expected)
            assert out.unsent == len(expected) - len(transport.output), seed
            assert expected.startswith(transport.output), seed
        out.close()
        while out.paused:
            assert transport.is_closing() is False or transport.output == expected
            out.resume()
            await asyncio.sleep(0)
        assert transport.is_closing()
        assert transport.output == expected, seed
        assert transport.largest <= (144 * KIB + len(b"head") if tls else MIB)  # TLS encrypts it in one call
        await transport.closed.wait()


async def test_the_limit_of_what_waits() -> None:
    """One piece of any size may wait, since it is kept by reference; more only up to the limit."""
    for size, fits in ((1000, True), (1001, False)):
        transport = Pausing(random.Random(1))
        transport.out = out = Outgoing(transport, 100_000)
        out.pause()
        out.send([bytes(99_000)])
        if fits:
            out.send([bytes(size)])
            assert out.unsent == 100_000
        else:
            with pytest.raises(WriteBufferFull):
                out.send([bytes(size)])
            assert out.lost
        assert transport.is_closing() is not fits
        transport.close()
        await transport.closed.wait()
    transport = Pausing(random.Random(1))
    transport.out = out = Outgoing(transport, 100_000)
    out.pause()
    out.send([bytes(MIB)])
    with pytest.raises(WriteBufferFull):
        out.send([b"x"])
    await transport.closed.wait()
