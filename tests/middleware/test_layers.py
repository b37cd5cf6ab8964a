"""layers(): their order, what an App with a layer passes on, and what is no layer."""

import functools
import http.server
import pickle
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest

import aiohttpd
from aiohttpd import App, Request, middleware
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, fetch
from ..support.clients import get
from ..support.layered import Page, bare, having


class Named(middleware.Layer):
    def __init__(self, name: str, met: list[str]) -> None:
        self.name = name
        self.met = met

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        self.met.append(self.name)
        return app(request, response)


async def test_the_first_layer_is_the_outermost() -> None:
    met: list[str] = []
    app = aiohttpd.layers(Page, Named("a", met), Named("b", met), Named("c", met))
    assert (await fetch(app)).body == b"ok"
    assert met == ["a", "b", "c"]


def test_no_layers_cost_nothing() -> None:
    assert aiohttpd.layers(Page) is Page
    assert aiohttpd.layers(bare) is bare


async def test_any_callable_is_a_layer() -> None:
    from aiohttpd.compression import compress

    app = aiohttpd.layers(
        having(("Content-Type", "text/plain"), content=b"a" * 5000), functools.partial(compress, level=9)
    )
    assert (await fetch(app, "/", "Accept-Encoding: gzip"))["Content-Encoding"] == "gzip"


def test_what_is_no_layer() -> None:
    with pytest.raises(TypeError, match=r"RequestID is a class of layers: write RequestID\(...\)"):
        aiohttpd.layers(Page, middleware.RequestID)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is no layer: a layer is called with an App"):
        aiohttpd.layers(Page, "gzip")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="it returned None"):
        aiohttpd.layers(Page, lambda app: None)  # type: ignore[arg-type,return-value]
    with pytest.raises(TypeError):
        aiohttpd.layers(object(), middleware.RequestID())  # type: ignore[arg-type]


async def test_errors_of_the_connection_look_like_those_of_the_app() -> None:
    class Own(Page):
        @staticmethod
        def error_body(status: int, message: str, explain: str) -> tuple[str, bytes]:
            return "text/plain", b"own %d" % status

    app = aiohttpd.layers(Own, middleware.ResponseHeaders({"X-A": "1"}), middleware.ResponseHeaders({"X-B": "2"}))
    answer = await exchange(app, b"NONSENSE\r\n\r\n", config=QUIET)
    assert b"X-A: 1\r\n" in answer and b"X-B: 2\r\n" in answer and answer.endswith(b"own 400")


async def test_lifespan_of_the_app_is_passed_on() -> None:
    @asynccontextmanager
    async def lifespan(server: Any) -> AsyncIterator[None]:
        yield

    router = aiohttpd.Router({"/": Page}, lifespan=lifespan)
    app: Any = aiohttpd.layers(router, middleware.RequestID(), middleware.CORS("*"))
    assert app.lifespan == router.lifespan


def test_can_be_handed_to_workers() -> None:
    app = aiohttpd.layers(
        Page,
        middleware.RequestID(),
        middleware.ProblemDetails(pages=False),
        middleware.SecurityHeaders(csp="default-src 'self'"),
        middleware.CORS(["https://a.example"]),
        middleware.BearerAuth(["token"]),
    )
    assert type(pickle.loads(pickle.dumps(app))) is type(app)


async def test_answers_in_many_pieces_have_the_fields() -> None:
    app = aiohttpd.layers(Page, middleware.ResponseHeaders({"X-A": "1"}))
    answer = await fetch(app, "/stream")
    assert (answer["X-A"], answer["Transfer-Encoding"], answer.body) == ("1", "chunked", b"part part part ")


@pytest.mark.parametrize("app", [Page, bare])
async def test_errors_have_the_fields_once(app: App, caplog: pytest.LogCaptureFixture) -> None:
    around = aiohttpd.layers(app, middleware.ResponseHeaders({"X-A": "1"}))
    for path, status in (("/missing", 404), ("/fail", 500)):
        answer = await fetch(around, path)
        assert (answer.status, answer["X-A"]) == (status, "1")
    caplog.clear()


async def test_fields_of_head_and_of_statuses_without_content() -> None:
    app = aiohttpd.layers(Page, middleware.ResponseHeaders({"X-A": "1"}))
    answer = await fetch(app, method="HEAD")
    assert (answer["X-A"], answer["Content-Length"], answer.body) == ("1", "2", b"")
    app = aiohttpd.layers(having(status=304), middleware.ResponseHeaders({"X-A": "1"}))
    assert (await fetch(app))["X-A"] == "1"


class Old(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "3")
        self.send_header("X-Frame-Options", "SAMEORIGIN")
        self.end_headers()
        self.wfile.write(b"old")

    def log_message(self, *args: Any) -> None: ...


async def test_handlers_of_http_server_have_the_fields() -> None:
    """They frame their answers themselves."""
    app = aiohttpd.layers(Old, middleware.SecurityHeaders(), middleware.CORS("*"))  # type: ignore[arg-type]
    async with running(app, access_log=False) as server:
        import asyncio

        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.write(get("/", "Connection: close"))
        answer = await reader.read()
        writer.close()
    assert answer.endswith(b"\r\n\r\nold")
    assert answer.count(b"X-Frame-Options: ") == 1 and b"X-Frame-Options: SAMEORIGIN\r\n" in answer
    assert b"Access-Control-Allow-Origin: *\r\n" in answer and b"X-Content-Type-Options: nosniff\r\n" in answer


async def test_a_plain_method_in_a_thread_has_the_fields() -> None:
    class Blocking(aiohttpd.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_text(middleware.current_request_id.get())

    answer = await fetch(aiohttpd.layers(Blocking, middleware.RequestID()))
    assert answer["X-Request-ID"] == answer.body.decode() != ""
