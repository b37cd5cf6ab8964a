"""The service by Starlette, with pydantic, asgi-correlation-id and sse-starlette."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from asgi_correlation_id import CorrelationIdMiddleware
from pydantic import BaseModel, Field, ValidationError
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, SimpleUser
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from .store import ORIGIN, TOKENS, Note, Store, open_store


class Draft(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    text: str = ""
    stars: int = 0


class Paging(BaseModel):
    before: int | None = None
    limit: int = Field(20, ge=1, le=100)


def store_of(request: Request) -> Store:
    return request.state.store


def found(note: Note | None) -> Note:
    if note is None:
        raise HTTPException(404, "there is no such note")
    return note


def note_of(request: Request) -> Note:
    return found(store_of(request).get(request.user.username, request.path_params["id"]))


class Notes(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        paging = Paging.model_validate(dict(request.query_params))
        notes = store_of(request).page(request.user.username, paging.before, paging.limit)
        return JSONResponse({"notes": [vars(note) for note in notes], "next": notes[-1].id if notes else None})

    async def post(self, request: Request) -> Response:
        draft = Draft.model_validate_json(await request.body())
        note = store_of(request).add(request.user.username, draft.title, draft.text, draft.stars)
        return JSONResponse(vars(note), 201, {"Location": f"/notes/{note.id}"})


class OneNote(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        return JSONResponse(vars(note_of(request)))

    async def put(self, request: Request) -> Response:
        draft = Draft.model_validate_json(await request.body())
        user, number = request.user.username, request.path_params["id"]
        return JSONResponse(vars(found(store_of(request).replace(user, number, draft.title, draft.text, draft.stars))))

    async def delete(self, request: Request) -> Response:
        if not store_of(request).delete(request.user.username, request.path_params["id"]):
            raise HTTPException(404, "there is no such note")
        return Response(status_code=204)


class Attachment(HTTPEndpoint):
    async def get(self, request: Request) -> Response:
        path = store_of(request).file_of(note_of(request).id)
        if not path.exists():
            raise HTTPException(404, "there is no attachment")
        return FileResponse(path)

    async def put(self, request: Request) -> Response:
        with store_of(request).file_of(note_of(request).id).open("wb") as file:
            async for chunk in request.stream():
                await asyncio.to_thread(file.write, chunk)
        return Response(status_code=204)


async def events(request: Request) -> Response:
    async def changes() -> AsyncGenerator[ServerSentEvent]:
        async for what, number in store_of(request).changes():
            yield ServerSentEvent(str(number), event=what)

    return EventSourceResponse(changes())


class Bearer(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser]:
        scheme, _, token = conn.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token not in TOKENS:
            raise AuthenticationError("a token is needed")
        return AuthCredentials(), SimpleUser(TOKENS[token])


def problem(status: int, detail: str, headers: Any = None, **more: Any) -> Response:
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def unauthorized(conn: HTTPConnection, error: AuthenticationError) -> Response:
    return problem(401, str(error), {"WWW-Authenticate": "Bearer"})


async def failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, error.headers)


async def invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, ValidationError)
    errors = error.errors(include_url=False, include_context=False, include_input=False)
    return problem(422, "the data is not valid", errors=errors)


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[dict[str, Store]]:
    async with open_store() as store:
        yield {"store": store}


app = Starlette(
    routes=[
        Route("/notes", Notes),
        Route("/notes/{id:int}", OneNote),
        Route("/notes/{id:int}/file", Attachment),
        Route("/events", events),
    ],
    middleware=[
        Middleware(CorrelationIdMiddleware),
        Middleware(
            CORSMiddleware, allow_origins=[ORIGIN], allow_methods=["*"], allow_headers=["*"],
            expose_headers=["Location", "X-Request-ID"],
        ),
        Middleware(AuthenticationMiddleware, backend=Bearer(), on_error=unauthorized),
        Middleware(GZipMiddleware, minimum_size=1024, compresslevel=6),
    ],
    exception_handlers={HTTPException: failed, ValidationError: invalid},
    lifespan=lifespan,
)  # fmt: skip
