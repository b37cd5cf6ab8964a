"""Standard streams that are closed: nothing else takes their numbers, and the program ends as usual."""

import asyncio
import contextlib
import itertools
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ..support.programs import WAIT
from ..support.waiting import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")

APP = """
import os, subprocess, sys
import aiohttpd

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        if self.path == "/fail":
            raise ValueError("a traceback for nobody")
        print("out"); print("err", file=sys.stderr)
        sys.stderr.write("more"); sys.stdin.read()
        files = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
        child = subprocess.run(["sh", "-c", "echo out; echo err >&2; readlink /proc/self/fd/[012] 2>&1"],
                               stdout=subprocess.PIPE).stdout.decode()
        self.send_json({"files": files, "child": child, "streams": [sys.stdin is None, sys.stdout is None]})

if __name__ == "__main__":
    aiohttpd.run(Handler, bind="./sock", workers=int(sys.argv[1]) if len(sys.argv) > 1 else None)
"""
CLOSED = ["".join(some) for count in (1, 2, 3) for some in itertools.combinations("012", count)]
STARTS = {
    "serve": "-m aiohttpd serve app:Handler --bind unix:sock",
    "python -m aiohttpd": "-m aiohttpd -b unix:sock",
    "serve, workers": "-m aiohttpd serve app:Handler --bind unix:sock --workers 2",
    "run": "app.py",
    "run, workers": "app.py 2",
}


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize("start", STARTS)
async def test_closed(start: str, closed: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    shut = " ".join(f"{number}{'<' if number == '0' else '>'}&-" for number in closed)
    opened = [f"{number}{'<' if number == '0' else '>'}/dev/null" for number in "01" if number not in closed]
    opened += ["2>err"] * ("2" not in closed)
    command = f"exec {shlex.quote(sys.executable)} {STARTS[start]} {' '.join(opened)} {shut}"
    process = subprocess.Popen(["/bin/sh", "-c", command], cwd=tmp_path, start_new_session=True)
    try:
        await until(lambda: is_listening(tmp_path / "sock"), WAIT)
        if "2" not in closed:
            await until(lambda: "Serving" in (tmp_path / "err").read_text(), WAIT)
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(tmp_path / "sock"))) as client:
            async with asyncio.timeout(WAIT):
                if start != "python -m aiohttpd":
                    answer = (await client.get("http://a/", timeout=WAIT)).json()
                    expected = [*["/dev/null"] * 2, "/dev/null" if "2" in closed else str(tmp_path / "err")]
                    assert answer["files"] == expected
                    assert answer["child"].startswith("out\n")
                    assert (await client.get("http://a/fail", timeout=WAIT)).status_code == 500
                else:
                    assert (await client.get("http://a/app.py", timeout=WAIT)).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, WAIT) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if "2" not in closed:
        said = (tmp_path / "err").read_text()
        assert " on unix:" in said
        assert ("\nmore" in said) == (start != "python -m aiohttpd")
        assert said.count("Traceback") == (start != "python -m aiohttpd")


@pytest.mark.parametrize("workers", ["", "2"])
async def test_something_else_has_the_number(workers: str, tmp_path: Path) -> None:
    """What a program has opened where stderr was closed stays as it is."""
    (tmp_path / "app.py").write_text(
        "import os\nif __name__ == '__main__':\n    precious = os.open('precious', os.O_RDWR | os.O_CREAT)\n"
        "    assert precious == 2\n" + APP.replace("self.send_json", "os.kill(os.getppid() if len(sys.argv) > 1 else "
        "os.getpid(), 15); self.send_json")
    )  # fmt: skip
    command = f"exec {shlex.quote(sys.executable)} app.py {workers} 2>&-"
    process = subprocess.Popen(["/bin/sh", "-c", command], cwd=tmp_path, start_new_session=True)
    try:
        await until(lambda: is_listening(tmp_path / "sock"), WAIT)
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(tmp_path / "sock"))) as client:
            assert (await client.get("http://a/", timeout=WAIT)).status_code == 200
        assert await asyncio.to_thread(process.wait, WAIT) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert (tmp_path / "precious").read_bytes() == b""


def test_a_wrong_option_without_stderr(tmp_path: Path) -> None:
    for arguments in ("serve --nonsense", "serve nowhere:Handler", "serve nowhere"):
        command = f"exec {shlex.quote(sys.executable)} -m aiohttpd {arguments} 2>&- <&-"
        assert subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, timeout=WAIT).returncode == 2
