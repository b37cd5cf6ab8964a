"""A server inside an asyncio program that has something else to do: here, to count the seconds.

The lifespan starts the counting before the first connection is accepted, and ends it after the last has
been closed; handlers see the count on ``self.server.state``. Another port may be given, 0 for a free one::

    python examples/embedded.py
    python examples/embedded.py 8081

The handler can also be served without this program, but then nothing counts::

    aiohttpd serve examples/embedded.py:Handler --port 8080

Try, more than once::

    curl http://127.0.0.1:8080/
"""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import aiohttpd


class Handler(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        seconds: int | None = getattr(self.server.state, "seconds", None)
        text = "Nobody counts the seconds here." if seconds is None else f"Seconds so far: {seconds}"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"{text}\n".encode())


async def count(server: aiohttpd.HTTPServer) -> None:
    while True:
        await asyncio.sleep(1)
        server.state.seconds += 1


@asynccontextmanager
async def counting(server: aiohttpd.HTTPServer) -> AsyncGenerator[None]:
    server.state.seconds = 0
    task = asyncio.create_task(count(server))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def main(port: int = 8080) -> None:
    async with aiohttpd.HTTPServer(("127.0.0.1", port), Handler, lifespan=counting) as server:
        print(f"Serving on {server.url}/ (Ctrl-C stops)", file=sys.stderr)
        await server.serve_forever()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(*map(int, sys.argv[1:])))
