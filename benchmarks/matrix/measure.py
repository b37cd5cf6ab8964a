"""Rounds of all servers in turn, and what comes out of them as JSON."""

import contextlib
import http.client
import json
import os
import platform
import re
import resource
import shutil
import ssl
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import aiohttpd

from . import load
from .process import DidNotStart, awake, cpu_seconds, started, suspend
from .servers import APPS, PACKAGES, No, Place, command
from .workloads import FILES, WORKLOADS, Workload

PERCENTILES = ("p50", "p99", "p99.9")
CLIENT_RATE = 25_000  # requests a second; of more, our client sends many too late, which would count as latency
Figures = dict[str, list[float]]
Servers = dict[str, tuple[int, int]]
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Attributes:
        rounds: how often each server has its turn.
        seconds: how long a turn is.
        generator: ``wrk``, or ``client`` where there is no wrk; its figures are not to be compared with those of wrk.
        latency: whether latency is measured.
    """

    rounds: int
    seconds: float
    generator: str = "wrk"
    latency: bool = True


def in_turns(
    servers: Servers, rounds: int, seconds: float, ask: Callable[[str, int, float], int], warm_up: float = 1
) -> tuple[Figures, Figures]:
    """Load each server in each round, after a turn to warm up. The others are suspended meanwhile.

    Args:
        servers: process group and port by name.
        rounds: how often each has its turn.
        seconds: how long that takes.
        ask: ``ask(name, port, seconds)`` says how many requests were answered.
        warm_up: how long the first turn takes, which does not count.

    Returns:
        Requests a second, and microseconds of CPU time a request, by name and round.
    """
    rates: Figures = {name: [] for name in servers}
    costs: Figures = {name: [] for name in servers}
    for group, _ in servers.values():
        suspend(group)
    for turn in range(rounds + 1):
        for name, (group, port) in servers.items():
            with awake(group):
                before, start = cpu_seconds(group), time.monotonic()
                requests = ask(name, port, seconds if turn else warm_up)
                if turn and requests:
                    rates[name].append(requests / (time.monotonic() - start))
                    costs[name].append((cpu_seconds(group) - before) / requests * 1e6)
    return rates, costs


def figures(rates: Figures, costs: Figures) -> dict[str, dict[str, Any]]:
    """The medians of rounds, by server."""
    return {
        name: {
            "rate": statistics.median(rates[name]),
            "cpu_us": statistics.median(costs[name]),
            "rates": [round(rate, 1) for rate in rates[name]],
        }
        if rates[name]
        else {"failed": "not one request was answered"}
        for name in rates
    }


@contextlib.contextmanager
def prepared() -> Iterator[Place]:
    """Make the files, and a certificate."""
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name), Path(name, "site", "f"), Path(name, "cert.pem"), Path(name, "key.pem"))
        place.files.mkdir(parents=True)
        for file, size in FILES.items():
            (place.files / file).write_bytes(os.urandom(size))
        yield place


def make_certificate(place: Place) -> None:
    """A certificate for 127.0.0.1, by openssl, whose keys are of the kind that granian takes."""
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(place.key), "-out", str(place.certificate),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip


def check(workload: Workload, port: int) -> None:
    """Ask once, and compare the response with what is expected.

    Raises:
        Failed: it is another one.
    """
    if workload.app == "websocket":
        load.client(workload, port, 0.05)
        return
    context = ssl.create_default_context() if workload.tls else None
    if context is not None:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=10, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.connect()
        connection.sock.sendall(workload.request(1))
        response = http.client.HTTPResponse(connection.sock, method="GET")
        response.begin()
        content = response.read()
    if response.status != 200:
        raise load.Failed(f"status {response.status} instead of 200")
    if isinstance(workload.expected, int):
        if len(content) != workload.expected:
            raise load.Failed(f"{len(content)} bytes instead of {workload.expected}")
    elif same(content) != same(workload.expected):
        raise load.Failed(f"{content[:80]!r} instead of {workload.expected[:80]!r}")


def same(content: bytes) -> Any:
    """Content to compare: the value of JSON, which servers write with spaces and without."""
    try:
        return json.loads(content)
    except ValueError:
        return content


def start_all(
    workload: Workload, names: list[str], place: Place, stack: contextlib.ExitStack, results: dict[str, Any]
) -> Servers:
    """Start the servers that can do a workload; what the others lack is noted."""
    running: Servers = {}
    for name in names:
        try:
            arguments = command(name, workload, place)
            running[name] = stack.enter_context(started(name, arguments, folder=APPS))
            check(workload, running[name][1])
        except No as why:
            results[name] = {"no": str(why)}
        except (DidNotStart, load.Failed, OSError, http.client.HTTPException) as error:
            running.pop(name, None)
            results[name] = {"failed": f"{error}"}
    return running


def run_workload(workload: Workload, names: list[str], place: Place, plan: Plan) -> dict[str, Any]:
    """Measure one row of the matrix; gives figures, or the reason why there are none, by server."""
    results: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        running = start_all(workload, names, place, stack, results)

        def ask(name: str, port: int, seconds: float) -> int:
            if name in results:  # it has failed in a round before
                return 0
            try:
                if workload.app == "websocket" or plan.generator == "client":
                    return int(load.client(workload, port, seconds)["answered"])
                return load.wrk(workload, port, seconds)
            except load.Failed as error:
                results[name] = {"failed": str(error)}
                return 0

        seconds = max(plan.seconds, workload.least)
        rates, costs = in_turns(running, plan.rounds, seconds, ask, warm_up=min(1, plan.seconds))
        results |= {name: found for name, found in figures(rates, costs).items() if name not in results}
        if plan.latency and workload.latency:
            measure_latency(workload, running, plan, results)
    return {name: rounded(results[name]) for name in names}


def measure_latency(workload: Workload, running: Servers, plan: Plan, results: dict[str, Any]) -> None:
    """Percentiles at half of each server's own saturation, at most `CLIENT_RATE`: medians of rounds."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in running if "rate" in results[name]}
    for _ in range(plan.rounds):
        for name, rounds in found.items():
            group, port = running[name]
            try:
                with awake(group):
                    rate = min(results[name]["rate"] / 2, CLIENT_RATE)
                    rounds.append(load.client(workload, port, plan.seconds, rate))
            except load.Failed as error:
                results[name]["latency_failed"] = str(error)
    for name, rounds in found.items():
        if rounds:
            results[name]["latency_ms"] = {
                percentile: statistics.median(one[percentile] for one in rounds) for percentile in PERCENTILES
            }


def rounded(result: dict[str, Any]) -> dict[str, Any]:
    """Figures with as many digits as they are worth."""
    if "rate" in result:
        result |= {"rate": round(result["rate"], 1), "cpu_us": round(result["cpu_us"], 2)}
    if "latency_ms" in result:
        result["latency_ms"] = {name: round(value, 3) for name, value in result["latency_ms"].items()}
    return result


def run(workloads: list[str], names: list[str], plan: Plan, finished: Callable[[str, dict[str, Any]], None]) -> None:
    """Measure rows; ``finished`` is called with the name and the results of each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with prepared() as place:
        if any(WORKLOADS[name].tls for name in workloads):
            make_certificate(place)
        for name in workloads:
            finished(name, run_workload(WORKLOADS[name], names, place, plan))


def circumstances(arguments: str) -> dict[str, Any]:
    """The date, the machine, the versions, and the command: what a figure means nothing without."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": arguments,
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release()},
        "python": {
            "version": platform.python_version(), "compiler": platform.python_compiler(), "pgo": optimised(),
        },
        "versions": versions(),
    }  # fmt: skip


def cpu_model() -> str:
    """The name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def optimised() -> str:
    """Whether this Python was built with profile-guided optimisation."""
    variables = " ".join(map(str, sysconfig.get_config_vars().values()))
    if "--enable-optimizations" in variables or "-fprofile-use" in variables:
        return "yes"
    debian = sys.base_prefix == "/usr" and Path("/etc/debian_version").exists()
    return "yes, as all packages of Debian" if debian else "not known"


def versions() -> dict[str, str]:
    """The versions of what was measured, and of what measured it."""
    found = {"aiohttpd": commit()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    for program in ("nginx", "wrk"):
        if shutil.which(program):
            done = subprocess.run([program, "-v"], capture_output=True, text=True)
            number = re.search(r"\d+\.\d[\w.+-]*", done.stdout + done.stderr)
            found[program] = number[0] if number else "of an unknown version"
    return found


def commit() -> str:
    """The version of aiohttpd, and the commit of the repository; "changed" if the package is not what was committed."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        changed = " changed" if git("status", "--porcelain", "--", "aiohttpd") else ""
        return f"{aiohttpd.__version__} ({git('rev-parse', '--short', 'HEAD')}{changed})"
    return aiohttpd.__version__


def git(*arguments: str) -> str:
    """What git prints about this repository."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
