"""Files beside nginx and Python peers: one worker on one core, wrk on another, rounds interleaved.

usage: python benchmarks/files.py [--rounds 5] [--seconds 3] [--size 1k|64k|1m|100m] [--only NAME ...]

Prints medians as ratios to nginx with sendfile. Needs wrk and nginx (Debian: apt-get install wrk
nginx-light) and the group "benchmarks".
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
from pathlib import Path

from peers import HERE, in_turns, load, report, started

SIZES = {"1k": 1024, "64k": 64 * 1024, "256k": 256 * 1024, "1m": 1024 * 1024, "100m": 100 * 1024 * 1024}
CONNECTIONS = {"1k": 64, "64k": 64, "256k": 64, "1m": 64, "100m": 8}

NGINX = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{{port}}; root {folder}/files; }}
}}
"""


def servers(folder: Path) -> dict[str, list[str]]:
    """The command of each server, with {port} for the port."""
    python, files, apps = sys.executable, str(folder / "files"), str(HERE / "servers")
    configuration = NGINX.format(folder=folder)
    nginx = f"cat > {folder}/nginx.conf <<'END'\n{configuration}\nEND\nexec nginx -c {folder}/nginx.conf"
    return {
        "nginx": ["sh", "-c", nginx],
        "aiohttpd": [python, "-m", "aiohttpd", "serve", files, "--port", "{port}", "--no-access-log"],
        "granian": [
            python, "-m", "granian", "--interface", "rsgi", "--port", "{port}", "--no-access-log", "--log-level",
            "error", "--workers", "1", "--runtime-threads", "1", "--loop", "uvloop", "--static-path-route", "/f",
            "--static-path-mount", files, "rsgi_app:app",
        ],
        "aiohttp": [python, f"{apps}/aiohttp_files.py", "{port}", files],
        "starlette": [
            "env", f"FILES={files}", python, "-m", "uvicorn", "--port", "{port}", "--no-access-log", "--log-level",
            "error", "--loop", "uvloop", "--http", "httptools", "starlette_files:app",
        ],
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=3)
    arguments.add_argument("--size", action="append", choices=SIZES)
    arguments.add_argument("--only", nargs="*")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        (folder / "files").mkdir()
        for size, count in SIZES.items():
            (folder / "files" / size).write_bytes(os.urandom(count))
        commands = servers(folder)
        chosen = given.only or list(commands)
        running = {server: stack.enter_context(started(server, commands[server])) for server in chosen}
        for size in given.size or SIZES:
            measure(size, running, given.rounds, given.seconds)


def measure(size: str, running: dict[str, tuple[int, int]], rounds: int, seconds: int) -> None:
    """Ask each server for one file, in turns."""

    def ask(name: str, port: int, seconds: float) -> int:
        path = f"/f/{size}" if name == "granian" else f"/{size}"
        return load(port, seconds, path=path, connections=CONNECTIONS[size])

    rates, costs = in_turns(running, rounds, seconds, ask)
    report(f"a file of {size}", rates, costs, first="nginx")
    ours = statistics.median(rates.get("aiohttpd", [0]))
    print(f"aiohttpd: {ours * SIZES[size] / 1e9:.2f} GB/s")


if __name__ == "__main__":
    main()
