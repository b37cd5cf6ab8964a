"""run_in_process: whatever a job does is told to its caller, and to nobody else."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import httpx
import pytest

import aiohttpd
from aiohttpd.testing import running
from aiohttpd.threads.cpu_pool import ProcessPool

from ..support.jobs import (
    NoException,
    NotPickled,
    NotThere,
    TwoArguments,
    Unspeakable,
    answers_in_two_megabytes,
    begins_and_waits,
    closes_everything,
    forks_and_dies,
    gives,
    identity,
    kills,
    leaves,
    pid,
    throws,
    waits_for,
)
from ..support.programs import gone
from ..support.waiting import until

BOUND = 60.0  # for what takes a moment


@pytest.fixture
async def server() -> AsyncIterator[aiohttpd.HTTPServer]:
    async with running(aiohttpd.BaseHTTPRequestHandler, processes=1) as made, asyncio.timeout(BOUND):
        yield made


RAISED = [
    ((StopIteration, 1), RuntimeError, "has raised: StopIteration: 1"),
    ((StopAsyncIteration, "end"), StopAsyncIteration, "end"),
    ((SystemExit, 3), RuntimeError, "has raised: SystemExit: 3"),
    ((KeyboardInterrupt,), RuntimeError, "has raised: KeyboardInterrupt"),
    ((GeneratorExit,), RuntimeError, "has raised: GeneratorExit"),
    ((asyncio.CancelledError,), RuntimeError, "has raised: .*CancelledError"),
    ((BaseExceptionGroup, "several", [SystemExit(1)]), RuntimeError, "BaseExceptionGroup: several"),
    ((ExceptionGroup, "several", [OSError(1)]), ExceptionGroup, "several"),
    ((TwoArguments, "bread", "wine"), RuntimeError, "TwoArguments: bread and wine .*cannot be unpickled: TypeError"),
    ((NotPickled, "oh"), RuntimeError, "NotPickled: oh .*cannot be pickled: ValueError: I stay here"),
    ((NoException, "oh"), RuntimeError, "has raised: .*NoException: oh"),
    ((Unspeakable,), RuntimeError, "has raised: .*Unspeakable"),
    ((aiohttpd.HTTPError, 404, "no such thing"), aiohttpd.HTTPError, "no such thing"),
    ((aiohttpd.errors.MissingField, "name"), aiohttpd.HTTPError, "400"),
    ((aiohttpd.errors.ContentTooLarge, 5), aiohttpd.HTTPError, "larger than 5 bytes"),
    ((KeyError, "k"), KeyError, "k"),
]  # fmt: skip


@pytest.mark.parametrize(("args", "kind", "text"), RAISED, ids=lambda value: str(value)[:40])
async def test_what_is_raised(
    server: aiohttpd.HTTPServer, args: tuple[Any, ...], kind: type[Exception], text: str
) -> None:
    before = await server.run_in_process(pid)
    with pytest.raises(kind, match=text) as caught:
        await server.run_in_process(throws, *args)
    assert "in throws" in str(caught.value.__cause__)  # the traceback of the process
    assert await server.run_in_process(pid) == before  # nothing is broken


@pytest.mark.parametrize(
    ("function", "args", "text"),
    [
        (gives, ("lambda",), r"gives\(\) has returned: a function, which cannot be pickled"),
        (gives, ("generator",), "a generator, which cannot be pickled"),
        (gives, ("coroutine",), "a coroutine, which cannot be pickled"),
        (gives, ("only there",), "OnlyThere .*cannot be unpickled: SystemExit: not here"),
        (lambda: None, (), "cannot hand .*<lambda>.*define it at the top of a module"),
        (identity, (lambda: None,), r"cannot hand identity\(\)"),
        (identity, (NotThere(),), r"identity\(\) was not begun: ZeroDivisionError: not there"),
        (identity, (), "missing 1 required positional argument"),
        (asyncio.sleep, (0,), r"a plain function that it can call, not sleep\(\)"),
        (None, (), "not an instance of NoneType"),
    ],
)
async def test_what_cannot_be_handed_over(
    server: aiohttpd.HTTPServer, function: Any, args: tuple[Any, ...], text: str
) -> None:
    before = await server.run_in_process(pid)
    with pytest.raises(TypeError, match=text):
        await server.run_in_process(function, *args)
    assert await server.run_in_process(pid) == before


@pytest.mark.parametrize(
    ("function", "args", "text"),
    [
        (leaves, (0,), r"the process for leaves\(\) has ended \(exit status 0\)"),
        (leaves, (7,), r"has ended \(exit status 7\)"),
        (kills, (signal.SIGKILL,), r"the process for kills\(\) was killed \(SIGKILL\)"),
        (kills, (signal.SIGSEGV,), r"was killed \(SIGSEGV\)"),
        (forks_and_dies, (), r"was killed \(SIGKILL\)"),
        (closes_everything, (), "the process for closes_everything"),
    ],
)
async def test_a_process_that_dies(tmp_path: Path, function: Any, args: tuple[Any, ...], text: str) -> None:
    async with running(aiohttpd.BaseHTTPRequestHandler, processes=2) as server, asyncio.timeout(BOUND):
        # The job of another is under way, and others wait for a process.
        other = asyncio.create_task(server.run_in_process(waits_for, str(tmp_path / "go")))
        dying = asyncio.create_task(server.run_in_process(function, *args))
        waiting = [asyncio.create_task(server.run_in_process(identity, number)) for number in range(5)]
        with pytest.raises(BrokenProcessPool, match=text):
            await dying
        assert await asyncio.gather(*waiting) == list(range(5))
        assert not other.done()
        (tmp_path / "go").touch()
        assert await other
        assert await server.run_in_process(identity, "next") == "next"


async def test_an_idle_process_that_dies_is_not_missed(server: aiohttpd.HTTPServer) -> None:
    for _ in range(3):
        os.kill(await server.run_in_process(pid), signal.SIGKILL)
        assert await server.run_in_process(identity, 1) == 1


async def test_who_is_cancelled_leaves_a_process_that_works(server: aiohttpd.HTTPServer, tmp_path: Path) -> None:
    before = await server.run_in_process(pid)
    begun = asyncio.create_task(server.run_in_process(waits_for, str(tmp_path / "go")))
    waiting = asyncio.create_task(server.run_in_process(identity, 1))
    await asyncio.sleep(0)
    for task in (begun, waiting):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    following = asyncio.create_task(server.run_in_process(pid))
    (tmp_path / "go").touch()
    assert await following == before


@pytest.mark.parametrize("begins", [False, True])
async def test_who_is_cancelled_is_told_of_no_death(
    server: aiohttpd.HTTPServer, tmp_path: Path, *, begins: bool
) -> None:
    """Nor is a job begun again that nobody waits for."""
    number = await server.run_in_process(pid)
    job = asyncio.create_task(server.run_in_process(begins_and_waits, str(tmp_path / "begun"), str(tmp_path / "never")))
    await asyncio.sleep(0)
    while begins and not (tmp_path / "begun").exists():
        await asyncio.sleep(0.01)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    os.kill(number, signal.SIGKILL)
    assert await server.run_in_process(identity, 1) == 1


async def test_large_answers_of_several(tmp_path: Path) -> None:
    async with running(aiohttpd.BaseHTTPRequestHandler, processes=2) as server, asyncio.timeout(BOUND):
        results = await asyncio.gather(*(server.run_in_process(answers_in_two_megabytes, n) for n in range(6)))
        assert [(len(result), result[0]) for result in results] == [(2_000_000, n) for n in range(6)]
        assert await server.run_in_process(identity, results[0]) == results[0]


async def test_what_waits_when_the_server_stops_is_told(tmp_path: Path) -> None:
    async with running(aiohttpd.BaseHTTPRequestHandler, processes=1) as server, asyncio.timeout(BOUND):
        number = await server.run_in_process(pid)
        begun = asyncio.create_task(server.run_in_process(waits_for, str(tmp_path / "never")))
        waiting = asyncio.create_task(server.run_in_process(identity, 1))
        await asyncio.sleep(0)
        await server.shutdown(0)
        with pytest.raises(BrokenProcessPool, match="ended with the server"):
            await begun
        with pytest.raises(RuntimeError, match="after the server has stopped"):
            await waiting
        await gone(number)


class Failing(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        kind = {"/stop": StopIteration, "/exit": SystemExit, "/cancel": asyncio.CancelledError}[self.path]
        await self.run_in_process(throws, kind)


@pytest.mark.parametrize("path", ["/stop", "/exit", "/cancel"])
async def test_a_request_is_answered(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with running(Failing, processes=1) as server, httpx.AsyncClient(base_url=server.url, timeout=BOUND) as client:
        assert (await client.get(path)).status_code == 500
    assert "throws() has raised: " in caplog.text
    caplog.clear()


PROGRAM = """
import asyncio, time
import aiohttpd

IMPORTED


def talks():
    print("said")


async def main():
    server = aiohttpd.HTTPServer(("127.0.0.1", 0), aiohttpd.BaseHTTPRequestHandler)
    await server.start()
    try:
        await server.run_in_process(talks)
    except Exception as error:
        print(type(error).__name__, error)
    asyncio.create_task(server.run_in_process(time.sleep, 600))
    await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
    print("end")
"""


def run_program(folder: Path, imported: str) -> "subprocess.CompletedProcess[str]":
    (folder / "program.py").write_text(PROGRAM.replace("IMPORTED", imported))
    return subprocess.run([sys.executable, "program.py"], cwd=folder, capture_output=True, text=True, timeout=BOUND)


def test_a_server_that_is_never_closed_does_not_keep_its_program(tmp_path: Path) -> None:
    done = run_program(tmp_path, "")
    assert (done.stdout.splitlines(), done.returncode) == (["said", "end"], 0)


def test_a_program_that_a_process_cannot_import(tmp_path: Path) -> None:
    done = run_program(tmp_path, "assert __name__ == '__main__', 'imported again'")
    told = "the process for talks() has ended (exit status 1) before it could begin; see stderr for the reason"
    assert done.stdout.splitlines() == [f"BrokenProcessPool {told}", "end"]
    assert "AssertionError: imported again" in done.stderr


@pytest.mark.parametrize("busy", [False, True])
def test_the_loop_may_end_first(busy: bool) -> None:
    """The socket of a process is closed all the same, though no callback runs any more."""
    sockets = []

    async def main() -> None:
        pool = ProcessPool(1)
        await pool.run(os.getpid)
        [process] = pool._processes
        sockets.append(process._socket)
        if busy:
            waiting = asyncio.create_task(pool.run(time.sleep, 60))
            await until(lambda: process._busy)
            waiting.cancel()
        else:
            pool.close()

    asyncio.run(main())
    assert [sock.fileno() for sock in sockets] == [-1]
