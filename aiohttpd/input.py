"""What a handler takes out of a request: bodies as bytes, text, JSON or forms; queries; cookies.

Owns the methods, and the errors that a client gets for what it has sent. `forms` reads; it is imported
when somebody asks for a form.
"""

import codecs
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from .contract import Lazy
from .errors import HTTPError
from .wire.headers import Headers
from .wire.request import Body, Request

if TYPE_CHECKING:
    from .forms import FormData, FormLimits, MultiMap, Part

__all__ = ["Input"]


class Input:
    """The part of a handler that reads.

    Attributes:
        max_form_parts: fields and files of a form or query (413).
        max_part_headers: header fields of one part of a multipart form (413).
        max_part_header_size: bytes of one of these (413).
        max_field_size: bytes of one field that is no file (413).
        max_fields_size: bytes of all fields that are no files (413).
        max_file_size: bytes of one file (413); None for no other limit than that of the body.
    """

    max_form_parts: int = 1000
    max_part_headers: int = 8
    max_part_header_size: int = 4096
    max_field_size: int = 1024 * 1024
    max_fields_size: int = 16 * 1024 * 1024
    max_file_size: int | None = None

    request: Request
    headers: Lazy[Headers]
    rfile: Lazy[Body]
    _cleanup: Callable[[], None] | None = None  # called when the request ends

    @Lazy
    def query(self) -> "MultiMap[str]":
        """The fields of the query, parsed when they are first looked at."""
        from .forms import query_of

        return query_of(self.request, self._form_limits())

    @Lazy
    def cookies(self) -> dict[str, str]:
        """The cookies of the request; of a name that comes twice, the first."""
        return _cookies(self.request.headers)

    async def body(self) -> bytes:
        """All of the body.

        Raises:
            HTTPError: 400, 408 or 413, as ``self.rfile.read()``.
        """
        return await self.request.body.read()

    async def text(self) -> str:
        """The body as text, in the charset that Content-Type names, else UTF-8.

        Raises:
            HTTPError: 415: a charset that nobody knows; 400: the text is not in it.
        """
        charset = self.request.headers.get_content_charset() or "utf-8"
        try:
            codecs.lookup(charset)
            return (await self.body()).decode(charset)
        except LookupError:  # or it is no charset, but base64, say
            raise HTTPError(415, None, f"the charset {charset} is not known") from None
        except UnicodeDecodeError as error:
            raise HTTPError(400, None, f"the text is not in {charset}: byte {error.start}") from None

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            HTTPError: 415: Content-Type is there, and another; 400: it is no JSON, with the place.
        """
        kind = self.request.headers.get_content_type() if "Content-Type" in self.request.headers else _JSON
        if kind != _JSON and not kind.endswith("+json"):
            raise HTTPError(415, None, f"{_JSON} is wanted", headers=[("Accept-Post", _JSON)])
        from . import json_text

        try:
            return json_text.loads(await self.body())
        except (ValueError, RecursionError) as error:
            raise HTTPError(400, None, f"malformed JSON: {error}") from None

    async def form(self) -> "FormData":
        """The form in the body, URL-encoded or multipart.

        Files larger than 1 MiB are on the disk. All are closed, and deleted, when the request ends.

        Raises:
            HTTPError: 415: it is no form; 400: it is malformed or incomplete; 413: it is over a limit.
        """
        from .forms import read_form

        form = await read_form(self.request, self._form_limits())
        self._cleanup = form.close
        return form

    def parts(self) -> "AsyncIterator[Part]":
        """The parts of a multipart form one after the other, nothing of them kept.

        ::

            async for part in self.parts():
                async for data in part:
                    ...

        Raises:
            HTTPError: as `form`.
        """
        from .forms import parts_of

        return parts_of(self.request, self._form_limits())

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


def _cookies(headers: Headers) -> dict[str, str]:
    """Read Cookie as RFC 6265 section 4.2 writes it, and what is no cookie in it as nothing."""
    found: dict[str, str] = {}
    for value in headers.get_all("Cookie") or ():
        for pair in value.split(";"):
            name, equals, text = (part.strip(" \t") for part in pair.partition("="))
            if name and equals:
                quoted = len(text) > 1 and text[0] == text[-1] == '"'
                found.setdefault(name, text[1:-1] if quoted else text)
    return found
