"""Handlers of ``http.server`` as others have written them, unmodified: each does its main job through our engine.

Classes are served as Apps and by `aiohttpd.compat`; programs and modules that bring a server of their own are loaded
with ``http.server`` having our servers.
"""

import asyncio
import base64
import functools
import hashlib
import http.server
import importlib
import os
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

import aiohttpd
from aiohttpd import compat
from aiohttpd.testing import running

BOUND = 30.0  # seconds after which a test has failed, whatever it waits for
MIB = 1024 * 1024

SERVERS = ("HTTPServer", "ThreadingHTTPServer")

# A program begins with this: what it imports from http.server is ours.
OURS = """
import http.server, runpy, sys
from aiohttpd import compat
http.server.HTTPServer = compat.HTTPServer
http.server.ThreadingHTTPServer = compat.ThreadingHTTPServer
"""
MODULE = (
    OURS
    + """
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
)

Serving = Callable[[Any], AbstractAsyncContextManager[str]]


async def assert_ours(url: str, context: ssl.SSLContext | None = None) -> None:
    """Our engine listens there: it refuses a line that ends without CR, which ``http.server`` takes."""
    parts = httpx.URL(url)
    name = None if context is None else parts.host
    reader, writer = await asyncio.open_connection(parts.host, parts.port, ssl=context, server_hostname=name)
    writer.write(b"GET / HTTP/1.1\nHost: here\n\n")
    async with asyncio.timeout(BOUND):
        answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ") and b"\r\nServer: aiohttpd/" in answer, answer


@asynccontextmanager
async def as_app(factory: Any) -> AsyncIterator[str]:
    """Serve what makes handlers by the engine itself."""
    async with running(factory, access_log=False) as server:
        await assert_ours(server.url)
        yield server.url


@asynccontextmanager
async def in_thread(server: Any) -> AsyncIterator[str]:
    """Have a server of the kind of ``socketserver`` serve in a thread."""
    assert isinstance(server, compat.HTTPServer)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        await assert_ours(url)
        yield url
    finally:
        await asyncio.to_thread(server.shutdown)
        await asyncio.to_thread(thread.join)
        server.server_close()


def by_compat(server_class: Any) -> Serving:
    def serve(factory: Any) -> AbstractAsyncContextManager[str]:
        return in_thread(server_class(("127.0.0.1", 0), factory))

    return serve


both = pytest.mark.parametrize(
    "serving",
    [as_app, by_compat(compat.HTTPServer), by_compat(compat.ThreadingHTTPServer)],
    ids=["app", *SERVERS],
)


def client(url: str, **options: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=BOUND, trust_env=False, **options)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Load modules anew while ``http.server`` has our servers; they are forgotten afterwards."""
    loaded: dict[str, Any] = {}

    def load(*names: str) -> Any:
        loaded.update({name: importlib.import_module(name) for name in names})  # with all that they import
        with monkeypatch.context() as patch:
            for name in SERVERS:
                patch.setattr(http.server, name, getattr(compat, name))
            for name in names:
                del sys.modules[name]
            return [importlib.import_module(name) for name in names][-1]

    yield load
    for name, module in loaded.items():
        sys.modules[name] = module
        package, _, last = name.rpartition(".")
        setattr(sys.modules[package], last, module)


@contextmanager
def their_program(folder: Path, *arguments: str, code: str = MODULE, reports: str | None = None) -> Iterator[str]:
    """Run a program; gives the URL that it names, and sees that Ctrl-C ends it quietly.

    Args:
        folder: where it runs.
        arguments: the module and its arguments.
        code: what it is.
        reports: what we say to its standard error; else nothing, and no traceback goes through us.
    """
    command = [sys.executable, "-u", "-W", "ignore::DeprecationWarning", "-c", code, *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        said = ""
        while (match := re.search(r"https?://127\.0\.0\.1:[1-9]\d*", said)) is None:
            line = process.stdout.readline()
            assert line, f"it has ended: {said}"
            said += line
        yield match[0]
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=BOUND)
        assert process.returncode == 0, said + rest
        assert reports in rest if reports is not None else "aiohttpd" not in rest, rest
    finally:
        process.kill()
        process.communicate()


# prometheus_client


def registry() -> Any:
    from prometheus_client import CollectorRegistry, Counter

    registry = CollectorRegistry()
    Counter("cakes", "Cakes eaten", registry=registry).inc(3)
    return registry


async def scrape(url: str) -> None:
    """What a Prometheus server does: both formats, compressed, one metric only."""
    async with client(url) as http:
        plain = await http.get("/metrics")
        assert plain.status_code == 200
        assert plain.headers["Content-Encoding"] == "gzip"
        assert "\ncakes_total 3.0\n" in plain.text
        modern = await http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert modern.headers["Content-Type"].startswith("application/openmetrics-text")
        assert modern.text.endswith("# EOF\n")
        named = await http.get("/metrics", params={"name[]": "nothing"}, headers={"Accept-Encoding": "identity"})
        assert named.text == ""


class TestPrometheusClient:
    @both
    async def test_metrics_handler(self, serving: Serving) -> None:
        from prometheus_client import MetricsHandler

        async with serving(MetricsHandler.factory(registry())) as url:
            await scrape(url)

    async def test_start_http_server(self, load: Callable[..., Any]) -> None:
        exposition = load("wsgiref.simple_server", "prometheus_client.exposition")
        server, thread = exposition.start_http_server(0, addr="127.0.0.1", registry=registry())
        assert isinstance(server, compat.HTTPServer)
        url = f"http://127.0.0.1:{server.server_port}/"
        await assert_ours(url)
        await asyncio.gather(*(scrape(url) for _ in range(4)))
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)


# RangeHTTPServer


class TestRangeHTTPServer:
    CONTENT = bytes(range(256)) * 16 * 1024  # 4 MiB

    async def ranges(self, url: str) -> None:
        content = self.CONTENT
        async with client(url) as http:
            for value, first, end in (
                ("bytes=1000-1999", 1000, 2000),
                ("bytes=100000-", 100_000, len(content)),
                ("bytes=4194303-9999999", len(content) - 1, len(content)),
            ):
                part = await http.get("/genome.bin", headers={"Range": value})
                assert part.status_code == 206
                assert part.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(content)}"
                assert part.content == content[first:end]
            assert (await http.get("/genome.bin", headers={"Range": "lines=1"})).status_code == 400
            whole = await http.get("/genome.bin")
            assert whole.content == content
            assert whole.headers["Server"].startswith("SimpleHTTP")  # 3.15 has no version there
            assert "genome.bin" in (await http.get("/")).text

    @both
    async def test_ranges(self, serving: Serving, tmp_path: Path) -> None:
        from RangeHTTPServer import RangeRequestHandler

        (tmp_path / "genome.bin").write_bytes(self.CONTENT)
        async with serving(functools.partial(RangeRequestHandler, directory=tmp_path)) as url:
            await self.ranges(url)

    async def test_on_the_command_line(self, tmp_path: Path) -> None:
        (tmp_path / "genome.bin").write_bytes(self.CONTENT)
        arguments = ("aiohttpd", "serve", "RangeHTTPServer:RangeRequestHandler", "--port", "0")
        with their_program(tmp_path, *arguments) as url:
            await assert_ours(url)
            await self.ranges(url)
            async with client(url) as http:
                beyond = await http.get("/genome.bin", headers={"Range": f"bytes={len(self.CONTENT)}-"})
            assert beyond.status_code == 416  # it leaves the file open then, which pytest would see


# uploadserver


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="uploadserver uses cgi and CGIHTTPRequestHandler, gone in 3.15")
class TestUploadserver:
    async def test_program(self, tmp_path: Path) -> None:
        files = {"big one.bin": os.urandom(5 * MIB), "small.txt": b"small", "empty": b""}
        arguments = ("uploadserver", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path))
        arguments += ("--basic-auth-upload", "me:secret")
        with their_program(tmp_path, *arguments) as url:
            await assert_ours(url)
            async with client(url) as http:
                assert 'enctype="multipart/form-data"' in (await http.get("/upload", auth=("me", "secret"))).text
                parts = [("files", (name, content)) for name, content in files.items()]
                stored = await http.post("/upload", files=parts, auth=("me", "secret"))
                assert stored.status_code == 204
                assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
                again = await http.put("/upload", files=[("files", ("small.txt", b"again"))], auth=("me", "secret"))
                assert again.status_code == 204
                assert (tmp_path / "small (1).txt").read_bytes() == b"again"
                assert (await http.post("/upload", files=parts[:1])).status_code == 401  # its body is never read
                assert (await http.post("/elsewhere", files=parts[:1])).status_code == 404
                listing = await http.get("/")
                assert "File Upload" in listing.text and "big one.bin" in listing.text
                assert (await http.get("/big one.bin")).content == files["big one.bin"]

    @both
    @pytest.mark.filterwarnings("ignore:'cgi' is deprecated:DeprecationWarning")
    async def test_handler(self, serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import uploadserver

        options = {"directory": str(tmp_path), "allow_replace": True, "theme": "auto"}
        args = types.SimpleNamespace(basic_auth=None, basic_auth_upload=None, **options)
        monkeypatch.setattr(uploadserver, "args", args, raising=False)
        content = os.urandom(3 * MIB)
        async with serving(functools.partial(uploadserver.SimpleHTTPRequestHandler, directory=str(tmp_path))) as url:
            async with client(url) as http:
                assert (await http.post("/upload", files={"files": ("a.bin", content)})).status_code == 204
                assert (await http.get("/a.bin")).content == content
                assert (await http.post("/upload", files={"other": ("a.bin", b"")})).status_code == 400


# werkzeug, with Flask


SHOP = """
import flask, hashlib, sys

app = flask.Flask(__name__)

@app.post("/json")
def json():
    return {**flask.request.get_json(), "by": flask.request.environ["SERVER_SOFTWARE"]}

@app.get("/stream")
def stream():
    return (b"%d\\n" % n * 1000 for n in range(100))

@app.put("/digest")
def digest():
    sha = hashlib.sha256()
    size = 0
    while data := flask.request.stream.read(65536):
        sha.update(data)
        size += len(data)
    return {"size": size, "sha256": sha.hexdigest(), "scheme": flask.request.scheme}

@app.post("/form")
def form():
    content = flask.request.files["photo"].read()
    return {"name": flask.request.form["name"], "size": len(content)}

@app.post("/refused")
def refused():
    flask.abort(413)

@app.get("/wrong")
def wrong():
    raise ZeroDivisionError
"""


class TestFlask:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "shop.py").write_text(SHOP)
        return tmp_path

    async def shop(self, http: httpx.AsyncClient) -> None:
        posted = await http.post("/json", json={"cake": ["a", "b"]})
        assert posted.json()["cake"] == ["a", "b"]
        assert posted.json()["by"].startswith("Werkzeug/") and posted.headers["Server"].startswith("Werkzeug/")
        streamed = await http.get("/stream")
        assert streamed.content == b"".join(b"%d\n" % n * 1000 for n in range(100))
        content = os.urandom(3 * MIB)
        want = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest(), "scheme": http.base_url.scheme}
        assert (await http.put("/digest", content=content)).json() == want

        async def pieces() -> AsyncIterator[bytes]:
            for at in range(0, len(content), 100_000):
                yield content[at : at + 100_000]

        chunked = await http.put("/digest", content=pieces())
        assert chunked.request.headers["Transfer-Encoding"] == "chunked"
        assert chunked.json() == want
        sent = await http.post("/form", data={"name": "me"}, files={"photo": ("p.jpg", content)})
        assert sent.json() == {"name": "me", "size": len(content)}
        assert (await http.post("/refused", content=content)).status_code == 413
        assert (await http.head("/stream")).content == b""
        assert (await http.get("/nowhere")).status_code == 404

    @pytest.mark.parametrize("threads", ["--with-threads", "--without-threads"])
    async def test_run(self, folder: Path, threads: str) -> None:
        with their_program(folder, "flask", "--app", "shop", "run", "--port", "0", threads) as url:
            await assert_ours(url)
            async with client(url) as http:
                await self.shop(http)
                assert (await http.get("/wrong")).status_code == 500
                if threads == "--with-threads":
                    await asyncio.gather(*(self.shop(http) for _ in range(2)))

    async def test_run_with_tls(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1")
        certificate.private_key_and_cert_chain_pem.write_to_path(folder / "cert.pem")
        context = ssl.create_default_context()
        authority.configure_trust(context)
        arguments = ("run", "--port", "0", "--cert", "cert.pem", "--key", "cert.pem")
        with their_program(folder, "flask", "--app", "shop", *arguments) as url:
            await assert_ours(url, context)
            async with client(url, verify=context) as http:
                await self.shop(http)


# Pelican


# It changes what a logger is, so it gets a process of its own. `pelican --listen` does not say which port it has got.
SITE = """
from pelican.server import ComplexHTTPRequestHandler, RootedHTTPServer

class Threads(compat.ThreadingMixIn, RootedHTTPServer):
    daemon_threads = True

server = {"one": RootedHTTPServer, "threads": Threads}[sys.argv[1]](".", ("127.0.0.1", 0), ComplexHTTPRequestHandler)
print(f"http://127.0.0.1:{server.server_port}")
try:
    server.serve_forever()
except KeyboardInterrupt:
    server.server_close()
"""


class TestPelican:
    @pytest.mark.parametrize("kind", ["one", "threads"])
    async def test_site(self, tmp_path: Path, kind: str) -> None:
        (tmp_path / "index.html").write_text("<h1>Home</h1>")
        (tmp_path / "about.html").write_text("<h1>About</h1>")
        (tmp_path / "posts").mkdir()
        (tmp_path / "posts" / "index.html").write_text("<h1>Posts</h1>")
        (tmp_path / "font.woff2").write_bytes(os.urandom(2 * MIB))
        # For a page that is not there it gives no answer at all; http.server closes the connection then.
        reports = "ContractError: the handler returned without an answer"
        with their_program(tmp_path, kind, code=OURS + SITE, reports=reports) as url:
            await assert_ours(url)
            async with client(url) as http:
                for path, want in (("/", "Home"), ("/about", "About"), ("/about?x=1", "About"), ("/posts/", "Posts")):
                    answer = await http.get(path)
                    assert (answer.status_code, answer.text) == (200, f"<h1>{want}</h1>"), path
                font = await http.get("/font.woff2")
                assert font.headers["Content-Type"] == "font/woff2"
                assert font.content == (tmp_path / "font.woff2").read_bytes()
                assert (await http.get("/nowhere")).status_code == 500


# pdoc


@pytest.mark.filterwarnings("ignore:os.path.commonprefix:DeprecationWarning")  # of pygments, from 3.15 on
class TestPdoc:
    async def test_live_server(self, load: Callable[..., Any]) -> None:
        module = load("pdoc.web")
        server = module.DocServer(("127.0.0.1", 0), ["aiohttpd.net.clock", "json"])
        async with in_thread(server) as url, client(url) as http:
            index = await http.get("/")
            assert 'href="json.html"' in index.text
            page = await http.get("/json.html")
            assert page.status_code == 200 and "JSONDecodeError" in page.text
            assert float((await http.get("/aiohttpd/net/clock.html?mtime=1")).text) > 0
            assert "JSONDecoder" in (await http.get("/search.js")).text
            head = await http.head("/json.html")
            assert head.status_code == 200 and head.content == b""
            assert (await http.get("/os.html")).status_code == 404


# PyWebDAV3


class TestPyWebDAV:
    @pytest.fixture
    def handler(self, tmp_path: Path) -> Any:
        from pywebdav.server.fileauth import DAVAuthHandler
        from pywebdav.server.fshandler import FilesystemHandler

        class Settings(types.SimpleNamespace):
            def getboolean(self, name: str) -> bool:
                return bool(getattr(self, name, False))

        dav = Settings(
            user="me",
            password="secret",
            lockemulation=True,
            chunked_http_response=True,
            http_response_use_iterator=True,
            http_request_use_iterator=True,
        )

        class Handler(DAVAuthHandler):  # type: ignore[misc]
            _config = types.SimpleNamespace(DAV=dav)
            IFACE_CLASS = FilesystemHandler(str(tmp_path), "http://127.0.0.1/")

        Handler.IFACE_CLASS.mimecheck = True
        Handler.IFACE_CLASS.baseurl = ""
        return Handler

    @both
    async def test_folder(self, serving: Serving, handler: Any, tmp_path: Path) -> None:
        if serving is not as_app:  # chunks in an answer that says HTTP/1.0, else
            handler.protocol_version = "HTTP/1.1"
        content = os.urandom(2 * MIB)
        # Asked for gzip it would announce chunks, and send none.
        plain = {"Accept-Encoding": "identity"}
        async with serving(handler) as url, client(url, auth=("me", "secret"), headers=plain) as http:
            assert (await http.get("/", auth=("me", "wrong"))).status_code == 401
            options = await http.options("/")
            assert options.headers["DAV"] == "1,2" and "LOCK" in options.headers["Allow"]
            assert (await http.request("MKCOL", "/cakes")).status_code == 201
            assert (await http.put("/cakes/big.bin", content=content)).status_code == 201
            assert (tmp_path / "cakes" / "big.bin").read_bytes() == content
            assert (await http.get("/cakes/big.bin")).content == content
            part = await http.get("/cakes/big.bin", headers={"Range": "bytes=10-19"})
            assert part.status_code == 206
            found = await http.request("PROPFIND", "/cakes/", headers={"Depth": "1"})
            assert found.status_code == 207 and "big.bin" in found.text
            where = {"Destination": "http://127.0.0.1/cakes/copy.bin"}
            assert (await http.request("COPY", "/cakes/big.bin", headers=where)).status_code in (201, 204)
            assert (tmp_path / "cakes" / "copy.bin").read_bytes() == content
            where = {"Destination": "http://127.0.0.1/moved.bin"}
            assert (await http.request("MOVE", "/cakes/copy.bin", headers=where)).status_code in (201, 204)
            assert (await http.delete("/cakes/big.bin")).status_code == 204
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["cakes", "moved.bin"]


# A proxy, of the kind that is written again and again.


class Proxy(http.server.BaseHTTPRequestHandler):
    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        try:
            far = socket.create_connection((host, int(port)), timeout=BOUND)
        except OSError:
            self.send_error(502)
            return
        with far:
            self.send_response(200, "Connection established")
            self.end_headers()
            ends = [self.connection, far]
            self.close_connection = False
            while not self.close_connection:
                readable, _, failed = select.select(ends, [], ends, BOUND)
                if failed or not readable:
                    break
                for source in readable:
                    data = source.recv(8192)
                    if not data:
                        self.close_connection = True
                        break
                    (far if source is self.connection else self.connection).sendall(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Vault(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        for _ in range(16):
            self.wfile.write(b"g" * (256 * 1024))
            await self.wfile.drain()

    async def do_PUT(self) -> None:
        content = await self.rfile.read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(hashlib.sha256(content).hexdigest().encode())


@both
class TestConnectProxy:
    async def test_https_through_it(self, serving: Serving) -> None:
        authority = trustme.CA()
        inside = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(inside)
        outside = ssl.create_default_context()
        authority.configure_trust(outside)
        content = os.urandom(4 * MIB)
        async with running(Vault, ssl=inside, access_log=False) as vault, serving(Proxy) as proxy:
            async with client(vault.url, proxy=proxy, verify=outside) as http:
                assert (await http.get("/")).content == b"g" * (4 * MIB)
                stored = await http.put("/", content=content)
                assert stored.text == hashlib.sha256(content).hexdigest()

    async def test_nobody_there(self, serving: Serving) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))  # and it never listens
            url = f"https://127.0.0.1:{silent.getsockname()[1]}"
            async with serving(Proxy) as proxy, client(url, proxy=proxy) as http:
                with pytest.raises(httpx.ProxyError, match="502"):
                    await http.get("/")


# A WebSocket by hand: the handler reads what follows its 101.


class Socket(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    by_socket = False

    def do_GET(self) -> None:
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101, "Switching Protocols")
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.close_connection = True
        while True:
            first, size = self.take(2)
            mask = self.take(4)
            text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.take(size & 127)))
            self.give(bytes([first, len(text)]) + text)
            if first & 15 == 8:
                return

    def take(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            rest = size - len(data)
            more = self.connection.recv(rest) if self.by_socket else self.rfile.read(rest)
            assert more, "the client has gone"
            data += more
        return data

    def give(self, data: bytes) -> None:
        if self.by_socket:
            self.connection.sendall(data)
        else:
            self.wfile.write(data)
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def frame(kind: int, text: bytes) -> bytes:
    mask = os.urandom(4)
    return bytes([128 | kind, 128 | len(text)]) + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))


@both
@pytest.mark.parametrize("by_socket", [False, True], ids=["files", "socket"])
class TestUpgrade:
    HEAD = (
        b"GET /chat HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )

    @pytest.mark.parametrize("early", [False, True], ids=["after", "with the head"])
    async def test_web_socket(self, serving: Serving, by_socket: bool, early: bool) -> None:
        handler = type("Handler", (Socket,), {"by_socket": by_socket})
        async with serving(handler) as url, asyncio.timeout(BOUND):
            port = httpx.URL(url).port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            hello = frame(1, b"hello")
            writer.write(self.HEAD + hello if early else self.HEAD)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101 ")
            assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head  # RFC 6455 section 1.3
            if not early:
                writer.write(hello)
            assert await reader.readexactly(7) == b"\x81\x05hello"
            for n in range(50):
                text = b"%d" % n * 20
                writer.write(frame(2, text))
                assert await reader.readexactly(2 + len(text)) == bytes([130, len(text)]) + text
            writer.write(frame(8, b""))
            assert await reader.read() == b"\x88\x00"
            writer.close()
