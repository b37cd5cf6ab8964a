"""Forms: multipart/form-data (RFC 7578) and URL-encoded forms (HTML).

``read`` reads whole forms, ``multipart`` parses multipart bodies part by part, ``data`` holds fields and ``uploads``
files.
"""

from .data import FormData, MultiMap
from .multipart import FormLimits, Part, Parts
from .read import decode, decode_large, query_of, read_form
from .uploads import UploadedFile

__all__ = [
    "FormData", "FormLimits", "MultiMap", "Part", "Parts", "UploadedFile", "decode", "decode_large", "query_of",
    "read_form",
]  # fmt: skip
