"""What HTTP clients make of each fault: python benchmarks/faults.py prints the table of docs/testing.md.

    python benchmarks/faults.py            # print the table
    python benchmarks/faults.py --write    # put it into docs/testing.md

Clients that are not installed are left out: httpx, requests, aiohttp, curl, Node.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttpd.testing import TestServer
from aiohttpd.testing.fault_site import FAULTS, TLS_FAULTS, fault_site

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
TIMEOUT = 2  # seconds; a client that is still at it has waited for ever
LARGE = 10_000_000  # bytes of content that no client of a test should have taken

NODE = """
const [url, seconds, times] = [process.argv[1], process.argv[2] * 1000, process.argv[3]];
(async () => {
  let size = 0;
  for (let i = 0; i < times; i++) {
    const answer = await fetch(url, {signal: AbortSignal.timeout(seconds)});
    size = (await answer.arrayBuffer()).byteLength;
    if (!answer.ok) size = "status " + answer.status;
  }
  console.log(size);
})().catch(error => console.log("!" + (error.cause?.code || error.cause?.name || error.name)));
"""

Client = Callable[[str, str, int], str]


def by_httpx(url: str, ca_file: str, times: int) -> str:
    import httpx

    with httpx.Client(verify=_context(ca_file), timeout=TIMEOUT, follow_redirects=True) as client:
        return _content([client.get(url).content for _ in range(times)][-1])


def by_requests(url: str, ca_file: str, times: int) -> str:
    import requests

    with requests.Session() as session:
        return _content([session.get(url, verify=ca_file, timeout=TIMEOUT).content for _ in range(times)][-1])


def by_aiohttp(url: str, ca_file: str, times: int) -> str:
    import aiohttp

    async def ask() -> bytes:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for _ in range(times):
                async with session.get(url, ssl=_context(ca_file)) as answer:
                    content = await answer.read()
            return content

    return _content(asyncio.run(ask()))


def by_curl(url: str, ca_file: str, times: int) -> str:
    command = ["curl", "-sS", "-L", "--compressed", "--cacert", ca_file, "-m", str(TIMEOUT), *[url] * times]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        return f"exit {done.returncode}"
    return _content(done.stdout[len(done.stdout) * (times - 1) // times :])


def by_node(url: str, ca_file: str, times: int) -> str:
    command = ["node", "-e", NODE, url, str(TIMEOUT), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NODE_EXTRA_CA_CERTS": ca_file})
    said = done.stdout.strip()
    return said[1:] if said.startswith("!") else _size(int(said)) if said.isdecimal() else said or "died"


def _context(ca_file: str) -> "object":
    import ssl

    return ssl.create_default_context(cafile=ca_file)


def _content(content: bytes) -> str:
    return _size(len(content))


def _size(size: int) -> str:
    return f"{size} bytes" if size < LARGE else f"{size // 1024 // 1024} MiB"


CLIENTS: dict[str, tuple[Client, bool]] = {
    "httpx": (by_httpx, importlib.util.find_spec("httpx") is not None),
    "requests": (by_requests, importlib.util.find_spec("requests") is not None),
    "aiohttp": (by_aiohttp, importlib.util.find_spec("aiohttp") is not None),
    "curl": (by_curl, shutil.which("curl") is not None),
    "Node fetch": (by_node, shutil.which("node") is not None),
}


def seen(client: Client, url: str, ca_file: str, times: int) -> str:
    """What a client gives: so many bytes, or the name of its exception."""
    try:
        return client(url, ca_file, times)
    except Exception as error:
        return type(error).__name__


def versions() -> str:
    """Of the clients."""
    from importlib.metadata import version

    found = [f"{name} {version(name)}" for name in ("httpx", "requests", "aiohttp") if CLIENTS[name][1]]
    if CLIENTS["curl"][1]:
        found.append(" ".join(subprocess.check_output(["curl", "--version"], text=True).split()[:2]))
    if CLIENTS["Node fetch"][1]:
        found.append("Node " + subprocess.check_output(["node", "--version"], text=True).strip())
    return ", ".join(found)


def table() -> str:
    """The faults, one a line, and what each client gave."""
    clients = {name: client for name, (client, there) in CLIENTS.items() if there}
    lines = [f"| fault | what is sent | {' | '.join(clients)} |", f"|---|---|{'---|' * len(clients)}"]
    with TestServer(fault_site()) as server, ThreadPoolExecutor(4) as pool:
        listed = json.loads(_page(server.url))
        rows = [(fault.path, fault.text, server.url + fault.path) for fault in FAULTS]
        rows += [
            (found["name"], found["text"], found["url"])
            for found in listed["faults"]
            if not found["url"].startswith("/")
        ]
        for name, text, url in rows:
            times = 2 if name == "/close/on-reuse" else 1
            results = pool.map(
                lambda client, url=url, times=times: seen(client, url, listed["ca_file"], times), clients.values()
            )
            lines.append(f"| `{name}` | {text} | {' | '.join(results)} |")
            print(lines[-1], file=sys.stderr)
    return "\n".join(
        [f"Made by `python benchmarks/faults.py --write` with {versions()}; timeouts of {TIMEOUT} s.", "", *lines]
    )


def _page(url: str) -> bytes:
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": "application/json"})) as answer:
        return bytes(answer.read())


def main() -> None:
    made = table()
    assert {f"tls/{name}" for name in TLS_FAULTS} <= {line.split("`")[1] for line in made.splitlines() if "`" in line}
    if "--write" in sys.argv:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}")
    else:
        print(made)


if __name__ == "__main__":
    main()
