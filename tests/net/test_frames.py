"""Frames of protocols that have many: `Outgoing.send_piece` and `send_frame` do what `send` does."""

import asyncio
import os

import pytest

from aiohttpd import WriteBufferFull
from aiohttpd.net.outgoing import Outgoing
from aiohttpd.testing import MemoryTransport

MIB = 1024 * 1024
SIZES = [0, 1, 125, 16 * 1024 - 1, 16 * 1024, 64 * 1024, 128 * 1024, 128 * 1024 + 1, 2 * MIB]


class Recorded(MemoryTransport):
    """A transport that keeps the calls of its methods."""

    def __init__(self, *, tls: bool = False) -> None:
        super().__init__(asyncio.get_running_loop())
        self.calls: list[str] = []
        self.tls = tls

    def get_extra_info(self, name: str, default: object = None) -> object:
        return (object() if self.tls else None) if name == "sslcontext" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.calls.append("write")
        super().write(data)

    def abort(self) -> None:
        self.calls.append("abort")

    def writelines(self, parts: object) -> None:
        super().writelines(parts)  # type: ignore[arg-type]
        self.calls[-1] = "writelines"


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("size", SIZES)
async def test_a_frame(size: int, tls: bool) -> None:
    """One call of the transport, but for content that is sent in slices; with TLS it is one record."""
    transport = Recorded(tls=tls)
    out = Outgoing(transport, 4 * MIB)
    content = os.urandom(size)
    out.send_frame(b"head", content)
    assert transport.output == b"head" + content
    assert out.total == 4 + size
    if size <= 128 * 1024:
        assert len(transport.calls) == 1
    if tls or size < 16 * 1024:
        assert set(transport.calls) == {"write"}


async def test_a_frame_to_a_connection_that_is_lost() -> None:
    """FAULT: asyncio's `writelines` left its socket in the selector: the next connection with that number was deaf."""
    transport = Recorded()
    transport.connect(asyncio.Protocol())
    transport.close()
    Outgoing(transport, MIB).send_frame(b"head", bytes(64 * 1024))
    assert "writelines" not in transport.calls


async def test_frames_that_are_held_back_keep_their_order() -> None:
    transport = Recorded()
    out = Outgoing(transport, MIB)
    out.hold()
    out.send_piece(b"1")
    out.send_frame(b"2", b"3")
    assert not transport.calls
    out.send_frame(b"4", bytes(65536))
    out.send_piece(b"5")
    out.release()
    assert transport.output == b"1234" + bytes(65536) + b"5"
    assert out.total == 5 + 65536


async def test_frames_for_a_slow_peer_wait_within_the_limit() -> None:
    transport = Recorded()
    out = Outgoing(transport, 100_000)
    out.pause()
    out.send_piece(b"1")
    out.send_frame(b"2", bytes(60_000))
    assert not transport.calls
    with pytest.raises(WriteBufferFull):
        out.send_frame(b"3", bytes(60_000))
    assert transport.calls == ["abort"]


async def test_what_waits_is_sent_in_order() -> None:
    transport = Recorded()
    out = Outgoing(transport, MIB)
    out.pause()
    out.send_frame(b"1", bytes(60_000))
    out.send_piece(b"2")
    out.resume()
    out.send_piece(b"3")
    assert transport.output == b"1" + bytes(60_000) + b"23"


async def test_nothing_is_sent_after_the_end() -> None:
    transport = Recorded()
    out = Outgoing(transport, MIB)
    out.lose()
    out.send_piece(b"1")
    out.send_frame(b"2", bytes(65536))
    assert not transport.calls
