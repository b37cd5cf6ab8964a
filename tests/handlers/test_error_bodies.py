"""What an error answer contains, and who decides it: error_body, overrides of send_error, the default page."""

import copy
import functools
import json
import sys
from typing import Any

import pytest

import aiohttpd
from aiohttpd import BaseHTTPRequestHandler, HTTPError, Request, StreamWriter

from ..support import wire
from ..support.asking import answer_to

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def problem(status: int, message: str, explain: str) -> tuple[str, bytes]:
    return "application/problem+json", json.dumps({"status": status, "title": message, "detail": explain}).encode()


def values(response: wire.Response, name: str) -> list[str]:
    return [value for key, value in response.fields if key == name]


def handler(**attributes: Any) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (BaseHTTPRequestHandler,), attributes)


def do(error: Exception) -> Any:
    async def do_GET(self: BaseHTTPRequestHandler) -> None:
        raise error

    return do_GET


class TestOverridesOfSendError:
    """A class may have http.server's own ``send_error``, which knows no ``headers``."""

    def send_error(self: Any, code: int, message: str | None = None, explain: str | None = None) -> None:
        self.send_text(f"{code} {message} {explain}", status=code)

    async def test_fields_of_an_error_arrive(self) -> None:
        error = HTTPError(401, headers=[("WWW-Authenticate", "Bearer"), ("Connection", "close")])
        answer = await answer_to(handler(send_error=TestOverridesOfSendError.send_error, do_GET=do(error)), GET)

        assert (answer.status, answer.body) == (401, b"401 None None")
        assert values(answer, "WWW-Authenticate") == ["Bearer"]
        assert values(answer, "Connection") == ["close"]

    async def test_fields_from_a_dictionary(self) -> None:
        answer = await answer_to(handler(do_GET=do(HTTPError(429, headers={"Retry-After": "3"}))), GET)
        assert (answer.status, values(answer, "Retry-After")) == (429, ["3"])

        async def do_GET(self: BaseHTTPRequestHandler) -> None:
            self.send_error(429, headers={"Retry-After": "4"})

        assert values(await answer_to(handler(do_GET=do_GET), GET), "Retry-After") == ["4"]

    async def test_built_in_415(self) -> None:
        async def do_POST(self: BaseHTTPRequestHandler) -> None:
            await self.json()

        cls = handler(send_error=TestOverridesOfSendError.send_error, do_POST=do_POST)
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}"
        assert (await answer_to(cls, request)).status == 415

    async def test_fewer_arguments(self, caplog: pytest.LogCaptureFixture) -> None:
        def send_error(self: Any, code: int) -> None:
            self.send_text("?", status=code)

        assert (await answer_to(handler(send_error=send_error, do_GET=do(HTTPError(404))), GET)).status == 404
        assert (await answer_to(handler(send_error=send_error, do_GET=do(KeyError())), GET)).status == 500
        caplog.clear()

    async def test_it_replaces_what_was_begun(self) -> None:
        async def do_GET(self: BaseHTTPRequestHandler) -> None:
            self.send_text("half of an answer")
            raise HTTPError(409, "Conflict", "why")

        cls = handler(send_error=TestOverridesOfSendError.send_error, do_GET=do_GET)
        answer = await answer_to(cls, GET)
        assert (answer.status, answer.body) == (409, b"409 Conflict why")

    async def test_it_replaces_half_a_head(self, caplog: pytest.LogCaptureFixture) -> None:
        async def do_GET(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.send_header("X-Half", "yes")
            raise ValueError

        cls = handler(send_error=TestOverridesOfSendError.send_error, do_GET=do_GET)
        answer = await answer_to(cls, GET)
        assert (answer.status, values(answer, "X-Half")) == (500, [])
        caplog.clear()

    async def test_range_not_satisfiable(self, tmp_path: Any) -> None:
        class Files(aiohttpd.SimpleHTTPRequestHandler):
            send_error = TestOverridesOfSendError.send_error  # type: ignore[assignment]

        (tmp_path / "a.txt").write_text("abc")
        request = b"GET /a.txt HTTP/1.1\r\nHost: x\r\nRange: bytes=9-\r\n\r\n"
        answer = await answer_to(functools.partial(Files, directory=tmp_path), request)
        assert (answer.status, values(answer, "Content-Range")) == (416, ["bytes */3"])

    @pytest.mark.parametrize("name", ["send_error", "error_body", "end_headers", "log_message"])
    def test_asynchronous_is_refused(self, name: str) -> None:
        async def override(self: Any, *arguments: Any) -> None: ...

        with pytest.raises(TypeError, match="called without await: write 'def'"):
            handler(**{name: override})


def test_a_status_that_is_no_number() -> None:
    text: Any = "no such note"
    with pytest.raises(TypeError, match=r"^the status is 'no such note': write it as a number, HTTPError\(404, "):
        HTTPError(text)


@pytest.mark.parametrize("value", [{"field": "wrong"}, ValueError("wrong"), 1])
@pytest.mark.parametrize("name", ["message", "explain"])
def test_texts_that_are_none(name: str, value: Any) -> None:
    """FAULT: the answer was 500, and the log had two tracebacks that end in the template of the page."""
    with pytest.raises(TypeError, match=rf"^the {name} of an error is text, not {type(value).__name__}: .*detail="):
        HTTPError(400, **{name: value})


class TestTemplates:
    async def test_the_first_error_page_imports_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The error may be that no file can be opened, and then no module can be imported."""
        monkeypatch.setitem(sys.modules, "html", None)
        monkeypatch.setitem(sys.modules, "json", None)
        answer = await answer_to(handler(do_GET=do(HTTPError(503, None, "<a> & b"))), GET)
        assert answer.status == 503 and b"&lt;a&gt; &amp; b" in answer.body

    @pytest.mark.parametrize("kind", ["application/json", "application/problem+json; charset=utf-8"])
    async def test_json_is_escaped_as_json(self, kind: str) -> None:
        cls = handler(
            error_message_format='{"code": %(code)d, "message": "%(message)s", "explain": "%(explain)s"}',
            error_content_type=kind,
            do_GET=do(HTTPError(400, 'say "no"', "a < b \\ c\n\x00é")),
        )
        answer = await answer_to(cls, GET)
        assert json.loads(answer.body) == {"code": 400, "message": 'say "no"', "explain": "a < b \\ c\n\x00é"}

    @pytest.mark.parametrize(
        ("kind", "shown"),
        [
            ("text/html;charset=utf-8", b"a &lt; b &amp; c"),
            ("application/xhtml+xml", b"a &lt; b &amp; c"),
            ("image/svg+xml", b"a &lt; b &amp; c"),
            ("text/xml", b"a &lt; b &amp; c"),
            ("application/unknown", b"a &lt; b &amp; c"),
            ("text/plain; charset=utf-8", b"a < b & c"),
        ],
    )
    async def test_others(self, kind: str, shown: bytes) -> None:
        cls = handler(
            error_message_format="%(message)s", error_content_type=kind, do_GET=do(HTTPError(400, "a < b & c"))
        )
        assert (await answer_to(cls, GET)).body == shown

    async def test_default_page(self) -> None:
        answer = await answer_to(handler(), GET.replace(b"GET", b"<b>"))
        assert answer.status == 400
        answer = await answer_to(handler(do_GET=do(HTTPError(404, "<script>"))), GET)
        assert b"Error code: 404" in answer.body
        assert b"&lt;script&gt;" in answer.body
        assert b"<script>" not in answer.body
        for needed in (b'name="viewport"', b'content="light dark"', b'href="./"', b'href="/"'):
            assert needed in answer.body


class TestErrorBody:
    """One hook: for the handler, and as a static method for what comes before there is one."""

    cls = handler(error_body=staticmethod(problem), do_GET=do(HTTPError(404, None, "no such note")))

    async def test_of_the_handler(self) -> None:
        answer = await answer_to(self.cls, GET)
        assert values(answer, "Content-Type") == ["application/problem+json"]
        assert json.loads(answer.body) == {"status": 404, "title": "Not Found", "detail": "no such note"}

    async def test_of_an_exception(self, caplog: pytest.LogCaptureFixture) -> None:
        answer = await answer_to(handler(error_body=staticmethod(problem), do_GET=do(KeyError())), GET)
        assert json.loads(answer.body)["status"] == 500
        caplog.clear()

    async def test_a_method_that_is_not_there(self) -> None:
        answer = await answer_to(self.cls, GET.replace(b"GET", b"BREW"))
        assert json.loads(answer.body)["status"] == 501

    @pytest.mark.parametrize("wrap", [staticmethod, lambda body: classmethod(lambda cls, *texts: body(*texts))])
    async def test_of_the_parser(self, wrap: Any) -> None:
        cls = handler(error_body=wrap(problem))
        for app in (cls, functools.partial(cls)):
            answer = await answer_to(app, b"GET  / HTTP/1.1\r\n\r\n")
            assert answer.status == 400
            assert json.loads(answer.body)["status"] == 400
            assert values(answer, "Connection") == ["close"]

    async def test_of_a_method_of_instances(self) -> None:
        """It needs a handler, so that of the parser stays text; in the handler it can look at the request."""

        def error_body(self: BaseHTTPRequestHandler, status: int, message: str, explain: str) -> tuple[str, bytes]:
            return "text/plain", f"{status} for {self.headers['Accept']}".encode()

        cls = handler(error_body=error_body, do_GET=do(HTTPError(404)))
        answer = await answer_to(cls, b"GET / HTTP/1.1\r\nHost: x\r\nAccept: a/b\r\n\r\n")
        assert answer.body == b"404 for a/b"
        answer = await answer_to(cls, b"GET  / HTTP/1.1\r\n\r\n")
        assert answer.body.startswith(b"400 Bad Request: ")

    async def test_of_a_function(self) -> None:
        async def app(request: Request, response: StreamWriter) -> None:
            raise HTTPError(410, headers=[("X-More", "1")])

        app.error_body = problem  # type: ignore[attr-defined]
        answer = await answer_to(app, GET)
        assert (json.loads(answer.body)["status"], values(answer, "X-More")) == (410, ["1"])

    async def test_of_limits(self) -> None:
        config = aiohttpd.Config(limit_request_line=100)
        answer = await answer_to(self.cls, b"GET /" + b"a" * 200 + b" HTTP/1.1\r\n\r\n", config=config)
        assert json.loads(answer.body)["status"] == 414

    @pytest.mark.parametrize("result", [None, "text", ("text/plain", "no bytes"), ("text/plain\r\nX: y", b"")])
    async def test_what_cannot_be_sent(self, result: Any, caplog: pytest.LogCaptureFixture) -> None:
        """The client still gets an answer; the log says what error_body returns."""

        def error_body(status: int, message: str, explain: str) -> Any:
            return result

        cls = handler(error_body=staticmethod(error_body), do_GET=do(HTTPError(404)))
        for request, status in ((GET, 500), (b"GET  / HTTP/1.1\r\n\r\n", 400)):
            caplog.clear()
            answer = await answer_to(cls, request)
            assert (answer.status, values(answer, "Content-Type")) == (status, ["text/plain; charset=utf-8"])
            assert "error_body returns (content type, bytes)" in caplog.text
        caplog.clear()

    async def test_one_that_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        def error_body(status: int, message: str, explain: str) -> Any:
            raise RuntimeError("broken")

        cls = handler(error_body=staticmethod(error_body))
        answer = await answer_to(cls, b"GET  / HTTP/1.1\r\n\r\n")
        assert answer.status == 400
        assert "broken" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("headers", [{"X-One": "1"}, [("X-One", "1")]], ids=["mapping", "pairs"])
def test_fields_and_copies_of_an_http_error(headers: Any) -> None:
    class Mine(aiohttpd.HTTPError):
        def __init__(self, word: str) -> None:
            super().__init__(418, word, headers=headers)

    for error in (Mine("tea"), copy.copy(Mine("tea"))):
        assert (error.status, error.message, error.headers) == (418, "tea", (("X-One", "1"),))


@pytest.mark.parametrize("message", ["Größe ist → ungültig", "two\r\nX-Injected: lines", "\ud800"])
@pytest.mark.parametrize("kind", ["handler", "app", "wsgi"])
async def test_a_message_that_is_no_reason_phrase(kind: str, message: str) -> None:
    """FAULT: 500 of what is no handler class."""
    error = HTTPError(409, message)

    async def app(request: Request, response: StreamWriter) -> None:
        raise error

    def application(environ: Any, start_response: Any) -> list[bytes]:
        raise error

    apps: dict[str, Any] = {"handler": handler(do_GET=do(error)), "app": app, "wsgi": aiohttpd.wsgi(application)}
    answer = await answer_to(apps[kind], GET)
    assert (answer.status, answer.reason, answer["X-Injected"]) == (409, "Conflict", None)
    assert (message.encode("utf-8", "replace") in answer.body) or kind == "handler"
