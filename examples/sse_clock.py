"""A page with a clock that the server moves, by server-sent events.

Run it, or have it served::

    python examples/sse_clock.py
    aiohttpd serve examples/sse_clock.py:Clock --port 8080

Open http://127.0.0.1:8080/ in a browser, or try::

    curl -N http://127.0.0.1:8080/events

Ctrl-C ends the streams, and a page that is open goes on when the server comes again.
"""

import asyncio
import time

import aiohttpd

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The server's clock</title>
<style>
body { font: 1rem system-ui, sans-serif; display: grid; place-content: center; min-height: 90vh; text-align: center }
output { font-size: 4rem; font-variant-numeric: tabular-nums }
</style>
</head>
<body>
<output id="clock">--:--:--</output>
<p id="state">connecting</p>
<script>
const events = new EventSource("/events"), state = document.getElementById("state");
events.onopen = () => state.textContent = "connected";
events.onerror = () => state.textContent = "the server has gone; trying again";
events.addEventListener("tick", event => document.getElementById("clock").textContent = event.data);
</script>
</body>
</html>
"""


class Clock(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        if self.path == "/":
            self.send_html(PAGE)
        elif self.path == "/events":
            async with self.event_stream() as events:
                while True:
                    now = time.time()
                    await events.send(time.strftime("%H:%M:%S", time.localtime(now)), event="tick")
                    await asyncio.sleep(1 - now % 1)
        else:
            self.send_error(404)


if __name__ == "__main__":
    aiohttpd.run(Clock, port=8080)
