"""ASGI applications on this server and on those of others: one process pinned to one core, wrk on another.

usage: python benchmarks/asgi.py [--rounds 5] [--seconds 3] [--case hello|starlette|fastapi] [--only NAME ...]

Prints medians of interleaved rounds as ratios to uvicorn (httptools, uvloop), with the CPU time of the server for a
request beside them, since a shared machine distorts throughput more than CPU time. Needs wrk and the group
"benchmarks".
"""

import argparse
import contextlib
import shutil
import sys

from peers import in_turns, load, report, started

SERVERS = {
    "aiohttpd": ["-m", "aiohttpd", "serve", "{app}", "--port", "{port}", "--no-access-log"],
    "uvicorn": [
        "-m", "uvicorn", "--port", "{port}", "--no-access-log", "--log-level", "error", "--loop", "uvloop", "--http",
        "httptools", "{app}",
    ],
    "granian": [
        "-m", "granian", "--interface", "asgi", "--port", "{port}", "--no-access-log", "--log-level", "error",
        "--workers", "1", "--runtime-threads", "1", "--loop", "uvloop", "{app}",
    ],
    "hypercorn": ["-m", "hypercorn", "--bind", "127.0.0.1:{port}", "--worker-class", "uvloop", "{app}"],
}  # fmt: skip
CASES = {
    "hello": ("asgi_app:app", "/"),
    "starlette": ("asgi_frameworks:starlette", "/items/3?q=x"),
    "fastapi": ("asgi_frameworks:fastapi", "/items/3?q=x"),
}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--case", action="append", choices=CASES)
    arguments.add_argument("--only", nargs="*", choices=SERVERS, default=["aiohttpd", "uvicorn", "granian"])
    given = arguments.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    for case in given.case or CASES:
        app, path = CASES[case]

        def ask(_: str, port: int, seconds: float, path: str = path) -> int:
            return load(port, seconds, path=path)

        with contextlib.ExitStack() as stack:
            servers = {
                name: stack.enter_context(
                    started(name, [sys.executable, *(part.replace("{app}", app) for part in SERVERS[name])])
                )
                for name in given.only
            }
            rates, costs = in_turns(servers, given.rounds, given.seconds, ask)
        report(case, rates, costs, first="uvicorn")


if __name__ == "__main__":
    main()
