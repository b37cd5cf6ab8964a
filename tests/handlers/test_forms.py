"""Forms, JSON, text, queries and cookies: what handlers take, what is refused, and where files are meanwhile."""

import asyncio
import contextlib
import errno
import gzip
import json
import os
import threading
import time
import tracemalloc
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import aiohttpd.forms.uploads as uploads
from aiohttpd import App, BaseHTTPRequestHandler, Config, ContractError, FormData, HTTPError, UploadedFile
from aiohttpd.forms import FormLimits, MultiMap, decode, read_form
from aiohttpd.json_text import dumps, loads
from aiohttpd.testing import exchange
from aiohttpd.wire.headers import Headers
from aiohttpd.wire.request import Body

from ..support.clients import MIB, connected, ended, get, head
from ..support.fronts import running
from ..support.loops import on_both_loops
from ..support.places import DATA
from ..support.waiting import until
from ..support.wire import Response, split

CASES: list[dict[str, Any]] = [json.loads(line) for line in (DATA / "multipart_cases.jsonl").read_text().splitlines()]
QUIET = Config(access_log=False)
URL_ENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"
PROC = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted as Linux shows them")


class Taker(BaseHTTPRequestHandler):
    """Errors are told by their reason alone."""

    error_message_format = "%(explain)s"
    error_content_type = "text/plain"


async def told(value: str | UploadedFile) -> Any:
    if isinstance(value, str):
        return value
    content = await value.read()
    assert len(content) == value.size
    return {
        "filename": value.filename,
        "type": value.content_type,
        "safe": value.safe_filename,
        "content": content.decode("latin-1"),
    }


class Teller(Taker):
    """Tells the form back."""

    async def do_POST(self) -> None:
        form = await self.form()
        self.send_json([[name, await told(value)] for name, value in form.pairs()])


def handler(do_post: Callable[[Any], Any], **attributes: Any) -> type[Taker]:
    return type("Handler", (Taker,), {"do_POST": do_post, **attributes})


def taking(method: str, **attributes: Any) -> type[Taker]:
    """Tells back what a method has read."""

    async def do_post(self: Taker) -> None:
        value = await getattr(self, method)()
        self.send_json(value) if method == "json" else self.send_text(str(value))

    return handler(do_post, **attributes)


def post(body: bytes = b"", kind: str = MULTIPART, *fields: str, length: int | None = None) -> bytes:
    kinds = [f"Content-Type: {kind}"] if kind else []
    size = len(body) if length is None else length
    lines = ["POST / HTTP/1.1", "Host: a", *kinds, f"Content-Length: {size}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


async def ask(app: App, *requests: bytes) -> Response:
    """The last answer, of as many as there are requests."""
    found = split(await exchange(app, requests, config=QUIET))
    assert len(found) == len(requests)
    return found[-1]


def part(name: str, content: bytes = b"v", filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"'
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


END = b"--XX--\r\n"


def upload(size: int) -> bytes:
    return part("f", bytes(size), "file.bin") + END


# The cases.


def judge(case: dict[str, Any], status: int, form: Any, reason: str) -> None:
    if "form" not in case:
        assert (status, form) == (case["status"], None)
        assert case["reason"] in reason
        return
    assert status == 200, reason
    assert len(form) == len(case["form"])
    for (name, value), (expected_name, expected) in zip(form, case["form"], strict=True):
        assert name == expected_name
        if isinstance(expected, dict):
            assert {key: value[key] for key in expected} == expected
        else:
            assert value == expected


async def read(*pieces: bytes, kind: str = MULTIPART, limits: FormLimits | None = None) -> FormData:
    """The form in a body that arrives in pieces."""
    return await read_form(Headers(f"\nContent-Type: {kind}\r\n"), cast(Body, Cut(*pieces)), limits or FormLimits())


async def cancelled_while(begun: threading.Event) -> None:
    """Cancel the reading of a large file when a thread is at it."""
    reading = asyncio.create_task(read(upload(2 * MIB)))
    await asyncio.to_thread(begun.wait, 5)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


class Cut:
    """A body as it arrives in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]

    async def read(self, n: int = -1) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._pieces:
            yield self._pieces.pop(0)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
class TestCase:
    async def check(self, case: dict[str, Any], cut: Callable[[bytes], list[bytes]]) -> None:
        app = type("Limited", (Teller,), case.get("limits", {}))
        body = case["body"].encode("latin-1")
        start = post(b"", case.get("type", MULTIPART), length=len(body))
        pieces = [start, *cut(body), get("/after")]
        answer, *more = split(await exchange(app, pieces, config=QUIET))
        form = json.loads(answer.body) if answer.status == 200 else None
        judge(case, answer.status, form, answer.body.decode())
        # The body was short, so the connection is of use afterwards, whatever was in it; Teller has no GET.
        assert [after.status for after in more] == [501]

    async def test_whole_and_byte_by_byte(self, case: dict[str, Any]) -> None:
        await self.check(case, lambda body: [body])
        await self.check(case, lambda body: [body[at : at + 1] for at in range(len(body))])

    async def test_cut_at_each_offset(self, case: dict[str, Any]) -> None:
        limits = {name.removeprefix("max_").removeprefix("form_"): n for name, n in case.get("limits", {}).items()}
        if limits.pop("body_size", None) is not None:
            return  # it is not the form's
        body = case["body"].encode("latin-1")
        for at in range(1, len(body) or 2):
            status, form, reason = 200, None, ""
            try:
                found = await read(body[:at], body[at:], kind=case.get("type", MULTIPART), limits=FormLimits(**limits))
                form = [[name, await told(value)] for name, value in found.pairs()]
                found.close()
            except HTTPError as error:
                status, reason = error.status, str(error.explain)
            judge(case, status, form, reason)


# Against the encoder of httpx.

# It percent-encodes all controls and doubles backslashes, which browsers do not.
NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="\\%", exclude_categories=("Cc", "Cs"))
    | st.sampled_from('\r\n"; ='),
    max_size=30,
)
FIELDS = st.dictionaries(NAMES, st.lists(st.text(max_size=50), max_size=3), max_size=4)
FILES = st.lists(st.tuples(NAMES, st.tuples(NAMES.filter(bool), st.binary(max_size=200))), max_size=3)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(fields=FIELDS, files=FILES, size=st.integers(1, 400))
def test_httpx_is_understood(fields: dict[str, list[str]], files: Any, size: int) -> None:
    files = files or [("last", ("name", b""))]  # without any it is no multipart
    request = httpx.Request("POST", "http://a/", data=fields, files=files)
    body = request.read()
    raw = b"".join(b"%b: %b\r\n" % field for field in request.headers.raw)
    cut = [body[at : at + size] for at in range(0, len(body), size)]
    answer = asyncio.run(ask_in_pieces(Teller, [b"POST / HTTP/1.1\r\n" + raw + b"\r\n", *cut]))
    assert answer.status == 200, answer.body
    found = [
        (name, value if isinstance(value, str) else (value["filename"], value["content"].encode("latin-1")))
        for name, value in json.loads(answer.body)
    ]
    assert found == [(name, value) for name, values in fields.items() for value in values] + files


async def ask_in_pieces(app: App, pieces: list[bytes]) -> Response:
    [answer] = split(await exchange(app, pieces, config=QUIET))
    return answer


@settings(max_examples=40, deadline=None)
@given(fields=FIELDS)
def test_httpx_url_encoded_is_understood(fields: dict[str, list[str]]) -> None:
    body = httpx.Request("POST", "http://a/", data=fields).read()
    answer = asyncio.run(ask(Teller, post(body, URL_ENCODED)))
    assert [tuple(pair) for pair in json.loads(answer.body)] == [(n, v) for n, vs in fields.items() for v in vs]


PIECES = [b"--XX", b"--", b"\r\n", b"\r", b"\n", b": ", b"a", b"\r\n\r\n", b"; filename=", *part("n").splitlines()[1:2]]


@settings(max_examples=80, deadline=None)
@given(body=st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join), at=st.integers(0, 200))
def test_a_cut_changes_nothing(body: bytes, at: int) -> None:
    body = b"--XX\r\n" + body + b"\r\n--XX--"

    async def outcome(*pieces: bytes) -> Any:
        try:
            return [[name, await told(value)] for name, value in (await read(*pieces)).pairs()]
        except HTTPError as error:
            return error.status

    assert asyncio.run(outcome(body)) == asyncio.run(outcome(body[:at], body[at:]))


# The life of a connection that carries forms.


@on_both_loops
async def test_a_connection_is_of_use_after_forms() -> None:
    async with running(Teller) as server, connected(server) as client:
        for size in (10, 3 * MIB):
            await client.send(post(upload(size)))
            answer = await client.answer()
            assert (answer.status, answer["Connection"]) == (200, None)
        await client.send(post(b"a=1", URL_ENCODED))
        assert (await client.answer()).body == b'[["a","1"]]'


@on_both_loops
async def test_an_epilogue_is_read() -> None:
    async with running(Teller) as server, connected(server) as client:
        await client.send(post(part("a") + END + bytes(MIB)), post(part("b") + END))
        assert [(await client.answer()).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("size", [1000, 4 * MIB], ids=["short", "long"])
@pytest.mark.parametrize("limits", [{"max_file_size": 100}, {"max_field_size": 100}], ids=str)
@on_both_loops
async def test_a_refusal_keeps_a_connection_if_little_is_unread(limits: dict[str, int], size: int) -> None:
    name = "x" if "max_file_size" in limits else None
    async with running(type("Limited", (Teller,), limits)) as server, connected(server) as client:
        body = part("f", bytes(size), name) + END
        await client.send(post(length=len(body)), body[:1000])
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (413, None if size == 1000 else "close")
        await client.send(body[1000:5000])
        if size == 1000:
            assert (await client.ask()).status == 501
        else:
            assert await ended(client)


@pytest.mark.parametrize("kind", [MULTIPART, URL_ENCODED])
@on_both_loops
async def test_continue_is_sent_when_the_form_is_read(kind: str) -> None:
    seen = []
    read = asyncio.Event()

    async def do_post(self: Taker) -> None:
        seen.append("handler")
        await read.wait()
        form = await self.form()
        self.send_text(cast(str, form["a"]))

    body = part("a") + END if kind == MULTIPART else b"a=v"
    async with running(handler(do_post)) as server, connected(server) as client:
        await client.send(post(b"", kind, "Expect: 100-continue", length=len(body)))
        await until(lambda: seen)
        assert not client.reader._buffer  # type: ignore[attr-defined]
        read.set()
        assert (await client.answer()).status == 100
        await client.send(body)
        assert (await client.answer()).body == b"v"


@on_both_loops
async def test_no_continue_for_what_is_no_form() -> None:
    async with running(Teller) as server, connected(server) as client:
        await client.send(post(b"", "text/plain", "Expect: 100-continue", length=10))
        answer = await client.answer()
        assert (answer.status, answer["Connection"]) == (415, "close")
        assert "multipart/form-data" in (answer["Accept-Post"] or "")
        assert await ended(client)


@on_both_loops
async def test_a_chunked_form_that_is_cut_is_an_error() -> None:
    """Its last boundary has come, the end of the body has not."""
    data = part("a") + END
    fields = (f"Content-Type: {MULTIPART}", "Transfer-Encoding: chunked")
    async with running(Teller) as server, connected(server) as client:
        await client.send(head("POST", "/", *fields), b"%x\r\n%b\r\n" % (len(data), data))
        client.send_eof()
        assert (await client.answer()).status == 400


# Files.


def deleted_files() -> int:
    """How many files are open that have no name."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing
            count += os.readlink(f"/proc/self/fd/{name}").endswith("(deleted)")
    return count


@pytest.fixture
def nothing_stays_open() -> Iterator[int]:
    before = deleted_files()
    yield before
    deadline = time.monotonic() + 2
    while deleted_files() != before and time.monotonic() < deadline:  # a thread may be about to close one
        time.sleep(0.005)
    assert deleted_files() == before


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
        seen.extend((deleted_files() - nothing_stays_open, file))
        self.send_text("ok")

    assert (await ask(handler(do_post), post(part("f", content, "x") + END))).body == b"ok"
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
    assert (await ask(handler(do_post), post(upload(3 * MIB)))).status == 200
    assert threads
    assert threading.get_ident() not in threads


@PROC
async def test_all_files_together_spool_past_16_mib(nothing_stays_open: int) -> None:
    """However many there are, with a body of any size."""
    seen: list[int] = []

    async def do_post(self: Taker) -> None:
        form = await self.form()
        seen.append(deleted_files() - nothing_stays_open)
        assert [await cast(UploadedFile, file).read() for _, file in form.pairs()] == contents
        self.send_text("ok")

    contents = [b"", *(bytes([n]) * MIB for n in range(18)), b"small", b""]
    body = b"".join(part("f", content, "x") for content in contents) + END
    assert (await ask(handler(do_post), post(body))).body == b"ok"
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
        assert deleted_files() == nothing_stays_open + 1
        raise KeyError("mine")

    body = part("a", bytes(2 * MIB), "a") + part("b", bytes(2 * MIB), "b") + END
    assert (await ask(handler(do_post), post(body))).status == 500
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

    body = upload(4 * MIB)
    cancels = how == "cancel" or where == "after it"
    async with running(handler(do_post, cancel_on_disconnect=cancels)) as server, connected(server) as client:
        await client.send(post(length=len(body)), body if where == "after it" else body[: 3 * MIB])
        if where == "after it":
            await begun.wait()
        await until(lambda: deleted_files() > nothing_stays_open)
        client.close() if how == "close" else client.reset()
        await ending.wait()
        await until(lambda: deleted_files() == nothing_stays_open)


@PROC
@pytest.mark.parametrize("error", [400, 413])
async def test_files_are_deleted_after_a_refusal(error: int, nothing_stays_open: int) -> None:
    body = part("a", bytes(2 * MIB), "a") + part("b", bytes(2 * MIB + 1), "b")
    app = type("Limited", (Teller,), {"max_file_size": 2 * MIB}) if error == 413 else Teller
    assert (await ask(app, post(body))).status == error


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
    answer = await ask(Teller, post(upload(2 * MIB)))
    assert (answer.status, answer.body) == (507, b"there is no room on the disk for the files of the form")


@pytest.mark.parametrize(("number", "status"), [(errno.EDQUOT, 507), (errno.EMFILE, 503), (errno.EIO, 500)])
async def test_an_error_of_the_disk(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, status: int
) -> None:
    import tempfile

    def fail() -> BinaryIO:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", fail)
    assert (await ask(Teller, post(upload(2 * MIB)))).status == status
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
    assert (await ask(handler(do_post), post(body))).body == b"ok"
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


@settings(max_examples=200, deadline=None)
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
    assert (await ask(handler(do_post), post(body))).body == b"ok"


# The mapping.


def test_form_data() -> None:
    file, none = UploadedFile("a", "", {}), UploadedFile("", "", {})
    form = FormData([("a", "1"), ("f", file), ("a", "2"), ("n", none)])
    assert (form["a"], form.get("a"), form.get("x"), form.get("x", "y")) == ("1", "1", None, "y")
    assert (form.getall("a"), form.getall("x"), form.getall("x", None)) == (["1", "2"], [], None)
    assert (list(form), len(form), "a" in form, "x" in form) == (["a", "f", "n"], 3, True, False)
    assert list(form.items()) == [("a", "1"), ("f", file), ("n", none)]
    assert form.pairs() == [("a", "1"), ("f", file), ("a", "2"), ("n", none)]
    assert (form.text("a"), form.text("f"), form.text("x", "y")) == ("1", "", "y")
    assert [form.file(name) for name in ("f", "n", "a", "x")] == [file, None, None, None]
    with pytest.raises(KeyError):
        form["x"]
    assert MultiMap([("a", "1"), ("a", "2")]) != MultiMap([("a", "1")])
    assert MultiMap([("a", "1")]) == MultiMap([("a", "1")]) == {"a": "1"}


# Part by part.


def parts_body(count: int = 3, size: int = 200_000) -> bytes:
    return b"".join(part(f"f{n}", bytes([65 + n]) * size, f"n{n}") for n in range(count)) + END


@pytest.mark.parametrize("read", ["all", "some", "none", "mixed"])
async def test_parts(read: str) -> None:
    seen: list[tuple[str, str | None, bytes]] = []

    async def do_post(self: Taker) -> None:
        async for number, item in enumerated(self.parts()):
            how = ("none", "some", "all")[number] if read == "mixed" else read
            content = await item.read() if how == "all" else await item.read_some() if how == "some" else b""
            seen.append((item.name, item.filename, content))
            if how == "all":
                assert (await item.read(), item.size) == (b"", len(content))
        self.send_text("ok")

    assert (await ask(handler(do_post), post(parts_body()))).body == b"ok"
    assert [(name, filename) for name, filename, _ in seen] == [("f0", "n0"), ("f1", "n1"), ("f2", "n2")]
    for number, (_, _, content) in enumerate(seen):
        how = ("none", "some", "all")[number] if read == "mixed" else read
        assert set(content) <= {65 + number}
        assert {"all": len(content) == 200_000, "some": 0 < len(content) < 200_000, "none": not content}[how]


async def enumerated(items: AsyncIterator[Any]) -> AsyncIterator[tuple[int, Any]]:
    number = 0
    async for item in items:
        yield number, item
        number += 1


@pytest.mark.parametrize("size", [1000, MIB])
@on_both_loops
async def test_parts_abandoned(size: int) -> None:
    async def do_post(self: Taker) -> None:
        async for item in self.parts():
            async for _ in item:
                break
            break
        self.send_text("ok")

    async with running(handler(do_post)) as server, connected(server) as client:
        body = parts_body(2, size)
        await client.send(post(length=len(body)), body[:500])
        answer = await client.answer()
        assert (answer.body, answer["Connection"]) == (b"ok", None if size == 1000 else "close")
        await client.send(body[500:])
        if size == 1000:
            assert (await client.ask()).status == 501
        else:
            assert await ended(client)


async def test_a_part_is_read_before_the_next(caplog: pytest.LogCaptureFixture) -> None:
    async def do_post(self: Taker) -> None:
        first, second = [item async for item in self.parts()]
        assert await second.read(0) == b""  # it is empty, so nothing of it was skipped
        await first.read()

    assert (await ask(handler(do_post), post(part("a") + part("b", b"") + END))).status == 500
    assert "the part 'a' was skipped" in str(caplog.records[-1].exc_info)
    caplog.clear()


@pytest.mark.parametrize("limit", ["max_file_size", "max_field_size", "max_form_parts"])
async def test_an_error_of_parts_stays(limit: str) -> None:
    async def do_post(self: Taker) -> None:
        parts = self.parts()
        for _ in range(3):
            with pytest.raises(HTTPError) as caught:
                async for _ in parts:
                    pass
            assert caught.value.status == 413
        self.send_text("ok")

    body = part("a", bytes(10)) + part("b", bytes(10), "x") + END
    assert (await ask(handler(do_post, **{limit: 1}), post(body))).body == b"ok"


async def test_a_part_has_a_limit_of_its_reader() -> None:
    async def do_post(self: Taker) -> None:
        async for item in self.parts():
            await item.read(9)

    answer = await ask(handler(do_post), post(part("a", bytes(10), "x") + END))
    assert (answer.status, answer.body) == (413, b"'a' is larger than 9 bytes")


@on_both_loops
async def test_a_slow_reader_of_parts_pauses_the_client() -> None:
    bodies: list[Any] = []
    go_on = asyncio.Event()

    async def do_post(self: Taker) -> None:
        bodies.append(self.request.body)
        size = 0
        async for item in self.parts():
            async for data in item:
                await go_on.wait()
                size += len(data)
        self.send_text(str(size))

    async with running(handler(do_post)) as server, connected(server) as client, connected(server) as other:
        sending = asyncio.create_task(client.send(post(upload(20 * MIB))))
        await until(lambda: bodies and bodies[0].received)
        for _ in range(20):
            await other.ask()
        assert bodies[0].received < MIB  # the rest waits with the client
        go_on.set()
        assert (await client.answer()).body == str(20 * MIB).encode()
        await sending


async def test_100_000_tiny_parts() -> None:
    body = part("a") * 100_000 + END

    async def do_post(self: Taker) -> None:
        form = await self.form()
        assert form.getall("a") == ["v"] * 100_000
        self.send_text("ok")

    assert (await ask(Teller, post(body))).status == 413
    assert (await ask(handler(do_post, max_form_parts=100_000), post(body))).body == b"ok"


@pytest.mark.parametrize("first", ["nothing", "body"])
async def test_tiny_parts_leave_turns_to_others(first: str) -> None:
    """All of them are there at once, so nothing else would let the loop go on."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def do_post(self: Taker) -> None:
        if first == "body":
            await self.body()
        before = turns
        await self.form()
        self.send_text(str(turns - before))

    counting = asyncio.create_task(count())
    try:
        answer = await ask(handler(do_post), post(part("a") * 900 + END))
    finally:
        counting.cancel()
    assert int(answer.body) >= 900 // 32


@on_both_loops
async def test_the_memory_of_an_upload() -> None:
    block = bytes(MIB)

    async def do_post(self: Taker) -> None:
        file = (await self.form()).file("f")
        assert file is not None
        self.send_text(str(file.size))

    async with running(handler(do_post), limit_body=65 * MIB) as server, connected(server) as client:
        start, end = part("f", b"", "big")[:-2], b"\r\n" + END
        tracemalloc.start()
        try:
            await client.send(post(length=len(start) + 64 * MIB + len(end)), start)
            for _ in range(64):
                await client.send(block)
            await client.send(end)
            assert (await client.answer()).body == str(64 * MIB).encode()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 16 * MIB


# A body is read once.


@pytest.mark.parametrize("kind", [MULTIPART, URL_ENCODED])
async def test_what_can_be_read_again(kind: str) -> None:
    data = part("a") + END if kind == MULTIPART else b"a=v"

    async def do_post(self: Taker) -> None:
        if self.path == "/":
            content = await self.body()  # to check a signature, say
            assert content == await self.body() == data
            assert await self.text() == data.decode()
        form = await self.form()
        assert form["a"] == "v"
        assert await self.form() is form
        if self.path == "/" and kind == MULTIPART:
            assert [await item.read() async for item in self.parts()] == [b"v"]
        self.send_text("ok")

    for path in (b"/", b"/form"):
        request = post(data, kind).replace(b" / ", b" %b " % path, 1)
        assert (await ask(handler(do_post), request)).body == b"ok"


FIRST = {
    "form()": lambda self: self.form(),
    "body()": lambda self: self.body(),
    "parts()": lambda self: anext(self.parts()),
    "rfile": lambda self: self.rfile.read(5),
}


@pytest.mark.parametrize("second", ["form()", "parts()", "body()"])
@pytest.mark.parametrize("first", ["form()", "parts()", "rfile"])
async def test_what_cannot_be_read_again(first: str, second: str) -> None:
    async def do_post(self: Taker) -> None:
        await FIRST[first](self)
        if first == second == "form()":
            await self.form()
        else:
            with pytest.raises(ContractError, match=rf"{second[:-2]}\(\) after .*{first.rstrip('()')}"):
                await FIRST[second](self)
        self.send_text("ok")

    assert (await ask(handler(do_post), post(part("a") + END))).body == b"ok"


async def test_another_try_after_415() -> None:
    async def do_post(self: Taker) -> None:
        with pytest.raises(HTTPError, match="415"):
            await self.form()
        self.send_json(await self.json())

    assert (await ask(handler(do_post), post(b"[1]", "application/json"))).body == b"[1]"


# URL-encoded forms and queries.


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        ("", []),
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("a&b=&=c&&=", [("a", ""), ("b", ""), ("", "c"), ("", "")]),
        ("a+b=c+d%2B%26%3D", [("a b", "c d+&=")]),
        ("a=b=c;d", [("a", "b=c;d")]),
        ("%zz=%", [("%zz", "%")]),
        ("n=%C3%BC%E2%82%AC", [("n", "ü€")]),
        ("n=%00%0D%0A", [("n", "\0\r\n")]),
    ],
)
async def test_url_encoded(body: str, pairs: list[tuple[str, str]]) -> None:
    async def do_get(self: Taker) -> None:
        assert self.query.pairs() == pairs
        assert self.query is self.query
        self.send_text("ok")

    answer = await ask(Teller, post(body.encode(), URL_ENCODED + ";charset=UTF-8"))
    assert [tuple(pair) for pair in json.loads(answer.body)] == pairs
    assert (await ask(type("Query", (Taker,), {"do_GET": do_get}), get(f"/?{body}"))).body == b"ok"


@pytest.mark.parametrize(
    ("body", "limits", "status", "reason"),
    [
        (b"a=%FF", {}, 400, "not in UTF-8"),
        (b"a=\xff", {}, 400, "not in UTF-8"),
        (b"&" * 999, {}, 200, ""),
        (b"&" * 1000, {}, 413, "more than 1000 fields"),
        (b"&" * 16_000_000, {}, 413, "more than 1000 fields"),
        (b"a=12345", {"max_field_size": 5}, 200, ""),
        (b"a=123456", {"max_field_size": 5}, 413, "the field 'a' is larger than 5 bytes"),
        ("a=€€".encode(), {"max_field_size": 5}, 413, "the field 'a' is larger than 5 bytes"),
        (b"abcdef=", {"max_field_size": 5}, 413, "the field 'abcdef' is larger than 5 bytes"),
        (b"a=" + b"%41" * 100_000, {"max_field_size": 100_000}, 200, ""),
        (b"a=" + b"%41" * 5_000_000, {}, 413, "the field 'a' is larger than 1048576 bytes"),
        (b"a=1&b=2", {"max_fields_size": 7}, 200, ""),
        (b"a=1&b=2", {"max_fields_size": 6}, 413, "the fields are larger than 6 bytes together"),
        (b"x" * 70_000, {"max_field_size": 5}, 413, "the field 'xxx"),
    ],
    ids=range(14),
)
async def test_limits_of_url_encoded(body: bytes, limits: dict[str, int], status: int, reason: str) -> None:
    answer = await ask(type("Limited", (Teller,), limits), post(body, URL_ENCODED))
    assert answer.status == status
    assert len(answer.body) < 500 or status == 200
    if reason:
        assert reason in answer.body.decode()


@pytest.mark.parametrize("query", ["a=%FF", "&" * 1000], ids=["utf8", "fields"])
async def test_a_query_that_is_refused(query: str) -> None:
    async def do_get(self: Taker) -> None:
        self.send_text(str(self.query))

    assert (await ask(type("Query", (Taker,), {"do_GET": do_get}), get(f"/?{query}"))).status == 400


class Looker(Taker):
    async def do_GET(self) -> None:
        assert all(isinstance(text, str) for pair in self.query.pairs() for text in pair)
        assert all(isinstance(text, str) for pair in self.cookies.items() for text in pair)
        self.send_json(self.cookies)


@settings(max_examples=80, deadline=None)
@given(
    query=st.text(st.sampled_from("ab&=%;+?/0Fé\xff\xc3"), max_size=40),
    cookie=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
    | st.text('ab=;" ,\t\\', max_size=40),
)
def test_queries_and_cookies_of_any_kind(query: str, cookie: str) -> None:
    request = f"GET /?{query} HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n".encode("latin-1")
    assert asyncio.run(ask(Looker, request)).status in (200, 400)


@pytest.mark.parametrize(
    ("fields", "cookies"),
    [
        ([], {}),
        (["a=1; b=2"], {"a": "1", "b": "2"}),
        (["a=1;b=2", "c=3"], {"a": "1", "b": "2", "c": "3"}),
        (["a=1; a=2"], {"a": "1"}),
        (['a="q d"; b="; c='], {"a": "q d", "b": '"', "c": ""}),
        (["nonsense; =x; ; a=b=c"], {"a": "b=c"}),
    ],
)
async def test_cookies(fields: list[str], cookies: dict[str, str]) -> None:
    answer = await ask(Looker, get("/", *(f"Cookie: {field}" for field in fields)))
    assert json.loads(answer.body) == cookies


# Text and JSON.


@pytest.mark.parametrize(
    ("kind", "body", "status", "text"),
    [
        ("text/plain", "ü€".encode(), 200, "ü€"),
        ("", "ü".encode(), 200, "ü"),
        ("text/plain; charset=ISO-8859-1", b"\xfc", 200, "ü"),
        ('text/plain; charset="windows-1252"', b"\x80", 200, "€"),
        ("text/plain", b"ab\xfc", 400, "the text is not in utf-8: byte 2"),
        ("text/plain; charset=klingon", b"a", 415, "the charset klingon is not known"),
        ("text/plain; charset=base64", b"YQ==", 415, "the charset base64 is not known"),
        ("text/plain; charset=idna", b"xn--a", 415, "the charset idna is not known"),
        ("text/plain; charset=undefined", b"a", 415, "the charset undefined is not known"),
        ("text/plain; charset=" + "x" * 9999, b"a", 415, "is not known"),
        ("text/plain; charset=\xfc", b"a", 415, "is not known"),
    ],
    ids=range(11),
)
async def test_text(kind: str, body: bytes, status: int, text: str) -> None:
    answer = await ask(taking("text"), post(body, kind))
    assert answer.status == status
    assert text in answer.body.decode() and len(answer.body) < 200


def test_every_charset_is_one_of_python() -> None:
    from aiohttpd.forms.reading import _CHARSETS

    assert {decode(b"", charset) for charset in _CHARSETS} == {""}
    with pytest.raises(LookupError):
        decode(b"", "rot13")


@pytest.mark.parametrize(
    ("kind", "body", "status", "text"),
    [
        ("application/json", b' {"a": [1, 2.5, null, true, "\\u00fc"]}\n', 200, '{"a":[1,2.5,null,true,"ü"]}'),
        ("application/problem+json; charset=utf-8", '"ü"'.encode(), 200, '"ü"'),
        ("", b"1", 200, "1"),
        ("application/json", b'"\\ud800"', 200, '"\\ud800"'),
        ("text/plain", b"1", 415, "application/json is wanted"),
        (URL_ENCODED, b"1", 415, "application/json is wanted"),
        ("application/json", b"", 400, "malformed JSON: Expecting value: line 1 column 1 (char 0)"),
        ("application/json", b"{", 400, "malformed JSON: Expecting property name"),
        ("application/json", b"1 2", 400, "malformed JSON: Extra data"),
        ("application/json", b"[NaN]", 400, "NaN is no JSON"),
        ("application/json", b"-Infinity", 400, "-Infinity is no JSON"),
        ("application/json", b'"\xff"', 400, "it is not in UTF-8: byte 1"),
        ("application/json", b"\xef\xbb\xbf1", 400, "it begins with a byte order mark"),
        ("application/json", b"[" * 200_000, 400, "malformed JSON"),
        ("application/json", b"1" * 5000, 400, "malformed JSON"),
        ("application/json", '"a"'.encode("utf-16"), 400, "it is not in UTF-8"),
        ("application/json", b'"a\nb"', 400, "Invalid control character"),
    ],
    ids=range(17),
)
async def test_json(kind: str, body: bytes, status: int, text: str) -> None:
    answer = await ask(taking("json"), post(body, kind))
    assert answer.status == status
    assert text in answer.body.decode()


@pytest.mark.parametrize(
    ("method", "kind"),
    [("json", "application/json"), ("text", "text/plain"), ("form", URL_ENCODED), ("form", MULTIPART)],
)
async def test_what_is_encoded(method: str, kind: str) -> None:
    """What is told is not that it is malformed."""
    packed = gzip.compress(b"1")
    answer = await ask(taking(method), post(packed, kind, "Content-Encoding: gzip"))
    assert (answer.status, answer["Accept-Encoding"]) == (415, "identity")
    body = part("a") + END if kind == MULTIPART else b"1"
    assert (await ask(taking(method), post(body, kind, "Content-Encoding: Identity"))).status == 200


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50, deadline=None)
@given(VALUES)
@example("\ud800")
def test_json_comes_back(value: Any) -> None:
    assert loads(dumps(value)) == value == json.loads(dumps(value))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"], ids=repr)
def test_what_json_has_not(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        dumps(value)


@pytest.mark.parametrize("method", ["body", "text", "json", "form"])
async def test_bodies_that_end_early_or_are_too_large(method: str) -> None:
    kind = URL_ENCODED if method == "form" else "application/json"
    app = taking(method, max_body_size=10)
    assert (await ask(app, post(b"1234", kind, length=5))).status == 400
    answer = await ask(app, post(b"12345678901", kind))
    assert (answer.status, answer.body) == (413, b"the body is larger than 10 bytes")


async def test_a_field_that_is_missing() -> None:
    """It is the client's fault, unless the handler catches it."""

    class Handler(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            assert self.query.get("none") is None
            with pytest.raises(KeyError):
                self.query["none"]
            self.send_text(self.query["a"])

    for target, status in (("/?a=1", 200), ("/?b=1", 400)):
        answer = await exchange(Handler, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer.startswith(f"HTTP/1.1 {status}".encode())
    assert b"the field 'a' is missing" in answer
