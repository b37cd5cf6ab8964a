"""The service by aiohttpd."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttpd
from aiohttpd import HTTPError, middleware

from .store import ORIGIN, TOKENS, Note, Store, open_store


@dataclass
class Draft:
    title: str
    text: str = ""
    stars: int = 0

    def __post_init__(self) -> None:
        if not 0 < len(self.title) <= 200:
            raise ValueError("needs a title of 1 to 200 characters")


@dataclass
class Paging:
    before: int | None = None
    limit: int = 20

    def __post_init__(self) -> None:
        if not 0 < self.limit <= 100:
            raise ValueError("has a limit that is not 1 to 100")


class Handler(aiohttpd.BaseHTTPRequestHandler[Store]):
    def found(self, note: Note | None) -> Note:
        if note is None:
            raise HTTPError(404, explain="there is no such note")
        return note

    def note(self) -> Note:
        return self.found(self.server.state.get(self.request.user, self.params["id"]))


class Notes(Handler):
    async def do_GET(self) -> None:
        paging = self.query_as(Paging)
        notes = self.server.state.page(self.request.user, paging.before, paging.limit)
        self.send_json({"notes": [vars(note) for note in notes], "next": notes[-1].id if notes else None})

    async def do_POST(self) -> None:
        draft = await self.json(Draft)
        note = self.server.state.add(self.request.user, draft.title, draft.text, draft.stars)
        self.add_header("Location", f"/notes/{note.id}")
        self.send_json(vars(note), 201)


class OneNote(Handler):
    async def do_GET(self) -> None:
        self.send_json(vars(self.note()))

    async def do_PUT(self) -> None:
        draft = await self.json(Draft)
        user, number = self.request.user, self.params["id"]
        self.send_json(vars(self.found(self.server.state.replace(user, number, draft.title, draft.text, draft.stars))))

    async def do_DELETE(self) -> None:
        if not self.server.state.delete(self.request.user, self.params["id"]):
            raise HTTPError(404, explain="there is no such note")
        self.send_response(204)
        self.end_headers()


class Attachment(Handler):
    max_body_size = 200 * 1024 * 1024

    async def do_GET(self) -> None:
        await self.send_file(self.server.state.file_of(self.note().id))

    async def do_PUT(self) -> None:
        with self.server.state.file_of(self.note().id).open("wb") as file:
            async for chunk in self.rfile:
                await asyncio.to_thread(file.write, chunk)
        self.send_response(204)
        self.end_headers()


class Events(Handler):
    async def do_GET(self) -> None:
        async with self.event_stream() as events:
            async for what, number in self.server.state.changes():
                await events.send(str(number), event=what)


@asynccontextmanager
async def lifespan(server: aiohttpd.HTTPServer) -> AsyncGenerator[None]:
    async with open_store() as server.state:
        yield


routes = aiohttpd.Router(
    {"/notes": Notes, "/notes/{id:int}": OneNote, "/notes/{id:int}/file": Attachment, "/events": Events},
    lifespan=lifespan,
)
app = aiohttpd.layers(
    routes,
    middleware.RequestID(trust=True),
    middleware.CORS([ORIGIN], expose=["Location", "X-Request-ID"]),
    middleware.ProblemDetails(pages=False),
    middleware.BearerAuth(TOKENS.get),
    middleware.Compression(),
)
