"""Microseconds of Python for a request if many connections are served in turn: what falls out of the processor's cache.

usage: python benchmarks/many_connections.py [--connections 1,64,1024,4096] [--requests 200000] [--case hello]

Each connection is in memory and has a request of its own, which it repeats. The instructions for a request are the same
for any number of connections; what differs is the memory that they touch. `--bytes` prints the memory of a connection
that waits for its next request in place of the times.

To count the misses of the cache:
    valgrind --tool=cachegrind --cache-sim=yes --LL=1048576,16,64 python benchmarks/many_connections.py \
        --connections 4096 --requests 20000 --once
"""

import argparse
import asyncio
import gc
import time
import tracemalloc

from hot_path import POST_1K, Hello, browser_get

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare

ROUNDS = 7


class Sink(asyncio.Transport):
    """A transport that drops what is written, and takes as little memory as it can."""

    __slots__ = ()

    def __init__(self) -> None:
        pass

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Nothing is known of a client in memory."""
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Drop it."""

    def is_closing(self) -> bool:
        """It is never closed."""
        return False


def hello(number: int) -> bytes:
    """The request of a load generator: the same on all connections."""
    return b"GET /hello HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\n"


def post(number: int) -> bytes:
    """A request with a body."""
    return POST_1K


CASES = {"hello": hello, "browser": browser_get, "post": post}


def connected(context: ServerContext, count: int) -> list[HTTPConnection]:
    """Make connections, as a server does when its clients connect."""
    connections = []
    for _ in range(count):
        connection = HTTPConnection(context)
        connection.connection_made(Sink())
        connections.append(connection)
    return connections


def serve(connections: list[HTTPConnection], requests: list[bytes], rounds: int) -> None:
    """Give each connection one request in each round. The bytes of a request are new each time, as from a socket."""
    for _ in range(rounds):
        for connection, request in zip(connections, requests, strict=True):
            connection.data_received(bytes(memoryview(request)))
        connections[0].context.ready.serve()


def memory(context: ServerContext, requests: list[bytes]) -> float:
    """Bytes of memory of a connection that has had a response and waits; without those of the loop's transport."""
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    connections = connected(context, len(requests))
    serve(connections, requests, 2)
    gc.collect()
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return size / len(requests)


async def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--connections", default="1,64,1024,4096")
    arguments.add_argument("--requests", type=int, default=40_000, help="in each round, over all connections")
    arguments.add_argument("--case", choices=CASES, default="hello")
    arguments.add_argument("--once", action="store_true", help="one round only, for valgrind")
    arguments.add_argument("--bytes", action="store_true", help="print the memory of an idle connection")
    given = arguments.parse_args()
    context = ServerContext(prepare(Hello), aiohttpd.Config(access_log=False), asyncio.get_running_loop())
    for count in [int(count) for count in given.connections.split(",")]:
        requests = [CASES[given.case](number) for number in range(count)]
        if given.bytes:
            print(f"{count:6} connections: {memory(context, requests):7.0f} bytes each")
            continue
        connections = connected(context, count)
        gc.freeze()
        turns = max(1, given.requests // count)
        found = []
        for _ in range(1 if given.once else ROUNDS):
            start = time.process_time()
            serve(connections, requests, turns)
            found.append((time.process_time() - start) / (turns * count) * 1e6)
        print(f"{count:6} connections: {min(found):6.2f} µs a request")
    context.deadlines.close()


if __name__ == "__main__":
    asyncio.run(main())
