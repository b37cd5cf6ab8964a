"""ServerTiming and OpenTelemetry: what is told of a request, and to whom."""

import pickle
import re
from typing import Any

import pytest

import aiohttpd
from aiohttpd import middleware
from aiohttpd.middleware import OpenTelemetry, ServerTiming

from ..support.asking import answer_to, fetch
from ..support.layered import Page, bare


class Measured(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        for name in ("db", "view", "db"):
            with middleware.timing(self.request, name):
                pass
        self.send_text("ok")


async def test_times() -> None:
    value = (await fetch(aiohttpd.layers(Measured, ServerTiming())))["Server-Timing"]
    assert re.fullmatch(r"db;dur=\d+\.\d, view;dur=\d+\.\d, total;dur=\d+\.\d", str(value))
    assert (await fetch(Measured))["Server-Timing"] is None


@pytest.mark.parametrize("path", ["/missing", "/fail", "/stream"])
async def test_each_answer_has_them(path: str, caplog: pytest.LogCaptureFixture) -> None:
    assert "total;dur=" in str((await fetch(aiohttpd.layers(Page, ServerTiming()), path))["Server-Timing"])
    caplog.clear()


async def test_names_are_tokens_and_few() -> None:
    class Many(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            for number in range(1000):
                with middleware.timing(self.request, f"n{number}"):
                    pass
            with pytest.raises(ValueError, match="is a token"), middleware.timing(self.request, "a;b"):
                pass
            self.send_text("ok")

    assert str((await fetch(aiohttpd.layers(Many, ServerTiming())))["Server-Timing"]).count("dur=") == 33


# Spans.

sdk = pytest.importorskip("opentelemetry.sdk.trace")


@pytest.fixture
def spans() -> Any:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    exporter.provider = provider  # type: ignore[attr-defined]
    return exporter


async def span_of(spans: Any, app: Any, path: str = "/", *fields: str, method: str = "GET") -> Any:
    await fetch(aiohttpd.layers(app, OpenTelemetry(spans.provider)), path, *fields, method=method)
    [span] = spans.get_finished_spans()
    return span


async def test_a_span(spans: Any) -> None:
    span = await span_of(spans, Page, "/page?a=1", "User-Agent: test")
    assert (span.name, span.kind.name, span.status.status_code.name) == ("GET", "SERVER", "UNSET")
    assert dict(span.attributes) == {
        "http.request.method": "GET",
        "url.path": "/page",
        "url.query": "a=1",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "server.address": "localhost",
        "user_agent.original": "test",
        "http.response.status_code": 200,
    }


@pytest.mark.parametrize(
    ("host", "expected"),
    [("a.example:8080", ("a.example", 8080)), ("[::1]:81", ("::1", 81)), ("[::1]", ("::1", None))],
)
async def test_host_and_port(spans: Any, host: str, expected: tuple[str, int | None]) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    await answer_to(aiohttpd.layers(Page, OpenTelemetry(spans.provider)), request)
    [span] = spans.get_finished_spans()
    assert (span.attributes["server.address"], span.attributes.get("server.port")) == expected


async def test_the_parent_is_that_of_the_request(spans: Any) -> None:
    span = await span_of(spans, Page, "/", f"traceparent: 00-{'a' * 32}-{'b' * 16}-01")
    assert f"{span.context.trace_id:x}" == "a" * 32 and f"{span.parent.span_id:x}" == "b" * 16


async def test_it_is_the_current_span(spans: Any) -> None:
    from opentelemetry import trace

    class Current(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            trace.get_current_span().set_attribute("mine", 1)
            self.send_text("ok")

    assert (await span_of(spans, Current)).attributes["mine"] == 1


@pytest.mark.parametrize(
    ("app", "path", "status", "error", "events"),
    [
        (Page, "/missing", 404, "UNSET", 0),
        (bare, "/missing", 404, "UNSET", 0),
        (Page, "/fail", 500, "ERROR", 0),
        (bare, "/fail", 500, "ERROR", 1),
    ],
)
async def test_errors(
    spans: Any, app: Any, path: str, status: int, error: str, events: int, caplog: pytest.LogCaptureFixture
) -> None:
    span = await span_of(spans, app, path)
    assert span.attributes["http.response.status_code"] == status
    assert (span.status.status_code.name, len(span.events)) == (error, events)
    assert ("error.type" in span.attributes) == (status >= 500)
    caplog.clear()


async def test_methods_of_a_client_make_no_names(spans: Any) -> None:
    span = await span_of(spans, Page, method="FROBNICATE")
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "FROBNICATE"


def test_can_be_handed_to_workers() -> None:
    assert pickle.loads(pickle.dumps(aiohttpd.layers(Page, OpenTelemetry(), ServerTiming())))
