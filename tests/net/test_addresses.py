"""Addresses: what is none is refused with what to write, and what one stands for is listened on."""

import asyncio
import errno
import http.client
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

import aiohttpd
from aiohttpd.net.bind import is_local, read_addresses
from aiohttpd.net.sockets import BindError, UnixAddress, listen, url_of
from aiohttpd.testing import running


class Target(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text(self.request.target)


NO_ADDRESS: list[tuple[Any, type[Exception], str]] = [
    ("127.0.0.1:8000", ValueError, "write ('127.0.0.1', 8000), host and port"),
    ("localhost:80", ValueError, "write ('localhost', 80), host and port"),
    ("[::1]:8000", ValueError, "write ('::1', 8000), host and port"),
    (":8000", ValueError, "':8000' is not an address: write ('', 8000), host and port"),
    (
        "localhost",
        ValueError,
        "write ('localhost', 8000), host and port; or './localhost', if it is the path of a unix",
    ),
    (b"localhost", ValueError, "write ('localhost', 8000)"),
    ("127.0.0.1", ValueError, "write ('127.0.0.1', 8000)"),
    ("::", ValueError, "write ('::', 8000)"),
    ("LOCALHOST", ValueError, "write ('LOCALHOST', 8000)"),
    ("0.0.0.0", ValueError, "write ('0.0.0.0', 8000)"),
    ("fe80::1%eth0", ValueError, "is not an address"),
    ("example.org", ValueError, "write ('example.org', 8000)"),
    ("www.example.org.", ValueError, "write ('www.example.org.', 8000)"),
    (socket.gethostname(), ValueError, "host and port"),
    ("8000", ValueError, "write ('127.0.0.1', 8000)"),
    ("*", ValueError, "host and port"),
    ("", ValueError, "write ('', 8000), host and port"),
    ("http://127.0.0.1:8000/", ValueError, "write ('127.0.0.1', 8000), host and port"),
    ("http://localhost", ValueError, "write ('localhost', 80)"),
    ("https://example.org/", ValueError, "write ('example.org', 443)"),
    ("unix:/run/hello.sock", ValueError, "write the path alone"),
    (8000, TypeError, "8000 is not an address: write ('127.0.0.1', 8000), host and port"),
    (None, TypeError, "None is not an address: write ('127.0.0.1', 8000)"),
    (8000.0, TypeError, "8000.0 is not an address"),
    ({"host": "x"}, TypeError, "is not an address"),
    (["127.0.0.1", 8000], ValueError, "write ('127.0.0.1', 8000)"),
    ([None], TypeError, "None is not an address"),
    ([[("127.0.0.1", 0)]], TypeError, "is not an address"),
    ((), TypeError, "write (host, port)"),
    (("127.0.0.1",), TypeError, "write (host, port)"),
    ((("127.0.0.1", 0), ("127.0.0.1", 0)), TypeError, "or a list of these"),
    ((8000, "127.0.0.1"), TypeError, "write port=8000 for a port"),
    ((b"127.0.0.1", 8000), TypeError, "the host is a text"),
    (("127.0.0.1:80", 8000), ValueError, "has a port in it: write ('127.0.0.1', 80)"),
    (("[::1]:80", 8000), ValueError, "has a port in it: write ('::1', 80)"),
    (("127.0.0.1", None), TypeError, "the port is a number, not None"),
    (("127.0.0.1", "http"), TypeError, "the port is a number, not 'http'"),
    (("127.0.0.1", True), TypeError, "the port is a number, not True"),
    (("127.0.0.1", 80.0), TypeError, "the port is a number, not 80.0"),
    (("127.0.0.1", 80000), ValueError, "80000 is not a port (0 to 65535)"),
    (("127.0.0.1", "80000"), ValueError, "80000 is not a port"),
    (("127.0.0.1", 65536), ValueError, "65536 is not a port"),
    (("127.0.0.1", -1), ValueError, "-1 is not a port"),
    (("::1", 80000, 0, 0), ValueError, "80000 is not a port"),
]


@pytest.mark.parametrize(("address", "kind", "text"), NO_ADDRESS, ids=lambda value: repr(value)[:40])
def test_what_is_no_address(address: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        aiohttpd.HTTPServer(address, Target)
    assert text in str(caught.value)
    if address is not None:  # for run() that is host and port
        for more in ({}, {"workers": 2}):
            with pytest.raises(kind, match=re.escape(text)):
                aiohttpd.run(Target, bind=address, **more)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"port": 80000}, ValueError, "80000 is not a port"),
        ({"port": -1}, ValueError, "-1 is not a port"),
        ({"host": 8000}, TypeError, "write port=8000"),
        ({"host": "127.0.0.1:8000"}, ValueError, "('127.0.0.1', 8000)"),
        ({"bind": []}, ValueError, "no address to listen on"),
        ({"port": None}, TypeError, "the port is a number, not None"),
        ({"workers": "two"}, ValueError, "workers must be 1 to 1024, or 'auto', not 'two'"),
        ({"workers": 1.5}, ValueError, "workers must be 1 to 1024, or 'auto', not 1.5"),
        ({"workers": 1025}, ValueError, "workers must be 1 to 1024, or 'auto', not 1025"),
    ],
)
def test_what_run_is_given(given: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        aiohttpd.run(Target, **given)
    assert text in str(caught.value)


async def test_what_is_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given: list[Any] = [
        ("127.0.0.1", 0),
        ("localhost", 0),
        ("::1", 0, 0, 0),
        (None, 0),
        ("", 0),
        ("127.0.0.1", "0"),
        str(tmp_path / "a"),
        "./b",
        "./localhost",
        "socket-of-hello",
        "hello.sock",
        ".hidden",
        "folder/../c",
        tmp_path / "d",
        Path("e"),
        UnixAddress("f"),
        b"./g",
        socket.create_server(("127.0.0.1", 0)),
        [],  # connections come by serve_connection()
    ]
    (tmp_path / "folder").mkdir()
    for address in given:
        async with aiohttpd.HTTPServer(address, Target):
            pass
    if sys.platform == "linux":
        async with aiohttpd.HTTPServer("\0aiohttpd-test-addresses", Target) as server:
            assert server.url == "unix:@aiohttpd-test-addresses"


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST", "localhost."])
def test_localhost_is_both_families(name: str) -> None:
    sockets = listen((name, 0), 10)
    try:
        hosts = [sock.getsockname()[0] for sock in sockets]
        assert hosts == (["127.0.0.1", "::1"] if has_ipv6() else ["127.0.0.1"])
        (port,) = {sock.getsockname()[1] for sock in sockets}
        for host in hosts:
            socket.create_connection((host, port), 10).close()
        # A port that one of them has is taken for both.
        for family in hosts:
            with socket.create_server(
                (family, 0), family=socket.AF_INET6 if ":" in family else socket.AF_INET
            ) as other:
                with pytest.raises(BindError, match="it is in use"):
                    listen((name, other.getsockname()[1]), 10)
    finally:
        for sock in sockets:
            sock.close()
    assert is_local((name, 8000))


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_localhost_where_one_of_the_families_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with IPv6 switched off."""

    class NoIPv6(socket.socket):
        def bind(self, address: Any) -> None:
            if self.family == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
            super().bind(address)

    monkeypatch.setattr("aiohttpd.net.sockets.socket.socket", NoIPv6)
    (sock,) = listen(("localhost", 0), 10)
    assert sock.getsockname()[0] == "127.0.0.1"
    sock.close()


def test_localhost_and_one_of_its_addresses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    if has_ipv6():
        sockets = listen([("localhost", port), ("::1", port)], 10)
        assert [sock.getsockname()[0] for sock in sockets] == ["127.0.0.1", "::1"]
        for sock in sockets:
            sock.close()


def test_the_command_on_localhost(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    command = [sys.executable, "-m", "aiohttpd", "serve", "--bind", "localhost", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        try:
            urls = [word.rstrip(",") for word in line.split() if word.startswith("http://")]
            assert len(urls) == 1 + has_ipv6(), line
            for url in urls:
                with urllib.request.urlopen(url + "a.txt", timeout=10) as answer:
                    assert answer.read() == b"a"
            assert "Only this machine" in process.stderr.readline()
        finally:
            process.terminate()
            process.communicate(timeout=30)


class TestZones:
    """A link-local address means nothing without its zone."""

    lo = next((number for number, name in socket.if_nameindex() if name == "lo"), 0)

    @pytest.mark.skipif(not lo, reason="no interface 'lo'")
    def test_in_urls(self) -> None:
        assert url_of(("fe80::1", 8000, 0, self.lo)) == "http://[fe80::1%lo]:8000"
        assert url_of(("fe80::1", 443, 0, self.lo), tls=True) == "https://[fe80::1%lo]"
        assert url_of(("fe80::1%lo", 8000, 0, self.lo)) == "http://[fe80::1%lo]:8000"
        assert url_of(("fe80::1", 8000, 0, 4_000_000)) == "http://[fe80::1%4000000]:8000"
        assert url_of(("::1", 8000, 0, 0)) == "http://[::1]:8000"

    @pytest.mark.skipif(not lo or not has_ipv6(), reason="no interface 'lo' with IPv6")
    @pytest.mark.parametrize("address", [("fe80::dead%lo", 8000), ("fe80::dead", 8000, 0, lo)])
    def test_in_errors(self, address: Any) -> None:
        with pytest.raises(BindError, match=r"cannot listen on \[fe80::dead%lo\]:8000: this machine does not have"):
            listen(address, 10)

    def test_on_the_command_line(self) -> None:
        for text in ("fe80::1%eth0", "[fe80::1%eth0]", "[fe80::1%eth0]:8000"):
            assert read_addresses([text], 8000, {}) == [("fe80::1%eth0", 8000)]

    def test_of_an_interface(self) -> None:
        """With a real link-local address, where the machine has one that can be reached."""
        try:
            with open("/proc/net/if_inet6") as file:
                found = [(line.split()[0], line.split()[5]) for line in file if line.startswith("fe80")]
        except OSError:
            found = []
        for digits, name in found:
            host = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
            try:
                (sock,) = listen((f"{host}%{name}", 0), 10)
            except BindError:
                continue
            with sock:
                url = url_of(sock.getsockname())
                assert url == f"http://[{host}%{name}]:{sock.getsockname()[1]}"
            return
        pytest.skip("no link-local address here")


def test_a_library_knows_no_command_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
        with pytest.raises(BindError) as caught:
            listen(address, 10)
        assert str(caught.value).endswith("it is in use: is another server running?")
        command = [sys.executable, "-m", "aiohttpd", "--port", str(address[1])]
        for more in ([], ["--workers", "2"]):
            done = subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)
            assert done.returncode == 1
            assert "is another server running? Choose another with --port" in done.stderr


def test_an_address_in_place_of_an_app() -> None:
    with pytest.raises(Exception, match="'127.0.0.1:8000' is an address and not a handler: use host and port"):
        aiohttpd.run("127.0.0.1:8000")


async def test_a_url_and_a_path() -> None:
    async with running(Target) as server:
        assert server.urls == [server.url]
        for url, target in (
            (server.url, "/"),
            (server.url + "/a", "/a"),
            (f"{server.url}/a?b", "/a?b"),
            (urljoin(server.url, "a"), "/a"),
            (urljoin(server.url, "/a/b"), "/a/b"),
        ):
            assert await text_of_url(url) == target


async def text_of_url(url: str) -> str:
    def ask() -> str:
        host, _, path = url.removeprefix("http://").partition("/")
        connection = http.client.HTTPConnection(host, timeout=10)
        connection.request("GET", f"/{path}")
        text = connection.getresponse().read().decode()
        connection.close()
        return text

    return await asyncio.to_thread(ask)
