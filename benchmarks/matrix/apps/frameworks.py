"""JSON by FastAPI and by Starlette, and files by Starlette, for servers of ASGI."""

import os

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

fastapi = FastAPI()


@fastapi.get("/items/{number}")
async def item(number: int, q: str | None = None) -> dict[str, int | str | None]:
    return {"id": number, "q": q}


async def message(request: Request) -> JSONResponse:
    return JSONResponse({"message": "Hello!"})


starlette = Starlette(routes=[Route("/json", message)])
files = Starlette(routes=[Mount("/f", StaticFiles(directory=os.environ.get("FILES", ".")))])
