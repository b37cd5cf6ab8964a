"""What the attacks are run against, by Starlette."""

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

BLOCK = bytes(256 * 1024)


async def hello(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"Hello, {request.cookies.get('name', 'world')}!\n")


async def blocks() -> AsyncIterator[bytes]:
    for _ in range(400):
        yield BLOCK


async def large(request: Request) -> StreamingResponse:
    return StreamingResponse(blocks(), headers={"Content-Length": str(400 * len(BLOCK))})


async def take_json(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.json())))


async def take_form(request: Request) -> PlainTextResponse:
    async with request.form() as form:
        return PlainTextResponse(str(len(form)))


async def take_body(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


app = Starlette(
    middleware=[Middleware(GZipMiddleware)],
    routes=[
        Route("/", hello),
        Route("/large", large),
        Route("/json", take_json, methods=["POST"]),
        Route("/form", take_form, methods=["POST"]),
        Route("/", take_body, methods=["POST"]),
    ],
)
