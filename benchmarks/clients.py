"""Test suites of HTTP clients with their server replaced by ours: python benchmarks/clients.py [--write] [NAME ...].

For each suite: downloads the source distribution of the client from PyPI, makes a virtual environment with the client
and what its tests need, and runs the tests twice: with the server that they have, and with `TestServer`. The second
copy has a file of ``overlays/`` at the end of its conftest.py, which defines the fixtures of servers anew. Exits with 1
if a test fails with ours only. --write puts the table into docs/testing.md.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
OVERLAYS = Path(__file__).parent / "overlays"
PAGE = ROOT / "docs" / "testing.md"
BEGIN, END = "<!-- suites: begin -->", "<!-- suites: end -->"
TIMEOUT = 900  # seconds for one run


class Suite(NamedTuple):
    """The tests of a client.

    Attributes:
        release: name and version of the source distribution.
        server: what its tests use as a server.
        needs: requirements of the tests; ``{sdist}`` is the folder of the client.
        options: of pytest, which leave out what needs the network.
        refused: tests in which the client sends what the server has to refuse, and what that is.
    """

    release: str
    server: str
    needs: tuple[str, ...]
    options: tuple[str, ...] = ()
    refused: dict[str, str] = {}  # noqa: RUF012 - it is not changed


SUITES = {
    "httpx": Suite(
        "httpx==0.28.1",
        "uvicorn in a thread",
        ("{sdist}[brotli,cli,http2,socks,zstd]", "chardet==5.2.0", "click==8.1.7", "cryptography", "pytest==8.3.4",
         "rich<14", "trio==0.27.0", "trustme", "uvicorn==0.32.1"),
        ("-m", "not network"),
    ),
    "requests": Suite(
        "requests==2.34.2",
        "wsgiref (pytest-httpbin) and http.server in threads",
        ("{sdist}[socks]", "httpbin~=0.10.0", "pytest<10", "pytest-httpbin==2.1.0", "pytest-mock", "trustme"),
        ("-k", "not connect_timeout and not timeout_connect"),
    ),
    "httpie": Suite(
        "httpie==3.2.4",
        "wsgiref (pytest-httpbin) and http.server in threads",
        ("{sdist}", "httpbin~=0.10.0", "pytest<9", "pytest-httpbin==2.1.0", "pytest-mock", "responses", "setuptools"),
        ("--ignore", "tests/test_plugins_cli.py"),  # it installs packages
        {"test_nested_json_syntax[input_json17-expected_json17]":
             "a field whose name is `baz[]`, which is no token (RFC 9110 section 5.6.2): 400"},
    ),
}  # fmt: skip


class Outcome(NamedTuple):
    """What a run has given: the number of tests that passed, the names of those that failed, seconds."""

    passed: int
    failed: frozenset[str]
    seconds: float


def run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def download(suite: Suite, folder: Path) -> Path:
    """Bring the source distribution here; return its folder."""
    name = suite.release.partition("==")[0]
    run(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", name, "-d", folder, suite.release)
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return archive.with_name(archive.name.removesuffix(".tar.gz"))


def environment(suite: Suite, sdist: Path, folder: Path) -> Path:
    """Make a virtual environment for a suite; return its Python."""
    run(sys.executable, "-m", "venv", folder / "env")
    python = folder / "env" / "bin" / "python"
    needs = [need.replace("{sdist}", str(sdist)) for need in suite.needs]
    run(python, "-m", "pip", "install", "-q", "-e", f"{ROOT}[testing]", *needs)
    return python


def tested(python: Path, folder: Path, options: tuple[str, ...]) -> Outcome:
    """Run the tests in a folder."""
    report = folder / "report.xml"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junit-xml={report}", *options, "tests"]
    begun = time.perf_counter()
    done = subprocess.run([str(part) for part in command], cwd=folder, timeout=TIMEOUT, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if not report.exists():
        raise SystemExit(done.stdout + done.stderr)
    cases = list(ElementTree.parse(report).iter("testcase"))
    failed = {
        str(case.get("name")) for case in cases if case.find("failure") is not None or case.find("error") is not None
    }
    skipped = sum(case.find("skipped") is not None for case in cases)
    (folder / "output.txt").write_text(done.stdout)
    return Outcome(len(cases) - len(failed) - skipped, frozenset(failed), seconds)


def compared(name: str, suite: Suite, folder: Path) -> tuple[str, set[str]]:
    """A line of the table, and the tests that fail with ours only and for no reason that is known."""
    sdist = download(suite, folder)
    python = environment(suite, sdist, folder)
    ours = folder / "ours"
    shutil.copytree(sdist, ours)
    with open(ours / "tests" / "conftest.py", "a") as conftest:
        conftest.write("\n\n" + (OVERLAYS / f"{name}_conftest.py").read_text())
    old, new = (tested(python, place, suite.options) for place in (sdist, ours))
    only = new.failed - old.failed
    line = (
        f"| {suite.release.replace('==', ' ')} | {suite.server} | {old.passed} of {old.passed + len(old.failed)}, "
        f"{old.seconds:.0f} s | {new.passed} of {new.passed + len(new.failed)}, {new.seconds:.0f} s |"
    )
    for test in sorted(only):
        print(f"{name}: {test} fails with ours only: {suite.refused.get(test, ours / 'output.txt')}", file=sys.stderr)
    for test in sorted(old.failed - new.failed):
        print(f"{name}: {test} fails with theirs only", file=sys.stderr)
    for test in sorted(old.failed & new.failed):
        print(f"{name}: {test} fails with both", file=sys.stderr)
    return line, only - set(suite.refused)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("suites", nargs="*", metavar="NAME", help=f"of {', '.join(SUITES)}; all by default")
    arguments.add_argument("--write", action="store_true", help="put the table into docs/testing.md")
    arguments.add_argument("--keep", action="store_true", help="keep the folder, to look at failures")
    given = arguments.parse_args()
    lines = ["| tests of | their server | with it, passed | with ours, passed |", "|---|---|---|---|"]
    wrong: set[str] = set()
    folder = Path(tempfile.mkdtemp(prefix="aiohttpd-clients-"))
    try:
        for name in given.suites or SUITES:
            place = folder / name
            place.mkdir()
            line, only = compared(name, SUITES[name], place)
            lines.append(line)
            wrong |= only
            print(line, file=sys.stderr)
    finally:
        if not given.keep:
            shutil.rmtree(folder)
    if given.write:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text("\n\n".join([before + BEGIN, "\n".join(lines), END + rest.partition(END)[2]]))
    else:
        print("\n".join(lines))
    if wrong:
        raise SystemExit(f"{len(wrong)} tests fail with ours only: {', '.join(sorted(wrong))}")


if __name__ == "__main__":
    main()
