"""The configurations of proxies in the documentation: the proxies read them without a complaint."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
import trustme

from aiohttpd import BaseHTTPRequestHandler, Config, HTTPServer

from ..support.fronts import front_running
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
@pytest.mark.parametrize("tls", [False, True])
def test_nginx(tmp_path: Path, authority: trustme.CA, tls: bool) -> None:
    listen = "listen 80;"
    if tls:
        listen = only("listen 443").replace("/etc/letsencrypt/live/example.org", str(tmp_path))
        certificate = authority.issue_cert("example.org")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "fullchain.pem")
        certificate.private_key_pem.write_to_path(tmp_path / "privkey.pem")
    text = only("upstream aiohttpd").replace(
        "listen 80;", re.sub(r"listen \d+", f"listen unix:{tmp_path}/front", listen)
    )
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


class Told(BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text(f"{self.client_address[0]} {self.request.scheme} {self.request.host}")


@pytest.mark.skipif(shutil.which("caddy") is None, reason="needs caddy: Debian's package caddy")
async def test_caddy(tmp_path: Path) -> None:
    """What a client says of itself in the fields of proxies is not believed; what Caddy says is."""
    [fields] = re.findall(r"--trusted-fields (\S+)", PAGE.read_text().split("## Caddy")[1])
    config = Config(access_log=False, timeout_drain_idle=0, trusted_proxies="127.0.0.1", trusted_fields=fields)
    front = tmp_path / "front"
    async with HTTPServer(("127.0.0.1", 0), Told, config=config) as server:
        text = only("example.org {").replace("127.0.0.1:8000", f"127.0.0.1:{server.server_port}")
        text = text.replace("example.org {", f"http://example.org {{\n    bind unix/{front}")
        (tmp_path / "Caddyfile").write_text("{\n    admin off\n}\n" + text)
        arguments = ["caddy", "run", "--config", str(tmp_path / "Caddyfile"), "--adapter", "caddyfile"]
        home = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        with front_running(*arguments, env=home) as (process, _):
            while not front.exists():
                assert process.poll() is None
                await asyncio.sleep(0.02)
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(front))) as client:
                forged = {
                    "X-Forwarded-For": "192.0.2.1",
                    "X-Forwarded-Proto": "https",
                    "X-Forwarded-Host": "evil.example",
                }
                answer = await client.get("http://example.org/", headers=forged)
    assert answer.status_code == 200
    address, scheme, host = answer.text.split(" ")
    assert (address != "192.0.2.1", scheme, host) == (True, "http", "example.org")
