"""``aiohttpd serve DIR`` and ``python -m aiohttpd``, as a person types them."""

import contextlib
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import trustme
from click.testing import CliRunner
from cryptography.hazmat.primitives import serialization

from aiohttpd.net.local_addresses import addresses
from aiohttpd.runner.cli import main

from ..support.commands import command, refused, run, started

HINT = "Only this machine can reach it; --bind 0.0.0.0 shares it with the network\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.txt").write_text("b")
    (tmp_path / "index.html").write_text("<p>index")
    (tmp_path / "own.html").write_text("<p>own")
    (tmp_path / ".dot").write_text("dot")
    (tmp_path / "odd.xyzzy").write_text("odd")
    (tmp_path / "bare").mkdir()
    return tmp_path


class TestTarget:
    def test_this_folder(self, folder: Path) -> None:
        with started(folder, "serve", "-p", "0") as served:
            assert served.what == "this folder"
            assert served.stderr.readline() == HINT
            assert httpx.get(served.url + "a.txt").text == "a"
            assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "GET /a\.txt HTTP/1\.1" 200 1\n', served.stop())

    @pytest.mark.parametrize(
        "arguments", [("serve", "sub"), ("serve", "-d", "sub"), ("serve", "--directory", "./sub"), ("-d", "sub")]
    )
    def test_another(self, folder: Path, arguments: tuple[str, ...]) -> None:
        with started(folder, *arguments, "-p", "0") as served:
            assert httpx.get(served.url + "b.txt").text == "b"

    @pytest.mark.parametrize(
        "arguments",
        [
            ("0",),
            ("0", "-d", ".", "-b", "127.0.0.1"),
            ("-b", "127.0.0.1", "0"),
            ("-p", "HTTP/1.1", "0"),
            ("serve", "0"),
        ],
    )
    def test_as_http_server(self, folder: Path, arguments: tuple[str, ...]) -> None:
        with started(folder, *arguments) as served:
            assert not served.url.endswith(":8000/")
            assert httpx.get(served.url + "a.txt").text == "a"

    def test_a_folder_of_digits(self, folder: Path) -> None:
        (folder / "2026").mkdir()
        (folder / "2026" / "c").write_text("c")
        with started(folder, "2026", "-p", "0") as served:
            assert httpx.get(served.url + "c").text == "c"

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (
                ["nowhere"],
                "no such folder or handler: nowhere (a handler or an application is written as 'module:name'",
            ),
            (["-d", "nowhere"], "no such folder: nowhere"),
            (["sub", "-d", "sub"], "two folders: sub and --directory sub"),
            (["a.txt"], "'a.txt' is neither a folder nor a handler: it is a file, and is served with its folder: ."),
            (["sub/b.txt"], "served with its folder: sub"),
            (
                ["localhost:8080"],
                "'localhost:8080' is an address and not a handler; to listen on it write --bind localhost:8080",
            ),
            (["http://127.0.0.1:80"], "to listen on it write --bind 127.0.0.1:80"),
            ([":8080"], "to listen on it write --port 8080"),
            (["--cors", "example.com"], "--cors 'example.com': an origin is '*', or as https://host:port"),
            (["--cors", "https://a.example/"], "with nothing after it"),
            (["--cache", "soon"], "--cache 'soon': a number of seconds, 'no-store' or 'no-cache'"),
            (["-H", "nothing"], "--header 'nothing': write 'Name: value'"),
            (["-H", "a b: c"], "'a b' is no field name"),
            (["-H", "Content-Length: 3"], "Content-Length is different for each answer"),
            (["--content-type", "a/b; c=\n"], "holds a character that may not stand in a field"),
            (["--auth", "nobody"], "Invalid value for '--auth' (env var: 'AIOHTTPD_AUTH'): credentials are"),
            (["--upload", "--upload-auth", ":b"], "Invalid value for '--upload-auth'"),
            (["--tls-key", "k"], "has no effect without --tls-cert"),
            (["--tls-cert", "none.pem"], "cannot read none.pem: No such file or directory"),
            (["--port", "70000"], "'70000' is not a port"),
            (["70000"], "'70000' is not a port"),
            (["9" * 5000], "999' is not a port"),
        ],
    )
    def test_errors(self, folder: Path, arguments: list[str], text: str) -> None:
        assert text in refused(folder, *arguments)

    def test_a_file_with_handlers(self, folder: Path) -> None:
        (folder / "app.py").write_text("")
        assert "'app.py' names no handler in a module: write 'app.py:Handler'" in refused(folder, "app.py")

    def test_without_the_word(self, folder: Path) -> None:
        """What works with python -m aiohttpd, and with http.server, is given back as it has to be written."""
        (folder / "a b").mkdir()
        for arguments, text in [
            (["sub"], "No such command 'sub'. Did you mean 'aiohttpd serve sub'?"),
            (["8000", "-d", "sub"], "No such command '8000'. Did you mean 'aiohttpd serve 8000 -d sub'?"),
            (["app:App"], "Did you mean 'aiohttpd serve app:App'?"),
            (["-p", "80", "a b"], "No such option '-p'. Did you mean 'aiohttpd serve -p 80 'a b''?"),
            (["nothing"], "No such command 'nothing'"),
        ]:
            with contextlib.chdir(folder):
                result = CliRunner().invoke(main, arguments)
            assert result.exit_code == 2
            assert text in result.output

    def test_one_line(self, folder: Path) -> None:
        done = run(folder, "serve", "nowhere")
        assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")

    def test_options_of_folders(self, folder: Path) -> None:
        (folder / "app.py").write_text("async def app(request, response):\n    response.send_head(204)\n")
        for option in (["--spa"], ["--cache", "1"], ["--upload"], ["-d", "sub"], ["--hidden"]):
            assert "is for folders, and app.py:app is a handler" in refused(folder, "app.py:app", *option)

    def test_options_of_any_app(self, folder: Path) -> None:
        """Answers, errors among them, have the fields; handlers of http.server, too."""
        (folder / "app.py").write_text(
            "import aiohttpd, http.server\n"
            "class Page(aiohttpd.BaseHTTPRequestHandler):\n"
            "    async def do_GET(self):\n"
            "        self.send_text('text ' * 1000)\n"
            "class Old(http.server.BaseHTTPRequestHandler):\n"
            "    def do_GET(self):\n"
            "        self.send_response(200); self.end_headers(); self.wfile.write(b'text')\n"
        )
        options = ["--cors", "https://a.example", "--compress", "-H", "X-A: 1", "-H", "X-B", "2", "--auth", "a:b"]
        origin = {"Origin": "https://a.example"}
        with started(folder, "serve", "app.py:Page", "-p", "0", *options) as served:
            answer = httpx.get(served.first.split()[2], headers=origin, auth=("a", "b"))
            assert answer.text == "text " * 1000
            assert answer.headers["Content-Encoding"] == "gzip"
            refusal = httpx.get(served.first.split()[2], headers=origin)
            asked = httpx.options(served.first.split()[2], headers=origin | {"Access-Control-Request-Method": "PUT"})
        assert (answer.status_code, refusal.status_code, asked.status_code) == (200, 401, 204)
        for found in (answer, refusal, asked):
            assert found.headers["Access-Control-Allow-Origin"] == "https://a.example"
            assert (found.headers["X-A"], found.headers["X-B"]) == ("1", "2")
        with started(folder, "serve", "app.py:Old", "-p", "0", "--cors", "-H", "X-A: 1") as served:
            answer = httpx.get(served.first.split()[2])
        assert (answer.text, answer.headers["Access-Control-Allow-Origin"], answer.headers["X-A"]) == ("text", "*", "1")

    def test_malformed_options_of_any_app(self, folder: Path) -> None:
        (folder / "app.py").write_text("async def app(request, response):\n    response.send_head(204)\n")
        assert "--cors 'a.example': CORS: 'a.example' is no origin" in refused(
            folder, "app.py:app", "--cors", "a.example"
        )
        assert "--header 'X': write 'Name: value'" in refused(folder, "app.py:app", "-H", "X")

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the folder, or refuse to remove it")
    def test_the_current_folder_has_been_removed(self, tmp_path: Path) -> None:
        """FAULT: a traceback."""
        (tmp_path / "gone").mkdir()
        code = "import os, sys; os.rmdir('../gone'); os.execv(sys.executable, sys.argv[1:])"
        done = subprocess.run(
            [sys.executable, "-P", "-c", code, *command("serve")],
            cwd=tmp_path / "gone", capture_output=True, text=True, timeout=20,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (2, "aiohttpd: cannot read .: No such file or directory\n")


class TestOptions:
    def get(self, folder: Path, *arguments: str, path: str = "a.txt", accept: str = "*/*") -> httpx.Response:
        with started(folder, "serve", *arguments, "-p", "0") as served:
            return httpx.get(served.url + path, headers={"Accept": accept})

    def test_head(self, folder: Path) -> None:
        """What curl -I shows."""
        with started(folder, "serve", "-p", "0") as served:
            answer = httpx.head(served.url + "a.txt")
            assert (answer.headers["Content-Length"], answer.headers["Content-type"]) == ("1", "text/plain")
            assert "Last-Modified" in answer.headers
            assert '"HEAD /a.txt HTTP/1.1" 200' in served.stop()

    def test_headers(self, folder: Path) -> None:
        answer = self.get(folder, "-H", "X-One: 1", "--header", "X-Two:two")
        assert (answer.headers["X-One"], answer.headers["X-Two"]) == ("1", "two")

    @pytest.mark.parametrize(
        ("cache", "expected"), [("60", "max-age=60"), ("0", "max-age=0"), ("no-store", "no-store")]
    )
    def test_cache(self, folder: Path, cache: str, expected: str) -> None:
        assert self.get(folder, "--cache", cache).headers["Cache-Control"] == expected

    def test_content_type(self, folder: Path) -> None:
        assert self.get(folder, "--content-type", "text/odd", path="odd.xyzzy").headers["Content-type"] == "text/odd"

    def test_cors(self, folder: Path) -> None:
        assert self.get(folder, "--cors").headers["Access-Control-Allow-Origin"] == "*"
        assert self.get(folder, "--cors", ".").headers["Access-Control-Allow-Origin"] == "*"
        origin = "https://a.example"
        assert self.get(folder, "--cors", origin).headers["Access-Control-Allow-Origin"] == origin

    def test_spa(self, folder: Path) -> None:
        for arguments, text in [
            (("--spa",), "<p>index"),
            (("--spa", "own.html"), "<p>own"),
            (("--spa", "."), "<p>index"),
        ]:
            answer = self.get(folder, *arguments, path="no/such/route", accept="text/html")
            assert (answer.status_code, answer.text) == (200, text)

    def test_spa_without_its_page(self, folder: Path) -> None:
        """It may still be built, so that is said, and no error."""
        (folder / "sub" / "out.html").symlink_to(folder / "own.html")
        for name in ("none.html", "out.html"):
            with started(folder, "serve", "sub", "-p", "0", "--spa", name) as served:
                assert served.stderr.readline() == HINT
                assert served.stderr.readline().startswith(f"--spa {name}: there is no such file yet;")
                assert httpx.get(served.url + "route", headers={"Accept": "text/html"}).status_code == 404

    def test_what_uploads_want(self, folder: Path) -> None:
        """The hint is for who sends a file; http.server's 501 has none."""
        with started(folder, "serve", "-p", "0") as served:
            for method in ("PUT", "POST"):
                answer = httpx.request(method, served.url + "new.txt", content=b"new")
                assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
                assert "started with --upload" in answer.text
        assert not (folder / "new.txt").exists()

    def test_index(self, folder: Path) -> None:
        assert self.get(folder, "--index", "none", "--index", "own.html", path="").text == "<p>own"

    def test_listing(self, folder: Path) -> None:
        assert "Directory listing" in self.get(folder, path="sub/").text
        assert self.get(folder, "--no-listing", path="sub/").status_code == 404

    def test_hidden(self, folder: Path) -> None:
        assert self.get(folder, path=".dot").status_code == 404
        assert self.get(folder, "--hidden", path=".dot").text == "dot"

    def test_symlinks(self, folder: Path) -> None:
        (folder / "sub" / "out").symlink_to(folder / "a.txt")
        assert self.get(folder, "sub", path="out").status_code == 404
        assert self.get(folder, "sub", "--follow-symlinks", path="out").text == "a"

    def test_auth(self, folder: Path) -> None:
        for arguments, environment in [(["--auth", "me:s:e cret"], {}), ([], {"AIOHTTPD_AUTH": "me:s:e cret"})]:
            with started(folder, "serve", "-p", "0", *arguments, **environment) as served:
                answer = httpx.get(served.url + "a.txt")
                assert (answer.status_code, answer.headers["WWW-Authenticate"][:6]) == (401, "Basic ")
                assert httpx.get(served.url + "a.txt", auth=("me", "s:e cret")).text == "a"
                for wrong in [("me", "other"), ("you", "s:e cret"), ("me", "")]:
                    assert httpx.get(served.url + "a.txt", auth=wrong).status_code == 401
                for value in ("Basic", "Basic !!", "Bearer x", "Basic bWU6"):
                    assert httpx.get(served.url + "a.txt", headers={"Authorization": value}).status_code == 401

    def test_auth_for_a_handler(self, folder: Path) -> None:
        (folder / "app.py").write_text("async def app(request, response):\n    response.send_head(200)\n")
        process = subprocess.Popen(
            command("serve", "app:app", "-p", "0", "--auth", "a:b"), cwd=folder, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        url = process.stderr.readline().split()[2]
        try:
            assert httpx.get(url).status_code == 401
            assert httpx.get(url, auth=("a", "b")).status_code == 200
        finally:
            process.kill()
            process.communicate()

    def test_preflight_needs_no_password(self, folder: Path) -> None:
        with started(folder, "serve", "-p", "0", "--auth", "a:b", "--cors") as served:
            asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "GET"}
            assert httpx.options(served.url, headers=asks).status_code == 204
            assert httpx.options(served.url).status_code == 401

    def test_open(self, folder: Path) -> None:
        browser = folder / "browser"
        browser.write_text(f"#!/bin/sh\necho $1 > {folder}/opened.tmp\nmv {folder}/opened.tmp {folder}/opened\n")
        browser.chmod(0o755)
        with started(folder, "serve", "-p", "0", "--open", BROWSER=f"{browser} %s") as served:
            assert served.url
            for _ in range(100):
                with contextlib.suppress(FileNotFoundError):
                    assert (folder / "opened").read_text() == f"{served.url}\n"
                    break
                served.process.poll()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    served.process.wait(0.05)
            else:
                pytest.fail("nothing was opened")


class TestWhere:
    @pytest.mark.parametrize("bind", ["0.0.0.0", ""])
    def test_all_addresses(self, folder: Path, bind: str) -> None:
        with started(folder, "serve", "-p", "0", "--bind", bind) as served:
            match = re.fullmatch(r"Serving this folder on port (\d+) of all addresses \(Ctrl-C stops\)\n", served.first)
            assert match
            assert served.stderr.readline() == f"  http://127.0.0.1:{match[1]}/\n"
            assert httpx.get(f"http://127.0.0.1:{match[1]}/a.txt").text == "a"

    def test_addresses_are_others(self) -> None:
        for text in addresses(ipv4=True, ipv6=True):
            assert not text.startswith(("127.", "169.254.", "fe80"))
            assert text != "::1"
        assert addresses(ipv4=False, ipv6=False) == []

    def test_a_password_in_clear(self, folder: Path) -> None:
        with started(folder, "serve", "-p", "0", "--bind", "0.0.0.0", "--auth", "a:b") as served:
            while not (line := served.stderr.readline()).startswith("The password crosses the network unencrypted"):
                assert line.startswith("  http://")
        with started(folder, "serve", "-p", "0", "--auth", "a:b") as served:
            assert "password" not in served.stop()


class TestTLS:
    @pytest.fixture
    def certificate(self, authority: trustme.CA, tmp_path: Path) -> tuple[Path, Path, Path]:
        """Certificate and key in one file, and each in its own."""
        issued = authority.issue_cert("localhost", "127.0.0.1")
        both, certificate, key = tmp_path / "both.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
        issued.private_key_and_cert_chain_pem.write_to_path(both)
        issued.cert_chain_pems[0].write_to_path(certificate)
        issued.private_key_pem.write_to_path(key)
        return both, certificate, key

    def test_https(self, folder: Path, authority: trustme.CA, certificate: tuple[Path, Path, Path]) -> None:
        both, cert, key = map(str, certificate)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        for arguments in (["--tls-cert", both], ["--tls-cert", cert, "--tls-key", key]):
            with started(folder, "serve", "-p", "0", *arguments) as served:
                assert served.url.startswith("https://")
                assert httpx.get(served.url + "a.txt", verify=context).text == "a"

    def test_encrypted_key(self, folder: Path, authority: trustme.CA, certificate: tuple[Path, Path, Path]) -> None:
        _, cert, key = map(str, certificate)
        private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
        (folder / "locked.pem").write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        (folder / "password").write_text("secret\n")
        (folder / "wrong").write_text("wrong")
        locked = ["-p", "0", "--tls-cert", cert, "--tls-key", "locked.pem"]
        assert "locked.pem is encrypted: give its password with --tls-password-file" in refused(folder, *locked)
        wrong = refused(folder, *locked, "--tls-password-file", "wrong")
        assert "locked.pem cannot be read with the password in wrong" in wrong
        context = ssl.create_default_context()
        authority.configure_trust(context)
        with started(folder, "serve", *locked, "--tls-password-file", "password") as served:
            assert httpx.get(served.url + "a.txt", verify=context).text == "a"

    def test_errors(self, folder: Path, certificate: tuple[Path, Path, Path], authority: trustme.CA) -> None:
        both, cert, key = map(str, certificate)
        authority.issue_cert("other").private_key_pem.write_to_path(folder / "other.pem")
        for arguments, text in [
            (["--tls-cert", cert], "does not hold a certificate and its key in PEM"),
            (["--tls-cert", cert, "--tls-key", "other.pem"], f"other.pem is not the key of {cert}"),
            (["--tls-cert", "a.txt", "--tls-key", key], "are not a certificate and a key in PEM"),
            (["--tls-cert", both, "--tls-password-file", "none"], "cannot read none"),
        ]:
            output = refused(folder, *arguments)
            assert text in output
            assert output.count("\n") == 1


class TestDownloads:
    """Tools that continue, or take a file in pieces."""

    @pytest.fixture
    def large(self, tmp_path: Path) -> bytes:
        content = os.urandom(4_000_001)
        (tmp_path / "large.bin").write_bytes(content)
        return content

    @pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl: Debian's package curl")
    def test_curl_continues(self, folder: Path, large: bytes) -> None:
        (folder / "got").write_bytes(large[:1_234_567])
        with started(folder, "serve", "-p", "0") as served:
            subprocess.run(
                ["curl", "-sS", "-f", "-C", "-", "-o", folder / "got", served.url + "large.bin"], check=True, timeout=30
            )
            assert '"GET /large.bin HTTP/1.1" 206 2765434' in served.stop()
        assert (folder / "got").read_bytes() == large

    @pytest.mark.skipif(shutil.which("aria2c") is None, reason="needs aria2c: Debian's package aria2")
    def test_aria2_in_four_pieces(self, folder: Path, large: bytes) -> None:
        (folder / "large.bin").write_bytes(large * 2)
        with started(folder, "serve", "-p", "0") as served:
            subprocess.run(
                ["aria2c", "-q", "-x4", "-s4", "-k1M", "-o", "got", served.url + "large.bin"],
                cwd=folder, check=True, timeout=30,
            )  # fmt: skip
            assert served.stop().count('" 206 ') >= 3  # it takes the rest from the first request, which has no range
        assert (folder / "got").read_bytes() == large * 2

    def test_four_ranges_at_once(self, folder: Path, large: bytes) -> None:
        """The same by hand, whatever is installed."""
        with started(folder, "serve", "-p", "0", "--no-access-log") as served, contextlib.ExitStack() as stack:
            quarter = len(large) // 4
            ends = [(number * quarter, (number + 1) * quarter - 1 if number < 3 else "") for number in range(4)]
            tag = httpx.head(served.url + "large.bin").headers["ETag"]
            answers = [
                stack.enter_context(
                    httpx.stream(
                        "GET", served.url + "large.bin", headers={"Range": f"bytes={first}-{last}", "If-Range": tag}
                    )
                )
                for first, last in ends
            ]
            content = b"".join(answer.read() for answer in answers)
        assert {answer.status_code for answer in answers} == {206}
        assert hashlib.sha256(content).digest() == hashlib.sha256(large).digest()


def test_python_m_without_a_word(folder: Path) -> None:
    """It serves, as http.server does."""
    with started(folder, AIOHTTPD_PORT="0") as served:
        assert httpx.get(served.url + "a.txt").text == "a"
    help_text = subprocess.run([sys.executable, "-m", "aiohttpd", "--help"], capture_output=True, text=True).stdout
    assert "serve" in help_text
