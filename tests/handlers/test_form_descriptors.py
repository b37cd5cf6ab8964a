"""Files of a form that are on the disk share one descriptor, and are files of their own all the same."""

import asyncio
import errno
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aiohttpd.handlers.forms.read as reading
from aiohttpd import BaseHTTPRequestHandler, Config, HTTPError, UploadedFile
from aiohttpd.handlers.forms import FormData, read_form
from aiohttpd.handlers.forms.uploads import Spool
from aiohttpd.testing import exchange, running
from aiohttpd.wire.headers import Headers
from aiohttpd.wire.request import Body

from ..support.forming import FORM_LIMITS, PROC, unnamed_files
from ..support.waiting import until
from ..support.wire import split

MIB = 1024 * 1024
KIND = "multipart/form-data; boundary=XX"
END = b"--XX--\r\n"

pytestmark = PROC


def part_of_file(name: str, content: bytes) -> bytes:
    return (
        f'--XX\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n\r\n'.encode() + content + b"\r\n"
    )


def head_of_form(size: int) -> bytes:
    return f"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: {KIND}\r\nContent-Length: {size}\r\n\r\n".encode()


@pytest.fixture
async def before() -> Any:
    """What is open at first, and again at the end."""
    found = unnamed_files()
    yield found
    await until(lambda: unnamed_files() == found)


class Whole:
    """A body that is there."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def read(self, n: int = -1) -> bytes:
        data, self._content = self._content[:n], self._content[n:]
        return data


async def form_of(*contents: bytes) -> tuple[FormData, list[UploadedFile]]:
    body = b"".join(part_of_file(f"f{number}", content) for number, content in enumerate(contents)) + END
    form = await read_form(Headers(f"\nContent-Type: {KIND}\r\n"), cast(Body, Whole(body)), FORM_LIMITS)
    return form, [cast(UploadedFile, file) for _, file in form.pairs()]


LARGE = [bytes([n]) * MIB for n in range(16)]
SMALL = [b"%02d" % (n % 100) for n in range(980)]


async def test_the_attack(before: int) -> None:
    """16 files of 1 MiB, then 980 of 2 bytes, then silence; four times."""
    handlers = []

    class Taker(BaseHTTPRequestHandler):
        async def do_POST(self) -> None:
            handlers.append(self)
            await self.form()

    body = b"".join(part_of_file(f"f{n}", content) for n, content in enumerate([*LARGE, *SMALL]))
    async with running(Taker, access_log=False) as server:
        host, port = server.url.removeprefix("http://").rstrip("/").split(":")
        writers = []
        for _ in range(4):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(head_of_form(len(body) + 1000) + body)
            await writer.drain()
            writers.append(writer)
        await until(lambda: len(handlers) == 4 and all(h.rfile.taken >= len(body) for h in handlers), 30)
        assert before + 1 <= unnamed_files() <= before + 4
        for writer in writers:
            writer.transport.abort()
        await until(lambda: unnamed_files() == before)


async def test_a_form_of_a_thousand_files(before: int, tmp_path: Path) -> None:
    form, files = await form_of(*LARGE, *SMALL)
    assert unnamed_files() == before + 1
    assert [file.in_memory for file in files] == [True] * 16 + [False] * 980
    assert [await file.read() for file in files] == [*LARGE, *SMALL]
    for file in files[:20]:
        await file.save_to(tmp_path)
    for number, content in enumerate([*LARGE, *SMALL][:20]):
        assert (tmp_path / f"f{number}").read_bytes() == content
    form.close()
    await until(lambda: unnamed_files() == before)


@pytest.fixture
def nothing_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_IN_MEMORY", 0)


@pytest.mark.usefixtures("nothing_in_memory")
async def test_each_has_its_own_position(before: int, tmp_path: Path) -> None:
    form, (one, two, none) = await form_of(b"abcdef", b"uvwxyz", b"")
    assert (await one.read(2), await two.read(3), await one.read(2), await two.read()) == (b"ab", b"uvw", b"cd", b"xyz")
    assert (await one.read(), await one.read(), await one.read(1)) == (b"ef", b"", b"")
    assert (await one.seek(-2, os.SEEK_END), await one.read()) == (4, b"ef")  # and nothing of the next one
    assert (await two.seek(1), await two.seek(2, os.SEEK_CUR), await two.read(1)) == (1, 3, b"x")
    assert (await two.seek(100), await two.read()) == (100, b"")
    for whence, offset in ((os.SEEK_SET, -1), (os.SEEK_END, -7), (9, 0)):
        with pytest.raises(ValueError, match="position|whence"):
            await two.seek(offset, whence)
    await two.seek(1)
    await two.save_to(tmp_path / "two")
    assert ((tmp_path / "two").read_bytes(), await two.read(1)) == (b"uvwxyz", b"v")  # it is where it was
    assert (await none.read(), none.in_memory, none.size) == (b"", True, 0)
    form.close()
    await until(lambda: unnamed_files() == before)


@pytest.mark.usefixtures("nothing_in_memory")
async def test_many_at_a_time(before: int, tmp_path: Path) -> None:
    contents = [bytes([n]) * (300_000 + n) for n in range(8)]
    form, files = await form_of(*contents)

    async def use(number: int) -> None:
        file = files[number]
        for _ in range(5):
            saved, read = await asyncio.gather(file.save_to(tmp_path / str(number)), file.read())
            assert (saved, read, await file.seek(0)) == (None, contents[number], 0)
            assert (tmp_path / str(number)).read_bytes() == contents[number]

    await asyncio.gather(*map(use, range(8)))
    parts = await asyncio.gather(*(files[0].read(1000) for _ in range(20)))
    assert b"".join(parts) == contents[0][:20_000]
    form.close()


@pytest.mark.usefixtures("nothing_in_memory")
async def test_closing_one_leaves_the_others(before: int) -> None:
    form, files = await form_of(b"one", b"two", b"three")
    files[0].close()
    files[0].close()
    files[2].close()
    with pytest.raises(ValueError, match="closed file"):
        await files[0].read()
    assert await files[1].read() == b"two"
    assert unnamed_files() == before + 1
    form.close()
    form.close()
    await until(lambda: unnamed_files() == before)


@pytest.mark.usefixtures("nothing_in_memory")
async def test_what_is_read_while_it_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody gets half of a file for the whole."""
    form, [file] = await form_of(b"x" * MIB)
    begun, go_on = threading.Event(), threading.Event()
    read = Spool.read

    def wait(self: Spool, start: int, size: int) -> bytes:
        begun.set()
        assert go_on.wait(10)
        return read(self, start, size)

    monkeypatch.setattr(Spool, "read", wait)
    tasks = [asyncio.create_task(file.read()), asyncio.create_task(file.save_to(tmp_path / "file"))]
    assert await asyncio.to_thread(begun.wait, 10)
    closed = unnamed_files()
    form.close()
    await until(lambda: unnamed_files() == closed - 1)
    go_on.set()
    for task in tasks:
        with pytest.raises(ValueError, match="as long as its request"):
            await task
    assert not (tmp_path / "file").exists()


class Failing:
    """A temporary file whose disk is full after some bytes."""

    room = 0

    def __init__(self) -> None:
        self._file: BinaryIO = make()

    def write(self, data: bytes) -> int:
        Failing.room -= len(data)
        if Failing.room < 0:
            raise OSError(errno.ENOSPC, "full")
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


make: Callable[[], Any] = tempfile.TemporaryFile


@pytest.mark.usefixtures("nothing_in_memory")
async def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", Failing)
    for room in (0, 3, 8):
        Failing.room = room
        with pytest.raises(HTTPError, match="507"):
            await form_of(b"one", b"two", b"three")
        await until(lambda: unnamed_files() == before)
    Failing.room = 11
    form, files = await form_of(b"one", b"two", b"three")
    assert [await file.read() for file in files] == [b"one", b"two", b"three"]
    form.close()


@pytest.mark.usefixtures("nothing_in_memory")
async def test_no_descriptors_left(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    def none() -> None:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    with pytest.raises(HTTPError, match="503"):
        await form_of(b"one", b"two")


@pytest.mark.usefixtures("nothing_in_memory")
@pytest.mark.parametrize("number", [0, 1, 2])
async def test_cancelled_in_a_write(monkeypatch: pytest.MonkeyPatch, before: int, number: int) -> None:
    """The thread that writes may come before the end of the request or after it; nothing stays open."""
    append = Spool.append
    calls = 0
    begun, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def slow(self: Spool, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls <= number:
            return append(self, data)
        begun.set()
        assert go_on.wait(10)
        try:
            return append(self, data)
        finally:
            done.set()

    monkeypatch.setattr(Spool, "append", slow)
    task = asyncio.create_task(form_of(b"one", b"two", b"three"))
    assert await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: unnamed_files() == before)
    go_on.set()
    assert await asyncio.to_thread(done.wait, 10)
    await until(lambda: unnamed_files() == before)  # another thread closes it


async def test_a_file_of_its_own(before: int) -> None:
    """As tests of handlers make it, without a form."""
    file = UploadedFile("a", "text/plain", {})
    for _ in range(3):
        await file.append(b"x" * 300_000, 100)
    await file.complete()
    assert (file.in_memory, file.size, await file.read()) == (False, 900_000, b"x" * 900_000)
    file.close()


def test_closing_without_a_loop() -> None:
    before = unnamed_files()

    async def make_one() -> UploadedFile:
        file = UploadedFile("a", "text/plain", {})
        await file.append(b"x" * 10, 1)
        await file.complete()
        return file

    file = asyncio.run(make_one())
    assert unnamed_files() == before + 1
    file.close()
    assert unnamed_files() == before


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), max_size=6),
    memory=st.integers(0, 60),
    steps=st.lists(st.tuples(st.integers(0, 5), st.integers(-3, 50), st.booleans()), max_size=12),
)
def test_as_files_in_memory(sizes: list[int], memory: int, steps: list[tuple[int, int, bool]]) -> None:
    """Whatever is read of which, and wherever it is: the same as if each was in memory."""
    contents = [bytes([65 + n]) * size for n, size in enumerate(sizes)]

    async def check() -> list[Any]:
        form, files = await form_of(*contents)
        found: list[Any] = []
        for number, n, seeks in steps:
            if number < len(files):
                file = files[number]
                found.append(await file.seek(abs(n)) if seeks else await file.read(n))
        form.close()
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_IN_MEMORY", memory)
        found = asyncio.run(check())
    assert found == asyncio.run(check())


async def test_what_a_handler_sees(before: int) -> None:
    """Over a connection: all of it, and nothing is open afterwards."""

    class Taker(BaseHTTPRequestHandler):
        async def do_POST(self) -> None:
            form = await self.form()
            assert unnamed_files() == before + 1
            total = 0
            for _, file in form.pairs():
                total += len(await cast(UploadedFile, file).read())
            self.send_text(str(total))

    body = b"".join(part_of_file(f"f{n}", content) for n, content in enumerate([*LARGE, b"x" * MIB, *SMALL])) + END
    [answer] = split(await exchange(Taker, head_of_form(len(body)) + body, config=Config(access_log=False)))
    assert answer.body == str(17 * MIB + 2 * 980).encode()
    await until(lambda: unnamed_files() == before)


@pytest.fixture(autouse=True)
def no_warnings(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    """No file is left to the garbage collector."""
    yield
    assert not [warning for warning in recwarn if issubclass(warning.category, ResourceWarning)]
