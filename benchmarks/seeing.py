"""What it costs to see what the server does: each log format, and metrics, beside the same without.

usage: python benchmarks/seeing.py [--rounds 7] [--wrk SECONDS] [--only VARIANT ...]

In memory first, where there is no kernel: CPU time a request beside that without any of it, and what it adds. Rounds
are interleaved, and the lower quartile of each counts: whatever else runs on a machine can only add. With --wrk, the
throughput of a server on one core with wrk on the other, whose recorder is exchanged every 15 ms under the load: two
servers differ by more than what is measured here, and so does one from minute to minute.
"""

import argparse
import asyncio
import contextvars
import gc
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median, quantiles

from hot_path import GET_2, Hello, Null, browser_get, receive

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.interfaces import AnswerRecorder
from aiohttpd.server.access_log import AccessLog
from aiohttpd.server.layers import make_context
from aiohttpd.server.metrics import Metrics
from aiohttpd.server.server import HTTPServer

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
    variables = contextvars.copy_context()
    context = make_context(Hello, config, loop, server=server, access_log=log, lifespan_context=variables)
    connection = HTTPConnection(context)
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
                        receive(connection, request)
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


SLICE = 0.015  # seconds that a recorder has before it is another's turn


def recorders(loop: asyncio.AbstractEventLoop) -> dict[str, tuple[AnswerRecorder | None, bool, Callable[[], None]]]:
    """What takes the records of each variant, whether it wants durations, and what writes those that wait."""
    out = open(os.devnull, "w")  # noqa: SIM115
    found: dict[str, tuple[AnswerRecorder | None, bool, Callable[[], None]]] = {}
    for name, options in VARIANTS.items():
        if "access_log_format" in options:
            log = AccessLog(out, loop, str(options["access_log_format"]))
            found[name] = log.answered, log.timed, log.flush
        elif name in OFFS:
            found[name] = None, False, bool
        elif name == "metrics":
            found[name] = Metrics().answered, True, bool
    return found


class Counted(Hello):
    count = 0

    async def do_GET(self) -> None:
        Counted.count += 1
        await super().do_GET()


def serve() -> None:
    """Be a server whose recorder changes all the time; tells its port, and after SIGUSR1 the throughput with each."""

    def started(server: HTTPServer) -> None:
        loop = asyncio.get_running_loop()
        context = server._context
        assert context is not None
        variants = recorders(loop)
        rates: dict[str, list[float]] = {name: [] for name in variants}
        queue: list[str] = []
        current: tuple[str, float, int] | None = None

        def change() -> None:
            nonlocal current
            if current is not None:
                name, begun, count = current
                variants[name][2]()
                if Counted.count - count > 50:
                    rates[name].append((Counted.count - count) / (time.perf_counter() - begun))
            if not queue:
                queue.extend(random.sample(list(variants), len(variants)))
            name = queue.pop()
            context.record, context.timed, _ = variants[name]
            current = name, time.perf_counter(), Counted.count
            loop.call_later(SLICE, change)

        def end() -> None:
            print(json.dumps(rates), flush=True)
            signal.raise_signal(signal.SIGTERM)

        loop.add_signal_handler(signal.SIGUSR1, end)
        print(server.server_port, flush=True)
        change()

    from aiohttpd.runner.run import serve as run

    run(Counted, ("127.0.0.1", 0), aiohttpd.Config(access_log=False), started=started)


def with_wrk(seconds: int) -> None:
    command = ["taskset", "-c", "0", sys.executable, __file__, "--serve", "--only", *VARIANTS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = f"http://127.0.0.1:{int(process.stdout.readline())}/"
            load = ["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s", address]
            subprocess.run(load, stdout=subprocess.DEVNULL, check=True)
            process.send_signal(signal.SIGUSR1)
            rates = json.loads(process.stdout.readline())
        finally:
            process.terminate()
    off = median(rates["off"])
    print(f"wrk, 2 fields: throughput with each recorder, median of {len(rates['off'])} slices, beside that without")
    for name, figures in rates.items():
        print(f"  {name:12} {median(figures) / off:6.3f}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--wrk", type=int, default=0, metavar="SECONDS", help="of load by wrk, 60 say")
    arguments.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    given = arguments.parse_args()
    VARIANTS = {name: options for name, options in VARIANTS.items() if name in given.only or name == "off"}
    if given.serve:
        serve()
    else:
        asyncio.run(in_memory(given.rounds))
        if given.wrk:
            with_wrk(given.wrk)
