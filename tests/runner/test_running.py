"""run() and the command as programs: signals that come twice, what cannot begin, what is left to others."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import aiohttpd
from aiohttpd.runner.signals import TWICE

from ..support.programs import WAIT, program, serve_command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")

APP = """
import asyncio, json, os, subprocess, sys
import aiohttpd

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        if self.path == "/slow":
            print("begun", file=sys.stderr, flush=True)
            await asyncio.sleep(1)
        elif self.path == "/forever":
            print("begun", file=sys.stderr, flush=True)
            await asyncio.sleep(3600)
        own = {name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))}
        child = subprocess.run(["env"], stdout=subprocess.PIPE, text=True).stdout
        self.send_json(sorted(own) + [line for line in child.splitlines() if line.startswith(("LISTEN_", "NOTIFY_"))])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


async def raw_answer(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


class TestSignals:
    @pytest.mark.parametrize("workers", [(), ("--workers", "1")])
    @pytest.mark.parametrize("both", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)])
    async def test_one_that_comes_twice(
        self, both: tuple[signal.Signals, signal.Signals], workers: tuple[str, ...], folder: Path
    ) -> None:
        """A supervisor passes on what its group has got already: requests in flight are finished."""
        async with serve_command(folder, "app:Handler", *workers) as server:
            asked = asyncio.create_task(raw_answer(await server.port(), "/slow"))
            await server.says("begun")
            os.killpg(server.process.pid, both[0])
            server.send(both[1])
            assert (await asked).endswith(b"[]")
            assert await server.ends() == 0

    @pytest.mark.parametrize("workers", [(), ("--workers", "1")])
    async def test_a_second_one(self, workers: tuple[str, ...], folder: Path) -> None:
        async with serve_command(folder, "app:Handler", *workers, "--timeout-grace", "3600") as server:
            asked = asyncio.create_task(raw_answer(await server.port(), "/forever"))
            await server.says("begun")
            server.send(signal.SIGINT)
            await server.says("^Finishing ")
            await asyncio.sleep(TWICE)  # it is for this moment that a second one does not count
            server.send(signal.SIGINT)
            assert await server.ends() == 0
            await asked

    @pytest.mark.parametrize("workers", [(), ("--workers", "1")])
    async def test_ignored_before(self, workers: tuple[str, ...], folder: Path) -> None:
        """A shell has it ignored for what runs in the background; whoever sends it means it."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            context = serve_command(folder, "app:Handler", *workers)
            server = await context.__aenter__()
        finally:
            signal.signal(signal.SIGINT, before)
        try:
            await server.port()
            server.send(signal.SIGINT)
            assert await server.ends() == 0
        finally:
            await context.__aexit__(None, None, None)


STOPPED_AS_IT_STARTS = """
import asyncio
import aiohttpd
import aiohttpd.runner.run as run

actions = {}
start = aiohttpd.HTTPServer.start

def take(loop, given):
    actions.update(given)
    return lambda: None

async def start_then_stop(self):
    await start(self)
    asyncio.get_running_loop().call_soon(actions["SIGINT"])  # before the one who waits for the start goes on

run.handle_signals = take
aiohttpd.HTTPServer.start = start_then_stop
aiohttpd.run(aiohttpd.BaseHTTPRequestHandler, port=0)
"""


def test_a_signal_in_the_turn_in_which_the_start_ends() -> None:
    """FAULT: it was lost: the task of the start had ended, so it could not be cancelled, and nothing else was done."""
    subprocess.run([sys.executable, "-c", STOPPED_AS_IT_STARTS], check=True, timeout=WAIT, capture_output=True)


class TestRefused:
    """One sentence says what to do."""

    async def test_in_a_running_loop(self) -> None:
        async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None: ...

        for workers in (None, 2):
            with pytest.raises(RuntimeError, match="async with aiohttpd.HTTPServer"):
                aiohttpd.run(app, port=0, workers=workers)

    def test_workers_in_a_thread(self) -> None:
        raised: list[Exception] = []

        def call() -> None:
            for options in ({"workers": 2}, {"reload": True}):
                try:
                    aiohttpd.run("app:Handler", port=0, **options)  # type: ignore[arg-type]
                except RuntimeError as error:
                    raised.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert ["main thread" in str(error) for error in raised] == [True, True]

    @pytest.mark.parametrize("app", ["Handler", "'app:Handler'", "functools.partial(Handler, directory='.')"])
    @pytest.mark.parametrize("how", ["stdin", "-c"])
    def test_workers_of_a_program_that_is_no_file(self, how: str, app: str, folder: Path) -> None:
        code = (
            "import functools, sys, aiohttpd\n"
            "class Handler(aiohttpd.SimpleHTTPRequestHandler): pass\n"
            "if __name__ == '__main__':\n"
            "    try:\n"
            f"        aiohttpd.run({app}, port=0, workers=2)\n"
            "    except RuntimeError as error:\n"
            "        sys.exit(f'refused: {error}')\n"
        )
        arguments, given = (["-"], code) if how == "stdin" else (["-c", code], "")
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            if how == "-c" and app == "'app:Handler'":  # workers import that, and not the program
                assert process.stderr is not None
                assert process.stderr.readline().startswith("Serving on ")
                process.terminate()
                assert process.communicate(timeout=WAIT)
                return
            err = process.communicate(given, timeout=WAIT)[1]
            assert process.returncode == 1
            assert err.startswith("refused: workers import the program, but it is not a file")
        finally:
            process.kill()
            process.communicate()

    @pytest.mark.parametrize("workers", [(), ("--workers", "1")])
    @pytest.mark.parametrize(("target", "name"), [("ends:Handler", "ends"), ("ends.py:Handler", "ends.py")])
    @pytest.mark.parametrize("code", ["0", "", "'why'"])
    async def test_a_module_that_ends_the_program(
        self, code: str, target: str, name: str, workers: tuple[str, ...], folder: Path
    ) -> None:
        (folder / "ends.py").write_text(f"import sys\nsys.exit({code})\n")
        async with serve_command(folder, target, *workers) as server:
            assert await server.ends() == 2
        assert server.lines == [
            f"aiohttpd: {name} calls sys.exit({code}) when it is imported: put that below if __name__ == '__main__':"
        ]


@pytest.mark.parametrize("workers", ["", "--workers 1"])
async def test_variables_of_the_service_manager_are_not_for_others(workers: str, folder: Path) -> None:
    code = (
        "import os, socket, sys\n"
        "sock = socket.create_server(('127.0.0.1', 0)); os.dup2(sock.fileno(), 3); os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='web',\n"
        "                  NOTIFY_SOCKET='/nowhere', WATCHDOG_USEC='1000000', WATCHDOG_PID=str(os.getpid()))\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'aiohttpd', 'serve', 'app:Handler', *sys.argv[1:]])\n"
    )
    async with program(folder, "-c", code, *workers.split()) as server:
        assert (await raw_answer(await server.port(), "/")).endswith(b"\r\n\r\n[]")
        assert await server.stops() == 0


NO_DESCRIPTORS = """
import asyncio, logging, resource, sys
import aiohttpd, aiohttpd.server.acceptor, uvloop
aiohttpd.server.acceptor._REST = 0.05

async def app(request, response):
    response.send_head(200)

async def main():
    async with aiohttpd.HTTPServer(("127.0.0.1", 0), app) as server:
        resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
        print(f"Serving on http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
        await server.serve_forever()

loops = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
asyncio.Runner(loop_factory=loops[sys.argv[1]]).run(main())
"""


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_no_descriptors_left_is_one_line(loop: str, folder: Path) -> None:
    async with program(folder, "-c", NO_DESCRIPTORS, loop) as server:
        port = await server.port()
        for _ in range(4):
            clients = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(48)]
            await server.says("no connection can be accepted: Too many open files")
            await asyncio.sleep(0.2)  # several times as long as it rests
            for client in clients:
                client.close()
            while not (await ask_anyhow(port)).startswith(b"HTTP/1.1 200 "):
                pass
        assert len([line for line in server.lines if "no connection" in line]) == 1


async def ask_anyhow(port: int) -> bytes:
    try:
        return await raw_answer(port, "/")
    except OSError:
        return b""
