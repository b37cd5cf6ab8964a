"""What a handler takes out of a request: bodies as bytes, text, JSON or forms; queries; cookies.

Owns the methods, and the errors that a client gets for what it has sent. `forms` reads; it is imported
when somebody asks for a form.
"""

import io
import re
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, cast

from ..errors import ContentTooLarge, ContractError, HTTPError
from ..wire.headers import OWS, Headers
from ..wire.request import Body, Request
from .checks import Lazy, json_text

if TYPE_CHECKING:
    from .forms import FormData, FormLimits, MultiMap, Part

__all__ = ["Input"]


class Input:
    """The part of a handler that reads.

    `body` and `form` can be called again, and give what they gave; after `body` all others read the same
    bytes. Else a body can be read once, and `ContractError` says who has read it.

    Attributes:
        max_form_parts: fields and files of a form or query (413).
        max_part_headers: header fields of one part of a multipart form (413).
        max_part_header_size: bytes of one of these (413).
        max_field_size: bytes of one field that is no file (413).
        max_fields_size: bytes of all fields that are no files (413).
        max_file_size: bytes of one file (413); None for no other limit than that of the body.
        max_json_size: bytes of a body that `json` reads (413); ``...`` for ``limit_json``, None for no other limit than
            that of the body.
    """

    max_form_parts: int = 1000
    max_part_headers: int = 8
    max_part_header_size: int = 4096
    max_field_size: int = 1024 * 1024
    max_fields_size: int = 16 * 1024 * 1024
    max_file_size: int | None = None
    max_json_size: Any = ...

    request: Request
    headers: Lazy[Headers]
    rfile: Lazy[Body]
    _cleanup: Callable[[], None] | None = None  # called when the request ends
    _taken: str | None = None  # who was the last to want the body
    _content: bytes | None = None  # what `body` has read
    _form: "FormData | None" = None

    @Lazy
    def query(self) -> "MultiMap[str]":
        """The fields of the query, parsed when they are first looked at."""
        from .forms import query_of

        return query_of(self.request, self._form_limits())

    @Lazy
    def cookies(self) -> dict[str, str]:
        """The cookies of the request, in UTF-8, or ISO 8859-1 what is none; of a name that comes twice, the first."""
        return _cookies(self.request.headers)

    async def body(self) -> bytes:
        """All of the body.

        Raises:
            HTTPError: 400, 408 or 413, as ``self.rfile.read()``.
            ContractError: something else has read it.
        """
        if self._content is None:
            body = self._take("body()")
            content = body.read_at_once()  # as a short one has mostly arrived with its head
            self._content = await body.read() if content is None else content
        return self._content

    async def text(self) -> str:
        """The body as text, in the charset that Content-Type names, else UTF-8.

        Raises:
            HTTPError: 415: a charset that the Web does not know, or Content-Encoding; 400: the text is not in it.
        """
        from .forms import decode, decode_large

        self._check_coding()
        charset = self.request.headers.get_content_charset() or "utf-8"
        try:
            decode(b"", charset)
            return await decode_large(await self.body(), charset)
        except LookupError:
            raise HTTPError(415, None, f"the charset {charset[:_SHOWN]} is not known") from None
        except UnicodeDecodeError as error:
            raise HTTPError(400, None, f"the text is not in {charset}: byte {error.start}") from None

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            HTTPError: 415: Content-Type is there, and another, or Content-Encoding is; 400: it is no JSON, with
                the place, or holds a number beyond all that Python's float has; 413: it is larger than `max_json_size`.
        """
        headers = self.request.headers
        if headers["Content-Type"] not in _USUAL_JSON:
            kind = headers.get_content_type()
            if kind != _JSON and not kind.endswith("+json"):
                raise HTTPError(415, None, f"{_JSON} is wanted", headers=[("Accept-Post", _JSON)])
        content = await self._body_up_to(self.request.peer.config.limit_json)
        try:
            if len(content) <= _QUICK:
                return json_text().loads(content)
            return await json_text().loads_large(content)
        except (ValueError, RecursionError) as error:
            self._check_coding()  # which would be why
            raise HTTPError(400, None, f"malformed JSON: {error}") from None

    async def form(self) -> "FormData":
        """The form in the body, URL-encoded or multipart.

        Files larger than 1 MiB, or 16 MiB together, are on the disk, all of a form in one file without a name. They
        are closed, and deleted, when the request ends.

        Raises:
            HTTPError: 415: it is no form, or has Content-Encoding; 400: it is malformed or incomplete; 413: it is
                over a limit; 507: the disk is full.
            ContractError: something else has read it.
        """
        from .forms import read_form

        if self._form is None:
            self._check_coding()
            self._form = await read_form(self.request.headers, self._take("form()"), self._form_limits())
            self._cleanup = self._form.close
        return self._form

    def parts(self) -> "AsyncIterator[Part]":
        """The parts of a multipart form one after the other, nothing of them kept.

        ::

            async for part in self.parts():
                async for data in part:
                    ...

        Raises:
            HTTPError: as `form`.
            ContractError: something else has read it.
        """
        from .forms import Parts

        self._check_coding()
        return Parts(self.request.headers, self._take("parts()"), self._form_limits())

    async def _body_up_to(self, limit: int | None) -> bytes:
        """`body`, of a size that counts for this once."""
        if self.max_json_size is not ...:
            limit = self.max_json_size
        length = self.request.framing.content_length
        if limit is None or (length is not None and length <= limit):
            return await self.body()
        if self._content is None:
            body = self.request.body
            others = body.limit
            body.limit = limit if others is None else min(limit, others)
            try:
                return await self.body()
            finally:
                body.limit = others
        if len(self._content) > limit:
            raise ContentTooLarge(limit)
        return self._content

    def _check_coding(self) -> None:
        """What has been encoded is not what its type says, RFC 9110 section 8.4."""
        coding = self.request.headers["Content-Encoding"]
        if coding is not None and coding.lower() != "identity":
            wanted = [("Accept-Encoding", "identity")]  # section 15.5.16
            raise HTTPError(415, None, "content is taken as it is, without Content-Encoding", headers=wanted)

    def _take(self, caller: str) -> Body:
        """The body for one who reads it from its beginning to its end."""
        if self._content is not None:
            return cast(Body, _Again(self._content))
        body = self.request.body
        if body.taken:
            before = self._taken or "a read of rfile"
            raise ContractError(f"{caller} after {before}: a body can be read once, so keep what you need of it")
        self._taken = caller
        return body

    def _form_limits(self) -> "FormLimits":
        from .forms import FormLimits

        return FormLimits(
            parts=self.max_form_parts,
            part_headers=self.max_part_headers,
            part_header_size=self.max_part_header_size,
            field_size=self.max_field_size,
            fields_size=self.max_fields_size,
            file_size=self.max_file_size,
        )


_JSON = "application/json"
_USUAL_JSON = (_JSON, None)
_find_pairs = re.compile(r"[^\t ;][^;]*+").findall
_QUICK = 32 * 1024  # bytes of JSON that are parsed at once
_SHOWN = 60  # characters of a client's word in a reason


class _Again:
    """A body that has been read, for those who read it as a stream."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    async def read(self, n: int = -1) -> bytes:
        return self._file.read(n)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if data := self._file.read():
            yield data


def _cookies(headers: Headers) -> dict[str, str]:
    """Read Cookie as RFC 6265 section 4.2 writes it, and what is no cookie in it as nothing."""
    found: dict[str, str] = {}
    for value in headers.get_all("Cookie") or ():
        for pair in _find_pairs(value):
            name, equals, text = (part.strip(OWS) for part in pair.partition("="))
            if name and equals:
                quoted = len(text) > 1 and text[0] == text[-1] == '"'
                found.setdefault(_told(name), _told(text[1:-1] if quoted else text))
    return found


def _told(text: str) -> str:
    """Text that browsers send as UTF-8, and some programs as ISO 8859-1, which the fields are decoded as."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return text
