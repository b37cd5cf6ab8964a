"""Many processes: workers come, go and are replaced, and nobody who asks notices."""

import asyncio
import errno
import multiprocessing
import os
import re
import signal
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import trustme

import aiohttpd
from aiohttpd.config import Config
from aiohttpd.runner import worker_handle
from aiohttpd.runner.signals import TWICE
from aiohttpd.runner.supervisor import Supervisor

from ..support.programs import WAIT, Program, gone, program, serve_command
from ..support.rolling import Load

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers want a POSIX system")

APP = """
import asyncio, contextlib, os, signal, sys, time
import aiohttpd

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        await getattr(self, "get_" + self.path.split("?")[0].strip("/"))()

    async def get_pid(self):
        self.send_text(str(os.getpid()))

    async def get_slow(self):
        print("begun", os.getpid(), file=sys.stderr)
        await asyncio.sleep(1.5)
        self.send_text("slow")

    async def get_forever(self):
        print("begun", file=sys.stderr)
        await asyncio.Event().wait()

    async def get_stream(self):
        async with self.event_stream() as events:
            print("begun", file=sys.stderr)
            await asyncio.Event().wait()
        print("left", file=sys.stderr)

    async def get_stubborn(self):
        print("begun", file=sys.stderr)
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    async def get_endless(self):
        print("endless", os.getpid(), file=sys.stderr)
        while True:
            pass

    async def get_metrics(self):
        self.send_json(await self.server.snapshots())
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    return tmp_path


async def text_at(port: int, path: str = "/pid", **options: float) -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}{path}", timeout=WAIT)
        assert answer.status_code == 200
        return answer.text


@asynccontextmanager
async def asked(port: int, path: str) -> AsyncIterator[asyncio.StreamReader]:
    """Ask, and do not wait for the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    yield reader
    writer.close()


async def pid_of(port: int) -> str:
    """Who answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /pid HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.rpartition(b"\r\n")[2].decode()


def asked_often(port: int) -> list[asyncio.Task[str]]:
    """Ask as often as will hardly reach one of two workers alone."""
    return [asyncio.create_task(pid_of(port)) for _ in range(24)]


async def answering(port: int, count: int) -> list[str]:
    """Ask until so many workers have answered."""
    answers: set[str] = set()
    while len(answers) < count:
        answers.add(await pid_of(port))
    return sorted(answers)


async def roll(server: Program, load: Load, *, times: int) -> None:
    """Have two workers replaced, and see their successors answer."""
    for number in range(1, times + 1):
        before = set(load.answers)
        server.send(signal.SIGHUP)
        await server.says("^Replacing the workers$", number)
        await load.until(lambda before=before: len(set(load.answers) - before) >= 2)
    await load.more()


class TestNothingIsLost:
    """Counted by a client that retries nothing."""

    async def test_killed_rolled_added_and_removed(self, folder: Path) -> None:
        async with serve_command(folder, "app:Handler", "--workers", "2", "--no-access-log") as server:
            port = await server.port()
            async with asyncio.timeout(WAIT), Load(port, 12).running() as load:
                await load.until(lambda: len(load.answers) == 2)
                first = set(load.answers)

                victim = min(first)
                os.kill(int(victim), signal.SIGKILL)
                await server.says(f"Worker {victim} was ended by SIGKILL; another takes its place")
                await load.until(lambda: len(load.answers) == 3)
                await load.more()
                # Nobody but those whom it had accepted has lost anything.
                assert {who for who, _ in load.failures} <= {victim, "nobody yet"}, load.failures
                assert not any(isinstance(error, ConnectionRefusedError) for _, error in load.failures)
                assert len(load.failures) <= 12
                load.failures.clear()

                seen = set(load.answers)
                server.send(signal.SIGTTIN)
                await load.until(lambda: len(set(load.answers) - seen) == 1)
                server.send(signal.SIGTTOU)
                await server.says("2 workers from now on")
                await load.more()

                await roll(server, load, times=2)
                assert set(load.latest).isdisjoint(first)
                assert load.failures == []
            assert await server.stops() == 0

    async def test_connections_of_one_request(self, folder: Path) -> None:
        async with serve_command(folder, "app:Handler", "--workers", "2", "--no-access-log") as server:
            async with asyncio.timeout(WAIT), Load(await server.port(), 8, turns=1).running() as load:
                await load.until(lambda: len(load.answers) >= 1)
                await roll(server, load, times=1)
                assert load.failures == []
            assert await server.stops() == 0

    async def test_code_is_changed(self, folder: Path) -> None:
        """A client that has just connected is no idle one: it is served, though the idle ones are closed at once."""
        pytest.importorskip("watchfiles")
        async with serve_command(folder, "app:Handler", "--reload", "--no-access-log") as server:
            async with asyncio.timeout(WAIT), Load(await server.port(), 16, turns=1).running() as load:
                await load.until(lambda: len(load.answers) >= 1)
                for number in range(1, 4):
                    before = set(load.answers)
                    (folder / "app.py").write_text(APP + f"# {number}\n")
                    await load.until(lambda before=before: len(set(load.answers) - before) >= 1)
                    await load.more()
                assert load.failures == []
            assert await server.stops() == 0

    async def test_a_certificate_is_changed(self, folder: Path) -> None:
        authority = trustme.CA()
        context = ssl.create_default_context()
        authority.configure_trust(context)

        def issue() -> None:
            certificate = authority.issue_cert("127.0.0.1")
            certificate.private_key_and_cert_chain_pem.write_to_path(folder / "next.pem")
            os.replace(folder / "next.pem", folder / "cert.pem")

        async def serial(port: int) -> str:
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            found = writer.get_extra_info("peercert")["serialNumber"]
            writer.close()
            return str(found)

        issue()
        options = ("--workers", "1", "--tls-cert", "cert.pem", "--no-access-log")
        async with serve_command(folder, "app:Handler", *options) as server:
            port = await server.port()
            before = await serial(port)
            async with asyncio.timeout(WAIT), Load(port, 4, context=context).running() as load:
                await load.more()
                issue()
                server.send(signal.SIGHUP)
                await load.until(lambda: len(load.answers) == 2)
                await load.until(lambda: len(set(load.latest)) == 1)
                assert await serial(port) != before

                # One that cannot be used is told, and the old workers stay.
                (folder / "cert.pem").write_text("none")
                server.send(signal.SIGHUP)
                await server.says("^aiohttpd: cert.pem does not hold a certificate")
                await server.says("^The workers stay as they are")
                await load.more()
                assert len(load.answers) == 2
                assert load.failures == []
            assert await server.stops() == 0

    @pytest.mark.parametrize("option", ["--recycle-requests=200", "--recycle-age=0.5", "--recycle-rss=1M"])
    async def test_workers_that_are_worn(self, folder: Path, option: str) -> None:
        async with serve_command(folder, "app:Handler", "--workers", "1", option, "--no-access-log") as server:
            async with asyncio.timeout(WAIT), Load(await server.port(), 2).running() as load:
                await load.until(lambda: len(load.answers) >= 2)
                await server.says(
                    r"Worker \d+ (has had \d+ requests|is \d s old|takes \d+ MiB): another takes its place"
                )
                assert load.failures == []
            assert await server.stops() == 0


class TestStop:
    async def test_what_is_in_flight(self, folder: Path) -> None:
        async with serve_command(folder, "app:Handler", "--workers", "2", "--no-access-log") as server:
            port = await server.port()
            async with asked(port, "/slow") as slow, asked(port, "/stream") as stream:
                await server.says("begun", 2)
                server.send(signal.SIGTERM)
                assert b"\r\nConnection: close" in await slow.readuntil(b"\r\n\r\n")
                assert await slow.read() == b"slow"
                await stream.read()  # it has learnt of the end, and ends
                assert await server.ends() == 0
                assert "left" in server.lines

    @pytest.mark.parametrize("workers", [("--workers", "1"), ()])
    async def test_a_handler_that_ignores_everything(self, folder: Path, workers: tuple[str, ...]) -> None:
        arguments = (*workers, "--timeout-grace", "0.5", "--no-access-log")
        async with serve_command(folder, "app:Handler", *arguments) as server:
            async with asked(await server.port(), "/stubborn?x"):
                await server.says("begun")
                assert await server.stops() == 0
            assert "'GET /stubborn?x HTTP/1.1' is cancelled: it has not ended within 0.5 s" in server.lines

    async def test_a_second_signal(self, folder: Path) -> None:
        async with serve_command(folder, "app:Handler", "--workers", "1", "--timeout-grace", "3600") as server:
            async with asked(await server.port(), "/forever"):
                await server.says("begun")
                server.send(signal.SIGINT)
                await server.says("^Finishing what is in flight, at most 3600 s")
                await asyncio.sleep(TWICE)
                server.send(signal.SIGINT)
                assert await server.ends() == 0

    @pytest.mark.parametrize("workers", ["None", "1"])
    async def test_a_second_signal_ends_a_lifespan(self, folder: Path, workers: str) -> None:
        (folder / "program.py").write_text(
            "import asyncio, contextlib, sys, aiohttpd\nfrom app import Handler\n"
            "@contextlib.asynccontextmanager\n"
            "async def lifespan(server):\n"
            "    yield\n"
            "    print('leaves', file=sys.stderr)\n"
            "    await asyncio.Event().wait()\n"
            "if __name__ == '__main__':\n"
            f"    aiohttpd.run(Handler, port=0, workers={workers}, lifespan=lifespan)\n"
        )
        async with program(folder, "program.py") as server:
            await server.port()
            server.send(signal.SIGTERM)
            await server.says("^leaves")
            await asyncio.sleep(TWICE)
            assert await server.stops() == 0

    async def test_a_supervisor_that_dies_takes_all_with_it(self, folder: Path) -> None:
        options = ("--workers", "2", "--timeout-grace", "0.2", "--no-access-log")
        async with serve_command(folder, "app:Handler", *options) as server:
            port = await server.port()
            async with asked(port, "/endless"):
                busy = int((await server.says(r"^endless (\d+)"))[1])
                other = int(await text_at(port))
                server.process.kill()
                await gone(busy, other)

    async def test_unix_socket(self, folder: Path) -> None:
        path = folder / "s"
        async with serve_command(folder, "app:Handler", "--workers", "1", "--bind", f"unix:{path}") as server:
            await server.says("^Serving on unix:")
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), timeout=WAIT) as client:
                first = (await client.get("http://a/pid")).text
                server.send(signal.SIGHUP)
                async with asyncio.timeout(WAIT):
                    while (await client.get("http://a/pid")).text == first:
                        pass
            await gone(int(first))
            assert path.exists()
            assert await server.stops() == 0
        assert not path.exists()


class TestStart:
    async def test_a_worker_in_an_endless_loop_is_replaced(self, folder: Path) -> None:
        # Its import takes longer than a worker may be silent later.
        (folder / "late.py").write_text("import time\ntime.sleep(2)\nfrom app import Handler\n")
        async with serve_command(folder, "late:Handler", "--workers", "1", "--timeout-heartbeat=1.5") as server:
            port = await server.port()
            async with asked(port, "/endless"):
                pid = (await server.says(r"^endless (\d+)"))[1]
                await server.says(r'  File ".*app\.py", line \d+ in do_GET')  # where it hung
                await server.says(rf"Worker {pid} did not answer for \d+ s, so it was killed; another takes its place")
                assert await text_at(port) != pid
            assert await server.stops() == 0

    @pytest.mark.parametrize(
        ("target", "status", "text"),
        [
            ("broken:Handler", 1, "ZeroDivisionError: oh"),
            ("nothing:Handler", 2, "aiohttpd: no module named 'nothing'"),
            ("app:Nothing", 2, "aiohttpd: app has no 'Nothing'; it has Handler"),
        ],
    )
    async def test_a_target_that_cannot_be_loaded(self, folder: Path, target: str, status: int, text: str) -> None:
        (folder / "broken.py").write_text("raise ZeroDivisionError('oh')\n")
        async with serve_command(folder, target, "--workers", "3") as server:
            assert await server.ends() == status
            assert server.lines.count(text) == 1
            frames = [line for line in server.lines if line.startswith('  File "')]
            assert len(frames) == (1 if status == 1 else 0)

    async def test_code_that_breaks_later(self, folder: Path) -> None:
        """With no worker left that serves, there is an end to it."""
        async with serve_command(folder, "app:Handler", "--workers", "1", "--no-access-log") as server:
            pid = await text_at(await server.port())
            (folder / "app.py").write_text("raise ZeroDivisionError('oh')\n")
            os.kill(int(pid), signal.SIGKILL)
            assert await server.ends() == 1
            assert server.lines.count("ZeroDivisionError: oh") == 1

    def test_as_many_as_there_may_be(self, capsys: pytest.CaptureFixture[str]) -> None:
        with tempfile.TemporaryFile() as shared:
            Supervisor(("127.0.0.1", 0), b"", Config(), 1024, shared.fileno(), tls=False).resize(1)
        assert capsys.readouterr().err == "No worker is added: 1024 is the most\n"

    async def test_no_descriptor_to_see_the_end_of_a_worker(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """FAULT: nobody learned that it had not been started, and the program waited for it for ever."""

        def fail(*_: object) -> None:
            raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

        monkeypatch.setattr(worker_handle, "_exit_descriptor", fail)
        with tempfile.TemporaryFile() as shared:
            supervisor = Supervisor(("127.0.0.1", 0), b"", Config(), 2, shared.fileno(), tls=False)
            assert await asyncio.wait_for(supervisor.run(None, lambda _: None), WAIT) == 1
        assert not multiprocessing.active_children()

    def test_pauses_grow_and_end(self) -> None:
        class Clock:
            now = 1000.0

            def time(self) -> float:
                return self.now

        with tempfile.TemporaryFile() as shared:
            supervisor = Supervisor(("127.0.0.1", 0), b"", Config(), 2, shared.fileno(), tls=False)
            supervisor._loop = clock = Clock()  # type: ignore[assignment]
            pauses = []
            for _ in range(20):
                supervisor._deaths.append(clock.now)
                pauses.append(supervisor._pause())
            assert pauses[:2] == [0, 0]  # each of the two may die once
            assert pauses[2:] == sorted(pauses[2:])
            assert 0.1 < pauses[2] < 0.2
            assert pauses[-1] == 10
            clock.now += 61
            supervisor._deaths.append(clock.now)
            assert supervisor._pause() == 0

    async def test_a_lifespan(self, folder: Path) -> None:
        (folder / "program.py").write_text(
            "import contextlib, os, sys, aiohttpd\nfrom app import Handler\n"
            "@contextlib.asynccontextmanager\n"
            "async def lifespan(server):\n"
            "    print('in', os.getpid(), file=sys.stderr)\n"
            "    if 'fail' in sys.argv: raise ZeroDivisionError('oh')\n"
            "    yield\n"
            "    print('out', os.getpid(), file=sys.stderr)\n"
            "if __name__ == '__main__':\n"
            "    aiohttpd.run(Handler, port=0, workers=2, lifespan=lifespan)\n"
        )
        async with program(folder, "program.py") as server:
            await server.port()
            assert await server.stops() == 0
            inside = sorted(line[3:] for line in server.lines if line.startswith("in "))
            assert len(inside) == 2
            assert sorted(line[4:] for line in server.lines if line.startswith("out ")) == inside
        async with program(folder, "program.py", "fail") as server:
            assert await server.ends() == 1
            assert server.lines.count("ZeroDivisionError: oh") == 1

    @pytest.mark.parametrize("workers", [None, 1])
    async def test_a_program_that_is_its_own_module(self, folder: Path, workers: int | None) -> None:
        run = f"aiohttpd.run(Handler, bind=[('127.0.0.1', 0), 's'], workers={workers})"
        (folder / "program.py").write_text(f"{APP}\nif __name__ == '__main__':\n    {run}\n")
        async with program(folder, "program.py") as server:
            pid = await text_at(await server.port())
            assert (int(pid) == server.process.pid) is (workers is None)
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(folder / "s"))) as client:
                assert (await client.get("http://a/pid")).text == pid
            assert await server.stops() == 0

    async def test_a_program_that_begins_when_it_is_imported(self, folder: Path) -> None:
        (folder / "program.py").write_text(APP + "\naiohttpd.run(Handler, port=0, workers=3)\n")
        async with program(folder, "program.py") as server:
            assert await server.ends() == 1
            errors = [line for line in server.lines if line.startswith("RuntimeError: run() is called while")]
            assert len(errors) == 1

    def test_what_cannot_be_handed_over(self) -> None:
        async def local(request: object, response: object) -> None: ...

        with pytest.raises(TypeError, match=r"local cannot be handed to other processes .*'module:name'"):
            aiohttpd.run(local, port=0, workers=2)

    @pytest.mark.parametrize("count", ["0", "-1", "many", "10000"])
    async def test_no_such_number(self, folder: Path, count: str) -> None:
        async with serve_command(folder, "app:Handler", f"--workers={count}") as server:
            assert await server.ends() == 2
            assert "write 1 to 1024, or 'auto'" in server.lines[-1]

    async def test_auto(self, folder: Path) -> None:
        async with serve_command(folder, "--workers", "auto") as server:
            await server.says("^Serving this folder on")
            assert await server.stops() == 0


async def test_lines_of_the_log_are_whole(folder: Path) -> None:
    (folder / "app.py").write_text(APP.replace("str(os.getpid())", "str(os.getpid()), 200 "))
    async with serve_command(folder, "app:Handler", "--workers", "2") as server:
        path = "/pid?" + "x" * 500
        async with asyncio.timeout(WAIT), Load(await server.port(), 8, path=path).running() as load:
            await load.until(lambda: load.answers.total() >= 400)
        assert await server.stops() == 0
    lines = [line for line in server.lines if "GET" in line]
    assert len(lines) == load.answers.total()
    for line in lines:
        assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "GET /pid\?x{500} HTTP/1\.1" 200 \d+', line)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux deals connections out")
class TestEachWorkerWithItsSockets:
    """--reuse-port with --workers."""

    async def test_what_waits_for_one_is_for_its_successor(self, folder: Path) -> None:
        options = ("--workers", "2", "--reuse-port", "--no-access-log")
        async with serve_command(folder, "app:Handler", *options) as server, asyncio.timeout(WAIT):
            port = await server.port()
            stopped, other = await answering(port, 2)
            os.kill(int(stopped), signal.SIGSTOP)
            asking = asked_often(port)
            answered, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result() for task in answered} == {other}  # it is not for this one to take the rest
            os.kill(int(stopped), signal.SIGKILL)
            answers = set(await asyncio.gather(*asking))
            assert len(answers) == 2
            assert stopped not in answers
            assert await server.stops() == 0

    async def test_one_more_and_one_less(self, folder: Path) -> None:
        options = ("--workers", "1", "--reuse-port", "--no-access-log")
        async with serve_command(folder, "app:Handler", *options) as server, asyncio.timeout(WAIT):
            port = await server.port()
            [first] = await answering(port, 1)
            server.send(signal.SIGTTIN)
            [second] = set(await answering(port, 2)) - {first}
            os.kill(int(first), signal.SIGSTOP)
            asking = asked_often(port)
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            server.send(signal.SIGTTOU)
            await server.says("^1 worker from now on")
            os.kill(int(first), signal.SIGCONT)
            assert set(await asyncio.gather(*asking)) == {first, second}
            await gone(int(first))
            assert set(await asyncio.gather(*asked_often(port))) == {second}
            assert await server.stops() == 0

    async def test_who_cannot_be_started_keeps_nobody_waiting(self, folder: Path) -> None:
        options = ("--workers", "2", "--reuse-port", "--no-access-log")
        async with serve_command(folder, "app:Handler", *options) as server, asyncio.timeout(WAIT):
            port = await server.port()
            victim, other = await answering(port, 2)
            (folder / "app.py").write_text("raise ZeroDivisionError('oh')\n")
            os.kill(int(victim), signal.SIGKILL)
            await server.says("^ZeroDivisionError: oh")
            assert set(await asyncio.gather(*asked_often(port))) == {other}
            (folder / "app.py").write_text(APP)
            assert other in await answering(port, 2)
            assert await server.stops() == 0


async def test_reload(folder: Path) -> None:
    pytest.importorskip("watchfiles")
    async with serve_command(folder, "app:Handler", "--reload", "--no-access-log") as server:
        port = await server.port()
        (folder / "app.py").write_text("this is no Python\n")
        await server.says("^app.py has changed")
        await server.says("^SyntaxError: ")
        await server.says("^The workers stay as they are")
        assert await text_at(port)
        (folder / "app.py").write_text(APP.replace("str(os.getpid())", "'new'"))
        await server.says("^app.py has changed", 2)
        async with asyncio.timeout(WAIT):
            while await text_at(port) != "new":
                pass
        assert await server.stops() == 0


async def test_reload_that_fails(folder: Path) -> None:
    (folder / "watchfiles.py").write_text(
        "PythonFilter = object\nasync def awatch(*paths, **options):\n    raise OSError('too many files')\n    yield\n"
    )
    async with serve_command(folder, "app:Handler", "--reload", "--no-access-log") as server:
        port = await server.port()
        await server.says("^Files are not watched for changes any more: too many files")
        assert await text_at(port)
        assert await server.stops() == 0


async def test_what_hangs_hides_no_error(folder: Path) -> None:
    """A loop that cannot be closed is told with what has come before, and the status is not that of success."""
    (folder / "program.py").write_text(
        "import asyncio, contextlib, sys, threading, aiohttpd\nfrom app import Handler\n"
        "@contextlib.asynccontextmanager\n"
        "async def lifespan(server):\n"
        "    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)\n"
        "    raise ZeroDivisionError('oh')\n"
        "    yield\n"
        "if __name__ == '__main__':\n"
        "    aiohttpd.run(Handler, port=0, workers=eval(sys.argv[1]), lifespan=lifespan)\n"
    )
    async with program(folder, "program.py", "1") as many, program(folder, "program.py", "None") as one:
        for server in (many, one):
            assert await server.ends() == 1
            assert server.lines.count("ZeroDivisionError: oh") == 1


async def test_new_code_that_hangs(folder: Path) -> None:
    """It is in the way of nobody: once it has been mended, the next roll loads what is there."""
    async with serve_command(folder, "app:Handler", "--workers", "1", "--no-access-log") as server:
        port = await server.port()
        (folder / "app.py").write_text("import sys, time; print('hangs', file=sys.stderr); time.sleep(3600)\n")
        server.send(signal.SIGHUP)
        await server.says("^hangs")
        (folder / "app.py").write_text(APP.replace("str(os.getpid())", "'mended'"))
        server.send(signal.SIGHUP)
        async with asyncio.timeout(WAIT):
            while await text_at(port) != "mended":
                pass
        assert await server.stops() == 0


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc, as Linux has it")
async def test_programs_of_a_worker_hold_nothing_open(folder: Path) -> None:
    """What is given to a worker is not inherited by what it starts: no port stays in use, no channel open."""
    (folder / "lister.py").write_text(
        "import contextlib, os\nfor name in os.listdir('/proc/self/fd'):\n"
        "    with contextlib.suppress(OSError): print(os.readlink('/proc/self/fd/' + name))\n"
    )
    (folder / "app.py").write_text(
        APP + "\n    async def get_inherited(self):\n        import subprocess\n"
        "        command = [sys.executable, 'lister.py']\n"
        "        self.send_text(subprocess.run(command, close_fds=False, capture_output=True, text=True).stdout)\n"
    )
    async with serve_command(folder, "app:Handler", "--workers", "1", "--no-access-log") as server:
        inherited = await text_at(await server.port(), "/inherited")
        assert "pipe:" in inherited
        assert "socket:" not in inherited
        assert await server.stops() == 0


async def test_metrics_of_all(folder: Path) -> None:
    """A worker tells what all of them have counted, and what the dead had; so does an address of its own."""
    arguments = ("--workers", "2", "--metrics", "/metrics", "--health", "/health", "--no-access-log")
    async with serve_command(folder, "app:Handler", *arguments) as server:
        port = await server.port()

        async def counts(answers: int, restarts: int) -> bool:
            text = await text_at(port, "/metrics")
            found = re.search(r'^aiohttpd_requests_total.method="HEAD",status="200". (\d+)$', text, re.M)
            assert found is None or int(found[1]) <= answers
            return (
                found is not None
                and int(found[1]) == answers
                and f"\naiohttpd_worker_restarts_total {restarts}\n" in text
            )

        for _ in range(20):
            async with httpx.AsyncClient() as client:
                await client.head(f"http://127.0.0.1:{port}/pid")
        async with asyncio.timeout(WAIT):
            while not await counts(20, 0):
                pass  # the other one has not told yet
        os.kill(int(await text_at(port)), signal.SIGKILL)
        await server.says("another takes its place")
        async with asyncio.timeout(WAIT):
            while not await counts(20, 1):
                pass
        assert await server.stops() == 0


async def test_metrics_at_an_address_of_their_own(folder: Path) -> None:
    arguments = ("--workers", "2", "--metrics", "unix:metrics", "--health", "/health", "--no-access-log")
    async with serve_command(folder, "app:Handler", *arguments) as server:
        port = await server.port()
        for _ in range(5):
            await text_at(port)
        transport = httpx.AsyncHTTPTransport(uds=str(folder / "metrics"))
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            async with asyncio.timeout(WAIT):
                while 'method="GET",status="200"} 5\n' not in (await client.get("/metrics")).text:
                    pass
            assert (await client.get("/health")).status_code == 200
        assert await server.stops() == 0


async def test_live_connections_of_all(folder: Path) -> None:
    async with serve_command(folder, "app:Handler", "--workers", "2", "--no-access-log") as server:
        await server.port()
        server.send(signal.SIGUSR1)
        await server.says("onnection", 2)
        assert await server.stops() == 0


async def test_nothing_is_kept_of_who_has_gone(folder: Path) -> None:
    """No descriptor of the supervisor's, and all that a worker has counted up to its end."""
    arguments = ("--workers", "1", "--metrics", "unix:metrics", "--no-access-log", "--timeout-retire-idle", "0")
    async with serve_command(folder, "app:Handler", *arguments) as server:
        port = await server.port()
        transport = httpx.AsyncHTTPTransport(uds=str(folder / "metrics"))
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client, asyncio.timeout(WAIT):

            async def descriptors() -> int:
                await client.get("/metrics")
                return len(os.listdir(f"/proc/{server.process.pid}/fd"))

            before = await descriptors()
            for number in range(1, 4):
                last = await pid_of(port)
                server.send(signal.SIGHUP)
                await server.says("^Replacing the workers$", number)
                await gone(int(last))
            while await descriptors() != before:
                await asyncio.sleep(0.01)
            assert 'method="GET",status="200"} 3\n' in (await client.get("/metrics")).text
        assert await server.stops() == 0


def test_options() -> None:
    config = Config(timeout_retire=3, timeout_retire_idle=0, timeout_heartbeat=0)
    assert (config.timeout_retire, config.timeout_retire_idle, config.timeout_heartbeat) == (3, 0, 0)
