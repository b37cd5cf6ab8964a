"""Throughput, CPU time and latency of aiohttpd beside other servers: workloads x servers, in interleaved rounds.

usage: python benchmarks/bench.py [--quick | --record | --pages] [--workload NAME ...] [--only SERVER ...] [--rounds 3]
       [--seconds 3] [--output FILE]

Each server is one process on the first core; the load (wrk; a client of ours for WebSockets and latency) is on the
second. Prints medians: requests a second in relation to aiohttpd, CPU time of the server for a request, and latency at
half of each server's own saturation.

--quick takes a minute: a few workloads and servers. --record writes what it has measured into benchmarks/results.json,
workload by workload. --pages, which follows a --record by itself, writes the tables and charts of the README and of the
documentation from that file. Needs wrk, nginx and openssl (Debian: apt-get install wrk nginx-light openssl), and the
group "benchmarks". The Python should be one that was built with PGO, as Debian's.
"""

import argparse
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from footprint import IDLE, idle_memory, import_ratio
from matrix import report
from matrix.measure import Plan, circumstances, run
from matrix.servers import SERVERS
from matrix.workloads import WORKLOADS

QUICK_WORKLOADS = ["hello", "differing", "asgi", "file-1k"]
QUICK_SERVERS = ["aiohttpd", "uvicorn", "granian RSGI", "nginx"]


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), metavar="NAME")
    parser.add_argument("--only", nargs="+", choices=SERVERS, default=list(SERVERS), metavar="SERVER")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--no-latency", action="store_true", help="throughput and CPU time only")
    parser.add_argument("--client", action="store_true", help="load by our client instead of wrk")
    parser.add_argument("--output", type=Path, help="JSON; workloads that are not measured now are kept")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--quick", action="store_true", help="a few workloads and servers, one round of a second")
    kinds.add_argument("--record", action="store_true", help="write benchmarks/results.json, the tables and charts")
    kinds.add_argument("--pages", action="store_true", help="write the tables and charts of what is recorded")
    given = parser.parse_args()
    if given.quick:
        given.workload, given.only, given.rounds, given.seconds = QUICK_WORKLOADS, QUICK_SERVERS, 1, 1
    if given.record:
        given.output = report.RESULTS
        if given.only != list(SERVERS):
            parser.error("--record wants all servers: what is compared has to be measured together")
    if not (given.pages or given.client) and shutil.which("wrk") is None:
        parser.error("wrk is missing: install it (Debian: apt-get install wrk), or take --client, which says less")
    return given


def main() -> None:
    """Measure, print and write."""
    given = options()
    if given.pages:
        report.write_pages()
        return
    results = report.read(given.output) if given.output and given.output.exists() else {"runs": [], "workloads": {}}
    around = circumstances("python benchmarks/bench.py " + shlex.join(sys.argv[1:]))
    around |= {"rounds": given.rounds, "seconds": given.seconds, "load": "client" if given.client else "wrk"}
    start = time.monotonic()

    def finished(name: str, servers: dict[str, Any]) -> None:
        report.add(results, name, servers, around)
        print(
            report.text_of(WORKLOADS[name].title, servers), f"[{time.monotonic() - start:.0f} s]", sep="\n", flush=True
        )
        if given.output:
            report.write(results, given.output)

    plan = Plan(given.rounds, given.seconds, around["load"], not given.no_latency)
    run(given.workload, given.only, plan, finished)
    if given.record:
        report.add_footprint(results, idle_memory(IDLE) / 1024, import_ratio(), around)
        report.write(results, given.output)
        report.write_pages()


if __name__ == "__main__":
    main()
