"""What systemd gives a service, and what it is told: sockets, readiness, reloads, the watchdog."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from aiohttpd.net.bind import read_addresses
from aiohttpd.net.systemd import Notifier, passed_descriptors

from ..support.commands import command

APP = """
import os

async def app(request, response):
    left = [name for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID") if name in os.environ]
    response.send_head(200)
    response.write(repr(left).encode())
"""


def passed(**variables: str) -> dict[str, str]:
    return {"LISTEN_PID": str(os.getpid()), **variables}


class TestSockets:
    @pytest.mark.parametrize(
        ("environment", "found"),
        [
            ({}, []),
            ({"LISTEN_PID": "1", "LISTEN_FDS": "1"}, []),
            ({"LISTEN_FDS": "1"}, []),
            (passed(), []),
            (passed(LISTEN_FDS="0"), []),
            (passed(LISTEN_FDS="2"), [("", 3), ("", 4)]),
            (passed(LISTEN_FDS="2", LISTEN_FDNAMES="web:admin"), [("web", 3), ("admin", 4)]),
            (passed(LISTEN_FDS="2", LISTEN_FDNAMES="web"), [("web", 3), ("", 4)]),
        ],
    )
    def test_which(self, environment: dict[str, str], found: list[tuple[str, int]]) -> None:
        assert passed_descriptors(environment) == found

    @pytest.mark.parametrize("count", ["", "x", "-1", "\u0663", "9" * 11, "9" * 5000])
    def test_no_number(self, count: str) -> None:
        with pytest.raises(ValueError, match="LISTEN_FDS: .* is not a number"):
            passed_descriptors(passed(LISTEN_FDS=count))

    def test_a_name_that_there_is_not(self) -> None:
        environment = passed(LISTEN_FDS="2", LISTEN_FDNAMES="web:admin")
        with pytest.raises(
            ValueError, match="--bind systemd:wbe: no socket of this name was passed; there are web, admin"
        ):
            read_addresses(["systemd:wbe"], 80, environment)

    @pytest.mark.parametrize(
        ("arguments", "served"),
        [
            ((), [0, 1]),
            (("--bind", "systemd:"), [0, 1]),
            (("--bind", "systemd:admin"), [1]),
            (("--bind", "systemd:admin", "--bind", "systemd:web"), [1, 0]),
            (("--bind", "127.0.0.1:0"), []),
        ],
    )
    def test_the_command(self, tmp_path: Path, arguments: tuple[str, ...], served: list[int]) -> None:
        (tmp_path / "hello.py").write_text(APP)
        # What systemd does: descriptors from 3 on, and the number of the process that they are for.
        code = (
            "import os, sys\n"
            "os.dup2(int(sys.argv[1]), 103); os.dup2(int(sys.argv[2]), 104)\n"
            "os.dup2(103, 3); os.dup2(104, 4)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='web:admin')\n"
            "os.execv(sys.executable, [sys.executable, *sys.argv[3:]])\n"
        )
        with socket.create_server(("127.0.0.1", 0)) as web, socket.create_server(("127.0.0.1", 0)) as admin:
            urls = ["http://{}:{}/".format(*sock.getsockname()) for sock in (web, admin)]
            numbers = [sock.fileno() for sock in (web, admin)]
            process = subprocess.Popen(
                [sys.executable, "-c", code, *map(str, numbers), *command("serve", "hello:app", *arguments)[1:]],
                cwd=tmp_path,
                stderr=subprocess.PIPE,
                text=True,
                pass_fds=numbers,
            )
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert [
                urls.index(url) for url in line.split(" on ")[1].split(" (")[0].split(", ") if url in urls
            ] == served
            for number in served:
                assert httpx.get(urls[number]).status_code == 200
        finally:
            process.kill()
            process.communicate()


class Manager:
    """The side of the service manager."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(10)
        self.socket.bind(address.replace("@", "\0"))

    def hear(self) -> dict[str, str]:
        """The next message."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n"))

    def hear_of(self, name: str) -> dict[str, str]:
        """The next message that has this variable."""
        while name not in (message := self.hear()):
            pass
        return message


@contextmanager
def manager(address: str) -> Iterator[Manager]:
    made = Manager(address)
    with made.socket:
        yield made


@pytest.fixture
def addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hello.py").write_text(APP)
    with tempfile.TemporaryDirectory() as folder:  # whose name is short, as that of a socket must be
        yield {"path": f"{folder}/n", "abstract": f"@aiohttpd-test-{os.getpid()}"}


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_the_life_of_a_service(addresses: dict[str, str], kind: str) -> None:
    if kind == "abstract" and sys.platform != "linux":
        pytest.skip("such sockets are Linux's")
    address = addresses[kind]
    with manager(address) as systemd:
        environment = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
        process = subprocess.Popen(
            command("serve", "hello:app", "-p", "0"), stderr=subprocess.PIPE, text=True, env=environment
        )
        try:
            assert process.stderr is not None
            url = process.stderr.readline().split()[2]
            ready = {"READY": "1", "MAINPID": str(process.pid), "STATUS": f"Serving on {url}"}
            assert systemd.hear() == ready
            for _ in range(3):
                assert systemd.hear() == {"WATCHDOG": "1"}
            assert httpx.get(url).text == "[]"  # what the handler's own children are not to take for theirs
            process.send_signal(signal.SIGHUP)
            assert systemd.hear_of("RELOADING")["MONOTONIC_USEC"].isdigit()
            assert systemd.hear_of("READY") == ready
            process.send_signal(signal.SIGTERM)
            assert systemd.hear_of("STOPPING")["STATUS"].startswith("Finishing 0 requests")
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.communicate()


SLOW_START = """
import asyncio, contextlib, signal

@contextlib.asynccontextmanager
async def lifespan(server):
    os.kill(os.getpid(), signal.SIGHUP)
    await asyncio.sleep(0.05)
    yield

app.lifespan = lifespan
"""


def test_a_reload_while_it_starts_does_not_make_it_ready(addresses: dict[str, str]) -> None:
    Path("slow.py").write_text(APP + SLOW_START)
    with manager(addresses["path"]) as systemd:
        environment = {**os.environ, "NOTIFY_SOCKET": addresses["path"]}
        process = subprocess.Popen(command("serve", "slow:app", "-p", "0"), stderr=subprocess.PIPE, env=environment)
        try:
            assert systemd.hear()["STATUS"].startswith("Serving on http://")
        finally:
            process.kill()
            process.communicate()


async def test_a_watchdog_for_another(addresses: dict[str, str]) -> None:
    with manager(addresses["path"]) as systemd:
        environment = {"NOTIFY_SOCKET": addresses["path"], "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
        notifier = Notifier(environment)
        assert (notifier.watchdog, environment) == (None, {})
        notifier.watch(asyncio.get_running_loop())
        notifier.stopping("one")
        notifier.close()
        notifier.stopping("two")
        assert systemd.hear() == {"STOPPING": "1", "STATUS": "one"}
        systemd.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            systemd.hear()


@pytest.mark.parametrize("period", ["x", "9" * 400])
@pytest.mark.parametrize("address", ["", "/no/such/socket", "vsock:2:1", "@nobody-listens-here"])
async def test_nobody_to_tell(address: str, period: str) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": period})
    notifier.ready("")
    notifier.watch(asyncio.get_running_loop())
    notifier.close()


def test_a_manager_that_is_gone(addresses: dict[str, str]) -> None:
    with manager(addresses["path"]):
        notifier = Notifier({"NOTIFY_SOCKET": addresses["path"]})
    notifier.ready("")
    notifier.close()
