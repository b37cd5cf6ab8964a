"""Layers beside those of Starlette and aiohttp, in the same cases: makes the table at the end of docs/layers.md.

``python -m tests.outside.test_layers_beside_peers`` prints it; ``nox -s layers`` compares all of it with the page. The
suite compares the columns whose packages are installed.
"""

import asyncio
import dataclasses
import importlib.metadata
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import aiohttpd
from aiohttpd import Config, middleware

from ..support.asking import QUIET, answer_to
from ..support.layered import Page
from ..support.peer_layers import (
    LARGE,
    Answer,
    aiohttp_cors_site,
    aiohttp_host_site,
    aiohttp_session_site,
    by_aiohttp,
    by_starlette,
)
from ..support.places import ROOT

VERSIONS = {"starlette": "1.3.1", "aiohttp": "3.14.5", "aiohttp-cors": "0.8.1", "aiohttp-session": "2.12.1"}
EVIL = {"Origin": "https://evil.example"}
GOOD = {"Origin": "https://good.example"}
SECRET = "a secret of more than sixteen characters"
KEY = b"a secret of 32 characters, bytes"
NONE = "no such layer"

Ask = Callable[[], Awaitable[str]]


class Ours(Page):
    async def do_GET(self) -> None:
        match self.url_path:
            case "/large":
                self.session["large"] = LARGE
            case "/read":
                self.send_text(",".join(sorted(self.session)))
                return
            case "/remember":
                self.session["before"] = 1
            case "/sign-in":
                self.session.renew()
                self.session["user"] = 7
        await super().do_GET()


async def ours(
    app: aiohttpd.App, path: str, fields: dict[str, str], method: str = "GET", config: Config = QUIET
) -> Answer:
    host = fields.get("Host", "localhost")
    lines = [f"{method} {path} HTTP/{'1.1' if host else '1.0'}", *([f"Host: {host}"] if host else [])]
    lines += [f"{name}: {value}" for name, value in fields.items() if name != "Host"]
    answer = await answer_to(app, "\r\n".join([*lines, "", ""]).encode(), config=config)
    return Answer(answer.status, {name.lower(): value for name, value in answer.fields}, answer.body.decode())


def site(layer: Any) -> aiohttpd.App:
    return aiohttpd.layers(Ours, layer)


def starlette(kind: str) -> Any:
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.sessions import SessionMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return {"cors": CORSMiddleware, "hosts": TrustedHostMiddleware, "session": SessionMiddleware}[kind]


async def absent() -> str:
    return NONE


async def made(make: Callable[[], Any], then: Callable[[Any], Awaitable[str]]) -> str:
    """What comes of an application, whose options may be refused at the start."""
    try:
        app = make()
    except (ValueError, AssertionError):
        return "refused at the start"
    return await then(app)


# CORS.


def allowed(answer: Answer) -> str:
    if "access-control-allow-origin" not in answer.fields:
        return "not allowed"
    with_credentials = answer.fields.get("access-control-allow-credentials") == "true"
    return f"{answer.fields['access-control-allow-origin']} is allowed" + ", with credentials" * with_credentials


def readable(answer: Answer) -> str:
    may = "may" if "access-control-allow-origin" in answer.fields else "may not"
    return f"{answer.status}, the page {may} read it"


def varies(answer: Answer) -> str:
    return f"Vary: {answer.fields['vary']}" if "vary" in answer.fields else "no Vary"


def cors(
    tell: Callable[[Answer], str],
    path: str,
    fields: dict[str, str],
    method: str = "GET",
    origin: str = GOOD["Origin"],
    *,
    credentials: bool = False,
) -> tuple[Ask, Ask, Ask]:
    async def by_theirs() -> str:
        options = {"allow_origins": [origin], "allow_credentials": credentials}
        return tell(await by_starlette(starlette("cors"), path, fields, method, **options))

    async def ask_aiohttp(app: Any) -> str:
        return tell(await by_aiohttp(app, path, fields, method))

    async def ask_ours(app: Any) -> str:
        return tell(await ours(app, path, fields, method))

    return (
        by_theirs,
        lambda: made(lambda: aiohttp_cors_site(origin, credentials=credentials), ask_aiohttp),
        lambda: made(lambda: site(middleware.CORS([origin], credentials=credentials)), ask_ours),
    )


# Hosts.


def host(name: str, of: str) -> tuple[Ask, Ask, Ask]:
    async def by_theirs() -> str:
        options = {"allowed_hosts": [of], "www_redirect": False}
        return str((await by_starlette(starlette("hosts"), "/", {"Host": name}, **options)).status)

    async def ask_aiohttp(app: Any) -> str:
        return str((await by_aiohttp(app, "/", {"Host": name})).status)

    async def ask_ours(app: Any) -> str:
        return str((await ours(app, "/", {"Host": name})).status)

    return (
        by_theirs,
        lambda: made(lambda: aiohttp_host_site(of), ask_aiohttp),
        lambda: made(lambda: site(middleware.TrustedHosts([of])), ask_ours),
    )


# Limits of rate, behind a proxy or not.


def rate(tell: Callable[[list[int]], str], *forwarded: str, trusted: str = "") -> tuple[Ask, Ask, Ask]:
    async def by_ours() -> str:
        app = site(middleware.RateLimit(1, per=60))
        config = dataclasses.replace(QUIET, trusted_proxies=trusted)
        answers = [await ours(app, "/", {"X-Forwarded-For": value}, config=config) for value in forwarded]
        return tell([answer.status for answer in answers])

    return absent, absent, by_ours


def counted(statuses: list[int]) -> str:
    return "one client" if 429 in statuses else "each is another client"


# Sessions.


def session(tell: Callable[[Answer], str], *paths: str, secret: str = SECRET, key: bytes = KEY) -> tuple[Ask, Ask, Ask]:
    """Ask for some paths, one after the other, with the cookie that was set last; tell of the last answer."""

    async def follow(ask: Callable[[str, dict[str, str]], Awaitable[Answer]]) -> str:
        fields: dict[str, str] = {}
        for path in paths:
            answer = await ask(path, fields)
            if "set-cookie" in answer.fields:
                fields["Cookie"] = answer.fields["set-cookie"].partition(";")[0]
        return tell(answer)

    async def by_theirs() -> str:
        return await follow(lambda path, fields: by_starlette(starlette("session"), path, fields, secret_key=secret))

    async def ask_aiohttp(_: Any) -> str:  # an application of aiohttp runs once
        return await follow(lambda path, fields: by_aiohttp(aiohttp_session_site(key), path, fields))

    async def ask_ours(app: Any) -> str:
        return await follow(lambda path, fields: ours(app, path, fields))

    return (
        by_theirs,
        lambda: made(lambda: aiohttp_session_site(key), ask_aiohttp),
        lambda: made(lambda: site(middleware.Sessions(secret)), ask_ours),
    )


def cookie_size(answer: Answer) -> str:
    size = len(answer.fields.get("set-cookie", "").partition(";")[0])
    outcome = "a cookie that browsers drop" if size > 4096 else "no cookie, an error in the log"
    return f"{answer.status}, {outcome}"


def cookie_attributes(answer: Answer) -> str:
    cookie = answer.fields["set-cookie"].lower()
    names = {"httponly": "HttpOnly", "samesite=lax": "SameSite=Lax", "samesite=strict": "SameSite=Strict"}
    return ", ".join(text for name, text in names.items() if f"; {name}" in cookie)


def cache_fields(answer: Answer) -> str:
    names = [name for name in ("vary", "cache-control") if name in answer.fields]
    return ", ".join(f"{name.title()}: {answer.fields[name]}" for name in names) or "nothing"


def kept(answer: Answer) -> str:
    return "it stays" if "before" in answer.text else "it is gone"


def accepted(answer: Answer) -> str:
    return "accepted"


PREFLIGHT = EVIL | {"Access-Control-Request-Method": "GET"}
ROWS: dict[str, tuple[Ask, Ask, Ask]] = {
    "CORS for `*` with credentials, a page of another site with a cookie": cors(
        allowed, "/", EVIL | {"Cookie": "a=b"}, origin="*", credentials=True
    ),
    "CORS for one origin, a request without Origin (its response may be cached)": cors(varies, "/", {}),
    "CORS, the App raises an exception": cors(readable, "/fail", GOOD),
    "CORS, a preflight request of another origin": cors(readable, "/", PREFLIGHT, "OPTIONS"),
    "hosts: `EXAMPLE.com:8000` for `example.com`": host("EXAMPLE.com:8000", "example.com"),
    "hosts: `example.com.` for `example.com`": host("example.com.", "example.com"),
    "hosts: `[::1]:8000` for `[::1]`": host("[::1]:8000", "[::1]"),
    "hosts: `evilexample.com` for `*.example.com`": host("evilexample.com", "*.example.com"),
    "hosts: `.example.com` for `*.example.com`": host(".example.com", "*.example.com"),
    "hosts: no Host": host("", "example.com"),
    "limit of rate: a client that makes up X-Forwarded-For": rate(counted, "192.0.2.1", "192.0.2.2"),
    "limit of rate: two clients behind a trusted proxy": rate(counted, "192.0.2.1", "192.0.2.2", trusted="127.0.0.1"),
    "limit of rate: behind it, a client that makes up X-Forwarded-For": rate(
        counted, "198.51.100.1, 192.0.2.1", "198.51.100.2, 192.0.2.1", trusted="127.0.0.1"
    ),
    "session: what was in it before the user signed in (session fixation)": session(
        kept, "/remember", "/sign-in", "/read"
    ),
    "session: its cookie": session(cookie_attributes, "/sign-in"),
    "session: what is larger than a cookie can be": session(cookie_size, "/large"),
    "session: it is read, and a cache must know": session(cache_fields, "/read"),
    "session: a secret of one character": session(accepted, "/", secret="x", key=b"x"),
}


async def row(case: str, asks: tuple[Ask, Ask, Ask], *, with_aiohttp: bool) -> str:
    """A line of the table; without aiohttp, a regular expression for it."""
    cells = [await ask() if with_aiohttp or number != 1 else "" for number, ask in enumerate(asks)]
    if with_aiohttp:
        return f"| {case} | {' | '.join(cells)} |"
    return re.escape(f"| {case} | {cells[0]} | ") + r"[^|\n]+" + re.escape(f" | {cells[2]} |")


def is_installed(*packages: str) -> bool:
    try:
        return all(importlib.metadata.version(package) == VERSIONS[package] for package in packages)
    except importlib.metadata.PackageNotFoundError:
        return False


async def test_the_page_says_what_they_do(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("itsdangerous")
    if not is_installed("starlette"):
        pytest.skip(f"the table is of Starlette {VERSIONS['starlette']}")
    with_aiohttp = is_installed(*VERSIONS)
    page = (ROOT / "docs" / "layers.md").read_text()
    for case, asks in ROWS.items():
        line = await row(case, asks, with_aiohttp=with_aiohttp)
        assert line in page if with_aiohttp else re.search(line, page), line
    caplog.clear()
    assert page.count("\n| ") - 1 == len(ROWS)


async def table() -> list[str]:
    return [await row(case, asks, with_aiohttp=True) for case, asks in ROWS.items()]


if __name__ == "__main__":
    logging.disable()
    print(*asyncio.run(table()), sep="\n")
