"""Echo of WebSocket messages as a handler class."""

import aiohttpd


class Echo(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        async with self.websocket() as ws:
            async for message in ws:
                await ws.send(message)
