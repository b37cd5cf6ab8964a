"""Sites by frameworks of others give here, to the byte, what they give on uvicorn; but for Date, Server and framing."""

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from ..support.asgi_programs import ServerRun, asgi_server

MIB = 1024 * 1024
SITES = f"{__package__}.asgi_sites"
# The hop and the moment; whether a length is told or chunks are sent is for the server to decide.
_OF_THE_SERVER = {"date", "expires", "server", "connection", "transfer-encoding", "content-length", "keep-alive"}

Ask = tuple[str, str, dict[str, Any]]
FILE = {"file": ("a.txt", b"x" * 1000, "text/plain")}


def ask(method: str, path: str, **more: Any) -> Ask:
    return method, path, more


STARLETTE = [
    ask("GET", "/?a=1&b=%C3%A9"),
    ask("HEAD", "/"),
    ask("GET", "/items/12"),
    ask("DELETE", "/items/12"),
    ask("PUT", "/items/12"),
    ask("OPTIONS", "/items/12"),
    ask("GET", "/items/x"),
    ask("POST", "/upload", content=b"x" * (3 * MIB)),
    ask("POST", "/form", data={"name": "é"}, files=FILE),
    ask("GET", "/file"),
    ask("HEAD", "/file"),
    ask("GET", "/file", headers={"Range": "bytes=10-19"}),
    ask("GET", "/file", headers={"Range": "bytes=0-1,5-6"}),
    ask("GET", "/file", headers={"Range": "bytes=999999-"}),
    ask("GET", "/static/quart_site.py"),
    ask("GET", "/static/none"),
    ask("GET", "/stream"),
    ask("HEAD", "/stream"),
    ask("GET", "/big"),
    ask("GET", "/big", headers={"Accept-Encoding": "identity"}),
    ask("GET", "/work?name=one"),
    ask("GET", "/done"),
    ask("GET", "/fails"),
    ask("GET", "/away"),
    ask("GET", "/breaks"),  # the last, since uvicorn closes the connection after it without a word
]
FASTAPI = [
    ask("GET", "/notes"),
    ask("POST", "/notes/1", json={"text": "é"}),
    ask("POST", "/notes/1", json={"text": "é"}, headers={"Authorization": "Bearer secret"}),
    ask("POST", "/notes/x", json={"stars": "many"}, headers={"Authorization": "Bearer secret"}),
    ask("POST", "/notes/2", content=b"{", headers={"Authorization": "Bearer secret", "Content-Type": "text/json"}),
    ask("GET", "/notes/1"),
    ask("GET", "/notes/7"),
    ask("PUT", "/raw", content=b"x" * (5 * MIB)),
    ask("POST", "/files", files=[("files", ("a", b"1")), ("files", ("b", b"x" * MIB))]),
    ask("GET", "/source"),
    ask("GET", "/lines"),
    ask("POST", "/later/one"),
    ask("GET", "/done"),
    ask("GET", "/openapi.json"),
    ask("GET", "/docs"),
]
LITESTAR = [
    ask("GET", "/?q=x"),
    ask("POST", "/orders", json={"what": "tea", "count": 2}),
    ask("POST", "/orders", json={"what": "tea", "count": "two"}),
    ask("POST", "/raw", content=b"x" * MIB),
    ask("GET", "/missing"),
    ask("GET", "/stream"),
    ask("GET", "/events"),
    ask("DELETE", "/"),
]
QUART = [
    ask("GET", "/?a=1"),
    ask("POST", "/form", data={"name": "é"}, files=FILE),
    ask("PUT", "/raw", content=b"x" * (2 * MIB)),
    ask("GET", "/stream"),
    ask("GET", "/teapot"),
    ask("HEAD", "/"),
]


def seen(answer: httpx.Response) -> list[Any]:
    """What is compared of an answer."""
    names = {"content-length"} & set(answer.headers) if answer.request.method == "HEAD" else set()
    fields = [(name, value) for name, value in answer.headers.multi_items() if name not in _OF_THE_SERVER - names]
    return [answer.status_code, sorted(fields), answer.content]


def neutral(thing: list[Any], url: str) -> list[Any]:
    """Without what is random: tokens against forgery, boundaries, the port, the moment of a session."""
    text = repr(thing).replace(url.removeprefix("http://"), "HOST")
    text = re.sub(r"(csrfmiddlewaretoken\\?[\"'] value=\\?[\"'])\w+", r"\1TOKEN", text)
    text = re.sub(r"(csrftoken|sessionid|messages)=[^;]+", r"\1=TOKEN", text)
    text = re.sub(r"expires=[^;]+", "expires=THEN", text)
    if boundary := re.search(r"boundary=(\w+)", text):
        text = text.replace(boundary[1], "BOUNDARY")
    return [text]


@asynccontextmanager
async def site(server: str, framework: str) -> AsyncIterator[tuple[ServerRun, httpx.AsyncClient]]:
    async with asgi_server(server, f"{SITES}.{framework}_site:app") as run:
        url = f"http://127.0.0.1:{run.port}"
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            async with asyncio.timeout(20):
                while True:
                    try:
                        await client.get("/nothing-is-here")
                        break
                    except httpx.TransportError:
                        assert run.process.returncode is None, run.log()
                        await asyncio.sleep(0.05)
            yield run, client


async def answers(server: str, framework: str, asks: list[Ask]) -> list[list[Any]]:
    async with site(server, framework) as (run, client):
        found = []
        for method, path, more in asks:
            answer = await client.request(method, path, **more)
            while path == "/done" and answer.content == b"[]":  # background tasks run after their answer
                answer = await client.request(method, path, **more)
            found.append(neutral(seen(answer), f"127.0.0.1:{run.port}"))
        return found


def need(*modules: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: nox -s asgi has it")


@pytest.mark.parametrize(
    ("framework", "asks"),
    [("starlette", STARLETTE), ("fastapi", FASTAPI), ("litestar", LITESTAR), ("quart", QUART)],
    ids=["starlette", "fastapi", "litestar", "quart"],
)
@pytest.mark.timeout(120)
async def test_the_same_as_on_uvicorn(framework: str, asks: list[Ask]) -> None:
    need(framework, "uvicorn", *(["python_multipart"] if framework in ("starlette", "fastapi") else []))
    ours, theirs = [await answers(server, framework, asks) for server in ("aiohttpd", "uvicorn")]
    for (method, path, _), mine, other in zip(asks, ours, theirs, strict=True):
        assert mine == other, (method, path)


async def visit_django(server: str) -> list[Any]:
    """Sign in to the admin, add a group, look at what is there."""
    found: list[Any] = []
    async with site(server, "django") as (run, client):

        async def visit(method: str, path: str, **more: Any) -> httpx.Response:
            answer = await client.request(method, path, **more)
            found.append(neutral(seen(answer), f"127.0.0.1:{run.port}"))
            return answer

        def token(answer: httpx.Response) -> str:
            match = re.search(r'csrfmiddlewaretoken" value="(\w+)"', answer.text)
            assert match is not None
            return match[1]

        assert (await visit("GET", "/admin/")).status_code == 302
        page = await visit("GET", "/admin/login/?next=/admin/")
        wrong = {"username": "root", "password": "wrong", "csrfmiddlewaretoken": token(page), "next": "/admin/"}
        page = await visit("POST", "/admin/login/", data=wrong)
        right = {**wrong, "password": "secret", "csrfmiddlewaretoken": token(page)}
        assert (await visit("POST", "/admin/login/", data=right)).status_code == 302
        assert "Site administration" in (await visit("GET", "/admin/")).text
        page = await visit("GET", "/admin/auth/group/add/")
        group = {"name": "readers", "csrfmiddlewaretoken": token(page)}
        assert (await visit("POST", "/admin/auth/group/add/", data=group)).status_code == 302
        assert "readers" in (await visit("GET", "/admin/auth/group/")).text
        assert len((await visit("GET", "/static/admin/css/base.css")).content) > 10_000
        await visit("GET", "/static/admin/none.css")
        assert (await visit("GET", "/stream")).content.count(b"part") == 5
        await visit("POST", "/body?a=%C3%A9", data={"b": "2"}, files=FILE)
        await visit("POST", "/admin/login/", data=wrong)
    return found


@pytest.mark.timeout(120)
async def test_django(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("django", "uvicorn")
    found: list[list[Any]] = []
    for server in ("aiohttpd", "uvicorn"):
        (tmp_path / server).mkdir()
        monkeypatch.setenv("DJANGO_FOLDER", str(tmp_path / server))
        found.append(await visit_django(server))
    for mine, other in zip(*found, strict=True):
        assert mine == other


async def talk(server: str, framework: str) -> list[Any]:
    """A conversation by WebSocket, its head and its end."""
    async with site(server, framework) as (run, _):
        url = f"ws://127.0.0.1:{run.port}/talk"
        async with connect(url, subprotocols=["other", "chat"], compression=None, proxy=None) as client:  # type: ignore[list-item]
            assert client.response is not None
            head = sorted(
                (name.lower(), value)
                for name, value in client.response.headers.raw_items()
                if name.lower() not in _OF_THE_SERVER | {"sec-websocket-accept", "upgrade"}
            )
            heard = []
            for text in ("hello", "é", "x" * 100_000):
                await client.send(text)
                heard.append(await client.recv())
            await client.close(4000, "enough")
            return [head, heard, client.close_code, client.close_reason]


@pytest.mark.parametrize("framework", ["starlette", "fastapi"])
@pytest.mark.timeout(120)
async def test_websockets(framework: str) -> None:
    need(framework, "uvicorn")
    assert await talk("aiohttpd", framework) == await talk("uvicorn", framework)


@pytest.mark.parametrize("framework", ["starlette", "fastapi", "litestar", "quart"])
@pytest.mark.timeout(120)
async def test_it_ends_well(framework: str) -> None:
    need(framework)
    async with site("aiohttpd", framework) as (run, client):
        assert (await client.get("/nothing-is-here")).status_code == 404
        assert await run.stops() == 0
