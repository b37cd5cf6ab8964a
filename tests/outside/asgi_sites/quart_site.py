"""A site by Quart."""

from collections.abc import AsyncIterator
from typing import Any

from quart import Quart, abort, request, websocket

app = Quart(__name__)


@app.get("/")
async def home() -> dict[str, Any]:
    return {"args": request.args.to_dict(), "host": request.host.partition(":")[0], "scheme": request.scheme}


@app.post("/form")
async def form() -> dict[str, Any]:
    fields, files = await request.form, await request.files
    return {"name": fields["name"], "size": len(files["file"].read())}


@app.put("/raw")
async def raw() -> str:
    size = 0
    async for part in request.body:
        size += len(part)
    return str(size)


@app.get("/stream")
async def stream() -> tuple[AsyncIterator[bytes], int, dict[str, str]]:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"part %d\n" % number

    return parts(), 200, {"X-Stream": "yes"}


@app.get("/teapot")
async def teapot() -> None:
    abort(418)


@app.websocket("/talk")
async def talk() -> None:
    while True:
        await websocket.send((await websocket.receive())[::-1])
