"""What a handler gives in one call: text, pages, JSON, redirects, fields."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiohttpd import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from aiohttpd.testing import exchange

from ..support.asking import QUIET
from ..support.calling import all_of, calling, given, handling, pieces_written
from ..support.clients import expect_logged, get, head
from ..support.wire import split

KIB = 1024


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
        answer = await given(calling(name, value))
        assert (answer.status, answer.body, answer["Content-Type"]) == (200, content, kind)
        assert answer["Content-Length"] == str(len(content))
        assert [field for field, _ in answer.fields] == ["Server", "Date", "Content-Type", "Content-Length"]

    @pytest.mark.parametrize("value", [None, 1, b"bytes", ["a"]])
    @pytest.mark.parametrize("name", ["send_text", "send_html"])
    async def test_what_is_no_text(self, name: str, value: Any) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(
                TypeError, match=rf"want text, not {type(value).__name__}: bytes .*write\(\), values by"
            ):
                getattr(self, name)(value)
            self.send_text("well")

        assert (await given(body)).body == b"well"

    @pytest.mark.parametrize("size", [0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 120 * KIB])
    async def test_one_write(self, size: int) -> None:
        [piece] = await pieces_written(handling(calling("send_text", "a" * size)), get())
        [answer] = split(piece)
        assert (answer["Content-Length"], len(answer.body)) == (str(size), size)

    @pytest.mark.parametrize("version", ["1.0", "1.1"])
    async def test_large(self, version: str) -> None:
        """Above 128 KiB it is handed over in slices, so that a slow client is noticed."""
        answer = await given(calling("send_text", "a" * 1_000_000), get(version=version))
        assert (answer["Content-Length"], len(answer.body)) == ("1000000", 1_000_000)
        assert answer["Transfer-Encoding"] is None

    @pytest.mark.parametrize("name", ["do_GET", "do_HEAD"])
    @pytest.mark.parametrize("size", [0, 5, 300_000])
    async def test_head(self, name: str, size: int) -> None:
        handler = type("Handler", (BaseHTTPRequestHandler,), {name: calling("send_text", "a" * size)})
        [piece] = await pieces_written(handler, head("HEAD"))
        [answer] = split(piece, ["HEAD"])
        assert (answer["Content-Length"], answer["Content-Type"]) == (str(size), "text/plain; charset=utf-8")

    @pytest.mark.parametrize("status", [201, 400, 404, 422, 500, 503])
    async def test_status(self, status: int) -> None:
        for name in ("send_text", "send_html", "send_json"):
            answer = await given(calling(name, "x", status))
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

        answer = await given(body)
        assert answer.status == 500
        assert b"one" not in answer.body
        expect_logged(caplog, "one request, one answer")

    async def test_lone_surrogates(self) -> None:
        """They come from names of files, and from JSON: nobody is to break a page by them."""
        assert (await given(calling("send_text", "a\udcffb\ud800"))).body == b"a?b?"
        assert (await given(calling("send_html", "a\udcffb"))).body == b"a?b"
        assert json.loads((await given(calling("send_json", ["\ud800"]))).body) == ["\ud800"]

    async def test_what_is_no_text_is_500(self, caplog: pytest.LogCaptureFixture) -> None:
        assert (await given(calling("send_text", b"bytes"))).status == 500
        expect_logged(caplog, "want text, not bytes")

    async def test_after_the_answer(self) -> None:
        """What follows does not hold it back, and cannot change it."""

        async def body(self: Any) -> None:
            self.send_text("done")
            self.wfile.write(b" and more")
            await asyncio.sleep(0)

        answer = await given(body)
        assert (answer.body, answer["Content-Length"]) == (b"done and more", "13")

    async def test_an_error_after_it(self, caplog: pytest.LogCaptureFixture) -> None:
        async def body(self: Any) -> None:
            self.send_text("done")
            raise LookupError("too late?")

        assert (await given(body)).status == 500  # nothing had left
        expect_logged(caplog, "too late?")


class TestJSON:
    @pytest.mark.parametrize(
        "value",
        [None, True, 0, -1, 2**64, 10**400, 1e308, 0.1, "", '\u2028\0"\\', [], {}, {"": {"ä": [[]]}}, ["\U0001f600"]],
    )
    async def test_round_trip(self, value: Any) -> None:
        assert json.loads((await given(calling("send_json", value))).body) == value

    async def test_keys(self) -> None:
        assert (await given(calling("send_json", {1: 2, None: 3, False: 4}))).body == b'{"1":2,"null":3,"false":4}'

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (float("nan"), "Out of range float"),
            ([float("inf")], "Out of range float"),
            ({"at": timedelta(1)}, "timedelta is not JSON serializable"),
            (b"bytes", "bytes is not JSON serializable"),
            ({(1, 2): 3}, "keys must be"),
            (10**5000, "Exceeds the limit"),
        ],
        ids=["nan", "inf", "timedelta", "bytes", "tuple", "long"],
    )
    async def test_no_json(self, value: Any, error: str, caplog: pytest.LogCaptureFixture) -> None:
        answer = await given(calling("send_json", value))
        assert (answer.status, answer["Content-Type"]) == (500, "text/html;charset=utf-8")
        expect_logged(caplog, error)

    async def test_circles(self, caplog: pytest.LogCaptureFixture) -> None:
        circle: list[Any] = []
        circle.append(circle)
        assert (await given(calling("send_json", circle))).status == 500
        expect_logged(caplog, "holds itself")

    async def test_depth(self, caplog: pytest.LogCaptureFixture) -> None:
        deep: list[Any] = []
        for _ in range(200_000):
            deep = [deep]
        assert (await given(calling("send_json", deep))).status == 500
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

        assert (await given(body)).status == 422


# What a class overrides.


class CORS:
    def end_headers(self: Any) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()  # type: ignore[misc]


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

        answer = await given(handling(body, CORS))
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

        answer = await given(Watching, get("/text"))
        assert (answer["X-Own"], seen) == ("1", [201, "x-own", "content-type"])
        seen.clear()
        answer = await given(Watching, get("/redirect"))
        assert (answer["X-Own"], seen) == ("1", [308, "x-own", "location", "content-length"])
        seen.clear()
        answer = await given(Watching, get("/file"))
        assert answer["X-Own"] == "1"
        assert {"etag", "last-modified", "content-disposition", "content-length"} < set(seen)

    async def test_the_file_server_gives_them_too(self, folder: Path) -> None:
        class Files(SimpleHTTPRequestHandler):
            directory = str(folder)
            extra_response_headers = (("X-Own", "1"),)

            async def do_POST(self) -> None:
                await self.send_file(folder / "a.txt")

        answer = await given(Files, head("POST"))
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
        assert (await given(handler, head(method), method)).status == status

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_given_status(self, status: int) -> None:
        for method in ("GET", "POST"):
            assert (await given(calling("redirect", "/", status), head(method))).status == status

    async def test_one_write(self) -> None:
        assert len(await pieces_written(handling(calling("redirect", "/")), get())) == 1

    async def test_what_is_no_text_begins_no_answer(self) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(ValueError, match="surrogates"):
                self.redirect("/\ud800")
            self.send_text("well")

        assert (await given(body)).body == b"well"

    @pytest.mark.parametrize(
        ("arguments", "error", "text"),
        [
            ((None,), TypeError, "the location of a redirect is text, not None"),
            (("/", 200), ValueError, "the status of a redirect is 300 to 399, not 200"),
            (("/", 404), ValueError, "300 to 399"),
        ],
    )
    async def test_wrong_arguments(self, arguments: Any, error: Any, text: str) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(error, match=text):
                self.redirect(*arguments)
            self.send_text("well")

        assert (await given(body)).body == b"well"


class TestAddHeader:
    @pytest.mark.parametrize("field", [("X", "a\r\nb"), ("X", "☃"), ("a b", "x"), ("", "x"), ("X", "\0")])
    async def test_refused(self, field: tuple[str, str]) -> None:
        async def body(self: Any) -> None:
            with pytest.raises(ValueError, match="may not stand|no field name"):
                self.add_header(*field)
            self.send_text("x")

        assert (await given(body)).status == 200

    @pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "Date", "Server", "Upgrade"])
    async def test_what_decides_framing(self, name: str) -> None:
        """It would not be seen by what frames the answer, and two lengths are how answers get split."""

        async def body(self: Any) -> None:
            with pytest.raises(ValueError, match="send_header|chunked"):
                self.add_header(name, "5")
            self.send_text("x")

        answer = await given(body)
        assert (answer["Content-Length"], answer["Transfer-Encoding"]) == ("1", None)

    async def test_names_are_not_merged(self) -> None:
        async def body(self: Any) -> None:
            self.add_header("Vary", "Cookie")
            self.send_response(200)
            self.send_header("Vary", "Accept")
            self.end_headers()

        assert sorted(all_of(await given(body), "Vary")) == ["Accept", "Cookie"]
