"""Microseconds of Python for a request, in memory: no kernel, no event loop between request and answer.

usage: python benchmarks/hot_path.py [--seconds 0.5]

Each line is the best of seven rounds. The parser's share is measured by itself.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from functools import partial

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport
from aiohttpd.wire.body import LengthDecoder
from aiohttpd.wire.parser import RequestParser

GET_2 = b"GET /hello HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\n"
BROWSER_FIELDS = (
    b"Host: www.example.com\r\n"
    b"Connection: keep-alive\r\n"
    b"Cache-Control: max-age=0\r\n"
    b'sec-ch-ua: "Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"\r\n'
    b"sec-ch-ua-mobile: ?0\r\n"
    b'sec-ch-ua-platform: "Linux"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: none\r\n"
    b"Sec-Fetch-Mode: navigate\r\n"
    b"Accept-Encoding: gzip, deflate, br, zstd\r\n"
    b"Accept-Language: en-US,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: session=abcdef0123456789; theme=dark; request=%06d\r\n"
)
POST_1K = b"POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nContent-Length: 1024\r\n\r\n" + b"x" * 1024


def browser_get(number: int) -> bytes:
    """A GET with 14 fields, one of which differs from request to request."""
    return b"GET /some/path?query=1&x=y HTTP/1.1\r\n" + BROWSER_FIELDS % number + b"\r\n"


def two_differ(number: int) -> bytes:
    """A GET with 14 fields, two of which differ from request to request: the cookie and the client's version."""
    return browser_get(number).replace(b"Chrome/124.", b"Chrome/%d." % (110 + number % 16))


def of_three_clients(number: int) -> bytes:
    """Such a GET of one of three clients, in turn, whose names of fields differ: the connection of a proxy."""
    mobile, client = b"sec-ch-ua-mobile: ?0\r\n", number % 3
    return two_differ(number).replace(mobile, (mobile, b"", b"X-Requested-With: x\r\n")[client])


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"Hello, world!\n")

    async def do_POST(self) -> None:
        body = await self.rfile.read()
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        self.wfile.write(body)


class Null(MemoryTransport):
    """Counts what is written and drops it."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1


def receive(connection: HTTPConnection, data: bytes) -> None:
    """Bytes arrive on a connection, and the turn of the loop ends."""
    connection.data_received(data)
    connection.context.ready.serve()


def best(call: Callable[[], object], seconds: float, units: int = 1) -> float:
    """Microseconds a unit."""
    count = 1
    while True:
        start = time.perf_counter()
        for _ in range(count):
            call()
        spent = time.perf_counter() - start
        if spent > seconds / 20:
            break
        count *= 4
    rounds = []
    for _ in range(7):
        start = time.perf_counter()
        for _ in range(count):
            call()
        rounds.append(time.perf_counter() - start)
    return min(rounds) / count / units * 1e6


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=0.5)
    arguments.add_argument("--access-log", action="store_true")
    given = arguments.parse_args()
    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(Hello), aiohttpd.Config(access_log=False), loop)
    connection = HTTPConnection(context)
    transport = Null(loop)
    transport.connect(connection)
    parser = RequestParser(context.config)
    # So many that no memory has the lines that differ when they come again.
    two = [two_differ(number) for number in range(2000)]
    three = [of_three_clients(number) for number in range(2000)]

    def parse(data: bytes) -> None:
        parser.feed(data)
        while (request := parser.next_request()) is not None:
            if request.content_length:
                parser.decode(LengthDecoder(request.content_length), bytearray())

    def in_turn(requests: list[bytes], call: Callable[[bytes], object]) -> None:
        for data in requests:
            call(data)

    cases: list[tuple[str, Callable[[Callable[[bytes], object]], object], int]] = [
        ("GET, 2 fields", lambda call: call(GET_2), 1),
        ("GET, 14 fields, as before", lambda call: call(two[0]), 1),
        ("GET, 14 fields, two differ", partial(in_turn, two), len(two)),
        ("GET, 14 fields, 3 clients", partial(in_turn, three), len(three)),
        ("POST of 1 KiB", lambda call: call(POST_1K), 1),
        ("16 pipelined GET, each", lambda call: call(GET_2 * 16), 16),
    ]
    print(f"{'µs a request':30} {'whole':>7} {'parser':>7}")
    for name, drive, units in cases:
        whole = best(partial(drive, partial(receive, connection)), given.seconds, units)
        share = best(partial(drive, parse), given.seconds, units)
        print(f"{name:30} {whole:7.2f} {share:7.2f}")
    context.deadlines.close()


if __name__ == "__main__":
    asyncio.run(main())
