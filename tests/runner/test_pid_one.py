"""As process 1 of a container: what others leave behind is buried, and no status is taken from who waits for it."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ..support.programs import WAIT, Program, program
from ..support.waiting import until


def _can_unshare() -> bool:
    tool = shutil.which("unshare")
    return tool is not None and subprocess.run([tool, "--pid", "--fork", "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not _can_unshare(), reason="no namespace of processes is to be had here")

APP = """
import asyncio, os, subprocess, sys, time
import aiohttpd

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        if self.path == "/orphans":
            for _ in range(20):
                await (await asyncio.create_subprocess_exec("sh", "-c", "sleep 0.05 & exit 0")).wait()
            self.send_text("left")
        elif self.path == "/late":
            process = subprocess.Popen(["sh", "-c", "exit 5"])
            await asyncio.sleep(3)
            self.send_text(str(process.wait()))
        elif self.path == "/asyncio":
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 6")
            await asyncio.sleep(1)
            self.send_text(str(await process.wait()))
        elif self.path == "/pool":
            self.send_text(str(await self.run_in_process(pow, 2, 5)))
        elif self.path == "/slow":
            print("begun", file=sys.stderr)
            await asyncio.sleep(1)
            self.send_text("slow")
        elif self.path == "/die":
            os.kill(os.getpid(), 9)

if __name__ == "__main__":
    aiohttpd.run(Handler, port=0, workers=int(sys.argv[1]) if len(sys.argv) > 1 else None)
"""
STARTS = {
    "serve": "-m aiohttpd serve app:Handler --port 0",
    "serve, workers": "-m aiohttpd serve app:Handler --port 0 --workers 2",
    "run": "app.py",
    "run, workers": "app.py 2",
}


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


@asynccontextmanager
async def first(folder: Path, start: str):
    """Run as process 1; gives the program, and its process as we see it."""
    (folder / "app.py").write_text(APP)
    unshare = (
        "import os, sys; os.execvp('unshare', ['unshare', '--pid', '--fork', "
        "'--kill-child', sys.executable, *sys.argv[1:]])"
    )
    async with program(folder, "-c", unshare, *STARTS[start].split()) as server:
        await until(lambda: children(server.process.pid), WAIT)
        yield server, children(server.process.pid)[0]


async def text_from(server: Program, path: str) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{await server.port()}{path}", timeout=WAIT)).text


@pytest.mark.parametrize("start", STARTS)
async def test_orphans_are_buried(start: str, tmp_path: Path) -> None:
    async with first(tmp_path, start) as (server, pid):
        assert await text_from(server, "/orphans") == "left"
        late = asyncio.create_task(text_from(server, "/late"))
        own = asyncio.create_task(text_from(server, "/asyncio"))
        await until(
            lambda: not [child for child in children(pid) if state(child) == "Z"] and len(children(pid)) == 1, WAIT
        )
        assert await late == "5"  # nobody has taken its status
        assert await own == "6"
        assert await text_from(server, "/pool") == "32"
        os.kill(pid, signal.SIGUSR1)
        await server.says("in flight")
        os.kill(pid, signal.SIGTERM)
        assert await server.ends() == 0


@pytest.mark.parametrize("start", ["serve", "run, workers"])
async def test_signals(start: str, tmp_path: Path) -> None:
    async with first(tmp_path, start) as (server, pid):
        await server.port()
        slow = asyncio.create_task(text_from(server, "/slow"))
        await server.says("begun")
        os.kill(pid, signal.SIGTERM)
        assert await slow == "slow"
        assert await server.ends() == 0


async def test_its_status(tmp_path: Path) -> None:
    async with first(tmp_path, "serve") as (server, _):
        with pytest.raises(httpx.RemoteProtocolError):
            await text_from(server, "/die")
        assert await server.ends() == 128 + 9
    assert not [line for line in server.lines if re.search("Traceback", line)]


async def test_a_program_with_children_of_its_own(tmp_path: Path) -> None:
    """It waits for them itself, so it stays process 1."""
    (tmp_path / "own.py").write_text(
        "import os, subprocess, sys\nchild = subprocess.Popen(['sh', '-c', 'sleep 0.1; exit 4'])\n"
        "import aiohttpd\nasync def app(request, response):\n"
        "    response.send_head(200); response.write(f'{os.getpid()} {child.wait()}'.encode())\n"
        "aiohttpd.run(app, port=0)\n"
    )
    unshare = (
        "import os, sys; os.execvp('unshare', ['unshare', '--pid', '--fork', '--kill-child', sys.executable, 'own.py'])"
    )
    async with program(tmp_path, "-c", unshare) as server:
        assert await text_from(server, "/") == "1 4"


@pytest.mark.parametrize("start", ["serve", "serve, workers"])
async def test_sockets_that_are_passed_to_it(start: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    code = (
        "import os, socket, sys\n"
        "sock = socket.create_server(('127.0.0.1', 0)); os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_PID='1', LISTEN_FDS='1')\n"
        "os.execvp('unshare', ['unshare', '--pid', '--fork', '--kill-child', sys.executable, *sys.argv[1:]])"
    )
    arguments = STARTS[start].replace(" --port 0", "").split()
    async with program(tmp_path, "-c", code, *arguments) as server:
        assert await text_from(server, "/pool") == "32"
