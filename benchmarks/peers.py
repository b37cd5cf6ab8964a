"""Throughput beside peers: one process pinned to one core, wrk on another, rounds interleaved.

usage: python benchmarks/peers.py [--rounds 5] [--seconds 3] [--case hello|browser] [--only NAME ...]

Prints medians as ratios to a floor (a raw uvloop protocol that parses nothing and sends a canned answer)
and to each other, with the server's CPU time per request beside them, since a shared machine distorts
throughput more than CPU time. Needs wrk (Debian: apt-get install wrk) and the group "benchmarks".
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

CONNECTIONS = 64
HERE = Path(__file__).resolve().parent

SERVERS = {
    "floor": [sys.executable, str(HERE / "servers" / "floor.py"), "{port}"],
    "aiohttpd": [
        sys.executable, "-m", "aiohttpd", "serve", str(HERE / "servers" / "handler.py") + ":Hello",
        "--port", "{port}", "--no-access-log",
    ],
    "granian": [
        sys.executable, "-m", "granian", "--interface", "rsgi", "--port", "{port}", "--no-access-log", "--log-level",
        "error", "--workers", "1", "--runtime-threads", "1", "--loop", "uvloop", "rsgi_app:app",
    ],
    "uvicorn": [
        sys.executable, "-m", "uvicorn", "--port", "{port}", "--no-access-log", "--log-level", "error", "--loop",
        "uvloop", "--http", "httptools", "asgi_app:app",
    ],
    "aiohttp": [sys.executable, str(HERE / "servers" / "aiohttp_app.py"), "{port}"],
}  # fmt: skip

BROWSER = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/some/path?query=1&x=y", {
    ["Connection"] = "keep-alive", ["Cache-Control"] = "max-age=0",
    ["sec-ch-ua"] = '"Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"',
    ["sec-ch-ua-mobile"] = "?0", ["sec-ch-ua-platform"] = '"Linux"', ["Upgrade-Insecure-Requests"] = "1",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ["Sec-Fetch-Site"] = "none", ["Sec-Fetch-Mode"] = "navigate",
    ["Accept-Encoding"] = "gzip, deflate, br, zstd", ["Accept-Language"] = "en-US,en;q=0.9,de;q=0.8",
    ["Cookie"] = "session=abcdef0123456789; theme=dark; request=" .. %s,
  })
end
"""
# In "browser" a client repeats its fields, as a browser's connection does; in "changing" each cookie is new.
CASES = {"hello": None, "browser": BROWSER % "7", "changing": BROWSER % "n"}


def free_port() -> int:
    """A port that is free now."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as sock:
        return int(sock.getsockname()[1])


def cpu_seconds(group: int) -> float:
    """User and system time of a process group so far."""
    ticks = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()
                if int(fields[2]) == group:
                    ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(name: str, arguments: list[str], cores: str = "0") -> Iterator[tuple[int, int]]:
    """Run a server on some cores; gives its process group and port, which stands for {port} in the arguments."""
    port = free_port()
    command = ["taskset", "-c", cores, *(part.replace("{port}", str(port)) for part in arguments)]
    process = subprocess.Popen(
        command, cwd=HERE / "servers", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name} does not start: is the group 'benchmarks' installed?") from None
                time.sleep(0.05)
        yield process.pid, port
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def load(
    port: int,
    seconds: float,
    script: str | None = None,
    *,
    path: str = "/",
    connections: int = CONNECTIONS,
    cores: str = "1" if (os.cpu_count() or 1) > 1 else "0",
) -> int:
    """Run wrk with a thread for each of some cores, by default the second; returns how many answers were 200."""
    threads = len(cores.split(","))
    command = ["taskset", "-c", cores, "wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        if script:
            file.write(script)
            file.flush()
            command += ["-s", file.name]
        output = subprocess.run(
            [*command, f"http://127.0.0.1:{port}{path}"], check=True, capture_output=True, text=True
        ).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(output)
    found = re.search(r"(\d+) requests in", output)
    assert found is not None
    return int(found[1])


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--case", action="append", choices=CASES)
    arguments.add_argument("--only", nargs="*", choices=SERVERS, default=list(SERVERS))
    given = arguments.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    for case in given.case or CASES:

        def ask(_: str, port: int, seconds: float, case: str = case) -> int:
            return load(port, seconds, CASES[case])

        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(started(name, SERVERS[name])) for name in given.only}
            rates, costs = in_turns(servers, given.rounds, given.seconds, ask)
        report(case, rates, costs)


Figures = dict[str, list[float]]


def in_turns(
    servers: dict[str, tuple[int, int]], rounds: int, seconds: float, ask: Callable[[str, int, float], int]
) -> tuple[Figures, Figures]:
    """Load each server in each round, after a second to warm up.

    Args:
        servers: process group and port by name.
        rounds: how often each has its turn.
        seconds: how long that takes.
        ask: ``ask(name, port, seconds)`` says how many requests were answered.

    Returns:
        Requests a second, and microseconds of CPU time a request, by name and round.
    """
    rates: Figures = {name: [] for name in servers}
    costs: Figures = {name: [] for name in servers}
    for turn in range(rounds + 1):
        for name, (group, port) in servers.items():
            before, start = cpu_seconds(group), time.monotonic()
            requests = ask(name, port, seconds if turn else 1)
            if turn and requests:
                rates[name].append(requests / (time.monotonic() - start))
                costs[name].append((cpu_seconds(group) - before) / requests * 1e6)
    return rates, costs


def report(case: str, rates: dict[str, list[float]], costs: dict[str, list[float]], *, first: str = "floor") -> None:
    """Print a table of medians, as ratios to ``first``."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    reference = medians.get(first) or max(medians.values())
    ours = medians.get("aiohttpd", reference)
    rounds = len(next(iter(rates.values())))
    print(f"\n{case}: Python {sys.version.split()[0]}, {CONNECTIONS} connections, medians of {rounds} rounds")
    print(f"{'server':10} {f'of {first}':>9} {'aiohttpd is':>12} {'CPU µs/request':>15} {'requests/s':>11}  spread")
    for name, rate in sorted(medians.items(), key=lambda item: -item[1]):
        spread = f"{min(rates[name]) / rate:.2f}-{max(rates[name]) / rate:.2f}"
        cost = statistics.median(costs[name])
        print(f"{name:10} {rate / reference:9.2f} {ours / rate:11.2f}x {cost:15.1f} {rate:11.0f}  {spread}")


if __name__ == "__main__":
    main()
