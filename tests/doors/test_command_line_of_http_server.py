"""The command line of ``python -m http.server`` (3.15), option by option, with ``python -m aiohttpd`` in its place."""

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_text("a")
    (tmp_path / "site" / "b.unheard-of").write_text("b")
    authority = trustme.CA()
    authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "pair.pem")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[str]:
    """Run the command; give where it serves."""
    command = [sys.executable, "-m", "aiohttpd", *arguments]
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            found = [word for word in line.split() if word.startswith("http")]
            assert found, line + process.stderr.read()
            yield found[0].rstrip(",")
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.mark.parametrize(
    "arguments",
    [
        ("0", "-d", "site"),
        ("-d", "site", "0"),
        ("--directory", "site", "0"),
        ("--directory=site", "0", "--bind", "127.0.0.1"),
        ("0", "-b", "127.0.0.1", "-d", "site"),
        ("-p", "HTTP/1.1", "0", "-d", "site"),
        ("--protocol", "HTTP/1.0", "0", "-d", "site"),
        ("-H", "X-One", "1", "-H", "X-Two", "http://two: 2", "-d", "site", "0"),
        ("0", "--header", "X-One", "1", "--header", "X-Two", "http://two: 2", "-d", "site"),
        ("0", "-H", "X-One", "1", "-H", "X-Two: http://two: 2", "-d", "site"),
        ("--content-type", "text/x-own", "-d", "site", "0"),
    ],
    ids=" ".join,
)
def test_an_option(folder: Path, arguments: tuple[str, ...]) -> None:
    with served(folder, *arguments) as url, httpx.Client(base_url=url, trust_env=False) as client:
        answer = client.get("a.txt")
        assert answer.text == "a"
        if "X-One" in arguments:
            assert (answer.headers["X-One"], answer.headers["X-Two"]) == ("1", "http://two: 2")
        kind = "text/x-own" if "--content-type" in arguments else "application/octet-stream"
        assert client.get("b.unheard-of").headers["Content-Type"] == kind


def test_tls(folder: Path) -> None:
    (folder / "password").write_text("of no use here\n")
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    for more in ([], ["--tls-key", "pair.pem"], ["--tls-key", "pair.pem", "--tls-password-file", "password"]):
        with served(folder, "-d", "site", "0", "--tls-cert", "pair.pem", *more) as url:
            assert url.startswith("https://")
            assert httpx.get(url + "a.txt", verify=context, trust_env=False).text == "a"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tls-key", "pair.pem"], "--tls-key has no effect without --tls-cert"),
        (["--tls-password-file", "password"], "--tls-password-file has no effect without --tls-cert"),
        (["--tls-cert", "pair.pem", "--tls-password-file", "no-such-file"], "cannot read no-such-file"),
        (["-H"], "Option '-H' requires an argument"),
        (["-H", "X-One"], "--header 'X-One': write 'Name: value'"),
        (["80000"], "'80000' is not a port"),
        (["--cgi"], "CGI programs are not supported"),
    ],
)
def test_what_is_refused(folder: Path, arguments: list[str], told: str) -> None:
    command = [sys.executable, "-m", "aiohttpd", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.skipif(sys.version_info < (3, 15), reason="that command line is of Python 3.15")
def test_there_are_no_more_options() -> None:
    done = subprocess.run([sys.executable, "-m", "http.server", "--help"], capture_output=True, text=True, check=True)
    from aiohttpd.runner.cli import serve

    ours = {name for param in serve.params for name in param.opts} | {"-h", "--help"}
    words = done.stdout.partition("options:")[2].split()
    theirs = {word.strip(",") for word in words if word.startswith("-")}
    assert {"-H", "--content-type", "--tls-cert"} <= theirs
    assert theirs <= ours
