"""Calls in threads that have ended before their tasks would wait, so that their answers leave in the same callback."""

import asyncio
import threading
import time
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, ClientDisconnected
from aiohttpd.testing import running
from aiohttpd.threads import call

from ..support.clients import Client, connected, get, post
from ..support.old_handlers import Old, QuietOld
from ..support.threads import busy, threads_of, wait
from ..support.waiting import BOUND, until


@pytest.fixture(params=["as it happens", "the thread is quick", "the thread is slow"])
def pace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the thread runs: as the system likes it, before the loop goes on, or only afterwards."""
    if request.param == "the thread is quick":
        monkeypatch.setattr(call, "_give_way", lambda: time.sleep(0.001))
    elif request.param == "the thread is slow":
        monkeypatch.setattr(call, "_give_way", lambda: None)


async def nothing_left(server: Any) -> None:
    """All threads are idle, and nothing is kept of what they did."""
    threads = threads_of(server)
    await until(lambda: not busy(threads.pool) and not threads._outboxes and not server.in_flight, BOUND)


class Gate:
    """Holds calls in their threads."""

    def __init__(self) -> None:
        self._begun, self._opened = threading.Event(), threading.Event()

    def enter(self) -> None:
        """Wait until it is open; calls of handlers do that."""
        self._begun.set()
        wait(self._opened)

    def open(self) -> None:
        self._opened.set()

    async def hold_single(self, client: Client, target: str) -> None:
        """Have one call end, so that the next one is a single one; begin that one, which is held."""
        self._opened.set()
        await client.ask("/")
        self._opened.clear()
        self._begun.clear()
        await self.hold(client, target)

    async def hold(self, client: Client, target: str) -> None:
        """Begin a call, which is held."""
        await client.send(get(target))
        await asyncio.to_thread(wait, self._begun)


class Plain(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_text(self.path)

    def do_POST(self) -> None:
        self.send_text(str(len(self.rfile.read())))


@pytest.mark.usefixtures("pace")
class TestPeers:
    @pytest.mark.parametrize("handler", [QuietOld, Plain])
    async def test_one_request_after_the_other(self, handler: Any) -> None:
        async with running(handler) as server, connected(server) as client:
            for number in range(20):
                assert (await client.ask(f"/{number}")).body == f"/{number}".encode()
            await client.send(post(70_000), bytes(70_000))
            assert (await client.answer()).status == 200
            await nothing_left(server)

    @pytest.mark.parametrize("handler", [QuietOld, Plain])
    async def test_pipelined(self, handler: Any) -> None:
        async with running(handler) as server, connected(server) as client, connected(server) as other:
            await client.ask("/")
            await client.send(b"".join(get(f"/{number}") for number in range(100)))
            assert (await other.ask("/other")).body == b"/other"
            for number in range(100):
                assert (await client.answer()).body == f"/{number}".encode()
            await nothing_left(server)

    async def test_dribbled(self) -> None:
        async with running(QuietOld) as server, connected(server) as client, connected(server) as other:
            await other.ask("/")
            for byte in get("/slowly") + get("/again"):
                await client.send(bytes([byte]))
            assert [(await client.answer()).body for _ in range(2)] == [b"/slowly", b"/again"]
            await nothing_left(server)

    @pytest.mark.parametrize("end", [Client.reset, Client.close, Client.send_eof])
    async def test_clients_that_go_at_once(self, end: Any, caplog: pytest.LogCaptureFixture) -> None:
        async with running(QuietOld) as server:
            for _ in range(10):
                async with connected(server) as client:
                    await client.ask("/")  # so that the next call is a single one
                    await client.send(get("/gone"))
                    end(client)
                    if end is Client.send_eof:
                        assert (await client.answer()).body == b"/gone"
                        assert await client.rest() == b""
            async with connected(server) as client:
                assert (await client.ask("/here")).body == b"/here"
            await nothing_left(server)
        assert not caplog.records

    async def test_a_handler_that_says_close(self) -> None:
        class Handler(QuietOld):
            def do_GET(self) -> None:
                self.close_connection = True
                super().do_GET()

        async with running(Handler) as server:
            for _ in range(5):
                async with connected(server) as client:
                    assert (await client.ask("/last")).body == b"/last"
                    assert await client.rest() == b""
            await nothing_left(server)

    async def test_a_handler_that_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(QuietOld):
            def do_GET(self) -> None:
                if self.path == "/wrong":
                    raise LookupError("wrong")
                super().do_GET()

        async with running(Handler) as server, connected(server) as client:
            for _ in range(3):
                assert (await client.ask("/")).status == 200
                assert (await client.ask("/wrong")).status == 500
            await nothing_left(server)
        assert len([record for record in caplog.records if record.exc_info]) == 3
        caplog.clear()

    async def test_more_than_fits_for_a_client_that_does_not_read(self) -> None:
        """The loop goes on, though the thread has written all while it gave way."""
        size = 8 * 1024 * 1024

        class Handler(QuietOld):
            def do_GET(self) -> None:
                self.answer(bytes(size) if self.path == "/large" else b"small")

        async with running(Handler) as server, connected(server) as client, connected(server) as other:
            await client.ask("/")
            await client.send(get("/large"))
            for _ in range(5):
                assert (await other.ask("/")).body == b"small"
            assert len((await client.answer()).body) == size
            await nothing_left(server)


async def test_the_loop_goes_on_while_a_single_call_waits() -> None:
    gate = Gate()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gate.enter()
            self.send_text("late")

        async def do_HEAD(self) -> None:
            self.send_text("at once")

    async with running(Handler) as server, connected(server) as client, connected(server) as other:
        await gate.hold_single(client, "/")
        await other.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await other.answer("HEAD")).status == 200
        gate.open()
        assert (await client.answer()).body == b"late"
        await nothing_left(server)


async def test_a_stop_within_a_single_call() -> None:
    """Its answer is sent, and says that it is the last; then the connection is closed."""
    gate = Gate()

    class Handler(QuietOld):
        def do_GET(self) -> None:
            gate.enter()
            super().do_GET()

    async with running(Handler) as server, connected(server) as client:
        await gate.hold_single(client, "/last")
        stop = asyncio.create_task(server.shutdown())
        await until(lambda: server._context.draining, BOUND)
        gate.open()
        answer = await client.answer()
        assert (answer.body, answer["Connection"]) == (b"/last", "close")
        assert await client.rest() == b""
        await stop


async def test_a_client_that_resets_while_a_single_call_runs() -> None:
    gate, errors = Gate(), []

    class Handler(Old):
        def do_GET(self) -> None:
            gate.enter()
            try:
                for _ in range(3):
                    self.wfile.write(bytes(100_000))
            except ClientDisconnected as error:
                errors.append(error)
                raise

        def log_message(self, format: str, *args: Any) -> None:
            pass

    async with running(Handler) as server, connected(server) as client:
        await gate.hold(client, "/")
        client.reset()
        await until(lambda: not server.connections, BOUND)
        gate.open()
        await nothing_left(server)
    assert len(errors) == 1
