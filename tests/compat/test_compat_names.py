"""aiohttpd.compat: no name of ours is in the way of a program of http.server."""

import asyncio
import http.server
import inspect
import socketserver
from http.server import SimpleHTTPRequestHandler
from typing import Any

import pytest

import aiohttpd
from aiohttpd import compat
from aiohttpd.compat.engine import Engine
from aiohttpd.config import Config

from ..support.old_servers import HERE, Call, Handler, serving, text_at
from ..support.waiting import BOUND

pytestmark = pytest.mark.usefixtures("no_thread_left")
KINDS = ["HTTPServer", "ThreadingHTTPServer", "TCPServer", "ThreadingTCPServer"]
OURS = ("__", "aiohttpd_", "_aiohttpd_")

# What somebody would call things of his own, and all that we do, here or elsewhere.
USUAL = [
    "_engine", "app", "config", "db", "debug", "loop", "lock", "log", "logger", "name", "options", "port", "requests",
    "running", "state", "stop", "thread", "url",
]  # fmt: skip
TAKEN = {
    name
    for ours in (aiohttpd.HTTPServer, aiohttpd.SimpleHTTPRequestHandler, Engine, Config)
    for name in (*dir(ours), *getattr(ours, "__slots__", ()))
}


def of_theirs(name: str) -> Any:
    return getattr(http.server, name, None) or getattr(socketserver, name)


def free(*theirs: Any) -> list[str]:
    """Names that a program may use for things of its own, as far as these classes of http.server are concerned."""
    used = {name for cls in theirs for name in dir(cls)}
    used |= {"server_name", "server_port", "server_address", "socket", "RequestHandlerClass"}  # of a server
    used |= {"request", "client_address", "server", "connection", "rfile", "wfile", "headers", "path", "command"}
    used |= {"requestline", "raw_requestline", "close_connection", "directory", "request_version", "_headers_buffer"}
    return sorted(name for name in {*USUAL, *TAKEN} - used if not name.startswith("__"))


class Names(Handler):
    def text(self) -> str:
        server: Any = self.server
        return "".join(f"{name} " for name in self.wanted if getattr(server, name, None) != f"mine: {name}")

    wanted: list[str] = []


@pytest.mark.parametrize("name", KINDS)
class TestServer:
    def test_class_has_no_others(self, name: str) -> None:
        ours = set(dir(getattr(compat, name))) - set(dir(of_theirs(name)))
        assert {one for one in ours if not one.startswith(OURS)} == set()

    def test_instance_has_no_others(self, name: str) -> None:
        with of_theirs(name)(HERE, Handler) as there:
            theirs = set(vars(there))
        server = getattr(compat, name)(HERE, Handler)
        with serving(server):
            assert text_at(server.server_address) == "/"
            ours = set(vars(server)) - theirs
        assert {one for one in ours if not one.startswith(OURS)} == set()

    @pytest.mark.parametrize("when", ["before", "after", "class"])
    def test_all_names_are_the_programs(self, name: str, when: str) -> None:
        wanted = free(of_theirs(name))
        assert {"config", "_engine", "url", "app", "loop"} <= set(wanted)
        mine = {one: f"mine: {one}" for one in wanted}

        class Server(getattr(compat, name)):  # type: ignore[misc]
            def __init__(self, *args: Any) -> None:
                if when == "before":
                    vars(self).update(mine)
                super().__init__(*args)
                if when == "after":
                    for one, value in mine.items():
                        setattr(self, one, value)

        if when == "class":
            for one, value in mine.items():
                setattr(Server, one, value)
        server = Server(HERE, type("Mine", (Names,), {"wanted": wanted}))
        with serving(server):
            assert text_at(server.server_address) == ""
        assert {one for one in wanted if getattr(server, one) != f"mine: {one}"} == set()
        server = Server(HERE, type("Mine", (Names,), {"wanted": wanted}))
        with server:
            call = Call(server.handle_request)
            assert text_at(server.server_address) == ""
            call.result()


class Seen(SimpleHTTPRequestHandler):
    """Keeps what a handler has."""

    names: set[str] = set()
    own: set[str] = set()

    def do_GET(self) -> None:
        type(self).names, type(self).own = set(dir(self)), set(vars(self))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


class TestHandler:
    @pytest.mark.parametrize("name", KINDS)
    def test_instance_has_no_others(self, name: str) -> None:
        seen = []
        for kind in (of_theirs(name), getattr(compat, name)):
            cls: Any = type("Seen", (Seen,), {})
            with kind(HERE, cls) as server:
                call = Call(server.handle_request)
                assert text_at(server.server_address).startswith("204")
                call.result()
            seen.append(cls.names)
        assert seen[0] == seen[1]

    @pytest.mark.parametrize("when", ["before", "class"])
    @pytest.mark.parametrize("name", KINDS)
    def test_all_names_are_the_programs(self, name: str, when: str) -> None:
        make, wanted = with_names(when)
        server = getattr(compat, name)(HERE, make)
        with serving(server):
            assert text_at(server.server_address) == ""
        assert {"url", "query", "form", "serve", "instant", "json"} <= set(wanted)

    @pytest.mark.parametrize("when", ["before", "class"])
    async def test_as_app(self, when: str) -> None:
        make, _ = with_names(when)
        async with aiohttpd.HTTPServer(HERE, make) as server, asyncio.timeout(BOUND):
            assert await asyncio.to_thread(text_at, server.server_address) == ""


def with_names(when: str) -> tuple[Any, list[str]]:
    """A handler class that uses all names of ours for things of its own."""
    # What it is made of are methods that it calls itself.
    wanted = [name for name in free(SimpleHTTPRequestHandler, Handler) if name not in ("text", "answer")]
    mine = {one: f"mine: {one}" for one in wanted}

    class Mine(Handler):
        def __init__(self, *args: Any) -> None:
            if when == "before":
                vars(self).update(mine)
            super().__init__(*args)

        def text(self) -> str:
            return "".join(f"{one} " for one, value in mine.items() if getattr(self, one) != value)

    if when == "class":
        for one, value in mine.items():
            setattr(Mine, one, value)
    return Mine, wanted


@pytest.mark.parametrize("name", ["HTTPServer", "ThreadingHTTPServer"])
def test_options_of_the_engine(name: str) -> None:
    """They have a name that nobody else uses."""

    class Server(getattr(compat, name)):  # type: ignore[misc]
        aiohttpd_config = Config(access_log=False, limit_fields=3)
        config = {"a": 1}

    server = Server(HERE, Handler)
    with serving(server):
        assert text_at(server.server_address) == "/"
        assert text_at(server.server_address, A="1", B="2", C="3").startswith("431")


@pytest.mark.parametrize("name", ["BaseHTTPRequestHandler", "SimpleHTTPRequestHandler", "HTTPServer", "TCPServer"])
def test_one_import_is_changed(name: str) -> None:
    assert issubclass(getattr(compat, name), of_theirs(name))
    assert name in compat.__all__


def test_all_names_of_http_server_are_there() -> None:
    """CGIHTTPRequestHandler too, as long as Python has it."""
    assert set(http.server.__all__) <= set(compat.__all__) <= set(dir(compat))
    if hasattr(socketserver, "ForkingTCPServer"):
        assert issubclass(compat.ForkingTCPServer, (compat.TCPServer, socketserver.ForkingMixIn))


def test_names_that_are_no_api() -> None:
    """Those that programs use all the same: all that ``http.server`` and ``socketserver`` have."""
    names = {name for module in (http.server, socketserver) for name in dir(module) if not name.startswith("__")}
    assert {"DEFAULT_ERROR_MESSAGE", "DatagramRequestHandler", "UDPServer", "mimetypes"} < names
    assert {name for name in names if not hasattr(compat, name)} == set()
    assert compat.UDPServer is socketserver.UDPServer
    with pytest.raises(AttributeError, match=r"module 'aiohttpd\.compat' has no attribute 'HTTPSrever'"):
        _ = compat.HTTPSrever


@pytest.mark.parametrize("name", sorted(name for name in compat.__all__ if name.endswith("Server")))
def test_classes_are_related_as_theirs(name: str) -> None:
    """So isinstance() tells the same, and what is set in TCPServer counts for HTTPServer, too."""
    theirs = getattr(socketserver, name, None) or getattr(http.server, name, None)
    if theirs is None:
        pytest.skip(f"this Python has no {name}")
    for other in compat.__all__:
        base = getattr(socketserver, other, None) or getattr(http.server, other, None)
        if isinstance(base, type):
            assert issubclass(getattr(compat, name), getattr(compat, other)) == issubclass(theirs, base), other
    for attribute in ("address_family", "allow_reuse_address", "allow_reuse_port", "request_queue_size", "timeout"):
        assert getattr(getattr(compat, name), attribute, None) == getattr(theirs, attribute, None)


def test_what_is_set_in_tcp_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat.TCPServer, "request_queue_size", 77, raising=False)
    monkeypatch.setattr(compat.TCPServer, "allow_reuse_address", False, raising=False)
    with compat.ThreadingHTTPServer(HERE, Handler) as server:
        assert (server.request_queue_size, bool(server.allow_reuse_address)) == (77, True)


def test_the_function_test(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Many a script ends with it. By itself it would take the servers of http.server."""
    asked = []

    def serve_forever(self: Any) -> None:
        asked.append((self.RequestHandlerClass, self.server_address[0]))
        raise KeyboardInterrupt

    class Own(Handler):
        """It gets another protocol_version."""

    [default, *_] = inspect.signature(http.server.test).parameters.values()  # type: ignore[attr-defined]
    [ours, *_] = inspect.signature(compat.test).parameters.values()
    assert ours.default is default.default

    monkeypatch.setattr(compat.ThreadingHTTPServer, "serve_forever", serve_forever)
    with pytest.raises(SystemExit):
        compat.test(Own, port=0, bind="127.0.0.1")
    assert asked == [(Own, "127.0.0.1")]
    assert "Keyboard interrupt" in capsys.readouterr().out
