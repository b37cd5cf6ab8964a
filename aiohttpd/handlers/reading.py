"""Reading a request: its content as bytes, text, JSON, a form or parts.

Owns what the one-line methods of `BaseHTTPRequestHandler` do, and the errors that a client gets for content that
cannot be read so. The package `forms` parses forms; it is imported when a handler asks for one.
"""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from ..engine.interfaces import ResponseWriter
from ..errors import ContentTooLarge, ContractError, HTTPError
from ..wire.headers import Headers
from ..wire.request import Body, Request
from .checks import json_text
from .origins import comes_from

if TYPE_CHECKING:
    from .forms import FormData, FormLimits, Part

__all__ = [
    "Reader", "RequestContent", "check_not_encoded", "form_limits", "read_json", "read_json_as", "read_text",
    "socket_of",
]  # fmt: skip

T = TypeVar("T")

_JSON = "application/json"
_JSON_ON_LOOP = 32 * 1024  # bytes of JSON that are parsed in the event loop; more is parsed in a thread
_SHOWN = 60  # characters of a charset's name that an error message repeats


class Reader(Protocol):
    """What these functions need of a handler: the request, its content, and the limits of forms."""

    request: Request
    max_form_parts: int
    max_part_headers: int
    max_part_header_size: int
    max_field_size: int
    max_fields_size: int
    max_file_size: int | None

    async def body(self) -> bytes: ...


def socket_of(response: ResponseWriter) -> Any:
    """The socket of a connection, if there is a transport that knows one.

    Raises:
        ContractError: the connection is another server's; see `aiohttpd.asgi.export`.
    """
    if (reason := response.get_extra_info("no_socket")) is not None:
        raise ContractError(reason)
    return response.get_extra_info("socket")


class RequestContent:
    """The content of one request, read once and kept: what ``body()`` and ``form()`` return again.

    After `body`, the other methods read the same bytes. Otherwise content can be read once.

    Args:
        request: the request.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self._content: bytes | None = None  # set by `body`
        self._form: FormData | None = None
        self._reader: str | None = None  # the method that has read the body

    async def body(self) -> bytes:
        """See `BaseHTTPRequestHandler.body`."""
        if self._content is None:
            body = self._take("body()")
            content = body.read_at_once()  # a short body has often arrived together with its head
            self._content = await body.read() if content is None else content
        return self._content

    async def form(self, limits: "FormLimits") -> "FormData":
        """See `BaseHTTPRequestHandler.form`."""
        from .forms import read_form

        if self._form is None:
            check_not_encoded(self._request.headers)
            self._form = await read_form(self._request.headers, self._take("form()"), limits)
        return self._form

    def parts(self, limits: "FormLimits") -> "AsyncIterator[Part]":
        """See `BaseHTTPRequestHandler.parts`."""
        from .forms import Parts

        check_not_encoded(self._request.headers)
        return Parts(self._request.headers, self._take("parts()"), limits)

    def close(self) -> None:
        """Close the files of the form; called when the request ends."""
        if self._form is not None:
            self._form.close()

    def _take(self, reader: str) -> Body:
        """The body, for a method that reads all of it.

        Raises:
            ContractError: the body has been read already.
        """
        if self._content is not None:
            return cast(Body, _ContentAsBody(self._content))
        body = self._request.body
        if body.taken:
            before = self._reader or "a read of rfile"
            raise ContractError(f"{reader} after {before}: a body can be read once, so keep what you need of it")
        self._reader = reader
        return body


class _ContentAsBody:
    """Content that has been read, for callers that read a stream."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    async def read(self, n: int = -1) -> bytes:
        return self._file.read(n)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if data := self._file.read():
            yield data


async def read_text(handler: Reader) -> str:
    """Decode the content of a request; see `BaseHTTPRequestHandler.text`."""
    from .forms import decode, decode_large

    headers = handler.request.headers
    check_not_encoded(headers)
    charset = headers.get_content_charset() or "utf-8"
    try:
        decode(b"", charset)
        return await decode_large(await handler.body(), charset)
    except LookupError:
        raise HTTPError(415, None, f"the charset {charset[:_SHOWN]} is not known") from None
    except UnicodeDecodeError as error:
        raise HTTPError(400, None, f"the text is not in {charset}: byte {error.start}") from None


async def read_json(handler: Reader, limit: Any) -> Any:
    """Parse the content of a request as JSON; see `BaseHTTPRequestHandler.json`.

    Args:
        handler: the handler.
        limit: bytes of content (413); ``...`` for the option ``limit_json``, None for no limit but that of the body.
    """
    request = handler.request
    headers = request.headers
    if headers["Content-Type"] != _JSON and not _may_be_json(request):
        raise HTTPError(415, None, f"{_JSON} is wanted", headers=[("Accept-Post", _JSON)])
    if limit is ...:
        limit = request.peer.config.limit_json
    length = request.framing.content_length
    if limit is None or (length is not None and length <= limit):
        content = await handler.body()
    else:
        content = await _body_up_to(handler, limit)
    try:
        if len(content) <= _JSON_ON_LOOP:
            return json_text().loads(content)
        return await json_text().loads_large(content)
    except (ValueError, RecursionError) as error:
        check_not_encoded(headers)  # compressed content is no JSON: say that instead
        raise HTTPError(400, None, f"malformed JSON: {error}" if content else "the body is empty") from None


def _may_be_json(request: Request) -> bool:
    """Whether Content-Type lets the content be JSON; it may be missing, but not from a page of another origin.

    A page can send content without Content-Type wherever it wants, with the cookies of the user (cross-site request
    forgery). With the type of JSON the browser asks the server before (CORS).
    """
    if request.headers["Content-Type"] is None:
        return comes_from(request, ())
    kind = request.headers.get_content_type()
    return kind == _JSON or kind.endswith("+json")


async def read_json_as(handler: Reader, limit: Any, kind: type[T]) -> T:
    """`read_json`, and convert the value to a type; large content is converted in a thread.

    Raises:
        InvalidData: 422: it does not fit the type.
    """
    from .typed import convert

    value = await read_json(handler, limit)
    if len(await handler.body()) <= _JSON_ON_LOOP:
        return convert(value, kind)
    return await asyncio.get_running_loop().run_in_executor(None, convert, value, kind)


async def _body_up_to(handler: Reader, limit: int) -> bytes:
    """The body, read with this limit in addition to that of the body.

    Raises:
        ContentTooLarge: it is larger.
    """
    body = handler.request.body
    limit_before = body.limit
    body.limit = limit if limit_before is None else min(limit, limit_before)
    try:
        content = await handler.body()
    finally:
        body.limit = limit_before
    if len(content) > limit:  # it had been read before, with another limit
        raise ContentTooLarge(limit)
    return content


def check_not_encoded(headers: Headers) -> None:
    """Refuse content with a content coding (RFC 9110 section 8.4): it is not decoded here.

    Raises:
        HTTPError: 415, with ``Accept-Encoding: identity`` (section 15.5.16).
    """
    coding = headers["Content-Encoding"]
    if coding is not None and coding.lower() != "identity":
        accepted = [("Accept-Encoding", "identity")]
        raise HTTPError(415, None, "content with Content-Encoding is not accepted", headers=accepted)


def form_limits(handler: Reader) -> "FormLimits":
    """The limits of forms that a handler class sets."""
    from .forms import FormLimits

    return FormLimits(
        parts=handler.max_form_parts,
        part_headers=handler.max_part_headers,
        part_header_size=handler.max_part_header_size,
        field_size=handler.max_field_size,
        fields_size=handler.max_fields_size,
        file_size=handler.max_file_size,
    )
