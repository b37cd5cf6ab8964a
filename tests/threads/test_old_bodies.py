"""Bodies for handlers of http.server: who is asked before they come, and how much of them waits where."""

import dataclasses
import pickle
from contextlib import AsyncExitStack
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, Config, wsgi
from aiohttpd.config import Preset
from aiohttpd.testing import exchange, running
from aiohttpd.threads import body as incoming
from aiohttpd.threads import outbox, spools
from aiohttpd.threads.call import Threads
from aiohttpd.threads.spools import Space, Spools, SpoolsFull

from ..support.clients import Client, connected
from ..support.old_handlers import Old
from ..support.waiting import until
from ..support.wire import finals

MIB = 1024 * 1024


class BySetup(Old):
    """It has a thread for each connection."""

    def setup(self) -> None:
        super().setup()


class ByInit(Old):
    def __init__(self, *arguments: Any) -> None:
        self.do_POST = self.echo
        super().__init__(*arguments)

    def echo(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))


class ByGetattr(Old):
    def __getattr__(self, name: str) -> Any:
        if name == "do_POST":
            return lambda: ByInit.echo(self)  # type: ignore[arg-type]
        raise AttributeError(name)


class ByOneRequest(Old):
    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
        elif self.command == "POST":
            ByInit.echo(self)  # type: ignore[arg-type]


class ByParsing(Old):
    def parse_request(self) -> bool:
        parsed = super().parse_request()
        if parsed and self.command == "POST":
            self.command = "ECHO"
        return parsed

    def do_ECHO(self) -> None:
        ByInit.echo(self)  # type: ignore[arg-type]


class Echo(Old):
    do_POST = ByInit.echo


def post_of(length: int, *fields: str) -> bytes:
    lines = [f"Content-Length: {length}", *fields]
    return ("POST / HTTP/1.1\r\nHost: x\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n").encode()


class TestMethods:
    @pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)], ids=["", "expect"])
    @pytest.mark.parametrize("base", [Old, BySetup, ByInit])
    async def test_501_before_the_body(self, base: Any, expect: tuple[str, ...]) -> None:
        async with running(base) as server, connected(server) as client:
            await client.send(post_of(67 * MIB, *expect).replace(b"POST", b"PUT"), b"a")
            assert (await client.answer()).status == 501

    async def test_nothing_is_spooled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """FAULT: what nobody wants fills the temporary folder first."""

        def refuse(**options: Any) -> Any:
            raise AssertionError("a spool")

        monkeypatch.setattr(incoming.tempfile, "TemporaryFile", refuse)
        async with running(Old) as server, connected(server) as client:  # type: ignore[arg-type]
            await client.send(post_of(3 * MIB).replace(b"POST", b"PUT"), bytes(2 * MIB))
            assert (await client.answer()).status == 501

    @pytest.mark.parametrize("base", [ByInit, ByGetattr, ByOneRequest, ByParsing])
    async def test_what_the_class_does_not_show(self, base: Any) -> None:
        async with running(base) as server, connected(server) as client:
            for size in (3, 3 * MIB):
                await client.send(post_of(size), bytes(size))
                assert (await client.answer()).body == bytes(size)

    @pytest.mark.parametrize("base", [ByInit, ByGetattr, ByOneRequest, ByParsing])
    async def test_a_connection_goes_on_after_it(self, base: Any) -> None:
        data = await exchange(base, post_of(3) + b"abc" + post_of(2) + b"de")
        assert [answer.body for answer in finals(data)] == [b"abc", b"de"]


class Plain(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_text(str(len(self.rfile.read())))  # type: ignore[arg-type]


def application(environ: Any, start_response: Any) -> list[bytes]:
    content = b"%d" % len(environ["wsgi.input"].read())
    start_response("200 OK", [("Content-Length", str(len(content)))])
    return [content]


class TestLimitBody:
    @pytest.mark.parametrize("app", [Echo, BySetup, Plain, wsgi(application)], ids=["old", "by setup", "plain", "wsgi"])
    async def test_413_before_the_body(self, app: Any) -> None:
        async with running(app, limit_body=1000) as server, connected(server) as client:
            await client.send(post_of(1001))
            assert (await client.answer()).status == 413

    @pytest.mark.parametrize("app", [Echo, Plain, wsgi(application)], ids=["old", "plain", "wsgi"])
    async def test_chunks(self, app: Any) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        async with running(app, limit_body=1000) as server, connected(server) as client:
            await client.send(head, b"1f4\r\n" + bytes(500) + b"\r\n" + b"1f5\r\n" + bytes(501) + b"\r\n")
            assert (await client.answer()).status == 413

    async def test_in_the_thread(self) -> None:
        """Whoever decides about 100 (Continue) reads the body itself."""

        class Asks(ByInit):
            def handle_expect_100(self) -> bool:
                return super().handle_expect_100()

        async with running(Asks, limit_body=1000) as server, connected(server) as client:  # type: ignore[arg-type]
            await client.send(post_of(1001, "Expect: 100-continue"))
            assert (await client.answer()).status == 413

    async def test_it_is_set_by_saying_so(self) -> None:
        """Its default is for our own handlers; the same number, said by the operator, is for all."""
        async with running(Echo, limit_body=64 * MIB) as server, connected(server) as client:  # type: ignore[arg-type]
            await client.send(post_of(64 * MIB + 1))
            assert (await client.answer()).status == 413

    async def test_unset(self) -> None:
        data = await exchange(ByInit, post_of(30) + bytes(30), config=Config(access_log=False, limit_body=Preset(10)))  # type: ignore[arg-type]
        assert [answer.body for answer in finals(data)] == [bytes(30)]

    def test_it_stays_unset(self) -> None:
        """FAULT: it is set once it has gone to another process, or an option beside it is changed."""
        config = pickle.loads(pickle.dumps(dataclasses.replace(Config(), backlog=7)))
        assert type(config.limit_body) is Preset
        for given, environment in (({"limit_body": 64 * MIB}, {}), ({}, {"AIOHTTPD_LIMIT_BODY": "64M"})):
            config = Config.from_options(given, environment)
            assert type(pickle.loads(pickle.dumps(config)).limit_body) is int
            assert config.limit_body == Config().limit_body


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body or an answer is spooled beyond 10 KiB."""
    for module in (incoming, outbox):
        monkeypatch.setattr(module, "_MEMORY", 10_000)
        monkeypatch.setattr(module, "_PIECE", 10_000)


@pytest.mark.usefixtures("small")
class TestSpools:
    LIMIT = 4_000_000  # bodies get a million

    @pytest.mark.parametrize("app", [Echo, Plain])
    async def test_bodies(self, app: Any) -> None:
        """A body and a half fill the space, two threads wait for others, and then it is 503; nothing of it stays."""
        async with running(app, limit_spools=self.LIMIT, worker_threads=8) as server, AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected(server)) for _ in range(4)]
            readers = server._context.shared(Threads).spools
            for client, reached in zip(
                clients,
                (
                    lambda: spools._bodies.used >= 780_000,
                    lambda: spools._bodies.used == self.LIMIT // 4 and readers._readers == 1,
                    lambda: readers._readers == 0,
                ),
                strict=False,
            ):
                await client.send(post_of(900_000), bytes(800_000))
                await until(reached)
            await clients[3].send(post_of(900_000), bytes(800_000))
            answer = await clients[3].answer()
            assert (answer.status, answer["Retry-After"]) == (503, "1")
            for client in reversed(clients[:3]):  # the first one has no thread, and needs the space of the others
                await client.send(bytes(100_000))
                assert (await client.answer()).body in (b"900000", bytes(900_000))
            async with connected(server) as other:  # and there is room again
                await other.send(post_of(900_000), bytes(900_000))
                assert (await other.answer()).status == 200
        assert (spools._bodies.used, spools._all.used) == (0, 0)

    async def test_clients_that_go(self) -> None:
        async with running(Echo, limit_spools=self.LIMIT, worker_threads=8) as server:  # type: ignore[arg-type]
            for _ in range(3):
                async with AsyncExitStack() as stack:
                    clients = [await stack.enter_async_context(connected(server)) for _ in range(3)]
                    for client in clients:
                        await client.send(post_of(900_000), bytes(800_000))  # the space has room for one of them
                    await until(lambda: not server._context.shared(Threads).spools._readers)
                await until(lambda: not spools._bodies.used and not server.in_flight)
            assert server._context.shared(Threads).spools._readers == 2

    @pytest.mark.parametrize("limit", [1, 50_000, 10_000_000])
    async def test_answers(self, limit: int) -> None:
        """Without room for them the thread waits for its client, and nothing is lost."""
        pieces = [bytes([number]) * 40_000 for number in range(30 if limit == 1 else 200)]

        class Large(Old):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(pieces) * 40_000))
                self.end_headers()
                for piece in pieces:
                    self.wfile.write(piece)
                    assert spools._all.used <= limit

        async with running(Large, limit_spools=limit) as server, AsyncExitStack() as stack:  # type: ignore[arg-type]
            clients: list[Client] = [await stack.enter_async_context(connected(server)) for _ in range(3)]
            for client in clients:
                await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            for client in clients:
                assert (await client.answer()).body == b"".join(pieces)
        assert spools._all.used == 0

    def test_the_bound_is_that_of_the_process(self) -> None:
        config = Config(limit_spools=1000, worker_threads=1)
        first, second = Spools(config).for_answer(), Spools(config).for_body()
        assert (first.grow(900), second.grow(200), second.grow(1)) == (900, 100, 0)
        first.close()
        assert (second.grow(500), second.size) == (150, 250)  # a quarter
        second.close()
        assert (spools._all.used, spools._bodies.used) == (0, 0)
        readers = Spools(config)
        readers.begin_to_read()
        with pytest.raises(SpoolsFull):
            readers.begin_to_read()
        assert Space((spools._all, 1000)).grow(-5) == 0
