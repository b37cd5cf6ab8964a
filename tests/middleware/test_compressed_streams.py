"""compress() around streams, events and files: flushed as written, at the pace of the client."""

import asyncio
import gzip
import os
import random
import zlib
from pathlib import Path
from typing import Any

import pytest

import aiohttpd.engine.encoder as encoder
import aiohttpd.handlers.files.tree as tree
from aiohttpd import App, BaseHTTPRequestHandler, ClientDisconnected, Request, SimpleHTTPRequestHandler, StreamWriter
from aiohttpd.compression import compress
from aiohttpd.net.sendfile import read_piece
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET
from ..support.clients import MIB, Client, connected, get
from ..support.compressing import (
    BLOB,
    GZIP,
    KIB,
    PAGE,
    TAG,
    TEXT,
    Field,
    content_of,
    doing,
    giving,
    one_answer,
)
from ..support.loops import on_both_loops
from ..support.waiting import BOUND, until
from ..support.wire import split, undated

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
        bare, answer = await one_answer(site, path=f"/{name}.txt"), await one_answer(app, GZIP, path=f"/{name}.txt")
        assert content_of(answer) == bare.body
        assert answer["ETag"] == f"W/{bare['ETag']}"
        assert (answer["Accept-Ranges"], answer["Vary"]) == (None, "Accept-Encoding")
        assert answer["Last-Modified"] == bare["Last-Modified"]
        identity = await one_answer(app, path=f"/{name}.txt")
        assert (identity["ETag"], identity["Accept-Ranges"]) == (bare["ETag"], "bytes")
        assert (identity["Vary"], identity.body) == ("Accept-Encoding", bare.body)
        again = await one_answer(app, GZIP, method="HEAD", path=f"/{name}.txt")
        assert undated(again) == [
            field for field in undated(answer) if field[0] not in ("Content-Length", "Transfer-Encoding")
        ]

    async def test_compressed_before(self, site: App) -> None:
        answer, bare = (
            await one_answer(compress(site), GZIP, path="/ready.txt"),
            await one_answer(site, GZIP, path="/ready.txt"),
        )
        assert (undated(answer), answer.body) == (undated(bare), bare.body)
        assert content_of(answer) == PAGE and (answer["ETag"] or "").startswith('"')

    @pytest.mark.parametrize("name", ["page.txt", "small.txt", "image.png", "ready.txt"])
    @pytest.mark.parametrize("fields", [[GZIP], []], ids=["gzip", "identity"])
    async def test_not_modified(self, site: App, name: str, fields: list[str]) -> None:
        """With the tag in the form that the client has, and the Vary that the content has."""
        app = compress(site)
        whole = await one_answer(app, *fields, path=f"/{name}")
        tag = whole["ETag"]
        for value in (f"{tag}", f'"other", {tag}'):
            answer = await one_answer(app, *fields, f"If-None-Match: {value}", path=f"/{name}")
            assert (answer.status, answer["ETag"], answer.body) == (304, tag, b"")
            assert answer["Content-Encoding"] is None
            assert answer["Vary"] == "Accept-Encoding"  # of others, too, since nobody says what they are
            assert whole["Vary"] == (None if name in ("small.txt", "image.png") else "Accept-Encoding")

    async def test_not_modified_without_a_tag(self, site: App) -> None:
        """Of the two forms the weak one does no harm: it never lets parts be put together."""
        app, since = compress(site), "If-Modified-Since: Sun, 09 Sep 2001 01:46:40 GMT"
        tag = (await one_answer(app, path="/page.txt"))["ETag"]
        assert (await one_answer(app, GZIP, since, path="/page.txt"))["ETag"] == f"W/{tag}"
        assert (await one_answer(app, GZIP, "If-None-Match: *", path="/page.txt"))["ETag"] == f"W/{tag}"
        both = f'If-None-Match: {tag}, W/{tag}, "a'
        assert (await one_answer(app, since, path="/page.txt"))["ETag"] == tag
        assert (await one_answer(app, GZIP, both.removesuffix(', "a'), path="/page.txt"))["ETag"] == f"W/{tag}"
        assert (await one_answer(app, both.removesuffix(', "a'), path="/page.txt"))["ETag"] == tag
        assert (await one_answer(app, GZIP, both, path="/page.txt")).status == 200  # that is no list

    async def test_the_tag_of_the_other_form(self, site: App) -> None:
        """A cache may have what another client wanted."""
        app = compress(site)
        tag = (await one_answer(app, path="/page.txt"))["ETag"]
        for fields in ([GZIP], []):
            for form in (f"{tag}", f"W/{tag}"):
                answer = await one_answer(app, *fields, f"If-None-Match: {form}", path="/page.txt")
                assert (answer.status, answer["ETag"]) == (304, form)

    async def test_ranges(self, site: App) -> None:
        app = compress(site)
        tag = (await one_answer(app, path="/page.txt"))["ETag"]
        for fields in ([], [f"If-Range: {tag}"], ["If-Range: Sun, 09 Sep 2001 01:46:40 GMT"]):
            answer = await one_answer(app, GZIP, "Range: bytes=5-2000", *fields, path="/page.txt")
            assert (answer.status, answer.body, answer["Content-Encoding"]) == (206, PAGE[5:2001], None)
            assert (answer["ETag"], answer["Content-Length"]) == (tag, "1996")
            assert answer["Vary"] == "Accept-Encoding"  # RFC 9110 section 15.3.7: as the whole has it
        answer = await one_answer(app, GZIP, "Range: bytes=5-20", f"If-Range: W/{tag}", path="/page.txt")
        assert (answer.status, content_of(answer), answer["Content-Encoding"]) == (200, PAGE, "gzip")
        short = await one_answer(
            app, GZIP, "Range: bytes=5-20", path="/page.txt"
        )  # what counts is the size of the whole
        assert (short.status, short.body, short["Vary"]) == (206, PAGE[5:21], "Accept-Encoding")
        several = await one_answer(app, GZIP, "Range: bytes=5-20,40-2000", path="/page.txt")
        assert several.status == 206 and several["Content-Encoding"] is None
        assert (several["Vary"], several["ETag"]) == ("Accept-Encoding", tag)
        assert several["Content-Length"] == str(len(several.body))

    @pytest.mark.parametrize("name", ["small.txt", "image.png"])
    async def test_ranges_of_what_is_never_compressed(self, site: App, name: str) -> None:
        fields = [GZIP, "Range: bytes=0-3"]
        answer, bare = (
            await one_answer(compress(site), *fields, path=f"/{name}"),
            await one_answer(site, *fields, path=f"/{name}"),
        )
        assert (answer.status, undated(answer), answer.body) == (206, undated(bare), bare.body)

    async def test_unsatisfiable(self, site: App) -> None:
        app = compress(site, minimum_size=0)
        answer = await one_answer(app, GZIP, "Range: bytes=9999999-", path="/page.txt")
        assert (answer.status, answer["Content-Encoding"]) == (416, None)
        answer = await one_answer(app, GZIP, 'If-Match: "other"', path="/page.txt")
        assert (answer.status, answer["Content-Encoding"]) == (412, "gzip")
        assert b"412" in content_of(answer)

    async def test_pages_beside_files(self, site: App) -> None:
        app = compress(site, minimum_size=1)
        missing = await one_answer(app, GZIP, path="/missing")
        assert (missing.status, missing["Content-Encoding"]) == (404, "gzip")
        assert b"File not found" in content_of(missing)
        listing = await one_answer(app, GZIP)
        assert (listing["Vary"], listing["Content-Encoding"]) == ("Accept, Accept-Encoding", "gzip")
        assert content_of(listing) == (await one_answer(site)).body

    async def test_not_modified_of_an_app(self) -> None:
        """A 304 that tells type and length is believed; a length that would not be sent is left out."""
        fields: list[Field] = [TAG, ("Content-Length", 5000)]
        app = compress(giving(b"", *fields, status=304, known=False))
        answer = await one_answer(app, GZIP)
        assert (answer["ETag"], answer["Content-Length"], answer["Vary"]) == ('W/"tag"', None, "Accept-Encoding")
        assert (await one_answer(app))["Content-Length"] == "5000"
        kind = ("Content-Type", "image/png")
        image = await one_answer(compress(giving(b"", *fields, status=304, kind=kind, known=False)), GZIP)
        assert (image["ETag"], image["Vary"]) == ('"tag"', None)

    @pytest.mark.parametrize("version", ["1.1", "1.0"])
    @pytest.mark.parametrize("change", ["truncate", "write"])
    async def test_a_file_that_changes_is_cut(
        self, site: Any, version: str, change: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def changing(descriptor: int, offset: int, *rest: Any) -> bytes:
            if offset > 100_000:
                with (site.directory / "large.txt").open("r+b") as file:
                    file.truncate(120_000) if change == "truncate" else file.write(b"?")
            return await read_piece(descriptor, offset, *rest)

        monkeypatch.setattr(encoder, "read_piece", changing)
        request = get("/large.txt", GZIP, version=version)
        [answer] = split(await exchange(compress(site), request, config=QUIET))
        assert answer.status == 200
        assert not answer.complete or version == "1.0"  # where the connection is reset
        decoder = zlib.decompressobj(31)
        assert BLOB.startswith(decoder.decompress(answer.body)[:120_000]) and not decoder.eof

    async def test_a_small_file_that_changes_is_cut(self, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        site.cache_file_size = 0
        monkeypatch.setattr("aiohttpd.handlers.files.tree.OpenFile.unchanged", lambda self: False)
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

    async def reading(descriptor: int, offset: int, left: int, most: int, check: Any) -> bytes:
        pieces.append(turns)
        assert most <= 256 * KIB
        return await read_piece(descriptor, offset, left, most, check)

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

    monkeypatch.setattr(encoder, "read_piece", reading)
    task = asyncio.create_task(other())
    answer = await one_answer(compress(doing(work)), GZIP)
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

    async def reading(*arguments: Any) -> bytes:
        nonlocal total
        data = await read_piece(*arguments)
        total += len(data)
        return data

    async def work(response: StreamWriter) -> None:
        with path.open("rb") as file:
            try:
                await response.sendfile(file)
            except ClientDisconnected:
                gone.set()
                raise

    monkeypatch.setattr(encoder, "read_piece", reading)
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
