"""More programs of http.server in the manner of public code, by http.server and by aiohttpd.compat.

As in test_old_programs: each is a function of the module that its names come from, and returns what has been seen.
"""

import asyncio
import concurrent.futures
import contextlib
import decimal
import functools
import http
import http.client
import http.server
import io
import json
import os
import queue
import select
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import aiohttpd
from aiohttpd import compat

from ..support.old_servers import BOUND, HERE, Call, does_the_same, in_thread, lines, quiet, talk

PROGRAMS: dict[str, Callable[[Any, Path], Any]] = {}


def program(function: Callable[[Any, Path], Any]) -> Callable[[Any, Path], Any]:
    PROGRAMS[function.__name__] = function
    return function


def ask(address: Any, method: str = "GET", path: str = "/", body: Any = None, **fields: str) -> tuple[int, str, bytes]:
    """Status, type and content of one answer."""
    connection = http.client.HTTPConnection(*address[:2], timeout=BOUND)
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        with connection.getresponse() as response:
            return response.status, response.getheader("Content-Type", ""), response.read()


@program
def attributes_of_every_name(lib: Any, folder: Path) -> Any:
    """The server carries what the program has, under the names that come to mind."""
    names = (  # noqa: SIM905
        "config app loop log logger state options args context sockets connections handler handlers routes engine "
        "pool executor workers threads queue lock running stopping closed started url host port root directory "
        "cache session sessions stats metrics db conn protocol ssl tls wsgi asgi lifespan limits name address "
        "tasks clients stop start run close wait join serve listen keep kept caller thread finish process accept "
        "peer peers request response settings hooks callbacks result error event done data messages received auth "
        "token password"
    ).split()

    class Server(lib.ThreadingHTTPServer):  # type: ignore[misc]
        def __init__(self, settings: Any, *args: Any) -> None:
            vars(self).update(settings)
            super().__init__(*args)

    class Shows(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        config = "class"
        app = {"a": 1}
        loop = None
        log = []
        state = "idle"
        query = body = form = cookies = url = session = "own"

        def do_GET(self) -> None:
            self.log.append(self.path)
            found = [getattr(self.server, name) for name in names]
            self.send_response(200)
            self.end_headers()
            own = [self.config, self.app, self.loop, self.state, self.query, self.body, self.form, self.cookies]
            self.wfile.write(json.dumps([found, own, self.url, self.session]).encode())

    with in_thread(Server({name: name.upper() for name in names}, HERE, Shows)) as server:
        return ask(server.server_address), ask(server.server_address), Shows.log


@program
def client_that_leaves(lib: Any, folder: Path) -> Any:
    """Streams until the client has gone, which is a broken pipe, and nothing else."""
    seen: queue.Queue[Any] = queue.Queue()

    class Streams(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"data: tick\n\n")
                    self.wfile.flush()
                    time.sleep(0.005)
            except BrokenPipeError as error:
                seen.put((error.errno, str(error).partition(":")[0], isinstance(error, ConnectionError)))

    with in_thread(lib.ThreadingHTTPServer(HERE, Streams)) as server:
        with socket.create_connection(server.server_address, BOUND) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            client.recv(1000)
            client.shutdown(socket.SHUT_WR)  # so that it is closed by FIN, whatever has not been read
            while b"tick" not in client.recv(1000):
                pass
        return seen.get(timeout=BOUND)


@program
def context_of_the_program(lib: Any, folder: Path) -> Any:
    """Serial handlers have the context variables of their thread, such as the precision of decimal."""

    class Divides(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            decimal.getcontext().prec += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(str(decimal.Decimal(1) / 3).encode())

    class ByConnection(Divides):
        def handle(self) -> None:
            super().handle()

    def serve(server: Any, how: str) -> int:
        decimal.setcontext(decimal.Context(prec=5))
        getattr(server, how)()
        return decimal.getcontext().prec

    seen = []
    for cls in (Divides, ByConnection):
        for how in ("serve_forever", "handle_request"):
            with lib.HTTPServer(HERE, cls) as server:
                call = Call(serve, server, how)
                seen.append(ask(server.server_address))
                if how == "serve_forever":
                    seen.append(ask(server.server_address))
                    server.shutdown()
                seen.append(call.result())
    return seen


@program
def function_test(lib: Any, folder: Path) -> Any:
    """``http.server.test``, which serves until Ctrl-C."""
    made: queue.Queue[Any] = queue.Queue()

    class Server(lib.ThreadingHTTPServer):  # type: ignore[misc]
        def server_activate(self) -> None:
            super().server_activate()
            made.put(self)

    class Shows(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response(lib.HTTPStatus.OK)
            self.end_headers()
            self.wfile.write(self.protocol_version.encode())

    with contextlib.redirect_stdout(io.StringIO()) as said:
        call = Call(lib.test, Shows, Server, "HTTP/1.1", 0, "127.0.0.1")
        server = made.get(timeout=BOUND)
        answer = talk(server.server_address, b"GET / HTTP/1.0\r\n\r\n")
        server.shutdown()
        call.result()
    return lines(answer)[-1], said.getvalue().count(str(server.server_port))


@program
def attributes_of_handlers(lib: Any, folder: Path) -> Any:
    """The same for instances: an __init__ that sets them and goes on, and slots of the class."""
    names = (  # noqa: SIM905
        "config app loop log logger state options exchange head body query url form cookies session user context "
        "transport writer reader output status answer answered task closes peer kind lock cache data result error "
        "json text params args kwargs method uri version host port scheme length content_type encoding db route "
        "routes started begun finished request_id buffer stream response_headers response_code response_status"
    ).split()

    class Shows(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def __init__(self, extra: Any, *args: Any) -> None:
            for name in names:
                setattr(self, name, extra + name)
            super().__init__(*args)

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(" ".join(getattr(self, name) for name in names).encode())

    with in_thread(lib.HTTPServer(HERE, functools.partial(Shows, "x"))) as server:
        return ask(server.server_address)


@program
def pool_of_its_own(lib: Any, folder: Path) -> Any:
    """PooledHTTPServer: process_request hands to an executor, which the server makes in its __init__."""

    class Pooled(lib.HTTPServer):  # type: ignore[misc]
        def __init__(self, handler: Any, host: str = "127.0.0.1", port: int = 0, max_workers: int = 4) -> None:
            self.pool = concurrent.futures.ThreadPoolExecutor(max_workers)
            self.lock = threading.Lock()
            self.count = 0
            super().__init__((host, port), handler)

        def process_request(self, request: Any, client_address: Any) -> None:
            self.pool.submit(self.work, request, client_address)

        def work(self, request: Any, client_address: Any) -> None:
            try:
                self.finish_request(request, client_address)
            except Exception:
                self.handle_error(request, client_address)
            finally:
                self.shutdown_request(request)

        def server_close(self) -> None:
            super().server_close()
            self.pool.shutdown(wait=True)

    together = threading.Barrier(4, timeout=BOUND)

    class Waits(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            together.wait()
            with self.server.lock:
                self.server.count += 1
            self.send_response(200)
            self.end_headers()
            self.wfile.write(threading.current_thread().name.rpartition("_")[0][:18].encode())

    with in_thread(Pooled(Waits)) as server:
        calls = [Call(ask, server.server_address) for _ in range(4)]
        return {call.result() for call in calls}, server.count


@program
def bounded_threads(lib: Any, folder: Path) -> Any:
    """A ThreadingMixIn with a semaphore in process_request and a thread class of its own."""

    class Bounded(lib.ThreadingMixIn, lib.HTTPServer):  # type: ignore[misc]
        daemon_threads = True

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.slots = threading.BoundedSemaphore(3)
            self.most = self.now = 0

        def process_request(self, request: Any, client_address: Any) -> None:
            self.slots.acquire()
            super().process_request(request, client_address)

        def process_request_thread(self, request: Any, client_address: Any) -> None:
            try:
                super().process_request_thread(request, client_address)
            finally:
                self.slots.release()

    class Counts(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        lock = threading.Lock()

        def do_GET(self) -> None:
            with self.lock:
                self.server.now += 1
                self.server.most = max(self.server.most, self.server.now)
            time.sleep(0.05)
            with self.lock:
                self.server.now -= 1
            self.send_response(204)
            self.end_headers()

    with in_thread(Bounded(HERE, Counts)) as server:
        calls = [Call(ask, server.server_address) for _ in range(9)]
        return [call.result() for call in calls], server.most


@program
def restarted_on_the_same_port(lib: Any, folder: Path) -> Any:
    """Stops and is made anew at once, with a client that keeps its connection."""
    port, seen = 0, []

    class Keeps(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1")
            self.end_headers()
            self.wfile.write(b"%d" % self.server.number)

    for number in range(4):
        httpd = lib.ThreadingHTTPServer(("127.0.0.1", port), Keeps)
        httpd.number = number
        port = httpd.server_address[1]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND)
        for _ in range(2):
            connection.request("GET", "/")
            seen.append(connection.getresponse().read())
        httpd.shutdown()
        httpd.server_close()
        thread.join(BOUND)
        connection.close()
    return seen


@program
def select_on_servers(lib: Any, folder: Path) -> Any:
    """One thread for two servers, by select on the server objects, and by selectors with handle_request."""

    class Names(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.server.hits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.title + self.path.encode())

    with lib.HTTPServer(HERE, Names) as one, lib.HTTPServer(HERE, Names) as two, selectors.DefaultSelector() as waits:
        for server, title in ((one, b"one"), (two, b"two")):
            server.title, server.hits = title, []
        calls = [Call(ask, server.server_address, "GET", f"/{n}") for n in range(3) for server in (one, two)]
        while len(one.hits) + len(two.hits) < 6:
            for server in select.select([one, two], [], [], BOUND)[0]:
                server.handle_request()
        seen = [call.result() for call in calls]
        for server in (one, two):
            waits.register(server.fileno(), selectors.EVENT_READ, server)
        calls = [Call(ask, server.server_address, "GET", "/last") for server in (one, two)]
        while len(one.hits) + len(two.hits) < 8:
            for key, _ in waits.select(BOUND):
                key.data.handle_request()
        return seen + [call.result() for call in calls]


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    ca = trustme.CA()
    certificate = ca.issue_cert("127.0.0.1")
    cert, key = folder / "cert.pem", folder / "key.pem"
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    certificate.private_key_pem.write_to_path(key)
    client = ssl.create_default_context()
    ca.configure_trust(client)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(cert, key)
    return server, client


def fetch(address: Any, tls: ssl.SSLContext, path: str = "/") -> tuple[int, bytes]:
    connection = http.client.HTTPSConnection(*address[:2], timeout=BOUND, context=tls)
    with contextlib.closing(connection):
        connection.request("GET", path)
        with connection.getresponse() as response:
            return response.status, response.read()


@program
def tls_in_every_place(lib: Any, folder: Path) -> Any:
    """The context wraps before bind, after it, after activation, in __init__, and in get_request."""
    context, client = contexts(folder)

    class Secret(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode() + b" " + str(isinstance(self.connection, ssl.SSLSocket)).encode())
            self.wfile.write(str(self.request.version()).encode() + str(self.connection.getpeercert()).encode())

    def late(cls: Any) -> Any:
        httpd = cls(HERE, Secret, bind_and_activate=False)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        httpd.allow_reuse_address = True
        httpd.server_bind()
        httpd.server_activate()
        return httpd

    def bound(cls: Any) -> Any:
        httpd = cls(HERE, Secret, bind_and_activate=False)
        httpd.server_bind()
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
        httpd.server_activate()
        return httpd

    def after(cls: Any) -> Any:
        httpd = cls(HERE, Secret)
        httpd.socket = context.wrap_socket(sock=httpd.socket, server_side=True)
        return httpd

    def inside(cls: Any) -> Any:
        class Own(cls):  # type: ignore[misc]
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                self.socket = context.wrap_socket(self.socket, server_side=True)

        return Own(HERE, Secret)

    def each(cls: Any) -> Any:
        class Own(cls):  # type: ignore[misc]
            def get_request(self) -> Any:
                sock, address = super().get_request()
                return context.wrap_socket(sock, server_side=True), address

        return Own(HERE, Secret)

    def each_later(cls: Any) -> Any:
        class Own(cls):  # type: ignore[misc]
            def get_request(self) -> Any:
                sock, address = self.socket.accept()
                sock.settimeout(BOUND)
                return context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

        return Own(HERE, Secret)

    seen = []
    for make in (late, bound, after, inside, each, each_later):
        for cls in (lib.HTTPServer, lib.ThreadingHTTPServer):
            with in_thread(make(cls)) as server:
                seen.append((make.__name__, fetch(server.server_address, client), fetch(server.server_address, client)))
    return seen


@program
def man_in_the_middle(lib: Any, folder: Path) -> Any:
    """A proxy that wraps the connection in do_CONNECT, and goes on with the files of that."""
    context, client = contexts(folder)

    class Intercepts(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        protocol_version = "HTTP/1.1"
        timeout = BOUND

        def do_CONNECT(self) -> None:
            self.send_response(200, "Connection Established")
            self.end_headers()
            self.connection = context.wrap_socket(self.connection, server_side=True)
            self.rfile = self.connection.makefile("rb", self.rbufsize)
            self.wfile = self.connection.makefile("wb", self.wbufsize)
            self.close_connection = self.headers.get("Proxy-Connection", "") == "close"

        def do_GET(self) -> None:
            content = f"{self.connection.version()} {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            self.wfile.flush()

    seen = []
    for cls in (lib.HTTPServer, lib.ThreadingHTTPServer):
        with in_thread(cls(HERE, Intercepts)) as server:
            connection = http.client.HTTPSConnection(*server.server_address, timeout=BOUND, context=client)
            with contextlib.closing(connection):
                connection.set_tunnel("127.0.0.1", 443)
                for path in ("/a", "/b"):
                    connection.request("GET", path)
                    seen.append(connection.getresponse().read())
    return seen


@program
def hangs_up(lib: Any, folder: Path) -> Any:
    """A server for tests of clients: it closes without a word, or with a reset."""

    class Faulty(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            if self.path == "/shutdown":
                self.connection.shutdown(socket.SHUT_RDWR)
            elif self.path == "/reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif self.path == "/whole":
                self.send_response(204)
                self.end_headers()
            self.request.close()

    seen: list[Any] = []
    for cls in (lib.HTTPServer, lib.ThreadingHTTPServer):
        with in_thread(cls(HERE, Faulty)) as server:
            for path in (b"/close", b"/shutdown", b"/reset", b"/whole"):
                try:
                    seen.append(lines(talk(server.server_address, b"GET %b HTTP/1.0\r\n\r\n" % path)))
                except ConnectionResetError:
                    seen.append("reset")
    return seen


@program
def ends_its_server(lib: Any, folder: Path) -> Any:
    """A handler that answers, and raises what ends the loop of its server."""

    class Done(Exception):
        pass

    class Raises(lib.HTTPServer):  # type: ignore[misc]
        def handle_error(self, request: Any, client_address: Any) -> None:
            raise  # what it has been called for

    seen = []
    for error in (KeyboardInterrupt, SystemExit, Done):

        class Last(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"the last one")
                raise error  # noqa: B023

        with Raises(HERE, Last) as server:
            answer = Call(ask, server.server_address)
            with pytest.raises(error):
                server.serve_forever()
        seen.append(answer.result())
    return seen


@program
def exits_in_its_thread(lib: Any, folder: Path) -> Any:
    class Exits(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"done")
            raise SystemExit  # which ends a thread, and nothing else

    with in_thread(lib.ThreadingHTTPServer(HERE, Exits)) as server:
        return ask(server.server_address)


@program
def expectations(lib: Any, folder: Path) -> Any:
    """100-continue refused by an override, and sent by hand."""

    class Refuses(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        protocol_version = "HTTP/1.1"

        def handle_expect_100(self) -> bool:
            if int(self.headers["Content-Length"]) > 10:
                self.send_error(417)
                self.close_connection = True
                return False
            return bool(super().handle_expect_100())

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response_only(200)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(content)

    class ByHand(Refuses):
        def handle_expect_100(self) -> bool:
            return True

        def do_PUT(self) -> None:
            self.send_response_only(100)
            self.end_headers()
            super().do_PUT()

    seen = []
    for cls in (Refuses, ByHand):
        with in_thread(lib.ThreadingHTTPServer(HERE, cls)) as server:
            for size in (4, 40):
                with socket.create_connection(server.server_address, BOUND) as sock, sock.makefile("rb") as file:
                    sock.sendall(
                        b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % size
                    )
                    seen.append(file.readline())
                    if seen[-1] == b"HTTP/1.1 100 Continue\r\n":
                        sock.sendall(b"\r" * size)
                        seen.append(file.read())
    return seen


class TestPrograms:
    @pytest.mark.parametrize("name", PROGRAMS)
    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # some forget their server
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_does_the_same(self, name: str, tmp_path: Path) -> None:
        does_the_same(PROGRAMS[name], tmp_path)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork() beside threads
@pytest.mark.parametrize("module", [http.server, compat])
def test_an_answer_of_a_child(module: Any) -> None:
    """What the child of a handler writes is not lost without a word: it is told what to do, and that works."""
    told, tells = os.pipe()

    class Forks(quiet(module.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.flush()
            if self.path == "/asked":
                self.connection.fileno()
            if not (pid := os.fork()):
                try:
                    self.wfile.write(b"of the child")
                except OSError as error:
                    os.write(tells, str(error).encode())
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)

    with in_thread(module.HTTPServer(HERE, Forks)) as server:
        assert ask(server.server_address, "GET", "/asked")[2] == b"of the child"
        answer = ask(server.server_address)[2]
    os.close(tells)
    with open(told, "rb") as pipe:
        says = pipe.read()
    assert (answer, says) == (b"of the child", b"") or (answer == b"" and b"call fileno() before the fork" in says)


async def test_exit_in_a_thread_of_ours() -> None:
    """What has been written before ``sys.exit()`` is the answer, for the engine itself as well."""

    class Exits(quiet(http.server.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"done")
            sys.exit()

    class ByConnection(Exits):
        def handle(self) -> None:
            super().handle()

    for cls in (Exits, ByConnection):
        async with aiohttpd.HTTPServer(HERE, cls) as server:
            answer = await asyncio.to_thread(talk, ("127.0.0.1", server.server_port), b"GET / HTTP/1.0\r\n\r\n")
            assert lines(answer) == [b"HTTP/1.0 200 OK", b"", b"done"]
