"""Forms under test: handlers that take them, and the bytes of their requests."""

import contextlib
import os
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from aiohttpd import BaseHTTPRequestHandler, FormData, UploadedFile
from aiohttpd.handlers.forms import FormLimits, read_form
from aiohttpd.handlers.reading import form_limits
from aiohttpd.wire.headers import Headers
from aiohttpd.wire.request import Body

URL_ENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"
FORM_LIMITS = form_limits(cast(Any, BaseHTTPRequestHandler))  # those that a handler has by default
PROC = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files are counted as Linux shows them")


def unnamed_files() -> int:
    """How many files are open that have no name."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing
            count += os.readlink(f"/proc/self/fd/{name}").endswith("(deleted)")
    return count


class Taker(BaseHTTPRequestHandler):
    """Errors are told by their reason alone."""

    error_message_format = "%(explain)s"
    error_content_type = "text/plain"


async def told(value: str | UploadedFile) -> Any:
    if isinstance(value, str):
        return value
    content = await value.read()
    assert len(content) == value.size
    return {
        "filename": value.filename,
        "type": value.content_type,
        "safe": value.safe_filename,
        "content": content.decode("latin-1"),
    }


class Teller(Taker):
    """Tells the form back."""

    async def do_POST(self) -> None:
        form = await self.form()
        self.send_json([[name, await told(value)] for name, value in form.pairs()])


def taker(do_post: Callable[[Any], Any], **attributes: Any) -> type[Taker]:
    return type("Handler", (Taker,), {"do_POST": do_post, **attributes})


def taking(method: str, **attributes: Any) -> type[Taker]:
    """Tells back what a method has read."""

    async def do_post(self: Taker) -> None:
        value = await getattr(self, method)()
        self.send_json(value) if method == "json" else self.send_text(str(value))

    return taker(do_post, **attributes)


def post_form(body: bytes = b"", kind: str = MULTIPART, *fields: str, length: int | None = None) -> bytes:
    kinds = [f"Content-Type: {kind}"] if kind else []
    size = len(body) if length is None else length
    lines = ["POST / HTTP/1.1", "Host: a", *kinds, f"Content-Length: {size}", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def part(name: str, content: bytes = b"v", filename: str | None = None) -> bytes:
    more = "" if filename is None else f'; filename="{filename}"'
    return f'--XX\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


END = b"--XX--\r\n"


def form_of_size(size: int) -> bytes:
    return part("f", bytes(size), "file.bin") + END


async def parse(*pieces: bytes, kind: str = MULTIPART, limits: FormLimits | None = None) -> FormData:
    """The form in a body that arrives in pieces."""
    return await read_form(Headers(f"\nContent-Type: {kind}\r\n"), cast(Body, Cut(*pieces)), limits or FORM_LIMITS)


class Cut:
    """A body as it arrives in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = [piece for piece in pieces if piece]

    async def read(self, n: int = -1) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._pieces:
            yield self._pieces.pop(0)
