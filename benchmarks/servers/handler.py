"""Hello, world! as a handler class."""

import aiohttpd


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"Hello, world!\n")
