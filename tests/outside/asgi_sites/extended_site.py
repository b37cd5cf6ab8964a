"""Starlette with what people add to it: middleware of its own and of others, events, a Flask application."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import flask
from a2wsgi import WSGIMiddleware
from brotli_asgi import BrotliMiddleware
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

old = flask.Flask("old")


@old.route("/hello/<name>", methods=["GET", "POST"])
def hello(name: str) -> flask.Response:
    asked = flask.request
    return flask.jsonify(name=name, form=dict(asked.form), root=asked.script_root, args=dict(asked.args))


@old.route("/lines")
def lines() -> flask.Response:
    return flask.Response((f"line {number}\n" for number in range(100)), mimetype="text/plain")


async def count(request: Request) -> Response:
    request.session["count"] = request.session.get("count", 0) + 1
    return JSONResponse({"count": request.session["count"], "path": request.url.path})


async def file(request: Request) -> Response:
    return FileResponse(Path(__file__).with_name("starlette_site.py"), media_type="text/plain")


async def events(request: Request) -> Response:
    async def each() -> AsyncIterator[dict[str, Any]]:
        for number in range(3):
            yield {"event": "tick", "id": str(number), "data": "two\nlines"}

    return EventSourceResponse(each())


async def talk(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(text[::-1])


app = Starlette(
    middleware=[
        Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1"]),
        Middleware(CORSMiddleware, allow_origins=["https://a.example"], allow_methods=["*"], allow_credentials=True),
        Middleware(SessionMiddleware, secret_key="of a test"),
        Middleware(BrotliMiddleware, minimum_size=200),
    ],
    routes=[
        Route("/count", count),
        Route("/file", file),
        Route("/events", events),
        Mount("/old", WSGIMiddleware(old)),
        WebSocketRoute("/talk", talk),
    ],
)
