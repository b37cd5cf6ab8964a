"""JSON by FastAPI, and files by Starlette, for servers of ASGI."""

import os

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

fastapi = FastAPI()


@fastapi.get("/items/{number}")
async def item(number: int, q: str | None = None) -> dict[str, int | str | None]:
    return {"id": number, "q": q}


files = Starlette(routes=[Mount("/f", StaticFiles(directory=os.environ.get("FILES", ".")))])
