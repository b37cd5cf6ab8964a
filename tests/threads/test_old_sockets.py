"""Handlers of http.server that use their connection as a socket: select, peek, descriptors, protocols of their own."""

import asyncio
import contextlib
import functools
import io
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from aiohttpd.testing import running

from ..support.clients import Client, connected
from ..support.old_handlers import ByConnection, Old, loud
from ..support.waiting import BOUND, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"
BOTH = pytest.mark.parametrize("base", [Old, ByConnection], ids=["request", "connection"])


def post_content(content: bytes, path: str = "/") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content


def in_handler(base: Any, do: Callable[[Any], bytes | None]) -> Any:
    """A handler that answers with what is returned, but for ``/next``."""

    class Handler(base):  # type: ignore[misc]
        def do_GET(self) -> None:
            if self.path == "/next":
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.answer(b"next")
            elif (content := do(self)) is not None:
                self.answer(content)

        do_POST = do_GET

    return Handler


def readable(thing: Any, seconds: float = 0) -> bool:
    return bool(select.select([thing], [], [], seconds)[0])


class TestFiles:
    @BOTH
    async def test_peek(self, base: Any) -> None:
        handler = in_handler(base, lambda self: self.rfile.peek(2)[:2] + b"|" + self.rfile.read(3))
        async with running(handler) as server, connected(server) as client:
            await client.send(post_content(b"abc"))
            assert (await client.answer()).body == b"ab|abc"
        handler = in_handler(Old, lambda self: repr(self.rfile.peek()).encode())
        async with running(handler) as server, connected(server) as client:
            assert (await client.ask()).body == b"b''"

    @BOTH
    @pytest.mark.parametrize("what", ["rfile", "connection", "request", "wfile"])
    async def test_select_without_a_body(self, base: Any, what: str) -> None:
        """A client that waits for its answer has nothing to be read; and the connection goes on."""
        handler = in_handler(base, lambda self: repr(readable(getattr(self, what))).encode())
        async with running(handler) as server, connected(server) as client:
            for _ in range(3):
                assert (await client.ask()).body == b"False"
                assert (await client.ask("/next")).body == b"next"

    @BOTH
    @pytest.mark.parametrize("what", ["rfile", "connection"])
    async def test_select_after_the_answer(self, base: Any, what: str) -> None:
        def do(self: Any) -> None:
            self.answer(b"content")
            readable(getattr(self, what))  # the next request may have come already

        async with running(in_handler(base, do)) as server, connected(server) as client:
            for _ in range(3):
                assert (await client.ask()).body == b"content"
                assert (await client.ask("/next")).body == b"next"

    @BOTH
    async def test_pipelined_requests_are_given_back(self, base: Any) -> None:
        """FAULT: what the handler can see but does not read is lost, or read by nobody."""
        handler = in_handler(base, lambda self: repr(readable(self.connection, BOUND)).encode())
        async with running(handler) as server, connected(server) as client:
            for rest in (NEXT, NEXT[:20], 30 * NEXT, post_content(bytes(300_000), "/next") + NEXT):
                await client.send(GET, rest)
                assert (await client.answer()).body == b"True"
                if rest == NEXT[:20]:
                    await client.send(NEXT[20:])
                for _ in range(max(1, rest.count(b"/next"))):
                    assert (await client.answer()).body == b"next"

    @BOTH
    async def test_select_tells_that_the_client_has_gone(self, base: Any) -> None:
        seen = asyncio.Event()
        loop = asyncio.get_running_loop()

        def do(self: Any) -> bytes:
            while not readable(self.connection, BOUND):
                pass
            if not self.rfile.read(1):
                loop.call_soon_threadsafe(seen.set)
            return b"late"

        async with running(in_handler(base, do)) as server, connected(server) as client:
            await client.send(GET)
            await until(lambda: server.in_flight)
            client.writer.write_eof()
            assert (await client.answer()).body == b"late"
            assert seen.is_set()
            assert await client.rest() == b""

    @BOTH
    async def test_a_body_that_is_read_after_select(self, base: Any) -> None:
        """FAULT: it is read twice, from the file and from the socket."""

        def do(self: Any) -> bytes:
            first = self.rfile.read(1)
            assert readable(self.rfile, BOUND)
            content = first + self.rfile.read(9)
            assert not readable(self.connection)
            return bytes(content)

        async with running(in_handler(base, do)) as server, connected(server) as client:
            for _ in range(2):
                await client.send(post_content(b"0123456789"))
                assert (await client.answer()).body == b"0123456789"

    @pytest.mark.parametrize("size", [0, 10, 100_000, 3 * 1024 * 1024])
    async def test_a_body_for_another_process(self, size: int) -> None:
        code = "import sys; print(len(sys.stdin.buffer.read(int(sys.argv[1]))))"

        def do(self: Any) -> bytes:
            command = [sys.executable, "-c", code, self.headers["Content-Length"]]
            return subprocess.run(command, stdin=self.rfile, capture_output=True, check=True).stdout

        async with running(in_handler(Old, do)) as server, connected(server) as client:
            for _ in range(2):
                await client.send(post_content(bytes(size)))
                assert (await client.answer()).body == b"%d\n" % size

    async def test_another_process_without_a_body(self) -> None:
        def do(self: Any) -> bytes:
            return subprocess.run(["echo", "hello"], stdin=self.rfile, capture_output=True, check=True).stdout

        async with running(in_handler(Old, do)) as server, connected(server) as client:
            for _ in range(2):
                assert (await client.ask()).body == b"hello\n"

    @BOTH
    async def test_another_process_writes(self, base: Any) -> None:
        def do(self: Any) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "6")
            self.end_headers()
            subprocess.run(["echo", "hello"], stdout=self.wfile, check=True)

        async with running(in_handler(base, do)) as server, connected(server) as client:
            for _ in range(2):
                assert (await client.ask()).body == b"hello\n"

    async def test_without_a_buffer(self) -> None:
        class Handler(Old):
            rbufsize = 0

            def do_POST(self) -> None:
                assert isinstance(self.rfile, io.RawIOBase)
                self.answer(os.read(self.rfile.fileno(), 3) + self.connection.recv(2))

        async with running(Handler) as server, connected(server) as client:  # type: ignore[arg-type]
            for _ in range(3):
                await client.send(post_content(b"abcde"))
                assert (await client.answer()).body == b"abcde"

    @BOTH
    async def test_twice_the_file(self, base: Any) -> None:
        """FAULT: a second makefile() begins with the request again."""
        handler = in_handler(base, lambda self: self.rfile.read(1) + self.connection.makefile("rb").read(2))
        async with running(handler) as server, connected(server) as client:
            await client.send(post_content(b"abc"))
            assert (await client.answer()).body == b"abc"


class BySelect(Old):
    """It waits for its next request by ``select``, for a while."""

    def handle(self) -> None:
        self.close_connection = False
        while not self.close_connection and readable(self.connection, BOUND):
            self.handle_one_request()


async def test_a_loop_with_select() -> None:
    async with running(BySelect) as server, connected(server) as client:  # type: ignore[arg-type]
        for number in range(3):
            assert (await client.ask(f"/{number}")).body == f"/{number}".encode()
        await client.send(GET + NEXT)
        assert [(await client.answer()).body for _ in range(2)] == [b"/", b"/next"]
        await client.send(b"NONSENSE\r\n\r\n")  # it is checked before the handler has it
        assert (await client.answer()).status == 400


# Another protocol after an answer.


def lines(self: Any, read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
    """Answer each line in capitals, until it is BYE."""
    while (line := read()) not in (b"", b"BYE\n"):
        write(line.upper())


def by_recv(self: Any) -> None:
    lines(self, lambda: self.connection.recv(100), self.connection.sendall)


def by_descriptor(self: Any) -> None:
    descriptor = self.connection.fileno()

    def read() -> bytes:
        select.select([descriptor], [], [])
        return os.read(descriptor, 100)

    lines(self, read, functools.partial(os.write, descriptor))


def by_file(self: Any) -> None:
    lines(self, self.rfile.readline, self.wfile.write)


def by_duplicate(self: Any) -> None:
    with self.connection.dup() as sock:
        lines(self, lambda: sock.recv(100), sock.sendall)


ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "empty": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "no length": b"HTTP/1.1 200 OK\r\n\r\n",
    "204": b"HTTP/1.1 204 None\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: lines\r\nConnection: Upgrade\r\n\r\n",
}


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("early", [False, True], ids=["after", "early"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize(
    ("base", "speak"),
    [
        (Old, by_recv),
        (Old, by_descriptor),
        (Old, by_duplicate),
        (ByConnection, by_recv),
        (ByConnection, by_descriptor),
        (ByConnection, by_file),
    ],
)
def test_another_protocol(base: Any, speak: Any, answer: str, early: bool, loop_factory: Any) -> None:
    """FAULT: 400 from the engine, which takes what comes for a request."""

    def do(self: Any) -> None:
        self.wfile.write(ANSWERS[answer])
        speak(self)

    async def talk(server: Any, client: Client) -> None:
        await client.send(GET, b"first\n" if early else b"")
        head = await client.reader.readexactly(len(ANSWERS[answer]))
        if answer == "no length":
            assert head + await client.reader.readuntil(b"\r\n\r\n") == ANSWERS[answer].replace(
                b"OK\r\n", b"OK\r\nConnection: close\r\n"
            )
        else:
            assert head == ANSWERS[answer]
        if not early:
            await client.send(b"first\n")
        assert await client.reader.readline() == b"FIRST\n"
        for number in range(5):
            await client.send(b"GET /%d\n" % number)
            assert await client.reader.readline() == b"GET /%d\n" % number
        await client.send(b"BYE\n")
        assert await client.rest() == b""

    async def main() -> None:
        async with asyncio.timeout(BOUND), running(in_handler(base, do)) as server, connected(server) as client:
            await talk(server, client)
            async with connected(server) as other:
                assert (await other.ask("/next")).body == b"next"
            await until(lambda: not server.in_flight)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


async def test_content_that_is_too_long_is_cut_still(caplog: pytest.LogCaptureFixture) -> None:
    """FAULT: who has only looked at the socket may poison the connection."""

    def do(self: Any) -> None:
        assert readable(self.connection, BOUND)  # the next request
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcdef")

    async with running(in_handler(Old, do)) as server, connected(server) as client:
        await client.send(GET + NEXT)
        assert (await client.rest()).endswith(b"\r\n\r\nab")
        assert "more content than Content-Length says" in loud(caplog)[0]


async def test_an_error_after_a_look(caplog: pytest.LogCaptureFixture) -> None:
    """FAULT: the next request is thrown away as if it were content, and its client waits."""

    def do(self: Any) -> None:
        assert not readable(self.connection)
        raise LookupError("oh")

    async with running(in_handler(Old, do)) as server, connected(server) as client:
        answer = await client.ask()
        assert (answer.status, answer["Connection"]) == (500, "close")
        assert await client.rest() == b""
    assert loud(caplog) == ["oh"]


async def test_a_timeout_of_ones_own() -> None:
    timeouts = []

    def do(self: Any) -> None:
        self.answer(b"content")
        self.connection.settimeout(0.01)
        try:
            self.connection.recv(1)
        except TimeoutError as error:
            timeouts.append(error)

    async with running(in_handler(Old, do)) as server, connected(server) as client:
        for number in range(3):
            assert (await client.ask()).body == b"content"
            await until(lambda: not server.in_flight)
            assert len(timeouts) == number + 1


async def test_clients_that_go_meanwhile() -> None:
    """None of it is left: no thread, no socket."""
    before = len(os.listdir("/proc/self/fd"))

    def do(self: Any) -> bytes:
        self.connection.fileno()
        with contextlib.suppress(OSError):
            while self.connection.recv(100):
                pass
        return b"content"

    async with running(in_handler(Old, do)) as server:
        for _ in range(20):
            async with connected(server) as client:
                await client.send(GET, b"something")
                await until(lambda: server.in_flight)
        await until(lambda: not server.in_flight)
        await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 3)


async def test_a_client_that_floods() -> None:
    """What nobody reads waits with the client, and memory is bounded by the buffers on the way."""
    gate = threading.Event()

    def do(self: Any) -> bytes:
        self.connection.fileno()
        gate.wait(BOUND)
        return b"content"

    async with running(in_handler(Old, do)) as server, connected(server) as client:
        await client.send(GET)
        await until(lambda: server.in_flight)
        client.writer.write(100 * 1024 * 1024 * b"x")
        [connection] = server.connections
        await until(lambda: connection._reading_paused)
        assert connection._body is not None
        assert connection._body.reader.received < 4 * 1024 * 1024
        gate.set()
        assert (await client.answer()).body == b"content"
        client.writer.transport.abort()
