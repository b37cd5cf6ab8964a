"""A load that retries nothing: every request that does not get its whole answer counts as a failure; and WebSockets."""

import asyncio
import re
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import websockets

HEAD = re.compile(rb"HTTP/1\.1 (\d\d\d) ")
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
CLOSE = re.compile(rb"(?i)\r\nconnection: *close")


class Load:
    """Clients that ask again and again, each on a connection of its own until it is told to close it.

    Args:
        port: of the server, on 127.0.0.1.
        clients: how many.
        path: what they ask for.
        context: for TLS.
        turns: requests after which a client makes a new connection by itself; with 1 it says so.
        pause: seconds between an answer and the next request, or what says how many.
        source: the address that they connect from.
        body: they send it with every second request, which is a POST.

    Attributes:
        answers: how often each body came back.
        failures: who had answered on the connection before, and what went wrong.
    """

    def __init__(
        self,
        port: int,
        clients: int = 8,
        *,
        path: str = "/pid",
        context: ssl.SSLContext | None = None,
        turns: int = 25,
        pause: float | Callable[[], float] = 0.002,
        source: str | None = None,
        body: bytes = b"",
    ) -> None:
        self._address = ("127.0.0.1", port)
        self._source = (source, 0) if source else None
        self._context = context
        close = "Connection: close\r\n" if turns == 1 else ""
        rest = f"{path} HTTP/1.1\r\nHost: localhost\r\n{close}"
        self._requests = [f"GET {rest}\r\n".encode()]
        if body:
            self._requests.append(f"POST {rest}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        self._clients = clients
        self._turns = turns
        self._pause = pause if callable(pause) else lambda: pause
        self._over = False
        self._progress = asyncio.Condition()
        self.answers: Counter[str] = Counter()
        self.latest: list[str] = [""] * clients
        self.failures: list[tuple[str, Exception]] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Load"]:
        """Ask while the block runs."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._clients):
                group.create_task(self._ask_for_ever(number))
            try:
                yield self
            finally:
                self._over = True

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition()`` holds, looked at after each answer."""
        async with self._progress:
            await self._progress.wait_for(condition)

    async def more(self, count: int = 50) -> None:
        """Wait for more answers."""
        enough = self.answers.total() + count
        await self.until(lambda: self.answers.total() >= enough)

    async def _ask_for_ever(self, number: int) -> None:
        while not self._over:
            who = "nobody yet"
            try:
                reader, writer = await asyncio.open_connection(
                    *self._address, ssl=self._context, local_addr=self._source
                )
                try:
                    for turn in range(self._turns):
                        keep, body = await self._ask(reader, writer, self._requests[turn % len(self._requests)])
                        self.answers[body] += 1
                        self.latest[number] = who = body
                        async with self._progress:
                            self._progress.notify_all()
                        if self._over or not keep:
                            break
                        await asyncio.sleep(self._pause())
                finally:
                    writer.close()
            except (OSError, EOFError, AssertionError) as error:
                self.failures.append((who, error))
                await asyncio.sleep(0.01)

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
    ) -> tuple[bool, str]:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status, length = HEAD.match(head), LENGTH.search(head)
        assert status and length, head
        assert status[1] == b"200", head
        body = await reader.readexactly(int(length[1]))
        return CLOSE.search(head) is None, body.decode()


class Talker:
    """A client that sends messages to an echo, and connects again when it is told that the server goes away.

    Args:
        url: of the WebSocket, whose first message says who serves it.
        context: for TLS.
        pause: seconds between messages.

    Attributes:
        workers: who has served it, one after the other.
        codes: of the closes that it has seen.
        messages: how many have come back.
        failures: connections that could not be opened.
    """

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None, pause: float = 0.005) -> None:
        self._url = url
        self._options = {} if context is None else {"ssl": context}
        self._pause = pause
        self.workers: list[str] = []
        self.codes: list[int] = []
        self.messages = 0
        self.failures: list[Exception] = []

    async def talk(self) -> None:
        """Talk until the task is cancelled."""
        while True:
            try:
                async with websockets.connect(self._url, proxy=None, **self._options) as socket:
                    await self._talk(socket)
            except (OSError, websockets.InvalidHandshake) as error:
                self.failures.append(error)
                await asyncio.sleep(0.01)

    async def _talk(self, socket: websockets.ClientConnection) -> None:
        try:
            self.workers.append(str(await socket.recv()))
            while True:
                await socket.send("hello")
                assert await socket.recv() == "hello"
                self.messages += 1
                await asyncio.sleep(self._pause)
        except websockets.ConnectionClosed as closed:
            self.codes.append(closed.rcvd.code if closed.rcvd is not None else 1006)
