"""Pings that wait for their pongs (RFC 6455 section 5.5.3): which pong answers which."""

import asyncio

import pytest

from aiohttpd.handlers.websocket.pings import Pings


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
