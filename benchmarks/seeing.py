"""What it costs to see what the server does: each log format, and metrics, beside the same without.

usage: python benchmarks/seeing.py [--rounds 7] [--wrk SECONDS] [--only VARIANT ...]

In memory first, where there is no kernel: CPU time a request beside that without any of it, and what it adds. With
--wrk real servers follow, one after the other within each round, pinned to one core with wrk on the other. Rounds are
interleaved, and the lower quartile of each counts: whatever else runs on a machine can only add.
"""

import argparse
import asyncio
import contextvars
import gc
import os
import re
import subprocess
import sys
import time
from statistics import quantiles

from hot_path import GET_2, Hello, Null, browser_get

import aiohttpd
from aiohttpd.access_log import AccessLog
from aiohttpd.assembly import make_service
from aiohttpd.connection import HTTPConnection
from aiohttpd.server import HTTPServer

OFF = {"access_log": False}
OFFS = ("off", "off again")  # how far the figures may be trusted
VARIANTS = {
    "off": OFF,
    "off again": OFF,
    "http.server": {"access_log_format": "http.server"},
    "common": {"access_log_format": "common"},
    "combined": {"access_log_format": "combined"},
    "own": {"access_log_format": "{iso_time} {client} {method} {target} {status} {bytes} {milliseconds} ms"},
    "json": {"access_log_format": "json"},
    "metrics": OFF | {"metrics": "127.0.0.1:0"},
    "metrics page": OFF | {"metrics": "/metrics"},
}


def connect(loop: asyncio.AbstractEventLoop, options: dict[str, object]) -> HTTPConnection:
    """A connection in memory of a server with some options, its log going to /dev/null."""
    config = aiohttpd.Config(**options)  # type: ignore[arg-type]
    log = None
    if config.access_log:
        log = AccessLog(open(os.devnull, "w"), loop, config.access_log_format)  # noqa: SIM115
    server = HTTPServer(("127.0.0.1", 0), Hello, config=config, access_log=log)
    context = contextvars.copy_context()
    service = make_service(Hello, config, loop, server=server, access_log=log, context=context)
    connection = HTTPConnection(service)
    Null(loop).connect(connection)
    return connection


async def in_memory(rounds: int) -> None:
    loop = asyncio.get_running_loop()
    cases = {"2 fields": [GET_2] * 64, "14 fields, one differs": [browser_get(number) for number in range(64)]}
    for case, requests in cases.items():
        connections = {name: connect(loop, options) for name, options in VARIANTS.items()}
        spent: dict[str, list[float]] = {name: [] for name in VARIANTS}
        gc.collect()
        gc.freeze()  # as `run` does
        for turn in range(rounds * 10 + 1):
            for name, connection in connections.items():
                start = time.process_time()
                for _ in range(4):
                    for request in requests:
                        connection.data_received(request)
                if turn:  # the first round warms the caches
                    spent[name].append((time.process_time() - start) / 4 / len(requests) * 1e6)
            await asyncio.sleep(0)
        tell(f"in memory, {case}", spent)


def tell(case: str, taken: dict[str, list[float]]) -> None:
    """Print what each variant has taken, in microseconds of CPU time a request."""
    quiet = {name: quantiles(figures, n=4)[0] for name, figures in taken.items()}
    off = min(quiet[name] for name in OFFS if name in quiet)
    print(f"{case}: {off:.2f} µs a request without")
    for name, figure in quiet.items():
        print(f"  {name:12} {off / figure:6.3f} {figure - off:+6.2f} µs")


def serve(options: dict[str, object]) -> None:
    """Be the server of one variant; tells its port on stdout."""

    def started(server: HTTPServer) -> None:
        print(server.server_port, flush=True)

    from aiohttpd.runner import serve as run

    run(Hello, ("127.0.0.1", 0), aiohttpd.Config(**options), started=started)  # type: ignore[arg-type]


def cpu(process: "subprocess.Popen[str]") -> float:
    """Seconds of CPU time that a process has taken, in its only thread."""
    with open(f"/proc/{process.pid}/schedstat") as file:
        return int(file.read().split()[0]) / 1e9


def with_wrk(rounds: int, seconds: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in VARIANTS}
    servers = {}
    for name in VARIANTS:
        command = ["taskset", "-c", "0", sys.executable, __file__, "--serve", name]
        servers[name] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        ports = {name: int(process.stdout.readline()) for name, process in servers.items()}  # type: ignore[union-attr]
        for turn in range(rounds + 1):
            for name, process in servers.items():
                before = cpu(process)
                command = ["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s"]
                done = subprocess.run(
                    [*command, f"http://127.0.0.1:{ports[name]}/"], capture_output=True, text=True, check=True
                )
                match = re.search(r"(\d+) requests in", done.stdout)
                assert match is not None, done.stdout
                if turn:
                    taken[name].append((cpu(process) - before) / int(match[1]) * 1e6)
    finally:
        for process in servers.values():
            process.terminate()
    tell("wrk, 2 fields", taken)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--wrk", type=int, default=0, metavar="SECONDS", help="of each run of wrk")
    arguments.add_argument("--serve", help=argparse.SUPPRESS)
    arguments.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    given = arguments.parse_args()
    if given.serve:
        serve(VARIANTS[given.serve])
    else:
        VARIANTS = {name: options for name, options in VARIANTS.items() if name in given.only}
        asyncio.run(in_memory(given.rounds))
        if given.wrk:
            with_wrk(given.rounds, given.wrk)
