"""Throughput of two workers against one, beside peers, on two cores that wrk shares with them.

usage: python benchmarks/workers.py [--rounds 5] [--seconds 3] [--only NAME ...]

Nothing is pinned but to these two cores. Rounds are interleaved: each server has its turn with one worker and with
two before the next round begins. Prints, for each server, two workers as a ratio to one, and aiohttpd's throughput
as a ratio to its own, with as many workers. Needs wrk (Debian: apt-get install wrk) and the group "benchmarks".
"""

import argparse
import contextlib
import os
import shutil
import statistics
import sys

from peers import SERVERS, in_turns, load, started

NAMES = ("aiohttpd", "granian", "uvicorn")
CORES = "0,1"


def command(name: str, workers: int) -> list[str]:
    """The command of `peers`, with workers."""
    arguments = list(SERVERS[name])
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

    def ask(_: str, port: int, seconds: float) -> int:
        return load(port, seconds, cores=CORES)

    with contextlib.ExitStack() as stack:
        servers = {
            f"{name} {workers}": stack.enter_context(started(name, command(name, workers), CORES))
            for name in given.only
            for workers in (1, 2)
        }
        rates, costs = in_turns(servers, given.rounds, given.seconds, ask)
    print(f"Python {sys.version.split()[0]}, medians of {given.rounds} rounds")
    print(f"{'server':10} {'two : one':>10} {'aiohttpd is':>12} {'with two':>9} {'CPU µs':>7} {'with two':>9}")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name in given.only:
        gain = statistics.median(two / one for one, two in zip(rates[f"{name} 1"], rates[f"{name} 2"], strict=True))
        print(f"{name:10} {gain:10.2f}", end="")
        for workers in (1, 2):
            own = medians.get(f"aiohttpd {workers}", medians[f"{name} {workers}"])
            print(f" {own / medians[f'{name} {workers}']:{12 if workers == 1 else 9}.2f}", end="")
        for workers in (1, 2):
            print(f" {statistics.median(costs[f'{name} {workers}']):{7 if workers == 1 else 9}.1f}", end="")
        print()


if __name__ == "__main__":
    main()
