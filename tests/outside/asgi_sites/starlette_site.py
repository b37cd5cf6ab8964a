"""A site by Starlette."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

HERE = Path(__file__).parent
DONE: list[str] = []


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
    yield {"word": "of the lifespan"}


async def home(request: Request) -> Response:
    return JSONResponse({"path": request.url.path, "query": dict(request.query_params), "state": request.state.word})


async def item(request: Request) -> Response:
    return PlainTextResponse(str(request.path_params["number"]))


async def upload(request: Request) -> Response:
    size = 0
    async for part in request.stream():
        size += len(part)
    return PlainTextResponse(str(size))


async def form(request: Request) -> Response:
    async with request.form() as fields:
        found = fields["file"]
        return JSONResponse({"name": fields["name"], "file": found.filename, "size": len(await found.read())})


async def file(request: Request) -> Response:
    return FileResponse(HERE / "starlette_site.py", media_type="text/x-python", filename="site.py")


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"part %d\n" % number

    return StreamingResponse(parts(), media_type="text/plain")


async def big(request: Request) -> Response:
    return PlainTextResponse("big " * 5000)


async def work(request: Request) -> Response:
    task = BackgroundTask(DONE.append, request.query_params["name"])
    return PlainTextResponse("begun", background=task)


async def done(request: Request) -> Response:
    return JSONResponse(DONE)


async def fails(request: Request) -> Response:
    raise HTTPException(418, "a teapot", {"X-Pot": "tea"})


async def breaks(request: Request) -> Response:
    raise RuntimeError("on purpose")


async def away(request: Request) -> Response:
    response = RedirectResponse("/items/3", status_code=303)
    response.set_cookie("a", "1")
    response.set_cookie("b", "2", httponly=True)
    return response


async def talk(websocket: WebSocket) -> None:
    await websocket.accept(subprotocol="chat" if "chat" in websocket.scope["subprotocols"] else None)
    async for text in websocket.iter_text():
        await websocket.send_text(text.upper())


class Marking(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):  # type: ignore[no-untyped-def]
        response = await call_next(request)
        response.headers["X-Marked"] = "yes"
        return response


app = Starlette(
    lifespan=lifespan,
    middleware=[Middleware(GZipMiddleware, minimum_size=1000), Middleware(Marking)],
    routes=[
        Route("/", home),
        Route("/items/{number:int}", item, methods=["GET", "DELETE"]),
        Route("/upload", upload, methods=["POST"]),
        Route("/form", form, methods=["POST"]),
        Route("/file", file),
        Route("/stream", stream),
        Route("/big", big),
        Route("/work", work),
        Route("/done", done),
        Route("/fails", fails),
        Route("/breaks", breaks),
        Route("/away", away),
        WebSocketRoute("/talk", talk),
        Mount("/static", StaticFiles(directory=os.fspath(HERE))),
    ],
)
