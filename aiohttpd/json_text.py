"""JSON as RFC 8259 has it: UTF-8, and nothing that only Python understands.

Owns the two directions, for handlers. It is imported where JSON is used.
"""

import json
from typing import Any, NoReturn

__all__ = ["dumps", "loads"]


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_decoder = json.JSONDecoder(parse_constant=_refuse)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def loads(data: bytes) -> Any:
    """Read a value.

    Raises:
        ValueError: this is no JSON; the text says where.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not in UTF-8: byte {error.start}") from None
    return _decoder.decode(text)


def dumps(value: Any) -> bytes:
    """Write a value.

    Raises:
        TypeError: JSON has nothing for it.
        ValueError: it holds NaN or an infinity, or itself.
    """
    return _encoder.encode(value).encode("utf-8", "replace")
