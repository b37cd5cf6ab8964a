"""WSGI applications, and the command that serves them."""

import asyncio
import random
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast
from wsgiref.validate import validator

import httpx
import pytest

from aiohttpd import wsgi
from aiohttpd.testing import TestServer, exchange, running

from ..support.clients import LAST_CHUNK, connected, expect_logged, get, head
from ..support.commands import started
from ..support.threads import wait
from ..support.wire import finals

# WSGI.


class Content:
    """What an application returns, with a ``close``."""

    def __init__(self, parts: Iterable[Any], closed: list[str]) -> None:
        self._parts = iter(parts)
        self._closed = closed

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        part = next(self._parts)
        if isinstance(part, BaseException):
            raise part
        return part

    def close(self) -> None:
        self._closed.append("closed")


def checked(application: Any) -> Any:
    """An App of an application that is watched by the library's validator."""
    watched = validator(application)

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return watched(environ, start_response)

    return wsgi(call)


PLAIN = [("Content-Type", "text/plain")]


class TestWSGI:
    async def test_what_an_application_is_given(self) -> None:
        found: dict[str, Any] = {}

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            found.update(environ, body=environ["wsgi.input"].read(100))
            start_response("200 Fine", PLAIN)
            return [b"a", b"", b"bc"]

        fields = ("Content-Length: 3", "Content-Type: text/x", "Cookie: a=1", "Cookie: b=2", "X-Two: 1", "X-Two: 2",
                  "Proxy: evil", "X_Two: 3", "Authorization: secret")  # fmt: skip
        async with running(checked(application)) as server, connected(server) as client:
            await client.send(head("POST", "/a%20b/%C3%BC?q=%20", *fields), b"abc")
            answer = await client.answer()
            assert (answer.status, answer.reason, answer.body) == (200, "Fine", b"abc")
            port = server.server_port
        expected = {
            "REQUEST_METHOD": "POST",
            "SCRIPT_NAME": "",
            "PATH_INFO": "/a b/Ã¼",
            "QUERY_STRING": "q=%20",
            "CONTENT_LENGTH": "3",
            "CONTENT_TYPE": "text/x",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "HTTP_HOST": "localhost",
            "HTTP_COOKIE": "a=1; b=2",
            "HTTP_X_TWO": "1,2",
            "HTTP_AUTHORIZATION": "secret",
            "wsgi.url_scheme": "http",
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "body": b"abc",
        }
        assert {name: found.get(name) for name in expected} == expected
        assert not {"HTTP_PROXY", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(found)

    @pytest.mark.parametrize(
        ("host", "expected"),
        [
            ("example.org:8080", ("example.org", "8080")),
            ("example.org", ("example.org", "80")),
            ("[::1]:81", ("[::1]", "81")),
        ],
    )
    async def test_the_server_on_a_unix_socket(self, host: str, expected: tuple[str, str]) -> None:
        found: list[tuple[str, str]] = []

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            found.append((environ["SERVER_NAME"], environ["SERVER_PORT"]))
            start_response("200 OK", PLAIN)
            return []

        async with TestServer(checked(application), unix=True) as server:
            reader, writer = await asyncio.open_unix_connection(server.unix_path)
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
            writer.close()
        assert found == [expected]

    async def test_streaming(self) -> None:
        gate, closed = threading.Event(), []

        def application(environ: dict[str, Any], start_response: Any) -> Content:
            start_response("200 OK", PLAIN)

            def parts() -> Iterator[bytes]:
                yield b"first"
                wait(gate)
                yield b"second"

            return Content(parts(), closed)

        async with running(checked(application)) as server, connected(server) as client:
            await client.send(get())
            await client.reader.readuntil(b"5\r\nfirst")
            assert closed == []
            gate.set()
            assert (await client.reader.readuntil(LAST_CHUNK)).endswith(b"6\r\nsecond\r\n" + LAST_CHUNK)
            assert closed == ["closed"]

    async def test_write(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            write = start_response("200 OK", PLAIN)
            write(b"written, ")
            return [b"returned"]

        [answer] = finals(await exchange(checked(application), get()))
        assert (answer.body, answer["Content-Length"]) == (b"written, returned", "17")

    async def test_lengths_and_methods(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", [*PLAIN, ("Content-Length", "5")])
            return [b"hello"] if environ["REQUEST_METHOD"] != "HEAD" else []

        data = await exchange(checked(application), head("HEAD") + get())
        first, second = finals(data, ["HEAD", "GET"])
        assert (first["Content-Length"], second["Content-Length"], second.body) == ("5", "5", b"hello")

    async def test_an_error_page_in_place_of_the_answer(self) -> None:
        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            start_response("200 OK", PLAIN)
            try:
                raise LookupError("oh")
            except LookupError:
                start_response("500 Oh", PLAIN, sys.exc_info())
            return [b"sorry"]

        [answer] = finals(await exchange(checked(application), get()))
        assert (answer.status, answer.reason, answer.body) == (500, "Oh", b"sorry")

    async def test_an_error_after_content_has_left(self, caplog: pytest.LogCaptureFixture) -> None:
        closed: list[str] = []

        def application(environ: dict[str, Any], start_response: Any) -> Content:
            start_response("200 OK", PLAIN)

            def parts() -> Iterator[bytes]:
                yield bytes(100_000)
                yield bytes(100_000)  # which has the first one leave
                try:
                    raise LookupError("in the middle")
                except LookupError:
                    start_response("500 Oh", PLAIN, sys.exc_info())

            return Content(parts(), closed)

        async with running(wsgi(application)) as server, connected(server) as client:
            await client.send(get())
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.answer()
        assert closed == ["closed"]
        expect_logged(caplog, "in the middle")

    @pytest.mark.parametrize("where", ["call", "iteration", "no start_response", "twice", "status", "hop by hop"])
    async def test_errors(self, where: str, caplog: pytest.LogCaptureFixture) -> None:
        closed: list[str] = []

        def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/next":
                start_response("200 OK", PLAIN)
                return [b"next"]
            if where == "call":
                raise LookupError("oh")
            if where != "no start_response":
                fields = [("Connection", "close")] if where == "hop by hop" else PLAIN
                start_response("fine" if where == "status" else "200 OK", fields)
            if where == "twice":
                start_response("200 OK", PLAIN)
            return Content([LookupError("oh")] if where == "iteration" else [b"a"], closed)

        first, second = finals(await exchange(wsgi(application), get() + get("/next")))
        assert (first.status, second.body) == (500, b"next")
        text = {
            "call": "oh",
            "iteration": "oh",
            "no start_response": "has not called start_response()",
            "twice": "start_response() was called twice",
            "status": "'fine' is no status",
            "hop by hop": "Connection is for the server to send",
        }
        expect_logged(caplog, text[where])
        assert closed == (["closed"] if where in ("iteration", "no start_response") else [])

    async def test_files(self, tmp_path: Path) -> None:
        content = random.Random(4).randbytes(200_000)
        (tmp_path / "file").write_bytes(content)

        def application(environ: dict[str, Any], start_response: Any) -> Any:
            start_response("200 OK", PLAIN)
            return environ["wsgi.file_wrapper"](open(tmp_path / "file", "rb"), 10_000)

        [answer] = finals(await exchange(wsgi(application), get()))
        assert answer.body == content

    def test_what_is_no_application(self) -> None:
        with pytest.raises(TypeError, match="is no WSGI application"):
            wsgi(cast(Any, 3))


APPLICATION = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["PATH_INFO"].encode(), environ["wsgi.input"].read()]
"""

OLD = """
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{self.path} {type(self.server).__name__}".encode())
"""


class TestCommand:
    def test_wsgi(self, tmp_path: Path) -> None:
        (tmp_path / "site.py").write_text(APPLICATION)
        with started(tmp_path, "serve", "site.py:app", "--wsgi", "-p", "0") as served:
            [url] = [word for word in served.first.split() if word.startswith("http")]
            assert httpx.post(url + "a", content=b"body").text == "/abody"
            assert '"POST /a HTTP/1.1" 200 6\n' in served.stop()

    def test_wsgi_in_several_processes(self, tmp_path: Path) -> None:
        """Debuggers and caches of frameworks want to know it."""
        (tmp_path / "site.py").write_text(APPLICATION.replace('"PATH_INFO"].encode()', '"wsgi.multiprocess"] * b"yes"'))
        with started(tmp_path, "serve", "site.py:app", "--wsgi", "-p", "0", "-w", "2") as served:
            [url] = [word for word in served.first.split() if word.startswith("http")]
            assert httpx.get(url).text == "yes"

    def test_a_handler_of_http_server(self, tmp_path: Path) -> None:
        (tmp_path / "old.py").write_text(OLD)
        with started(tmp_path, "serve", "old.py:Handler", "-p", "0") as served:
            [url] = [word for word in served.first.split() if word.startswith("http")]
            assert httpx.get(url + "a").text == "/a HTTPServer"
            assert '"GET /a HTTP/1.1" 200 ' in served.stop()
