"""Servers of http.server and socketserver under test: a handler, a client, and calls that must return."""

import contextlib
import functools
import http.client
import http.server
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from aiohttpd import compat

from .waiting import BOUND

HERE = ("127.0.0.1", 0)
STDLIB: Any = SimpleNamespace(**{**vars(socketserver), **vars(http.server)})  # as compat has the names of both


class Handler(BaseHTTPRequestHandler):
    """Answers with what ``text`` returns."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(self.text())

    def text(self) -> str:
        return self.path

    def answer(self, text: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def handler(text: Callable[[Any], str], **attributes: Any) -> type[Handler]:
    """A handler class with this ``text``."""
    return type("TextHandler", (Handler,), {"text": text, **attributes})


def text_at(address: Any, path: str = "/", **fields: str) -> str:
    """Ask on a connection of its own."""
    connection = http.client.HTTPConnection(*address[:2], timeout=BOUND)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Connection": "close", **fields})
        with connection.getresponse() as response:
            text = response.read().decode()
            return text if response.status == 200 else f"{response.status} {text}"


def set_timeout(server: Any, where: str, seconds: float) -> None:
    """Set the timeout of ``handle_request`` at the server or at its socket."""
    if where == "server":
        server.timeout = seconds
    else:
        server.socket.settimeout(seconds)


def listens(address: Any) -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection(address[:2], BOUND).close()
    except ConnectionRefusedError:
        return False
    except ConnectionResetError:
        pass  # it is just being closed
    return True


class Call(threading.Thread):
    """A call in a thread of its own."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._call: Callable[[], Any] | None = functools.partial(function, *args, **kwargs)
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        call, self._call = self._call, None
        assert call is not None
        try:
            self._value = call()
        except BaseException as error:
            self._error = error

    def result(self, seconds: float = BOUND) -> Any:
        """What it returns or raises, once it does."""
        self.join(seconds)
        assert not self.is_alive(), "it does not return"
        if self._error is not None:
            raise self._error
        return self._value


@contextlib.contextmanager
def serving(server: Any, poll_interval: float = 0.02) -> Iterator[Call]:
    """Serve in a thread while the block runs; everything has ended then."""
    with server:
        call = Call(server.serve_forever, poll_interval)
        try:
            yield call
        finally:
            server.shutdown()
            call.join(BOUND)
    call.result()


@contextlib.contextmanager
def no_thread_left() -> Iterator[None]:
    """All threads leave once their server has been closed or forgotten."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(BOUND)
        assert not thread.is_alive(), thread


def does_the_same(program: Callable[[Any, Path], Any], tmp_path: Path) -> None:
    """Run a program with both modules, each in a folder of its own; it sees the same."""
    found = []
    for lib in (STDLIB, compat):
        folder = tmp_path / lib.__name__
        folder.mkdir()
        with no_thread_left():
            found.append(program(lib, folder))
    assert found[0] == found[1], found


def talk(address: Any, *pieces: bytes, end: bool = False) -> bytes:
    """All that comes until the server closes."""
    with socket.create_connection(address[:2], BOUND) as sock:
        for piece in pieces:
            sock.sendall(piece)
        if end:
            sock.shutdown(socket.SHUT_WR)
        with sock.makefile("rb") as file:
            return file.read()


def lines(data: bytes, *without: bytes) -> list[bytes]:
    """The lines of an answer, but for those that tell the time and the like."""
    return [line for line in data.split(b"\r\n") if not line.startswith((b"Date:", b"Server:", *without))]


@contextlib.contextmanager
def in_thread(server: Any) -> Iterator[Any]:
    """As fixtures of tests do it."""
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(BOUND)


def quiet(base: Any) -> Any:
    class Quiet(base):  # type: ignore[misc]
        def log_message(self, *args: Any) -> None:
            pass

    return Quiet


def text_from(server: Any, path: str = "/", context: ssl.SSLContext | None = None) -> str:
    """Ask on a connection of its own."""
    host, port = server.server_address[:2]
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(host, port, timeout=BOUND)
    else:
        connection = http.client.HTTPSConnection(host, port, timeout=BOUND, context=context)
    with contextlib.closing(connection):
        connection.request("GET", path, headers={"Connection": "close"})
        with connection.getresponse() as response:
            text = response.read().decode()
            return text if response.status == 200 else f"{response.status} {text}"


def in_tls(server: Any, certificate: tuple[str, str]) -> Any:
    """The common idiom."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server
