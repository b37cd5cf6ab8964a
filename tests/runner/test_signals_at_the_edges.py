"""Signals before the loop handles them, and after: while a program starts, and while its process ends."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ..support.programs import WAIT, program, serve_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")

SLOW = """
import signal, sys
import aiohttpd

Handler = aiohttpd.BaseHTTPRequestHandler
before = {before}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
print("loading", file=sys.stderr, flush=True)
if __name__ != "__main__" or before:
    signal.sigwait([signal.SIGUSR2])
if __name__ == "__main__":
    aiohttpd.run({app}, port=0)
"""

# Signals from the end of the program, as early and as late as Python code can send them.
LATE = """
import atexit, os, signal
import aiohttpd

class Handler(aiohttpd.BaseHTTPRequestHandler): ...

def send(kill=os.kill, pid=os.getpid(), numbers=(signal.SIGTERM, signal.SIGHUP, signal.SIGINT)):
    for number in numbers:
        kill(pid, number)

class Last:
    __del__ = lambda self, send=send: send()

atexit.register(send)
last = Last()

if __name__ == "__main__":
    aiohttpd.run(Handler, port=0, workers={workers})
    send()
"""


class TestStart:
    @pytest.mark.parametrize("how", ["command", "run"])
    async def test_hang_up_while_the_application_is_loaded(self, how: str, tmp_path: Path) -> None:
        """FAULT: SIGHUP ended the program, as it does by default; there is nothing to reload yet."""
        (tmp_path / "slow.py").write_text(SLOW.format(app='"slow:Handler"', before=False))
        context = serve_command(tmp_path, "slow:Handler") if how == "command" else program(tmp_path, "slow.py")
        async with context as server:
            await server.says("^loading", 1 if how == "command" else 2)
            server.send(signal.SIGHUP)
            server.send(signal.SIGUSR2)
            await server.port()
            assert await server.stops() == 0

    @pytest.mark.skipif(
        signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="ignores SIGHUP: run it without nohup"
    )
    async def test_of_a_program_that_has_not_called_run(self, tmp_path: Path) -> None:
        """It is not for the package to decide."""
        (tmp_path / "slow.py").write_text(SLOW.format(app="Handler", before=True))
        async with program(tmp_path, "slow.py") as server:
            await server.says("^loading")
            server.send(signal.SIGHUP)
            assert await server.ends() == -signal.SIGHUP

    def test_no_notice_to_the_service_manager(self, tmp_path: Path) -> None:
        """FAULT: READY=1 was sent after SIGHUP while the lifespan was being entered: dependent services started."""
        (tmp_path / "app.py").write_text(
            "import asyncio, contextlib, os, signal, aiohttpd\n"
            "Handler = aiohttpd.BaseHTTPRequestHandler\n"
            "@contextlib.asynccontextmanager\n"
            "async def lifespan(server):\n"
            "    os.kill(os.getpid(), signal.SIGHUP)\n"
            "    await asyncio.sleep(0.05)\n"
            "    os.kill(os.getpid(), signal.SIGTERM)\n"
            "    await asyncio.Event().wait()\n"
            "    yield\n"
            "aiohttpd.run(Handler, port=0, lifespan=lifespan)\n"
        )
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(f"{folder}/n")
            manager.setblocking(False)
            environment = {"NOTIFY_SOCKET": f"{folder}/n", "PYTHONPATH": ":".join(filter(None, sys.path))}
            subprocess.run([sys.executable, "app.py"], cwd=tmp_path, env=environment, check=True, timeout=WAIT)
            with pytest.raises(BlockingIOError):
                raise AssertionError(manager.recv(4096))


class TestEnd:
    async def test_hang_up_while_requests_are_finished(self, tmp_path: Path) -> None:
        """FAULT: "Replacing the workers", and RELOADING=1 to the service manager after STOPPING=1.

        Another: a SIGTTIN at that time bound a socket for a worker more, or raised IndexError.
        """
        (tmp_path / "app.py").write_text(
            "import asyncio, sys, aiohttpd\n"
            "class Handler(aiohttpd.BaseHTTPRequestHandler):\n"
            "    async def do_GET(self):\n"
            "        print('begun', file=sys.stderr, flush=True)\n"
            "        await self.server.shutting_down.wait()\n"
            "        print('stopping', file=sys.stderr, flush=True)\n"
            "        await asyncio.sleep(0.3)\n"
            "        self.send_text('done')\n"
        )
        async with serve_command(tmp_path, "app:Handler", "--workers", "1", "--reuse-port") as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", await server.port())
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await server.says("^begun")
            server.send(signal.SIGTERM)
            server.send(signal.SIGHUP)
            await server.says("^stopping")
            server.send(signal.SIGTTIN)
            assert (await reader.read()).endswith(b"done")
            writer.close()
            assert await server.ends() == 0
            assert not [line for line in server.lines if re.search("^Replacing|from now on|^Traceback", line)]

    @pytest.mark.parametrize("workers", [None, 1])
    async def test_again_while_the_process_ends(self, workers: int | None, tmp_path: Path) -> None:
        """FAULT: a second SIGTERM some milliseconds after the first, or SIGHUP after it, gave status -15 or -1."""
        (tmp_path / "late.py").write_text(LATE.format(workers=workers))
        async with program(tmp_path, "late.py") as server:
            await server.port()
            assert await server.stops() == 0
            assert len(server.lines) == 1

    @pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
    def test_a_program_that_goes_on(self, number: str, tmp_path: Path) -> None:
        """After a while a signal does what it does by default, and a handler of the program is called again."""
        (tmp_path / "on.py").write_text(
            "import asyncio, contextlib, os, signal, time, aiohttpd\n"
            "from aiohttpd.runner.signals import TWICE\n"
            "called = []\n"
            "signal.signal(signal.SIGHUP, lambda *_: called.append(1))\n"
            "class Handler(aiohttpd.BaseHTTPRequestHandler): ...\n"
            "@contextlib.asynccontextmanager\n"
            "async def lifespan(server):\n"
            "    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)\n"
            "    yield\n"
            "aiohttpd.run(Handler, port=0, lifespan=lifespan)\n"
            "os.kill(os.getpid(), signal.SIGHUP)\n"
            "assert called\n"
            "time.sleep(TWICE)\n"
            f"os.kill(os.getpid(), signal.{number})\n"
            "time.sleep(10)\n"
        )
        done = subprocess.run([sys.executable, "on.py"], cwd=tmp_path, capture_output=True, text=True, timeout=WAIT)
        assert done.returncode == -getattr(signal, number), done.stderr

    def test_a_program_that_forks_or_runs_a_server_again(self, tmp_path: Path) -> None:
        """FAULT: a child took no SIGTERM at first; SIGHUP ended the program while it started a second server."""
        (tmp_path / "twice.py").write_text(
            "import asyncio, contextlib, os, signal, time, aiohttpd\n"
            "from aiohttpd.runner.signals import TWICE\n"
            "class Handler(aiohttpd.BaseHTTPRequestHandler): ...\n"
            "@contextlib.asynccontextmanager\n"
            "async def lifespan(server):\n"
            "    asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)\n"
            "    yield\n"
            "aiohttpd.run(Handler, port=0, lifespan=lifespan)\n"
            "if (child := os.fork()) == 0:\n"
            "    print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)\n"
            "    os.kill(os.getpid(), signal.SIGTERM)\n"
            "    os._exit(0)\n"
            "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)\n"
            "time.sleep(TWICE)\n"
            "with open('again.py', 'w') as file:\n"
            "    file.write('import os, signal\\nfrom __main__ import Handler\\n')\n"
            "    file.write('os.kill(os.getpid(), signal.SIGHUP)\\n')\n"
            "aiohttpd.run('again:Handler', port=0, lifespan=lifespan)\n"
            "print('served', flush=True)\n"
        )
        done = subprocess.run([sys.executable, "twice.py"], cwd=tmp_path, capture_output=True, text=True, timeout=WAIT)
        assert done.stdout.split() == ["True", str(-signal.SIGTERM), "served"], done.stderr
