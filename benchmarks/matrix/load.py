"""Load on a server: by wrk, and by the program `client`, both on the second core."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .process import LOAD_CORE, pin
from .workloads import AGENTS, Workload

CLIENT = Path(__file__).resolve().parent / "client.py"


class Failed(Exception):
    """Responses were wrong, or missing."""


def lua(data: bytes) -> str:
    """Bytes as a string of Lua."""
    return (
        '"' + "".join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03}" for byte in data) + '"'
    )


def script_of(workload: Workload) -> str:
    """The requests of a workload for wrk: always the same bytes, or made anew for each request."""
    body = f" .. string.rep({lua(workload.body[0])}, {workload.body[1]})" if workload.body[1] else ""
    if b"{n}" not in workload.head:
        return f"local bytes = {lua(workload.head)}{body}\nwrk.format = function() return bytes end\n"
    before, rest = workload.head.split(b"{agent}")
    between, after = rest.split(b"{n}")
    agents = ", ".join(lua(agent) for agent in AGENTS)
    return (
        f"local agents, n = {{{agents}}}, 100000\n"
        f"request = function()\n  n = n + 1\n"
        f"  return {lua(before)} .. agents[n % {len(AGENTS)} + 1] .. {lua(between)} .. n .. {lua(after)}{body}\nend\n"
    )


def wrk(workload: Workload, port: int, seconds: float) -> int:
    """Load a server by wrk; returns how many requests were answered.

    Raises:
        Failed: there were errors.
    """
    path = workload.head.split(b" ", 2)[1].decode()
    scheme = "https" if workload.tls else "http"
    return run_wrk(f"{scheme}://127.0.0.1:{port}{path}", seconds, script_of(workload), connections=workload.connections)


def run_wrk(
    url: str,
    seconds: float,
    script: str = "",
    *,
    connections: int = 64,
    cores: set[int] = LOAD_CORE,
    errors: bool = False,
) -> int:
    """Run wrk with a thread for each of some cores; returns how many requests were answered.

    Raises:
        Failed: a connection has failed, or, unless ``errors`` are expected, a status was above 399.
    """
    threads = min(len(cores), connections)
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        done = subprocess.run(
            [*command, "-s", file.name, url], capture_output=True, text=True, preexec_fn=lambda: pin(0, cores)
        )
    found = re.search(r"(\d+) requests in", done.stdout)
    wrong = re.search(r"Socket errors.*" if errors else r"Non-2xx.*|Socket errors.*", done.stdout)
    if done.returncode or wrong or found is None:
        raise Failed(f"wrk: {wrong[0].strip() if wrong else (done.stdout + done.stderr)[-300:]}")
    return int(found[1])


def client(workload: Workload, port: int, seconds: float, rate: float = 0) -> dict[str, Any]:
    """Run `client.py` on its core; see there.

    Raises:
        Failed: a response was wrong.
    """
    if workload.tls or b"Connection: close" in workload.head:
        raise Failed("the client speaks no TLS, and keeps its connections: wrk is needed")
    command = [sys.executable, str(CLIENT), workload.name, str(port), str(seconds), str(rate)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=lambda: pin(0, LOAD_CORE))
    if done.returncode:
        raise Failed(f"client: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found
