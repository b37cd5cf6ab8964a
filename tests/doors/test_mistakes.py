"""Mistakes on the command line, in the environment and in the application.

One line says what is wrong, and what to do.
"""

import contextlib
import gc
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from aiohttpd.runner import worker
from aiohttpd.runner.cli import main

from ..support.commands import command, run

PROGRAM = """
import contextlib
import aiohttpd

class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        self.send_text("Hello!")

site = aiohttpd.Router()
def make_one(name): return Hello
def make(): return lambda: None
def end(): raise SystemExit(3)
async def undecorated(server): yield
@contextlib.asynccontextmanager
async def fails(server):
    raise OSError("no database")
    yield
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "hello.py").write_text(PROGRAM)
    (tmp_path / "routed.py").write_text("import aiohttpd\n\nsite: aiohttpd.Router = aiohttpd.Router()\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").touch()
    return tmp_path


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules that the command imports in this process are forgotten."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in ("hello", "routed"):
        sys.modules.pop(name, None)


def said(folder: Path, *arguments: str, status: int = 2, **environment: str) -> str:
    """What the command says, run in this process, when it does not come to serving."""
    with contextlib.chdir(folder):
        result = CliRunner().invoke(main, arguments, env=environment)
    assert result.exit_code == status, result.output
    assert isinstance(result.exception, SystemExit)
    return result.output


TARGETS = [
    ("sit", "no such folder or handler: sit; did you mean 'site'? (a handler or an application is written as 'module:"),
    ("./nowhere/", "no such folder or handler: ./nowhere/ (a handler"),
    ("hello.py", "'hello.py' names no handler in a module: write 'hello.py:Hello'"),
    ("hello", "'hello' names no handler in a module: write 'hello:Hello'"),
    ("hello:", "'hello:' names no handler in a module: write 'hello:Hello'"),
    ("routed.py", "'routed.py' names no handler in a module: write 'routed.py:site'"),
    ("hello:3x", "'hello:3x' names no handler in a module: write 'hello:Hello'"),
    ("./hello:site", "'./hello:site' names no handler in a module: write './hello.py:site'"),
    (":app", "':app' is no handler: write 'module:Handler' or 'path/to/file.py:Handler'"),
    ("http://example.org/", "no such folder or handler: http://example.org/"),
    ("hello:sit", "hello has no 'sit'; did you mean 'site'?"),
    ("helo:site", "no module named 'helo'; did you mean 'hello'?"),
    ("helo.py:site", "no such file: helo.py; did you mean 'hello.py'?"),
    ("hello:Hello --app-dir nowhere", "--app-dir nowhere: no such folder"),
    ("hello:make_one --factory", "hello:make_one is no factory: it has to be called without arguments"),
    ("hello.Hello", "'hello.Hello' names no handler in a module: write 'hello:Hello'"),
    ("package.inner.site", "'package.inner.site' names no handler in a module: write 'package.inner:site'"),
    ("hello:make()", "'hello:make()' names no handler in a module: write 'hello:make' --factory"),
    (
        "hello:make",
        "hello:make: make() is no App: it cannot be called with (request, response). An App is a handler class, "
        "or 'async def app(request, response)'; if it makes the application, add --factory",
    ),
    (
        "hello:make --wsgi",
        "hello:make: make() is no WSGI application: it cannot be called with (environ, start_response); "
        "if it makes the application, add --factory",
    ),
    (
        "hello:make --interface asgi",
        "hello:make: make() is no ASGI application: it cannot be called with (scope, receive, "
        "send); if it makes the application, add --factory",
    ),
    (
        "hello:make --factory",
        "hello:make: make.<locals>.<lambda>() is no App: it cannot be called with (request, response)",
    ),
    ("hello:end --factory", "hello:end has ended the program: sys.exit(3)"),
    ("hello:Hello --lifespan On", "--lifespan 'On': write auto, on, off, module:name or path/to/file.py:name"),
]


@pytest.mark.parametrize(("arguments", "text"), TARGETS)
def test_a_target(folder: Path, arguments: str, text: str) -> None:
    told = said(folder, "serve", *arguments.split())
    assert told.startswith(f"aiohttpd: {text}")
    assert told.count("\n") == 1


def test_a_file_that_is_no_module(folder: Path) -> None:
    """Its own name is not proposed for it."""
    (folder / "program").write_text("Hello = None\n")
    assert said(folder, "serve", "program:Hello") == "aiohttpd: no module named 'program'\n"


OPTIONS: list[tuple[list[str], str]] = [
    (["--timeout-head", "soon"], "Invalid value for '--timeout-head': 'soon' is not a number"),
    (["--timeout-head", "0"], "--timeout-head must be positive, not 0"),
    (["--recycle-age", "-1"], "--recycle-age must be 0 or more, not -1"),
    (["--backlog", "9999999999"], "--backlog must be at most 2147483647, not 9999999999"),
    (["--health", "x"], "--health must be a path that begins with a slash, not 'x'"),
    (["--proxy-protocol"], "--proxy-protocol needs --trusted-proxies"),
    (["--host", "0.0.0.0"], "--host: addresses are always allowed; to listen on 0.0.0.0 write --bind 0.0.0.0"),
    (["--bind", "http://localhost:80"], "--bind http://localhost:80: write HOST:PORT without http:// and path"),
    (["--bind", "[::1"], "--bind [::1: a bracket is missing: write [IPV6]:PORT"),
    (["--content-type", "html"], "--content-type 'html': write a media type, text/plain for example"),
    (["--index", ""], "--index '': write the name of a file, without a slash"),
    (["--index", "sub/index.html"], "--index 'sub/index.html': write the name of a file, without a slash"),
    (["--spa", ""], "--spa '': write the path of a file in the folder"),
    (["--spa", "../index.html"], "--spa '../index.html': write the path of a file in the folder"),
    (["-H", "a b: c"], "--header 'a b: c': 'a b' is no field name"),
    (["--min-free", "0"], "--min-free is of no use without --upload"),
    (["--timeout-lock", "soon"], "'soon' is not a number of seconds: write 5 or 0.5"),
    (["--timeout-lock", "inf"], "'inf' is not a number of seconds"),
    (["--workers", "0"], "'0' is not a number of workers: write 1 to 1024, or 'auto'"),
    (["--tls-cert", ""], "--tls-cert is empty: write the name of a file"),
]


@pytest.mark.parametrize(("arguments", "text"), OPTIONS)
def test_an_option(folder: Path, arguments: list[str], text: str) -> None:
    assert text in said(folder, "serve", *arguments).splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("PORT", "many", "Invalid value for the variable AIOHTTPD_PORT: 'many' is not a port (0 to 65535)"),
        ("RELOAD", "maybe", "Invalid value for the variable AIOHTTPD_RELOAD: 'maybe' is not a valid boolean"),
        ("TIMEOUT_HEAD", "soon", "aiohttpd: AIOHTTPD_TIMEOUT_HEAD: 'soon' is not a number"),
        ("TIMEOUT_HEAD", "-1", "aiohttpd: AIOHTTPD_TIMEOUT_HEAD must be positive, not -1"),
        ("PROXY_PROTOCOL", "on", "aiohttpd: AIOHTTPD_PROXY_PROTOCOL needs --trusted-proxies"),
    ],
)
def test_a_variable(folder: Path, name: str, value: str, text: str) -> None:
    """It is named as the variable, since no such option stands on the command line."""
    assert text in said(folder, "serve", **{f"AIOHTTPD_{name}": value})


def test_an_option_before_its_variable(folder: Path) -> None:
    told = said(folder, "serve", "--timeout-head", "-2", AIOHTTPD_TIMEOUT_HEAD="5")
    assert "--timeout-head must be positive, not -2" in told


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["faults", "--bind", "127.0.0.1:x"], "--bind 127.0.0.1:x: 'x' is not a port"),
        (["replay", "site"], "site/exchanges.jsonl does not exist"),
        (["routes", "hello"], "'hello' names no handler in a module: write 'hello:Hello'"),
    ],
)
def test_other_commands(folder: Path, arguments: list[str], text: str) -> None:
    assert text in said(folder, *arguments)


def test_a_variable_of_other_commands(folder: Path) -> None:
    assert said(folder, "faults", AIOHTTPD_BACKLOG="x").startswith("aiohttpd: AIOHTTPD_BACKLOG: 'x' is not")


def test_which_port_is_in_use(folder: Path) -> None:
    """--port is named only if it would help."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = f"aiohttpd: cannot listen on 127.0.0.1:{port}: it is in use: is another server running?"
        assert run(folder, "serve", "--port", port).stderr == f"{line} Choose another with --port\n"
        assert run(folder, "serve", "--port", "0", "--bind", f"127.0.0.1:{port}").stderr == f"{line}\n"


@pytest.mark.parametrize("workers", [(), ("--workers", "1")])
def test_what_is_no_lifespan(folder: Path, workers: tuple[str, ...]) -> None:
    done = run(folder, "serve", "--lifespan", "hello:undecorated", "--port", "0", *workers)
    text = "the lifespan undecorated() gives no async context manager: write an asynchronous function that yields once"
    assert done.stderr.startswith(f"aiohttpd: {text}, decorated with")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize("workers", [(), ("--workers", "1")])
def test_a_lifespan_that_fails(folder: Path, workers: tuple[str, ...]) -> None:
    """The traceback has frames of the application only."""
    done = run(folder, "serve", "--lifespan", "hello:fails", "--port", "0", *workers)
    assert done.returncode == 1
    assert done.stderr.endswith("OSError: no database\n")
    assert [Path(name).name for name in re.findall(r'File "(.*?)"', done.stderr)] == ["hello.py"]


def test_a_program_that_serves_when_it_is_imported(folder: Path) -> None:
    """Else Ctrl-C would stop its own server, and then another one would begin."""
    (folder / "program.py").write_text(PROGRAM + "aiohttpd.run(Hello, port=0)\n")
    done = run(folder, "serve", "program:Hello", "--port", "0")
    text = "run() is called while the program is imported: put it below if __name__ == '__main__':"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, f"RuntimeError: {text}")


def test_a_name_that_would_write_on_the_terminal(folder: Path) -> None:
    name = "two\nlines\x1b[31m"
    (folder / name).mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ["serve", name, "--bind", "127.0.0.1:0", "--metrics", f"127.0.0.1:{taken.getsockname()[1]}"]
        assert "\x1b" not in run(folder, *arguments).stderr


@pytest.mark.parametrize("module", ["", "-m"])
def test_ctrl_c_while_the_application_is_imported(tmp_path: Path, module: str) -> None:
    """No traceback, and the status that shells have for it."""
    (tmp_path / "slow.py").write_text("print('imported', flush=True)\nwhile True: pass\n")
    given = command("serve", "slow:app") if module else [sys.executable, "-c", SCRIPT, "serve", "slow:app"]
    process = subprocess.Popen(given, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "imported\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 130


SCRIPT = "from aiohttpd.__main__ import command; command()"  # the script that pip installs


def test_ctrl_c_while_aiohttpd_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiohttpd import __main__

    class Interrupting:
        @property
        def main(self) -> Any:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "aiohttpd.runner.cli", Interrupting())  # type: ignore[arg-type]
    monkeypatch.setattr(gc, "freeze", lambda: None)  # what the tests have
    for function in (__main__.command, __main__.run):
        with pytest.raises(SystemExit, match="130"):
            function()
        assert gc.isenabled()


def test_garbage_is_collected_after_the_import() -> None:
    program = "import gc, aiohttpd.__main__ as m; m._import_main(); print(gc.isenabled(), gc.get_freeze_count() > 9999)"
    given = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20)
    assert given.stdout == "True True\n"


def test_a_worker_whose_supervisor_is_gone() -> None:
    """It ends when it has something to tell; no traceback is written."""
    ours, theirs = socket.socketpair()
    ours.close()
    job: Any = SimpleNamespace(channel=theirs)
    with theirs, pytest.raises(SystemExit, match="^1$"):
        worker._tell(job, "begun")
