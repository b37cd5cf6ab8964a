"""What clients make of each fault: python benchmarks/faults.py prints the tables of docs/testing.md.

    python benchmarks/faults.py            # print the tables, of HTTP and of WebSockets
    python benchmarks/faults.py --write    # put them into docs/testing.md

Clients that are not installed are left out: httpx, requests, aiohttp, curl, Node; websockets, websocket-client.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from aiohttpd.testing import TestServer
from aiohttpd.testing.fault_site import FAULTS, TLS_FAULTS, WEBSOCKET_FAULTS, fault_site

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
QUIET = 1  # seconds without a message, after which a WebSocket client says that it waits
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

NODE_WEBSOCKET = """
const [url, quiet, seconds] = [process.argv[1], process.argv[2] * 1000, process.argv[3] * 1000];
const socket = new WebSocket(url);
let [opened, sizes, end, timer] = [false, [], "", null];
const say = text => { console.log(sizes.join(" + ") + (sizes.length ? ", " : "") + (end || text)); process.exit(0); };
const wait = () => { clearTimeout(timer); timer = setTimeout(() => { end = "waits"; socket.close(); }, quiet); };
setTimeout(() => say(opened ? "hangs" : "TimeoutError"), seconds * 2);
socket.binaryType = "arraybuffer";
socket.onopen = () => { opened = true; wait(); };
socket.onmessage = event => { sizes.push(event.data.byteLength ?? event.data.length); wait(); };
socket.onerror = event => { end ||= "error"; };
socket.onclose = event => { end = end === "waits" ? end : (end ? end + " " : "closed ") + event.code; say(""); };
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
        timeout = aiohttp.ClientTimeout(total=_limit(url))
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for _ in range(times):
                async with session.get(url, ssl=_context(ca_file)) as answer:
                    content = await answer.read()
            return content

    return _content(asyncio.run(ask()))


def by_curl(url: str, ca_file: str, times: int) -> str:
    command = ["curl", "-sS", "-L", "--compressed", "--cacert", ca_file, "-m", str(_limit(url)), *[url] * times]
    done = subprocess.run(command, capture_output=True)
    if done.returncode:
        return f"exit {done.returncode}"
    return _content(done.stdout[len(done.stdout) * (times - 1) // times :])


def by_node(url: str, ca_file: str, times: int) -> str:
    command = ["node", "-e", NODE, url, str(_limit(url)), str(times)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "NODE_EXTRA_CA_CERTS": ca_file})
    said = done.stdout.strip()
    return said[1:] if said.startswith("!") else _size(int(said)) if said.isdecimal() else said or "died"


def by_websockets(url: str) -> str:
    import websockets

    async def ask() -> str:
        sizes: list[int] = []
        async with asyncio.timeout(TIMEOUT * 2), websockets.connect(url, open_timeout=TIMEOUT) as socket:
            try:
                while True:
                    async with asyncio.timeout(QUIET):
                        sizes.append(len(await socket.recv()))
            except TimeoutError:
                return _received(sizes, "waits")
            except websockets.ConnectionClosed as closed:
                close = closed.sent or closed.rcvd
                return _received(sizes, f"{type(closed).__name__} {close.code if close else 1006}")

    return asyncio.run(_bounded(ask()))


def by_aiohttp_socket(url: str) -> str:
    import aiohttp

    async def ask() -> str:
        sizes: list[int] = []
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(TIMEOUT):
                socket = await session.ws_connect(url, compress=15)
            try:
                while True:
                    async with asyncio.timeout(QUIET):
                        message = await socket.receive()
                    if message.type is aiohttp.WSMsgType.ERROR:
                        return _received(sizes, f"{type(message.data).__name__} {socket.close_code}")
                    if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                        return _received(sizes, f"closed {socket.close_code}")
                    sizes.append(len(message.data))
            except TimeoutError:
                return _received(sizes, "waits")
            finally:
                await socket.close()

    return asyncio.run(_bounded(ask()))


async def _bounded(asking: Coroutine[object, object, str]) -> str:
    """A client whose end does not come: it waits for a server that does not close."""
    task = asyncio.ensure_future(asking)
    await asyncio.wait([task], timeout=TIMEOUT * 2)
    if task.done():
        return task.result()
    task.cancel()
    return "hangs"


def by_websocket_client(url: str) -> str:
    import websocket

    sizes: list[int] = []
    socket = websocket.create_connection(url, timeout=TIMEOUT)
    socket.settimeout(QUIET)
    try:
        while True:
            opcode, data = socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return _received(sizes, f"closed {int.from_bytes(data[:2])}")
            sizes.append(len(data))
    except websocket.WebSocketTimeoutException:
        return _received(sizes, "waits")
    except Exception as error:
        return _received(sizes, type(error).__name__)
    finally:
        socket.close(timeout=TIMEOUT)


def by_node_websocket(url: str) -> str:
    command = ["node", "--experimental-websocket", "-e", NODE_WEBSOCKET, url, str(QUIET), str(TIMEOUT)]
    done = subprocess.run(command, capture_output=True, text=True)
    parts = done.stdout.strip().split(" + ")
    last, _, end = parts[-1].rpartition(", ")
    return _received([int(size) for size in [*parts[:-1], *([last] if last else [])]], end) if end else "died"


def _received(sizes: list[int], end: str) -> str:
    """What came after the message that is right, and how it ended."""
    return ", ".join([*map(_size, sizes[1:]), end])


def _limit(url: str) -> int:
    """Seconds for a whole answer; a bomb takes long to unpack."""
    return TIMEOUT * 10 if url.endswith("/bomb") else TIMEOUT


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


def seen(url: str, ca_file: str, times: int, client: Client) -> str:
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


SOCKET_CLIENTS: dict[str, tuple[Callable[[str], str], bool]] = {
    "websockets": (by_websockets, importlib.util.find_spec("websockets") is not None),
    "aiohttp": (by_aiohttp_socket, importlib.util.find_spec("aiohttp") is not None),
    "websocket-client": (by_websocket_client, importlib.util.find_spec("websocket") is not None),
    "Node WebSocket": (by_node_websocket, shutil.which("node") is not None),
}


def table(server: TestServer, pool: ThreadPoolExecutor) -> str:
    """The faults of HTTP and TLS, one a line, and what each client gave."""
    clients = {name: client for name, (client, there) in CLIENTS.items() if there}
    lines = _header(clients)
    listed = json.loads(_page(server.url))
    rows = [(fault.path, fault.text, server.url + fault.path) for fault in FAULTS]
    rows += [
        (found["name"], found["text"], found["url"]) for found in listed["faults"] if not found["url"].startswith("/")
    ]
    for name, text, url in rows:
        times = 2 if name == "/close/on-reuse" else 1
        results = pool.map(partial(seen, url, listed["ca_file"], times), clients.values())
        lines.append(_line(name, text, results))
    assert {f"tls/{name}" for name in TLS_FAULTS} <= {line.split("`")[1] for line in lines if "`" in line}
    return _made(versions(), lines)


def socket_table(server: TestServer, pool: ThreadPoolExecutor) -> str:
    """The faults of WebSockets."""
    clients = {name: client for name, (client, there) in SOCKET_CLIENTS.items() if there}
    lines = _header(clients)
    for fault in WEBSOCKET_FAULTS:
        url = f"{server.url.replace('http', 'ws', 1)}{fault.path}"
        lines.append(_line(fault.path, fault.text, pool.map(partial(socket_seen, url), clients.values())))
    from importlib.metadata import version

    found = [f"{name} {version(name)}" for name in clients if not name.startswith("Node")]
    if "Node WebSocket" in clients:
        found.append("Node " + subprocess.check_output(["node", "--version"], text=True).strip())
    return _made(", ".join(found), lines)


def socket_seen(url: str, client: Callable[[str], str]) -> str:
    """What a WebSocket client gives."""
    try:
        return client(url)
    except Exception as error:
        return type(error).__name__


def _header(clients: Iterable[str]) -> list[str]:
    names = list(clients)
    return [f"| fault | what is sent | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]


def _line(name: str, text: str, results: Iterable[str]) -> str:
    line = f"| `{name}` | {text} | {' | '.join(results)} |"
    print(line, file=sys.stderr)
    return line


def _made(found: str, lines: list[str]) -> str:
    made = f"Made by `python benchmarks/faults.py --write` with {found}; timeouts of {TIMEOUT} s."
    return "\n".join([made, "", *lines])


def _page(url: str) -> bytes:
    import urllib.request

    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": "application/json"})) as answer:
        return bytes(answer.read())


def main() -> None:
    with TestServer(fault_site()) as server, ThreadPoolExecutor(4) as pool:
        made = {"faults": table(server, pool), "websocket faults": socket_table(server, pool)}
    if "--write" not in sys.argv:
        print("\n\n".join(made.values()))
        return
    page = PAGE.read_text()
    for name, text in made.items():
        before, _, rest = page.partition(f"<!-- {name}: begin -->")
        after = rest.partition(f"<!-- {name}: end -->")[2]
        page = f"{before}<!-- {name}: begin -->\n\n{text}\n\n<!-- {name}: end -->{after}"
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
