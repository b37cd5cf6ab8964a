"""JSON echoed, and bodies read, by Starlette."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route


async def echo(request: Request) -> JSONResponse:
    return JSONResponse(await request.json())


async def upload(request: Request) -> PlainTextResponse:
    size = 0
    async for data in request.stream():
        size += len(data)
    return PlainTextResponse(str(size))


app = Starlette(routes=[Route("/json", echo, methods=["POST"]), Route("/upload", upload, methods=["POST"])])
