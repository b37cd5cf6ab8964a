"""Bodies beside peers: JSON of 1 KiB echoed by a handler, and 10 MiB read by one.

usage: python benchmarks/bodies.py [--rounds 5] [--seconds 3] [--case json|upload] [--only NAME ...]

One process on one core, wrk on another, rounds interleaved; medians as ratios to aiohttpd. Needs wrk
(Debian: apt-get install wrk) and the group "benchmarks".
"""

import argparse
import contextlib
import sys

from peers import HERE, in_turns, load, report, started

APPS = str(HERE / "servers")
SERVERS = {
    "aiohttpd": [
        sys.executable, "-m", "aiohttpd", "serve", f"{APPS}/bodies.py:Bodies", "--port", "{port}", "--no-access-log",
    ],
    "granian": [
        sys.executable, "-m", "granian", "--interface", "rsgi", "--port", "{port}", "--no-access-log", "--log-level",
        "error", "--workers", "1", "--runtime-threads", "1", "--loop", "uvloop", "bodies_rsgi:app",
    ],
    "starlette": [
        sys.executable, "-m", "uvicorn", "--port", "{port}", "--no-access-log", "--log-level", "error", "--loop",
        "uvloop", "--http", "httptools", "bodies_starlette:app",
    ],
    "aiohttp": [sys.executable, f"{APPS}/bodies_aiohttp.py", "{port}"],
}  # fmt: skip

JSON = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local text = string.rep("x", 930)
wrk.body = '{"id": 12345, "name": "A name", "tags": ["a", "b", "c"], "price": 12.5, "text": "' .. text .. '"}'
"""
UPLOAD = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("0123456789abcdef", 640 * 1024)
"""
CASES = {"json": (JSON, "/json", 64), "upload": (UPLOAD, "/upload", 8)}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--case", action="append", choices=CASES)
    arguments.add_argument("--only", nargs="*", choices=SERVERS, default=list(SERVERS))
    given = arguments.parse_args()
    for case in given.case or CASES:

        def ask(_: str, port: int, seconds: float, case: str = case) -> int:
            script, path, connections = CASES[case]
            return load(port, seconds, script, path=path, connections=connections)

        with contextlib.ExitStack() as stack:
            running = {name: stack.enter_context(started(name, SERVERS[name])) for name in given.only}
            rates, costs = in_turns(running, given.rounds, given.seconds, ask)
        report(case, rates, costs, first="aiohttpd")


if __name__ == "__main__":
    main()
