"""What it costs to be there: memory of idle connections, time of the import, time to the first answer.

usage: python benchmarks/footprint.py [--connections 4000]
"""

import argparse
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

IDLE = 4000  # connections
HERE = Path(__file__).resolve().parent
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: footprint/1\r\nAccept: */*\r\n\r\n"


def pss(pid: int) -> int:
    """Proportional set size of a process in bytes."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


def start() -> tuple[subprocess.Popen[str], int]:
    """Run the benchmark's handler as a program; gives the process and its port."""
    process = subprocess.Popen(
        [
            sys.executable, "-m", "aiohttpd", "serve", f"{HERE}/matrix/apps/handlers.py:Hello", "--port", "0",
            "--no-access-log",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stderr is not None
    line = process.stderr.readline()
    found = re.search(r":(\d+)/", line)
    if found is None:
        raise SystemExit(f"the server does not start: {line}")
    return process, int(found[1])


def ask(port: int) -> socket.socket:
    """Make a connection, have one request answered on it, and keep it."""
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"Hello, world!\n"):
        answer += client.recv(4096)
    return client


def idle_memory(count: int) -> float:
    """Bytes of memory that one more idle connection takes in the server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, count + 200)), hard))
    process, port = start()
    clients = []
    try:
        clients += [ask(port) for _ in range(100)]
        before = pss(process.pid)
        clients += [ask(port) for _ in range(count)]
        return (pss(process.pid) - before) / count
    finally:
        for client in clients:
            client.close()
        process.kill()
        process.communicate()


def import_time(modules: str) -> float:
    """Seconds that an import takes in a fresh interpreter."""
    code = f"import time; start = time.perf_counter(); import {modules}; print(time.perf_counter() - start)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def import_ratio() -> float:
    """How many times as long as that of asyncio the import of aiohttpd takes."""
    alone, ours = [], []
    for _ in range(15):  # in turn, so that a shared machine slows both alike
        alone.append(import_time("asyncio"))
        ours.append(import_time("aiohttpd"))
    return statistics.median(ours) / statistics.median(alone)


def first_answer() -> float:
    """Seconds from the start of the command to its first answer."""
    begin = time.perf_counter()
    process, port = start()
    ask(port).close()
    seconds = time.perf_counter() - begin
    process.kill()
    process.communicate()
    return seconds


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--connections", type=int, default=IDLE)
    given = arguments.parse_args()
    print(f"import aiohttpd: {import_ratio():.2f} x import asyncio")
    print(f"first answer:    {statistics.median(first_answer() for _ in range(7)):.3f} s after the command")
    if os.path.exists("/proc/self/smaps_rollup"):
        print(f"idle connection: {idle_memory(given.connections) / 1024:.2f} KiB each, of {given.connections}")


if __name__ == "__main__":
    main()
