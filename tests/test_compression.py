"""compress(): what a client decodes is what was written, whatever was written how; and the fields are right."""

import array
import asyncio
import functools
import gzip
import os
import random
import re
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import aiohttpd.compression as compression
import aiohttpd.files.tree as tree
from aiohttpd import (
    App,
    BaseHTTPRequestHandler,
    ClientDisconnected,
    Config,
    ContractError,
    HTTPError,
    Request,
    SimpleHTTPRequestHandler,
    StreamWriter,
)
from aiohttpd.auth import basic_auth
from aiohttpd.compression import compress
from aiohttpd.interfaces import Answer
from aiohttpd.testing import exchange, running
from aiohttpd.transfer import read_at

from .test_connection_life import BOUND, MIB, Client, connected, expect_logged, get, head, on_both_loops
from .waiting import until
from .wire import Response, split

QUIET = Config(access_log=False)
GZIP = "Accept-Encoding: gzip"
TEXT = ("Content-Type", "text/plain")
TAG = ("ETag", '"tag"')
PAGE = b"".join(b"line %d of a page\n" % number for number in range(300))
KIB = 1024

Field = tuple[str, str | int]
Work = Callable[[StreamWriter], Awaitable[object]]


def unzip(data: bytes) -> bytes:
    """All of one gzip member, and nothing else."""
    decoder = zlib.decompressobj(31)
    content = decoder.decompress(data)
    assert decoder.eof and not decoder.unused_data
    return content


def content_of(answer: Response) -> bytes:
    assert answer.complete
    if answer["Content-Encoding"] is None:
        return answer.body
    assert answer["Content-Encoding"] == "gzip"
    return unzip(answer.body)


def undated(answer: Response) -> list[tuple[str, str]]:
    return [field for field in answer.fields if field[0] != "Date"]


async def answers(app: App, *requests: bytes, methods: Iterable[str] = ()) -> list[Response]:
    found = split(await exchange(app, b"".join(requests), config=QUIET), methods)
    assert len(found) == len(requests)
    return found


async def ask(app: App, *fields: str, method: str = "GET", path: str = "/", version: str = "1.1") -> Response:
    [answer] = await answers(app, head(method, path, *fields, version=version), methods=[method])
    return answer


def giving(
    content: bytes = PAGE, *fields: Field, status: int = 200, kind: Field | None = TEXT, known: bool = True
) -> App:
    """An App that answers with content, whose length it tells if it is ``known``."""

    async def app(request: Request, response: StreamWriter) -> None:
        length = [("Content-Length", len(content))] if known else []
        response.send_head(status, [*([kind] if kind else []), *fields, *length])
        response.write(content)

    return app


def doing(work: Work, *fields: Field) -> App:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [TEXT, *fields])
        await work(response)

    return app


# What is decoded is what was written.

random.seed(5)
BLOB = b"".join(random.randbytes(300) + b"%d words that repeat " % number * 20 for number in range(400))  # 290 KiB


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compression") / "blob"
    path.write_bytes(BLOB)
    return path


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
        bare = await ask(plain, version=version)
        assert content_of(bare) == script.content
        identity, zipped = await ask(app, version=version), await ask(app, GZIP, version=version)
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
        answer = await ask(app, GZIP)
        assert content_of(answer) == b"x" * size
        small = size < 1024
        assert answer["Content-Encoding"] == (None if small else "gzip")
        assert answer["ETag"] == ('"tag"' if small else 'W/"tag"')
        assert answer["Accept-Ranges"] == ("bytes" if small else None)
        assert answer["Content-Length"] == str(len(answer.body))
        assert answer["Vary"] == (None if small and known else "Accept-Encoding")

    @pytest.mark.parametrize("known", [True, False])
    async def test_nothing_stays_nothing(self, known: bool) -> None:
        answer = await ask(compress(giving(b"", known=known), minimum_size=0), GZIP)
        assert (answer["Content-Encoding"], answer["Content-Length"], answer.body) == (None, "0", b"")

    async def test_items_are_no_bytes(self) -> None:
        """A buffer of 200 numbers has 1600 bytes."""

        async def work(response: StreamWriter) -> None:
            response.write(memoryview(array.array("Q", range(200))))

        answer = await ask(compress(doing(work)), GZIP)
        assert answer["Content-Encoding"] == "gzip"
        assert content_of(answer) == array.array("Q", range(200)).tobytes()

    async def test_in_one_piece_if_it_is_complete(self) -> None:
        """With its length, and a connection that HTTP/1.0 keeps."""
        content = random.randbytes(200_000)
        answer = await ask(compress(giving(content)), GZIP, "Connection: keep-alive", version="1.0")
        assert answer["Content-Length"] == str(len(answer.body)) and answer["Connection"] == "keep-alive"
        assert unzip(answer.body) == content

    async def test_level(self) -> None:
        sizes = [len((await ask(compress(giving(BLOB), level=level), GZIP)).body) for level in (1, 9)]
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
    answer = await ask(compress(giving()), *[f"Accept-Encoding: {value}" for value in accepted])
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
        answer = await ask(app, *fields)
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
    answer, bare = await ask(compress(plain), GZIP), await ask(plain)
    assert (undated(answer), answer.body) == (undated(bare), PAGE)


async def test_a_word_that_looks_like_no_transform() -> None:
    answer = await ask(compress(giving(PAGE, ("Cache-Control", "x-no-transform=1"))), GZIP)
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
    answer = await ask(compress(giving(PAGE, *[("vary", value) for value in before])), *fields)
    assert answer["Vary"] == after


@pytest.mark.parametrize(("tag", "after"), [('"a"', 'W/"a"'), ('W/"a"', 'W/"a"'), ('""', 'W/""')])
async def test_tags(tag: str, after: str) -> None:
    app = compress(giving(PAGE, ("etag", tag)))
    assert (await ask(app, GZIP))["ETag"] == after
    assert (await ask(app))["ETag"] == tag


@pytest.mark.parametrize("status", [200, 201, 203, 299, 400, 404, 500])
async def test_statuses(status: int) -> None:
    answer = await ask(compress(giving(status=status)), GZIP)
    assert (answer.status, answer["Content-Encoding"], content_of(answer)) == (status, "gzip", PAGE)


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_no_content(status: int) -> None:
    plain = giving(PAGE if status == 304 else b"", status=status, known=False)
    answer, bare = await ask(compress(plain), GZIP), await ask(plain)
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
    answer, whole = await ask(app, GZIP, method="HEAD"), await ask(app, GZIP)
    assert undated(answer) == [field for field in undated(whole) if field[0] != "Content-Length"]
    assert whole["Content-Encoding"] == "gzip"
    small = await ask(compress(Handler, minimum_size=MIB), GZIP, method="HEAD")
    assert (small["Content-Length"], small["Content-Encoding"]) == (str(len(PAGE)), None)


async def test_head_of_its_own() -> None:
    class Handler(BaseHTTPRequestHandler):
        async def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header(*TEXT)
            self.send_header("Content-Length", 5000)
            self.end_headers()

    answer = await ask(compress(Handler), GZIP, method="HEAD")
    assert (answer["Content-Encoding"], answer["Content-Length"]) == ("gzip", None)
    assert (await ask(compress(Handler), method="HEAD"))["Content-Length"] == "5000"


async def test_head_reads_no_file(blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "read_at", None)

    async def work(response: StreamWriter) -> None:
        with blob.open("rb") as file:
            await response.sendfile(file)

    for fields in ((), (("Content-Length", len(BLOB)),)):
        answer = await ask(compress(doing(work, *fields)), GZIP, method="HEAD")
        assert (answer["Content-Encoding"], answer["Content-Length"]) == ("gzip", None)


# Streams.


async def take(client: Client, decoder: Any, wanted: bytes) -> None:
    """Read chunks until they have been decoded to what is wanted."""
    found = b""
    while len(found) < len(wanted):
        size = int(await client.reader.readuntil(b"\r\n"), 16)
        assert size
        found += decoder.decompress((await client.reader.readexactly(size + 2))[:-2])
    assert found == wanted


@on_both_loops
async def test_a_stream_is_flushed_as_its_handler_flushes_it() -> None:
    """Each part can be decoded before the next is written, however small."""
    go: asyncio.Queue[None] = asyncio.Queue()
    parts = [b"a", b"two words", BLOB[:70_000], b"x" * 100, b"z"]

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [TEXT])
        await response.drain()
        for index, part in enumerate(parts):
            await go.get()
            response.write(part)
            if index % 2:
                response.flush()
            else:
                await response.drain()

    async with running(compress(app)) as server, connected(server) as client:
        await client.send(get("/", GZIP))
        [answer] = split(await client.reader.readuntil(b"\r\n\r\n"), ["HEAD"])
        assert (answer["Content-Encoding"], answer["Transfer-Encoding"]) == ("gzip", "chunked")
        decoder = zlib.decompressobj(31)
        for part in parts:
            go.put_nowait(None)
            await take(client, decoder, part)
        end = await client.reader.readuntil(b"0\r\n\r\n")
        decoder.decompress(end.split(b"\r\n")[1])
        assert decoder.eof


@on_both_loops
async def test_events() -> None:
    go: asyncio.Queue[str] = asyncio.Queue()
    left = asyncio.Event()

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            async with self.event_stream() as events:
                while True:
                    await events.send(await go.get())
            left.set()

    async with running(compress(Handler)) as server, connected(server) as client:
        await client.send(get("/", GZIP))
        [answer] = split(await client.reader.readuntil(b"\r\n\r\n"), ["HEAD"])
        assert (answer["Content-Encoding"], answer["Vary"]) == ("gzip", "Accept-Encoding")
        decoder = zlib.decompressobj(31)
        for text in ("one", "two", "two"):
            go.put_nowait(text)
            await take(client, decoder, f"data: {text}\n\n".encode())
        client.close()
        await left.wait()


# Files.


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> type[SimpleHTTPRequestHandler]:
    monkeypatch.setattr(tree, "_SETTLED", -1)
    (tmp_path / "page.txt").write_bytes(PAGE)
    (tmp_path / "large.txt").write_bytes(BLOB)
    (tmp_path / "small.txt").write_bytes(b"small")
    (tmp_path / "image.png").write_bytes(BLOB[:5000])
    (tmp_path / "ready.txt").write_bytes(PAGE)
    (tmp_path / "ready.txt.gz").write_bytes(gzip.compress(PAGE))
    for path in tmp_path.iterdir():
        os.utime(path, (1e9, 1e9))

    class Files(SimpleHTTPRequestHandler):
        directory = tmp_path
        cache_file_size = 100_000

    return Files


class TestFiles:
    @pytest.mark.parametrize("name", ["page", "large"])
    async def test_whole(self, site: App, name: str) -> None:
        app = compress(site)
        bare, answer = await ask(site, path=f"/{name}.txt"), await ask(app, GZIP, path=f"/{name}.txt")
        assert content_of(answer) == bare.body
        assert answer["ETag"] == f"W/{bare['ETag']}"
        assert (answer["Accept-Ranges"], answer["Vary"]) == (None, "Accept-Encoding")
        assert answer["Last-Modified"] == bare["Last-Modified"]
        identity = await ask(app, path=f"/{name}.txt")
        assert (identity["ETag"], identity["Accept-Ranges"]) == (bare["ETag"], "bytes")
        assert (identity["Vary"], identity.body) == ("Accept-Encoding", bare.body)
        again = await ask(app, GZIP, method="HEAD", path=f"/{name}.txt")
        assert undated(again) == [
            field for field in undated(answer) if field[0] not in ("Content-Length", "Transfer-Encoding")
        ]

    async def test_compressed_before(self, site: App) -> None:
        answer, bare = await ask(compress(site), GZIP, path="/ready.txt"), await ask(site, GZIP, path="/ready.txt")
        assert (undated(answer), answer.body) == (undated(bare), bare.body)
        assert content_of(answer) == PAGE and (answer["ETag"] or "").startswith('"')

    @pytest.mark.parametrize("name", ["page.txt", "small.txt", "image.png", "ready.txt"])
    @pytest.mark.parametrize("fields", [[GZIP], []], ids=["gzip", "identity"])
    async def test_not_modified(self, site: App, name: str, fields: list[str]) -> None:
        """With the tag in the form that the client has, and the Vary that the content has."""
        app = compress(site)
        whole = await ask(app, *fields, path=f"/{name}")
        tag = whole["ETag"]
        for value in (f"{tag}", f'"other", {tag}'):
            answer = await ask(app, *fields, f"If-None-Match: {value}", path=f"/{name}")
            assert (answer.status, answer["ETag"], answer.body) == (304, tag, b"")
            assert answer["Content-Encoding"] is None
            assert answer["Vary"] == "Accept-Encoding"  # of others, too, since nobody says what they are
            assert whole["Vary"] == (None if name in ("small.txt", "image.png") else "Accept-Encoding")

    async def test_not_modified_without_a_tag(self, site: App) -> None:
        """Of the two forms the weak one does no harm: it never lets parts be put together."""
        app, since = compress(site), "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"
        tag = (await ask(app, path="/page.txt"))["ETag"]
        assert (await ask(app, GZIP, since, path="/page.txt"))["ETag"] == f"W/{tag}"
        assert (await ask(app, GZIP, "If-None-Match: *", path="/page.txt"))["ETag"] == f"W/{tag}"
        both = f'If-None-Match: {tag}, W/{tag}, "a'
        assert (await ask(app, since, path="/page.txt"))["ETag"] == tag
        assert (await ask(app, GZIP, both.removesuffix(', "a'), path="/page.txt"))["ETag"] == f"W/{tag}"
        assert (await ask(app, both.removesuffix(', "a'), path="/page.txt"))["ETag"] == tag
        assert (await ask(app, GZIP, both, path="/page.txt")).status == 200  # that is no list

    async def test_the_tag_of_the_other_form(self, site: App) -> None:
        """A cache may have what another client wanted."""
        app = compress(site)
        tag = (await ask(app, path="/page.txt"))["ETag"]
        for fields in ([GZIP], []):
            for form in (f"{tag}", f"W/{tag}"):
                answer = await ask(app, *fields, f"If-None-Match: {form}", path="/page.txt")
                assert (answer.status, answer["ETag"]) == (304, form)

    async def test_ranges(self, site: App) -> None:
        app = compress(site)
        tag = (await ask(app, path="/page.txt"))["ETag"]
        for fields in ([], [f"If-Range: {tag}"], ["If-Range: Sun, 09 Sep 2001 01:46:40 GMT"]):
            answer = await ask(app, GZIP, "Range: bytes=5-2000", *fields, path="/page.txt")
            assert (answer.status, answer.body, answer["Content-Encoding"]) == (206, PAGE[5:2001], None)
            assert (answer["ETag"], answer["Content-Length"]) == (tag, "1996")
            assert answer["Vary"] == "Accept-Encoding"  # RFC 9110 section 15.3.7: as the whole has it
        answer = await ask(app, GZIP, "Range: bytes=5-20", f"If-Range: W/{tag}", path="/page.txt")
        assert (answer.status, content_of(answer), answer["Content-Encoding"]) == (200, PAGE, "gzip")
        short = await ask(app, GZIP, "Range: bytes=5-20", path="/page.txt")  # what counts is the size of the whole
        assert (short.status, short.body, short["Vary"]) == (206, PAGE[5:21], "Accept-Encoding")
        several = await ask(app, GZIP, "Range: bytes=5-20,40-2000", path="/page.txt")
        assert several.status == 206 and several["Content-Encoding"] is None
        assert (several["Vary"], several["ETag"]) == ("Accept-Encoding", tag)
        assert several["Content-Length"] == str(len(several.body))

    @pytest.mark.parametrize("name", ["small.txt", "image.png"])
    async def test_ranges_of_what_is_never_compressed(self, site: App, name: str) -> None:
        fields = [GZIP, "Range: bytes=0-3"]
        answer, bare = await ask(compress(site), *fields, path=f"/{name}"), await ask(site, *fields, path=f"/{name}")
        assert (answer.status, undated(answer), answer.body) == (206, undated(bare), bare.body)

    async def test_unsatisfiable(self, site: App) -> None:
        app = compress(site, minimum_size=0)
        answer = await ask(app, GZIP, "Range: bytes=9999999-", path="/page.txt")
        assert (answer.status, answer["Content-Encoding"]) == (416, None)
        answer = await ask(app, GZIP, 'If-Match: "other"', path="/page.txt")
        assert (answer.status, answer["Content-Encoding"]) == (412, "gzip")
        assert b"412" in content_of(answer)

    async def test_pages_beside_files(self, site: App) -> None:
        app = compress(site, minimum_size=1)
        missing = await ask(app, GZIP, path="/missing")
        assert (missing.status, missing["Content-Encoding"]) == (404, "gzip")
        assert b"File not found" in content_of(missing)
        listing = await ask(app, GZIP)
        assert (listing["Vary"], listing["Content-Encoding"]) == ("Accept, Accept-Encoding", "gzip")
        assert content_of(listing) == (await ask(site)).body

    async def test_not_modified_of_an_app(self) -> None:
        """A 304 that tells type and length is believed; a length that would not be sent is left out."""
        fields: list[Field] = [TAG, ("Content-Length", 5000)]
        app = compress(giving(b"", *fields, status=304, known=False))
        answer = await ask(app, GZIP)
        assert (answer["ETag"], answer["Content-Length"], answer["Vary"]) == ('W/"tag"', None, "Accept-Encoding")
        assert (await ask(app))["Content-Length"] == "5000"
        kind = ("Content-Type", "image/png")
        image = await ask(compress(giving(b"", *fields, status=304, kind=kind, known=False)), GZIP)
        assert (image["ETag"], image["Vary"]) == ('"tag"', None)

    @pytest.mark.parametrize("version", ["1.1", "1.0"])
    @pytest.mark.parametrize("change", ["truncate", "write"])
    async def test_a_file_that_changes_is_cut(
        self, site: Any, version: str, change: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def changing(descriptor: int, offset: int, count: int) -> bytes:
            if offset > 100_000:
                with (site.directory / "large.txt").open("r+b") as file:
                    file.truncate(120_000) if change == "truncate" else file.write(b"?")
            return await read_at(descriptor, offset, count)

        monkeypatch.setattr(compression, "read_at", changing)
        request = get("/large.txt", GZIP, version=version)
        [answer] = split(await exchange(compress(site), request, config=QUIET))
        assert answer.status == 200
        assert not answer.complete or version == "1.0"  # where the connection is reset
        decoder = zlib.decompressobj(31)
        assert BLOB.startswith(decoder.decompress(answer.body)[:120_000]) and not decoder.eof

    async def test_a_small_file_that_changes_is_cut(self, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        site.cache_file_size = 0
        monkeypatch.setattr("aiohttpd.files.tree.OpenFile.unchanged", lambda self: False)
        assert await exchange(compress(site), get("/page.txt", GZIP), config=QUIET) == b""


@pytest.mark.parametrize("length", [None, len(BLOB)])
@pytest.mark.parametrize(("offset", "count"), [(len(BLOB) - 10, 11), (len(BLOB), 1), (0, len(BLOB))])
async def test_a_file_that_is_too_short(blob: Path, length: int | None, offset: int, count: int) -> None:
    seen: list[str] = []

    async def work(response: StreamWriter) -> None:
        with blob.open("rb") as file:
            try:
                await response.sendfile(file, offset, count, check=lambda: False)
            except EOFError as error:
                seen.append(str(error))
        response.abort()

    output = await exchange(compress(doing(work, *([("Content-Length", length)] if length else []))), get("/", GZIP))
    assert not output.endswith(b"0\r\n\r\n")
    assert len(seen) == 1 and "the file has" in seen[0]


async def test_a_large_file_leaves_turns_to_others(blob: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces: list[int] = []
    turns = 0

    async def reading(descriptor: int, offset: int, count: int) -> bytes:
        pieces.append(turns)
        assert count <= 256 * KIB
        return await read_at(descriptor, offset, count)

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def work(response: StreamWriter) -> None:
        with blob.open("rb") as file:
            await response.sendfile(file)
        for _ in range(4):
            pieces.append(turns)
            response.write(BLOB[:100_000])
            await response.drain()

    monkeypatch.setattr(compression, "read_at", reading)
    task = asyncio.create_task(other())
    answer = await ask(compress(doing(work)), GZIP)
    task.cancel()
    assert content_of(answer) == BLOB + BLOB[:100_000] * 4
    assert len(pieces) == -(-len(BLOB) // (64 * KIB)) + 4
    assert len(set(pieces)) >= len(pieces) - 1  # the last piece of the file is a short one


@on_both_loops
async def test_a_slow_client_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more of a file is read than the client takes; the handler hears that it has gone."""
    path = tmp_path / "noise"
    path.write_bytes(random.randbytes(MIB) * 16)
    gone = asyncio.Event()
    total = 0

    async def reading(descriptor: int, offset: int, count: int) -> bytes:
        nonlocal total
        total += count
        return await read_at(descriptor, offset, count)

    async def work(response: StreamWriter) -> None:
        with path.open("rb") as file:
            try:
                await response.sendfile(file)
            except ClientDisconnected:
                gone.set()
                raise

    monkeypatch.setattr(compression, "read_at", reading)
    app = compress(doing(work, ("Content-Length", 16 * MIB)))
    async with running(app) as server, connected(server, small=True) as client:
        await client.send(get("/", GZIP))
        await client.reader.readuntil(b"\r\n\r\n")
        [connection] = server.connections
        await until(lambda: connection.out.paused, BOUND)
        assert connection.out.unsent < MIB
        client.reset()
        await gone.wait()
    assert total < 16 * MIB


@on_both_loops
async def test_cancel_on_disconnect() -> None:
    cancelled = asyncio.Event()

    class Handler(BaseHTTPRequestHandler):
        cancel_on_disconnect = True

        async def do_GET(self) -> None:
            self.send_response(200)
            self.send_header(*TEXT)
            self.end_headers()
            self.wfile.write(PAGE)
            await self.wfile.drain()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

    async with running(compress(Handler)) as server, connected(server) as client:
        await client.send(get("/", GZIP))
        await client.reader.readuntil(b"\r\n\r\n")
        client.close()
        await cancelled.wait()


# Errors.


class TestErrors:
    async def test_before_anything_has_left(self, caplog: pytest.LogCaptureFixture) -> None:
        """The page takes the place of what was compressed, with fields of its own."""

        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            raise RuntimeError("oops")

        for known in ([("Content-Length", 9000)], []):
            [first, second] = await answers(compress(doing(work, TAG, *known)), get("/", GZIP), get("/", GZIP))
            caplog.clear()
            assert first.status == second.status == 500
            assert (first["Content-Encoding"], first["ETag"]) == (None, None)
            assert first.body == b"500 Internal Server Error\n"

    @pytest.mark.parametrize("version", ["1.1", "1.0"])
    async def test_after_some_has_left(self, version: str, caplog: pytest.LogCaptureFixture) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            await response.drain()
            response.write(PAGE)
            raise RuntimeError("oops")

        output = await exchange(compress(doing(work)), get("/", GZIP, version=version), config=QUIET)
        expect_logged(caplog, "oops")
        [answer] = split(output)
        decoder = zlib.decompressobj(31)
        assert decoder.decompress(answer.body) == PAGE and not decoder.eof
        assert answer.complete is (version == "1.0")  # which is reset

    async def test_http_error(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.send_header(*TEXT)
                self.send_header("Content-Length", 99_999)
                self.end_headers()
                self.wfile.write(PAGE)
                raise HTTPError(404, None, "x" * 2000)

        answer = await ask(compress(Handler), GZIP)
        assert (answer.status, answer["Content-Encoding"]) == (404, "gzip")
        assert b"x" * 2000 in content_of(answer)

    async def test_send_error_instead_of_an_unsent_head(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.send_header(*TEXT)
                self.end_headers()
                self.wfile.write(b"small" if self.path == "/small" else PAGE)
                self.send_error(410)

        for path in ("/small", "/"):
            answer = await ask(compress(Handler), GZIP, path=path)
            assert (answer.status, answer["Content-Encoding"], answer["Content-Type"]) == (
                410,
                None,
                "text/html;charset=utf-8",
            )
            assert b"410" in answer.body and b"line" not in answer.body

    async def test_another_type_after_restart(self) -> None:
        """Nothing of the first answer is remembered."""

        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            response.restart()
            response.send_head(200, [("Content-Type", "image/png")])
            response.write(b"png" * 1000)

        for known in ([("Content-Length", 9000)], []):
            answer = await ask(compress(doing(work, *known)), GZIP)
            assert (answer["Content-Encoding"], answer["Vary"], answer.body) == (None, None, b"png" * 1000)

    @pytest.mark.parametrize("length", [len(PAGE) + 1, 99_999])
    async def test_too_little(self, length: int, caplog: pytest.LogCaptureFixture) -> None:
        """The length that the client does not see counts for the handler nevertheless."""

        async def work(response: StreamWriter) -> None:
            response.write(PAGE)

        answer = await ask(compress(doing(work, ("Content-Length", length))), GZIP)
        expect_logged(caplog, f"{len(PAGE)} bytes of content, but Content-Length says {length}")
        assert (answer.status, answer["Content-Encoding"]) == (500, None)

    async def test_too_little_after_some_has_left(self, caplog: pytest.LogCaptureFixture) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            await response.drain()

        answer = await ask(compress(doing(work, ("Content-Length", 99_999))), GZIP)
        expect_logged(caplog, "Content-Length says 99999")
        assert not answer.complete

    @pytest.mark.parametrize("way", ["write", "writelines", "sendfile"])
    async def test_too_much(self, way: str, blob: Path, caplog: pytest.LogCaptureFixture) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            if way == "sendfile":
                with blob.open("rb") as file:
                    await response.sendfile(file, 0, 2)
            elif way == "write":
                response.write(b"22")
            else:
                response.writelines([b"2", b"2"])

        for fields in ([], [GZIP]):
            answer = await ask(compress(doing(work, ("Content-Length", len(PAGE) + 1))), *fields)
            expect_logged(caplog, f"{len(PAGE) + 2} bytes of content, but Content-Length says {len(PAGE) + 1}")
            assert answer.status == 500

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("fields", [[GZIP], []], ids=["gzip", "identity"])
    async def test_too_much_of_a_file(
        self, method: str, fields: list[str], blob: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is refused before any of it has left; what follows a file counts, too."""

        async def work(response: StreamWriter) -> None:
            with blob.open("rb") as file:
                await response.sendfile(file)
            response.write(b"x")

        size = len(BLOB)
        answer = await ask(compress(doing(work, ("Content-Length", size - 1))), *fields, method=method)
        expect_logged(caplog, f"{size} bytes of content, but Content-Length says {size - 1}")
        assert answer.status == 500
        output = await exchange(
            compress(doing(work, ("Content-Length", size))), head(method, "/", *fields), config=QUIET
        )
        expect_logged(caplog, f"{size + 1} bytes of content, but Content-Length says {size}")
        assert not output.endswith(b"0\r\n\r\n")

    async def test_too_much_can_be_caught(self) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            with pytest.raises(ContractError):
                response.write(b"more")

        assert content_of(await ask(compress(doing(work, ("Content-Length", len(PAGE)))), GZIP)) == PAGE

    async def test_chunks_of_its_own(self, caplog: pytest.LogCaptureFixture) -> None:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(PAGE), PAGE)
        field = ("Transfer-Encoding", "chunked")
        answer = await ask(compress(giving(chunks, field, TAG, known=False)), GZIP)
        assert (answer.body, answer["Content-Encoding"], answer["Vary"], answer["ETag"]) == (PAGE, None, None, TAG[1])
        answer = await ask(compress(giving(chunks[:-5], field, known=False)), GZIP)
        assert answer.status == 500
        expect_logged(caplog, "the last chunk is missing")

    async def test_contract(self) -> None:
        """What may not be done raises as ever, and does no harm when it is caught."""
        writers: list[StreamWriter] = []

        async def app(request: Request, response: StreamWriter) -> None:
            writers.append(response)
            for call in (response.flush, functools.partial(response.write, b"x")):
                with pytest.raises(ContractError, match="before the head"):
                    call()
            with pytest.raises(ContractError, match="before the head"):
                await response.sendfile(0, 0, 1)
            with pytest.raises(ValueError, match="reason phrase"):
                response.send_head(200, [TEXT, ("Content-Length", 9000)], "a\r\nb")
            with pytest.raises(ValueError, match="control character|may not stand"):
                response.send_head(200, [("A", "a\nb")])
            response.send_head(200, [TEXT, TAG])
            response.write(PAGE)
            again: list[list[Field]] = [[TEXT], [TEXT, ("Content-Length", 1)], [("Content-Type", "image/png")]]
            for fields in again:
                with pytest.raises(ContractError, match="given already"):
                    response.send_head(200, fields)
            for wrong in ("text", 3):
                with pytest.raises(TypeError):
                    response.write(wrong)  # type: ignore[arg-type]
            response.write(PAGE)

        for requests in ([get("/", GZIP)], [get()]):
            [answer] = await answers(compress(app), *requests)
            assert content_of(answer) == PAGE * 2
        small = compress(app, minimum_size=MIB)
        assert (await ask(small, GZIP)).body == PAGE * 2
        for response in writers:
            for data in (b"x", b"x" * 100_000):
                with pytest.raises(ContractError, match="after the handler has returned"):
                    response.write(data)
            with pytest.raises(ContractError, match="after the handler has returned"):
                await response.sendfile(0, 0, 1)
            assert not response.replaceable()

    async def test_a_refused_head_leaves_nothing(self) -> None:
        """What follows is not taken for what was refused."""

        async def app(request: Request, response: StreamWriter) -> None:
            with pytest.raises(ValueError, match="reason phrase"):
                response.send_head(200, [TEXT, ("Content-Length", 9000)], "a\r\nb")
            response.send_head(200, [("Content-Type", "image/png")])
            response.write(b"png" * 1000)

        answer = await ask(compress(app), GZIP)
        assert (answer["Content-Encoding"], answer.body) == (None, b"png" * 1000)

    async def test_an_aborted_answer_is_over(self) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(b"few")
            response.abort()
            with pytest.raises(ContractError):
                response.write(b"more")

        assert await exchange(compress(doing(work)), get("/", GZIP), config=QUIET) == b""

    async def test_no_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        async def app(request: Request, response: StreamWriter) -> None:
            pass

        assert (await ask(compress(app), GZIP)).status == 500
        expect_logged(caplog, "without an answer")

    async def test_a_forgotten_await(self, caplog: pytest.LogCaptureFixture) -> None:
        async def text() -> bytes:
            return b""

        async def work(response: StreamWriter) -> None:
            response.write(text())  # type: ignore[arg-type]

        assert (await ask(compress(doing(work, ("Content-Length", 9000))), GZIP)).status == 500
        expect_logged(caplog, "put 'await' before the call")


# Apps of all kinds, and what else an answer has.


class Log:
    """Remembers what would be logged."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        self.sizes.append((answer.status, answer.size))

    def refused(self, client_address: Any, line: str, status: int) -> None:
        raise AssertionError

    def message(self, text: str) -> None:
        pass


class TestApps:
    async def test_partial(self, tmp_path: Path) -> None:
        (tmp_path / "page.html").write_bytes(PAGE)
        app = compress(functools.partial(SimpleHTTPRequestHandler, directory=tmp_path))
        for answer in await answers(app, *[get("/page.html", GZIP)] * 3):
            assert (answer["Content-Encoding"], content_of(answer)) == ("gzip", PAGE)

    async def test_class(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_json(["word"] * 1000)

        answer = await ask(compress(Handler), GZIP)
        assert answer["Content-Encoding"] == "gzip" and b'"word"' in content_of(answer)

    @pytest.mark.parametrize("minimum", [(10, MIB), (MIB, 10)])
    async def test_twice(self, minimum: tuple[int, int]) -> None:
        """It is compressed once, as the inner one says."""
        app = compress(compress(giving(PAGE, TAG), minimum_size=minimum[0]), minimum_size=minimum[1])
        answer = await ask(app, GZIP)
        assert content_of(answer) == PAGE
        assert (answer["Content-Encoding"], answer["Vary"]) == (
            ("gzip", "Accept-Encoding") if minimum[0] == 10 else (None, None)
        )

    async def test_behind_a_password(self) -> None:
        app = basic_auth(compress(giving()), "a:b")
        assert (await ask(app, GZIP)).status == 401
        assert content_of(await ask(app, GZIP, "Authorization: Basic YTpi")) == PAGE
        inside = compress(basic_auth(giving(), "a:b"), minimum_size=1)
        refused = await ask(inside, GZIP)
        assert (refused.status, refused["Content-Encoding"]) == (401, "gzip")
        assert refused["WWW-Authenticate"] and b"401" in content_of(refused)

    async def test_bodies_of_requests(self) -> None:
        async def echo(request: Request, response: StreamWriter) -> None:
            data = await request.body.read()
            await giving(data)(request, response)

        post = b"POST / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE
        for answer in await answers(compress(echo), post, post):
            assert content_of(answer) == PAGE

    @pytest.mark.parametrize("flushed", [False, True])
    async def test_the_log_has_the_bytes_that_were_sent(self, flushed: bool) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            if flushed:
                await response.drain()

        log = Log()
        requests = get("/", GZIP) + get() + head("HEAD", "/", GZIP)
        found = split(await exchange(compress(doing(work)), requests, access_log=log), ["GET", "GET", "HEAD"])
        assert log.sizes == [(200, len(found[0].body)), (200, len(PAGE)), (200, 0)]
        assert log.sizes[0][1] < len(PAGE)

    async def test_log_request_of_a_class(self) -> None:
        seen = []

        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_text(PAGE.decode())

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                seen.append((code, size))

        [answer] = split(await exchange(compress(Handler), get("/", GZIP)))
        assert seen == [(200, len(answer.body))] and content_of(answer) == PAGE

    async def test_close_connection(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.close_connection = True
                self.send_text(PAGE.decode())
                assert self.wfile.status == 200

        [answer] = split(await exchange(compress(Handler), get("/", GZIP) * 2, config=QUIET))
        assert answer["Connection"] == "close" and content_of(answer) == PAGE
        closing = compress(giving(PAGE, ("Connection", "close")))
        [answer] = split(await exchange(closing, get("/", GZIP) * 2, config=QUIET))
        assert answer["Connection"] == "close" and content_of(answer) == PAGE

    async def test_fields_that_replace_ours(self) -> None:
        answer = await ask(compress(giving(PAGE, ("Server", "mine"), ("Date", "now"))), GZIP)
        assert (answer["Server"], answer["Date"], content_of(answer)) == ("mine", "now", PAGE)


# zstd, which Python has from 3.14 on.

FAKE = """
    import asyncio, sys, types, zlib

    class ZstdCompressor:
        CONTINUE, FLUSH_BLOCK, FLUSH_FRAME = 0, 1, 2
        def __init__(self, level=None):
            assert 1 <= level <= 9
            self.inner = zlib.compressobj(level)
        def compress(self, data, mode=CONTINUE):
            return self.inner.compress(data)
        def flush(self, mode=FLUSH_FRAME):
            return self.inner.flush(zlib.Z_SYNC_FLUSH if mode == self.FLUSH_BLOCK else zlib.Z_FINISH)

    from aiohttpd.testing import exchange
    if {present}:
        package, module = types.ModuleType("compression"), types.ModuleType("compression.zstd")
        package.zstd, module.ZstdCompressor = module, ZstdCompressor
        sys.modules |= {{"compression": package, "compression.zstd": module}}
    else:
        sys.modules["compression"] = None
    version, sys.version_info = sys.version_info, (3, 14, 0, "final", 0)
    from aiohttpd.compression import compress
    sys.version_info = version

    async def app(request, response):
        response.send_head(200, [("Content-Type", "text/plain")])
        response.write(b"text " * 1000)
        response.flush()
        response.write(b"end")

    for accepted in ("gzip, zstd", "zstd", "gzip", "br, zstd;q=0.5, gzip;q=0.6", "*"):
        request = b"GET / HTTP/1.0\\r\\nAccept-Encoding: %b\\r\\n\\r\\n" % accepted.encode()
        head, _, body = asyncio.run(exchange(compress(app), request)).partition(b"\\r\\n\\r\\n")
        [coding] = [line[18:] for line in head.decode().splitlines() if line.startswith("Content-Encoding: ")] or ["-"]
        if coding != "-":
            body = zlib.decompress(body, 31 if coding == "gzip" else 15)
        assert body == b"text " * 1000 + b"end"
        print(coding, end=" ")
"""


@pytest.mark.parametrize(
    ("present", "codings"), [(True, "zstd zstd gzip gzip zstd"), (False, "gzip - gzip gzip gzip")], ids=str
)
def test_zstd(present: bool, codings: str) -> None:
    code = textwrap.dedent(FAKE).format(present=present)
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.sub(r"\s+", " ", done.stdout).strip() == codings
