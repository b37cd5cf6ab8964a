"""Apps exported as ASGI: each kind of App, files, and unmodified handlers of http.server."""

import asyncio
import http.server
import pickle
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount

import aiohttpd
from aiohttpd.asgi import export
from aiohttpd.asgi.export import IncompleteAnswer

from ..support.asgi import OuterServer, asked, http_scope
from ..support.waiting import until


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("hello")

    async def do_POST(self) -> None:
        self.send_text(str(len(await self.rfile.read())))


class Root(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text(self.request.root_path)


class TestKinds:
    async def test_plain_methods(self) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read()
                self.send_response(200)
                self.end_headers()
                for _ in range(20):
                    self.wfile.write(data)
                    self.wfile.flush()

        data = bytes(range(256)) * 300
        answer = await asked(export(Handler), "POST", body=data)
        assert answer.content == data * 20
        assert answer.complete
        small = await asked(export(Handler), "POST", body=b"a")
        assert small.content == b"a" * 20

    async def test_plain_methods_that_fail(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                raise KeyError("plain")

        answer = await asked(export(Handler))
        assert answer.status == 500
        caplog.clear()

    @pytest.mark.parametrize("length", [True, False])
    async def test_wsgi(self, length: bool) -> None:
        def application(environ: Any, start_response: Any) -> list[bytes]:
            data = environ["wsgi.input"].read()
            start_response("200 Fine", [("X-A", "b"), *([("Content-Length", str(len(data) * 2))] if length else [])])
            return [data, data]

        answer = await asked(export(aiohttpd.wsgi(application)), "POST", body=b"abc")
        assert answer.content == b"abcabc"
        assert answer.field("x-a") == "b"
        assert answer.complete

    async def test_routers(self) -> None:
        router = aiohttpd.Router({"/a/{n:int}": Hello, "/in/": aiohttpd.Router({"/b": Root})})
        answer = await asked(export(router), "GET", "/root/in/b", root_path="/root")
        assert answer.content == b"/root/in"
        assert (await asked(export(router), "GET", "/a/3")).status == 200
        assert (await asked(export(router), "GET", "/a/x")).status == 404

    @pytest.mark.parametrize(
        ("root", "location"),
        [("/app", "/app/a/3"), ("//a.example", "/a.example/a/3"), ("/\\a.example", "/%5Ca.example/a/3")],
    )
    @pytest.mark.parametrize("whole", [True, False])
    async def test_a_redirect_stays_here(self, root: str, location: str, whole: bool) -> None:
        # A mount of the framework around it may have a parameter, so the client chooses the root path.
        router = aiohttpd.Router({"/a/{n:int}": Hello})
        answer = await asked(export(router), "GET", f"{root * whole}/a//3", root_path=root)
        assert (answer.status, answer.field("location")) == (308, location)

    async def test_compression_around_it(self) -> None:
        import gzip

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_text("hello " * 1000)

        answer = await asked(export(aiohttpd.compression.compress(Handler)), "GET", "/", ("accept-encoding", "gzip"))
        assert answer.field("content-encoding") == "gzip"
        assert gzip.decompress(answer.content) == b"hello " * 1000

    def test_it_can_be_pickled(self) -> None:
        again = pickle.loads(pickle.dumps(export(Hello, limit_body=5)))
        answer = asyncio.run(asked(again, "POST", body=b"123456"))
        assert answer.status == 413

    def test_loops_one_after_the_other(self) -> None:
        application = export(Hello)
        for _ in range(3):
            assert asyncio.run(asked(application)).status == 200


class TestFiles:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "big").write_bytes(bytes(range(256)) * 4096)
        return tmp_path

    @pytest.fixture
    def site(self, folder: Path) -> Any:
        class Site(aiohttpd.SimpleHTTPRequestHandler):
            directory = str(folder)

        return export(Site)

    async def test_whole(self, site: Any, folder: Path) -> None:
        answer = await asked(site, "GET", "/big")
        assert answer.content == (folder / "big").read_bytes()
        assert answer.complete
        assert answer.field("content-length") == str(2**20)
        assert len(answer.sent) > 3

    async def test_ranges_and_conditions(self, site: Any) -> None:
        answer = await asked(site, "GET", "/big", ("range", "bytes=300000-300009"))
        assert answer.status == 206
        assert answer.content == bytes(number % 256 for number in range(300000, 300010))
        tag = answer.field("etag")
        assert tag is not None
        assert (await asked(site, "GET", "/big", ("if-none-match", tag))).status == 304
        assert (await asked(site, "HEAD", "/big")).field("content-length") == str(2**20)

    async def test_by_path_where_that_is_offered(self, site: Any, folder: Path) -> None:
        offers = {"http.response.pathsend": {}}
        answer = await asked(site, "GET", "/big", extensions=offers)
        assert answer.sent[1:] == [{"type": "http.response.pathsend", "path": str(folder / "big")}]
        part = await asked(site, "GET", "/big", ("range", "bytes=0-9"), extensions=offers)
        assert part.content == bytes(range(10))

    async def test_listing_and_redirect(self, site: Any, folder: Path) -> None:
        (folder / "sub").mkdir()
        assert b"big" in (await asked(site, "GET", "/")).content
        answer = await asked(site, "GET", "/root/sub", root_path="/root")
        assert answer.status == 301
        assert answer.field("location") == "sub/"


class Old(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.send_header("X-Old", "yes")
        self.end_headers()
        self.wfile.write(b"hello")

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: Any) -> None:
        pass


class OldByConnection(Old):
    def handle(self) -> None:
        super().handle()


class OldAndShort(Old):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "50")
        self.end_headers()
        self.wfile.write(b"hello")


class OldUntilTheEnd(Old):
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")


class OldUpgrade(Old):
    def do_GET(self) -> None:
        self.send_response_only(101)
        self.send_header("Upgrade", "x")
        self.end_headers()


class TestOldHandlers:
    @pytest.mark.parametrize("handler", [Old, OldByConnection, OldUntilTheEnd])
    async def test_get(self, handler: Any) -> None:
        answer = await asked(export(handler), "GET", "/a")
        assert answer.status == 200
        assert answer.content == b"hello"
        assert answer.complete
        assert {"server", "date", "transfer-encoding"}.isdisjoint(dict(answer.headers))

    @pytest.mark.parametrize("handler", [Old, OldByConnection])
    @pytest.mark.parametrize("version", ["1.1", "2"])
    async def test_chunks_are_taken_apart(self, handler: Any, version: str) -> None:
        answer = await asked(export(handler), "POST", body=b"abc" * 1000, http_version=version)
        assert answer.content == b"abc" * 1000
        assert answer.complete
        assert "transfer-encoding" not in dict(answer.headers)

    async def test_head(self) -> None:
        class Handler(Old):
            def do_HEAD(self) -> None:
                self.do_GET()

        answer = await asked(export(Handler), "HEAD")
        assert answer.content == b""
        assert answer.complete

    async def test_one_that_is_short_is_cut(self, caplog: pytest.LogCaptureFixture) -> None:
        outer = OuterServer(export(OldAndShort), http_scope())
        with pytest.raises(IncompleteAnswer):
            await outer.run()
        assert not outer.complete
        caplog.clear()

    async def test_an_upgrade_says_that_it_cannot_be(self, caplog: pytest.LogCaptureFixture) -> None:
        outer = OuterServer(export(OldUpgrade), http_scope("GET", "/", ("connection", "upgrade"), ("upgrade", "x")))
        with pytest.raises(IncompleteAnswer):
            await outer.run()
        assert "no upgrade of a connection" in caplog.text
        caplog.clear()

    async def test_files(self, tmp_path: Path) -> None:
        import functools

        (tmp_path / "f").write_bytes(b"x" * 300_000)
        handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
        answer = await asked(export(handler), "GET", "/f")
        assert answer.content == b"x" * 300_000
        assert answer.complete

    async def test_nothing_is_left_of_a_handler_of_connections(self) -> None:
        application = export(OldByConnection)
        for _ in range(3):
            assert (await asked(application)).content == b"hello"
        await until(lambda: len(asyncio.all_tasks()) == 1)


class TestMounted:
    async def test_in_starlette(self) -> None:
        """Another framework around it: the path of the mount is the root path."""
        routes = [Mount("/mnt", export(aiohttpd.Router({"/a b/{n:int}": Root, "/": Root})))]
        site = Starlette(routes=routes)
        assert (await asked(site, "GET", "/mnt/a%20b/3")).content == b"/mnt"
        assert (await asked(site, "GET", "/mnt/")).content == b"/mnt"
        assert (await asked(site, "GET", "/mnt/a%20b/x")).status == 404

    async def test_a_middleware_that_reads_the_answer(self) -> None:
        async def passes(request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-seen"] = "yes"
            return response

        site = Starlette(routes=[Mount("/", export(Hello))], middleware=[Middleware(BaseHTTPMiddleware, passes)])
        answer = await asked(site, "POST", "/", body=b"x" * 300_000)
        assert answer.content == b"300000"
        assert answer.field("x-seen") == "yes"
