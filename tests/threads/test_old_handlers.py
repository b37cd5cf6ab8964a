"""Handlers of ``http.server``, unmodified, on our engine: what they find is what they know."""

import functools
import http.client
import http.server
import threading
from typing import Any

import pytest

from aiohttpd import blocking
from aiohttpd.testing import exchange, running

from ..support.clients import MIB, chunk, connected, ended, get, head, post
from ..support.old_handlers import Old
from ..support.wire import finals

# What is the same as under http.server.


async def test_what_a_handler_finds() -> None:
    found: dict[str, Any] = {}

    class Handler(Old):
        def do_GET(self) -> None:
            found.update(vars(self), ident=threading.get_ident(), type=type(self))
            super().do_GET()

    async with running(Handler) as server, connected(server) as client:
        assert (await client.ask("//a?b")).body == b"/a?b"
        await client.send(get("/a?b", "X-Two: 1", "X-Two: 2"))
        answer = await client.answer()
        assert (answer.body, answer["Server"]) == (b"/a?b", Handler.version_string(Handler))  # type: ignore[arg-type]
        assert found["server"] is server
        port = client.writer.get_extra_info("sockname")[1]
    assert (found["command"], found["path"], found["request_version"]) == ("GET", "/a?b", "HTTP/1.1")
    assert (found["requestline"], found["raw_requestline"]) == ("GET /a?b HTTP/1.1", b"GET /a?b HTTP/1.1\r\n")
    assert type(found["headers"]) is http.client.HTTPMessage
    assert found["headers"].get_all("x-two") == ["1", "2"]
    assert (found["client_address"], found["type"]) == (("127.0.0.1", port), Handler)
    assert found["ident"] != threading.get_ident()


async def test_a_coroutine_that_nobody_awaits(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(Old):
        async def do_GET(self) -> None:  # type: ignore[override]
            raise AssertionError("there is no loop")

    assert finals(await exchange(Handler, get()))[0].status == 500
    assert "Handler.do_GET is 'async def' in a handler class of http.server" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("kind", ["class", "partial", "lambda"])
async def test_factories(kind: str) -> None:
    class Handler(Old):
        def __init__(self, *arguments: Any, word: str = "none") -> None:
            self.word = word
            super().__init__(*arguments)

        def do_GET(self) -> None:
            self.answer(self.word.encode())

    app: Any = {
        "class": Handler,
        "partial": functools.partial(Handler, word="word"),
        "lambda": blocking(lambda *arguments: Handler(*arguments, word="word")),
    }[kind]
    bodies = [answer.body for answer in finals(await exchange(app, get() + get()))]
    assert bodies == 2 * [b"none" if kind == "class" else b"word"]


async def test_a_folder(tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_text("a" * 100_000)
    (tmp_path / "sub").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

    app: Any = functools.partial(Handler, directory=str(tmp_path))
    requests = get("/a.txt") + head("HEAD", "/a.txt") + get("/sub") + get("/none") + get("/")
    data = await exchange(app, requests)
    answers = finals(data, ["GET", "HEAD"])
    assert [answer.status for answer in answers] == [200, 200, 301, 404]  # send_error() closes
    assert answers[0].body == b"a" * 100_000
    assert answers[1]["Content-Length"] == "100000"


async def test_the_version_of_http_server_closes() -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"content")

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(get() + get("/next"))
        data = await client.rest()
        assert data.startswith(b"HTTP/1.0 200 OK\r\n")
        assert data.endswith(b"\r\n\r\ncontent")


async def test_keep_alive() -> None:
    async with running(Old) as server, connected(server) as client:  # type: ignore[arg-type]
        for number in range(3):
            answer = await client.ask(f"/{number}")
            assert (answer.body, answer["Connection"]) == (f"/{number}".encode(), None)
            await client.send(post(3), b"abc")
            assert (await client.answer()).body == b"abc"
        await client.send(get("/last", "Connection: close"))
        assert (await client.answer()).body == b"/last"
        assert await client.rest() == b""


async def test_pipelined_requests() -> None:
    paths = [f"/{number}" for number in range(40)]
    async with running(Old) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(*[get(path) + post(2) + b"ab" for path in paths])
        for path in paths:
            assert [(await client.answer()).body for _ in range(2)] == [path.encode(), b"ab"]


async def test_bodies() -> None:
    class Handler(Old):
        def do_PUT(self) -> None:
            length = int(self.headers["Content-Length"])
            first = self.rfile.read(length // 2)
            self.answer(f"{len(first)} {len(self.rfile.read(length))} {self.rfile.read(10)!r}".encode())  # past its end

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        for size in (0, 1, MIB, 3 * MIB):
            await client.send(head("PUT", "/", f"Content-Length: {size}"), bytes(size))
            assert (await client.answer()).body.decode() == f"{size // 2} {size - size // 2} b''"


async def test_chunks_are_passed_on() -> None:
    class Handler(Old):
        def do_PUT(self) -> None:
            content, trailers = b"", b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                assert self.rfile.readline() == b"\r\n"
            while (line := self.rfile.readline()) != b"\r\n":
                trailers += line
            self.answer(b"%b|%b|%b" % (content, trailers, self.rfile.read()))

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        begin = head("PUT", "/", "Transfer-Encoding: chunked")
        await client.send(begin, chunk(b"hello "), chunk(b"world"), b"0\r\nSum: 42\r\n\r\n", get("/next"))
        assert (await client.answer()).body == b"hello world|Sum: 42\r\n|"
        assert (await client.answer()).body == b"/next"
        await client.send(begin, b"5\r\nhellO\r\nx\r\n")
        assert (await client.answer()).status == 400
        assert await ended(client)


@pytest.mark.parametrize("kind", ["as it is", "by super", "own", "nothing"])
async def test_expect_100(kind: str) -> None:
    class Handler(Old):
        pass

    def handle_expect_100(self: Any) -> bool:
        if kind == "own":
            self.wfile.write(b"HTTP/1.1 100 Go on\r\n\r\n")
        elif kind == "by super":
            return bool(Old.handle_expect_100(self))
        return True

    if kind != "as it is":
        Handler.handle_expect_100 = handle_expect_100  # type: ignore[method-assign]
    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        for _ in range(2):
            await client.send(post(3, "Expect: 100-continue"))
            interim = await client.reader.readuntil(b"\r\n\r\n")
            assert interim in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Go on\r\n\r\n")
            await client.send(b"abc")
            assert (await client.answer()).body == b"abc"


async def test_expect_100_refused() -> None:
    class Handler(Old):
        def handle_expect_100(self) -> bool:
            self.send_error(417)
            return False

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(post(3, "Expect: 100-continue"))
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (417, "close")
        assert await ended(client)
