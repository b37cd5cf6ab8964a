"""What a handler gives in one call: text, pages, JSON, redirects, files, cookies."""

import asyncio
import contextlib
import json
import os
import re
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import pytest
import trustme

import aiohttpd.files.store as store
import aiohttpd.files.tree as tree
from aiohttpd import BaseHTTPRequestHandler, Config, ContractError, HTTPError, SimpleHTTPRequestHandler
from aiohttpd.clock import parse_http_date
from aiohttpd.connection import HTTPConnection
from aiohttpd.files.answering import attachment
from aiohttpd.interfaces import App
from aiohttpd.service import Service
from aiohttpd.testing import MemoryTransport, exchange, running

from .test_connection_life import connected, expect_logged, get, head, on_both_loops
from .wire import Response, split

QUIET = Config(access_log=False)
KIB = 1024

Body = Callable[[Any], Awaitable[None]]


def handling(body: Body, *bases: type, **attributes: Any) -> type[BaseHTTPRequestHandler]:
    """A handler class whose GET and POST run a coroutine function."""
    made = type("Handler", (*bases, BaseHTTPRequestHandler), {"do_GET": body, "do_POST": body, **attributes})
    assert issubclass(made, BaseHTTPRequestHandler)
    return made


def calling(name: str, *args: Any, **kwargs: Any) -> Body:
    """A ``do_GET`` of one call, awaited if it is to be."""

    async def body(self: Any) -> None:
        result = getattr(self, name)(*args, **kwargs)
        if result is not None:
            await result

    return body


async def ask(body: Body | App, request: bytes = get(), method: str = "GET") -> Response:
    """The answer to one request, from memory."""
    app: Any = body if isinstance(body, type) else handling(cast(Body, body))
    [answer] = split(await exchange(app, request, config=QUIET), [method])
    assert answer.complete
    return answer


def all_of(answer: Response, name: str) -> list[str]:
    return [value for key, value in answer.fields if key.lower() == name.lower()]


async def writes(app: App, request: bytes) -> list[bytes]:
    """The pieces that are handed to the transport for one request."""
    pieces = []

    class Transport(MemoryTransport):
        def write(self, data: bytes | bytearray | memoryview) -> None:
            pieces.append(bytes(data))
            super().write(data)

    loop = asyncio.get_running_loop()
    service = Service(app, QUIET, loop)
    transport = Transport(loop)
    transport.connect(HTTPConnection(service))
    transport.feed(request)
    transport.feed_eof()
    await transport.closed.wait()
    service.deadlines.close()
    return pieces


# Text, pages, JSON.


class TestText:
    @pytest.mark.parametrize(
        ("name", "value", "kind", "content"),
        [
            ("send_text", "näïve\n", "text/plain; charset=utf-8", "näïve\n".encode()),
            ("send_html", "<p>☃", "text/html; charset=utf-8", "<p>☃".encode()),
            ("send_json", {"a": [1, None, "ä"]}, "application/json", '{"a":[1,null,"ä"]}'.encode()),
        ],
    )
    async def test_type_and_length(self, name: str, value: Any, kind: str, content: bytes) -> None:
        answer = await ask(calling(name, value))
        assert (answer.status, answer.body, answer["Content-Type"]) == (200, content, kind)
        assert answer["Content-Length"] == str(len(content))
        assert [field for field, _ in answer.fields] == ["Server", "Date", "Content-Type", "Content-Length"]

    @pytest.mark.parametrize("size", [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 120 * KIB])
    async def test_one_write(self, size: int) -> None:
        [piece] = await writes(handling(calling("send_text", "a" * size)), get())
        [answer] = split(piece)
        assert (answer["Content-Length"], len(answer.body)) == (str(size), size)

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    async def test_large(self, version: str) -> None:
        """Above 128 KiB it is handed over in slices, so that a slow client is noticed."""
        answer = await ask(calling("send_text", "a" * 1_000_000), get(version=version))
        assert (answer["Content-Length"], len(answer.body)) == ("1000000", 1_000_000)
        assert answer["Transfer-Encoding"] is None

    @pytest.mark.parametrize("name", ["do_GET", "do_HEAD"])
    @pytest.mark.parametrize("size", [0, 5, 300_000])
    async def test_head(self, name: str, size: int) -> None:
        handler = type("Handler", (BaseHTTPRequestHandler,), {name: calling("send_text", "a" * size)})
        [piece] = await writes(handler, head("HEAD"))
        [answer] = split(piece, ["HEAD"])
        assert (answer["Content-Length"], answer["Content-Type"]) == (str(size), "text/plain; charset=utf-8")

    @pytest.mark.parametrize("status", [201, 400, 404, 422, 500, 503])
    async def test_status(self, status: int) -> None:
        for name in ("send_text", "send_html", "send_json"):
            answer = await ask(calling(name, "x", status))
            assert answer.status == status

    @pytest.mark.parametrize("status", [204, 205, 304])
    @pytest.mark.parametrize("text", ["", "text"])
    async def test_status_without_content(self, status: int, text: str) -> None:
        answers = split(await exchange(handling(calling("send_text", text, status)), [get(), get()], config=QUIET))
        assert [(answer.status, answer.body) for answer in answers] == [(status, b"")] * 2
        assert [answer["Content-Length"] for answer in answers] == ["0" if status == 205 else None] * 2

    async def test_twice(self, caplog: pytest.LogCaptureFixture) -> None:
        async def body(self: Any) -> None:
            self.send_text("one")
            self.send_text("two")

        answer = await ask(body)
        assert answer.status == 500
        assert b"one" not in answer.body
        expect_logged(caplog, "one request, one answer")

    async def test_lone_surrogates(self) -> None:
        """They come from names of files, and from JSON: nobody is to break a page by them."""
        assert (await ask(calling("send_text", "a\udcffb\ud800"))).body == b"a?b?"
        assert (await ask(calling("send_html", "a\udcffb"))).body == b"a?b"
        assert json.loads((await ask(calling("send_json", ["\ud800"]))).body) == ["\ud800"]

    async def test_what_is_no_text(self, caplog: pytest.LogCaptureFixture) -> None:
        assert (await ask(calling("send_text", b"bytes"))).status == 500
        expect_logged(caplog, "encode")

    async def test_after_the_answer(self) -> None:
        """What follows does not hold it back, and cannot change it."""

        async def body(self: Any) -> None:
            self.send_text("done")
            self.wfile.write(b" and more")
            await asyncio.sleep(0)

        answer = await ask(body)
        assert (answer.body, answer["Content-Length"]) == (b"done and more", "13")

    async def test_an_error_after_it(self, caplog: pytest.LogCaptureFixture) -> None:
        async def body(self: Any) -> None:
            self.send_text("done")
            raise LookupError("too late?")

        assert (await ask(body)).status == 500  # nothing had left
        expect_logged(caplog, "too late?")


class TestJSON:
    @pytest.mark.parametrize(
        "value",
        [None, True, 0, -1, 2**64, 10**400, 1e308, 0.1, "", '\u2028\0"\\', [], {}, {"": {"ä": [[]]}}, ["\U0001f600"]],
    )
    async def test_round_trip(self, value: Any) -> None:
        assert json.loads((await ask(calling("send_json", value))).body) == value

    async def test_keys(self) -> None:
        assert (await ask(calling("send_json", {1: 2, None: 3, False: 4}))).body == b'{"1":2,"null":3,"false":4}'

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (float("nan"), "Out of range float"),
            ([float("inf")], "Out of range float"),
            ({"at": datetime(2000, 1, 1)}, "datetime is not JSON serializable"),
            ({"a"}, "set is not JSON serializable"),
            (b"bytes", "bytes is not JSON serializable"),
            ({(1, 2): 3}, "keys must be"),
            (10**5000, "Exceeds the limit"),
        ],
        ids=["nan", "inf", "datetime", "set", "bytes", "tuple", "long"],
    )
    async def test_no_json(self, value: Any, error: str, caplog: pytest.LogCaptureFixture) -> None:
        answer = await ask(calling("send_json", value))
        assert (answer.status, answer["Content-Type"]) == (500, "text/html;charset=utf-8")
        expect_logged(caplog, error)

    async def test_circles(self, caplog: pytest.LogCaptureFixture) -> None:
        circle: list[Any] = []
        circle.append(circle)
        assert (await ask(calling("send_json", circle))).status == 500
        expect_logged(caplog, "holds itself")

    async def test_depth(self, caplog: pytest.LogCaptureFixture) -> None:
        deep: list[Any] = []
        for _ in range(200_000):
            deep = [deep]
        assert (await ask(calling("send_json", deep))).status == 500
        expect_logged(caplog, "nested too deeply")
        while deep:
            [deep] = deep

    async def test_an_error_can_be_caught(self) -> None:
        """Nothing of the answer has been begun."""

        async def body(self: Any) -> None:
            try:
                self.send_json(float("nan"))
            except ValueError as error:
                self.send_json({"error": str(error)}, 422)

        assert (await ask(body)).status == 422


# What a class overrides.


class CORS:
    def end_headers(self: Any) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()  # type: ignore[misc]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files that are old enough for all to hold."""
    monkeypatch.setattr(tree, "_SETTLED", -1)
    (tmp_path / "a.txt").write_bytes(b"0123456789")
    (tmp_path / "empty.bin").write_bytes(b"")
    (tmp_path / "large.bin").write_bytes(bytes(range(250)) * 4000)
    (tmp_path / "within").mkdir()
    return tmp_path


class TestOverrides:
    @pytest.mark.parametrize("call", ["text", "json", "redirect", "file", "error", "events"])
    async def test_a_mixin(self, call: str, folder: Path) -> None:
        async def body(self: Any) -> None:
            if call == "text":
                self.send_text("x")
            elif call == "json":
                self.send_json("x")
            elif call == "redirect":
                self.redirect("/")
            elif call == "file":
                await self.send_file(folder / "a.txt")
            elif call == "error":
                self.send_error(404)
            else:
                async with self.event_stream() as events:
                    await events.send("x")

        answer = await ask(handling(body, CORS))
        assert answer["Access-Control-Allow-Origin"] == "*"

    async def test_send_response_and_send_header(self, folder: Path) -> None:
        seen: list[Any] = []

        class Watching(BaseHTTPRequestHandler):
            def send_response(self, code: int, message: str | None = None) -> None:
                seen.append(code)
                super().send_response(code, message)
                self.send_header("X-Own", "1")

            def send_header(self, keyword: str, value: str | int) -> None:
                seen.append(keyword.lower())
                super().send_header(keyword, value)

            async def do_GET(self) -> None:
                if self.path == "/text":
                    self.send_text("x", 201)
                elif self.path == "/redirect":
                    self.redirect("/", 308)
                else:
                    await self.send_file(folder / "a.txt", download_as="b.txt")

        answer = await ask(Watching, get("/text"))
        assert (answer["X-Own"], seen) == ("1", [201, "x-own", "content-type"])
        seen.clear()
        answer = await ask(Watching, get("/redirect"))
        assert (answer["X-Own"], seen) == ("1", [308, "x-own", "location", "content-length"])
        seen.clear()
        answer = await ask(Watching, get("/file"))
        assert answer["X-Own"] == "1"
        assert {"etag", "last-modified", "content-disposition", "content-length"} < set(seen)

    async def test_the_file_server_gives_them_too(self, folder: Path) -> None:
        class Files(SimpleHTTPRequestHandler):
            directory = str(folder)
            extra_response_headers = (("X-Own", "1"),)

            async def do_POST(self) -> None:
                await self.send_file(folder / "a.txt")

        answer = await ask(Files, head("POST"))
        assert (answer.status, answer.body, answer["X-Own"]) == (200, b"0123456789", "1")


# Redirects.


class TestRedirect:
    @pytest.mark.parametrize(
        ("location", "sent"),
        [
            ("/", "/"),
            ("", ""),
            ("?a=b&c=d;e", "?a=b&c=d;e"),
            ("../up#part", "../up#part"),
            ("https://user@host:1/a(b)*'!$,~-._+@=?q=[1]#f", "https://user@host:1/a(b)*'!$,~-._+@=?q=[1]#f"),
            ("http://[::1]:80/", "http://[::1]:80/"),
            ("/näïve ☃", "/n%C3%A4%C3%AFve%20%E2%98%83"),
            ("/a%20b%2Fc%e4", "/a%20b%2Fc%e4"),
            ("/100%", "/100%25"),
            ("/100% %4x %%41", "/100%25%20%254x%20%25%41"),
            ("/a\r\nSet-Cookie: b=c", "/a%0D%0ASet-Cookie:%20b=c"),
            ("/a\n\n<script>", "/a%0A%0A%3Cscript%3E"),
            ("/a\0\t\x7f\x85\u2028", "/a%00%09%7F%C2%85%E2%80%A8"),
            ("/\\evil.example", "/%5Cevil.example"),
            ('/"`{|}^<>', "/%22%60%7B%7C%7D%5E%3C%3E"),
            ("/\udcff", "/%FF"),  # of a name that is no UTF-8
        ],
    )
    async def test_location(self, location: str, sent: str) -> None:
        raw = await exchange(handling(calling("redirect", location)), get(), config=QUIET)
        [answer] = split(raw)
        assert answer["Location"] == sent
        assert (answer.status, answer["Content-Length"], answer.body) == (302, "0", b"")
        assert [name for name, _ in answer.fields] == ["Server", "Date", "Location", "Content-Length"]

    @pytest.mark.parametrize(("method", "status"), [("GET", 302), ("HEAD", 302), ("POST", 303), ("DELETE", 303)])
    async def test_status_by_method(self, method: str, status: int) -> None:
        handler = handling(calling("redirect", "/"), do_DELETE=calling("redirect", "/"))
        assert (await ask(handler, head(method), method)).status == status

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_given_status(self, status: int) -> None:
        for method in ("GET", "POST"):
            assert (await ask(calling("redirect", "/", status), head(method))).status == status

    async def test_one_write(self) -> None:
        assert len(await writes(handling(calling("redirect", "/")), get())) == 1

    async def test_what_is_no_text_begins_no_answer(self) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(ValueError, match="surrogates"):
                self.redirect("/\ud800")
            self.send_text("well")

        assert (await ask(body)).body == b"well"


# Files.


class TestFile:
    async def test_whole(self, folder: Path) -> None:
        for path in (folder / "a.txt", str(folder / "a.txt"), os.fsencode(folder / "a.txt")):
            answer = await ask(calling("send_file", path))
            assert (answer.status, answer.body, answer["Content-type"]) == (200, b"0123456789", "text/plain")
            assert (answer["Content-Length"], answer["Accept-Ranges"]) == ("10", "bytes")
            assert re.fullmatch(r'"[0-9a-f-]+"', answer["ETag"] or "")
            assert answer["Content-Disposition"] is None

    async def test_one_write(self, folder: Path) -> None:
        for name in ("a.txt", "empty.bin"):
            [piece] = await writes(handling(calling("send_file", folder / name)), get())
            assert split(piece)[0].body == (folder / name).read_bytes()

    async def test_head(self, folder: Path) -> None:
        """By do_GET, and by a do_HEAD of its own."""
        body = calling("send_file", folder / "a.txt", download_as="b.txt")
        first = await ask(body)
        for app in (handling(body), handling(body, do_HEAD=body)):
            second = await ask(app, head("HEAD", "/", "Range: bytes=1-2"), "HEAD")
            assert (second.status, second["Content-Length"]) == (200, "10")
            assert [name for name, _ in second.fields] == [name for name, _ in first.fields]

    async def test_head_of_a_large_file(self, folder: Path) -> None:
        [piece] = await writes(handling(calling("send_file", folder / "large.bin")), head("HEAD"))
        assert split(piece, ["HEAD"])[0]["Content-Length"] == "1000000"

    @pytest.mark.parametrize("name", ["a.txt", "large.bin"])
    async def test_conditions_and_ranges(self, folder: Path, name: str) -> None:
        content = (folder / name).read_bytes()
        app = handling(calling("send_file", folder / name, download_as="b.txt"))
        whole = await ask(app)
        etag, size = whole["ETag"], len(content)

        same = await ask(app, get("/", f"If-None-Match: {etag}"))
        assert (same.status, same.body, same["ETag"], same["Content-type"]) == (304, b"", etag, None)
        assert (await ask(app, get("/", f"If-Modified-Since: {whole['Last-Modified']}"))).status == 304
        assert (await ask(app, get("/", 'If-None-Match: "other"'))).body == content

        part = await ask(app, get("/", "Range: bytes=2-4", f"If-Range: {etag}"))
        assert (part.status, part.body) == (206, content[2:5])
        assert part["Content-Range"] == f"bytes 2-4/{size}"
        assert part["Content-Disposition"] == 'attachment; filename="b.txt"'
        assert (await ask(app, get("/", "Range: bytes=-3"))).body == content[-3:]
        assert (await ask(app, get("/", "Range: bytes=2-4", 'If-Range: "other"'))).body == content

        parts = await ask(app, get("/", "Range: bytes=0-1,5-6"))
        assert parts.status == 206
        assert (parts["Content-type"] or "").startswith("multipart/byteranges; boundary=")
        assert parts["Content-Disposition"] == 'attachment; filename="b.txt"'
        assert b"\r\n\r\n" + content[5:7] + b"\r\n" in parts.body

        for request, status in (
            (get("/", "Range: bytes=1000000-"), 416),
            (get("/", 'If-Match: "other"'), 412),
            (get("/", "If-Unmodified-Since: Mon, 01 Jan 2001 00:00:00 GMT"), 412),
        ):
            answer = await ask(app, request)
            assert answer.status == status
            assert answer["Content-Disposition"] is None  # it is a page, and not the file
        assert (await ask(app, get("/", "Range: bytes=1000000-")))["Content-Range"] == f"bytes */{size}"

    async def test_post(self, folder: Path) -> None:
        """Ranges are for GET."""
        answer = await ask(calling("send_file", folder / "a.txt"), head("POST", "/", "Range: bytes=1-2"))
        assert (answer.status, answer.body) == (200, b"0123456789")

    @pytest.mark.parametrize("name", ["none", "within", "within/", "a.txt/", "a.txt/b", "", ".", "a\0.txt", "fifo"])
    async def test_no_file(self, folder: Path, name: str) -> None:
        os.mkfifo(folder / "fifo")
        answer = await ask(calling("send_file", f"{folder}/{name}", download_as="b.txt"))
        assert (answer.status, answer["Content-Disposition"]) == (404, None)
        assert str(folder).encode() not in answer.body

    async def test_no_file_can_be_caught(self, folder: Path) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(HTTPError, match="404"):
                await self.send_file(folder / "none")
            await self.send_file(folder / "a.txt")

        assert (await ask(body)).body == b"0123456789"

    async def test_a_relative_path(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "within" / "a.txt").write_text("within")
        app = handling(calling("send_file", "a.txt"))
        for at, content in ((folder, b"0123456789"), (folder / "within", b"within"), (folder, b"0123456789")):
            monkeypatch.chdir(at)
            assert (await ask(app)).body == content

    async def test_no_current_directory(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder / "within")
        (folder / "within").rmdir()
        assert (await ask(calling("send_file", "a.txt"))).status == 404
        assert (await ask(calling("send_file", folder / "a.txt"))).status == 200

    async def test_links_and_dotfiles(self, folder: Path) -> None:
        """The path is the program's, so all is served that it names."""
        (folder / ".hidden").write_text("hidden")
        (folder / "link").symlink_to(folder / ".hidden")
        for name in (".hidden", "link", "within/../link"):
            assert (await ask(calling("send_file", folder / name))).body == b"hidden"

    async def test_two_types_of_one_file(self, folder: Path) -> None:
        kinds = ["text/csv", "application/x-own; a=b", "text/html", None, "text/csv"]
        for kind in kinds:
            answer = await ask(calling("send_file", folder / "a.txt", content_type=kind))
            assert (answer["Content-type"], answer.body) == (kind or "text/plain", b"0123456789")

    @pytest.mark.parametrize("name", ["a.txt", "large.bin"])
    async def test_a_type_that_cannot_be_sent(self, folder: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
        answer = await ask(calling("send_file", folder / name, content_type="text/plain\r\nX-Evil: 1"))
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

        answers = [await ask(body) for _ in range(3)]
        assert [answer.body for answer in answers] == [b"a" * size, b"b" * size, b"c" * (size - 1)]
        path.unlink()
        assert (await ask(calling("send_file", path))).status == 404

    async def test_two_loops_at_once(self, folder: Path) -> None:
        """Servers in two threads do not share what is kept."""

        async def many() -> None:
            for number in range(60):
                name = "large.bin" if number % 3 else "a.txt"
                answer = await ask(calling("send_file", folder / name, content_type=f"text/{number % 20}"))
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
            assert (await ask(calling("send_file", folder / "a.txt"))).body == b"0123456789"
        assert len(reads) == 1

    @pytest.mark.parametrize("first", ["cookie", "begin"])
    async def test_a_head_that_has_been_begun(self, folder: Path, first: str, caplog: pytest.LogCaptureFixture) -> None:
        async def body(self: Any) -> None:
            if first == "begin":
                self.send_response(200)
            else:
                self.set_cookie("a", "b")
            await self.send_file(folder / "a.txt")

        answer = await ask(body)
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
    answer = await ask(calling("send_file", folder / "a.txt", download_as=name))
    assert (answer.status, answer["Content-Disposition"]) == (200, value)
    if "filename*" in value and "\udcff" not in name:
        assert unquote(value.partition("UTF-8''")[2]) == name


# Cookies.


def cookie(*args: Any, **kwargs: Any) -> Body:
    async def body(self: Any) -> None:
        self.set_cookie(*args, **kwargs)
        self.send_text("x")

    return body


class TestCookies:
    @pytest.mark.parametrize(
        ("options", "value"),
        [
            ({}, "a=b; Path=/; HttpOnly; SameSite=Lax"),
            ({"httponly": False, "samesite": None}, "a=b; Path=/"),
            ({"samesite": "Strict", "path": "/in here"}, "a=b; Path=/in here; HttpOnly; SameSite=Strict"),
            ({"samesite": "None", "secure": True}, "a=b; Path=/; Secure; HttpOnly; SameSite=None"),
            ({"domain": "example.com"}, "a=b; Path=/; Domain=example.com; HttpOnly; SameSite=Lax"),
        ],
    )
    async def test_attributes(self, options: dict[str, Any], value: str) -> None:
        assert (await ask(cookie("a", "b", **options)))["Set-Cookie"] == value

    @pytest.mark.parametrize("max_age", [1, 3600, 10**9, 10**12, 10**30])
    async def test_max_age(self, max_age: int) -> None:
        before = int(time.time())
        found = SimpleCookie((await ask(cookie("a", "b", max_age=max_age)))["Set-Cookie"])["a"]
        assert found["max-age"] == str(max_age)
        expires = parse_http_date(found["expires"])
        assert expires is not None
        if max_age < 10**10:
            assert before + max_age <= expires <= time.time() + max_age
        else:
            assert found["expires"] == "Fri, 31 Dec 9999 23:59:59 GMT"

    @pytest.mark.parametrize("name", ["a", "__Host-sid", "__Secure-sid", "__host-sid", "!#$%&'*+-.^_`|~"])
    async def test_names_that_want_to_be_secure(self, name: str) -> None:
        """As they do behind a proxy with TLS, too: browsers refuse them otherwise."""
        answer = await ask(cookie(name, "b"))
        assert ("; Secure" in (answer["Set-Cookie"] or "")) == name.startswith("__")

    @pytest.mark.parametrize("value", ["", "a", "a=b", "".join(map(chr, range(33, 127)))])
    async def test_round_trip(self, value: str) -> None:
        """What is set comes back, by our eyes and by those of http.cookies."""
        value = "".join(sign for sign in value if sign not in '",;\\')

        async def body(self: Any) -> None:
            if self.path == "/set":
                self.set_cookie("one", value)
                self.set_cookie("two", "2")
                self.send_text("x")
            else:
                self.send_json(self.cookies)

        answer = await ask(body, get("/set"))
        jar: SimpleCookie = SimpleCookie()
        for field in all_of(answer, "Set-Cookie"):
            jar.load(field)
        assert {name: morsel.value for name, morsel in jar.items()} == {"one": value, "two": "2"}
        sent = "; ".join(field.partition(";")[0] for field in all_of(answer, "Set-Cookie"))
        assert json.loads((await ask(body, get("/", f"Cookie: {sent}"))).body) == {"one": value, "two": "2"}

    @pytest.mark.parametrize(
        ("args", "options"),
        [
            *((("a", value), {}) for value in ("a b", "a,b", "a;b", 'a"b', "a\\b", "ä", "a\r\nb", "\0", "\x7f", "☃")),
            *(((name, "b"), {}) for name in ("", "a b", "a=b", "a;b", "ä", "a\r\nb", "(a)", '"a"')),
            *((("a", "b"), {"path": path}) for path in ("/;x", "/\r\nSet-Cookie: c=d", "/ä", "/\0", "/\x7f", "/☃")),
            *((("a", "b"), {"domain": domain}) for domain in ("a;b", "a\nb", "bücher.example")),
            *((("a", "b"), {"samesite": samesite}) for samesite in ("none", "lax", "", "Lax; Secure", "None")),
            (("a", "b"), {"samesite": "None", "secure": False}),
            (("a", "b"), {"max_age": float("nan")}),
        ],
        ids=str,
    )
    async def test_refused(self, args: tuple[str, str], options: dict[str, Any]) -> None:
        """Where it is set, so that the handler can still answer."""

        async def body(self: Any) -> None:
            with pytest.raises(ValueError, match=r"."):
                self.set_cookie(*args, **options)
            self.send_text("x")

        answer = await ask(body)
        assert (answer.status, answer["Set-Cookie"]) == (200, None)

    async def test_delete(self) -> None:
        async def body(self: Any) -> None:
            self.delete_cookie("a", path="/in", domain="example.com")
            self.delete_cookie("__Host-b")
            self.send_text("x")

        first, second = all_of(await ask(body), "Set-Cookie")
        past = "Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
        assert first == f"a=; {past}; Path=/in; Domain=example.com; HttpOnly; SameSite=Lax"
        assert second == f"__Host-b=; {past}; Path=/; Secure; HttpOnly; SameSite=Lax"

    @pytest.mark.parametrize("max_age", [0, -1, -(10**30)])
    async def test_of_the_past(self, max_age: int) -> None:
        answer = await ask(cookie("a", "b", max_age=max_age))
        assert f"Max-Age={max_age}; Expires=Thu, 01 Jan 1970" in (answer["Set-Cookie"] or "")

    @pytest.mark.parametrize("call", ["send_text", "redirect", "send_error", "raise", "304", "103"])
    async def test_before_what_answers(self, call: str, folder: Path) -> None:
        async def body(self: Any) -> None:
            if call == "103":
                self.send_response_only(103)
                self.send_header("Link", "</a>")
            self.set_cookie("a", "b")
            self.set_cookie("c", "d")
            if call == "raise":
                raise HTTPError(403)
            if call == "304":
                await self.send_file(folder / "a.txt")
            elif call == "103":
                self.end_headers()
                self.send_text("x")
            else:
                getattr(self, call)(404 if call == "send_error" else "/")

        request = get("/", "If-None-Match: *") if call == "304" else get()
        *interim, answer = split(await exchange(handling(body), request, config=QUIET))
        assert [field.partition(";")[0] for field in all_of(answer, "Set-Cookie")] == ["a=b", "c=d"]
        assert not any(all_of(early, "Set-Cookie") for early in interim)

    async def test_within_a_head(self) -> None:
        async def body(self: Any) -> None:
            self.send_response(200)
            self.set_cookie("a", "b")
            self.send_header("X-Own", "1")
            self.end_headers()

        answer = await ask(body)
        assert (answer["Set-Cookie"], answer["X-Own"]) == ("a=b; Path=/; HttpOnly; SameSite=Lax", "1")

    @pytest.mark.parametrize("call", ["set_cookie", "delete_cookie", "add_header"])
    async def test_after_the_head(self, call: str) -> None:
        """It would be lost, and nobody would notice."""

        async def body(self: Any) -> None:
            self.send_text("x")
            with pytest.raises(ContractError, match="the head has been ended"):
                getattr(self, call)(*(["X"] if call == "delete_cookie" else ["X", "y"]))

        assert (await ask(body)).body == b"x"

    @pytest.mark.parametrize("begun", [False, True])
    async def test_an_exception(self, begun: bool, caplog: pytest.LogCaptureFixture) -> None:
        """A broken session that was to be forgotten is forgotten, whatever happens after."""

        async def body(self: Any) -> None:
            if begun:
                self.send_response(200)
                self.send_header("X-Own", "1")
            self.delete_cookie("sid")
            raise LookupError("oops")

        answer = await ask(body)
        assert (answer.status, answer["X-Own"]) == (500, None)
        assert (answer["Set-Cookie"] or "").startswith("sid=; Max-Age=0")
        expect_logged(caplog, "oops")

    async def test_no_other_request_sees_them(self) -> None:
        async def body(self: Any) -> None:
            if self.path == "/set":
                self.set_cookie("a", "b")
            self.send_text("x")

        answers = split(await exchange(handling(body), get("/set") + get("/"), config=QUIET))
        assert [len(all_of(answer, "Set-Cookie")) for answer in answers] == [1, 0]


@on_both_loops
async def test_cookies_on_tls_are_secure() -> None:
    authority = trustme.CA()
    server_side, client_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server_side)
    authority.configure_trust(client_side)

    async def body(self: Any) -> None:
        self.set_cookie("a", "b")
        self.set_cookie("c", "d", samesite="None")
        self.set_cookie("e", "f", secure=False)
        self.delete_cookie("g")
        self.send_text("x")

    async with running(handling(body), ssl=server_side) as server, connected(server, tls=client_side) as client:
        answer = await client.ask()
        assert ["; Secure;" in field for field in all_of(answer, "Set-Cookie")] == [True, True, False, True]


class TestAddHeader:
    @pytest.mark.parametrize("field", [("X", "a\r\nb"), ("X", "☃"), ("a b", "x"), ("", "x"), ("X", "\0")])
    async def test_refused(self, field: tuple[str, str]) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(ValueError, match="may not stand|no field name"):
                self.add_header(*field)
            self.send_text("x")

        assert (await ask(body)).status == 200

    @pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Date", "Server", "Upgrade"])
    async def test_what_decides_framing(self, name: str) -> None:
        """It would not be seen by what frames the answer, and two lengths are how answers get split."""

        async def body(self: Any) -> None:
            with pytest.raises(ValueError, match="send_header|chunked"):
                self.add_header(name, "5")
            self.send_text("x")

        answer = await ask(body)
        assert (answer["Content-Length"], answer["Transfer-Encoding"]) == ("1", None)

    async def test_names_are_not_merged(self) -> None:
        async def body(self: Any) -> None:
            self.add_header("Vary", "Cookie")
            self.send_response(200)
            self.send_header("Vary", "Accept")
            self.end_headers()

        assert sorted(all_of(await ask(body), "Vary")) == ["Accept", "Cookie"]
