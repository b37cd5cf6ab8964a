"""``aiohttpd faults``, ``record`` and ``replay``, as programs; the site of the faults, path by path."""

import json
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from aiohttpd.testing import TestServer
from aiohttpd.testing.fault_site import FAULTS, TLS_FAULTS, WEBSOCKET_FAULTS, fault_site

from ..support.commands import run
from ..support.programs import program
from ..support.raw_peer import RawPeer
from ..support.websocket_clients import close_frame, opening


@pytest.fixture(scope="module")
def site() -> Iterator[TestServer]:
    with TestServer(fault_site()) as server:
        yield server


def found(site: TestServer) -> dict[str, str]:
    listed = httpx.get(site.url, headers={"Accept": "application/json"}).json()
    return {fault["name"]: fault["url"] for fault in listed["faults"]}


def test_each_fault_is_listed(site: TestServer) -> None:
    page = httpx.get(site.url)
    assert page.headers["Content-Type"].startswith("text/html")
    for fault in (*FAULTS, *WEBSOCKET_FAULTS):
        assert f'href="{fault.path}"' in page.text
    assert {f"tls/{name}" for name in TLS_FAULTS} <= set(found(site))


@pytest.mark.parametrize("path", [fault.path for fault in FAULTS])
def test_each_path_answers_otherwise_than_the_right_one(site: TestServer, path: str) -> None:
    def seen(path: str) -> tuple[bytes, str]:
        with socket.create_connection((site.host, site.port)) as sock:
            sock.settimeout(0.2)
            sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            got, end = b"", "FIN"
            try:
                while piece := sock.recv(1 << 20):
                    got += piece
                    if len(got) > 10000:
                        break
                if path == "/close/on-reuse":
                    sock.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
            except ConnectionResetError:
                end = "RST"
            except TimeoutError:
                end = "open"
            if path == "/close/on-reuse":
                sock.sendall(b"GET /ok HTTP/1.1\r\nHost: a\r\n\r\n")
                end = "FIN" if not sock.recv(1) else "answered"
        lines = [line for line in got.split(b"\r\n") if not line.startswith(b"Date: ")]
        return b"\r\n".join(lines), end

    right = seen("/ok")
    assert right[1] == "open"
    assert right[0].endswith(b"0123456789" * 10)
    if path not in ("/ok", "/drip"):  # which differs in time only
        assert seen(path) != right


def test_each_websocket_is_otherwise_than_the_right_one(site: TestServer) -> None:
    def seen(path: str) -> tuple[bytes, str]:
        peer = RawPeer(site)
        peer.sock.settimeout(0.2)
        peer.send(opening("Sec-WebSocket-Extensions: permessage-deflate", path=path) + close_frame(1000))
        try:
            return peer.read(10_000), "FIN"
        except TimeoutError:
            return peer.sock.recv(0), "open"
        except ConnectionResetError:
            return b"", "RST"
        finally:
            peer.sock.close()

    right = seen("/websocket/ok")
    assert right[0].endswith(b"\r\n\r\n\x81\x05hello\x88\x02\x03\xe8")
    assert right[1] == "FIN"
    for fault in WEBSOCKET_FAULTS:
        if fault.path not in ("/websocket/ok", "/websocket/drip"):
            assert seen(fault.path) != right, fault.path


def test_tls(site: TestServer) -> None:
    listed = httpx.get(site.url, headers={"Accept": "application/json"}).json()
    context = ssl.create_default_context(cafile=listed["ca_file"])
    urls = found(site)
    with httpx.Client(verify=context) as client:
        assert client.get(urls["tls/good"]).status_code == 200
        assert client.get(urls["tls/no_close_notify"]).status_code == 200  # httpx does not look for the end of TLS
        for name in ("expired", "wrong_name", "unknown_authority", "reset"):
            with pytest.raises(httpx.ConnectError):
                client.get(urls[f"tls/{name}"])
        with pytest.raises(httpx.ConnectError):
            client.get(urls["refused"])


async def test_the_command_faults(tmp_path: Path) -> None:
    async with program(tmp_path, "-m", "aiohttpd", "faults", "--port", "0") as started:
        port = await started.port()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/truncate/in-body")
            assert (await client.get("/none")).status_code == 404
        started.send(signal.SIGINT)
        await started.ends()


async def test_the_commands_record_and_replay(tmp_path: Path) -> None:
    folder = str(tmp_path / "tape")
    async with TestServer() as server:
        server.expect("GET", "/a").respond(text="hello")
        async with program(
            tmp_path, "-m", "aiohttpd", "record", server.url, folder, "-p", "0", "--secret", "x-mine"
        ) as recorder:
            port = await recorder.port()
            async with httpx.AsyncClient(headers={"X-Mine": "hidden"}) as client:
                assert (await client.get(f"http://127.0.0.1:{port}/a")).text == "hello"
            recorder.send(signal.SIGINT)
            await recorder.ends()
    line = json.loads((tmp_path / "tape" / "exchanges.jsonl").read_text())
    assert "hidden" not in str(line)
    async with program(tmp_path, "-m", "aiohttpd", "replay", folder, "-p", "0") as player:
        port = await player.port()
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/a")).text == "hello"
        player.send(signal.SIGINT)
        await player.ends()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(("record", "example.org", "tape"), "is no URL of a server"), (("replay", "nothing"), "aiohttpd record URL")],
)
def test_mistakes(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == 2
    assert text in done.stderr
    assert "Traceback" not in done.stderr
