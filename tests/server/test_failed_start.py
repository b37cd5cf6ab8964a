"""A start that fails or is cancelled: who waits for the server is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from aiohttpd import BindError, HTTPServer

from ..support.clients import echo_path
from ..support.loops import on_both_loops
from ..support.waiting import BOUND

HERE = ("127.0.0.1", 0)


@asynccontextmanager
async def broken(server: HTTPServer) -> AsyncIterator[None]:
    await asyncio.sleep(0.01)
    raise KeyError("broken")
    yield


@on_both_loops
async def test_those_who_wait_for_a_server_whose_start_fails() -> None:
    """FAULT: serve_forever() waited for ever, beside the call of start() and after it."""
    server = HTTPServer(HERE, echo_path, lifespan=broken)
    async with asyncio.timeout(BOUND):
        start = asyncio.create_task(server.start())
        await asyncio.sleep(0)
        for _ in range(2):
            with pytest.raises(RuntimeError, match="its start.. has failed"):
                await server.serve_forever()
        with pytest.raises(KeyError, match="broken"):
            await start
        await server.shutdown()


@on_both_loops
async def test_serve_forever_after_a_start_that_has_been_cancelled() -> None:
    server = HTTPServer(HERE, echo_path)
    start = asyncio.create_task(server.start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    async with asyncio.timeout(BOUND):
        with pytest.raises(RuntimeError, match="its start.. has failed"):
            await server.serve_forever()


@on_both_loops
async def test_serve_forever_after_an_address_was_in_use() -> None:
    async with HTTPServer(HERE, echo_path) as first:
        server = HTTPServer(first.server_address, echo_path)
        with pytest.raises(BindError):
            await server.start()
        async with asyncio.timeout(BOUND):
            with pytest.raises(RuntimeError, match="its start.. has failed"):
                await server.serve_forever()
