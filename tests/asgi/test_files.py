"""Files by their path or descriptor: for whom the extensions are offered, and middleware that does not know them."""

import gzip
import io
import os
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd.testing import running

from ..support.clients import Client, connected, get
from ..support.wire import Response

Scope = dict[str, Any]


async def ask(client: Client, *lines: str) -> Response:
    await client.send(get("/", *lines))
    return await client.answer()


class Compressing:
    """Middleware as some of others: for clients that accept gzip it holds the head back until content comes."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if not any(b"gzip" in value for name, value in scope.get("headers", ()) if name == b"accept-encoding"):
            await self._app(scope, receive, send)
            return
        start: Any = None

        async def held(message: Any) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
            elif message["type"] == "http.response.body":
                content = gzip.compress(message["body"])
                await send({**start, "headers": [(b"content-encoding", b"gzip")]})
                await send({**message, "body": content})

        await self._app(scope, receive, held)


@pytest.mark.parametrize(
    ("field", "offered"),
    [
        (None, True),
        ("identity", True),
        ("identity;q=1, *;q=0", True),
        ("gzip, deflate", False),
        ("gzip;q=0", False),
        ("identity\r\nAccept-Encoding: gzip", False),
    ],
)
async def test_files_are_left_to_middleware_that_compresses(tmp_path: Path, field: str | None, offered: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    claims: list[set[str]] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        claims.append(set(scope["extensions"]))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]})
        if "http.response.pathsend" in scope["extensions"]:
            await send({"type": "http.response.pathsend", "path": str(path)})
        else:
            await send({"type": "http.response.body", "body": path.read_bytes()})

    host = aiohttpd.asgi.host(Compressing(app), lifespan="off")
    lines = [] if field is None else [f"Accept-Encoding: {field}"]
    async with running(host) as server, connected(server) as client:
        for _ in range(2):
            answer = await ask(client, *lines)
            content = answer.body if answer["Content-Encoding"] is None else gzip.decompress(answer.body)
            assert (answer.status, content) == (200, b"content")
        # Fields that differ, on the same connection.
        assert (await ask(client, "Accept-Encoding: br")).body == b"content"
        assert (await ask(client)).body == b"content"
    files = {"http.response.pathsend", "http.response.zerocopysend"}
    assert [claim & files for claim in claims] == [files if offered else set()] * 2 + [set(), files]
    assert all(claim >= {"http.response.early_hint", "http.response.trailers"} for claim in claims)


async def test_a_path_is_sent_though_it_was_not_offered(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    async with running(aiohttpd.asgi.host(app, lifespan="off")) as server, connected(server) as client:
        assert (await ask(client, "Accept-Encoding: gzip")).body == b"content"


@pytest.mark.parametrize("as_descriptor", [False, True])
async def test_descriptors_are_read_from_their_position(tmp_path: Path, *, as_descriptor: bool) -> None:
    """The file may be an object or a number; without an offset it is read on from where it is."""
    (tmp_path / "file").write_bytes(b"0123456789")

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with open(tmp_path / "file", "rb", buffering=0) as file:
            file.seek(1)
            what = file.fileno() if as_descriptor else file
            part = {"type": "http.response.zerocopysend", "file": what, "more_body": True}
            await send({**part, "count": 2})
            await send({**part, "offset": 0, "count": 1})
            await send({**part, "count": 3})
            await send({**part, "more_body": False})
            assert file.tell() == 10

    async with running(aiohttpd.asgi.host(app, lifespan="off")) as server, connected(server) as client:
        assert (await ask(client)).body == b"12" + b"0" + b"345" + b"6789"


async def test_what_is_no_file_is_refused() -> None:
    raised: list[type[BaseException]] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        reading, writing = os.pipe()
        for file in (io.BytesIO(b"content"), "name", None, reading, 1000):
            try:
                await send({"type": "http.response.zerocopysend", "file": file})
            except Exception as error:
                raised.append(type(error))
        os.close(reading)
        os.close(writing)
        await send({"type": "http.response.body", "body": b"still here"})

    async with running(aiohttpd.asgi.host(app, lifespan="off")) as server, connected(server) as client:
        assert (await ask(client)).body == b"still here"
    assert raised == [io.UnsupportedOperation, AttributeError, AttributeError, OSError, OSError]
