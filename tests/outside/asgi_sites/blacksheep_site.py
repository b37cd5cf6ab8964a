"""A site by BlackSheep."""

from collections.abc import AsyncIterator
from pathlib import Path

from blacksheep import Application, Request, Response, StreamedContent, WebSocket, get, post, put, ws

app = Application()
app.serve_files(str(Path(__file__).parent), root_path="/static", extensions={".py"})


@get("/")
async def home(request: Request) -> dict[str, object]:
    return {"path": request.path, "query": request.query}


@post("/form")
async def form(request: Request) -> dict[str, str]:
    fields = await request.form() or {}
    return {name: str(value) for name, value in fields.items()}


@put("/raw")
async def raw(request: Request) -> str:
    return str(sum([len(part) async for part in request.stream()]))


@get("/stream")
async def stream() -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(5):
            yield b"part %d\n" % number

    return Response(200, content=StreamedContent(b"text/plain", parts))


@ws("/talk")
async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    while True:
        await websocket.send_text((await websocket.receive_text())[::-1])
