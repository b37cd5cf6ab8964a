"""Apps for tests of layers: handlers that answer or fail in each way that there is."""

from typing import Any

import aiohttpd
from aiohttpd import Request, StreamWriter


class Page(aiohttpd.BaseHTTPRequestHandler):
    """/fail raises, /missing is 404, /sent-fields has fields of its own; everything else is ``ok``."""

    async def do_GET(self) -> None:
        match self.url_path:
            case "/fail":
                raise RuntimeError("a secret")
            case "/missing":
                raise aiohttpd.HTTPError(404, None, "no such page")
            case "/stream":
                self.send_response(200)
                self.end_headers()
                for _ in range(3):
                    self.wfile.write(b"part ")
                    await self.wfile.drain()
            case _:
                self.send_text("ok")

    async def do_POST(self) -> None:
        self.send_text(str(len(await self.body())))


async def bare(request: Request, response: StreamWriter) -> None:
    """The same, as an App that is no handler class."""
    if request.path == "/fail":
        raise RuntimeError("a secret")
    if request.path == "/missing":
        raise aiohttpd.HTTPError(404, None, "no such page")
    response.send_head(200, [("Content-Type", "text/plain")])
    response.write(b"ok")


def having(*fields: tuple[str, str], content: bytes = b"ok", status: int = 200) -> Any:
    """An App that answers with fields of its own."""

    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(status, fields)
        response.write(content)

    return app
