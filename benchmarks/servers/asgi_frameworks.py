"""The same small answer in JSON by Starlette and by FastAPI."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def item(request: Request) -> JSONResponse:
    return JSONResponse({"id": int(request.path_params["number"]), "q": request.query_params.get("q")})


starlette = Starlette(routes=[Route("/items/{number}", item)])

try:
    from fastapi import FastAPI
except ImportError:
    pass
else:
    fastapi = FastAPI()

    @fastapi.get("/items/{number}")
    async def fast_item(number: int, q: str | None = None) -> dict[str, int | str | None]:
        return {"id": number, "q": q}
