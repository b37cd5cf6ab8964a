"""Expectations: which requests meet them, what is answered, and what is told of those that meet none."""

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest

import aiohttpd
from aiohttpd.testing import Expectation, TestServer, WebSocketFaults

from ..support.raw_peer import RawPeer
from ..support.websocket_clients import opening


@pytest.fixture
def server() -> Iterator[TestServer]:
    server = TestServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: TestServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


class TestMatching:
    @pytest.mark.parametrize(
        ("path", "asked", "params"),
        [
            ("/users/{id}", "/users/7", {"id": "7"}),
            ("/users/{id:int}", "/users/7", {"id": 7}),
            ("/users/{id:int}", "/users/x", None),
            ("/users/{id}", "/users/a%2Fb", {"id": "a/b"}),
            ("/users/{id}", "/users/7/", None),
            ("/users/", "/users/", {}),
            ("/users/", "/users/7", None),
            ("/", "/", {}),
            ("/", "/a", None),
            ("/files/{rest...}", "/files/a/b", {"rest": "a/b"}),
            ("/ä b", "/%C3%A4%20b", {}),
            (re.compile(r"/v(?P<version>\d)/.*"), "/v2/users", {"version": "2"}),
            (re.compile(r"/v\d"), "/v2/users", None),
        ],
    )
    def test_paths(
        self, server: TestServer, client: httpx.Client, path: Any, asked: str, params: dict[str, Any] | None
    ) -> None:
        server.expect("GET", path).respond()
        status = client.get(asked).status_code
        assert status == (500 if params is None else 200)
        if params is not None:
            assert server.requests[0].params == params

    @pytest.mark.parametrize(
        ("query", "asked", "met"),
        [
            (None, "?a=1", True),
            ({}, "", True),
            ({}, "?a=1", False),
            ("a=1&b=2", "?b=2&a=1", True),
            ({"a": 1}, "?a=1", True),
            ({"a": 1}, "?a=1&b=2", False),
            ({"a": [1, 2]}, "?a=2&a=1", True),
            ({"a": [1, 1]}, "?a=1", False),
            ({"a": re.compile("^x")}, "?a=xyz", True),
            ({"a": re.compile("^x")}, "?a=yz", False),
            ({"a": str.isdigit}, "?a=12", True),
            ([("a", "ä")], "?a=%C3%A4", True),
            ({"a": [re.compile("."), "1"]}, "?a=1&a=2", True),  # the pattern takes what the text leaves
            ({"a": [re.compile("[12]"), re.compile("1")]}, "?a=1&a=2", True),
            ({"a": [re.compile("[12]"), re.compile("1"), "2"]}, "?a=1&a=2&a=3", False),
        ],
    )
    def test_queries(self, server: TestServer, client: httpx.Client, query: Any, asked: str, met: bool) -> None:
        server.expect("GET", "/", query=query)
        assert client.get("/" + asked).status_code == (200 if met else 500)

    @pytest.mark.parametrize(
        ("headers", "met"),
        [
            ({"x-a": "1"}, True),
            ({"X-A": "2"}, True),
            ({"X-A": "3"}, False),
            ({"X-A": re.compile("[12]")}, True),
            ({"X-B": None}, True),
            ({"X-A": None}, False),
            ({"Accept": lambda value: "*" in value}, True),
        ],
    )
    def test_headers(self, server: TestServer, client: httpx.Client, headers: dict[str, Any], met: bool) -> None:
        server.expect("GET", "/", headers=headers)
        status = client.get("/", headers=[("X-A", "1"), ("x-a", "2")]).status_code
        assert status == (200 if met else 500)

    @pytest.mark.parametrize(
        ("content", "sent", "met"),
        [
            ({"json": {"a": [1], "b": None}}, b'{"b": null, "a": [1]}', True),
            ({"json": None}, b"null", True),
            ({"json": {"a": 1}}, b'{"a": 2}', False),
            ({"json": {"a": 1}}, b"{", False),
            ({"json": {"a": [True, 1.0]}}, b'{"a": [true, 1]}', True),
            ({"json": {"a": [True]}}, b'{"a": [1]}', False),
            ({"json": 0}, b"false", False),
            ({"json": {"id": mock.ANY, "a": 1}}, b'{"id": true, "a": 1}', True),
            ({"json": {"id": mock.ANY, "a": 1}}, b'{"id": 7, "a": 2}', False),
            ({"json": {"id": mock.ANY}}, b"{", False),
            ({"json": "a"}, b'"\\ud800"', False),
            ({"body": b"abc"}, b"abc", True),
            ({"body": "ä"}, "ä".encode(), True),
            ({"body": b"abc"}, b"abcd", False),
            ({"body": re.compile("b+")}, b"abbc", True),
            ({"body": re.compile(b"\xff")}, b"a\xff", True),
            ({"body": re.compile("^b")}, b"abbc", False),
        ],
    )
    def test_contents(
        self, server: TestServer, client: httpx.Client, content: dict[str, Any], sent: bytes, met: bool
    ) -> None:
        server.expect("POST", "/", **content)
        answer = client.post("/", content=sent)
        assert answer.status_code == (200 if met else 500)
        assert ("the nearest expectation" in answer.text) is not met

    def test_any_method(self, server: TestServer, client: httpx.Client) -> None:
        server.expect(None, "/")
        assert client.request("PURGE", "/").status_code == 200

    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            (("GET", "users"), "'/users'"),
            (("GET", "/a?b=1"), "query='b=1'"),
            (("GET", "/{id"), "parameter"),
        ],
    )
    def test_mistakes_in_paths(self, server: TestServer, arguments: Any, match: str) -> None:
        with pytest.raises(ValueError, match=match):
            server.expect(*arguments)

    @pytest.mark.parametrize(
        ("arguments", "more", "match"),
        [
            ((["GET", "POST"], "/"), {}, "the method of an expectation is text, or None for any method, not ['GET'"),
            (
                ("GET", "/"),
                {"body": {"a": 1}},
                "a compiled regular expression, not dict: write json=",
            ),
        ],
    )
    def test_what_no_request_could_meet(self, server: TestServer, arguments: Any, more: Any, match: str) -> None:
        with pytest.raises(TypeError, match=re.escape(match)):
            server.expect(*arguments, **more)

    def test_values_of_send_json(self, server: TestServer, client: httpx.Client) -> None:
        server.expect("GET", "/").respond(json={"on": date(2026, 1, 2), "of": {Decimal("1.5")}})
        assert client.get("/").json() == {"on": "2026-01-02", "of": ["1.5"]}

    def test_one_content(self, server: TestServer) -> None:
        with pytest.raises(ValueError, match="not both"):
            server.expect("POST", "/", json=1, body=b"1")

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"status": {"a": 1}}, TypeError, "the status is {'a': 1}: write content as json=..., text=..."),
            ({"status": "done"}, TypeError, "the status is 'done': write content as json="),
            ({"json": 1, "text": "1"}, TypeError, "an answer has one content, and respond() has text and json"),
            ({"text": b"1"}, TypeError, "text= is text, not bytes: write body=... for bytes, json=... for a value"),
            ({"body": {"a": 1}}, TypeError, "body= is bytes or text, not dict: write json=... for a value"),
            ({"status": 103}, ValueError, "respond() takes a final status, 200 to 999, not 103; interim() sends"),
        ],
    )
    def test_mistakes_in_answers(
        self, server: TestServer, arguments: dict[str, Any], error: type[Exception], match: str
    ) -> None:
        with pytest.raises(error, match=re.escape(match)):
            server.expect("GET", "/").optional().respond(**arguments)

    def test_a_function_that_raises(
        self, server: TestServer, client: httpx.Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It fails the test, also if nothing has to be met."""
        server.expect("GET", "/", headers={"X-A": lambda value: int(value) > 1}).optional()
        assert client.get("/", headers={"X-A": "many"}).status_code == 500
        with pytest.raises(AssertionError, match="cannot be compared with GET /: ValueError"):
            server.verify()
        caplog.clear()


class TestAnswers:
    def test_contents(self, server: TestServer, client: httpx.Client, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"1,2\r\n")
        server.expect("GET", "/json").respond(json={"ä": [1]}, status=201)
        server.expect("GET", "/text").respond(text="ä")
        server.expect("GET", "/body").respond(body=b"\xff", headers=[("X-A", "1"), ("X-A", "2")])
        server.expect("GET", "/file").respond(file=tmp_path / "a.csv")
        server.expect("GET", "/nothing").respond(204)
        answers = {name: client.get(f"/{name}") for name in ("json", "text", "body", "file", "nothing")}
        assert (answers["json"].json(), answers["json"].status_code) == ({"ä": [1]}, 201)
        assert answers["json"].headers["Content-Type"] == "application/json"
        assert (answers["text"].text, answers["text"].headers["Content-Type"]) == ("ä", "text/plain; charset=utf-8")
        assert (answers["body"].content, answers["body"].headers.get_list("X-A")) == (b"\xff", ["1", "2"])
        assert answers["file"].content == b"1,2\r\n"
        assert answers["file"].headers["Content-Type"].startswith("text/csv")
        assert (answers["nothing"].status_code, answers["nothing"].content) == (204, b"")

    def test_own_content_type(self, server: TestServer, client: httpx.Client) -> None:
        server.expect("GET", "/").respond(json=1, headers={"content-type": "application/problem+json"})
        assert client.get("/").headers.get_list("Content-Type") == ["application/problem+json"]

    @pytest.mark.parametrize(
        ("arguments", "error", "match"),
        [
            ({"text": "a", "json": 1}, TypeError, "text and json"),
            ({"status": 103}, ValueError, "interim"),
            ({"status": 1000}, ValueError, "999"),
            ({"headers": {"A B": "c"}}, ValueError, "field name"),
            ({"headers": {"A": "c\n"}}, ValueError, "value of A"),
        ],
    )
    def test_mistakes(
        self, server: TestServer, arguments: dict[str, Any], error: type[Exception], match: str
    ) -> None:  # fmt: skip
        with pytest.raises(error, match=match):
            server.expect("GET", "/").respond(**arguments)

    async def test_delays_run_side_by_side(self) -> None:
        async with TestServer() as server, httpx.AsyncClient(base_url=server.url) as client:
            server.expect("GET", "/").respond(delay=0.2)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            await client.get("/")
            one = loop.time() - begun
            await asyncio.gather(*(client.get("/") for _ in range(10)))
            ten = loop.time() - begun - one
        assert one >= 0.2
        assert ten < 8 * one  # one after the other it would be ten times

    def test_handler_class(self, server: TestServer, client: httpx.Client) -> None:
        class Note(aiohttpd.BaseHTTPRequestHandler):
            async def do_POST(self) -> None:
                self.send_text(f"{self.params['id'] + 1} {await self.text()}")

        server.expect("POST", "/notes/{id:int}", body="hello").respond_with(Note)
        assert client.post("/notes/2", content="hello").text == "3 hello"

    def test_function(self, server: TestServer, client: httpx.Client) -> None:
        async def answer(self: Any) -> None:
            self.send_json({"sent": await self.json(), "id": self.params["id"]}, status=202)

        server.expect("PUT", "/notes/{id}").respond_with(answer)
        answered = client.put("/notes/x", json=[1])
        assert (answered.status_code, answered.json()) == (202, {"sent": [1], "id": "x"})

    def test_app(self, server: TestServer, client: httpx.Client) -> None:
        async def app(request: Any, response: Any) -> None:
            response.send_head(200, [("X-A", "1")])

        server.expect("GET", "/").respond_with(app)
        assert client.get("/").headers["X-A"] == "1"

    def test_no_responder(self, server: TestServer) -> None:
        with pytest.raises(TypeError):
            server.expect("GET", "/").respond_with("text")  # type: ignore[arg-type]

    def test_a_responder_that_fails(
        self, server: TestServer, client: httpx.Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def answer(self: Any) -> None:
            raise LookupError("no such thing")

        server.expect("GET", "/").respond_with(answer)
        assert client.get("/").status_code == 500
        with pytest.raises(AssertionError, match="the answer to GET / has failed: LookupError"):
            server.verify()
        caplog.clear()

    @pytest.mark.parametrize("field", [("Content-Length", "5"), ("Transfer-Encoding", "chunked")])
    def test_an_answer_that_contradicts_itself(
        self, server: TestServer, client: httpx.Client, caplog: pytest.LogCaptureFixture, field: tuple[str, str]
    ) -> None:
        """The client gets 500 in place of it, so the test must not pass."""
        server.expect("GET", "/").respond(body=b"abc", headers=[field])
        assert client.get("/").status_code == 500
        with pytest.raises(AssertionError, match="the answer to GET / has failed: ContractError"):
            server.verify()
        caplog.clear()

    def test_a_responder_without_an_answer(
        self, server: TestServer, client: httpx.Client, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def app(request: Any, response: Any) -> None: ...

        server.expect("GET", "/").respond_with(app)
        assert client.get("/").status_code == 500
        with pytest.raises(AssertionError, match="returned without an answer"):
            server.verify()
        caplog.clear()


class TestCounts:
    def test_the_first_that_may_be_met(self, server: TestServer, client: httpx.Client) -> None:
        server.expect("GET", "/").respond(503).times(2)
        server.expect("GET", "/").respond(200)
        assert [client.get("/").status_code for _ in range(4)] == [503, 503, 200, 200]
        server.verify()

    def test_once_too_often(self, server: TestServer, client: httpx.Client) -> None:
        server.expect("GET", "/").once()
        assert client.get("/").status_code == 200
        answer = client.get("/")
        assert answer.status_code == 500
        assert "met 1 of 1 times" in answer.text
        with pytest.raises(AssertionError, match="met 1 of 1 times"):
            server.verify()

    @pytest.mark.parametrize(
        ("count", "fails"),
        [(lambda it: it, True), (lambda it: it.once(), True), (lambda it: it.optional(), False),
         (lambda it: it.times(0), False), (lambda it: it.times(2), True)],
    )  # fmt: skip
    def test_never_asked(self, server: TestServer, count: Any, fails: bool) -> None:
        count(server.expect("GET", "/thing"))
        if fails:
            with pytest.raises(AssertionError, match="GET /thing has not been asked as often as expected"):
                server.verify()
        else:
            server.verify()

    def test_negative(self, server: TestServer) -> None:
        with pytest.raises(ValueError, match="0 or more"):
            server.expect("GET", "/").times(-1)

    @pytest.mark.parametrize(("asked", "statuses"), [("ab", [200, 200]), ("ba", [500, 200]), ("aba", [200, 200, 500])])
    def test_in_order(self, server: TestServer, client: httpx.Client, asked: str, statuses: list[int]) -> None:
        def expected(path: str) -> Expectation:
            return server.expect("GET", path).in_order()

        expected("/a")
        expected("/b")
        server.expect("GET", "/c").optional()
        assert client.get("/c").status_code == 200
        answers = [client.get(f"/{name}") for name in asked]
        assert [answer.status_code for answer in answers] == statuses
        if asked == "ba":
            assert "GET /a comes before it" in answers[0].text
        if asked == "aba":
            assert "GET /b comes after it" in answers[2].text


class TestLeaving:
    """A client that leaves before the end of an answer is no failure of the test."""

    @pytest.mark.parametrize(
        "arrange",
        [
            lambda it: it.respond(text="x" * 5000).drip(1000),
            lambda it: it.respond(body=bytes(50_000_000)),
            lambda it: it.respond(body=bytes(50_000_000)).close_after(),
            lambda it: it.respond(text="x").interim(103).stall(),
            lambda it: it.respond_with(WebSocketFaults().huge_message()),
            lambda it: it.respond_with(WebSocketFaults().drip(1000).send("x" * 5000)),
            lambda it: it.respond_with(WebSocketFaults().send(bytes(5_000_000)).reset()),
            lambda it: it.respond_with(WebSocketFaults().receive()),
        ],
    )
    @pytest.mark.parametrize("by_reset", [False, True])
    def test_in_the_middle(self, arrange: Callable[[Expectation], object], by_reset: bool) -> None:
        with TestServer() as server:
            arrange(server.expect("GET", "/"))
            peer = RawPeer(server)
            peer.send(opening())
            peer.read(10)
            if by_reset:
                peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.sock.close()
            assert len(server.wait_for(1)) == 1


class TestUnexpected:
    def test_diff(self, server: TestServer, client: httpx.Client) -> None:
        server.expect("DELETE", "/other")
        server.expect("POST", "/users/{id}", query={"x": 1}, headers={"X-Key": "k"}, json={"a": 1, "b": 2})
        answer = client.post("/users?x=2", json={"a": 1, "b": 3})
        assert answer.status_code == 500
        assert answer.text == (
            "unexpected request: POST /users?x=2 (connection 1)\n"
            "the nearest expectation is POST /users/{id} (met 0 times, expected at least once)\n"
            "  path:\n    - /users/{id}\n    + /users\n"
            "  query:\n    - x=1\n    + x=2\n"
            "  header X-Key:\n    - X-Key: k\n    + (no field X-Key)\n"
            '  json:\n      {\n        "a": 1,\n    -   "b": 2\n    +   "b": 3\n      }'
        )
        with pytest.raises(AssertionError) as failed:
            server.verify()
        assert answer.text in str(failed.value)

    def test_nothing_is_expected(self, server: TestServer, client: httpx.Client) -> None:
        assert 'httpd.expect("GET", "/a") expects it' in client.get("/a?b=1").text

    def test_with_statement(self) -> None:
        with pytest.raises(AssertionError, match="unexpected request: GET /"), TestServer() as server:
            httpx.get(server.url)
        with pytest.raises(LookupError), TestServer() as server:  # which is the cause, not the request
            httpx.get(server.url)
            raise LookupError

    def test_an_app_takes_what_is_not_expected(self) -> None:
        class Site(aiohttpd.BaseHTTPRequestHandler):
            async def do_POST(self) -> None:
                self.send_text(f"site {await self.text()}")

        with TestServer(Site) as server:
            server.expect("POST", "/a").respond(text="expected")
            assert httpx.post(server.url_for("/a")).text == "expected"
            assert httpx.post(server.url_for("/b"), content="x").text == "site x"

    @pytest.mark.parametrize(
        ("sent", "told"),
        [
            (b"GET /a HTTP/1.1\r\nHost: a\r\nbaz[]: 3\r\n\r\n", "'GET /a HTTP/1.1'"),
            (b"GET /a HTTP/1.1\r\n\r\n", "'GET /a HTTP/1.1'"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01", "TLS handshake"),
            (b"hello\r\n\r\n", "'hello'"),
        ],
    )
    def test_what_is_malformed(self, sent: bytes, told: str) -> None:
        with pytest.raises(AssertionError, match="malformed") as failed, TestServer() as server:
            server.expect("GET", "/a").respond().optional()
            peer = RawPeer(server)
            peer.send(sent)
            assert peer.rest().startswith(b"HTTP/1.1 400 ")
            peer.sock.close()
        assert told in str(failed.value)

    def test_what_is_malformed_is_no_failure_of_an_app(self) -> None:
        with TestServer(aiohttpd.BaseHTTPRequestHandler) as server:
            peer = RawPeer(server)
            peer.send(b"hello\r\n\r\n")
            assert peer.rest().startswith(b"HTTP/1.1 400 ")
            peer.sock.close()

    @pytest.mark.parametrize("sent", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost:"])
    def test_half_a_request_is_not_malformed(self, sent: bytes) -> None:
        with TestServer() as server:
            peer = RawPeer(server)
            peer.send(sent)
            peer.sock.close()

    def test_clear(self, server: TestServer, client: httpx.Client) -> None:
        client.get("/")
        server.expect("GET", "/")
        server.clear()
        server.verify()
        assert server.requests == []
        server.expect("GET", "/")
        assert client.get("/").status_code == 200
        assert [request.connection for request in server.requests] == [1]
