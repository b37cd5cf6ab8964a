"""What an application gets of its server, beyond the rows of the table: options, TLS, sockets, limits, doors."""

import asyncio
import socket
import ssl
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

import aiohttpd
from aiohttpd.asgi.host import hosted
from aiohttpd.asgi.scope import distinguished_name
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare
from aiohttpd.server.layers import connection_factory, make_recorder
from aiohttpd.testing import MemoryTransport, exchange, running

from ..support.clients import MIB, chunk, connected, get, head, post
from ..support.loops import joined, on_both_loops
from ..support.waiting import until
from ..support.wire import finals

Scope = dict[str, Any]


class Recorder:
    """An application that keeps what it was given, and answers."""

    def __init__(self, body: bytes = b"hello") -> None:
        self.body = body
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        self.scopes.append(scope)
        await answer(send, self.body, headers=[(b"content-type", b"text/plain")])


async def answer(send: Any, body: bytes = b"ok", status: int = 200, headers: Any = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def hello(scope: Scope, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await answer(send, b"hello")


# The scope.


async def test_root_path() -> None:
    app = Recorder()
    async with running(aiohttpd.asgi.host(app, root_path="/shop/"), root_path="/api") as server:
        async with httpx.AsyncClient() as client:
            await client.get(server.url + "/a%20b")
    assert app.scopes[0]["root_path"] == "/api/shop"
    assert app.scopes[0]["path"] == "/api/shop/a b"
    assert app.scopes[0]["raw_path"] == b"/a%20b"


async def test_behind_a_mount_of_a_router() -> None:
    app = Recorder()
    site = aiohttpd.Router({"/shop/": aiohttpd.asgi.host(app), "/other shop/": aiohttpd.asgi.host(app)})
    async with running(site, root_path="/api") as server, connected(server) as client:
        for path in ("/shop/a%2Fb?c", "/other%20shop/"):
            assert (await client.ask(path)).status == 200
    first, second = app.scopes
    assert (first["root_path"], first["path"], first["raw_path"]) == ("/api/shop", "/api/shop/a/b", b"/shop/a%2Fb")
    assert first["query_string"] == b"c"
    assert (second["root_path"], second["path"], second["raw_path"]) == (
        "/api/other shop", "/api/other shop/", b"/other%20shop/",
    )  # fmt: skip


async def test_a_router_passes_the_lifespan_on() -> None:
    app = Stateful()
    async with running(aiohttpd.Router({"/": aiohttpd.asgi.host(app)})) as server, connected(server) as client:
        await client.ask()
    assert app.found == [({"shared": [1], "number": 0}, "set")]


@pytest.mark.parametrize("path", ["api", "api/", "x/y"])
def test_what_is_no_root_path(path: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        aiohttpd.asgi.host(hello, root_path=path)
    with pytest.raises(ValueError, match="root_path"):
        aiohttpd.Config(root_path=path)


@pytest.mark.parametrize("path", ["/", "/a/", "//a.example", "/a//b", "/a b", "/a?b", "/a\r\nX: 1", "/a%", "/\xe9"])
def test_what_is_no_root_path_of_a_server(path: str) -> None:
    with pytest.raises(ValueError, match="root_path"):
        aiohttpd.Config(root_path=path)


@pytest.mark.parametrize("path", ["", "/a", "/a/b", "/%C3%A9", "/~a.b-c/@:,"])
def test_root_paths_of_a_server(path: str) -> None:
    assert aiohttpd.Config(root_path=path).root_path == path


@pytest.mark.parametrize(
    ("target", "path", "raw"),
    [
        ("/a%2Fb", "/a/b", b"/a%2Fb"),
        ("/%FF", "/\ufffd", b"/%FF"),
        ("//a//b", "//a//b", b"//a//b"),
        ("/a?b=%20", "/a", b"/a"),
        ("/?", "/", b"/"),
        ("/a;b=c", "/a;b=c", b"/a;b=c"),
        ("http://other/x?y", "/x", b"/x"),
        ("http://other", "/", b"/"),
    ],
)
async def test_targets(target: str, path: str, raw: bytes) -> None:
    app = Recorder()
    await exchange(app, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    [scope] = app.scopes
    assert (scope["path"], scope["raw_path"]) == (path, raw)
    host = b"other" if target.startswith("http") else b"localhost"
    assert scope["headers"][0] == (b"host", host)


async def test_absolute_targets_leave_no_trace() -> None:
    """The fields are the same, byte for byte; the host is not."""
    app = Recorder()
    targets = ["/", "http://one/", "/", "http://two/", "/"]
    await exchange(app, [f"GET {target} HTTP/1.1\r\nHost: zero\r\n\r\n".encode() for target in targets])
    assert [scope["headers"] for scope in app.scopes] == [
        [(b"host", name)] for name in (b"zero", b"one", b"zero", b"two", b"zero")
    ]


async def test_options_asterisk() -> None:
    app = Recorder()
    await exchange(app, b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
    assert app.scopes[0]["path"] == "*"


async def test_a_trusted_proxy() -> None:
    app = Recorder()
    fields = ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example"]
    async with running(app, trusted_proxies="127.0.0.1") as server, connected(server) as client:
        await client.send(get("/", *fields), get("/"))
        await client.answer()
        await client.answer()
    first, second = app.scopes
    assert (first["scheme"], first["client"][0]) == ("https", "203.0.113.7")
    assert first["headers"][0] == (b"host", b"shop.example")
    assert (second["scheme"], second["client"][0]) == ("http", "127.0.0.1")
    assert second["headers"][0] == (b"host", b"localhost")


async def test_unix_sockets(tmp_path: Path) -> None:
    app = Recorder()
    path = str(tmp_path / "socket")
    async with aiohttpd.HTTPServer(path, app) as server, connected(server) as client:
        await client.ask()
    assert app.scopes[0]["server"] == (path, None)
    assert app.scopes[0]["client"] is None


@pytest.mark.skipif(sys.platform != "linux", reason="a name in no folder is Linux's")
async def test_a_unix_socket_without_a_folder() -> None:
    app = Recorder()
    sock, client = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    name = f"\0aiohttpd-test-{id(app)}"
    sock.bind(name)
    sock.listen()
    client.setblocking(False)
    async with aiohttpd.HTTPServer(sock, app):
        with client:
            client.connect(name)
            await asyncio.get_running_loop().sock_sendall(client, get("/"))
            assert (await asyncio.get_running_loop().sock_recv(client, 1000)).startswith(b"HTTP/1.1 200 ")
    assert app.scopes[0]["server"] == (name, None)


@on_both_loops
async def test_tls(authority: trustme.CA) -> None:
    app = Recorder()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    async with running(app, ssl=context) as server:
        async with connected(server, tls=client_context) as client:
            await client.ask()
        own = authority.issue_cert("client.example", common_name="a, b", organization_name="Shop")
        own.configure_cert(client_context)
        async with connected(server, tls=client_context) as client:
            await client.ask()
    bare, known = [scope["extensions"]["tls"] for scope in app.scopes]
    assert app.scopes[0]["scheme"] == "https"
    assert set(bare) == {
        "server_cert", "client_cert_chain", "client_cert_name", "client_cert_error", "tls_version", "cipher_suite",
    }  # fmt: skip
    assert (bare["client_cert_chain"], bare["client_cert_name"]) == ([], None)
    assert bare["tls_version"] == 0x0304
    assert 0x1301 <= bare["cipher_suite"] <= 0x1305
    assert known["client_cert_chain"][0].startswith("-----BEGIN CERTIFICATE-----")
    assert "CN=a\\, b" in known["client_cert_name"]
    assert "O=Shop" in known["client_cert_name"]


async def test_tls_of_files(authority: trustme.CA, tmp_path: Path) -> None:
    app = Recorder()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    async with running(app, ssl=aiohttpd.Certificates(str(tmp_path / "server.pem")).context()) as server:
        async with connected(server, tls=client_context) as client:
            await client.ask()
            sent = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    told = app.scopes[0]["extensions"]["tls"]["server_cert"]
    assert ssl.PEM_cert_to_DER_cert(told) == sent


def test_distinguished_names() -> None:
    subject = ((("countryName", "DE"),), (("organizationName", " #a+b "), ("userId", "x")), (("commonName", "#n"),))
    assert distinguished_name({"subject": subject}) == "CN=\\#n,O=\\ #a\\+b\\ +UID=x,C=DE"


# State and context.

WORD: ContextVar[str] = ContextVar("WORD", default="unset")


class Stateful:
    def __init__(self) -> None:
        self.found: list[Any] = []

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["shared"] = []
            scope["state"]["number"] = len(self.found)
            WORD.set("set")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            assert WORD.get() == "set"
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.found.append((scope["state"].copy(), WORD.get()))
        scope["state"]["shared"].append(1)
        scope["state"]["number"] = "mine"
        WORD.set("of a request")
        await answer(send)


async def test_state_and_context() -> None:
    app = Stateful()
    async with running(app) as server, connected(server) as client:
        await client.ask()
        await client.ask()
    assert app.found == [({"shared": [1, 1], "number": 0}, "set")] * 2
    assert WORD.get() == "unset"


async def test_each_server_has_its_own_state() -> None:
    app = aiohttpd.asgi.host(inner := Stateful())
    async with running(app) as one, running(app) as two:
        for server in (one, two):
            async with connected(server) as client:
                await client.ask()
    assert inner.found[0][0]["shared"] is not inner.found[1][0]["shared"]


# Bodies.


class Reader:
    """Reads all; keeps the messages, and what it is raised."""

    def __init__(self, *, answers: bool = True) -> None:
        self.messages: list[Any] = []
        self.answers = answers
        self.raised: Exception | None = None
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        try:
            while not self.messages or self.messages[-1].get("more_body"):
                self.messages.append(await receive())
            if self.answers:
                try:
                    await answer(send, b"from the application")
                except OSError as error:
                    self.raised = error
                    raise
        finally:
            self.ended.set()


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
async def test_a_body_that_is_too_large(*, answers: bool, chunked: bool) -> None:
    """The client hears of the limit, whatever the application makes of it."""
    app = Reader(answers=answers)
    async with running(app, limit_body=1000) as server, connected(server) as client:
        if chunked:
            await client.send(head("POST", "/", "Transfer-Encoding: chunked"), chunk(bytes(2000)))
        else:
            await client.send(post(2000))
        response = await client.answer()
    assert response.status == 413
    assert app.messages[-1] == {"type": "http.disconnect"}
    assert (app.raised is not None) is answers


async def test_a_body_that_is_malformed() -> None:
    app = Reader()
    async with running(app) as server, connected(server) as client:
        await client.send(head("POST", "/", "Transfer-Encoding: chunked"), b"nonsense\r\n")
        assert (await client.answer()).status == 400
    assert app.messages[-1] == {"type": "http.disconnect"}


async def test_a_body_that_is_too_slow() -> None:
    app = Reader(answers=False)
    async with running(app, timeout_body=0.05) as server, connected(server) as client:
        await client.send(post(10), b"x")
        assert (await client.answer()).status == 408


async def test_a_body_that_is_answered_before() -> None:
    """A receive() that waits for more of it ends with the answer."""
    kinds: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        await receive()
        waiting = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await answer(send)
        kinds.append((await waiting)["type"])

    async with running(app) as server, connected(server) as client:
        await client.send(post(100), b"x")
        assert (await client.answer()).status == 200
        await until(lambda: kinds)
    assert kinds == ["http.disconnect"]


async def test_who_closes_only_one_side_has_the_answer() -> None:
    kinds: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        await receive()
        kinds.append((await receive())["type"])
        await answer(send, b"still here")

    async with running(app) as server, joined(server) as peer:
        await peer.send(get("/"))
        peer.half_close()
        assert b"still here" in await peer.rest()
    assert kinds == ["http.disconnect"]


async def test_who_is_told_and_gives_up_is_no_error() -> None:
    """As Django does it: it returns, or raises an exception of its own for that."""

    class RequestAborted(Exception):
        pass

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        await receive()
        await receive()
        if scope["path"] == "/raise":
            raise RequestAborted

    async with running(app) as server:
        for path in ("/return", "/raise"):
            async with joined(server) as peer:
                await peer.send(get(path))
                peer.half_close()
                assert await peer.rest() == b""


async def test_who_is_told_and_fails_is_one(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        await receive()
        await receive()
        raise KeyError("on purpose")

    async with running(app) as server, joined(server) as peer:
        await peer.send(get("/"))
        peer.half_close()
        await peer.rest()
    assert "on purpose" in caplog.text
    caplog.clear()


# Answers.


async def test_one_write() -> None:
    """An answer in one message leaves in one piece."""
    loop, config = asyncio.get_running_loop(), aiohttpd.Config(access_log=False)
    context = ServerContext(prepare(hosted(hello)), config, loop, recorder=make_recorder(config, None))
    transport = MemoryTransport(loop)
    transport.connect(connection_factory(context, lambda: None)())
    for number in range(3):
        transport.feed(get("/"))
        await until(lambda number=number: transport.writes > number)  # type: ignore[misc]
    assert transport.writes == 3
    transport.close()
    await transport.closed.wait()
    context.close()


async def test_head_of_an_endless_stream() -> None:
    """The head is the answer, the connection goes on, and the application is stopped after ``timeout_write``."""
    ended: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        if scope["method"] == "GET":
            await answer(send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x", "more_body": True})
                await asyncio.sleep(0.01)
        except OSError:
            ended.append("OSError")
            raise

    async with running(app, timeout_write=0.2) as server, connected(server) as client:
        await client.send(head("HEAD", "/"), get("/"))
        assert (await client.answer("HEAD"))["Content-Length"] is None
        assert (await client.answer()).body == b"ok"
        await until(lambda: ended)


async def test_a_path_that_is_no_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    raised: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for path in ("relative", str(tmp_path / "none"), str(tmp_path)):
            try:
                await send({"type": "http.response.pathsend", "path": path})
            except Exception as error:
                raised.append(type(error).__name__)
        (tmp_path / "file").write_bytes(b"content")
        await send({"type": "http.response.pathsend", "path": str(tmp_path / "file")})

    async with running(app) as server, connected(server) as client:
        response = await client.ask()
    assert raised == ["ValueError", "FileNotFoundError", "OSError"]
    assert (response["Content-Length"], response.body) == ("7", b"content")


@pytest.mark.parametrize("name", [b"content-length", b"Transfer-Encoding", b"set-cookie", "x-text"])
async def test_what_may_not_be_a_trailer(name: Any) -> None:
    raised: list[Exception] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "trailers": True})
        await send({"type": "http.response.body", "body": b"x"})
        try:
            await send({"type": "http.response.trailers", "headers": [(name, b"1")]})
        except (TypeError, ValueError) as error:
            raised.append(error)
        await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")], "more_trailers": True})
        await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})

    host = aiohttpd.asgi.host(app, lifespan="off")
    got = await exchange(host, get("/", "TE: deflate, Trailers", "Connection: TE"))
    assert got.endswith(b"1\r\nx\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n")
    assert raised


async def test_trailers_beside_a_length_are_dropped() -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"1")]
        await send({"type": "http.response.start", "status": 200, "trailers": True, "headers": headers})
        await send({"type": "http.response.body", "body": b"x"})
        await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")]})

    got = await exchange(aiohttpd.asgi.host(app, lifespan="off"), get("/", "TE: trailers", "Connection: TE"))
    assert got.endswith(b"\r\n\r\nx")


async def test_background_work_and_the_end_of_the_server() -> None:
    """It is waited for, for the grace; then it is cancelled, and that is no error."""
    found: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        await answer(send)
        try:
            await asyncio.sleep(60 if scope["path"] == "/long" else 0.2)
            found.append("done")
        except asyncio.CancelledError:
            found.append("cancelled")
            raise

    for path in ("/short", "/long"):
        async with running(app, timeout_grace=0.5) as server, connected(server) as client:
            await client.ask(path)
            assert server.in_flight == 1
    assert found == ["done", "cancelled"]


async def test_background_work_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        await answer(send)
        await asyncio.sleep(0.05)
        raise KeyError("on purpose")

    async with running(app) as server, connected(server) as client:
        await client.ask()
        await until(lambda: "on purpose" in caplog.text)
        assert (await client.ask()).status == 200  # the connection is as it was
        await until(lambda: caplog.text.count("on purpose'") >= 2)
    caplog.clear()


async def test_the_limit_of_requests_counts_background_work() -> None:
    released = asyncio.Event()

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise RuntimeError
        await answer(send)
        await released.wait()

    async with running(app, max_in_flight=1) as server, connected(server) as client:
        assert (await client.ask()).status == 200
        assert (await client.ask()).status == 503
        released.set()
        await until(lambda: not server.in_flight)
        assert (await client.ask()).status == 200


async def test_a_message_too_many_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Any, send: Any) -> None:
        await answer(send)
        await send({"type": "http.response.body", "body": b"more"})

    [response] = finals(await exchange(aiohttpd.asgi.host(app, lifespan="off"), get("/")))
    assert response.body == b"ok"
    assert "'http.response.body' was sent after the answer was complete, and is ignored" in caplog.text
    caplog.clear()


async def test_a_large_answer_keeps_the_memory_bounded() -> None:
    sent = 0

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        nonlocal sent
        if scope["type"] == "lifespan":
            raise RuntimeError
        await send({"type": "http.response.start", "status": 200})
        try:
            for _ in range(256):
                await send({"type": "http.response.body", "body": bytes(MIB // 4), "more_body": True})
                sent += MIB // 4
        except OSError:
            pass

    async with running(app) as server, joined(server, window=8192) as peer:
        await peer.send(get("/"))
        await until(lambda: sent)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        peer.reset()
    assert sent < 16 * MIB
