"""The results as text: for the terminal, for the page of the documentation, and for the README."""

import json
import re
from pathlib import Path
from typing import Any

from .chart import ALT, figure, panel_of, svg
from .measure import PERCENTILES
from .servers import PEERS, SERVERS
from .workloads import WORKLOADS

Results = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
PICTURES = ROOT / "docs" / "pictures"
README, PAGE = ROOT / "README.md", ROOT / "docs" / "explanation" / "benchmarks.md"
BEGIN, END = "<!-- written by: python benchmarks/bench.py --pages -->", "<!-- end of what is written -->"
SHORT = ["hello", "differing", "json", "fastapi", "websocket", "file-1k"]  # the panels of the README
IDLE_COMMAND = "`nox -s idle`"
NOT_MEASURED = "not measured"


def read(path: Path = RESULTS) -> Results:
    """The results of a file."""
    found: Results = json.loads(path.read_text())
    return found


def write(results: Results, path: Path) -> None:
    """Write results as JSON, lists on one line."""
    text = json.dumps(results, indent=1)
    path.write_text(re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n")


def add(results: Results, name: str, servers: dict[str, Any], run: dict[str, Any]) -> None:
    """Put the results of a workload where those before were, with the circumstances of their run."""
    results["workloads"][name] = {"run": number_of(results, run), "servers": servers}
    forget_runs(results)


def number_of(results: Results, run: dict[str, Any]) -> int:
    """The number of a run, which is noted if it is new."""
    if run not in results["runs"]:
        results["runs"].append(run)
    number: int = results["runs"].index(run)
    return number


def forget_runs(results: Results) -> None:
    """Drop the runs of which no figure is left."""
    entries = [*results["workloads"].values(), *([results["footprint"]] if "footprint" in results else [])]
    used = sorted({entry["run"] for entry in entries})
    results["runs"] = [results["runs"][number] for number in used]
    for entry in entries:
        entry["run"] = used.index(entry["run"])


def add_footprint(results: Results, idle_kib: float, import_ratio: float, run: dict[str, Any]) -> None:
    """Put the figures of footprint.py where those before were."""
    numbers = {"idle_kib": round(idle_kib, 2), "import_ratio": round(import_ratio, 2)}
    results["footprint"] = {"run": number_of(results, run), **numbers}
    forget_runs(results)


def text_of(title: str, servers: dict[str, Any]) -> str:
    """A table of a workload for the terminal."""
    ours = servers.get("aiohttpd", {}).get("rate")
    lines = [f"\n{title}: requests a second, in relation to aiohttpd, CPU time a request, latency"]
    for server, found in sorted(servers.items(), key=lambda item: -item[1].get("rate", 0)):
        if "rate" not in found:
            lines.append(f"  {server:13} {next(iter(found))}: {next(iter(found.values()))}")
            continue
        ratio = f"{found['rate'] / ours:5.2f}" if ours else ""
        latency = "  ".join(f"{key} {value:.2f} ms" for key, value in found.get("latency_ms", {}).items())
        latency = found.get("latency_failed", latency)
        lines.append(f"  {server:13} {found['rate']:9.0f} {ratio} {found['cpu_us']:8.1f} µs  {latency}".rstrip())
    return "\n".join(lines)


class Rates:
    """Figures of results, by names.

    Args:
        results: as read.
    """

    def __init__(self, results: Results) -> None:
        self.workloads = {name: results["workloads"][name] for name in WORKLOADS if name in results["workloads"]}
        self.runs: list[dict[str, Any]] = results["runs"]

    def servers(self, workload: str) -> dict[str, Any]:
        """What was found for each server; nothing if the workload has not been measured."""
        found: dict[str, Any] = self.workloads.get(workload, {}).get("servers", {})
        return found

    def times(self, workload: str, server: str) -> str:
        """How many times as many requests a second aiohttpd answers."""
        servers = self.servers(workload)
        ours, theirs = servers.get("aiohttpd", {}).get("rate"), servers.get(server, {}).get("rate")
        return figure(ours / theirs) if ours and theirs else NOT_MEASURED


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in cells)


class Reasons:
    """Notes for what could not be measured, numbered in the order of the tables."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def cell(self, found: dict[str, Any], shown: str) -> str:
        """What is shown of a figure, or "no" and the number of the reason."""
        if "rate" in found:
            return shown
        word, reason = next(iter(found.items()), ("no", NOT_MEASURED))
        reason = " ".join(reason.split())
        return f"{word} ({self._numbers.setdefault(reason, len(self._numbers) + 1)})"

    def text(self) -> str:
        """The reasons as a list."""
        return "\n".join(f"- ({number}) {reason}" for reason, number in self._numbers.items())


def throughput_table(rates: Rates, reasons: Reasons) -> str:
    """Requests a second of aiohttpd, and how many times as many these are as those of each other server."""
    others = [name for name in SERVERS if name != "aiohttpd"]
    rows = []
    for name in rates.workloads:
        servers = rates.servers(name)
        ours = servers.get("aiohttpd", {})
        cells = [reasons.cell(ours, f"{ours.get('rate', 0):,.0f}")]
        cells += [reasons.cell(servers.get(other, {}), rates.times(name, other)) for other in others]
        rows.append([WORKLOADS[name].title, *cells])
    return table(["", "aiohttpd, requests/s", *others], rows)


def cpu_table(rates: Rates) -> str:
    """CPU time of the server for a request."""
    rows = []
    for name in rates.workloads:
        servers = rates.servers(name)
        shown = [servers.get(server, {}).get("cpu_us") for server in SERVERS]
        rows.append([WORKLOADS[name].title, *(f"{value:,.1f}" if value is not None else "" for value in shown)])
    return table(["", *SERVERS], rows)


def latency_table(rates: Rates) -> str:
    """Percentiles of latency."""
    rows = []
    for name in rates.workloads:
        found = {server: one["latency_ms"] for server, one in rates.servers(name).items() if "latency_ms" in one}
        if found:
            cells = [" / ".join(f"{found[s][p]:.2f}" for p in PERCENTILES) if s in found else "" for s in SERVERS]
            rows.append([WORKLOADS[name].title, *cells])
    return table(["", *SERVERS], rows)


def run_text(number: int, run: dict[str, Any], titles: list[str]) -> str:
    """What was measured when, on what, by which command."""
    machine, python = run["machine"], run["python"]
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    return (
        f"- Run {number + 1}, {run['date']}: {', '.join(titles)}. Medians of {run['rounds']} rounds of "
        f"{run['seconds']:g} s. {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}; Python "
        f"{python['version']} ({python['compiler']}, PGO: {python['pgo']}); {versions}. Command: `{run['command']}`."
    )


def behind(rates: Rates) -> str:
    """The workloads in which an asynchronous server of Python is ahead."""
    found = []
    for name in rates.workloads:
        servers = rates.servers(name)
        ours = servers.get("aiohttpd", {}).get("rate")
        ahead = {peer: servers[peer]["rate"] for peer in PEERS if "rate" in servers.get(peer, {})}
        best = max(ahead, key=lambda peer: ahead[peer], default="")
        if ours and best and ahead[best] > ours:
            found.append(f"{WORKLOADS[name].title} ({best}, {figure(ahead[best] / ours)} times)")
    count = len(rates.workloads)
    if not found:
        return (
            f"In all {count} workloads aiohttpd answers more requests a second than each asynchronous server of Python."
        )
    return (
        f"In {count - len(found)} of {count} workloads aiohttpd answers more requests a second than each other "
        f"server of Python. Ahead of it are, each the fastest: {'; '.join(found)}."
    )


def footprint_text(results: Results) -> str:
    """What an idle connection and the import cost."""
    found = results.get("footprint")
    if found is None:
        return f"Not measured by these runs; see {IDLE_COMMAND}."
    return (
        f"An idle connection takes {found['idle_kib']:.1f} KiB. `import aiohttpd` takes {found['import_ratio']:.2f} of "
        "the time of `import asyncio`; what makes a server is imported when it is first used, and takes about the time "
        f"of asyncio again. Run {found['run'] + 1}; also {IDLE_COMMAND}."
    )


def picture(name: str, folder: str) -> str:
    """A chart, which is light or dark as the reader's system."""
    return f"![{ALT}]({folder}/{name}.svg)"


def page_part(results: Results) -> str:
    """The part of the documentation's page that the results make."""
    rates, reasons = Rates(results), Reasons()
    runs = []
    for number, run in enumerate(rates.runs):
        titles = [WORKLOADS[name].title for name, found in rates.workloads.items() if found["run"] == number]
        runs.append(run_text(number, run, ["all"] if len(titles) == len(rates.workloads) else titles))
    throughput = throughput_table(rates, reasons)
    return "\n\n".join(
        [
            picture("benchmarks", "../pictures"),
            behind(rates),
            "### Throughput",
            "How many times as many requests a second aiohttpd answers as the other server. Blacksheep runs on "
            "uvicorn; files of uvicorn, hypercorn and fastpysgi are those of Starlette.",
            throughput,
            reasons.text(),
            "### CPU time of the server for a request, in µs",
            cpu_table(rates),
            "### Latency at half of the saturation (at most 25,000 requests a second), in ms: p50 / p99 / p99.9",
            "Requests are due at fixed moments, half as many a second as the server has answered at most, on 64 "
            "connections. A latency counts from the moment when its request was due.",
            latency_table(rates),
            "### Footprint",
            footprint_text(results),
            "### Runs",
            "\n".join(runs),
        ]
    )


def claims(results: Results) -> dict[str, str]:
    """The lines of the README's table that quote the results, by the begin of the line."""
    rates = Rates(results)
    times, command = rates.times, "`nox -s bench`"
    rows = {
        "Small responses are fast, with a parser in Python": (
            f"{times('hello', 'uvicorn')} times uvicorn, {times('hello', 'granian RSGI')} times granian (Rust); "
            f"with 14 fields of which two differ, {times('differing', 'uvicorn')} and "
            f"{times('differing', 'granian RSGI')} times"
        ),
        "ASGI applications, too": (
            f"{times('asgi', 'uvicorn')} times uvicorn; Starlette: {times('starlette', 'uvicorn')} times, FastAPI: "
            f"{times('fastapi', 'uvicorn')} times uvicorn"
        ),
        "Small files are fast": (
            f"1 KiB: {times('file-1k', 'nginx')} times nginx; 1 MiB: {times('file-1m', 'nginx')} times nginx"
        ),
    }
    lines = {f"| {claim} |": f"| {claim} | {figures} | {command} |" for claim, figures in rows.items()}
    if "footprint" in results:
        claim = "| Idle connections are small |"
        lines[claim] = f"{claim} {results['footprint']['idle_kib']:.1f} KiB each | {IDLE_COMMAND} |"
    return lines


def with_part(text: str, part: str) -> str:
    """A page with what is written between the two comments."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{after}"


def with_claims(text: str, lines: dict[str, str]) -> str:
    """The README with these lines in its table."""
    for begin, line in lines.items():
        found = re.findall(f"^{re.escape(begin)}.*$", text, re.MULTILINE)
        if len(found) != 1:
            raise SystemExit(f"README.md has {len(found)} lines that begin with {begin!r}")
        text = text.replace(found[0], line)
    return text


def written(results: Results) -> dict[Path, str]:
    """All files that the results make, and what is to be in them."""
    rates = Rates(results)
    files = {
        README: with_part(
            with_claims(README.read_text(), claims(results)), picture("benchmarks-short", "docs/pictures")
        ),
        PAGE: with_part(PAGE.read_text(), page_part(results)),
    }
    for name, chosen in (("benchmarks", list(rates.workloads)), ("benchmarks-short", SHORT)):
        panels = [panel_of(WORKLOADS[one].title, rates.servers(one)) for one in chosen]
        files[PICTURES / f"{name}.svg"] = svg(panels)
    return files


def write_pages() -> None:
    """Write the tables and charts of what is recorded."""
    for path, text in written(read()).items():
        path.write_text(text)
