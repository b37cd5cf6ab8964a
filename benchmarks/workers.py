"""What a second worker on a second core brings, beside peers; wrk shares the cores.

usage: python benchmarks/workers.py [--rounds 5] [--seconds 3] [--only NAME ...]

Each server with one worker on one core, with one on two cores, and with two on two; wrk is on the same cores, with a
thread for each. The first and the last are alike but for what they share the work out among, so there twice as many
requests is what can be had; with one worker on two cores, wrk has most of the second core, so that two workers bring
less, and the less the faster the server is. Nothing is pinned but to these cores. Rounds are interleaved. Prints for
each server its own ratios, then throughput and CPU time a request of aiohttpd as ratios to its own in the same setting,
above 1 where aiohttpd is better. Needs wrk (Debian: apt-get install wrk) and the group "benchmarks".
"""

import argparse
import contextlib
import os
import shutil
import statistics
import sys
from pathlib import Path

from matrix import servers
from matrix.load import run_wrk
from matrix.measure import in_turns
from matrix.process import started
from matrix.servers import APPS, Place
from matrix.workloads import WORKLOADS

NAMES = ("aiohttpd", "granian RSGI", "uvicorn")
SETTINGS = {"1 on one core": (1, {0}), "1 on two cores": (1, {0, 1}), "2 on two cores": (2, {0, 1})}
NOWHERE = Place(*[Path("/nonexistent")] * 4)  # hello needs no files


def command(name: str, workers: int) -> list[str]:
    """The command of the matrix for hello, with workers."""
    arguments = servers.command(name, WORKLOADS["hello"], NOWHERE)
    if "--workers" in arguments:
        at = arguments.index("--workers")
        del arguments[at : at + 2]
    at = arguments.index("serve") + 1 if "serve" in arguments else arguments.index("-m") + 2
    return [*arguments[:at], "--workers", str(workers), *arguments[at:]]


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES))
    given = arguments.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is missing: apt-get install wrk")
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("two workers want two cores")

    def ask(name: str, port: int, seconds: float) -> int:
        return run_wrk(f"http://127.0.0.1:{port}/hello", seconds, cores=SETTINGS[name.partition(": ")[2]][1])

    with contextlib.ExitStack() as stack:
        running = {
            f"{name}: {setting}": stack.enter_context(started(name, command(name, workers), cores, folder=APPS))
            for setting, (workers, cores) in SETTINGS.items()
            for name in given.only
        }
        rates, costs = in_turns(running, given.rounds, given.seconds, ask)
    print(f"Python {sys.version.split()[0]}, medians of {given.rounds} rounds; workers on cores, wrk on the same")
    for name in given.only:
        one, idle, two = (rates[f"{name}: {setting}"] for setting in SETTINGS)
        print(
            f"{name:12} 2 on two cores : 1 on one core  {ratio(two, one):.2f}  : 1 on two cores  {ratio(two, idle):.2f}"
        )
    for setting in SETTINGS if "aiohttpd" in given.only else ():
        for name in given.only:
            own, other = f"aiohttpd: {setting}", f"{name}: {setting}"
            faster, cheaper = ratio(rates[own], rates[other]), ratio(costs[other], costs[own])
            print(f"{setting:15} aiohttpd : {name:12} throughput {faster:.2f}  CPU {cheaper:.2f}")


def ratio(those: list[float], these: list[float]) -> float:
    """How many times as much, in the middle of the rounds."""
    return statistics.median(that / this for that, this in zip(those, these, strict=True))


if __name__ == "__main__":
    main()
