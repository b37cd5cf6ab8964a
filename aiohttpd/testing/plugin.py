"""The plugin for pytest; installing the package is enough. It imports nothing until a fixture is used.

================  =====================================================================================
fixture
================  =====================================================================================
``httpd``         a `TestServer` for one test; what is not as expected fails the test at its end
``httpd_session`` one server for all tests of the session; it is cleared after each test that uses it
``httpsd``        a `TestServer` with TLS; ``httpsd.ca_file`` is what clients have to trust
================  =====================================================================================

All of them run in a thread of their own, so they serve synchronous tests, and asynchronous ones of any plugin. Indirect
parameters are the arguments of `TestServer`: ``@pytest.mark.parametrize("httpd", [{"app": Notes}], indirect=True)``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .server import TestServer

__all__ = ["httpd", "httpd_session", "httpsd"]


@pytest.fixture
def httpd(request: pytest.FixtureRequest) -> "Iterator[TestServer]":
    """A server for this test: ``httpd.expect("GET", "/users/{id}").respond(json={...})``, at ``httpd.url``."""
    yield from _serving(_arguments(request))


@pytest.fixture
def httpsd(request: pytest.FixtureRequest) -> "Iterator[TestServer]":
    """As ``httpd``, with TLS: a client has to trust ``httpsd.ca_file``."""
    yield from _serving({"tls": True, **_arguments(request)})


@pytest.fixture(scope="session")
def _aiohttpd_session() -> "Iterator[TestServer]":
    from .server import TestServer

    server = TestServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def httpd_session(_aiohttpd_session: "TestServer") -> "Iterator[TestServer]":
    """A server that is started once for the session; it forgets what was expected after each test."""
    yield _aiohttpd_session
    try:
        _aiohttpd_session.verify()
    finally:
        _aiohttpd_session.clear()


def _arguments(request: pytest.FixtureRequest) -> dict[str, Any]:
    given = getattr(request, "param", None) or {}
    return given if isinstance(given, dict) else {"app": given}


def _serving(arguments: dict[str, Any]) -> "Iterator[TestServer]":
    from .server import TestServer

    server = TestServer(**arguments)
    server.start()
    yield server
    server.stop()
    server.verify()
