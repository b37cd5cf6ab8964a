"""What handlers of http.server write, in the manner of public code: the same by http.server and by aiohttpd.compat."""

import array
import base64
import email.message
import email.utils
import gzip
import hashlib
import http
import http.client
import http.server
import io
import os
import shutil
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest

from aiohttpd import compat

from ..support.old_servers import HERE, STDLIB, in_thread, lines, quiet, talk

ODD: dict[str, tuple[Callable[[Any], None], bytes]] = {}


def odd(request: bytes) -> Any:
    def add(function: Callable[[Any], None]) -> Callable[[Any], None]:
        ODD[function.__name__] = function, request
        return function

    return add


GET = b"GET /a?b=c HTTP/1.0\r\nHost: x\r\n\r\n"


@odd(GET)
def fields_in_another_order(self: Any) -> None:
    self.send_response(200, "Fine")
    self.send_header("X-A", "1")
    self.send_header("Connection", "close")
    self.send_header("x-a", 2)
    self.flush_headers()
    self.send_header("Set-Cookie", "a=b; Path=/")
    self.send_header("Set-Cookie", "c=d")
    self.end_headers()
    self.wfile.write(b"x" * 10)


@odd(GET)
def status_line_only(self: Any) -> None:
    self.send_response_only(200)
    self.send_header("Content-Type", "text/plain")
    self.end_headers()
    self.wfile.write(b"plain")


@odd(GET)
def whole_answer_by_hand(self: Any) -> None:
    self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nhand")


@odd(GET)
def by_the_socket(self: Any) -> None:
    self.request.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
    self.connection.send(b"ab")


@odd(GET)
def what_is_no_bytes(self: Any) -> None:
    self.send_response(200)
    self.end_headers()
    self.wfile.write(b"begun")
    for value in ("text", 5, [65, 66], None, 1.5):
        for write in (self.wfile.write, self.request.sendall, self.connection.send):
            try:
                write(value)
            except TypeError as error:
                self.wfile.write(str(error).removeprefix("memoryview: ").encode())


@odd(GET)
def what_is_like_bytes(self: Any) -> None:
    self.send_response(200)
    self.end_headers()
    numbers = array.array("H", [0x4142, 0x4344])
    sent = [write(data) for write in (self.wfile.write, self.connection.send) for data in (bytearray(b"ab"), numbers)]
    self.wfile.write(repr([*sent, self.connection.send(memoryview(numbers))]).encode())


@odd(b"GET /%b HTTP/1.0\r\nCookie: %b\r\n\r\n" % (b"a" * 65_000, b"b" * 65_000))
def long_lines(self: Any) -> None:
    self.send_response(200)
    self.end_headers()
    self.wfile.write(b"%d %d" % (len(self.path), len(self.headers["Cookie"])))


@odd(GET)
def custom_reason(self: Any) -> None:
    self.send_response(299, "Odd But True")
    self.end_headers()


@odd(GET)
def unknown_status(self: Any) -> None:
    self.send_response(599)
    self.end_headers()
    self.wfile.write(b"?")


@odd(GET)
def enum_status(self: Any) -> None:
    self.send_response(http.HTTPStatus.IM_A_TEAPOT)
    self.send_header("Content-Length", 0)
    self.end_headers()


@odd(GET)
def error_with_texts(self: Any) -> None:
    self.send_error(http.HTTPStatus.CONFLICT, "Not <now>", "because & why")


@odd(GET)
def json_error(self: Any) -> None:
    self.error_message_format = '{"code": %(code)d, "message": "%(message)s"}'
    self.error_content_type = "application/json"
    self.send_error(404)


@odd(GET)
def latin_1_fields(self: Any) -> None:
    self.send_response(200)
    self.send_header("X-Name", "Zoë")
    self.send_header("X-Utf", "Ж".encode().decode("latin-1"))
    self.end_headers()


@odd(b"GET /%C3%A9?x=%20 HTTP/1.0\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\nContent-Type: text/html; charset=UTF-8\r\n\r\n")
def looks_at_headers(self: Any) -> None:
    h = self.headers
    seen = [
        h.get_content_charset(), h.get_content_type(), h.get_param("charset"), h.get_all("x-a"), h["X-a"], h.get("no"),
        "x-A" in h, h.keys(), h.values(), len(h), h.get_payload(), h.as_string(), str(h), h.get_content_maintype(),
        isinstance(h, email.message.Message), isinstance(h, http.client.HTTPMessage), dict(h), h.get_filename(),
        h.getallmatchingheaders("x-a") , h.is_multipart(), h.get_boundary(), h.items(),
        type(self).MessageClass.__name__,
        self.requestline, self.raw_requestline, self.command, self.path, self.request_version, self.close_connection,
        self.client_address[0], self.address_string(), self.date_time_string(0), self.protocol_version,
        self.responses[404], sorted(self.responses)[:3], self.weekdayname, self.monthname, self.default_request_version,
        self.server.server_name in ("127.0.0.1", "localhost", socket.getfqdn("127.0.0.1")), self.timeout,
        self.rbufsize, self.wbufsize, self.disable_nagle_algorithm, self.error_content_type,
    ]  # fmt: skip
    self.send_response(200)
    self.end_headers()
    self.wfile.write(repr(seen).encode())


@odd(b"POST / HTTP/1.0\r\nContent-Length: 21\r\n\r\none\ntwo\r\nthree\n\nrest.")
def lines_of_a_body(self: Any) -> None:
    left = int(self.headers["content-length"])
    found = []
    while left > 0:
        line = self.rfile.readline(left)
        left -= len(line)
        found.append(line)
    self.send_response(200)
    self.end_headers()
    self.wfile.write(repr(found).encode())


@odd(
    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"4;ext=1\r\nabcd\r\n3\r\nefg\r\n0\r\nX-T: 1\r\n\r\n"
)
def chunks_by_hand(self: Any) -> None:
    found = b""
    while True:
        size = int(self.rfile.readline().split(b";")[0], 16)
        if size == 0:
            break
        found += self.rfile.read(size)
        self.rfile.readline()
    trailers = []
    while line := self.rfile.readline().strip():
        trailers.append(line)
    self.send_response(200)
    self.end_headers()
    self.wfile.write(found + repr(trailers).encode())


@odd(b"POST / HTTP/1.0\r\nContent-Length: 12\r\n\r\nhello world!")
def readinto_and_others(self: Any) -> None:
    buffer = bytearray(5)
    seen = [
        self.rfile.readinto(buffer),
        bytes(buffer),
        self.rfile.peek(1)[:1],
        self.rfile.read1(1),
        self.rfile.closed,
        self.rfile.readable(),
        self.rfile.read(6),
        self.wfile.writable(),
        self.wfile.closed,
        self.rfile.mode,
    ]
    self.send_response(200)
    self.end_headers()
    print(seen, file=io.TextIOWrapper(self.wfile, "utf-8", write_through=True))


@odd(b"POST / HTTP/1.0\r\nContent-Length: 12\r\n\r\nhello world!")
def copied(self: Any) -> None:
    self.send_response(200)
    self.send_header("Content-Length", self.headers["Content-Length"])
    self.end_headers()
    shutil.copyfileobj(io.BytesIO(self.rfile.read(12)), self.wfile, 5)
    self.wfile.flush()


@odd(b"HEAD /a HTTP/1.0\r\n\r\n")
def asked_by_head(self: Any) -> None:
    self.send_response(200)
    self.send_header("Content-Length", "1000")
    self.send_header("Last-Modified", self.date_time_string(86400))
    self.end_headers()


@odd(b"BREW /pot HTTP/1.0\r\n\r\n")
def other_method(self: Any) -> None:
    self.send_response(418)
    self.end_headers()
    self.wfile.write(self.command.encode())


@odd(GET)
def writes_a_lot(self: Any) -> None:
    self.send_response(200)
    self.send_header("Content-Length", str(3_000_000))
    self.end_headers()
    for n in range(300):
        self.wfile.write(b"%d" % (n % 10) * 10_000)


@odd(GET)
def memoryviews(self: Any) -> None:
    self.send_response(200)
    self.end_headers()
    self.wfile.write(memoryview(b"view"))
    self.wfile.write(bytearray(b"array"))
    self.wfile.writelines([b"l1", b"l2"])


@odd(GET)
def sendfile(self: Any) -> None:
    with open(__file__, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        self.send_response(200)
        self.send_header("Content-Length", size)
        self.end_headers()
        self.wfile.flush()
        done = 0
        while done < size:
            done += os.sendfile(self.connection.fileno(), file.fileno(), done, size - done)


@odd(GET)
def socket_sendfile(self: Any) -> None:
    with open(__file__, "rb") as file:
        self.send_response(200)
        self.end_headers()
        self.connection.sendfile(file)


@odd(GET)
def looks_at_the_socket(self: Any) -> None:
    sock = self.connection
    seen = [
        sock.getpeername() == self.client_address,
        sock.getsockname() == self.server.server_address,
        sock.family,
        sock.type,
        sock.gettimeout(),
        sock is self.request,
        isinstance(sock, socket.socket),
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        sock.fileno() > 0,
    ]
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 5))
    sock.settimeout(3)
    self.send_response(200)
    self.end_headers()
    self.wfile.write(repr(seen).encode())
    sock.shutdown(socket.SHUT_WR)


@odd(GET)
def private_buffer(self: Any) -> None:
    self.send_response(200)
    self._headers_buffer.append(b"X-Raw: yes\r\n")
    self._headers_buffer.insert(1, b"X-Second: yes\r\n")
    self.end_headers()
    self.wfile.write(repr(hasattr(self, "_headers_buffer")).encode())


@odd(GET)
def two_answers(self: Any) -> None:
    self.send_response(200)
    self.end_headers()
    self.wfile.write(b"first")
    self.send_error(500, "too late")


@odd(GET)
def gzipped(self: Any) -> None:
    self.send_response(200)
    self.send_header("Content-Encoding", "gzip")
    self.end_headers()
    with gzip.GzipFile(fileobj=self.wfile, mode="wb", mtime=0) as file:
        file.write(b"packed" * 100)


@odd(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
def closes_itself(self: Any) -> None:
    self.protocol_version = "HTTP/1.1"
    self.send_response(200)
    self.send_header("Content-Length", "2")
    self.end_headers()
    self.wfile.write(b"ok")
    self.close_connection = True


@odd(GET)
def closes_its_file(self: Any) -> None:
    self.send_response(200)
    self.end_headers()
    self.wfile.write(b"done")
    self.wfile.close()


@odd(GET)
def closes_without_a_word(self: Any) -> None:
    self.connection.close()


@odd(GET)
def shuts_down_without_a_word(self: Any) -> None:
    self.close_connection = True
    self.request.shutdown(socket.SHUT_RDWR)
    self.request.close()


@odd(GET)
def closes_after_its_answer(self: Any) -> None:
    self.send_response(200)
    self.end_headers()
    self.wfile.write(b"content")
    self.wfile.flush()
    self.connection.shutdown(socket.SHUT_WR)
    self.connection.close()


@odd(GET)
def raises_late(self: Any) -> None:
    self.send_response(200)
    self.send_header("Content-Length", "4")
    self.end_headers()
    self.wfile.write(b"done")
    raise ConnectionAbortedError("the program does so")


@odd(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody")
def expects(self: Any) -> None:
    self.send_response(200)
    self.send_header("Content-Length", "4")
    self.end_headers()
    self.wfile.write(self.rfile.read(4))


@odd(
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    b"\x81\x85\x00\x00\x00\x00hello\x88\x80\x00\x00\x00\x00"
)
def websocket(self: Any) -> None:
    key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    self.protocol_version = "HTTP/1.1"
    self.send_response(101, "Switching Protocols")
    self.send_header("Upgrade", "websocket")
    self.send_header("Connection", "Upgrade")
    self.send_header("Sec-WebSocket-Accept", accept)
    self.end_headers()
    while True:
        head = self.rfile.read(2)
        size = head[1] & 127
        mask = self.rfile.read(4)
        data = bytes(a ^ mask[i % 4] for i, a in enumerate(self.rfile.read(size)))
        self.request.sendall(bytes([head[0], len(data)]) + data)
        if head[0] & 15 == 8:
            break
    self.close_connection = True


@odd(b"GET /sse HTTP/1.0\r\nAccept: text/event-stream\r\n\r\n")
def events(self: Any) -> None:
    self.send_response(200)
    self.send_header("Content-Type", "text/event-stream")
    self.send_header("Cache-Control", "no-cache")
    self.end_headers()
    for n in range(3):
        self.wfile.write(f"id: {n}\ndata: tick\n\n".encode())
        self.wfile.flush()
        time.sleep(0.01)


CLOSES = ("closes_its_file", "readinto_and_others")  # wfile, which http.server itself then reports as an error


class TestHandlers:
    @pytest.mark.parametrize("mode", ["serial", "threading", "connection"])
    @pytest.mark.parametrize("name", ODD)
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_answers_the_same(self, name: str, mode: str) -> None:
        if mode == "connection" and name in CLOSES:
            pytest.skip("reported as an error of the handler, which cuts an answer that only its end delimits")
        function, request = ODD[name]
        seen = []
        for lib in (STDLIB, compat):
            cls: Any = quiet(lib.BaseHTTPRequestHandler)
            attributes: dict[str, Any] = dict.fromkeys(("do_GET", "do_POST", "do_HEAD", "do_BREW"), function)
            if mode == "connection":
                attributes["handle"] = lambda self, handle=cls.handle: handle(self)
            server = lib.HTTPServer if mode == "serial" else lib.ThreadingHTTPServer
            with in_thread(server(HERE, type("Handler", (cls,), attributes))) as serving:
                seen.append(lines(talk(serving.server_address, request)))
        assert seen[0] == seen[1]
