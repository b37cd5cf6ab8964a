"""aiohttpd.compat: serve_forever, handle_request and service_actions, over real sockets."""

import contextlib
import http.client
import queue
import socket
import ssl
import sys
import threading
from typing import Any

import pytest

from aiohttpd.compat import HTTPServer, ThreadingHTTPServer

from ..support.old_servers import HERE, Call, Handler, handler, in_tls, serving, set_timeout, text_from
from ..support.waiting import BOUND

BOTH = pytest.mark.parametrize("kind", [HTTPServer, ThreadingHTTPServer])

pytestmark = pytest.mark.usefixtures("no_thread_left")


class TestServeForever:
    @BOTH
    def test_serves(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        with serving(server):
            assert [text_from(server, path) for path in ("/1", "/2", "/3")] == ["/1", "/2", "/3"]

    @BOTH
    def test_has_a_keyword(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            call = Call(server.serve_forever, poll_interval=0.05)
            assert text_from(server, "/1") == "/1"
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
            assert text_from(server, "/1") == "/1"
            Call(server.shutdown).result()
            call.result()

    @BOTH
    def test_is_left_by_shutdown_from_a_handler(self, kind: Any) -> None:
        def text(self: Handler) -> str:
            self.server.shutdown()
            return "the last one"

        with kind(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            assert text_from(server) == "the last one"
            call.result()

    @BOTH
    def test_is_left_by_shutdown_from_a_thread_of_a_handler(self, kind: Any) -> None:
        """The idiom that does not block http.server either."""

        def text(self: Handler) -> str:
            threading.Thread(target=self.server.shutdown).start()
            return "the last one"

        with kind(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            assert text_from(server) == "the last one"
            call.result()

    @BOTH
    def test_shutdown_comes_before_it(self, kind: Any) -> None:
        """The next call returns at once, and the one after it serves."""
        with kind(HERE, Handler) as server:
            Call(server.shutdown).result()
            Call(server.serve_forever).result()
            call = Call(server.serve_forever)
            assert text_from(server, "/1") == "/1"
            server.shutdown()
            call.result()

    @BOTH
    def test_serves_again(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            for path in ("/1", "/2", "/3"):
                call = Call(server.serve_forever)
                assert text_from(server, path) == path
                server.shutdown()
                call.result()

    @BOTH
    def test_silent_connection_stops_nobody(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        with serving(server):
            with socket.create_connection(server.server_address, BOUND):
                assert text_from(server, "/1") == "/1"

    def test_shutdown_waits_for_the_handler_of_a_serial_server(self) -> None:
        began, go = threading.Event(), threading.Event()

        def text(self: Handler) -> str:
            began.set()
            go.wait(BOUND)
            return "whole"

        with HTTPServer(HERE, handler(text)) as server:
            call = Call(server.serve_forever)
            answer = Call(text_from, server)
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
            assert text_from(server, "/1") == "/1"
            call.result()

    @BOTH
    def test_serves_several_in_a_row(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            for path in ("/1", "/2", "/3"):
                call = Call(server.handle_request)
                assert text_from(server, path) == path
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
            set_timeout(server, where, 0.01)
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
            assert text_from(server, "/1") == "/1"
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
            answer = Call(text_from, server)
            call.result()
            go.set()
            assert answer.result() == "whole"

    @BOTH
    def test_tls(self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext) -> None:
        with in_tls(kind(HERE, Handler), certificate) as server:
            for path in ("/1", "/2"):
                call = Call(server.handle_request)
                assert text_from(server, path, client) == path
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
            assert text_from(server, "/1", client) == "/1"
            call.result()

    @BOTH
    def test_after_and_before_serve_forever(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            for serve in (server.handle_request, server.serve_forever, server.handle_request):
                call = Call(serve)
                assert text_from(server, "/1") == "/1"
                if serve == server.serve_forever:
                    server.shutdown()
                call.result()

    def test_raises_what_ends_a_serial_handler(self) -> None:
        def text(self: Handler) -> str:
            sys.exit(3)

        with HTTPServer(HERE, handler(text)) as server:
            call = Call(server.handle_request)
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                text_from(server)
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
                assert text_from(server, "/1") == "/1"
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
