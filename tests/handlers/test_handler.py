"""The contract of http.server: what handlers may do, and what they are told when they may not."""

import asyncio
import functools
import logging
from typing import Any

import pytest

import aiohttpd
from aiohttpd import (
    BaseHTTPRequestHandler,
    ContractError,
    HTTPError,
    Request,
    SimpleHTTPRequestHandler,
    StreamWriter,
)
from aiohttpd.testing import exchange, running

from ..support.asking import answer_to
from ..support.wire import Echo, finals, split

GET = b"GET /a/b?x=1 HTTP/1.1\r\nHost: example.com\r\nX-One: 1\r\nX-Two: 2\r\n\r\n"
HEAD = GET.replace(b"GET", b"HEAD")
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"


def handler(**methods: object) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (BaseHTTPRequestHandler,), methods)


async def hello(self: BaseHTTPRequestHandler) -> None:
    self.send_response(200)
    self.send_header("Content-Type", "text/plain")
    self.end_headers()
    self.wfile.write(b"hello")


class TestAttributes:
    async def test_of_a_request(self) -> None:
        seen: dict[str, object] = {}

        class Look(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                names = (
                    "command path request_version requestline raw_requestline client_address close_connection server"
                )
                seen.update({name: getattr(self, name) for name in names.split()})
                seen["headers"] = self.headers["x-one"]
                seen["address"] = self.address_string()
                await hello(self)

        await answer_to(Look, GET)
        assert seen == {
            "command": "GET",
            "path": "/a/b?x=1",
            "request_version": "HTTP/1.1",
            "requestline": "GET /a/b?x=1 HTTP/1.1",
            "raw_requestline": b"GET /a/b?x=1 HTTP/1.1\r\n",
            "client_address": ("127.0.0.1", 50000),
            "close_connection": False,
            "server": None,
            "headers": "1",
            "address": "127.0.0.1",
        }

    @pytest.mark.parametrize(
        ("target", "path"),
        [
            ("//evil.example/x", "/evil.example/x"),
            ("///x?y", "/x?y"),
            ("http://example.com/x?y=//z", "/x?y=//z"),
            ("http://example.com", "/"),
            ("http://example.com?q", "/?q"),
        ],
    )
    async def test_path(self, target: str, path: str) -> None:
        class Path(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.path.encode())

        answer = await answer_to(Path, f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        assert answer.body == path.encode()

    async def test_can_be_set(self) -> None:
        class Rewrite(BaseHTTPRequestHandler):
            async def setup(self) -> None:
                self.path = "/other"
                self.headers = {"X": "y"}  # type: ignore[assignment]

            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(f"{self.path} {self.headers['X']}".encode())

        assert (await answer_to(Rewrite, GET)).body == b"/other y"

    async def test_one_instance_for_each_request(self) -> None:
        seen = []

        class Count(BaseHTTPRequestHandler):
            async def do_GET(self) -> None:
                seen.append(self)
                await hello(self)

        await exchange(Count, GET * 3)
        assert len({id(each) for each in seen}) == 3

    def test_tables_are_those_of_http_server(self) -> None:
        from http.server import BaseHTTPRequestHandler as Theirs

        assert BaseHTTPRequestHandler.responses == {int(k): v for k, v in Theirs.responses.items()}
        assert BaseHTTPRequestHandler.weekdayname == Theirs.weekdayname
        assert BaseHTTPRequestHandler.monthname == Theirs.monthname
        missing = {name for name in dir(Theirs) if not name.startswith("_")} - set(dir(BaseHTTPRequestHandler))
        assert missing == {"handle", "handle_one_request", "parse_request"}  # refused, see TestRefusedClasses


class TestAnswers:
    async def test_length_is_worked_out(self) -> None:
        answer = await answer_to(handler(do_GET=hello), GET)
        assert (answer.status, answer.reason, answer["Content-Length"], answer.body) == (200, "OK", "5", b"hello")
        assert answer["Server"] == f"aiohttpd/{aiohttpd.__version__}"

    async def test_head_is_get_without_content(self) -> None:
        cls = handler(do_GET=hello)
        get, head = await answer_to(cls, GET), await answer_to(cls, HEAD)
        assert [field for field in head.fields if field[0] != "Date"] == [f for f in get.fields if f[0] != "Date"]
        assert head.body == b""

    async def test_head_of_an_empty_answer(self) -> None:
        async def empty(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.end_headers()

        assert (await answer_to(handler(do_GET=empty), HEAD))["Content-Length"] == "0"
        assert (await answer_to(handler(do_HEAD=empty), HEAD))["Content-Length"] is None

    async def test_head_of_an_endless_stream_ends(self) -> None:
        ended = []

        async def endless(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"tick\n")
                    await self.wfile.drain()
            except aiohttpd.ClientDisconnected:
                ended.append(True)
                raise

        out = await exchange(handler(do_GET=endless), HEAD + HEAD)
        assert [answer["Transfer-Encoding"] for answer in finals(out, ["HEAD", "HEAD"])] == ["chunked", "chunked"]
        assert ended == [True, True]

    async def test_missing_method_is_501(self) -> None:
        answer = await answer_to(handler(do_GET=hello), GET.replace(b"GET", b"SPAM"))
        assert (answer.status, answer.reason) == (501, "Unsupported method ('SPAM')")
        assert answer["Connection"] is None

    async def test_send_error(self) -> None:
        async def fail(self: BaseHTTPRequestHandler) -> None:
            self.send_error(404, "No <such> thing", "really & truly")

        answer = await answer_to(handler(do_GET=fail), GET)
        assert (answer.status, answer.reason) == (404, "No <such> thing")
        assert answer["Content-Type"] == "text/html;charset=utf-8"
        assert b"No &lt;such&gt; thing." in answer.body
        assert b"404 - really &amp; truly." in answer.body

    async def test_send_error_replaces_a_head_that_has_not_left(self) -> None:
        async def fail(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.send_header("X-Never", "seen")
            self.end_headers()
            self.wfile.write(b"never seen")
            self.send_error(410)

        answer = await answer_to(handler(do_GET=fail), GET)
        assert answer.status == 410
        assert answer["X-Never"] is None
        assert b"never seen" not in answer.body

    async def test_error_page_is_the_class_s(self) -> None:
        cls = handler(error_message_format="%(code)d!%(message)s", error_content_type="text/x", do_GET=hello)
        answer = await answer_to(cls, GET.replace(b"GET", b"SPAM"))
        assert answer.body == b"501!Unsupported method ('SPAM')"
        assert answer["Content-Type"] == "text/x"

    async def test_http_error(self) -> None:
        async def fail(self: BaseHTTPRequestHandler) -> None:
            raise HTTPError(401, "Who are you ✋", headers=[("WWW-Authenticate", "Basic")])

        answer = await answer_to(handler(do_GET=fail), GET)
        assert (answer.status, answer.reason, answer["WWW-Authenticate"]) == (401, "Unauthorized", "Basic")
        assert "Who are you ✋".encode() in answer.body

    async def test_http_error_without_content(self) -> None:
        async def fail(self: BaseHTTPRequestHandler) -> None:
            raise HTTPError(304)

        answer = await answer_to(handler(do_GET=fail), GET)
        assert (answer.status, answer["Content-Length"], answer.body) == (304, None, b"")

    async def test_unhandled_exception_is_500_and_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        async def fail(self: BaseHTTPRequestHandler) -> None:
            raise ZeroDivisionError("oh")

        answer = await answer_to(handler(do_GET=fail), GET)
        assert answer.status == 500
        assert b"oh" not in answer.body
        [record] = caplog.records
        assert record.name == "aiohttpd.error"
        assert "GET /a/b?x=1 HTTP/1.1" in record.getMessage()
        assert record.exc_info
        caplog.clear()

    async def test_error_after_the_head_cuts_the_answer(self, caplog: pytest.LogCaptureFixture) -> None:
        async def fail(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"part")
            self.wfile.flush()
            raise ZeroDivisionError

        [answer] = finals(await exchange(handler(do_GET=fail), GET + GET))
        assert not answer.complete
        assert len(caplog.records) == 1
        caplog.clear()

    async def test_interim_responses(self) -> None:
        async def early(self: BaseHTTPRequestHandler) -> None:
            self.send_response_only(103)
            self.send_header("Link", "</x.css>; rel=preload")
            self.end_headers()
            await hello(self)

        hints, final = split(await exchange(handler(do_GET=early), GET))
        assert (hints.status, hints["Link"], hints["Content-Length"]) == (103, "</x.css>; rel=preload", None)
        assert final.body == b"hello"
        assert len(split(await exchange(handler(do_GET=early), GET.replace(b"1.1", b"1.0")))) == 1

    async def test_close_connection(self) -> None:
        async def close(self: BaseHTTPRequestHandler) -> None:
            await hello(self)
            self.close_connection = True

        [answer] = finals(await exchange(handler(do_GET=close), GET * 2))
        assert answer["Connection"] == "close"

    async def test_own_date_server_and_connection_replace_ours(self) -> None:
        async def own(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.send_header("Date", "today")
            self.send_header("server", "mine")
            self.send_header("Connection", "close")
            self.end_headers()

        answer = await answer_to(handler(do_GET=own), GET)
        assert (answer["Date"], answer["Server"], answer["Connection"]) == ("today", "mine", "close")

    async def test_version_string(self) -> None:
        assert (await answer_to(handler(do_GET=hello, server_version="Spam/1"), GET))["Server"] == "Spam/1"
        assert (await answer_to(handler(do_GET=hello, sys_version="Eggs/2"), GET))["Server"].endswith(" Eggs/2")  # type: ignore[union-attr]
        assert (await answer_to(handler(do_GET=hello, server_version="Spam/1"), GET, server_header=False))[
            "Server"
        ] is None
        assert (await answer_to(handler(do_GET=hello), GET, server_header=False))["Server"] is None

    async def test_protocol_version_1_0_closes(self) -> None:
        [answer] = finals(await exchange(handler(do_GET=hello, protocol_version="HTTP/1.0"), GET * 2))
        assert answer["Connection"] == "close"


class TestHooks:
    async def test_setup_and_finish(self) -> None:
        calls = []

        class Hooked(BaseHTTPRequestHandler):
            async def setup(self) -> None:
                calls.append("setup")

            async def finish(self) -> None:
                calls.append("finish")

            async def do_GET(self) -> None:
                raise HTTPError(400)

        assert (await answer_to(Hooked, GET)).status == 400
        assert calls == ["setup", "finish"]

    async def test_end_headers_can_be_overridden(self) -> None:
        class Cors(Echo):
            def end_headers(self) -> None:
                self.send_header("Access-Control-Allow-Origin", "*")
                super().end_headers()

        assert (await answer_to(Cors, GET))["Access-Control-Allow-Origin"] == "*"

    async def test_handle_expect_100_can_refuse(self) -> None:
        class Refuse(Echo):
            def handle_expect_100(self) -> bool:
                self.send_error(417)
                return False

        data = POST.replace(b"Host", b"Expect: 100-continue\r\nHost")
        assert (await answer_to(Refuse, data)).status == 417

    async def test_max_body_size(self) -> None:
        class Small(Echo):
            max_body_size = 4

        class Large(Echo):
            max_body_size = None

        assert (await answer_to(Small, POST)).status == 413
        assert (await answer_to(Large, POST, limit_body=1)).body == b"hello"
        assert (await answer_to(Echo, POST, limit_body=1)).status == 413

    async def test_partial_and_closure(self) -> None:
        class Configured(Echo):
            def __init__(self, *args: object, word: str, **kwargs: object) -> None:
                super().__init__(*args, **kwargs)  # type: ignore[arg-type]
                self.word = word

            async def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.word.encode())

        assert (await answer_to(functools.partial(Configured, word="spam"), GET)).body == b"spam"
        assert (
            await answer_to(lambda request, response: Configured(request, response, word="eggs"), GET)
        ).body == b"eggs"

    async def test_getattr_methods(self) -> None:
        class Anything(BaseHTTPRequestHandler):
            def __getattr__(self, name: str) -> object:
                if not name.startswith("do_"):
                    raise AttributeError(name)
                return functools.partial(hello, self)

        assert (await answer_to(Anything, GET.replace(b"GET", b"SPAM"))).body == b"hello"


class TestPlainApps:
    async def test_function(self) -> None:
        async def app(request: Request, response: StreamWriter) -> None:
            response.send_head(201, [("X-Path", request.path)], "Made")
            response.write(b"body of " + (await request.body.read()))

        answer = await answer_to(app, POST)
        assert (answer.status, answer.reason, answer["X-Path"], answer.body) == (201, "Made", "/", b"body of hello")

    async def test_errors(self, caplog: pytest.LogCaptureFixture) -> None:
        async def missing(request: Request, response: StreamWriter) -> None:
            raise HTTPError(404, explain="look elsewhere")

        async def broken(request: Request, response: StreamWriter) -> None:
            raise ZeroDivisionError

        async def silent(request: Request, response: StreamWriter) -> None:
            pass

        assert (await answer_to(missing, GET)).body == b"404 Not Found: look elsewhere\n"
        assert (await answer_to(broken, GET)).body == b"500 Internal Server Error\n"
        assert (await answer_to(silent, GET)).status == 500
        assert "without an answer" in caplog.text
        assert len(caplog.records) == 2
        caplog.clear()

    async def test_sys_exit_harms_nobody_else(self, caplog: pytest.LogCaptureFixture) -> None:
        async def leave(request: Request, response: StreamWriter) -> None:
            raise SystemExit(3)

        assert [answer.status for answer in finals(await exchange(leave, GET * 2))] == [500, 500]
        caplog.clear()

    async def test_middleware(self) -> None:
        def tagged(app: aiohttpd.App) -> aiohttpd.App:
            async def wrapped(request: Request, response: StreamWriter) -> None:
                await app(request, response)
                assert response.status == 200

            return wrapped

        assert (await answer_to(tagged(handler(do_GET=hello)), GET)).body == b"hello"

    @pytest.mark.parametrize("app", [None, 3, "hello.py:Hello", int])
    async def test_no_app(self, app: object) -> None:
        with pytest.raises(TypeError, match="no App|no handler class"):
            await exchange(app, GET)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="no App|no handler class"):
            aiohttpd.HTTPServer(("127.0.0.1", 0), app)  # type: ignore[arg-type]


class TestWrongUse:
    """A handler that uses the contract wrongly is told what to do."""

    @staticmethod
    async def told(caplog: pytest.LogCaptureFixture, do_GET: object, data: bytes = GET) -> str:
        answer = await answer_to(handler(do_GET=do_GET, do_POST=do_GET), data)
        assert answer.status == 500
        [record] = caplog.records
        caplog.clear()
        assert record.exc_info
        return f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"

    async def test_content_before_the_head(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.wfile.write(b"x")

        assert "call send_response() and end_headers() first" in await self.told(caplog, wrong)

    async def test_head_not_ended(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)

        assert "call end_headers()" in await self.told(caplog, wrong)

    async def test_field_outside_of_a_head(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.send_header("A", "b")

        assert "after send_response(), before end_headers()" in await self.told(caplog, wrong)

    async def test_a_traceback_only_leads_to_code_of_the_program(self, caplog: pytest.LogCaptureFixture) -> None:
        """What is found after the handler has returned has none: its frames would be those of the server alone."""

        async def nothing(self: BaseHTTPRequestHandler) -> None: ...

        async def too_much(self: BaseHTTPRequestHandler) -> None:
            self.wfile.write(b"x")

        for wrong, lines in ((nothing, 0), (too_much, 1)):
            assert (await answer_to(handler(do_GET=wrong), GET)).status == 500
            [record] = caplog.records
            text = logging.Formatter().format(record)
            assert text.count("Traceback") == text.count("self.wfile.write(b") == lines
            assert text.splitlines()[-1].startswith("aiohttpd.errors.ContractError: ")
            caplog.clear()

    async def test_two_answers(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            await hello(self)
            await hello(self)

        assert "one request, one answer" in await self.told(caplog, wrong)

    async def test_content_longer_than_its_length(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.send_header("Content-Length", 3)
            self.end_headers()
            self.wfile.write(b"four")

        assert "4 bytes of content, but Content-Length says 3" in await self.told(caplog, wrong)

    async def test_content_shorter_than_its_length(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"four")

        assert "4 bytes of content, but Content-Length says 5" in await self.told(caplog, wrong)

    @pytest.mark.parametrize(
        ("name", "value"), [("A", "b\r\nC: d"), ("A\n", "b"), ("A b", "c"), ("", "c"), ("A", "b\0"), ("A", "☃")]
    )
    async def test_field_that_splits(self, caplog: pytest.LogCaptureFixture, name: str, value: str) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.send_header(name, value)

        assert (await self.told(caplog, wrong)).startswith("ValueError")

    async def test_reason_that_splits(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200, "fine\r\nSet-Cookie: x")
            self.end_headers()

        assert (await self.told(caplog, wrong)).startswith("ValueError")

    async def test_text_instead_of_bytes(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            await hello(self)
            self.wfile.write("text")  # type: ignore[arg-type]

        assert "encode the text" in await self.told(caplog, wrong)

    async def test_coroutine_written(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            await hello(self)
            self.wfile.write(self.rfile.read())  # type: ignore[arg-type]

        assert "put 'await' before the call" in await self.told(caplog, wrong)

    async def test_read_not_awaited(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.rfile.read()  # type: ignore[unused-coroutine]
            await hello(self)

        assert "put 'await' before the call" in await self.told(caplog, wrong, POST)

    async def test_coroutine_returned(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> object:
            return hello(self)

        assert "put 'await' before the call" in await self.told(caplog, wrong)

    async def test_block_returned(self, caplog: pytest.LogCaptureFixture) -> None:
        """FAULT: it said 'await' for a WebSocket, and send_json() for a stream of events."""

        async def socket(self: BaseHTTPRequestHandler) -> object:
            return self.websocket()

        async def events(self: BaseHTTPRequestHandler) -> object:
            return self.event_stream()

        for wrong in (socket, events):
            assert "put 'async with' before it" in await self.told(caplog, wrong)
            caplog.clear()

    async def test_old_init(self) -> None:
        """FAULT: it was told for each request, and not at the start."""

        class Old(BaseHTTPRequestHandler):
            def __init__(self, request: object, client_address: object, server: object) -> None:
                raise AssertionError

        with pytest.raises(
            TypeError, match=r"Old.__init__\(\) cannot be called with \(request, response\).*\*args, \*\*kw"
        ):
            await answer_to(Old, GET)
        with pytest.raises(TypeError, match="unexpected keyword argument 'dir'"):
            await answer_to(functools.partial(SimpleHTTPRequestHandler, dir="site"), GET)

    async def test_init_with_an_argument_of_its_own(self) -> None:
        class Own(BaseHTTPRequestHandler):
            def __init__(self, *args: Any, text: str, **kwargs: Any) -> None:
                super().__init__(*args, **kwargs)
                self.text_of_all = text

            async def do_GET(self) -> None:
                self.send_text(self.text_of_all)

        assert (await answer_to(functools.partial(Own, text="here"), GET)).body == b"here"
        with pytest.raises(TypeError, match=r"missing a required .*'text'.*functools.partial\(Own, name=value\)"):
            await answer_to(Own, GET)

    async def test_init_of_a_class_that_is_made_in_another_way(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is not known before."""

        class Kind(type):
            def __call__(cls, *arguments: Any) -> Any:
                return super().__call__(*arguments)

        class Old(BaseHTTPRequestHandler, metaclass=Kind):
            def __init__(self, request: object, client_address: object, server: object) -> None:
                raise AssertionError

        assert (await answer_to(Old, GET)).status == 500
        [record] = caplog.records
        caplog.clear()
        assert record.exc_info and "__init__" in str(record.exc_info[1])

    async def test_own_chunks_that_are_none(self, caplog: pytest.LogCaptureFixture) -> None:
        async def wrong(self: BaseHTTPRequestHandler) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"not a chunk\r\n")

        assert "what is written is not" in await self.told(caplog, wrong)

    async def test_write_after_the_end(self) -> None:
        kept: list[StreamWriter] = []

        async def keep(self: BaseHTTPRequestHandler) -> None:
            kept.append(self.wfile)
            await hello(self)

        await answer_to(handler(do_GET=keep), GET)
        with pytest.raises(ContractError, match="after the handler has returned"):
            kept[0].write(b"late")


class TestRefusedClasses:
    @pytest.mark.parametrize("name", ["handle", "handle_one_request", "parse_request"])
    def test_overrides(self, name: str) -> None:
        with pytest.raises(TypeError, match="cannot be overridden"):
            handler(**{name: lambda self: None})

    @pytest.mark.parametrize("name", ["setup", "finish"])
    def test_plain_functions(self, name: str) -> None:
        with pytest.raises(TypeError, match="async def"):
            handler(**{name: lambda self: None})


class TestLog:
    async def test_overridden_log_message_gets_the_record(self) -> None:
        lines = []

        class Logged(Echo):
            def log_message(self, format: str, *args: object) -> None:
                lines.append(format % args)

        await exchange(Logged, GET + POST)
        assert lines == ['"GET /a/b?x=1 HTTP/1.1" 200 3', '"POST / HTTP/1.1" 200 5']

    async def test_overridden_log_request(self) -> None:
        records = []

        class Logged(Echo):
            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                records.append((code, size))

        await exchange(Logged, GET)
        assert records == [(200, 3)]
        await exchange(Logged, GET, config=aiohttpd.Config(access_log=False))
        assert len(records) == 1

    async def test_error_in_it_harms_nobody(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken(Echo):
            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                raise ZeroDivisionError

        assert len(finals(await exchange(Broken, GET * 2))) == 2
        assert len(caplog.records) == 2
        caplog.clear()

    async def test_without_an_access_log_lines_go_to_logging(self, caplog: pytest.LogCaptureFixture) -> None:
        async def say(self: BaseHTTPRequestHandler) -> None:
            self.log_message("%s", "bell \a and \\")
            await hello(self)

        with caplog.at_level(logging.INFO, "aiohttpd.access"):
            await exchange(handler(do_GET=say), GET)
        assert "bell \\x07 and \\\\" in caplog.text


async def test_tasks_and_context_belong_to_the_request() -> None:
    names = []

    class Named(Echo):
        async def do_GET(self) -> None:
            task = asyncio.current_task()
            assert task is not None
            async with asyncio.timeout(5):
                names.append(task.get_name())
            await super().do_GET()

    async with running(Named) as server:
        reader, writer = await asyncio.open_connection(*server.server_address)
        writer.write(GET + GET.replace(b"Host", b"Connection: close\r\nHost"))
        assert len(finals(await reader.read())) == 2
        writer.close()
    assert len(set(names)) == 2
