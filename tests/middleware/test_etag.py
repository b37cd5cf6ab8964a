"""ETag: which answers have a tag, 304, and that no more waits than it may."""

from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd import Config, Request, StreamWriter, middleware
from aiohttpd.middleware import Compression, ETag, RequestID

from ..support.asking import answer_to, fetch
from ..support.clients import get
from ..support.layered import Page, having

TEXT = ("Content-Type", "text/plain")


async def test_the_same_content_has_the_same_tag() -> None:
    app = aiohttpd.layers(having(TEXT), ETag())
    tags = {(await fetch(app))["ETag"] for _ in range(3)}
    assert len(tags) == 1
    [tag] = tags
    assert tag is not None and tag.startswith('"')
    assert (await fetch(aiohttpd.layers(having(TEXT, content=b"ok2"), ETag())))["ETag"] != tag
    assert (await fetch(aiohttpd.layers(having(TEXT), ETag(weak=True))))["ETag"] == f"W/{tag}"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*", '"x" , W/{}'])
@pytest.mark.parametrize("weak", [False, True])
async def test_who_has_it_gets_304(form: str, weak: bool) -> None:
    app = aiohttpd.layers(having(TEXT, ("X-A", "1"), ("Vary", "Accept"), ("Content-Language", "en")), ETag(weak=weak))
    whole = await fetch(app)
    field = f"If-None-Match: {form.format(str(whole['ETag']).removeprefix('W/'))}"
    answer = await answer_to(app, get("/", field), get("/", field))  # the connection goes on
    assert (answer.status, answer.body, answer["ETag"]) == (304, b"", whole["ETag"])
    assert (answer["Vary"], answer["X-A"]) == ("Accept", "1")
    assert not {answer["Content-Type"], answer["Content-Length"], answer["Content-Language"]} - {None}


@pytest.mark.parametrize("field", ['If-None-Match: "other"', "If-None-Match: other", "If-None-Match:"])
async def test_who_has_another_gets_it(field: str) -> None:
    answer = await fetch(aiohttpd.layers(having(TEXT), ETag()), "/", field)
    assert (answer.status, answer.body, answer["Content-Length"]) == (200, b"ok", "2")


async def test_what_is_no_list_of_tags_matches_nothing() -> None:
    app = aiohttpd.layers(having(TEXT), ETag())
    tag = (await fetch(app))["ETag"]
    for value in (f"x{tag}", f"{tag}x", f"{tag} {tag}", f'"a" b, {tag}', f"*, {tag}"):
        assert (await fetch(app, "/", f"If-None-Match: {value}")).status == 200


@pytest.mark.parametrize(
    "app",
    [
        having(("ETag", '"own"')),
        having(("Cache-Control", "private, No-Store")),
        having(status=201),
        having(status=404),
        having(("Content-Type", "text/event-stream")),
    ],
)
async def test_what_is_left_as_it_is(app: Any) -> None:
    plain, tagged = await fetch(app), await fetch(aiohttpd.layers(app, ETag()), "/", "If-None-Match: *")
    assert (tagged.status, tagged["ETag"], tagged.body) == (plain.status, plain["ETag"], plain.body)


async def test_methods() -> None:
    app = aiohttpd.layers(Page, ETag())
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
    assert (await answer_to(app, post))["ETag"] is None


async def written_in_pieces(request: Request, response: StreamWriter) -> None:
    response.send_head(200, [TEXT])
    for _ in range(100):
        response.write(bytearray(b"piece"))


@pytest.mark.parametrize(
    "app",
    [Page, written_in_pieces, having(TEXT), having(TEXT, ("Content-Length", "2")), aiohttpd.layers(Page, RequestID())],
)
@pytest.mark.parametrize("around", [(), (Compression(minimum_size=1),), (RequestID(), Compression(minimum_size=1))])
async def test_head_is_the_head_of_get(app: Any, around: Any) -> None:
    for layers in ((*around, ETag()), (ETag(weak=True),)):
        tagged = aiohttpd.layers(app, *layers)
        whole, head = await fetch(tagged), await fetch(tagged, method="HEAD")
        assert head.body == b""
        assert whole["ETag"] and whole["ETag"] == head["ETag"]
        assert whole["Content-Length"] == head["Content-Length"]
        known = await fetch(tagged, "/", f"If-None-Match: {whole['ETag']}", method="HEAD")
        assert (known.status, known["ETag"]) == (304, whole["ETag"])
        other = await fetch(tagged, "/", 'If-None-Match: "other"', method="HEAD")
        assert (other.status, other["ETag"]) == (200, whole["ETag"])


async def test_compression_inside_of_the_tags() -> None:
    """In this order there are no tags, for GET and HEAD alike."""
    app = aiohttpd.layers(Page, ETag(), Compression(minimum_size=1))
    for field in ("Accept-Encoding: gzip", "Accept-Encoding: identity"):
        whole, head = await fetch(app, "/", field), await fetch(app, "/", field, method="HEAD")
        assert head["ETag"] == whole["ETag"]


class NothingForHead(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("content")

    async def do_HEAD(self) -> None:
        self.send_response(200)
        if self.url_path == "/length":
            self.send_header("Content-Length", "7")
        self.end_headers()
        if self.url_path == "/part":
            self.wfile.write(b"")


@pytest.mark.parametrize("path", ["/", "/length", "/part"])
async def test_a_head_whose_content_is_not_known(path: str) -> None:
    answer = await fetch(aiohttpd.layers(NothingForHead, ETag()), path, method="HEAD")
    assert (answer.status, answer["ETag"]) == (200, None)


async def test_head_of_what_is_too_long_or_has_failed() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [TEXT])
        response.write(b"x" * 11)
        if request.path == "/fail":
            raise aiohttpd.HTTPError(404)

    tagged = aiohttpd.layers(app, ETag(most=10))
    assert (await fetch(tagged, method="HEAD"))["ETag"] is None
    answer = await fetch(tagged, "/fail", method="HEAD")
    assert (answer.status, answer["ETag"]) == (404, None)


@pytest.mark.parametrize("size", [0, 1, 70_000, 99_999, 100_000, 100_001, 400_000])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("piece", [7_000, 64 * 1024, 10**6])
async def test_no_more_waits_than_it_may(size: int, known: bool, piece: int) -> None:
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]

    async def app(request: aiohttpd.Request, response: Any) -> None:
        response.send_head(200, [("Content-Length", size)] if known else [])
        for at in range(0, size, piece):
            response.write(content[at : at + piece])

    answer = await fetch(aiohttpd.layers(app, ETag(most=100_000)))
    assert (answer.body, answer["ETag"] is not None) == (content, size <= 100_000)
    assert answer["Content-Length"] == str(size) or size > 100_000


async def test_a_flushed_answer_does_not_wait() -> None:
    answer = await fetch(aiohttpd.layers(Page, ETag()), "/stream")
    assert (answer["ETag"], answer.body) == (None, b"part part part ")


async def test_files_keep_their_own(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"text" * 100_000)

    class Sending(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            if self.url_path == "/bare":
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"before ")
                with (tmp_path / "a.txt").open("rb") as file:
                    await self.wfile.sendfile(file)
                return
            await self.send_file(tmp_path / "a.txt")

    plain, tagged = await fetch(Sending), await fetch(aiohttpd.layers(Sending, ETag()))
    # The tag of a file that has just changed is weak for a moment.
    assert tagged["ETag"].removeprefix("W/") == plain["ETag"].removeprefix("W/") and tagged.body == plain.body
    answer = await fetch(aiohttpd.layers(Sending, ETag()), "/bare")
    assert (answer["ETag"], answer.body) == (None, b"before " + b"text" * 100_000)


@pytest.mark.parametrize("path", ["/missing", "/fail"])
async def test_errors(path: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = await fetch(aiohttpd.layers(Page, ETag()), path)
    assert answer.status in (404, 500) and answer["ETag"] is None
    caplog.clear()


async def test_within_compression_and_other_layers() -> None:
    content = b"text " * 1000
    app = aiohttpd.layers(
        having(TEXT, content=content), middleware.RequestID(), middleware.Compression(), middleware.CORS("*"), ETag()
    )
    plain, packed = await fetch(app), await fetch(app, "/", "Accept-Encoding: gzip")
    assert packed["Content-Encoding"] == "gzip" and packed["ETag"] == f"W/{plain['ETag']}"
    for tag, fields in ((packed["ETag"], ["Accept-Encoding: gzip"]), (plain["ETag"], [])):
        answer = await fetch(app, "/", f"If-None-Match: {tag}", *fields)
        assert (answer.status, answer["ETag"], answer.body) == (304, tag, b"")
        assert answer["X-Request-ID"] and answer["Access-Control-Allow-Origin"] == "*"


async def test_the_record_says_304() -> None:
    seen: list[tuple[int, int]] = []

    class Logged(Page):
        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            seen.append((code, size))

    app = aiohttpd.layers(Logged, ETag())
    await fetch(app, config=Config())
    await fetch(app, "/", "If-None-Match: *", config=Config())
    assert seen == [(200, 2), (304, 0)]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("layers", [[ETag(), ETag()], [ETag(), RequestID(), ETag(weak=True)]])
async def test_one_around_another_adds_no_second_tag(layers: list[Any], method: str) -> None:
    """A site with tags has a route that has its own, say. Two fields ETag are none (RFC 9110 section 5.3)."""
    app = aiohttpd.layers(having(TEXT), *layers)
    answer = await fetch(app, "/", method=method)
    [tag] = [value for name, value in answer.fields if name == "ETag"]
    inner = await fetch(aiohttpd.layers(having(TEXT), layers[-1]), "/", method=method)
    assert tag == inner["ETag"]
    assert (await fetch(app, "/", f"If-None-Match: {tag}", method=method)).status == 304
