"""compress(): what a client decodes is what was written, whatever was written how; and the fields are right."""

import array
import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import aiohttpd.engine.encoder as encoder
from aiohttpd import BaseHTTPRequestHandler, Request, StreamWriter
from aiohttpd.compression import compress
from aiohttpd.testing import exchange

from ..support.asking import QUIET
from ..support.clients import MIB, get, head
from ..support.compressing import (
    BLOB,
    GZIP,
    KIB,
    PAGE,
    TAG,
    TEXT,
    Field,
    answers,
    content_of,
    doing,
    giving,
    one_answer,
    unzip,
)
from ..support.wire import split, undated


def near(*sizes: int) -> st.SearchStrategy[int]:
    return st.sampled_from([size + more for size in sizes for more in (-1, 0, 1) if size + more >= 0])


SIZES = near(0, 1, 100, KIB) | near(0, 1, 64 * KIB) | st.integers(0, 3000)

STEPS = st.one_of(
    st.tuples(st.just("write"), SIZES),
    st.tuples(st.sampled_from(["bytearray", "memoryview"]), SIZES),
    st.tuples(st.just("writelines"), st.lists(SIZES, max_size=3)),
    st.tuples(st.sampled_from(["flush", "drain"])),
    st.tuples(st.just("sendfile"), st.integers(0, len(BLOB)), st.none() | SIZES),
)


class Script:
    """Steps of a handler, and what they write."""

    def __init__(self, steps: list[tuple[Any, ...]], path: Path) -> None:
        self.path = path
        self.steps: list[tuple[Any, ...]] = []
        self.content = b""
        at = 0
        for name, *values in steps:
            if name == "writelines":
                parts = [BLOB[at + index : at + index + size] for index, size in enumerate(values[0])]
                self.steps.append((name, parts))
                self.content += b"".join(parts)
            elif name == "sendfile":
                start, count = values
                count = count if count is None else min(count, len(BLOB) - start)
                self.steps.append((name, start, count))
                self.content += BLOB[start:] if count is None else BLOB[start : start + count]
            elif values:
                part = BLOB[at : at + values[0]]
                self.steps.append(("write", {"bytearray": bytearray, "memoryview": memoryview}.get(name, bytes)(part)))
                self.content += part
            else:
                self.steps.append((name,))
            at += 1000

    async def run(self, response: StreamWriter) -> None:
        with self.path.open("rb") as file:
            for name, *values in self.steps:
                if name == "sendfile":
                    await response.sendfile(file, *values)
                elif name == "drain":
                    await response.drain()
                else:
                    getattr(response, name)(*values)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(STEPS, max_size=6),
    st.booleans(),
    st.sampled_from(["1.1", "1.0"]),
    st.sampled_from([0, 1, 100, KIB, 64 * KIB, MIB]),
)
@example([("sendfile", 0, None), ("write", 1), ("sendfile", 5, 64 * KIB)], True, "1.0", KIB)
@example([("flush",), ("flush",), ("write", 0), ("drain",)], False, "1.1", 0)
@example([("write", 64 * KIB)] * 6, True, "1.1", KIB)
@example([("write", 64 * KIB)] * 6, False, "1.0", 100)
def test_any_way_of_writing(blob: Path, steps: list[Any], known: bool, version: str, minimum: int) -> None:
    script = Script(steps, blob)
    plain = doing(script.run, TAG, *([("Content-Length", len(script.content))] if known else []))
    app = compress(plain, minimum_size=minimum)

    async def check() -> None:
        bare = await one_answer(plain, version=version)
        assert content_of(bare) == script.content
        identity, zipped = await one_answer(app, version=version), await one_answer(app, GZIP, version=version)
        assert identity.body == script.content
        assert [field for field in undated(identity) if field[0] != "Vary"] == undated(bare)
        assert content_of(zipped) == script.content
        if zipped["Content-Encoding"] is None:
            assert undated(zipped) == undated(identity)
            assert len(script.content) < max(minimum, 1)
        else:
            assert zipped["ETag"] == 'W/"tag"' and zipped["Vary"] == identity["Vary"] == "Accept-Encoding"
        if version == "1.1":
            methods = ["GET", "HEAD", "GET"]
            found = await answers(app, *[head(method, "/", GZIP) for method in methods], methods=methods)
            assert [content_of(answer) for answer in found[::2]] == [script.content] * 2
            assert found[1].status == 200 and found[1]["Vary"] == found[0]["Vary"]

    asyncio.run(check())


class TestSizes:
    @pytest.mark.parametrize("size", [1, 1023, 1024, 1025])
    @pytest.mark.parametrize("known", [True, False])
    async def test_small_ones_stay(self, size: int, known: bool) -> None:
        app = compress(giving(b"x" * size, TAG, ("Accept-Ranges", "bytes"), known=known))
        answer = await one_answer(app, GZIP)
        assert content_of(answer) == b"x" * size
        small = size < 1024
        assert answer["Content-Encoding"] == (None if small else "gzip")
        assert answer["ETag"] == ('"tag"' if small else 'W/"tag"')
        assert answer["Accept-Ranges"] == ("bytes" if small else None)
        assert answer["Content-Length"] == str(len(answer.body))
        assert answer["Vary"] == (None if small and known else "Accept-Encoding")

    @pytest.mark.parametrize("known", [True, False])
    async def test_nothing_stays_nothing(self, known: bool) -> None:
        answer = await one_answer(compress(giving(b"", known=known), minimum_size=0), GZIP)
        assert (answer["Content-Encoding"], answer["Content-Length"], answer.body) == (None, "0", b"")

    async def test_items_are_no_bytes(self) -> None:
        """A buffer of 200 numbers has 1600 bytes."""

        async def work(response: StreamWriter) -> None:
            response.write(memoryview(array.array("Q", range(200))))

        answer = await one_answer(compress(doing(work)), GZIP)
        assert answer["Content-Encoding"] == "gzip"
        assert content_of(answer) == array.array("Q", range(200)).tobytes()

    async def test_in_one_piece_if_it_is_complete(self) -> None:
        """With its length, and a connection that HTTP/1.0 keeps."""
        content = random.randbytes(200_000)
        answer = await one_answer(compress(giving(content)), GZIP, "Connection: keep-alive", version="1.0")
        assert answer["Content-Length"] == str(len(answer.body)) and answer["Connection"] == "keep-alive"
        assert unzip(answer.body) == content

    async def test_level(self) -> None:
        sizes = [len((await one_answer(compress(giving(BLOB), level=level), GZIP)).body) for level in (1, 9)]
        assert sizes[1] < sizes[0]

    @pytest.mark.parametrize("level", [0, 10, -1])
    def test_no_such_level(self, level: int) -> None:
        with pytest.raises(ValueError, match="level of compression"):
            compress(giving(), level=level)

    def test_no_app(self) -> None:
        with pytest.raises(TypeError, match="no App"):
            compress(3)  # type: ignore[arg-type]


# Who gets what.

try:
    from compression import zstd  # noqa: F401  # of Python 3.14 on, as a rule
except ImportError:
    ANOTHER = None
else:
    ANOTHER = "zstd"


BEST = ANOTHER or "gzip"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ([], None),
        ([""], None),
        (["gzip"], "gzip"),
        (["GZIP"], "gzip"),
        (["x-gzip"], "gzip"),
        (["*"], BEST),
        (["*;q=0"], None),
        (["gzip;q=0"], None),
        (["gzip;q=0, *"], ANOTHER),
        (["identity"], None),
        (["identity, gzip;q=0.5"], None),
        (["identity;q=0.5, gzip;q=0.7"], "gzip"),
        (["identity, gzip"], "gzip"),
        (["identity;q=0"], None),
        (["identity;q=0, *;q=0.1"], BEST),
        (["br, deflate"], None),
        (["br, gzip;q=0.1"], "gzip"),
        (["deflate", "gzip"], "gzip"),
        (["gzip;q=2"], None),
        (["gzip;q=0.001"], "gzip"),
    ],
)
async def test_accepted(accepted: list[str], coding: str | None) -> None:
    answer = await one_answer(compress(giving()), *[f"Accept-Encoding: {value}" for value in accepted])
    assert answer["Content-Encoding"] == coding
    assert coding == "zstd" or content_of(answer) == PAGE
    assert answer["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("kind", "suits"),
    [
        ("text/html; charset=utf-8", True),
        ("TEXT/Plain", True),
        ("text/event-stream", True),
        ("application/json", True),
        ("application/problem+json; a=b", True),
        ("application/javascript", True),
        ("application/wasm", True),
        ("image/svg+xml", True),
        ("image/bmp", True),
        ("font/ttf", True),
        ("application/xhtml+xml", True),
        ("application/x-ndjson", True),
        ("image/png", False),
        ("image/jpeg", False),
        ("video/mp4", False),
        ("application/gzip", False),
        ("application/zip", False),
        ("application/zstd", False),
        ("application/octet-stream", False),
        ("application/pdf", False),
        ("font/woff2", False),
        ("multipart/byteranges; boundary=text/plain", False),
        ("text", False),
        ("", False),
        (None, False),
    ],
)
async def test_types(kind: str | None, suits: bool) -> None:
    app = compress(giving(PAGE, TAG, kind=None if kind is None else ("content-TYPE", kind)))
    for fields in ([GZIP], []):
        answer = await one_answer(app, *fields)
        assert (answer["Content-Encoding"] is not None) is bool(suits and fields)
        assert answer["Vary"] == ("Accept-Encoding" if suits else None)
        assert content_of(answer) == PAGE


@pytest.mark.parametrize(
    "fields",
    [
        [("Content-Encoding", "br")],
        [("content-encoding", "identity")],
        [("Cache-Control", "no-transform")],
        [("Cache-Control", "public, No-Transform, max-age=3")],
        [("Cache-Control", "no-transform"), ("Cache-Control", "max-age=3")],
        [("Content-Range", "bytes 0-3/4")],
        [("Repr-Digest", "sha-256=:4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo=:")],
        [("Content-Digest", "sha-256=:4REjxQ4yrqUVicfSKYNO/cF9zNj5ANbzgDZt3/h3Qxo=:")],
        [("Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ==")],
    ],
    ids=str,
)
async def test_left_alone(fields: list[Field]) -> None:
    plain = giving(PAGE, TAG, *fields)
    answer, bare = await one_answer(compress(plain), GZIP), await one_answer(plain)
    assert (undated(answer), answer.body) == (undated(bare), PAGE)


async def test_a_word_that_looks_like_no_transform() -> None:
    answer = await one_answer(compress(giving(PAGE, ("Cache-Control", "x-no-transform=1"))), GZIP)
    assert answer["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["Accept"], "Accept, Accept-Encoding"),
        (["Accept", "Cookie, Origin"], "Accept, Cookie, Origin, Accept-Encoding"),
        (["accept-encoding, Accept"], "accept-encoding, Accept"),
        (["*"], "*"),
        (["Accept, *"], "Accept, *"),
        ([""], "Accept-Encoding"),
        (["X-Accept-Encoding"], "X-Accept-Encoding, Accept-Encoding"),
    ],
)
@pytest.mark.parametrize("fields", [[GZIP], []], ids=["gzip", "identity"])
async def test_vary(before: list[str], after: str, fields: list[str]) -> None:
    answer = await one_answer(compress(giving(PAGE, *[("vary", value) for value in before])), *fields)
    assert answer["Vary"] == after


@pytest.mark.parametrize(("tag", "after"), [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"'), ('""', 'W/""')])
async def test_tags(tag: str, after: str) -> None:
    app = compress(giving(PAGE, ("etag", tag)))
    assert (await one_answer(app, GZIP))["ETag"] == after
    assert (await one_answer(app))["ETag"] == tag


@pytest.mark.parametrize("status", [200, 201, 203, 299, 400, 404, 500])
async def test_statuses(status: int) -> None:
    answer = await one_answer(compress(giving(status=status)), GZIP)
    assert (answer.status, answer["Content-Encoding"], content_of(answer)) == (status, "gzip", PAGE)


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_no_content(status: int) -> None:
    plain = giving(PAGE if status == 304 else b"", status=status, known=False)
    answer, bare = await one_answer(compress(plain), GZIP), await one_answer(plain)
    assert [field for field in undated(answer) if field[0] != "Vary"] == undated(bare)
    assert answer.body == b"" and answer["Vary"] == ("Accept-Encoding" if status == 304 else None)


async def test_a_tunnel() -> None:
    output = await exchange(compress(giving(b"", known=False)), b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n")
    assert b"Content-Encoding" not in output and b"Vary" not in output


async def test_interim_answers() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(103, [("Link", "</style.css>"), TEXT, TAG])
        await giving()(request, response)

    hints, answer = split(await exchange(compress(app), get("/", GZIP), config=QUIET))
    assert hints.fields == [("Link", "</style.css>"), TEXT, TAG]
    assert content_of(answer) == PAGE


async def test_fields_of_a_handler_are_its_own() -> None:
    """They may be shared by many answers."""
    from aiohttpd.wire.response import ResponseFields

    shared = ResponseFields.of([TEXT, TAG, ("Content-Length", len(PAGE)), ("Accept-Ranges", "bytes")])
    before = list(shared), dict(shared.deciding or {})

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, shared)
        response.write(PAGE)

    for answer in await answers(compress(app), get("/", GZIP), get("/", GZIP)):
        assert content_of(answer) == PAGE
    assert (list(shared), shared.deciding) == before


# HEAD.


@pytest.mark.parametrize("known", [True, False])
async def test_head_by_get(known: bool) -> None:
    """The same fields but the length, which would have to be compressed for."""

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            await giving(PAGE, TAG, known=known)(self.request, self.wfile)

    app = compress(Handler)
    answer, whole = await one_answer(app, GZIP, method="HEAD"), await one_answer(app, GZIP)
    assert undated(answer) == [field for field in undated(whole) if field[0] != "Content-Length"]
    assert whole["Content-Encoding"] == "gzip"
    small = await one_answer(compress(Handler, minimum_size=MIB), GZIP, method="HEAD")
    assert (small["Content-Length"], small["Content-Encoding"]) == (str(len(PAGE)), None)


async def test_head_of_its_own() -> None:
    class Handler(BaseHTTPRequestHandler):
        async def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header(*TEXT)
            self.send_header("Content-Length", 5000)
            self.end_headers()

    answer = await one_answer(compress(Handler), GZIP, method="HEAD")
    assert (answer["Content-Encoding"], answer["Content-Length"]) == ("gzip", None)
    assert (await one_answer(compress(Handler), method="HEAD"))["Content-Length"] == "5000"


async def test_head_reads_no_file(blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "read_piece", None)

    async def work(response: StreamWriter) -> None:
        with blob.open("rb") as file:
            await response.sendfile(file)

    for fields in ((), (("Content-Length", len(BLOB)),)):
        answer = await one_answer(compress(doing(work, *fields)), GZIP, method="HEAD")
        assert (answer["Content-Encoding"], answer["Content-Length"]) == ("gzip", None)
