"""The service by FastAPI, with asgi-correlation-id."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import FileResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException as StarletteHTTPException

from .store import ORIGIN, TOKENS, Note, Store, open_store


class Draft(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    text: str = ""
    stars: int = 0


class Paging(BaseModel):
    before: int | None = None
    limit: int = Field(20, ge=1, le=100)


class Page(BaseModel):
    notes: list[Note]
    next: int | None


async def get_store(request: Request) -> Store:
    return request.state.store


async def get_user(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    if credentials.credentials not in TOKENS:
        raise HTTPException(401, "a token is needed", {"WWW-Authenticate": "Bearer"})
    return TOKENS[credentials.credentials]


CurrentStore = Annotated[Store, Depends(get_store)]
CurrentUser = Annotated[str, Depends(get_user)]


def found(note: Note | None) -> Note:
    if note is None:
        raise HTTPException(404, "there is no such note")
    return note


async def get_note(id: int, store: CurrentStore, user: CurrentUser) -> Note:
    return found(store.get(user, id))


CurrentNote = Annotated[Note, Depends(get_note)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Store]]:
    async with open_store() as store:
        yield {"store": store}


app = FastAPI(lifespan=lifespan)
app.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=6)
app.add_middleware(
    CORSMiddleware, allow_origins=[ORIGIN], allow_methods=["*"], allow_headers=["*"],
    expose_headers=["Location", "X-Request-ID"],
)  # fmt: skip
app.add_middleware(CorrelationIdMiddleware)


@app.get("/notes")
async def list_notes(store: CurrentStore, user: CurrentUser, paging: Annotated[Paging, Query()]) -> Page:
    notes = store.page(user, paging.before, paging.limit)
    return Page(notes=notes, next=notes[-1].id if notes else None)


@app.post("/notes", status_code=201)
async def add_note(store: CurrentStore, user: CurrentUser, draft: Draft, response: Response) -> Note:
    note = store.add(user, draft.title, draft.text, draft.stars)
    response.headers["Location"] = f"/notes/{note.id}"
    return note


@app.get("/notes/{id}")
async def read_note(note: CurrentNote) -> Note:
    return note


@app.put("/notes/{id}")
async def replace_note(id: int, store: CurrentStore, user: CurrentUser, draft: Draft) -> Note:
    return found(store.replace(user, id, draft.title, draft.text, draft.stars))


@app.delete("/notes/{id}", status_code=204)
async def delete_note(id: int, store: CurrentStore, user: CurrentUser) -> None:
    if not store.delete(user, id):
        raise HTTPException(404, "there is no such note")


@app.get("/notes/{id}/file")
async def read_file(note: CurrentNote, store: CurrentStore) -> FileResponse:
    path = store.file_of(note.id)
    if not path.exists():
        raise HTTPException(404, "there is no attachment")
    return FileResponse(path)


@app.put("/notes/{id}/file", status_code=204)
async def write_file(note: CurrentNote, store: CurrentStore, request: Request) -> None:
    with store.file_of(note.id).open("wb") as file:
        async for chunk in request.stream():
            await asyncio.to_thread(file.write, chunk)


@app.get("/events", response_class=EventSourceResponse)
async def events(store: CurrentStore, user: CurrentUser) -> AsyncIterable[ServerSentEvent]:
    async for what, number in store.changes():
        yield ServerSentEvent(raw_data=str(number), event=what)


def problem(status: int, detail: str, headers: Any = None, **more: Any) -> Response:
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


@app.exception_handler(StarletteHTTPException)
async def failed(request: Request, error: StarletteHTTPException) -> Response:
    return problem(error.status_code, error.detail, error.headers)


@app.exception_handler(RequestValidationError)
async def invalid(request: Request, error: RequestValidationError) -> Response:
    errors = [{"loc": each["loc"], "msg": each["msg"], "type": each["type"]} for each in error.errors()]
    return problem(422, "the data is not valid", errors=errors)
