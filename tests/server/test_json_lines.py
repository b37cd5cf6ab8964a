"""Where the access log is JSON, each line of stderr is an object: messages, warnings and tracebacks, too."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from ..support.programs import WAIT, Program, program

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")

APP = """
import contextlib, logging, sys, threading, warnings
import aiohttpd

logging.basicConfig()

class Unfinished:
    def __del__(self):
        raise KeyError("unraisable")

def fail():
    raise OSError("of a thread")

class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        if self.path == "/fail":
            raise ValueError("of a handler")
        if self.path == "/warn":
            warnings.warn("warned\\ntwice", stacklevel=1)
            logging.warning('{"of": "a logger"}')
            print('{"an object": true}', file=sys.stderr)
            print('{no object', file=sys.stderr)
            self.log_message("mine %s", "own")
            thread = threading.Thread(target=fail)
            thread.start()
            thread.join()
            Unfinished()
        self.send_text("ok")

@contextlib.asynccontextmanager
async def lifespan(server):
    yield
    raise RuntimeError("the end")

@contextlib.asynccontextmanager
async def never(server):
    raise RuntimeError("the beginning")
    yield

if __name__ == "__main__":
    aiohttpd.run(Handler, port=0, access_log_format="json",
                 workers=int(sys.argv[1]) if sys.argv[1:] else None,
                 lifespan=globals()[sys.argv[2]] if sys.argv[2:] else None)
"""
JSON = ("--access-log-format", "json")
SERVE = ("-m", "aiohttpd", "serve", "app:Handler", "--port", "0", *JSON)
STARTS = {
    "serve": SERVE,
    "run": ("app.py",),
    "serve, workers": (*SERVE, "--workers", "1"),
    "run, workers": ("app.py", "1"),
}


def messages(server: Program) -> list[str]:
    objects: list[dict[str, Any]] = [json.loads(line) for line in server.lines]
    assert all(isinstance(one, dict) for one in objects)
    return [one["message"] for one in objects if "message" in one]


@pytest.mark.parametrize("start", STARTS)
async def test_all_of_it(start: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    async with program(tmp_path, "-W", "always", *STARTS[start]) as server:
        port = int((await server.says(r"Serving on http://127\.0\.0\.1:(\d+)/"))[1])
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT) as client:
            assert (await client.get("/warn")).status_code == 200
            assert (await client.get("/fail")).status_code == 500
            server.send(signal.SIGUSR1)
            await server.says("in flight")
            server.send(signal.SIGHUP)
        if "workers" in start:
            await server.says("Replacing the workers")
        assert await server.stops() == 0
    said = messages(server)
    for first, last in (
        ("unhandled exception in 'GET /fail HTTP/1.1'", "ValueError: of a handler"),
        ("Exception in thread", "OSError: of a thread"),
        ("Exception ignored", "KeyError: 'unraisable'"),
        ("", "UserWarning: warned\ntwice"),
    ):
        assert [text for text in said if first in text and last in text and ("Trace" in text) == ("Error" in last)], (
            said
        )
    assert 'WARNING:root:{"of": "a logger"}' in said
    assert "{no object" in said
    assert any("mine own" in text for text in said)
    assert '{"an object": true}' in server.lines


@pytest.mark.parametrize("arguments", [("0", "never"), ("1", "never"), ("0", "lifespan")])
async def test_what_ends_the_program(arguments: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP.replace("int(sys.argv[1])", "int(sys.argv[1]) or None"))
    async with program(tmp_path, "app.py", *arguments) as server:
        if arguments[1] == "lifespan":
            await server.says("Serving")
            server.send(signal.SIGTERM)
        assert await server.ends() == 1
    assert [text for text in messages(server) if text.startswith("Traceback") and "RuntimeError: the " in text]


@pytest.mark.parametrize("workers", [(), ("--workers", "1")])
@pytest.mark.parametrize(
    ("code", "target", "status", "text"),
    [
        ("1 / 0", "broken:Handler", 1, "ZeroDivisionError"),
        ("import sys; sys.exit(0)", "broken:Handler", 2, "sys.exit"),
        ("", "broken:Handler", 2, "has no 'Handler'"),
        ("", "nowhere:Handler", 2, "no module"),
    ],
)
async def test_what_cannot_begin(
    code: str, target: str, status: int, text: str, workers: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(code)
    async with program(tmp_path, "-m", "aiohttpd", "serve", target, "--port", "0", *JSON, *workers) as server:
        assert await server.ends() == status
    assert len(server.lines) == 1
    assert text in messages(server)[0]


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    other = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with other:
        port = str(other.sockets[0].getsockname()[1])
        async with program(tmp_path, "-m", "aiohttpd", "serve", "--port", port, *JSON) as server:
            assert await server.ends() == 1
    assert "it is in use" in messages(server)[0]


async def test_lines_that_were_dropped(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    async with program(tmp_path, *STARTS["serve"]) as server:
        port = int((await server.says(r"Serving on http://127\.0\.0\.1:(\d+)/"))[1])
        assert server.process.stderr is not None
        server.process.stderr._transport.pause_reading()  # type: ignore[attr-defined]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT) as client:
            for _ in range(500):
                await client.get("/" + "x" * 4000)
        server.process.stderr._transport.resume_reading()  # type: ignore[attr-defined]
        await server.says("lines dropped")
        assert await server.stops() == 0
    assert any("lines dropped" in text for text in messages(server))
