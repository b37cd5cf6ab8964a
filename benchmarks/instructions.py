"""Python instructions for a request, in memory: a measure of speed that is the same on each run and each machine.

usage: python benchmarks/instructions.py [--renew]

Only instructions in aiohttpd's own code count. Their number depends on the version of Python, so the expected numbers,
in tests/data/instructions.json, are kept for each. ``tests/test_instructions.py`` fails if one is more than 3 % above;
``--renew`` writes those of the Python that runs it.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from hot_path import GET_2, POST_1K, Hello, Null, browser_get, of_three_clients, two_differ

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare

EXPECTED = Path(__file__).parent.parent / "tests" / "data" / "instructions.json"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
_PACKAGE = str(Path(aiohttpd.__file__).parent)
_ROUNDS = 40


class WithLength(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        content = b"Hello, world!\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class JSON(aiohttpd.BaseHTTPRequestHandler):
    async def do_GET(self) -> None:
        self.send_json({"message": "Hello, world!"})

    async def do_POST(self) -> None:
        self.send_json(await self.json())


class Counter:
    """Counts the instructions that run in the package while it is entered."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Counter":
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _called(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return self._traced

    def _traced(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "opcode"
        return self._traced


def cases(folder: str) -> Iterator[tuple[str, Any, list[bytes], int]]:
    """Name, App, requests that differ, and how many of them one piece of bytes holds."""
    posted = b'{"name": "value", "numbers": [1, 2, 3]}'
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    files = type("Files", (aiohttpd.SimpleHTTPRequestHandler,), {"directory": folder})
    yield "hello", Hello, [GET_2], 1
    yield "hello, Content-Length", WithLength, [GET_2], 1
    yield "14 fields, as before", Hello, [browser_get(0)], 1
    yield "14 fields, two differ", Hello, [two_differ(number) for number in range(64)], 1
    yield "14 fields, 3 clients", Hello, [of_three_clients(number) for number in range(64)], 1
    yield "POST of 1 KiB", Hello, [POST_1K], 1
    yield "16 pipelined, each", Hello, [GET_2 * 16], 16
    yield "JSON", JSON, [GET_2], 1
    yield "JSON echo", JSON, [post % (len(posted), posted)], 1
    yield "file of 1 KiB", files, [b"GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\n"], 1


async def count(app: Any, requests: list[bytes], units: int) -> int:
    """Instructions for one request."""
    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(app), aiohttpd.Config(access_log=False), loop)
    connection, transport = HTTPConnection(context), Null(loop)
    transport.connect(connection)

    async def serve(data: bytes) -> int:
        before = transport.writes
        with Counter() as counter:
            connection.data_received(data)
            for _ in range(2 * units):  # before Python 3.12 each handler begins in a turn of the loop
                await asyncio.sleep(0)
        while transport.writes == before:  # a file that is not in memory yet is read by a thread
            await asyncio.sleep(0.001)
        return counter.count

    # The least of several: what is remembered is known then, and no second has ended.
    found = [await serve(requests[number % len(requests)]) for number in range(_ROUNDS)]
    context.deadlines.close()
    return round(min(found[_ROUNDS // 2 :]) / units)


async def measure() -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.txt")
        file.write_bytes(b"x" * 1024)
        os.utime(file, (0, 0))  # one that has just been written is not kept in memory
        with mock.patch("aiohttpd.engine.ready.perf_counter", float):  # no batch is taken for a slow one
            return {name: await count(app, requests, units) for name, app, requests, units in cases(folder)}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--renew", action="store_true", help="write the numbers of this Python as the expected ones")
    arguments.add_argument("--json", action="store_true", help="print them as JSON")
    given = arguments.parse_args()
    found = asyncio.run(measure())
    expected = json.loads(EXPECTED.read_text()) if EXPECTED.exists() else {}
    if given.renew:
        expected[VERSION] = found
        EXPECTED.write_text(json.dumps(dict(sorted(expected.items())), indent=2) + "\n")
    if given.json:
        print(json.dumps(found))
        return
    for name, number in found.items():
        before = expected.get(VERSION, {}).get(name)
        print(f"{name:24} {number:6}   {'' if before is None else f'{number / before:.3f} of the expected'}")


if __name__ == "__main__":
    main()
