"""Apps whose answers are compressed, and what a client makes of them."""

import random
import zlib
from collections.abc import Awaitable, Callable, Iterable

from aiohttpd import App, Request, StreamWriter
from aiohttpd.testing import exchange

from .asking import QUIET
from .clients import head
from .wire import Response, split

GZIP = "Accept-Encoding: gzip"
TEXT = ("Content-Type", "text/plain")
TAG = ("ETag", '"tag"')
PAGE = b"".join(b"line %d of a page\n" % number for number in range(300))
KIB = 1024
Field = tuple[str, str | int]
Work = Callable[[StreamWriter], Awaitable[object]]


def unzip(data: bytes) -> bytes:
    """All of one gzip member, and nothing else."""
    decoder = zlib.decompressobj(31)
    content = decoder.decompress(data)
    assert decoder.eof and not decoder.unused_data
    return content


def content_of(answer: Response) -> bytes:
    assert answer.complete
    if answer["Content-Encoding"] is None:
        return answer.body
    assert answer["Content-Encoding"] == "gzip"
    return unzip(answer.body)


async def answers(app: App, *requests: bytes, methods: Iterable[str] = ()) -> list[Response]:
    found = split(await exchange(app, b"".join(requests), config=QUIET), methods)
    assert len(found) == len(requests)
    return found


async def one_answer(app: App, *fields: str, method: str = "GET", path: str = "/", version: str = "1.1") -> Response:
    """The answer to one request."""
    [answer] = await answers(app, head(method, path, *fields, version=version), methods=[method])
    return answer


def giving(
    content: bytes = PAGE, *fields: Field, status: int = 200, kind: Field | None = TEXT, known: bool = True
) -> App:
    """An App that answers with content, whose length it tells if it is ``known``."""

    async def app(request: Request, response: StreamWriter) -> None:
        length = [("Content-Length", len(content))] if known else []
        response.send_head(status, [*([kind] if kind else []), *fields, *length])
        response.write(content)

    return app


def doing(work: Work, *fields: Field) -> App:
    async def app(request: Request, response: StreamWriter) -> None:
        response.send_head(200, [TEXT, *fields])
        await work(response)

    return app


# What is decoded is what was written.

random.seed(5)

BLOB = b"".join(random.randbytes(300) + b"%d words that repeat " % number * 20 for number in range(400))  # 290 KiB
