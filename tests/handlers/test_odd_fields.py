"""Fields that hold anything: an answer below 500, and never a traceback."""

import asyncio
import base64
import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aiohttpd import BaseHTTPRequestHandler, Config
from aiohttpd.fileserver.folder import FolderOptions, folder_app
from aiohttpd.middleware.auth import basic_auth, check_credentials
from aiohttpd.testing import exchange

from ..support.examples import examples
from ..support.wire import Response, finals

SECRET = "ünä:pä:ss €"


class Hello(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("ok")


def basic(credentials: bytes) -> bytes:
    return b"Basic " + base64.b64encode(credentials)


async def with_fields(app: Any, *fields: bytes, **options: Any) -> Response:
    data = b"".join(field + b"\r\n" for field in (b"GET / HTTP/1.1", b"Host: a", *fields, b""))
    [found] = finals(await exchange(app, data, config=Config(access_log=False, **options)))
    return found


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"Basic",
        b"Basic ",
        b"Basic \xff",
        b"Basic \xc3\xbc",
        b"Basic YTpi\xff",
        b"Basic \xa0YTpi",
        b"Basic YTpi=",
        b"Basic YTp",
        b"Basic Y",
        b"Basic ====",
        b"Basic YTpi YTpi",
        b"Basic YTpi,",
        b"Basic a:b",
        b"Bearer YTpi",
        b"\xff YTpi",
        b"Basic " + b"\xff" * 10_000,
        b"Basic " + b"A" * 10_000,
        basic(b""),
        basic(b":"),
        basic(b"nocolon"),
        basic(b"a:\0"),
        basic(b"\xff\xfe:\xff"),
        basic(SECRET.encode() + b"\0"),
        basic(SECRET.encode("latin-1", "replace")),
        basic(SECRET.encode("utf-16")),
    ],
)
async def test_what_is_no_credentials(value: bytes) -> None:
    answer = await with_fields(basic_auth(Hello, SECRET), b"Authorization: " + value)
    assert answer.status == 401
    assert answer["WWW-Authenticate"] == 'Basic realm="aiohttpd", charset="UTF-8"'


async def test_what_is() -> None:
    app = basic_auth(Hello, SECRET)
    for field in (b"Authorization: ", b"authorization:", b"AUTHORIZATION:\t "):
        assert (await with_fields(app, field + basic(SECRET.encode()))).status == 200
    assert (await with_fields(app, b"Authorization: basic  " + base64.b64encode(SECRET.encode()) + b" ")).status == 200
    twice = b"Authorization: " + basic(SECRET.encode())
    assert (await with_fields(app, twice, twice)).status == 401
    assert (await with_fields(app)).status == 401


async def test_credentials_of_a_command_line_in_another_charset() -> None:
    """They are the bytes that stand there."""
    app = basic_auth(Hello, b"\xfcn\xe4:p".decode("utf-8", "surrogateescape"))
    assert (await with_fields(app, b"Authorization: " + basic(b"\xfcn\xe4:p"))).status == 200
    assert (await with_fields(app, b"Authorization: " + basic("ünä:p".encode()))).status == 401
    with pytest.raises(ValueError, match="surrogates not allowed"):
        check_credentials("a:\ud800")


NAMES = [
    "Accept", "Accept-Encoding", "Authorization", "Content-Type", "Content-Encoding", "Cookie", "Connection", "Expect",
    "Forwarded", "If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Origin", "Range",
    "Referer", "TE", "Upgrade", "User-Agent", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port",
    "X-Forwarded-Proto", "Access-Control-Request-Method", "Access-Control-Request-Headers", "Sec-Fetch-Site",
]  # fmt: skip
WORDS = [b"\xff", b"\xc3\xbc", b'"', b"\\", b";", b",", b"=", b" ", b"\t", b"q=", b"bytes=", b"0-", b"-1", b"W/", b"*"]
WORDS += [
    b"http://[",
    b"//",
    b"]",
    b"%",
    b"Basic ",
    b"charset=",
    b"9" * 30,
    b"\xb2",
    b"for=",
    b"a",
    b"gzip",
    b":",
    b"@",
]
VALUES = st.lists(st.sampled_from(WORDS) | st.binary(max_size=3), max_size=5).map(b"".join)


class Looker(BaseHTTPRequestHandler):
    """Looks at all that is taken apart."""

    async def do_POST(self) -> None:
        for read in (self.json, self.text, self.form, lambda: anext(self.parts())):
            try:
                await read()  # type: ignore[operator]
            except StopAsyncIteration:
                pass
            except Exception as error:
                if getattr(error, "status", 500) >= 500 and type(error).__name__ != "ContractError":
                    raise
        asked = self.request
        self.send_json([self.cookies, str(asked.client_address), asked.scheme, asked.host, self.query.pairs()])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    (path / "index.html").write_text("x" * 3000)
    (path / "index.html.gz").write_bytes(b"y" * 30)
    return path


@examples(400)
@given(
    fields=st.lists(st.tuples(st.sampled_from(NAMES), VALUES), min_size=1, max_size=3), method=st.sampled_from("GPO")
)
@example(fields=[("Authorization", b"Basic \xff")], method="G")
@example(fields=[("Origin", b"http://[")], method="P")
@example(fields=[("Content-Type", b"text/plain; charset=\xff")], method="P")
@example(fields=[("Content-Type", b"multipart/form-data; boundary=\xff")], method="P")
@example(fields=[("Range", b"bytes=\xb2-")], method="G")
@example(fields=[("If-Modified-Since", b"\xb2")], method="G")
def test_odd_fields(folder: Path, fields: list[tuple[str, bytes]], method: str) -> None:
    line = {"G": b"GET / HTTP/1.1", "P": b"POST / HTTP/1.1", "O": b"OPTIONS / HTTP/1.1"}[method]
    body = b"a=1" if method == "P" else b""
    lines = [line, b"Host: a", b"Content-Length: %d" % len(body)]
    lines += [b"%b: %b" % (name.encode(), value) for name, value in fields]
    data = b"".join(line + b"\r\n" for line in [*lines, b""]) + body
    site = folder_app(str(folder), FolderOptions(upload=True, auth="a:b", cors="*", spa="index.html", compress=True))
    free = folder_app(str(folder), FolderOptions(upload=True, cors="*", spa="index.html", compress=True))
    for app, proxied in itertools.product((site, free, Looker), ("", "Forwarded", "X-Forwarded-For,X-Forwarded-Host")):
        more = {"trusted_proxies": "127.0.0.1", "trusted_fields": proxied} if proxied else {}
        config = Config(access_log=False, **more)  # type: ignore[arg-type]
        answers = finals(asyncio.run(exchange(app, data, config=config)))
        assert [answer.status for answer in answers if answer.status >= 500 and answer.status != 501] == []
