"""The files in examples/deploy: with nginx, HAProxy and systemd's tools where there are any; as the command has it."""

import asyncio
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import httpx
import pytest

from aiohttpd import Config, HTTPServer, Request, StreamWriter
from aiohttpd.net.sockets import listen
from aiohttpd.runner.cli import serve

from ..support.commands import command
from ..support.fronts import CLIENT, FRONTS, PACKAGES, filled_in, find, front_running, haproxy, nginx, text_of
from ..support.places import ROOT
from ..support.rolling import Load
from ..support.waiting import until

SOON = 10.0  # seconds within which a program has started, on a busy machine

BEHIND_NGINX: dict[str, Any] = {"trusted_proxies": "unix:"}
BEHIND_HAPROXY: dict[str, Any] = {"proxy_protocol": True, "trusted_proxies": "127.0.0.1", "health": "/healthz"}
PROXIED = ROOT / "benchmarks" / "proxied.py"


def need(program: str, package: str) -> str:
    """The path of a program; without it the test is skipped."""
    found = find(program)
    if found is None:
        pytest.skip(f"{program} is missing: install Debian's package {package}")
    return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name, since unix sockets are in it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def test_the_autoscaler_is_for_the_deployment_and_knows_its_request() -> None:
    text, deployment = text_of("kubernetes-autoscale.yaml"), text_of("kubernetes.yaml")
    (name,) = re.findall(r"scaleTargetRef: \{apiVersion: apps/v1, kind: Deployment, name: (\w+)\}", text)
    assert re.search(rf"kind: Deployment\nmetadata:\n  name: {name}\n", deployment)
    assert re.search(r"resources:\n +requests: \{cpu: \d+m", deployment)
    assert f"matchLabels: {{app: {name}}}" in text
    assert f"matchLabels: {{app: {name}}}" in deployment


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
        with click.Context(serve) as context:
            serve.parse_args(context, arguments)
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
            text = filled_in(text, program=sys.executable, directory=str(folder))
        (folder / unit).write_text(text)
    done = subprocess.run(
        [
            analyze,
            "verify",
            "--man=no",
            *(str(folder / unit) for unit in ("aiohttpd.socket", "aiohttpd.service")),
        ],
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
    with front_running(activate, "-l", str(path), *environment, *server, cwd=folder) as (process, _):
        asyncio.run(until(path.exists, SOON))
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
            assert client.get("http://a/", timeout=SOON).text == str(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(SOON) == 0
        assert path.exists()  # it is systemd's


# Proxies.


async def app(request: Request, response: StreamWriter) -> None:
    body = await request.body.read() if request.method == "POST" else b""
    response.send_head(200)
    told = {"size": len(body), "client": request.client_address[0], "host": request.host, "scheme": request.scheme}
    response.write(json.dumps(told).encode())


def client(port: int) -> httpx.AsyncClient:
    """One that has a single connection, and claims to be somebody else."""
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    transport = httpx.AsyncHTTPTransport(local_address=CLIENT, limits=limits, retries=0, verify=False)
    headers = {
        "Host": "site.example",
        "Forwarded": "for=192.0.2.66;host=evil.example;proto=https",
        "X-Forwarded-For": "192.0.2.66",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "666",
        "X-Forwarded-Proto": "https",
    }
    return httpx.AsyncClient(transport=transport, timeout=SOON, base_url=f"http://127.0.0.1:{port}", headers=headers)


async def exercise(port: int) -> None:
    """Have it answer small and large requests; it knows who we are, and does not believe what we say of ourselves."""
    known = {"client": CLIENT, "host": "site.example", "scheme": "http"}
    async with client(port) as http:
        for _ in range(20):
            answer = await http.get("/")
            assert answer.status_code == 200
            assert answer.json() == {"size": 0, **known}
        assert (await http.post("/", content=b"x" * 3_000_000)).json() == {"size": 3_000_000, **known}


async def roll(sock: socket.socket, port: int, times: int = 3, **options: Any) -> None:
    """Replace the server on a socket, as a supervisor does, while requests come; all must be answered."""
    # An idle connection of the proxy is kept for a while after the end has begun: it may be about to use it.
    config = Config(access_log=False, timeout_drain_idle=0.3, **options)
    server = HTTPServer(sock.dup(), app, config=config)
    await server.start()
    async with Load(port, 8, source=CLIENT).running() as load:
        for _ in range(times):
            await load.more(20)
            following = HTTPServer(sock.dup(), app, config=config)
            await following.start()
            await server.shutdown()
            server = following
        await load.more(20)
    assert not load.failures
    await server.shutdown()


@pytest.mark.timeout(60)
async def test_nginx(folder: Path) -> None:
    need("nginx", PACKAGES["nginx"])
    path = folder / "s"
    async with (
        HTTPServer(str(path), app, config=Config(access_log=False, **BEHIND_NGINX)) as server,
        nginx(folder, f"unix:{path}") as front,
    ):
        await exercise(front.port)
        assert len(server.connections) == 1  # which is kept
        await server.shutdown(0)


@pytest.mark.timeout(60)
async def test_nginx_while_servers_come_and_go(folder: Path) -> None:
    need("nginx", PACKAGES["nginx"])
    (sock,) = listen(str(folder / "s"), 100)
    with sock:
        async with nginx(folder, f"unix:{folder}/s") as front:
            await roll(sock, front.port, **BEHIND_NGINX)


@pytest.mark.timeout(60)
async def test_haproxy(folder: Path) -> None:
    need("haproxy", PACKAGES["haproxy"])
    async with HTTPServer(("127.0.0.1", 0), app, config=Config(access_log=False, **BEHIND_HAPROXY)) as server:
        async with haproxy(folder, f"127.0.0.1:{server.server_port}") as front:
            await exercise(front.port)
        await server.shutdown(0)


@pytest.mark.timeout(60)
async def test_haproxy_while_servers_come_and_go(folder: Path) -> None:
    need("haproxy", PACKAGES["haproxy"])
    (sock,) = listen(("127.0.0.1", 0), 100)
    with sock:
        async with haproxy(folder, f"127.0.0.1:{sock.getsockname()[1]}") as front:
            await roll(sock, front.port, **BEHIND_HAPROXY)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", list(FRONTS))
def test_workers_are_replaced_behind(name: str) -> None:
    """What `nox -s proxied` does for a minute: no request fails, and the log knows the clients."""
    need(name, PACKAGES[name])
    few = ["--seconds", "1.5", "--clients", "8", "--pause", "0.2", "--idle", "0"]
    done = subprocess.run([sys.executable, str(PROXIED), name, *few], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
