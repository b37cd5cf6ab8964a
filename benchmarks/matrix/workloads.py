"""What is measured: each workload is a request, the response that is expected, and the application that answers."""

from dataclasses import dataclass

HOST = b"Host: 127.0.0.1\r\n"
PLAIN = b"GET %b HTTP/1.1\r\n" + HOST + b"\r\n"
HELLO = b"Hello, world!\n"
# {n} is the number of the request, {agent} one of AGENTS in turn.
BROWSER = (
    b"GET /hello?query=1&x=y HTTP/1.1\r\n" + HOST + b"Connection: keep-alive\r\n"
    b"Cache-Control: max-age=0\r\n"
    b'sec-ch-ua: "Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b'sec-ch-ua-platform: "Linux"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{agent}\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: none\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: session=abcdef0123456789; theme=dark; request={n}\r\n\r\n"
)
AGENTS = [b"%d.0.0.0" % version for version in range(110, 126)]
JSON_BODY = b'{"id": 12345, "name": "A name", "tags": ["a", "b", "c"], "price": 12.5, "text": "' + b"x" * 930 + b'"}'
MIB = 1024 * 1024
FEW = 8  # connections, where a response takes long: those that are not complete in the end are not counted
PIECE, PIECES = b"0123456789abcdef", 640 * 1024  # 10 MiB


def post(path: bytes, kind: bytes, length: int) -> bytes:
    """The head of a POST."""
    fields = b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, length)
    return b"POST %b HTTP/1.1\r\n" % path + HOST + fields


@dataclass(frozen=True)
class Workload:
    """One row of the matrix.

    Attributes:
        name: as given to ``--workload``.
        title: as in tables.
        app: which application answers: a name that `servers` knows.
        head: the bytes of the request up to its body, with {n} and {agent} where requests differ.
        body: the piece of which the request's body is made, and how often it is repeated.
        expected: the content of the response, or its length.
        connections: how many clients ask at the same time, each the next time when it has its response.
        tls: over TLS.
        log: the server writes an access log (to /dev/null).
        least: seconds that a turn takes at least: where there are many connections, wrk spends a part on making them.
        latency: latency is measured as well, at half of the saturation.
    """

    name: str
    title: str
    app: str = "hello"
    head: bytes = PLAIN % b"/hello"
    body: tuple[bytes, int] = (b"", 0)
    expected: bytes | int = HELLO
    connections: int = 64
    tls: bool = False
    log: bool = False
    least: float = 0
    latency: bool = False

    def request(self, number: int) -> bytes:
        """The bytes of a request, the head and the body."""
        head = self.head
        if b"{n}" in head:
            head = head.replace(b"{n}", b"%d" % number).replace(b"{agent}", AGENTS[number % len(AGENTS)])
        return head + self.body[0] * self.body[1]


WORKLOADS = {
    workload.name: workload
    for workload in [
        Workload("hello", "hello, 1 field", latency=True),
        Workload(
            "browser",
            "14 fields, as before",
            head=BROWSER.replace(b"{n}", b"7").replace(b"{agent}", AGENTS[-1]),
        ),
        Workload("differing", "14 fields, two differ", head=BROWSER, latency=True),
        Workload("json", "JSON", "json", PLAIN % b"/json", expected=b'{"message":"Hello, world!"}', latency=True),
        Workload(
            "echo",
            "JSON echo, 1 KiB",
            "echo",
            post(b"/echo", b"application/json", len(JSON_BODY)),
            body=(JSON_BODY, 1),
            expected=JSON_BODY,
        ),
        Workload(
            "upload",
            "10 MiB up",
            "upload",
            post(b"/upload", b"application/octet-stream", len(PIECE) * PIECES),
            body=(PIECE, PIECES),
            expected=b"10485760",
            connections=FEW,
        ),
        Workload("down-64k", "64 KiB down", "down_64k", PLAIN % b"/down_64k", expected=64 * 1024),
        Workload("down-1m", "1 MiB down", "down_1m", PLAIN % b"/down_1m", expected=MIB, connections=FEW),
        Workload("chunks", "1,000 chunks", "chunks", PLAIN % b"/chunks", expected=100_000, connections=FEW),
        Workload(
            "close",
            "a connection per request",
            head=b"GET /hello HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
        ),
        Workload("tls", "hello over TLS", tls=True),
        Workload("log", "hello, access log on", log=True),
        Workload("connections-1", "hello, 1 connection", connections=1),
        Workload("connections-512", "hello, 512 connections", connections=512),
        Workload("connections-4096", "hello, 4,096 connections", connections=4096, least=4),
        Workload("wait", "a handler that waits 1 ms", "wait", PLAIN % b"/wait", connections=256),
        Workload("asgi", "ASGI, hello", "asgi", latency=True),
        Workload("starlette", "ASGI, Starlette", "starlette", PLAIN % b"/json", expected=b'{"message":"Hello!"}'),
        Workload("fastapi", "ASGI, FastAPI", "fastapi", PLAIN % b"/items/3?q=x", expected=b'{"id":3,"q":"x"}'),
        Workload("websocket", "WebSocket, 100 bytes echoed", "websocket", PLAIN % b"/websocket", expected=100),
        Workload(
            "websocket-64k",
            "WebSocket, 64 KiB echoed",
            "websocket",
            PLAIN % b"/websocket",
            expected=64 * 1024,
        ),
        Workload("file-1k", "file, 1 KiB", "files", PLAIN % b"/f/1k.bin", expected=1024, latency=True),
        Workload("file-1m", "file, 1 MiB", "files", PLAIN % b"/f/1m.bin", expected=MIB, connections=FEW),
        Workload(
            "file-1m-tls",
            "file, 1 MiB over TLS",
            "files",
            PLAIN % b"/f/1m.bin",
            expected=MIB,
            connections=FEW,
            tls=True,
        ),
    ]
}
FILES = {"1k.bin": 1024, "1m.bin": 1024 * 1024}
