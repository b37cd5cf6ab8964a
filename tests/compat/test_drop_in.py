"""CPython's own tests of its servers, with the servers of aiohttpd.compat in their place.

They come from the interpreter that runs these tests, and each module has a process of its own: this file, run as a
program, replaces the servers, runs test cases and writes what has become of them.
"""

import importlib
import importlib.util
import json
import logging
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any, NamedTuple

import pytest

BOUND = 50.0  # seconds after which a process has failed, whatever it does


class Module(NamedTuple):
    """What is run of a module.

    Attributes:
        name: its name.
        cases: those of its classes that have a server.
        by_design: tests that fail, and why they have to.
        loud: tests during which we log something, and what.
    """

    name: str
    cases: list[str]
    by_design: dict[str, str] = {}
    loud: dict[str, str] = {}


MODULES = [
    Module(
        "test.test_httpservers",
        ["BaseHTTPServerTestCase", "RequestHandlerLoggingTestCase", "SimpleHTTPServerTestCase"],
        by_design={
            "test_request_line_trimming": "sends 'XYZBOGUS / HTTP/1.1 LF CR LF': a bare LF is no end of line, so 400",
            "test_version_none_get": "sends 'GET / CR LF', as HTTP/0.9 did: 400, where http.server looks for do_GET",
            "test_path_without_leading_slash": "sends 'GET name/test HTTP/1.1': no form of a target, so 400",
        },
    ),
    Module(
        "test.test_xmlrpc",
        [
            "SimpleServerTestCase",
            "SimpleServerEncodingTestCase",
            "MultiPathServerTestCase",
            "KeepaliveServerTestCase1",
            "KeepaliveServerTestCase2",
            "GzipServerTestCase",
            "HeadersServerTestCase",
            "FailingServerTestCase",
            "XMLRPCTestCase",
        ],
    ),
    Module("test.test_wsgiref", ["IntegrationTests"]),
    Module(
        "test.test_urllib2_localnet",
        ["BasicAuthTests", "ProxyAuthTests", "TestUrlopen"],
        loud={"test_chunked": "the last chunk is missing"},  # it ends with '0 CR LF', and then nothing
    ),
]


def is_there(name: str) -> bool:
    """Whether a module can be found; distributions leave `test` out, or all of it but `test.support`."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_of_cpython(module: Module, tmp_path: Path) -> None:
    for name in (module.name, "test.support"):
        if not is_there(name):
            pytest.skip(f"this Python has been distributed without {name}")
    found = tmp_path / "found.json"
    (tmp_path / "cwd").mkdir()  # they make files there
    done = subprocess.run(
        [sys.executable, "-P", __file__, str(found), module.name, *module.cases],
        cwd=tmp_path / "cwd",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=BOUND,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    outcome = json.loads(found.read_text())

    wrong = {name: text for name, text in outcome["failed"].items() if name not in module.by_design}
    assert not wrong, "\n".join(wrong.values())
    passes = module.by_design.keys() - outcome["failed"].keys()
    assert not passes, f"to be struck from by_design: {passes}"
    assert set(outcome["passed"]) == set(module.cases), "each class has a test that passes"
    logged = outcome["logged"]
    assert logged.keys() == module.loud.keys(), logged
    assert all(text in logged[name] for name, text in module.loud.items()), logged

    # It was our engine that served them, and nothing else.
    assert outcome["elsewhere"] == 0
    assert all(outcome["requests"].values()), outcome["requests"]
    assert set(outcome["requests"]) == set(module.cases)


# The program.


class Outcome(unittest.TestResult):
    """Writes down what becomes of tests, and how many requests our parser finds meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: dict[str, str] = {}
        self.passed: dict[str, int] = {}
        self.requests: dict[str, int] = {}
        self.logged: dict[str, str] = {}
        self.running = ""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self.running = name_of(test)

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        name = type(test).__name__
        self.passed[name] = self.passed.get(name, 0) + 1

    def addFailure(self, test: unittest.TestCase, error: Any) -> None:
        super().addFailure(test, error)
        self.failed[name_of(test)] = self.failures[-1][1]

    def addError(self, test: unittest.TestCase, error: Any) -> None:
        super().addError(test, error)
        self.failed[name_of(test)] = self.errors[-1][1]

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, error: Any) -> None:
        super().addSubTest(test, subtest, error)
        if error is not None:
            self.failed[name_of(test)] = str(error[1])


def name_of(test: unittest.TestCase) -> str:
    return test.id().rpartition(".")[2]


class Records(logging.Handler):
    """Writes down what is logged."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(logging.WARNING)
        self._outcome = outcome

    def emit(self, record: logging.LogRecord) -> None:
        logged = self._outcome.logged
        logged[self._outcome.running] = logged.get(self._outcome.running, "") + self.format(record)


def main(found: str, module: str, *cases: str) -> None:
    import http.server
    import socketserver

    from aiohttpd import compat
    from aiohttpd.wire.parser import RequestParser

    outcome = Outcome()
    logging.getLogger().addHandler(Records(outcome))
    elsewhere = 0

    def count_requests(next_request: Any) -> Any:
        def counting(parser: RequestParser) -> Any:
            request = next_request(parser)
            outcome.requests[running] = outcome.requests.get(running, 0) + (request is not None)
            return request

        return counting

    def count_elsewhere(method: Any) -> Any:
        def counting(server: Any, *arguments: Any) -> Any:
            nonlocal elsewhere
            elsewhere += 1
            return method(server, *arguments)

        return counting

    setattr(RequestParser, "next_request", count_requests(RequestParser.next_request))  # noqa: B010
    for name in ("serve_forever", "_handle_request_noblock"):
        setattr(socketserver.BaseServer, name, count_elsewhere(getattr(socketserver.BaseServer, name)))

    setattr(http.server, "HTTPServer", compat.HTTPServer)  # noqa: B010
    setattr(http.server, "ThreadingHTTPServer", compat.ThreadingHTTPServer)  # noqa: B010
    setattr(socketserver, "TCPServer", compat.TCPServer)  # noqa: B010
    setattr(importlib.import_module("test.support"), "use_resources", [])  # noqa: B010  # no tests of 3 s each
    tests = importlib.import_module(module)  # after that, since it derives classes from them

    for name in ("setUpModule", *cases, "tearDownModule"):
        running = name
        if name in cases:
            unittest.defaultTestLoader.loadTestsFromTestCase(getattr(tests, name)).run(outcome)
        else:
            getattr(tests, name, lambda: None)()

    Path(found).write_text(
        json.dumps(
            {
                "failed": outcome.failed,
                "passed": outcome.passed,
                "requests": outcome.requests,
                "elsewhere": elsewhere,
                "logged": outcome.logged,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
