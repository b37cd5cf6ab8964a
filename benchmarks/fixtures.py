"""500 tests with the fixtures, in four processes, several times: python benchmarks/fixtures.py [RUNS].

Warnings are errors. After each test no thread, and after each process no thread, socket or file of the package may be
left. Prints one line for each run, and exits with 1 if a test has failed or something is left.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 10
COMMAND = [
    *("-n", "4", "-W", "error", "-p", "no:randomly", "-p", "no:cacheprovider", "-q"),
    *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
]

CONFTEST = """
import gc, os, threading
from pathlib import Path
import pytest

SESSION = "aiohttpd-testing"  # the thread of httpd_session, which lives as long as its process

def threads():
    return sorted(thread.name for thread in threading.enumerate() if thread.name == SESSION)

def sockets():
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue
        if target.startswith("socket:") or "aiohttpd-" in target:
            found.append(target)
    return sorted(found)

before = set()

def pytest_sessionstart(session):
    before.update(sockets())

@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert len(threads()) <= 1, threads()

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    gc.collect()
    left = threads() + sorted(set(sockets()) - before)
    if left:
        print("LEFT", *left)
        session.exitstatus = 1
        (Path(__file__).parent / "left.txt").open("a").write(" ".join(left) + chr(10))
"""

TESTS = """
import asyncio, http.client, socket, ssl, urllib.request
import pytest
from concurrent.futures import ThreadPoolExecutor
from aiohttpd.testing import TestServer, WebSocketFaults

def get(url, **more):
    with urllib.request.urlopen(url, timeout=30, **more) as answer:
        return answer.read()

many = pytest.mark.parametrize("number", range(50))
HANDSHAKE = (b"GET /ws HTTP/1.1\\r\\nHost: a\\r\\nConnection: Upgrade\\r\\nUpgrade: websocket\\r\\n"
             b"Sec-WebSocket-Version: 13\\r\\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\\r\\n\\r\\n")

@many
def test_expected(httpd, number):
    httpd.expect("GET", "/users/{id:int}").respond(json={"id": number}).once()
    assert get(httpd.url_for(f"/users/{number}")) == b'{"id": %d}' % number
    assert httpd.wait_for(1)[0].params == {"id": number}

@many
def test_session(httpd_session, number):
    httpd_session.expect("POST", "/", body=f"body {number}").respond(status=201).once()
    assert get(httpd_session.url, data=b"body %d" % number) == b""

@many
def test_tls(httpsd, number):
    httpsd.expect("GET", "/").respond(text="x" * number)
    context = ssl.create_default_context(cafile=httpsd.ca_file)
    assert len(get(httpsd.url, context=context)) == number

@many
def test_cut(httpd, number):
    httpd.expect("GET", "/").respond(text="x" * 1000).truncate(number)
    with pytest.raises(http.client.IncompleteRead) as failed:
        get(httpd.url)
    assert len(failed.value.partial) == number

@many
def test_reset_and_retry(httpd, number):
    httpd.expect("GET", "/").reset().once()
    httpd.expect("GET", "/").respond(text="again").once()
    with pytest.raises(ConnectionResetError):
        get(httpd.url)
    assert get(httpd.url) == b"again"

@many
def test_in_flight_at_the_end(httpd, number):
    httpd.expect("GET", "/").respond(delay=60).optional()
    with socket.create_connection((httpd.host, httpd.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"[: number or None])

@many
def test_at_once(httpd, number):
    httpd.expect("GET", "/").respond(text="x", delay=0.01).times(5)
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(get, [httpd.url] * 5)) == [b"x"] * 5

@many
async def test_in_the_loop(number):
    async with TestServer() as server:
        server.expect("GET", "/").respond(text="hello")
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.0\\r\\n\\r\\n")
        assert (await reader.read()).endswith(b"hello")
        writer.close()
        await writer.wait_closed()

@many
def test_websocket(httpd, number):
    httpd.expect("GET", "/ws").respond_with(WebSocketFaults().send(b"x" * number).close_without_frame())
    with socket.create_connection((httpd.host, httpd.port), timeout=30) as sock:
        sock.sendall(HANDSHAKE)
        got = b""
        while piece := sock.recv(4096):
            got += piece
    assert got.endswith(bytes([0x82, number]) + b"x" * number)

@many
def test_unix(number):
    with TestServer(unix=True) as server:
        server.expect("GET", "/").respond(text="unix").drip(100_000).close_after()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(server.unix_path)
            sock.sendall(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")
            got = b""
            while piece := sock.recv(4096):
                got += piece
    assert got.endswith(b"unix")
"""


def run(folder: Path) -> tuple[bool, str]:
    """Run the tests once; return whether all is well, and a line about it."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "pytest", *COMMAND, str(folder)], capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    left = folder / "left.txt"
    what = left.read_text() if left.exists() else "nothing left"
    good = done.returncode == 0 and "500 passed" in done.stdout and not left.exists()
    if not good:
        print(done.stdout, done.stderr)
    counts = re.search(r"\d+ (?:passed|failed).*?(?= in )", done.stdout)
    return good, f"{counts[0] if counts else 'no tests'} in {seconds:.1f} s, {what}"


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    failed = 0
    for number in range(1, runs + 1):
        with tempfile.TemporaryDirectory(prefix="fixtures-") as name:
            folder = Path(name)
            (folder / "conftest.py").write_text(CONFTEST)
            (folder / "test_fixtures.py").write_text(TESTS)
            good, line = run(folder)
        failed += not good
        print(f"run {number}: {line}", flush=True)
    if failed:
        raise SystemExit(f"{failed} of {runs} runs were not clean")


if __name__ == "__main__":
    main()
