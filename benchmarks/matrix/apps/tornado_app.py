"""The workloads by tornado, on uvloop.

usage: tornado_app.py PORT FILES log|quiet [CERTIFICATE KEY]
"""

import asyncio
import logging
import ssl
import sys

import uvloop
from tornado import escape, httpserver, web, websocket

KIB_64, MIB, CHUNK = bytes(64 * 1024), bytes(1024 * 1024), b"x" * 100


class Hello(web.RequestHandler):
    async def get(self) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.write(b"Hello, world!\n")


class Wait(Hello):
    async def get(self) -> None:
        await asyncio.sleep(0.001)
        await super().get()


class JSON(web.RequestHandler):
    async def get(self) -> None:
        self.write({"message": "Hello, world!"})


class Echo(web.RequestHandler):
    async def post(self) -> None:
        self.write(escape.json_decode(self.request.body))


@web.stream_request_body
class Upload(web.RequestHandler):
    def prepare(self) -> None:
        self.size = 0

    def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)

    async def post(self) -> None:
        self.write(str(self.size))


class Down(web.RequestHandler):
    def initialize(self, content: bytes) -> None:
        self.content = content

    def compute_etag(self) -> None:
        """No hash of the content: no other server makes one."""

    async def get(self) -> None:
        self.set_header("Content-Type", "application/octet-stream")
        self.write(self.content)


class Chunks(web.RequestHandler):
    async def get(self) -> None:
        for _ in range(1000):
            self.write(CHUNK)
            await self.flush()


class WebSocket(websocket.WebSocketHandler):
    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message, binary=isinstance(message, bytes))


async def main() -> None:
    port, files, log, *tls = sys.argv[1:]
    if log == "log":
        logging.basicConfig(level=logging.INFO)
    app = web.Application(
        [
            ("/hello", Hello), ("/wait", Wait), ("/json", JSON), ("/echo", Echo), ("/upload", Upload),
            ("/down_64k", Down, {"content": KIB_64}), ("/down_1m", Down, {"content": MIB}), ("/chunks", Chunks),
            ("/websocket", WebSocket), ("/f/(.*)", web.StaticFileHandler, {"path": files}),
        ],
        log_function=None if log == "log" else lambda handler: None,
    )  # fmt: skip
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*tls)
    httpserver.HTTPServer(app, ssl_options=context, max_body_size=2**30).listen(int(port), "127.0.0.1", backlog=2048)
    await asyncio.Event().wait()


uvloop.run(main())
