"""Multipart bodies part by part, RFC 7578, by the push parser of the library `multipart`.

Owns the limits, and what is answered to a body that breaks them or the format. Nothing is kept but the
bytes of the part that is being read.
"""

from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import HTTPError
from ..wire.request import Request

if TYPE_CHECKING:
    from multipart import PushMultipartParser

__all__ = ["FormLimits", "Part", "parts_of", "too_large"]

_CHUNK = 64 * 1024
_MIB = 1024 * 1024


class FormLimits(NamedTuple):
    """What a form may hold. The whole of it is bounded by the body's own limit.

    Attributes:
        parts: fields and files (413).
        part_headers: header fields of one part (413).
        part_header_size: bytes of one of these (413).
        field_size: bytes of one field that is no file (413).
        fields_size: bytes of all of these, which are in memory (413).
        file_size: bytes of one file (413); None for any number.
    """

    parts: int = 1000
    part_headers: int = 8
    part_header_size: int = 4096
    field_size: int = _MIB
    fields_size: int = 16 * _MIB
    file_size: int | None = None


class Part:
    """One part of a multipart body, to be read before the next one is asked for.

    Attributes:
        name: of the field.
        filename: as the client says; None if it is no file.
        content_type: media type, ``text/plain`` if the client says none.
        headers: all fields of the part.
    """

    def __init__(self, reader: "_Reader", segment: Any) -> None:
        self._reader = reader
        self._complete = False
        self.name: str = segment.name
        self.filename: str | None = segment.filename
        self.content_type: str = segment.content_type or "text/plain"
        self.charset: str = segment.charset or "utf-8"
        self.headers: dict[str, str] = dict(segment.headerlist)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read_some():
            yield data

    async def read_some(self) -> bytes:
        """The next bytes, as they have arrived; empty at the end of the part.

        Raises:
            HTTPError: 400 or 413: the body is malformed, ends too early, or is over a limit.
        """
        if self._complete:
            return b""
        data = await self._reader.next()
        if data is None:
            self._complete = True
            return b""
        return bytes(data)

    async def read(self, limit: int | None = None) -> bytes:
        """All of the part.

        Args:
            limit: bytes of it, beyond which it is refused (413).
        """
        content = bytearray()
        async for data in self:
            content += data
            if limit is not None and len(content) > limit:
                raise too_large(f"the field {self.name!r} is larger than {limit} bytes")
        return bytes(content)


async def parts_of(request: Request, limits: FormLimits) -> AsyncIterator[Part]:
    """Read a multipart body part by part; what is not read of one is skipped.

    Raises:
        HTTPError: 415: it is no ``multipart/form-data``; 400 or 413 as `Part.read_some`.
    """
    reader = _Reader(request, limits)
    while (segment := await reader.next()) is not None:
        part = Part(reader, segment)
        yield part
        while await part.read_some():
            pass


class _Reader:
    """Takes events out of the parser, and bytes out of the body when it has no more."""

    def __init__(self, request: Request, limits: FormLimits) -> None:
        self._body = request.body
        self._parser = _parser_for(request, limits)
        self._events: Generator[Any, None, None] | None = None
        self._ended = False

    async def next(self) -> Any:
        """The next event: a segment, bytes of it, or None at its end; None again at the end of all."""
        from multipart import MultipartError, ParserLimitReached

        try:
            while not self._ended:
                if self._events is not None:
                    for event in self._events:
                        return event
                data = await self._body.read(_CHUNK)
                self._ended = not data
                self._events = self._parser.parse(data)
            for _ in self._events or ():  # says so if it is not complete
                pass
        except ParserLimitReached as error:
            raise too_large(_lower(error)) from None
        except MultipartError as error:
            raise HTTPError(400, None, f"malformed form: {_lower(error)}") from None
        return None


def _parser_for(request: Request, limits: FormLimits) -> "PushMultipartParser":
    from multipart import MultipartError, PushMultipartParser

    headers = request.headers
    if headers.get_content_type() != "multipart/form-data":
        raise HTTPError(415, None, "multipart/form-data is wanted", headers=[("Accept-Post", "multipart/form-data")])
    try:
        return PushMultipartParser(
            headers.get_boundary() or "",
            max_header_count=limits.part_headers,
            max_header_size=limits.part_header_size,
            max_segment_count=limits.parts,
            max_segment_size=float("inf") if limits.file_size is None else max(limits.file_size, limits.field_size),
        )
    except MultipartError as error:
        raise HTTPError(400, None, f"malformed form: {_lower(error)}") from None


def too_large(text: str) -> HTTPError:
    """The answer to a form that is over one of its limits."""
    return HTTPError(413, None, text)


def _lower(error: Exception) -> str:
    text = str(error.args[0] if error.args else error)
    return text[:1].lower() + text[1:]
