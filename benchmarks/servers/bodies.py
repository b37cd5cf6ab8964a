"""JSON echoed, and bodies read, by a handler class."""

import aiohttpd


class Bodies(aiohttpd.BaseHTTPRequestHandler):
    async def do_POST(self) -> None:
        if self.path == "/json":
            self.send_json(await self.json())
            return
        size = 0
        async for data in self.rfile:
            size += len(data)
        self.send_text(str(size))
