"""The command and `run` with applications of ASGI: what they are, where they are, their lifespans and their ends."""

from pathlib import Path

import httpx
import pytest

from ..support.commands import refused
from ..support.programs import Program, program, serve_command

PROGRAM = """
import os, sys

async def answer(send, body):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})

def app_with(word):
    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            print(word, "begins", file=sys.stderr)
            scope["state"]["word"] = word
            await send({"type": "lifespan.startup.complete"})
            await receive()
            print(word, "ends", file=sys.stderr)
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await answer(send, f"{scope['state'].get('word')} {scope['path']} {scope['root_path']}".encode())
    return app

app = app_with("app")

def make():
    return app_with("made")

def breaks():
    raise KeyError("on purpose")

def other(*arguments):
    return app(*arguments)

async def fails(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database here"})

async def leaves(scope, receive, send):
    sys.exit(7)

async def bare(scope, receive, send):
    assert scope["type"] == "http"
    await answer(send, b"bare")

def asgi2(scope):
    return None

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [environ["SCRIPT_NAME"].encode() + b" " + environ["PATH_INFO"].encode()]

if __name__ == "__main__":
    import aiohttpd
    aiohttpd.run(eval(sys.argv[1]), port=0, **eval(sys.argv[2]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "code").mkdir()
    (tmp_path / "shop.py").write_text(PROGRAM)
    (tmp_path / "code" / "stall.py").write_text(PROGRAM)
    return tmp_path


async def told(server: Program, path: str = "/x") -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://127.0.0.1:{await server.port()}{path}")).text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["shop:app"], "app /x "),
        (["shop.py:app", "--interface", "asgi"], "app /x "),
        (["shop:app", "--root-path", "/api"], "app /api/x /api"),
        (["shop:make", "--factory"], "made /x "),
        (["shop:other", "--interface", "asgi"], "app /x "),
        (["stall:app", "--app-dir", "code"], "app /x "),
        (["shop:app", "--lifespan", "off"], "None /x "),
        (["shop:app", "--lifespan", "on"], "app /x "),
        (["shop:bare"], "bare"),
        (["shop:wsgi", "--interface", "wsgi", "--root-path", "/api"], "/api /x"),
        (["shop:wsgi", "--wsgi"], " /x"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_what_is_served(folder: Path, arguments: list[str], text: str) -> None:
    async with serve_command(folder, *arguments) as server:
        assert await told(server) == text
        assert await server.stops() == 0


async def test_workers(folder: Path) -> None:
    async with serve_command(folder, "shop:make", "--factory", "--workers", "2") as server:
        assert await told(server) == "made /x "
        await server.says("^made begins", 2)
        assert await server.stops() == 0
    assert server.lines.count("made begins") == server.lines.count("made ends") == 2


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]])
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["shop:fails"], "aiohttpd: the application has failed to start: no database here"),
        (["shop:bare", "--lifespan", "on"], "aiohttpd: the application has failed to start: AssertionError"),
    ],
)
async def test_a_startup_that_fails(folder: Path, arguments: list[str], text: str, workers: list[str]) -> None:
    async with serve_command(folder, *arguments, *workers) as server:
        assert await server.ends() == 3
    assert text in "\n".join(server.lines)
    assert "Traceback" not in "\n".join(server.lines)


@pytest.mark.parametrize(
    ("app", "options"),
    [("app", "{}"), ("'shop:app'", "{'workers': 1}"), ("app", "{'root_path': '/api'}"), ("'shop:app'", "{}")],
)
async def test_run(folder: Path, app: str, options: str) -> None:
    async with program(folder, "shop.py", app, options) as server:
        assert (await told(server)).startswith("app /")
        assert await server.stops() == 0
    assert "app ends" in server.lines


async def test_a_startup_that_ends_the_program(folder: Path) -> None:
    """No line of asyncio says that nobody has retrieved the SystemExit."""
    async with serve_command(folder, "shop:leaves") as server:
        assert await server.ends() == 7
    assert server.lines == []


async def test_run_with_a_startup_that_fails(folder: Path) -> None:
    for options in ("{}", "{'workers': 1}"):
        async with program(folder, "shop.py", "fails", options) as server:
            assert await server.ends() == 3
        assert "aiohttpd: the application has failed to start: no database here" in server.lines


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["shop.py:asgi2"], "looks like an ASGI 2 application (scope), and those are not served: asgiref."),
        (["shop.py:app", "--interface", "wsgi"], "it is asynchronous"),
        (["shop.py:app", "--interface", "handler"], "looks like an ASGI application"),
        (["shop.py:wsgi", "--interface", "asgi"], "shop.py:wsgi looks like a WSGI application"),
        (["shop.py:wsgi"], "shop.py:wsgi looks like a WSGI application (environ, start_response): add --wsgi"),
        (["shop.py:PROGRAM", "--factory"], "has no 'PROGRAM'"),
        (["shop.py:sys", "--factory"], "shop.py:sys is no factory"),
        (["shop.py:app", "--lifespan", "shop.py:nothing"], "has no 'nothing'"),
        (["shop.py:app", "--lifespan", "shop.py:sys"], "is no lifespan"),
        (["shop.py:app", "--lifespan", "shop.py:app"], "it has to take the server as its only argument"),
        (["shop.py:app", "--lifespan", "maybe"], "'maybe'"),
        (["shop.py:app", "--root-path", "api"], "--root-path is a path as it stands in URLs"),
        (["--factory"], "--factory needs an application as TARGET: module:app or path/to/file.py:app"),
        (["--interface", "asgi"], "--interface asgi needs an application"),
        (["shop.py:app", "--interface", "http"], "'http' is not one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused(folder: Path, arguments: list[str], text: str) -> None:
    assert text in refused(folder, *arguments)


async def test_a_factory_that_fails(folder: Path) -> None:
    async with serve_command(folder, "shop.py:breaks", "--factory") as server:
        assert await server.ends() == 1
    assert server.lines[-1] == "KeyError: 'on purpose'"


async def test_by_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FACTORY", "1"), ("ROOT_PATH", "/api"), ("APP_DIR", "code"), ("INTERFACE", "asgi")):
        monkeypatch.setenv(f"AIOHTTPD_{name}", value)
    async with serve_command(folder, "stall:make") as server:
        assert await told(server) == "made /api/x /api"
        assert await server.stops() == 0
    assert not any("no option" in line for line in server.lines)
