"""Servers of ASGI as programs, and the rows of the table about their beginning and end."""

import asyncio
import contextlib
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from .asgi_rows import TableServer, path_of, request, same
from .places import ROOT

_PATH = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
_MODULE = "tests.support.asgi_applications"
ASGI_SERVERS = {
    "aiohttpd": ["-m", "aiohttpd", "serve", "{app}", "--port", "{port}", "--no-access-log"],
    "uvicorn": ["-m", "uvicorn", "{app}", "--port", "{port}", "--no-access-log", "--http", "httptools"],
    "hypercorn": ["-m", "hypercorn", "{app}", "--bind", "127.0.0.1:{port}"],
    "granian": ["-m", "granian", "--interface", "asgi", "--workers", "1", "--port", "{port}", "{app}"],
}


class ServerRun:
    """A server that runs, or has run: where it is, what it has said."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, path: str) -> None:
        self.process, self.port, self._path = process, port, path
        self.server = TableServer("127.0.0.1", port, self.log)

    def log(self) -> str:
        with open(self._path) as file:
            return file.read()

    async def listens(self) -> bool:
        """Whether it answers, sooner or later; False if it ends before."""
        async with asyncio.timeout(20):
            while self.process.returncode is None:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                    async with self.server.connected() as client, asyncio.timeout(1):
                        await client.send(request("/reads/first"))
                        await client.answer()
                        return True
                await asyncio.sleep(0.05)
        return False

    async def ends(self) -> int:
        async with asyncio.timeout(10):
            return await self.process.wait()

    async def stops(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.ends()


def _free_port() -> int:
    """A port that is free now, and that the system gives to no client: not all servers tell which they have taken."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@asynccontextmanager
async def asgi_server(name: str, app: str = "app") -> AsyncIterator[ServerRun]:
    """ServerRun a server with one of the applications, on a port that is free."""
    port = _free_port()
    words = {"app": app if ":" in app else f"{_MODULE}:{app}", "port": str(port)}
    with tempfile.NamedTemporaryFile("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *(part.format(**words) for part in ASGI_SERVERS[name]), cwd=ROOT, start_new_session=True,
            stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": _PATH, "PYTHONHASHSEED": "0"},
        )  # fmt: skip
        try:
            yield ServerRun(process, port, log.name)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


class ProgramRow(NamedTuple):
    name: str
    section: str
    app: str
    check: Callable[[ServerRun], Awaitable[None]]


PROGRAM_ROWS: list[ProgramRow] = []


def program_row(name: str, app: str = "app") -> Callable[[Callable[[ServerRun], Awaitable[None]]], None]:
    def add(check: Callable[[ServerRun], Awaitable[None]]) -> None:
        PROGRAM_ROWS.append(ProgramRow(name, "lifespan", app, check))

    return add


@program_row("startup is complete before the first request, shutdown comes at the end")
async def _(run: ServerRun) -> None:
    assert await run.listens(), "it does not start"
    path = path_of("scope")
    async with run.server.connected() as client:
        await client.send(request(path))
        await client.answer()
    scope, (_, begun) = await run.server.seen(path)
    same(begun, ["begun"])
    same(scope.get("state", {}).get("word"), "begun")
    status = await run.stops()
    assert status in (0, -signal.SIGTERM), f"status {status}"  # some repeat the signal for their parent
    assert "shutdown received" in run.log(), "it is not told of the end"


@program_row("lifespan.startup.failed: no service, its message, a status that is not 0", "startup_fails")
async def _(run: ServerRun) -> None:
    assert not await run.listens(), "it serves"
    assert await run.ends(), "status 0"
    assert "no database here" in run.log(), "the message is not told"


@program_row("an application that raises for lifespan.startup is served", "startup_raises")
async def _(run: ServerRun) -> None:
    assert await run.listens(), "it does not serve"


@program_row("an application that knows no lifespan is served", "knows_no_lifespan")
async def _(run: ServerRun) -> None:
    assert await run.listens(), "it does not serve"
    await run.stops()


@program_row("an application that returns from its lifespan early is served", "returns_from_lifespan")
async def _(run: ServerRun) -> None:
    assert await run.listens(), "it does not serve"
    assert await run.stops() in (0, -signal.SIGTERM), "another status"


@program_row("lifespan.shutdown.failed: its message is told", "shutdown_fails")
async def _(run: ServerRun) -> None:
    assert await run.listens(), "it does not serve"
    await run.stops()
    assert "the disk is full" in run.log(), "the message is not told"


@program_row("SIGTERM: work after an answer is waited for", "app")
async def _(run: ServerRun) -> None:
    assert await run.listens(), "it does not serve"
    path = path_of("goes_on")
    async with run.server.connected() as client:
        await client.send(request(path))
        await client.answer()
        started = asyncio.get_running_loop().time()
        await run.stops()
    assert asyncio.get_running_loop().time() - started > 0.5, "it was not"
