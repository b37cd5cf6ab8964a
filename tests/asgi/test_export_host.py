"""Both ways at once: an application of ASGI hosted by us, within an App that is exported as ASGI."""

import asyncio
from typing import Any

import pytest

import aiohttpd
from aiohttpd.asgi import export, host

from ..support.asgi import OuterServer, asked, http_scope


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        assert await receive() == {"type": "lifespan.startup"}
        scope["state"]["made"] = "in startup"
        await send({"type": "lifespan.startup.complete"})
        assert await receive() == {"type": "lifespan.shutdown"}
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    told = f"{scope['path']} {scope['root_path']} {scope['state']} ".encode()
    trailers = scope["path"].endswith("/trailers")
    headers = [(b"trailer", b"x-sum")] if trailers else []
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers})
    await send({"type": "http.response.body", "body": told, "more_body": True})
    await send({"type": "http.response.body", "body": body, "more_body": False})
    if trailers:
        await send({"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": False})


async def test_requests_and_lifespan() -> None:
    exported = export(aiohttpd.Router({"/in/": host(application)}))
    events: asyncio.Queue[Any] = asyncio.Queue()
    sent: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.create_task(exported({"type": "lifespan"}, events.get, sent.put))
    events.put_nowait({"type": "lifespan.startup"})
    assert await sent.get() == {"type": "lifespan.startup.complete"}
    answer = await asked(exported, "POST", "/in/a", body=b"abc" * 50_000)
    assert answer.content == b"/in/a /in {'made': 'in startup'} " + b"abc" * 50_000
    assert answer.complete
    events.put_nowait({"type": "lifespan.shutdown"})
    assert await sent.get() == {"type": "lifespan.shutdown.complete"}
    await life


@pytest.mark.parametrize("offered", [True, False])
async def test_trailers(offered: bool) -> None:
    extensions = {"http.response.trailers": {}} if offered else {}
    answer = await asked(
        export(host(application, lifespan="off")), "GET", "/trailers", ("te", "trailers"), extensions=extensions
    )
    assert answer.sent[0].get("trailers", False) is offered
    assert (answer.sent[-1]["type"] == "http.response.trailers") is offered
    if offered:
        assert answer.sent[-1]["headers"] == [(b"x-sum", b"1")]


async def test_work_after_the_answer_does_not_hold_it_back() -> None:
    goes_on = asyncio.Event()

    async def works_on(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer", "more_body": False})
        await goes_on.wait()

    outer = OuterServer(export(host(works_on, lifespan="off")), http_scope())
    task = asyncio.create_task(outer.run())
    async with asyncio.timeout(10):
        while not (outer.sent and outer.complete):
            await asyncio.sleep(0)
    assert not task.done()
    goes_on.set()
    await task
    assert outer.content == b"answer"


async def test_an_error_after_the_answer_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fails_late(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"answer", "more_body": False})
        await asyncio.sleep(0)
        raise ZeroDivisionError("late")

    answer = await asked(export(host(fails_late, lifespan="off")))
    assert answer.content == b"answer"
    assert answer.complete
    assert "late" in caplog.text
    caplog.clear()
