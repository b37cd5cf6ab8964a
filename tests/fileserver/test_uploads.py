"""Uploads: what is taken and what is refused, and that nothing is left of what is not complete."""

import asyncio
import base64
import contextlib
import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import aiohttpd
from aiohttpd.files import receiving
from aiohttpd.files.receiving import Incoming, check_system, is_temporary
from aiohttpd.files.tree import open_inside
from aiohttpd.files.uploading import UploadHandler
from aiohttpd.site import folder_app
from aiohttpd.testing import exchange, running

from ..support.clients import MIB, chunk, connected, get, head
from ..support.commands import refused, started
from ..support.loops import on_both_loops
from ..support.wire import Response, finals, split

QUIET = aiohttpd.Config(access_log=False)
CONTENT = b"content\r\n\0\xff"
App = type[UploadHandler]


def uploads(folder: Path, **attributes: Any) -> App:
    return type("Uploads", (UploadHandler,), {"directory": str(folder), "min_free": 0, **attributes})


def put(path: str, content: bytes = CONTENT, *fields: str) -> bytes:
    return head("PUT", path, f"Content-Length: {len(content)}", *fields) + content


def part(name: str | bytes, content: bytes) -> bytes:
    name = name.encode() if isinstance(name, str) else name
    return b'--b\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\n%b\r\n' % (name, content)


def post(path: str, body: bytes, *fields: str) -> bytes:
    kind = "Content-Type: multipart/form-data; boundary=b"
    return head("POST", path, kind, f"Content-Length: {len(body)}", *fields) + body


def form(*files: tuple[str | bytes, bytes], path: str = "/", fields: tuple[str, ...] = ()) -> bytes:
    return post(path, b"".join(part(*file) for file in files) + b"--b--\r\n", *fields)


async def ask(app: aiohttpd.App, data: bytes) -> Response:
    [response] = finals(await exchange(app, data, config=QUIET))
    return response


def tree(folder: Path) -> dict[str, bytes]:
    """Every file with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "old").write_bytes(b"old")
    return root


OLD = {"old": b"old"}


class TestPut:
    async def test_created(self, folder: Path) -> None:
        response = await ask(uploads(folder), put("/sub/a%20b.txt?query"))
        assert (response.status, response["Location"], response.body) == (201, "/sub/a%20b.txt", b"")
        assert tree(folder) == OLD | {"sub/a b.txt": CONTENT}

    async def test_location_leads_to_it(self, folder: Path) -> None:
        """A name that would be a scheme, a host or a query is one name."""
        for name in ("http:", "%5C%5Chost", "a%3Fb", "%C3%BC", "%ff", "%25", "@host", "a;b"):
            location = (await ask(uploads(folder), put(f"/{name}")))["Location"]
            assert location is not None and location[0] == "/" and location[:2] != "//"
            assert (await ask(uploads(folder), get(location))).body == CONTENT

    async def test_overwriting(self, folder: Path) -> None:
        response = await ask(uploads(folder), put("/old"))
        assert (response.status, tree(folder)) == (409, OLD)
        response = await ask(uploads(folder, overwrite=True), put("/old"))
        assert (response.status, response["Location"], tree(folder)) == (204, None, {"old": CONTENT})
        assert (await ask(uploads(folder, overwrite=True), put("/new"))).status == 201

    async def test_chunked(self, folder: Path) -> None:
        data = head("PUT", "/a", "Transfer-Encoding: chunked") + chunk(b"one") + chunk(b"two") + b"0\r\n\r\n"
        assert (await ask(uploads(folder), data)).status == 201
        assert tree(folder) == OLD | {"a": b"onetwo"}

    async def test_empty(self, folder: Path) -> None:
        assert (await ask(uploads(folder), put("/a", b""))).status == 201
        assert tree(folder) == OLD | {"a": b""}

    @pytest.mark.parametrize(
        ("status", "data"),
        [
            (404, put("/nowhere/a")),
            (404, put("/old/a")),
            (409, put("/")),
            (409, put("/sub")),
            (409, put("/sub/")),
            (409, put("/new/")),
            (409, put("/new%2f")),
            (409, put("/new/.")),
            (400, put("/new/..")),
            (400, put("/a", CONTENT, "Content-Range: bytes 0-9/10")),
            (415, put("/a", CONTENT, "Content-Encoding: gzip")),
            (411, head("PUT", "/a")),
            (411, head("PUT", "/a", version="1.0") + CONTENT),
            (400, put("*")),
            (501, head("DELETE", "/old")),
        ],
    )
    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_refused(self, folder: Path, status: int, data: bytes, overwrite: bool) -> None:
        found = finals(await exchange(uploads(folder, overwrite=overwrite), data, config=QUIET))
        assert (found[0].status, tree(folder)) == (status, OLD)

    @pytest.mark.parametrize(
        ("field", "status"),
        [
            ("If-None-Match: *", 412),
            ("If-None-Match: {etag}", 412),
            ('If-None-Match: "other"', 204),
            ("If-Match: *", 204),
            ("If-Match: {etag}", 204),
            ('If-Match: "other"', 412),
            ("If-Unmodified-Since: Sat, 01 Jan 2000 00:00:00 GMT", 412),
            ("If-Unmodified-Since: Fri, 01 Jan 2100 00:00:00 GMT", 204),
        ],
    )
    async def test_conditions(self, folder: Path, field: str, status: int) -> None:
        os.utime(folder / "old", (1e9, 1e9))
        app = uploads(folder, overwrite=True)
        while (etag := (await ask(app, get("/old")))["ETag"] or "").startswith("W/"):
            await asyncio.sleep(0.01)  # a file that has changed just now has no strong one
        field = field.format(etag=etag)
        assert (await ask(app, put("/old", CONTENT, field))).status == status
        assert tree(folder) == ({"old": CONTENT} if status == 204 else OLD)
        assert (await ask(app, put("/new", CONTENT, field))).status == (412 if "If-Match" in field else 201)
        # Without overwriting the conditions do not come to count, RFC 9110 section 13.2.1.
        assert (await ask(uploads(folder), put("/old", CONTENT, field))).status == 409

    @staticmethod
    @on_both_loops
    async def test_refused_before_it_is_sent(folder: Path) -> None:
        app = uploads(folder, max_upload=1000)
        full = uploads(folder, min_free=2**62)
        guarded = uploads(folder, upload_credentials="a:b")
        for status, handler, path, length, field in [
            (409, app, "/old", 10, "X: y"),
            (413, app, "/a", 1001, "X: y"),
            (404, app, "/no/a", 10, "X: y"),
            (403, app, "/.a", 10, "X: y"),
            (403, app, "/a", 10, "Origin: https://evil.example"),
            (412, app, "/a", 10, 'If-Match: "a"'),
            (507, full, "/a", 10, "X: y"),
            (507, uploads(folder), "/a", 2**60, "X: y"),
            (401, guarded, "/a", 10, "X: y"),
            (401, folder_app(str(folder), upload=True, auth="a:b"), "/a", 10, "X: y"),
            (100, app, "/a", 10, "X: y"),
        ]:
            async with running(handler, access_log=False) as server, connected(server) as client:
                await client.send(head("PUT", path, "Expect: 100-continue", f"Content-Length: {length}", field))
                assert (await client.answer()).status == status
                if status == 100:
                    await client.send(bytes(10))
                    assert (await client.answer()).status == 201
                else:
                    assert tree(folder) == OLD


class TestForm:
    @pytest.mark.parametrize(
        ("accept", "status", "body"),
        [
            ("*/*", 201, b"saved a (10 bytes)\nsaved b (0 bytes)\n"),
            ("application/json", 201, b'{"saved": [{"name": "a", "size": 10}, {"name": "b", "size": 0}]}'),
            ("text/html,*/*;q=0.8", 303, b""),
        ],
    )
    async def test_saved(self, folder: Path, accept: str, status: int, body: bytes) -> None:
        data = form(("a", CONTENT[:10]), ("b", b""), path="/sub/", fields=(f"Accept: {accept}",))
        response = await ask(uploads(folder), data)
        assert (response.status, re.sub(rb"([:,])(?=\S)", rb"\1 ", response.body.strip() + b"\n")) == (
            status,
            body.strip() + b"\n",
        )
        assert response["Location"] == ("./" if status == 303 else None)
        assert tree(folder) == OLD | {"sub/a": CONTENT[:10], "sub/b": b""}

    async def test_other_fields_are_skipped(self, folder: Path) -> None:
        other = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
        nothing = part("", b"")
        assert (await ask(uploads(folder), post("/", other + part("a", b"1") + nothing + b"--b--"))).status == 201
        assert tree(folder) == OLD | {"a": b"1"}
        assert (await ask(uploads(folder), post("/", other + nothing + b"--b--"))).status == 400

    async def test_what_was_before_a_refused_one_is_kept(self, folder: Path) -> None:
        for status, second in [(409, "old"), (409, "a"), (403, ".b"), (409, "sub"), (400, "..")]:
            (folder / "a").unlink(missing_ok=True)
            response = await ask(uploads(folder), form(("a", b"1"), (second, b"2"), ("c", b"3")))
            assert (response.status, tree(folder)) == (status, OLD | {"a": b"1"})
            assert b"; saved before it: 'a'" in response.body

    async def test_overwriting(self, folder: Path) -> None:
        response = await ask(uploads(folder, overwrite=True), form(("old", b"1"), ("old", b"2")))
        assert (response.status, tree(folder)) == (201, {"old": b"2"})

    @pytest.mark.parametrize(
        ("status", "data"),
        [
            (404, form(("a", b"1"), path="/nowhere/")),
            (404, form(("a", b"1"), path="/old")),
            (415, head("POST", "/", "Content-Length: 1") + b"1"),
            (415, form(("a", b"1"), fields=("Content-Encoding: gzip",))),
            (400, post("/", part("a", b"1"))),
            (400, post("/", part("a", b"1")[:-2])),
            (400, post("/", part("a", b"1")[:-10])),
            (400, post("/", b"")),
            (400, post("/", b"--b--")),
        ],
    )
    async def test_refused(self, folder: Path, status: int, data: bytes) -> None:
        found = await ask(uploads(folder), data)
        assert (found.status, tree(folder)) == (status, OLD)


# What they may become: a path below the root; None if they are refused.
NAMES: list[tuple[str, str | None]] = [
    ("/../escaped", None),
    ("/sub/../../escaped", None),
    ("/..%2fescaped", None),
    ("/%2e%2e/escaped", None),
    ("/%2e%2e%2f%2e%2e%2fescaped", None),
    ("/sub/..%2f..%2fescaped", None),
    ("//etc/escaped", None),
    ("/%2fescaped", "escaped"),
    ("/..%5cescaped", None),
    ("/a%5c..%5cescaped", "a\\..\\escaped"),
    ("/a%00.txt", None),
    ("/%00", None),
    ("/a%0d%0aSet-Cookie:%20x", None),
    ("/%1b[2J", None),
    ("/a%7f", None),
    ("/%c2%9b", None),
    ("/.hidden", None),
    ("/sub/.hidden", None),
    ("/...", None),
    ("/" + "n" * 255, "n" * 255),
    ("/" + "n" * 256, None),
    ("/" + "%F0%9F%98%80" * 63, "\U0001f600" * 63),
    ("/" + "%F0%9F%98%80" * 64, None),
    ("/" + "n" * 300, None),
    ("/%ff%fe", "\udcff\udcfe"),
    ("/C:%5cescaped", "C:\\escaped"),
    ("/%3Cscript%3E", "<script>"),
    ("/%20", " "),
    ("/CON", "CON"),
    ("/.aiohttpd-0123456789abcdef.part", None),
]
FILENAMES: list[tuple[str | bytes, str | None]] = [
    ("../../escaped", "escaped"),
    ("/etc/escaped", "escaped"),
    ("..\\\\..\\\\escaped", "escaped"),
    ("C:\\\\fakepath\\\\escaped", "escaped"),
    ("sub/a", "a"),
    ("..", None),
    (".", None),
    ("a/", None),
    ("a/..", None),
    (".hidden", None),
    ("a\0b", None),
    ("a\tb", None),
    ("n" * 255, "n" * 255),
    ("n" * 300, None),
    (b"\xff", None),
    ("ünï \U0001f600.txt", "ünï \U0001f600.txt"),
    (" ", " "),
    ("%2e%2e%2fescaped", "%2e%2e%2fescaped"),
    (".aiohttpd-0123456789ABCDEF.part", None),
]


@pytest.mark.skipif(sys.platform != "linux", reason="names as Linux has them")
class TestNames:
    @pytest.mark.parametrize(("path", "name"), NAMES)
    async def test_put(self, folder: Path, path: str, name: str | None) -> None:
        before = tree(folder.parent)
        response = await ask(uploads(folder), put(path))
        self.check(folder, before, response, name)

    @pytest.mark.parametrize(("filename", "name"), FILENAMES)
    async def test_form(self, folder: Path, filename: str | bytes, name: str | None) -> None:
        before = tree(folder.parent)
        response = await ask(uploads(folder), form((filename, CONTENT)))
        self.check(folder, before, response, name)

    def check(self, folder: Path, before: dict[str, bytes], response: Response, name: str | None) -> None:
        new = tree(folder.parent).items() - before.items()
        if name is None:
            assert response.status in (400, 403, 404) and not new
        else:
            assert response.status == 201 and new == {(f"root/{name}", CONTENT)}

    async def test_hidden(self, folder: Path) -> None:
        app = uploads(folder, show_hidden=True)
        for data in (put("/.a"), form((".b", CONTENT))):
            assert (await ask(app, data)).status == 201
        assert tree(folder) == OLD | {".a": CONTENT, ".b": CONTENT}
        for name in (".aiohttpd-0123456789abcdef.part", "..", "."):
            assert (await ask(app, form((name, CONTENT)))).status in (400, 403)
        assert (await ask(app, put("/.git/a"))).status == 404
        (folder / ".git").mkdir()
        assert (await ask(app, put("/.git/a"))).status == 201
        assert (await ask(uploads(folder), put("/.git/b"))).status == 404

    async def test_windows(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Devices, streams and other spellings, there."""
        monkeypatch.setattr("aiohttpd.files.paths.os", SimpleNamespace(**{**vars(os), "name": "nt"}))
        for name in ("CON", "nul.txt", "a:b", "a.", "a ", "LONGNA~1.TXT", "a%3fb", "C:"):
            assert (await ask(uploads(folder), put(f"/{name.replace(' ', '%20')}"))).status == 400
            assert (await ask(uploads(folder), put(f"/{name.replace(' ', '%20')}/old"))).status == 400
            assert (await ask(uploads(folder), form((name.replace("%3f", "?"), CONTENT)))).status == 400
        assert tree(folder) == OLD

    async def test_a_file_system_that_is_not_in_utf_8(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def encode(name: str) -> bytes:
            return name.encode("latin-1")

        monkeypatch.setattr("aiohttpd.files.uploading.os", SimpleNamespace(**{**vars(os), "fsencode": encode}))
        assert (await ask(uploads(folder), form(("€", CONTENT)))).status == 400


@pytest.mark.parametrize("overwrite", [False, True])
class TestWhatIsThere:
    """Links, folders and special files under the name that is wanted, or on the way to it."""

    async def test_links_that_lead_outside(self, folder: Path, overwrite: bool) -> None:
        (folder.parent / "outside").mkdir()
        (folder / "out").symlink_to("../outside")
        (folder / "in").symlink_to("sub")
        app = uploads(folder, overwrite=overwrite)
        for data in (put("/out/a"), form(("a", CONTENT), path="/out/")):
            assert (await ask(app, data)).status == 404
        assert (await ask(app, put("/in/a"))).status == 201
        assert tree(folder.parent / "outside") == {}
        assert (folder / "sub" / "a").read_bytes() == CONTENT
        assert (await ask(uploads(folder, follow_symlinks=True), put("/out/a"))).status == 201
        assert tree(folder.parent / "outside") == {"a": CONTENT}

    @pytest.mark.parametrize("target", ["old", "nothing", "../outside", "sub", "link"])
    async def test_a_link_is_not_followed(self, folder: Path, overwrite: bool, target: str) -> None:
        (folder.parent / "outside").write_bytes(b"outside")
        (folder / "link").symlink_to(target)
        app = uploads(folder, overwrite=overwrite)
        response = await ask(app, put("/link"))
        assert response.status == (204 if overwrite else 409)
        assert (folder / "link").is_symlink() != overwrite
        assert (folder / "old").read_bytes() == b"old" and not (folder / "nothing").exists()
        assert (folder.parent / "outside").read_bytes() == b"outside"
        assert os.listdir(folder / "sub") == []

    async def test_special_files(self, folder: Path, overwrite: bool) -> None:
        os.mkfifo(folder / "fifo")
        app = uploads(folder, overwrite=overwrite)
        for data in (put("/fifo"), form(("fifo", CONTENT)), put("/sub"), form(("sub", CONTENT))):
            assert (await ask(app, data)).status == 409
        assert (folder / "fifo").is_fifo() and tree(folder) == OLD

    async def test_a_name_that_becomes_a_folder(self, folder: Path, overwrite: bool) -> None:
        async with running(uploads(folder, overwrite=overwrite), access_log=False) as server:
            async with connected(server) as client:
                await client.send(head("PUT", "/a", "Expect: 100-continue", "Content-Length: 1"))
                assert (await client.answer()).status == 100
                (folder / "a").mkdir()
                await client.send(b"1")
                assert (await client.answer()).status == 409
        assert sorted(os.listdir(folder)) == ["a", "old", "sub"]

    async def test_a_folder_that_goes(self, folder: Path, overwrite: bool) -> None:
        async with running(uploads(folder, overwrite=overwrite), access_log=False) as server:
            async with connected(server) as client:
                await client.send(head("PUT", "/sub/a", "Expect: 100-continue", "Content-Length: 1"))
                assert (await client.answer()).status == 100
                shutil.rmtree(folder / "sub")
                await client.send(b"1")
                assert (await client.answer()).status == 404


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep a folder as a worker does that is about to give a file its name."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class TestRace:
    @staticmethod
    @on_both_loops
    async def test_one_wins(folder: Path) -> None:
        """Of ten uploads of one name exactly one gets it, and its content is no mixture."""
        contents = [bytes([number]) * MIB for number in range(10)]
        async with running(uploads(folder), access_log=False) as server, httpx.AsyncClient() as client:
            answers = await asyncio.gather(
                *(client.put(f"{server.url}/sub/a", content=content) for content in contents)
            )
            statuses = [answer.status_code for answer in answers]
            assert sorted(statuses) == [201] + [409] * 9
            assert (folder / "sub" / "a").read_bytes() == contents[statuses.index(201)]
            assert os.listdir(folder / "sub") == ["a"]

    @pytest.mark.parametrize("condition", ["none", "If-None-Match"])
    async def test_both_had_begun(self, folder: Path, condition: str) -> None:
        """The name was free when each of two began."""
        overwrite = condition != "none"
        field = f"{condition}: *" if overwrite else "X: y"
        async with running(uploads(folder, overwrite=overwrite), access_log=False) as server:
            async with connected(server) as first, connected(server) as second:
                for client in (first, second):
                    await client.send(head("PUT", "/a", "Expect: 100-continue", "Content-Length: 1", field))
                    assert (await client.answer()).status == 100
                await second.send(b"2")
                assert (await second.answer()).status == 201
                await first.send(b"1")
                assert (await first.answer()).status == (412 if overwrite else 409)
        assert tree(folder) == OLD | {"a": b"2"}

    async def test_another_worker_is_in_between(self, folder: Path) -> None:
        """A condition that holds still holds when the file gets its name: other processes wait, too."""
        field = "If-Unmodified-Since: Fri, 01 Jan 2100 00:00:00 GMT"
        async with running(uploads(folder, overwrite=True), access_log=False) as server, connected(server) as client:
            await client.send(head("PUT", "/old", "Expect: 100-continue", "Content-Length: 1", field))
            assert (await client.answer()).status == 100
            with held(folder):
                await client.send(b"1")
                answering = asyncio.create_task(client.answer())
                assert not (await asyncio.wait([answering], timeout=0.1))[0]
                os.utime(folder / "old", (5e9, 5e9))
            assert (await answering).status == 412
        assert tree(folder) == OLD

    @pytest.mark.parametrize("mode", [0o600, 0o755, 0o444])
    async def test_permissions_stay(self, folder: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a file that is replaced; nobody else can read the new one meanwhile either."""
        (folder / "old").chmod(mode)
        modes = set()
        look = Incoming._write

        def write(self: Incoming, data: bytes) -> None:
            look(self, data)
            modes.update(path.stat().st_mode & 0o7777 for path in folder.iterdir() if path.is_file())

        monkeypatch.setattr(Incoming, "_write", write)
        assert (await ask(uploads(folder, overwrite=True), put("/old"))).status == 204
        assert (modes, tree(folder)) == ({mode}, {"old": CONTENT})

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
    async def test_without_links(self, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        """A file system that has none: a name is taken by one all the same."""

        def link(*arguments: Any, **keywords: Any) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(receiving, "os", SimpleNamespace(**{**vars(os), "link": link}))
        async with running(uploads(folder), access_log=False) as server, httpx.AsyncClient() as client:
            answers = await asyncio.gather(*(client.put(f"{server.url}/a", content=b"%d" % n) for n in range(5)))
            statuses = [answer.status_code for answer in answers]
        assert sorted(statuses) == [201] + [409] * 4
        assert tree(folder) == OLD | {"a": b"%d" % statuses.index(201)}


class Watch:
    """Says when a file has begun to arrive, and when one has been given up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.written, self.given_up, self.discarded = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for name, event in [("_write", self.written), ("_give_up", self.given_up), ("_discard", self.discarded)]:
            monkeypatch.setattr(Incoming, name, self.telling(getattr(Incoming, name), event, loop))

    def telling(
        self, function: Callable[..., Any], event: asyncio.Event, loop: asyncio.AbstractEventLoop
    ) -> Callable[..., Any]:
        def told(*arguments: Any) -> Any:
            try:
                return function(*arguments)
            finally:
                loop.call_soon_threadsafe(event.set)

        return told


HALF = head("PUT", "/a", f"Content-Length: {MIB}") + bytes(MIB // 2)
HALF_FORM = post("/", part("a", bytes(MIB)) + b"--b--")[: MIB // 2]


class TestNothingIsLeft:
    @staticmethod
    @pytest.mark.parametrize("data", [HALF, HALF_FORM], ids=["raw", "form"])
    @pytest.mark.parametrize("end", ["send_eof", "reset", "close"])
    @on_both_loops
    async def test_a_client_that_dies(folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, end: str) -> None:
        watch = Watch(monkeypatch)
        async with running(uploads(folder), access_log=False) as server, connected(server) as client:
            await client.send(data)
            await watch.written.wait()
            [temporary] = [name for name in os.listdir(folder) if is_temporary(name)]
            for path in ("/", f"/{temporary}"):
                for handler in (uploads(folder), uploads(folder, show_hidden=True)):
                    answer = await ask(handler, get(path, "Accept: application/json"))
                    assert temporary.encode() not in answer.body and answer.status == (200 if path == "/" else 404)
            getattr(client, end)()
            await watch.discarded.wait()
            assert sorted(os.listdir(folder)) == ["old", "sub"]

    @staticmethod
    @on_both_loops
    async def test_a_client_that_sends_no_more(folder: Path) -> None:
        async with running(uploads(folder), access_log=False, timeout_body=0.1) as server, connected(server) as client:
            await client.send(HALF)
            assert (await client.answer()).status == 408
            assert tree(folder) == OLD

    @staticmethod
    @on_both_loops
    async def test_the_server_stops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = Watch(monkeypatch)
        async with running(uploads(folder), access_log=False) as server, connected(server) as client:
            await client.send(HALF)
            await watch.written.wait()
            stopping = asyncio.create_task(server.shutdown(0))
            assert (await client.answer()).status == 503
            assert sorted(os.listdir(folder)) == ["old", "sub"]
            client.close()
            await stopping

    @staticmethod
    @pytest.mark.parametrize("call", ["open", "write", "link"])
    @on_both_loops
    async def test_cancelled_while_a_thread_is_at_it(folder: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
        """What the thread does is waited for, and undone unless the file is complete by then."""
        begun, loop, go_on = asyncio.Event(), asyncio.get_running_loop(), threading.Event()

        def slow(*arguments: Any, **keywords: Any) -> Any:
            loop.call_soon_threadsafe(begun.set)
            go_on.wait()
            return getattr(os, call)(*arguments, **keywords)

        watch = Watch(monkeypatch)
        monkeypatch.setattr(receiving, "os", SimpleNamespace(**{**vars(os), call: slow}))
        async with running(uploads(folder), access_log=False) as server, connected(server) as client:
            await client.send(put("/a"))
            await begun.wait()
            stopping = asyncio.create_task(server.shutdown(0))
            await watch.given_up.wait()
            go_on.set()
            await watch.discarded.wait()
            await stopping
        assert tree(folder) == OLD | ({"a": CONTENT} if call == "link" else {})

    def test_a_loop_without_threads(self, folder: Path) -> None:
        """It is about to be closed, in the middle of a request."""

        async def receive() -> None:
            opened = open_inside(str(folder), str(folder))
            assert opened is not None
            async with Incoming(opened, "a", overwrite=False, min_free=0) as file:
                await file.write(CONTENT)
                await asyncio.get_running_loop().shutdown_default_executor()
                raise LookupError

        with pytest.raises(LookupError):
            asyncio.run(receive())
        assert tree(folder) == OLD

    @pytest.mark.parametrize(
        ("call", "number", "status"),
        [
            ("write", errno.ENOSPC, 507),
            ("write", errno.EDQUOT, 507),
            ("write", errno.EFBIG, 413),
            ("write", errno.EIO, 500),
            ("close", errno.EIO, 500),
            ("close", errno.ENOSPC, 507),
            ("open", errno.EACCES, 403),
            ("open", errno.EROFS, 403),
            ("open", errno.EMFILE, 503),
            ("replace", errno.EIO, 500),
            ("fstatvfs", errno.ENOENT, 404),
        ],
    )
    @pytest.mark.parametrize("data", [put("/a"), form(("a", CONTENT))], ids=["raw", "form"])
    async def test_a_call_that_fails(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        call: str,
        number: int,
        status: int,
        data: bytes,
    ) -> None:
        closed = []

        def fail(*arguments: Any, **keywords: Any) -> None:
            if call == "close":
                os.close(*arguments)
                closed.append(arguments)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(receiving, "os", SimpleNamespace(**{**vars(os), call: fail}))
        response = await ask(uploads(folder, overwrite=True), data)
        assert (response.status, tree(folder)) == (status, OLD)
        assert len(closed) <= 1  # the number may be another file's by then
        assert len(caplog.get_records("call")) == (status == 500)
        caplog.clear()

    @pytest.mark.parametrize("data", [HALF, HALF_FORM], ids=["raw", "form"])
    async def test_a_limit_on_the_way(self, folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
        """The disk fills up while a file arrives."""
        calls = iter((2 * MIB,))

        def fstatvfs(_: int) -> SimpleNamespace:
            return SimpleNamespace(f_bavail=next(calls, 0), f_frsize=1)

        monkeypatch.setattr(receiving, "os", SimpleNamespace(**{**vars(os), "fstatvfs": fstatvfs}))
        response = await ask(uploads(folder), data)
        assert (response.status, tree(folder)) == (507, OLD)

    async def test_too_large(self, folder: Path) -> None:
        app = uploads(folder, max_upload=MIB)
        chunked = head("PUT", "/a", "Transfer-Encoding: chunked") + chunk(bytes(MIB + 1))
        for data in (chunked, put("/a", bytes(MIB + 1)), form(("a", bytes(MIB)))):
            assert ((await ask(app, data)).status, tree(folder)) == (413, OLD)
        assert (await ask(app, put("/a", bytes(MIB)))).status == 201
        # What limits other bodies does not count.
        [response] = finals(await exchange(uploads(folder), put("/b"), config=aiohttpd.Config(limit_body=1)))
        assert response.status == 201

    @pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
    async def test_a_folder_that_cannot_be_written_to(self, folder: Path) -> None:
        (folder / "sub").chmod(0o555)
        assert (await ask(uploads(folder), put("/sub/a"))).status == 403


class TestOrigin:
    @pytest.mark.parametrize(
        ("host", "fields", "allowed"),
        [
            ("a.example", [], True),
            ("a.example", ["Origin: http://a.example"], True),
            ("a.example", ["Origin: https://a.example"], True),  # a proxy speaks it for us
            ("a.example:80", ["Origin: http://a.example"], True),
            ("A.example:8000", ["Origin: http://a.example:8000"], True),
            ("[::1]:8000", ["Origin: http://[::1]:8000"], True),
            ("a.example", ["Origin: http://a.example:8000"], False),
            ("a.example:8000", ["Origin: http://a.example"], False),
            ("a.example:443", ["Origin: http://a.example"], False),
            ("a.example", ["Origin: http://b.example"], False),
            ("a.example", ["Origin: http://a.example.b.example"], False),
            ("a.example", ["Origin: http://b.example", "Origin: http://a.example"], False),
            ("a.example", ["Origin: null"], False),
            ("a.example", ["Origin: "], False),
            ("a.example", ["Origin: *"], False),
            ("a.example", ["Origin: http://["], False),
            ("a.example", ["Origin: http://a.example:x"], False),
            ("a.example", ["Origin: file://a.example"], False),
            ("inner:8000", ["Origin: https://a.example", "Sec-Fetch-Site: same-origin"], True),
            ("inner:8000", ["Origin: https://a.example", "Sec-Fetch-Site: cross-site"], False),
            ("inner:8000", ["Origin: https://friend.example"], True),
        ],
    )
    async def test_of_a_page(self, folder: Path, host: str, fields: list[str], allowed: bool) -> None:
        app = uploads(folder, allow_origin="https://friend.example")
        for data in (put("/a", CONTENT, *fields), form(("b", CONTENT), fields=tuple(fields))):
            response = await ask(app, data.replace(b"Host: localhost", f"Host: {host}".encode()))
            assert response.status == (201 if allowed else 403)
        assert (len(tree(folder)) == 3) == allowed

    async def test_any_may_read_is_not_any_may_upload(self, folder: Path) -> None:
        app = folder_app(str(folder), upload=True, min_free=0, cors="*")
        for origin in ("https://b.example", "null"):
            assert (await ask(app, put("/a", CONTENT, f"Origin: {origin}"))).status == 403

    async def test_options(self, folder: Path) -> None:
        app = folder_app(str(folder), upload=True, cors="https://b.example", upload_auth="a:b")
        response = await ask(app, head("OPTIONS", "/a", "Origin: https://b.example"))
        assert (response.status, response["Allow"]) == (204, "GET, HEAD, OPTIONS, POST, PUT")
        assert response["Access-Control-Allow-Methods"] == "GET, HEAD, OPTIONS, POST, PUT"


class TestPasswords:
    def basic(self, text: str) -> str:
        return f"Authorization: Basic {base64.b64encode(text.encode()).decode()}"

    @pytest.mark.parametrize(
        ("auth", "upload_auth", "given", "reads", "writes"),
        [
            (None, "a:b", None, 200, 401),
            (None, "a:b", "a:c", 200, 401),
            (None, "a:b", "a:b", 200, 201),
            ("g:h", None, None, 401, 401),
            ("g:h", None, "g:h", 200, 201),
            ("g:h", "a:b", None, 401, 401),
            ("g:h", "a:b", "g:h", 200, 401),
            ("g:h", "a:b", "a:b", 200, 201),
            ("g:h", "a:b", "a:h", 401, 401),
        ],
    )
    async def test_who_may(
        self, folder: Path, auth: str | None, upload_auth: str | None, given: str | None, reads: int, writes: int
    ) -> None:
        app = folder_app(str(folder), upload=True, auth=auth, upload_auth=upload_auth, min_free=0)
        fields = () if given is None else (self.basic(given),)
        assert (await ask(app, get("/old", *fields))).status == reads
        for data in (put("/a", CONTENT, *fields), form(("b", CONTENT), fields=fields)):
            response = await ask(app, data)
            assert response.status == writes
            assert (response["WWW-Authenticate"] is None) == (writes != 401)
        assert len(tree(folder)) == (3 if writes == 201 else 1)


class TestServing:
    async def test_files_still_leave_at_once(self, folder: Path) -> None:
        app = uploads(folder)
        assert app._is_stock
        os.utime(folder / "old", (1e9, 1e9))
        while app.instant(SimpleNamespace(method="GET", target="/old", headers=aiohttpd.Headers())) is None:  # type: ignore[arg-type]
            assert (await ask(app, get("/old"))).body == b"old"

    async def test_what_is_new_is_seen_at_once(self, folder: Path) -> None:
        app = uploads(folder, overwrite=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                while not app._stores or not next(iter(app._stores.values()))._entries:
                    assert (await ask(app, get("/old"))).body == b"old"
        assert (await ask(app, put("/old"))).status == 204
        assert (await ask(app, get("/old"))).body == CONTENT
        assert (await ask(app, form(("old", b"again")))).status == 201
        assert (await ask(app, get("/old"))).body == b"again"

    async def test_a_packed_file_stands_for_no_other(self, folder: Path) -> None:
        app = uploads(folder)
        assert (await ask(app, put("/old.gz", b"\x1f\x8b"))).status == 201
        assert (await ask(app, get("/old", "Accept-Encoding: gzip"))).body == b"old"

    async def test_the_form(self, folder: Path) -> None:
        page = await ask(uploads(folder), get("/", "Accept: text/html"))
        assert b'<form method="post" action="./" enctype="multipart/form-data">' in page.body
        [script] = re.findall(rb"<script>(.*?)</script>", page.body, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
        assert f"script-src 'sha256-{digest}'; connect-src 'self'" in (page["Content-Security-Policy"] or "")
        guarded = await ask(
            uploads(folder, overwrite=True, upload_credentials="a:b", max_upload=9), get("/", "Accept: text/html")
        )
        assert b' data-overwrite="yes" data-guarded="yes" data-limit="9">' in guarded.body
        plain = await ask(folder_app(str(folder)), get("/", "Accept: text/html"))
        assert b"<form" not in plain.body and b"<script" not in plain.body


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (["--overwrite"], "of no use without --upload"),
            (["--upload-auth", "a:b"], "of no use without --upload"),
            (["--max-upload", "1M"], "of no use without --upload"),
            (["--min-free", "0"], "of no use without --upload"),
            (["--upload", "--upload-auth", "ab"], "credentials are 'name:password'"),
            (["--upload", "--upload-auth", ""], "credentials are 'name:password'"),
            (["--upload", "--max-upload", "big"], "'big' is no size: 1000000, 64k, 1M or 2G"),
            (["--upload", "--max-upload", ""], "'' is no size"),
            (["--upload", "--max-upload", "1.5G"], "'1.5G' is no size"),
            (["--upload", "--max-upload", "G"], "'G' is no size"),
            (["--upload", "--min-free", "-1"], "'-1' is no size"),
        ],
    )
    def test_errors(self, folder: Path, arguments: list[str], text: str) -> None:
        assert text in refused(folder, *arguments)

    def test_a_system_that_cannot(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "supports_dir_fd", set())
        monkeypatch.delitem(sys.modules, "aiohttpd.files.uploading")
        with pytest.raises(NotImplementedError):
            check_system()
        assert "--upload: this system cannot hold a folder open" in refused(folder, "--upload")

    @pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
    def test_curl(self, folder: Path) -> None:
        (folder.parent / "source").write_bytes(CONTENT * 200_000)

        def curl(*arguments: str) -> tuple[str, str]:
            done = subprocess.run(
                ["curl", "-s", "-w", "\n%{http_code} %{size_upload}", *arguments],
                cwd=folder.parent,
                capture_output=True,
                text=True,
            )
            body, _, told = done.stdout.rpartition("\n")
            return body, told

        with started(folder, "serve", "-p", "0", "--upload", "--max-upload", "2G", "--upload-auth", "a:b") as served:
            user = ("-u", "a:b")
            assert curl(*user, "-T", "source", served.url) == ("", "201 2200000")
            assert curl(*user, "-F", "f=@source;filename=b", served.url)[0] == "saved b (2200000 bytes)\n"
            # Refused before the body is sent.
            for status, arguments in [("409", user), ("401", ())]:
                body, told = curl(*arguments, "-T", "source", served.url)
                assert told == f"{status} 0" and "Error code" in body
            assert curl(*user, "-T", "source", served.url + "sub/")[1][:3] == "201"
        same = CONTENT * 200_000
        assert tree(folder) == OLD | {"source": same, "b": same, "sub/source": same}

    def test_a_password_in_clear(self, folder: Path) -> None:
        arguments = ("--upload", "--upload-auth", "a:b", "--bind", "0.0.0.0")
        with started(folder, "serve", "-p", "0", *arguments) as served:
            while not (line := served.stderr.readline()).startswith("The password crosses the network in clear"):
                assert line.startswith("  http://")


def blocks(seed: int, size: int) -> Iterator[bytes]:
    block = hashlib.shake_128(b"%d" % seed).digest(MIB)
    for number in range(size // MIB):
        yield b"%08d" % number + block[8:]


def memory(pid: int, name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel for the memory of a process")
async def test_large_and_many(folder: Path) -> None:
    """What nox -s uploads does at full size: little memory, whatever the size; many at once; all as they were."""
    size, many = 64, 40
    begin, end = part("form", b"").removesuffix(b"\r\n"), b"\r\n--b--\r\n"
    with started(folder, "serve", "-p", "0", "--upload", "--min-free", "0", "--no-access-log") as served:
        pid, port = served.process.pid, int(served.url.rsplit(":", 1)[1].strip("/"))

        async def send(request: bytes, seed: int, mib: int, after: bytes = b"") -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            for block in blocks(seed, mib * MIB):
                writer.write(block)
                await writer.drain()
            writer.write(after)
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 201 ")
            writer.close()

        async def send_form(name: str, mib: int) -> None:
            body = b"".join((begin.replace(b'"form"', b'"%b"' % name.encode()), end))
            request = post("/", body).replace(
                b"Content-Length: %d" % len(body), b"Content-Length: %d" % (len(body) + mib * MIB)
            )
            await send(request.removesuffix(end), 1, mib, end)

        async def send_raw(name: str, seed: int, mib: int) -> None:
            await send(head("PUT", f"/{name}", f"Content-Length: {mib * MIB}"), seed, mib)

        await send_form("warm-form", 1)
        await send_raw("warm-raw", 1, 1)
        idle = memory(pid, "VmRSS")
        Path(f"/proc/{pid}/clear_refs").write_text("5")
        await send_form("form", size)
        await send_raw("raw", 1, size)
        assert memory(pid, "VmHWM") - idle < 32
        await asyncio.gather(*(send_raw(f"many-{number}", number, 1) for number in range(many)))
    whole = b"".join(blocks(1, size * MIB))
    found = tree(folder)
    assert found["form"] == whole and found["raw"] == whole
    assert all(found[f"many-{number}"] == b"".join(blocks(number, MIB)) for number in range(many))
    assert len(found) == 1 + 4 + many


def test_no_100_in_front_of_a_refusal(folder: Path) -> None:
    async def run() -> bytes:
        return await exchange(uploads(folder), head("PUT", "/old", "Expect: 100-continue", "Content-Length: 9"))

    assert [response.status for response in split(asyncio.run(run()))] == [409]
