"""SimpleHTTPRequestHandler: http.server's override points, the cache, listings, and what the attributes do."""

import asyncio
import base64
import errno
import functools
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote

import pytest

import aiohttpd.handlers.files.store as store
import aiohttpd.handlers.files.tree as tree
from aiohttpd import App, SimpleHTTPRequestHandler, StreamWriter
from aiohttpd.fileserver.listing import HtmlListing, Order, Totals, content_security_policy
from aiohttpd.handlers.files.content import Content, Readable
from aiohttpd.testing import exchange, running
from aiohttpd.wire.conditions import Validators, range_applies
from aiohttpd.wire.headers import Headers

from ..support.asking import QUIET, answer_to
from ..support.clients import connected, get, head
from ..support.folders import files_of
from ..support.wire import Response, split, undated

GZIPPED = gzip.compress(b"plain", mtime=0)


def html_page(path: str, *entries: tree.Entry) -> bytes:
    """The page of a folder with these entries."""
    page = HtmlListing(path, Order())
    return page.begin(Totals(entries)) + page.entries(entries, first=True) + page.end()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that are old enough for all to hold."""
    monkeypatch.setattr(tree, "_SETTLED", -1)
    root = tmp_path / "site"
    (root / "folder" / "deeper").mkdir(parents=True)
    (root / "page.html").write_text("<p>page")
    (root / "text.txt").write_text("plain")
    (root / "utf8.txt").write_text("näïve")
    (root / "latin1.txt").write_bytes("näïve".encode("latin-1"))
    (root / "data.unknown").write_bytes(b"\0")
    (root / "archive.tar.gz").write_bytes(b"gz")
    (root / "UPPER.HTML").write_text("x")
    (root / "empty").write_bytes(b"")
    (root / "with_index").mkdir()
    (root / "with_index" / "index.htm").write_text("htm")
    (root / ".hidden").write_text("hidden")
    (root / "folder" / "2.txt").write_text("2")
    (root / "folder" / "10.txt").write_text("10")
    for path in root.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return root


async def again(app: App, request: bytes) -> Response:
    """Ask twice: the second answer may come from memory, and is the same."""
    first, second = split(await exchange(app, [request, request], config=QUIET))
    assert sorted(undated(first)) == sorted(undated(second))
    assert first.body == second.body
    return second


class TestFile:
    async def test_fields(self, site: Path) -> None:
        answer = await again(files_of(site), get("/text.txt"))
        assert (answer.status, answer.body) == (200, b"plain")
        names = [name for name, _ in answer.fields]
        assert names == ["Server", "Date", "Content-type", "Last-Modified", "ETag", "Accept-Ranges", "Content-Length"]
        assert answer["Last-Modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
        assert re.fullmatch(r'"[0-9a-f-]+"', answer["ETag"] or "")

    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("page.html", "text/html"),
            ("text.txt", "text/plain"),
            ("utf8.txt", "text/plain; charset=utf-8"),
            ("latin1.txt", "text/plain"),
            ("data.unknown", "application/octet-stream"),
            ("archive.tar.gz", "application/gzip"),
            ("UPPER.HTML", "text/html"),
            ("empty", "application/octet-stream"),
        ],
    )
    async def test_types(self, site: Path, name: str, kind: str) -> None:
        assert (await again(files_of(site), get(f"/{name}")))["Content-type"] == kind

    async def test_large_text_is_looked_at(self, site: Path) -> None:
        (site / "large.txt").write_text("a" + "ä" * 200_000)  # cut within a character, wherever
        assert (await answer_to(files_of(site), get("/large.txt")))["Content-type"] == "text/plain; charset=utf-8"

    async def test_a_young_file_has_a_weak_tag(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another change in the same tick of the clock would not show."""
        monkeypatch.setattr(tree, "_SETTLED", 3600)
        (site / "new.txt").write_text("one")
        assert ((await answer_to(files_of(site), get("/new.txt")))["ETag"] or "").startswith('W/"')

    async def test_a_date_in_the_future_is_now(self, site: Path) -> None:
        os.utime(site / "text.txt", (9e9, 9e9))
        before = time.time()
        answer = await answer_to(files_of(site), get("/text.txt"))
        changed = parsedate_to_datetime(answer["Last-Modified"] or "").timestamp()
        # RFC 9110 section 8.8.2.1: never later than Date.
        assert int(before) <= changed <= parsedate_to_datetime(answer["Date"] or "").timestamp() <= time.time()

    @pytest.mark.parametrize("is_future", [False, True])
    def test_a_date_in_the_future_is_no_strong_validator_either(self, is_future: bool) -> None:
        """However long ago it was looked at: RFC 9110 section 8.8.2.2 asks when the file has changed."""
        headers = Headers("\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n")
        validators = Validators('"a"', 784111777, is_future)
        assert range_applies(headers, validators, now=784111777 + 60.0) is not is_future

    async def test_head_equals_get(self, site: Path) -> None:
        for path in ("/text.txt", "/folder", "/folder/", "/none", "/with_index/"):
            first = await answer_to(files_of(site), get(path))
            second = await answer_to(files_of(site), head("HEAD", path))
            assert (first.status, undated(first)) == (second.status, undated(second))

    async def test_slash_after_a_file(self, site: Path) -> None:
        assert (await answer_to(files_of(site), get("/text.txt/"))).status == 404
        assert (await answer_to(files_of(site), get("/text.txt%2f"))).status == 404

    async def test_redirect(self, site: Path) -> None:
        answer = await answer_to(files_of(site), get("/folder?a=b&c"))
        assert (answer.status, answer["Location"], answer["Content-Length"]) == (301, "folder/?a=b&c", "0")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    async def test_other_methods(self, site: Path, method: str) -> None:
        answer = await answer_to(files_of(site), head(method, "/text.txt"))
        assert (answer.status, answer["Allow"]) == (405, "GET, HEAD, OPTIONS")

    async def test_options(self, site: Path) -> None:
        answer = await answer_to(files_of(site), head("OPTIONS", "/text.txt"))
        assert (answer.status, answer["Allow"], answer["Access-Control-Allow-Methods"]) == (
            204,
            "GET, HEAD, OPTIONS",
            None,
        )


class TestSurface:
    """What subclasses of http.server's handler do."""

    async def test_partial(self, site: Path) -> None:
        app = functools.partial(SimpleHTTPRequestHandler, directory=site)
        assert (await again(cast(App, app), get("/text.txt"))).body == b"plain"

    async def test_the_current_folder(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(site / "folder")
        assert (await again(SimpleHTTPRequestHandler, get("/2.txt"))).body == b"2"
        monkeypatch.chdir(site)
        assert (await again(SimpleHTTPRequestHandler, get("/text.txt"))).body == b"plain"

    async def test_extra_response_headers(self, site: Path) -> None:
        fields = [("X-One", "1"), ("content-type", "text/x-mine")]
        app = functools.partial(SimpleHTTPRequestHandler, directory=site, extra_response_headers=fields)
        own: list[App] = [files_of(site, extra_response_headers=given) for given in (fields, tuple(fields))]
        for handler in (cast(App, app), *own):
            answer = await again(handler, get("/text.txt"))
            assert (answer["X-One"], answer["Content-type"]) == ("1", "text/x-mine")
            assert (await answer_to(handler, get("/folder/")))["X-One"] == "1"
            assert (await answer_to(handler, get("/none")))["X-One"] is None

    async def test_end_headers(self, site: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            directory = site

            def end_headers(self) -> None:
                self.send_header("X-Own", "yes")
                super().end_headers()

        for path in ("/text.txt", "/folder/", "/folder", "/none"):
            assert (await again(Own, get(path)))["X-Own"] == "yes"

    async def test_the_path_may_be_another(self, site: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            directory = site

            async def do_GET(self) -> None:
                if self.path == "/":
                    self.path = "/text.txt"
                await super().do_GET()

        assert (await again(Own, get("/"))).body == b"plain"

    async def test_translate_path(self, site: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            directory = site

            def translate_path(self, path: str) -> str:
                return super().translate_path(path.removeprefix("/app"))

        assert (await again(Own, get("/app/text.txt"))).body == b"plain"
        (site.parent / "elsewhere").write_text("elsewhere")

        class Away(Own):
            def translate_path(self, path: str) -> str:
                return str(site.parent / "elsewhere")

        assert (await answer_to(Away, get("/"))).status == 404

        class Free(Away):
            follow_symlinks = True

        assert (await answer_to(Free, get("/"))).body == b"elsewhere"

    async def test_guess_type(self, site: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            directory = site
            extensions_map = {".txt": "text/x-map"}
            default_content_type = "application/x-default"

        assert (await again(Own, get("/text.txt")))["Content-type"] == "text/x-map"
        assert (await again(Own, get("/data.unknown")))["Content-type"] == "application/x-default"

        class Guessing(Own):
            def guess_type(self, path: str | os.PathLike[str]) -> str:
                return "text/x-guess; charset=x"

        assert (await again(Guessing, get("/text.txt")))["Content-type"] == "text/x-guess; charset=x"

    async def test_copyfile(self, site: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            directory = site
            cache_file_size = 3

            async def copyfile(self, source: Readable, outputfile: StreamWriter) -> None:
                assert isinstance(source, Content)
                shutil.copyfileobj(cast(BinaryIO, source), cast(BinaryIO, outputfile), 2)

        assert (await again(Own, get("/text.txt"))).body == b"plain"
        assert (await again(Own, get("/text.txt", "Range: bytes=1-3"))).body == b"lai"
        answer = await answer_to(Own, get("/text.txt", "Range: bytes=0-0,-2"))
        assert b"\r\n\r\np\r\n--" in answer.body
        assert answer["Content-Length"] == str(len(answer.body))

    async def test_send_head(self, site: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            async def send_head(self) -> Readable | None:
                self.send_response(200)
                self.end_headers()
                return io.BytesIO(b"x" * 300_000)

        assert (await answer_to(Own, get("/"))).body == b"x" * 300_000

    async def test_list_directory(self, site: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            directory = site

            async def list_directory(self, path: str) -> Readable | None:
                self.send_response(200)
                self.end_headers()
                return io.BytesIO(os.path.relpath(path, site).encode())

        assert (await answer_to(Own, get("/folder/"))).body == b"folder"

    async def test_index_pages(self, site: Path) -> None:
        assert (await again(files_of(site), get("/with_index/"))).body == b"htm"
        (site / "with_index" / "own.txt").write_text("own")
        answer = await again(files_of(site, index_pages=["none", "own.txt"]), get("/with_index/"))
        assert (answer.body, answer["Content-type"]) == (b"own", "text/plain")

    async def test_translated(self, site: Path) -> None:
        handler: Any = files_of(site).__new__(files_of(site))
        handler.directory = "/root"
        for path, expected in {
            "/a/b": "/root/a/b",
            "/a/b/": "/root/a/b/",
            "/../..//a": "/root/a",
            "/a%2fb?c#d": "/root/a/b",
            "/%E4": "/root/\udce4",
            "/": "/root/",
        }.items():
            assert handler.translate_path(path) == expected


@pytest.mark.parametrize("made", ["by partial", "as an attribute", "a file"])
async def test_a_folder_that_is_missing_is_logged_once(
    made: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "missing"
    if made == "a file":
        path.write_text("")
    handler: Any = functools.partial(SimpleHTTPRequestHandler, directory=path)
    if made == "as an attribute":
        handler = type("Files", (SimpleHTTPRequestHandler,), {"directory": path})
    assert (await answer_to(handler, get("/a.txt"), get("/b.txt"))).status == 404
    assert caplog.messages == [f"there is no folder {path}: what is asked of it gets 404"]
    caplog.clear()


async def test_an_empty_name_is_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """FAULT: it was served, and logged as missing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"here")
    answer = await answer_to(functools.partial(SimpleHTTPRequestHandler, directory=""), get("/a.txt"))
    assert (answer.status, answer.body) == (200, b"here")
    assert not caplog.messages


@pytest.mark.parametrize("name", ["send_head", "list_directory", "copyfile"])
def test_an_override_for_http_server_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^Handler.{name} is a plain function: write 'async def'"):
        type("Handler", (SimpleHTTPRequestHandler,), {name: lambda self, *args: io.BytesIO()})


@pytest.mark.parametrize("name", ["translate_path", "guess_type"])
def test_an_override_that_nobody_would_await_is_refused(name: str) -> None:
    async def method(self: Any, path: str) -> str:
        return path

    with pytest.raises(TypeError, match=f"^Handler.{name} is called without await: write 'def', not 'async def'$"):
        type("Handler", (SimpleHTTPRequestHandler,), {name: method})


class Looks:
    """How often the file system is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        original = store.Store._look_up

        def look_up(*arguments: Any) -> Any:
            self.count += 1
            return original(*arguments)

        monkeypatch.setattr(store.Store, "_look_up", look_up)


class TestCache:
    async def test_one_look_a_second(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        looks = Looks(monkeypatch)
        requests = [get("/text.txt"), get("/text.txt?query"), get("/text.txt", "If-None-Match: x"), get("/text.txt")]
        for answer in split(await exchange(files_of(site), requests, config=QUIET)):
            assert answer.body == b"plain"
        assert looks.count == 1

    @pytest.mark.parametrize("memory", [0, 1024])
    async def test_a_change_is_seen(self, site: Path, monkeypatch: pytest.MonkeyPatch, memory: int) -> None:
        monkeypatch.setattr(store, "_LOOK_UP_INTERVAL", 0)
        app = files_of(site, cache_file_size=memory)
        first = await answer_to(app, get("/text.txt"))
        (site / "text.txt").write_text("other")
        os.utime(site / "text.txt", (1e9, 1e9))  # same size, same date
        second = await answer_to(app, get("/text.txt"))
        assert second.body == b"other"
        assert first["ETag"] != second["ETag"]
        (site / "text.txt").unlink()
        assert (await answer_to(app, get("/text.txt"))).status == 404

    async def test_what_is_unchanged_is_not_read_again(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "_LOOK_UP_INTERVAL", 0)
        app = files_of(site)
        await answer_to(app, get("/text.txt"))
        monkeypatch.setattr(store, "read_from", None)
        assert (await answer_to(app, get("/text.txt"))).body == b"plain"

    async def test_a_young_file_is_not_kept(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tree, "_SETTLED", 3600)
        app = files_of(site)
        assert (await answer_to(app, get("/text.txt"))).body == b"plain"
        (site / "text.txt").write_text("other")
        assert (await answer_to(app, get("/text.txt"))).body == b"other"

    async def test_the_memory_is_bounded(self, site: Path) -> None:
        app = files_of(site, cache_size=100_000, cache_file_size=20_000)
        for number in range(50):
            (site / f"{number}").write_bytes(bytes(10_000))
            assert len((await answer_to(app, get(f"/{number}"))).body) == 10_000
        [files] = app._stores.values()
        assert 3 <= len(files._entries) <= 5  # each is there twice: as it leaves, and for ranges
        assert files._size == sum(entry.cost for entry in files._entries.values()) <= 100_000
        assert {name for name, _ in files._entries} <= {f"/{number}" for number in range(45, 50)}

    async def test_what_nobody_asks_for_is_forgotten(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An open file that has been deleted would keep its place on the disk."""
        monkeypatch.setattr(store, "_LOOK_UP_INTERVAL", -100)
        app = files_of(site, cache_file_size=0)
        await answer_to(app, get("/text.txt"))
        [files] = app._stores.values()
        assert files._entries
        files._sweep()
        assert not files._entries
        assert files._size == 0
        assert files._sweeper is None

    async def test_no_descriptor_left(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is no 404, which somebody might believe."""

        def fail(*_: object, **__: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(tree, "_open_below", fail)
        assert (await answer_to(files_of(site), get("/text.txt"))).status == 503

    async def test_no_descriptor_left_for_a_listing(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """FAULT: it was 404. The folder has a descriptor, and reading it needs another one."""

        def fail(*_: object) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        monkeypatch.setattr(os, "scandir", fail)
        assert (await answer_to(files_of(site), get("/folder/"))).status == 503

    async def test_a_file_that_is_lost_while_it_is_opened(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """FAULT: its descriptor was left open."""
        opened: list[int] = []

        def fail(descriptor: int) -> os.stat_result:
            opened.append(descriptor)
            raise OSError(errno.ESTALE, "Stale file handle")

        with monkeypatch.context() as patched:
            patched.setattr(os, "fstat", fail)
            assert tree.open_inside(str(site), str(site / "text.txt")) is None
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(opened[0])

    async def test_loops_in_threads_share_nothing(self, site: Path) -> None:
        """What one loop keeps, another must not sweep."""
        app = files_of(site)
        for _ in range(2):
            await answer_to(app, get("/text.txt"))
            await asyncio.to_thread(lambda: asyncio.run(answer_to(app, get("/text.txt"))))
        assert 2 <= len(app._stores) <= 3  # the two calls may have had a thread each

    async def test_folders_are_bounded(self, site: Path) -> None:
        class Own(SimpleHTTPRequestHandler):
            pass

        for number in range(70):
            app = functools.partial(Own, directory=f"{site}/./{'./' * number}")
            assert (await answer_to(cast(App, app), get("/text.txt"))).body == b"plain"
        assert len(Own._stores) == 64

    @pytest.mark.parametrize("changes", [1, 3, 100])
    async def test_a_file_that_is_always_changing(
        self, site: Path, monkeypatch: pytest.MonkeyPatch, changes: int
    ) -> None:
        """It is read again a few times, and cut if it still is not the same at the end of its answer."""
        looks = 0

        def unchanged(file: tree.OpenFile) -> bool:
            nonlocal looks
            looks += 1
            return looks > changes

        monkeypatch.setattr(tree.OpenFile, "unchanged", unchanged)
        [answer] = split(await exchange(files_of(site), get("/text.txt"), config=QUIET))
        assert (answer.complete, answer.body) == ((False, b"") if changes > 3 else (True, b"plain"))

    async def test_the_answer_from_memory_is_logged(self, site: Path) -> None:
        lines: list[tuple[str, int, int]] = []

        class Log:
            def answered(self, request: Any, answer: Any, started: float) -> None:
                lines.append((request.requestline, answer.status, answer.size))

            def refused(self, *_: object) -> None: ...
            def message(self, text: str) -> None: ...

        await exchange(files_of(site), [get("/text.txt")] * 3, access_log=Log())
        assert lines == [("GET /text.txt HTTP/1.1", 200, 5)] * 3

    async def test_overridden_logs_get_every_record(self, site: Path) -> None:
        lines: list[object] = []

        class Own(SimpleHTTPRequestHandler):
            directory = site

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                lines.append((code, size))

        await exchange(Own, [get("/text.txt")] * 3)
        assert lines == [(200, 5)] * 3

    async def test_connection_close(self, site: Path) -> None:
        answer = await answer_to(files_of(site), get("/text.txt"), get("/text.txt", "Connection: close"))
        assert (answer.body, answer["Connection"]) == (b"plain", "close")

    async def test_pipelined(self, site: Path) -> None:
        (site / "100k").write_bytes(b"k" * 100_000)
        app = files_of(site)
        async with running(app) as server, connected(server) as client:
            for _ in range(2):
                await client.send(get("/text.txt") * 50, get("/100k") * 50, get("/none"))
                assert [(await client.answer()).body for _ in range(50)] == [b"plain"] * 50
                assert [(await client.answer()).body for _ in range(50)] == [b"k" * 100_000] * 50
                assert (await client.answer()).status == 404


class TestAttributes:
    async def test_hidden(self, site: Path) -> None:
        assert (await answer_to(files_of(site), get("/.hidden"))).status == 404
        assert (await answer_to(files_of(site, show_hidden=True), get("/.hidden"))).body == b"hidden"

    async def test_no_listing(self, site: Path) -> None:
        app = files_of(site, list_directories=False)
        assert (await answer_to(app, get("/folder/"))).status == 404
        assert (await answer_to(app, get("/with_index/"))).body == b"htm"

    async def test_fallback(self, site: Path) -> None:
        app = files_of(site, fallback_page="page.html")
        page = "Accept: text/html,*/*;q=0.8"
        assert (await again(app, get("/some/route", page))).body == b"<p>page"
        assert (await answer_to(app, head("HEAD", "/some/route", page)))["Content-Length"] == "7"
        assert (await answer_to(app, get("/missing.js", "Accept: */*"))).status == 404
        assert (await answer_to(app, get("/missing.js"))).status == 404
        assert (await answer_to(app, get("/text.txt", page))).body == b"plain"
        assert (await answer_to(files_of(site, fallback_page="none"), get("/x", page))).status == 404

    async def test_cross_origin(self, site: Path) -> None:
        app = files_of(site, allow_origin="https://a.example")
        for path in ("/text.txt", "/folder/", "/none", "/folder"):
            assert (await again(app, get(path)))["Access-Control-Allow-Origin"] == "https://a.example"
        asks = "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: x-own, range"
        answer = await answer_to(app, head("OPTIONS", "/text.txt", *asks))
        assert (answer.status, answer["Access-Control-Allow-Headers"]) == (204, "x-own, range")
        assert answer["Access-Control-Allow-Origin"] == "https://a.example"

    async def test_max_ranges(self, site: Path) -> None:
        ranges = "Range: bytes=" + ",".join(["0-0"] * 3)
        assert (await answer_to(files_of(site), get("/text.txt", ranges))).status == 206
        assert (await answer_to(files_of(site, max_ranges=2), get("/text.txt", ranges))).status == 200


class TestPrecompressed:
    @pytest.fixture
    def coded(self, site: Path) -> Path:
        for suffix, content in ((".br", b".br"), (".gz", GZIPPED)):
            (site / f"text.txt{suffix}").write_bytes(content)
            os.utime(site / f"text.txt{suffix}", (1e9, 1e9))
        return site

    async def test_chosen(self, coded: Path) -> None:
        for accepted, coding, body in [
            ("gzip", "gzip", GZIPPED),
            ("gzip, br", "br", b".br"),
            ("gzip;q=1, br;q=0.5", "gzip", GZIPPED),
            ("zstd", None, b"plain"),
            ("*", "br", b".br"),
            ("identity, gzip;q=0.1", None, b"plain"),
            ("identity;q=0, gzip", "gzip", GZIPPED),
            ("", None, b"plain"),
        ]:
            answer = await again(files_of(coded), get("/text.txt", f"Accept-Encoding: {accepted}"))
            assert (answer["Content-Encoding"], answer.body) == (coding, body), accepted
            assert (answer["Vary"], answer["Content-type"]) == ("Accept-Encoding", "text/plain")

    async def test_tags_differ(self, coded: Path) -> None:
        app = files_of(coded)
        tags = {
            (await answer_to(app, get("/text.txt", f"Accept-Encoding: {name}")))["ETag"] for name in ("gzip", "br", "x")
        }
        assert len(tags) == 3

    async def test_an_old_sibling_does_not_count(self, coded: Path) -> None:
        os.utime(coded / "text.txt", (1e9 + 5, 1e9 + 5))
        answer = await answer_to(files_of(coded), get("/text.txt", "Accept-Encoding: gzip, br"))
        assert (answer.body, answer["Vary"]) == (b"plain", None)

    async def test_off(self, coded: Path) -> None:
        answer = await answer_to(files_of(coded, precompressed=False), get("/text.txt", "Accept-Encoding: br"))
        assert (answer.body, answer["Vary"]) == (b"plain", None)

    async def test_the_archive_itself(self, coded: Path) -> None:
        answer = await answer_to(files_of(coded), get("/text.txt.gz", "Accept-Encoding: gzip"))
        assert (answer["Content-Encoding"], answer["Content-type"]) == (None, "application/gzip")


def names(page: bytes) -> list[str]:
    return re.findall(r'<td><a href="[^"]*"[^>]*>([^<]*)</a>', page.decode())


class TestListing:
    async def test_order(self, site: Path) -> None:
        (site / "folder" / "1.txt").write_text("three")
        os.utime(site / "folder" / "1.txt", (2e9, 2e9))
        for query, expected in {
            "": ["..", "deeper/", "1.txt", "2.txt", "10.txt"],
            "?sort=name&order=desc": ["..", "deeper/", "10.txt", "2.txt", "1.txt"],
            "?sort=size": ["..", "deeper/", "2.txt", "10.txt", "1.txt"],
            "?sort=modified&order=desc": ["..", "deeper/", "1.txt", "2.txt", "10.txt"],
            "?sort=nonsense": ["..", "deeper/", "1.txt", "2.txt", "10.txt"],
            "?" + "a&" * 50: ["..", "deeper/", "1.txt", "2.txt", "10.txt"],
        }.items():
            assert names((await answer_to(files_of(site), get(f"/folder/{query}"))).body) == expected, query

    async def test_json(self, site: Path) -> None:
        for accept in ("application/json", "application/json, */*", "text/html;q=0.5, application/json"):
            answer = await answer_to(files_of(site), get("/folder/", f"Accept: {accept}"))
            assert (answer["Content-type"], answer["Vary"]) == ("application/json", "Accept")
        found = json.loads(answer.body)
        assert found["path"] == "/folder/"
        assert found["entries"][1] == {
            "name": "2.txt", "type": "file", "size": 1, "modified": "2001-09-09T01:46:40Z", "href": "2.txt",
        }  # fmt: skip
        for accept in ("text/html", "text/html, application/json", "*/*"):
            answer = await answer_to(files_of(site), get("/folder/", f"Accept: {accept}"))
            assert answer["Content-type"] == "text/html; charset=utf-8"

    async def test_the_page_loads_nothing(self, site: Path) -> None:
        answer = await answer_to(files_of(site), get("/folder/"))
        page = answer.body.decode()
        assert "<script" not in page
        assert not re.findall(r'(?:src|href)="(?:[a-z]+:)?//', page)
        [style] = re.findall("<style>(.*?)</style>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        assert f"style-src 'sha256-{digest}'" in content_security_policy() == answer["Content-Security-Policy"]

    async def test_breadcrumbs(self, site: Path) -> None:
        page = (await answer_to(files_of(site), get("/folder/deeper/"))).body.decode()
        assert (
            '<a href="../../">Home</a><span>/</span><a href="../">folder</a><span>/</span><a href="./">deeper</a>'
            in page
        )
        assert "Directory listing for /folder/deeper/" in page

    async def test_limit(self, site: Path) -> None:
        page = (await answer_to(files_of(site, max_listed=2), get("/"))).body.decode()
        assert len(names(page.encode())) == 2
        assert "The first" in page
        assert "there are more" in page
        found = json.loads((await answer_to(files_of(site, max_listed=2), get("/", "Accept: application/json"))).body)
        assert (len(found["entries"]), found["more"]) == (2, True)

    async def test_a_large_folder_is_streamed(self, site: Path) -> None:
        for number in range(3000):
            (site / "folder" / "deeper" / f"{number}.txt").touch()
        for accept, count in (("text/html", b"<tr><td>"), ("application/json", b'"href"')):
            answer = await answer_to(files_of(site), get("/folder/deeper/", f"Accept: {accept}"))
            assert answer["Transfer-Encoding"] == "chunked"
            assert answer.body.count(count) == 3000

    async def test_unreadable(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: object) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "scandir", refuse)
        assert (await answer_to(files_of(site), get("/folder/"))).status == 403

    async def test_odd_dates(self) -> None:
        entry = tree.Entry("x", False, False, 5_000_000, 1e300)
        page = html_page("/", entry)
        assert b"5.0 MB" in page
        assert b"1970-01-01" in page

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("annex\u202egnp.exe", r"annex\u202egnp.exe"),
            ("\u2066a\u2069\u200f.txt", r"\u2066a\u2069\u200f.txt"),
            ("a\u200bb\ufeff\xad", r"a\u200bb\ufeff\xad"),
            ("\x1b[31m\x7f\x85\u2028", r"\x1b[31m\x7f\x85\u2028"),
            *[
                (name, name)
                for name in (
                    "  a   b ",
                    "\u0642\u0627\u0626.txt",
                    "\u0645\u06cc\u200c\u062e",
                    "\U0001f469\u200d\U0001f680",
                    "3\u202fPM",
                    "a\\nb",
                )
            ],
        ],
    )
    def test_what_is_not_seen_is_written_out(self, name: str, shown: str) -> None:
        """No name looks like another, above, in the title and in its line; and its link is right."""
        page = html_page(f"/{name}/", tree.Entry(name, False, False, 1, 0)).decode()
        assert f"<title>Directory listing for /{shown}/</title>" in page
        assert f'<a href="./">{shown}</a></h1>' in page
        assert f'<a href="{quote(name, safe="")}">{shown}</a>' in page
