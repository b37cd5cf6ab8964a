"""The response to a request for one file: 200, 206, 304, 412 or 416 (RFC 9110 sections 13 to 15).

Owns the choice of the status, by conditions (`wire.conditions`) and ranges (`wire.ranges`), and the header fields. The
file server finds the file itself, other handlers call `send_path` (``send_file``); both end in `send_file_head`.
"""

import os
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from ...errors import HTTPError
from ...wire.conditions import Outcome, evaluate, range_applies
from ...wire.ranges import content_range, select
from ..answers import send_fields
from .content import Content, FileChanged
from .media_types import guess_type
from .paths import base_name
from .store import FileRequest, Policy, Representation, Store

if TYPE_CHECKING:
    from ...engine.interfaces import Responder

__all__ = ["attachment", "send_file_head", "send_path"]

_MAX_RANGES = 32
_DEFAULT_TYPE = "application/octet-stream"

# Fields that a 304 response has, too, RFC 9110 section 15.4.5.
_NOT_MODIFIED = ("Last-Modified", "ETag", "Vary", "Cache-Control")

_POLICY = Policy(
    index_pages=(), follow_symlinks=True, hidden=True, precompressed=False,
    cache_size=8 * 1024 * 1024, cache_file_size=256 * 1024, fields=(),
)  # fmt: skip


class _PathStore(threading.local):
    """The store for `send_path`, one for each thread that runs an event loop."""

    def __init__(self) -> None:
        self.store = Store("", _POLICY)


_paths = _PathStore()


def send_file_head(
    handler: "Responder", file: Representation, *, max_ranges: int, more: Iterable[tuple[str, str]] = ()
) -> Content | None:
    """Send the head of the response, as the conditions and ranges of the request require.

    Args:
        handler: the handler.
        file: the file.
        max_ranges: ranges of one request; if there are more, the whole file is sent.
        more: header fields for responses with content; error pages do not have them.

    Returns:
        The content that has to be sent; None if the response is complete.
    """
    headers = handler.request.headers
    if not FileRequest.of(headers).plain:
        outcome = evaluate(headers, file.validators, now=time.time(), method=handler.command)
        if outcome is Outcome.FAILED:
            handler.send_error(412)
            return None
        if outcome is Outcome.NOT_MODIFIED:
            send_fields(handler, 304, [field for field in file.fields if field[0] in _NOT_MODIFIED])
            return None
        if handler.command == "GET" and "Range" in headers:  # section 14.2: for GET only
            return _send_range_head(handler, file, max_ranges, more)
    return _send_whole_head(handler, file, more)


async def send_path(
    handler: "Responder", path: str | os.PathLike[str], *, content_type: str | None, download_as: str | None
) -> None:
    """Send a file that the handler has chosen; see `BaseHTTPRequestHandler.send_file`. Symbolic links are followed.

    Raises:
        HTTPError: 403: the file may not be read; 404: it does not exist, or is no regular file.
    """
    fields = [] if download_as is None else [("Content-Disposition", attachment(download_as))]
    path = os.fsdecode(path)
    kind = content_type or guess_type(path) or _DEFAULT_TYPE
    try:
        path = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    except OSError:  # the current directory is gone
        raise HTTPError(404, "File not found") from None
    name, codings = f"{path}\0{kind}", ("identity",)
    store = _paths.store
    store.revalidate(name, codings)
    found = await store.find(name, path, codings, lambda _: kind)
    if not isinstance(found, Representation):
        raise HTTPError(404, "File not found")
    content = send_file_head(handler, found, max_ranges=_MAX_RANGES, more=fields)
    if content is not None and handler.command != "HEAD":
        try:
            await content.send(handler.wfile)
        except FileChanged:
            handler.log_error("%s has changed while it was sent: the response is aborted", path)
            handler.wfile.abort()


def attachment(name: str) -> str:
    """The value of Content-Disposition with which browsers save a file under a name (RFC 6266).

    Args:
        name: the file name; of a path, the last part is used.
    """
    name = base_name(name)
    name = "".join("_" if sign < " " or sign == "\x7f" else sign for sign in name)
    if name in ("", os.curdir, os.pardir):
        return "attachment"
    plain = "".join(sign if " " <= sign <= "~" and sign not in '"%' else "_" for sign in name)
    if plain == name:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


def _send_whole_head(handler: "Responder", file: Representation, more: Iterable[tuple[str, str]]) -> Content:
    send_fields(handler, 200, [*file.fields, *more], length=file.size)
    return Content.whole(file)


def _send_range_head(
    handler: "Responder", file: Representation, max_ranges: int, more: Iterable[tuple[str, str]]
) -> Content | None:
    headers = handler.request.headers
    values = headers.get_all("Range") or []
    spans = select(values[0], file.size, limit=max_ranges) if len(values) == 1 else None
    if spans is None or not range_applies(headers, file.validators, now=time.time()):
        return _send_whole_head(handler, file, more)
    if not spans:
        handler.add_header("Content-Range", content_range(None, file.size))
        handler.add_header("Accept-Ranges", "bytes")
        handler.send_error(416)
        return None
    if len(spans) == 1:
        content = Content(file, spans)
        part = ("Content-Range", content_range(spans[0], file.size))
        send_fields(handler, 206, [*file.fields, *more, part], length=content.size)
        return content
    content, boundary = Content.multipart(file, spans)
    others = [field for field in file.fields if field[0] != "Content-type"]
    kind = ("Content-type", f"multipart/byteranges; boundary={boundary}")
    send_fields(handler, 206, [kind, *others, *more], length=content.size)
    return content
