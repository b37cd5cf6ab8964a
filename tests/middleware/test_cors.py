"""CORS: the fields, preflight requests, and the cases where layers of others have had advisories."""

from typing import Any

import pytest

import aiohttpd
from aiohttpd import middleware
from aiohttpd.middleware import CORS

from ..support.asking import fetch
from ..support.layered import Page, bare, having
from ..support.wire import Response

ORIGIN = "https://app.example.com"
ALLOW = "Access-Control-Allow-Origin"
PREFLIGHT = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: X-A, Content-Type")


async def asked(layer: CORS, origin: str | None, app: Any = Page, path: str = "/", *fields: str) -> Response:
    lines = [*fields, f"Origin: {origin}"] if origin is not None else fields
    return await fetch(aiohttpd.layers(app, layer), path, *lines)


async def preflight(layer: CORS, origin: str, *fields: str) -> Response:
    lines = [f"Origin: {origin}", *(fields or PREFLIGHT)]
    return await fetch(aiohttpd.layers(Page, layer), "/", *lines, method="OPTIONS")


async def test_an_allowed_origin_is_named() -> None:
    answer = await asked(CORS([ORIGIN, "https://b.example"]), ORIGIN)
    assert (answer[ALLOW], answer["Vary"], answer["Access-Control-Allow-Credentials"]) == (ORIGIN, "Origin", None)


async def test_any_origin_is_the_asterisk_for_each_request() -> None:
    """The answer does not depend on Origin, so caches can keep it."""
    for origin in (ORIGIN, None, "null"):
        answer = await asked(CORS("*"), origin)
        assert (answer[ALLOW], answer["Vary"]) == ("*", None)


# What others have had advisories for.


@pytest.mark.parametrize("origins", ["*", ["*"], [ORIGIN, "*"], "null", [ORIGIN, "null"]])
def test_no_credentials_for_any_origin(origins: Any) -> None:
    """Starlette and aiohttp-cors reflect Origin then, so that any page acts as the user."""
    with pytest.raises(ValueError, match="name the origins"):
        CORS(origins, credentials=True)


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.com.evil.org",
        "https://evilapp.example.com",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://app.example.com/",
        "https://APP.example.com",
        "https://app.example.com, https://evil.org",
        "null",
        "",
        "*",
    ],
)
async def test_an_origin_is_compared_whole(origin: str) -> None:
    layer = CORS([ORIGIN], credentials=True)
    answer = await asked(layer, origin)
    assert (answer.status, answer[ALLOW], answer["Access-Control-Allow-Credentials"]) == (200, None, None)
    assert answer["Vary"] == "Origin"
    assert (await preflight(layer, origin)).status == 403


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://a.example.org", True),
        ("https://a.b.example.org", True),
        ("https://example.org", False),
        ("https://evilexample.org", False),
        ("https://a.example.org.evil.net", False),
        ("https://evil.net/.example.org", False),
        ("https://evil.net:80#.example.org", False),
        ("https://a@evil.example.org", False),
        ("https://.example.org", False),
        ("https://*.example.org", False),
        ("http://a.example.org", False),
        ("https://a.example.org:8443", False),
    ],
)
async def test_names_below_a_name(origin: str, allowed: bool) -> None:
    answer = await asked(CORS(["https://*.example.org"], credentials=True), origin)
    assert answer[ALLOW] == (origin if allowed else None)


async def test_a_cache_never_gives_one_origin_the_answer_of_another() -> None:
    """Vary is there without Origin as well; other layers leave it out then."""
    layer = CORS([ORIGIN])
    assert (await asked(layer, None))["Vary"] == "Origin"
    assert (await asked(layer, None, having(("Vary", "Accept"))))["Vary"] == "Accept, Origin"
    assert (await asked(layer, None, having(("Vary", "*"))))["Vary"] == "*"
    assert (await asked(layer, None, having(("Vary", "origin"))))["Vary"] == "origin"


# Preflight requests.


async def test_a_preflight_request_is_answered_without_the_app() -> None:
    answer = await preflight(CORS([ORIGIN], credentials=True, max_age=60), ORIGIN)
    assert (answer.status, answer.body, answer[ALLOW]) == (204, b"", ORIGIN)
    assert answer["Access-Control-Allow-Methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE"
    assert answer["Access-Control-Allow-Headers"] == "X-A, Content-Type"
    assert (answer["Access-Control-Max-Age"], answer["Access-Control-Allow-Credentials"]) == ("60", "true")
    assert answer["Vary"] == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"


async def test_any_page_may_use_what_needs_no_question() -> None:
    answer = await preflight(CORS("*"), ORIGIN)
    assert (answer["Access-Control-Allow-Methods"], answer[ALLOW], answer["Vary"]) == ("GET, HEAD, POST", "*", None)


async def test_names_of_fields_are_checked() -> None:
    layer = CORS([ORIGIN], headers=["X-A"])
    assert (await preflight(layer, ORIGIN))["Access-Control-Allow-Headers"] == "X-A"
    odd = ("Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: X-A, a b, \xff, X-B")
    assert (await preflight(CORS([ORIGIN]), ORIGIN, *odd[:1], "Access-Control-Request-Headers: X-A, a b, X-B"))[
        "Access-Control-Allow-Headers"
    ] == "X-A, X-B"


async def test_options_that_are_no_preflight_reach_the_app() -> None:
    app = aiohttpd.layers(Page, CORS([ORIGIN]))
    answer = await fetch(app, "/", f"Origin: {ORIGIN}", method="OPTIONS")
    assert (answer["Allow"], answer[ALLOW]) == ("GET, HEAD, POST, OPTIONS", ORIGIN)


async def test_authentication_within_does_not_stop_preflight_requests() -> None:
    app = aiohttpd.layers(Page, CORS([ORIGIN]), middleware.BearerAuth(["token"]))
    assert (await fetch(app, "/", f"Origin: {ORIGIN}", *PREFLIGHT, method="OPTIONS")).status == 204
    answer = await fetch(app, "/", f"Origin: {ORIGIN}")
    assert (answer.status, answer[ALLOW]) == (401, ORIGIN)


@pytest.mark.parametrize("app", [Page, bare])
@pytest.mark.parametrize("path", ["/missing", "/fail"])
async def test_errors_can_be_read(app: Any, path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Starlette's answers to exceptions have no CORS fields."""
    answer = await asked(CORS([ORIGIN]), ORIGIN, app, path)
    assert (answer.status >= 400, answer[ALLOW]) == (True, ORIGIN)
    caplog.clear()


async def test_what_the_app_says_itself_stays() -> None:
    answer = await asked(CORS([ORIGIN], credentials=True), ORIGIN, having((ALLOW, "*")))
    assert (answer[ALLOW], answer["Access-Control-Allow-Credentials"]) == ("*", None)


async def test_exposed_fields() -> None:
    answer = await asked(CORS([ORIGIN], expose=["ETag", "X-Total"]), ORIGIN)
    assert answer["Access-Control-Expose-Headers"] == "ETag, X-Total"


@pytest.mark.parametrize(
    "origin",
    [
        "example.com",
        "https://example.com/",
        "https://",
        "https://a*.example.com",
        "https://*",
        "ftp//x",
        "",
        "https://a b",
    ],
)
def test_malformed_origins(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        CORS([origin])


async def test_origins_are_written_as_browsers_write_them() -> None:
    assert (await asked(CORS(["HTTPS://App.Example.com:443"]), ORIGIN))[ALLOW] == ORIGIN
    assert (await asked(CORS(["http://[::1]:8000"]), "http://[::1]:8000"))[ALLOW] == "http://[::1]:8000"
    assert (await asked(CORS(["null"]), "null"))[ALLOW] == "null"
    assert (await asked(CORS(["moz-extension://abc-def"]), "moz-extension://abc-def"))[ALLOW]


def test_malformed_names() -> None:
    for options in ({"methods": ["GET,PUT"]}, {"headers": ["*"]}, {"expose": ["a b"]}):
        with pytest.raises(ValueError, match="no name of a method"):
            CORS([ORIGIN], **options)  # type: ignore[arg-type]
