"""Files that change while they are served: what leaves is true at that moment, and is cut only if it may be wrong."""

import asyncio
import contextlib
import gzip
import os
import shutil
import sys
import tempfile
import time
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
import aiohttpd.handlers.files.tree as tree
from aiohttpd import SimpleHTTPRequestHandler
from aiohttpd.handlers.files.store import Store
from aiohttpd.testing import exchange, running

from ...support.asking import QUIET, fetch
from ...support.clients import Client, connected
from ...support.folders import files_of
from ...support.waiting import until
from ...support.wire import Response, split

MIB = 1024 * 1024
LARGE = 12 * MIB  # more than sockets hold
SIZES = pytest.mark.parametrize("size", [1000, 300_000], ids=["in memory", "open"])


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that are old enough to be kept."""
    monkeypatch.setattr(tree, "_SETTLED", -1)
    return tmp_path


def get_file(path: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


async def settled(path: Path) -> None:
    """Wait until the next change shows in the times of a file, however coarse its clock is."""

    def shows() -> bool:
        return time.time() - path.stat().st_ctime > 0.05

    await until(shows)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"new" * (path.stat().st_size // 3))


def rewrite_keeping_the_date(path: Path) -> None:
    status = path.stat()
    rewrite(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncate(path: Path) -> None:
    os.truncate(path, 10)


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"one more line\n")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"another file")
    os.utime(other, (1e9, 1e9))
    other.rename(path)


def replace_by_an_equal_one(path: Path) -> None:
    """Of the same size and date, as builds make them that can be repeated."""
    status = path.stat()
    other = path.with_name("other")
    other.write_bytes(b"x" * status.st_size)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(path)


CHANGES = [rewrite, rewrite_keeping_the_date, truncate, append, replace, replace_by_an_equal_one]


class TestWhatIsKnown:
    @SIZES
    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_a_change_is_seen_at_once(
        self, site: Path, size: int, change: Callable[[Path], None], method: str
    ) -> None:
        path = site / "file.txt"
        path.write_bytes(b"old" * (size // 3))
        app = files_of(site)
        for _ in range(2):
            before = await fetch(app, "/file.txt", method=method)
        await settled(path)
        change(path)
        after = await fetch(app, "/file.txt", f"If-None-Match: {before['ETag']}", method=method)
        content = path.read_bytes()
        assert (after.status, after["Content-Length"]) == (200, str(len(content)))
        assert after.body == (b"" if method == "HEAD" else content)
        assert after["ETag"] != before["ETag"]
        again = await fetch(app, "/file.txt", method=method)
        assert (again.status, again.body, again["ETag"]) == (200, after.body, after["ETag"])

    @SIZES
    async def test_what_is_deleted_is_not_there(self, site: Path, size: int) -> None:
        (site / "file.txt").write_bytes(b"x" * size)
        app = files_of(site)
        for _ in range(2):
            before = await fetch(app, "/file.txt")
        (site / "file.txt").unlink()
        for fields in ([], [f"If-None-Match: {before['ETag']}"], [f"If-Modified-Since: {before['Last-Modified']}"]):
            assert (await fetch(app, "/file.txt", *fields)).status == 404

    @SIZES
    async def test_what_is_the_same_is_not_read_again(
        self, site: Path, size: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (site / "file.txt").write_bytes(b"x" * size)
        app = files_of(site)
        first = await fetch(app, "/file.txt")
        monkeypatch.setattr("aiohttpd.handlers.files.store.Store._look_up", None)
        assert (await fetch(app, "/file.txt", f"If-None-Match: {first['ETag']}")).status == 304
        assert (await fetch(app, "/file.txt")).body == first.body

    async def test_one_look_for_all_that_come_in_a_turn(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (site / "file.txt").write_bytes(b"x")
        app = files_of(site)
        await fetch(app, "/file.txt")
        looks = 0
        state_of = tree.state_of

        def count(status: os.stat_result) -> tree.FileState:
            nonlocal looks
            looks += 1
            return state_of(status)

        monkeypatch.setattr("aiohttpd.handlers.files.store.state_of", count)
        assert len(split(await exchange(app, get_file("/file.txt") * 20, config=QUIET))) == 20
        assert looks <= 2  # twenty requests fill a batch, and the next one has a turn of its own

    async def test_a_loop_that_ends_leaves_nothing_to_the_next(self, site: Path) -> None:
        """Not even what it would have forgotten in its next turn."""
        (site / "file.txt").write_bytes(b"one")
        app = files_of(site)

        def look() -> bytes:
            async def once() -> bytes:
                await fetch(app, "/file.txt")
                [store] = app._stores.values()
                entry = store.fresh("/file.txt", ("identity",))
                return b"" if entry is None or entry.content is None else entry.content

            return asyncio.run(once())

        def twice() -> tuple[bytes, bytes]:
            first = look()
            (site / "file.txt").write_bytes(b"two")
            return first, look()

        assert await asyncio.to_thread(twice) == (b"one", b"two")

    async def test_a_link_that_leads_elsewhere(self, site: Path) -> None:
        """As a new release is put in the place of the last one."""
        for name in ("one", "two"):
            (site / name).mkdir()
            (site / name / "index.html").write_text(name)
        (site / "current").symlink_to("one")
        app = files_of(site)
        for _ in range(2):
            assert (await fetch(app, "/current/")).body == b"one"
        (site / "next").symlink_to("two")
        (site / "next").rename(site / "current")
        assert (await fetch(app, "/current/")).body == b"two"

    async def test_an_index_page_that_goes(self, site: Path) -> None:
        (site / "index.html").write_text("page")
        app = files_of(site)
        for _ in range(2):
            assert (await fetch(app, "/")).body == b"page"
        (site / "index.html").unlink()
        assert b"Directory listing" in (await fetch(app, "/")).body

    async def test_a_file_of_a_handler(self, site: Path) -> None:
        """It is looked at for each answer, though others have asked in the same turn."""
        path = site / "file.txt"

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                if "write" in self.path:
                    path.write_text(self.path)
                await self.send_file(path)

        path.write_text("old")
        requests = get_file("/read"), get_file("/read"), get_file("/write1"), get_file("/write2") + get_file("/write3")
        answers = split(await exchange(Handler, requests, config=QUIET))
        assert [answer.body for answer in answers] == [b"old", b"old", b"/write1", b"/write2", b"/write3"]


class TestMemory:
    async def test_all_spellings_of_a_path_are_one_entry(self, site: Path) -> None:
        (site / "a b.txt").write_text("content")
        app = files_of(site)
        spellings = [f"/{'./' * number}{'x/../' * number}/{'%2e/' * number}a%20b.txt" for number in range(200)]
        spellings += ["/a%20b%2Etxt", "//a%20b.txt", "/%61%20b.txt?query"]
        for spelling in spellings:
            assert (await fetch(app, spelling)).body == b"content"
        [store] = app._stores.values()
        assert [name for name, _ in store._entries] == ["/a%20b.txt"]

    async def test_as_browsers_write_it_is_answered_at_once(self, site: Path) -> None:
        names = ["a b.txt", "ünï.txt", "a'(b)!;@,=+$&:~*.txt", "100%.txt"]
        app = files_of(site)
        for name in names:
            (site / name).write_text(name)
        for path in ("/a%20b.txt", "/%C3%BCn%C3%AF.txt", "/a'(b)!;@,=+$&:~*.txt", "/100%25.txt"):
            await fetch(app, path)
            assert any(name == path for store in app._stores.values() for name, _ in store._entries)

    async def test_what_a_folder_is_and_what_is_none(self, site: Path) -> None:
        """The slash at the end is no matter of spelling."""
        (site / "folder").mkdir()
        (site / "folder" / "index.html").write_text("page")
        (site / "file.txt").write_text("file")
        (site / "index.html").write_text("root")
        app = files_of(site)
        for _ in range(2):
            for path, status in (
                ("/folder/", 200), ("/folder", 301), ("/folder/.", 301), ("/folder/%2e/", 200), ("/file.txt", 200),
                ("/file.txt/", 404), ("/file.txt/.", 200), ("/", 200), ("/.", 301), ("//", 200),
            ):  # fmt: skip
                assert (await fetch(app, path)).status == status, path

    @pytest.mark.parametrize("length", [1, 16_000])
    async def test_names_and_overhead_count(self, site: Path, length: int) -> None:
        """Also of a class that says by itself what a path stands for."""
        (site / "file.txt").write_text("x")

        class Spelled(SimpleHTTPRequestHandler):
            directory = str(site)
            cache_size = MIB
            follow_symlinks = True

            def translate_path(self, path: str) -> str:
                return f"{site}/{'/' * int(path.rpartition('=')[2])}file.txt"

        store = None
        wanted = 2 * Spelled.cache_size // length
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(min(wanted, 500)):
                spaces = min(length + number, 4000)
                await fetch(Spelled, f"/?={spaces}")
            [store] = Spelled._stores.values()
            after = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        assert store._entries
        assert store._size <= Spelled.cache_size
        assert after - before < 1.25 * Spelled.cache_size


class Download:
    """A client that reads as slowly as it is told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""
        self.content = bytearray()

    @property
    def length(self) -> int:
        [line] = [line for line in self.head.split("\r\n") if line.lower().startswith("content-length:")]
        return int(line.partition(":")[2])

    async def begin(self, path: str, *fields: str) -> None:
        self.writer.write(get_file(path, *fields))
        self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        self.content += await self.reader.readexactly(1000)

    async def end(self) -> bytes:
        """What arrives of the content."""
        with contextlib.suppress(ConnectionError):
            while len(self.content) < self.length and (data := await self.reader.read(MIB)):
                self.content += data
        return bytes(self.content)


@contextlib.asynccontextmanager
async def downloading(app: Any, path: str, *fields: str) -> Any:
    async with running(app, access_log=False) as server:
        reader, writer = await asyncio.open_connection(*server.server_address, limit=64 * 1024)
        download = Download(reader, writer)
        try:
            await download.begin(path, *fields)
            yield download
        finally:
            writer.close()


@pytest.fixture
def large(site: Path) -> Path:
    path = site / "large.bin"
    path.write_bytes(array("Q", range(LARGE // 8)).tobytes())
    os.utime(path, (1e9, 1e9))
    return path


def touch(path: Path) -> None:
    path.touch()


def grow(path: Path) -> None:
    for _ in range(3):
        append(path)


def chmod(path: Path) -> None:
    path.chmod(0o600)


def one_byte(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(LARGE // 2 + 12345)
        file.write(b"X")


def longer(path: Path) -> None:
    path.write_bytes(b"Y" * (LARGE + 1))


class TestAnswersUnderWay:
    @pytest.mark.parametrize("change", [append, grow, touch, chmod, Path.unlink, replace])
    @pytest.mark.parametrize("fields", [(), (f"Range: bytes=1000-{LARGE - 100}",)], ids=["whole", "range"])
    async def test_the_promised_bytes_are_right(
        self, large: Path, change: Callable[[Path], None], fields: tuple[str, ...]
    ) -> None:
        content = large.read_bytes()
        os.utime(large, (1e9, 1e9))
        async with downloading(files_of(large.parent), "/large.bin", *fields) as download:
            change(large)
            wanted = content[1000 : LARGE - 99] if fields else content
            assert download.length == len(wanted)
            assert await download.end() == wanted

    async def test_a_log_that_grows_all_the_time(self, large: Path) -> None:
        content = large.read_bytes()
        async with downloading(files_of(large.parent), "/large.bin") as download:
            while len(download.content) < LARGE - 2 * MIB:
                append(large)
                download.content += await download.reader.readexactly(MIB)
            assert await download.end() == content
        assert (await fetch(files_of(large.parent), "/large.bin", method="HEAD"))["Content-Length"] == str(
            large.stat().st_size
        )

    @pytest.mark.parametrize("change", [rewrite, rewrite_keeping_the_date, truncate, longer, one_byte])
    async def test_what_may_be_a_mixture_is_cut(self, large: Path, change: Callable[[Path], None]) -> None:
        app = files_of(large.parent)
        async with downloading(app, "/large.bin") as download:
            change(large)
            assert len(await download.end()) < LARGE
        # And the next one is told the truth: the entry is dropped.
        answer = await fetch(app, "/large.bin")
        assert (answer.status, answer.body) == (200, large.read_bytes())

    async def test_a_write_that_is_followed_by_others_reading(self, large: Path) -> None:
        """The time of the last access is not enough to take it for a touch."""
        async with downloading(files_of(large.parent), "/large.bin") as download:
            rewrite(large)
            status = large.stat()
            os.utime(large, ns=(status.st_mtime_ns, status.st_mtime_ns))
            assert len(await download.end()) < LARGE

    async def test_where_reading_leaves_a_trace(self, large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of a file of somebody else's nobody can tell whether it was touched or written to."""
        monkeypatch.setattr(tree, "_NOATIME", 0)
        async with downloading(files_of(large.parent), "/large.bin") as download:
            touch(large)
            assert len(await download.end()) < LARGE


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that others may pass, unlike that of pytest."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Have no rights that root has."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0,
    reason="files that nobody may read: root makes them, and becomes another",
)
class TestWhatMayNotBeRead:
    async def asked(self, app: Any, *paths: str) -> list[Response]:
        with somebody_else():
            return [await fetch(app, path) for path in paths]

    async def test_a_folder_that_can_be_passed(self, shared: Path) -> None:
        (shared / "folder").mkdir()
        (shared / "folder" / "index.html").write_text("page")
        (shared / "folder" / "file.txt").write_text("file")
        (shared / "folder").chmod(0o711)
        moved, page, file = await self.asked(files_of(shared), "/folder", "/folder/", "/folder/file.txt")
        assert (moved.status, moved["Location"]) == (301, "folder/")
        assert (page.status, page.body) == (200, b"page")
        assert (file.status, file.body) == (200, b"file")

    async def test_the_root_can_be_passed_only(self, shared: Path) -> None:
        (shared / "index.html").write_text("page")
        shared.chmod(0o711)
        [page] = await self.asked(files_of(shared), "/")
        assert (page.status, page.body) == (200, b"page")

    async def test_403(self, shared: Path) -> None:
        for name in ("list", "locked", "index"):
            (shared / name).mkdir()
            (shared / name / "index.html").write_text("page")
        (shared / "list" / "index.html").unlink()
        (shared / "list").chmod(0o711)
        (shared / "locked").chmod(0o700)
        (shared / "index" / "index.html").chmod(0o600)
        (shared / "file.txt").write_text("secret")
        (shared / "file.txt").chmod(0o600)
        paths = ["/list/", "/locked/", "/locked/none", "/index/", "/index/index.html", "/file.txt"]
        for path, answer in zip(paths, await self.asked(files_of(shared), *paths), strict=True):
            assert (path, answer.status) == (path, 403)
            assert b"secret" not in answer.body
        [page] = await self.asked(files_of(shared, fallback_page="file.txt"), "/file.txt")
        assert page.status == 403

    async def test_what_is_outside_is_not_there(self, shared: Path) -> None:
        """Whether it may be read is not to be seen either."""
        (shared / "root").mkdir()
        (shared / "secret").mkdir()
        (shared / "secret" / "file.txt").write_text("secret")
        (shared / "secret").chmod(0o700)
        (shared / "root" / "link").symlink_to("../secret/file.txt")
        (shared / "root" / "folder").symlink_to("../secret")
        (shared / "root" / ".hidden").write_text("x")
        (shared / "root" / ".hidden").chmod(0o600)
        paths = ["/link", "/folder", "/folder/", "/folder/file.txt", "/.hidden", "/none"]
        assert [answer.status for answer in await self.asked(files_of(shared / "root"), *paths)] == [404] * len(paths)

    async def test_a_sibling_that_may_not_be_read_does_not_count(self, shared: Path) -> None:
        (shared / "a.txt").write_text("text")
        (shared / "a.txt.br").write_bytes(b"coded")
        os.utime(shared / "a.txt", (1e9, 1e9))
        os.utime(shared / "a.txt.br", (1e9, 1e9))
        (shared / "a.txt.br").chmod(0o600)
        with somebody_else():
            answer = await fetch(files_of(shared), "/a.txt", "Accept-Encoding: br")
        assert (answer.status, answer.body, answer["Content-Encoding"]) == (200, b"text", None)

    async def test_a_listing_shows_what_can_be_read(self, shared: Path) -> None:
        (shared / "a.txt").write_text("text")
        (shared / "locked").mkdir(0o700)
        (shared / "locked" / "x").write_text("x")
        (shared / "link").symlink_to("locked/x")
        [listing] = await self.asked(files_of(shared), "/")
        assert listing.status == 200
        assert b"a.txt" in listing.body
        assert b'href="link"' not in listing.body

    async def test_permissions_that_are_taken_back(self, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tree, "_SETTLED", -1)
        (shared / "file.txt").write_text("text")
        app = files_of(shared)
        assert [answer.status for answer in await self.asked(app, "/file.txt", "/file.txt")] == [200, 200]
        (shared / "file.txt").chmod(0o600)
        assert [answer.status for answer in await self.asked(app, "/file.txt")] == [403]


async def test_an_entry_that_is_evicted_within_a_turn(site: Path) -> None:
    """It is forgotten altogether."""
    app = files_of(site, cache_size=40_000, cache_file_size=10_000)
    for name in ("a", "b", "c", "d", "e"):
        (site / name).write_bytes(bytes(9000))
    answers = split(await exchange(app, [get_file(f"/{name}") for name in "abcdeabcde"], config=QUIET))
    assert [len(answer.body) for answer in answers] == [9000] * 10
    [store] = app._stores.values()
    verified = {(name, codings) for codings, names in store._verified.items() for name in names}
    assert verified <= set(store._entries)
    await until(lambda: not any(store._verified.values()))


async def ask(client: Client, request: bytes) -> Any:
    await client.send(request)
    return await client.answer()


async def test_a_client_that_repeats_its_fields(site: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is kept for it is what its files are now, in the coding that it takes, of the folder that is served now."""
    other = tmp_path_factory.mktemp("other")
    for folder, text in ((site, b"one"), (other, b"other")):
        (folder / "file.txt").write_bytes(text)
    (site / "file.txt.gz").write_bytes(gzip.compress(b"zip"))
    for name in ("file.txt", "file.txt.gz"):
        os.utime(site / name, (1_700_000_000,) * 2)  # a sibling of late may be half written
    app = files_of(site)
    async with running(app) as server, connected(server) as plain, connected(server) as packed:
        gzipped = get_file("/file.txt", "Accept-Encoding: gzip")
        for _ in range(3):
            assert (await ask(plain, get_file("/file.txt"))).body == b"one"
            assert gzip.decompress((await ask(packed, gzipped)).body) == b"zip"
        (site / "file.txt").write_bytes(b"two")
        os.utime(site / "file.txt", (1_700_000_000,) * 2)
        assert (await ask(plain, get_file("/file.txt"))).body == b"two"
        assert gzip.decompress((await ask(packed, gzipped)).body) == b"zip"
        (site / "file.txt.gz").unlink()
        assert (await ask(packed, gzipped)).body == b"two"
        app.directory = str(other)
        assert (await ask(plain, get_file("/file.txt"))).body == b"other"
        assert (await ask(packed, gzipped)).body == b"other"


async def test_a_store_that_has_been_replaced(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers nothing any more, and a client that it has answered before asks the one that took its place."""
    (site / "file.txt").write_bytes(b"one")
    monkeypatch.setattr("aiohttpd.fileserver.handler._MOST_STORES", 1)
    app = files_of(site)
    async with running(app) as server, connected(server) as client:
        for _ in range(2):
            assert (await ask(client, get_file("/file.txt"))).body == b"one"
        [first] = app._stores.values()
        app.directory = str(site.parent)
        assert (await ask(client, get_file(f"/{site.name}/file.txt"))).body == b"one"
        assert list(app._stores.values()) != [first]
        assert not first._entries
        app.directory = str(site)
        looks = 0
        find = Store.find

        async def count(self: Store, *args: Any) -> Any:
            nonlocal looks
            looks += 1
            return await find(self, *args)

        monkeypatch.setattr(Store, "find", count)
        for _ in range(3):
            assert (await ask(client, get_file("/file.txt"))).body == b"one"
        assert looks == 1
