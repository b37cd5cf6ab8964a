"""aiohttpd.compat: how long a server lives, and its port with it."""

import contextlib
import gc
import os
import socket
import socketserver
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from typing import Any, cast

import pytest

from aiohttpd.compat import HTTPServer, ThreadingHTTPServer, ThreadingMixIn, loop_thread

from ..support.old_servers import HERE, Call, Handler, handler, listens, text_at
from ..support.waiting import BOUND, block_until

pytestmark = [
    pytest.mark.usefixtures("no_thread_left"),
    # the warnings of sockets that nobody has closed are right
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
BOTH = pytest.mark.parametrize("kind", [HTTPServer, ThreadingHTTPServer])


@pytest.fixture(autouse=True)
def by_reference() -> Iterator[None]:
    """No cycle is collected: what goes, goes with its last reference."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Gone:
    """A server that nobody has any more."""

    def __init__(self, server: Any) -> None:
        self.address = server.server_address
        self._gone = threading.Event()
        weakref.finalize(server, self._gone.set).atexit = False

    def check(self) -> None:
        assert self._gone.wait(BOUND), "somebody has it"
        block_until(lambda: not listens(self.address))  # its attributes go a moment later
        with socket.socket() as again:  # what a second run does
            again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            again.bind(self.address)


@BOTH
class TestForgotten:
    def test_unused(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        gone = Gone(server)
        del server
        gone.check()

    def test_after_handle_request(self, kind: Any) -> None:
        """A callback of OAuth, twice."""
        for _ in range(2):
            server = kind(HERE, Handler)
            answer = Call(text_at, server.server_address, "/callback?code=1")
            Call(server.handle_request).result()
            assert answer.result() == "/callback?code=1"
            gone = Gone(server)
            del server
            gone.check()

    def test_before_the_handler_has_ended(self, kind: Any) -> None:
        """The answer is whole, though the program has gone on."""
        begun, go = threading.Event(), threading.Event()

        def text(self: Handler) -> str:
            begun.set()
            go.wait(BOUND)
            return "whole"

        server = kind(HERE, handler(text))
        gone = Gone(server)
        answer = Call(text_at, server.server_address)
        call = Call(server.handle_request)
        assert begun.wait(BOUND)
        del server
        go.set()
        assert answer.result() == "whole"
        call.result()
        del call
        gone.check()

    def test_beside_a_silent_client(self, kind: Any) -> None:
        """Browsers connect once more than they need to."""
        server = kind(HERE, Handler)
        gone = Gone(server)
        with socket.create_connection(server.server_address, BOUND):
            answer = Call(text_at, server.server_address)
            Call(server.handle_request).result()
            if kind is ThreadingHTTPServer:  # the silent one has been its first
                Call(server.handle_request).result()
            assert answer.result() == "/"
            if kind is HTTPServer:
                del server
                gone.check()

    def test_after_serve_forever(self, kind: Any) -> None:
        server = kind(HERE, Handler)
        gone = Gone(server)
        call = Call(server.serve_forever)
        assert text_at(server.server_address) == "/"
        server.shutdown()
        call.result()
        del server, call
        gone.check()

    def test_after_an_error_in_a_handler(self, kind: Any, capfd: pytest.CaptureFixture[str]) -> None:
        def text(self: Handler) -> str:
            raise LookupError("nothing there")

        server = kind(HERE, handler(text))
        gone = Gone(server)
        answer = Call(text_at, server.server_address)
        Call(server.handle_request).result()
        assert answer.result().startswith("500")
        assert "LookupError" in capfd.readouterr().err
        del server
        gone.check()

    def test_after_an_exception_out_of_serve_forever(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            def service_actions(self) -> None:
                raise LookupError("no more")

        server = Server(HERE, Handler)
        gone = Gone(server)
        call = Call(server.serve_forever, 0.01)
        with pytest.raises(LookupError):
            call.result()
        del server, call
        gc.collect()  # the traceback, a cycle of this test's
        gone.check()

    def test_with_hooks(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            def verify_request(self, request: Any, client_address: Any) -> bool:
                return True

            def process_request(self, request: Any, client_address: Any) -> None:
                super().process_request(request, client_address)

        for serve in (Server.handle_request, Server.serve_forever):
            server = Server(HERE, Handler)
            gone = Gone(server)
            call = Call(serve, server)
            assert text_at(server.server_address) == "/"
            if serve is Server.serve_forever:
                server.shutdown()
            call.result()
            del server, call
            gone.check()

    def test_init_fails(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                gone.append(Gone(self))
                raise LookupError("no settings")

        gone: list[Gone] = []
        with contextlib.suppress(LookupError):
            Server(HERE, Handler)
        gone[0].check()

    def test_bind_fails(self, kind: Any) -> None:
        class Server(kind):  # type: ignore[misc]
            allow_reuse_address = allow_reuse_port = False

        with kind(HERE, Handler) as taken, pytest.raises(OSError, match="in use"):
            Server(taken.server_address, Handler)

    def test_closes_itself_at_its_end(self, kind: Any) -> None:
        """The idiom of those who want to be sure."""

        class Server(kind):  # type: ignore[misc]
            def __del__(self) -> None:
                self.server_close()

        server = Server(HERE, Handler)
        gone = Gone(server)
        answer = Call(text_at, server.server_address)
        Call(server.handle_request).result()
        assert answer.result() == "/"
        del server
        gone.check()

    def test_cycle_of_the_programs(self, kind: Any) -> None:
        """The collector takes it, as any other."""
        seen: list[Any] = []

        def text(self: Handler) -> str:
            server: Any = self.server
            server.last = self
            return "seen"

        server = kind(HERE, handler(text))
        gone = Gone(server)
        answer = Call(text_at, server.server_address)
        Call(server.handle_request).result()
        assert answer.result() == "seen"
        del server, seen
        for thread in threading.enumerate():
            if thread.name.startswith("aiohttpd-worker"):
                thread.join(0.1)
        gc.collect()
        gone.check()


@BOTH
def test_a_thread_that_serves_has_it(kind: Any) -> None:
    """As there: nothing ends by being forgotten while somebody serves it."""
    server = kind(HERE, Handler)
    address = server.server_address
    seen = weakref.ref(server)
    Call(server.serve_forever)
    assert text_at(address) == "/"
    del server
    gc.collect()
    assert text_at(address) == "/"
    again = seen()
    assert again is not None
    again.shutdown()
    again.server_close()


@BOTH
def test_who_waits_is_for_the_next_one(kind: Any) -> None:
    """Between two calls connections wait in the backlog, and nobody loses them."""
    with kind(HERE, Handler) as server:
        call = Call(server.serve_forever)
        assert text_at(server.server_address) == "/"
        server.shutdown()
        call.result()
        answer = Call(text_at, server.server_address)
        Call(server.handle_request).result()
        assert answer.result() == "/"
        assert server.socket.gettimeout() is None
        assert os.get_blocking(server.fileno())


@BOTH
def test_one_socket_of_two_servers(kind: Any) -> None:
    """Who ends leaves the socket non-blocking for the other: its loop would wait in accept() for a client."""
    with kind(HERE, Handler) as first, kind(HERE, Handler, False) as second:
        second.socket.close()
        second.socket = first.socket
        calls = [Call(server.serve_forever) for server in (first, second)]
        for n in range(4):
            assert text_at(first.server_address, f"/{n}") == f"/{n}"
        for server, call, blocking in zip((first, second), calls, (False, True), strict=True):
            server.shutdown()
            call.result()
            assert os.get_blocking(first.fileno()) == blocking


@pytest.mark.parametrize("close", ["", "server.server_close()", "server.shutdown()"])
@pytest.mark.parametrize("where", ["ThreadingHTTPServer", "HTTPServer", "Own"])
def test_answers_are_whole_when_the_program_ends(where: str, close: str) -> None:
    """What a handler has written has left, as there, whoever ends the program and however."""
    code = f"""
import sys, threading
from aiohttpd.compat import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

done = threading.Event()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "300000")
        self.end_headers()
        self.wfile.write(b"x" * 300000)
        done.set()

    def log_message(self, *args):
        pass

class Own(HTTPServer):
    def process_request(self, request, client_address):
        threading.Thread(target=self.work, args=(request, client_address), daemon=True).start()

    def work(self, request, client_address):
        self.finish_request(request, client_address)
        self.shutdown_request(request)

server = {where}(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
done.wait()
{close}
sys.exit(7)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            assert len(text_at(("127.0.0.1", port))) == 300000
            _, err = process.communicate(timeout=BOUND)
        finally:
            process.kill()
    assert (process.returncode, err) == (7, "")


def test_program_does_not_end_before_threads_that_are_no_daemons() -> None:
    """As there, though nobody has closed the server; a handler in a daemon is left behind."""
    code = """
import sys, threading, time
from aiohttpd.compat import *

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        begun.set()
        time.sleep(0.5)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass

class Server(ThreadingMixIn, HTTPServer):
    pass

begun = threading.Event()
server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
begun.wait()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert text_at(("127.0.0.1", int(process.stdout.readline()))).startswith("204")
            assert process.wait(BOUND) == 0
        finally:
            process.kill()


class TestHandlersOfOnesOwn:
    def test_real_socket(self) -> None:
        """Who accepts himself has a socket, and the handler gets it."""
        with HTTPServer(HERE, Handler) as server:
            answer = Call(text_at, server.server_address)
            request, address = server.get_request()
            server.process_request(request, address)
            assert answer.result() == "/"

    def test_real_socket_in_a_thread(self) -> None:
        class Server(ThreadingMixIn, HTTPServer):
            pass

        with Server(HERE, Handler) as server:
            answer = Call(text_at, server.server_address)
            server.process_request(*server.get_request())
            assert answer.result() == "/"

    @pytest.mark.skipif(not hasattr(socketserver, "ForkingMixIn"), reason="of POSIX")
    @pytest.mark.parametrize("serve", ["serve_forever", "handle_request"])
    def test_forks_are_told_of(self, serve: str) -> None:
        class Server(socketserver.ForkingMixIn, HTTPServer):
            pass

        with Server(HERE, Handler) as server:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(RuntimeWarning, match=r"ThreadingMixIn.*workers"):
                    getattr(server, serve)()
            with warnings.catch_warnings(record=True) as told:
                warnings.simplefilter("always")
                call = Call(getattr(server, serve))
                assert text_at(server.server_address) == "/"
                server.shutdown()
                call.result()
            assert [warning.category for warning in told if warning.category is RuntimeWarning] == [RuntimeWarning]


def test_a_program_that_ends_at_once_waits_for_the_first_answer() -> None:
    """The program may end before the thread that has started the loop goes on."""
    known: list[bool] = []

    class Server:
        connections: tuple[()] = ()
        in_flight = 0

        async def start(self) -> None:
            known.append(threading.current_thread() in loop_thread._running)

        async def serve_forever(self) -> None: ...

    loop_thread.LoopThread(cast(Any, Server()), patient=False).join()
    assert known == [True]
