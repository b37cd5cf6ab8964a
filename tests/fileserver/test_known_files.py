"""Large files that the store knows: they are sent without a handler, and nobody can tell from the response."""

import contextlib
import functools
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest

from aiohttpd import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from aiohttpd.compression import compress
from aiohttpd.handlers.files import store, tree
from aiohttpd.testing import running

from ..support.clients import MIB, connected, get
from ..support.loops import on_both_loops

SIZE = MIB + 3
DATE = 1_000_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "large.txt"
    path.write_bytes(os.urandom(SIZE))
    os.utime(path, (DATE, DATE))
    return tmp_path


@pytest.fixture(autouse=True)
def known_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file is known from its first request on, and its path is not looked up again."""
    monkeypatch.setattr(tree, "_SETTLED", -1000.0)
    monkeypatch.setattr(store, "_LOOK_UP_INTERVAL", 1000.0)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths for which a handler was made."""
    paths: list[str] = []
    init = BaseHTTPRequestHandler.__init__

    @functools.wraps(init)
    def counting(self: Any, *args: Any) -> None:
        init(self, *args)
        paths.append(self.path)

    monkeypatch.setattr(BaseHTTPRequestHandler, "__init__", counting)
    return paths


def site(folder: Path, **attributes: Any) -> type[SimpleHTTPRequestHandler]:
    return type("Site", (SimpleHTTPRequestHandler,), {"directory": str(folder), **attributes})


FIELDS: list[dict[str, Any]] = [
    {},
    {"allow_origin": "*", "cache_control": "max-age=9"},
    {"extra_response_headers": [("X-A", "a"), ("etag", '"own"')]},
]


@on_both_loops
@pytest.mark.parametrize("attributes", FIELDS)
async def test_the_same_response(folder: Path, made: list[str], attributes: dict[str, Any]) -> None:
    """The first one is a handler's, the next ones are not; also with a query."""
    async with running(site(folder, **attributes)) as server, connected(server) as client:
        first = await client.ask("/large.txt")
        assert (len(made), len(first.body)) == (1, SIZE)
        assert first.body == (folder / "large.txt").read_bytes()
        for path in ("/large.txt", "/large.txt?v=1"):
            answer = await client.ask(path)
            assert answer.body == first.body
            assert {**dict(answer.fields), "Date": ""} == {**dict(first.fields), "Date": ""}
        assert len(made) == 1


@on_both_loops
@pytest.mark.parametrize(
    "attributes",
    [{"extra_response_headers": [("Connection", "close")]}, {"protocol_version": "HTTP/1.0"}, {"own": True}],
)
async def test_what_a_handler_has_to_do(folder: Path, made: list[str], attributes: dict[str, Any]) -> None:
    """Fields that end the connection, another version, methods of the class itself."""
    served: list[str] = []

    class Own(SimpleHTTPRequestHandler):
        directory: ClassVar[Any] = str(folder)

        async def send_head(self) -> Any:
            served.append(self.path)
            return await super().send_head()

    app = Own if "own" in attributes else site(folder, **attributes)
    async with running(app) as server:
        for _ in range(3):
            async with connected(server) as client:
                assert len((await client.ask("/large.txt")).body) == SIZE
    assert len(made) == 3 and len(served) in (0, 3)


@on_both_loops
@pytest.mark.parametrize("line", ["Range: bytes=5-9", 'If-None-Match: "a"', "Connection: close"])
async def test_other_requests(folder: Path, made: list[str], line: str) -> None:
    """Conditions and ranges are a handler's, and what ends the connection."""
    async with running(site(folder)) as server, connected(server) as client:
        for _ in range(2):
            await client.ask("/large.txt")
        await client.send(get("/large.txt", line))
        answer = await client.answer()
        assert answer.body == (folder / "large.txt").read_bytes()[5:10] if line.startswith("Range") else True
        assert len(made) == 2


@on_both_loops
async def test_compressed(folder: Path) -> None:
    """An encoder that changes the fields of one response does not change those of others."""
    (folder / "large.txt").write_bytes(b"text" * MIB)
    os.utime(folder / "large.txt", (DATE, DATE))
    async with running(compress(site(folder))) as server, connected(server) as client:
        for coding in ("gzip", "identity", "gzip", "identity"):
            await client.send(get("/large.txt", f"Accept-Encoding: {coding}"))
            answer = await client.answer()
            assert (answer["Content-Encoding"], answer["Content-Length"]) == (
                ("gzip", None) if coding == "gzip" else (None, str(4 * MIB))
            )


@on_both_loops
async def test_it_changes_while_it_is_sent(folder: Path, made: list[str]) -> None:
    """The response is cut."""
    path = folder / "large.txt"
    path.write_bytes(bytes(20 * MIB))
    os.utime(path, (DATE, DATE))
    async with running(site(folder)) as server:
        async with connected(server) as client:
            await client.ask("/large.txt")
        async with connected(server, small=True) as client:
            await client.send(get("/large.txt"))
            await client.reader.readuntil(b"\r\n\r\n")
            assert len(made) == 1
            with path.open("r+b") as file:
                file.write(b"changed")
            with contextlib.suppress(ConnectionResetError):
                assert len(await client.rest()) < 20 * MIB
    assert len(made) == 2  # a handler logs the error
