"""run_in_process: work that burns CPU, in processes that come and go with their server."""

import asyncio
import os
import signal
from concurrent.futures.process import BrokenProcessPool

import httpx
import pytest

import aiohttpd
from aiohttpd.testing import running

from ..support.programs import gone


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def fail() -> None:
    raise ZeroDivisionError("oh")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def burn() -> None:
    while True:
        pass


class JobHandler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        number, pid = await self.run_in_process(square, 12)
        self.send_json([number, pid])


async def test_from_a_handler_and_its_end() -> None:
    async with running(JobHandler, processes=1) as server, httpx.AsyncClient(base_url=server.url) as client:
        number, pid = (await client.get("/")).json()
        assert number == 144
        assert pid != os.getpid()
        assert (await client.get("/")).json() == [144, pid]  # it is kept, and there are no more than one
        [*others] = await asyncio.gather(*(server.run_in_process(square, number) for number in range(4)))
        assert others == [(number * number, pid) for number in range(4)]

        with pytest.raises(ZeroDivisionError, match="oh"):
            await server.run_in_process(fail)

        # One that dies breaks what the pool has, and the next call has another.
        with pytest.raises(BrokenProcessPool):
            await server.run_in_process(die)
        _, second = await server.run_in_process(square, 1)
        assert second != pid

        # What is cancelled before it has begun is not run; what runs ends with the server at the latest.
        burning = asyncio.create_task(server.run_in_process(burn))
        waiting = asyncio.create_task(server.run_in_process(square, 2))
        await asyncio.sleep(0)
        waiting.cancel()
        await server.shutdown(0)
        await gone(second)
        with pytest.raises((BrokenProcessPool, asyncio.CancelledError)):
            await burning
        with pytest.raises(asyncio.CancelledError):
            await waiting
    with pytest.raises(RuntimeError, match="after the server has stopped"):
        await server.run_in_process(square, 1)
