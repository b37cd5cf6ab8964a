"""What is no App is refused when a server is made, and told what it looks like; what may be one passes."""

import asyncio
import functools
import http.server
import subprocess
import sys
import types
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock
from wsgiref.simple_server import demo_app

import flask
import pytest

import aiohttpd
from aiohttpd import compat
from aiohttpd.compression import compress
from aiohttpd.config import Config
from aiohttpd.middleware.auth import basic_auth
from aiohttpd.testing import exchange, running

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("hello")


class Old(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, format: str, *args: Any) -> None:
        pass


async def app(request: Any, response: Any) -> None:
    response.send_head(200)
    response.write(b"hello")


def asgi2(scope: Any) -> Any:
    return lambda receive, send: None


class ASGI:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...


def wsgi(environ: Any, start_response: Any) -> Any:
    return []


class WSGI:
    def __init__(self, environ: Any, start_response: Any) -> None: ...
    def __iter__(self) -> Iterator[bytes]:
        yield b""


class WSGIObject:
    def __call__(self, env: Any, begin: Any) -> Any:
        return []

    def method(self, environ: Any, start_response: Any) -> Any:
        return []


def plain(request: Any, response: Any) -> None:
    response.send_head(200)
    response.write(b"hello")


def plain_with_ways_out(request: Any, response: Any) -> None:
    if request:
        return
    with response:
        return
    for _ in request:
        try:
            return
        finally:
            print()


class Plain:
    def __call__(self, request: Any, response: Any) -> None: ...
    def method(self, request: Any, response: Any) -> None: ...


async def one(request: Any) -> None: ...
async def needs_keyword(request: Any, response: Any, *, database: Any) -> None: ...
async def yields(request: Any, response: Any) -> Any:
    yield b""


def generates(request: Any, response: Any) -> Any:
    yield b""


class Neither:
    pass


class Instances:
    async def __call__(self, request: Any, response: Any) -> None: ...


class Application:
    """As aiohttp's: called without anything, it gives itself."""

    def __call__(self) -> "Application":
        return self


module = types.ModuleType("programs")
module.Handler = type("Handler", (Hello,), {"__module__": "programs"})  # type: ignore[attr-defined]

REFUSED: list[tuple[Any, str]] = [
    (lambda r: None, "<lambda>() is no App: it cannot be called with (request, response)"),
    (lambda: None, "cannot be called with (request, response)"),
    (lambda r, w: None, "it is a plain function. Write 'async def'"),
    (lambda r, w: "hello", "it is a plain function"),
    (lambda r, w: 1 if r else b"x", "it is a plain function"),
    (lambda r, w: {"hello": r}, "it is a plain function"),
    (lambda r, w: f"hello {r}", "it is a plain function"),
    (lambda *args: None, "it is a plain function"),
    (one, "one() is no App: it cannot be called with (request, response)"),
    (needs_keyword, "cannot be called with (request, response)"),
    (functools.partial(app, None), "a partial of app() is no App: it cannot be called"),
    (asgi2, "asgi2() is no App: it looks like an ASGI 2 application (scope), and those are not served: asgiref."),
    (ASGI, "ASGI is no handler class: its instances can be called"),
    (wsgi, "wsgi() is no App: it looks like a WSGI application (environ, start_response): give aiohttpd.wsgi(it)"),
    (demo_app, "looks like a WSGI application"),
    (WSGIObject(), "an instance of WSGIObject is no App: it looks like a WSGI application"),
    (WSGIObject().method, "looks like a WSGI application"),
    (WSGI, "WSGI is no handler class: it looks like a WSGI application"),
    (flask.Flask("x"), "an instance of Flask is no App: it looks like a WSGI application"),
    (flask.Flask("x").wsgi_app, "looks like a WSGI application"),
    (lambda request, client_address, server: Old(request, client_address, server), "give aiohttpd.blocking(it)"),
    (plain, "plain() is no App: it is a plain function"),
    (plain_with_ways_out, "it is a plain function"),
    (Plain(), "it is a plain function"),
    (Plain().method, "Plain.method() is no App: it is a plain function"),
    (functools.partial(plain), "a partial of plain() is no App: it is a plain function"),
    (yields, "it yields"),
    (generates, "it yields"),
    (Neither, "Neither is no handler class: derive it from aiohttpd.BaseHTTPRequestHandler"),
    (functools.partial(Neither), "Neither is no handler class"),
    (Instances, "Instances is no handler class: its instances can be called, so give one of them: Instances(...)"),
    (dict, "dict is no handler class"),
    (Application(), "an instance of Application is no App: it cannot be called with (request, response)"),
    (Hello.__new__(Hello), "an instance of Hello is no App: give the class, Hello"),
    (Old.__new__(Old), "is no App"),
    (module, "programs is no App: it is a module: give what is in it, programs.Handler"),
    (sys, "sys is no App: it is a module, and has no handler class in it"),
    (None, "None is no App: a handler class, or 'async def app(request, response)'"),
    (8000, "8000 is no App"),
    ("hello:Hello", "'hello:Hello' is no App"),
    (["x" * 1000], "..."),
    ((Hello,), "is no App"),
]  # fmt: skip


@pytest.mark.parametrize(("thing", "text"), REFUSED, ids=range(len(REFUSED)))
def test_every_door_refuses(thing: Any, text: str) -> None:
    async def in_memory() -> None:
        await exchange(thing, REQUEST)

    async def on_a_port() -> None:
        async with running(thing):
            pass

    doors: list[Callable[[], Any]] = [
        lambda: aiohttpd.HTTPServer(("127.0.0.1", 0), thing),
        lambda: compress(thing),
        lambda: basic_auth(thing, "a:b"),
        lambda: asyncio.run(in_memory()),
        lambda: asyncio.run(on_a_port()),
    ]
    if not isinstance(thing, str):  # which names one
        doors += [lambda: aiohttpd.run(thing, port=0), lambda: aiohttpd.run(thing, port=0, workers=2)]
    for door in doors:
        with pytest.raises(TypeError) as caught:
            door()
        assert text in str(caught.value)
        assert "--" not in str(caught.value)


async def test_a_coroutine_is_closed() -> None:
    with pytest.raises(TypeError, match=r"app\(\) is no App: it has been called already; give the function itself"):
        aiohttpd.HTTPServer(("127.0.0.1", 0), app(None, None))  # type: ignore[arg-type]


def wrapped(inner: Any) -> Any:
    """A decorator that gives an argument more, as those of databases do."""

    @functools.wraps(inner)
    def wrapper(request: Any, response: Any) -> Any:
        return inner(request, response, "database")

    return wrapper


@wrapped
async def with_database(request: Any, response: Any, database: str) -> None:
    await app(request, response)


def passes_on(*args: Any, **keywords: Any) -> Any:
    return app(*args, **keywords)


def plain_that_returns(request: Any, response: Any) -> Awaitable[None]:
    if request is None:
        return asyncio.sleep(0)
    return app(request, response)


def only_raises(request: Any, response: Any) -> Any:
    raise aiohttpd.HTTPError(200, "hello")


async def with_defaults(request: Any, response: Any, more: Any = None, *, still: Any = None) -> None:
    await app(request, response)


async def with_rest(*rest: Any) -> None:
    await app(*rest)


async def three(first: Any, request: Any, response: Any, *, named: Any) -> None:
    await app(request, response)


class Callable_:
    async def __call__(self, request: Any, response: Any) -> None:
        await app(request, response)

    async def method(self, request: Any, response: Any) -> None:
        await app(request, response)

    @classmethod
    async def of_class(cls, request: Any, response: Any) -> None:
        await app(request, response)

    @staticmethod
    async def static(request: Any, response: Any) -> None:
        await app(request, response)


class Lying:
    """As wrapt has it: whatever is asked, it is the function inside."""

    def __init__(self, inner: Any) -> None:
        self.__dict__["inner"] = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inner"], name)

    @property
    def __class__(self) -> Any:
        return types.FunctionType

    def __call__(self, request: Any, response: Any) -> Any:
        return self.inner(request, response, "database")


async def environ(environ: Any, response: Any) -> None:
    await app(environ, response)


TAKEN: dict[str, Any] = {
    "class": Hello,
    "partial of a class": functools.partial(Hello),
    "function": app,
    "lambda": lambda request, response: app(request, response),
    "lambda with anything": lambda *args: app(*args),
    "anything": passes_on,
    "rest": with_rest,
    "defaults": with_defaults,
    "plain, but awaitable": plain_that_returns,
    "raises": only_raises,
    "partial": functools.partial(three, None, named=1),
    "partial of a partial": functools.partial(functools.partial(three, None), named=1),
    "method": Callable_().method,
    "class method": Callable_.of_class,
    "static method": Callable_.static,
    "callable object": Callable_(),
    "partial of a callable object": functools.partial(Callable_()),
    "decorated": with_database,
    "liar": Lying(lambda request, response, database: app(request, response)),
    "in C": functools.cache(lambda request, response: app(request, response)),
    "mock": Mock(side_effect=app),
    "magic mock": MagicMock(side_effect=app),
    "mock of a function": Mock(side_effect=app, spec=plain),
    "async mock": AsyncMock(side_effect=app),
    "asynchronous, whatever it is called": environ,
    "old": Old,
    "partial of an old one": functools.partial(Old),
    "factory": aiohttpd.blocking(lambda *args: Old(*args)),
    "factory of three": aiohttpd.blocking(lambda request, client_address, server: Old(request, client_address, server)),
    "wsgi": aiohttpd.wsgi(lambda environ, start_response: [(start_response("200 OK", []) and b"") or b"hello"]),
    "compressed": compress(Hello),
    "guarded": compress(compress(app)),
}


@pytest.mark.parametrize("name", TAKEN)
async def test_what_may_be_an_app_is_taken(name: str) -> None:
    got = await exchange(TAKEN[name], REQUEST, config=Config(access_log=False))
    assert got.startswith(b"HTTP/1."), got
    assert got.split(b" ", 2)[1] == b"200"
    assert b"hello" in got


@pytest.mark.parametrize(
    ("application", "text"),
    [
        (None, "None is no WSGI application: it takes (environ, start_response)"),
        (Hello, "Hello is no WSGI application but a handler class"),
        (Old, "Old is no WSGI application but a handler class"),
        (app, "app() is no WSGI application: it is asynchronous"),
        (ASGI(), "an instance of ASGI is no WSGI application: it is asynchronous"),
        (aiohttpd.wsgi(wsgi), "it is asynchronous"),
        (lambda environ: None, "it cannot be called with (environ, start_response)"),
    ],
    ids=range(7),
)
def test_what_is_no_wsgi_application(application: Any, text: str) -> None:
    with pytest.raises(TypeError) as caught:
        aiohttpd.wsgi(application)
    assert text in str(caught.value)


@pytest.mark.parametrize("application", [wsgi, WSGI, WSGIObject(), flask.Flask("x"), Mock(), lambda *args: []])
def test_what_is_one(application: Any) -> None:
    aiohttpd.wsgi(application)


@pytest.mark.parametrize("factory", [None, Hello, app, lambda request: None, lambda request, address: None])
def test_what_makes_no_old_handlers(factory: Any) -> None:
    with pytest.raises(TypeError, match="makes no handlers of http.server"):
        aiohttpd.blocking(factory)


class Calling(Old):
    def __init__(self, request: Any, client_address: Any, server: Any, call: Any) -> None:
        super().__init__(request, client_address, server)


class Bare(Old):
    def __init__(self) -> None: ...


@pytest.mark.parametrize(
    "factory", [Calling, functools.partial(Calling, name=1), type("Derived", (Calling,), {}), Bare]
)
def test_old_handlers_that_need_more_arguments(factory: Any) -> None:
    """FAULT: the server started, and each request was 500."""
    text = r"__init__\(\) cannot be called with \(request, client_address, server\): .*partial\(\w+, name=value"
    for door in (
        aiohttpd.blocking,
        lambda app: aiohttpd.HTTPServer(("127.0.0.1", 0), app),
        lambda app: aiohttpd.Router({"/": app}),
    ):
        with pytest.raises(TypeError, match=text):
            door(factory)


class Optional(Old):
    def __init__(self, *args: Any, call: Any = None, **kwargs: Any) -> None: ...


class Elsewhere(Old):
    def __new__(cls, *args: Any) -> Any: ...

    def __init__(self) -> None: ...


@pytest.mark.parametrize(
    "factory",
    [functools.partial(Calling, call=print), Optional, functools.partial(Optional, call=1), Elsewhere, Old,
     functools.partial(http.server.SimpleHTTPRequestHandler, directory="/")],
)  # fmt: skip
def test_old_handlers_that_need_no_more(factory: Any) -> None:
    aiohttpd.blocking(factory)


def test_server_classes() -> None:
    for kind in (http.server.HTTPServer, compat.ThreadingHTTPServer):
        with pytest.raises(TypeError, match="HTTPServer is no handler class but a server class: give the handler"):
            aiohttpd.HTTPServer(("127.0.0.1", 0), kind)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import flask\napp = flask.Flask('x')\n")
    (tmp_path / "more.py").write_text("import json\ndef asgi2(scope): ...\ndef one(r): ...\n")
    for target, text in (
        ("shop.py:app", "aiohttpd: shop.py:app looks like a WSGI application (environ, start_response): add --wsgi\n"),
        ("more.py:asgi2", "aiohttpd: more.py:asgi2: asgi2() is no App: it looks like an ASGI 2 application"),
        ("more.py:one", "aiohttpd: more.py:one: one() is no App: it cannot be called"),
        ("more:json", "json is no App: it is a module, and has no handler class in it"),
    ):
        for more in ([], ["--workers", "2"]):
            command = [sys.executable, "-m", "aiohttpd", "serve", target, "--port", "0", *more]
            done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
            assert done.returncode
            assert text in done.stderr
            assert "Traceback" not in done.stderr
