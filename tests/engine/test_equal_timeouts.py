"""Options may give different deadlines the same duration; each still does what it is for."""

import asyncio

import pytest

import aiohttpd
from aiohttpd.engine.timeouts import Silence, Timeouts
from aiohttpd.net.deadlines import Deadlines
from aiohttpd.testing import running

from ..support.clients import connected, get
from ..support.loops import on_both_loops

SECONDS = 0.1
EQUAL = {
    "timeout_handler": SECONDS, "timeout_head": SECONDS, "timeout_idle": SECONDS, "timeout_linger": SECONDS,
    "access_log": False,
}  # fmt: skip


async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
    if request.path == "/waits":
        await asyncio.sleep(60)
    await asyncio.sleep(0)
    response.send_head(200)
    if request.path == "/aborts":
        response.write(b"begun")
        await response.drain()
        response.abort()
        await asyncio.sleep(60)


@on_both_loops
async def test_a_new_connection_is_closed() -> None:
    async with running(app, **EQUAL) as server, connected(server) as client:
        assert await client.rest() == b""


@on_both_loops
async def test_the_rest_of_a_head_is_refused() -> None:
    async with running(app, **EQUAL) as server, connected(server) as client:
        await client.send(b"GET / HTTP/1.1\r\n")
        assert (await client.answer()).status == 408


@on_both_loops
async def test_an_idle_connection_is_closed() -> None:
    async with running(app, **EQUAL) as server, connected(server) as client:
        await client.send(get())
        assert (await client.answer()).status == 200
        assert await client.rest() == b""


@on_both_loops
async def test_a_handler_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    async with running(app, **EQUAL) as server, connected(server) as client:
        await client.send(get("/waits"))
        assert (await client.answer()).status == 503
    assert ["timeout_handler" in str(record.exc_info) for record in caplog.records] == [True]
    caplog.clear()


@on_both_loops
async def test_a_peer_that_does_not_close_is_not_waited_for() -> None:
    """Although the handler, which has given its answer up, is still at work."""
    async with running(app, **EQUAL | {"timeout_grace": 0}) as server, connected(server) as client:
        await client.send(get("/aborts"))
        await client.rest()
        async with asyncio.timeout(10):
            while server.connections:  # the client has not closed its side
                await asyncio.sleep(0.01)
        assert len(server.orphans) == 1
        await server.shutdown(0)


def test_a_socket_timeout_begins_anew_with_each_byte() -> None:
    """It is for each wait, within the timeout of the whole head."""
    silence = Silence(2, 5)
    for _ in range(2):
        assert [silence.goes_on(heard) for heard in (1, 2)] == [True, True]
        assert not silence.goes_on(3)  # 6 seconds
        silence.begin()
        assert not silence.goes_on(0)  # nothing has come
        silence.begin()
        assert silence.goes_on(5)
        assert not silence.goes_on(5)
        silence.begin()


@pytest.mark.parametrize(
    ("seconds", "rounded"), [(0.3, 0.3), (1, 1), (1.01, 1.1), (9.99, 10), (123.4, 130), (60, 60), (0.1234, 0.13)]
)
async def test_few_durations_have_a_queue(seconds: float, rounded: float) -> None:
    """Handlers may set any timeout of a socket: it is rounded up to two digits."""
    deadlines = Deadlines(asyncio.get_running_loop())
    usual = Timeouts(deadlines, aiohttpd.Config(timeout_head=10))
    timeouts = usual.of_socket(seconds)
    assert timeouts.silence is not None
    assert timeouts.silence.seconds == seconds
    [duration] = [duration for duration, fifo in deadlines._fifos.items() if fifo is timeouts.idle]
    assert duration == pytest.approx(rounded)
    assert usual.of_socket(seconds).idle is timeouts.idle
    assert (timeouts.head is timeouts.idle) is (rounded <= 10)
    assert (timeouts.head is usual.head) is (rounded >= 10)
    assert timeouts.linger is usual.linger
    deadlines.close()
