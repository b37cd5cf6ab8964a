"""A site by Sanic."""

from pathlib import Path
from typing import Any

from sanic import Sanic, response

app: Any = Sanic("site")
app.static("/source", str(Path(__file__).with_name("starlette_site.py")))


@app.get("/")
async def home(request: Any) -> Any:
    return response.json({"query": dict(request.args), "path": request.path})


@app.post("/form")
async def form(request: Any) -> Any:
    sizes = {name: len(files[0].body) for name, files in request.files.items()}
    return response.json({"fields": dict(request.form), "files": sizes})


@app.put("/raw")
async def raw(request: Any) -> Any:
    return response.text(str(len(request.body)))


@app.get("/stream")
async def stream(request: Any) -> None:
    answer = await request.respond(content_type="text/plain")
    for number in range(5):
        await answer.send(f"part {number}\n")
    await answer.eof()


@app.websocket("/talk")
async def talk(request: Any, socket: Any) -> None:
    while True:
        await socket.send((await socket.recv())[::-1])
