"""The memory that an idle WebSocket takes, without compression and with it agreed upon, beside peers.

usage: python benchmarks/websocket_idle.py [--count 5000] [--only NAME ...]

Needs the group "benchmarks". How fast an echo is: the workloads websocket and websocket-64k of bench.py.
"""

import argparse
import re
import resource
import socket
import time
from pathlib import Path

from matrix import servers
from matrix.client import UPGRADE, receive_head
from matrix.process import members, started
from matrix.servers import APPS, Place
from matrix.workloads import WORKLOADS

NAMES = ("aiohttpd", "uvicorn", "granian RSGI", "aiohttp")
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
NOWHERE = Place(*[Path("/nonexistent")] * 4)  # an echo needs no files


def opened(port: int, fields: bytes = b"") -> socket.socket:
    """A connection with a WebSocket."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.sendall(UPGRADE[: -len(b"\r\n")] % b"/websocket" + (fields or b"\r\n"))
    head, _ = receive_head(sock)
    assert head.startswith(b"HTTP/1.1 101"), head
    return sock


def pss(group: int) -> int:
    """Proportional set size of a process group in bytes."""
    size = 0
    for folder, _ in members(group):
        found = re.search(r"^Pss:\s+(\d+) kB", Path(folder, "smaps_rollup").read_text(), re.M)
        size += int(found[1]) * 1024 if found else 0
    return size


def idle(name: str, count: int, fields: bytes) -> float:
    """Bytes of memory that one more idle WebSocket takes."""
    arguments = servers.command(name, WORKLOADS["websocket"], NOWHERE)
    with started(name, arguments, folder=APPS) as (group, port):
        socks = [opened(port, fields) for _ in range(100)]
        before = pss(group)
        socks += [opened(port, fields) for _ in range(count)]
        time.sleep(1)
        size = (pss(group) - before) / count
        for sock in socks:
            sock.close()
    return size


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--count", type=int, default=5000)
    arguments.add_argument("--only", nargs="*", choices=NAMES, default=list(NAMES))
    given = arguments.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"{given.count} idle WebSockets, KiB each: without compression, with it agreed upon")
    for name in given.only:
        sizes = [idle(name, given.count, fields) / 1024 for fields in (b"", DEFLATE)]
        print(f"{name:13} {sizes[0]:8.1f} {sizes[1]:8.1f}")


if __name__ == "__main__":
    main()
