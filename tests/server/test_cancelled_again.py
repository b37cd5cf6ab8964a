"""A task that is cancelled in each turn of the loop until it ends, as by a cancel scope of anyio.

Nothing of a server may be left when the task has ended.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiohttpd import HTTPServer

from ..support.clients import Waiting, connected, echo_path, get
from ..support.loops import on_both_loops
from ..support.waiting import BOUND

HERE = ("127.0.0.1", 0)


class Life:
    """A lifespan whose cleanup takes some turns."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.entering = asyncio.Event()
        self.may_enter = asyncio.Event()

    @asynccontextmanager
    async def __call__(self, server: HTTPServer) -> AsyncIterator[None]:
        try:
            self.entering.set()
            await self.may_enter.wait()
            yield
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            self.events.append("left")


async def cancel_until_done(task: asyncio.Task[Any]) -> None:
    async with asyncio.timeout(BOUND):
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
    assert task.cancelled()


async def block_of(server: HTTPServer) -> None:
    async with server:
        await asyncio.Event().wait()


async def end_of(server: HTTPServer) -> None:
    """The block is left before it is cancelled."""
    async with server:
        pass


@pytest.mark.parametrize("serve", [HTTPServer.serve_forever, block_of])
@on_both_loops
async def test_a_server(serve: Any) -> None:
    """FAULT: it went on listening, and the lifespan was left later; handlers in flight were left behind."""
    life, app = Life(), Waiting()
    life.may_enter.set()
    server = HTTPServer(HERE, app, lifespan=life)
    task = asyncio.create_task(serve(server))
    await _started(server)
    async with connected(server) as client:
        await client.send(get())
        await app.begun.wait()
        await cancel_until_done(task)
    await _check_nothing_left(server, life)


@on_both_loops
async def test_the_end_of_a_block() -> None:
    """The usual end gives requests in flight some time; a cancellation ends that."""
    life = Life()
    life.may_enter.set()
    server = HTTPServer(HERE, echo_path, lifespan=life)
    task = asyncio.create_task(end_of(server))
    await _started(server)
    await server.shutting_down.wait()
    await cancel_until_done(task)
    await _check_nothing_left(server, life)


@on_both_loops
async def test_a_start() -> None:
    life = Life()
    server = HTTPServer(HERE, echo_path, lifespan=life)
    task = asyncio.create_task(server.start())
    await life.entering.wait()
    await cancel_until_done(task)
    assert life.events == ["left"]
    assert all(sock.fileno() == -1 for sock in server.sockets)


@on_both_loops
async def test_a_server_in_its_own_handler() -> None:
    """The shutdown waits for the handler, which must not wait for the shutdown."""

    async def app(request: Any, response: Any) -> None:
        own: Any = asyncio.current_task()
        asyncio.get_running_loop().call_soon(own.cancel)
        with pytest.raises(asyncio.CancelledError):
            await server.__aexit__(LookupError, None, None)
        response.send_head(204)

    server = HTTPServer(HERE, app)
    await server.start()
    async with connected(server) as client:
        assert (await client.ask()).status == 204
    async with asyncio.timeout(BOUND):
        await server.serve_forever()


async def test_cancelled_once_it_waits_for_the_requests_in_flight() -> None:
    app = Waiting()
    server = HTTPServer(HERE, app)
    task = asyncio.create_task(server.serve_forever())
    await _started(server)
    async with connected(server) as client:
        await client.send(get())
        await app.begun.wait()
        task.cancel()
        await server.shutting_down.wait()
        app.released.set()
        assert (await client.answer()).status == 200
    await asyncio.wait([task])
    assert task.cancelled()


async def _started(server: HTTPServer) -> None:
    async with asyncio.timeout(BOUND):
        while not server.addresses:
            await asyncio.sleep(0)
        await asyncio.sleep(0)


async def _check_nothing_left(server: HTTPServer, life: Life) -> None:
    assert life.events == ["left"]
    assert not server.connections
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*server.server_address)
