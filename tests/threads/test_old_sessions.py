"""Handlers of ``http.server`` that see connections, or do harm: nobody else is touched, and nothing is left."""

import asyncio
import functools
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiohttpd.testing import exchange, running

from ..support.clients import connected, ended, expect_logged, get, head, post
from ..support.old_handlers import Old, loud
from ..support.threads import busy, threads_of, wait
from ..support.waiting import BOUND, until
from ..support.wire import finals


@asynccontextmanager
async def others_served(app: Any, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """A server and a client of it, and at the end another client is answered."""
    async with running(app, **options) as server, connected(server) as client:
        yield server, client
        async with connected(server) as other:
            assert (await other.ask("/next")).body in (b"next", b"/next")


# A connection and its handler.


def on_connections(loop: asyncio.AbstractEventLoop) -> Any:
    """A class that sees connections: it counts its requests, and says when it comes to its end."""

    class Handler(Old):
        instances: list[Any] = []
        finished = asyncio.Event()

        def setup(self) -> None:
            super().setup()
            self.count = 0
            self.instances.append(self)

        def handle(self) -> None:
            super().handle()

        def do_GET(self) -> None:
            self.count += 1
            self.answer(f"{self.count} {self.path}".encode())

        def do_POST(self) -> None:
            self.count += 1
            super().do_POST()

        def finish(self) -> None:
            super().finish()
            loop.call_soon_threadsafe(self.finished.set)

    return Handler


async def nothing_left(server: Any) -> None:
    """All threads are idle, and nothing is kept of what they did."""
    threads = threads_of(server)
    await until(lambda: not busy(threads.pool), BOUND)
    await until(lambda: not threads._outboxes, BOUND / 5)


class TestSession:
    async def test_one_instance(self) -> None:
        handler = on_connections(asyncio.get_running_loop())
        async with running(handler) as server, connected(server) as client, connected(server) as other:
            for number in range(1, 4):
                assert (await client.ask("/a")).body == f"{number} /a".encode()
            assert (await other.ask("/b")).body == b"1 /b"
            await client.send(post(3), b"abc", get("/c"), get("/d"))
            assert [(await client.answer()).body for _ in range(3)] == [b"abc", b"5 /c", b"6 /d"]
            assert len(handler.instances) == 2

    async def test_a_client_that_closes_while_it_is_idle(self) -> None:
        handler = on_connections(asyncio.get_running_loop())
        async with running(handler) as server:
            async with connected(server) as client:
                assert (await client.ask()).body == b"1 /"
                assert not handler.finished.is_set()
            await handler.finished.wait()
            await nothing_left(server)

    async def test_a_client_that_says_close(self) -> None:
        handler = on_connections(asyncio.get_running_loop())
        async with running(handler) as server, connected(server) as client:
            await client.send(get("/", "Connection: close"))
            assert (await client.answer()).body == b"1 /"
            assert await client.rest() == b""
            await handler.finished.wait()
            await nothing_left(server)

    async def test_a_client_that_closes_its_side_within_a_request(self) -> None:
        """FAULT: nobody calls Threads.end(), so the outbox is swept for ever."""
        loop = asyncio.get_running_loop()
        begun, gate, answered = asyncio.Event(), threading.Event(), threading.Event()

        class Handler(on_connections(loop)):  # type: ignore[misc]
            def do_GET(self) -> None:
                loop.call_soon_threadsafe(begun.set)
                wait(gate)
                super().do_GET()

            def finish(self) -> None:
                wait(answered)
                super().finish()

        async with running(Handler) as server, connected(server) as client:
            await client.send(get())
            await begun.wait()
            client.send_eof()
            await until(lambda: all(connection.eof for connection in server.connections), BOUND)
            gate.set()
            assert (await client.answer()).body == b"1 /"
            assert await client.rest() == b""
            answered.set()
            await Handler.finished.wait()
            await nothing_left(server)

    async def test_pipelined_requests_and_an_end(self) -> None:
        """FAULT: the end reaches the handler before the second request does."""
        for _ in range(20):
            handler = on_connections(asyncio.get_running_loop())
            answers = finals(await exchange(handler, get("/a") + get("/b") + get("/c")))
            assert [answer.body for answer in answers] == [b"1 /a", b"2 /b", b"3 /c"]

    @pytest.mark.parametrize("first", ["the handler", "the connection"])
    async def test_an_answer_and_the_connection_end_in_one_turn(self, first: str) -> None:
        """FAULT: two tasks waited for the same thread, which wakes one; the request of the other never ended."""
        loop = asyncio.get_running_loop()
        begun, gate, over = asyncio.Event(), threading.Event(), threading.Event()

        class Handler(on_connections(loop)):  # type: ignore[misc]
            def do_GET(self) -> None:
                loop.call_soon_threadsafe(begun.set)
                wait(gate)
                super().do_GET()

        async with running(Handler) as server, connected(server) as client:
            await client.send(get())
            await begun.wait()
            (outbox,), (connection,) = threads_of(server)._outboxes, server.connections

            def end_both() -> None:
                ends = [functools.partial(type(outbox).rest, outbox), connection.abort]
                for end in ends if first == "the handler" else reversed(ends):
                    end()
                over.set()

            outbox.rest = lambda: (loop.call_soon_threadsafe(end_both), wait(over))
            gate.set()
            await nothing_left(server)
            await until(lambda: not server.in_flight, BOUND / 5)

    async def test_a_server_that_stops(self) -> None:
        handler = on_connections(asyncio.get_running_loop())
        async with running(handler) as server, connected(server) as client:
            await client.ask()
            workers = threads_of(server).pool
        await handler.finished.wait()
        await asyncio.to_thread(workers.join, BOUND)
        assert not len(workers)

    @pytest.mark.parametrize("method", ["parse_request", "handle_one_request", "handle", "setup", "finish"])
    async def test_overrides(self, method: str) -> None:
        """FAULT: with setup() or finish() alone, served() makes one that handles one request, and it closes."""
        calls: list[Any] = []

        def override(self: Any) -> Any:
            calls.append(self)
            return getattr(Old, method)(self)

        async with running(type("Handler", (Old,), {method: override})) as server:  # type: ignore[arg-type]
            async with connected(server) as client:
                for path in ("/a", "/b"):
                    assert (await client.ask(path)).body == path.encode()
                await client.send(post(2), b"ab")
                assert (await client.answer()).body == b"ab"
            await nothing_left(server)
        assert all(call is calls[0] for call in calls)
        # handle_one_request() is called once more, to find the end.
        assert len(calls) == {"handle_one_request": 4, "parse_request": 3}.get(method, 1)

    async def test_a_handler_that_serves_one_request(self) -> None:
        class Handler(Old):
            def handle(self) -> None:
                self.handle_one_request()

        async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
            assert (await client.ask()).body == b"/"
            assert await client.rest() == b""
            await nothing_left(server)

    async def test_errors(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(on_connections(asyncio.get_running_loop())):  # type: ignore[misc]
            def do_GET(self) -> None:
                if self.path == "/raise":
                    raise LookupError("oh")
                super().do_GET()

        async with running(Handler) as server, connected(server) as client, connected(server) as other:
            assert (await client.ask()).body == b"1 /"
            assert (await client.ask("/raise")).status == 500
            expect_logged(caplog, "oh")
            assert (await other.ask()).body == b"1 /"
            await Handler.finished.wait()

    async def test_an_error_at_the_end(self, caplog: pytest.LogCaptureFixture) -> None:
        """FAULT: socketserver would report it; here nobody looks at what the thread has raised."""

        class Handler(on_connections(asyncio.get_running_loop())):  # type: ignore[misc]
            def finish(self) -> None:
                super().finish()
                raise LookupError("at the end")

        async with running(Handler) as server:
            async with connected(server) as client:
                await client.ask()
            await Handler.finished.wait()
            await nothing_left(server)
        expect_logged(caplog, "at the end")

    async def test_content_past_the_body(self, caplog: pytest.LogCaptureFixture) -> None:
        """It gets what there is, or is told; it does not wait for ever."""
        handler = on_connections(asyncio.get_running_loop())
        handler.do_PUT = lambda self: self.answer(self.rfile.read(100))
        async with running(handler) as server, connected(server) as client, connected(server) as other:
            await client.send(head("PUT", "/", "Content-Length: 3"), b"abc")
            answer = await client.answer()
            if answer.status == 500:
                assert loud(caplog) == ["the handler returned without an answer: no send_response() and end_headers()"]
            else:
                assert answer.body == b"abc"
            assert (await other.ask()).body == b"1 /"


# Nobody else is harmed.


class Harmful(Old):
    gate: threading.Event
    begun: Callable[[], object]

    def do_GET(self) -> None:
        getattr(self, "get_" + self.path[1:])()

    def get_next(self) -> None:
        self.answer(b"next")

    def get_blocks(self) -> None:
        self.begun()
        wait(self.gate)
        self.answer(b"late")

    def get_raises(self) -> None:
        raise LookupError("oh")

    def get_raises_later(self) -> None:
        self.answer(b"content")
        raise LookupError("oh")

    def get_exits(self) -> None:
        raise SystemExit("exit")

    def get_writes(self) -> None:
        self.begun()
        wait(self.gate)
        while True:
            self.wfile.write(bytes(100_000))


def harmful() -> Any:
    loop = asyncio.get_running_loop()
    begun = asyncio.Event()

    class Handler(Harmful):
        pass

    Handler.gate = threading.Event()
    Handler.began = begun  # type: ignore[attr-defined]
    Handler.begun = lambda self: loop.call_soon_threadsafe(begun.set)  # type: ignore[misc, assignment]
    return Handler


@pytest.mark.parametrize("path", ["/raises", "/exits"])
async def test_errors_are_reported_once(path: str, caplog: pytest.LogCaptureFixture) -> None:
    async with others_served(harmful()) as (_, client):
        assert (await client.ask(path)).status == 500
        assert (await client.ask("/next")).body == b"next"
    expect_logged(caplog, "exit" if path == "/exits" else "oh")


async def test_an_error_after_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with others_served(harmful()) as (server, client):
        await client.send(get("/raises_later"))
        assert (await client.answer()).body == b"content"
        await until(lambda: not server.in_flight, BOUND)
    expect_logged(caplog, "oh")


async def test_writing_after_the_client_has_gone() -> None:
    handler = harmful()
    async with others_served(handler) as (server, client):
        await client.send(get("/writes"))
        await handler.began.wait()
        client.reset()
        await until(lambda: not server.connections, BOUND)
        handler.gate.set()
        await until(lambda: not server.in_flight, BOUND)
        await nothing_left(server)


async def test_blocking_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    handler = harmful()
    async with running(handler, timeout_grace=0.1) as server, connected(server) as client, connected(server) as other:
        await client.send(get("/blocks"))
        await handler.began.wait()
        assert (await other.ask("/next")).body == b"next"
        async with asyncio.timeout(BOUND):
            await server.shutdown()
        workers = threads_of(server).pool
        assert loud(caplog) == ["'GET /blocks HTTP/1.1' is cancelled: it has not ended within 0.1 s"]
    handler.gate.set()
    await asyncio.to_thread(workers.join, BOUND)


async def test_a_session_that_blocks_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    class Handler(harmful()):  # type: ignore[misc]
        def setup(self) -> None:
            super().setup()

    async with running(Handler, timeout_grace=0.1) as server, connected(server) as client:
        await client.send(get("/next"), get("/blocks"))
        assert (await client.answer()).body == b"next"
        await Handler.began.wait()
        async with asyncio.timeout(BOUND):
            await server.shutdown()
        workers = threads_of(server).pool
        assert loud(caplog) == ["'GET /blocks HTTP/1.1' is cancelled: it has not ended within 0.1 s"]
    Handler.gate.set()
    await asyncio.to_thread(workers.join, BOUND)


async def test_a_timeout_of_the_class() -> None:
    class Handler(Old):
        timeout = 0.2

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        assert (await client.ask()).body == b"/"
        await client.send(post(10), b"abc")
        assert (await client.answer()).status == 408
        assert await ended(client)


# Sockets.


async def test_a_socket_that_is_taken_over() -> None:
    class Handler(Old):
        def do_CONNECT(self) -> None:
            self.send_response(200)
            self.end_headers()
            sock = self.connection
            assert isinstance(sock.fileno(), int)
            while data := sock.recv(1000):
                sock.sendall(data.upper())

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        await client.send(b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", b"early ")
        await client.reader.readuntil(b"\r\n\r\n")
        assert await client.reader.readexactly(6) == b"EARLY "
        await client.send(b"late")
        assert await client.reader.readexactly(4) == b"LATE"
        client.send_eof()
        assert await client.rest() == b""
        await nothing_left(server)


async def test_what_a_socket_is_asked() -> None:
    class Handler(Old):
        def do_GET(self) -> None:
            sock: Any = self.connection
            assert sock is self.request
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self.answer(f"{sock.getpeername()} {sock.getsockname()} {sock.family is socket.AF_INET}".encode())

    async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
        own = client.writer.get_extra_info("sockname")
        assert (await client.ask()).body.decode() == f"{own} {server.server_address} True"
        assert (await client.ask()).body.decode() == f"{own} {server.server_address} True"
