"""The option ``debug``: tracebacks as error pages, to whom they are shown, and what is in them."""

import socket
from typing import Any

import httpx
import pytest

from aiohttpd import BaseHTTPRequestHandler, HTTPError, HTTPServer, Request, StreamWriter
from aiohttpd.testing import running

from ..support.asking import QUIET, answer_to
from ..support.clients import head
from ..support.commands import refused

HTML = "Accept: text/html,*/*"
PASSWORD = "hunter2"


class Trouble(BaseHTTPRequestHandler):
    """Raises what its path says."""

    async def do_GET(self) -> None:
        secret = PASSWORD
        self.send_response(200)
        try:
            raise KeyError("<script>alert(1)</script>")
        except KeyError as error:
            raise RuntimeError(f"</pre><img src=x>{len(secret)}") from error

    async def do_PUT(self) -> None:
        self.send_response(200)
        self.end_headers()
        await self.wfile.drain()
        raise RuntimeError("too late")

    async def do_DELETE(self) -> None:
        raise HTTPError(404, "Nothing")

    async def do_POST(self) -> None:
        await self.do_POST()

    def do_PATCH(self) -> None:
        raise ExceptionGroup("several", [SyntaxError("bad", ("<file>", 1, 1, "<x>")), ValueError("no")])


async def troubled(request: Request, response: StreamWriter) -> None:
    raise RuntimeError("</pre><img src=x>")


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> Any:
    """What is shown is logged as well."""
    yield
    caplog.get_records("call").clear()


@pytest.mark.parametrize("app", [Trouble, troubled])
class TestPage:
    async def test_html(self, app: Any, caplog: pytest.LogCaptureFixture) -> None:
        answer = await answer_to(app, head("GET", "/a<b>?c", HTML), debug=True)
        text = answer.body.decode()
        assert (answer.status, answer["Content-Type"]) == (500, "text/html; charset=utf-8")
        assert answer["Cache-Control"] == "no-store"
        assert "default-src 'none'" in str(answer["Content-Security-Policy"])
        assert "RuntimeError: &lt;/pre&gt;&lt;img src=x&gt;" in text
        assert "raise RuntimeError(" in text
        assert __file__ in text
        assert "<script" not in text
        assert "<img" not in text
        assert "a<b>" not in text
        assert "unhandled exception" in caplog.text

    async def test_text(self, app: Any) -> None:
        answer = await answer_to(app, head("GET", "/"), debug=True)
        assert (answer.status, answer["Content-Type"]) == (500, "text/plain; charset=utf-8")
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer.body.startswith((b"Traceback (most recent call last)", b"KeyError", b"RuntimeError"))

    async def test_off(self, app: Any) -> None:
        answer = await answer_to(app, head("GET", "/", HTML))
        assert (answer.status, b"RuntimeError" in answer.body) == (500, False)

    @pytest.mark.parametrize(
        "field",
        [
            "Forwarded: for=192.0.2.1",
            "X-Forwarded-For: 192.0.2.1",
            "X-Real-IP: 192.0.2.1",
            "Via: 1.1 proxy",
            "X-Forwarded-Host: example.org",
        ],
    )
    async def test_not_by_a_proxy(self, app: Any, field: str) -> None:
        answer = await answer_to(app, head("GET", "/", HTML, field), debug=True)
        assert (answer.status, b"RuntimeError" in answer.body) == (500, False)
        answer = await answer_to(app, head("GET", "/", HTML), debug=True, trusted_proxies="192.0.2.1")
        assert (answer.status, b"RuntimeError" in answer.body) == (500, False)

    @pytest.mark.parametrize("host", ["rebinding.example", "example.org:8000", "localhost.example.org"])
    async def test_not_under_another_name(self, app: Any, host: str) -> None:
        sent = f"GET / HTTP/1.1\r\nHost: {host}\r\n{HTML}\r\n\r\n".encode()
        answer = await answer_to(app, sent, debug=True)
        assert (answer.status, b"RuntimeError" in answer.body) == (500, False)

    async def test_head(self, app: Any) -> None:
        answer = await answer_to(app, head("HEAD", "/", HTML), debug=True)
        assert (answer.status, answer.body) == (500, b"")


async def test_no_values_and_the_whole_chain() -> None:
    text = (await answer_to(Trouble, head("GET", "/", HTML), debug=True)).body.decode()
    assert PASSWORD not in text
    assert text.index("RuntimeError") < text.index("KeyError: &#x27;&lt;script&gt;")


async def test_a_deep_recursion_is_a_short_page() -> None:
    answer = await answer_to(Trouble, head("POST", "/", HTML, "Content-Length: 0"), debug=True)
    assert b"RecursionError" in answer.body
    assert len(answer.body) < 200_000


async def test_a_group() -> None:
    text = (await answer_to(Trouble, head("PATCH", "/", HTML), debug=True)).body.decode()
    assert "ExceptionGroup: several (2 sub-exceptions)" in text
    assert "SyntaxError: bad" in text
    assert "<x>" not in text


async def test_what_is_an_answer_stays_one() -> None:
    answer = await answer_to(Trouble, head("DELETE", "/", HTML), debug=True)
    assert (answer.status, answer.reason) == (404, "Nothing")


async def test_a_response_that_has_been_begun_is_cut() -> None:
    async with running(Trouble, debug=True, access_log=False) as server, httpx.AsyncClient(base_url=server.url) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.put("/")
        assert "RuntimeError" in (await http.get("/", headers={"Accept": "text/html"})).text


class TestAddresses:
    @pytest.mark.parametrize("address", [("0.0.0.0", 0), [("127.0.0.1", 0), ("0.0.0.0", 0)]])
    async def test_a_server_that_others_reach(self, address: Any) -> None:
        server = HTTPServer(address, Trouble, config=QUIET.__class__(debug=True, access_log=False))
        with pytest.raises(ValueError, match="all addresses have to be on loopback"):
            await server.start()
        assert all(sock.fileno() == -1 for sock in server.sockets)

    async def test_a_unix_socket(self, tmp_path: Any) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "s"))
            sock.listen()
            with pytest.raises(ValueError, match="on loopback"):
                await HTTPServer(sock, Trouble, config=QUIET.__class__(debug=True)).start()

    @pytest.mark.parametrize("bind", ["0.0.0.0", "::", "", "unix:/nowhere/s", "192.0.2.1:80"])
    @pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
    def test_the_command(self, tmp_path: Any, bind: str, workers: list[str]) -> None:
        text = refused(tmp_path, "--debug", "--bind", bind, *workers)
        assert "--debug shows tracebacks: every --bind has to be on loopback" in text
