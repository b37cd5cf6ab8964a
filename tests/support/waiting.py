"""Waiting for what tells nobody that it has happened, and for how long."""

import asyncio
from collections.abc import Callable

BOUND = 30.0  # seconds after which a test has failed, whatever it waits for


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Look again and again until ``condition()`` holds.

    Raises:
        TimeoutError: it has not held in time.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
