"""Files that a handler gives in one call, in full, in part, or as a download."""

import asyncio
import contextlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

import aiohttpd.handlers.files.store as store
from aiohttpd import HTTPError
from aiohttpd.handlers.files.response import attachment
from aiohttpd.testing import running

from ..support.calling import calling, given, handling, pieces_written
from ..support.clients import connected, expect_logged, get, head
from ..support.loops import on_both_loops
from ..support.wire import split

# Files.


class TestFile:
    async def test_whole(self, folder: Path) -> None:
        for path in (folder / "a.txt", str(folder / "a.txt"), os.fsencode(folder / "a.txt")):
            answer = await given(calling("send_file", path))
            assert (answer.status, answer.body, answer["Content-type"]) == (200, b"0123456789", "text/plain")
            assert (answer["Content-Length"], answer["Accept-Ranges"]) == ("10", "bytes")
            assert re.fullmatch(r'"[0-9a-f-]+"', answer["ETag"] or "")
            assert answer["Content-Disposition"] is None

    async def test_one_write(self, folder: Path) -> None:
        for name in ("a.txt", "empty.bin"):
            [piece] = await pieces_written(handling(calling("send_file", folder / name)), get())
            assert split(piece)[0].body == (folder / name).read_bytes()

    async def test_head(self, folder: Path) -> None:
        """By do_GET, and by a do_HEAD of its own."""
        body = calling("send_file", folder / "a.txt", download_as="b.txt")
        first = await given(body)
        for app in (handling(body), handling(body, do_HEAD=body)):
            second = await given(app, head("HEAD", "/", "Range: bytes=1-2"), "HEAD")
            assert (second.status, second["Content-Length"]) == (200, "10")
            assert [name for name, _ in second.fields] == [name for name, _ in first.fields]

    async def test_head_of_a_large_file(self, folder: Path) -> None:
        [piece] = await pieces_written(handling(calling("send_file", folder / "large.bin")), head("HEAD"))
        assert split(piece, ["HEAD"])[0]["Content-Length"] == "1000000"

    @pytest.mark.parametrize("name", ["a.txt", "large.bin"])
    async def test_conditions_and_ranges(self, folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        app = handling(calling("send_file", folder / name, download_as="b.txt"))
        whole = await given(app)
        etag, size = whole["ETag"], len(content)

        same = await given(app, get("/", f"If-None-Match: {etag}"))
        assert (same.status, same.body, same["ETag"], same["Content-type"]) == (304, b"", etag, None)
        assert (await given(app, get("/", f"If-Modified-Since: {whole['Last-Modified']}"))).status == 304
        assert (await given(app, get("/", 'If-None-Match: "other"'))).body == content

        part = await given(app, get("/", "Range: bytes=2-4", f"If-Range: {etag}"))
        assert (part.status, part.body) == (206, content[2:5])
        assert part["Content-Range"] == f"bytes 2-4/{size}"
        assert part["Content-Disposition"] == 'attachment; filename="b.txt"'
        assert (await given(app, get("/", "Range: bytes=-3"))).body == content[-3:]
        assert (await given(app, get("/", "Range: bytes=2-4", 'If-Range: "other"'))).body == content

        parts = await given(app, get("/", "Range: bytes=0-1,5-6"))
        assert parts.status == 206
        assert (parts["Content-type"] or "").startswith("multipart/byteranges; boundary=")
        assert parts["Content-Disposition"] == 'attachment; filename="b.txt"'
        assert b"\r\n\r\n" + content[5:7] + b"\r\n" in parts.body

        for request, status in (
            (get("/", "Range: bytes=1000000-"), 416),
            (get("/", 'If-Match: "other"'), 412),
            (get("/", "If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT"), 412),
        ):
            answer = await given(app, request)
            assert answer.status == status
            assert answer["Content-Disposition"] is None  # it is a page, and not the file
        assert (await given(app, get("/", "Range: bytes=1000000-")))["Content-Range"] == f"bytes */{size}"

    async def test_post(self, folder: Path) -> None:
        """Ranges are for GET."""
        answer = await given(calling("send_file", folder / "a.txt"), head("POST", "/", "Range: bytes=1-2"))
        assert (answer.status, answer.body) == (200, b"0123456789")

    @pytest.mark.parametrize("name", ["none", "within", "within/", "a.txt/", "a.txt/b", "", ".", "a\0.txt", "fifo"])
    async def test_no_file(self, folder: Path, name: str) -> None:
        os.mkfifo(folder / "fifo")
        answer = await given(calling("send_file", f"{folder}/{name}", download_as="b.txt"))
        assert (answer.status, answer["Content-Disposition"]) == (404, None)
        assert str(folder).encode() not in answer.body

    async def test_no_file_can_be_caught(self, folder: Path) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(HTTPError, match="404"):
                await self.send_file(folder / "none")
            await self.send_file(folder / "a.txt")

        assert (await given(body)).body == b"0123456789"

    async def test_a_relative_path(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "within" / "a.txt").write_text("within")
        app = handling(calling("send_file", "a.txt"))
        for at, content in ((folder, b"0123456789"), (folder / "within", b"within"), (folder, b"0123456789")):
            monkeypatch.chdir(at)
            assert (await given(app)).body == content

    async def test_no_current_directory(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder / "within")
        (folder / "within").rmdir()
        assert (await given(calling("send_file", "a.txt"))).status == 404
        assert (await given(calling("send_file", folder / "a.txt"))).status == 200

    async def test_links_and_dotfiles(self, folder: Path) -> None:
        """The path is the program's, so all is served that it names."""
        (folder / ".hidden").write_text("hidden")
        (folder / "link").symlink_to(folder / ".hidden")
        for name in (".hidden", "link", "within/../link"):
            assert (await given(calling("send_file", folder / name))).body == b"hidden"

    async def test_two_types_of_one_file(self, folder: Path) -> None:
        kinds = ["text/csv", "application/x-own; a=b", "text/html", None, "text/csv"]
        for kind in kinds:
            answer = await given(calling("send_file", folder / "a.txt", content_type=kind))
            assert (answer["Content-type"], answer.body) == (kind or "text/plain", b"0123456789")

    @pytest.mark.parametrize("name", ["a.txt", "large.bin"])
    async def test_a_type_that_cannot_be_sent(self, folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
        answer = await given(calling("send_file", folder / name, content_type="text/plain\r\nX-Evil: 1"))
        assert (answer.status, answer["X-Evil"]) == (500, None)
        expect_logged(caplog, "may not stand in a field")

    @pytest.mark.parametrize("size", [10, 300_000])
    async def test_what_has_just_been_written_is_sent(self, folder: Path, size: int) -> None:
        """A handler writes a report and sends it, whatever it has sent a moment ago."""
        path = folder / "report.txt"
        content = iter([b"a" * size, b"b" * size, b"c" * (size - 1)])

        async def body(self: Any) -> None:
            path.write_bytes(next(content))
            await self.send_file(path)

        answers = [await given(body) for _ in range(3)]
        assert [answer.body for answer in answers] == [b"a" * size, b"b" * size, b"c" * (size - 1)]
        path.unlink()
        assert (await given(calling("send_file", path))).status == 404

    async def test_two_loops_at_once(self, folder: Path) -> None:
        """Servers in two threads do not share what is kept."""

        async def many() -> None:
            for number in range(60):
                name = "large.bin" if number % 3 else "a.txt"
                answer = await given(calling("send_file", folder / name, content_type=f"text/{number % 20}"))
                assert len(answer.body) == (1_000_000 if number % 3 else 10)

        await asyncio.gather(*(asyncio.to_thread(asyncio.run, many()) for _ in range(2)))

    async def test_it_is_kept_in_memory(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        reads: list[int] = []
        read_from = store.read_from  # type: ignore[attr-defined]

        def counting(descriptor: int, offset: int, count: int) -> bytes:
            reads.append(count)
            return bytes(read_from(descriptor, offset, count))

        monkeypatch.setattr(store, "read_from", counting)
        for _ in range(3):
            assert (await given(calling("send_file", folder / "a.txt"))).body == b"0123456789"
        assert len(reads) == 1

    @pytest.mark.parametrize("first", ["cookie", "begin"])
    async def test_a_head_that_has_been_begun(self, folder: Path, first: str, caplog: pytest.LogCaptureFixture) -> None:
        async def body(self: Any) -> None:
            if first == "begin":
                self.send_response(200)
            else:
                self.set_cookie("a", "b")
            await self.send_file(folder / "a.txt")

        answer = await given(body)
        if first == "cookie":
            assert (answer.status, answer["Set-Cookie"]) == (200, "a=b; Path=/; HttpOnly; SameSite=Lax")
        else:
            assert answer.status == 500
            expect_logged(caplog, "called twice")


@on_both_loops
async def test_a_large_file_leaves_by_sendfile(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    sendfile = os.sendfile

    def counting(*args: Any) -> int:
        sizes.append(sendfile(*args))
        return sizes[-1]

    monkeypatch.setattr(os, "sendfile", counting)
    content = (folder / "large.bin").read_bytes()
    app = handling(calling("send_file", folder / "large.bin", download_as="b.bin"))
    async with running(app) as server, connected(server) as client:
        for _ in range(2):
            answer = await client.ask()
            assert (answer.body == content, answer["Content-Length"]) == (True, "1000000")
        await client.send(get("/", "Range: bytes=10-499999"))
        assert (await client.answer()).body == content[10:500_000]
    assert sum(sizes) > 2_400_000


@on_both_loops
async def test_a_file_that_changes_while_it_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(20_000_000))
    async with running(handling(calling("send_file", path))) as server, connected(server, small=True) as client:
        await client.send(get())
        await client.reader.readuntil(b"\r\n\r\n")
        with path.open("r+b") as file:
            file.write(b"changed")
            os.utime(path, (1, 1))
        with contextlib.suppress(ConnectionResetError):
            assert len(await client.rest()) < 20_000_000


@on_both_loops
async def test_many_at_once(folder: Path) -> None:
    content = (folder / "large.bin").read_bytes()

    async def one(server: Any, path: str) -> bytes:
        async with connected(server) as client:
            return (await client.ask(path)).body

    async def body(self: Any) -> None:
        await self.send_file(folder / self.path[1:])

    async with running(handling(body)) as server:
        found = await asyncio.gather(*(one(server, path) for path in ("/a.txt", "/large.bin") * 10))
    assert found == [b"0123456789", content] * 10


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("report.pdf", 'attachment; filename="report.pdf"'),
        ("my report (1).pdf", 'attachment; filename="my report (1).pdf"'),
        ("a;b=c.txt", 'attachment; filename="a;b=c.txt"'),
        ('say "hi".txt', "attachment; filename=\"say _hi_.txt\"; filename*=UTF-8''say%20%22hi%22.txt"),
        ("100%41.txt", "attachment; filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
        ("näïve ☃.txt", "attachment; filename=\"n__ve _.txt\"; filename*=UTF-8''n%C3%A4%C3%AFve%20%E2%98%83.txt"),
        ("a\r\nX-Evil: 1", 'attachment; filename="a__X-Evil: 1"'),
        ("a\0\x1b\x7fb", 'attachment; filename="a___b"'),
        ("../../etc/passwd", 'attachment; filename="passwd"'),
        ("C:\\Windows\\a.exe", 'attachment; filename="a.exe"'),
        ("a/b\\c", 'attachment; filename="c"'),
        ("\udcff.txt", "attachment; filename=\"_.txt\"; filename*=UTF-8''%3F.txt"),
        ("'*.txt", 'attachment; filename="\'*.txt"'),
        ("", "attachment"),
        ("folder/", "attachment"),
        ("..", "attachment"),
        ("a/.", "attachment"),
    ],
)
async def test_download_as(folder: Path, name: str, value: str) -> None:
    assert attachment(name) == value
    answer = await given(calling("send_file", folder / "a.txt", download_as=name))
    assert (answer.status, answer["Content-Disposition"]) == (200, value)
    if "filename*" in value and "\udcff" not in name:
        assert unquote(value.partition("UTF-8''")[2]) == name
