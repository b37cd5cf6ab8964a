"""WebSockets beside peers: echo on 64 connections, and the memory of idle ones; rounds interleaved.

usage: python benchmarks/websocket_echo.py [--rounds 5] [--seconds 3] [--idle 5000] [--only NAME ...]

Each server is one process on one core, the client is on another: it sends a message on each connection and the next
one when its echo has come. Compression is not offered, but for half of the idle ones. Needs the group "benchmarks".
"""

import argparse
import contextlib
import os
import re
import resource
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

from peers import CONNECTIONS, HERE, in_turns, report, started

SERVERS = {
    "aiohttpd": [
        sys.executable, "-m", "aiohttpd", "serve", str(HERE / "servers" / "websocket_handler.py") + ":Echo",
        "--port", "{port}", "--no-access-log",
    ],
    "uvicorn": [
        sys.executable, "-m", "uvicorn", "--port", "{port}", "--no-access-log", "--log-level", "error", "--loop",
        "uvloop", "--http", "httptools", "websocket_asgi:app",
    ],
    "aiohttp": [sys.executable, str(HERE / "servers" / "websocket_aiohttp.py"), "{port}"],
}  # fmt: skip

TEXT, BINARY = 1, 2
CASES = {"100 bytes of text": (TEXT, 100), "64 KiB of bytes": (BINARY, 65536), "64 KiB of text": (TEXT, 65536)}
MASK = b"\x11\x22\x33\x44"
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%b\r\n"
)
DEFLATE = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"


def message(opcode: int, size: int) -> tuple[bytes, int]:
    """A frame of a client, and the size of its echo."""
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2) if size < 65536 else b""
    length = length or b"\xff" + size.to_bytes(8)
    content = bytes(byte ^ mask for byte, mask in zip(b"x" * size, MASK * (size // 4 + 1), strict=False))
    return bytes([0x80 | opcode]) + length + MASK + content, 1 + len(length) + size


def opened(port: int, fields: bytes = b"") -> socket.socket:
    """A connection with a WebSocket."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(HANDSHAKE % fields)
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return sock


def echo(port: int, seconds: float, opcode: int, size: int) -> int:
    """Send messages for so long; returns how many have come back."""
    frame, expected = message(opcode, size)
    socks = {sock.fileno(): sock for sock in (opened(port) for _ in range(CONNECTIONS))}
    missing = dict.fromkeys(socks, expected)
    poll = select.epoll()
    for number, sock in socks.items():
        poll.register(number, select.EPOLLIN)
        sock.sendall(frame)
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for number, _ in poll.poll():
            missing[number] -= len(socks[number].recv(262144))
            if not missing[number]:
                missing[number] = expected
                count += 1
                socks[number].sendall(frame)
    for sock in socks.values():
        sock.close()
    return count


def pss(group: int) -> int:
    """Proportional set size of a process group in bytes."""
    size = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                if os.getpgid(int(entry)) == group:
                    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{entry}/smaps_rollup").read_text(), re.M)
                    size += int(found[1]) * 1024 if found else 0
    return size


def idle(name: str, count: int, fields: bytes) -> float:
    """Bytes of memory that one more idle WebSocket takes."""
    with started(name, SERVERS[name]) as (group, port):
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
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--idle", type=int, default=5000)
    arguments.add_argument("--only", nargs="*", choices=SERVERS, default=list(SERVERS))
    arguments.add_argument("--load", nargs=4, help=argparse.SUPPRESS)  # port, seconds, opcode, size
    given = arguments.parse_args()
    if given.load:
        port, seconds, opcode, size = given.load
        print(echo(int(port), float(seconds), int(opcode), int(size)))
        return
    core = "1" if (os.cpu_count() or 1) > 1 else "0"
    for case, (opcode, size) in CASES.items():

        def ask(_: str, port: int, seconds: float, opcode: int = opcode, size: int = size) -> int:
            command = ["taskset", "-c", core, sys.executable, __file__, "--load"]
            command += [str(port), str(seconds), str(opcode), str(size)]
            return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        with contextlib.ExitStack() as stack:
            servers = {name: stack.enter_context(started(name, SERVERS[name])) for name in given.only}
            rates, costs = in_turns(servers, given.rounds, given.seconds, ask)
        report(case, rates, costs, first="uvicorn")
    if given.idle:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        print(f"\n{given.idle} idle WebSockets, KiB each: without compression, with it agreed upon")
        for name in given.only:
            sizes = [idle(name, given.idle, fields) / 1024 for fields in (b"", DEFLATE)]
            print(f"{name:10} {sizes[0]:8.1f} {sizes[1]:8.1f}")


if __name__ == "__main__":
    main()
