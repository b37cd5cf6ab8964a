"""The memory of a connection that has had a response, and waits for the next request.

Objects of this package are counted, without those of the loop's transport; `benchmarks/footprint.py` measures a whole
server.
"""

import asyncio
import gc
import tracemalloc

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare

REQUEST = b"GET /hello HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\n"
COUNT = 500
MOST = 1300  # bytes for each connection


class Hello(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_text("Hello, world!")


class Sink(asyncio.Transport):
    """Drops what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.responses = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.responses += 1


async def test_an_idle_connection_takes_little_memory() -> None:
    context = ServerContext(prepare(Hello), aiohttpd.Config(access_log=False), asyncio.get_running_loop())
    sinks = [Sink() for _ in range(COUNT + 1)]

    async def serve(sinks: list[Sink]) -> list[HTTPConnection]:
        connections = []
        for sink in sinks:
            connection = HTTPConnection(context)
            connection.connection_made(sink)
            for _ in range(2):
                connection.data_received(bytes(memoryview(REQUEST)))
                await asyncio.sleep(0)  # before Python 3.12 a handler begins in a turn of the loop
                await asyncio.sleep(0)
            connections.append(connection)
        return connections

    kept = await serve(sinks[:1])  # what all connections share is there afterwards
    gc.collect()
    tracemalloc.start()
    try:
        kept += await serve(sinks[1:])
        gc.collect()
        size = tracemalloc.get_traced_memory()[0] / COUNT
    finally:
        tracemalloc.stop()
    assert [sink.responses for sink in sinks] == [2] * len(sinks)
    assert size < MOST
    context.close()
