"""What the attacks are run against: hello, a JSON echo, a form, a large answer."""

import aiohttpd
from aiohttpd.compression import compress

BLOCK = bytes(256 * 1024)


class Attacked(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        if self.path == "/large":
            self.send_response(200)
            self.send_header("Content-Length", 400 * len(BLOCK))
            self.end_headers()
            for _ in range(400):
                self.wfile.write(BLOCK)
                await self.wfile.drain()
            return
        self.send_text(f"Hello, {self.cookies.get('name', 'world')}!\n")

    async def do_POST(self) -> None:
        if self.path == "/json":
            self.send_text(str(len(await self.json())))
        elif self.path == "/form":
            self.send_text(str(len(await self.form())))
        else:
            self.send_text(str(len(await self.body())))


app = compress(Attacked)
