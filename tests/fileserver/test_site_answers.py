"""What the options of a folder mean for answers that are no files: fallback pages, listings, refusals; and HEAD."""

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd import SimpleHTTPRequestHandler
from aiohttpd.compression import compress
from aiohttpd.fileserver.folder import FolderOptions, folder_app
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, fetch
from ..support.wire import Response, split

HTML = "Accept: text/html,*/*;q=0.8"
CORS = "Access-Control-Allow-Origin"
AUTH = "Authorization: Basic YTpi"  # a:b


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "index.html").write_text("<p>index")
    (tmp_path / "page.html").write_text("<p>page")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large.txt").write_text("x" * 5000)
    (tmp_path / "folder" / "large.css").write_text("x" * 5000)
    (tmp_path / "folder" / "large.css.br").write_text("coded")
    for path in tmp_path.rglob("*.*"):
        os.utime(path, (1e9, 1e9))
    monkeypatch.setattr("aiohttpd.handlers.files.tree._SETTLED", -1)
    return tmp_path


def request(path: str, *fields: str, method: str = "GET", version: str = "1.1") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: a", *fields, "", ""]).encode()


class TestFallback:
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_varies(self, site: Path, method: str) -> None:
        """By whether a page is wanted, and so does the 404."""
        app = folder_app(str(site), FolderOptions(spa="index.html"))
        for fields, status in (([HTML], 200), (["Accept: */*"], 404), ([], 404), (["Accept: image/png"], 404)):
            answer = await fetch(app, "/route", *fields, method=method)
            assert (answer.status, answer["Vary"]) == (status, "Accept")
        assert (await fetch(app, "/page.html", HTML, method=method))["Vary"] is None
        assert (await fetch(folder_app(str(site)), "/route", HTML, method=method))["Vary"] is None
        missing = folder_app(str(site), FolderOptions(spa="none.html"))
        assert (await fetch(missing, "/route", HTML, method=method))["Vary"] == "Accept"

    async def test_varies_by_coding_too(self, site: Path) -> None:
        (site / "index.html.br").write_text("coded")
        os.utime(site / "index.html.br", (1e9, 1e9))
        answer = await fetch(
            folder_app(str(site), FolderOptions(spa="index.html")), "/route", HTML, "Accept-Encoding: br"
        )
        assert (answer["Vary"], answer["Content-Encoding"]) == ("Accept, Accept-Encoding", "br")
        (site / "index.html").write_text("<p>" * 1000)
        app = folder_app(str(site), FolderOptions(spa="index.html", compress=True))
        for fields in ([], ["Accept-Encoding: gzip"]):
            answer = await fetch(app, "/route", HTML, *fields)
            assert sorted((answer["Vary"] or "").split(", ")) == ["Accept", "Accept-Encoding"]
            assert (await fetch(app, "/route", *fields))["Vary"] in ("Accept", "Accept, Accept-Encoding")

    async def test_dates_say_nothing_of_a_page_that_is_gone(self, site: Path) -> None:
        app = folder_app(str(site), FolderOptions(spa="index.html"))
        os.utime(site / "index.html", (9e8, 9e8))
        before = await fetch(app, "/page.html", HTML)
        (site / "page.html").unlink()
        for field in ("If-Modified-Since", "If-Unmodified-Since"):
            for date in (before["Last-Modified"], "Fri, 01 Jan 2100 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"):
                answer = await fetch(app, "/page.html", HTML, f"{field}: {date}")
                assert (answer.status, answer.body, answer["Last-Modified"]) == (200, b"<p>index", None)
        ranged = [HTML, "Range: bytes=0-2", f"If-Range: {before['Last-Modified']}"]
        assert (await fetch(app, "/page.html", *ranged)).status == 200
        assert (await fetch(app, "/page.html", HTML, f"If-None-Match: {before['ETag']}")).status == 200

    async def test_its_own_tag_counts(self, site: Path) -> None:
        app = folder_app(str(site), FolderOptions(spa="index.html", cache="60"))
        first = await fetch(app, "/route", HTML)
        again = await fetch(app, "/route", HTML, f"If-None-Match: {first['ETag']}")
        assert (again.status, again["Vary"], again["Cache-Control"]) == (304, "Accept", "no-cache")
        assert again["Last-Modified"] is None

    @pytest.mark.parametrize("page", ["index.html", "/index.html", "folder/large.txt"])
    async def test_wherever_it_lies(self, site: Path, page: str) -> None:
        answer = await fetch(folder_app(str(site), FolderOptions(spa=page)), "/route", HTML)
        assert (answer.status, answer.body) == (200, (site / page.lstrip("/")).read_bytes())


class TestCache:
    @pytest.mark.parametrize(
        ("cache", "files", "others"),
        [
            ("60", "max-age=60", "no-cache"),
            ("0", "max-age=0", "no-cache"),
            ("no-cache", "no-cache", "no-cache"),
            ("no-store", "no-store", "no-store"),
            (None, None, None),
        ],
    )
    async def test_is_for_files(self, site: Path, cache: str | None, files: str | None, others: str | None) -> None:
        app = folder_app(str(site), FolderOptions(spa="index.html", cache=cache))
        for method in ("GET", "HEAD"):
            for path in ("/page.html", "/", "/folder/large.css", "/page.html?query"):
                for _ in range(2):
                    assert (await fetch(app, path, HTML, method=method))["Cache-Control"] == files
            for path in ("/route", "/folder/", "/folder/?sort=size"):
                assert (await fetch(app, path, HTML, method=method))["Cache-Control"] == others
            assert (await fetch(app, "/folder/", "Accept: application/json", method=method))["Cache-Control"] == others
            assert (await fetch(app, "/none.js", method=method))["Cache-Control"] is None

    async def test_of_parts_and_304(self, site: Path) -> None:
        app = folder_app(str(site), FolderOptions(cache="60"))
        assert (await fetch(app, "/page.html", "Range: bytes=0-2"))["Cache-Control"] == "max-age=60"
        tag = (await fetch(app, "/page.html"))["ETag"]
        answer = await fetch(app, "/page.html", f"If-None-Match: {tag}")
        assert (answer.status, answer["Cache-Control"]) == (304, "max-age=60")

    async def test_a_listing_after_an_upload(self, site: Path) -> None:
        app = folder_app(str(site), FolderOptions(cache="60", upload=True))
        put = request("/folder/new.txt", "Content-Length: 3", method="PUT") + b"new"
        requests = [request("/folder/"), put, request("/folder/")]
        before, stored, after = split(await exchange(app, requests, config=QUIET))
        assert stored.status == 201
        assert b"new.txt" not in before.body
        assert b"new.txt" in after.body
        assert before["Cache-Control"] == after["Cache-Control"] == "no-cache"

    async def test_a_field_of_ones_own_wins(self, site: Path) -> None:
        app = folder_app(str(site), FolderOptions(cache="60", headers=["Cache-Control: private"]))
        for path in ("/page.html", "/folder/"):
            for _ in range(2):
                assert (await fetch(app, path))["Cache-Control"] == "private"

    async def test_of_a_class(self, site: Path) -> None:
        app = type("Files", (SimpleHTTPRequestHandler,), {"directory": str(site), "cache_control": "immutable"})
        assert (await fetch(app, "/page.html"))["Cache-Control"] == "immutable"
        assert (await fetch(app, "/folder/"))["Cache-Control"] == "no-cache"


class TestCrossOrigin:
    """Without the field a page cannot even see which error it was."""

    async def test_401(self, site: Path) -> None:
        for options in ({}, {"compress": True}, {"upload": True, "upload_auth": "c:d"}):
            app = folder_app(str(site), FolderOptions(cors="https://a.example", auth="a:b", **options))  # type: ignore[arg-type]
            answer = await fetch(app, "/page.html")
            assert (answer.status, answer[CORS]) == (401, "https://a.example")
            assert answer["Access-Control-Expose-Headers"]
            answer = await fetch(app, "/page.html", AUTH)
            assert (answer.status, answer[CORS]) == (200, "https://a.example")

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"nonsense\r\n\r\n", 400),
            (request("/", "A b: c"), 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (request("/" + "a" * 20_000), 414),
            (request("/", "A: " + "a" * 20_000), 431),
            (request("/", version="2.0"), 505),
            (request("/none"), 404),
            (request("/folder"), 301),
            (request("/", method="DELETE"), 405),
            (request("/", method="PUT"), 405),
            (request("/", "If-Match: x"), 412),
            (request("/", "Range: bytes=999-"), 416),
        ],
    )
    async def test_refusals(self, site: Path, sent: bytes, status: int) -> None:
        app = folder_app(str(site), FolderOptions(cors="*"))
        [answer] = split(await exchange(app, sent, config=QUIET))
        assert (answer.status, answer[CORS]) == (status, "*")
        [answer] = split(await exchange(folder_app(str(site)), sent, config=QUIET))
        assert (answer.status, answer[CORS]) == (status, None)

    async def test_413(self, site: Path) -> None:
        app = folder_app(str(site), FolderOptions(cors="*", upload=True, max_upload=10))
        put = request("/new.txt", "Content-Length: 100", method="PUT") + bytes(100)
        [answer] = split(await exchange(app, put, config=QUIET))
        assert (answer.status, answer[CORS]) == (413, "*")

    async def test_503_of_connections(self, site: Path) -> None:
        async with running(
            folder_app(str(site), FolderOptions(cors="*")), max_connections=1, access_log=False
        ) as server:
            streams = [await asyncio.open_connection(*server.server_address) for _ in range(2)]
            try:
                [answer] = split(await streams[1][0].read())
                assert (answer.status, answer[CORS]) == (503, "*")
            finally:
                for _, writer in streams:
                    writer.close()

    async def test_503_of_requests(self, site: Path) -> None:
        class Files(SimpleHTTPRequestHandler):
            directory = str(site)
            allow_origin = "*"
            begun = asyncio.Event()
            go_on = asyncio.Event()

            async def do_GET(self) -> None:
                self.begun.set()
                await self.go_on.wait()
                await super().do_GET()

        async with running(Files, max_in_flight=1, access_log=False) as server:
            streams = [await asyncio.open_connection(*server.server_address) for _ in range(2)]
            try:
                streams[0][1].write(request("/page.html", "Connection: close"))
                await Files.begun.wait()
                streams[1][1].write(request("/page.html", "Connection: close"))
                [answer] = split(await streams[1][0].read())
                assert (answer.status, answer[CORS]) == (503, "*")
                Files.go_on.set()
                [answer] = split(await streams[0][0].read())
                assert (answer.status, answer[CORS]) == (200, "*")
            finally:
                for _, writer in streams:
                    writer.close()

    async def test_503_of_a_deadline(self, site: Path, caplog: pytest.LogCaptureFixture) -> None:
        class Files(SimpleHTTPRequestHandler):
            directory = str(site)
            allow_origin = "*"

            async def do_GET(self) -> None:
                await asyncio.Event().wait()

        async with running(Files, timeout_handler=0.05, access_log=False) as server:
            reader, writer = await asyncio.open_connection(*server.server_address)
            writer.write(request("/", "Connection: close"))
            [answer] = split(await reader.read())
            writer.close()
        assert (answer.status, answer[CORS]) == (503, "*")
        caplog.clear()


class TestHead:
    """It has the fields of GET, above all those by which caches tell answers apart."""

    @pytest.mark.parametrize("accepted", [[], ["Accept-Encoding: gzip, br"]], ids=["identity", "coded"])
    @pytest.mark.parametrize("options", [{}, {"compress": True}, {"spa": "index.html"}, {"cors": "*", "cache": "60"}])
    async def test_of_a_folder(self, site: Path, options: dict[str, Any], accepted: list[str]) -> None:
        app = folder_app(str(site), FolderOptions(**options))
        for path in ("/", "/page.html", "/folder", "/folder/", "/folder/large.txt", "/folder/large.css", "/none"):
            for fields in (["Accept: */*"], [HTML], ["Range: bytes=0-4"], ['If-None-Match: "x"'], ["Accept: x/json"]):
                whole = await fetch(app, path, *fields, *accepted)
                head = await fetch(app, path, *fields, *accepted, method="HEAD")
                if "Range: bytes=0-4" in fields:
                    assert head["Vary"] == whole["Vary"]  # ranges are of GET only, RFC 9110 section 14.2
                    continue
                left_out = {"date", "transfer-encoding"} | ({"content-length"} if options.get("compress") else set())
                assert names(head, left_out) == names(whole, left_out), (path, fields)

    @pytest.mark.parametrize("accepted", [[], ["Accept-Encoding: gzip"]], ids=["identity", "gzip"])
    @pytest.mark.parametrize("size", [0, 1, 5000])
    @pytest.mark.parametrize("way", ["text", "html", "json", "error", "head and write"])
    @pytest.mark.parametrize("compressed", [False, True])
    async def test_of_a_handler(self, way: str, size: int, accepted: list[str], compressed: bool) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                if way == "error":
                    self.send_error(404, explain="x" * size)
                elif way == "head and write":
                    self.send_response(200)
                    self.send_header("Content-Type", "text/plain")
                    self.end_headers()
                    self.wfile.write(b"x" * size)
                else:
                    getattr(self, f"send_{way}")("x" * size)

            do_HEAD = do_GET

        app: Any = compress(Handler) if compressed else Handler
        whole, head = await fetch(app, "/", *accepted), await fetch(app, "/", *accepted, method="HEAD")
        left_out = {"date"} | ({"content-length"} if whole["Content-Encoding"] or way == "head and write" else set())
        assert names(head, left_out) == names(whole, left_out)


def names(answer: Response, left_out: set[str]) -> list[tuple[str, str]]:
    return sorted((name.lower(), value) for name, value in answer.fields if name.lower() not in left_out)


async def test_what_wraps_an_app_refuses_as_it_does(site: Path) -> None:
    class Files(SimpleHTTPRequestHandler):
        directory = str(site)
        allow_origin = "*"

        @staticmethod
        def error_body(status: int, message: str, explain: str) -> tuple[str, bytes]:
            return "text/odd", b"%d" % status

    for app in (Files, compress(Files), basic_auth(compress(Files), "a:b")):
        [answer] = split(await exchange(app, b"nonsense\r\n\r\n", config=QUIET))
        assert (answer.status, answer[CORS], answer["Content-Type"], answer.body) == (400, "*", "text/odd", b"400")


async def test_an_override_that_raises_stop_iteration(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is called in a thread, and no future takes that: who waited would wait for ever."""

    class Files(aiohttpd.SimpleHTTPRequestHandler):
        directory = str(tmp_path)

        def guess_type(self, path: Any) -> str:
            return next(iter(()))

    (tmp_path / "a.txt").write_text("a")
    async with asyncio.timeout(30):
        answer = await exchange(Files, b"GET /a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert "guess_type raised StopIteration" in caplog.text
    caplog.clear()
