"""Who answers: the process."""

import os

import aiohttpd


class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text(str(os.getpid()))

    async def do_POST(self) -> None:
        await self.body()
        self.send_text(str(os.getpid()))
