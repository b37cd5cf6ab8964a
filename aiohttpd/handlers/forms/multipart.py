"""Reading multipart/form-data (RFC 7578) part by part, with the push parser of the library `multipart`.

Owns the limits, and the errors for bodies that break them or are malformed. Only the bytes of the current part are
kept. The result does not depend on how the body was split on its way.
"""

import asyncio
import copy
import functools
import re
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from ...errors import ContractError, HTTPError, shortened
from ...wire.headers import TOKEN, Headers, headers_of
from ...wire.request import Body

if TYPE_CHECKING:
    from multipart import PushMultipartParser

__all__ = ["FormLimits", "Part", "Parts", "malformed", "shown", "too_large"]

_CHUNK = 64 * 1024
_SHOWN = 60  # characters of a name that an error message repeats
_PARTS_PER_TURN = 32  # parts that are read before other tasks run: thousands of tiny parts can arrive at once


class FormLimits(NamedTuple):
    """The limits of a form (413), which a handler class sets. Its size as a whole is limited by that of the body.

    Attributes:
        parts: fields and files.
        part_headers: header fields of one part.
        part_header_size: bytes of one of these header fields.
        field_size: bytes of one field that is not a file.
        fields_size: bytes of all fields that are not files; they are in memory.
        file_size: bytes of one file; None for no limit.
    """

    parts: int
    part_headers: int
    part_header_size: int
    field_size: int
    fields_size: int
    file_size: int | None


class Part:
    """One part of a multipart body. Read it before you ask for the next one.

    Attributes:
        name: the name of the field.
        filename: the file name that the client has sent; None if the part is not a file.
        content_type: the media type; ``text/plain`` if the client has sent none.
        charset: the charset; ``utf-8`` if the client has sent none.
        headers: the header fields of the part.
        size: bytes that have been read.
    """

    def __init__(self, reader: "_Reader", segment: Any) -> None:
        pairs: list[tuple[str, str]] = segment.headerlist
        self.name, self.filename = _names(_checked(pairs)["Content-Disposition"])
        self.headers = headers_of(pairs)
        self.content_type: str = segment.content_type or "text/plain"
        self.charset: str = (segment.charset or "utf-8").lower()
        self.size = 0
        self._reader = reader
        self._limit = reader.limits.field_size if self.filename is None else reader.limits.file_size
        self._complete = False
        self._skipped = False

    def __aiter__(self) -> "Part":
        return self

    async def __anext__(self) -> bytes:
        data = await self.read_some()
        if not data:
            raise StopAsyncIteration
        return data

    async def read_some(self) -> bytes:
        """Read the next bytes that have arrived; empty at the end of the part.

        Raises:
            HTTPError: 400: the body is malformed or incomplete; 413: it is over a limit.
            ContractError: the part has been skipped, since the next one was requested.
        """
        if self._skipped:
            raise ContractError(f"the part {self.name!r} was skipped: read a part before you ask for the next one")
        if self._complete:
            return b""
        data = await self._reader.next()
        if data is None:
            self._complete = True
            return b""
        self.size += len(data)
        if self._limit is not None and self.size > self._limit:
            kind = "field" if self.filename is None else "file in"
            raise self._reader.fail(too_large(f"the {kind} {shown(self.name)} is larger than {self._limit} bytes"))
        return bytes(data)

    async def read(self, limit: int | None = None) -> bytes:
        """Read the whole part.

        Args:
            limit: the most bytes (413); None for no limit but that of the form.
        """
        content = bytearray()
        while data := await self.read_some():
            content += data
            if limit is not None and len(content) > limit:
                raise too_large(f"{shown(self.name)} is larger than {limit} bytes")
        return bytes(content)

    async def skip(self) -> None:
        """Read and discard the rest of the part."""
        skipped = False
        while await self.read_some():
            skipped = True
        self._skipped = skipped


class Parts(AsyncIterator[Part]):
    """An asynchronous iterator of the parts of a multipart body. Parts that are not read are skipped.

    Args:
        headers: the header fields of the request.
        body: its body.
        limits: the limits of the form.

    Raises:
        HTTPError: 415: Content-Type is not ``multipart/form-data``; later 400 or 413, as `Part.read_some`.
    """

    def __init__(self, headers: Headers, body: Body, limits: FormLimits) -> None:
        self._reader = _Reader(headers, body, limits)
        self._part: Part | None = None
        self._count = 0

    async def __anext__(self) -> Part:
        if self._part is not None:
            await self._part.skip()
            self._part = None
        segment = await self._reader.next()
        if segment is None:
            raise StopAsyncIteration
        self._count += 1
        if self._count % _PARTS_PER_TURN == 0:
            await asyncio.sleep(0)
        try:
            self._part = Part(self._reader, segment)
        except HTTPError as error:
            raise self._reader.fail(error)
        return self._part


class _Reader:
    """Gives the parser's events one by one; feeds it with bytes of the body when it has no more events."""

    def __init__(self, headers: Headers, body: Body, limits: FormLimits) -> None:
        self.limits = limits
        self._body = body
        boundary = _boundary(headers)
        self._parser = _parser_for(boundary, limits)
        self._delimiter = b"\r\n--" + boundary
        self._preamble: bytes | None = b"\r\n"  # bytes that may begin the first delimiter
        self._held = b""  # a CR at the end of the bytes that have arrived; the next byte decides what it is
        self._events: Generator[Any, None, None] | None = None
        self._ended = False
        self._error: HTTPError | None = None

    def fail(self, error: HTTPError) -> HTTPError:
        """Raise this error at each further read; return a copy, whose traceback may refer to this."""
        self._error = error.with_traceback(None)
        return copy.copy(error)

    async def next(self) -> Any:
        """The next event: a segment (the head of a part), bytes of it, None at its end; None at the end of the body."""
        if self._error is not None:
            raise copy.copy(self._error)
        try:
            while True:
                if self._events is not None:
                    for event in self._events:
                        return event
                if self._ended:
                    return None
                data = self._arrived(await self._body.read(_CHUNK))
                if data or self._ended:
                    self._events = self._parser.parse(data)
        except ValueError as error:  # MultipartError is one
            raise self.fail(_http_error(error, self.limits))

    def _arrived(self, data: bytes) -> bytes:
        """The bytes to parse of those that have arrived: without the preamble, and without a CR at the end."""
        if not data:
            data, self._held = self._held, b""
            self._ended = not data
            return data
        data = self._held + data
        self._held = b""
        if data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        if self._preamble is None:
            return data
        data = self._preamble + data
        found = data.find(self._delimiter[2:])
        if found < 0:
            self._preamble = data[-len(self._delimiter) :]
            return b""
        if not data.startswith(self._delimiter, found - 2):  # the parser would skip the part after it
            raise self.fail(malformed("the first boundary does not begin its line"))
        self._preamble = None
        return data[found:]


def _boundary(headers: Headers) -> bytes:
    if headers.get_content_type() != "multipart/form-data":
        raise HTTPError(415, None, "multipart/form-data is wanted", headers=[("Accept-Post", "multipart/form-data")])
    boundary = headers.get_boundary()
    if not boundary:
        raise malformed("Content-Type has no boundary")
    return boundary.encode("latin-1")


def _parser_for(boundary: bytes, limits: FormLimits) -> "PushMultipartParser":
    from multipart import MultipartError

    try:
        return _parser_class()(
            boundary,
            max_header_count=limits.part_headers,
            max_header_size=limits.part_header_size,
            max_segment_count=limits.parts,
        )
    except MultipartError as error:
        raise malformed(_reason(error)) from None


@functools.cache
def _parser_class() -> "type[PushMultipartParser]":
    from multipart import ParserError, ParserLimitReached, PushMultipartParser

    class StrictParser(PushMultipartParser):  # type: ignore[misc]
        """Refuses control characters in lines; the library accepts some, depending on how the body was split."""

        def _on_segment_start(self) -> None:
            super()._on_segment_start()
            self._folds = 0

        def _on_segment_headerline(self, line: bytes) -> None:
            if _control_in(line):
                raise ParserError("Control character in a segment header")
            if line.startswith((b" ", b"\t")):  # a folded line; for each the parser copies the whole field
                self._folds += 1
                if self._folds > self.max_header_count:
                    raise ParserLimitReached("Maximum segment header count exceeded")
            try:
                line.decode(self.header_charset)
            except UnicodeDecodeError as error:
                what = "file name" if b"filename" in line[: error.start].lower() else "header field"
                raise ParserError(f"A {what} failed to decode: it is not in UTF-8") from None
            super()._on_segment_headerline(line)

    return StrictParser


# The fields of a part.

_control_in = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]").search
_ONCE = ("Content-Disposition", "Content-Type", "Content-Transfer-Encoding")
_PLAIN = ("7bit", "8bit", "binary")

# As browsers write it (HTML): quotes, CR and LF are percent-encoded, a backslash stands for itself.
_AS_BROWSERS = re.compile(r'form-data; name="([^"]*+)"(?:; filename="([^"]*+)")?').fullmatch
# As other clients write it (RFC 2183); values need not be tokens.
_PARAMETER = re.compile(rf';[\t ]*+({TOKEN})[\t ]*+=[\t ]*+(?:"((?:[^"\\]|\\.)*+)"|([^\t ;"]*+))[\t ]*+(?=;|\Z)')
_PERCENT = re.compile("%(0D|0A|22)")
_is_empty = re.compile(r"[\t ;]*+\Z").match
_MOST = 16  # parameters of Content-Disposition; RFC 7578 has three


def _checked(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The header fields of a part by name. The parser has normalized the names."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found and name in _ONCE:
            raise malformed(f"two fields {name} in one part")
        found[name] = value
    coding = found.get("Content-Transfer-Encoding", "")
    if coding and coding.lower() not in _PLAIN:
        raise HTTPError(415, None, f"the Content-Transfer-Encoding {shown(coding)} is not supported in a form")
    return found


def _names(disposition: str) -> tuple[str, str | None]:
    """The name and the file name in Content-Disposition."""
    simple = _AS_BROWSERS(disposition)
    if simple is not None:
        name, filename = simple.groups()
        return _unescaped(name), None if filename is None else _unescaped(filename)
    found: dict[str, str] = {}
    at = len(disposition.partition(";")[0])
    while not _is_empty(disposition, at):
        match = _PARAMETER.match(disposition, at)
        if match is None:
            raise malformed("Content-Disposition cannot be read")
        key, quoted, plain = match.groups()
        key = key.lower()
        if key in found:
            raise malformed(f"Content-Disposition has {shown(key)} twice")
        if len(found) == _MOST:
            raise malformed(f"Content-Disposition has more than {_MOST} parameters")
        found[key] = _unescaped(plain) if quoted is None else _unquoted(quoted)
        at = match.end()
    if "name" not in found:
        raise malformed("a part without a name")
    filename = found.get("filename")
    if filename is None and "filename*" in found:
        filename = _extended(found["filename*"])
    return found["name"], filename


def _unquoted(text: str) -> str:
    if '\\"' in text:  # a quoted-pair (RFC 9110 section 5.6.4); browsers write none
        return "\\".join([piece.replace('\\"', '"') for piece in text.split("\\\\")])
    return _unescaped(text)


def _unescaped(text: str) -> str:
    return _PERCENT.sub(lambda match: chr(int(match[1], 16)), text)


def _extended(text: str) -> str:
    """Decode a value of RFC 8187. RFC 7578 forbids it, but some clients send it."""
    charset, _, rest = text.partition("'")
    _, quote, encoded = rest.partition("'")
    if quote and charset.lower() in ("utf-8", "iso-8859-1"):
        try:
            return unquote(encoded, charset, "strict")
        except UnicodeDecodeError:
            pass
    raise malformed("filename* cannot be read")


# Errors.


def too_large(text: str) -> HTTPError:
    """The error for a form that is over a limit."""
    return HTTPError(413, None, text)


def malformed(text: str) -> HTTPError:
    """The error for a malformed form."""
    return HTTPError(400, None, f"malformed form: {text}")


def shown(text: str) -> str:
    """Text of the client for an error message: ASCII, quoted, shortened."""
    return ascii(shortened(text, _SHOWN))


def _http_error(error: ValueError, limits: FormLimits) -> HTTPError:
    """The `HTTPError` for an error of the parser; for a limit, the message has its value.

    Raises:
        ValueError: the error is not one of the parser.
    """
    from multipart import MultipartError, ParserLimitReached

    if not isinstance(error, MultipartError):
        raise error
    error.__traceback__ = None  # the parser keeps its error, and the traceback refers to the form
    text = _reason(error)
    if not isinstance(error, ParserLimitReached):
        return malformed(text)
    for sign, limit in (
        ("header count", f"more than {limits.part_headers} header fields in a part"),
        ("header length", f"a header field of a part is larger than {limits.part_header_size} bytes"),
        ("part count", f"more than {limits.parts} parts"),
    ):
        if sign in text:
            return too_large(limit)
    return too_large(text)


def _reason(error: Exception) -> str:
    text = str(error.args[0] if error.args else error)
    if text.startswith("Unexpected end"):
        return "it ends before it is complete"
    return (text[:1].lower() + text[1:]).replace("segment", "part")
