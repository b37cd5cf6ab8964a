"""The steps of a migration, one by one and together: our handlers under the servers of compat, and their types."""

import asyncio
import contextlib
import functools
import http.client
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, BlockingHTTPRequestHandler, Config, compat
from aiohttpd.testing import exchange

from ..support.checking import checked
from ..support.old_handlers import QuietOld
from ..support.pages import program_of
from ..support.waiting import BOUND
from ..support.wire import finals

BOTH = pytest.mark.parametrize("kind", [compat.HTTPServer, compat.ThreadingHTTPServer])


class Handler(BlockingHTTPRequestHandler):
    """Methods of both kinds."""

    def __init__(self, *args: Any, word: str = "word", **kwargs: Any) -> None:
        self.word = word
        self.early = self.server  # before anybody else could have told it
        super().__init__(*args, **kwargs)

    def do_POST(self) -> None:
        content = self.rfile.read().decode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(f"{content} {threading.current_thread().name}".encode())

    async def do_PUT(self) -> None:
        content = (await self.async_rfile.read()).decode()
        self.send_text(f"{content} {threading.current_thread().name}")

    async def do_GET(self) -> None:
        if self.path == "/error":
            raise LookupError("oh")
        if self.path == "/stop":
            self.server.shutdown()
        assert self.early is self.server
        self.send_text(self.word)

    def do_STOP(self) -> None:
        self.server.shutdown()
        self.send_text("stopped")

    def do_ERROR(self) -> None:
        raise LookupError("oh")


@contextlib.contextmanager
def served_in_thread(server: Any) -> Iterator[threading.Thread]:
    """Serve in a thread that has a name."""
    thread = threading.Thread(target=server.serve_forever, name="caller", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        server.shutdown()
        thread.join(BOUND)
        assert not thread.is_alive()


def status_and_text(server: Any, method: str = "GET", path: str = "/", body: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(*server.server_address[:2], timeout=BOUND)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        with connection.getresponse() as response:
            return response.status, response.read().decode()


class TestServers:
    @BOTH
    def test_methods_of_both_kinds(self, kind: Any) -> None:
        """FAULT: 500, '__init__() takes 3 positional arguments'."""
        with kind(("127.0.0.1", 0), Handler) as server, served_in_thread(server):
            status, text = status_and_text(server, "POST", body="content")
            assert (status, text.split()[0]) == (200, "content")
            assert text.split()[1].startswith("caller" if kind is compat.HTTPServer else "aiohttpd-worker")
            assert status_and_text(server, "PUT", body="content") == (200, "content aiohttpd-loop")
            assert status_and_text(server) == (200, "word")
            assert status_and_text(server, "HEAD") == (200, "")
            assert status_and_text(server, "NONE")[0] == 501

    @BOTH
    def test_partial(self, kind: Any) -> None:
        factory = functools.partial(functools.partial(Handler, word="no"), word="another")
        with kind(("127.0.0.1", 0), factory) as server, served_in_thread(server):
            assert status_and_text(server) == (200, "another")

    @BOTH
    def test_a_class_of_our_own_without_threads(self, kind: Any) -> None:
        class Async(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                await asyncio.sleep(0)
                self.send_text(repr(self.server is server))

        with kind(("127.0.0.1", 0), Async) as server, served_in_thread(server):
            assert status_and_text(server) == (200, "True")

    @BOTH
    @pytest.mark.parametrize("path", ["/events", "/every"])
    def test_a_long_answer_ends_with_the_server(self, kind: Any, path: str) -> None:
        """``self.server``, which knows nothing of a stop, is that of socketserver."""

        class Long(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                if self.path == "/events":
                    async with self.event_stream() as events:
                        await events.send("first")
                        await asyncio.Event().wait()
                    return
                self.send_response(200)
                self.end_headers()
                async for _ in self.every(BOUND):
                    self.wfile.write(b"data: first")
                    await self.wfile.drain()

        with kind(("127.0.0.1", 0), Long) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            connection = http.client.HTTPConnection(*server.server_address, timeout=BOUND)
            with contextlib.closing(connection):
                connection.request("GET", path)
                answer = connection.getresponse()
                assert answer.read(11) == b"data: first"
                server.shutdown()
                assert answer.read().strip() == b""  # the last chunk came
            thread.join(BOUND)
            assert not thread.is_alive()

    def test_files(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("content")
        factory = functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory=str(tmp_path))
        with compat.ThreadingHTTPServer(("127.0.0.1", 0), factory) as server, served_in_thread(server):
            assert status_and_text(server, path="/a.txt") == (200, "content")
            assert status_and_text(server, path="/none")[0] == 404

    @BOTH
    def test_handle_request(self, kind: Any) -> None:
        with kind(("127.0.0.1", 0), Handler) as server:
            for method in ("GET", "PUT", "POST"):
                thread = threading.Thread(target=server.handle_request, daemon=True)
                thread.start()
                assert status_and_text(server, method, body="a")[0] == 200
                thread.join(BOUND)
                assert not thread.is_alive()

    @BOTH
    @pytest.mark.parametrize(("method", "path"), [("GET", "/stop"), ("STOP", "/")])
    def test_shutdown_from_a_handler(self, kind: Any, method: str, path: str) -> None:
        with kind(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            assert status_and_text(server, method, path)[0] == 200
            thread.join(BOUND)
            assert not thread.is_alive()

    @BOTH
    @pytest.mark.parametrize(("method", "path"), [("GET", "/error"), ("ERROR", "/")])
    def test_handle_error(self, kind: Any, method: str, path: str) -> None:
        errors: list[Any] = []

        class Server(kind):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                errors.append((sys.exc_info()[1], client_address[0]))

        with Server(("127.0.0.1", 0), Handler) as server, served_in_thread(server):
            assert status_and_text(server, method, path)[0] == 500
        [(error, host)] = errors
        assert (str(error), host) == ("oh", "127.0.0.1")

    @BOTH
    def test_verify_request(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            def verify_request(self, request: Any, client_address: Any) -> bool:
                return self.open

        with Server(("127.0.0.1", 0), Handler) as server, served_in_thread(server):
            server.open = True
            assert status_and_text(server) == (200, "word")
            server.open = False
            with pytest.raises((http.client.BadStatusLine, ConnectionError)):
                status_and_text(server)

    @BOTH
    @pytest.mark.parametrize("hook", ["finish_request", "process_request"])
    def test_hooks_that_nobody_would_call(self, kind: Any, hook: str) -> None:
        server_class = type("Server", (kind,), {hook: lambda self, request, client_address: None})
        server = server_class(("127.0.0.1", 0), Handler)
        with pytest.raises(TypeError, match=f"Server.{hook}.*Handler.*functools.partial"):
            server.serve_forever()
        server.socket.close()

    @BOTH
    @pytest.mark.parametrize(
        "app", [aiohttpd.Router({"/": Handler}), aiohttpd.wsgi(lambda *_: [b""]), aiohttpd.blocking]
    )
    def test_what_is_no_handler_class(self, kind: Any, app: Any) -> None:
        """FAULT: each request got 500, '__call__() takes 3 positional arguments but 4 were given'."""
        server = kind(("127.0.0.1", 0), app)
        with pytest.raises(TypeError, match=r"makes no handlers.*aiohttpd\.HTTPServer"):
            server.serve_forever()
        server.socket.close()

    @BOTH
    def test_the_class_is_changed_while_it_runs(self, kind: Any) -> None:
        with kind(("127.0.0.1", 0), QuietOld) as server, served_in_thread(server):
            assert status_and_text(server) == (200, "/")
            server.RequestHandlerClass = Handler
            assert status_and_text(server) == (200, "word")
            server.RequestHandlerClass = QuietOld
            assert status_and_text(server) == (200, "/")

    @BOTH
    def test_the_log(self, kind: Any, capfd: pytest.CaptureFixture[str]) -> None:
        """A line for each answer on stderr, as handlers of http.server write it; none if the class is quiet."""

        class Quiet(Handler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

        for cls, lines in ((Handler, 2), (Quiet, 0)):
            with kind(("127.0.0.1", 0), cls) as server, served_in_thread(server):
                assert status_and_text(server, path="/a")[0] == 200
                assert status_and_text(server, "POST", "/b", "x")[0] == 200
            written: list[str] = []
            for _ in range(2000):
                written += capfd.readouterr().err.splitlines()
                if len(written) >= lines:
                    break
                time.sleep(0.005)  # a line is written after its answer
            assert len(written) == lines, written
            assert all(
                re.match(r'127\.0\.0\.1 - - \[.*\] "(GET /a|POST /b) HTTP/1.1" 200 \d+', line) for line in written
            )

    def test_serial_plain_methods_run_one_after_the_other(self) -> None:
        inside, most = [0], [0]

        class Slow(BlockingHTTPRequestHandler):
            def do_GET(self) -> None:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                threading.Event().wait(0.02)
                inside[0] -= 1
                self.send_text("ok")

        with compat.HTTPServer(("127.0.0.1", 0), Slow) as server, served_in_thread(server):
            threads = [threading.Thread(target=status_and_text, args=(server,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(BOUND)
        assert most == [1]


async def test_async_files() -> None:
    class Echo(BlockingHTTPRequestHandler):
        async def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            async for part in self.async_rfile:
                self.async_wfile.write(part)
                await self.async_wfile.drain()

        def do_PUT(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.rfile.read())

    request = b"%b / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    answers = finals(await exchange(Echo, request % b"POST" + request % b"PUT", config=Config(access_log=False)))
    assert [answer.body for answer in answers] == [b"abc", b"abc"]


async def test_the_third_step_runs() -> None:
    """The program of the documentation."""
    names: dict[str, Any] = {}
    exec(program_of("howto/migrate.md", "mixed.py"), names)
    request = b"%b / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    answers = finals(await exchange(names["Handler"], request % b"POST" + request % b"PUT"))
    assert [answer.body for answer in answers] == [b"3", b"3"]


TYPED = """
import functools
import io
import json
import shutil
from typing import Any

from aiohttpd import BlockingHTTPRequestHandler, HTTPServer, run
from aiohttpd.compat import ThreadingHTTPServer


class Handler(BlockingHTTPRequestHandler):
    def do_POST(self) -> None:
        data: bytes = self.rfile.read(int(self.headers["Content-Length"] or 0))
        line: bytes = self.rfile.readline()
        document: Any = json.load(self.rfile)
        text = io.TextIOWrapper(self.rfile)
        with open("file", "wb") as file:
            shutil.copyfileobj(self.rfile, file)
        with open("file", "rb") as file:
            shutil.copyfileobj(file, self.wfile)
        written: int = self.wfile.write(data + line)
        self.wfile.flush()
        self.send_text(f"{document} {text} {written}")

    async def do_PUT(self) -> None:
        data: bytes = await self.async_rfile.read()
        self.send_response(200)
        self.end_headers()
        self.async_wfile.write(data)
        await self.async_wfile.drain()

    async def do_GET(self) -> None:
        length: int = int(self.headers.get("Content-Length", 0))
        agent: str = self.headers.get("User-Agent", "none")
        fields: list[str] = self.headers.get_all("X", [])
        charset: str = self.headers.get_content_charset("utf-8")
        maybe: str | None = self.headers.get("X")
        self.send_json({"path": self.path, "all": [length, agent, fields, charset, maybe]})


ThreadingHTTPServer(("127.0.0.1", 8000), Handler).serve_forever()
ThreadingHTTPServer(("127.0.0.1", 8000), functools.partial(Handler)).serve_forever()
HTTPServer(("127.0.0.1", 0), Handler)
run(Handler)
"""

WRONG = """
from aiohttpd import BaseHTTPRequestHandler, BlockingHTTPRequestHandler


class Handler(BlockingHTTPRequestHandler):
    async def do_GET(self) -> None:
        await self.rfile.read()


class Other(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        len(self.rfile.read())
"""


def mypy(tmp_path: Path, cache: Path, code: str) -> str:
    (tmp_path / "program.py").write_text(code)
    done = checked(tmp_path, cache)
    return done.stdout + done.stderr


@pytest.mark.parametrize("code", [program_of("howto/migrate.md", "mixed.py"), TYPED], ids=["documented", "all"])
def test_types(tmp_path: Path, mypy_cache: Path, code: str) -> None:
    assert mypy(tmp_path, mypy_cache, code).startswith("Success")


def test_types_of_what_is_wrong(tmp_path: Path, mypy_cache: Path) -> None:
    """Each kind of method has its files, and a type checker says so."""
    found = mypy(tmp_path, mypy_cache, WRONG)
    assert 'program.py:7: error: Incompatible types in "await"' in found
    assert 'program.py:12: error: Argument 1 to "len"' in found
