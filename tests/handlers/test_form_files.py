"""Files of a form: where they are meanwhile, and that nothing of them stays."""

import asyncio
import errno
import os
import threading
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import aiohttpd.handlers.forms.uploads as uploads
from aiohttpd import UploadedFile
from aiohttpd.testing import running

from ..support.asking import answer_to
from ..support.clients import MIB, connected
from ..support.examples import examples
from ..support.forming import END, PROC, Taker, Teller, form_of_size, parse, part, post_form, taker, unnamed_files
from ..support.loops import on_both_loops
from ..support.waiting import block_until, until


async def cancelled_while(begun: threading.Event) -> None:
    """Cancel the reading of a large file when a thread is at it."""
    reading = asyncio.create_task(parse(form_of_size(2 * MIB)))
    await asyncio.to_thread(begun.wait, 5)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


# Files.


@pytest.fixture
def nothing_stays_open() -> Iterator[int]:
    before = unnamed_files()
    yield before
    block_until(lambda: unnamed_files() == before, 2)  # a thread may be about to close one


@PROC
@pytest.mark.parametrize("more", [-1, 0, 1])
async def test_a_file_spools_past_1_mib(more: int, nothing_stays_open: int, tmp_path: Path) -> None:
    content = os.urandom(MIB + more)
    seen: list[Any] = []

    async def do_post(self: Taker) -> None:
        file = (await self.form()).file("f")
        assert file is not None
        assert (file.size, await file.read(), await file.read()) == (MIB + more, content, b"")
        assert (await file.seek(-3, os.SEEK_END), await file.read(2)) == (MIB + more - 3, content[-3:-1])
        assert await file.seek(0) == 0
        assert await file.read(5) == content[:5]
        seen.extend((unnamed_files() - nothing_stays_open, file))
        self.send_text("ok")

    assert (await answer_to(taker(do_post), post_form(part("f", content, "x") + END))).body == b"ok"
    assert seen[0] == (more > 0)
    for call in (seen[1].read(), seen[1].seek(0), seen[1].save_to(tmp_path)):
        with pytest.raises(ValueError, match="closed file"):
            await call


async def test_the_disk_is_touched_in_threads_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import tempfile

    threads: set[int] = set()
    make = tempfile.TemporaryFile

    class Watched:
        def __init__(self) -> None:
            threads.add(threading.get_ident())
            self._file = make()

        def __getattr__(self, name: str) -> Any:
            threads.add(threading.get_ident())
            return getattr(self._file, name)

    async def do_post(self: Taker) -> None:
        file = (await self.form()).file("f")
        assert file is not None
        await file.read(10)
        await file.seek(3)
        await file.save_to(tmp_path)
        self.send_text("ok")

    monkeypatch.setattr(tempfile, "TemporaryFile", Watched)
    assert (await answer_to(taker(do_post), post_form(form_of_size(3 * MIB)))).status == 200
    assert threads
    assert threading.get_ident() not in threads


@PROC
async def test_all_files_together_spool_past_16_mib(nothing_stays_open: int) -> None:
    """However many there are, with a body of any size."""
    seen: list[int] = []

    async def do_post(self: Taker) -> None:
        form = await self.form()
        seen.append(unnamed_files() - nothing_stays_open)
        assert [await cast(UploadedFile, file).read() for _, file in form.pairs()] == contents
        self.send_text("ok")

    contents = [b"", *(bytes([n]) * MIB for n in range(18)), b"small", b""]
    body = b"".join(part("f", content, "x") for content in contents) + END
    assert (await answer_to(taker(do_post), post_form(body))).body == b"ok"
    assert seen == [1]  # they share it


async def test_a_slow_disk_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is being written is closed when that is done, and nobody waits for it."""
    import tempfile

    make = tempfile.TemporaryFile
    writing, go_on, closed = threading.Event(), threading.Event(), threading.Event()
    lock = threading.Lock()  # as buffered files have one

    class Slow:
        def __init__(self) -> None:
            self._file = make()

        def write(self, data: bytes) -> int:
            with lock:
                writing.set()
                go_on.wait(5)
                return self._file.write(data)

        def flush(self) -> None: ...

        def close(self) -> None:
            with lock:
                self._file.close()
                closed.set()

    monkeypatch.setattr(tempfile, "TemporaryFile", Slow)
    await cancelled_while(writing)
    assert not closed.is_set()  # and the loop goes on all the same
    go_on.set()
    assert await asyncio.to_thread(closed.wait, 5)


@PROC
async def test_files_are_deleted_after_an_exception(nothing_stays_open: int, caplog: pytest.LogCaptureFixture) -> None:
    async def do_post(self: Taker) -> None:
        await self.form()
        assert unnamed_files() == nothing_stays_open + 1
        raise KeyError("mine")

    body = part("a", bytes(2 * MIB), "a") + part("b", bytes(2 * MIB), "b") + END
    assert (await answer_to(taker(do_post), post_form(body))).status == 500
    caplog.clear()


@PROC
@pytest.mark.parametrize("where", ["in the form", "after it"])
@pytest.mark.parametrize("how", ["reset", "close", "cancel"])
@on_both_loops
async def test_files_are_deleted_if_the_client_goes(how: str, where: str, nothing_stays_open: int) -> None:
    ending = asyncio.Event()
    begun = asyncio.Event()

    async def do_post(self: Taker) -> None:
        try:
            await self.form()
            begun.set()
            await asyncio.Event().wait()
        finally:
            ending.set()

    body = form_of_size(4 * MIB)
    cancels = how == "cancel" or where == "after it"
    async with running(taker(do_post, cancel_on_disconnect=cancels)) as server, connected(server) as client:
        await client.send(post_form(length=len(body)), body if where == "after it" else body[: 3 * MIB])
        if where == "after it":
            await begun.wait()
        await until(lambda: unnamed_files() > nothing_stays_open)
        client.close() if how == "close" else client.reset()
        await ending.wait()
        await until(lambda: unnamed_files() == nothing_stays_open)


@PROC
@pytest.mark.parametrize("error", [400, 413])
async def test_files_are_deleted_after_a_refusal(error: int, nothing_stays_open: int) -> None:
    body = part("a", bytes(2 * MIB), "a") + part("b", bytes(2 * MIB + 1), "b")
    app = type("Limited", (Teller,), {"max_file_size": 2 * MIB}) if error == 413 else Teller
    assert (await answer_to(app, post_form(body))).status == error


@PROC
async def test_a_thread_that_writes_still_when_all_is_over(
    monkeypatch: pytest.MonkeyPatch, nothing_stays_open: int
) -> None:
    import tempfile

    make = tempfile.TemporaryFile
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Any:
        begun.set()
        go_on.wait(5)
        return make()

    monkeypatch.setattr(tempfile, "TemporaryFile", slow)
    await cancelled_while(begun)
    go_on.set()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is full, as Linux has it")
async def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "w+b", buffering=4 * MIB))  # noqa: SIM115
    answer = await answer_to(Teller, post_form(form_of_size(2 * MIB)))
    assert (answer.status, answer.body) == (507, b"there is no room on the disk for the files of the form")


@pytest.mark.parametrize(("number", "status"), [(errno.EDQUOT, 507), (errno.EMFILE, 503), (errno.EIO, 500)])
async def test_an_error_of_the_disk(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, status: int
) -> None:
    import tempfile

    def fail() -> BinaryIO:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    assert (await answer_to(Teller, post_form(form_of_size(2 * MIB)))).status == status
    assert len(caplog.get_records("call")) == (status == 500)
    caplog.clear()


@pytest.mark.parametrize("size", [10, 2 * MIB])
async def test_save_to(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)

    async def do_post(self: Taker) -> None:
        file = (await self.form()).file("f")
        assert file is not None
        await file.read(4)
        (tmp_path / "over").write_text("x" * 3 * MIB)
        for target in (tmp_path / "over", str(tmp_path / "new"), tmp_path):
            await file.save_to(target)
        assert await file.read(2) == content[4:6]  # it is where it was
        with pytest.raises(FileNotFoundError):
            await file.save_to(tmp_path / "none" / "file")
        self.send_text("ok")

    body = part("f", content, "..\\..\\.a/../b:c.txt") + END
    assert (await answer_to(taker(do_post), post_form(body))).body == b"ok"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(
        ("over", "new", "b_c.txt"), content
    )


async def test_a_copy_that_fails_is_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: BinaryIO, target: BinaryIO, length: int) -> None:
        target.write(b"half")
        raise OSError(errno.ENOSPC, "full")

    file = UploadedFile("a", "text/plain", {})
    await file.append(b"content")
    await file.complete()
    monkeypatch.setattr(uploads.shutil, "copyfileobj", fail)
    with pytest.raises(OSError, match="full"):
        await file.save_to(tmp_path)
    assert not list(tmp_path.iterdir())
    assert await file.read() == b"content"


DEVICES = {"con", "prn", "aux", "nul", *(f"{name}{n}" for name in ("com", "lpt") for n in range(10))}


@examples(400)
@given(name=st.text(max_size=400) | st.text("./\\ \0\u202e:a\ud800é", max_size=600) | st.sampled_from(sorted(DEVICES)))
@example(name="x" * 10 + "con." + "y" * 250)
@example(name="a" + "." * 254 + "b")
@example(name=". . /. .")
@example(name="nul .txt")
@example(name="é" * 200 + ".tar.gz")
def test_safe_filename(name: str) -> None:
    safe = UploadedFile(name, "", {}).safe_filename
    assert safe not in ("", ".", "..")
    assert 0 < len(safe.encode()) <= 255
    assert not set(safe) & set('/\\<>:"|?*')
    assert not [sign for sign in safe if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert safe[0] != "." and safe == safe.strip() and safe[-1] != "."
    assert safe.split(".")[0].strip().lower() not in DEVICES
    assert UploadedFile(safe, "", {}).safe_filename == safe


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("naïve €.txt", "naïve €.txt"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\cv.pdf", "cv.pdf"),
        ("..", "file"),
        ("folder/", "file"),
        ("", "file"),
        (".htaccess", "htaccess"),
        ("a\0b\r\n.txt", "a_b__.txt"),
        ("CON.txt", "_CON.txt"),
        ("x" * 300 + ".png", "x" * 250 + ".png"),
    ],
)
def test_safe_filename_of(name: str, safe: str) -> None:
    assert UploadedFile(name, "", {}).safe_filename == safe


async def test_fields_of_a_file() -> None:
    async def do_post(self: Taker) -> None:
        file = (await self.form()).file("f")
        assert file is not None
        assert (file.headers["x-mine"], file.headers["None"], file.headers.get_all("X-MINE")) == ("ü", None, ["ü", "2"])
        assert repr(file) == "<UploadedFile 'a', 1 bytes>"
        self.send_text("ok")

    body = part("f", b"v", "a").replace(b"\r\n\r\n", "\r\nX-Mine: ü\r\nX-Mine: 2\r\n\r\n".encode()) + END
    assert (await answer_to(taker(do_post), post_form(body))).body == b"ok"
