"""A site by FastAPI."""

from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request, UploadFile, WebSocket
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel

app = FastAPI(title="Notes")
NOTES: dict[int, "Note"] = {}
DONE: list[str] = []


class Note(BaseModel):
    text: str
    stars: int = 0


async def token(authorization: Annotated[str | None, Header()] = None) -> str:
    if authorization != "Bearer secret":
        raise HTTPException(401, "who is it?", {"WWW-Authenticate": "Bearer"})
    return authorization


@app.get("/notes")
async def notes(first: int = 0, count: int = 10) -> list[Note]:
    return list(NOTES.values())[first : first + count]


@app.post("/notes/{number}", status_code=201)
async def add(number: int, note: Note, who: Annotated[str, Depends(token)]) -> Note:
    NOTES[number] = note
    return note


@app.get("/notes/{number}")
def note(number: int) -> Note:
    if number not in NOTES:
        raise HTTPException(404, "no such note")
    return NOTES[number]


@app.put("/raw")
async def raw(request: Request) -> dict[str, int]:
    return {"size": sum([len(part) async for part in request.stream()])}


@app.post("/files")
async def files(files: list[UploadFile]) -> list[dict[str, str | int | None]]:
    return [{"name": file.filename, "size": len(await file.read())} for file in files]


@app.get("/source")
async def source() -> FileResponse:
    return FileResponse(__file__)


@app.get("/lines")
def lines() -> StreamingResponse:
    return StreamingResponse((f"line {number}\n" for number in range(5)), media_type="text/plain")


@app.post("/later/{name}")
async def later(name: str, tasks: BackgroundTasks) -> dict[str, str]:
    tasks.add_task(DONE.append, name)
    return {"begun": name}


@app.get("/done")
async def done() -> list[str]:
    return DONE


@app.websocket("/talk")
async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_json({"you said": text})
