"""Proxies in front of aiohttpd, as examples/deploy has them: on a free port, and they say what went wrong."""

import asyncio
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

from .places import ROOT

DEPLOY = ROOT / "examples" / "deploy"
EXAMPLES = {"nginx": "nginx.conf", "haproxy": "haproxy.cfg"}
PACKAGES = {"nginx": "nginx-light", "haproxy": "haproxy"}  # of Debian
CLIENT = "127.0.0.2"  # where clients connect from: no address of a proxy

# What an example is adapted in.
PLACES = {
    "nginx_upstream": r"(?<=server )unix:/run/aiohttpd\.sock",
    "nginx_listen": r"(?<=listen )80",
    "nginx_kept": r"(?<=keepalive_timeout )60s",
    "haproxy_bind": r"(?<=bind ):80",
    "haproxy_server": r"127\.0\.0\.1:8000(?= send-proxy-v2)",
    "haproxy_limit": r"(?<=maxconn )\d+",
    "haproxy_kept": r"(?<=timeout http-keep-alive )60s",
    "haproxy_log": r"(?<=mode http\n)",
    "program": r"(?<=ExecStart=)\S+",
    "directory": r"(?<=WorkingDirectory=)\S+",
}


def text_of(name: str) -> str:
    """An example."""
    return (DEPLOY / name).read_text()


def filled_in(text: str, **values: str) -> str:
    """Adapt an example; what is to be replaced must be in it."""
    for old, new in values.items():
        pattern = PLACES[old]
        assert re.search(pattern, text, re.M), f"{pattern} is not there any more"
        text = re.sub(pattern, lambda _, new=new: new, text, flags=re.M)  # type: ignore[misc]
    return text


def find(program: str) -> str | None:
    """The path of a program, which need not be on the path of a user."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")


def backend(proxy: str, target: str, bind: str) -> list[str]:
    """The arguments of ``aiohttpd serve`` that a proxy's example wants behind it, for another target and address."""
    found = re.search(r"aiohttpd serve (.*)", text_of(EXAMPLES[proxy]))
    assert found, proxy
    arguments = shlex.split(found[1])
    arguments[0] = target
    arguments[arguments.index("--bind") + 1] = bind
    return arguments


@contextmanager
def front_running(*arguments: str, **options: Any) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """Run a program; gives it, and the file that has what it says."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(arguments, stdout=said, stderr=subprocess.STDOUT, **options)
        try:
            yield process, said
        finally:
            process.kill()
            process.wait()
            said.seek(0)
            print(said.read().decode()[-4000:])  # for who looks into a failure


async def until_reached(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a program listens."""
    while process.poll() is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return
    raise AssertionError(f"ended with {process.returncode}")


class Front:
    """A proxy that runs.

    Attributes:
        port: it listens on 127.0.0.1.
    """

    def __init__(self, port: int, process: subprocess.Popen[bytes], said: IO[bytes], complaint: str) -> None:
        self.port = port
        self._process = process
        self._said = said
        self._complaint = complaint

    async def stands_still(self, seconds: float) -> None:
        """Stop it for a while: what happens meanwhile it learns of at once, and in no particular order."""
        self._process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def complaints(self) -> list[str]:
        """What has gone wrong so far, from where the proxy sees it; clients need not have noticed."""
        lines = os.pread(self._said.fileno(), 1 << 24, 0).decode().splitlines()
        return [line for line in lines if re.search(self._complaint, line)]


@asynccontextmanager
async def nginx(folder: Path, server: str, kept: str = "60s") -> AsyncIterator[Front]:
    """nginx with the example.

    Args:
        folder: an empty one.
        server: what is behind it, ``unix:PATH`` or ``HOST:PORT``.
        kept: how long it keeps an idle connection to that.
    """
    program = find("nginx")
    assert program
    with socket.socket() as sock:
        # Reserves a port without listening there, and lets nginx have it, too.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        values = {"nginx_upstream": server, "nginx_listen": f"127.0.0.1:{port} reuseport", "nginx_kept": kept}
        (folder / "site.conf").write_text(filled_in(text_of("nginx.conf"), **values))
        temporary = "".join(
            f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (folder / "main.conf").write_text(
            f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
            "events { worker_connections 512; }\n"
            f"http {{ access_log off; {temporary} include {folder}/site.conf; }}\n"
        )
        with front_running(program, "-e", "stderr", "-c", f"{folder}/main.conf", "-p", str(folder)) as (process, said):
            await until_reached(port, process)
            yield Front(port, process, said, r"\[(error|crit|alert|emerg)\]")


@asynccontextmanager
async def haproxy(folder: Path, server: str, kept: str = "60s") -> AsyncIterator[Front]:
    """HAProxy with the example; arguments are those of `nginx`, but that connections of clients are what is kept."""
    program = find("haproxy")
    assert program
    with socket.create_server(("127.0.0.1", 0), backlog=512) as sock:
        port = sock.getsockname()[1]
        values = {
            "haproxy_bind": f"fd@{sock.fileno()}",
            "haproxy_server": server,
            "haproxy_limit": "400",
            "haproxy_kept": kept,
            # All that is out of the ordinary: no or a bad answer, retries, a server that is said to be down.
            "haproxy_log": "    log stdout format raw local0\n    option httplog\n    option dontlog-normal\n",
        }
        (folder / "haproxy.cfg").write_text(filled_in(text_of("haproxy.cfg"), **values))
        with front_running(program, "-db", "-f", str(folder / "haproxy.cfg"), pass_fds=[sock.fileno()]) as (
            process,
            said,
        ):
            sock.close()  # now it is HAProxy's alone: if that ends, clients are refused
            yield Front(port, process, said, r"^(?!\[|Proxy \w+ started)\S")


FRONTS = {"nginx": nginx, "haproxy": haproxy}
