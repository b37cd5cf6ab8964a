"""Applications of ASGI, one for each kind of row in the table, and what they have seen.

All are behind one: the first part of the path says which. What they note is read from ``/seen/PATH``. They run in the
process of whatever server is looked at, so they import nothing but the standard library.
"""

import asyncio
import json
import os
import sys
import tempfile
from collections import defaultdict
from contextvars import ContextVar
from typing import Any

APPLICATIONS: dict[str, Any] = {}
SEEN: defaultdict[str, list[Any]] = defaultdict(list)  # by path
WORD: ContextVar[str] = ContextVar("WORD", default="unset")
_MIB = b"x" * 1024 * 1024


class Noted:
    """One request with what its application notes of it."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope, self.receive, self._send = scope, receive, send
        self.seen = SEEN[scope["path"]]

    def note(self, thing: Any) -> None:
        self.seen.append(thing)

    async def start(self, status: int = 200, headers: Any = (), **more: Any) -> None:
        await self._send({"type": "http.response.start", "status": status, "headers": headers, **more})

    async def body(self, body: Any = b"", *, more: bool = False) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def answer(self, body: bytes = b"ok", headers: Any = (), status: int = 200) -> None:
        await self.start(status, [(b"content-length", b"%d" % len(body)), *headers])
        await self.body(body)

    async def send(self, message: Any) -> None:
        await self._send(message)

    async def told(self, call: Any) -> str:
        """What is raised out of a call; noted, too."""
        try:
            await call
        except OSError:
            result = "OSError"
        except Exception as error:
            result = "raises" if str(error) else "raises without a text"
        else:
            result = "nothing"
        self.note(result)
        return result

    async def message(self) -> Any:
        """Receive, and note what of it can be noted."""
        message = await self.receive()
        self.note([message["type"], len(message.get("body", b"")), message.get("more_body", False)])
        return message


def application(function: Any) -> Any:
    async def run(scope: Any, receive: Any, send: Any) -> None:
        noted = Noted(scope, receive, send)
        try:
            await function(noted)
        except asyncio.CancelledError:
            noted.note("cancelled")
            raise
        finally:
            noted.note("end")

    APPLICATIONS[function.__name__] = run
    return function


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await begin_and_end(scope, receive, send)
    elif scope["path"].startswith("/seen/"):
        text = json.dumps(SEEN[scope["path"].removeprefix("/seen")]).encode()
        await Noted(scope, receive, send).answer(text)
    else:
        await APPLICATIONS[scope["path"].split("/")[1]](scope, receive, send)


async def begin_and_end(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    if "state" in scope:
        scope["state"].update(word="begun", places=[])
    WORD.set("set")
    await asyncio.sleep(0.2)  # in which nobody may be served
    SEEN["lifespan"].append("begun")
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    print("shutdown received", file=sys.stderr, flush=True)
    await send({"type": "lifespan.shutdown.complete"})


# Scopes.


def plain(thing: Any) -> Any:
    """Something as JSON takes it: bytes as text, tuples as lists."""
    if isinstance(thing, bytes):
        return thing.decode("latin-1")
    if isinstance(thing, dict):
        return {key: plain(value) for key, value in thing.items() if key != "app"}
    return [plain(each) for each in thing] if isinstance(thing, (list, tuple)) else thing


@application
async def scope(it: Noted) -> None:
    it.note(plain(it.scope))
    it.note([WORD.get(), list(SEEN["lifespan"])])
    if "state" in it.scope:
        it.scope["state"]["mine"] = True  # the next request must not see it
    it.scope["headers"] = [*it.scope["headers"], (b"x-mine", b"1")]
    if isinstance(it.scope["headers"], list):
        it.scope["headers"].append((b"x-mine", b"1"))
    await it.answer()


# Requests.


@application
async def reads(it: Noted) -> None:
    size = 0
    while True:
        message = await it.message()
        size += len(message.get("body", b""))
        if not message.get("more_body", False):
            break
    await it.answer(b"%d" % size)


@application
async def reads_slowly(it: Noted) -> None:
    it.note(len((await it.receive())["body"]))
    await asyncio.sleep(1.5)
    await it.start()
    await it.body()


@application
async def reads_nothing(it: Noted) -> None:
    await it.answer(b"unread")


# The client goes.


@application
async def after_complete(it: Noted) -> None:
    await it.message()
    await it.answer()
    await it.message()


@application
async def pending(it: Noted) -> None:
    await it.message()
    waiting = asyncio.create_task(it.message())
    await asyncio.sleep(0.05)
    it.note("still waits" if not waiting.done() else "woken too early")
    await it.answer()
    async with asyncio.timeout(2):
        await waiting


@application
async def waits(it: Noted) -> None:
    await it.message()
    it.note("waits")
    await it.message()


@application
async def waits_in_stream(it: Noted) -> None:
    await it.message()
    await it.start()
    await it.body(b"first", more=True)
    await it.message()
    for _ in range(50):
        if await it.told(it.body(_MIB, more=True)) != "nothing":
            return


@application
async def sleeps(it: Noted) -> None:
    await it.message()
    it.note("sleeps")
    await asyncio.sleep(0.5)
    it.note("slept")


@application
async def reads_until_gone(it: Noted) -> None:
    while (await it.message())["type"] != "http.disconnect":
        pass


@application
async def sends_until_gone(it: Noted) -> None:
    await it.message()
    await it.start()
    while True:
        await it.body(b"x" * 65536, more=True)
        await asyncio.sleep(0.001)


# Answers.


@application
async def only_start(it: Noted) -> None:
    await it.start(202)
    await asyncio.sleep(0.4)
    await it.body(b"late")


@application
async def fields(it: Noted) -> None:
    await it.answer(
        headers=[(b"x-first", b"1"), (b"set-cookie", b"a=1"), (b"x-second", b"\xe9"), (b"set-cookie", b"b=2")]
    )


@application
async def generator_of_fields(it: Noted) -> None:
    await it.start(200, ([name, b"1"] for name in (b"x-a", b"x-b")))
    await it.body(b"ok")


@application
async def nothing(it: Noted) -> None:
    await it.start(200, [(b"content-length", b"0")])
    await it.send({"type": "http.response.body"})


@application
async def streams_parts(it: Noted) -> None:
    await it.start()
    for piece in (b"one", b"", b"two"):
        await it.body(piece, more=True)
        await asyncio.sleep(0.15)
    await it.body(b"three")


@application
async def in_pieces(it: Noted) -> None:
    await it.start(200, [(b"content-length", b"6")])
    it.note([await it.told(it.body(piece, more=True)) for piece in (b"one", b"two")])
    await it.body()


@application
async def no_content(it: Noted) -> None:
    await it.start(204)
    await it.body(b"")


@application
async def not_modified(it: Noted) -> None:
    await it.start(304, [(b"content-length", b"5"), (b"etag", b'"a"')])
    await it.body(b"")


@application
async def teapot(it: Noted) -> None:
    await it.answer(status=599)


@application
async def chunks_itself(it: Noted) -> None:
    await it.start(200, [(b"transfer-encoding", b"chunked")])
    await it.body(b"not a chunk")


@application
async def floods(it: Noted) -> None:
    """Sends 64 MiB, and notes how far it is."""
    await it.start(200, [(b"content-length", b"%d" % (64 * len(_MIB)))])
    for number in range(64):
        it.seen[:] = [number]
        await it.body(_MIB, more=number < 63)


@application
async def goes_on(it: Noted) -> None:
    await it.answer(b"all of it", [(b"connection", b"close")] if it.scope["query_string"] == b"close" else ())
    await asyncio.sleep(1)
    it.note("background done")


@application
async def fails_afterwards(it: Noted) -> None:
    await it.answer(b"all of it")
    raise RuntimeError("failed on purpose, afterwards")


# Wrong order, wrong types, failures.


@application
async def body_first(it: Noted) -> None:
    await it.told(it.body(b"no head"))
    await it.answer()


@application
async def start_twice(it: Noted) -> None:
    await it.start(200, [(b"content-length", b"2")])
    await it.told(it.start(500))
    await it.body(b"ok")


@application
async def unknown(it: Noted) -> None:
    await it.told(it.send({"type": "http.response.nonsense"}))
    await it.answer()


@application
async def after_the_end(it: Noted) -> None:
    await it.answer()
    await it.told(it.body(b"more"))


@application
async def text_for_body(it: Noted) -> None:
    await it.start(200, [(b"content-length", b"2")])
    await it.told(it.body("ok"))


@application
async def text_for_fields(it: Noted) -> None:
    await it.told(it.start(200, [("x-text", "1")]))


@application
async def splits(it: Noted) -> None:
    result = await it.told(it.start(200, [(b"x-split", b"1\r\nx-smuggled: 1")]))
    if result == "nothing":
        await it.told(it.body(b"ok"))


@application
async def no_status(it: Noted) -> None:
    await it.told(it.send({"type": "http.response.start", "headers": []}))


@application
async def too_long(it: Noted) -> None:
    await it.start(200, [(b"content-length", b"2")])
    await it.told(it.body(b"too long"))


@application
async def too_long_in_pieces(it: Noted) -> None:
    await it.start(200, [(b"content-length", b"2")])
    await it.body(b"ok", more=True)
    await it.told(it.body(b" and more"))


@application
async def too_short(it: Noted) -> None:
    await it.start(200, [(b"content-length", b"9")])
    await it.body(b"short", more=True)
    await it.told(it.body())


@application
async def raises(it: Noted) -> None:
    raise RuntimeError("failed on purpose")


@application
async def raises_after_start(it: Noted) -> None:
    await it.start(200)
    raise RuntimeError("failed on purpose")


@application
async def raises_in_stream(it: Noted) -> None:
    await it.start(200)
    await it.body(b"first", more=True)
    await asyncio.sleep(0.05)
    raise RuntimeError("failed on purpose")


@application
async def returns(it: Noted) -> None:
    await it.message()


@application
async def returns_in_stream(it: Noted) -> None:
    await it.start(200)
    await it.body(b"first", more=True)
    await asyncio.sleep(0.05)


# Extensions.


def claims(it: Noted, name: str) -> bool:
    claimed = name in it.scope.get("extensions", {})
    it.note("claimed" if claimed else "not claimed")
    return claimed


@application
async def trailers(it: Noted) -> None:
    if claims(it, "http.response.trailers"):
        await it.start(200, [(b"trailer", b"x-sum")], trailers=True)
        await it.body(b"content", more=True)
        await it.body()
        await it.send({"type": "http.response.trailers", "headers": [(b"x-sum", b"7")], "more_trailers": False})
    else:
        await it.answer()


@application
async def hints(it: Noted) -> None:
    claimed = claims(it, "http.response.early_hint")
    await it.start(200, [(b"content-length", b"2")])
    if claimed:
        await it.send(
            {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload", b"</b.js>; rel=preload"]}
        )
    await it.body(b"ok")


@application
async def sends_path(it: Noted) -> None:
    if claims(it, "http.response.pathsend"):
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(_MIB)
        try:
            await it.start(200, [(b"content-length", b"%d" % len(_MIB))])
            await it.send({"type": "http.response.pathsend", "path": file.name})
        finally:
            os.unlink(file.name)
    else:
        await it.answer()


@application
async def sends_descriptor(it: Noted) -> None:
    if claims(it, "http.response.zerocopysend"):
        with tempfile.TemporaryFile() as file:
            file.write(b"0123456789" * 1000)
            file.flush()
            await it.start(200, [(b"content-length", b"12")])
            await it.send(
                {"type": "http.response.zerocopysend", "file": file, "offset": 5, "count": 10, "more_body": True}
            )
            await it.body(b"!!")
    else:
        await it.answer()


@application
async def sends_rest(it: Noted) -> None:
    if claims(it, "http.response.zerocopysend"):
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"0123456789")
            file.seek(2)
            await it.start(200, [(b"content-length", b"8")])
            message = {"type": "http.response.zerocopysend", "file": file}
            await it.send({**message, "count": 3, "more_body": True})
            await it.send(message)
    else:
        await it.answer()


# WebSockets.


@application
async def socket_scope(it: Noted) -> None:
    it.note(plain(it.scope))
    it.note((await it.receive())["type"])
    await it.send({"type": "websocket.accept"})
    await it.send({"type": "websocket.close"})


@application
async def socket_echoes(it: Noted) -> None:
    await it.receive()
    names = it.scope["subprotocols"]
    headers = [(b"x-accepted", b"yes"), (b"set-cookie", b"a=1")]
    await it.send({"type": "websocket.accept", "subprotocol": names[-1] if names else None, "headers": headers})
    while True:
        message = await it.receive()
        if message["type"] == "websocket.disconnect":
            it.note([message["code"], message.get("reason")])
            it.note((await it.receive())["type"])
            await it.told(it.send({"type": "websocket.send", "text": "too late"}))
            return
        await it.send({**message, "type": "websocket.send"})


@application
async def socket_collects(it: Noted) -> None:
    await it.receive()
    await it.send({"type": "websocket.accept"})
    await asyncio.sleep(0.2)
    while True:
        message = await it.receive()
        it.note(message.get("text") or message.get("code"))
        if message["type"] == "websocket.disconnect":
            return


@application
async def socket_waits(it: Noted) -> None:
    it.note((await it.receive())["type"])
    it.note((await it.receive())["type"])


@application
async def socket_closes(it: Noted) -> None:
    await it.receive()
    await it.send({"type": "websocket.accept"})
    await it.send({"type": "websocket.send", "text": "last"})
    await it.send({"type": "websocket.close", "code": 4001, "reason": "enough"})
    it.note((await it.receive())["type"])
    await it.told(it.send({"type": "websocket.send", "text": "after"}))


@application
async def socket_denied(it: Noted) -> None:
    await it.receive()
    await it.send({"type": "websocket.close", "code": 4001})
    it.note((await it.receive())["type"])


@application
async def socket_answered(it: Noted) -> None:
    await it.receive()
    claims(it, "websocket.http.response")
    await it.send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"x-why", b"no")]})
    await it.send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
    await it.send({"type": "websocket.http.response.body", "body": b"is it?"})


@application
async def socket_returns(it: Noted) -> None:
    await it.receive()
    await it.send({"type": "websocket.accept"})


@application
async def socket_raises(it: Noted) -> None:
    await it.receive()
    await it.send({"type": "websocket.accept"})
    raise RuntimeError("failed on purpose")


@application
async def socket_raises_first(it: Noted) -> None:
    raise RuntimeError("failed on purpose")


@application
async def socket_returns_first(it: Noted) -> None:
    await it.receive()


@application
async def socket_wrong(it: Noted) -> None:
    await it.receive()
    await it.told(it.send({"type": "websocket.send", "text": "before"}))
    await it.send({"type": "websocket.accept"})
    await it.told(it.send({"type": "websocket.accept"}))
    await it.told(it.send({"type": "websocket.send", "text": None, "bytes": None}))
    await it.told(it.send({"type": "websocket.nonsense"}))
    await it.send({"type": "websocket.send", "text": "still here"})


# Lifespans, each a program of its own.


async def serve(scope: Any, receive: Any, send: Any) -> None:
    await Noted(scope, receive, send).answer(repr(scope.get("state", {}).get("word")).encode())


async def startup_fails(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database here"})
    else:
        await serve(scope, receive, send)


async def startup_raises(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        raise RuntimeError("no lifespan here")
    await serve(scope, receive, send)


async def knows_no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await serve(scope, receive, send)


async def shutdown_fails(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "the disk is full"})
    else:
        await serve(scope, receive, send)


async def returns_from_lifespan(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        return
    await serve(scope, receive, send)
