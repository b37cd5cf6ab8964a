"""Apps exported as ASGI: their lifespan, and what handlers find as ``self.server``."""

import asyncio
import contextvars
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import aiohttpd
from aiohttpd.asgi import export

from ..support.asgi import asked

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


class Told:
    """What an ASGI server does with the lifespan of an application."""

    def __init__(self, application: Any) -> None:
        self.sent: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(application({"type": "lifespan"}, self._events.get, self.sent.put))

    async def startup(self) -> dict[str, Any]:
        self._events.put_nowait({"type": "lifespan.startup"})
        return await self.sent.get()

    async def shutdown(self) -> dict[str, Any]:
        self._events.put_nowait({"type": "lifespan.shutdown"})
        answer = await self.sent.get()
        await self.task
        return answer


class Handler(aiohttpd.BaseHTTPRequestHandler):
    @staticmethod
    @asynccontextmanager
    async def lifespan(server: Any) -> AsyncIterator[None]:
        server.steps = ["in"]
        token = variable.set("set")
        yield
        variable.reset(token)
        server.steps.append("out" if server.shutting_down.is_set() else "not shutting down")
        Handler.steps = server.steps

    steps: list[str] = []

    async def do_GET(self) -> None:
        self.send_text(f"{self.server.steps} {variable.get()}")


async def test_it_surrounds_requests() -> None:
    application = export(Handler)
    told = Told(application)
    assert await told.startup() == {"type": "lifespan.startup.complete"}
    assert (await asked(application)).content == b"['in'] set"
    assert await told.shutdown() == {"type": "lifespan.shutdown.complete"}
    assert Handler.steps == ["in", "out"]


async def test_a_second_one_is_around_it() -> None:
    @asynccontextmanager
    async def outer(server: Any) -> AsyncIterator[None]:
        server.outer = 1
        yield

    class Inner(Handler):
        async def do_GET(self) -> None:
            self.send_text(f"{self.server.outer} {self.server.steps}")

    application = export(Inner, lifespan=outer)
    told = Told(application)
    await told.startup()
    assert (await asked(application)).content == b"1 ['in']"
    await told.shutdown()


async def test_a_startup_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def fails(server: Any) -> AsyncIterator[None]:
        raise OSError("no database")
        yield

    told = Told(export(Handler, lifespan=fails))
    assert await told.startup() == {"type": "lifespan.startup.failed", "message": "OSError: no database"}
    await told.task
    caplog.clear()


def test_what_is_no_lifespan() -> None:
    """It is refused when the application is made, and not when a server starts it."""
    lifespan: Any = "a name"
    with pytest.raises(TypeError, match="lifespan is 'a name': write an asynchronous function"):
        export(Handler, lifespan=lifespan)


async def test_a_shutdown_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def fails(server: Any) -> AsyncIterator[None]:
        yield
        raise OSError("lost")

    told = Told(export(Handler, lifespan=fails))
    await told.startup()
    assert await told.shutdown() == {"type": "lifespan.shutdown.failed", "message": "OSError: lost"}
    caplog.clear()


async def test_a_server_outside_that_leaves_it_out(caplog: pytest.LogCaptureFixture) -> None:
    class Careless(Handler):
        async def do_GET(self) -> None:
            self.send_text("served")

    application = export(Careless)
    for _ in range(2):
        assert (await asked(application)).content == b"served"
    assert caplog.text.count("--lifespan on") == 1
    caplog.clear()


async def test_a_router_without_one_says_nothing() -> None:
    class Page(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_text("page")

    assert (await asked(export(aiohttpd.Router({"/": Page})))).content == b"page"


async def test_a_router_with_one(caplog: pytest.LogCaptureFixture) -> None:
    application = export(aiohttpd.Router({"/": Handler}))
    told = Told(application)
    await told.startup()
    assert (await asked(application)).content == b"['in'] set"
    await told.shutdown()


async def test_what_a_server_has() -> None:
    class Asks(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            server = self.server
            other = await self.run_in_process(os.getpid)
            self.send_json([server.server_name, server.server_port, server.ready, other != os.getpid()])

    application = export(Asks, processes=1)
    told = Told(application)
    await told.startup()
    try:
        answer = await asked(application)
        assert answer.content.replace(b" ", b"") == b'["127.0.0.1",8000,true,true]'
    finally:
        await told.shutdown()


async def test_work_that_outlives_its_answer() -> None:
    steps: list[str] = []
    goes_on = asyncio.Event()

    async def work(name: str) -> None:
        await goes_on.wait()
        steps.append(name)

    class Starts(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.server.background(work("background"))
            self.after(work("after"))
            self.server.state.seen = True
            self.send_text("answer")

    @asynccontextmanager
    async def around(server: Any) -> AsyncIterator[None]:
        yield
        steps.append(f"lifespan {server.state.seen}")

    application = export(Starts, lifespan=around)
    told = Told(application)
    await told.startup()
    assert (await asked(application)).content == b"answer"
    assert steps == []
    asyncio.get_running_loop().call_later(0.01, goes_on.set)
    await told.shutdown()
    assert sorted(steps[:2]) == ["after", "background"]
    assert steps[2:] == ["lifespan True"]


async def test_work_that_does_not_end_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    class Starts(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.server.background(asyncio.Event().wait())
            self.send_text("answer")

    application = export(Starts, timeout_grace=0.01)
    told = Told(application)
    await told.startup()
    await asked(application)
    assert await told.shutdown() == {"type": "lifespan.shutdown.complete"}
    assert "is cancelled" in caplog.text
    caplog.clear()
