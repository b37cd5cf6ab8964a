"""The life of an application: the lifespan of a router around those of its Apps."""

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from aiohttpd import BaseHTTPRequestHandler, HTTPError, HTTPServer, Router, handle_errors
from aiohttpd.compression import compress

from ...support.asking import QUIET


def life(events: list[str], name: str) -> Any:
    @asynccontextmanager
    async def lifespan(server: Any) -> AsyncIterator[None]:
        events.append(f"+{name}")
        setattr(server, name, name)
        yield
        events.append(f"-{name}")

    return lifespan


def handler(lifespan: Any) -> type[BaseHTTPRequestHandler]:
    """A handler class with a lifespan."""
    return type("Living", (BaseHTTPRequestHandler,), {"lifespan": lifespan and staticmethod(lifespan)})


@pytest.mark.parametrize("wrap", [lambda site: site, lambda site: Router({"/": site, "/in/": site})])
async def test_each_once_from_the_outside_in(wrap: Any) -> None:
    events: list[str] = []
    one, two = handler(life(events, "one")), handler(life(events, "two"))
    child = type("Child", (one,), {})
    inner = Router({"/one": one, "/two": functools.partial(two)}, lifespan=life(events, "inner"))
    site = wrap(Router({"/one": one, "/child": child, "/a/": inner, "/b/": inner}, lifespan=life(events, "site")))
    server = SimpleNamespace()
    async with site.lifespan(server):
        assert events == ["+site", "+one", "+inner", "+two"]
        assert sorted(vars(server)) == ["inner", "one", "site", "two"]
    assert events == ["+site", "+one", "+inner", "+two", "-two", "-inner", "-one", "-site"]


async def test_one_that_fails_ends_those_before_it() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def failing(server: Any) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    @asynccontextmanager
    async def around(server: Any) -> AsyncIterator[None]:
        try:
            yield
        finally:
            events.append("-site")

    site = Router({"/": handler(failing)}, lifespan=around)
    with pytest.raises(RuntimeError, match="no database"):
        async with site.lifespan(SimpleNamespace()):
            raise AssertionError("it has not begun")
    assert events == ["-site"]


async def test_without_any() -> None:
    async with Router({"/": compress(handler(None))}).lifespan(None):
        pass


async def test_errors_of_a_server() -> None:
    async def page(self: BaseHTTPRequestHandler, error: HTTPError) -> None:
        self.send_text(f"page {error.status}", error.status)

    class Missing(BaseHTTPRequestHandler):
        async def do_GET(self) -> None:
            raise HTTPError(404)

    for app in (Missing, Router({"/x": Missing}), handle_errors(Missing, {418: page})):
        server = HTTPServer(("127.0.0.1", 0), app, config=QUIET, error_handlers={404: page})
        async with server, httpx.AsyncClient(base_url=server.url) as http:
            assert (await http.get("/none")).text == "page 404"
