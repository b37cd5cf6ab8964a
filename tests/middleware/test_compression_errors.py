"""compress() when something fails, around other Apps, and with codings that this Python may lack."""

import functools
import re
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from typing import Any

import pytest

from aiohttpd import (
    BaseHTTPRequestHandler,
    ContractError,
    HTTPError,
    Request,
    SimpleHTTPRequestHandler,
    StreamWriter,
)
from aiohttpd.compression import compress
from aiohttpd.engine.interfaces import Answer
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.testing import exchange

from ..support.asking import QUIET
from ..support.clients import MIB, expect_logged, get, head
from ..support.compressing import BLOB, GZIP, PAGE, TAG, TEXT, Field, answers, content_of, doing, giving, one_answer
from ..support.wire import split

# Errors.


class TestErrors:
    async def test_before_anything_has_left(self, caplog: pytest.LogCaptureFixture) -> None:
        """The page takes the place of what was compressed, with fields of its own."""

        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            raise RuntimeError("oops")

        for known in ([("Content-Length", 9000)], []):
            [first, second] = await answers(compress(doing(work, TAG, *known)), get("/", GZIP), get("/", GZIP))
            caplog.clear()
            assert first.status == second.status == 500
            assert (first["Content-Encoding"], first["ETag"]) == (None, None)
            assert first.body == b"500 Internal Server Error\n"

    @pytest.mark.parametrize("version", ["1.1", "1.0"])
    async def test_after_some_has_left(self, version: str, caplog: pytest.LogCaptureFixture) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            await response.drain()
            response.write(PAGE)
            raise RuntimeError("oops")

        output = await exchange(compress(doing(work)), get("/", GZIP, version=version), config=QUIET)
        expect_logged(caplog, "oops")
        [answer] = split(output)
        decoder = zlib.decompressobj(31)
        assert decoder.decompress(answer.body) == PAGE and not decoder.eof
        assert answer.complete is (version == "1.0")  # which is reset

    async def test_http_error(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.send_header(*TEXT)
                self.send_header("Content-Length", 99_999)
                self.end_headers()
                self.wfile.write(PAGE)
                raise HTTPError(404, None, "x" * 2000)

        answer = await one_answer(compress(Handler), GZIP)
        assert (answer.status, answer["Content-Encoding"]) == (404, "gzip")
        assert b"x" * 2000 in content_of(answer)

    async def test_send_error_instead_of_an_unsent_head(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.send_header(*TEXT)
                self.end_headers()
                self.wfile.write(b"small" if self.path == "/small" else PAGE)
                self.send_error(410)

        for path in ("/small", "/"):
            answer = await one_answer(compress(Handler), GZIP, path=path)
            assert (answer.status, answer["Content-Encoding"], answer["Content-Type"]) == (
                410,
                None,
                "text/html;charset=utf-8",
            )
            assert b"410" in answer.body and b"line" not in answer.body

    async def test_another_type_after_restart(self) -> None:
        """Nothing of the first answer is remembered."""

        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            response.restart()
            response.send_head(200, [("Content-Type", "image/png")])
            response.write(b"png" * 1000)

        for known in ([("Content-Length", 9000)], []):
            answer = await one_answer(compress(doing(work, *known)), GZIP)
            assert (answer["Content-Encoding"], answer["Vary"], answer.body) == (None, None, b"png" * 1000)

    @pytest.mark.parametrize("length", [len(PAGE) + 1, 99_999])
    async def test_too_little(self, length: int, caplog: pytest.LogCaptureFixture) -> None:
        """The length that the client does not see counts for the handler nevertheless."""

        async def work(response: StreamWriter) -> None:
            response.write(PAGE)

        answer = await one_answer(compress(doing(work, ("Content-Length", length))), GZIP)
        expect_logged(caplog, f"{len(PAGE)} bytes of content, but Content-Length says {length}")
        assert (answer.status, answer["Content-Encoding"]) == (500, None)

    async def test_too_little_after_some_has_left(self, caplog: pytest.LogCaptureFixture) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            await response.drain()

        answer = await one_answer(compress(doing(work, ("Content-Length", 99_999))), GZIP)
        expect_logged(caplog, "Content-Length says 99999")
        assert not answer.complete

    @pytest.mark.parametrize("way", ["write", "writelines", "sendfile"])
    async def test_too_much(self, way: str, blob: Path, caplog: pytest.LogCaptureFixture) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            if way == "sendfile":
                with blob.open("rb") as file:
                    await response.sendfile(file, 0, 2)
            elif way == "write":
                response.write(b"22")
            else:
                response.writelines([b"2", b"2"])

        for fields in ([], [GZIP]):
            answer = await one_answer(compress(doing(work, ("Content-Length", len(PAGE) + 1))), *fields)
            expect_logged(caplog, f"{len(PAGE) + 2} bytes of content, but Content-Length says {len(PAGE) + 1}")
            assert answer.status == 500

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    @pytest.mark.parametrize("fields", [[GZIP], []], ids=["gzip", "identity"])
    async def test_too_much_of_a_file(
        self, method: str, fields: list[str], blob: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is refused before any of it has left; what follows a file counts, too."""

        async def work(response: StreamWriter) -> None:
            with blob.open("rb") as file:
                await response.sendfile(file)
            response.write(b"x")

        size = len(BLOB)
        answer = await one_answer(compress(doing(work, ("Content-Length", size - 1))), *fields, method=method)
        expect_logged(caplog, f"{size} bytes of content, but Content-Length says {size - 1}")
        assert answer.status == 500
        output = await exchange(
            compress(doing(work, ("Content-Length", size))), head(method, "/", *fields), config=QUIET
        )
        expect_logged(caplog, f"{size + 1} bytes of content, but Content-Length says {size}")
        assert not output.endswith(b"0\r\n\r\n")

    async def test_too_much_can_be_caught(self) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            with pytest.raises(ContractError):
                response.write(b"more")

        assert content_of(await one_answer(compress(doing(work, ("Content-Length", len(PAGE)))), GZIP)) == PAGE

    async def test_chunks_of_its_own(self, caplog: pytest.LogCaptureFixture) -> None:
        chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(PAGE), PAGE)
        field = ("Transfer-Encoding", "chunked")
        answer = await one_answer(compress(giving(chunks, field, TAG, known=False)), GZIP)
        assert (answer.body, answer["Content-Encoding"], answer["Vary"], answer["ETag"]) == (PAGE, None, None, TAG[1])
        answer = await one_answer(compress(giving(chunks[:-5], field, known=False)), GZIP)
        assert answer.status == 500
        expect_logged(caplog, "the last chunk is missing")

    async def test_contract(self) -> None:
        """What may not be done raises as ever, and does no harm when it is caught."""
        writers: list[StreamWriter] = []

        async def app(request: Request, response: StreamWriter) -> None:
            writers.append(response)
            for call in (response.flush, functools.partial(response.write, b"x")):
                with pytest.raises(ContractError, match="before the head"):
                    call()
            with pytest.raises(ContractError, match="before the head"):
                await response.sendfile(0, 0, 1)
            with pytest.raises(ValueError, match="reason phrase"):
                response.send_head(200, [TEXT, ("Content-Length", 9000)], "a\r\nb")
            with pytest.raises(ValueError, match="control character|may not stand"):
                response.send_head(200, [("A", "a\nb")])
            response.send_head(200, [TEXT, TAG])
            response.write(PAGE)
            again: list[list[Field]] = [[TEXT], [TEXT, ("Content-Length", 1)], [("Content-Type", "image/png")]]
            for fields in again:
                with pytest.raises(ContractError, match="given already"):
                    response.send_head(200, fields)
            for wrong in ("text", 3):
                with pytest.raises(TypeError):
                    response.write(wrong)  # type: ignore[arg-type]
            response.write(PAGE)

        for requests in ([get("/", GZIP)], [get()]):
            [answer] = await answers(compress(app), *requests)
            assert content_of(answer) == PAGE * 2
        small = compress(app, minimum_size=MIB)
        assert (await one_answer(small, GZIP)).body == PAGE * 2
        for response in writers:
            for data in (b"x", b"x" * 100_000):
                with pytest.raises(ContractError, match="after the handler has returned"):
                    response.write(data)
            with pytest.raises(ContractError, match="after the handler has returned"):
                await response.sendfile(0, 0, 1)
            assert not response.replaceable()

    async def test_a_refused_head_leaves_nothing(self) -> None:
        """What follows is not taken for what was refused."""

        async def app(request: Request, response: StreamWriter) -> None:
            with pytest.raises(ValueError, match="reason phrase"):
                response.send_head(200, [TEXT, ("Content-Length", 9000)], "a\r\nb")
            response.send_head(200, [("Content-Type", "image/png")])
            response.write(b"png" * 1000)

        answer = await one_answer(compress(app), GZIP)
        assert (answer["Content-Encoding"], answer.body) == (None, b"png" * 1000)

    async def test_an_aborted_answer_is_over(self) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(b"few")
            response.abort()
            with pytest.raises(ContractError):
                response.write(b"more")

        assert await exchange(compress(doing(work)), get("/", GZIP), config=QUIET) == b""

    async def test_no_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        async def app(request: Request, response: StreamWriter) -> None:
            pass

        assert (await one_answer(compress(app), GZIP)).status == 500
        expect_logged(caplog, "without an answer")

    async def test_a_forgotten_await(self, caplog: pytest.LogCaptureFixture) -> None:
        async def text() -> bytes:
            return b""

        async def work(response: StreamWriter) -> None:
            response.write(text())  # type: ignore[arg-type]

        assert (await one_answer(compress(doing(work, ("Content-Length", 9000))), GZIP)).status == 500
        expect_logged(caplog, "put 'await' before the call")


# Apps of all kinds, and what else an answer has.


class Log:
    """Remembers what would be logged."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        self.sizes.append((answer.status, answer.size))

    def refused(self, client_address: Any, line: str, status: int) -> None:
        raise AssertionError

    def message(self, text: str) -> None:
        pass


class TestApps:
    async def test_partial(self, tmp_path: Path) -> None:
        (tmp_path / "page.html").write_bytes(PAGE)
        app = compress(functools.partial(SimpleHTTPRequestHandler, directory=tmp_path))
        for answer in await answers(app, *[get("/page.html", GZIP)] * 3):
            assert (answer["Content-Encoding"], content_of(answer)) == ("gzip", PAGE)

    async def test_class(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_json(["word"] * 1000)

        answer = await one_answer(compress(Handler), GZIP)
        assert answer["Content-Encoding"] == "gzip" and b'"word"' in content_of(answer)

    @pytest.mark.parametrize("minimum", [(10, MIB), (MIB, 10)])
    async def test_twice(self, minimum: tuple[int, int]) -> None:
        """It is compressed once, as the inner one says."""
        app = compress(compress(giving(PAGE, TAG), minimum_size=minimum[0]), minimum_size=minimum[1])
        answer = await one_answer(app, GZIP)
        assert content_of(answer) == PAGE
        assert (answer["Content-Encoding"], answer["Vary"]) == (
            ("gzip", "Accept-Encoding") if minimum[0] == 10 else (None, None)
        )

    async def test_behind_a_password(self) -> None:
        app = basic_auth(compress(giving()), "a:b")
        assert (await one_answer(app, GZIP)).status == 401
        assert content_of(await one_answer(app, GZIP, "Authorization: Basic YTpi")) == PAGE
        inside = compress(basic_auth(giving(), "a:b"), minimum_size=1)
        refused = await one_answer(inside, GZIP)
        assert (refused.status, refused["Content-Encoding"]) == (401, "gzip")
        assert refused["WWW-Authenticate"] and b"401" in content_of(refused)

    async def test_bodies_of_requests(self) -> None:
        async def echo(request: Request, response: StreamWriter) -> None:
            data = await request.body.read()
            await giving(data)(request, response)

        post = b"POST / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PAGE) + PAGE
        for answer in await answers(compress(echo), post, post):
            assert content_of(answer) == PAGE

    @pytest.mark.parametrize("flushed", [False, True])
    async def test_the_log_has_the_bytes_that_were_sent(self, flushed: bool) -> None:
        async def work(response: StreamWriter) -> None:
            response.write(PAGE)
            if flushed:
                await response.drain()

        log = Log()
        requests = get("/", GZIP) + get() + head("HEAD", "/", GZIP)
        found = split(await exchange(compress(doing(work)), requests, access_log=log), ["GET", "GET", "HEAD"])
        assert log.sizes == [(200, len(found[0].body)), (200, len(PAGE)), (200, 0)]
        assert log.sizes[0][1] < len(PAGE)

    async def test_log_request_of_a_class(self) -> None:
        seen = []

        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_text(PAGE.decode())

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                seen.append((code, size))

        [answer] = split(await exchange(compress(Handler), get("/", GZIP)))
        assert seen == [(200, len(answer.body))] and content_of(answer) == PAGE

    async def test_close_connection(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.close_connection = True
                self.send_text(PAGE.decode())
                assert self.wfile.status == 200

        [answer] = split(await exchange(compress(Handler), get("/", GZIP) * 2, config=QUIET))
        assert answer["Connection"] == "close" and content_of(answer) == PAGE
        closing = compress(giving(PAGE, ("Connection", "close")))
        [answer] = split(await exchange(closing, get("/", GZIP) * 2, config=QUIET))
        assert answer["Connection"] == "close" and content_of(answer) == PAGE

    async def test_fields_that_replace_ours(self) -> None:
        answer = await one_answer(compress(giving(PAGE, ("Server", "mine"), ("Date", "now"))), GZIP)
        assert (answer["Server"], answer["Date"], content_of(answer)) == ("mine", "now", PAGE)


# zstd, which Python has from 3.14 on.

FAKE = """
    import asyncio, sys, types, zlib

    class ZstdCompressor:
        CONTINUE, FLUSH_BLOCK, FLUSH_FRAME = 0, 1, 2
        def __init__(self, level=None):
            assert 1 <= level <= 9
            self.inner = zlib.compressobj(level)
        def compress(self, data, mode=CONTINUE):
            return self.inner.compress(data)
        def flush(self, mode=FLUSH_FRAME):
            return self.inner.flush(zlib.Z_SYNC_FLUSH if mode == self.FLUSH_BLOCK else zlib.Z_FINISH)

    from aiohttpd.testing import exchange
    if {present}:
        package, module = types.ModuleType("compression"), types.ModuleType("compression.zstd")
        package.zstd, module.ZstdCompressor = module, ZstdCompressor
        sys.modules |= {{"compression": package, "compression.zstd": module}}
    else:
        sys.modules["compression"] = None
    version, sys.version_info = sys.version_info, (3, 14, 0, "final", 0)
    from aiohttpd.compression import compress
    sys.version_info = version

    async def app(request, response):
        response.send_head(200, [("Content-Type", "text/plain")])
        response.write(b"text " * 1000)
        response.flush()
        response.write(b"end")

    for accepted in ("gzip, zstd", "zstd", "gzip", "br, zstd;q=0.5, gzip;q=0.6", "*"):
        request = b"GET / HTTP/1.0\\r\\nAccept-Encoding: %b\\r\\n\\r\\n" % accepted.encode()
        head, _, body = asyncio.run(exchange(compress(app), request)).partition(b"\\r\\n\\r\\n")
        [coding] = [line[18:] for line in head.decode().splitlines() if line.startswith("Content-Encoding: ")] or ["-"]
        if coding != "-":
            body = zlib.decompress(body, 31 if coding == "gzip" else 15)
        assert body == b"text " * 1000 + b"end"
        print(coding, end=" ")
"""


@pytest.mark.parametrize(
    ("present", "codings"), [(True, "zstd zstd gzip gzip zstd"), (False, "gzip - gzip gzip gzip")], ids=str
)
def test_zstd(present: bool, codings: str) -> None:
    code = textwrap.dedent(FAKE).format(present=present)
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.sub(r"\s+", " ", done.stdout).strip() == codings
