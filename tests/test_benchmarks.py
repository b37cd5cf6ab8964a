"""The runner of `nox -s bench` works, and what README and documentation quote is what is on record."""

import ast
import json
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from .support.places import ROOT

RENEW = "python benchmarks/bench.py --pages"


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs epoll and /proc, of Linux")
def test_the_runner(tmp_path: Path) -> None:
    """One server, our own client: rate, CPU time and latency of hello, and echoes of a WebSocket."""
    output = tmp_path / "results.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "bench.py"), "--client", "--rounds", "1", "--seconds", "0.1"]
    command += ["--workload", "hello", "websocket", "--only", "aiohttpd", "nginx", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(output.read_text())
    assert found["runs"][0]["versions"]["aiohttpd"]
    assert found["runs"][0]["machine"]["cpu"]
    hello, websocket = found["workloads"]["hello"]["servers"], found["workloads"]["websocket"]["servers"]
    assert hello["aiohttpd"]["rate"] > 0, done.stdout
    assert set(hello["aiohttpd"]["latency_ms"]) == {"p50", "p99", "p99.9"}
    assert websocket["aiohttpd"]["rate"] > 0, done.stdout
    assert websocket["nginx"] == {"no": "nginx runs no programs"}


def names_of(path: Path) -> set[str]:
    """What a module defines or imports at its top."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def test_scripts_import_what_is_there() -> None:
    """Most of them need packages that the tests lack, or run for long, so their imports of each other are only read."""
    folder = ROOT / "benchmarks"
    for path in set(folder.rglob("*.py")) - set((folder / "overlays").iterdir()):  # which run in other projects
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom):
                continue
            parts = (node.module or "").split(".") if node.module else []
            base = [folder, path.parent, path.parent.parent, path.parent.parent.parent][node.level]
            if node.level == 0 and not ((folder / parts[0]).is_dir() or (folder / f"{parts[0]}.py").exists()):
                continue  # a package from elsewhere
            place = base.joinpath(*parts)
            module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            beside = {found.stem for found in place.iterdir()} if place.is_dir() else set()
            assert place.is_dir() or module.exists(), (path, node.module)
            defined = beside | (names_of(module) if module.exists() else set())
            assert {alias.name for alias in node.names} <= defined, (path, node.module)


def test_each_server_has_a_command_or_a_reason() -> None:
    from matrix.servers import SERVERS, No, Place, command
    from matrix.workloads import WORKLOADS

    place = Place(*[Path("/nowhere")] * 4)
    for server in SERVERS:
        for workload in WORKLOADS.values():
            try:
                arguments = command(server, workload, place)
            except No as no:
                reason = str(no)
                assert (server != "aiohttpd", len(reason) > 10) == (True, True)
            else:
                assert any("{port}" in part for part in arguments)


def test_requests_are_what_they_say() -> None:
    from matrix.workloads import WORKLOADS

    differing = WORKLOADS["differing"]
    first, second = differing.request(1), differing.request(2)
    lines = [a == b for a, b in zip(first.split(b"\r\n"), second.split(b"\r\n"), strict=True)]
    assert lines.count(False) == 2
    for workload in WORKLOADS.values():
        head, _, body = workload.request(1).partition(b"\r\n\r\n")
        assert b"{" not in head
        length = re.search(rb"Content-Length: (\d+)", head)
        assert len(body) == (int(length[1]) if length else 0)
    assert WORKLOADS["browser"].request(1).count(b"\r\n") == 1 + 14 + 1


def test_latency_counts_from_the_moment_when_a_request_was_due() -> None:
    """A server that stands still once delays all requests that were due meanwhile."""
    from matrix.client import Load
    from matrix.workloads import WORKLOADS, Workload

    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

    def serve(listening: socket.socket) -> None:
        sock, _ = listening.accept()
        with sock:
            for number in range(1000):
                if not sock.recv(65536):
                    return
                if number == 5:
                    time.sleep(0.5)
                sock.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        load = Load(Workload("one", "one", connections=1, head=WORKLOADS["hello"].head), listening.getsockname()[1])
        lost = load.at(100, 0.4)
        load.close()
        thread.join()
    assert lost == 0
    assert len(load.latencies) == 40
    assert sum(latency > 0.1 for latency in load.latencies) >= 30


def results(servers: dict[str, Any]) -> dict[str, Any]:
    """Results on which pages can be tried."""
    from matrix.workloads import WORKLOADS

    run = {
        "date": "2026-01-01", "command": "python benchmarks/bench.py", "rounds": 3, "seconds": 3, "load": "wrk",
        "machine": {"cpu": "A", "cores": 2, "kernel": "6"}, "versions": {"aiohttpd": "1"},
        "python": {"version": "3.13", "compiler": "GCC", "pgo": "yes"},
    }  # fmt: skip
    return {"runs": [run], "workloads": {name: {"run": 0, "servers": servers} for name in WORKLOADS}}


def test_texts_of_a_chart_stay_in_their_panel() -> None:
    """The longest names and numbers, and bars from nothing to a hundred times ours."""
    from matrix.chart import COLUMNS, GAP, MARGIN, STEP, TITLE, WIDTH, panel_of, svg
    from matrix.servers import SERVERS
    from matrix.workloads import WORKLOADS

    servers = {name: {"rate": 10.0**at, "cpu_us": 1.0} for at, name in enumerate(SERVERS, -8)}
    servers["aiohttpd"]["rate"] = 1.0
    panels = [panel_of(workload.title, servers) for workload in WORKLOADS.values()]
    assert TITLE > 14
    assert STEP >= 14
    column = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    texts = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"(?: class="([^"]*)")?>([^<]*)</text>', svg(panels))
    assert len(texts) >= len(panels) * (1 + 2 * len(SERVERS))
    for x, _, kind, content in texts[:-2]:
        at = (float(x) - MARGIN) % (column + GAP)
        width = len(content) * (8 if "title" in kind else 6.6)
        left, right = (at - width, at) if set(kind.split()) & {"name", "number"} else (at, at + width)
        assert left >= -1, content
        assert right <= column + GAP / 2, content
    for x, _, _, content in texts[-2:]:
        assert float(x) + 6.6 * len(content) < WIDTH


def test_a_page_says_what_a_server_cannot_do() -> None:
    from matrix.report import page_part

    ours = {"rate": 100.0, "cpu_us": 5.0, "rates": [100.0]}
    text = page_part(
        results(
            {"aiohttpd": ours, "uvicorn": ours | {"rate": 50.0}, "nginx": {"no": "a reason"}, "floor": {"failed": "x"}}
        )
    )
    row = next(line for line in text.splitlines() if line.startswith("| hello, 1 field |"))
    assert row.startswith("| hello, 1 field | 100 | 2.00 |")
    assert re.search(r"\| no \((\d)\) \| failed \((\d)\) \|$", row)
    assert re.search(r"^- \(\d\) a reason$", text, re.MULTILINE)
    assert "In all " in text
    ahead = page_part(results({"aiohttpd": ours, "granian RSGI": ours | {"rate": 150.0}}))
    assert "In 0 of " in ahead
    assert "granian RSGI, 1.50 times" in ahead


def test_what_is_quoted_is_on_record() -> None:
    from matrix import report

    for path, text in report.written(report.read()).items():
        assert path.read_text() == text, f"{path.relative_to(ROOT)} is not what is on record: {RENEW}"


def test_each_figure_on_record_says_where_it_comes_from() -> None:
    from matrix import report

    found = report.read()
    for run in found["runs"]:
        assert run["date"]
        assert run["command"].startswith("python benchmarks/bench.py")
        assert {"aiohttpd", "uvicorn", "granian"} <= set(run["versions"])
        assert run["machine"]["cpu"]
        assert run["machine"]["kernel"]
    for name, workload in found["workloads"].items():
        assert workload["run"] < len(found["runs"])
        for server, figures in workload["servers"].items():
            assert "rate" in figures or figures.get("no") or figures.get("failed"), (name, server)
