"""How much work something is: calls, lines of Python that run in the package, CPU time in relation to that of less."""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import App
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport

_COUNTED = (str(Path(aiohttpd.__file__).parent), "multipart")
_TURNS = 6  # turns of the loop without output or reading, after which nothing more is to come


def calls_of(function: Callable[[], object]) -> int:
    """How many calls a function makes, those into C included. What is made once should have been made before."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # hypothesis has functions that each collection calls
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


class Lines:
    """Counts the lines that run while it is entered, in aiohttpd and in the library multipart."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Lines":
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_COUNTED[0]) and not name.endswith(f"{_COUNTED[1]}.py"):
            return None
        self.count += 1
        return self._traced

    def _traced(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "line"
        return self._traced


class Timer:
    """CPU time of this process while it is entered, in seconds."""

    def __init__(self) -> None:
        self.count = 0.0

    def __enter__(self) -> "Timer":
        self._start = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.count = time.process_time() - self._start


async def work_of(app: App, pieces: Sequence[bytes], config: aiohttpd.Config, measure: Lines | Timer) -> bytes:
    """Measure how much work a connection has with the bytes of a client; returns what it has sent."""
    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(app), config, loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    with measure:
        for piece in pieces:
            transport.feed(piece)
        quiet, last = 0, -1
        while quiet < _TURNS:
            await asyncio.sleep(0)
            now = len(transport.output)
            quiet, last = (quiet + 1 if now == last and transport.is_reading() else 0), now
            while not transport.output and not transport.is_closing():  # a thread reads a file
                await asyncio.sleep(0.001)
    transport.close()
    await transport.closed.wait()
    context.deadlines.close()
    return bytes(transport.output)


async def assert_linear(
    measured: Callable[[int, Lines | Timer], Awaitable[object]], sizes: Sequence[int], *, most: float = 2.2
) -> None:
    """Assert that the double is not much more than twice the work.

    Lines are counted for each size and its double. What runs in C, such as moving the rest of a buffer for each piece,
    is no line: so the CPU time of eight times as much is compared with that of the last size, in the same run. It
    would be 64 times as much if it were quadratic, and has to be below 24 times.
    """
    await measured(sizes[0], Lines())  # imports, compiled patterns
    for size in sizes:
        once, twice = Lines(), Lines()
        await measured(size, once)
        await measured(2 * size, twice)
        assert twice.count <= most * once.count, f"{size}: {once.count} lines, the double: {twice.count}"
    short = min([await _seconds(measured, sizes[-1]) for _ in range(3)])
    most_seconds = 24 * max(short, 0.0002)
    long = await _seconds(measured, 8 * sizes[-1])
    if long >= most_seconds:
        long = await _seconds(measured, 8 * sizes[-1])  # the first one may have been disturbed
    assert long < most_seconds, f"{sizes[-1]}: {short * 1e3:.2f} ms, 8 times as much: {long * 1e3:.2f} ms"


async def _seconds(measured: Callable[[int, Lines | Timer], Awaitable[object]], size: int) -> float:
    timer = Timer()
    await measured(size, timer)
    return timer.count
