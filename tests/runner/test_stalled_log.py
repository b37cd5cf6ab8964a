"""A stderr that nobody reads holds up nothing: lines are dropped and counted, never cut, and signals work."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from aiohttpd.runner.shared_stream import SharedStream

from ..support.programs import WAIT
from ..support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")

APP = """
import logging, os, sys, warnings
import aiohttpd

logging.basicConfig(format="%(name)s: %(message)s")

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        what, _, number = self.path[1:].partition("/")
        if what == "warn":
            warnings.warn("w" * 4000, stacklevel=1)
        elif what == "fail":
            raise ValueError("f" * 4000)
        elif what == "log":
            self.log_message("%s", "l" * 4000)
        elif what == "print":
            print("p" * 4000, file=sys.stderr, flush=True)
        self.send_text("ok")

if __name__ == "__main__":
    aiohttpd.run(Handler, bind="./sock", workers=int(sys.argv[1]) if len(sys.argv) > 1 else None)
"""
SERVE = ("-W", "always", "-m", "aiohttpd", "serve", "app:Handler", "--bind", "unix:sock", "--health", "/healthz")
NO_UVLOOP = "import sys; sys.modules['uvloop'] = None; from aiohttpd.runner.cli import main; main()"
STARTS = {
    "serve": SERVE,
    "serve, asyncio": ("-c", NO_UVLOOP, *SERVE[4:]),
    "workers": (*SERVE, "--workers", "2"),
    "run": ("app.py",),
    "run, workers": ("app.py", "2"),
}  # fmt: skip


@contextmanager
def ends(kind: str) -> Iterator[tuple[int, int]]:
    """What is read, and what is written to; as it is when nobody reads."""
    if kind == "terminal":
        import tty

        reading, writing = os.openpty()
        tty.setraw(writing)
        import termios

        termios.tcflow(writing, termios.TCOOFF)  # Ctrl-S
    elif kind == "socket":
        ours, theirs = socket.socketpair()
        reading, writing = ours.detach(), theirs.detach()
    else:
        reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        for descriptor in (reading, writing):
            with contextlib.suppress(OSError):
                os.close(descriptor)


class Stalled:
    """A program whose stderr nobody reads yet."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], reading: int, writing: int) -> None:
        self.folder = folder
        self.process = process
        self.reading, self.writing = reading, writing

    async def ask(self, path: str, count: int = 1) -> None:
        """Ask on one connection, so that one process answers; each answer is awaited."""
        async with asyncio.timeout(WAIT):
            reader, writer = await asyncio.open_unix_connection(self.folder / "sock")
            for _ in range(count):
                writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                assert length, head
                await reader.readexactly(int(length[1]))
            writer.close()

    async def up(self) -> None:
        while True:
            try:
                return await self.ask("/up")
            except (OSError, asyncio.IncompleteReadError):
                assert self.process.poll() is None
                await asyncio.sleep(0.02)

    def listen(self) -> list[str]:
        """Begin to read; the lines are there once the program has ended."""
        if os.isatty(self.writing):
            import termios

            termios.tcflow(self.writing, termios.TCOON)
        found = self.found = bytearray()

        def read() -> None:
            with contextlib.suppress(OSError):
                while data := os.read(self.reading, 65536):
                    found.extend(data)
            lines.extend(found.decode().splitlines())

        lines: list[str] = []
        self.thread = threading.Thread(target=read)
        self.thread.start()
        return lines

    async def ends(self) -> int:
        os.close(self.writing)
        status = await asyncio.to_thread(self.process.wait, WAIT)
        if hasattr(self, "thread"):
            await asyncio.to_thread(self.thread.join, WAIT)
            assert not self.thread.is_alive()
        return status


@asynccontextmanager
async def stalled(folder: Path, kind: str, *arguments: str):
    (folder / "app.py").write_text(APP)
    with ends(kind) as (reading, writing):
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=folder, stderr=writing, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            program = Stalled(folder, process, reading, writing)
            await program.up()
            yield program
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


LONG = "/x" + "y" * 3500


@pytest.mark.parametrize("kind", ["pipe", "terminal", "socket"])
@pytest.mark.parametrize("start", STARTS)
async def test_it_serves_and_ends(start: str, kind: str, tmp_path: Path) -> None:
    async with stalled(tmp_path, kind, *STARTS[start]) as program:
        for path in (LONG, "/warn/", "/fail/", "/log/", "/print/", "/healthz"):
            await program.ask(path, 100)
        for _ in range(3):
            program.process.send_signal(signal.SIGUSR1)
            await program.ask("/healthz")
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0


@pytest.mark.parametrize("start", ["serve", "workers", "run"])
async def test_what_is_missing_is_counted(start: str, tmp_path: Path) -> None:
    """A pipe and what waits hold less than this; what comes out is whole, in order, and says what is missing."""
    count = 600
    async with stalled(tmp_path, "pipe", *STARTS[start]) as program:
        for number in range(count):
            await program.ask(f"/{number:06d}{'y' * 8000}/end")
        lines = program.listen()
        await until(lambda: b" dropped: " in program.found, WAIT)
        await program.ask("/last")
        program.process.send_signal(signal.SIGTERM)
        assert await program.ends() == 0
    numbers, dropped = [], 0
    for line in lines:
        if match := re.fullmatch(r"\.\.\. (\d+) lines? dropped: nobody read stderr", line):
            dropped += int(match[1])
        elif " /0" in line:
            match = re.fullmatch(r'.*"GET /(\d{6})y{8000}/end HTTP/1\.1" 200 2', line)
            assert match, line
            numbers.append(int(match[1]))
    assert '"GET /last HTTP/1.1" 200 2' in lines[-1] or (
        start == "workers" and any("GET /last " in line for line in lines)
    )
    assert dropped > 0
    assert len(numbers) + dropped == count
    assert numbers == sorted(set(numbers)) or start == "workers"  # the two write one after the other, each in order


async def test_a_file_keeps_everything(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    for start in ("serve", "workers", "run"):
        with open(tmp_path / "log", "w+b") as log:
            process = subprocess.Popen([sys.executable, *STARTS[start]], cwd=tmp_path, stderr=log)
            try:
                program = Stalled(tmp_path, process, -1, -1)
                await program.up()
                await program.ask(LONG, 1000)
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, WAIT) == 0
            finally:
                process.kill()
                process.wait()
            log.seek(0)
            assert log.read().count(LONG.encode()) == 1000


class TestStream:
    def test_a_line_is_out_when_write_returns(self) -> None:
        with ends("pipe") as (reading, writing):
            stream = SharedStream(writing)
            for number in range(100):
                print(number, file=stream)
                os.set_blocking(reading, False)
                assert os.read(reading, 100) == b"%d\n" % number
            stream.finish()

    def test_the_description_is_left_as_it_is(self) -> None:
        """It belongs to the shell and to other programs, too."""
        with ends("pipe") as (reading, writing):
            stream = SharedStream(writing)
            stream.write("a\n" * 100_000)
            assert os.get_blocking(writing)
            os.close(reading)
            stream.finish()

    def test_one_that_does_not_block(self) -> None:
        """Whoever shares it may have set that: nothing is lost or cut."""
        with ends("pipe") as (reading, writing):
            os.set_blocking(writing, False)
            stream = SharedStream(writing)
            text = "".join(f"{number:07d}\n" for number in range(50_000))
            stream.write(text)
            found = b""
            while len(found) < len(text):
                found += os.read(reading, 65536)
            assert found.decode() == text
            stream.finish()

    def test_bytes_and_parts_of_lines(self) -> None:
        with ends("pipe") as (reading, writing):
            stream = SharedStream(writing)
            stream.write("a")
            stream.flush()
            assert os.read(reading, 10) == b"a"
            stream.buffer.write(b"b\xff\n")
            assert os.read(reading, 10) == b"b\\xff\n"
            stream.write("end")
            stream.finish()
            assert os.read(reading, 10) == b"end\n"

    def test_a_full_disk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a write has cut is completed by the next, before anything else."""
        with tempfile.TemporaryFile() as file:
            stream = SharedStream(file.fileno())
            room = [5]
            real = os.write

            def write(descriptor: int, data: bytes) -> int:
                if not room[0]:
                    raise OSError(28, "No space left on device")
                done = real(descriptor, data[: room[0]])
                room[0] -= done
                return done

            monkeypatch.setattr(os, "write", write)
            stream.write("abc\ndef\nghi\njkl\n")
            stream.write("mno\n")
            room[0] = 1000
            stream.write("pqr\n")
            stream.finish()
            expected = b"abc\ndef\n... 3 lines dropped: nobody read stderr\npqr\n"
            assert os.pread(file.fileno(), 1000, 0) == expected

    def test_nobody_at_the_other_end(self) -> None:
        with ends("pipe") as (reading, writing):
            os.close(reading)
            stream = SharedStream(writing)
            print("nobody", file=stream)
            print("nobody", file=stream)
            stream.finish()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_a_child_writes_too(self) -> None:
        """It has no thread, and what waits is not its own."""
        with ends("pipe") as (reading, writing):
            stream = SharedStream(writing)
            stream.write("x" * 200_000 + "\n")
            child = os.fork()
            if not child:
                stream.write("child\n")
                os._exit(0)
            found = b""
            while found.count(b"\n") < 2:
                found += os.read(reading, 65536)
            assert os.waitpid(child, 0)[1] == 0
            assert (found.count(b"x"), found.count(b"child\n")) == (200_000, 1)
            stream.finish()

    async def test_several_processes_of_which_one_is_stopped(self) -> None:
        """The lock is held by who waits for the reader; others wait for nobody."""
        with ends("pipe") as (_, writing), tempfile.TemporaryFile() as lock:
            code = (
                "import sys; from aiohttpd.runner.shared_stream import SharedStream\n"
                "stream = SharedStream(1, int(sys.argv[1]))\n"
                "for number in range(1000): stream.write('y' * 4000 + chr(10))\n"
                "print('done', file=sys.stderr, flush=True)\n"
            )
            writers = [
                subprocess.Popen(
                    [sys.executable, "-c", code, str(lock.fileno())],
                    stdout=writing, stderr=subprocess.PIPE, pass_fds=[lock.fileno()],
                )
                for _ in range(2)
            ]  # fmt: skip
            try:
                for writer in writers:
                    assert writer.stderr is not None
                    assert await asyncio.to_thread(writer.stderr.readline) == b"done\n"
                    writer.stderr.close()
                await until(lambda: all(writer.poll() == 0 for writer in writers), WAIT)  # without being read
            finally:
                for writer in writers:
                    writer.kill()
                    writer.wait()
