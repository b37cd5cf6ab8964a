"""Calls from the event loop, outside of any task."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["in_a_callback"]

T = TypeVar("T")


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
