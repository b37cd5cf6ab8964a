"""What a server tells of itself: metrics, health, and what its handlers wait for."""

import asyncio
import os
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

import aiohttpd
from aiohttpd import Config, HTTPServer
from aiohttpd.engine.answer import PreparedResponse
from aiohttpd.server.metrics import Metrics, merge, prometheus_text
from aiohttpd.server.stacks import report
from aiohttpd.server.status_server import metrics_server
from aiohttpd.testing import running

from ..support.waiting import until
from ..support.wire import Echo

BOUND = 15.0  # seconds after which a test has failed, whatever it waits for


class Waiting(Echo):
    """GET waits until it is told to go on."""

    begun: asyncio.Event
    go_on: asyncio.Event

    async def do_GET(self) -> None:
        if self.path == "/quick":
            self.send_text("quick")
            return
        type(self).begun.set()
        await self.inner()
        self.send_text("ok\n")

    async def inner(self) -> None:
        await type(self).go_on.wait()


@pytest.fixture
def waiting() -> type[Waiting]:
    Waiting.begun, Waiting.go_on = asyncio.Event(), asyncio.Event()
    return Waiting


def value(text: str, name: str) -> float:
    """The value of one time series."""
    [line] = [line for line in text.splitlines() if line.startswith(f"aiohttpd_{name} ")]
    return float(line.rpartition(" ")[2])


@asynccontextmanager
async def client(server: aiohttpd.HTTPServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url, timeout=BOUND, trust_env=False) as made:
        yield made


class TestMetrics:
    async def test_what_is_counted(self, waiting: type[Waiting]) -> None:
        async with running(waiting, metrics="/metrics") as server, client(server) as http:
            slow = asyncio.create_task(http.get("/slow"))
            await waiting.begun.wait()
            await http.get("/quick")
            await http.post("/", content=b"12345")
            await http.request("BREW", "/pot")
            reader, writer = await asyncio.open_connection(*server.server_address)
            writer.write(b"NO\r\n\r\n")
            await reader.read()
            answer = await http.get("/metrics?x=y")
            waiting.go_on.set()
            await slow
            later = (await http.get("/metrics")).text
            writer.close()
        text = answer.text
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert value(text, 'requests_total{method="GET",status="200"}') == 1
        assert value(text, 'requests_total{method="POST",status="200"}') == 1
        assert value(text, 'requests_total{method="other",status="501"}') == 1
        assert value(text, "requests_in_flight") >= 1
        assert value(text, 'connections{state="serving"}') >= 1
        assert value(text, "connections_total") >= 3
        assert value(text, "received_content_bytes_total") == 5
        assert value(text, 'refusals_total{reason="malformed"}') == 1
        assert (
            value(text, 'request_duration_seconds_bucket{le="+Inf"}')
            == value(text, "request_duration_seconds_count")
            == 3
        )
        assert value(text, "sent_bytes_total") > 300
        # The slow one, and the page itself.
        assert value(later, 'requests_total{method="GET",status="200"}') == 3
        assert value(later, "request_duration_seconds_sum") > 0

    async def test_many_are_counted_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aiohttpd.server.metrics.perf_counter", lambda: 30.0)
        request = aiohttpd.Request("GET", "/", "HTTP/1.1", aiohttpd.Headers(), None)  # type: ignore[arg-type]
        metrics = Metrics()
        for number in range(3000):
            answer = PreparedResponse(200 if number % 3 else 404, b"", 0)
            metrics.answered(request, answer, 30.0 - (0.0007 if number % 2 else 20.0))
        assert all(len(times) < 256 for times in metrics._waiting["GET"].values())  # what waits is bounded
        found = metrics.snapshot()
        assert found["requests"] == {"GET 404": 1000, "GET 200": 2000}
        assert found["buckets"][:2] == [0, 1500]
        assert found["buckets"][-2:] == [1500, 3000]
        assert found["seconds"] == pytest.approx(1500 * 20.0007)

    async def test_a_bound_is_in_its_bucket(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("aiohttpd.server.metrics.perf_counter", lambda: 0.001)
        request = aiohttpd.Request("GET", "/", "HTTP/1.1", aiohttpd.Headers(), None)  # type: ignore[arg-type]
        metrics = Metrics()
        metrics.answered(request, PreparedResponse(200, b"", 0), 0.0)
        text = prometheus_text(metrics.snapshot())
        assert value(text, 'request_duration_seconds_bucket{le="0.0005"}') == 0
        assert value(text, 'request_duration_seconds_bucket{le="0.001"}') == 1

    def test_snapshots_are_summed(self) -> None:
        one = Metrics().snapshot() | {"requests": {"GET 200": 2, "GET 404": 1}, "seconds": 0.5, "sent": 10}
        two = Metrics().snapshot() | {"requests": {"GET 200": 3, "PUT 201": 1}, "seconds": 0.25, "sent": 1}
        one["buckets"][-1], two["buckets"][-1] = 3, 4
        before = repr((one, two))
        total = merge([one, two, {"worker_restarts": 7}])
        assert total["requests"] == {"GET 200": 5, "GET 404": 1, "PUT 201": 1}
        assert (total["seconds"], total["sent"], total["buckets"][-1], total["worker_restarts"]) == (0.75, 11, 7, 7)
        assert repr((one, two)) == before
        assert value(prometheus_text(total), "worker_restarts_total") == 7

    def test_prometheus_reads_it(self) -> None:
        """The grammar of its text format, and of a histogram."""
        snapshot = Metrics().snapshot() | {"requests": {"GET none": 1}, "refusals": {"timeout": 2}}
        text = prometheus_text(snapshot)
        assert text.endswith("\n")
        names: list[str] = []
        for line in text.splitlines():
            if line.startswith("# TYPE "):
                names.append(line.split()[2])
                assert line.split()[3] in ("counter", "gauge", "histogram")
            elif not line.startswith("# HELP "):
                match = re.fullmatch(
                    r'([a-z_]+)(?:\{[a-z]+="[A-Za-z0-9_.+]+"(?:,[a-z]+="[a-z0-9]+")?\})? [0-9.e-]+', line
                )
                assert match, line
                assert re.fullmatch(f"{names[-1]}(?:_bucket|_sum|_count)?", match[1])
        assert len(set(names)) == len(names)

    async def test_nothing_when_it_is_off(self) -> None:
        async with running(Echo, access_log=False) as server, client(server) as http:
            assert (await http.get("/metrics")).text == "ok\n"  # it is the App's own
            context = server._context
            assert context is not None
            assert context.recorder.metrics is None
            assert context.record is None
            assert server.snapshot()["requests"] == {}

    async def test_no_access_log_is_none_with_metrics_either(self) -> None:
        records = []

        class Records(Echo):
            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                records.append(code)

        for access_log in (True, False):
            async with running(Records, metrics="/metrics", access_log=access_log) as server, client(server) as http:
                await http.get("/")
                assert server.snapshot()["requests"] == {"GET 200": 1}
        assert records == [200]

    async def test_an_address_of_its_own(self, tmp_path: Path) -> None:
        address = f"unix:{tmp_path / 'metrics'}"
        async with running(Echo, metrics=address, health="/health") as server, client(server) as http:
            assert (await http.get("/metrics")).text == "ok\n"
            other = metrics_server(server)
            assert other is not None
            transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "metrics"))
            async with other, httpx.AsyncClient(transport=transport, base_url="http://a") as seer:
                text = (await seer.get("/metrics")).text
                assert value(text, 'requests_total{method="GET",status="200"}') == 1
                assert (await seer.get("/health")).status_code == 200
                assert (await seer.get("/")).status_code == 404
                await server.shutdown()
                assert (await seer.get("/health")).status_code == 503

    async def test_of_other_processes(self) -> None:
        async def snapshots() -> list[aiohttpd.server.metrics.Snapshot]:  # type: ignore[name-defined]
            return [server.snapshot(), {"requests": {"GET 200": 40}}, {"worker_restarts": 2}]

        server = HTTPServer(
            ("127.0.0.1", 0), Echo, config=Config(metrics="/metrics", timeout_drain_idle=0), snapshots=snapshots
        )
        async with server, client(server) as http:
            await http.get("/")
            text = (await http.get("/metrics")).text
        assert value(text, 'requests_total{method="GET",status="200"}') == 41
        assert value(text, "worker_restarts_total") == 2


class TestPages:
    async def test_get_and_head_only(self) -> None:
        async with running(Echo, metrics="/metrics", health="/health") as server, client(server) as http:
            for path in ("/metrics", "/health"):
                head, post = await http.head(path), await http.post(path, content=b"x")
                assert (head.status_code, head.content) == (200, b"")
                assert head.headers["content-length"] != "0"
                assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD")
            assert (await http.get("/healthy")).text == "ok\n"
            assert (await http.get("/health/")).text == "ok\n"

    async def test_probes_of_the_old_kind(self) -> None:
        """HTTP/1.0 without Host, as HAProxy asks by default."""
        async with running(Echo, health="/health") as server:
            reader, writer = await asyncio.open_connection(*server.server_address)
            writer.write(b"OPTIONS /health HTTP/1.0\r\n\r\n")
            assert b" 405 " in await reader.read()
            writer.close()
            reader, writer = await asyncio.open_connection(*server.server_address)
            writer.write(b"GET /health HTTP/1.0\r\n\r\n")
            assert (await reader.read()).endswith(b"\r\n\r\nready\n")
            writer.close()

    async def test_in_front_of_files(self, tmp_path: Path) -> None:
        (tmp_path / "health").write_text("a file")
        (tmp_path / "other").write_text("another")
        files = type("Files", (aiohttpd.SimpleHTTPRequestHandler,), {"directory": str(tmp_path)})
        async with running(files, health="/health", metrics="/metrics") as server, client(server) as http:
            for _ in range(3):  # the second time from memory
                assert (await http.get("/health")).text == "ready\n"
                assert (await http.get("/other")).text == "another"
            assert value((await http.get("/metrics")).text, 'requests_total{method="GET",status="200"}') == 6

    async def test_health_fails_while_the_server_drains(self, waiting: type[Waiting]) -> None:
        async with running(waiting, health="/health", timeout_drain_idle=BOUND) as server:
            probe_reader, probe = await asyncio.open_connection(*server.server_address)
            busy_reader, busy = await asyncio.open_connection(*server.server_address)
            ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
            probe.write(ask)
            assert (await probe_reader.readuntil(b"ready\n")).startswith(b"HTTP/1.1 200 ")
            busy.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await waiting.begun.wait()
            closing = asyncio.create_task(server.shutdown())
            await server.shutting_down.wait()
            probe.write(ask)
            answer = await probe_reader.read()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Connection: close\r\n" in answer
            waiting.go_on.set()
            assert (await busy_reader.read()).startswith(b"HTTP/1.1 200 ")
            await closing
            probe.close()
            busy.close()

    @pytest.mark.parametrize(
        ("options", "text"),
        [({"health": "health"}, "begins with a slash"), ({"health": "/x", "metrics": "/x"}, "cannot both be /x")],
    )
    def test_paths_that_cannot_be(self, options: dict[str, str], text: str) -> None:
        with pytest.raises(ValueError, match=text):
            aiohttpd.Config(**options)  # type: ignore[arg-type]


class TestReport:
    async def test_what_a_handler_waits_for(self, waiting: type[Waiting]) -> None:
        async with running(waiting) as server:
            idle_reader, idle = await asyncio.open_connection(*server.server_address)
            idle.write(b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await idle_reader.readuntil(b"quick")
            reader, writer = await asyncio.open_connection(*server.server_address)
            writer.write(b'GET /slow?" HTTP/1.1\r\nHost: localhost\r\n\r\n')
            await waiting.begun.wait()
            text = report(server)
            waiting.go_on.set()
            await reader.readuntil(b"ok\n")
            for each in (idle, writer):
                each.close()
        first, *lines = text.splitlines()
        assert first == f"aiohttpd, process {os.getpid()}: 2 connections, 1 request in flight"
        assert re.fullmatch(r'127\.0\.0\.1:\d+ SERVING GET /slow\?\\" HTTP/1\.1, for \d+\.\d{3} s', lines[0])
        stack = [line for line in lines if line.startswith("    ")]
        # From the connection's own call down to what is really waited for, in the order of the calls.
        calls = ("in Waiting.do_GET: await self.inner()", "in Waiting.inner: await", "in Event.wait:")
        places = [next(number for number, line in enumerate(stack) if call in line) for call in calls]
        assert places == sorted(places)
        assert stack[-1].startswith("    waits for <Future pending")
        assert re.fullmatch(r"127\.0\.0\.1:\d+ IDLE", lines[-1])

    async def test_a_handler_without_a_client(self, waiting: type[Waiting]) -> None:
        async with running(waiting) as server:
            _, writer = await asyncio.open_connection(*server.server_address)
            writer.write(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await waiting.begun.wait()
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST
            writer.transport.abort()
            await until(lambda: server.orphans, BOUND)
            text = report(server)
            waiting.go_on.set()
        assert "0 connections, 1 request in flight" in text
        assert "a handler whose client has gone" in text
        assert "in Waiting.inner" in text

    @pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
    def test_signal(self, tmp_path: Path) -> None:
        (tmp_path / "app.py").write_text(
            "import asyncio\n"
            "async def app(request, response):\n"
            "    if request.path == '/slow':\n"
            "        await asyncio.sleep(3600)\n"
            "    response.send_head(200)\n"
        )
        command = [sys.executable, "-m", "aiohttpd", "serve", "app:app", "-p", "0", "--timeout-grace", "0"]
        more = ["--metrics", "127.0.0.1:0", "--health", "/health", "--access-log-format", "json"]
        process = subprocess.Popen([*command, *more], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            url = process.stderr.readline().split()[2]
            with httpx.Client(base_url=url, timeout=httpx.Timeout(BOUND, read=0.2), trust_env=False) as http:
                with pytest.raises(httpx.ReadTimeout):
                    http.get("/slow")
                assert http.get("/health", timeout=BOUND).text == "ready\n"
                process.send_signal(signal.SIGUSR1)
                lines = [process.stderr.readline()]
                assert "1 request in flight" in lines[0]
                while "waits for" not in lines[-1]:
                    lines.append(process.stderr.readline())
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=BOUND)
        finally:
            process.kill()
            process.communicate()
        assert "in app: await asyncio.sleep(3600)" in "".join(lines)
        assert "/health" not in rest  # whoever asks again and again does not fill the log
        assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--access-log-format", "apache"], "none of http.server, common"),
        (["--metrics", "9100"], "write /PATH, HOST:PORT or unix:PATH"),
        (["--metrics", f"localhost:{'9' * 5000}"], "write /PATH, HOST:PORT or unix:PATH"),
        (["--health", "health"], "begins with a slash"),
    ],
)
def test_options_that_cannot_be(arguments: list[str], text: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "aiohttpd", "serve", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert text in done.stderr
    assert done.stderr.count("\n") == 1
