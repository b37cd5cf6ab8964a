"""SecurityHeaders and ResponseHeaders."""

from typing import Any

import pytest

import aiohttpd
from aiohttpd import Config
from aiohttpd.middleware import ResponseHeaders, SecurityHeaders
from aiohttpd.testing import exchange

from ..support.asking import QUIET, fetch
from ..support.layered import Page, having

DEFAULTS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NAMES = [*DEFAULTS, "Content-Security-Policy", "Strict-Transport-Security", "Permissions-Policy"]


async def fields_of(layer: Any, *fields: str, app: Any = Page, path: str = "/", **options: Any) -> dict[str, str]:
    answer = await fetch(aiohttpd.layers(app, layer), path, *fields, **options)
    return {name: value for name in NAMES if (value := answer[name]) is not None}


@pytest.mark.parametrize("path", ["/", "/missing", "/stream"])
async def test_defaults(path: str) -> None:
    assert await fields_of(SecurityHeaders(), path=path) == DEFAULTS


async def test_options() -> None:
    layer = SecurityHeaders(
        csp="default-src 'self'",
        frame_options="SAMEORIGIN",
        referrer_policy=None,
        opener_policy=None,
        resource_policy="cross-origin",
        permissions_policy="camera=()",
    )
    assert await fields_of(layer) == {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "SAMEORIGIN",
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Content-Security-Policy": "default-src 'self'",
        "Permissions-Policy": "camera=()",
    }


async def test_what_the_app_sets_stays() -> None:
    found = await fields_of(SecurityHeaders(), app=having(("x-frame-options", "SAMEORIGIN")))
    assert found == DEFAULTS | {"X-Frame-Options": "SAMEORIGIN"}
    value = having(("X-Note", "X-Frame-Options: DENY"))
    assert await fields_of(SecurityHeaders(), app=value) == DEFAULTS


async def test_hsts_is_for_tls_only() -> None:
    layer = SecurityHeaders(hsts=300, hsts_subdomains=True)
    assert await fields_of(layer) == DEFAULTS
    behind = Config(access_log=False, trusted_proxies="127.0.0.1")
    found = await fields_of(layer, "X-Forwarded-Proto: https", config=behind)
    assert found == DEFAULTS | {"Strict-Transport-Security": "max-age=300; includeSubDomains"}


async def test_refusals_of_the_connection_have_them() -> None:
    answer = await exchange(
        aiohttpd.layers(Page, SecurityHeaders(csp="default-src 'none'")), b"X\r\n\r\n", config=QUIET
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert all(f"\r\n{name}: {value}\r\n".encode() in answer for name, value in DEFAULTS.items())


def test_malformed_values() -> None:
    with pytest.raises(ValueError, match="frame_options"):
        SecurityHeaders(frame_options="ALLOW-FROM x")
    with pytest.raises(ValueError, match="character"):
        SecurityHeaders(csp="default-src 'self'\r\nX: y")
    with pytest.raises(ValueError, match="different for each answer"):
        ResponseHeaders([("Content-Length", "3")])
    with pytest.raises(ValueError, match="no field name"):
        ResponseHeaders({"a b": "c"})


async def test_fields_of_ones_own() -> None:
    app = aiohttpd.layers(having(("x-a", "app")), ResponseHeaders([("X-A", "1"), ("X-B", "2")]))
    answer = await fetch(app)
    assert (answer["X-A"], answer["X-B"]) == ("app", "2")
