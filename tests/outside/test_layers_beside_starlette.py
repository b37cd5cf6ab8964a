"""Layers beside Starlette's, in the same cases: makes the table at the end of docs/layers.md, and holds the page to it.

``python -m tests.outside.test_layers_beside_starlette`` prints it.
"""

import asyncio
import importlib.metadata
import logging
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

import aiohttpd
from aiohttpd import middleware

from ..support.asking import fetch
from ..support.layered import Page
from ..support.places import ROOT

VERSION = "1.3.1"  # of Starlette, in pyproject.toml
EVIL = {"Origin": "https://evil.example"}
GOOD = {"Origin": "https://good.example"}
SECRET = "a secret of more than sixteen characters"


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]


async def theirs(layer: Any, path: str, fields: dict[str, str], method: str = "GET", **options: Any) -> Answer:
    import httpx
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def page(request: Request) -> PlainTextResponse:
        if request.url.path == "/fail":
            raise RuntimeError
        if request.url.path == "/large":
            request.session["large"] = [str(number) for number in range(2000)]
        if request.url.path == "/read":
            assert request.session == {}
        return PlainTextResponse("ok")

    app = Starlette(
        routes=[Route(path, page) for path in ("/", "/fail", "/large", "/read")],
        middleware=[Middleware(layer, **options)],
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        request = client.build_request(method, path, headers=fields)
        if fields.get("Host") == "":
            del request.headers["Host"]
        answer = await client.send(request)
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()})


class Ours(Page):
    async def do_GET(self) -> None:
        if self.url_path == "/large":
            self.session["large"] = [str(number) for number in range(2000)]
        if self.url_path == "/read":
            assert self.session == {}
        await super().do_GET()


async def ours(layer: Any, path: str, fields: dict[str, str], method: str = "GET") -> Answer:
    if fields.get("Host") == "":
        from ..support.asking import answer_to

        answer = await answer_to(aiohttpd.layers(Ours, layer), f"{method} {path} HTTP/1.0\r\n\r\n".encode())
    elif "Host" in fields:
        from ..support.asking import answer_to

        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        request = f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode()
        answer = await answer_to(aiohttpd.layers(Ours, layer), request)
    else:
        lines = [f"{name}: {value}" for name, value in fields.items()]
        answer = await fetch(aiohttpd.layers(Ours, layer), path, *lines, method=method)
    return Answer(answer.status, {name.lower(): value for name, value in answer.fields})


def cors(name: str, answer: Answer) -> str:
    allowed = answer.fields.get("access-control-allow-origin", "no")
    if name == "vary":
        return f"Vary: {answer.fields['vary']}" if "vary" in answer.fields else "no Vary"
    if name == "credentials":
        with_credentials = answer.fields.get("access-control-allow-credentials") == "true"
        return f"{allowed} is allowed" + ", with credentials" * with_credentials
    return f"{answer.status}, {'the page may read it' if allowed != 'no' else 'the page may not read it'}"


async def refused(make: Callable[[], Any], then: Callable[[Any], Awaitable[str]]) -> str:
    """What becomes of options that may be refused at the start."""
    try:
        made = make()
    except (ValueError, AssertionError):
        return "refused at the start"
    return await then(made)


def _theirs_of(kind: str) -> Any:
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.sessions import SessionMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    return {"cors": CORSMiddleware, "hosts": TrustedHostMiddleware, "session": SessionMiddleware}[kind]


async def any_origin_with_credentials() -> tuple[str, str]:
    cookie = EVIL | {"Cookie": "a=b"}
    answer = await theirs(_theirs_of("cors"), "/", cookie, allow_origins=["*"], allow_credentials=True)

    async def then(layer: Any) -> str:
        return cors("credentials", await ours(layer, "/", cookie))

    return cors("credentials", answer), await refused(lambda: middleware.CORS("*", credentials=True), then)


async def vary_without_origin() -> tuple[str, str]:
    answer = await theirs(_theirs_of("cors"), "/", {}, allow_origins=[GOOD["Origin"]])
    return cors("vary", answer), cors("vary", await ours(middleware.CORS([GOOD["Origin"]]), "/", {}))


async def an_unhandled_exception() -> tuple[str, str]:
    answer = await theirs(_theirs_of("cors"), "/fail", GOOD, allow_origins=[GOOD["Origin"]])
    return cors("", answer), cors("", await ours(middleware.CORS([GOOD["Origin"]]), "/fail", GOOD))


async def preflight_of_another() -> tuple[str, str]:
    asked = EVIL | {"Access-Control-Request-Method": "GET"}
    answer = await theirs(_theirs_of("cors"), "/", asked, "OPTIONS", allow_origins=[GOOD["Origin"]])
    return cors("", answer), cors("", await ours(middleware.CORS([GOOD["Origin"]]), "/", asked, "OPTIONS"))


async def host(name: str, allowed: str) -> tuple[str, str]:
    theirs_ = await theirs(_theirs_of("hosts"), "/", {"Host": name}, allowed_hosts=[allowed], www_redirect=False)
    ours_ = await ours(middleware.TrustedHosts([allowed]), "/", {"Host": name})
    return str(theirs_.status), str(ours_.status)


async def session(path: str) -> tuple[Answer, Answer]:
    answer = await theirs(_theirs_of("session"), path, {}, secret_key=SECRET)
    return answer, await ours(middleware.Sessions(SECRET), path, {})


async def large_session() -> tuple[str, str]:
    def told(answer: Answer) -> str:
        cookie = answer.fields.get("set-cookie", "")
        size = len(cookie.partition(";")[0])
        return f"{answer.status}, " + (
            "a cookie that browsers drop" if size > 4096 else "no cookie, an error in the log"
        )

    theirs_, ours_ = await session("/large")
    return told(theirs_), told(ours_)


async def read_session() -> tuple[str, str]:
    def told(answer: Answer) -> str:
        names = ("vary", "cache-control")
        return (
            ", ".join(f"{name.title()}: {answer.fields[name]}" for name in names if name in answer.fields) or "nothing"
        )

    theirs_, ours_ = await session("/read")
    return told(theirs_), told(ours_)


async def short_secret() -> tuple[str, str]:
    answer = await theirs(_theirs_of("session"), "/", {}, secret_key="x")

    async def then(layer: Any) -> str:
        return "accepted"

    return "accepted" if answer.status == 200 else "refused", await refused(lambda: middleware.Sessions("x"), then)


ROWS: dict[str, Callable[[], Awaitable[tuple[str, str]]]] = {
    "CORS for `*` with credentials, a page of another site with a cookie": any_origin_with_credentials,
    "CORS for one origin, a request without Origin (its answer may be cached)": vary_without_origin,
    "CORS, the App raises an exception": an_unhandled_exception,
    "CORS, a preflight request of another origin": preflight_of_another,
    "hosts: `EXAMPLE.com:8000` for `example.com`": lambda: host("EXAMPLE.com:8000", "example.com"),
    "hosts: `example.com.` for `example.com`": lambda: host("example.com.", "example.com"),
    "hosts: `[::1]:8000` for `[::1]`": lambda: host("[::1]:8000", "[::1]"),
    "hosts: `evilexample.com` for `*.example.com`": lambda: host("evilexample.com", "*.example.com"),
    "hosts: `.example.com` for `*.example.com`": lambda: host(".example.com", "*.example.com"),
    "hosts: no Host": lambda: host("", "example.com"),
    "session: what is larger than a cookie can be": large_session,
    "session: it is read, and a cache must know": read_session,
    "session: a secret of one character": short_secret,
}


async def table() -> list[str]:
    lines = []
    for case, ask in ROWS.items():
        theirs_, ours_ = await ask()
        lines.append(f"| {case} | {theirs_} | {ours_} |")
    return lines


async def test_the_page_says_what_they_do(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("starlette")
    pytest.importorskip("itsdangerous")
    if importlib.metadata.version("starlette") != VERSION:
        pytest.skip(f"the table is of Starlette {VERSION}")
    found = await table()
    caplog.clear()
    page = (ROOT / "docs" / "layers.md").read_text()
    assert [line for line in found if line not in page] == []
    assert page.count("\n| ") - 1 == len(found)


if __name__ == "__main__":
    logging.disable()
    print(*asyncio.run(table()), sep="\n")
