"""WebSockets while workers are replaced: every client is told by 1001, comes again, and requests are not lost."""

import asyncio
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets

from ..support.programs import WAIT, serve_command
from ..support.rolling import Load

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


class Talker:
    """A client that sends messages, and connects again when it is told that the server goes away.

    Attributes:
        workers: who has served it, one after the other.
        codes: of the closes that it has seen.
        messages: that have come back.
    """

    def __init__(self, port: int) -> None:
        self._url = f"ws://127.0.0.1:{port}/"
        self.workers: list[str] = []
        self.codes: list[int] = []
        self.messages = 0

    async def talk(self) -> None:
        while True:
            async with websockets.connect(self._url, proxy=None) as socket:
                try:
                    self.workers.append(str(await socket.recv()))
                    while True:
                        await socket.send("hello")
                        assert await socket.recv() == "hello"
                        self.messages += 1
                        await asyncio.sleep(0.005)
                except websockets.ConnectionClosed as closed:
                    self.codes.append(closed.rcvd.code if closed.rcvd is not None else 1006)


@pytest.mark.timeout(120)
async def test_everybody_is_told_and_comes_again(folder: Path) -> None:
    async with serve_command(folder, "app:Handler", "--workers", "2", "--no-access-log") as server:
        port = await server.port()
        talkers = [Talker(port) for _ in range(8)]
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
        assert {code for talker in talkers for code in talker.codes} == {1001}, [talker.codes for talker in talkers]
        assert all(len(talker.codes) >= 2 for talker in talkers)
        assert all(talker.messages for talker in talkers)
        assert await server.stops() == 0
