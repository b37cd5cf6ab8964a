"""TrustedHosts: which names are, and the spellings by which a list of hosts has been passed elsewhere."""

import pytest

import aiohttpd
from aiohttpd import Config
from aiohttpd.middleware import TrustedHosts

from ..support.asking import answer_to, fetch
from ..support.layered import Page

APP = aiohttpd.layers(Page, TrustedHosts(["example.com", "*.example.org", "127.0.0.1", "[::1]"]))


async def status(host: str | None, target: str = "/", version: str = "1.1") -> int:
    line = "" if host is None else f"Host: {host}\r\n"
    return (await answer_to(APP, f"GET {target} HTTP/{version}\r\n{line}\r\n".encode("latin-1"))).status


@pytest.mark.parametrize(
    "host",
    ["example.com", "EXAMPLE.com", "example.com:8443", "example.com.", "a.example.org", "a.b.example.org:1",
     "127.0.0.1:8000", "[::1]", "[::1]:8000"],
)  # fmt: skip
async def test_names_of_the_site(host: str) -> None:
    assert await status(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.org",
        "example.com.evil.org",
        "evilexample.com",
        "example.org",  # the wildcard is for names below it
        "evilexample.org",
        ".example.org",
        "*.example.org",
        "www.example.com",
        "localhost",
        "[::2]",
        "127.0.0.2",
    ],
)
async def test_other_names(host: str) -> None:
    assert await status(host) in (400, 421)


async def test_no_host() -> None:
    assert await status(None, version="1.0") == 421


async def test_both_names_of_a_target_in_absolute_form() -> None:
    """A program may look at either."""
    assert await status("example.com", "http://example.com/") == 200
    assert await status("example.com", "http://evil.org/") == 421
    assert await status("evil.org", "http://example.com/") == 421


async def test_a_forwarded_host_counts_from_a_trusted_proxy_only() -> None:
    fields = "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Host: evil.org"
    request = f"GET / HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n\r\n".encode()
    assert (await answer_to(APP, request)).status == 200
    config = Config(access_log=False, trusted_proxies="127.0.0.1", trusted_fields="X-Forwarded-For X-Forwarded-Host")
    assert (await answer_to(APP, request, config=config)).status == 421


@pytest.mark.parametrize("name", ["*", "", "https://a.example", "a.example:80", "a*.example", "a b", "*.*.example"])
def test_malformed_names(name: str) -> None:
    with pytest.raises(ValueError, match="TrustedHosts"):
        TrustedHosts([name])
    with pytest.raises(ValueError, match="at least one"):
        TrustedHosts([])


async def test_head_is_refused_like_get() -> None:
    lengths = [(await fetch(APP, method=method))["Content-Length"] for method in ("GET", "HEAD")]
    assert lengths[0] == lengths[1] is not None
