"""JSON as RFC 8259 has it: UTF-8, and nothing that only Python understands.

Owns the two directions, for handlers. It is imported where JSON is used.
"""

import json
from collections.abc import Callable
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
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark")
    return _decoder.decode(text)


def _encode_at_once() -> Callable[[Any], str]:
    """What `JSONEncoder.encode` does, without a new encoder for each value where there is one in C."""
    try:
        make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        # No markers, the default, strings as they are, no indent, the separators; no sorting, skipping or NaN.
        iterate = make(None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
    except (AttributeError, TypeError):  # another Python
        return _encoder.encode
    return lambda value: "".join(iterate(value, 0))


_encode = _encode_at_once()


def dumps(value: Any) -> bytes:
    """Write a value.

    Raises:
        TypeError: JSON has nothing for it.
        ValueError: it holds NaN or an infinity, or itself.
    """
    # What is left to replace are lone surrogates, as Python and JSON both write them.
    try:
        return _encode(value).encode("utf-8", "backslashreplace")
    except RecursionError:
        raise ValueError("a value that holds itself, or is nested too deeply for JSON") from None
