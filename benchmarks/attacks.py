"""One hostile client beside peers: how much memory it takes, how many descriptors, and how long another client waits.

usage: python benchmarks/attacks.py [--seconds 4] [--attack NAME ...] [--only NAME ...] [--entries 50000] [--json]

For each attack and each server, a new server on one core is attacked from the other one for some seconds, while
another client asks for one small page again and again. Printed are the growth of the server's memory (peak), the
growth of its descriptors (peak), and the median and longest wait of the other client. Needs the group "benchmarks";
nginx (Debian: nginx-light) is left out where it is missing.
"""

import argparse
import contextlib
import itertools
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from matrix.process import started
from matrix.servers import nginx_command

HERE = Path(__file__).resolve().parent

MIB = 1024 * 1024
POST = b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\n%b\r\n"
PROBE = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def connect(port: int) -> socket.socket:
    """A connection of the attacker; what takes too long ends."""
    return socket.create_connection(("127.0.0.1", port), 5)


def drained(sock: socket.socket) -> None:
    """Read and forget whatever comes, in a thread."""

    def read() -> None:
        with contextlib.suppress(OSError):
            while sock.recv(MIB):
                pass

    threading.Thread(target=read, daemon=True).start()


def repeat(port: int, end: float, data: bytes, *, reading: bool = True) -> None:
    """Send the same again and again on one connection after the other."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError), connect(port) as sock:
            if reading:
                drained(sock)
            sent = memoryview(data)
            while time.monotonic() < end:
                sent = sent[sock.send(sent) :] or memoryview(data)
        time.sleep(0.01)


def pipelining(port: int, end: float) -> None:
    """Requests without a pause; the answers are read."""
    repeat(port, end, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000)


def unread(port: int, end: float) -> None:
    """Requests without a pause; the answers are not read."""
    repeat(port, end, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000, reading=False)


def tiny_chunks(port: int, end: float) -> None:
    """Bodies in chunks of one byte."""
    repeat(port, end, POST % (b"/", b"Transfer-Encoding: chunked\r\n") + b"1\r\nx\r\n" * 65_000 + b"0\r\n\r\n")


def slow_readers(port: int, end: float) -> None:
    """Large answers that nobody reads."""
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            with contextlib.suppress(OSError):
                sock = stack.enter_context(connect(port))
                sock.sendall(PROBE % b"/large")
        time.sleep(max(0, end - time.monotonic()))


def ask_for(port: int, end: float, request: bytes) -> None:
    """Send one request after the other, each on a connection of its own, and read what comes."""
    while time.monotonic() < end:
        with contextlib.suppress(OSError), connect(port) as sock:
            sock.sendall(request)
            while sock.recv(MIB):
                pass


def listing(port: int, end: float) -> None:
    """The list of a folder with many files."""
    ask_for(port, end, b"GET /big/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")


def nested_json(port: int, end: float) -> None:
    """16 MiB of JSON that become millions of objects."""
    content = b"[" + b"[]," * (16 * MIB // 3) + b"[]]"
    fields = b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n" % len(content)
    ask_for(port, end, POST % (b"/json", fields) + content)


def form(port: int, end: float) -> None:
    """Forms with some files that are large and many that are small, of which the end does not come."""

    def part(size: int) -> bytes:
        return b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n' + bytes(size) + b"\r\n"

    content = part(MIB + 1) * 16 + part(2) * 980
    fields = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n" % (len(content) + 1000)
    with contextlib.suppress(OSError), connect(port) as sock:
        sock.sendall(POST % (b"/form", fields) + content)
        time.sleep(max(0, end - time.monotonic()))


def list_fields(port: int, end: float) -> None:
    """Fields that are long lists of nothing."""
    fields = b"".join(
        name + b": " + sign * 7000 + b"\r\n"
        for name, sign in itertools.product(
            (b"Accept-Encoding", b"Cookie", b"Forwarded", b"If-None-Match"), (b",", b";")
        )
    )
    repeat(port, end, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + fields + b"\r\n")


class Attack(NamedTuple):
    """An attack: what one of its connections does, how many there are, and whether it is on files."""

    run: Callable[[int, float], None]
    connections: int
    files: bool = False


ATTACKS = {
    "pipelining": Attack(pipelining, 4),
    "pipelining, unread": Attack(unread, 4),
    "tiny chunks": Attack(tiny_chunks, 4),
    "slow readers": Attack(slow_readers, 1),
    "big listing": Attack(listing, 8, files=True),
    "JSON": Attack(nested_json, 4),
    "form": Attack(form, 4),
    "list fields": Attack(list_fields, 4),
}


def commands(folder: Path) -> dict[str, dict[bool, list[str]]]:
    """The command of each server, as an application and for files."""
    python, apps = sys.executable, str(HERE / "servers")
    ours = [python, "-m", "aiohttpd", "serve", "--port", "{port}", "--no-access-log"]
    proxied = ["--trusted-proxies", "127.0.0.1", "--trusted-fields", "Forwarded"]
    asgi = [python, "-m", "uvicorn", "--port", "{port}", "--no-access-log", "--log-level", "critical"]
    found = {
        "aiohttpd": {False: [*ours, *proxied, f"{apps}/attacked.py:app"], True: [*ours, f"{folder}/files"]},
        "uvicorn": {False: [*asgi, "--loop", "uvloop", "--http", "httptools", "attacked_starlette:app"]},
        "aiohttp": {
            False: [python, f"{apps}/attacked_aiohttp.py", "{port}"],
            True: [python, f"{apps}/attacked_aiohttp.py", "{port}", f"{folder}/files"],
        },
    }
    if shutil.which("nginx"):
        nginx = nginx_command(folder, more=f"location / {{ root {folder}/files; autoindex on; }}")
        found["nginx"] = dict.fromkeys((False, True), nginx)
    return found


class Figures(NamedTuple):
    """What an attack has done to a server and to another client of it."""

    memory: float  # MiB in addition, at the peak
    descriptors: int  # in addition, at the peak
    answers: int  # that the other client got
    median: float  # seconds that it waited for one
    longest: float


def resident(pid: int) -> float:
    """MiB of memory that a process has."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / MIB


def waits(port: int, path: bytes, end: float) -> list[float]:
    """Ask for a small page until the end, and wait for the last answer, too; seconds that each took."""
    found: list[float] = []
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 30) as sock:
            while time.monotonic() < end:
                begun = time.monotonic()
                sock.sendall(PROBE % path)
                if not sock.recv(64 * 1024):
                    break
                found.append(time.monotonic() - begun)
                time.sleep(0.01)
    return found


def measure(name: str, attack: str, command: list[str], seconds: float) -> Figures:
    """Attack one server."""
    _, connections, on_files = ATTACKS[attack]
    with started(name, command) as (pid, port):
        waits(port, path := b"/small" if on_files else b"/", time.monotonic() + 0.2)
        memory, descriptors = resident(pid), len(os.listdir(f"/proc/{pid}/fd"))
        most_memory, most_descriptors = memory, descriptors
        end = time.monotonic() + seconds
        other = "1" if (os.cpu_count() or 1) > 1 else "0"
        code = [sys.executable, __file__, "--run", attack, str(port), str(seconds)]
        attackers = [subprocess.Popen(["nice", "taskset", "-c", other, *code]) for _ in range(connections)]
        found: list[float] = []
        asking = threading.Thread(target=lambda: found.extend(waits(port, path, end)))
        asking.start()
        while asking.is_alive():
            most_memory = max(most_memory, resident(pid))
            most_descriptors = max(most_descriptors, len(os.listdir(f"/proc/{pid}/fd")))
            asking.join(0.02)
        for process in attackers:
            process.kill()
            process.wait()
    found = found or [seconds]
    return Figures(
        most_memory - memory, most_descriptors - descriptors, len(found), statistics.median(found), max(found)
    )


def main() -> None:
    """Attack, measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=4)
    arguments.add_argument("--attack", action="append", choices=ATTACKS)
    arguments.add_argument("--only", nargs="*")
    arguments.add_argument("--entries", type=int, default=50_000, help="files in the big folder")
    arguments.add_argument("--json", action="store_true", help="print a line of JSON for each")
    arguments.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.run:
        name, port, seconds = given.run
        ATTACKS[name].run(int(port), time.monotonic() + float(seconds))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "files" / "big").mkdir(parents=True)
        (folder / "files" / "small").write_text("small")
        (folder / "files" / "large").write_bytes(bytes(100 * MIB))
        if not given.attack or "big listing" in given.attack:
            for number in range(given.entries):
                (folder / "files" / "big" / f"file number {number}.txt").touch()
        for attack in given.attack or ATTACKS:
            for server, command in commands(folder).items():
                if (on_files := ATTACKS[attack].files) not in command or server not in (given.only or [server]):
                    continue
                figures = measure(server, attack, command[on_files], given.seconds)
                if given.json:
                    print(json.dumps({"attack": attack, "server": server, **figures._asdict()}), flush=True)
                    continue
                print(
                    f"{attack:20} {server:10} {figures.memory:7.1f} MiB {figures.descriptors:5} descriptors, "
                    f"another client: {figures.answers:4} answers, median {figures.median * 1e3:7.1f} ms, "
                    f"longest {figures.longest * 1e3:7.1f} ms",
                    flush=True,
                )


if __name__ == "__main__":
    main()
