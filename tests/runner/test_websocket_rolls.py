"""WebSockets while workers are replaced: every client is told by 1001, comes again, and requests are not lost."""

import asyncio
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.programs import WAIT, serve_command
from ..support.rolling import Load, Talker

APP = """
import asyncio, os, aiohttpd

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        if self.path == "/pid":
            self.send_text(str(os.getpid()))
            return
        async with self.websocket() as socket:
            await socket.send(str(os.getpid()))
            async for message in socket:
                await socket.send(message)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "app.py").write_text(APP)
        yield Path(name)


@pytest.mark.timeout(120)
async def test_everybody_is_told_and_comes_again(folder: Path) -> None:
    async with serve_command(folder, "app:Handler", "--workers", "2", "--no-access-log") as server:
        port = await server.port()
        talkers = [Talker(f"ws://127.0.0.1:{port}/") for _ in range(8)]
        tasks = [asyncio.create_task(talker.talk()) for talker in talkers]
        async with asyncio.timeout(WAIT), Load(port, 4).running() as load:
            await load.until(lambda: all(talker.workers for talker in talkers))
            for number in (1, 2):
                seen = {worker for talker in talkers for worker in talker.workers} | set(load.answers)
                server.send(signal.SIGHUP)
                await server.says("^Replacing the workers$", number)
                # Soon, and not only once the time is up that workers have to retire: that is five minutes.
                await load.until(lambda seen=seen: not seen & {talker.workers[-1] for talker in talkers})
            await load.more()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
        assert not load.failures
        assert not [failure for talker in talkers for failure in talker.failures]
        assert {code for talker in talkers for code in talker.codes} == {1001}, [talker.codes for talker in talkers]
        assert all(len(talker.codes) >= 2 for talker in talkers)
        assert all(talker.messages for talker in talkers)
        assert await server.stops() == 0
