"""The examples: what their answers say, and that they run as programs in each way that they tell."""

import asyncio
import importlib.util
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import httpx
import pytest

import aiohttpd
from aiohttpd.testing import running

from ..support.exported_site import EXPORTED_EXAMPLES as HANDLERS
from ..support.places import ROOT
from ..support.waiting import until
from ..support.websocket_clients import dial

PLAIN = "text/plain; charset=utf-8"


def path_of(name: str) -> str:
    return f"examples/{name}.py"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", ROOT / path_of(name))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asyncio_with(sleep: Callable[[float], Any]) -> SimpleNamespace:
    """What a module may see as ``asyncio``, to sleep as a test wants; nobody else does."""
    return SimpleNamespace(**{**vars(asyncio), "sleep": sleep})


def fields_of(response: httpx.Response, *without: str) -> tuple[str, int, list[tuple[bytes, bytes]]]:
    fields = [(name, value) for name, value in response.headers.raw if name.decode().lower() not in ("date", *without)]
    return response.http_version, response.status_code, fields


def test_every_example_is_tested() -> None:
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(HANDLERS)


# What they answer.


async def test_http_get() -> None:
    handler = load("http_get").GetHandler
    async with running(handler) as server, httpx.AsyncClient(base_url=server.url) as client:
        response = await client.get("/?foo=bar", headers={"X-Odd": "a=b"})
        address = response.extensions["network_stream"].get_extra_info("client_addr")

    assert response.status_code == 200
    assert response.headers["Content-Type"] == PLAIN
    sent = sorted((name.decode(), value.decode()) for name, value in response.request.headers.raw)
    assert ("X-Odd", "a=b") in sent
    assert response.text.split("\r\n") == [
        "CLIENT VALUES:",
        f"client_address=('127.0.0.1', {address[1]}) (127.0.0.1)",
        "command=GET",
        "path=/?foo=bar",
        "real path=/",
        "query=foo=bar",
        "request_version=HTTP/1.1",
        "",
        "SERVER VALUES:",
        f"server_version=aiohttpd/{aiohttpd.__version__}",
        f"sys_version=Python/{sys.version.split()[0]}",
        "protocol_version=HTTP/1.1",
        "",
        "HEADERS RECEIVED:",
        *(f"{name}={value}" for name, value in sent),
        "",
    ]


async def test_websocket_chat() -> None:
    handler = load("websocket_chat").Chat
    async with running(handler) as server, httpx.AsyncClient(base_url=server.url) as client:
        page = await client.get("/")
        assert (page.status_code, "new WebSocket" in page.text) == (200, True)
        assert (await client.get("/chat")).status_code == 426
        async with dial(server, "/chat") as one, dial(server, "/chat") as other:
            await until(lambda: len(handler.members) == 2)
            for speaker, text in ((one, "hello"), (other, "hello, too")):
                await speaker.send(text)
                assert [await member.recv() for member in (one, other)] == [text, text]
        await until(lambda: not handler.members)


async def test_http_concurrency_overlaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody wakes before all twenty sleep: one after the other, they never would."""
    module = load("http_concurrency")
    asleep = asyncio.Barrier(20)
    seconds = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)
        await asleep.wait()

    monkeypatch.setattr(module, "asyncio", asyncio_with(sleep))
    async with running(module.SlowHandler) as server, httpx.AsyncClient(base_url=server.url) as client:
        async with asyncio.timeout(5):
            responses = await asyncio.gather(*(client.get(f"/{number}") for number in range(20)))

    assert seconds == [0.5] * 20
    assert [response.status_code for response in responses] == [200] * 20
    assert all(response.text.startswith("Task-") and response.text.endswith("\n") for response in responses)
    assert len({response.text for response in responses}) == 20


async def test_http_errors() -> None:
    handler = load("http_errors").ErrorHandler
    async with running(handler) as server, httpx.AsyncClient(base_url=server.url) as client:
        response = await client.get("/")

    assert (response.status_code, response.reason_phrase) == (404, "Not Found")
    assert response.headers["Content-Type"] == handler.error_content_type
    page = {"code": 404, "message": "Not Found", "explain": "Nothing matches the given URI"}
    assert response.text == handler.error_message_format % page


async def test_http_send_header(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("http_send_header")
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 1_000_000_000.75))
    async with running(module.GetHandler) as server, httpx.AsyncClient(base_url=server.url) as client:
        response = await client.get("/")

    assert response.status_code == 200
    assert response.text == "Response body\n"
    assert fields_of(response)[2] == [
        (b"Server", f"aiohttpd/{aiohttpd.__version__}".encode()),
        (b"Content-Type", PLAIN.encode()),
        (b"Last-Modified", b"Sun, 09 Sep 2001 01:46:40 GMT"),
        (b"Content-Length", b"14"),
    ]


async def test_http_post() -> None:
    handler = load("http_post").PostHandler
    data = {"name": "dhellmann", "foo": "bär"}
    async with running(handler) as server, httpx.AsyncClient(base_url=server.url) as client:
        plain = await client.post("/plain?q", data=data)
        mixed = await client.post("/", data=data, files={"datafile": ("a/ä\r\n.txt", b"\0\r\n--x")})
        wrong = await client.post("/", json=data)
        port = plain.extensions["network_stream"].get_extra_info("client_addr")[1]

    first = [f"Client: ('127.0.0.1', {port})", f"User-agent: python-httpx/{httpx.__version__}"]
    form = ["Form data:", "    name=dhellmann", "    foo=bär"]
    assert (plain.status_code, plain.headers["Content-Type"]) == (200, PLAIN)
    assert plain.text.splitlines() == [*first, "Path: /plain?q", *form]
    *rest, upload = mixed.text.splitlines()
    assert rest == [*first, "Path: /", *form]
    assert upload.startswith("    Uploaded datafile as '")
    assert upload.endswith(" (6 bytes)")
    assert wrong.status_code == 415


async def test_sse_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick at the beginning of each second; the stream ends with the server."""
    module = load("sse_clock")
    now = 1_000_000_000.75
    seconds = []

    async def sleep(delay: float) -> None:
        nonlocal now
        if len(seconds) == 3:
            await asyncio.Event().wait()
        seconds.append(delay)
        now += delay

    clock = SimpleNamespace(time=lambda: now, localtime=time.gmtime, strftime=time.strftime)
    monkeypatch.setattr(module, "asyncio", asyncio_with(sleep))
    monkeypatch.setattr(module, "time", clock)
    async with running(module.Clock) as server, httpx.AsyncClient(base_url=server.url) as client:
        page, none = await client.get("/"), await client.get("/none")
        async with client.stream("GET", "/events") as stream:
            lines = stream.aiter_lines()
            ticks = [await anext(lines) for _ in range(12)]
            stopped = asyncio.create_task(server.shutdown())
            async with asyncio.timeout(5):
                assert [line async for line in lines] == []
                await stopped

    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert 'new EventSource("/events")' in page.text
    assert none.status_code == 404
    assert stream.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    times = ["01:46:40", "01:46:41", "01:46:42", "01:46:43"]
    assert ticks == [line for text in times for line in ("event: tick", f"data: {text}", "")]
    assert seconds == [0.25, 1, 1]


async def test_embedded_counts_while_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("embedded")
    seconds = []
    counted, ended = asyncio.Event(), asyncio.Event()

    async def sleep(delay: float) -> None:
        seconds.append(delay)
        if len(seconds) == 4:
            counted.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    monkeypatch.setattr(module, "asyncio", asyncio_with(sleep))
    async with running(module.Handler, lifespan=module.counting) as server:
        async with httpx.AsyncClient(base_url=server.url) as client:
            await counted.wait()
            response = await client.get("/")
        assert not ended.is_set()

    assert response.status_code == 200
    assert response.headers["Content-Type"] == PLAIN
    assert response.text == "Seconds so far: 3\n"
    assert seconds == [1] * 4
    assert ended.is_set()


async def test_embedded_handler_alone() -> None:
    async with running(load("embedded").Handler) as server, httpx.AsyncClient(base_url=server.url) as client:
        response = await client.get("/")

    assert response.status_code == 200
    assert response.text == "Nobody counts the seconds here.\n"


@pytest.mark.parametrize("name", ["http_errors", "http_send_header", "embedded", "sse_clock"])
async def test_head_is_the_head_of_get(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(name)
    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: 0.0), raising=False)
    app = getattr(module, HANDLERS[name])
    async with running(app) as server, httpx.AsyncClient(base_url=server.url) as client:
        get, empty = await client.get("/"), await client.head("/")

    assert get.content
    assert not empty.content
    assert fields_of(empty) == fields_of(get)


async def test_head_of_http_get_tells_its_own_length() -> None:
    """The page names the method, so the page of HEAD is longer by a letter; all else is the same."""
    handler = load("http_get").GetHandler
    async with running(handler) as server, httpx.AsyncClient(base_url=server.url) as client:
        get, empty = await client.get("/?foo=bar"), await client.head("/?foo=bar")

    assert not empty.content
    assert fields_of(empty, "content-length") == fields_of(get, "content-length")
    assert int(empty.headers["Content-Length"]) == len(get.content) + len("HEAD") - len("GET")


# How they are started.


@pytest.mark.parametrize("name", HANDLERS)
def test_docstring_tells_how_to_run_it(name: str) -> None:
    text = load(name).__doc__ or ""
    assert f"    python {path_of(name)}\n" in text
    assert f"    aiohttpd serve {path_of(name)}:{HANDLERS[name]} --port 8080\n" in text
    assert "curl " in text
    assert "127.0.0.1:8080/" in text


@pytest.mark.parametrize("name", [name for name in HANDLERS if name != "embedded"])
def test_main_runs_on_port_8080(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    monkeypatch.setattr(aiohttpd, "run", lambda app, **options: runs.append((app.__name__, options)))
    runpy.run_path(str(ROOT / path_of(name)), run_name="__main__")
    assert runs == [(HANDLERS[name], {"port": 8080})]


@contextmanager
def example_program(*arguments: str) -> Iterator[tuple[str, list[str]]]:
    """Run a program while the block runs; give where it serves, and then what it says after that on stderr."""
    command = [sys.executable, "-W", "error", *arguments]
    # Where the tests run in the background SIGINT is ignored, and a program would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        assert process.stderr is not None
        try:
            first = process.stderr.readline()
            assert first.startswith("Serving on http://127.0.0.1:"), first + process.stderr.read()
            assert first.endswith("/ (Ctrl-C stops)\n")
            said: list[str] = []
            yield first.split()[2], said
            process.send_signal(signal.SIGINT)
            status = process.wait(timeout=10)
            said += process.stderr.read().splitlines()
            assert status == 0, said
            assert process.stdout is not None
            assert process.stdout.read() == ""
        finally:
            process.kill()


CTRL_C = pytest.mark.skipif(sys.platform == "win32", reason="SIGINT cannot be sent to one process there")


@CTRL_C
@pytest.mark.parametrize("name", HANDLERS)
def test_served_by_the_command(name: str) -> None:
    with example_program("-m", "aiohttpd", "serve", f"{path_of(name)}:{HANDLERS[name]}", "--port", "0") as (url, said):
        response = httpx.post(url, data={"a": "b"}) if name == "http_post" else httpx.get(url)
    assert response.status_code == (404 if name == "http_errors" else 200)
    assert response.content
    # send_error says so in a line of its own, as http.server's does.
    error = ["code 404, message Not Found"] if name == "http_errors" else []
    answer = f'"{response.request.method} / HTTP/1.1" {response.status_code} {len(response.content)}'
    assert [line.partition("] ")[2] for line in said] == [*error, answer]


@CTRL_C
def test_ctrl_c_ends_the_clock() -> None:
    """A stream that is open keeps nobody waiting: not for the grace, which is longer than the test may take."""
    command = ("-m", "aiohttpd", "serve", "examples/sse_clock.py:Clock", "--port", "0", "--timeout-grace", "300")
    with example_program(*command) as (url, said):
        connection = socket.create_connection(("127.0.0.1", httpx.URL(url).port or 0), timeout=5)
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = b""
        while b"data: " not in head:
            head += connection.recv(1000)
    with connection, connection.makefile("rb") as rest:
        assert rest.read().endswith(b"0\r\n\r\n")
    assert '"GET /events HTTP/1.1" 200 ' in said[-1]


@CTRL_C
def test_embedded_as_a_program() -> None:
    with example_program(path_of("embedded"), "0") as (url, said):
        response = httpx.get(url)
    assert response.status_code == 200
    assert response.text.startswith("Seconds so far: ")
    assert said == []
