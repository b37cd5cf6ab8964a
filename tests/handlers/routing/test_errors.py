"""Errors in one place: which function answers for which error, and what becomes of errors in these."""

import asyncio
import functools
import pickle
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, ClientDisconnected, HTTPError, MissingField, Request, Router, StreamWriter
from aiohttpd.testing import exchange

from ...support.asking import QUIET, answer_to, fetch
from ...support.clients import head


class ValidationError(ValueError):
    """What a library raises."""


class Deeper(ValidationError):
    pass


def telling_page(label: str) -> Any:
    async def page(self: BaseHTTPRequestHandler, error: Exception) -> None:
        status = error.status if isinstance(error, HTTPError) else 422
        self.send_text(f"{label}: {error}", status)

    return page


ERRORS: dict[str, Exception] = {
    "404": HTTPError(404),
    "418": HTTPError(418),
    "missing": MissingField("x"),
    "401": HTTPError(401, headers=[("WWW-Authenticate", "Basic")]),
    "validation": ValidationError("no number"),
    "deeper": Deeper("no number"),
    "key": KeyError("x"),
    "group": ExceptionGroup("tasks", [HTTPError(404)]),
    "mixed": ExceptionGroup("tasks", [HTTPError(404), KeyError("x")]),
}


class Failing(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        if self.query.get("begun"):
            self.send_response(200)
            self.send_header("X-Begun", "1")
            self.end_headers()
            self.wfile.write(b"begun")
        raise ERRORS[self.params["name"]]

    def do_POST(self) -> None:
        raise ERRORS[self.params["name"]]


async def failing(request: Request, response: StreamWriter) -> None:
    raise ERRORS[request.params["name"]]


def site_of(**pages: Any) -> Router:
    names = {"validation": ValidationError, "http": HTTPError, "any": Exception, "missing": MissingField}
    handlers = {names.get(name) or int(name[1:]): page for name, page in pages.items()}
    return Router({"/handler/{name}": Failing, "/app/{name}": failing}, error_handlers=handlers)


ALL = site_of(
    _404=telling_page("404"),
    _400=telling_page("400"),
    validation=telling_page("validation"),
    http=telling_page("http"),
    any=telling_page("any"),
)


class TestWhich:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("kind", ["handler", "app"])
    @pytest.mark.parametrize(
        ("name", "status", "label"),
        [
            ("404", 404, "404"),
            ("418", 418, "http"),
            ("401", 401, "http"),
            ("missing", 400, "400"),
            ("validation", 422, "validation"),
            ("deeper", 422, "validation"),
            ("group", 404, "404"),
        ],
    )
    async def test_of_a_handler(self, kind: str, name: str, status: int, label: str, method: str) -> None:
        for query in ("", "?begun=1"):
            answer = await fetch(ALL, f"/{kind}/{name}{query}", method=method)
            assert (answer.status, answer.body.partition(b":")[0].decode()) == (status, label)
            assert answer["X-Begun"] is None
            assert answer["WWW-Authenticate"] == ("Basic" if status == 401 else None)

    @pytest.mark.parametrize("kind", ["handler", "app"])
    @pytest.mark.parametrize("name", ["key", "mixed"])
    async def test_what_nobody_has_foreseen_is_logged(
        self, kind: str, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = await fetch(ALL, f"/{kind}/{name}")
        assert (answer.status, answer.body[:3]) == (422, b"any")
        assert caplog.text.count("unhandled exception") == 1
        caplog.clear()
        answer = await fetch(site_of(_500=telling_page("500")), f"/{kind}/{name}")
        assert (answer.status, answer.body[:3]) == (422, b"500")
        assert caplog.text.count("unhandled exception") == 1
        caplog.clear()

    async def test_a_class_below_http_error_comes_before_its_status(self) -> None:
        site = site_of(_400=telling_page("400"), missing=telling_page("missing"))
        assert (await fetch(site, "/handler/missing")).body.startswith(b"missing:")

    @pytest.mark.parametrize("kind", ["handler", "app"])
    async def test_without_a_function(self, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        site = site_of(_418=telling_page("418"))
        assert (await fetch(site, f"/{kind}/404")).status == 404
        assert (await fetch(site, f"/{kind}/key")).status == 500
        assert caplog.text.count("unhandled exception") == 1
        caplog.clear()

    async def test_exception_is_not_for_answers(self) -> None:
        answer = await fetch(site_of(any=telling_page("any")), "/handler/404")
        assert (answer.status, b"any:" in answer.body) == (404, False)

    async def test_of_the_router_itself(self) -> None:
        async def page(self: BaseHTTPRequestHandler, error: HTTPError) -> None:
            self.send_html(f"<p>{error.status} {self.url_path}", error.status)

        site = Router({"/x": Failing}, error_handlers={404: page, 405: page, 501: page})
        assert (await fetch(site, "/none")).body == b"<p>404 /none"
        answer = await fetch(site, "/x", method="PUT")
        assert (answer.status, answer["Allow"], answer.body) == (405, "GET, HEAD, POST, OPTIONS", b"<p>405 /x")
        assert (await fetch(site, "/x", method="BREW")).body == b"<p>501 /x"
        assert (await fetch(site, "/none", method="HEAD")).body == b""

    @pytest.mark.parametrize("plain", [True, False])
    async def test_of_send_error(self, plain: bool) -> None:
        after: list[str] = []

        def fail(self: Any) -> None:
            self.send_error(404, "No <such> thing", headers=[("X-More", "1")])
            after.append("not reached")

        async def fail_async(self: BaseHTTPRequestHandler) -> None:
            fail(self)

        cls = type("Sending", (BaseHTTPRequestHandler,), {"do_GET": fail if plain else fail_async})
        answer = await fetch(Router({"/x": cls}, error_handlers={404: telling_page("page")}), "/x")
        assert (answer.status, answer.body, answer["X-More"]) == (404, b"page: 404 No <such> thing", "1")
        assert after == []
        await fetch(Router({"/x": cls}), "/x")
        assert after == ["not reached"]

    async def test_of_a_file_server(self, tmp_path: Path) -> None:
        files = functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory=tmp_path)
        answer = await fetch(Router({"/files/": files}, error_handlers={404: telling_page("page")}), "/files/none")
        assert (answer.status, answer.body) == (404, b"page: 404 File not found")


class TestWithin:
    async def test_a_router_in_a_router(self) -> None:
        inner = Router({"/{name}": Failing}, error_handlers={404: telling_page("inner")})
        site = Router(
            {"/in/": inner, "/out/{name}": Failing},
            error_handlers={404: telling_page("outer"), ValidationError: telling_page("outer")},
        )
        for target, body in (
            ("/in/404", b"inner: 404"),
            ("/in/none/none", b"inner: 404"),
            ("/in/validation", b"outer: no number"),
            ("/out/404", b"outer: 404"),
            ("/none", b"outer: 404"),
        ):
            assert (await fetch(site, target)).body == body

    async def test_around_any_app(self) -> None:
        pages = {404: telling_page("page"), Exception: telling_page("any")}
        for app in (Always, always, pickle.loads(pickle.dumps(aiohttpd.handle_errors(Always, {418: not_here})))):
            answer = await fetch(aiohttpd.handle_errors(app, pages), "/x")
            assert (answer.status, answer.body) == (404, b"page: 404")


class Always(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        raise HTTPError(404)


async def always(request: Request, response: StreamWriter) -> None:
    raise HTTPError(404)


async def not_here(self: BaseHTTPRequestHandler, error: Exception) -> None: ...


class TestErrorsInThem:
    @pytest.mark.parametrize("kind", ["handler", "app"])
    async def test_another_answer(self, kind: str) -> None:
        async def page(self: BaseHTTPRequestHandler, error: Exception) -> None:
            raise HTTPError(503, headers=[("Retry-After", "1")])

        answer = await fetch(site_of(_401=page, _503=page), f"/{kind}/401")
        assert (answer.status, answer["Retry-After"], answer["WWW-Authenticate"]) == (503, "1", None)

    @pytest.mark.parametrize("kind", ["handler", "app"])
    async def test_send_error(self, kind: str) -> None:
        async def page(self: BaseHTTPRequestHandler, error: Exception) -> None:
            self.send_error(404, "Not by this")

        answer = await fetch(site_of(_404=page), f"/{kind}/404")
        assert (answer.status, answer.reason) == (404, "Not by this")

    @pytest.mark.parametrize("kind", ["handler", "app"])
    @pytest.mark.parametrize("begun", [True, False])
    async def test_an_exception(self, kind: str, begun: bool, caplog: pytest.LogCaptureFixture) -> None:
        async def page(self: BaseHTTPRequestHandler, error: Exception) -> None:
            if begun:
                self.send_response(200)
            raise ZeroDivisionError("in the page")

        answer = await fetch(site_of(_404=page), f"/{kind}/404")
        assert answer.status == 500
        assert caplog.text.count("ZeroDivisionError: in the page") == 1
        caplog.clear()

    @pytest.mark.parametrize("kind", ["handler", "app"])
    async def test_no_answer(self, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        for page in (not_here, begins_only):
            answer = await fetch(site_of(_404=page), f"/{kind}/404")
            assert answer.status == 500
            assert "ContractError" in caplog.text
            caplog.clear()

    async def test_the_head_has_left(self, caplog: pytest.LogCaptureFixture) -> None:
        called: list[Exception] = []

        class Late(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                await self.wfile.drain()
                raise ValidationError("too late")

        async def page(self: BaseHTTPRequestHandler, error: Exception) -> None:
            called.append(error)

        out = await exchange(
            Router({"/": Late}, error_handlers={ValidationError: page}), head("GET", "/"), config=QUIET
        )
        assert out.count(b"HTTP/1.1 ") == 1
        assert not out.endswith(b"0\r\n\r\n")
        assert called == []
        caplog.clear()

    async def test_who_has_gone_is_no_error(self, caplog: pytest.LogCaptureFixture) -> None:
        class Gone(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                raise ClientDisconnected("gone")

        called: list[Exception] = []

        async def page(self: BaseHTTPRequestHandler, error: Exception) -> None:
            called.append(error)

        await exchange(Router({"/": Gone}, error_handlers={Exception: page}), head("GET", "/"), config=QUIET)
        assert called == []
        caplog.clear()  # this one is still there, so it is a fault of the handler's

    async def test_a_cancellation_is_none(self, caplog: pytest.LogCaptureFixture) -> None:
        called: list[Exception] = []

        class Slow(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                await asyncio.Event().wait()

        async def page(self: BaseHTTPRequestHandler, error: Exception) -> None:
            called.append(error)

        site = Router({"/": Slow}, error_handlers={Exception: page, 503: page})
        answer = await answer_to(site, head("GET", "/"), timeout_handler=0.05)
        assert (answer.status, called) == (503, [])
        assert "no answer was begun within timeout_handler" in caplog.text
        caplog.clear()


async def begins_only(self: BaseHTTPRequestHandler, error: Exception) -> None:
    self.send_response(404)


@pytest.mark.parametrize(
    ("key", "page", "why"),
    [
        (200, not_here, "no status of an error"),
        ("404", not_here, "neither a status nor a class"),
        (BaseException, not_here, "neither a status nor a class"),
        (404, lambda self, error: None, "async def"),
        (404, functools.partial(not_here, None, None), "takes"),
    ],
)
def test_what_is_refused(key: Any, page: Any, why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        Router(error_handlers={key: page})


def test_http_error_has_details() -> None:
    error = HTTPError(422, "Wrong", detail=[{"place": "a", "why": "b"}], headers={"X": "y"})
    assert (error.detail, error.explain, error.headers) == ([{"place": "a", "why": "b"}], None, (("X", "y"),))
    assert HTTPError(404, detail="no such note").explain == "no such note"
    assert HTTPError(404, None, "explained", detail="no such note").explain == "explained"
    assert pickle.loads(pickle.dumps(error)).detail == error.detail
