"""The command as a program that the tests wait for: run to its end, started, or refused."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from click.testing import CliRunner

from aiohttpd.runner.cli import main

HELLO = """
import aiohttpd
import neighbour

class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(neighbour.WORD)

class Nested:
    Handler = Hello

nothing = 3
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "aiohttpd", *arguments]


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, capture_output=True, text=True, timeout=20, env={**os.environ, **environment}
    )


class Started:
    """A server as a program, with what it has said at its start."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self.process = process
        self.stderr = process.stderr
        self.first = self.stderr.readline()
        match = re.fullmatch(r"Serving (.*) on (\S+) \(Ctrl-C stops\)\n", self.first)
        self.what, self.url = match.groups() if match else ("", "")

    def stop(self) -> str:
        """Ctrl-C; returns what was said until then."""
        self.process.send_signal(signal.SIGINT)
        _, text = self.process.communicate(timeout=10)
        assert self.process.returncode == 0
        return text


@contextmanager
def started(folder: Path, *arguments: str, **environment: str) -> Iterator[Started]:
    process = subprocess.Popen(
        command(*arguments), cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    try:
        yield Started(process)
    finally:
        process.kill()
        process.communicate()


def refused(folder: Path, *arguments: str) -> str:
    """Run the command in this process, which is faster, where it does not come to serving; gives what it says."""
    with contextlib.chdir(folder):
        result = CliRunner().invoke(main, ["serve", *arguments])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    return result.output
