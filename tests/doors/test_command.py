"""The command, as a person types it; and the options, which have one description."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import aiohttpd
from aiohttpd.config import Config, options
from aiohttpd.runner.signals import TWICE

from ..support.commands import HELLO, command, run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "hello.py").write_text(HELLO)
    (tmp_path / "neighbour.py").write_text("WORD = b'Hello!'\n")
    (tmp_path / "broken.py").write_text("def f():\n    raise ZeroDivisionError('oh')\n\nf()\n")
    (tmp_path / "lacking.py").write_text("import there_is_no_such_module\n")
    (tmp_path / "wrong.py").write_text("def f(:\n")
    (tmp_path / "argument.py").write_text("raise TypeError('of the target')\n")
    return tmp_path


@contextmanager
def served(folder: Path, *arguments: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server as a program; gives the process and the URL that it says it serves on."""
    process = subprocess.Popen(
        command("serve", *arguments), cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        match = re.fullmatch(r"Serving on (\S+) \(Ctrl-C stops\)\n", line)
        assert match, line
        yield process, match[1]
    finally:
        process.kill()
        process.communicate()


class TestServe:
    @pytest.mark.parametrize("target", ["hello:Hello", "hello.py:Hello", "./hello.py:Hello", "hello:Nested.Handler"])
    def test_targets(self, folder: Path, target: str) -> None:
        with served(folder, target, "--port", "0") as (_, url):
            assert httpx.get(url).text == "Hello!"

    def test_the_folder_of_a_file_is_importable(self, folder: Path) -> None:
        with served(folder.parent, f"{folder.name}/hello.py:Hello", "-p", "0") as (_, url):
            assert httpx.get(url).text == "Hello!"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_log_line_and_quiet_stop(self, folder: Path, number: int) -> None:
        with served(folder, "hello:Hello", "-p", "0") as (process, url):
            httpx.get(url + "a?b")
            process.send_signal(number)
            _, err = process.communicate(timeout=10)
            assert process.returncode == 0
            assert re.fullmatch(
                r'127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4} \d\d:\d\d:\d\d\] "GET /a\?b HTTP/1\.1" 200 6\n', err
            )

    def test_no_access_log(self, folder: Path) -> None:
        with served(folder, "hello:Hello", "-p", "0", "--no-access-log") as (process, url):
            httpx.get(url)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=10)[1] == ""

    def test_second_signal_stops_at_once(self, folder: Path) -> None:
        (folder / "slow.py").write_text(
            "import asyncio, aiohttpd\n"
            "async def app(request, response):\n"
            "    response.send_head(200)\n"
            "    response.flush()\n"
            "    await asyncio.sleep(3600)\n"
        )
        with served(folder, "slow:app", "-p", "0", "--timeout-grace", "3600") as (process, url):
            with httpx.stream("GET", url):
                process.send_signal(signal.SIGINT)
                assert process.stderr is not None
                line = process.stderr.readline()
                assert line == "Finishing 1 request, at most 3600 s (Ctrl-C again stops at once)\n"
                time.sleep(TWICE)
                process.send_signal(signal.SIGINT)
                assert process.wait(timeout=10) == 0

    def test_unix_socket(self, folder: Path) -> None:
        path = folder / "s"
        with served(folder, "hello:Hello", "--bind", f"unix:{path}") as (process, url):
            assert url == f"unix:{path}"
            client = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)))
            with client:
                assert client.get("http://a/").text == "Hello!"
            process.send_signal(signal.SIGINT)
            assert "unix: - - [" in process.communicate(timeout=10)[1]
        assert not path.exists()

    def test_environment(self, folder: Path) -> None:
        with served(folder, "hello:Hello", AIOHTTPD_PORT="0", AIOHTTPD_ACCESS_LOG="no") as (process, url):
            httpx.get(url)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=10)[1] == ""
        # A flag wins.
        with served(folder, "hello:Hello", "--access-log", AIOHTTPD_PORT="0", AIOHTTPD_ACCESS_LOG="no") as (
            process,
            url,
        ):
            httpx.get(url)
            process.send_signal(signal.SIGINT)
            assert "200" in process.communicate(timeout=10)[1]

    def test_module_run(self, folder: Path) -> None:
        source = (folder / "hello.py").read_text() + "\naiohttpd.run(Hello, port=0)\n"
        process = subprocess.Popen([sys.executable, "-c", source], cwd=folder, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        url = process.stderr.readline().split()[2]
        assert httpx.get(url).text == "Hello!"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        assert process.returncode == 0


class TestErrors:
    """One clear line and an exit status; a traceback only of the target's own code."""

    @pytest.mark.parametrize(
        ("target", "text"),
        [
            ("nothing_here:Hello", "no module named 'nothing_here'"),
            ("nothing.py:Hello", "no such file: nothing.py"),
            ("hello", "'hello' names no handler in a module: write 'hello:Hello'"),
            ("hello:Missing", "hello has no 'Missing'; it has Hello"),
            ("hello:nothing", "hello:nothing: 3 is no App: a handler class, or"),
            ("hello:Nested", "Nested is no handler class"),
        ],
    )
    def test_no_such_target(self, folder: Path, target: str, text: str) -> None:
        done = run(folder, "serve", target)
        assert done.returncode == 2
        assert done.stderr.startswith("aiohttpd: ")
        assert text in done.stderr
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("target", "error", "first"),
        [
            ("broken:Hello", "ZeroDivisionError: oh", "broken.py"),
            ("broken.py:Hello", "ZeroDivisionError: oh", "broken.py"),
            ("lacking:Hello", "ModuleNotFoundError", "lacking.py"),
            ("argument:Hello", "TypeError: of the target", "argument.py"),
            ("wrong:Hello", "SyntaxError", "wrong.py"),
        ],
    )
    def test_the_target_s_own_error(self, folder: Path, target: str, error: str, first: str) -> None:
        done = run(folder, "serve", target)
        assert done.returncode == 1
        assert error in done.stderr
        frames = re.findall(r'File "(.*?)"', done.stderr)
        assert Path(frames[0]).name == first

    def test_port_in_use(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = run(folder, "serve", "hello:Hello", "--port", str(port))
        assert done.returncode == 1
        assert done.stderr.startswith(f"aiohttpd: cannot listen on 127.0.0.1:{port}: it is in use")
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize("bind", ["203.0.113.7", "no.such.name.invalid", "127.0.0.1:x", "unix:/no/such/folder/s"])
    def test_address_that_cannot_be(self, folder: Path, bind: str) -> None:
        done = run(folder, "serve", "hello:Hello", "--bind", bind)
        assert done.returncode in (1, 2)
        assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize(
        ("arguments", "environment", "text"),
        [
            (["--timeout-head", "soon"], {}, "'soon' is not a number"),
            (["--limit-body", "-1"], {}, "--limit-body must be positive"),
            (["--timeout-haed", "1"], {}, "--timeout-head"),
            ([], {"AIOHTTPD_LIMIT_BODY": "much"}, "AIOHTTPD_LIMIT_BODY: 'much' is not a whole number"),
        ],
    )
    def test_options(self, folder: Path, arguments: list[str], environment: dict[str, str], text: str) -> None:
        done = run(folder, "serve", "hello:Hello", *arguments, **environment)
        assert done.returncode == 2
        assert text in done.stderr
        assert "Traceback" not in done.stderr


class TestConfig:
    """One description: the flags, the environment and the reference are made from it; see tests/docs, too."""

    def test_help_has_every_option(self, tmp_path: Path) -> None:
        text = re.sub(r"\s+", " ", run(tmp_path, "serve", "--help").stdout)
        for option in options():
            assert option.flag in text
            assert option.help in text
        assert "[0M]" not in text

    def test_unknown_option_names_the_nearest(self) -> None:
        with pytest.raises(TypeError, match="no option 'limit_boddy'; did you mean 'limit_body'"):
            aiohttpd.run(lambda request, response: None, limit_boddy=3)  # type: ignore[arg-type,return-value]

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            ("limit_body", -1, ValueError),
            ("timeout_head", 0, ValueError),
            ("limit_body", "1", TypeError),
            ("backlog", 1.5, TypeError),
            ("backlog", 0, ValueError),  # FAULT: on asyncio no connection was accepted
            ("backlog", 2**31, ValueError),  # FAULT: OverflowError in listen()
            ("limit_fields", 2**32, ValueError),  # FAULT: OverflowError in each connection, which was closed
            ("limit_elements", 2**32, ValueError),  # FAULT: the same for a large head
            ("timeout_head", 10**400, ValueError),  # FAULT: OverflowError
        ],
    )
    def test_values_are_checked(self, name: str, value: object, error: type[Exception]) -> None:
        with pytest.raises(error, match=name):
            Config(**{name: value})  # type: ignore[arg-type]

    async def test_the_least_and_the_most(self) -> None:
        for number in (1, 2**31 - 1):
            config = Config(backlog=number, limit_fields=number, limit_elements=number)
            async with aiohttpd.HTTPServer(("127.0.0.1", 0), aiohttpd.BaseHTTPRequestHandler, config=config) as server:
                reader, writer = await asyncio.open_connection(*server.server_address)
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 405 ")
                writer.close()

    @pytest.mark.parametrize(("text", "value"), [("64k", 65536), ("1M", 1 << 20), ("2G", 2 << 30), ("7", 7)])
    def test_sizes(self, text: str, value: int) -> None:
        assert Config.from_options({}, {"AIOHTTPD_LIMIT_BODY": text}).limit_body == value

    def test_order(self) -> None:
        environment = {"AIOHTTPD_TIMEOUT_IDLE": "5", "AIOHTTPD_MIN_RATE": "1"}
        config = Config.from_options({"timeout_idle": 7.0}, environment)
        assert (config.timeout_idle, config.min_rate, config.timeout_head) == (7.0, 1, 10.0)

    def test_version(self, tmp_path: Path) -> None:
        assert run(tmp_path, "--version").stdout == f"aiohttpd {aiohttpd.__version__}\n"
