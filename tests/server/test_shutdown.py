"""How a server stops: it drains, for its grace at most; and the lifespan around all connections."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, Config, HTTPServer, Request, StreamWriter
from aiohttpd.testing import running

from ..support.clients import LAST_CHUNK, SOON, Waiting, connected, echo_path, ended, get, head, shutting_down
from ..support.loops import on_both_loops
from ..support.waiting import BOUND, until


@on_both_loops
async def test_shutdown_finishes_what_is_in_flight() -> None:
    app = Waiting()
    async with running(app) as server, connected(server) as client:
        await client.send(get("/last"))
        await app.begun.wait()
        async with shutting_down(server) as task:
            assert not task.done()
            app.released.set()
            answer = await client.answer()
            assert (answer.body, answer["Connection"]) == (b"/last", "close")
            assert await client.rest() == b""


async def test_shutdown_in_another_loop() -> None:
    """FAULT: it never returned, since nothing wakes a loop that waits for the task of another one."""
    async with running(BaseHTTPRequestHandler) as server:
        text = r"in another event loop than .*asyncio\.run_coroutine_threadsafe\(server\.shutdown\(\)"
        with pytest.raises(RuntimeError, match=text):
            await asyncio.to_thread(asyncio.run, server.shutdown())
        assert not server.shutting_down.is_set()
    await asyncio.to_thread(asyncio.run, server.shutdown())  # after the end it does nothing, anywhere


@pytest.mark.parametrize("how", ["await", "background", "after"])
@on_both_loops
async def test_shutdown_in_a_handler_does_not_wait_for_it(how: str) -> None:
    class Stops(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_text("stopping")
            if how == "await":
                await self.server.shutdown()
            elif how == "background":
                self.server.background(self.server.shutdown())
            else:
                self.after(self.server.shutdown())

    async with running(Stops, timeout_grace=3600) as server, connected(server) as client:
        assert (await client.ask()).body == b"stopping"
        await asyncio.wait_for(server.serve_forever(), BOUND)
        assert not server.connections


@on_both_loops
async def test_shutdown_in_the_lifespan_does_not_wait_for_it() -> None:
    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        yield
        await server.shutdown()

    async with running(echo_path, lifespan=lifespan) as server:
        await asyncio.wait_for(server.shutdown(), BOUND)


@on_both_loops
async def test_shutdown_closes_idle_connections() -> None:
    async with running(echo_path, timeout_drain_idle=0.1) as server, connected(server) as client:
        await client.ask()
        async with shutting_down(server):
            assert await client.rest() == b""


@pytest.mark.parametrize("state", ["new", "head", "idle"])
@on_both_loops
async def test_a_request_on_its_way_is_served_while_draining(state: str) -> None:
    async with running(echo_path, timeout_drain_idle=5) as server, connected(server) as client:
        await until(lambda: server.connections)
        if state == "idle":
            await client.ask()
        begun, address = (5 if state == "head" else 0), server.server_address
        await client.send(get("/late")[:begun])
        async with shutting_down(server):
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(*address)
            await client.send(get("/late")[begun:])
            answer = await client.answer()
            assert (answer.body, answer["Connection"]) == (b"/late", "close")
            assert await client.rest() == b""


@on_both_loops
async def test_a_new_connection_is_no_idle_one() -> None:
    """As in a reload: who has had an answer is closed at once, who has just connected is served."""
    async with (
        running(echo_path, timeout_drain_idle=60) as server,
        connected(server) as idle,
        connected(server) as new,
    ):
        await idle.ask()
        await until(lambda: len(server.connections) == 2)
        stopped = asyncio.create_task(server.shutdown(60, idle=0))
        assert await idle.rest() == b""
        answer = await new.ask("/late")
        assert (answer.body, answer["Connection"]) == (b"/late", "close")
        assert await new.rest() == b""
        await stopped


@on_both_loops
async def test_a_new_connection_is_closed_in_the_end() -> None:
    async with running(echo_path, timeout_drain_idle=0.05) as server, connected(server) as new:
        await until(lambda: server.connections)
        stopped = asyncio.create_task(server.shutdown(60, idle=0))
        assert await new.rest() == b""
        await stopped


@on_both_loops
async def test_shutdown_without_grace() -> None:
    app = Waiting()
    async with (
        running(app) as server,
        connected(server) as busy,
        connected(server) as silent,
        connected(server) as begun,
    ):
        await busy.send(get())
        await begun.send(get()[:5])
        await app.begun.wait()
        await until(lambda: len(server.connections) == 3)
        async with asyncio.timeout(SOON):
            await server.shutdown(0)
        assert not server.connections
        answer = await busy.answer()
        assert (answer.status, answer["Connection"]) == (503, "close")
        assert await ended(busy)
        assert await ended(silent)
        assert await ended(begun)


@on_both_loops
async def test_a_handler_that_ignores_everything(caplog: pytest.LogCaptureFixture) -> None:
    begun, stop = asyncio.Event(), False
    cancelled = 0

    async def app(request: Request, response: StreamWriter) -> None:
        nonlocal cancelled
        begun.set()
        while not stop:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1
        response.send_head(200)

    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await begun.wait()
        async with asyncio.timeout(3):
            await server.shutdown(0.1)
        assert cancelled
        assert await ended(client)
        assert caplog.messages == ["'GET / HTTP/1.1' is cancelled: it has not ended within 0.1 s"]
        caplog.clear()
        stop = True


@on_both_loops
async def test_an_answer_that_is_cut_at_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(b"the beginning")
        await response.drain()
        await asyncio.Event().wait()

    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await client.reader.readuntil(b"the beginning")
        await server.shutdown(0.05)
        with contextlib.suppress(ConnectionResetError):
            assert LAST_CHUNK not in await client.rest()
    assert caplog.messages == ["'GET / HTTP/1.1' is cancelled: it has not ended within 0.05 s"]
    caplog.clear()


@on_both_loops
async def test_shutting_down_ends_a_stream() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(b"tick ")
        await response.drain()
        await request.server.shutting_down.wait()
        response.write(b"end")

    async with running(app) as server, connected(server) as client:
        await client.send(get())
        answer = asyncio.create_task(client.answer())
        await until(lambda: server.connections)
        await server.shutdown()
        assert (await answer).body == b"tick end"


@pytest.mark.parametrize("pipelined", [True, False])
@on_both_loops
async def test_a_request_after_an_answer_that_was_begun_before(pipelined: bool) -> None:
    """FAULT: the connection was closed, though the head of the answer had said that another request may follow."""
    released = asyncio.Event()

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200)
        response.write(request.path.encode())
        await response.drain()
        await released.wait()

    idle = 0 if pipelined else 20  # seconds
    async with running(app, timeout_drain_idle=idle) as server, connected(server) as client:
        await client.send(get("/1"), get("/2") if pipelined else b"")
        await client.reader.readuntil(b"/1")
        async with shutting_down(server):
            released.set()
            assert await client.reader.readuntil(LAST_CHUNK)
            await client.send(b"" if pipelined else get("/2"))
            answer = await client.answer()
            assert (answer.body, answer["Connection"]) == (b"/2", "close")
            assert await ended(client)


@on_both_loops
async def test_a_body_that_nobody_reads_ends_while_draining() -> None:
    """FAULT: the connection was idle afterwards, and the shutdown waited until its grace was over."""
    async with running(echo_path, timeout_linger=20, timeout_grace=60) as server, connected(server) as client:
        await client.send(head("POST", "/", "Content-Length: 10"), b"12345")
        assert (await client.answer()).status == 200
        async with shutting_down(server):
            await until(lambda: server.sockets[0].fileno() < 0)
            for _ in range(10):  # turns of the loop: the time of idle connections is over
                await asyncio.sleep(0)
            await client.send(b"67890")
            assert await ended(client)


@on_both_loops
async def test_a_listening_socket_that_cannot_be_closed() -> None:
    """FAULT: the server stopped accepting, and waited for ever; neither answer nor connection ended."""

    class Closed(socket.socket):
        def close(self) -> None:
            super().close()
            raise OSError(errno.EBADF, "Bad file descriptor")  # as if the program had closed the descriptor

    sock = Closed()
    sock.bind(("127.0.0.1", 0))
    app = Waiting()
    async with HTTPServer(sock, app) as server, connected(server) as client:
        await client.send(get("/last"))
        await app.begun.wait()
        async with shutting_down(server):
            app.released.set()
            assert (await client.answer()).body == b"/last"


async def test_a_shutdown_that_fails() -> None:
    """FAULT: who waited in serve_forever() waited for ever."""
    server = HTTPServer(("127.0.0.1", 0), echo_path)
    await server.start()
    serving = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    assert server.acceptor is not None

    async def end(*, last: bool) -> None:
        await type(server.acceptor).end(server.acceptor, last=last)  # type: ignore[arg-type]
        raise RuntimeError("it fails")

    server.acceptor.end = end  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="it fails"):
        await server.shutdown()
    done, _ = await asyncio.wait([serving], timeout=SOON)
    with pytest.raises(RuntimeError, match="it fails"):
        done.pop().result()


@on_both_loops
async def test_two_shutdowns_at_once() -> None:
    app = Waiting()
    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await app.begun.wait()
        first, second = (asyncio.create_task(server.shutdown()) for _ in range(2))
        await server.shutting_down.wait()
        app.released.set()
        assert (await client.answer()).body == b"/"
        async with asyncio.timeout(SOON):
            await asyncio.gather(first, second, server.serve_forever())
        await server.shutdown()  # and once more


@on_both_loops
async def test_a_second_shutdown_that_does_not_wait() -> None:
    app = Waiting()
    async with running(app) as server, connected(server) as client:
        await client.send(get())
        await app.begun.wait()
        async with shutting_down(server, 10) as first:
            await server.shutdown(0)
            assert (await client.answer()).status == 503
            async with asyncio.timeout(SOON):
                await first


@on_both_loops
async def test_a_start_that_is_cancelled_accepts_nothing() -> None:
    """At whichever of its steps."""
    begun, turns = False, 0
    while not begun:
        server = HTTPServer(("127.0.0.1", 0), echo_path)
        start = asyncio.create_task(server.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not (begun := start.done()):
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start
            if server.addresses:
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(*server.server_address)
        await server.shutdown(0)
        turns += 1


@on_both_loops
async def test_a_connection_whose_making_is_cancelled_does_not_hold_the_shutdown() -> None:
    async with running(echo_path) as server:
        for turns in range(1, 4):
            ours, theirs = socket.socketpair()
            with theirs:
                making = asyncio.create_task(server.serve_connection(ours))
                for _ in range(turns):
                    await asyncio.sleep(0)
                if making.done():
                    making.result().abort()
                making.cancel()
                await asyncio.wait([making])
                await until(lambda: not server.connections)


@on_both_loops
async def test_serve_forever_that_is_cancelled_shuts_down() -> None:
    app = Waiting()
    async with running(app) as server, connected(server) as client:
        forever = asyncio.create_task(server.serve_forever())
        await client.send(get())
        await app.begun.wait()
        forever.cancel()
        await server.shutting_down.wait()
        app.released.set()
        assert (await client.answer())["Connection"] == "close"
        with pytest.raises(asyncio.CancelledError):
            await forever


@on_both_loops
async def test_leaving_by_an_error_does_not_wait() -> None:
    app = Waiting()
    server = HTTPServer(("127.0.0.1", 0), app)

    async def leave() -> None:
        async with server, connected(server) as client:
            await client.send(get())
            await app.begun.wait()
            raise LookupError

    with pytest.raises(LookupError):
        await leave()
    assert not server.connections


# Lifespan.


@on_both_loops
async def test_lifespan_surrounds_all_connections() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        server.greeting = "hello"  # type: ignore[attr-defined]
        events.append(f"enter, {len(server.connections)} connections")
        yield
        events.append(f"leave, {len(server.connections)} connections")

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            events.append("request")
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.greeting.encode())

    async with running(Handler, lifespan=lifespan) as server, connected(server) as client:
        assert (await client.ask()).body == b"hello"
    assert events == ["enter, 0 connections", "request", "leave, 0 connections"]


@on_both_loops
async def test_a_start_that_is_cancelled_leaves_the_lifespan() -> None:
    """What it has opened so far is closed, also if that takes a while: the end of the loop would cut that."""
    events: list[str] = []
    entering = asyncio.Event()

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        try:
            entering.set()
            await asyncio.Event().wait()
            yield
        finally:
            for _ in range(5):
                await asyncio.sleep(0)
            events.append("closed")

    server = HTTPServer(("127.0.0.1", 0), echo_path, lifespan=lifespan)
    start = asyncio.create_task(server.start())
    await entering.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert events == ["closed"]


async def ignore_cancellation(released: asyncio.Event) -> None:
    """Wait for an event, whoever cancels the task meanwhile."""
    while not released.is_set():
        with contextlib.suppress(asyncio.CancelledError):
            await released.wait()


@on_both_loops
async def test_a_start_that_is_cancelled_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aiohttpd.server.lifespan.CANCELLED", 0.01)
    entering, released = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        entering.set()
        await ignore_cancellation(released)
        yield

    server = HTTPServer(("127.0.0.1", 0), echo_path, lifespan=lifespan)
    start = asyncio.create_task(server.start())
    await entering.wait()
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    released.set()
    assert caplog.messages == ["the lifespan ignores its cancellation, and is left behind"]
    caplog.clear()


@on_both_loops
async def test_a_lifespan_that_ignores_its_cancellation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """FAULT: nobody came back from shutdown(0), nor from the second Ctrl-C."""
    monkeypatch.setattr("aiohttpd.server.lifespan.CANCELLED", 0.01)
    leaving, released = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        yield
        leaving.set()
        await ignore_cancellation(released)

    server = HTTPServer(("127.0.0.1", 0), Waiting(), lifespan=lifespan)
    await server.start()
    async with shutting_down(server, 10) as first:
        try:
            async with asyncio.timeout(SOON):
                await leaving.wait()
                await server.shutdown(0)
                await first
        finally:
            released.set()
    [record] = caplog.records
    assert record.message == "the lifespan ignores its cancellation, and is left behind"
    caplog.clear()


@on_both_loops
async def test_an_error_on_the_way_into_the_lifespan() -> None:
    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        addresses.append(server.server_address)
        raise LookupError("no database")
        yield

    addresses: list[Any] = []
    with pytest.raises(LookupError, match="no database"):
        async with running(echo_path, lifespan=lifespan):
            pass
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*addresses[0])


@on_both_loops
async def test_an_error_on_the_way_out_of_the_lifespan() -> None:
    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        yield
        raise LookupError("the database is gone")

    server = HTTPServer(("127.0.0.1", 0), echo_path, lifespan=lifespan)
    await server.start()
    forever = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    with pytest.raises(LookupError, match="the database is gone"):
        await server.shutdown()
    done, _ = await asyncio.wait([forever], timeout=SOON)
    forever.cancel()
    assert done
    assert isinstance(forever.exception(), LookupError)


@on_both_loops
async def test_a_handler_without_a_client_is_waited_for() -> None:
    """It may use what the lifespan has opened."""
    begun, gone = asyncio.Event(), asyncio.Event()
    events = []

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        yield
        events.append("lifespan left")

    async def app(request: Request, response: StreamWriter) -> None:
        begun.set()
        await response.wait_closed()
        gone.set()
        await asyncio.sleep(0.2)  # work that is to be finished whether or not somebody waits for the answer
        events.append("handler ended")
        response.send_head(200)

    async with running(app, lifespan=lifespan) as server:
        async with connected(server) as client:
            await client.send(get())
            await begun.wait()
            client.reset()
            await gone.wait()
        await until(lambda: not server.connections)
    assert events == ["handler ended", "lifespan left"]


async def test_a_start_that_fails_after_the_lifespan_has_begun(caplog: pytest.LogCaptureFixture) -> None:
    """FAULT: its sockets stayed open, and the lifespan was never left."""
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        seen.append("begun")
        yield
        seen.append("ended")

    config = Config(access_log_format="no such format")  # it is read if the program has configured the logger
    server = HTTPServer(("127.0.0.1", 0), echo_path, config=config, lifespan=lifespan)
    with caplog.at_level("INFO", "aiohttpd.access"), pytest.raises(ValueError, match="no such format"):
        await server.start()
    assert seen == ["begun", "ended"]
    assert [sock.fileno() for sock in server.sockets] == [-1]
    await server.shutdown()


class _Flooded(socket.socket):
    """A listening socket to which another client connects before each accept of the server's end."""

    clients: list[socket.socket]

    def accept(self) -> tuple[socket.socket, Any]:
        if len(self.clients) == 100:
            raise OSError(errno.EMFILE, "too many")
        self.clients.append(socket.create_connection(self.getsockname()))
        return super().accept()


async def test_clients_that_go_on_connecting() -> None:
    """FAULT: the end of a server accepted as long as anybody connected, in one callback."""
    sock = _Flooded()
    sock.clients = []
    sock.bind(("127.0.0.1", 0))
    async with HTTPServer(sock, echo_path, config=Config(backlog=5, timeout_drain_idle=0)):
        pass
    assert len(sock.clients) <= 6
    for client in sock.clients:
        client.close()
