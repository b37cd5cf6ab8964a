"""A handler of http.server on ThreadingHTTPServer and on aiohttpd.compat, side by side.

usage: python benchmarks/drop_in.py [--rounds 5] [--seconds 3]

Requests a second by wrk, rounds interleaved; threads and memory of 2,000 idle connections; how another client fares
beside one that sends its head slowly, and in a burst of 500 connections. Needs wrk (Debian: apt-get install wrk).
"""

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import sys
import time
from pathlib import Path

from matrix.load import run_wrk
from matrix.measure import in_turns
from matrix.process import started

PROGRAM = [sys.executable, str(Path(__file__).parent / "servers" / "old_handler.py")]
KINDS = {
    "HTTP/1.0, as http.server has it": ["HTTP/1.0"],
    "HTTP/1.1": ["HTTP/1.1"],
    "HTTP/1.1, wfile buffered": ["HTTP/1.1", "buffered"],
}
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
IDLE = 2000
BURST = 500


def server(name: str, options: list[str]) -> list[str]:
    """The command line of a server."""
    return [*PROGRAM, name, "{port}", *options]


def rates(rounds: int, seconds: int) -> None:
    """Requests a second."""
    for kind, options in KINDS.items():
        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(started(name, server(name, options))) for name in ("stdlib", "compat")}
            for connections in (1, 64):

                def ask(_: str, port: int, seconds: float, connections: int = connections) -> int:
                    return run_wrk(f"http://127.0.0.1:{port}/", seconds, connections=connections)

                found, costs = in_turns(servers, rounds, seconds, ask)
                ratio = statistics.median(
                    ours / theirs for ours, theirs in zip(found["compat"], found["stdlib"], strict=True)
                )
                cpu = statistics.median(costs["stdlib"]) / statistics.median(costs["compat"])
                print(f"{kind}, {connections} connections: {ratio:.2f} x requests a second, CPU 1/{cpu:.2f} a request")


def of_process(group: int) -> tuple[int, float]:
    """Threads, and MiB of memory (PSS), of the one process of a group that is no taskset."""
    status = Path(f"/proc/{group}/status").read_text()
    threads = int(status.split("Threads:")[1].split()[0])
    pss = Path(f"/proc/{group}/smaps_rollup").read_text().split("Pss:")[1].split()[0]
    return threads, int(pss) / 1024


async def get(port: int) -> float:
    """One request on a connection of its own; returns its seconds."""
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    assert b"200" in await reader.readline()
    writer.close()
    return time.perf_counter() - start


async def idle(group: int, port: int) -> None:
    """Connections that have had an answer, and are kept."""
    before = of_process(group)
    kept = []
    for _ in range(IDLE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(REQUEST)
        await reader.readuntil(b"world!")
        kept.append(writer)
    after = of_process(group)
    another = await get(port)
    print(
        f"  {IDLE} idle connections: {after[0] - before[0]} more threads, {after[1] - before[1]:.1f} MiB more; "
        f"another client is answered in {another * 1e3:.1f} ms"
    )
    for writer in kept:
        writer.close()


async def burst(port: int) -> None:
    """Connections that come at once."""
    start = time.perf_counter()
    answers = await asyncio.gather(*(get(port) for _ in range(BURST)), return_exceptions=True)
    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    times = sorted(answer for answer in answers if isinstance(answer, float))
    print(
        f"  {BURST} connections at once: {len(failed)} failed, all answered after {time.perf_counter() - start:.2f} s, "
        f"the slowest 1 % after {times[len(times) * 99 // 100]:.2f} s"
    )


async def beside_slow_head(port: int) -> None:
    """A client that sends half of a head, and one that wants an answer."""
    with socket.create_connection(("127.0.0.1", port)) as slow:
        slow.sendall(REQUEST[:10])
        await asyncio.sleep(0.2)
        try:
            async with asyncio.timeout(3):
                print(f"  beside a client that sends half of a head: {await get(port) * 1e3:.1f} ms")
        except TimeoutError:
            print("  beside a client that sends half of a head: not answered in 3 s")


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    given = arguments.parse_args()
    with contextlib.suppress(ImportError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, medians of {given.rounds} rounds")
    rates(given.rounds, given.seconds)
    for name in ("stdlib", "compat", "serial"):
        print(name)
        with started(name, server(name, ["HTTP/1.1"])) as (group, port):
            if name != "serial":
                asyncio.run(idle(group, port))
            asyncio.run(beside_slow_head(port))
        if name != "serial":
            with started(name, server(name, ["HTTP/1.0"])) as (group, port):
                asyncio.run(burst(port))


if __name__ == "__main__":
    main()
