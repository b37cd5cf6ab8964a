"""Reading forms and queries whole.

Owns the choice by media type, what goes to memory and what to the disk, and the charsets that there are.
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
_QUICK = 64 * 1024  # bytes of URL-encoded fields that are read at once
_PIECE = 64 * 1024  # bytes that are decoded before others have their turn
_IN_MEMORY = 16 * 1024 * 1024  # bytes of all files of a form that stay in memory, however many they are

# The encodings of the Web that Python has. Other codecs of it are slow, no charsets, or kept by name for ever.
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
    """Read text.

    Raises:
        LookupError: a charset that the Web does not know.
        UnicodeDecodeError: the text is not in it.
    """
    charset = charset.lower()
    if charset not in _CHARSETS:
        raise LookupError(charset)
    return content.decode(_NAMES_OF_PYTHON.get(charset, charset))


async def decode_large(content: bytes, charset: str) -> str:
    """`decode`, and let others have their turn meanwhile."""
    if len(content) <= _PIECE:
        return decode(content, charset)
    decode(b"", charset)
    name = _NAMES_OF_PYTHON.get(charset.lower(), charset.lower())
    first = 0
    if name == "utf-16":  # whose decoder of pieces wants a byte order mark
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
    """Read the form in the body of a request; its files spool to the disk past 1 MiB, or 16 MiB together.

    Raises:
        HTTPError: 415: it is no form; 400: it is malformed or incomplete; 413: it is over a limit.
    """
    kind = headers.get_content_type()
    if kind == "multipart/form-data":
        return await _read_multipart(Parts(headers, body, limits), limits)
    if kind != _URL_ENCODED:
        raise HTTPError(415, None, "a form is wanted", headers=[_ACCEPTED])
    content = bytearray()
    async for data in body:
        content += data
        if len(content) > limits.fields_size:
            raise _too_many_bytes(limits)
    if len(content) <= _QUICK:
        return FormData(_url_encoded(content, limits))
    loop = asyncio.get_running_loop()
    return FormData(await loop.run_in_executor(None, _url_encoded, content, limits))


def query_of(request: Request, limits: FormLimits) -> MultiMap[str]:
    """The query of a request.

    Raises:
        HTTPError: 400: it has too many fields, or is no UTF-8.
    """
    return read_query(request.query_string, max_fields=limits.parts, max_field_size=limits.field_size)


def _url_encoded(content: bytes | bytearray, limits: FormLimits) -> list[tuple[str, str]]:
    return read_urlencoded(content, max_fields=limits.parts, max_field_size=limits.field_size)


async def _read_multipart(parts: Parts, limits: FormLimits) -> FormData:
    pairs: list[tuple[str, str | UploadedFile]] = []
    room = limits.fields_size
    memory = _IN_MEMORY
    spool = Spool()
    try:
        async for part in parts:
            if part.filename is not None:
                file = UploadedFile(part.filename, part.content_type, part.headers, spool)
                pairs.append((part.name, file))
                async for data in part:
                    await file.append(data, min(SPOOLED, memory))
                await file.complete()
                memory -= file.size if file.in_memory else 0
                continue
            content = bytearray()
            async for data in part:
                content += data
                if len(content) > room:
                    raise _too_many_bytes(limits)
            room -= len(content)
            pairs.append((part.name, _text(part, bytes(content))))
    except BaseException:
        FormData(pairs).close()
        raise
    return FormData(pairs)


def _text(part: Part, content: bytes) -> str:
    try:
        return decode(content, part.charset)
    except (LookupError, UnicodeDecodeError):
        raise HTTPError(400, None, f"the field {shown(part.name)} is not in {shown(part.charset)}") from None


def _too_many_bytes(limits: FormLimits) -> HTTPError:
    return too_large(f"the fields are larger than {limits.fields_size} bytes together")
