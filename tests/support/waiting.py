"""Waiting for what tells nobody that it has happened."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Look again and again until ``condition()`` holds.

    Raises:
        TimeoutError: it has not held in time.
    """
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
