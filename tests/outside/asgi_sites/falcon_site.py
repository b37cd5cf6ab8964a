"""A site by Falcon."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi
from falcon.asgi import SSEvent


class Thing:
    async def on_get(self, req: Any, resp: Any, number: int = 0) -> None:
        resp.media = {"number": number, "query": req.params, "path": req.path}

    async def on_post(self, req: Any, resp: Any) -> None:
        resp.data = await req.stream.read()

    async def on_put(self, req: Any, resp: Any) -> None:
        resp.media = [[part.name, part.filename, len(await part.stream.read())] async for part in await req.get_media()]

    async def on_delete(self, req: Any, resp: Any) -> None:
        raise falcon.HTTPServiceUnavailable(retry_after=30)


class Streams:
    async def on_get(self, req: Any, resp: Any) -> None:
        async def parts() -> AsyncIterator[bytes]:
            for number in range(20):
                yield b"part %d\n" % number

        resp.stream = parts()
        resp.set_cookie("a", "1")
        resp.set_cookie("b", "2")


class Events:
    async def on_get(self, req: Any, resp: Any) -> None:
        async def each() -> AsyncIterator[SSEvent]:
            for number in range(3):
                yield SSEvent(event="tick", json={"number": number})

        resp.sse = each()


class Talk:
    async def on_websocket(self, req: Any, ws: Any) -> None:
        await ws.accept()
        while True:
            await ws.send_text((await ws.receive_text())[::-1])


app = falcon.asgi.App()
app.add_route("/thing", Thing())
app.add_route("/thing/{number:int}", Thing())
app.add_route("/stream", Streams())
app.add_route("/events", Events())
app.add_route("/talk", Talk())
app.add_static_route("/static", str(Path(__file__).parent))
