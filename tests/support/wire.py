"""Drive a connection in memory, and take its answers apart."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import aiohttpd
from aiohttpd.engine.connection import HTTPConnection
from aiohttpd.engine.context import ServerContext
from aiohttpd.engine.interfaces import App
from aiohttpd.handlers.app import prepare
from aiohttpd.testing import MemoryTransport

_SILENT = aiohttpd.Config(access_log=False)
QUIET_TURNS = 4  # of the loop without output, after which nothing more is to come


@dataclass
class Response:
    """One response as a client would read it."""

    status: int
    reason: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    complete: bool = True

    def __getitem__(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} twice"
        return found[0] if found else None


def undated(answer: Response) -> list[tuple[str, str]]:
    """The fields that two equal answers have in common."""
    return [field for field in answer.fields if field[0] != "Date"]


class Echo(aiohttpd.BaseHTTPRequestHandler):
    """What the wire cases are run against: GET says ok, POST echoes, there is nothing else."""

    async def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(b"ok\n")

    async def do_POST(self) -> None:
        content = await self.rfile.read()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(content)


async def drive(
    app: App,
    pieces: Iterable[bytes],
    *,
    eof: bool = False,
    config: aiohttpd.Config | None = None,
    wait: bool = False,
) -> tuple[bytes, bool]:
    """Feed a connection; return what it has sent, and whether it has closed by itself (or after our end).

    With ``wait`` the handler has a turn of the loop before each piece, which Python 3.11 needs to start it.
    """
    loop = asyncio.get_running_loop()
    context = ServerContext(prepare(app), config or _SILENT, loop)
    transport = MemoryTransport(loop)
    transport.connect(HTTPConnection(context))
    for piece in pieces:
        if wait:
            await asyncio.sleep(0)
        transport.feed(piece)
    if eof:
        transport.feed_eof()
    quiet = 0
    while quiet < QUIET_TURNS:
        before = len(transport.output)
        await asyncio.sleep(0)
        quiet = quiet + 1 if len(transport.output) == before else 0
    output, closed = bytes(transport.output), transport.is_closing()
    transport.close()
    await transport.closed.wait()
    context.deadlines.close()
    return output, closed


def split(stream: bytes, methods: Iterable[str] = ()) -> list[Response]:
    """Cut a stream of responses; ``methods`` says to what, where HEAD is among them."""
    asked = iter(methods)
    found: list[Response] = []
    while stream:
        head, separator, stream = stream.partition(b"\r\n\r\n")
        assert separator, f"no end of a head: {head!r}"
        line, *lines = head.decode("latin-1").split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d{3}) (.*)", line)
        assert match, f"no status line: {line!r}"
        fields = [(name, value.strip()) for name, _, value in (text.partition(":") for text in lines)]
        response = Response(int(match[1]), match[2], fields)
        found.append(response)
        if response.status < 200:
            continue
        if next(asked, "GET") == "HEAD" or response.status in (204, 304):
            continue
        stream = _take_body(response, stream)
    return found


def _take_body(response: Response, stream: bytes) -> bytes:
    if response["Transfer-Encoding"] == "chunked":
        while True:
            size, separator, rest = stream.partition(b"\r\n")
            if not separator:
                response.complete = False
                return b""
            length = int(size, 16)
            response.body += rest[:length]
            response.complete = rest[length : length + 2] == b"\r\n"
            stream = rest[length + 2 :]
            if not length or not response.complete:
                return stream
    if response["Content-Length"] is not None:
        length = int(response["Content-Length"] or 0)
        response.body, response.complete = stream[:length], len(stream) >= length
        return stream[length:]
    response.body = stream
    return b""


def finals(stream: bytes, methods: Iterable[str] = ()) -> list[Response]:
    """The final responses of a stream."""
    return [response for response in split(stream, methods) if response.status >= 200]
