"""What a `Router` costs: a match in tables of 10, 1,000 and 10,000 routes, and a request with one and without.

usage: python benchmarks/routing.py [--seconds 0.3]

In memory, as hot_path.py: microseconds, the best of seven rounds.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from functools import partial

from hot_path import Hello, Null, best, receive

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.handlers.app import prepare
from aiohttpd.handlers.routing.pattern import Pattern
from aiohttpd.handlers.routing.tree import Tree

ENDS = ("", "/{id:int}", "/{id:int}/edit", "/{id:int}/parts/{part}", "/latest")


def matching(seconds: float) -> None:
    """Time to find a route, and to make the table."""
    for count in (10, 1_000, 10_000):
        texts = [f"/api/things{number}{end}" for number in range(count // len(ENDS)) for end in ENDS]
        started = time.perf_counter()
        tree: Tree[str] = Tree()
        for text in texts:
            tree.add(Pattern.of(text), text)
        made = time.perf_counter() - started
        paths = ("/api/things1", "/api/things1/77/parts/x", "/api/things1/latest", "/api/none/77")
        found = [best(partial(tree.find, path.split("/")[1:]), seconds) for path in paths]
        print(f"{count:6} routes, made in {made:.3f} s:", *(f"{each:6.2f}" for each in found))


def site() -> aiohttpd.Router:
    """A router of 40 routes and some."""
    table: dict[str, type] = {f"/r{number}{end}": Hello for number in range(20) for end in ("", "/{id:int}")}
    made = aiohttpd.Router({**table, "/hello": Hello, "/api/": aiohttpd.Router({"/x/{id:int}": Hello})})
    made.add_function("GET", "/ping", Hello.do_GET)
    return made


def requests(seconds: float, loop: asyncio.AbstractEventLoop) -> None:
    """Time of a request as a whole."""

    def asking(app: aiohttpd.App, path: str) -> Callable[[], object]:
        context = ServerContext(prepare(app), aiohttpd.Config(access_log=False), loop)
        connection = HTTPConnection(context)
        Null(loop).connect(connection)
        data = f"GET {path} HTTP/1.1\r\nHost: localhost:8080\r\nAccept: */*\r\n\r\n".encode()
        return lambda: receive(connection, data)

    router = site()
    cases = {"without a router": asking(Hello, "/hello"), "/hello": asking(router, "/hello")}
    cases |= {path: asking(router, path) for path in ("/hello?a=1", "/ping", "/r7/123", "/api/x/123", "/none")}
    for name, call in cases.items():
        print(f"{name:20} {best(call, seconds):7.2f}")


async def main() -> None:
    """Measure both."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seconds", type=float, default=0.3)
    given = arguments.parse_args()
    matching(given.seconds)
    requests(given.seconds, asyncio.get_running_loop())


if __name__ == "__main__":
    asyncio.run(main())
