"""A chat: what one page sends, every page gets, by WebSockets.

Run it, or have it served::

    pip install 'aiohttpd[websocket]'
    python examples/websocket_chat.py
    aiohttpd serve examples/websocket_chat.py:Chat --port 8080

Open http://127.0.0.1:8080/ in two windows of a browser, or try::

    curl http://127.0.0.1:8080/
    python -m websockets ws://127.0.0.1:8080/chat
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

import aiohttpd

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Chat</title>
<style>
body { font: 1rem system-ui, sans-serif; max-width: 40rem; margin: 2rem auto; padding: 0 1rem }
input { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem }
</style>
</head>
<body>
<form id="form"><input id="text" placeholder="Say something" autocomplete="off" autofocus></form>
<p id="state">connecting</p>
<ul id="said"></ul>
<script>
const id = name => document.getElementById(name);
let socket;
function connect() {
  socket = new WebSocket(location.href.replace(/^http/, "ws") + "chat");
  socket.onopen = () => id("state").textContent = "connected";
  socket.onclose = () => { id("state").textContent = "the server has gone; trying again"; setTimeout(connect, 1000); };
  socket.onmessage = event => {
    const line = document.createElement("li");
    line.textContent = event.data;
    id("said").prepend(line);
  };
}
id("form").onsubmit = event => { event.preventDefault(); socket.send(id("text").value); id("text").value = ""; };
connect();
</script>
</body>
</html>
"""

SLOW = 5.0  # seconds after which a member that does not read is no member any more


class Chat(aiohttpd.BaseHTTPRequestHandler):
    max_message_size = 4096
    members: ClassVar[set[aiohttpd.WebSocket]] = set()

    async def do_GET(self) -> None:
        if self.url_path == "/":
            self.send_html(PAGE)
        elif self.url_path == "/chat":
            async with self.websocket() as socket:
                self.members.add(socket)
                try:
                    async for message in socket:
                        async with asyncio.TaskGroup() as group:
                            for member in self.members:
                                group.create_task(self.tell(member, message))
                finally:
                    self.members.discard(socket)
        else:
            self.send_error(404)

    async def tell(self, member: aiohttpd.WebSocket, message: str | bytes) -> None:
        try:
            async with asyncio.timeout(SLOW):
                await member.send(message)
        except aiohttpd.ConnectionClosed:
            pass  # its own handler sees to it
        except TimeoutError:
            member.abandon(1008)


if __name__ == "__main__":
    aiohttpd.run(Chat, port=8080)
