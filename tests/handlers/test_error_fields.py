"""A header field that is added to `error_fields` is in every error response that the server words."""

import asyncio
import importlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

import aiohttpd
from aiohttpd import App, BaseHTTPRequestHandler, HTTPError, Request, StreamWriter
from aiohttpd.engine import error_body
from aiohttpd.fileserver.folder import FolderOptions, folder_app
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.server.status import health_page
from aiohttpd.testing import running

from ..support.asking import answer_to, fetch

ADDED = ("X-Everywhere", "yes")
CALLERS = {
    "aiohttpd.asgi.websocket",
    "aiohttpd.engine.failures",
    "aiohttpd.engine.traceback_page",
    "aiohttpd.handlers.base",
    "aiohttpd.server.status",
}


@pytest.fixture(autouse=True)
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a contributor would do: one more field in `error_fields`."""
    original = error_body.error_fields

    def with_one_more(
        status: int, content_type: str | None, *more: Iterable[tuple[str, str]] | Mapping[str, str]
    ) -> list[tuple[str, str]]:
        return [*original(status, content_type, *more), ADDED]

    for name in CALLERS:
        importlib.import_module(name)
    users = [module for module in sys.modules.values() if vars(module).get("error_fields") is original]
    assert {module.__name__ for module in users} == {"aiohttpd.engine.error_body", *CALLERS}
    for module in users:
        monkeypatch.setattr(module, "error_fields", with_one_more)


class Handler(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        match self.path:
            case "/raised":
                raise HTTPError(404, headers=[("X-Own", "1")])
            case "/sent":
                self.send_error(409, headers={"X-Own": "1"})
            case "/crash":
                raise LookupError
            case "/unchanged":
                self.send_error(304)
            case _:
                self.send_text("no error")


async def function(request: Request, response: StreamWriter) -> None:
    raise HTTPError(404, headers=[("X-Own", "1")])


@pytest.mark.parametrize(("path", "status"), [("/raised", 404), ("/sent", 409), ("/crash", 500), ("/unchanged", 304)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_of_handlers(method: str, path: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    answer = await fetch(Handler, path, method=method)
    assert (answer.status, answer[ADDED[0]]) == (status, "yes")
    assert answer["X-Own"] == ("1" if path in ("/raised", "/sent") else None)
    caplog.clear()


@pytest.mark.parametrize(("method", "status"), [("POST", 405), ("FETCH", 501)])
async def test_of_methods(method: str, status: int) -> None:
    answer = await fetch(Handler, "/", method=method)
    assert (answer.status, answer[ADDED[0]]) == (status, "yes")


@pytest.mark.parametrize("app", [function, aiohttpd.compression.compress(function)])
async def test_of_other_apps(app: App) -> None:
    answer = await fetch(app, "/")
    assert (answer.status, answer[ADDED[0]], answer["X-Own"]) == (404, "yes", "1")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    ],
    ids=["400", "505", "431", "414"],
)
@pytest.mark.parametrize("app", [Handler, function])
async def test_of_the_connection(app: App, request_: bytes, status: int) -> None:
    answer = await answer_to(app, request_)
    assert (answer.status, answer[ADDED[0]]) == (status, "yes")


async def test_of_layers(tmp_path: Path) -> None:
    for app, status in (
        (basic_auth(Handler, "a:b"), 401),
        (folder_app(str(tmp_path), FolderOptions(upload=True)), 404),
    ):
        answer = await fetch(app, "/none")
        assert (answer.status, answer[ADDED[0]]) == (status, "yes")


async def test_of_overload() -> None:
    async with running(Handler, max_connections=1, access_log=False) as server:
        streams = [await asyncio.open_connection(*server.server_address) for _ in range(2)]
        answer = await streams[1][0].read()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nX-Everywhere: yes\r\n" in answer
        for _, writer in streams:
            writer.close()


async def test_not_of_others() -> None:
    assert (await fetch(Handler, "/"))[ADDED[0]] is None


async def test_of_the_health_page_and_the_traceback_page(caplog: pytest.LogCaptureFixture) -> None:
    request = b"GET /crash HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await answer_to(Handler, request, config=aiohttpd.Config(debug=True, access_log=False))
    assert (answer.status, answer[ADDED[0]]) == (500, "yes")
    assert b"LookupError" in answer.body
    caplog.clear()
    answer = await answer_to(health_page(lambda: False), request)
    assert (answer.status, answer[ADDED[0]]) == (503, "yes")


class Own(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("worded by the program", 404)


async def test_what_a_program_words_itself_is_its_own() -> None:
    answer = await fetch(Own, "/")
    assert (answer.status, answer[ADDED[0]]) == (404, None)
