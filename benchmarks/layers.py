"""What five layers cost: request id, security headers, trusted hosts, CORS, compression (of a short answer).

    python benchmarks/layers.py

Ours are measured on a connection in memory, those of Starlette by calling an ASGI application. The first two have no
counterpart in Starlette; they are written here as pure ASGI, which is the fastest form. Each number is the best of
several rounds, the cost with five layers less the cost without.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttpd
from aiohttpd import Config, middleware
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport

ROUNDS = 15
COUNT = 3_000
FIELDS = {"Host": "example.com", "Origin": "https://app.example.com", "Accept-Encoding": "gzip", "User-Agent": "x"}
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("Hello, world!")


LAYERS: list[Callable[[Any], Any]] = [
    middleware.RequestID(),
    middleware.SecurityHeaders(),
    middleware.TrustedHosts(["example.com"]),
    middleware.CORS(["https://app.example.com"]),
    middleware.Compression(),
]


def ours(app: Any) -> Callable[[], Awaitable[None]]:
    """Make what sends COUNT requests to an App."""
    loop = asyncio.get_running_loop()
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(ServerContext(prepare(app), Config(access_log=False), loop)))
    request = "".join(
        ["GET / HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in FIELDS.items()), "\r\n"]
    ).encode()

    async def run() -> None:
        for _ in range(COUNT):
            transport.output.clear()
            transport.feed(request)
            while not transport.output:  # Python 3.11 begins a handler in the next turn
                await asyncio.sleep(0)

    return run


def request_id(app: Any) -> Any:
    import os

    async def layer(scope: Any, receive: Any, send: Any) -> None:
        name = os.urandom(16).hex().encode()
        scope["request_id"] = name

        async def send_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-request-id", name))
            await send(message)

        await app(scope, receive, send_more)

    return layer


def security_headers(app: Any) -> Any:
    fields = [(name.lower().encode(), value.encode()) for name, value in SECURITY.items()]

    async def layer(scope: Any, receive: Any, send: Any) -> None:
        async def send_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                known = {name for name, _ in message["headers"]}
                message["headers"].extend(field for field in fields if field[0] not in known)
            await send(message)

        await app(scope, receive, send_more)

    return layer


def theirs(*, layers: bool) -> Callable[[], Awaitable[None]]:
    """Make what sends COUNT requests to an application of Starlette."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.cors import CORSMiddleware
    from starlette.middleware.gzip import GZipMiddleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse("Hello, world!")

    five = [
        Middleware(request_id),
        Middleware(security_headers),
        Middleware(TrustedHostMiddleware, allowed_hosts=["example.com"]),
        Middleware(CORSMiddleware, allow_origins=["https://app.example.com"]),
        Middleware(GZipMiddleware, minimum_size=1024),
    ]
    app = Starlette(routes=[Route("/", hello)], middleware=five if layers else [])
    fields = [(name.lower().encode(), value.encode()) for name, value in FIELDS.items()]

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None: ...

    async def run() -> None:
        for _ in range(COUNT):
            scope = {
                "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
                "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "headers": fields,
                "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
            }  # fmt: skip
            await app(scope, receive, send)

    return run


async def main() -> None:
    runs = {
        "aiohttpd": ours(Hello),
        "aiohttpd, five layers": ours(aiohttpd.layers(Hello, *LAYERS)),
        "Starlette": theirs(layers=False),
        "Starlette, five layers": theirs(layers=True),
    }
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.process_time()
            await run()
            best[name] = min(best[name], (time.process_time() - began) / COUNT * 1e6)
    for name in ("aiohttpd", "Starlette"):
        without, with_layers = best[name], best[f"{name}, five layers"]
        cost = with_layers - without
        print(f"{name:10} {without:6.2f} us without, {with_layers:6.2f} us with five layers: they cost {cost:6.2f} us")


if __name__ == "__main__":
    asyncio.run(main())
