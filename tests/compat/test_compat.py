"""aiohttpd.compat: the blocking surface of socketserver and http.server, all of it, over real sockets."""

import contextlib
import functools
import http.client
import os
import queue
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import trustme

from aiohttpd.compat import (
    HTTPServer,
    HTTPSServer,
    TCPServer,
    ThreadingHTTPServer,
    ThreadingHTTPSServer,
    ThreadingMixIn,
)
from aiohttpd.threads import pool

BOUND = 15.0  # seconds after which a test has failed, whatever it waits for
HERE = ("127.0.0.1", 0)

BOTH = pytest.mark.parametrize("kind", [HTTPServer, ThreadingHTTPServer])


@pytest.fixture(autouse=True)
def no_thread_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """All threads leave once their server has been closed, without having to be idle for a while."""
    monkeypatch.setattr(pool, "_IDLE", 3600)
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(BOUND)
        assert not thread.is_alive(), thread


class Handler(BaseHTTPRequestHandler):
    """Answers with what ``text`` returns."""

    protocol_version = "HTTP/1.1"
    timeout = BOUND

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


def handler(text: Callable[[Any], str]) -> type[Handler]:
    """A handler class with this ``text``."""
    return type("TextHandler", (Handler,), {"text": text})


def get(server: Any, path: str = "/", context: ssl.SSLContext | None = None) -> str:
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


class Call(threading.Thread):
    """A call in a thread of its own."""

    def __init__(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        super().__init__(daemon=True)
        self._call = functools.partial(function, *args, **kwargs)
        self._value: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """What it returns or raises, once it does."""
        self.join(BOUND)
        assert not self.is_alive(), "it does not return"
        if self._error is not None:
            raise self._error
        return self._value


@contextlib.contextmanager
def serving(server: Any, poll_interval: float = 0.5) -> Iterator[Call]:
    """Serve in a thread while the block runs; everything has ended then."""
    with server:
        call = Call(server.serve_forever, poll_interval)
        try:
            yield call
        finally:
            server.shutdown()
            call.join(BOUND)
    call.result()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def client(authority: trustme.CA) -> ssl.SSLContext:
    """What trusts our certificate."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> tuple[str, str]:
    """The paths of certificate and key."""
    made = authority.issue_cert("127.0.0.1")
    made.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    made.private_key_pem.write_to_path(tmp_path / "key.pem")
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")


def in_tls(server: Any, certificate: tuple[str, str]) -> Any:
    """The common idiom."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


class TestServeForever:
    @BOTH
    def test_serves(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        with serving(server):
            assert [get(server, path) for path in ("/1", "/2", "/3")] == ["/1", "/2", "/3"]

    @BOTH
    def test_has_a_keyword(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            call = Call(server.serve_forever, poll_interval=0.05)
            assert get(server, "/1") == "/1"
            server.shutdown()
            call.result()

    @BOTH
    def test_keeps_connections(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        with serving(server):
            connection = http.client.HTTPConnection(*server.server_address, timeout=BOUND)
            with contextlib.closing(connection):
                connection.connect()
                sock = connection.sock
                for path in ("/1", "/2", "/3"):
                    connection.request("GET", path)
                    assert connection.getresponse().read() == path.encode()
                    assert connection.sock is sock

    @BOTH
    def test_is_left_by_shutdown_from_another_thread(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            call = Call(server.serve_forever)
            assert get(server, "/1") == "/1"
            Call(server.shutdown).result()
            call.result()

    @BOTH
    def test_is_left_by_shutdown_from_a_handler(self, kind: Any) -> None:
        def text(self: Handler) -> str:
            self.server.shutdown()
            return "the last one"

        with kind(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            assert get(server) == "the last one"
            call.result()

    @BOTH
    def test_is_left_by_shutdown_from_a_thread_of_a_handler(self, kind: Any) -> None:
        """The idiom that does not block http.server either."""

        def text(self: Handler) -> str:
            threading.Thread(target=self.server.shutdown).start()
            return "the last one"

        with kind(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            assert get(server) == "the last one"
            call.result()

    @BOTH
    def test_shutdown_comes_before_it(self, kind: Any) -> None:
        """The next call returns at once, and the one after it serves."""
        with kind(HERE, Handler) as server:
            Call(server.shutdown).result()
            Call(server.serve_forever).result()
            call = Call(server.serve_forever)
            assert get(server, "/1") == "/1"
            server.shutdown()
            call.result()

    @BOTH
    def test_serves_again(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            for path in ("/1", "/2", "/3"):
                call = Call(server.serve_forever)
                assert get(server, path) == path
                server.shutdown()
                call.result()

    @BOTH
    def test_silent_connection_stops_nobody(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        with serving(server):
            with socket.create_connection(server.server_address, BOUND):
                assert get(server, "/1") == "/1"

    def test_shutdown_waits_for_the_handler_of_a_serial_server(self) -> None:
        began, go = threading.Event(), threading.Event()

        def text(self: Handler) -> str:
            began.set()
            go.wait(BOUND)
            return "whole"

        with HTTPServer(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            answer = Call(get, server)
            assert began.wait(BOUND)
            shutdown = Call(server.shutdown)
            shutdown.join(0.2)
            assert shutdown.is_alive()
            go.set()
            shutdown.result()
            call.result()
            assert answer.result() == "whole"


class TestHandleRequest:
    @BOTH
    def test_serves_one(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            call = Call(server.handle_request)
            assert get(server, "/1") == "/1"
            call.result()

    @BOTH
    def test_serves_several_in_a_row(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            for path in ("/1", "/2", "/3"):
                call = Call(server.handle_request)
                assert get(server, path) == path
                call.result()

    def test_serves_all_requests_of_the_connection(self) -> None:
        with HTTPServer(HERE, Handler) as server:
            call = Call(server.handle_request)
            connection = http.client.HTTPConnection(*server.server_address, timeout=BOUND)
            with contextlib.closing(connection):
                for path in ("/1", "/2"):
                    connection.request("GET", path)
                    assert connection.getresponse().read() == path.encode()
                assert call.is_alive()
            call.result()

    @pytest.mark.parametrize("where", ["server", "socket"])
    @BOTH
    def test_calls_handle_timeout(self, kind: Any, where: str) -> None:
        calls = []

        class Server(kind):  # type: ignore[misc]
            def handle_timeout(self) -> None:
                calls.append(self)

        with Server(HERE, Handler) as server:
            if where == "server":
                server.timeout = 0.01
            else:
                server.socket.settimeout(0.01)
            Call(server.handle_request).result()
            Call(server.handle_request).result()
            assert calls == [server, server]

    @BOTH
    def test_connection_without_a_request(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            call = Call(server.handle_request)
            socket.create_connection(server.server_address, BOUND).close()
            call.result()
            call = Call(server.handle_request)
            assert get(server, "/1") == "/1"
            call.result()

    @BOTH
    def test_refused_connection(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            def verify_request(self, request: Any, client_address: Any) -> bool:
                return False

        with Server(HERE, Handler) as server:
            call = Call(server.handle_request)
            with socket.create_connection(server.server_address, BOUND) as sock:
                assert sock.recv(1) == b""
            call.result()

    def test_threading_server_does_not_wait_for_the_handler(self) -> None:
        go = threading.Event()

        def text(self: Handler) -> str:
            go.wait(BOUND)
            return "whole"

        with ThreadingHTTPServer(HERE, handler(text)) as server:
            call = Call(server.handle_request)
            answer = Call(get, server)
            call.result()
            go.set()
            assert answer.result() == "whole"

    @BOTH
    def test_tls(self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext) -> None:
        with in_tls(kind(HERE, Handler), certificate) as server:
            for path in ("/1", "/2"):
                call = Call(server.handle_request)
                assert get(server, path, client) == path
                call.result()

    @BOTH
    def test_failed_handshake(self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext) -> None:
        with in_tls(kind(HERE, Handler), certificate) as server:
            call = Call(server.handle_request)
            with socket.create_connection(server.server_address, BOUND) as sock:
                sock.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    while sock.recv(1024):
                        pass
            call.result()
            call = Call(server.handle_request)
            assert get(server, "/1", client) == "/1"
            call.result()

    @BOTH
    def test_after_and_before_serve_forever(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            for serve in (server.handle_request, server.serve_forever, server.handle_request):
                call = Call(serve)
                assert get(server, "/1") == "/1"
                if serve == server.serve_forever:
                    server.shutdown()
                call.result()

    def test_raises_what_ends_a_serial_handler(self) -> None:
        def text(self: Handler) -> str:
            sys.exit(3)

        with HTTPServer(HERE, handler(text)) as server:
            call = Call(server.handle_request)
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                get(server)
            with pytest.raises(SystemExit, match="3"):
                call.result()


class TestServiceActions:
    @BOTH
    def test_are_called_without_requests(self, kind: Any) -> None:
        calls: queue.SimpleQueue[int] = queue.SimpleQueue()

        class Server(kind):  # type: ignore[misc]
            def service_actions(self) -> None:
                calls.put(threading.get_ident())

        with serving(Server(HERE, Handler), poll_interval=0.01) as call:
            assert {calls.get(timeout=BOUND) for _ in range(3)} == {call.ident}

    def test_are_called_after_a_request(self) -> None:
        calls: queue.SimpleQueue[None] = queue.SimpleQueue()

        class Server(HTTPServer):
            def service_actions(self) -> None:
                calls.put(None)

        server = Server(HERE, Handler)
        with serving(server, poll_interval=3600):
            for _ in range(3):
                assert get(server, "/1") == "/1"
                calls.get(timeout=BOUND)

    @BOTH
    def test_may_exit(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            def service_actions(self) -> None:
                sys.exit(3)

        with Server(HERE, Handler) as server:
            with pytest.raises(SystemExit, match="3"):
                Call(server.serve_forever, 0.01).result()
            Call(server.shutdown).result()  # nothing is running

    @BOTH
    def test_may_shut_down(self, kind: Any) -> None:
        """From another thread, as socketserver wants it."""

        class Server(kind):  # type: ignore[misc]
            def service_actions(self) -> None:
                threading.Thread(target=self.shutdown).start()

        with Server(HERE, Handler) as server:
            Call(server.serve_forever, 0.01).result()


@BOTH
class TestHooks:
    def test_verify_request(self, kind: Any) -> None:
        seen = []

        class Server(kind):  # type: ignore[misc]
            def verify_request(self, request: Any, client_address: Any) -> bool:
                seen.append(request.getpeername() == client_address)
                return len(seen) != 2

        server = Server(HERE, Handler)
        with serving(server):
            assert get(server, "/1") == "/1"
            with socket.create_connection(server.server_address, BOUND) as sock:
                assert sock.recv(1) == b""
            assert get(server, "/3") == "/3"
        assert seen == [True] * 3

    def test_get_request(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            accepted = 0

            def get_request(self) -> Any:
                request, address = self.socket.accept()
                self.accepted += 1
                if self.accepted == 2:
                    request.close()
                    raise OSError("not this one")
                return request, ("somebody", address[1])

        server = Server(HERE, handler(lambda self: self.client_address[0]))
        with serving(server):
            assert get(server) == "somebody"
            with socket.create_connection(server.server_address, BOUND) as sock:
                assert sock.recv(1) == b""
            assert get(server) == "somebody"
        assert server.accepted == 3

    def test_process_request(self, kind: Any) -> None:
        """A pool of somebody's own."""

        class Server(kind):  # type: ignore[misc]
            def process_request(self, request: Any, client_address: Any) -> None:
                own.submit(self.process_in_pool, request, client_address)

            def process_in_pool(self, request: Any, client_address: Any) -> None:
                try:
                    self.finish_request(request, client_address)
                finally:
                    self.shutdown_request(request)

        with ThreadPoolExecutor(2, thread_name_prefix="own") as own:
            server = Server(HERE, handler(lambda self: threading.current_thread().name))
            with serving(server):
                for _ in range(3):
                    assert get(server).startswith("own")

    def test_finish_request(self, kind: Any, tmp_path: Path) -> None:
        """As ``python -m http.server`` does it."""
        (tmp_path / "hello.txt").write_text("hello")

        class Quiet(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(kind):  # type: ignore[misc]
            def finish_request(self, request: Any, client_address: Any) -> None:
                self.RequestHandlerClass(request, client_address, self, directory=str(tmp_path))

        server = Server(HERE, Quiet)
        with serving(server):
            assert get(server, "/hello.txt") == "hello"
            assert get(server, "/none.txt").startswith("404")

    def test_finish_request_that_calls_super(self, kind: Any) -> None:
        seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Server(kind):  # type: ignore[misc]
            def finish_request(self, request: Any, client_address: Any) -> None:
                super().finish_request(request, client_address)
                seen.put(client_address[0])

        server = Server(HERE, Handler)
        with serving(server):
            assert get(server, "/1") == "/1"
            assert seen.get(timeout=BOUND) == "127.0.0.1"

    def test_shutdown_request(self, kind: Any) -> None:
        seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Server(kind):  # type: ignore[misc]
            def shutdown_request(self, request: Any) -> None:
                seen.put(request)
                super().shutdown_request(request)

        server = Server(HERE, Handler)
        with serving(server):
            assert get(server, "/1") == "/1"
            seen.get(timeout=BOUND)
        assert seen.empty()

    def test_close_request(self, kind: Any) -> None:
        seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Server(kind):  # type: ignore[misc]
            def close_request(self, request: Any) -> None:
                seen.put(request)
                super().close_request(request)

        server = Server(HERE, Handler)
        with serving(server):
            assert get(server, "/1") == "/1"
            seen.get(timeout=BOUND)
        assert seen.empty()

    def test_set_on_the_instance(self, kind: Any) -> None:
        seen = []

        def verify(request: Any, client_address: Any) -> bool:
            seen.append(client_address)
            return True

        server = kind(HERE, Handler)
        server.verify_request = verify
        with serving(server):
            assert get(server, "/1") == "/1"
        assert len(seen) == 1


@BOTH
class TestErrors:
    def test_handle_error(self, kind: Any) -> None:
        seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Server(kind):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                seen.put((request, client_address, sys.exc_info()))

        def text(self: Handler) -> str:
            if self.path == "/raise":
                raise LookupError(self.client_address[1], self.request)
            return self.path

        server = Server(HERE, handler(text))
        with serving(server):
            assert get(server, "/raise").startswith("500")
            request, client_address, (cls, error, traceback) = seen.get(timeout=BOUND)
            assert cls is LookupError
            assert error.args == (client_address[1], request)
            assert traceback.tb_next is not None
            assert get(server, "/1") == "/1"
        assert seen.empty()

    def test_is_printed_once(self, kind: Any, capfd: pytest.CaptureFixture[str]) -> None:
        def text(self: Handler) -> str:
            raise LookupError("nothing there")

        server = kind(HERE, handler(text))
        with serving(server):
            get(server)
        out, err = capfd.readouterr()
        assert out == ""
        assert err.count("LookupError: nothing there") == 1
        assert "Exception occurred during processing of request from ('127.0.0.1'" in err

    def test_in_the_middle_of_an_answer(self, kind: Any, capfd: pytest.CaptureFixture[str]) -> None:
        """The client learns that it is not whole."""

        class Raises(Handler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"a part")
                raise LookupError("nothing there")

        server = kind(HERE, Raises)
        with serving(server):
            with pytest.raises((http.client.IncompleteRead, ConnectionError)):
                get(server)
        assert capfd.readouterr().err.count("LookupError: nothing there") == 1

    def test_handle_error_raises(self, kind: Any, caplog: pytest.LogCaptureFixture) -> None:
        """The idiom of those who want to see every error: it leaves a serial server."""

        class Server(kind):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                raise

        def text(self: Handler) -> str:
            if self.path == "/raise":
                raise LookupError("nothing there")
            return self.path

        with Server(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                get(server, "/raise")
            if kind is HTTPServer:
                with pytest.raises(LookupError, match="nothing there"):
                    call.result()
            else:
                assert get(server, "/1") == "/1"
                server.shutdown()
                call.result()
                [record] = caplog.records
                assert record.exc_info is not None and record.exc_info[0] is LookupError
                caplog.clear()


class TestExit:
    @staticmethod
    def text(self: Handler) -> str:
        if self.path == "/exit":
            sys.exit(3)
        return self.path

    def test_serial_handler_leaves_serve_forever(self) -> None:
        with HTTPServer(HERE, handler(self.text)) as server:
            call = Call(server.serve_forever)
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                get(server, "/exit")
            with pytest.raises(SystemExit, match="3"):
                call.result()
            call = Call(server.serve_forever)  # it may go on
            assert get(server, "/1") == "/1"
            server.shutdown()
            call.result()

    def test_handler_in_a_thread_does_not(self, caplog: pytest.LogCaptureFixture) -> None:
        server = ThreadingHTTPServer(HERE, handler(self.text))
        with serving(server) as call:
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                get(server, "/exit")
            assert get(server, "/1") == "/1"
            assert call.is_alive()
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) <= 1
        caplog.clear()


class TestAttributes:
    @BOTH
    def test_address(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            assert server.server_address == server.socket.getsockname()
            assert server.server_port == server.server_address[1] != 0
            assert server.server_name == "127.0.0.1"
            assert server.fileno() == server.socket.fileno()

    @BOTH
    def test_context_manager_closes(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            assert server.fileno() >= 0
        assert server.fileno() == -1
        server.server_close()  # twice is once
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(server.server_address, BOUND)

    @BOTH
    def test_names_are_not_resolved(self, kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def resolve(*arguments: Any) -> Any:
            raise AssertionError(f"looked up: {arguments}")

        for name in ("getfqdn", "gethostbyaddr", "getnameinfo", "gethostbyname"):
            monkeypatch.setattr(socket, name, resolve)
        server = kind(("", 0), Handler)
        assert server.server_name == "0.0.0.0"
        with serving(server):
            assert get(server, "/1") == "/1"

    @BOTH
    def test_bind_and_activate(self, kind: Any) -> None:
        server = kind(HERE, Handler, bind_and_activate=False)
        server.allow_reuse_address = True
        server.server_bind()
        server.server_activate()
        with serving(server):
            assert get(server, "/1") == "/1"

    @BOTH
    def test_socket_of_ones_own(self, kind: Any) -> None:
        server = kind(HERE, Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = socket.create_server(HERE)
        server.server_address = server.socket.getsockname()
        with serving(server):
            assert get(server, "/1") == "/1"

    @BOTH
    def test_address_in_use(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:

            class Second(kind):  # type: ignore[misc]
                allow_reuse_address = allow_reuse_port = False

            with pytest.raises(OSError, match="in use"):
                Second(server.server_address, Handler)

    @BOTH
    def test_handler_class_is_changed_while_it_runs(self, kind: Any) -> None:
        server = kind(HERE, handler(lambda self: "old"))
        with serving(server):
            assert get(server) == "old"
            server.RequestHandlerClass = handler(lambda self: "new")
            assert get(server) == "new"

    @BOTH
    def test_subclass_with_attributes(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            request_queue_size = 100

            def __init__(self, *args: Any, greeting: str) -> None:
                self.greeting = greeting
                super().__init__(*args)
                self.asked: list[str] = []

        def text(self: Handler) -> str:
            server: Any = self.server
            server.asked.append(self.path)
            return str(server.greeting)

        server = Server(HERE, handler(text), greeting="hello")
        with serving(server):
            assert get(server, "/1") == get(server, "/2") == "hello"
        assert server.asked == ["/1", "/2"]

    @pytest.mark.parametrize("mixin", [socketserver.ThreadingMixIn, ThreadingMixIn])
    def test_mixin(self, mixin: Any) -> None:
        class Server(mixin, HTTPServer):  # type: ignore[misc]
            daemon_threads = True

        both = threading.Barrier(2, timeout=BOUND)

        def text(self: Handler) -> str:
            both.wait()
            return self.path

        server = Server(HERE, handler(text))
        with serving(server):
            calls = [Call(get, server, path) for path in ("/1", "/2")]
            assert [call.result() for call in calls] == ["/1", "/2"]

    @BOTH
    def test_server_is_that_very_object(self, kind: Any) -> None:
        seen = []

        def text(self: Handler) -> str:
            seen.append(self.server)
            return "seen"

        server = kind(HERE, handler(text))
        with serving(server):
            get(server)
        assert len(seen) == 1 and seen[0] is server

    @BOTH
    def test_attributes_of_the_handler_class(self, kind: Any) -> None:
        class Counts(Handler):
            by_type = by_class = by_name = 0

            def text(self) -> str:
                type(self).by_type += 1
                self.__class__.by_class += 1
                Counts.by_name += 1
                return str(isinstance(self, Counts) and type(self) is Counts)

        server = kind(HERE, Counts)
        with serving(server):
            assert [get(server) for _ in range(3)] == ["True"] * 3
        assert (Counts.by_type, Counts.by_class, Counts.by_name) == (3, 3, 3)

    def test_tcp_server(self) -> None:
        """Seen with http.server's handlers as often as HTTPServer."""
        server = TCPServer(HERE, Handler)
        with serving(server):
            assert get(server, "/1") == "/1"
        assert not hasattr(server, "server_name")


class TestFactories:
    class Greets(Handler):
        def __init__(self, *args: Any, greeting: str) -> None:
            self.greeting = greeting
            super().__init__(*args)

        def text(self) -> str:
            return self.greeting

    @BOTH
    def test_partial(self, kind: Any) -> None:
        server = kind(HERE, functools.partial(self.Greets, greeting="hello"))
        with serving(server):
            assert get(server) == "hello"

    @BOTH
    def test_closure(self, kind: Any) -> None:
        def make(*args: Any) -> Any:
            return self.Greets(*args, greeting="hello")

        server = kind(HERE, make)
        with serving(server):
            assert get(server) == "hello"

    @BOTH
    def test_type(self, kind: Any) -> None:
        server = kind(HERE, type("Made", (Handler,), {"text": lambda self: "hello"}))
        with serving(server):
            assert get(server) == "hello"

    @BOTH
    def test_attributes_before_super(self, kind: Any) -> None:
        class Late(Handler):
            def __init__(self, request: Any, client_address: Any, server: Any) -> None:
                self.early = "early"
                super().__init__(request, client_address, server)
                self.late = "nobody sees it: the request has been answered"

            def text(self) -> str:
                return f"{self.early} {hasattr(self, 'late')}"

        server = kind(HERE, Late)
        with serving(server):
            assert get(server) == "early False"


class TestTLS:
    @BOTH
    def test_wrapped_socket(self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext) -> None:
        server = in_tls(kind(HERE, handler(lambda self: self.connection.version())), certificate)
        with serving(server):
            assert get(server, "/", client).startswith("TLSv1.")
            assert get(server, "/", client).startswith("TLSv1.")

    @BOTH
    def test_silent_connection_stops_nobody(
        self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext
    ) -> None:
        server = in_tls(kind(HERE, Handler), certificate)
        with serving(server):
            with socket.create_connection(server.server_address, BOUND):
                assert get(server, "/1", client) == "/1"

    @BOTH
    def test_wrapped_socket_with_hooks(self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext) -> None:
        class Server(kind):  # type: ignore[misc]
            verified = 0

            def verify_request(self, request: Any, client_address: Any) -> bool:
                self.verified += 1
                return True

        server = in_tls(Server(HERE, Handler), certificate)
        with serving(server):
            with socket.create_connection(server.server_address, BOUND):
                assert get(server, "/1", client) == "/1"
        assert server.verified == 2

    @BOTH
    def test_wrapped_in_get_request(self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext) -> None:
        """Another idiom: each connection by itself, with the handshake at once."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)

        class Server(kind):  # type: ignore[misc]
            def get_request(self) -> Any:
                sock, address = super().get_request()
                sock.settimeout(BOUND)
                return context.wrap_socket(sock, server_side=True), address

        server = Server(HERE, Handler)
        with serving(server):
            assert get(server, "/1", client) == "/1"
            assert get(server, "/2", client) == "/2"

    @pytest.mark.parametrize("kind", [HTTPSServer, ThreadingHTTPSServer])
    def test_https_server(self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext) -> None:
        certfile, keyfile = certificate
        seen = []

        def text(self: Handler) -> str:
            seen.append(threading.current_thread())
            return str(self.connection.selected_alpn_protocol())

        server = kind(HERE, handler(text), certfile=certfile, keyfile=keyfile)
        client.set_alpn_protocols(["h2", "http/1.1"])
        with serving(server) as call:
            assert get(server, "/", client) == "http/1.1"
        assert (seen == [call]) is (kind is HTTPSServer)

    def test_https_server_with_all_options(self, authority: trustme.CA, client: ssl.SSLContext, tmp_path: Path) -> None:
        """The key in the same file, another protocol."""
        both = tmp_path / "both.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)

        def text(self: Handler) -> str:
            return str(self.connection.selected_alpn_protocol())

        server = HTTPSServer(
            HERE, handler(text), certfile=str(both), keyfile=None, password=None, alpn_protocols=["own/1", "http/1.1"]
        )
        client.set_alpn_protocols(["own/1"])
        with serving(server):
            assert get(server, "/", client) == "own/1"

    def test_https_server_wants_a_certificate(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="certfile"):
            HTTPSServer(HERE, Handler)  # type: ignore[call-arg]
        with pytest.raises(FileNotFoundError):
            HTTPSServer(HERE, Handler, certfile=str(tmp_path / "none.pem"))


def name_thread(self: Handler) -> str:
    return str(threading.get_ident())


class TestThreads:
    def test_serial_handlers_run_in_the_calling_thread(self) -> None:
        server = HTTPServer(HERE, handler(name_thread))
        with serving(server) as call:
            assert {get(server) for _ in range(3)} == {str(call.ident)}

    def test_handle_request_runs_them_there_too(self) -> None:
        with HTTPServer(HERE, handler(name_thread)) as server:
            answer = Call(get, server)
            server.handle_request()
            assert answer.result() == str(threading.get_ident())

    def test_serial_handlers_run_one_after_the_other(self) -> None:
        inside = []

        def text(self: Handler) -> str:
            inside.append(self)
            alone = len(inside) == 1
            threading.Event().wait(0.001)
            inside.remove(self)
            return str(alone)

        server = HTTPServer(HERE, handler(text))
        with serving(server):
            calls = [Call(get, server) for _ in range(10)]
            assert [call.result() for call in calls] == ["True"] * 10

    def test_others_run_in_threads_of_their_own(self) -> None:
        both = threading.Barrier(2, timeout=BOUND)

        def text(self: Handler) -> str:
            both.wait()
            return name_thread(self)

        server = ThreadingHTTPServer(HERE, handler(text))
        with serving(server) as call:
            calls = [Call(get, server) for _ in range(2)]
            assert len({call.result() for call in calls} | {str(call.ident)}) == 3

    @pytest.mark.parametrize("daemons", [False, True])
    def test_server_close_waits_for_threads(self, daemons: bool) -> None:
        """Unless they are daemons, as those of ThreadingHTTPServer."""
        began, go, ended = threading.Event(), threading.Event(), threading.Event()

        class Server(ThreadingMixIn, HTTPServer):
            daemon_threads = daemons

        def text(self: Handler) -> str:
            began.set()
            go.wait(BOUND)
            ended.set()
            return "whole"

        server = Server(HERE, handler(text))
        serve = Call(server.serve_forever)
        answer = Call(get, server)
        assert began.wait(BOUND)
        server.shutdown()
        serve.result()
        assert not ended.is_set()
        close = Call(server.server_close)
        if daemons:
            close.result()
            assert not ended.is_set()
            go.set()
        else:
            close.join(0.2)
            assert close.is_alive()
            go.set()
            close.result()
            assert ended.is_set()
        assert answer.result() == "whole"

    def test_server_close_does_not_wait_without_block_on_close(self) -> None:
        began, go = threading.Event(), threading.Event()

        class Server(ThreadingMixIn, HTTPServer):
            block_on_close = False

        def text(self: Handler) -> str:
            began.set()
            go.wait(BOUND)
            return "whole"

        server = Server(HERE, handler(text))
        serve = Call(server.serve_forever)
        answer = Call(get, server)
        assert began.wait(BOUND)
        server.shutdown()
        serve.result()
        Call(server.server_close).result()
        go.set()
        assert answer.result() == "whole"

    @BOTH
    def test_none_is_held_by_an_idle_connection(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        with serving(server), contextlib.ExitStack() as stack:
            assert get(server, "/1") == "/1"
            before = threading.active_count()
            for _ in range(20):
                connection = http.client.HTTPConnection(*server.server_address, timeout=BOUND)
                stack.enter_context(contextlib.closing(connection))
                connection.request("GET", "/1")
                assert connection.getresponse().read() == b"/1"
            assert threading.active_count() <= before + 2  # those that two requests at once would have

    def test_none_is_left_after_server_close(self) -> None:
        """With ``block_on_close`` they have gone already when it returns."""

        class Server(ThreadingMixIn, HTTPServer):
            pass

        before = set(threading.enumerate())
        server = Server(HERE, Handler)
        with serving(server):
            assert get(server, "/1") == "/1"
            names = {thread.name for thread in set(threading.enumerate()) - before}
            assert any(name.startswith("aiohttpd-loop") for name in names)
        for thread in set(threading.enumerate()) - before:
            assert thread.name.startswith("aiohttpd-worker"), thread  # told to leave, waited for by no_thread_left
        assert not [thread for thread in threading.enumerate() if thread.name == "aiohttpd-loop"]


INTERRUPTED = """
import sys, threading
from http.server import BaseHTTPRequestHandler
from aiohttpd.compat import HTTPServer, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/wait":
            print("in the handler", flush=True)
            threading.Event().wait(60)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass

with {kind}(("127.0.0.1", 0), Handler) as server:
    print(server.server_port, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("path", ["/", "/wait"])
@pytest.mark.parametrize("kind", ["HTTPServer", "ThreadingHTTPServer"])
def test_keyboard_interrupt(kind: str, path: str) -> None:
    """It leaves ``serve_forever`` and nothing is said, whether a handler runs or not."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED.format(kind=kind)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            with socket.create_connection(("127.0.0.1", port), BOUND) as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
                if path == "/":
                    assert sock.recv(12) == b"HTTP/1.0 204"
                else:
                    assert process.stdout.readline() == "in the handler\n"
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=BOUND)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "interrupted\n", "")
