"""Parts of WebSockets by themselves: pings and pongs (RFC 6455 section 5.5.3), keep-alive, headers, the end."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from aiohttpd import Config, ConnectionClosed
from aiohttpd.handlers.websocket.ending import Ending
from aiohttpd.handlers.websocket.heads import BINARY_HEADS, TEXT_HEADS, long_head
from aiohttpd.handlers.websocket.keepalive import Keepalive
from aiohttpd.handlers.websocket.pings import Pings
from aiohttpd.net.deadlines import Deadlines


async def test_a_pong_answers_all_earlier_pings() -> None:
    pings = Pings(asyncio.get_running_loop())
    answers = {data: pings.begin(data)[1] for data in (b"1", b"2", b"3", b"4")}
    answers[b"1"].cancel()  # its handler waits no more
    pings.answered(b"other")
    assert not answers[b"2"].done()
    pings.answered(b"3")
    assert [answer.done() for answer in answers.values()] == [True, True, True, False]
    assert 0 <= answers[b"3"].result() <= answers[b"2"].result()
    pings.answered(b"2")  # it has been answered
    assert not answers[b"4"].done()
    pings.answered(b"4")
    assert answers[b"4"].result() >= 0


async def test_the_content() -> None:
    pings = Pings(asyncio.get_running_loop())
    for wrong in (b"x" * 126, b"again"):
        pings.begin(b"again" if wrong == b"again" else b"x" * 125)
        with pytest.raises(ValueError, match="125 bytes"):
            pings.begin(wrong)
    pings.forget(b"again")
    pings.forget(b"unknown")
    pings.begin(b"again")
    contents = {pings.begin(None)[0] for _ in range(20)}
    assert len(contents) == 20
    assert {len(content) for content in contents} == {8}


async def test_the_end() -> None:
    pings = Pings(asyncio.get_running_loop())
    answers = [pings.begin(None)[1] for _ in range(3)]
    answers[0].cancel()
    pings.fail(lambda: ConnectionError("gone"))
    errors = [answer.exception() for answer in answers[1:]]
    assert [str(error) for error in errors] == ["gone", "gone"]
    assert errors[0] is not errors[1]


# The keep-alive.


class Watched:
    """A WebSocket that keeps what its `Keepalive` has it do."""

    def __init__(self, **options: float) -> None:
        self.received = self.sent = 0
        self.listens = True
        self.calls: list[object] = []
        usual = {"websocket_ping_interval": 20, "websocket_ping_timeout": 10, "websocket_close_timeout": 5}
        config = Config(**{**usual, **options})  # type: ignore[arg-type]
        self.deadlines = Deadlines(asyncio.get_running_loop())
        self.out = SimpleNamespace(paused=False)
        carrier: Any = SimpleNamespace(context=SimpleNamespace(config=config, deadlines=self.deadlines), out=self.out)
        self.keepalive = Keepalive(self, carrier)
        self.deadlines.sweep(0)

    def ping_now(self) -> None:
        self.calls.append("ping")
        self.keepalive.spoke = True

    def fail(self, code: int, reason: str) -> None:
        self.calls.append((code, reason))

    def cut(self) -> None:
        self.calls.append("cut")

    def by(self, now: float) -> list[object]:
        """What it has done up to a time, since the last call."""
        self.deadlines.sweep(now - 0.001)
        self.deadlines.sweep(now)
        self.deadlines.sweep(now)  # starts what has been armed
        calls, self.calls = self.calls, []
        return calls


OVERDUE = (1011, "keepalive ping timeout")


async def test_a_client_that_is_gone() -> None:
    watched = Watched()
    assert [watched.by(now) for now in (19.9, 20, 29.9, 30, 1000)] == [[], ["ping"], [], [OVERDUE], []]
    watched.deadlines.close()


@pytest.mark.parametrize("sign", ["a frame", "a message", "not read"])
async def test_a_client_that_is_there(sign: str) -> None:
    """Any bytes show it. While the server does not read, nothing can."""
    watched = Watched()
    assert watched.by(20) == ["ping"]
    if sign == "a frame":
        watched.keepalive.heard = True
    elif sign == "a message":
        watched.received += 1
    else:
        watched.listens = False
    assert watched.by(30) == []
    watched.listens = True
    assert [watched.by(now) for now in (49.9, 50, 60)] == [[], ["ping"], [OVERDUE]]
    watched.deadlines.close()


@pytest.mark.parametrize("sign", ["a frame", "a message"])
async def test_no_ping_while_both_sides_send(sign: str) -> None:
    watched = Watched()
    for now in (20, 40, 60):
        watched.received += 1
        if sign == "a frame":
            watched.keepalive.spoke = True
        else:
            watched.sent += 1
        assert watched.by(now) == []
    assert watched.by(80) == ["ping"]
    watched.deadlines.close()


async def test_no_ping_to_a_client_that_does_not_read() -> None:
    watched = Watched()
    watched.out.paused = True
    assert watched.by(20) == watched.by(40) == []
    watched.out.paused = False
    assert watched.by(60) == ["ping"]
    watched.deadlines.close()


async def test_options_of_the_keepalive() -> None:
    without_timeout = Watched(websocket_ping_timeout=0)
    assert [without_timeout.by(now) for now in (20, 39.9, 40, 60)] == [["ping"], [], ["ping"], ["ping"]]
    without_pings = Watched(websocket_ping_interval=0)
    assert without_pings.by(1000) == []
    for watched in (without_timeout, without_pings):
        watched.keepalive.begin_close()
        watched.by(1100)  # it begins here
        assert watched.by(1104.9) == []
        assert watched.by(1105) == ["cut"]
        watched.keepalive.begin_close()
        watched.keepalive.stop()
        assert watched.by(2000) == watched.by(3000) == []
        watched.deadlines.close()


async def test_the_close_takes_the_place_of_the_ping() -> None:
    watched = Watched()
    watched.by(18)
    watched.keepalive.begin_close()
    watched.by(18)
    assert [watched.by(now) for now in (20.1, 22.9, 23, 100)] == [[], [], ["cut"], []]
    watched.deadlines.close()


def test_the_shortest_header() -> None:
    """RFC 6455 section 5.2: the minimal number of bytes for the length."""
    for heads, first in ((TEXT_HEADS, b"\x81"), (BINARY_HEADS, b"\x82")):
        assert [heads[length] for length in (0, 125)] == [first + b"\x00", first + b"\x7d"]
        for length, rest in ((126, b"\x7e\0\x7e"), (65535, b"\x7e\xff\xff"), (65536, b"\x7f\0\0\0\0\0\1\0\0")):
            assert long_head(heads, length) == first + rest


def test_who_has_closed() -> None:
    """RFC 6455 section 7.1.5: the first Close frame counts; 1006 if there was none."""
    ending = Ending()
    for sent, by_both, alone in (
        (None, (4000, "theirs", True), (1006, "", True)),
        ((4001, "ours"), (4001, "ours", False), (4001, "ours", False)),
    ):
        ending.sent = sent
        for found, expected in ((ending.by_both(4000, "theirs"), by_both), (ending.exception(), alone)):
            assert (found.code, found.reason, found.by_client) == expected
    ending.error = ConnectionClosed(4002, "known", by_client=True)
    found = ending.exception()
    assert (found.code, found.reason, found.by_client) == (4002, "known", True)
    assert found is not ending.error
