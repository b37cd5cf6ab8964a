"""Uploads: what others upload has no power over the site, the disk keeps room, and nobody can lock the server."""

import asyncio
import contextlib
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urljoin

import pytest

from aiohttpd import SimpleHTTPRequestHandler
from aiohttpd.fileserver import receive as receiving
from aiohttpd.fileserver.folder import FolderOptions, folder_app
from aiohttpd.testing import running

from ..support.asking import answer_to
from ..support.clients import connected, get, head
from ..support.programs import serve_command
from ..support.uploading import form_of_files, locked, uploader
from ..support.waiting import until


def put_a(path: str, content: bytes = b"new") -> bytes:
    return head("PUT", path, f"Content-Length: {len(content)}") + content


def form(name: str, path: str = "/", *fields: str) -> bytes:
    return form_of_files((name, b"new"), path=path, fields=fields)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("<script>1</script>")
    (tmp_path / "picture.svg").write_text("<svg/>")
    (tmp_path / "large.html").write_bytes(bytes(600_000))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "index.html").write_text("<p>own")
    (tmp_path / "sub").mkdir()
    for path in tmp_path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    return tmp_path


class TestContent:
    @pytest.mark.parametrize(
        "data",
        [
            get("/page.html"), get("/picture.svg"), get("/large.html"), get("/own/"),
            get("/page.html", "Range: bytes=0-0"), get("/page.html", "Range: bytes=0-0,2-2"),
            get("/none", "Accept: text/html"),
        ],
    )  # fmt: skip
    async def test_a_page_of_theirs_is_none_of_ours(self, folder: Path, data: bytes) -> None:
        """Looked up and from memory."""
        app = uploader(folder, fallback_page="page.html")
        async with running(app, access_log=False) as server, connected(server) as client:
            for _ in range(3):
                await client.send(data)
                answer = await client.answer()
                assert answer.status in (200, 206)
                assert answer["X-Content-Type-Options"] == "nosniff"
                assert answer["Content-Security-Policy"] == "sandbox"

    async def test_the_listing_is_ours(self, folder: Path) -> None:
        answer = await answer_to(uploader(folder), get("/", "Accept: text/html"))
        assert "script-src 'sha256-" in (answer["Content-Security-Policy"] or "")
        assert "sandbox" not in (answer["Content-Security-Policy"] or "")
        assert b'<form method="post"' in answer.body

    async def test_fields_of_the_operator(self, folder: Path) -> None:
        """They take the place of ours, in memory as elsewhere."""
        policy = "content-security-policy: default-src 'self'"
        app = folder_app(str(folder), FolderOptions(upload=True, headers=[policy]))
        async with running(app, access_log=False) as server, connected(server) as client:
            for path in ("/page.html", "/page.html", "/page.html", "/large.html"):
                await client.send(get(path))
                answer = await client.answer()
                assert answer["Content-Security-Policy"] == "default-src 'self'"
                assert answer["X-Content-Type-Options"] == "nosniff"

    async def test_without_uploads(self, folder: Path) -> None:
        app = type("Files", (SimpleHTTPRequestHandler,), {"directory": str(folder)})
        for path in ("/page.html", "/page.html", "/large.html"):
            assert (await answer_to(app, get(path)))["Content-Security-Policy"] is None

    @pytest.mark.parametrize("name", ["index.html", "index.htm", "INDEX.html", "Index.HTM"])
    async def test_nobody_else_s_index(self, folder: Path, name: str) -> None:
        for data in (put_a(f"/{name}"), put_a(f"/sub/{name}"), form(name), form(name, "/sub/"), put_a("/%69ndex.html")):
            for overwrite in (False, True):
                answer = await answer_to(uploader(folder, overwrite=overwrite), data)
                assert answer.status == 403 and b"--trust-uploads" in answer.body
        assert not (folder / name).exists()

    async def test_pages_by_other_names(self, folder: Path) -> None:
        app = folder_app(str(folder), FolderOptions(upload=True, min_free=0, index=["home.html"], spa="app/main.html"))
        for name, status in {"home.html": 403, "main.html": 403, "index.html": 201, "xhome.html": 201}.items():
            assert (await answer_to(app, put_a(f"/{name}"))).status == status

    async def test_trusted(self, folder: Path) -> None:
        app = folder_app(str(folder), FolderOptions(upload=True, min_free=0, trust_uploads=True))
        assert (await answer_to(app, put_a("/index.html"))).status == 201
        answer = await answer_to(app, get("/index.html"))
        assert (answer["X-Content-Type-Options"], answer["Content-Security-Policy"]) == ("nosniff", None)


class TestRoom:
    @pytest.mark.parametrize(
        ("total", "free", "keep", "status"),
        [(1000, 100, 100, 507), (1000, 101, 100, 201), (1000, 0, 0, 507), (1000, 1, 0, 201), (0, 0, 100, 201)],
    )
    @pytest.mark.parametrize("data", [put_a("/a"), form("a")])
    async def test_for_files(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, total: int, free: int, keep: int, status: int, data: bytes
    ) -> None:
        def fstatvfs(_: int) -> SimpleNamespace:
            return SimpleNamespace(f_bavail=2**40, f_frsize=1, f_files=total, f_favail=free)

        monkeypatch.setattr(receiving, "os", SimpleNamespace(**{**vars(os), "fstatvfs": fstatvfs}))
        answer = await answer_to(folder_app(str(folder), FolderOptions(upload=True, min_free_files=keep)), data)
        assert (answer.status, (folder / "a").exists()) == (status, status == 201)


class TestLocked:
    async def test_patience(self, folder: Path) -> None:
        app = uploader(folder, overwrite=True, timeout_lock=0.05)
        with locked(folder):
            answer = await answer_to(app, put_a("/page.html"))
            assert (answer.status, answer["Retry-After"]) == (503, "5")
            assert (await answer_to(app, put_a("/sub/a"))).status == 201
            assert (await answer_to(uploader(folder), put_a("/b"))).status == 201  # replaces nothing, and locks nothing
        assert not [name for name in os.listdir(folder) if name.startswith(".")]
        assert (folder / "page.html").read_text() == "<script>1</script>"
        assert (await answer_to(app, put_a("/page.html"))).status == 204

    async def test_nobody_else_waits(self, folder: Path) -> None:
        """However many uploads do: not for files, nor to upload elsewhere."""
        app = uploader(folder, overwrite=True, timeout_lock=60)
        count = 3 * receiving._THREADS + (os.cpu_count() or 1)
        async with running(app, access_log=False) as server, contextlib.AsyncExitStack() as stack:
            with locked(folder):
                waiting = [await stack.enter_async_context(connected(server)) for _ in range(count)]
                for number, client in enumerate(waiting):
                    await client.send(put_a(f"/{number}"))
                await until(lambda: server.in_flight == count)
                async with connected(server) as other:
                    for data, status in [(get("/page.html"), 200), (get("/"), 200), (put_a("/sub/a"), 201)]:
                        await other.send(data)
                        assert (await other.answer()).status == status
                assert server.in_flight == count
            for client in waiting:
                assert (await client.answer()).status == 201

    async def test_the_server_stops(self, folder: Path) -> None:
        async with running(uploader(folder, overwrite=True, timeout_lock=60), access_log=False) as server:
            with locked(folder):
                async with connected(server) as client:
                    await client.send(put_a("/a"))
                    await until(lambda: any(name.startswith(".") for name in os.listdir(folder)))
                    await server.shutdown(0)
            assert not [name for name in os.listdir(folder) if name.startswith(".") or name == "a"]


class TestLocation:
    @pytest.mark.parametrize(
        ("target", "location"),
        [
            ("/sub", "sub/"), ("/sub?a=b/c", "sub/?a=b/c"), ("/own/../sub", "sub/"), ("//sub", "sub/"),
            ("/%73ub", "%73ub/"),
            ("/a:b", "./a:b/"), ("/javascript:1", "./javascript:1/"), ("/100%", "100%25/"), ("/x%5Cy", "x%5Cy/"),
            ("/sub/.", "./"), ("/sub/..", "../"), ("/sub/%2e", "%2e/"), ("/own%2F..%2Fsub", "own%2F..%2Fsub/"),
            ("/%2Fevil.example", "%2Fevil.example/"), ("//evil.example", "evil.example/"),
            ("/\\evil.example", "%5Cevil.example/"),
        ],
    )  # fmt: skip
    async def test_of_folders(self, folder: Path, target: str, location: str) -> None:
        """It leads to the folder from below any prefix, and never to another host."""
        for name in ("a:b", "javascript:1", "100%", "x\\y", "evil.example", "\\evil.example"):
            (folder / name).mkdir()
        app = type("Files", (SimpleHTTPRequestHandler,), {"directory": str(folder)})
        answer = await answer_to(app, get(target))
        assert (answer.status, answer["Location"]) == (301, location)
        path = target.partition("?")[0]
        for prefix in ("", "/prefix", "/a/b"):
            led = urljoin(f"http://host{prefix}{path}", location)
            assert led.startswith(f"http://host{prefix}/")
            assert (await answer_to(app, get(led.removeprefix(f"http://host{prefix}")))).status == 200

    @pytest.mark.parametrize(("path", "location"), [("/", "./"), ("/sub/", "./"), ("/sub", "sub/"), ("/sub?a", "sub/")])
    async def test_of_a_form(self, folder: Path, path: str, location: str) -> None:
        answer = await answer_to(uploader(folder), form("a", path, "Accept: text/html"))
        assert (answer.status, answer["Location"]) == (303, location)


class TestHints:
    @pytest.mark.parametrize(
        ("path", "status"), [("/new", 404), ("/page.html", 404), ("/sub", 415), ("/sub/", 415), ("/", 415)]
    )
    @pytest.mark.parametrize(
        "kind", ["Content-Type: application/x-www-form-urlencoded", "X: y", "Content-Type: image/png"]
    )
    async def test_a_file_that_is_posted(self, folder: Path, path: str, status: int, kind: str) -> None:
        """As `curl --data-binary @FILE URL` does."""
        answer = await answer_to(uploader(folder), head("POST", path, kind, "Content-Length: 3") + b"new")
        assert answer.status == status
        assert b"curl -T FILE URL" in answer.body and b"PUT" in answer.body
        assert not (folder / "new").exists()

    @pytest.mark.parametrize(
        ("arguments", "warned"),
        [
            (("--bind", "0.0.0.0", "--upload"), True),
            (("--bind", "0.0.0.0", "--upload", "--auth", "a:b"), False),
            (("--bind", "0.0.0.0", "--upload", "--upload-auth", "a:b"), False),
            (("--bind", "0.0.0.0"), False),
            (("--upload",), False),
        ],
    )
    async def test_everybody_may_upload(self, folder: Path, arguments: tuple[str, ...], warned: bool) -> None:
        async with serve_command(folder, *arguments) as server:
            await server.says("^Serving")
            await server.stops()
            assert any(re.search("may upload; --upload-auth", line) for line in server.lines) == warned

    @pytest.mark.parametrize("option", ["--trust-uploads", "--min-free-files=1", "--timeout-lock=1"])
    def test_of_no_use(self, folder: Path, option: str) -> None:
        name = option.lstrip("-").partition("=")[0].replace("-", "_")
        with pytest.raises(ValueError, match="of no use without --upload"):
            folder_app(str(folder), FolderOptions(**{name: True if name == "trust_uploads" else 1}))  # type: ignore[arg-type]


async def test_slow_disks_keep_uploads_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The threads of uploads are their own."""
    hangs = asyncio.Event()
    loop = asyncio.get_running_loop()

    def write(*arguments: Any) -> int:
        asyncio.run_coroutine_threadsafe(hangs.wait(), loop).result()
        return os.write(*arguments)

    monkeypatch.setattr(receiving, "os", SimpleNamespace(**{**vars(os), "write": write}))
    count = 2 * receiving._THREADS + (os.cpu_count() or 1)
    async with running(uploader(folder), access_log=False) as server, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(server)) for _ in range(count)]
        for number, client in enumerate(clients):
            await client.send(put_a(f"/{number}"))
        await until(lambda: server.in_flight == count)
        async with connected(server) as other:
            for path in ("/page.html", "/large.html", "/"):
                await other.send(get(path))
                assert (await other.answer()).status == 200
        hangs.set()
        for client in clients:
            assert (await client.answer()).status == 201
