"""Exported Apps under servers of ASGI: uvicorn, hypercorn with HTTP/2, granian, Mangum; the same answers as ours.

Each test is skipped where its server is missing; ``nox -s exported`` has them all.
"""

import asyncio
import base64
import importlib.util
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
import websockets

from aiohttpd.testing import running
from examples.notes import make_app

from ..support.exported_site import EXPORTED_EXAMPLES, exported_application, site
from ..support.places import ROOT
from ..support.programs import Program, program
from ..support.waiting import BOUND, until

SITE = "tests.support.exported_site:exported_application"
NOTES = "tests.support.exported_notes:exported_notes"


def needs(*modules: str) -> Any:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed: nox -s exported")


SERVERS = [
    pytest.param("uvicorn", marks=needs("uvicorn")),
    pytest.param("hypercorn", marks=needs("hypercorn")),
    pytest.param("hypercorn-h2", marks=needs("hypercorn", "h2")),
    pytest.param("granian", marks=needs("granian")),
]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def is_open(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@asynccontextmanager
async def served(kind: str, folder: Path, target: str = SITE) -> AsyncIterator[tuple[httpx.AsyncClient, Program]]:
    """An exported App under another server, and a client for it."""
    options: dict[str, Any] = {}
    scheme = "http"
    if kind == "uvicorn":
        command = ["-m", "uvicorn", target, "--port", "0", "--lifespan", "on"]
    elif kind == "granian":
        port = free_port()
        command = ["-m", "granian", "--interface", "asgi", "--port", str(port), "--loop", "asyncio", target]
    else:
        command = ["-m", "hypercorn", target, "-w", "0", "-b", "127.0.0.1:0", "--keep-alive", "600"]
        if kind == "hypercorn-h2":
            authority = trustme.CA()
            certificate = authority.issue_cert("127.0.0.1")
            certificate.private_key_pem.write_to_path(folder / "key.pem")
            for number, pem in enumerate(certificate.cert_chain_pems):
                pem.write_to_path(folder / "cert.pem", append=number > 0)
            authority.cert_pem.write_to_path(folder / "ca.pem")
            command += ["--certfile", str(folder / "cert.pem"), "--keyfile", str(folder / "key.pem")]
            import ssl

            options = {"verify": ssl.create_default_context(cafile=str(folder / "ca.pem")), "http2": True}
            scheme = "https"
    async with program(ROOT, *command) as running_program:
        if kind == "granian":
            await until(lambda: is_open(port), BOUND)
        else:
            port = int((await running_program.says(r"[Rr]unning on https?://127\.0\.0\.1:(\d+)"))[1])
        async with httpx.AsyncClient(base_url=f"{scheme}://127.0.0.1:{port}", timeout=BOUND, **options) as client:
            yield client, running_program


BIG = bytes(range(256)) * 4096

# What is asked for: method, path, and more for the client.
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/examples/http_get/a%20b?foo=bar&x=%C3%A4", {}),
    ("GET", "/examples/http_concurrency/", {}),
    ("GET", "/examples/http_errors/", {}),
    ("GET", "/examples/http_send_header/", {}),
    ("HEAD", "/examples/http_send_header/", {}),
    ("GET", "/examples/embedded/", {}),
    ("POST", "/examples/http_post/", {"data": {"name": "dhellmann", "foo": "bär"}}),
    ("POST", "/examples/http_post/", {"data": {"name": "a"}, "files": {"datafile": ("a.txt", b"\0\r\n--x" * 100_000)}}),
    ("POST", "/examples/http_post/", {"json": {"wrong": "type"}}),
    ("GET", "/examples/sse_clock/", {}),
    ("HEAD", "/examples/sse_clock/", {}),
    ("GET", "/examples/websocket_chat/", {}),
    ("GET", "/examples/websocket_chat/chat", {}),
    ("GET", "/streams", {}),
    ("HEAD", "/streams", {}),
    ("GET", "/small", {"headers": {"Accept-Encoding": "gzip"}}),
    ("POST", "/streams", {"content": BIG}),
    ("POST", "/streams", {"content": b""}),
    ("DELETE", "/streams", {}),
    ("PATCH", "/streams", {}),
    ("OPTIONS", "/streams", {}),
    ("POST", "/plain", {"content": BIG}),
    ("GET", "/old/a?b", {}),
    ("POST", "/old/", {"content": BIG}),
    ("GET", "/fails", {}),
    ("POST", "/wsgi/a%20b", {"content": b"wsgi"}),
    ("GET", "/files/file_cases.jsonl", {}),
    ("GET", "/files/file_cases.jsonl", {"headers": {"Range": "bytes=100-199"}}),
    ("GET", "/files/file_cases.jsonl", {"headers": {"Range": "bytes=0-9,20-29"}}),
    ("GET", "/files/file_cases.jsonl", {"headers": {"Range": "bytes=999999999-"}}),
    ("HEAD", "/files/file_cases.jsonl", {}),
    ("GET", "/files/../pyproject.toml", {}),
    ("GET", "/files/", {}),
    ("GET", "/files", {}),
    ("GET", "/nowhere", {}),
]
THEIRS = {"date", "server", "connection", "keep-alive", "transfer-encoding"}  # what a server says for itself


def fields(response: httpx.Response) -> list[tuple[str, str]]:
    """The fields of an answer that are not the server's own."""
    return sorted((name, value) for name, value in response.headers.multi_items() if name not in THEIRS)


def content(path: str, response: httpx.Response) -> Any:
    """The content, without what differs from request to request."""
    text = response.text
    if path.startswith("/examples/http_get/"):
        lines = [line.lower() for line in text.split("\r\n")]
        varies = re.compile(r"client_address|host=|user-agent=|connection=")
        return sorted(line for line in lines if not varies.match(line))
    if path.startswith(("/examples/http_concurrency", "/examples/http_post")):
        return re.sub(r"\d+", "N", text)
    if response.headers.get("content-type", "").startswith("multipart/byteranges"):
        return re.sub(r"--\w+", "--boundary", text)
    return response.content


def length(response: httpx.Response) -> str | None:
    return response.headers.get("content-length")


@pytest.mark.parametrize("kind", SERVERS)
async def test_the_same_answers_as_ours(kind: str, tmp_path: Path) -> None:
    ours: list[httpx.Response] = []
    async with running(site) as server, httpx.AsyncClient(base_url=server.url, timeout=BOUND) as client:
        for method, path, more in REQUESTS:
            ours.append(await client.request(method, path, **more))
    async with served(kind, tmp_path) as (client, _):
        for (method, path, more), own in zip(REQUESTS, ours, strict=True):
            got = await client.request(method, path, **more)
            case = f"{method} {path}"
            assert got.status_code == own.status_code, case
            assert got.http_version == ("HTTP/2" if kind == "hypercorn-h2" else "HTTP/1.1")
            assert content(path, got) == content(path, own), case
            varies = {"content-length"} if path.startswith(("/examples/http_", "/old/")) else set()
            varies |= {"upgrade"} if kind == "hypercorn-h2" else set()  # HTTP/2 has no such field
            varies |= {"last-modified"} if "send_header" in path else set()
            if "byteranges" in own.headers.get("content-type", ""):
                varies |= {"content-type", "content-length"}
            expected = [pair for pair in fields(own) if pair[0] not in varies]
            assert [pair for pair in fields(got) if pair[0] not in varies] == expected, case
    assert {path.split("/")[2] for _, path, _ in REQUESTS if path.startswith("/examples/")} == set(EXPORTED_EXAMPLES)


@pytest.mark.parametrize("kind", SERVERS)
async def test_events_and_clients_that_go(kind: str, tmp_path: Path) -> None:
    async with served(kind, tmp_path) as (client, outside):
        for _ in range(3):
            async with client.stream("GET", "/examples/sse_clock/events") as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "event: tick"
                assert (await anext(lines)).startswith("data: ")
        assert (await client.get("/examples/sse_clock/")).status_code == 200
    assert not [line for line in outside.lines if "Traceback" in line]


@pytest.mark.parametrize("kind", [kind for kind in SERVERS if kind.values != ("hypercorn-h2",)])
async def test_websockets(kind: str, tmp_path: Path) -> None:
    async with served(kind, tmp_path) as (client, outside):
        url = str(client.base_url.join("/")).replace("http", "ws", 1).rstrip("/")
        async with websockets.connect(f"{url}/echo", subprotocols=[websockets.Subprotocol("echo")]) as socket:
            assert socket.subprotocol == "echo"
            for message in ("hello ä", b"\0\xff", "x" * 200_000, ""):
                await socket.send(message)
                assert await socket.recv() == message
        assert socket.close_code == 1000
        chat = f"{url}/examples/websocket_chat/chat"
        async with websockets.connect(chat) as one, websockets.connect(chat) as two:
            await one.send("to all")
            assert await one.recv() == await two.recv()
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{url}/nowhere")
        assert refused.value.response.status_code in (403, 404)  # with and without denial responses
    assert not [line for line in outside.lines if "Traceback" in line]


async def use_notes(client: httpx.AsyncClient) -> list[Any]:
    """Do all that examples/notes is for: pages, forms, sessions, attachments, JSON, events, static files."""
    found: list[Any] = []

    async def ask(method: str, path: str, **more: Any) -> httpx.Response:
        got = await client.request(method, path, **more)
        varies = {"x-request-id", "etag", "last-modified"}
        text = repr([method, path, got.status_code, [p for p in fields(got) if p[0] not in varies], got.content])
        text = text.replace(str(client.base_url.netloc, "ascii"), "HOST")
        if client.base_url.scheme == "https":
            text = text.replace("Path=/; Secure; ", "Path=/; ")
        found.append(re.sub(r"(session=)[^;]+|(/files/)[-\w]{16,}|\d\d:\d\d:\d\d", r"\1\2*", text))
        return got

    ada = {"name": "ada", "password": "correct horse"}
    await ask("GET", "/")
    await ask("GET", "/sign-in")
    await ask("POST", "/sign-in", data=ada)
    assert (await ask("POST", "/sign-in", data=ada | {"new": "1"})).headers["Location"] == "/"
    await ask("POST", "/sign-in", data=ada | {"new": "1"})
    await ask("POST", "/", data={"title": "x"}, headers={"Origin": "https://evil.example"})
    origin = {"Origin": str(client.base_url).rstrip("/")}
    note = (await ask("POST", "/", data={"title": "<Tea>", "text": "é"}, headers=origin)).headers["Location"]
    attachment = bytes(range(256)) * 8192
    await ask("POST", f"{note}/files", files={"file": ("../tea <1>.bin", attachment)})
    page = await ask("GET", note)
    file = page.text.partition('href="')[2].partition('href="/files/')[2].partition('"')[0]
    whole = await ask("GET", f"/files/{file}")
    assert whole.content == attachment
    await ask("HEAD", f"/files/{file}")
    await ask("GET", f"/files/{file}", headers={"Range": "bytes=-10"})
    same = {"If-None-Match": whole.headers["ETag"]}
    assert (await ask("GET", f"/files/{file}", headers=same)).status_code == 304
    async with client.stream("GET", "/api/changes") as stream:
        await ask("POST", "/api/notes", json={"title": "Coffee", "text": "black"})
        lines = stream.aiter_lines()
        found.append([await anext(lines) for _ in range(3)])
    await ask("GET", "/api/notes?limit=1")
    await ask("GET", "/api/notes?limit=1000")
    await ask("PUT", "/api/notes/2", json={"title": 7})
    await ask("PUT", "/api/notes/2", json={"title": "Milk"})
    await ask("DELETE", "/api/notes/2")
    await ask("GET", "/api/notes/2")
    await ask("GET", "/static/notes.css", headers={"Accept-Encoding": "identity"})
    await ask("POST", f"{note}/delete")
    await ask("GET", f"/files/{file}")
    await ask("POST", "/sign-out")
    assert (await ask("GET", "/")).headers["Location"] == "/sign-in"
    return found


@pytest.mark.parametrize("kind", SERVERS)
async def test_the_application_of_the_examples(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES_FOLDER", str(tmp_path / "theirs"))
    async with running(make_app(tmp_path / "ours", "a secret for tests, 32 characters")) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=BOUND) as client:
            ours = await use_notes(client)
    async with served(kind, tmp_path, NOTES) as (client, outside):
        theirs = await use_notes(client)
    for own, got in zip(ours, theirs, strict=True):
        assert got == own
    assert not [line for line in outside.lines if "Traceback" in line]


def test_each_example_is_exported() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert names == set(EXPORTED_EXAMPLES)
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {"notes", "deploy"}  # deploy has no Apps but Ray's: nox -s ray


@needs("mangum")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mangum() -> None:
    from mangum import Mangum

    def event(method: str, path: str, body: bytes = b"", **headers: str) -> dict[str, Any]:
        return {
            "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
            "headers": {"host": "test", **headers}, "isBase64Encoded": True,
            "body": base64.b64encode(body).decode(),
            "requestContext": {
                "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
            },
        }  # fmt: skip

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        lambda_handler = Mangum(exported_application, lifespan="auto")
        found: Any = lambda_handler(event("POST", "/plain", b"\0abc"), {})
        assert found["statusCode"] == 201
        assert base64.b64decode(found["body"]) == b"\0abc"
        found = lambda_handler(event("GET", "/files/file_cases.jsonl", range="bytes=0-9"), {})
        assert found["statusCode"] == 206
        found = lambda_handler(event("GET", "/old/x"), {})
        assert found["body"] == "GET /x"
        assert lambda_handler(event("GET", "/nowhere"), {})["statusCode"] == 404
    finally:
        asyncio.set_event_loop(None)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def test_a_client_of_httpx_without_a_server() -> None:
    transport = httpx.ASGITransport(exported_application)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        assert (await client.post("/plain", content=b"abc")).content == b"abc"
        assert (await client.get("/examples/embedded/")).text == "Nobody counts the seconds here.\n"


if sys.platform == "win32":
    pytest.skip("programs are ended by signals here", allow_module_level=True)
