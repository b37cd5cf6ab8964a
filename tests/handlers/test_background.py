"""Work that outlives an answer: server.background(), after(); and every(), which ends with the client or the server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd import Config, HTTPServer
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, fetch
from ..support.checking import checked
from ..support.clients import get

WHO: ContextVar[str] = ContextVar("WHO", default="nobody")


class Work:
    """Notes what background work does."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.begun = asyncio.Event()
        self.release = asyncio.Event()

    async def wait(self, name: str = "work") -> None:
        self.begun.set()
        await self.release.wait()
        self.done.append(name)

    async def fail(self) -> None:
        raise RuntimeError("it went wrong")

    async def forever(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.done.append("cancelled")
            raise


async def ask(server: HTTPServer, path: str = "/") -> bytes:
    reader, writer = await asyncio.open_connection(*server.server_address)
    writer.write(get(path, "Connection: close"))
    answer = await reader.read()
    writer.close()
    return answer


async def test_the_answer_does_not_wait() -> None:
    work = Work()

    class Starting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.server.background(work.wait())
            self.send_text("soon", 202)

    async with running(Starting, access_log=False) as server:
        assert b" 202 " in await ask(server)
        assert work.done == []
        work.release.set()
    assert work.done == ["work"]  # the server has waited for it


async def test_an_error_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Starting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.server.background(Work().fail())
            self.send_text("ok")

    async with running(Starting, access_log=False) as server:
        assert b" 200 " in await ask(server)
    [record] = caplog.records
    assert record.getMessage() == "unhandled exception in the background work Work.fail"
    assert record.exc_info and "it went wrong" in str(record.exc_info[1])
    caplog.clear()


async def test_there_are_so_many_at_a_time() -> None:
    work = Work()

    class Starting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            if self.url_path == "/after":
                self.after(work.wait())
            else:
                self.server.background(work.wait())
            self.send_text("ok")

    async with running(Starting, access_log=False, max_background=2) as server:
        assert b" 200 " in await ask(server) and b" 200 " in await ask(server, "/after")
        for path in ("/", "/after"):
            answer = await ask(server, path)
            assert b" 503 " in answer and b"Retry-After: 1\r\n" in answer
        work.release.set()
        await asyncio.sleep(0)
    assert work.done == ["work", "work"]


async def test_a_grace_that_is_over_cancels_it(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()

    class Starting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.server.background(work.forever())
            self.send_text("ok")

    async with running(Starting, access_log=False, timeout_grace=0.02) as server:
        await ask(server)
        await work.begun.wait()
    assert work.done == ["cancelled"]
    assert "Work.forever is cancelled: it has not ended within 0.02 s" in caplog.text
    caplog.clear()


async def test_the_lifespan_is_left_after_it() -> None:
    work = Work()

    class Starting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.server.background(work.wait())
            self.send_text("ok")

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        yield
        work.done.append("left")

    async with running(Starting, lifespan=lifespan, access_log=False) as server:
        await ask(server)
        asyncio.get_running_loop().call_later(0.01, work.release.set)
    assert work.done == ["work", "left"]


async def test_a_server_that_does_not_run_takes_none() -> None:
    server = HTTPServer(("127.0.0.1", 0), aiohttpd.BaseHTTPRequestHandler)
    with pytest.raises(RuntimeError, match="not running"):
        server.background(Work().fail())
    async with server:
        with pytest.raises(TypeError, match="is a coroutine"):
            server.background(Work().fail)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="not running"):
        server.background(Work().fail())


async def test_it_sees_the_context_of_the_request() -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(WHO.get())

    class Starting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            WHO.set(self.url_path)
            self.after(look())
            self.send_text("ok")

    await exchange(Starting, get("/a") + get("/b"), config=QUIET)
    assert sorted(seen) == ["/a", "/b"]


# after().


@pytest.mark.parametrize("waits", [False, True])
async def test_after_the_answer(waits: bool) -> None:
    order: list[str] = []

    async def later() -> None:
        order.append("after")

    class Starting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.after(later())
            if waits:
                await asyncio.sleep(0.01)
            self.send_text("ok")

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            order.append(f"answered {code}")

    await exchange(Starting, get(), config=Config())
    assert order == ["answered 200", "after"]


async def test_after_an_error_too(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    work.release.set()

    class Failing(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.after(work.wait())
            raise RuntimeError

    assert (await fetch(Failing)).status == 500
    assert work.done == ["work"]
    caplog.clear()


async def test_a_client_that_has_gone_does_not_stop_it() -> None:
    work = Work()

    class Waiting(aiohttpd.BaseHTTPRequestHandler):
        cancel_on_disconnect = True

        async def do_GET(self) -> None:
            self.after(work.wait())
            work.begun.set()
            await asyncio.Event().wait()

    async with running(Waiting, access_log=False) as server:
        _, writer = await asyncio.open_connection(*server.server_address)
        writer.write(get())
        await work.begun.wait()
        writer.close()
        work.release.set()
    assert work.done == ["work"]


async def test_a_server_that_stops_before_the_answer_leaves_no_warning() -> None:
    """What has not begun is closed, and no coroutine says that it was never awaited."""
    work = Work()

    class Waiting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.after(work.wait())
            work.begun.set()
            await asyncio.Event().wait()

    async with running(Waiting, access_log=False) as server:
        _, writer = await asyncio.open_connection(*server.server_address)
        writer.write(get())
        await work.begun.wait()
        await server.shutdown(0)
        writer.close()
    assert work.done == []


async def test_a_thread_has_no_after(caplog: pytest.LogCaptureFixture) -> None:
    class Blocking(aiohttpd.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.after(Work().fail())

    assert (await fetch(Blocking)).status == 500
    assert "after() is for 'async def' methods" in caplog.text
    caplog.clear()


async def test_a_thread_has_no_background(caplog: pytest.LogCaptureFixture) -> None:
    class Blocking(aiohttpd.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.server.background(Work().fail())  # closed: else a warning says that it was never awaited

    async with running(Blocking, access_log=False) as server:
        assert (await ask(server)).startswith(b"HTTP/1.1 500 ")
    assert "ContractError: background() is called in a thread" in caplog.text
    caplog.clear()


# every().


async def test_every_ends_with_the_client() -> None:
    ended = asyncio.Event()

    class Ticking(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            async for number in self.every(0.001):
                self.wfile.write(b"%d " % number)
                await self.wfile.drain()
            ended.set()

    async with running(Ticking, access_log=False) as server:
        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.write(get())
        await reader.readuntil(b"0 ")
        await reader.readuntil(b"\n")
        await reader.readline()
        writer.close()
        await ended.wait()


async def test_every_ends_with_the_server() -> None:
    class Ticking(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            async for _ in self.every(1000):
                self.wfile.write(b"tick")
                await self.wfile.drain()
            self.wfile.write(b" end")

    async with running(Ticking, access_log=False) as server:
        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.write(get())
        await reader.readuntil(b"tick")
        await server.shutdown()
        assert b" end" in await reader.read()
        writer.close()


async def test_every_leaves_out_what_was_missed() -> None:
    numbers: list[int] = []

    class Slow(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async for number in self.every(0.01):
                numbers.append(number)
                if len(numbers) == 3:
                    break
                await asyncio.sleep(0.025)
            self.send_text("ok")

    async with running(Slow, access_log=False) as server:
        assert b" 200 " in await ask(server)
    assert numbers[0] == 0
    assert numbers[1] >= 2 and numbers[2] >= numbers[1] + 2


async def test_every_leaves_no_task_behind() -> None:
    class Breaking(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async for _ in self.every(1):
                break
            self.send_text("ok")

    async with running(Breaking, access_log=False) as server:
        before = len(asyncio.all_tasks())
        reader, writer = await asyncio.open_connection(*server.server_address)
        for _ in range(10):
            writer.write(get())
            await reader.readuntil(b"\r\n\r\nok")
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) <= before + 1
        writer.close()


async def test_every_for_head_and_for_nonsense(caplog: pytest.LogCaptureFixture) -> None:
    class Ticking(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            async for _ in self.every(0 if self.url_path == "/zero" else 1000):
                self.wfile.write(b"x")
                await self.wfile.drain()

    assert (await fetch(Ticking, method="HEAD")).status == 200
    assert (await fetch(Ticking, "/zero")).status == 500
    assert "every() takes a number of seconds, not 0" in caplog.text
    caplog.clear()


# The state of a server.


async def test_the_state_of_the_server_is_seen_by_handlers() -> None:
    class Counting(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.server.state.count += 1
            self.send_text(str(self.server.state.count))

    @asynccontextmanager
    async def lifespan(server: HTTPServer) -> AsyncIterator[None]:
        server.state.count = 41
        yield

    async with running(Counting, lifespan=lifespan, access_log=False) as server:
        assert (await ask(server)).endswith(b"42")


async def test_in_memory_there_is_a_state_where_there_is_a_lifespan() -> None:
    work = Work()
    work.release.set()

    class Own(aiohttpd.BaseHTTPRequestHandler):
        @staticmethod
        @asynccontextmanager
        async def lifespan(server: Any) -> AsyncIterator[None]:
            server.state.count = 42
            yield
            work.done.append("left")

        async def do_GET(self) -> None:
            self.server.background(work.wait())
            self.send_text(str(self.server.state.count))

    assert (await fetch(Own)).body == b"42"
    assert work.done == ["work", "left"]


def test_a_type_parameter_costs_nothing() -> None:
    class State: ...

    assert aiohttpd.BaseHTTPRequestHandler[State] is aiohttpd.BaseHTTPRequestHandler
    assert aiohttpd.SimpleHTTPRequestHandler[State] is aiohttpd.SimpleHTTPRequestHandler  # type: ignore[misc]


def test_a_type_checker_knows_the_state(tmp_path: Path, mypy_cache: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import aiohttpd\n"
        "class State:\n"
        "    count: int = 0\n"
        "class Typed(aiohttpd.BaseHTTPRequestHandler[State]):\n"
        "    async def do_GET(self) -> None:\n"
        "        reveal_type(self.server.state)\n"
        "        self.server.state.none\n"
        "        self.server.anything.at.all\n"
        "class Plain(aiohttpd.BaseHTTPRequestHandler):\n"
        "    async def do_GET(self) -> None:\n"
        "        self.server.state.anything\n"
        "async def work() -> None: ...\n"
        "class Derived(Typed):\n"
        "    async def do_GET(self) -> None:\n"
        "        reveal_type(self.server.state.count)\n"
        "        self.server.background(work())\n"
        "app: aiohttpd.App = aiohttpd.layers(Typed, aiohttpd.middleware.RequestID())\n"
        "aiohttpd.HTTPServer(('', 0), Derived)\n"
    )
    done = checked(tmp_path, mypy_cache)
    assert done.stdout.splitlines()[:-1] == [
        'program.py:6: note: Revealed type is "program.State"',
        'program.py:7: error: "State" has no attribute "none"  [attr-defined]',
        'program.py:15: note: Revealed type is "int"',
    ], done.stdout + done.stderr
