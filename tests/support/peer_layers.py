"""Layers of Starlette and of aiohttp around a small application, asked as ours are: for the table in docs/layers.md."""

import asyncio
from typing import Any, NamedTuple

from .wire import split

LARGE = [str(number) for number in range(2000)]  # more than a cookie can be
PATHS = ("/", "/fail", "/large", "/read", "/remember", "/sign-in")


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    text: str = ""


async def by_starlette(layer: Any, path: str, fields: dict[str, str], method: str = "GET", **options: Any) -> Answer:
    """Ask a Starlette with a layer. A Host of "" is none."""
    import httpx
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def page(request: Request) -> PlainTextResponse:
        match request.url.path:
            case "/fail":
                raise RuntimeError
            case "/large":
                request.session["large"] = LARGE
            case "/read":
                return PlainTextResponse(",".join(sorted(request.session)))
            case "/remember":
                request.session["before"] = 1
            case "/sign-in":
                request.session["user"] = 7
        return PlainTextResponse("ok")

    app = Starlette(routes=[Route(path, page) for path in PATHS], middleware=[Middleware(layer, **options)])
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        request = client.build_request(method, path, headers=fields)
        if fields.get("Host") == "":
            del request.headers["Host"]
        answer = await client.send(request)
    return Answer(answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.text)


def aiohttp_site(**options: Any) -> Any:
    """An application of aiohttp."""
    import aiohttp_session
    from aiohttp import web

    async def page(request: web.Request) -> web.Response:
        match request.path:
            case "/fail":
                raise RuntimeError
            case "/large":
                (await aiohttp_session.get_session(request))["large"] = LARGE
            case "/read":
                return web.Response(text=",".join(sorted(await aiohttp_session.get_session(request))))
            case "/remember":
                (await aiohttp_session.get_session(request))["before"] = 1
            case "/sign-in":
                (await aiohttp_session.new_session(request))["user"] = 7
        return web.Response(text="ok")

    app = web.Application(**options)
    app.add_routes([web.get(path, page) for path in PATHS])
    return app


def aiohttp_cors_site(origin: str, *, credentials: bool = False) -> Any:
    """An application of aiohttp with aiohttp-cors."""
    import aiohttp_cors

    app = aiohttp_site()
    cors = aiohttp_cors.setup(app, defaults={origin: aiohttp_cors.ResourceOptions(allow_credentials=credentials)})
    for route in list(app.router.routes()):
        cors.add(route)
    return app


def aiohttp_session_site(secret: bytes) -> Any:
    """An application of aiohttp with the cookies of aiohttp-session that are encrypted."""
    from aiohttp_session import session_middleware
    from aiohttp_session.cookie_storage import EncryptedCookieStorage

    return aiohttp_site(middlewares=[session_middleware(EncryptedCookieStorage(secret))])


def aiohttp_host_site(host: str) -> Any:
    """An application of aiohttp for one host: aiohttp has no layer for that, but domains of an application."""
    from aiohttp import web

    app = web.Application()
    app.add_domain(host, aiohttp_site())
    return app


async def by_aiohttp(app: Any, path: str, fields: dict[str, str], method: str = "GET") -> Answer:
    """Ask an application of aiohttp, on a socket of 127.0.0.1. A Host of "" is none."""
    from aiohttp import web

    host = fields.get("Host", "localhost")
    lines = [
        f"{method} {path} HTTP/{'1.1' if host else '1.0'}",
        *([f"Host: {host}"] if host else []),
        "Connection: close",
    ]
    lines += [f"{name}: {value}" for name, value in fields.items() if name != "Host"]
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        data = await reader.read()
        [answer] = split(data.replace(b"HTTP/1.0", b"HTTP/1.1", 1), [method])  # aiohttp answers in the client's version
        writer.close()
        await writer.wait_closed()
    finally:
        await runner.cleanup()
    return Answer(answer.status, {name.lower(): value for name, value in answer.fields}, answer.body.decode("latin-1"))
