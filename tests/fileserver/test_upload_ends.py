"""Uploads that end early or meet others: nothing is left of what is not complete."""

import asyncio
import errno
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import aiohttpd
from aiohttpd.fileserver import receive as receiving
from aiohttpd.fileserver.receive import PartialFile, UploadLimits, is_temporary
from aiohttpd.handlers.files.tree import open_inside
from aiohttpd.testing import exchange, running

from ..support.asking import answer_to
from ..support.clients import MIB, chunk, connected, get, head
from ..support.commands import started
from ..support.loops import on_both_loops
from ..support.uploading import CONTENT, OLD, file_part, form_of_files, locked, post_body, put, tree, uploader
from ..support.wire import finals, split


class TestRace:
    @staticmethod
    @on_both_loops
    async def test_one_wins(folder: Path) -> None:
        """Of ten uploads of one name exactly one gets it, and its content is no mixture."""
        contents = [bytes([number]) * MIB for number in range(10)]
        async with running(uploader(folder), access_log=False) as server, httpx.AsyncClient() as client:
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
        async with running(uploader(folder, overwrite=overwrite), access_log=False) as server:
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
        async with running(uploader(folder, overwrite=True), access_log=False) as server, connected(server) as client:
            await client.send(head("PUT", "/old", "Expect: 100-continue", "Content-Length: 1", field))
            assert (await client.answer()).status == 100
            with locked(folder):
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
        look = PartialFile._write

        def write(self: PartialFile, data: bytes) -> None:
            look(self, data)
            modes.update(path.stat().st_mode & 0o7777 for path in folder.iterdir() if path.is_file())

        monkeypatch.setattr(PartialFile, "_write", write)
        assert (await answer_to(uploader(folder, overwrite=True), put("/old"))).status == 204
        assert (modes, tree(folder)) == ({mode}, {"old": CONTENT})

    @pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
    async def test_without_links(self, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        """A file system that has none: a name is taken by one all the same."""

        def link(*arguments: Any, **keywords: Any) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(receiving, "os", SimpleNamespace(**{**vars(os), "link": link}))
        async with running(uploader(folder), access_log=False) as server, httpx.AsyncClient() as client:
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
            monkeypatch.setattr(PartialFile, name, self.telling(getattr(PartialFile, name), event, loop))

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
HALF_FORM = post_body("/", file_part("a", bytes(MIB)) + b"--b--")[: MIB // 2]


class TestNothingIsLeft:
    @staticmethod
    @pytest.mark.parametrize("data", [HALF, HALF_FORM], ids=["raw", "form"])
    @pytest.mark.parametrize("end", ["send_eof", "reset", "close"])
    @on_both_loops
    async def test_a_client_that_dies(folder: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, end: str) -> None:
        watch = Watch(monkeypatch)
        async with running(uploader(folder), access_log=False) as server, connected(server) as client:
            await client.send(data)
            await watch.written.wait()
            [temporary] = [name for name in os.listdir(folder) if is_temporary(name)]
            for path in ("/", f"/{temporary}"):
                for handler in (uploader(folder), uploader(folder, show_hidden=True)):
                    answer = await answer_to(handler, get(path, "Accept: application/json"))
                    assert temporary.encode() not in answer.body and answer.status == (200 if path == "/" else 404)
            getattr(client, end)()
            await watch.discarded.wait()
            assert sorted(os.listdir(folder)) == ["old", "sub"]

    @staticmethod
    @on_both_loops
    async def test_a_client_that_sends_no_more(folder: Path) -> None:
        async with running(uploader(folder), access_log=False, timeout_body=0.1) as server, connected(server) as client:
            await client.send(HALF)
            assert (await client.answer()).status == 408
            assert tree(folder) == OLD

    @staticmethod
    @on_both_loops
    async def test_the_server_stops(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        watch = Watch(monkeypatch)
        async with running(uploader(folder), access_log=False) as server, connected(server) as client:
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
        async with running(uploader(folder), access_log=False) as server, connected(server) as client:
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
            async with PartialFile(opened, "a", UploadLimits()) as file:
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
    @pytest.mark.parametrize("data", [put("/a"), form_of_files(("a", CONTENT))], ids=["raw", "form"])
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
        response = await answer_to(uploader(folder, overwrite=True), data)
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
        response = await answer_to(uploader(folder), data)
        assert (response.status, tree(folder)) == (507, OLD)

    async def test_too_large(self, folder: Path) -> None:
        app = uploader(folder, max_upload=MIB)
        chunked = head("PUT", "/a", "Transfer-Encoding: chunked") + chunk(bytes(MIB + 1))
        for data in (chunked, put("/a", bytes(MIB + 1)), form_of_files(("a", bytes(MIB)))):
            assert ((await answer_to(app, data)).status, tree(folder)) == (413, OLD)
        assert (await answer_to(app, put("/a", bytes(MIB)))).status == 201
        # What limits other bodies does not count.
        [response] = finals(await exchange(uploader(folder), put("/b"), config=aiohttpd.Config(limit_body=1)))
        assert response.status == 201

    @pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
    async def test_a_folder_that_cannot_be_written_to(self, folder: Path) -> None:
        (folder / "sub").chmod(0o555)
        assert (await answer_to(uploader(folder), put("/sub/a"))).status == 403


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
    begin, end = file_part("form", b"").removesuffix(b"\r\n"), b"\r\n--b--\r\n"
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
            request = post_body("/", body).replace(
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
        return await exchange(uploader(folder), head("PUT", "/old", "Expect: 100-continue", "Content-Length: 9"))

    assert [response.status for response in split(asyncio.run(run()))] == [409]
