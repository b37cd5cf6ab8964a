"""The service by aiohttp, with pydantic, aiohttp-cors and aiohttp-sse.

usage: python -m benchmarks.notes_services.by_aiohttp PORT
"""

import asyncio
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from http import HTTPStatus
from typing import Any

import aiohttp_cors
import uvloop
from aiohttp import web
from aiohttp_sse import sse_response
from pydantic import BaseModel, Field, ValidationError

from .store import ORIGIN, TOKENS, Note, Store, open_store

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
STORE = web.AppKey("STORE", Store)
USER = web.RequestKey("USER", str)
routes = web.RouteTableDef()


class Draft(BaseModel):
    title: str = Field(min_length=1, max_length=200)
    text: str = ""
    stars: int = 0


class Paging(BaseModel):
    before: int | None = None
    limit: int = Field(20, ge=1, le=100)


def found(note: Note | None) -> Note:
    if note is None:
        raise web.HTTPNotFound(text="there is no such note")
    return note


def id_of(request: web.Request) -> int:
    return int(request.match_info["id"])


def note_of(request: web.Request) -> Note:
    return found(request.app[STORE].get(request[USER], id_of(request)))


@routes.get("/notes")
async def list_notes(request: web.Request) -> web.Response:
    paging = Paging.model_validate(dict(request.query))
    notes = request.app[STORE].page(request[USER], paging.before, paging.limit)
    return web.json_response({"notes": [vars(note) for note in notes], "next": notes[-1].id if notes else None})


@routes.post("/notes")
async def add_note(request: web.Request) -> web.Response:
    draft = Draft.model_validate_json(await request.read())
    note = request.app[STORE].add(request[USER], draft.title, draft.text, draft.stars)
    return web.json_response(vars(note), status=201, headers={"Location": f"/notes/{note.id}"})


@routes.get(r"/notes/{id:\d+}")
async def read_note(request: web.Request) -> web.Response:
    return web.json_response(vars(note_of(request)))


@routes.put(r"/notes/{id:\d+}")
async def replace_note(request: web.Request) -> web.Response:
    draft = Draft.model_validate_json(await request.read())
    note = request.app[STORE].replace(request[USER], id_of(request), draft.title, draft.text, draft.stars)
    return web.json_response(vars(found(note)))


@routes.delete(r"/notes/{id:\d+}")
async def delete_note(request: web.Request) -> web.Response:
    if not request.app[STORE].delete(request[USER], id_of(request)):
        raise web.HTTPNotFound(text="there is no such note")
    return web.Response(status=204)


@routes.get(r"/notes/{id:\d+}/file")
async def read_file(request: web.Request) -> web.FileResponse:
    path = request.app[STORE].file_of(note_of(request).id)
    if not path.exists():
        raise web.HTTPNotFound(text="there is no attachment")
    return web.FileResponse(path)


@routes.put(r"/notes/{id:\d+}/file")
async def write_file(request: web.Request) -> web.Response:
    with request.app[STORE].file_of(note_of(request).id).open("wb") as file:
        async for chunk in request.content.iter_any():
            await asyncio.to_thread(file.write, chunk)
    return web.Response(status=204)


@routes.get("/events")
async def events(request: web.Request) -> web.StreamResponse:
    async with sse_response(request) as response:
        async for what, number in request.app[STORE].changes():
            await response.send(str(number), event=what)
    return response


def problem(status: int, detail: str, headers: Any = None, **more: Any) -> web.Response:
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return web.json_response(content, status=status, headers=headers, content_type="application/problem+json")


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return problem(422, "the data is not valid", errors=errors)
    except web.HTTPError as error:
        kept = {name: error.headers[name] for name in ("Allow", "WWW-Authenticate") if name in error.headers}
        return problem(error.status, error.text or "", kept)


@web.middleware
async def bearer(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method != "OPTIONS":  # of CORS
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or token not in TOKENS:
            raise web.HTTPUnauthorized(text="a token is needed", headers={"WWW-Authenticate": "Bearer"})
        request[USER] = TOKENS[token]
    return await handler(request)


@web.middleware
async def compress(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if isinstance(response, web.Response) and isinstance(response.body, bytes) and len(response.body) >= 1024:
        response.enable_compression()
    return response


async def add_request_id(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["X-Request-ID"] = request.headers.get("X-Request-ID") or uuid.uuid4().hex


async def lifespan(app: web.Application) -> AsyncGenerator[None]:
    async with open_store() as app[STORE]:
        yield


def make_app() -> web.Application:
    app = web.Application(middlewares=[problems, bearer, compress])
    app.cleanup_ctx.append(lifespan)
    app.on_response_prepare.append(add_request_id)
    app.add_routes(routes)
    options = aiohttp_cors.ResourceOptions(
        allow_headers="*", allow_methods=["GET", "POST", "PUT", "DELETE"], expose_headers=["Location", "X-Request-ID"]
    )
    cors = aiohttp_cors.setup(app, defaults={ORIGIN: options})
    for route in list(app.router.routes()):
        cors.add(route)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
