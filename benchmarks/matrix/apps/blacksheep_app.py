"""The workloads by blacksheep, an ASGI framework of compiled Cython; uvicorn serves it."""

import asyncio
import os

from blacksheep import Application, Content, Request, Response, StreamedContent, WebSocket, json, text

KIB_64, MIB, CHUNK = bytes(64 * 1024), bytes(1024 * 1024), b"x" * 100
app = Application()


@app.router.get("/hello")
async def hello(request: Request) -> Response:
    return text("Hello, world!\n")


@app.router.get("/wait")
async def wait(request: Request) -> Response:
    await asyncio.sleep(0.001)
    return text("Hello, world!\n")


@app.router.get("/json")
async def as_json(request: Request) -> Response:
    return json({"message": "Hello, world!"})


@app.router.post("/echo")
async def echo(request: Request) -> Response:
    return json(await request.json())


@app.router.post("/upload")
async def upload(request: Request) -> Response:
    size = 0
    async for data in request.stream():
        size += len(data)
    return text(str(size))


@app.router.get("/down_64k")
async def down_64k(request: Request) -> Response:
    return Response(200, content=Content(b"application/octet-stream", KIB_64))


@app.router.get("/down_1m")
async def down_1m(request: Request) -> Response:
    return Response(200, content=Content(b"application/octet-stream", MIB))


@app.router.get("/chunks")
async def chunks(request: Request) -> Response:
    async def parts():  # type: ignore[no-untyped-def]
        for _ in range(1000):
            yield CHUNK

    return Response(200, content=StreamedContent(b"text/plain", parts))


@app.router.ws("/websocket")
async def websocket(ws: WebSocket) -> None:
    await ws.accept()
    while True:
        await ws.send_text(await ws.receive_text())


if os.environ.get("FILES"):
    app.serve_files(os.environ["FILES"], root_path="f", extensions={".bin"})
