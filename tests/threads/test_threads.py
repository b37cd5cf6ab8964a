"""Plain methods of handlers, in worker threads: what they may do, slow peers, and how they end."""

import asyncio
import contextvars
import json
import logging
import threading
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, ClientDisconnected, ContractError, HTTPError, wsgi
from aiohttpd.testing import exchange, running
from aiohttpd.threads import outbox
from aiohttpd.threads.call import _SWEEP

from ..support.clients import LAST_CHUNK, MIB, connected, expect_logged, get, head, post
from ..support.threads import busy, threads_of, wait
from ..support.waiting import BOUND, until
from ..support.wire import finals

# Plain methods.


class Helpers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        getattr(self, "get_" + self.request.path[1:])()

    def get_text(self) -> None:
        self.send_text(f"text {threading.current_thread() is threading.main_thread()}")

    def get_html(self) -> None:
        self.send_html("<p>ü")

    def get_json(self) -> None:
        self.set_cookie("a", "b")
        self.add_header("X-More", "1")
        self.send_json({"query": self.query.get("q"), "cookies": self.cookies})

    def get_redirect(self) -> None:
        self.redirect("/elsewhere?ä")

    def get_head(self) -> None:
        self.send_response_only(103)
        self.send_header("Link", "</a>; rel=preload")
        self.end_headers()
        self.send_response(201, "Made")
        self.send_header("Content-Length", 4)
        self.end_headers()
        self.flush_headers()
        self.wfile.write(b"made")

    def get_close(self) -> None:
        self.close_connection = True
        self.send_text("bye")

    def get_error(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"not sent")
        self.send_error(409, "No", "Not so")

    def get_raises(self) -> None:
        self.send_response(200)
        raise HTTPError(418, None, "short", headers=[("X-Pot", "tea")])

    def get_late(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"sent")
        self.wfile.flush()
        with pytest.raises(ContractError):
            self.send_error(500)

    def get_wrong(self) -> None:
        self.send_response(200)
        with pytest.raises(ContractError, match="twice"):
            self.send_response(200)
        with pytest.raises(ContractError, match="before the head"):
            self.wfile.write(b"early")
        with pytest.raises(ValueError, match="X-Bad"):
            self.send_header("X-Bad", "a\r\nb: c")
        self.end_headers()
        with pytest.raises(TypeError, match="encode"):
            self.wfile.write("text")  # type: ignore[arg-type]
        self.wfile.write(b"right")


async def test_helpers() -> None:
    paths = ["text", "html", "json?q=1", "redirect", "head", "error", "raises", "late", "wrong", "close"]
    data = await exchange(Helpers, b"".join(get("/" + path, "Cookie: c=d") for path in paths))
    answers = dict(zip(paths, finals(data), strict=True))
    assert [answer.status for answer in answers.values()] == [200, 200, 200, 302, 201, 409, 418, 200, 200, 200]
    assert answers["text"].body == b"text False"
    assert (answers["html"].body, answers["html"]["Content-Type"]) == ("<p>ü".encode(), "text/html; charset=utf-8")
    assert json.loads(answers["json?q=1"].body) == {"query": "1", "cookies": {"c": "d"}}
    assert answers["json?q=1"]["Set-Cookie"] == "a=b; Path=/; HttpOnly; SameSite=Lax"
    assert answers["json?q=1"]["X-More"] == "1"
    assert answers["redirect"]["Location"] == "/elsewhere?%C3%A4"
    assert b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 201 Made\r\n" in data
    assert answers["head"].body == b"made"
    assert b"Not so" in answers["error"].body
    assert b"not sent" not in data
    assert (answers["raises"]["X-Pot"], b"short" in answers["raises"].body) == ("tea", True)
    assert (answers["late"].body, answers["wrong"].body) == (b"sent", b"right")
    assert (answers["close"].body, answers["close"]["Connection"]) == (b"bye", "close")


async def test_head_by_get() -> None:
    [to_get] = finals(await exchange(Helpers, get("/text")))
    data = await exchange(Helpers, head("HEAD", "/text") + get("/html"))
    to_head, following = finals(data, ["HEAD", "GET"])
    assert (to_head.status, to_head.body) == (200, b"")
    assert to_head["Content-Length"] == to_get["Content-Length"] == "10"
    assert following.status == 200


async def test_an_error_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            raise LookupError("oh")

        def do_PUT(self) -> None:
            raise SystemExit(3)

        def do_DELETE(self) -> None:
            raise StopIteration("oh")

    for method, text in (("GET", "oh"), ("PUT", "3"), ("DELETE", "StopIteration")):
        first, second = finals(await exchange(Handler, head(method) + head("OTHER")))
        assert (first.status, second.status) == (500, 501)
        expect_logged(caplog, text)


async def test_a_hidden_coroutine(caplog: pytest.LogCaptureFixture) -> None:
    def decorated(method: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        return lambda self: method(self)

    class Handler(BaseHTTPRequestHandler):
        @decorated
        async def do_GET(self) -> None:
            self.send_text("never")

    [answer] = finals(await exchange(Handler, get()))
    assert answer.status == 500
    assert b"never" not in answer.body
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ContractError)
    expect_logged(caplog, "do_GET is a plain function that returns an awaitable: write 'async def'")


async def test_asynchronous_and_plain_methods_together() -> None:
    main = threading.get_ident()

    class Handler(BaseHTTPRequestHandler):
        async def setup(self) -> None:
            self.events = ["setup", threading.get_ident() == main]

        def do_GET(self) -> None:
            self.send_text(f"{[*self.events, 'plain', threading.get_ident() == main]}")

        async def do_POST(self) -> None:
            content = await self.rfile.read()
            self.send_text(f"{[*self.events, content, threading.get_ident() == main]}")

        def __getattr__(self, name: str) -> Any:
            if name == "do_OTHER":
                return lambda: self.send_text("by __getattr__")
            raise AttributeError(name)

    requests = get() + post(2) + b"ab" + get() + head("OTHER")
    bodies = [answer.body.decode() for answer in finals(await exchange(Handler, requests))]
    plain, coroutine = "['setup', True, 'plain', False]", "['setup', True, b'ab', True]"
    assert bodies == [plain, coroutine, plain, "by __getattr__"]


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")


async def test_context_variables() -> None:
    class Handler(BaseHTTPRequestHandler):
        async def setup(self) -> None:
            self.found = variable.get()
            variable.set(self.path)

        def do_GET(self) -> None:
            self.found += " " + variable.get()
            variable.set("in the thread")
            self.send_text(self.found)

    bodies = [answer.body for answer in finals(await exchange(Handler, get("/a") + get("/b")))]
    assert bodies == [b"none /a", b"none /b"]


async def test_server_and_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "aiohttpd.access")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.log_message("said by %s", "a thread")
            self.send_text(f"{self.server.greeting} {self.client_address[0]} {self.connection.getsockname()[1]}")

    async with running(Handler) as server, connected(server) as client:
        server.greeting = "hello"  # type: ignore[attr-defined]
        assert (await client.ask()).body.decode() == f"hello 127.0.0.1 {server.server_port}"
        await until(lambda: "said by a thread" in caplog.text, BOUND)


class Streams(BaseHTTPRequestHandler):
    """Writes without flush(), and goes on when it is told to."""

    gate: threading.Event

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for part in (b"one", b"two"):
            self.wfile.write(part)
            wait(self.server.gate)
            self.server.gate.clear()


async def test_what_is_not_flushed_arrives() -> None:
    async with running(Streams) as server, connected(server) as client:
        server.gate = threading.Event()  # type: ignore[attr-defined]
        await client.send(get())
        for part in (b"one", b"two"):
            assert (await client.reader.readuntil(part)).endswith(b"3\r\n" + part)
            server.gate.set()  # type: ignore[attr-defined]
        assert await client.reader.readuntil(LAST_CHUNK) == b"\r\n" + LAST_CHUNK


async def test_what_is_not_flushed_arrives_after_somebody_has_gone() -> None:
    """FAULT: a nudge raises in Threads._sweep once its client has gone, which ends the sweeps for all others."""
    gate, written = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    class Handler(Streams):
        def do_PUT(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(bytes(20 * MIB))
            self.wfile.write(b"more")
            loop.call_soon_threadsafe(written.set)
            wait(gate)

    async with running(Handler) as server, connected(server) as client, connected(server, small=True) as other:
        server.gate = threading.Event()  # type: ignore[attr-defined]
        await client.send(get())
        await client.reader.readuntil(b"one")
        await other.send(head("PUT"))
        await written.wait()
        other.reset()
        await until(lambda: len(server.connections) == 1, BOUND)
        await until(lambda: not any(box.waiting for box in threads_of(server)._outboxes), BOUND)
        await asyncio.sleep(10 * _SWEEP)  # several of what leaves no trace
        server.gate.set()  # type: ignore[attr-defined]
        try:
            async with asyncio.timeout(3):
                await client.reader.readuntil(b"two")
        finally:
            server.gate.set()  # type: ignore[attr-defined]
            gate.set()


async def test_content_that_is_replaced_before_it_leaves() -> None:
    """FAULT: a nudge between restart() and send_head() raises in Threads._sweep: flush() before the head."""
    gate = threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/other":
            start_response("200 OK", [])(b"other")
            wait(gate)
            return []
        write = start_response("200 OK", [])
        write(b"forgotten")
        start_response("500 Oh", [], exc_info=(LookupError, LookupError(), None))
        try:
            wait(gate)  # it takes a while to make the page
        finally:
            gate.clear()
        return [b"page"]

    async with running(wsgi(application)) as server, connected(server) as client, connected(server) as other:
        await client.send(get())
        await other.send(get("/other"))
        try:
            async with asyncio.timeout(3):
                await other.reader.readuntil(b"other")
        finally:
            gate.set()
        answer = await client.answer()
        assert (answer.status, answer.reason, answer.body) == (500, "Oh", b"page")
        gate.set()


async def test_expect_100() -> None:
    class Handler(BaseHTTPRequestHandler):
        def handle_expect_100(self) -> bool:
            if self.path == "/refused":
                self.send_error(417)
            return self.path != "/refused"

        def do_POST(self) -> None:
            self.send_text(str(len(self.rfile.read())))

    async with running(Handler) as server, connected(server) as client:
        await client.send(post(3, "Expect: 100-continue"))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send(b"abc")
        assert (await client.answer()).body == b"3"
        await client.send(head("POST", "/refused", "Content-Length: 3", "Expect: 100-continue"))
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (417, "close")


async def test_more_requests_than_threads() -> None:
    gate = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wait(gate)
            self.send_text(self.path)

        async def do_PUT(self) -> None:
            self.send_text("asynchronous")

    async with running(Handler, worker_threads=2, limit_queue=2) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server)) for _ in range(5)]
        for number, client in enumerate(clients[:4], 1):
            await client.send(get(f"/{number}"))
            await until(lambda number=number: server.in_flight == number, BOUND)
        refused = await clients[4].ask("/5")
        assert (refused.status, refused["Retry-After"]) == (503, "1")
        await clients[4].send(head("PUT"))
        assert (await clients[4].answer()).body == b"asynchronous"
        gate.set()
        assert [(await client.answer()).body for client in clients[:4]] == [b"/1", b"/2", b"/3", b"/4"]
        assert (await clients[4].ask("/5")).body == b"/5"


async def test_a_thread_that_is_left_behind(caplog: pytest.LogCaptureFixture) -> None:
    begun, gate, errors = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            loop.call_soon_threadsafe(begun.set)
            wait(gate)
            try:
                self.send_text("late")
            except ClientDisconnected as error:
                errors.append(error)

    async with running(Handler, timeout_grace=0.1) as server, connected(server) as client:
        workers = threads_of(server).pool
        await client.send(get("/for/ever"))
        await begun.wait()
        async with asyncio.timeout(BOUND):
            await server.shutdown()
        [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert record.getMessage() == "'GET /for/ever HTTP/1.1' is cancelled: it has not ended within 0.1 s"
        caplog.clear()
        assert b"late" not in await client.rest()
    gate.set()
    await asyncio.to_thread(workers.join, BOUND)
    assert len(errors) == 1


async def test_a_client_that_has_gone() -> None:
    """The thread learns of it when it writes, and nobody is told anything."""
    begun, gate, errors = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            loop.call_soon_threadsafe(begun.set)
            wait(gate)
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1000))
            except ConnectionError as error:
                errors.append(type(error))
                raise

    async with running(Handler) as server, connected(server) as client:
        await client.send(get())
        await begun.wait()
        client.reset()
        await until(lambda: not server.connections, BOUND)
        gate.set()
        await until(lambda: not server.in_flight, BOUND)
    assert errors == [ClientDisconnected]


async def test_a_request_that_has_not_begun_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    """FAULT: it begins once a thread is free, after it has been answered by 503 and called one that does not end."""
    called: list[str] = []
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            called.append(self.path)
            loop.call_soon_threadsafe(begun.set)
            wait(gate)

    async with (
        running(Handler, timeout_grace=0.1, worker_threads=1) as server,
        connected(server) as client,
        connected(server) as other,
    ):
        workers = threads_of(server).pool
        await client.send(get("/first"))
        await begun.wait()
        await other.send(get("/second"))
        await until(lambda: server.in_flight == 2, BOUND)
        async with asyncio.timeout(BOUND):
            await server.shutdown()
        assert (await other.answer()).status == 503
    gate.set()
    await asyncio.to_thread(workers.join, BOUND)
    left = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    caplog.clear()
    assert called == ["/first"]
    end = "is cancelled: it has not ended within 0.1 s"
    assert sorted(left) == [f"'GET /first HTTP/1.1' {end}", f"'GET /second HTTP/1.1' {end}"]


# Slow peers cost no threads.


class Large(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_text("hello" if self.path == "/" else "x" * int(self.path[1:]))

    def do_POST(self) -> None:
        self.send_text(str(len(self.rfile.read())))


async def test_readers_that_are_slow() -> None:
    size = 8 * MIB
    async with (
        running(Large, worker_threads=8) as server,
        AsyncExitStack() as stack,
        connected(server) as client,
    ):
        slow = [await stack.enter_async_context(connected(server, small=True)) for _ in range(20)]
        for other in slow:
            await other.send(get(f"/{size}"))
        heads = [await other.reader.readuntil(b"\r\n\r\n") for other in slow]
        assert all(b" 200 " in head for head in heads)
        workers = threads_of(server).pool
        await until(lambda: not busy(workers), BOUND)
        assert sum(connection.out.unsent > 0 for connection in server.connections) == 20
        assert (await client.ask()).body == b"hello"
        for other in slow[:2]:
            assert len(await other.reader.readexactly(size)) == size


async def test_a_hundred_readers_that_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "_MEMORY", 64 * 1024)
    size = 5 * MIB  # more than the buffers of a socket

    class Handler(Large):
        def do_PUT(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", size)
            self.end_headers()
            for _ in range(size // 65_536):
                self.wfile.write(bytes(65_536))

    async with (
        running(Handler, worker_threads=16) as server,
        AsyncExitStack() as stack,
        connected(server) as client,
    ):
        slow = [await stack.enter_async_context(connected(server, small=True)) for _ in range(100)]
        for other in slow:
            await other.send(head("PUT"))
        for other in slow:
            assert await other.reader.read(100)
        workers = threads_of(server).pool
        await until(lambda: not busy(workers) and not workers.waiting, BOUND)
        assert (await client.ask()).body == b"hello"
        assert server.in_flight > 90
        await until(lambda: not busy(workers), BOUND)


async def test_senders_that_are_slow() -> None:
    async with (
        running(Large, worker_threads=2, limit_queue=1) as server,
        AsyncExitStack() as stack,
        connected(server) as client,
    ):
        slow = [await stack.enter_async_context(connected(server)) for _ in range(300)]
        for number, other in enumerate(slow):
            if number % 3 == 0:
                await other.send(get()[:-2])
            elif number % 3 == 1:
                await other.send(post(1000), bytes(999))
            else:
                assert (await other.ask()).body == b"hello"
        await until(lambda: server.in_flight == 100, BOUND)
        workers = threads_of(server).pool
        await until(lambda: not busy(workers), BOUND)
        assert (await client.ask()).body == b"hello"
        for number, other in enumerate(slow[:30]):
            if number % 3 == 0:
                await other.send(b"\r\n")
                assert (await other.answer()).body == b"hello"
            elif number % 3 == 1:
                await other.send(b"x")
                assert (await other.answer()).body == b"1000"
        assert len(workers) <= 2
