"""Reading forms and queries whole.

Owns the choice by media type, and what goes to memory and what to the disk.
"""

from urllib.parse import parse_qsl

from ..errors import HTTPError
from ..wire.request import Request
from .data import FormData, MultiMap
from .multipart import FormLimits, Part, parts_of, too_large
from .uploads import UploadedFile

__all__ = ["query_of", "read_form"]

_URL_ENCODED = "application/x-www-form-urlencoded"
_ACCEPTED = ("Accept-Post", f"{_URL_ENCODED}, multipart/form-data")


async def read_form(request: Request, limits: FormLimits) -> FormData:
    """Read the form in the body of a request; its files spool to the disk past 1 MiB.

    Raises:
        HTTPError: 415: it is no form; 400: it is malformed or incomplete; 413: it is over a limit.
    """
    kind = request.headers.get_content_type()
    if kind == "multipart/form-data":
        return await _read_multipart(request, limits)
    if kind != _URL_ENCODED:
        raise HTTPError(415, None, "a form is wanted", headers=[_ACCEPTED])
    content = bytearray()
    async for data in request.body:
        content += data
        if len(content) > limits.fields_size:
            raise too_large(f"the fields are larger than {limits.fields_size} bytes together")
    return FormData(_url_encoded(content.decode("latin-1"), limits))


def query_of(request: Request, limits: FormLimits) -> MultiMap[str]:
    """The query of a request.

    Raises:
        HTTPError: 400: it has too many fields, or is no UTF-8.
    """
    try:
        return MultiMap(_url_encoded(request.query_string, limits))
    except HTTPError as error:
        raise HTTPError(400, None, error.explain) from None


def _url_encoded(text: str, limits: FormLimits) -> list[tuple[str, str]]:
    if text.count("&") >= limits.parts:
        raise too_large(f"more than {limits.parts} fields")
    try:
        pairs = parse_qsl(text.encode("latin-1").decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise HTTPError(400, None, "the fields are not in UTF-8") from None
    for name, value in pairs:
        if len(value) > limits.field_size:
            raise too_large(f"the field {name!r} is larger than {limits.field_size} bytes")
    return pairs


async def _read_multipart(request: Request, limits: FormLimits) -> FormData:
    pairs: list[tuple[str, str | UploadedFile]] = []
    room = limits.fields_size
    try:
        async for part in parts_of(request, limits):
            if part.filename is not None:
                file = UploadedFile(part.filename, part.content_type, part.headers)
                pairs.append((part.name, file))
                await _fill(file, part, limits)
                continue
            content = await part.read(limits.field_size)
            room -= len(content)
            if room < 0:
                raise too_large(f"the fields are larger than {limits.fields_size} bytes together")
            pairs.append((part.name, _text(part, content)))
    except BaseException:
        FormData(pairs).close()
        raise
    return FormData(pairs)


async def _fill(file: UploadedFile, part: Part, limits: FormLimits) -> None:
    async for data in part:
        await file.append(data)
        if limits.file_size is not None and file.size > limits.file_size:
            raise too_large(f"the file in {part.name!r} is larger than {limits.file_size} bytes")
    await file.complete()


def _text(part: Part, content: bytes) -> str:
    try:
        return content.decode(part.charset)
    except (LookupError, UnicodeDecodeError):
        raise HTTPError(400, None, f"the field {part.name!r} is not in {part.charset}") from None
