"""One service of notes, written for aiohttpd, Starlette, FastAPI and aiohttp: what each needs, and how fast it is.

usage: python -m benchmarks.notes_services.measure [--rounds 5] [--seconds 3] [--only NAME ...] [--checks]

First the same checks are run against each, then a file of 100 MiB is sent and fetched, with the peak of the server's
memory. The lines of code are counted. Then wrk asks each in turns for the list of 20 notes, the same as gzip, a new
note, and a note that does not exist. Run it in the root of the repository. Needs wrk (Debian: apt-get install wrk) and
the group "benchmarks".
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import sys
from pathlib import Path

import httpx

from ..matrix.load import run_wrk
from ..matrix.measure import figures, in_turns
from ..matrix.process import started
from ..matrix.report import text_of
from .checks import ADA, CHECKS, attach
from .lines import code_lines

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
UVICORN = [
    sys.executable, "-m", "uvicorn", "--port", "{port}", "--no-access-log", "--log-level", "error", "--loop", "uvloop",
    "--http", "httptools", "--app-dir", str(ROOT),
]  # fmt: skip
PACKAGE = "benchmarks.notes_services"
SERVERS = {
    "aiohttpd": [
        sys.executable, "-m", "aiohttpd", "serve", f"{PACKAGE}.by_aiohttpd:app", "--port", "{port}", "--no-access-log",
        "--app-dir", str(ROOT),
    ],
    "starlette": [*UVICORN, f"{PACKAGE}.by_starlette:app"],
    "fastapi": [*UVICORN, f"{PACKAGE}.by_fastapi:app"],
    "aiohttp": [sys.executable, "-m", f"{PACKAGE}.by_aiohttp", "{port}"],
}  # fmt: skip

SCRIPT = """
wrk.headers["Authorization"] = "Bearer token-of-ada"
wrk.headers["User-Agent"] = "notes/1.0"
wrk.headers["Accept"] = "application/json"
%s
"""
POST = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"title": "Tea", "text": "Two spoons for a pot, three minutes, and the milk comes last.", "stars": 3}'
"""
CASES = {
    "list": ("/notes?limit=20", SCRIPT % ""),
    "list as gzip": ("/notes?limit=20", SCRIPT % 'wrk.headers["Accept-Encoding"] = "gzip"'),
    "create": ("/notes", SCRIPT % POST),
    "404": ("/notes/999999999", SCRIPT % ""),
}


def client_of(port: int) -> httpx.AsyncClient:
    """A client with a token."""
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=ADA, timeout=60, trust_env=False)


async def check(port: int) -> list[str]:
    """Run all checks; gives what fails."""
    failed = []
    for ask in CHECKS:
        try:
            async with client_of(port) as client, asyncio.timeout(30):
                await ask(client)
        except Exception as error:
            failed.append(f"{ask.__name__}: {type(error).__name__}: {error}"[:400])
    return failed


async def transfer(port: int, mebibytes: int) -> None:
    """Store a file and fetch it."""
    async with client_of(port) as client:
        await attach(client, mebibytes)


async def fill(port: int) -> None:
    """Make the notes that a list has."""
    async with client_of(port) as client:
        for number in range(20):
            answer = await client.post("/notes", json={"title": f"Note {number}", "text": "A short text. " * 5})
            assert answer.status_code == 201


def peak(process: int) -> float:
    """The peak of a process' memory so far, in MiB."""
    [line] = [line for line in Path(f"/proc/{process}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Check, count, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--only", nargs="*", choices=SERVERS, default=list(SERVERS))
    arguments.add_argument("--checks", action="store_true", help="check and count only")
    given = arguments.parse_args()
    if not given.checks and not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    os.environ["PYTHONPATH"] = str(ROOT)
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(started(name, SERVERS[name])) for name in given.only}
        print(f"{'service':10} {'lines':>5}  {'checks':7}  memory before and after 100 MiB up and down")
        wrong: dict[str, list[str]] = {}
        for name, (process, port) in servers.items():
            lines = code_lines((HERE / f"by_{name}.py").read_text())
            wrong[name] = asyncio.run(check(port))
            before = peak(process)
            asyncio.run(transfer(port, 100))
            passed = f"{len(CHECKS) - len(wrong[name])} of {len(CHECKS)}"
            print(f"{name:10} {lines:5}  {passed:8} {before:4.0f} MiB, {peak(process):4.0f} MiB", flush=True)
        for name, failures in wrong.items():
            for failure in failures:
                print(f"{name}: {failure}")
        if any(wrong.values()):
            raise SystemExit(1)
        if given.checks:
            return
    for case, (path, script) in CASES.items():

        def ask(_: str, port: int, seconds: float, path: str = path, case: str = case, script: str = script) -> int:
            return run_wrk(f"http://127.0.0.1:{port}{path}", seconds, script, errors=case == "404")

        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(started(name, SERVERS[name])) for name in given.only}
            for _, port in servers.values():
                asyncio.run(fill(port))
            rates, costs = in_turns(servers, given.rounds, given.seconds, ask)
        print(text_of(case, figures(rates, costs)))


if __name__ == "__main__":
    main()
