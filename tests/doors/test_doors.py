"""The doors of the package: its modules as attributes, Apps that cross into workers, what handlers return."""

import asyncio
import http.server
import os
import pickle
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import aiohttpd
from aiohttpd.compression import compress
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.testing import exchange

from ..support.checking import checked

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def returning(value: Any, *, begins: bool = False, plain: bool = False) -> Any:
    """A handler class whose do_GET returns something."""

    def answer(self: Any) -> Any:
        if begins:
            self.send_response(200)
            self.end_headers()
        return value() if callable(value) else value

    async def do_GET(self: Any) -> Any:
        return answer(self)

    def do_plain(self: Any) -> Any:
        return answer(self)

    return type("Returning", (aiohttpd.BaseHTTPRequestHandler,), {"do_GET": do_plain if plain else do_GET})


async def forgotten() -> None: ...


def number() -> Any:
    yield 1


async def numbers() -> Any:
    yield 1


def future() -> Any:
    return asyncio.get_running_loop().create_future()


TOLD: list[tuple[Any, str]] = [
    ("hello", "do_GET returned a str, and an answer is sent, not returned: self.send_text(...)"),
    ("", "do_GET returned a str"),
    (b"hello", "do_GET returned a bytes, and an answer is sent, not returned: self.send_response(200)"),
    ({"a": 1}, "do_GET returned a dict, and an answer is sent, not returned: self.send_json(...)"),
    ([1], "do_GET returned a list, and an answer is sent, not returned: self.send_json(...)"),
    (("hello", 200), "do_GET returned a tuple"),
    (404, "do_GET returned an int, and an answer is sent, not returned: self.send_response(...)"),
    (False, "do_GET returned a bool"),
    (number, "do_GET yields"),
    (numbers, "do_GET yields"),
]


@pytest.mark.parametrize(("value", "text"), TOLD, ids=range(len(TOLD)))
@pytest.mark.parametrize("plain", [False, True])
async def test_what_is_returned_is_told(
    caplog: pytest.LogCaptureFixture, value: Any, text: str, *, plain: bool
) -> None:
    got = await exchange(returning(value, plain=plain), REQUEST)
    assert got.startswith(b"HTTP/1.1 500 ")
    assert f"ContractError: {text}" in caplog.text
    caplog.clear()


@pytest.mark.parametrize(
    ("value", "text"),
    [(forgotten, "returned the coroutine forgotten(): put 'await'"), (future, "returned a Future: put 'await'")],
)
@pytest.mark.parametrize("begins", [False, True])
async def test_what_is_to_be_awaited(caplog: pytest.LogCaptureFixture, value: Any, text: str, *, begins: bool) -> None:
    got = await exchange(returning(value, begins=begins), REQUEST)
    assert got.startswith(b"HTTP/1.1 500 ")
    assert text in caplog.text
    caplog.clear()


@pytest.mark.parametrize("value", ["hello", b"hello", {"a": 1}])
@pytest.mark.parametrize("wrap", [lambda app: app, compress])
async def test_an_answer_without_what_is_returned(caplog: pytest.LogCaptureFixture, value: Any, wrap: Any) -> None:
    """The answer leaves as it is, since that may have been meant."""
    got = await exchange(wrap(returning(value, begins=True)), REQUEST)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert f"do_GET returned a {type(value).__name__}" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("method", ["do_text", "do_size", "do_true", "do_nothing", "do_204"])
@pytest.mark.parametrize("wrap", [lambda app: app, compress])
async def test_what_stands_beside_an_answer_is_let_be(method: str, wrap: Any) -> None:
    class Handler(aiohttpd.BaseHTTPRequestHandler):
        async def do_text(self) -> str:
            self.send_text("hello")
            return "hello"

        def do_size(self) -> int:
            self.send_response(200)
            self.end_headers()
            return self.wfile.write(b"hello")  # type: ignore[return-value]  # a file in a thread

        async def do_true(self) -> bool:
            self.send_response(200)
            self.end_headers()
            return True

        async def do_nothing(self) -> None:
            self.send_text("hello")

        async def do_204(self) -> str:
            self.send_response(204)
            self.end_headers()
            return "done"

    for command in ("GET", "HEAD"):
        served = type("Served", (Handler,), {"do_GET": getattr(Handler, method)})
        got = await exchange(wrap(served), REQUEST.replace(b"GET", command.encode()))
        assert got.startswith(b"HTTP/1.1 20")


async def app_that_returns(request: Any, response: Any) -> Any:
    return "hello"


async def test_an_app_that_returns(caplog: pytest.LogCaptureFixture) -> None:
    for app in (app_that_returns, compress(app_that_returns)):
        assert (await exchange(app, REQUEST)).startswith(b"HTTP/1.1 500 ")
        assert "the App returned a str, and an answer is sent, not returned: response.send_head(200)" in caplog.text
        caplog.clear()


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("hello " * 1000)


class Old(http.server.BaseHTTPRequestHandler):
    def __init__(self, *args: Any, word: str = "hello") -> None:
        self.word = word
        super().__init__(*args)

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.word.encode() * 1000)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"hello " * 1000]


WRAPPED = {
    "compress": lambda: compress(Hello, minimum_size=1, level=1),
    "compress an old one": lambda: compress(Old),
    "compress an App": lambda: compress(app_that_answers),
    "several": lambda: compress(basic_auth(compress(Hello), "a:b")),
    "auth": lambda: basic_auth(Hello, "a:b"),
    "partial": lambda: partial(Hello),
    "blocking": lambda: aiohttpd.blocking(partial(Old, word="hi ")),
    "compress blocking": lambda: compress(aiohttpd.blocking(partial(Old, word="hi "))),
    "wsgi": lambda: aiohttpd.wsgi(wsgi),
    "compress wsgi": lambda: compress(aiohttpd.wsgi(wsgi)),
}  # fmt: skip


async def app_that_answers(request: Any, response: Any) -> None:
    response.send_head(200, [("Content-Type", "text/plain")])
    response.write(b"hello " * 1000)


@pytest.mark.parametrize("name", WRAPPED)
async def test_what_is_wrapped_crosses(name: str) -> None:
    """It is the same on the other side."""
    request = REQUEST[:-2] + b"Accept-Encoding: gzip\r\nAuthorization: Basic YTpi\r\n\r\n"
    wrapped = WRAPPED[name]()
    again = pickle.loads(pickle.dumps(wrapped))
    first, second = [strip_date(await exchange(one, request)) for one in (wrapped, again)]
    assert first == second
    assert first.startswith(b"HTTP/1.")
    assert b" 200 " in first[:14]
    if name == "auth":
        assert b" 401 " in (await exchange(again, REQUEST))[:14]


def strip_date(answer: bytes) -> bytes:
    return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.startswith(b"Date:"))


PROGRAM = """
import aiohttpd
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.compression import compress


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self):
        self.send_text("hello " * 1000)


if __name__ == "__main__":
    aiohttpd.run(compress(basic_auth(Hello, "a:b")), port=0, workers=2)
"""


def test_workers_of_what_is_wrapped(tmp_path: Path) -> None:
    import httpx

    (tmp_path / "program.py").write_text(PROGRAM)
    with subprocess.Popen([sys.executable, "program.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            assert line.startswith("Serving on http://"), line + process.stderr.read()
            answer = httpx.get(line.split()[2], auth=("a", "b"), headers={"Accept-Encoding": "gzip"}, trust_env=False)
            assert (answer.text, answer.headers["Content-Encoding"]) == ("hello " * 1000, "gzip")
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


MODULES = ["compat", "compression", "middleware", "testing"]


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_attributes(name: str) -> None:
    code = (
        "import sys, aiohttpd\n"
        f"assert 'aiohttpd.{name}' not in sys.modules\n"
        f"assert {name!r} in dir(aiohttpd)\n"
        f"assert aiohttpd.{name} is sys.modules['aiohttpd.{name}']\n"
        f"assert aiohttpd.{name}.__all__\n"
        "assert not hasattr(aiohttpd, 'no_such_thing')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ})


def test_a_type_checker_knows_them(tmp_path: Path, mypy_cache: Path) -> None:
    """And it knows what is not there, which a __getattr__ of a module hides otherwise."""
    (tmp_path / "program.py").write_text(
        "import aiohttpd\n"
        "aiohttpd.compression.compress(aiohttpd.SimpleHTTPRequestHandler)\n"
        "aiohttpd.testing.running\naiohttpd.compat.HTTPServer\n"
        "aiohttpd.HTTPSrever\n"
    )
    done = checked(tmp_path, mypy_cache)
    assert done.stdout.splitlines()[:-1] == [
        'program.py:5: error: Module has no attribute "HTTPSrever"; maybe "HTTPServer"?  [attr-defined]'
    ], done.stdout + done.stderr
