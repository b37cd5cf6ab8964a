"""What the soak runs against: a hello, an echo that reads its body, and an answer of 100 MiB."""

import aiohttpd

BLOCK = bytes(256 * 1024)


class Soaked(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        if self.path != "/large":
            self.end_headers()
            self.wfile.write(b"Hello, world!\n")
            return
        self.send_header("Content-Length", 400 * len(BLOCK))
        self.end_headers()
        for _ in range(400):
            self.wfile.write(BLOCK)
            await self.wfile.drain()

    async def do_POST(self) -> None:
        size = 0
        async for chunk in self.rfile:
            size += len(chunk)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"%d\n" % size)
