"""The configurations of proxies in the documentation: the proxies read them without a complaint."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ..support.pages import DOCS, blocks

PAGE = DOCS / "howto" / "proxies.md"
HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s

frontend web
    bind 127.0.0.1:8099
    default_backend aiohttpd

"""


def only(beginning: str) -> str:
    [text] = [block.text for block in blocks(PAGE) if block.text.startswith(beginning)]
    return text


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx: Debian's package nginx-light")
def test_nginx(tmp_path: Path) -> None:
    text = only("upstream aiohttpd").replace("listen 80;", f"listen unix:{tmp_path}/front;")
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; events {{}} http {{ access_log off; client_body_temp_path {tmp_path}/b; "
        f"proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f; uwsgi_temp_path {tmp_path}/u; "
        f"scgi_temp_path {tmp_path}/s; {text} }}"
    )
    done = subprocess.run(
        ["nginx", "-t", "-e", "stderr", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr, done.stderr


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy: Debian's package haproxy")
def test_haproxy(tmp_path: Path) -> None:
    (tmp_path / "haproxy.cfg").write_text(HAPROXY + only("backend aiohttpd"))
    done = subprocess.run(
        ["haproxy", "-c", "-f", str(tmp_path / "haproxy.cfg")], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
