"""The files in examples/deploy: with nginx, HAProxy and systemd's tools where there are any; as the command has it."""

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from aiohttpd import Config, HTTPServer, Request, StreamWriter
from aiohttpd.cli import serve
from aiohttpd.listeners import listen

from .test_command import command

DEPLOY = Path(__file__).parent.parent / "examples" / "deploy"
SOON = 10.0  # seconds within which a program has started, on a busy machine

# Options that another part of the work brings.
COMING = {"--proxy-protocol", "--trusted-proxies", "--health"}
OPTIONS = {name for parameter in serve.params for name in parameter.opts}
PROXY_PROTOCOL = "--proxy-protocol" in OPTIONS
INTRODUCED: dict[str, Any] = {"proxy_protocol": True, "trusted_proxies": "127.0.0.1"} if PROXY_PROTOCOL else {}


def text_of(name: str) -> str:
    return (DEPLOY / name).read_text()


def need(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"{program} is missing: install Debian's package {package}")
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name, since unix sockets are in it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def running(*arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    try:
        yield process
    finally:
        process.kill()
        said, _ = process.communicate()
        print(said)  # for who looks into a failure


async def until_reached(path: Path) -> None:
    """Wait until somebody listens on a unix socket."""
    async with asyncio.timeout(SOON):
        while True:
            with socket.socket(socket.AF_UNIX) as sock:
                try:
                    sock.connect(str(path))
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    return


def replace(text: str, **values: str) -> str:
    """Adapt an example; what is to be replaced must be in it."""
    for old, new in values.items():
        pattern = PLACES[old]
        assert re.search(pattern, text, re.M), f"{pattern} is not there any more"
        text = re.sub(pattern, lambda _, new=new: new, text, flags=re.M)  # type: ignore[misc]
    return text


PLACES = {
    "nginx_upstream": r"(?<=server )unix:/run/aiohttpd\.sock",
    "nginx_listen": r"(?<=listen )80",
    "haproxy_bind": r"(?<=bind ):80",
    "haproxy_server": r"127\.0\.0\.1:8000(?= send-proxy-v2)",
    "haproxy_protocol": r" send-proxy-v2 check check-send-proxy",
    "haproxy_limit": r"(?<=maxconn )\d+",
    "program": r"(?<=ExecStart=)\S+",
    "directory": r"(?<=WorkingDirectory=)\S+",
}


# What the files say, the command takes.


def commands(name: str) -> list[list[str]]:
    """The arguments of `aiohttpd serve` that a file has."""
    text = text_of(name)
    if name == "Containerfile":
        return [json.loads(found) for found in re.findall(r"^CMD (\[.*\])$", text, re.M)]
    if name == "kubernetes.yaml":
        return [re.findall(r"^ {12}- (\S+)$", text, re.M)]
    return [shlex.split(found) for found in re.findall(r"aiohttpd serve (.*)", text)]


@pytest.mark.parametrize("name", ["aiohttpd.service", "nginx.conf", "haproxy.cfg", "Containerfile", "kubernetes.yaml"])
def test_the_commands_of_the_examples(name: str) -> None:
    found = commands(name)
    assert found
    for arguments in found:
        given, left_out = [], False
        for argument in arguments:
            option = argument.partition("=")[0]
            if option.startswith("-"):
                left_out = option in COMING - OPTIONS
            if not left_out:
                given.append(argument)
            elif option == "--proxy-protocol":
                left_out = False  # which has no value
        with click.Context(serve) as context:
            serve.parse_args(context, given)
        assert context.params["target"] == "app.py:Handler"


def test_a_container_probes_what_it_serves() -> None:
    text = text_of("kubernetes.yaml")
    assert set(re.findall(r"httpGet: {path: (\S+), port: http}", text)) == {"/healthz"}
    assert "--health=/healthz" in text
    grace = sum(float(re.search(rf"--{name}=(\d+)", text)[1]) for name in ("shutdown-delay", "timeout-grace"))  # type: ignore[index]
    assert float(re.search(r"terminationGracePeriodSeconds: (\d+)", text)[1]) > grace + 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "pattern"),
    [("nginx.conf", r"keepalive_timeout (\d+)s"), ("haproxy.cfg", r"timeout http-keep-alive (\d+)s")],
)
def test_a_proxy_closes_kept_connections_first(name: str, pattern: str) -> None:
    found = re.search(pattern, text_of(name))
    assert found
    assert float(found[1]) + 10 < Config().timeout_idle


# systemd.


def test_units(folder: Path) -> None:
    analyze = need("systemd-analyze", "systemd")
    for unit in ("aiohttpd.socket", "aiohttpd.service"):
        text = text_of(unit)
        if unit.endswith("service"):
            text = replace(text, program=sys.executable, directory=str(folder))
        (folder / unit).write_text(text)
    done = subprocess.run(
        [analyze, "verify", "--man=no", *(str(folder / unit) for unit in ("aiohttpd.socket", "aiohttpd.service"))],
        capture_output=True,
        text=True,
    )
    # Of other units of the machine, and of systemd itself that does not run here, we know nothing.
    assert not [line for line in done.stderr.splitlines() if "aiohttpd" in line], done.stderr


def test_socket_activation(folder: Path) -> None:
    """The first connection starts the server, and is answered by it."""
    activate = need("systemd-socket-activate", "systemd")
    (folder / "app.py").write_text(
        "import os\n"
        "async def app(request, response):\n"
        "    response.send_head(200)\n"
        "    response.write(str(os.getpid()).encode())\n"
    )
    path = folder / "s"
    environment = ["-E", f"PYTHONPATH={os.environ.get('PYTHONPATH', '')}"]
    server = command("serve", "app:app", "--no-access-log")
    with running(activate, "-l", str(path), *environment, *server, cwd=folder) as process:
        asyncio.run(wait_for(path))
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://a/", timeout=SOON).text == str(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0
        assert path.exists()  # it is systemd's


async def wait_for(path: Path) -> None:
    async with asyncio.timeout(SOON):
        while not path.exists():
            await asyncio.sleep(0.02)


# Proxies.


async def app(request: Request, response: StreamWriter) -> None:
    body = await request.body.read() if request.method == "POST" else b""
    response.send_head(200)
    response.write(json.dumps({"size": len(body), "for": request.headers.get("X-Forwarded-For")}).encode())


@asynccontextmanager
async def nginx(folder: Path, upstream: str) -> AsyncIterator[Path]:
    """nginx with the example, at a unix socket."""
    program = need("nginx", "nginx-light")
    path = folder / "nginx"
    (folder / "site.conf").write_text(
        replace(text_of("nginx.conf"), nginx_upstream=upstream, nginx_listen=f"unix:{path}")
    )
    temporary = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "main.conf").write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
        f"events {{ worker_connections 512; }}\nhttp {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
    )
    with running(program, "-c", f"{folder}/main.conf", "-p", str(folder)):
        await until_reached(path)
        yield path


@asynccontextmanager
async def haproxy(folder: Path, port: int) -> AsyncIterator[Path]:
    """HAProxy with the example, at a unix socket."""
    program = need("haproxy", "haproxy")
    path = folder / "haproxy"
    values = {"haproxy_bind": f"unix@{path}", "haproxy_server": f"127.0.0.1:{port}", "haproxy_limit": "100"}
    text = replace(text_of("haproxy.cfg"), **values)
    if not PROXY_PROTOCOL:
        text = replace(text, haproxy_protocol=" check")
    (folder / "haproxy.cfg").write_text(text)
    with running(program, "-db", "-f", str(folder / "haproxy.cfg")):
        await until_reached(path)
        yield path


def client(path: Path, connections: int) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    transport = httpx.AsyncHTTPTransport(uds=str(path), limits=limits, retries=0, verify=False)
    return httpx.AsyncClient(transport=transport, timeout=SOON, base_url="http://site.example")


class Load:
    """Kept-alive clients that ask one thing after the other, and retry nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._ends = False

    async def run(self, clients: int) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._ask())

    async def _ask(self) -> None:
        async with client(self._path, 1) as http:
            while not self._ends:
                assert (await http.get("/")).status_code == 200
                self._count += 1

    async def answered(self, running: asyncio.Task[None], number: int) -> None:
        """Wait for so many answers more."""
        until = self._count + number
        while self._count < until and not running.done():
            await asyncio.sleep(0.01)

    def end(self) -> None:
        self._ends = True


async def roll(sock: socket.socket, times: int, front: Path, **options: Any) -> None:
    """Replace the server on a socket, as a supervisor does, while requests come; all must be answered."""
    # An idle connection of the proxy is kept for a while after the end has begun: it may be about to use it.
    config = Config(access_log=False, timeout_drain_idle=0.3, **options)
    server = HTTPServer(sock.dup(), app, config=config)
    await server.start()
    load = Load(front)
    running = asyncio.create_task(load.run(8))
    for _ in range(times):
        await load.answered(running, 20)
        following = HTTPServer(sock.dup(), app, config=config)
        await following.start()
        await server.shutdown()
        server = following
    await load.answered(running, 20)
    load.end()
    await running
    await server.shutdown()


@pytest.mark.timeout(60)
async def test_nginx(folder: Path) -> None:
    path = folder / "s"
    async with (
        HTTPServer(str(path), app, config=Config(access_log=False)) as server,
        nginx(folder, f"unix:{path}") as front,
    ):
        async with client(front, 1) as http:
            for _ in range(20):
                answer = await http.get("/", headers={"X-Forwarded-For": "192.0.2.66"})
                assert answer.status_code == 200
                assert answer.json()["for"] != "192.0.2.66"
            assert len(server.connections) == 1  # which is kept
            assert (await http.post("/", content=b"x" * 3_000_000)).json()["size"] == 3_000_000
        await server.shutdown(0)


@pytest.mark.timeout(60)
async def test_nginx_while_servers_come_and_go(folder: Path) -> None:
    (sock,) = listen(str(folder / "s"), 100)
    with sock:
        async with nginx(folder, f"unix:{folder}/s") as front:
            await roll(sock, 3, front)


@pytest.mark.timeout(60)
async def test_haproxy(folder: Path) -> None:
    config = Config(access_log=False, **INTRODUCED)
    async with HTTPServer(("127.0.0.1", 0), app, config=config) as server:
        assert server.server_port is not None
        async with haproxy(folder, server.server_port) as front, client(front, 1) as http:
            for _ in range(20):
                assert (await http.get("/")).status_code == 200
            assert (await http.post("/", content=b"x" * 3_000_000)).json()["size"] == 3_000_000
        await server.shutdown(0)


@pytest.mark.timeout(60)
async def test_haproxy_while_servers_come_and_go(folder: Path) -> None:
    (sock,) = listen(("127.0.0.1", 0), 100)
    with sock:
        async with haproxy(folder, sock.getsockname()[1]) as front:
            await roll(sock, 3, front, **INTRODUCED)
