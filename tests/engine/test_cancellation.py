"""Who has cancelled a handler, what its client is told, and what the log says of a client that has left."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import StringIO
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, HTTPError, HTTPServer, Request, StreamWriter
from aiohttpd.config import Config
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.handler_task import cancel_task
from aiohttpd.errors import ClientDisconnected
from aiohttpd.handlers.app import prepare
from aiohttpd.server.access_log import AccessLog
from aiohttpd.server.metrics import prometheus_text
from aiohttpd.testing import MemoryTransport, exchange, running

from ..support.asking import QUIET
from ..support.loops import Peer, joined, on_both_loops
from ..support.waiting import until
from ..support.wire import finals

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Lines:
    """A server whose log is at hand."""

    def __init__(self, server: HTTPServer, stream: StringIO) -> None:
        self.server = server
        self._stream = stream

    @property
    def all(self) -> list[str]:
        return self._stream.getvalue().splitlines()

    async def one(self) -> str:
        await until(lambda: self.all)
        [line] = self.all
        return line


@asynccontextmanager
async def logging(app: Any, format: str = "http.server", **options: Any) -> AsyncIterator[Lines]:
    stream = StringIO()
    log = AccessLog(stream, asyncio.get_running_loop(), format)
    config = Config(access_log_format=format, timeout_drain_idle=0, **options)
    async with HTTPServer(("127.0.0.1", 0), app, config=config, access_log=log) as server:
        yield Lines(server, stream)
    log.flush()


async def cancelled_task() -> None:
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await task


async def cancelled_future() -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def raised() -> None:
    raise asyncio.CancelledError


async def in_a_group() -> None:
    async with asyncio.TaskGroup():
        await cancelled_task()


async def own_task_by_another() -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.sleep(60)


NOT_OURS = pytest.mark.parametrize(
    "fault", [cancelled_task, cancelled_future, raised, in_a_group, own_task_by_another], ids=lambda f: f.__name__
)


class TestNotOurs:
    @NOT_OURS
    @pytest.mark.parametrize("kind", ["class", "function"])
    async def test_is_a_fault_of_the_handler(self, fault: Any, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                await fault()

        async def app(request: Request, response: StreamWriter) -> None:
            await fault()

        first, second = finals(await exchange(Handler if kind == "class" else app, GET + GET))
        assert (first.status, second.status) == (500, 500)  # and the connection persists
        assert (b"Error code: 500" in first.body) is (kind == "class")
        assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [asyncio.CancelledError] * 2
        caplog.clear()

    async def test_in_a_thread(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                raise asyncio.CancelledError

        async with running(Handler) as server, joined(server) as client:
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            [answer] = finals(await client.rest())
        assert answer.status == 500
        assert b"Error code: 500" in answer.body
        assert caplog.records
        caplog.clear()

    async def test_after_the_head_the_answer_is_cut(self, caplog: pytest.LogCaptureFixture) -> None:
        async def app(request: Request, response: StreamWriter) -> None:
            response.send_head(200)
            response.write(b"some")
            response.flush()
            await cancelled_task()

        [answer] = finals(await exchange(app, GET))
        assert not answer.complete
        assert caplog.records
        caplog.clear()


class TestOurs:
    async def test_deadline(self, caplog: pytest.LogCaptureFixture) -> None:
        async def app(request: Request, response: StreamWriter) -> None:
            await asyncio.Event().wait()

        async with running(app, timeout_handler=0.1) as server, joined(server) as client:
            await client.send(GET)
            [answer] = finals(await client.rest())
        assert answer.status == 503
        assert b"took too long" in answer.body
        caplog.clear()

    @pytest.mark.parametrize("inner", [False, True])
    async def test_shutdown(self, inner: bool) -> None:
        begun = asyncio.Event()

        async def app(request: Request, response: StreamWriter) -> None:
            begun.set()
            if inner:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.Event().wait())
            await asyncio.Event().wait()

        async with running(app) as server, joined(server) as client:
            await client.send(GET)
            await begun.wait()
            await server.shutdown(0)
            [answer] = finals(await client.rest())
        assert answer.status == 503
        assert b"shutting down" in answer.body

    async def test_an_orphan_is_no_fault(self) -> None:
        """Its client has gone; the server stops; nothing is logged as an error."""
        begun = asyncio.Event()

        async def app(request: Request, response: StreamWriter) -> None:
            begun.set()
            await asyncio.Event().wait()

        async with running(app) as server:
            async with joined(server) as client:
                await client.send(GET)
                await begun.wait()
                client.reset()
            await until(lambda: server.orphans)
            await server.shutdown(0)


# Clients that leave.

LEAVING = pytest.mark.parametrize("leave", [Peer.close, Peer.reset], ids=["close", "reset"])


class WaitingHandler(BaseHTTPRequestHandler):
    """Answers once it is told to."""

    begun: asyncio.Event
    go_on: asyncio.Event

    async def do_GET(self) -> None:
        self.begun.set()
        await self.go_on.wait()
        self.send_text("ten bytes\n")


def fresh(base: type[Any], **members: Any) -> Any:
    return type("Handler", (base,), {"begun": asyncio.Event(), "go_on": asyncio.Event(), **members})


class TestRecord:
    @LEAVING
    @pytest.mark.parametrize("cancels", [False, True])
    @on_both_loops
    async def test_nothing_has_left(self, leave: Callable[[Peer], None], cancels: bool) -> None:
        handler = fresh(WaitingHandler, cancel_on_disconnect=cancels)
        async with logging(handler) as lines, joined(lines.server) as client:
            await client.send(GET)
            await handler.begun.wait()
            leave(client)
            if not cancels:
                await asyncio.sleep(0.05)  # the server has been told
                handler.go_on.set()
            line = await lines.one()
        # One that has closed is known to be gone only when it refuses its answer.
        assert line.endswith('"GET / HTTP/1.1" 499 0 aborted')

    @on_both_loops
    async def test_half_closed_is_there(self) -> None:
        """Who has closed only its own side gets the answer, and the log says so."""
        handler = fresh(WaitingHandler)
        async with logging(handler) as lines, joined(lines.server) as client:
            await client.send(GET)
            await handler.begun.wait()
            client.half_close()
            await asyncio.sleep(0.05)
            handler.go_on.set()
            [answer] = finals(await client.rest())
            assert answer.body == b"ten bytes\n"
            line = await lines.one()
        assert line.endswith('"GET / HTTP/1.1" 200 10')

    @on_both_loops
    async def test_what_has_left(self) -> None:
        """Bytes that have not left are not counted."""
        sent = 0

        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                nonlocal sent
                self.send_response(200)
                self.send_header("Content-Length", 1 << 30)
                self.end_headers()
                while True:
                    self.wfile.write(bytes(65536))
                    sent += 65536
                    await self.wfile.drain()

        async with logging(Handler, "json") as lines, joined(lines.server, window=8192) as client:
            await client.send(GET)
            got = await client.receive(1)
            await asyncio.sleep(0.2)
            client.reset()
            record = json.loads(await lines.one())
        assert got
        assert record["aborted"] is True
        assert record["status"] == 200
        assert 0 < record["bytes"] <= sent

    @pytest.mark.parametrize("framing", ["length", "none"])
    async def test_a_whole_answer_is_whole(self, framing: str) -> None:
        """Though the client has gone before the handler has ended."""
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def app(request: Request, response: StreamWriter) -> None:
            if framing == "length":
                response.send_head(200, [("Content-Length", "4")])
                response.write(b"done")
            else:
                response.send_head(204)
            response.flush()
            begun.set()
            await go_on.wait()

        async with logging(app) as lines, joined(lines.server) as client:
            await client.send(GET)
            await begun.wait()
            await client.receive()
            client.reset()
            await until(lambda: lines.server.orphans)
            go_on.set()
            line = await lines.one()
        assert line.endswith("200 4" if framing == "length" else "204 0")

    @pytest.mark.parametrize(
        ("format", "end"),
        [
            ("http.server", '"GET / HTTP/1.1" 499 0 aborted'),
            ("common", '"GET / HTTP/1.1" 499 0'),
            ("combined", '"GET / HTTP/1.1" 499 0 "-" "-"'),
            ("{status} {bytes} {aborted}", "499 0 aborted"),
        ],
    )
    async def test_formats(self, format: str, end: str) -> None:
        async with left(format) as lines:
            assert (await lines.one()).endswith(end)

    async def test_json(self) -> None:
        async with left("json") as lines:
            record = json.loads(await lines.one())
        assert (record["status"], record["bytes"], record["aborted"]) == (499, 0, True)
        stream = StringIO()
        log = AccessLog(stream, asyncio.get_running_loop(), "json")
        await exchange(fresh(WaitingHandler, do_GET=lambda self: self.send_text("x")), GET, access_log=log)
        log.flush()
        assert "aborted" not in json.loads(stream.getvalue())

    async def test_metrics(self) -> None:
        async with left("common", metrics="/metrics") as lines:
            await lines.one()
            text = prometheus_text(lines.server.snapshot())
        assert 'requests_total{method="GET",status="499"} 1' in text
        assert "aiohttpd_aborted_answers_total 1" in text

    async def test_log_request(self) -> None:
        """Who overrides it gets what has left, too."""
        records: list[tuple[Any, Any]] = []
        handler = fresh(
            WaitingHandler,
            cancel_on_disconnect=True,
            log_request=lambda self, code="-", size="-": records.append((code, size)),
        )
        async with running(handler) as server, joined(server) as client:
            await client.send(GET)
            await handler.begun.wait()
            client.reset()
            await until(lambda: records)
        assert records == [(499, 0)]

    async def test_a_log_that_knows_no_aborted(self) -> None:
        """It asks the answer."""
        records: list[tuple[int, int, bool]] = []

        class Log:
            def answered(self, request: Request, answer: Any, started: float) -> None:
                records.append((answer.status, answer.size, answer.aborted))

            def refused(self, client_address: Any, line: str, status: int) -> None: ...

            def message(self, text: str) -> None: ...

        handler = fresh(WaitingHandler, cancel_on_disconnect=True)
        async with HTTPServer(("127.0.0.1", 0), handler, access_log=Log()) as server, joined(server) as client:
            await client.send(GET)
            await handler.begun.wait()
            client.reset()
            await until(lambda: records)
        assert records == [(499, 0, True)]


@asynccontextmanager
async def left(format: str, **options: Any) -> AsyncIterator[Lines]:
    """A client has left before there was an answer."""
    handler = fresh(WaitingHandler, cancel_on_disconnect=True)
    async with logging(handler, format, **options) as lines, joined(lines.server) as client:
        await client.send(GET)
        await handler.begun.wait()
        client.reset()
        yield lines


# Groups of tasks.


async def fails(error: BaseException, after: int = 0) -> None:
    for _ in range(after):
        await asyncio.sleep(0)
    raise error


async def nested(*errors: BaseException) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(grouped(*errors))
        group.create_task(asyncio.sleep(60))


async def grouped(*errors: BaseException) -> None:
    async with asyncio.TaskGroup() as group:
        for error in errors:
            group.create_task(fails(error))
        group.create_task(asyncio.sleep(60))


async def by_hand(*errors: BaseException) -> None:
    raise BaseExceptionGroup("by hand", [BaseExceptionGroup("inner", list(errors)), asyncio.CancelledError()])


@pytest.mark.parametrize("kind", ["class", "function"])
@pytest.mark.parametrize("way", [grouped, nested, by_hand], ids=lambda f: f.__name__)
class TestGroups:
    async def ask(self, kind: str, way: Any, *errors: BaseException) -> Any:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                await way(*errors)

        async def app(request: Request, response: StreamWriter) -> None:
            await way(*errors)

        [answer] = finals(await exchange(Handler if kind == "class" else app, GET))
        return answer

    async def test_answer(self, kind: str, way: Any) -> None:
        answer = await self.ask(kind, way, HTTPError(404, "Gone fishing", headers=[("X-Why", "so")]))
        assert (answer.status, answer.reason, answer["X-Why"]) == (404, "Gone fishing", "so")

    async def test_first_answer(self, kind: str, way: Any) -> None:
        assert (await self.ask(kind, way, HTTPError(409), HTTPError(404))).status == 409
        assert (await self.ask(kind, way, ClientDisconnected(), HTTPError(404))).status == 404

    async def test_fault(self, kind: str, way: Any, caplog: pytest.LogCaptureFixture) -> None:
        """An error besides is not to be hidden by an answer."""
        assert (await self.ask(kind, way, HTTPError(404), ValueError())).status == 500
        assert "ValueError" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("plain", [False, True])
async def test_sys_exit_has_the_page_of_the_others(plain: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Handler(BaseHTTPRequestHandler):
        error_message_format = "<p>%(code)d"

        async def do_GET(self) -> None:
            sys.exit(3)

        def do_PUT(self) -> None:
            sys.exit(3)

    async with running(Handler) as server, joined(server) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(b"%b / HTTP/1.0\r\n\r\n" % (b"PUT" if plain else b"GET"))
        [answer] = finals(await client.rest())
    assert (answer.status, answer.body) == (500, b"<p>500")
    assert [record.exc_info and record.exc_info[0] for record in caplog.records] == [SystemExit]
    caplog.clear()


@pytest.mark.parametrize("client_leaves", [False, True])
async def test_a_stop_in_the_turn_of_the_request(*, client_leaves: bool) -> None:
    """The handler begins, and is cancelled then: a task that never begins would never end its connection either."""
    begun: list[str] = []

    async def app(request: Request, response: StreamWriter) -> None:
        begun.append(request.path)
        await asyncio.sleep(60)

    loop = asyncio.get_running_loop()
    transport = MemoryTransport(loop)
    connection = HTTPConnection(ServerContext(prepare(app), QUIET, loop))
    transport.connect(connection)
    transport.feed(GET)
    connection.context.begin_cancelling()
    if client_leaves:
        connection.connection_lost(None)
        [task] = connection.context.registry.orphans
        cancel_task(task)
    else:
        connection.cancel()
    await until(lambda: not connection.context.registry.in_use)
    assert begun == ["/"]
    if not client_leaves:
        [answer] = finals(bytes(transport.output))
        assert answer.status == 503
