"""Each program and each command line of the documentation is run, page by page, in a folder of its own."""

import contextlib
import importlib.util
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from ..support.pages import DOCS, CodeBlock, blocks, commands, pages
from ..support.places import ROOT
from ..support.suites import ASYNCIO, pytest_run
from ..support.waiting import BOUND

LANGUAGES = {"python", "sh", "console", "text", "http", "nginx", "yaml", "{toctree}", "{eval-rst}", "{literalinclude}"}

# Commands that no test can run, by how they begin, and why.
NOT_RUN = {
    "python3 -m venv": "makes an environment; .ci/run and nox do that",
    ". .venv/bin/activate": "changes the shell",
    "pip install": "needs a package index; the extras are checked below",
    "nox ": "long; the sessions are checked below",
    "kill ": "needs the number of a process; tests/server/test_seeing.py sends the signals",
    "cp examples/": "writes to /etc; the files are checked below",
    "systemctl ": "needs systemd; tests/net/test_systemd.py speaks its protocol",
    "journalctl ": "needs systemd",
    "systemd-analyze ": "reads /etc; tests/outside/test_deploy.py has the units verified",
    "mkdir -p /opt/": "writes to /opt",
    "/opt/site/.venv/bin/pip ": "needs what was written to /opt",
    "curl --unix-socket /run/": "needs systemd; tests/outside/test_deploy.py activates the service by its socket",
    "py-spy ": "needs the number of a process",
    "podman ": "needs podman; the files are checked below",
    "kubectl ": "needs a cluster; tests/outside/test_deploy.py reads the file",
    "certbot ": "needs a domain; it was tried by hand with Pebble",
    "aiohttpd serve site --bind 0.0.0.0:80": "needs port 80",
    "aiohttpd serve mysite.asgi": "is that of a project; a smaller one is on the page",
    "aiohttpd record ": "needs a server to be recorded; tests/testing runs it",
    "aiohttpd replay ": "needs what was recorded; tests/testing runs it",
}
# Programs that no command of their page runs, and why.
NOT_STARTED = {
    "README.md layered.py": "docs/layers.md tries each layer",
    "README.md embedded.py": "it is that of docs/howto/embed.md",
    "docs/howto/asgi.md module.py": "needs uvicorn; the session 'exported' runs such applications",
}
# Libraries that pages show and the test command does not install, with the session that does.
OPTIONAL = {"fastapi": "asgi", "django": "asgi", "PySide6": "desktop", "qasync": "desktop"}
HANDLER = """
import aiohttpd

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        self.send_text("here")

Hello = Handler
"""
# Programs that are files are modules; the others of a page share their names, as the cells of a notebook do.
RUN_ALL = """
import ast, asyncio, importlib, inspect, pathlib, runpy, sys

async def main():
    names = {"__name__": "page"}
    for file in sys.argv[1:]:
        if not file.startswith("line_"):
            name = pathlib.Path(file).stem
            if name in sys.modules:  # "site", for example
                runpy.run_path(file, run_name="page")
            else:
                importlib.import_module(name)
            continue
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        result = eval(compile(pathlib.Path(file).read_text(), file, "exec", flags), names)
        if inspect.iscoroutine(result):
            await result

asyncio.run(main())
"""


def free_ports(count: int) -> list[int]:
    """Ports for pages that name one. They are below those that the system gives to others, so nobody takes them."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(found) < count:
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", secrets.choice(range(12_000, 30_000))))
                found.append(one.getsockname()[1])
    return found


class Shell:
    """A folder with what the pages take for granted, in which their commands run on free ports."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.folder = folder
        self.ports = dict(zip(("8000", "8080", "9100"), free_ports(3), strict=True))
        self.log = folder / "log"
        for name in ("site", "dist", "inbox", "files", "bin"):
            (folder / name).mkdir()
        for name in ("site", "dist"):
            (folder / name / "index.html").write_text("<!DOCTYPE html><title>page</title>")
        for name in ("portrait.png", "report.pdf"):
            (folder / name).write_bytes(b"content")
        for name in ("hello.py", "app.py"):
            (folder / name).write_text(HANDLER)
        (folder / "examples").symlink_to(ROOT / "examples")
        for name, arguments in (("python", '"$@"'), ("aiohttpd", '-m aiohttpd "$@"')):
            script = folder / "bin" / name
            script.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments}\n")
            script.chmod(0o755)
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(folder / "key.pem")
        for number, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(folder / "cert.pem", append=number > 0)
        for name in ("ca.pem", "clients.pem"):
            authority.cert_pem.write_to_path(folder / name)
        self.environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "error",
            "PYTEST_ADDOPTS": "-p no:asyncio -p no:cacheprovider",  # pytest-asyncio warns where it is not configured
            "AIOHTTPD_PORT": str(self.ports["8000"]),
            "BROWSER": "true",
            "QT_QPA_PLATFORM": "offscreen",
        }

    def here(self, text: str) -> str:
        """A command or a program with the ports and the paths of this test."""
        for port, free in self.ports.items():
            text = re.sub(rf"\b{port}\b", str(free), text)
        text = text.replace('bind=("",', 'bind=("127.0.0.1",')
        text = text.replace("--bind 0.0.0.0", "--bind 127.0.0.1").replace("unix:/run/", f"unix:{self.folder}/")
        return re.sub(r"&group=[\w-]+", "", text)

    def save(self, block: CodeBlock) -> str:
        name = block.file or f"line_{block.line}.py"
        (self.folder / name).write_text(self.here(block.text))
        return name

    def serves(self, line: str) -> bool:
        """Whether a command is a server."""
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
        if words[:2] == ["aiohttpd", "serve"] or words[:3] == ["python", "-m", "aiohttpd"]:
            return True
        text = (self.folder / words[1]).read_text() if words[0] == "python" and words[1].endswith(".py") else ""
        return "aiohttpd.run(" in text or "serve_forever(" in text or "closed.wait(" in text

    def call(self, line: str) -> str:
        """Run a command to its end; gives what it prints."""
        done = subprocess.run(
            ["bash", "-c", self.here(line)], cwd=self.folder, env=self.environment, text=True, capture_output=True,
            timeout=50,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    @contextlib.contextmanager
    def server(self, line: str) -> Iterator[None]:
        """Run a server, from when it serves to Ctrl-C."""
        words = shlex.split(self.here(line), comments=True)
        with self.log.open("w") as log:
            process = subprocess.Popen(["env", *words], cwd=self.folder, env=self.environment, stdout=log, stderr=log)
        try:
            end = time.monotonic() + BOUND
            while not self.is_reached():
                assert process.poll() is None, (line, self.log.read_text())
                assert time.monotonic() < end, (line, self.log.read_text())
                time.sleep(0.02)
            yield
            assert process.poll() is None, (line, self.log.read_text())
            process.send_signal(signal.SIGINT)
            status = process.wait(BOUND)
            told = self.log.read_text()
            assert status == 0 or "KeyboardInterrupt" in told, (line, status, told)
        finally:
            process.kill()
            process.wait()

    def is_reached(self) -> bool:
        if "Serving" in self.log.read_text():
            return True
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.ports["8000"]), 1):
            return True
        return False


def reason_not_to_run(line: str) -> str | None:
    return next((why for start, why in NOT_RUN.items() if line.startswith(start)), None)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_languages() -> None:
    """A block that is no program says so; there is no second spelling under which code is not run."""
    for page in pages():
        for block in blocks(page):
            assert block.language in LANGUAGES, (name_of(page), block.line)


def need_libraries(page: Path) -> None:
    """Skip the test of a page whose programs import what is not installed."""
    for block in blocks(page):
        if block.language == "python":
            for name in re.findall(r"^(?:from|import) (\w+)", block.text, re.MULTILINE):
                if name in OPTIONAL and importlib.util.find_spec(name) is None:
                    pytest.skip(f"needs {name}: nox -s {OPTIONAL[name]}")


PROGRAMS = [page for page in pages() if any(block.language == "python" for block in blocks(page))]
COMMANDS = [page for page in pages() if any(block.language in ("sh", "console") for block in blocks(page))]


@pytest.mark.parametrize("page", PROGRAMS, ids=name_of)
def test_programs(page: Path, tmp_path: Path, authority: trustme.CA) -> None:
    """They are executed from the first to the last line, as modules."""
    need_libraries(page)
    shell = Shell(tmp_path, authority)
    names = [shell.save(block) for block in blocks(page) if block.language == "python"]
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, *names], cwd=tmp_path, env=shell.environment, text=True, capture_output=True,
        timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_each_program_is_started() -> None:
    """FAULT: a function that was never called used methods that do not exist."""
    missing = []
    for page in PROGRAMS:
        given = [
            command.text for block in blocks(page) if block.language in ("sh", "console") for command in commands(block)
        ]
        given += [block.text for block in blocks(page) if block.language == "python"]
        for block in blocks(page):
            if block.file is not None:
                name = block.file.removesuffix(".py")
                uses = re.compile(rf"^(?:aiohttpd|python) .*\b{name}\b|^(?:import|from) {name}\b", re.MULTILINE)
                if not any(map(uses.search, given)):
                    missing.append(f"{name_of(page)} {block.file}")
    assert missing == list(NOT_STARTED)


def cells(page: Path) -> list[str]:
    """The programs of a page that are no file; they share their names."""
    return [block.text for block in blocks(page) if block.language == "python" and block.file is None]


TESTS = [page for page in PROGRAMS if any("def test_" in cell for cell in cells(page))]


@pytest.mark.parametrize("page", TESTS, ids=name_of)
def test_tests(page: Path, tmp_path: Path) -> None:
    """Tests in a page that are no file are run together."""
    done = pytest_run(tmp_path, "\n\n".join(cells(page)), *ASYNCIO)
    assert done.returncode == 0, done.stdout


@pytest.mark.timeout(300)
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: Debian's package curl")
@pytest.mark.parametrize("page", COMMANDS, ids=name_of)
def test_commands(page: Path, tmp_path: Path, authority: trustme.CA) -> None:
    """A server runs until the next one begins; what a page says that a command prints is printed."""
    need_libraries(page)
    shell = Shell(tmp_path, authority)
    for block in blocks(page):
        if block.language == "python":
            shell.save(block)
    for block in blocks(page):
        if block.language not in ("sh", "console"):
            continue
        with contextlib.ExitStack() as stack:
            for line, output in commands(block):
                if reason_not_to_run(line):
                    continue
                if shell.serves(line):
                    stack.close()
                    stack.enter_context(shell.server(line))
                else:
                    printed = shell.call(line)
                    if output is not None:
                        compare(shell.here(output), printed, line)


def compare(expected: str, printed: str, line: str) -> None:
    """Compare an output with the page, where three dots stand for anything."""
    printed = printed.replace("Unprocessable Entity", "Unprocessable Content")  # 422, before Python 3.13
    pattern = ".*".join(map(re.escape, re.split(r"\n?\.\.\.\n?", expected.rstrip())))
    assert re.fullmatch(pattern, printed.replace("\r\n", "\n").rstrip(), re.DOTALL), (line, printed)


def all_commands() -> list[str]:
    return [
        command.text
        for page in COMMANDS
        for block in blocks(page)
        if block.language in ("sh", "console")
        for command in commands(block)
    ]


def test_what_is_not_run_names_what_exists() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    for line in all_commands():
        if reason_not_to_run(line):
            for name in re.findall(r"examples/[\w./-]+", line):
                assert (ROOT / name).exists(), line
            for extras in re.findall(r"pip install .*\[(.*?)\]", line):
                assert all(f"\n{extra} = [" in project for extra in extras.split(",")), line
            for names in re.findall(r"nox -s ([\w ]+)", line):
                assert set(names.split()) <= sessions, line


def test_each_reason_is_needed() -> None:
    lines = all_commands()
    assert [start for start in NOT_RUN if not any(line.startswith(start) for line in lines)] == []


def test_the_readme_says_what_ci_runs() -> None:
    last = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert last in (ROOT / "README.md").read_text()
    assert last.endswith("pytest")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_dashboard_has_metrics_that_exist() -> None:
    dashboard = (DOCS / "howto" / "grafana.json").read_text() + (DOCS / "howto" / "metrics.md").read_text()
    known = set(re.findall(r"^\| `(aiohttpd_\w+)`", (DOCS / "reference" / "metrics.md").read_text(), re.MULTILINE))
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\baiohttpd_\w+", dashboard)}
    assert used and used <= known
