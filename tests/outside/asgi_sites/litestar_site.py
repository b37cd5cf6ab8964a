"""A site by Litestar."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.exceptions import NotFoundException
from litestar.response import ServerSentEvent, Stream


@dataclass
class Order:
    what: str
    count: int


@get("/")
async def home(q: str | None = None) -> dict[str, str | None]:
    return {"q": q}


@post("/orders")
async def order(data: Order) -> Order:
    return data


@post("/raw")
async def raw(request: Request) -> str:
    return str(len(await request.body()))


@get("/missing")
async def missing() -> None:
    raise NotFoundException("not here")


@get("/stream")
async def stream() -> Stream:
    async def parts() -> AsyncIterator[str]:
        for number in range(5):
            yield f"part {number}\n"

    return Stream(parts())


@get("/events")
async def events() -> ServerSentEvent:
    async def each() -> AsyncIterator[str]:
        for number in range(3):
            yield str(number)

    return ServerSentEvent(each())


@websocket("/talk")
async def talk(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_data():
        await socket.send_text(text[::-1])


app = Litestar([talk, home, order, raw, missing, stream, events])
