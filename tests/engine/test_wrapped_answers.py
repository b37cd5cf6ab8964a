"""Wrappers of answers: encoders behind a StreamWriter, objects around one, and what the contract keeps beside them."""

import asyncio
import gc
import tempfile
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from aiohttpd import App, BaseHTTPRequestHandler, Config, ContractError, HTTPError, Request, StreamWriter
from aiohttpd.compression import compress
from aiohttpd.engine.encoder import ChangedHead, EncoderWrapper, FileReader
from aiohttpd.engine.interfaces import Encoder, FileSource, ResponseHead, ResponseWriter
from aiohttpd.testing import exchange
from aiohttpd.wire.response import ResponseFields

from ..support.asking import QUIET, answer_to, fetch
from ..support.clients import expect_logged, get, head
from ..support.compressing import GZIP, PAGE, content_of
from ..support.waiting import BOUND
from ..support.wire import split

BIG = b"a" * 200_000


class Shouting(EncoderWrapper):
    """Changes content and adds a field; it keeps nothing."""

    def __init__(self, inner: Encoder) -> None:
        super().__init__(inner)
        self.restarts = 0

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        return self.inner.whole(self._changed(head), self._upper(parts), size)

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        return self.inner.begin(self._changed(head), self._upper(parts), size, push=push)

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        return self.inner.data(self._upper(parts), size, push=push)

    def end(self, parts: list[bytes], size: int) -> int:
        return self.inner.end(self._upper(parts), size)

    def file(self, descriptor: int) -> FileSource:
        return FileReader(self, descriptor, 4)

    def restart(self) -> Encoder:
        self.restarts += 1
        return super().restart()

    def _changed(self, head: ResponseHead) -> ResponseHead:
        fields = ResponseFields(head.fields)
        fields.deciding = head.fields.deciding
        fields.add("X-Shouted", "yes")
        return ChangedHead(head, fields, length=head.length, mirrors_get=head.head_mirrors_get)

    def _upper(self, parts: list[bytes]) -> list[bytes]:
        return [part.upper() for part in parts]


def shouting(app: App) -> App:
    async def wrapped(request: Request, response: ResponseWriter) -> None:
        response.encode_with(Shouting(response.encoder))
        await app(request, response)

    return wrapped


def writing(*parts: bytes, flushed: bool = False, fields: Any = ()) -> App:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, fields)
        for part in parts:
            response.write(part)
            if flushed:
                await response.drain()

    return app


class TestBehind:
    """An encoder around the encoder."""

    @pytest.mark.parametrize("flushed", [True, False])
    @pytest.mark.parametrize("version", ["1.1", "1.0"])
    @pytest.mark.parametrize("length", [True, False])
    async def test_content_and_fields(self, flushed: bool, version: str, length: bool) -> None:
        fields = [("Content-Length", 6)] if length else []
        app = shouting(writing(b"abc", b"def", flushed=flushed, fields=fields))
        answer = await fetch(app, version=version)
        assert (answer.body, answer["X-Shouted"], answer.complete) == (b"ABCDEF", "yes", True)
        assert (answer["Content-Length"] == "6") is (length or not flushed)

    async def test_more_than_is_buffered(self) -> None:
        answer = await fetch(shouting(writing(BIG, b"", BIG)))
        assert answer.body == BIG.upper() * 2

    async def test_head(self) -> None:
        answer = await fetch(shouting(writing(b"abc")), method="HEAD")
        assert (answer["Content-Length"], answer["X-Shouted"], answer.body) == ("3", "yes", b"")

    async def test_the_contract_is_kept_before_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """What is written is held to the length that was promised, and can be replaced as ever."""
        answer = await fetch(shouting(writing(b"abc", fields=[("Content-Length", 5)])))
        expect_logged(caplog, "3 bytes of content, but Content-Length says 5")
        assert (answer.status, answer["X-Shouted"], answer.body) == (500, "yes", b"500 INTERNAL SERVER ERROR\n")

    @pytest.mark.parametrize("length", [True, False])
    async def test_a_file(self, length: bool) -> None:
        """It is read in pieces, and they go through the encoder."""

        async def app(request: Request, response: StreamWriter) -> None:
            response.send_head(200, [("Content-Length", 9)] if length else ())
            with tempfile.TemporaryFile() as file:
                file.write(b"0123456789abcdef")
                file.flush()
                await response.sendfile(file, 7, 9)

        answer = await fetch(shouting(app))
        assert (answer.body, answer["X-Shouted"], answer.complete) == (b"789ABCDEF", "yes", True)

    async def test_a_file_that_fails_before_anything_is_sent(self, caplog: pytest.LogCaptureFixture) -> None:
        """The encoder keeps the head back, so that there is an answer in its place."""

        async def app(request: Request, response: StreamWriter) -> None:
            response.send_head(200, [("Content-Type", "text/plain")])
            with tempfile.TemporaryFile() as file:
                with pytest.raises(EOFError):
                    await response.sendfile(file, 0, 10)

        async with asyncio.timeout(BOUND):
            answer = await fetch(compress(app), "/", GZIP)
        expect_logged(caplog, "has not been sent to its end")
        assert (answer.status, answer.complete) == (500, True)

    async def test_one_that_always_fails_ends_the_connection(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(EncoderWrapper):
            begun = False

            def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
                raise OSError("broken")

        async def app(request: Request, response: StreamWriter) -> None:
            response.encode_with(Broken(response.encoder))
            response.send_head(200)

        async with asyncio.timeout(BOUND):
            assert await exchange(app, get() + get(), config=QUIET) == b""
        assert [str(record.exc_info and record.exc_info[1]) for record in caplog.records] == ["broken"] * 3
        caplog.clear()

    async def test_errors_of_the_connection_go_through_it(self) -> None:
        async def refuse(request: Request, response: StreamWriter) -> None:
            response.send_head(200)
            response.write(b"abc")
            raise HTTPError(404, None, "nothing")

        answer = await fetch(shouting(refuse))
        assert answer.status == 404 and answer["X-Shouted"] == "yes" and answer.body.isupper()

    async def test_handlers_know_nothing_of_it(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_text("page")

            def do_PUT(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"from a thread")

        assert (await fetch(shouting(Handler.serve))).body == b"PAGE"
        assert (await fetch(shouting(Handler.serve), method="PUT")).body == b"FROM A THREAD"

    async def test_around_each_other(self) -> None:
        """What is nearest to the App gets content first."""
        answer = await fetch(compress(shouting(writing(PAGE, fields=[("Content-Type", "text/plain")]))), "/", GZIP)
        assert (answer["Content-Encoding"], answer["X-Shouted"]) == ("gzip", "yes")
        assert content_of(answer) == PAGE.upper()

    async def test_only_before_the_head(self) -> None:
        async def late(request: Request, response: StreamWriter) -> None:
            response.send_head(200)
            with pytest.raises(ContractError, match="after the head"):
                response.encode_with(Shouting(response.encoder))
            response.restart()
            response.encode_with(Shouting(response.encoder))
            response.send_head(200)
            response.write(b"abc")
            assert isinstance(response.encoder, Shouting) and response.encoder.restarts == 0

        assert (await fetch(late)).body == b"ABC"

    async def test_the_next_answer_has_none(self) -> None:
        async def first(request: Request, response: StreamWriter) -> None:
            await (shouting(writing(b"abc")) if request.path == "/first" else writing(b"abc"))(request, response)

        output = await exchange(first, get("/first") + get("/"), config=QUIET)
        assert [answer.body for answer in split(output)] == [b"ABC", b"abc"]

    @pytest.mark.parametrize("way", ["whole", "drained", "failed", "aborted"])
    async def test_it_does_not_keep_the_answer_alive(self, way: str) -> None:
        """An encoder may know its answer, which knows the request: they go without the garbage collector."""
        requests: list[weakref.ref[Request]] = []

        class Knowing(EncoderWrapper):
            response: StreamWriter

        async def app(request: Request, response: StreamWriter) -> None:
            requests.append(weakref.ref(request))
            knowing = Knowing(response.encoder)
            knowing.response = response
            response.encode_with(knowing)
            response.send_head(200)
            response.write(b"abc")
            if way == "drained":
                await response.drain()
            elif way == "failed":
                raise HTTPError(404)
            elif way == "aborted":
                response.abort()

        gc.collect()
        gc.disable()
        try:
            await exchange(app, get("/"), config=QUIET)
            assert requests[0]() is None
        finally:
            gc.enable()


class Counting:
    """An object around an answer, with the same names: what it does not change it leaves to it."""

    def __init__(self, inner: ResponseWriter) -> None:
        self._inner = inner
        self.written = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self._inner.write(b"<%b>" % data)


class TestAround:
    async def test_an_app_gets_it(self) -> None:
        seen: list[Counting] = []

        async def wrapped(request: Request, response: ResponseWriter) -> None:
            seen.append(Counting(response))
            await writing(b"abc", flushed=True)(request, seen[-1])

        assert (await fetch(wrapped)).body == b"<abc>"
        assert seen[0].written == 3 and seen[0].status == 200

    async def test_a_handler_gets_it(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_text("page")

        async def wrapped(request: Request, response: ResponseWriter) -> None:
            await Handler.serve(request, Counting(response))  # type: ignore[arg-type]

        answer = await fetch(wrapped)
        assert (answer.body, answer["Content-Length"]) == (b"<page>", "6")

    def test_a_stream_writer_is_what_apps_get(self) -> None:
        """All names of the Protocols are there."""
        nobody: Any = None
        writer = StreamWriter(nobody, nobody, nobody)
        for protocol in (ResponseWriter, ResponseHead):
            names = {name for name in {**vars(protocol), **protocol.__annotations__} if not name.startswith("_")}
            assert len(names) > 10
            assert not {name for name in names if not hasattr(writer, name)}


class TestContract:
    """What has nothing to do with who frames."""

    @pytest.mark.parametrize("call", ["flush", "drain", "writelines"])
    async def test_nothing_leaves_after_the_end(self, call: str) -> None:
        """Of an answer that somebody has kept, nothing gets into the next one."""
        kept: list[StreamWriter] = []

        async def app(request: Request, response: StreamWriter) -> None:
            for old in kept:
                if call == "writelines":
                    with pytest.raises(ContractError):
                        old.writelines([b"late"])
                elif (result := getattr(old, call)()) is not None:
                    await result
            kept.append(response)
            response.send_head(200)
            response.write(b"content")

        output = await exchange(app, get("/") * 3, config=QUIET)
        assert [answer.body for answer in split(output)] == [b"content"] * 3

    @pytest.mark.parametrize("length", [True, False])
    async def test_a_file_that_is_not_whole_cannot_be_completed(
        self, length: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A handler that goes on as if nothing had happened: nobody may take what it sends for an answer."""

        async def app(request: Request, response: StreamWriter) -> None:
            response.send_head(200, [("Content-Length", 20)] if length else [])
            with tempfile.TemporaryFile() as file:
                file.write(b"ten bytes.")
                file.flush()
                with pytest.raises(EOFError):
                    await response.sendfile(file, 0, 20)
            with pytest.raises(ContractError, match="nothing can follow it"):
                response.write(b"0123456789")

        output = await exchange(app, get("/") * 2, config=QUIET)
        expect_logged(caplog, "not been sent to its end")
        [answer] = split(output)
        assert not answer.complete and answer.body == b"ten bytes."

    @pytest.mark.parametrize("flushed", [True, False])
    async def test_own_chunks_for_http10(self, flushed: bool) -> None:
        """They are taken apart, and the client can tell the end of each answer."""

        async def app(request: Request, response: StreamWriter) -> None:
            response.send_head(200, [("Transfer-Encoding", "chunked")])
            response.write(b"3\r\nabc\r\n")
            if flushed:
                response.flush()
            response.write(b"2\r\nde\r\n0\r\n\r\n")

        request = get("/", "Connection: keep-alive", version="1.0")
        found = split(await exchange(app, request * 2, config=QUIET))
        expected = [(b"abcde", "close", None)] if flushed else [(b"abcde", "keep-alive", "5")] * 2
        assert [(each.body, each["Connection"], each["Content-Length"]) for each in found] == expected

    @pytest.mark.parametrize("flushed", [True, False])
    async def test_205_has_a_length(self, flushed: bool) -> None:
        """RFC 9110 section 15.3.6: a client waits for content else."""

        async def app(request: Request, response: StreamWriter) -> None:
            response.send_head(205)
            if flushed:
                await response.drain()

        for answer in split(await exchange(app, get("/") * 2, config=QUIET)):
            assert (answer["Content-Length"], answer["Transfer-Encoding"]) == ("0", None)

    async def test_empty_pieces_to_head_have_no_size(self) -> None:
        sizes: list[int] = []

        async def app(request: Request, response: StreamWriter) -> None:
            response.log = lambda status, size: sizes.append(size)
            response.send_head(200)
            response.writelines([b"", b"abc", b""])
            response.flush()

        output = await exchange(app, head("HEAD", "/") * 2, config=Config())
        assert len(split(output, ["HEAD"] * 2)) == 2 and sizes == [0, 0]


class Slow(EncoderWrapper):
    """A source of files of its own, as an encoder has it that changes content, or is framed by somebody else."""

    def file(self, descriptor: int) -> FileSource:
        return SlowSource(self)


class SlowSource:
    def __init__(self, encoder: EncoderWrapper) -> None:
        self._encoder = encoder

    async def send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> None:
        for at in range(count):
            await asyncio.sleep(0)
            passed(self._encoder.data([b"%d" % (at % 10)], 1, push=True))

    def close(self) -> None:
        pass


async def test_a_source_of_files_of_its_own() -> None:
    async def app(request: Request, response: StreamWriter) -> None:
        response.encode_with(Slow(response.encoder))
        response.send_head(200, [("Content-Length", 14)])
        response.write(b"<")
        await response.sendfile(0, 0, 12)
        response.write(b">")
        assert response.size == 13

    for answer in [await answer_to(app, get("/")), await answer_to(app, get("/"), get("/"))]:
        assert answer.body == b"<012345678901>"
