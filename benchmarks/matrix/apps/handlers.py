"""The workloads as handler classes of aiohttpd."""

import asyncio

import aiohttpd

KIB_64, MIB, CHUNK = bytes(64 * 1024), bytes(1024 * 1024), b"x" * 100


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"Hello, world!\n")


class JSON(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_json({"message": "Hello, world!"})


class Echo(aiohttpd.BaseHTTPRequestHandler):
    async def do_POST(self) -> None:
        self.send_json(await self.json())


class Upload(aiohttpd.BaseHTTPRequestHandler):
    async def do_POST(self) -> None:
        size = 0
        async for data in self.rfile:
            size += len(data)
        self.send_text(str(size))


class Down64K(aiohttpd.BaseHTTPRequestHandler):
    content = KIB_64

    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        self.wfile.write(self.content)


class Down1M(Down64K):
    content = MIB


class Chunks(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(CHUNK)
            await self.wfile.drain()


class Wait(Hello):
    async def do_GET(self) -> None:
        await asyncio.sleep(0.001)
        await super().do_GET()


class WebSocket(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        async with self.websocket() as ws:
            async for message in ws:
                await ws.send(message)
