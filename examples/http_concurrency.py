"""Requests do not wait for each other: each runs in an asyncio task of its own.

::

    python examples/http_concurrency.py
    aiohttpd serve examples/http_concurrency.py:SlowHandler --port 8080

Twenty requests at once take half a second, not ten::

    time (seq 20 | xargs -P 20 -I @ curl -s http://127.0.0.1:8080/@)
"""

import asyncio

import aiohttpd


class SlowHandler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        await asyncio.sleep(0.5)  # a database, say, or another server
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        task = asyncio.current_task()
        self.wfile.write(f"{task and task.get_name()}\n".encode())


if __name__ == "__main__":
    aiohttpd.run(SlowHandler, port=8080)
