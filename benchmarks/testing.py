"""Servers for tests beside each other: python benchmarks/testing.py [--write].

In one run, of aiohttpd, pytest-httpserver, pytest-localserver, aiohttp's TestServer and respx: start and stop of 200
servers, 1,000 expected requests by urllib, ten requests at once of which each waits 0.2 s. respx is no server: it
answers in place of httpx, so httpx asks it. What is not installed is left out. --write puts the table into
docs/testing.md.
"""

import asyncio
import functools
import importlib.util
import logging
import statistics
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
def pytest_localserver(*, expects: bool = True) -> Iterator[str]:
    """Its fixture answers all requests alike; the benchmark gives its server an application that does not."""
    from pytest_localserver.http import ContentServer, WSGIServer

    def application(environ: Any, start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/slow":
            time.sleep(0.2)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"name": "Ada"}']

    server = WSGIServer(application=application) if expects else ContentServer()
    server.start()
    yield server.url
    server.stop()
    server.join()
    server._server.server_close()


@contextmanager
def respx_router(*, expects: bool = True) -> Iterator[str]:
    import httpx
    import respx

    def slow(request: Any) -> Any:
        time.sleep(0.2)
        return httpx.Response(200)

    with respx.mock(assert_all_called=False) as router:
        if expects:
            router.get(path__regex="/users/.*").respond(json={"name": "Ada"})
            router.get(path="/slow").mock(side_effect=slow)
        yield "http://test.invalid"


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


def by_urllib(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


def by_httpx(url: str) -> bytes:
    return bytes(_client().get(url).content)


@functools.cache
def _client() -> Any:
    import httpx

    return httpx.Client()  # to make one takes longer than a request


Asking = Callable[[str], bytes]


ROUNDS = 3  # of which the best counts


def start_and_stop(server: Callable[..., Any], ask: Asking) -> list[str]:
    """The time of 200, of it CPU; the median and the slowest of their stops."""
    with server(expects=False):
        pass  # the first one imports modules
    stops = []
    begun, used = time.perf_counter(), time.process_time()
    for _ in range(200):
        with server(expects=False):
            stopping = time.perf_counter()
        stops.append((time.perf_counter() - stopping) * 1000)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - used
    return [f"{seconds:.2f} s, {cpu:.2f} s", f"{statistics.median(stops):.1f} ms, {max(stops):.0f} ms"]


def asked(server: Callable[..., Any], ask: Asking) -> list[str]:
    """CPU of client and server together."""
    rounds = []
    with server() as url:
        ask(f"{url}/users/0")
        for _ in range(ROUNDS):
            used = time.process_time()
            for number in range(1000):
                assert b"Ada" in ask(f"{url}/users/{number}")
            rounds.append(time.process_time() - used)
    return [f"{min(rounds):.2f} s"]


def at_once(server: Callable[..., Any], ask: Asking) -> list[str]:
    rounds = []
    with server() as url, ThreadPoolExecutor(10) as pool:
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            list(pool.map(ask, [f"{url}/slow"] * 10))
            rounds.append(time.perf_counter() - begun)
    return [f"{min(rounds):.2f} s"]


def threaded(*, expects: bool = True) -> Any:
    return pytest_httpserver(expects=expects, threaded=True)


SERVERS: dict[str, tuple[Callable[..., Any], str, Asking]] = {
    "aiohttpd": (aiohttpd_server, "aiohttpd", by_urllib),
    "pytest-httpserver": (pytest_httpserver, "pytest_httpserver", by_urllib),
    "pytest-httpserver, threaded": (threaded, "pytest_httpserver", by_urllib),
    "pytest-localserver": (pytest_localserver, "pytest_localserver", by_urllib),
    "aiohttp's TestServer, in a thread": (aiohttp_server, "aiohttp", by_urllib),
    "respx, no server; asked by httpx": (respx_router, "respx", by_httpx),
}


def table() -> str:
    lines = [
        "| | 200 starts and stops, CPU | a stop: median, slowest | 1,000 requests, CPU | ten at once, 0.2 s each |",
        "|---|---|---|---|---|",
    ]
    for name, (server, module, ask) in SERVERS.items():
        if importlib.util.find_spec(module) is not None:
            figures = [figure for measure in (start_and_stop, asked, at_once) for figure in measure(server, ask)]
            lines.append(f"| {name} | {' | '.join(figures)} |")
            print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    for name in ("werkzeug", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)
    made = table()
    if "--write" in sys.argv:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}\n\n{made}\n\n{END}{rest.partition(END)[2]}")
    else:
        print(made)


if __name__ == "__main__":
    main()
