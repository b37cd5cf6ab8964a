"""aiohttpd.compat: attributes, factories, TLS, threads and Ctrl-C."""

import contextlib
import functools
import http.client
import os
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
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

from ..support.old_handlers import loud
from ..support.old_servers import HERE, Call, Handler, handler, in_tls, serving, text_from
from ..support.waiting import BOUND

BOTH = pytest.mark.parametrize("kind", [HTTPServer, ThreadingHTTPServer])

pytestmark = pytest.mark.usefixtures("no_thread_left")


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
            assert text_from(server, "/1") == "/1"

    @BOTH
    def test_bind_and_activate(self, kind: Any) -> None:
        server = kind(HERE, Handler, bind_and_activate=False)
        server.allow_reuse_address = True
        server.server_bind()
        server.server_activate()
        with serving(server):
            assert text_from(server, "/1") == "/1"

    @BOTH
    def test_socket_of_ones_own(self, kind: Any) -> None:
        server = kind(HERE, Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = socket.create_server(HERE)
        server.server_address = server.socket.getsockname()
        with serving(server):
            assert text_from(server, "/1") == "/1"

    @BOTH
    def test_closed(self, kind: Any) -> None:
        with kind(HERE, Handler) as server:
            pass
        for call in (server.serve_forever, server.handle_request):
            with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
                call()

    def test_another_protocol(self, caplog: pytest.LogCaptureFixture) -> None:
        """FAULT: a script that imports compat for socketserver, too, has an echo server that answers 400."""

        class Echo(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(self.rfile.readline())

        with serving(server := TCPServer(HERE, Echo)):
            for line in (b"GET / HTTP/1.1\r\n\r\n", b"hello\r\n", b"again\r\n"):
                with socket.create_connection(server.server_address, BOUND) as client:
                    client.sendall(line)
                    assert client.recv(100).startswith(b"HTTP/1.1 400 ")
        [message] = loud(caplog)  # once
        assert message.startswith("a client has begun by b'hello', which is no HTTP")
        assert "from socketserver" in message

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
            assert text_from(server) == "old"
            server.RequestHandlerClass = handler(lambda self: "new")
            assert text_from(server) == "new"

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
            assert text_from(server, "/1") == text_from(server, "/2") == "hello"
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
            calls = [Call(text_from, server, path) for path in ("/1", "/2")]
            assert [call.result() for call in calls] == ["/1", "/2"]

    @BOTH
    def test_server_is_that_very_object(self, kind: Any) -> None:
        seen = []

        def text(self: Handler) -> str:
            seen.append(self.server)
            return "seen"

        server = kind(HERE, handler(text))
        with serving(server):
            text_from(server)
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
            assert [text_from(server) for _ in range(3)] == ["True"] * 3
        assert (Counts.by_type, Counts.by_class, Counts.by_name) == (3, 3, 3)

    def test_tcp_server(self) -> None:
        """Seen with http.server's handlers as often as HTTPServer."""
        server = TCPServer(HERE, Handler)
        with serving(server):
            assert text_from(server, "/1") == "/1"
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
            assert text_from(server) == "hello"

    @BOTH
    def test_closure(self, kind: Any) -> None:
        def make(*args: Any) -> Any:
            return self.Greets(*args, greeting="hello")

        server = kind(HERE, make)
        with serving(server):
            assert text_from(server) == "hello"

    @BOTH
    def test_type(self, kind: Any) -> None:
        server = kind(HERE, type("Made", (Handler,), {"text": lambda self: "hello"}))
        with serving(server):
            assert text_from(server) == "hello"

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
            assert text_from(server) == "early False"


class TestTLS:
    @BOTH
    def test_wrapped_socket(self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext) -> None:
        server = in_tls(kind(HERE, handler(lambda self: self.connection.version())), certificate)
        with serving(server):
            assert text_from(server, "/", client).startswith("TLSv1.")
            assert text_from(server, "/", client).startswith("TLSv1.")

    @BOTH
    def test_silent_connection_stops_nobody(
        self, kind: Any, certificate: tuple[str, str], client: ssl.SSLContext
    ) -> None:
        server = in_tls(kind(HERE, Handler), certificate)
        with serving(server):
            with socket.create_connection(server.server_address, BOUND):
                assert text_from(server, "/1", client) == "/1"

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
                assert text_from(server, "/1", client) == "/1"
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
            assert text_from(server, "/1", client) == "/1"
            assert text_from(server, "/2", client) == "/2"

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
            assert text_from(server, "/", client) == "http/1.1"
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
            assert text_from(server, "/", client) == "own/1"

    def test_https_server_wants_a_certificate(self, tmp_path: Path) -> None:
        with pytest.raises(TypeError, match="certfile"):
            HTTPSServer(HERE, Handler)  # type: ignore[call-arg]
        with pytest.raises(FileNotFoundError):
            HTTPSServer(HERE, Handler, certfile=str(tmp_path / "none.pem"))


def name_thread(self: Handler) -> str:
    return str(threading.get_ident())


class Misordered(HTTPServer, ThreadingMixIn):
    """The methods of ThreadingMixIn have no effect, since those of the server come before them."""


class TestThreads:
    @pytest.mark.parametrize("kind", [HTTPServer, Misordered])
    def test_serial_handlers_run_in_the_calling_thread(self, kind: Any) -> None:
        server = kind(HERE, handler(name_thread))
        with serving(server) as call:
            assert {text_from(server) for _ in range(3)} == {str(call.ident)}

    def test_handle_request_runs_them_there_too(self) -> None:
        with HTTPServer(HERE, handler(name_thread)) as server:
            answer = Call(text_from, server)
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
            calls = [Call(text_from, server) for _ in range(10)]
            assert [call.result() for call in calls] == ["True"] * 10

    def test_others_run_in_threads_of_their_own(self) -> None:
        both = threading.Barrier(2, timeout=BOUND)

        def text(self: Handler) -> str:
            both.wait()
            return name_thread(self)

        server = ThreadingHTTPServer(HERE, handler(text))
        with serving(server) as call:
            calls = [Call(text_from, server) for _ in range(2)]
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
        answer = Call(text_from, server)
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
        answer = Call(text_from, server)
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
            assert text_from(server, "/1") == "/1"
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
            assert text_from(server, "/1") == "/1"
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
