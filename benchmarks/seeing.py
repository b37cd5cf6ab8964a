"""What it costs to see what the server does: each log format, and metrics, beside the same without.

usage: python benchmarks/seeing.py [--rounds 7] [--wrk SECONDS]

In memory first, where there is no kernel: the medians, over interleaved rounds, of the ratio to the requests a
second without any of it, and of the microseconds that it adds. With --wrk real servers follow, one after the other
within each round, pinned to one core with wrk on the other; the ratio is that of the CPU time a request.
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
from statistics import median

from hot_path import GET_2, Hello, Null, browser_get

import aiohttpd
from aiohttpd.access_log import AccessLog
from aiohttpd.assembly import make_service
from aiohttpd.connection import HTTPConnection
from aiohttpd.server import HTTPServer

OFF = {"access_log": False}
VARIANTS = {
    "off": OFF,
    "off again": OFF,  # how far the ratios may be trusted
    "http.server": {"access_log_format": "http.server"},
    "common": {"access_log_format": "common"},
    "combined": {"access_log_format": "combined"},
    "own": {"access_log_format": "{iso_time} {client} {method} {target} {status} {bytes} {milliseconds} ms"},
    "json": {"access_log_format": "json"},
    "metrics": OFF | {"metrics": "/metrics"},
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
        print(f"in memory, {case}: {median(spent['off']):.2f} µs a request without")
        for name, figures in spent.items():
            pairs = list(zip(spent["off"], figures, strict=True))
            ratio = median(off / figure for off, figure in pairs)
            print(f"  {name:12} {ratio:6.3f} {median(figure - off for off, figure in pairs):+6.2f} µs")


def serve(options: dict[str, object]) -> None:
    """Be the server of one variant; tells its port on stdout."""

    def started(server: HTTPServer) -> None:
        print(server.server_port, flush=True)

    from aiohttpd.runner import serve as run

    run(Hello, ("127.0.0.1", 0), aiohttpd.Config(**options), started=started)  # type: ignore[arg-type]


def cpu(process: "subprocess.Popen[str]") -> float:
    """Seconds of CPU time that a process has taken."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


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
    print(f"wrk, 2 fields: {median(taken['off']):.1f} µs of CPU a request without")
    for name, figures in taken.items():
        pairs = list(zip(taken["off"], figures, strict=True))
        ratio = median(off / figure for off, figure in pairs)
        print(f"  {name:12} {ratio:6.3f} {median(figure - off for off, figure in pairs):+6.2f} µs")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--wrk", type=int, default=0, metavar="SECONDS", help="of each run of wrk")
    arguments.add_argument("--serve", help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.serve:
        serve(VARIANTS[given.serve])
    else:
        asyncio.run(in_memory(given.rounds))
        if given.wrk:
            with_wrk(given.rounds, given.wrk)
