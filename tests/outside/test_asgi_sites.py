"""Sites by frameworks of others give here, to the byte, what they give on uvicorn; but for Date, Server and framing."""

import asyncio
import importlib.util
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

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
EXTENDED = [
    *[ask("GET", "/count")] * 2,
    ask("GET", "/count", headers={"Origin": "https://a.example"}),
    ask("GET", "/count", headers={"Origin": "https://b.example"}),
    ask("OPTIONS", "/count", headers={"Origin": "https://a.example", "Access-Control-Request-Method": "PUT"}),
    *[
        ask(method, "/file", headers={"Accept-Encoding": codings})
        for codings in ("br", "gzip", "br, gzip", "identity")
        for method in ("GET", "HEAD")
    ],
    ask("GET", "/file", headers={"Range": "bytes=1-9"}),
    ask("GET", "/events"),
    ask("GET", "/old/hello/a%20b?c=%C3%A9"),
    ask("POST", "/old/hello/a", data={"name": "é"}),
    ask("GET", "/old/lines"),
    ask("GET", "/old/none"),
]
FALCON = [
    ask("GET", "/thing?a=1&b=%C3%A9"),
    ask("GET", "/thing/7"),
    ask("HEAD", "/thing/7"),
    ask("OPTIONS", "/thing"),
    ask("DELETE", "/thing"),
    ask("PATCH", "/thing"),
    ask("POST", "/thing", content=b"x" * (2 * MIB)),
    ask("PUT", "/thing", data={"name": "é"}, files=FILE),
    ask("GET", "/stream"),
    ask("HEAD", "/stream"),
    ask("GET", "/events"),
    ask("GET", "/static/quart_site.py"),
    ask("GET", "/static/quart_site.py", headers={"Range": "bytes=3-9"}),
]
BLACKSHEEP = [
    ask("GET", "/?a=1&a=2"),
    ask("POST", "/form", data={"name": "é"}),
    ask("PUT", "/raw", content=b"x" * (2 * MIB)),
    ask("GET", "/stream"),
    ask("GET", "/static/quart_site.py"),
    ask("GET", "/none"),
]
SANIC = [
    ask("GET", "/?a=1&a=2"),
    ask("POST", "/form", data={"name": "é"}, files=FILE),
    ask("PUT", "/raw", content=b"x" * (2 * MIB)),
    ask("GET", "/stream"),
    ask("GET", "/source"),
    ask("PATCH", "/"),
]
GRAPHQL = [
    ask("POST", "/graphql", json={"query": '{ hello(name: "é") }'}),
    ask("GET", "/graphql?query={hello}"),
    ask("POST", "/graphql", json={"query": "{ none }"}),
    ask("GET", "/graphql", headers={"Accept": "text/html"}),
    ask(
        "POST",
        "/graphql",
        data={
            "operations": '{"query": "mutation($f: Upload!) { store(file: $f) }", "variables": {"f": null}}',
            "map": '{"file": ["variables.f"]}',
        },
        files=FILE,
    ),
]
CHANNELS = [ask("GET", "/?a=%C3%A9"), ask("POST", "/", content=b"x" * MIB), ask("GET", "/none")]

# What needs more than its name: modules.
_NEEDS = {
    "starlette": ["python_multipart"],
    "fastapi": ["python_multipart"],
    "extended": ["starlette", "flask", "a2wsgi", "brotli_asgi", "sse_starlette", "itsdangerous"],
    "graphql": ["strawberry", "fastapi", "python_multipart"],
    "channels": ["django"],
    "socketio": ["socketio", "aiohttp"],
}


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
    text = re.sub(r"(session)=[^;]+", r"\1=TOKEN", text)
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


def need(framework: str, *modules: str) -> None:
    more = _NEEDS.get(framework, [])
    for module in [*([] if framework in ("extended", "graphql") else [framework]), *more, *modules]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed: nox -s asgi has it")


SITES_OF = {
    "starlette": STARLETTE,
    "fastapi": FASTAPI,
    "litestar": LITESTAR,
    "quart": QUART,
    "extended": EXTENDED,
    "falcon": FALCON,
    "blacksheep": BLACKSHEEP,
    "sanic": SANIC,
    "graphql": GRAPHQL,
    "channels": CHANNELS,
}


@pytest.mark.parametrize(("framework", "asks"), SITES_OF.items(), ids=SITES_OF)
@pytest.mark.timeout(120)
async def test_the_same_as_on_uvicorn(framework: str, asks: list[Ask]) -> None:
    need(framework, "uvicorn")
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


_TALKING = ["starlette", "fastapi", "litestar", "quart", "extended", "falcon", "blacksheep", "sanic", "channels"]


@pytest.mark.parametrize("framework", _TALKING)
@pytest.mark.timeout(120)
async def test_websockets(framework: str) -> None:
    need(framework, "uvicorn")
    assert await talk("aiohttpd", framework) == await talk("uvicorn", framework)


async def subscribe(server: str) -> list[Any]:
    """Subscriptions by both protocols of GraphQL."""
    found: list[Any] = []
    async with site(server, "graphql") as (run, _):
        for protocol, begin in (("graphql-transport-ws", "subscribe"), ("graphql-ws", "start")):
            url = f"ws://127.0.0.1:{run.port}/graphql"
            async with connect(url, subprotocols=[protocol], proxy=None) as client, asyncio.timeout(20):  # type: ignore[list-item]
                await client.send(json.dumps({"type": "connection_init"}))
                found.append(await client.recv())
                query = {"query": "subscription { count(to: 3) }"}
                await client.send(json.dumps({"id": "1", "type": begin, "payload": query}))
                while "complete" not in (message := str(await client.recv())):
                    if '"ka"' not in message:
                        found.append(message)
    return found


@pytest.mark.timeout(120)
async def test_subscriptions() -> None:
    need("graphql", "uvicorn")
    ours = await subscribe("aiohttpd")
    assert len(ours) == 8
    assert ours == await subscribe("uvicorn")


async def use_socketio(server: str, transports: list[str]) -> list[Any]:
    """Connect by some transports, say things, hear them again."""
    import socketio

    heard: list[Any] = []
    async with site(server, "socketio") as (run, _), asyncio.timeout(60):
        url = f"http://127.0.0.1:{run.port}"
        client = socketio.AsyncClient()
        client.on("said", heard.append)
        await client.connect(url, auth={"who": "ada"}, transports=transports)
        things: list[Any] = ["é", ["a", "b"], b"\0" * 300_000, "x" * 300_000]
        answers = [await client.call("say", thing, timeout=20) for thing in things]
        while len(heard) < len(things):
            await asyncio.sleep(0.01)
        await asyncio.sleep(1.5)  # past a ping
        assert client.connected
        answers.append(client.transport())
        await client.disconnect()
        with pytest.raises(socketio.exceptions.ConnectionError) as refused:
            await client.connect(url, auth={"who": "nobody"}, transports=transports)
        await client.shutdown()
        return [heard == things, answers, str(refused.value)]


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="-".join)
@pytest.mark.timeout(120)
async def test_socketio(transports: list[str]) -> None:
    need("socketio", "uvicorn")
    ours = await use_socketio("aiohttpd", transports)
    assert ours[0]
    assert ours == await use_socketio("uvicorn", transports)


async def chat(server: str) -> list[Any]:
    """Two clients of a room of Channels, and clients that are refused."""
    found: list[Any] = []
    async with site(server, "channels") as (run, _), asyncio.timeout(30):
        url = f"ws://127.0.0.1:{run.port}"
        origin: Any = "https://a.example"
        room = f"{url}/chat/tea"
        async with connect(room, origin=origin, proxy=None) as one, connect(room, origin=origin, proxy=None) as two:
            for number in range(10):
                await one.send(json.dumps({"number": number}))
                found.append([await one.recv(), await two.recv()])
        for path, origin in (("/talk?deny", None), ("/chat/tea", "https://evil.example")):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url + path, proxy=None, origin=origin):
                    raise AssertionError("it is opened")
            found.append(refused.value.response.status_code)
    return found


@pytest.mark.timeout(120)
async def test_channels() -> None:
    need("channels", "uvicorn")
    assert await chat("aiohttpd") == await chat("uvicorn")


@pytest.mark.parametrize("framework", [*SITES_OF, "socketio"])
@pytest.mark.timeout(120)
async def test_it_ends_well(framework: str) -> None:
    need(framework)
    async with site("aiohttpd", framework) as (run, client):
        assert (await client.get("/nothing-is-here")).status_code == 404
        assert await run.stops() == 0
