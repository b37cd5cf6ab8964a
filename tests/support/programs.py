"""Programs under test: a process group of its own, what it says on stderr, and the signals it is sent."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from .waiting import until

WAIT = 30.0  # seconds for anything; a machine under load is slow


class Program:
    """A program that serves.

    Attributes:
        lines: what it has said on stderr so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._said = asyncio.Condition()
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip("\n"))
            async with self._said:
                self._said.notify_all()
        async with self._said:
            self._said.notify_all()

    async def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until lines of stderr match."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        async with asyncio.timeout(WAIT), self._said:
            await self._said.wait_for(lambda: len(found()) >= times or self._listening.done())
        assert len(found()) >= times, (pattern, self.lines)
        return found()[times - 1]

    async def port(self) -> int:
        """Wait until it serves."""
        return int((await self.says(r"^Serving on https?://127\.0\.0\.1:(\d+)/"))[1])

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def ends(self) -> int:
        """Wait for its end, and for all that it has said; gives its status."""
        async with asyncio.timeout(WAIT):
            status = await self.process.wait()
            await self._listening
        return status

    async def stops(self) -> int:
        self.send(signal.SIGTERM)
        return await self.ends()


@asynccontextmanager
async def program(folder: Path, *arguments: str) -> AsyncIterator[Program]:
    """Run Python in a folder with these arguments; nothing of it is left at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=folder, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    running = Program(process)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        await running._listening


def serve_command(folder: Path, *arguments: str) -> contextlib.AbstractAsyncContextManager[Program]:
    """Run ``aiohttpd serve`` on a free port."""
    return program(folder, "-m", "aiohttpd", "serve", *arguments, "--port", "0")


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead but not buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def gone(*pids: int) -> None:
    """Wait until these processes run no more."""
    await until(lambda: not any(map(alive, pids)), WAIT)
