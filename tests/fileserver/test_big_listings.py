"""Listings of large folders: off the loop, in pieces, few at a time, at the pace of the client; in the right order."""

import asyncio
import json
import os
import random
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd.fileserver import listing, send_listing
from aiohttpd.fileserver.uploads import UploadHandler
from aiohttpd.handlers.files.tree import Entry
from aiohttpd.testing import running

from ..support.asking import answer_to
from ..support.clients import connected, get, head
from ..support.folders import files_of
from ..support.loops import on_both_loops
from ..support.waiting import until

MANY = 5000
PIECES = MANY // 500


class Work:
    """A folder that is not on the disk, and what is done about it.

    Attributes:
        looked: how many names were looked at, call by call.
        written: how many entries were made into text, call by call.
        threads: where.
        most: so many calls were under way at once.
        go_on: calls wait for it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, width: int = 0) -> None:
        self.names = [f"{number}{'x' * width}" for number in range(count)]
        random.Random(1).shuffle(self.names)
        self.read: list[int] = []
        self.looked: list[int] = []
        self.written: list[int] = []
        self.threads: set[int] = set()
        self.most = self._now = 0
        self.go_on = threading.Event()
        self.go_on.set()
        monkeypatch.setattr(send_listing, "_CALL_TIMEOUT", 60)  # so that a busy machine is not taken for a slow disk
        monkeypatch.setattr(send_listing, "read_names", self.watched(self._read_names))
        monkeypatch.setattr(send_listing, "read_entries", self.watched(self._look_at))
        for form in (listing.HtmlListing, listing.JsonListing):
            monkeypatch.setattr(form, "entries", self.watched(self._entries(form.entries)))

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.threads.add(threading.get_ident())
            self._now += 1
            self.most = max(self.most, self._now)
            try:
                return function(*arguments, **keywords)
            finally:
                self._now -= 1

        return call

    def _read_names(self, folder: object, path: str, is_listed: object, limit: int) -> tuple[list[str], bool]:
        self.read.append(limit)
        return self.names[:limit], len(self.names) > limit

    def _look_at(self, folder: object, root: str, path: str, names: list[str], **rules: object) -> list[Entry]:
        self.looked.append(len(names))
        self.go_on.wait(20)
        return [Entry(name, False, False, len(name), 1e9) for name in names]

    def _entries(self, function: Callable[..., bytes]) -> Callable[..., bytes]:
        def entries(form: object, given: Iterable[Entry], *, first: bool) -> bytes:
            made = list(given)
            self.written.append(len(made))
            return function(form, made, first=first)

        return entries


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch, MANY)


ACCEPTED = {"text/html": b"<tr><td>", "application/json": b'"href"'}


class TestPieces:
    @pytest.mark.parametrize("accept", ACCEPTED)
    async def test_off_the_loop(self, tmp_path: Path, work: Work, accept: str) -> None:
        """Nothing that grows with the folder is done on the loop, and nothing of it at once."""
        answer = await answer_to(files_of(tmp_path), get("/", f"Accept: {accept}"))
        assert answer.complete and answer.body.count(ACCEPTED[accept]) == MANY
        assert threading.get_ident() not in work.threads
        assert work.looked == work.written == [500] * PIECES

    async def test_a_small_one_is_one_piece(self, tmp_path: Path, work: Work) -> None:
        del work.names[500:]
        answer = await answer_to(files_of(tmp_path), get("/"))
        assert answer["Content-Length"] == str(len(answer.body))
        assert (work.looked, work.written) == ([500], [500])
        assert threading.get_ident() not in work.threads

    async def test_nothing_of_it_for_head(self, tmp_path: Path, work: Work) -> None:
        whole = await answer_to(files_of(tmp_path), get("/"))
        work.looked.clear()
        work.read.clear()
        work.written.clear()
        answer = await answer_to(files_of(tmp_path), head("HEAD", "/"))
        assert (answer.status, answer.fields[2:]) == (200, whole.fields[2:])
        assert (work.read, work.looked, work.written) == ([500], [], [])

    @staticmethod
    @on_both_loops
    async def test_others_have_their_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Eight at once: one call at a time, and another client is answered while it is under way."""
        work = Work(monkeypatch, MANY)
        (tmp_path / "a").write_text("a")
        work.go_on.clear()
        async with running(files_of(tmp_path), access_log=False) as server, connected(server) as other:
            clients = [asyncio.create_task(body_of(server)) for _ in range(8)]
            await until(lambda: work.looked)
            for _ in range(20):
                await other.send(get("/a"))
                assert (await other.answer()).body == b"a"
            assert len(work.looked) == 1
            work.go_on.set()
            assert len(set(await asyncio.gather(*clients))) == 1
        assert work.most == 1

    async def test_who_waits_for_a_disk_keeps_nobody(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(send_listing, "_CALL_TIMEOUT", 0.01)
        hangs = threading.Event()
        look_at = send_listing.read_entries

        def slow(folder: Any, root: str, path: str, *arguments: Any, **rules: Any) -> list[Entry]:
            if path.endswith("/hangs/"):
                hangs.wait()
            return look_at(folder, root, path, *arguments, **rules)

        monkeypatch.setattr(send_listing, "read_entries", slow)
        for name in ("hangs", "other"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "a").touch()
        async with running(files_of(tmp_path), access_log=False) as server:
            waiting = asyncio.create_task(body_of(server, "/hangs/"))
            try:
                assert b'href="a"' in await body_of(server, "/other/")
                assert not waiting.done()
            finally:
                hangs.set()
            assert b'href="a"' in await waiting


async def body_of(server: aiohttpd.HTTPServer, path: str = "/") -> bytes:
    async with connected(server) as client:
        await client.send(get(path))
        answer = await client.answer()
        assert answer.complete
        return answer.body


class TestClients:
    @staticmethod
    @pytest.mark.parametrize("end", ["reset", "close"])
    @on_both_loops
    async def test_one_that_vanishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str) -> None:
        """While it waits, or in the middle, nothing more is done for it."""
        work = Work(monkeypatch, MANY)
        work.go_on.clear()
        async with running(files_of(tmp_path), access_log=False) as server:
            async with connected(server) as first, connected(server) as second:
                for client in (first, second):
                    await client.send(get("/"))
                await until(lambda: work.looked and server.in_flight == 2)
                for client in (first, second):
                    getattr(client, end)()
                await until(lambda: not server.connections or end == "close")
                work.go_on.set()
                await until(lambda: not server.in_flight)
        # The end of a connection may be a regular one; that shows when something is sent for the second time.
        assert sum(work.looked) <= (500 if end == "reset" else 2 * 1500)
        assert work.written == []

    async def test_one_that_does_not_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Text is made while it is taken; what waits is packed."""
        work = Work(monkeypatch, 50_000, 200)
        async with running(files_of(tmp_path), access_log=False) as server:
            sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.server_port))
            reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
            writer.write(get("/", "Connection: close"))
            await reader.readuntil(b"<tbody>")
            count = -1
            while count != len(work.written):  # until it stands still
                count = len(work.written)
                await asyncio.sleep(0.1)
            assert 0 < sum(work.written) < 40_000
            data = await reader.read()
            writer.close()
        assert sum(work.written) == 50_000
        assert data.endswith(b"</html>\n\r\n0\r\n\r\n")

    @staticmethod
    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    @on_both_loops
    async def test_one_that_vanishes_while_it_leaves(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, version: str
    ) -> None:
        """The rest is not made, and it is no news."""
        work = Work(monkeypatch, 50_000, 200)
        lines: list[str] = []
        app = files_of(tmp_path, log_error=lambda self, *arguments: lines.append(str(arguments)))
        async with running(app, access_log=False) as server, connected(server) as client:
            await client.send(head("GET", "/", version=version))
            await client.reader.readuntil(b"<tbody>")
            client.reset()
            await until(lambda: not server.in_flight)
        assert 0 < sum(work.written) < 40_000
        assert not lines and not caplog.records

    async def test_the_server_stops(self, tmp_path: Path, work: Work) -> None:
        work.go_on.clear()
        async with running(files_of(tmp_path), access_log=False) as server, connected(server) as client:
            await client.send(get("/"))
            await until(lambda: work.looked)
            stopping = asyncio.create_task(server.shutdown(0))
            await until(lambda: not server.connections)
            work.go_on.set()
            await stopping
        assert len(work.looked) == 1

    async def test_a_folder_that_goes(self, tmp_path: Path, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
        """What has begun and cannot be ended does not look whole."""
        read_names = send_listing.read_names

        def gone(*arguments: Any) -> Any:
            if arguments[-1] > 500:
                raise FileNotFoundError("gone")
            return read_names(*arguments)

        monkeypatch.setattr(send_listing, "read_names", gone)
        answer = await answer_to(files_of(tmp_path), get("/"))
        assert (answer.status, answer.complete) == (200, False)


# As it was defined at first: parts of a name that are numbers are compared as such.
def natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split("([0-9]+)", name.casefold())
    return [(0, int(part), "") if part[:1] in "0123456789" and part else (1, 0, part) for part in parts]


def in_order(entries: list[Entry], column: str, descending: bool) -> list[str]:
    entries = sorted(entries, key=lambda entry: natural(entry.name))
    if column != "name":
        entries.sort(key=lambda entry: getattr(entry, column), reverse=descending)
    elif descending:
        entries.reverse()
    return [entry.name for entry in sorted(entries, key=lambda entry: not entry.is_directory)]


class TestOrder:
    @pytest.mark.parametrize("column", ["name", "size", "modified"])
    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("count", [40, 1777])
    async def test_same_however_large(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, descending: bool, count: int
    ) -> None:
        chance = random.Random(count)
        made = {}
        while len(made) < count:
            name = "".join(chance.choice("aBb019!_ü\u4e00\udcff") for _ in range(chance.randint(1, 7)))
            when = chance.choice([-5.5, 0.0, 1e9, 1e9 + 0.25, 4e9])
            made[name] = Entry(name, chance.random() < 0.3, False, chance.choice([0, 1, 10, 2**40]), when)
        unique = {str(natural(name)): name for name in made}  # 1 and 01 are alike, in any order
        made = {name: made[name] for name in unique.values()}

        def read_names(*arguments: Any) -> tuple[list[str], bool]:
            return list(made)[: arguments[-1]], len(made) > arguments[-1]

        monkeypatch.setattr(send_listing, "read_names", read_names)
        monkeypatch.setattr(
            send_listing, "read_entries", lambda *arguments, **rules: [made[name] for name in arguments[3]]
        )
        query = f"/?sort={column}&order={'desc' if descending else 'asc'}"
        page = (await answer_to(files_of(tmp_path), get(query))).body.decode()
        found = [os.fsdecode(os.fsencode(unescape(text))) for text in re.findall(r"<td><a[^>]*>(.*?)/?</a>", page)]
        expected = in_order(list(made.values()), column, descending)
        assert found == [os.fsencode(name).decode("utf-8", "replace") for name in expected]
        answer = json.loads((await answer_to(files_of(tmp_path), get(query, "Accept: application/json"))).body)
        assert [entry["name"] for entry in answer["entries"]] == found

    @pytest.mark.parametrize("limit", [1, 499, 500, 501, 1200])
    async def test_limit(self, tmp_path: Path, work: Work, limit: int) -> None:
        app = files_of(tmp_path, max_listed=limit)
        answer = json.loads((await answer_to(app, get("/", "Accept: application/json"))).body)
        assert (len(answer["entries"]), answer["more"]) == (limit, True)
        assert b"there are more" in (await answer_to(app, get("/"))).body
        del work.names[limit:]
        answer = json.loads((await answer_to(app, get("/", "Accept: application/json"))).body)
        assert (len(answer["entries"]), answer["more"]) == (limit, False)


class TestPage:
    async def test_empty(self, tmp_path: Path) -> None:
        (tmp_path / ".hidden").touch()
        assert b"<p>This folder is empty</p>" in (await answer_to(files_of(tmp_path), get("/"))).body
        (tmp_path / "a").touch()
        assert b"empty" not in (await answer_to(files_of(tmp_path), get("/"))).body

    async def test_other_orders_are_for_browsers(self, tmp_path: Path) -> None:
        """A program that follows every link would get everything as often as there are orders."""
        page = await answer_to(files_of(tmp_path), get("/", "Accept: text/html,application/xhtml+xml,*/*;q=0.8"))
        assert page.body.count(b'<a href="?sort=') == 3
        for accept in ("*/*", "text/plain", ""):
            plain = await answer_to(files_of(tmp_path), get("/", f"Accept: {accept}"))
            assert b"?sort=" not in plain.body and plain["Vary"] == "Accept"

    @pytest.mark.skipif(shutil.which("wget") is None, reason="needs wget")
    async def test_wget(self, tmp_path: Path) -> None:
        """Each file once, and one page for each folder."""
        (tmp_path / "site" / "sub").mkdir(parents=True)
        (tmp_path / "site" / "sub" / "a").write_text("a")
        async with running(files_of(tmp_path / "site"), access_log=False) as server:
            wget = await asyncio.create_subprocess_exec("wget", "-q", "-nH", "-r", "-P", tmp_path / "got", server.url)
            await wget.wait()
        found = {str(path.relative_to(tmp_path / "got")) for path in (tmp_path / "got").rglob("*") if path.is_file()}
        assert found - {"robots.txt"} == {"index.html", "sub/index.html", "sub/a"}

    async def test_well_known(self, tmp_path: Path) -> None:
        """RFC 8615: right below the root, and nowhere else; other dot names stay hidden."""
        served = ["/.well-known/a", "/.well-known/"]
        hidden = [
            "/.well-known/.a",
            "/sub/.well-known/a",
            "/.Well-Known/a",
            "/.well-known2/a",
            "/.other/a",
            "/..well-known/a",
        ]
        for path in served + hidden:
            place = tmp_path / path.rpartition("/")[0][1:]
            place.mkdir(parents=True, exist_ok=True)
            (place / (path.rpartition("/")[2] or "b")).write_text("a")
        for app in (files_of(tmp_path), type("Uploads", (UploadHandler,), {"directory": str(tmp_path)})):
            for path in served:
                assert (await answer_to(app, get(path))).status == 200
            for path in hidden:
                assert (await answer_to(app, get(path))).status == 404
            for path in ("/", "/sub/", "/.well-known/"):
                links = set(re.findall(rb'href="(\.[^."/][^"]*)"', (await answer_to(app, get(path))).body))
                assert not links  # it is for programs, which know it
            # Who may write there may speak for the site.
            if app.__name__ == "Uploads":
                put = head("PUT", "/.well-known/new", "Content-Length: 1") + b"1"
                assert (await answer_to(app, put)).status == 404
