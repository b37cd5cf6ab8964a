"""Servers for tests beside each other: python benchmarks/testing.py [--write].

Three times, of aiohttpd, pytest-httpserver and aiohttp's TestServer, in one run: start and stop of 200 servers, 1,000
expected requests by urllib, ten requests at once of which each waits 0.2 s. What is not installed is left out.
--write puts the table into docs/testing.md.
"""

import asyncio
import importlib.util
import logging
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"
BEGIN, END = "<!-- times: begin -->", "<!-- times: end -->"

# Each starts a server that answers /users/N at once and /slow after 0.2 s, and yields its URL.


@contextmanager
def aiohttpd_server(*, expects: bool = True) -> Iterator[str]:
    from aiohttpd.testing import TestServer

    with TestServer() as server:
        if expects:
            server.expect("GET", "/users/{id}").respond(json={"name": "Ada"}).optional()
            server.expect("GET", "/slow").respond(delay=0.2).optional()
        yield server.url


@contextmanager
def pytest_httpserver(*, expects: bool = True, threaded: bool = False) -> Iterator[str]:
    import re

    from pytest_httpserver import HTTPServer

    def slow(request: Any) -> Any:
        from werkzeug import Response

        time.sleep(0.2)
        return Response("")

    with HTTPServer(threaded=threaded) as server:
        if expects:
            server.expect_request(re.compile("/users/.*"), method="GET").respond_with_json({"name": "Ada"})
            server.expect_request("/slow", method="GET").respond_with_handler(slow)
        yield server.url_for("")


@contextmanager
def aiohttp_server(*, expects: bool = True) -> Iterator[str]:
    """It is for asynchronous tests: here it gets a thread, which pytest would not give it."""
    from aiohttp import web
    from aiohttp.test_utils import TestServer

    async def user(request: Any) -> Any:
        return web.json_response({"name": "Ada"})

    async def slow(request: Any) -> Any:
        await asyncio.sleep(0.2)
        return web.Response()

    async def serve() -> None:
        nonlocal url, loop
        app = web.Application()
        if expects:
            app.router.add_get("/users/{id}", user)
            app.router.add_get("/slow", slow)
        async with TestServer(app) as server:
            loop = asyncio.get_running_loop()
            url = str(server.make_url("")).rstrip("/")
            begun.set()
            await ended.wait()

    url, loop = "", asyncio.new_event_loop()
    loop.close()
    begun, ended = threading.Event(), asyncio.Event()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    begun.wait()
    yield url
    loop.call_soon_threadsafe(ended.set)
    thread.join()


def start_and_stop(server: Callable[..., Any]) -> float:
    begun = time.perf_counter()
    for _ in range(200):
        with server(expects=False):
            pass
    return time.perf_counter() - begun


def asked(server: Callable[..., Any]) -> float:
    with server() as url:
        begun = time.perf_counter()
        for number in range(1000):
            with urllib.request.urlopen(f"{url}/users/{number}") as answer:
                assert b"Ada" in answer.read()
        return time.perf_counter() - begun


def at_once(server: Callable[..., Any]) -> float:
    with server() as url, ThreadPoolExecutor(10) as pool:
        begun = time.perf_counter()
        for answer in pool.map(lambda _: urllib.request.urlopen(f"{url}/slow"), range(10)):
            answer.close()
        return time.perf_counter() - begun


def threaded(*, expects: bool = True) -> Any:
    return pytest_httpserver(expects=expects, threaded=True)


SERVERS = {
    "aiohttpd": (aiohttpd_server, "aiohttpd"),
    "pytest-httpserver": (pytest_httpserver, "pytest_httpserver"),
    "pytest-httpserver, threaded": (threaded, "pytest_httpserver"),
    "aiohttp's TestServer, in a thread": (aiohttp_server, "aiohttp"),
}


def table() -> str:
    lines = ["| | 200 times start and stop | 1,000 requests | ten at once, 0.2 s each |", "|---|---|---|---|"]
    for name, (server, module) in SERVERS.items():
        if importlib.util.find_spec(module) is not None:
            figures = [measure(server) for measure in (start_and_stop, asked, at_once)]
            lines.append(f"| {name} | {' | '.join(f'{seconds:.2f} s' for seconds in figures)} |")
            print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    made = table()
    if "--write" in sys.argv:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}")
    else:
        print(made)


if __name__ == "__main__":
    main()
