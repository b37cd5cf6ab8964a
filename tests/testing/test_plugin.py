"""The plugin for pytest: fixtures in tests of all kinds, what they say when something is unexpected, what it costs."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from ..support.suites import ASYNCIO, pytest_run

PLAIN = """
import urllib.request

def test_sync(httpd):
    httpd.expect("GET", "/users/{id}").respond(json={"name": "Ada"})
    assert b"Ada" in urllib.request.urlopen(httpd.url_for("/users/3")).read()
    assert len(httpd.requests) == 1
"""


def test_entry_point() -> None:
    found = [point.value for point in entry_points(group="pytest11") if point.name == "aiohttpd"]
    if not found:
        pytest.skip("the package has been installed before it had the entry point: pip install -e . again")
    assert found == ["aiohttpd.testing.plugin"]


def test_it_imports_nothing_before_a_fixture_is_used() -> None:
    code = """if True:
        import sys, pytest
        before = set(sys.modules)
        import aiohttpd.testing.plugin
        print(*sorted(set(sys.modules) - before))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["aiohttpd", "aiohttpd.testing", "aiohttpd.testing.plugin"]


def test_without_another_plugin(tmp_path: Path) -> None:
    done = pytest_run(tmp_path, PLAIN)
    assert "1 passed" in done.stdout, done.stdout


def test_pytest_asyncio(tmp_path: Path) -> None:
    text = """
    import httpx

    async def test_it(httpd):
        httpd.expect("GET", "/").respond(text="hello")
        async with httpx.AsyncClient() as client:
            assert (await client.get(httpd.url)).text == "hello"
        assert len(await httpd.arrived(1)) == 1
    """
    done = pytest_run(tmp_path, text, *ASYNCIO)
    assert "1 passed" in done.stdout, done.stdout


def test_anyio_with_both_loops(tmp_path: Path) -> None:
    text = """
    import httpx, pytest

    @pytest.mark.anyio
    async def test_it(httpd):
        httpd.expect("GET", "/").respond(text="hello")
        async with httpx.AsyncClient() as client:
            assert (await client.get(httpd.url)).text == "hello"
    """
    done = pytest_run(tmp_path, text, "-p", "anyio")
    assert "2 passed" in done.stdout, done.stdout  # asyncio and trio


def test_xdist(tmp_path: Path) -> None:
    text = """
    import urllib.request, pytest

    @pytest.mark.parametrize("number", range(10))
    def test_it(httpd, httpd_session, number):
        for server in (httpd, httpd_session):
            server.expect("GET", f"/{number}").once()
            urllib.request.urlopen(server.url_for(f"/{number}")).close()
    """
    done = pytest_run(tmp_path, text, "-p", "xdist", "-n", "2")
    assert "10 passed" in done.stdout, done.stdout


def test_tls(tmp_path: Path) -> None:
    text = """
    import ssl, urllib.request

    def test_it(httpsd):
        httpsd.expect("GET", "/")
        context = ssl.create_default_context(cafile=httpsd.ca_file)
        assert urllib.request.urlopen(httpsd.url, context=context).status == 200
    """
    done = pytest_run(tmp_path, text)
    assert "1 passed" in done.stdout, done.stdout


def test_parameters(tmp_path: Path) -> None:
    text = """
    import urllib.request, pytest, aiohttpd

    class Hello(aiohttpd.BaseHTTPRequestHandler):
        async def do_GET(self):
            self.send_text("hello")

    @pytest.mark.parametrize("httpd", [Hello, {"app": Hello, "server_header": False}], indirect=True)
    def test_it(httpd):
        assert urllib.request.urlopen(httpd.url).read() == b"hello"
    """
    done = pytest_run(tmp_path, text)
    assert "2 passed" in done.stdout, done.stdout


@pytest.mark.parametrize("fixture", ["httpd", "httpd_session"])
def test_what_is_unexpected_fails_the_test_at_its_end(tmp_path: Path, fixture: str) -> None:
    text = f"""
    import urllib.error, urllib.request

    def test_unexpected({fixture}):
        {fixture}.expect("GET", "/users").optional()
        try:
            urllib.request.urlopen({fixture}.url_for("/user"))
        except urllib.error.HTTPError as error:
            error.close()

    def test_never_asked({fixture}):
        {fixture}.expect("GET", "/never")

    def test_as_expected({fixture}):
        pass
    """
    done = pytest_run(tmp_path, text)
    assert "3 passed, 2 errors" in done.stdout, done.stdout
    assert "unexpected request: GET /user (connection" in done.stdout
    assert "    - /users" in done.stdout
    assert "GET /never has not been asked as often as expected" in done.stdout
