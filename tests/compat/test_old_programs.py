"""Programs of http.server in the manner of public code, by http.server and by aiohttpd.compat: they do the same.

Each is a function of the module that its names come from, so the import is all that changes; it returns what its
clients have seen.
"""

import base64
import contextlib
import email
import functools
import http.client
import http.server
import io
import json
import os
import queue
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
import wsgiref.simple_server
import xmlrpc.client
import xmlrpc.server
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme

from aiohttpd import compat

from ..support.old_servers import HERE, STDLIB, Call, does_the_same, in_thread, quiet
from ..support.waiting import BOUND

PROGRAMS: dict[str, Callable[[Any, Path], Any]] = {}


def program(function: Callable[[Any, Path], Any]) -> Callable[[Any, Path], Any]:
    PROGRAMS[function.__name__] = function
    return function


def reply(
    server: Any, method: str, path: str, body: bytes | None = None, tls: ssl.SSLContext | None = None, **fields: str
) -> tuple[int, str, bytes]:
    """Status, type and content of one answer."""
    address = server.server_address[:2]
    connection: http.client.HTTPConnection = (
        http.client.HTTPConnection(*address, timeout=BOUND)
        if tls is None
        else http.client.HTTPSConnection(*address, timeout=BOUND, context=tls)
    )
    with contextlib.closing(connection):
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in fields.items()})
        with connection.getresponse() as response:
            return response.status, response.getheader("Content-Type", ""), response.read()


@program
def oauth_callback(lib: Any, folder: Path) -> Any:
    """Waits for one redirect, and is run twice on the same port."""
    port = 0
    seen = []
    for _ in range(2):

        class Callback(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
            def do_GET(self) -> None:
                query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
                self.server.authorization_code = query.get("code", [None])[0]
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<h1>You may close this window</h1>")

        server = lib.HTTPServer(("127.0.0.1", port), Callback)
        server.timeout = BOUND
        server.authorization_code = None
        port = server.server_port
        answer = Call(reply, server, "GET", "/callback?code=secret&state=1")
        while server.authorization_code is None:
            server.handle_request()
        seen.append((server.authorization_code, answer.result()))
        del server, answer  # nobody closes it
    return seen


@program
def webhooks(lib: Any, folder: Path) -> Any:
    """Puts what comes into a queue, for a worker."""

    class Receiver(lib.HTTPServer):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.events: queue.Queue[Any] = queue.Queue()
            self.config = {"secret": "s3cret"}
            self.log: list[Any] = []

    class Hook(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_POST(self) -> None:
            if self.headers.get("X-Secret") != self.server.config["secret"]:
                self.send_error(403)
                return
            length = int(self.headers["Content-Length"])
            self.server.events.put(json.loads(self.rfile.read(length)))
            self.send_response(202)
            self.end_headers()

    with in_thread(Receiver(HERE, Hook)) as server:
        answers = [
            reply(server, "POST", "/", json.dumps({"n": n}).encode(), X_Secret=secret)[0]
            for n, secret in enumerate(["s3cret", "wrong", "s3cret"])
        ]
        return answers, [server.events.get(timeout=BOUND) for _ in range(2)], server.events.empty()


@program
def mock_api(lib: Any, folder: Path) -> Any:
    """State on the server, routes in a table, requests kept."""

    class Mock(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            self.server.requests.append((self.command, self.path, self.rfile.read(size)))
            status, document = self.server.routes.get((self.command, self.path), (404, {"error": "no such route"}))
            content = json.dumps(document).encode()
            self.send_response(status, "Mocked")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

    server = lib.ThreadingHTTPServer(HERE, Mock)
    server.requests, server.state = [], {}
    server.routes = {("GET", "/users/1"): (200, {"id": 1}), ("POST", "/users"): (201, {"id": 2})}
    server.url = f"http://127.0.0.1:{server.server_port}"
    with in_thread(server):
        with urllib.request.urlopen(server.url + "/users/1", timeout=BOUND) as response:
            first = response.status, response.reason, json.load(response)
        rest = [reply(server, *what) for what in (("POST", "/users", b"{}"), ("DELETE", "/none"), ("PUT", "/", b"x"))]
    return first, rest, server.requests


@program
def ranges(lib: Any, folder: Path) -> Any:
    """The well-known subclass of SimpleHTTPRequestHandler with send_head and copyfile."""
    (folder / "data.bin").write_bytes(bytes(range(256)) * 16)

    class RangeRequestHandler(quiet(lib.SimpleHTTPRequestHandler)):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, directory=str(folder), **kwargs)

        def send_head(self) -> Any:
            if "Range" not in self.headers:
                self.range = None
                return super().send_head()
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            file = Path(self.translate_path(self.path)).open("rb")  # noqa: SIM115
            size = os.fstat(file.fileno()).st_size
            self.range = int(first), int(last or size - 1)
            if self.range[0] >= size:
                file.close()
                self.send_error(416, "Requested Range Not Satisfiable")
                return None
            self.send_response(206)
            self.send_header("Content-Range", "bytes {}-{}/{}".format(*self.range, size))
            self.send_header("Content-Length", str(self.range[1] - self.range[0] + 1))
            self.end_headers()
            return file

        def copyfile(self, source: Any, outputfile: Any) -> None:
            if self.range is None:
                super().copyfile(source, outputfile)
                return
            source.seek(self.range[0])
            outputfile.write(source.read(self.range[1] - self.range[0] + 1))

    with in_thread(lib.ThreadingHTTPServer(HERE, RangeRequestHandler)) as server:
        return [
            reply(server, "GET", "/data.bin", Range="bytes=10-19"),
            reply(server, "GET", "/data.bin", Range="bytes=4090-"),
            reply(server, "GET", "/data.bin"),
            reply(server, "GET", "/data.bin", Range="bytes=9999-")[0],
        ]


@program
def cors(lib: Any, folder: Path) -> Any:
    """A development server: fields for all, preflight, single page."""
    (folder / "index.html").write_text("<p>app")

    class Dev(quiet(lib.SimpleHTTPRequestHandler)):  # type: ignore[misc]
        def end_headers(self) -> None:
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Cache-Control", "no-store")
            super().end_headers()

        def do_OPTIONS(self) -> None:
            self.send_response(204)
            self.end_headers()

        def do_GET(self) -> None:
            if not os.path.exists(self.translate_path(self.path)):
                self.path = "/index.html"
            super().do_GET()

    with in_thread(lib.TCPServer(HERE, functools.partial(Dev, directory=str(folder)))) as server:
        return [reply(server, method, path) for method, path in (("GET", "/"), ("GET", "/a/b"), ("OPTIONS", "/x"))]


@program
def proxy(lib: Any, folder: Path) -> Any:
    """Passes on to another one, with urllib."""

    class Origin(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            status = int(self.path.rpartition("/")[2])
            self.send_response(status)
            self.send_header("X-Seen", self.headers.get("X-Forwarded-For", ""))
            self.end_headers()
            self.wfile.write(b"origin")

    class Proxy(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            request = urllib.request.Request(f"{self.server.upstream}{self.path}")
            request.add_header("X-Forwarded-For", self.client_address[0])
            try:
                response = urllib.request.urlopen(request, timeout=BOUND)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(response.read())

    with in_thread(lib.HTTPServer(HERE, Origin)) as origin, in_thread(lib.HTTPServer(HERE, Proxy)) as server:
        server.upstream = f"http://127.0.0.1:{origin.server_port}"
        return [reply(server, "GET", path) for path in ("/200", "/404")]


@program
def stops_itself(lib: Any, folder: Path) -> Any:
    class Stop(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"bye")
            if self.path == "/quit":
                threading.Thread(target=self.server.shutdown, daemon=True).start()

    seen = []
    for kind in (lib.HTTPServer, lib.ThreadingHTTPServer):
        with kind(HERE, Stop) as server:
            call = Call(server.serve_forever)
            seen.append([reply(server, "GET", path) for path in ("/", "/quit")])
            call.result()
    return seen


@program
def basic_auth(lib: Any, folder: Path) -> Any:
    (folder / "secret.txt").write_text("secret")

    class Auth(quiet(lib.SimpleHTTPRequestHandler)):  # type: ignore[misc]
        def __init__(self, *args: Any, key: str, **kwargs: Any) -> None:
            self.key = key
            super().__init__(*args, **kwargs)

        def do_AUTHHEAD(self) -> None:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="Test"')
            self.send_header("Content-type", "text/html")
            self.end_headers()

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != "Basic " + self.key:
                self.do_AUTHHEAD()
                self.wfile.write(b"not authenticated")
            else:
                super().do_GET()

    key = base64.b64encode(b"user:pass").decode()
    handler = functools.partial(Auth, key=key, directory=str(folder))
    with in_thread(lib.ThreadingHTTPServer(HERE, handler)) as server:
        return [reply(server, "GET", "/secret.txt", Authorization=value) for value in ("Basic " + key, "Basic x")] + [
            reply(server, "GET", "/secret.txt")
        ]


@program
def streams(lib: Any, folder: Path) -> Any:
    """MJPEG until the client goes, and chunks by hand."""
    ended = threading.Event()

    class Stream(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            getattr(self, self.path.strip("/"))()

        def chunks(self) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for n in range(5):
                data = f"event {n}\n".encode()
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

        def mjpeg(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=FRAME")
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"--FRAME\r\nContent-Type: image/jpeg\r\n\r\n" + b"x" * 50000 + b"\r\n")
            except OSError:  # BrokenPipeError, ConnectionResetError
                ended.set()

    with in_thread(lib.ThreadingHTTPServer(HERE, Stream)) as server:
        whole = reply(server, "GET", "/chunks"), reply(server, "GET", "/chunks")
        with socket.create_connection(server.server_address, BOUND) as client:
            client.sendall(b"GET /mjpeg HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while received.count(b"--FRAME") < 20:
                received += client.recv(65536)
        return whole, received.startswith(b"HTTP/1.1 200"), ended.wait(BOUND)


@program
def uploads(lib: Any, folder: Path) -> Any:
    """A form, taken apart with email, as those do who had cgi.FieldStorage."""

    class Upload(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            message = email.message_from_bytes(head + body)
            for part in message.get_payload():
                name = part.get_filename()
                if name:
                    (folder / os.path.basename(name)).write_bytes(part.get_payload(decode=True))
            self.send_response(303)
            self.send_header("Location", "/")
            self.end_headers()

    content = b"x\0" * 300000
    body = (
        b'--B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--B\r\nContent-Disposition: form-data; name="f"; '
        b'filename="../up.bin"\r\n\r\n' + content + b"\r\n--B--\r\n"
    )
    with in_thread(lib.ThreadingHTTPServer(HERE, Upload)) as server:
        answer = reply(server, "POST", "/", body, Content_Type="multipart/form-data; boundary=B")
    return answer, (folder / "up.bin").read_bytes() == content


@program
def dual_stack(lib: Any, folder: Path) -> Any:
    """As ``python -m http.server`` makes its own."""
    (folder / "a.txt").write_text("a")

    class DualStackServer(lib.ThreadingHTTPServer):  # type: ignore[misc]
        address_family = socket.AF_INET6

        def server_bind(self) -> None:
            with contextlib.suppress(Exception):
                self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            return super().server_bind()

        def finish_request(self, request: Any, client_address: Any) -> None:
            self.RequestHandlerClass(request, client_address, self, directory=str(folder))

    try:
        server = DualStackServer(("::", 0), quiet(lib.SimpleHTTPRequestHandler))
    except OSError:
        return "no IPv6 here"
    with in_thread(server):
        seen = []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            with socket.socket(family) as client:
                client.settimeout(BOUND)
                client.connect((host, server.server_port))
                client.sendall(b"GET /a.txt HTTP/1.0\r\n\r\n")
                seen.append(client.makefile("rb").read().rpartition(b"\r\n\r\n")[2])
        return seen


@program
def tls(lib: Any, folder: Path) -> Any:
    authority = trustme.CA()
    both = folder / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(both)

    class Hello(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{self.request.cipher()[1]} {self.client_address[0]}".encode())

    httpd = lib.HTTPServer(HERE, Hello)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    with in_thread(httpd):
        return [reply(httpd, "GET", "/", None, client) for _ in range(2)]


@program
def json_rpc(lib: Any, folder: Path) -> Any:
    """Handlers that share a lock and counters on their class."""

    class RPC(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        lock, calls = threading.Lock(), 0
        methods = {"add": lambda a, b: a + b, "fail": lambda: 1 / 0}

        def do_POST(self) -> None:
            cls = type(self)
            with cls.lock:
                cls.calls += 1
            question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                answer = {"result": self.methods[question["method"]](*question["params"])}
            except Exception as error:
                answer = {"error": repr(error)}
            content = json.dumps({"id": question["id"], **answer}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with in_thread(lib.ThreadingHTTPServer(HERE, RPC)) as server:

        def call(method: str, *params: Any) -> Any:
            question = {"id": 1, "method": method, "params": params}
            return reply(server, "POST", "/", json.dumps(question).encode())

        calls = [Call(call, "add", n, 1) for n in range(8)] + [Call(call, "fail"), Call(call, "none")]
        return [one.result() for one in calls], RPC.calls


@program
def pre_threaded(lib: Any, folder: Path) -> Any:
    """A hundred of them on one socket, as an answer that is copied a lot has it; here eight."""
    all_of_them = threading.Barrier(8, timeout=BOUND)

    class Waits(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            all_of_them.wait()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"all")

    servers: list[Any] = []
    with socket.create_server(HERE, backlog=50) as listening:

        def serve() -> None:
            httpd = lib.HTTPServer(listening.getsockname(), Waits, False)
            httpd.socket.close()
            httpd.socket = listening
            httpd.server_bind = httpd.server_close = lambda: None
            servers.append(httpd)
            httpd.serve_forever(0.05)

        threads = [Call(serve) for _ in range(8)]
        address = SimpleNamespace(server_address=listening.getsockname())
        calls = [Call(reply, address, "GET", "/") for _ in range(8)]
        seen = {call.result() for call in calls}
        for server in servers:
            server.shutdown()
        for thread in threads:
            thread.result()
    return seen


@program
def hand_made_loop(lib: Any, folder: Path) -> Any:
    """A server that looks at a flag between its requests, and one that a keep-alive client does not hold up."""

    class Stoppable(lib.HTTPServer):  # type: ignore[misc]
        timeout = 0.1
        stop = False
        ticks = 0

        def serve_until_stopped(self) -> None:
            while not self.stop:
                self.handle_request()

        def handle_timeout(self) -> None:
            self.ticks += 1

    class Count(quiet(lib.BaseHTTPRequestHandler)):  # type: ignore[misc]
        def do_GET(self) -> None:
            self.server.stop = self.path == "/stop"
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

    with Stoppable(HERE, Count) as server:
        call = Call(server.serve_until_stopped)
        while not server.ticks:
            threading.Event().wait(0.01)
        seen = [reply(server, "GET", path) for path in ("/1", "/2", "/stop")]
        call.result()
        return seen


class TestPrograms:
    @pytest.mark.parametrize("name", PROGRAMS)
    @pytest.mark.filterwarnings("ignore::ResourceWarning")  # some forget their server
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_does_the_same(self, name: str, tmp_path: Path) -> None:
        does_the_same(PROGRAMS[name], tmp_path)


def test_xmlrpc() -> None:
    """Its servers are classes of socketserver.TCPServer: a dispatcher and one of ours are the same."""
    seen = []
    for base in (socketserver.TCPServer, compat.TCPServer):

        class Server(base, xmlrpc.server.SimpleXMLRPCDispatcher):  # type: ignore[misc]
            allow_reuse_address = True
            logRequests = False

            def __init__(self, address: Any) -> None:
                xmlrpc.server.SimpleXMLRPCDispatcher.__init__(self, True, None, True)
                super().__init__(address, xmlrpc.server.SimpleXMLRPCRequestHandler)

        with in_thread(Server(HERE)) as server:
            server.register_function(pow)
            server.register_introspection_functions()
            client = xmlrpc.client.ServerProxy(f"http://127.0.0.1:{server.server_address[1]}", allow_none=True)
            with pytest.raises(xmlrpc.client.Fault) as fault:
                client.none()
            seen.append((client.pow(2, 10), client.system.listMethods(), fault.value.faultString))
            client("close")()
    assert seen[0] == seen[1]


def test_wsgiref() -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        start_response("200 OK", [("Content-Type", "text/plain"), ("X-Method", environ["REQUEST_METHOD"])])
        return [environ["PATH_INFO"].encode(), b"?", environ["QUERY_STRING"].encode(), b" ", body]

    class Ours(compat.HTTPServer, wsgiref.simple_server.WSGIServer):
        def server_bind(self) -> None:
            compat.HTTPServer.server_bind(self)
            self.setup_environ()

    seen = []
    for kind in (wsgiref.simple_server.WSGIServer, Ours):
        server = wsgiref.simple_server.make_server(*HERE, app, kind, quiet(wsgiref.simple_server.WSGIRequestHandler))
        with in_thread(server):
            seen.append([reply(server, "GET", "/a%20b?c=d"), reply(server, "POST", "/", b"body")])
    assert seen[0] == seen[1]


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize("how", ["flag", "thread", "exit"])
@pytest.mark.parametrize("lib", ["http.server", "aiohttpd.compat"])
def test_signal(lib: str, how: str) -> None:
    """SIGTERM ends the program as its author has thought of."""
    code = f"""
import signal, sys, threading
from {lib} import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass

server = HTTPServer(("127.0.0.1", 0), Handler)

def stop(number, frame):
    if {how!r} == "flag":
        server._BaseServer__shutdown_request = True
    elif {how!r} == "thread":
        threading.Thread(target=server.shutdown).start()
    else:
        sys.exit(0)

signal.signal(signal.SIGTERM, stop)
print(server.server_port, flush=True)
try:
    server.serve_forever()
finally:
    server.server_close()
    print("closed")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            server = SimpleNamespace(server_address=("127.0.0.1", int(process.stdout.readline())))
            assert reply(server, "GET", "/")[0] == 204
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=BOUND)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (0, "closed\n", "")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="unix sockets")
@pytest.mark.parametrize("name", ["UnixStreamServer", "ThreadingUnixStreamServer"])
def test_unix_socket(name: str, tmp_path: Path) -> None:
    """With the get_request that it takes, since its clients have no address."""
    seen = []
    for lib in (STDLIB, compat):

        class Hello(quiet(http.server.BaseHTTPRequestHandler)):  # type: ignore[misc]
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(f"{self.address_string()} {self.path}".encode())

        class Server(getattr(socketserver if lib is STDLIB else lib, name)):  # type: ignore[misc]
            def get_request(self) -> Any:
                request, _ = super().get_request()
                return request, ("local", 0)

        path = str(tmp_path / f"{lib.__name__}.sock")
        with in_thread(Server(path, Hello)), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(BOUND)
            client.connect(path)
            client.sendall(b"GET /a HTTP/1.0\r\n\r\n")
            seen.append(client.makefile("rb").read().rpartition(b"\r\n\r\n")[2])
    assert seen[0] == seen[1] == b"local /a"


def test_parser_over_bytes() -> None:
    """A handler class as a parser, without any server."""

    class Parsed(compat.BaseHTTPRequestHandler):
        def __init__(self, text: bytes) -> None:
            self.rfile = io.BytesIO(text)
            self.raw_requestline = self.rfile.readline()
            self.error_code: int | None = None
            self.parse_request()

        def send_error(self, code: int, *args: Any) -> None:
            self.error_code = code

    parsed = Parsed(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (parsed.command, parsed.path, parsed.headers["host"], parsed.error_code) == ("GET", "/a", "x", None)
