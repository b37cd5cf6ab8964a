"""ProblemDetails: errors as application/problem+json, RFC 9457, or as pages."""

import json
from dataclasses import dataclass
from typing import Any

import pytest

import aiohttpd
from aiohttpd import HTTPError, InvalidData
from aiohttpd.errors import Problem
from aiohttpd.middleware import BearerAuth, ProblemDetails
from aiohttpd.testing import exchange

from ..support.asking import QUIET, answer_to, fetch
from ..support.layered import Page, bare
from ..support.wire import Response

HTML = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"


def problem(answer: Response) -> Any:
    assert answer["Content-Type"] == "application/problem+json"
    found = json.loads(answer.body)
    assert found["status"] == answer.status
    return found


def raising(error: Exception) -> Any:
    class Raising(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            raise error

    return aiohttpd.layers(Raising, ProblemDetails())


@pytest.mark.parametrize("app", [Page, bare, aiohttpd.Router({"/": Page, "/missing": bare})])
async def test_http_errors(app: Any) -> None:
    answer = await fetch(aiohttpd.layers(app, ProblemDetails()), "/missing")
    assert problem(answer) == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "no such page"}
    assert answer["Vary"] == "Accept"


@pytest.mark.parametrize("app", [Page, bare])
async def test_other_exceptions_tell_nothing_and_are_logged_once(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = await fetch(aiohttpd.layers(app, ProblemDetails()), "/fail")
    assert problem(answer) == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
    assert b"secret" not in answer.body
    [record] = caplog.records
    assert record.exc_info and "a secret" in str(record.exc_info[1])
    caplog.clear()


@pytest.mark.parametrize("path", ["/missing", "/fail"])
@pytest.mark.parametrize("app", [Page, bare])
async def test_browsers_get_the_page(app: Any, path: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = await fetch(aiohttpd.layers(app, ProblemDetails()), path, HTML)
    assert answer["Content-Type"] == "text/html;charset=utf-8" and b"Error code" in answer.body
    assert answer["Vary"] == "Accept"
    answer = await fetch(aiohttpd.layers(app, ProblemDetails(pages=False)), path, HTML)
    assert problem(answer) and answer["Vary"] is None
    caplog.clear()


async def test_json_before_html() -> None:
    answer = await fetch(raising(HTTPError(404)), "/", "Accept: application/json, text/html;q=0.5")
    assert problem(answer)["title"] == "Not Found"


async def test_messages_and_members_of_ones_own() -> None:
    detail = {"type": "https://a.example/full", "balance": 30, "status": 200}
    error = HTTPError(403, "No credit", "it is 30", detail=detail, headers={"X-A": "1"})
    answer = await fetch(raising(error))
    assert (answer.reason, answer["X-A"]) == ("No credit", "1")
    assert problem(answer) == {
        "type": "https://a.example/full", "title": "No credit", "status": 403, "detail": "it is 30", "balance": 30,
    }  # fmt: skip


async def test_other_details() -> None:
    assert problem(await fetch(raising(HTTPError(400, detail="text"))))["detail"] == "text"
    assert problem(await fetch(raising(HTTPError(400, detail=[1, 2]))))["data"] == [1, 2]


@pytest.mark.parametrize("message", ["Größe ist → ungültig", "two\r\nlines", "\ud800"])
async def test_a_message_that_is_no_reason_phrase(message: str) -> None:
    answer = await fetch(raising(HTTPError(400, message)))
    assert problem(answer)["title"] == message
    assert answer.reason == "Bad Request"


def _circle() -> Any:
    circle: dict[str, Any] = {}
    circle["circle"] = circle
    return circle


@pytest.mark.parametrize("detail", [{"a": float("nan")}, [float("inf")], {"a": {(1, 2): 3}}, _circle()], ids=repr)
async def test_a_detail_that_json_cannot_have(detail: Any, caplog: pytest.LogCaptureFixture) -> None:
    answer = await fetch(raising(HTTPError(409, None, "why", detail=detail)))
    assert problem(answer) == {"type": "about:blank", "title": "Conflict", "status": 409, "detail": "why"}
    [record] = caplog.records
    assert record.exc_info and isinstance(record.exc_info[1], TypeError | ValueError)
    caplog.clear()


async def test_places_are_json_pointers() -> None:
    places: list[tuple[str | int, ...]] = [("age",), ("items", 3, "a/b~c"), (), ("ä %",)]
    answer = await fetch(raising(InvalidData([Problem(place, "is missing") for place in places])))
    found = problem(answer)
    assert answer.status == 422
    assert [error["pointer"] for error in found["errors"]] == ["#/age", "#/items/3/a~1b~0c", "#", "#/%C3%A4%20%25"]
    assert {error["detail"] for error in found["errors"]} == {"is missing"}


async def test_typed_data() -> None:
    @dataclass
    class Note:
        title: str

    class Notes(aiohttpd.BaseHTTPRequestHandler):
        async def do_POST(self) -> None:
            self.send_json((await self.json(Note)).title)

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    answer = await answer_to(aiohttpd.layers(Notes, ProblemDetails()), request)
    assert problem(answer)["errors"] == [{"detail": "is missing", "pointer": "#/title"}]


async def test_methods_and_routes() -> None:
    app = aiohttpd.layers(aiohttpd.Router({"/": Page}), ProblemDetails())
    assert problem(await fetch(app, "/none"))["title"] == "Not Found"
    answer = await fetch(app, method="DELETE")
    assert (problem(answer)["status"], answer["Allow"]) == (405, "GET, HEAD, POST, OPTIONS")


async def test_send_error_is_a_problem_too() -> None:
    class Sending(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_error(410, "Gone", "it has moved")

    assert problem(await fetch(aiohttpd.layers(Sending, ProblemDetails())))["detail"] == "it has moved"


async def test_functions_of_a_router_come_first() -> None:
    async def page(self: Any, error: Exception) -> None:
        self.send_text("mine", 404)

    router = aiohttpd.Router({"/": Page}, error_handlers={404: page})
    app = aiohttpd.layers(router, ProblemDetails())
    assert (await fetch(app, "/none")).body == b"mine"
    assert problem(await fetch(app, method="PUT"))["status"] == 405


async def test_errors_of_layers_within() -> None:
    answer = await fetch(aiohttpd.layers(Page, ProblemDetails(), BearerAuth(["a"])))
    assert (problem(answer)["title"], answer["WWW-Authenticate"]) == ("Unauthorized", 'Bearer realm="aiohttpd"')


async def test_errors_of_the_connection() -> None:
    answer = await exchange(aiohttpd.layers(Page, ProblemDetails()), b"NONSENSE\r\n\r\n", config=QUIET)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head and json.loads(body)["status"] == 400


async def test_head_has_the_length_of_get() -> None:
    app = aiohttpd.layers(Page, ProblemDetails())
    length = (await fetch(app, "/missing"))["Content-Length"]
    answer = await fetch(app, "/missing", method="HEAD")
    assert (answer["Content-Length"], answer.body) == (length, b"")


async def test_a_begun_answer_is_aborted(caplog: pytest.LogCaptureFixture) -> None:
    class Begun(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"begun")
            await self.wfile.drain()
            raise RuntimeError("late")

    answer = await exchange(
        aiohttpd.layers(Begun, ProblemDetails()), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", config=QUIET
    )
    assert answer.count(b"HTTP/1.1") == 1 and not answer.endswith(b"0\r\n\r\n")
    caplog.clear()
