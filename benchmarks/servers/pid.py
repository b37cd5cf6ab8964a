"""Who answers: the process. /socket is a WebSocket, which tells that first, and then echoes."""

import os

import aiohttpd


class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        if self.path == "/socket":
            async with self.websocket() as socket:
                await socket.send(str(os.getpid()))
                async for message in socket:
                    await socket.send(message)
        else:
            self.send_text(str(os.getpid()))

    async def do_POST(self) -> None:
        await self.body()
        self.send_text(str(os.getpid()))
