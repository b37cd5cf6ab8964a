"""TestServer: start and stop from both kinds of code, what is left, addresses, records."""

import asyncio
import contextlib
import gc
import http.server
import json
import os
import socket
import ssl
import sys
import threading
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

import aiohttpd
from aiohttpd.testing import Faults, TestServer, closed_port

from ..support.waiting import until


class Echo(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text(f"{self.path} {getattr(self.server, 'word', '')}".strip())

    async def do_POST(self) -> None:
        self.send_text(await self.text())


class Waiting(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        await asyncio.Event().wait()


def fetch(url: str, data: bytes | None = None) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, data=data)) as answer:
        return str(answer.read(), "utf-8")


def descriptors() -> set[str]:
    gc.collect()
    return {os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if name.isdigit()
            and os.path.exists(f"/proc/self/fd/{name}")}  # fmt: skip


class TestLife:
    def test_synchronous(self) -> None:
        with TestServer(Echo) as server:
            assert server.url == f"http://127.0.0.1:{server.port}"
            assert fetch(server.url_for("/a")) == "/a"

    async def test_asynchronous(self) -> None:
        before = set(threading.enumerate())  # other tests may have left some
        async with TestServer(Echo) as server, httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/a")).text == "/a"
            assert set(threading.enumerate()) <= before

    def test_start_and_stop(self) -> None:
        server = TestServer(Echo)
        server.start()
        url = server.url_for("/")
        assert fetch(url) == "/"
        server.stop()
        server.stop()
        with pytest.raises(OSError, match="refused"):
            fetch(url)
        with pytest.raises(RuntimeError, match="only once"):
            server.start()

    def test_before_the_start(self) -> None:
        with pytest.raises(RuntimeError, match="with statement"):
            _ = TestServer(Echo).url

    @pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors in /proc")
    def test_nothing_is_left(self) -> None:
        before, threads = descriptors(), set(threading.enumerate())
        for _ in range(3):
            with TestServer(Waiting) as server:
                with socket.create_connection((server.host, server.port)) as waiting:
                    waiting.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    while not server.requests:
                        pass
                    idle = socket.create_connection((server.host, server.port))
            idle.close()
        assert set(threading.enumerate()) <= threads
        assert descriptors() <= before

    async def test_no_task_is_left(self) -> None:
        async with TestServer(Waiting) as server:
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not server.requests:
                await asyncio.sleep(0)
        writer.close()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def test_it_does_not_wait_for_handlers_and_connections(self) -> None:
        """The usual grace is ten seconds; the timeout of the test is for this one."""
        with TestServer(Waiting) as server:
            sock = socket.create_connection((server.host, server.port))
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            while not server.requests:
                pass
        assert sock.recv(100).startswith(b"HTTP/1.1 503 ")
        sock.close()

    def test_lifespan(self) -> None:
        seen = []

        @contextlib.asynccontextmanager
        async def lifespan(server: Any) -> AsyncIterator[None]:
            server.word = "hello"
            seen.append("in")
            yield
            seen.append("out")

        with TestServer(Echo, lifespan=lifespan) as server:
            assert fetch(server.url_for("/")) == "/ hello"
            assert seen == ["in"]
        assert seen == ["in", "out"]

    @pytest.mark.parametrize("when", ["in", "out"])
    def test_lifespan_fails(self, when: str) -> None:
        @contextlib.asynccontextmanager
        async def lifespan(server: Any) -> AsyncIterator[None]:
            if when == "in":
                raise LookupError(when)
            yield
            raise LookupError(when)

        threads = set(threading.enumerate())
        with pytest.raises(LookupError, match=when), TestServer(Echo, lifespan=lifespan):
            assert when == "out"
        assert set(threading.enumerate()) <= threads

    def test_lifespan_does_not_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An error in place of a test that hangs."""
        monkeypatch.setattr("aiohttpd.testing.server._LIFESPAN", 0.01)
        monkeypatch.setattr("aiohttpd.server.lifespan.CANCELLED", 0.01)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            assert scope["type"] == "lifespan"
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await asyncio.Event().wait()

        threads = set(threading.enumerate())
        with pytest.raises(TimeoutError, match="the lifespan has not ended"), TestServer(application):
            pass
        assert set(threading.enumerate()) <= threads

    def test_options(self) -> None:
        with TestServer(Echo, server_header=False) as server:
            with urllib.request.urlopen(server.url_for("/")) as answer:
                assert "Server" not in answer.headers
        with pytest.raises(TypeError, match="unknown"):
            TestServer(Echo, unknown=1)
        with pytest.raises(TypeError, match="not an App|no App|App"):
            TestServer(3)  # type: ignore[arg-type]

    def test_pytest_does_not_collect_it(self) -> None:
        assert TestServer.__test__ is False


class TestAddresses:
    def test_url_for(self) -> None:
        with TestServer(Echo) as server:
            assert server.url_for("/ä b", q="1 2", x=[1, 2]) == f"{server.url}/%C3%A4%20b?q=1+2&x=1&x=2"
            assert server.url_for("/", path="a", self=1) == f"{server.url}/?path=a&self=1"
            with pytest.raises(ValueError, match="slash"):
                server.url_for("a")

    def test_unix(self) -> None:
        with TestServer(Echo, unix=True) as server:
            path = Path(server.unix_path)
            assert path.is_socket()
            with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
                assert client.get(server.url_for("/a")).text == "/a"
            with pytest.raises(RuntimeError, match="unix_path"):
                _ = server.port
        assert not path.parent.exists()
        with TestServer(Echo) as server, pytest.raises(RuntimeError, match="unix=True"):
            _ = server.unix_path

    def test_tls(self) -> None:
        with TestServer(Echo, tls=True) as server:
            file = Path(server.ca_file)
            context = ssl.create_default_context(cafile=server.ca_file)
            with httpx.Client(verify=context) as client:
                assert client.get(server.url_for("/a")).text == "/a"
            with httpx.Client() as client, pytest.raises(httpx.ConnectError):
                client.get(server.url_for("/a"))
        assert not file.exists()
        with TestServer(Echo) as server, pytest.raises(RuntimeError, match="tls=True"):
            _ = server.ca_file
        with pytest.raises(ValueError, match="not both"):
            TestServer(tls=True, unix=True)
        with pytest.raises(ValueError, match="expired, wrong_name"):
            TestServer(tls="exipred")  # type: ignore[arg-type]

    def test_a_context_of_ones_own(self, tmp_path: Path) -> None:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        with TestServer(Echo, tls=context) as server:
            url = server.url.replace("127.0.0.1", "localhost")
            with urllib.request.urlopen(url, context=trusting) as answer:
                assert answer.status == 200
            with pytest.raises(RuntimeError, match="tls=True"):
                _ = server.ca_file

    @pytest.mark.parametrize("tls", [False, True, "slow"])
    def test_a_port_that_is_known(self, tls: Any) -> None:
        with closed_port() as port:
            pass
        with TestServer(Echo, port=port, tls=tls) as server:
            assert server.url == f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            with pytest.raises(OSError, match="in use"):
                TestServer(Echo, port=port).start()
        with pytest.raises(ValueError, match="not both"):
            TestServer(port=port, unix=True)

    def test_tls_without_trustme(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from aiohttpd.testing import certificates

        certificates._certificate.cache_clear()
        certificates._authority.cache_clear()
        monkeypatch.setitem(sys.modules, "trustme", None)
        with pytest.raises(ImportError, match=r"pip install 'aiohttpd\[testing\]'"):
            TestServer(tls=True).start()


class TestRecords:
    def test_a_request_whole(self) -> None:
        with TestServer(Echo) as server:
            with socket.create_connection((server.host, server.port)) as sock:
                sock.sendall(
                    b"POST /%C3%A4/b?x=1&y=&x=2 HTTP/1.1\r\nhost: a\r\nX-TWO: 2\r\nx-one: 1\r\nX-Two: 3\r\n"
                    b"Content-Type: application/json\r\ncontent-LENGTH: 8\r\n\r\n" + b'{"a": 1}'
                )
                sock.recv(1000)
            (request,) = server.wait_for(1)
        assert (request.method, request.path, request.target) == ("POST", "/ä/b", "/%C3%A4/b?x=1&y=&x=2")
        assert request.query == [("x", "1"), ("y", ""), ("x", "2")]
        assert [name for name, _ in request.headers.items()] == [
            "host", "X-TWO", "x-one", "X-Two", "Content-Type", "content-LENGTH",
        ]  # fmt: skip
        assert request.headers.get_all("x-two") == ["2", "3"]
        assert request.body == b'{"a": 1}'
        assert request.json() == json.loads(request.text) == {"a": 1}
        assert (request.connection, request.status) == (1, 200)
        assert request.duration is not None
        assert request.duration >= 0

    def test_connections_tell_reuse(self) -> None:
        with TestServer(Echo) as server:
            with httpx.Client(base_url=server.url) as client:
                client.get("/1")
                client.get("/2")
            httpx.get(server.url_for("/3"))
            server.wait_for(3)
            one, two = server.connections
            assert [request.path for request in one.requests] == ["/1", "/2"]
            assert (one.reused, two.reused) == (True, False)
            assert [request.connection for request in server.requests] == [1, 1, 2]
        assert one.closed
        assert two.closed

    async def test_connections_have_different_numbers_after_clear(self) -> None:
        """Those that are open stay, and may have the number of one that has been closed and forgotten."""
        with TestServer(Echo) as server, httpx.Client(base_url=server.url) as kept:
            httpx.get(server.url_for("/1"))
            kept.get("/2")
            await until(lambda: server.connections[0].closed)
            server.clear()
            httpx.get(server.url_for("/3"))
            kept.get("/4")
            server.wait_for(2)
            assert [request.connection for request in server.requests] == [3, 2]

    @pytest.mark.parametrize("charset", ["latin-1", "nonsense", "hex"])
    def test_text(self, charset: str) -> None:
        with TestServer() as server:
            server.expect("POST", "/")
            httpx.post(server.url, content=b"\xe9", headers={"Content-Type": f"text/plain; charset={charset}"})
            assert server.requests[0].text == ("é" if charset == "latin-1" else "\ufffd")

    def test_a_body_that_is_streamed(self) -> None:
        """What a handler reads in pieces is recorded, and it is not read before the handler reads."""

        class Lines(aiohttpd.BaseHTTPRequestHandler):
            async def do_POST(self) -> None:
                first = await self.rfile.readline()
                rest = b""
                async for piece in self.rfile:
                    rest += piece
                self.send_text(str(first + rest.upper(), "ascii"))

        with TestServer(Lines) as server:
            assert fetch(server.url_for("/"), b"one\ntwo\nthree") == "one\nTWO\nTHREE"
            assert server.requests[0].body == b"one\ntwo\nthree"

    def test_wait_for(self) -> None:
        with TestServer(Echo) as server:
            thread = threading.Thread(target=lambda: [fetch(server.url_for(f"/{number}")) for number in range(3)])
            thread.start()
            assert len(server.wait_for(3)) == 3
            thread.join()
            with pytest.raises(TimeoutError, match="3 of 4 requests"):
                server.wait_for(4, timeout=0.01)

    async def test_arrived(self) -> None:
        async with TestServer(Echo) as server, httpx.AsyncClient(base_url=server.url) as client:
            with pytest.raises(RuntimeError, match="arrived"):
                server.wait_for(1)
            task = asyncio.create_task(client.get("/"))
            assert len(await server.arrived(1)) == 1
            await task
            with pytest.raises(TimeoutError, match="1 of 2"):
                await server.arrived(2, timeout=0.01)

    async def test_arrived_with_a_server_in_a_thread(self) -> None:
        with TestServer(Echo) as server:
            async with httpx.AsyncClient(base_url=server.url) as client:
                await client.get("/")
                assert len(await server.arrived(1)) == 1


async def asgi_application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            scope["state"]["word"] = "ready"
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["state"]["word"].encode()})


class TestApplications:
    def test_the_timeout_of_a_handler_of_http_server(self) -> None:
        class Old(http.server.BaseHTTPRequestHandler):
            timeout = 0.05

        with TestServer(Old) as server, socket.create_connection((server.host, server.port), timeout=10) as sock:
            assert sock.recv(1) == b""  # long before timeout_head

    def test_a_handler_of_http_server_explains_a_tls_handshake(self, caplog: pytest.LogCaptureFixture) -> None:
        class Old(http.server.BaseHTTPRequestHandler):
            def setup(self) -> None:
                super().setup()

        with TestServer(Old) as server, socket.create_connection((server.host, server.port), timeout=10) as sock:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01")
            assert sock.recv(12) == b"HTTP/1.1 400"
        assert "TLS handshake" in caplog.text
        caplog.clear()

    def test_asgi(self) -> None:
        with TestServer(asgi_application) as server:
            assert fetch(server.url_for("/")) == "ready"

    def test_lifespan_of_an_app_under_faults(self) -> None:
        with TestServer(Faults().drip(100_000).around(asgi_application)) as server:  # type: ignore[arg-type]
            assert fetch(server.url_for("/")) == "ready"
