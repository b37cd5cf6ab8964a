"""SameOrigin: which requests that change something are taken for those of a page of another site."""

import pytest

import aiohttpd
from aiohttpd.middleware import SameOrigin

from ..support.asking import fetch
from ..support.layered import Page

APP = aiohttpd.layers(Page, SameOrigin())
ALLOWING = aiohttpd.layers(Page, SameOrigin(["https://app.example.com"]))


async def status(*fields: str, method: str = "POST", app: aiohttpd.App = APP) -> int:
    return (await fetch(app, "/", *fields, method=method)).status


@pytest.mark.parametrize(
    "fields",
    [
        (),  # no browser
        ("Origin: http://localhost",),
        ("Origin: http://LOCALHOST:80",),
        ("Origin: https://localhost",),  # a proxy speaks TLS for us
        ("Sec-Fetch-Site: same-origin",),
        ("Sec-Fetch-Site: none",),
        ("Origin: https://www.example.com", "Sec-Fetch-Site: same-origin"),  # a proxy has another name
    ],
)
async def test_of_this_site_or_of_no_page(fields: tuple[str, ...]) -> None:
    assert await status(*fields) == 200


@pytest.mark.parametrize(
    "fields",
    [
        ("Origin: http://evil.example",),
        ("Origin: http://localhost.evil.example",),
        ("Origin: http://evil.localhost",),
        ("Origin: http://localhost:8000",),
        ("Origin: ftp://localhost",),
        ("Origin: null",),
        ("Origin: ",),
        ("Origin: http://localhost", "Origin: http://evil.example"),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-site",),
        ("Sec-Fetch-Site: anything",),
        ("Origin: http://evil.example", "Sec-Fetch-Site: none"),
        ("Origin: http://evil.example", "Sec-Fetch-Site: cross-site"),
    ],
)
async def test_of_another_site(fields: tuple[str, ...]) -> None:
    assert await status(*fields) == 403


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "REPORT"])
async def test_every_method_that_is_not_safe(method: str) -> None:
    assert await status("Origin: http://evil.example", method=method) == 403


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_safe_methods_are_links(method: str) -> None:
    assert await status("Origin: http://evil.example", "Sec-Fetch-Site: cross-site", method=method) == 200


async def test_allowed_origins() -> None:
    allowed = ("Origin: https://app.example.com", "Sec-Fetch-Site: same-site")
    assert await status(*allowed) == 403
    assert await status(*allowed, app=ALLOWING) == 200
    assert await status("Origin: http://app.example.com", app=ALLOWING) == 403
    assert await status("Origin: http://localhost", app=ALLOWING) == 200


NO_ORIGINS = ["*", "https://*.example.com", "example.com", "https://example.com/", "https://a@example.com", "null", ""]


@pytest.mark.parametrize("origin", NO_ORIGINS)
def test_what_is_no_origin(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin"):
        SameOrigin([origin])
