"""aiohttpd.compat: the hooks of socketserver, and what is raised in them."""

import contextlib
import http.client
import queue
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from aiohttpd.compat import HTTPServer, ThreadingHTTPServer

from ..support.old_servers import HERE, Call, Handler, handler, serving, text_from
from ..support.waiting import BOUND

BOTH = pytest.mark.parametrize("kind", [HTTPServer, ThreadingHTTPServer])

pytestmark = pytest.mark.usefixtures("no_thread_left")


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
            assert text_from(server, "/1") == "/1"
            with socket.create_connection(server.server_address, BOUND) as sock:
                assert sock.recv(1) == b""
            assert text_from(server, "/3") == "/3"
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
            assert text_from(server) == "somebody"
            with socket.create_connection(server.server_address, BOUND) as sock:
                assert sock.recv(1) == b""
            assert text_from(server) == "somebody"
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
                    assert text_from(server).startswith("own")

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
            assert text_from(server, "/hello.txt") == "hello"
            assert text_from(server, "/none.txt").startswith("404")

    def test_finish_request_that_calls_super(self, kind: Any) -> None:
        seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Server(kind):  # type: ignore[misc]
            def finish_request(self, request: Any, client_address: Any) -> None:
                super().finish_request(request, client_address)
                seen.put(client_address[0])

        server = Server(HERE, Handler)
        with serving(server):
            assert text_from(server, "/1") == "/1"
            assert seen.get(timeout=BOUND) == "127.0.0.1"

    def test_shutdown_request(self, kind: Any) -> None:
        seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Server(kind):  # type: ignore[misc]
            def shutdown_request(self, request: Any) -> None:
                seen.put(request)
                super().shutdown_request(request)

        server = Server(HERE, Handler)
        with serving(server):
            assert text_from(server, "/1") == "/1"
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
            assert text_from(server, "/1") == "/1"
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
            assert text_from(server, "/1") == "/1"
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
            assert text_from(server, "/raise").startswith("500")
            request, client_address, (cls, error, traceback) = seen.get(timeout=BOUND)
            assert cls is LookupError
            assert error.args == (client_address[1], request)
            assert traceback.tb_next is not None
            assert text_from(server, "/1") == "/1"
        assert seen.empty()

    def test_is_printed_once(self, kind: Any, capfd: pytest.CaptureFixture[str]) -> None:
        def text(self: Handler) -> str:
            raise LookupError("nothing there")

        server = kind(HERE, handler(text))
        with serving(server):
            text_from(server)
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
                text_from(server)
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
                text_from(server, "/raise")
            if kind is HTTPServer:
                with pytest.raises(LookupError, match="nothing there"):
                    call.result()
            else:
                assert text_from(server, "/1") == "/1"
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
                text_from(server, "/exit")
            with pytest.raises(SystemExit, match="3"):
                call.result()
            call = Call(server.serve_forever)  # it may go on
            assert text_from(server, "/1") == "/1"
            server.shutdown()
            call.result()

    def test_handler_in_a_thread_does_not(self, caplog: pytest.LogCaptureFixture) -> None:
        server = ThreadingHTTPServer(HERE, handler(self.text))
        with serving(server) as call:
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                text_from(server, "/exit")
            assert text_from(server, "/1") == "/1"
            assert call.is_alive()
        assert len([record for record in caplog.records if record.levelname == "ERROR"]) <= 1
        caplog.clear()
