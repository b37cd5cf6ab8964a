"""Waiting for what tells nobody that it has happened, and for how long; and for a call of the event loop."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

BOUND = 30.0  # seconds after which a test has failed, whatever it waits for


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Look again and again until ``condition()`` holds.

    Raises:
        TimeoutError: it has not held in time.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def block_until(condition: Callable[[], object], seconds: float = BOUND) -> None:
    """`until` for tests and handlers that are plain functions."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


async def turns(count: int = 10) -> None:
    """Let the event loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


async def in_a_callback(call: Callable[[], T]) -> T:
    """Call a function as the loop calls a protocol: outside of any task. Returns and raises what it does."""
    done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    asyncio.get_running_loop().call_soon(run)
    return await done
