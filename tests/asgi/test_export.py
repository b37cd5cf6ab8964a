"""Apps exported as ASGI: requests, answers and errors, by a server in memory."""

import asyncio
from typing import Any

import pytest

import aiohttpd
from aiohttpd.asgi import export
from aiohttpd.asgi.export import IncompleteAnswer

from ..support.asgi import OuterServer, asked, http_scope


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text(f"hello {self.path}")

    async def do_POST(self) -> None:
        self.send_json({"got": (await self.rfile.read()).decode(), "type": self.headers["Content-Type"]})


class Tells(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        request = self.request
        self.send_json(
            {
                "target": request.target,
                "root": request.root_path,
                "path": request.url_path,
                "host": request.host,
                "version": request.version,
                "scheme": request.scheme,
                "client": list(self.client_address),
                "server": list(request.server_address),
                "fields": [list(pair) for pair in self.headers.items()],
                "body": request.framing.has_body,
            }
        )

    do_POST = do_PUT = do_GET


async def told(method: str = "GET", target: str = "/", *fields: tuple[str, str], **more: Any) -> dict[str, Any]:
    import json

    answer = await asked(export(Tells), method, target, *fields, **more)
    assert answer.status == 200
    found: dict[str, Any] = json.loads(answer.content)
    return found


class TestAnswers:
    async def test_a_whole_answer_is_two_messages(self) -> None:
        answer = await asked(export(Hello), "GET", "/a?b=c")
        assert [message["type"] for message in answer.sent] == ["http.response.start", "http.response.body"]
        assert answer.status == 200
        assert answer.content == b"hello /a?b=c"
        assert answer.complete
        assert dict(answer.headers) == {"content-type": "text/plain; charset=utf-8", "content-length": "12"}

    async def test_names_are_lower_case_and_framing_is_left_to_the_server(self) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                for name, value in (
                    ("Transfer-Encoding", "chunked"),
                    ("Connection", "close"),
                    ("Keep-Alive", "timeout=5"),
                    ("Date", "now"),
                    ("Server", "me"),
                    ("X-One", "1"),
                    ("Set-Cookie", "a=1"),
                    ("Set-Cookie", "b=2"),
                ):
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"5\r\nhello\r\n0\r\n\r\n")

        answer = await asked(export(Handler))
        assert answer.headers == [
            ("x-one", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("content-length", "5"),
            ("connection", "close"),
        ]  # fmt: skip
        assert answer.content == b"hello"
        assert answer.complete
        two = await asked(export(Handler), http_version="2")
        assert "connection" not in dict(two.headers)

    async def test_head_has_the_length_and_no_content(self) -> None:
        answer = await asked(export(Hello), "HEAD", "/")
        assert answer.field("content-length") == "7"
        assert answer.content == b""
        assert answer.complete

    @pytest.mark.parametrize("status", [204, 304])
    async def test_no_content(self, status: int) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", 5)
                self.end_headers()

        answer = await asked(export(Handler))
        assert answer.status == status
        assert "content-length" not in dict(answer.headers)
        assert answer.content == b""
        assert answer.complete

    async def test_what_is_flushed_leaves_while_the_handler_waits(self) -> None:
        goes_on = asyncio.Event()

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"first")
                self.wfile.flush()
                await goes_on.wait()
                self.wfile.write(b"second")

        outer = OuterServer(export(Handler), http_scope())
        task = asyncio.create_task(outer.run())
        await outer.arrived.wait()
        await asyncio.sleep(0)
        assert outer.content == b"first"
        assert not outer.complete
        goes_on.set()
        await task
        assert outer.content == b"firstsecond"
        assert outer.complete

    async def test_drain_waits_for_a_slow_client(self) -> None:
        written = 0

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                nonlocal written
                self.send_response(200)
                self.end_headers()
                for _ in range(100):
                    self.wfile.write(b"x" * 65536)
                    await self.wfile.drain()
                    written += 1

        outer = OuterServer(export(Handler), http_scope())
        outer.gate.clear()
        task = asyncio.create_task(outer.run())
        for _ in range(50):
            await asyncio.sleep(0)
        assert written == 0
        outer.gate.set()
        await task
        assert len(outer.content) == 100 * 65536

    async def test_a_drain_that_is_cancelled_loses_nothing(self) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                for number in range(5):
                    self.wfile.write(b"%d" % number * 1000)
                    try:
                        async with asyncio.timeout(0.001):
                            await self.wfile.drain()
                    except TimeoutError:
                        outer.gate.set()

        outer = OuterServer(export(Handler), http_scope())
        outer.gate.clear()
        await outer.run()
        assert outer.content == b"".join(b"%d" % number * 1000 for number in range(5))
        assert outer.complete

    async def test_what_nobody_drains_is_bounded(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                while True:
                    self.wfile.write(b"x" * 100_000)
                    self.wfile.flush()

        outer = OuterServer(export(Handler, limit_unsent=1_000_000), http_scope())
        with pytest.raises(IncompleteAnswer):
            await outer.run()
        assert len(outer.content) < 1_500_000
        assert "WriteBufferFull" in caplog.text
        caplog.clear()

    async def test_early_hints_where_they_are_offered(self) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response_only(103)
                self.send_header("Link", "</a.css>; rel=preload")
                self.end_headers()
                self.send_text("a")

        answer = await asked(export(Handler), extensions={"http.response.early_hint": {}})
        assert answer.sent[0] == {"type": "http.response.early_hint", "links": [b"</a.css>; rel=preload"]}
        assert answer.status == 200
        answer = await asked(export(Handler))
        assert answer.sent[0]["type"] == "http.response.start"


class TestRequests:
    async def test_what_handlers_are_told(self) -> None:
        found = await told("GET", "/a%20b/%2F?c=%20", ("X-A", "1"), ("x-a", "2"))
        assert found["target"] == "/a%20b/%2F?c=%20"
        assert found["path"] == "/a b//"
        assert found["host"] == "test"
        assert found["client"] == ["127.0.0.1", 50000]
        assert found["server"] == ["127.0.0.1", 8000]
        assert found["fields"] == [["host", "test"], ["X-A", "1"], ["x-a", "2"]]
        assert not found["body"]

    async def test_http_2_looks_like_1_1(self) -> None:
        scope = http_scope(http_version="2", scheme="https")
        scope["headers"] = [
            (b":authority", b"example.org"), (b":method", b"GET"), (b"cookie", b"a=1"), (b"cookie", b"b=2"),
        ]  # fmt: skip
        outer = await OuterServer(export(Tells), scope).run()
        import json

        found = json.loads(outer.content)
        assert found["version"] == "HTTP/1.1"
        assert found["host"] == "example.org"
        assert found["scheme"] == "https"
        assert found["fields"] == [["host", "example.org"], ["cookie", "a=1; b=2"]]

    @pytest.mark.parametrize(
        ("path", "root", "target", "root_path"),
        [
            ("/app/a", "/app", "/a", "/app"),
            ("/app", "/app", "/", "/app"),
            ("/app?x", "/app", "/?x", "/app"),
            ("/app/", "/app/", "/", "/app"),
            ("/application", "/app", "/application", "/app"),  # of a server that leaves root_path out
            ("/a", "/app", "/a", "/app"),
            ("/a%20b/c", "/a b", "/c", "/a%20b"),
            ("/%61pp/a", "/app", "/a", "/%61pp"),  # a client may encode any character
            ("/%c3%bc/a?x", "/ü", "/a?x", "/%c3%bc"),
            ("/o%27neil", "/o'neil", "/", "/o%27neil"),
            ("/%61pplication", "/app", "/%61pplication", "/app"),
            ("/a%", "/a%20", "/a%", "/a%2520"),
        ],
    )
    async def test_root_path(self, path: str, root: str, target: str, root_path: str) -> None:
        found = await told("GET", path, root_path=root)
        assert (found["target"], found["root"]) == (target, root_path)

    async def test_a_root_path_that_a_proxy_has_removed(self) -> None:
        """The path of the App may begin in the same way; it must not lose that: a proxy may protect what is there."""
        found = await told("GET", "/app/%61?x", path="/app/app/a", root_path="/app")
        assert (found["target"], found["root"]) == ("/app/%61?x", "/app")
        found = await told("GET", "/app/app/a", root_path="/app")
        assert (found["target"], found["root"]) == ("/app/a", "/app")

    async def test_a_path_without_its_raw_form(self) -> None:
        found = await told("GET", "/", path="/ä b%", raw_path=None)
        assert found["target"] == "/%C3%A4%20b%25"

    async def test_a_server_that_tells_little(self) -> None:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
        outer = await OuterServer(export(Tells), scope).run()
        assert outer.status == 200
        assert b'"host":null' in outer.content.replace(b" ", b"")

    @pytest.mark.parametrize(
        "fields",
        [
            [("x-a", "1\r\nx-b: 2")],
            [("x-a", "1\nx-b: 2")],
            [("x a", "1")],
            [("x-a\r\nx-b", "1")],
            [("", "1")],
            [("x-a", "\0")],
            [("content-length", "-1")],
            [("content-length", "1"), ("content-length", "2")],
            [("content-length", "1"), ("transfer-encoding", "chunked")],
            [("host", "a b")],
            [("host", "a"), ("host", "b")],
        ],
    )
    async def test_fields_that_our_parser_would_refuse(self, fields: list[tuple[str, str]]) -> None:
        answer = await asked(export(Hello), "GET", "/", *fields)
        assert answer.status == 400
        assert answer.complete

    async def test_odd_bytes_of_a_target_are_encoded(self) -> None:
        scope = http_scope()
        scope["raw_path"] = b"/a b\xff\r\n"
        scope["query_string"] = b"x\r\n\xe4"
        outer = await OuterServer(export(Tells), scope).run()
        assert b"/a%20b%FF%0D%0A?x%0D%0A%E4" in outer.content

    async def test_limits_of_the_head(self) -> None:
        answer = await asked(export(Hello, limit_field=100), "GET", "/", ("x", "y" * 200))
        assert answer.status == 431
        answer = await asked(export(Hello, limit_request_line=100), "GET", "/" + "y" * 200)
        assert answer.status == 414


class TestBodies:
    async def test_by_length(self) -> None:
        answer = await asked(export(Hello), "POST", "/", ("content-type", "a/b"), body=b"abc")
        assert b'"abc"' in answer.content
        assert b"a/b" in answer.content

    @pytest.mark.parametrize("version", ["1.1", "2", "3"])
    async def test_without_a_length(self, version: str) -> None:
        scope = http_scope("POST", http_version=version)
        outer = await OuterServer(export(Hello), scope, b"ab", b"c").run()
        assert b'"abc"' in outer.content

    @pytest.mark.parametrize("method", ["POST", "PUT", "GET"])
    async def test_none_at_all(self, method: str) -> None:
        assert not (await told(method))["body"]

    async def test_chunked_by_the_client(self) -> None:
        scope = http_scope("POST", "/", ("transfer-encoding", "chunked"))
        outer = await OuterServer(export(Hello), scope, b"ab", b"", b"c").run()
        assert b'"abc"' in outer.content

    async def test_a_server_that_takes_its_time(self) -> None:
        outer = OuterServer(export(Hello), http_scope("POST", "/", ("content-length", "4")), ends=False)
        task = asyncio.create_task(outer.run())
        for piece in (b"ab", b"cd"):
            await asyncio.sleep(0.001)
            outer.give(piece, more=True)
        await task
        assert b'"abcd"' in outer.content

    async def test_limit_body(self) -> None:
        answer = await asked(export(Hello, limit_body=2), "POST", body=b"abc")
        assert answer.status == 413
        outer = await OuterServer(export(Hello, limit_body=2), http_scope("POST", http_version="2"), b"ab", b"c").run()
        assert outer.status == 413

    async def test_less_than_its_length(self) -> None:
        outer = await OuterServer(export(Hello), http_scope("POST", "/", ("content-length", "4")), b"ab").run()
        assert outer.status == 400

    async def test_it_is_not_read_further_than_wanted(self) -> None:
        enough = asyncio.Event()

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_POST(self) -> None:
                assert await self.rfile.read(1) == b"x"
                await enough.wait()
                self.send_text("done")

        outer = OuterServer(export(Handler), http_scope("POST", http_version="2"), *[b"x" * 65536] * 100, ends=False)
        task = asyncio.create_task(outer.run())
        for _ in range(200):
            await asyncio.sleep(0)
        assert outer.asked < 10
        enough.set()
        await task

    async def test_nothing_is_received_before_it_is_wanted_if_the_client_waits_for_100(self) -> None:
        seen = []

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_POST(self) -> None:
                await asyncio.sleep(0.002)
                seen.append(outer.asked)
                self.send_text(str(len(await self.rfile.read())))

        fields = ("expect", "100-continue"), ("content-length", "3")
        outer = OuterServer(export(Handler), http_scope("POST", "/", *fields), b"abc")
        await outer.run()
        assert seen == [0]
        assert outer.content == b"3"


class TestClientsThatGo:
    async def test_reads_of_the_body_end(self) -> None:
        ended: list[BaseException] = []

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_POST(self) -> None:
                try:
                    await self.rfile.read()
                except BaseException as error:
                    ended.append(error)
                    raise

        outer = OuterServer(export(Handler), http_scope("POST", "/", ("content-length", "9")), b"a", ends=False)
        outer.disconnect()
        await outer.run()
        assert isinstance(ended[0], aiohttpd.ClientDisconnected)
        assert outer.sent == []

    @pytest.mark.parametrize("cancels", [True, False])
    async def test_cancel_on_disconnect(self, cancels: bool) -> None:
        ended: list[str] = []

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            cancel_on_disconnect = cancels

            async def do_GET(self) -> None:
                try:
                    await self.wfile.wait_closed()
                    await asyncio.sleep(0.01)
                    ended.append("went on")
                    self.send_text("to nobody")
                except asyncio.CancelledError:
                    ended.append("cancelled")
                    raise

        outer = OuterServer(export(Handler), http_scope())
        task = asyncio.create_task(outer.run())
        await asyncio.sleep(0.001)
        outer.disconnect()
        await task
        assert ended == ["cancelled" if cancels else "went on"]

    async def test_writes_raise(self) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                while True:
                    self.wfile.write(b"x")
                    await self.wfile.drain()
                    outer.disconnect()

        outer = OuterServer(export(Handler), http_scope())
        await outer.run()
        assert not outer.complete

    async def test_a_stream_of_events_ends(self) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                async with self.event_stream() as events:
                    await events.send("one")
                    await asyncio.Event().wait()

        outer = OuterServer(export(Handler), http_scope())
        task = asyncio.create_task(outer.run())
        while b"one" not in (outer.content if outer.sent else b""):
            await asyncio.sleep(0)
        outer.disconnect()
        await task
        assert outer.field("content-type") == "text/event-stream; charset=utf-8"

    async def test_the_server_outside_cancels(self) -> None:
        ended: list[str] = []

        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.append("ended")

        outer = OuterServer(export(Handler), http_scope())
        task = asyncio.create_task(outer.run())
        await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["ended"]
        assert outer.sent == []
        assert len(asyncio.all_tasks()) == 1


class TestFailures:
    async def test_an_error_page(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                raise KeyError("secret")

        answer = await asked(export(Handler))
        assert answer.status == 500
        assert b"secret" not in answer.content
        assert "KeyError" in caplog.text
        caplog.clear()

    async def test_errors_of_an_app(self) -> None:
        async def app(request: aiohttpd.Request, response: aiohttpd.StreamWriter) -> None:
            raise aiohttpd.HTTPError(418, headers={"X-A": "b"})

        answer = await asked(export(app))
        assert answer.status == 418
        assert answer.field("x-a") == "b"

    async def test_one_that_has_begun_is_cut(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"half")
                await self.wfile.drain()
                raise KeyError("late")

        outer = OuterServer(export(Handler), http_scope())
        with pytest.raises(IncompleteAnswer):
            await outer.run()
        assert outer.content == b"half"
        assert not outer.complete
        caplog.clear()

    async def test_less_than_was_promised(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", 10)
                self.end_headers()
                self.wfile.write(b"half")
                await self.wfile.drain()

        outer = OuterServer(export(Handler), http_scope())
        with pytest.raises(IncompleteAnswer):
            await outer.run()
        caplog.clear()

    async def test_a_handler_without_an_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                pass

        answer = await asked(export(Handler))
        assert answer.status == 500
        caplog.clear()

    async def test_timeout_handler(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                await asyncio.Event().wait()

        answer = await asked(export(Handler, timeout_handler=0.01))
        assert answer.status == 503
        caplog.clear()

    async def test_a_server_outside_that_fails(self) -> None:
        async def send(message: dict[str, Any]) -> None:
            raise ZeroDivisionError("outside")

        outer = OuterServer(export(Hello), http_scope())
        with pytest.raises(ZeroDivisionError):
            await export(Hello)(http_scope(), outer.receive, send)

    async def test_no_socket(self, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_text(str(self.connection))

        answer = await asked(export(Handler))
        assert answer.status == 500
        assert "exported as ASGI" in caplog.text
        caplog.clear()

    @pytest.mark.parametrize("method", ["GET", "CONNECT"])
    async def test_no_upgrade(self, method: str, caplog: pytest.LogCaptureFixture) -> None:
        class Handler(aiohttpd.BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                await self.upgrade("x")

            async def do_CONNECT(self) -> None:
                await self.upgrade()

        fields = [("connection", "upgrade"), ("upgrade", "x")] if method == "GET" else []
        answer = await asked(export(Handler), method, "/", *fields)
        assert answer.status == 500
        assert answer.complete
        assert "no upgrade of a connection" in caplog.text
        caplog.clear()

    def test_options_that_are_for_the_server_outside(self) -> None:
        with pytest.raises(ValueError, match="'timeout_idle' has no effect"):
            export(Hello, timeout_idle=3)
        with pytest.raises(TypeError, match="limit_bdy"):
            export(Hello, limit_bdy=3)
        with pytest.raises(TypeError, match="no App"):
            export(3)

    async def test_a_scope_that_nobody_knows(self) -> None:
        with pytest.raises(ValueError, match="not scopes of type 'mail'"):
            await export(Hello)({"type": "mail"}, asyncio.sleep, asyncio.sleep)
