"""A server of ASGI in memory: it gives an application scopes and messages, and keeps what comes back."""

import asyncio
from collections.abc import Iterable
from typing import Any

from .waiting import BOUND

Fields = Iterable[tuple[str, str]]


def http_scope(method: str = "GET", target: str = "/", *fields: tuple[str, str], **more: Any) -> dict[str, Any]:
    """The scope of a request as uvicorn makes it."""
    raw, _, query = target.partition("?")
    from urllib.parse import unquote

    given = fields if any(name.lower() == "host" for name, _ in fields) else (("host", "test"), *fields)
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw),
        "raw_path": raw.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in given],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "extensions": {},
    }
    return {**scope, **more}


class OuterServer:
    """One request to an application.

    Args:
        application: the application.
        scope: of the request.
        body: its pieces, which come as they are asked for.
        ends: the body ends with the last of them.

    Attributes:
        sent: the messages of the application.
        asked: how often it has called ``receive``.
        gate: cleared, ``send`` waits: the client is slow.
    """

    def __init__(self, application: Any, scope: dict[str, Any], *body: bytes, ends: bool = True) -> None:
        self._application = application
        self._scope = scope
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        pieces = body or ((b"",) if ends else ())
        for number, piece in enumerate(pieces, 1):
            self.give(piece, more=not (ends and number == len(pieces)))
        self.sent: list[dict[str, Any]] = []
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.gone = False

    def give(self, piece: bytes, *, more: bool) -> None:
        """A piece of the body comes."""
        self._incoming.put_nowait({"type": "http.request", "body": piece, "more_body": more})

    def disconnect(self) -> None:
        """The client goes."""
        self.gone = True
        self._incoming.put_nowait({"type": "http.disconnect"})

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        return await self._incoming.get()

    async def send(self, message: dict[str, Any]) -> None:
        await self.gate.wait()
        if self.gone:
            raise OSError("the client is gone")
        self.sent.append(message)
        self.arrived.set()

    async def run(self) -> "OuterServer":
        """Have the application answer, all of it."""
        async with asyncio.timeout(BOUND):
            await self._application(self._scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return next((message["status"] for message in self.sent if message["type"] == "http.response.start"), 0)

    @property
    def headers(self) -> list[tuple[str, str]]:
        start = next(message for message in self.sent if message["type"] == "http.response.start")
        return [(str(name, "latin-1"), str(value, "latin-1")) for name, value in start["headers"]]

    def field(self, name: str) -> str | None:
        return dict(self.headers).get(name)

    @property
    def content(self) -> bytes:
        return b"".join(message["body"] for message in self.sent if message["type"] == "http.response.body")

    @property
    def complete(self) -> bool:
        """Whether the last message has come, and nothing after it."""
        bodies = [message for message in self.sent if message["type"] == "http.response.body"]
        return bool(bodies) and not bodies[-1]["more_body"] and all(each["more_body"] for each in bodies[:-1])


async def asked(
    application: Any, method: str = "GET", target: str = "/", *fields: tuple[str, str], body: bytes = b"", **more: Any
) -> OuterServer:
    """Ask an application for one answer."""
    length = (("content-length", str(len(body))),) if body else ()
    return await OuterServer(application, http_scope(method, target, *fields, *length, **more), body).run()
