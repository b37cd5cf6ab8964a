"""Reading whole forms and queries.

Owns the choice of the parser by media type, the limits of memory, and the charsets that are supported.
"""

import asyncio
import codecs

from ...errors import HTTPError
from ...wire.headers import Headers
from ...wire.request import Body, Request
from ...wire.urlencoded import read_query, read_urlencoded
from .data import FormData, MultiMap
from .multipart import FormLimits, Part, Parts, shown, too_large
from .uploads import SPOOLED, Spool, UploadedFile

__all__ = ["decode", "decode_large", "query_of", "read_form"]

_URL_ENCODED = "application/x-www-form-urlencoded"
_ACCEPTED = ("Accept-Post", f"{_URL_ENCODED}, multipart/form-data")
_PARSED_ON_LOOP = 64 * 1024  # bytes of URL-encoded fields that are parsed in the event loop; more is parsed in a thread
_PIECE = 64 * 1024  # bytes that are decoded in one go, before other tasks run
_IN_MEMORY = 16 * 1024 * 1024  # bytes of all files of a form that are kept in memory

# The encodings of the Encoding Standard that Python has. Its other codecs are slow or no charsets, and each name that
# is looked up is cached forever.
_LABELS = """
utf-8 utf8 us-ascii ascii latin1 latin-1 utf-16 utf-16le utf-16be ibm866 koi8-r koi8-u macintosh
iso-8859-1 iso-8859-2 iso-8859-3 iso-8859-4 iso-8859-5 iso-8859-6 iso-8859-7 iso-8859-8 iso-8859-9 iso-8859-10
iso-8859-13 iso-8859-14 iso-8859-15 iso-8859-16 windows-874 windows-1250 windows-1251 windows-1252 windows-1253
windows-1254 windows-1255 windows-1256 windows-1257 windows-1258
gb2312 gbk gb18030 big5 big5-hkscs euc-jp iso-2022-jp shift_jis euc-kr
"""
_CHARSETS = frozenset(_LABELS.split())
_NAMES_OF_PYTHON = {"windows-874": "cp874"}


def decode(content: bytes, charset: str) -> str:
    """Decode text.

    Raises:
        LookupError: the charset is not supported.
        UnicodeDecodeError: the content is not valid in this charset.
    """
    charset = charset.lower()
    if charset not in _CHARSETS:
        raise LookupError(charset)
    return content.decode(_NAMES_OF_PYTHON.get(charset, charset))


async def decode_large(content: bytes, charset: str) -> str:
    """`decode` in pieces, with other tasks running in between."""
    if len(content) <= _PIECE:
        return decode(content, charset)
    decode(b"", charset)
    name = _NAMES_OF_PYTHON.get(charset.lower(), charset.lower())
    first = 0
    if name == "utf-16":  # its incremental decoder requires a byte order mark
        first = 2 * content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        name = "utf-16-be" if content.startswith(codecs.BOM_UTF16_BE) else "utf-16-le"
    decoder = codecs.getincrementaldecoder(name)()
    parts = []
    for start in range(first, len(content), _PIECE):
        begin = start - len(decoder.getstate()[0])
        end = start + _PIECE
        try:
            parts.append(decoder.decode(content[start:end], end >= len(content)))
        except UnicodeDecodeError as error:
            place = (begin + error.start, begin + error.end)
            raise UnicodeDecodeError(charset, content, *place, error.reason) from None
        await asyncio.sleep(0)
    return "".join(parts)


async def read_form(headers: Headers, body: Body, limits: FormLimits) -> FormData:
    """Read the form in the body of a request.

    Args:
        headers: the header fields of the request.
        body: the body.
        limits: the limits of the form. Besides, files of more than 1 MiB, or of 16 MiB together, are stored on disk.

    Raises:
        HTTPError: 400: the form is malformed or incomplete; 413: it is over a limit; 415: Content-Type is no form.
    """
    kind = headers.get_content_type()
    if kind == "multipart/form-data":
        return await _read_multipart(Parts(headers, body, limits), limits)
    if kind != _URL_ENCODED:
        raise HTTPError(415, None, "a form is wanted", headers=[_ACCEPTED])
    content = await _read_up_to(limits.fields_size, body, limits)
    if len(content) <= _PARSED_ON_LOOP:
        return FormData(_url_encoded(content, limits))
    loop = asyncio.get_running_loop()
    return FormData(await loop.run_in_executor(None, _url_encoded, content, limits))


def query_of(request: Request, limits: FormLimits) -> MultiMap[str]:
    """The fields of the query of a request.

    Raises:
        HTTPError: 400: the query has too many fields, or is not UTF-8.
    """
    return read_query(request.query_string, max_fields=limits.parts, max_field_size=limits.field_size)


def _url_encoded(content: bytes, limits: FormLimits) -> list[tuple[str, str]]:
    return read_urlencoded(content, max_fields=limits.parts, max_field_size=limits.field_size)


async def _read_multipart(parts: Parts, limits: FormLimits) -> FormData:
    pairs: list[tuple[str, str | UploadedFile]] = []
    fields_left, memory_left = limits.fields_size, _IN_MEMORY
    spool = Spool()
    try:
        async for part in parts:
            if part.filename is not None:
                file = UploadedFile(part.filename, part.content_type, part.headers, spool)
                pairs.append((part.name, file))  # before it is read, so that it is closed after an error
                async for data in part:
                    await file.append(data, min(SPOOLED, memory_left))
                await file.complete()
                memory_left -= file.size if file.in_memory else 0
                continue
            content = await _read_up_to(fields_left, part, limits)
            fields_left -= len(content)
            pairs.append((part.name, _text(part, content)))
    except BaseException:
        FormData(pairs).close()
        raise
    return FormData(pairs)


async def _read_up_to(most: int, source: Body | Part, limits: FormLimits) -> bytes:
    content = bytearray()
    async for data in source:
        content += data
        if len(content) > most:
            raise too_large(f"the fields are larger than {limits.fields_size} bytes together")
    return bytes(content)


def _text(part: Part, content: bytes) -> str:
    try:
        return decode(content, part.charset)
    except (LookupError, UnicodeDecodeError):
        raise HTTPError(400, None, f"the field {shown(part.name)} is not in {shown(part.charset)}") from None
