"""RequestID, and the fields of the access log that a program sets."""

import io
import json
import logging
from typing import Any

import pytest

import aiohttpd
from aiohttpd import middleware
from aiohttpd.server.access_log import AccessLog
from aiohttpd.server.log_format import LineFormat
from aiohttpd.testing import exchange

from ..support.asking import QUIET, fetch
from ..support.clients import get
from ..support.layered import Page, bare, having

ID = "X-Request-ID"


async def logged(app: Any, request: bytes, format: str) -> str:
    import asyncio

    stream = io.StringIO()
    log = AccessLog(stream, asyncio.get_running_loop(), format)
    await exchange(app, request, access_log=log)
    log.flush()
    return stream.getvalue()


async def test_each_request_has_another_one() -> None:
    app = aiohttpd.layers(Page, middleware.RequestID())
    ids = [str((await fetch(app))[ID]) for _ in range(3)]
    assert len(set(ids)) == 3 and all(len(name) == 32 and int(name, 16) for name in ids)


async def test_it_is_in_answer_log_and_context() -> None:
    class Telling(Page):
        async def do_GET(self) -> None:
            self.send_text(middleware.current_request_id.get())

    app = aiohttpd.layers(Telling, middleware.RequestID("X-Trace"))
    answer = await fetch(app)
    assert answer["X-Trace"] == answer.body.decode() == answer.body.decode().strip() != ""
    line = await logged(app, get(), "json")
    assert len(json.loads(line)["request_id"]) == 32
    assert middleware.current_request_id.get() == ""


@pytest.mark.parametrize("path", ["/missing", "/fail"])
@pytest.mark.parametrize("app", [Page, bare])
async def test_errors_have_it(app: Any, path: str, caplog: pytest.LogCaptureFixture) -> None:
    assert (await fetch(aiohttpd.layers(app, middleware.RequestID()), path))[ID]
    caplog.clear()


async def test_an_id_of_a_client_counts_only_if_it_is_trusted() -> None:
    field = f"{ID}: abc-123"
    assert (await fetch(aiohttpd.layers(Page, middleware.RequestID()), "/", field))[ID] != "abc-123"
    app = aiohttpd.layers(Page, middleware.RequestID(trust=True))
    assert (await fetch(app, "/", field))[ID] == "abc-123"


@pytest.mark.parametrize("value", ["a b", "<script>", '"', "a" * 129, "", "ä", "a,b"])
async def test_an_id_of_a_client_is_short_and_plain(value: str) -> None:
    app = aiohttpd.layers(Page, middleware.RequestID(trust=True))
    assert len(str((await fetch(app, "/", f"{ID}: {value}"))[ID])) == 32


async def test_two_ids_are_none() -> None:
    app = aiohttpd.layers(Page, middleware.RequestID(trust=True))
    assert len(str((await fetch(app, "/", f"{ID}: a", f"{ID}: b"))[ID])) == 32


async def test_a_layer_within_another_takes_its_id() -> None:
    class Telling(Page):
        async def do_GET(self) -> None:
            self.send_text(middleware.current_request_id.get())

    router = aiohttpd.Router(
        {"/inner/": aiohttpd.layers(Telling, middleware.RequestID(), middleware.RequestID("X-Own"))}
    )
    answer = await fetch(aiohttpd.layers(router, middleware.RequestID()), "/inner/")
    [name] = [value for field, value in answer.fields if field == ID]
    assert name == answer["X-Own"] == answer.body.decode()


async def test_the_field_of_an_app_stays() -> None:
    answer = await fetch(aiohttpd.layers(having(("x-request-id", "of the App")), middleware.RequestID()))
    assert [value for field, value in answer.fields if field.lower() == ID.lower()] == ["of the App"]


def test_the_name_of_the_field_is_checked() -> None:
    with pytest.raises(ValueError, match="no name of a header field"):
        middleware.RequestID("X Request")


# log_fields.


class Logging(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.log_fields["user"] = 'a "b"\n\x1b'
        self.log_fields["count"] = 7
        self.log_fields["status"] = "mine"
        self.send_text("ok")


async def test_json_lines_have_them_as_members() -> None:
    fields = json.loads(await logged(Logging, get(), "json"))
    assert (fields["user"], fields["count"], fields["status"]) == ('a "b"\n\x1b', 7, 200)
    assert "log_fields" not in json.loads(await logged(Page, get(), "json"))


async def test_templates_name_them() -> None:
    line = await logged(Logging, get(), "{status} {log_fields[user]} {log_fields[count]} {log_fields[no-such]}")
    assert line == '200 a \\"b\\"\\x0a\\x1b 7 -\n'
    assert await logged(Page, get(), "{log_fields[user]} {status}") == "- 200\n"
    assert await logged(Page, b"NONSENSE\r\n\r\n", "{log_fields[user]} {status}") == "- 400\n"


@pytest.mark.parametrize("field", ["log_fields", "log_fields[]", "log_fields[a b]", "log_fields['x']", "log_fields.x"])
def test_templates_are_checked(field: str) -> None:
    with pytest.raises(ValueError, match="access_log_format"):
        LineFormat(f"{{{field}}}")


async def test_values_that_are_no_json_do_not_stop_the_log() -> None:
    class Silent:
        def __str__(self) -> str:
            raise RuntimeError

    class Odd(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            circle: list[Any] = []
            circle.append(circle)
            self.log_fields["circle"] = circle
            self.log_fields["object"] = object
            self.log_fields["silent"] = Silent()
            self.log_fields["nan"] = float("nan")
            self.log_fields["surrogate"] = "\udc80"
            self.send_text("ok")

    fields = json.loads(await logged(Odd, get(), "json"))
    assert (fields["circle"], fields["silent"], fields["nan"]) == ("[[...]]", "<Silent>", "nan")
    assert await logged(Odd, get(), "{log_fields[silent]}") == "<Silent>\n"
    assert await logged(Odd, get(), "{log_fields[surrogate]}") == "\\\\udc80\n"


async def test_a_mount_sets_fields_of_the_whole_request() -> None:
    site = aiohttpd.Router({"/a/": aiohttpd.Router({"/b/": Logging})})
    assert await logged(site, get("/a/b/x"), "{log_fields[count]}") == "7\n"


async def test_log_records_have_them(caplog: pytest.LogCaptureFixture) -> None:
    from aiohttpd.server.access_log import LoggingAccessLog

    with caplog.at_level(logging.INFO, "aiohttpd.access"):
        await exchange(Logging, get(), access_log=LoggingAccessLog("http.server"))
    [record] = caplog.records
    assert vars(record)["log_fields"]["count"] == 7
    caplog.clear()


async def test_state_of_a_request_is_seen_by_layers_and_handlers() -> None:
    class Setting(middleware.Layer):
        async def serve(self, app: Any, request: aiohttpd.Request, response: Any) -> None:
            request.state.seen = ["layer"]
            await app(request, response)
            assert request.state.seen == ["layer", "handler"]

    class Seeing(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            self.state.seen.append("handler")
            self.send_text("ok")

    app = aiohttpd.layers(aiohttpd.Router({"/a/": Seeing}), Setting())
    assert (await fetch(app, "/a/")).status == 200
    assert QUIET is not None
