"""Forms: what a client fills in and sends, RFC 7578 and the URL-encoded kind of HTML.

``data`` holds what has been read, ``uploads`` the files among it, ``multipart`` reads part by part, and
``reading`` puts them together.
"""

from .data import FormData, MultiMap
from .multipart import FormLimits, Part, Parts
from .read import decode, decode_large, query_of, read_form
from .uploads import UploadedFile

__all__ = [
    "FormData", "FormLimits", "MultiMap", "Part", "Parts", "UploadedFile", "decode", "decode_large", "query_of",
    "read_form",
]  # fmt: skip
