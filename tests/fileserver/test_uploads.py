"""Uploads: what is taken and what is refused, under which name, and who may."""

import asyncio
import gc
import os
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest

from aiohttpd.fileserver.folder import FolderOptions, folder_app
from aiohttpd.handlers.files import tree as files_tree
from aiohttpd.handlers.files.store import Representation
from aiohttpd.testing import exchange, running

from ..support.asking import QUIET, answer_to
from ..support.clients import chunk, connected, get, head
from ..support.loops import on_both_loops
from ..support.uploading import CONTENT, OLD, file_part, form_of_files, post_body, put, tree, uploader
from ..support.wire import Response, finals


class TestPut:
    async def test_created(self, folder: Path) -> None:
        response = await answer_to(uploader(folder), put("/sub/a%20b.txt?query"))
        assert (response.status, response["Location"], response.body) == (201, "/sub/a%20b.txt", b"")
        assert tree(folder) == OLD | {"sub/a b.txt": CONTENT}

    async def test_location_leads_to_it(self, folder: Path) -> None:
        """A name that would be a scheme, a host or a query is one name."""
        for name in ("http:", "%5C%5Chost", "a%3Fb", "%C3%BC", "%ff", "%25", "@host", "a;b"):
            location = (await answer_to(uploader(folder), put(f"/{name}")))["Location"]
            assert location is not None and location[0] == "/" and location[:2] != "//"
            assert (await answer_to(uploader(folder), get(location))).body == CONTENT

    async def test_overwriting(self, folder: Path) -> None:
        response = await answer_to(uploader(folder), put("/old"))
        assert (response.status, tree(folder)) == (409, OLD)
        response = await answer_to(uploader(folder, overwrite=True), put("/old"))
        assert (response.status, response["Location"], tree(folder)) == (204, None, {"old": CONTENT})
        assert (await answer_to(uploader(folder, overwrite=True), put("/new"))).status == 201

    async def test_chunked(self, folder: Path) -> None:
        data = head("PUT", "/a", "Transfer-Encoding: chunked") + chunk(b"one") + chunk(b"two") + b"0\r\n\r\n"
        assert (await answer_to(uploader(folder), data)).status == 201
        assert tree(folder) == OLD | {"a": b"onetwo"}

    async def test_empty(self, folder: Path) -> None:
        assert (await answer_to(uploader(folder), put("/a", b""))).status == 201
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
            (405, head("DELETE", "/old")),
        ],
    )
    @pytest.mark.parametrize("overwrite", [False, True])
    async def test_refused(self, folder: Path, status: int, data: bytes, overwrite: bool) -> None:
        found = finals(await exchange(uploader(folder, overwrite=overwrite), data, config=QUIET))
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
        app = uploader(folder, overwrite=True)
        while (etag := (await answer_to(app, get("/old")))["ETag"] or "").startswith("W/"):
            await asyncio.sleep(0.01)  # a file that has changed just now has no strong one
        field = field.format(etag=etag)
        assert (await answer_to(app, put("/old", CONTENT, field))).status == status
        assert tree(folder) == ({"old": CONTENT} if status == 204 else OLD)
        assert (await answer_to(app, put("/new", CONTENT, field))).status == (412 if "If-Match" in field else 201)
        # Without overwriting the conditions do not come to count, RFC 9110 section 13.2.1.
        assert (await answer_to(uploader(folder), put("/old", CONTENT, field))).status == 409

    @staticmethod
    @on_both_loops
    async def test_refused_before_it_is_sent(folder: Path) -> None:
        app = uploader(folder, max_upload=1000)
        full = uploader(folder, min_free=2**62)
        guarded = uploader(folder, upload_credentials="a:b")
        for status, handler, path, length, field in [
            (409, app, "/old", 10, "X: y"),
            (413, app, "/a", 1001, "X: y"),
            (404, app, "/no/a", 10, "X: y"),
            (403, app, "/.a", 10, "X: y"),
            (403, app, "/a", 10, "Origin: https://evil.example"),
            (412, app, "/a", 10, 'If-Match: "a"'),
            (507, full, "/a", 10, "X: y"),
            (507, uploader(folder), "/a", 2**60, "X: y"),
            (401, guarded, "/a", 10, "X: y"),
            (401, folder_app(str(folder), FolderOptions(upload=True, auth="a:b")), "/a", 10, "X: y"),
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
        data = form_of_files(("a", CONTENT[:10]), ("b", b""), path="/sub/", fields=(f"Accept: {accept}",))
        response = await answer_to(uploader(folder), data)
        assert (response.status, re.sub(rb"([:,])(?=\S)", rb"\1 ", response.body.strip() + b"\n")) == (
            status,
            body.strip() + b"\n",
        )
        assert response["Location"] == ("./" if status == 303 else None)
        assert tree(folder) == OLD | {"sub/a": CONTENT[:10], "sub/b": b""}

    async def test_other_fields_are_skipped(self, folder: Path) -> None:
        other = b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
        nothing = file_part("", b"")
        body = other + file_part("a", b"1") + nothing + b"--b--"
        assert (await answer_to(uploader(folder), post_body("/", body))).status == 201
        assert tree(folder) == OLD | {"a": b"1"}
        assert (await answer_to(uploader(folder), post_body("/", other + nothing + b"--b--"))).status == 400

    async def test_what_was_before_a_refused_one_is_kept(self, folder: Path) -> None:
        for status, second in [(409, "old"), (409, "a"), (403, ".b"), (409, "sub"), (400, "..")]:
            (folder / "a").unlink(missing_ok=True)
            response = await answer_to(uploader(folder), form_of_files(("a", b"1"), (second, b"2"), ("c", b"3")))
            assert (response.status, tree(folder)) == (status, OLD | {"a": b"1"})
            assert b"; saved before it: 'a'" in response.body

    async def test_overwriting(self, folder: Path) -> None:
        response = await answer_to(uploader(folder, overwrite=True), form_of_files(("old", b"1"), ("old", b"2")))
        assert (response.status, tree(folder)) == (201, {"old": b"2"})

    @pytest.mark.parametrize(
        ("status", "data"),
        [
            (404, form_of_files(("a", b"1"), path="/nowhere/")),
            (404, form_of_files(("a", b"1"), path="/old")),
            (415, head("POST", "/", "Content-Length: 1") + b"1"),
            (415, form_of_files(("a", b"1"), fields=("Content-Encoding: gzip",))),
            (400, post_body("/", file_part("a", b"1"))),
            (400, post_body("/", file_part("a", b"1")[:-2])),
            (400, post_body("/", file_part("a", b"1")[:-10])),
            (400, post_body("/", b"")),
            (400, post_body("/", b"--b--")),
        ],
    )
    async def test_refused(self, folder: Path, status: int, data: bytes) -> None:
        found = await answer_to(uploader(folder), data)
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
        response = await answer_to(uploader(folder), put(path))
        self.check(folder, before, response, name)

    @pytest.mark.parametrize(("filename", "name"), FILENAMES)
    async def test_form(self, folder: Path, filename: str | bytes, name: str | None) -> None:
        before = tree(folder.parent)
        response = await answer_to(uploader(folder), form_of_files((filename, CONTENT)))
        self.check(folder, before, response, name)

    def check(self, folder: Path, before: dict[str, bytes], response: Response, name: str | None) -> None:
        new = tree(folder.parent).items() - before.items()
        if name is None:
            assert response.status in (400, 403, 404) and not new
        else:
            assert response.status == 201 and new == {(f"root/{name}", CONTENT)}

    async def test_hidden(self, folder: Path) -> None:
        app = uploader(folder, show_hidden=True)
        for data in (put("/.a"), form_of_files((".b", CONTENT))):
            assert (await answer_to(app, data)).status == 201
        assert tree(folder) == OLD | {".a": CONTENT, ".b": CONTENT}
        for name in (".aiohttpd-0123456789abcdef.part", "..", "."):
            assert (await answer_to(app, form_of_files((name, CONTENT)))).status in (400, 403)
        assert (await answer_to(app, put("/.git/a"))).status == 404
        (folder / ".git").mkdir()
        assert (await answer_to(app, put("/.git/a"))).status == 201
        assert (await answer_to(uploader(folder), put("/.git/b"))).status == 404

    async def test_windows(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Devices, streams and other spellings, there."""
        monkeypatch.setattr("aiohttpd.handlers.files.paths.os", SimpleNamespace(**{**vars(os), "name": "nt"}))
        for name in ("CON", "nul.txt", "nul .txt", "com%C2%B9", "a:b", "a.", "a ", "LONGNA~1.TXT", "a%3fb", "C:"):
            assert (await answer_to(uploader(folder), put(f"/{name.replace(' ', '%20')}"))).status == 400
            assert (await answer_to(uploader(folder), put(f"/{name.replace(' ', '%20')}/old"))).status == 400
            assert (await answer_to(uploader(folder), form_of_files((unquote(name), CONTENT)))).status == 400
        assert tree(folder) == OLD

    async def test_a_file_system_that_is_not_in_utf_8(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def encode(name: str) -> bytes:
            return name.encode("latin-1")

        monkeypatch.setattr("aiohttpd.fileserver.uploads.os", SimpleNamespace(**{**vars(os), "fsencode": encode}))
        assert (await answer_to(uploader(folder), form_of_files(("€", CONTENT)))).status == 400


@pytest.mark.parametrize("overwrite", [False, True])
class TestWhatIsThere:
    """Links, folders and special files under the name that is wanted, or on the way to it."""

    async def test_links_that_lead_outside(self, folder: Path, overwrite: bool) -> None:
        (folder.parent / "outside").mkdir()
        (folder / "out").symlink_to("../outside")
        (folder / "in").symlink_to("sub")
        app = uploader(folder, overwrite=overwrite)
        for data in (put("/out/a"), form_of_files(("a", CONTENT), path="/out/")):
            assert (await answer_to(app, data)).status == 404
        assert (await answer_to(app, put("/in/a"))).status == 201
        assert tree(folder.parent / "outside") == {}
        assert (folder / "sub" / "a").read_bytes() == CONTENT
        assert (await answer_to(uploader(folder, follow_symlinks=True), put("/out/a"))).status == 201
        assert tree(folder.parent / "outside") == {"a": CONTENT}

    @pytest.mark.parametrize("target", ["old", "nothing", "../outside", "sub", "link"])
    async def test_a_link_is_not_followed(self, folder: Path, overwrite: bool, target: str) -> None:
        (folder.parent / "outside").write_bytes(b"outside")
        (folder / "link").symlink_to(target)
        app = uploader(folder, overwrite=overwrite)
        response = await answer_to(app, put("/link"))
        assert response.status == (204 if overwrite else 409)
        assert (folder / "link").is_symlink() != overwrite
        assert (folder / "old").read_bytes() == b"old" and not (folder / "nothing").exists()
        assert (folder.parent / "outside").read_bytes() == b"outside"
        assert os.listdir(folder / "sub") == []

    async def test_special_files(self, folder: Path, overwrite: bool) -> None:
        os.mkfifo(folder / "fifo")
        app = uploader(folder, overwrite=overwrite)
        for data in (put("/fifo"), form_of_files(("fifo", CONTENT)), put("/sub"), form_of_files(("sub", CONTENT))):
            assert (await answer_to(app, data)).status == 409
        assert (folder / "fifo").is_fifo() and tree(folder) == OLD

    async def test_a_name_that_becomes_a_folder(self, folder: Path, overwrite: bool) -> None:
        async with running(uploader(folder, overwrite=overwrite), access_log=False) as server:
            async with connected(server) as client:
                await client.send(head("PUT", "/a", "Expect: 100-continue", "Content-Length: 1"))
                assert (await client.answer()).status == 100
                (folder / "a").mkdir()
                await client.send(b"1")
                assert (await client.answer()).status == 409
        assert sorted(os.listdir(folder)) == ["a", "old", "sub"]

    async def test_a_folder_that_goes(self, folder: Path, overwrite: bool) -> None:
        async with running(uploader(folder, overwrite=overwrite), access_log=False) as server:
            async with connected(server) as client:
                await client.send(head("PUT", "/sub/a", "Expect: 100-continue", "Content-Length: 1"))
                assert (await client.answer()).status == 100
                shutil.rmtree(folder / "sub")
                await client.send(b"1")
                assert (await client.answer()).status == 404


async def test_uploads_leave_no_files_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULT: after each upload the files that had been known before stayed in memory, or open, for ten seconds."""
    monkeypatch.setattr(files_tree, "_SETTLED", -1)
    (folder / "large").write_bytes(bytes(400_123))
    (folder / "kept").write_bytes(bytes(10_123))
    async with running(uploader(folder, overwrite=True)) as server, connected(server) as client:
        for _ in range(20):
            await client.send(put("/small"))
            assert (await client.answer()).status in (201, 204)
            for name in ("/kept", "/large"):
                assert (await client.ask(name)).status == 200
        living = [one.size for one in gc.get_objects() if isinstance(one, Representation)]
        assert living.count(400_123) == 1
        assert living.count(10_123) <= 2  # as it leaves, and for ranges
