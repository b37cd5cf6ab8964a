"""A site of every kind of App and of each example, served by us and, as ``exported_application``, by servers of ASGI.

``python -m uvicorn tests.support.exported_site:exported_application``, say, from the root of the repository.
"""

import functools
import hashlib
import http.server
import importlib.util
from typing import Any

import aiohttpd
from aiohttpd.asgi import export
from aiohttpd.compression import compress

from .places import ROOT

EXPORTED_EXAMPLES = {
    "http_get": "GetHandler",
    "http_concurrency": "SlowHandler",
    "http_errors": "ErrorHandler",
    "http_send_header": "GetHandler",
    "embedded": "Handler",
    "http_post": "PostHandler",
    "sse_clock": "Clock",
    "websocket_chat": "Chat",
}


def exported_example(name: str) -> Any:
    """The handler class of an example."""
    spec = importlib.util.spec_from_file_location(f"exported_{name}", ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, EXPORTED_EXAMPLES[name])


class ReadsAndStreams(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-Kind", "stream")
        self.end_headers()
        for number in range(50):
            self.wfile.write(b"%d\n" % number * 1000)
            await self.wfile.drain()

    async def do_POST(self) -> None:
        digest, size = hashlib.sha256(), 0
        async for piece in self.rfile:
            digest.update(piece)
            size += len(piece)
        self.send_json({"size": size, "sha256": digest.hexdigest()})

    async def do_DELETE(self) -> None:
        self.send_response(204)
        self.end_headers()


class PlainEcho(aiohttpd.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        data = self.rfile.read()
        self.send_response(201)
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        for start in range(0, len(data), 1000):
            self.wfile.write(data[start : start + 1000])


class OldEcho(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        content = f"{self.command} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)
        self.close_connection = True


class Unavailable(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        raise aiohttpd.HTTPError(503, explain="on purpose", headers={"Retry-After": "7"})


class EchoSocket(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        async with self.websocket(subprotocols=["echo"]) as socket:
            async for message in socket:
                await socket.send(message)


def legacy_application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["REQUEST_METHOD"].encode(), b" ", environ["PATH_INFO"].encode(), environ["wsgi.input"].read()]


EXPORTED_ROUTES: dict[str, Any] = {f"/examples/{name}/": exported_example(name) for name in EXPORTED_EXAMPLES} | {
    "/streams": ReadsAndStreams,
    "/small": compress(ReadsAndStreams),
    "/plain": PlainEcho,
    "/old/": OldEcho,
    "/echo": EchoSocket,
    "/fails": Unavailable,
    "/wsgi/": aiohttpd.wsgi(legacy_application),
    "/files/": functools.partial(aiohttpd.SimpleHTTPRequestHandler, directory=str(ROOT / "tests" / "data")),
}
site = aiohttpd.Router(EXPORTED_ROUTES)
exported_application = export(site)
