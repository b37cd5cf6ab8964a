"""JSON by RFC 8259: UTF-8, without the extensions of Python's module (NaN, infinities).

Owns encoding and decoding for handlers, and the decoding of large texts in a thread. It is imported with the first use
of JSON.
"""

import asyncio
import gc
import json
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, NoReturn

from ..errors import shortened

__all__ = ["dumps", "loads", "loads_large"]

_WHITE = " \t\n\r"  # RFC 8259 section 2
_SHOWN = 30  # characters of a number that an error message repeats


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if isfinite(value):
        return value
    raise ValueError(f"the number {shortened(text, _SHOWN)} is too large")


_decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)


def _plain(value: Any) -> Any:
    from .json_values import plain

    return plain(value)


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain)


def loads(data: bytes) -> Any:
    """Decode JSON.

    Raises:
        ValueError: malformed JSON; the message has the position.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not in UTF-8: byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise ValueError("it begins with a byte order mark")
    try:
        value, end = _decoder.raw_decode(text, len(text) - len(text.lstrip(_WHITE)))
        if end != len(text) and (more := text[end:].lstrip(_WHITE)):
            raise json.JSONDecodeError("Extra data", text, len(text) - len(more))
        return value
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if str(error).startswith("Exceeds the limit"):  # of `sys.set_int_max_str_digits`
            raise ValueError("a number has too many digits") from None
        raise


class _LoopLock:
    """The lock of an event loop, and how many calls use it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


_locks: dict[asyncio.AbstractEventLoop, _LoopLock] = {}  # of loops in which large texts are being decoded


async def loads_large(data: bytes) -> Any:
    """`loads` in a thread, one text at a time for each event loop.

    The C decoder holds the interpreter lock until it has finished. With one text at a time, the loop waits for at most
    one text when it needs the lock; the option ``limit_json`` bounds how long that takes.
    """
    loop = asyncio.get_running_loop()
    lock = _locks.setdefault(loop, _LoopLock())
    lock.users += 1
    try:
        async with lock.lock:
            return await loop.run_in_executor(None, _loads_without_collector, data)
    finally:
        lock.users -= 1
        if not lock.users:
            del _locks[loop]


def _loads_without_collector(data: bytes) -> Any:
    """`loads` without garbage collection, which would take two thirds of the time to traverse the new values."""
    if not gc.isenabled():
        return loads(data)
    gc.disable()
    try:
        return loads(data)
    finally:
        gc.enable()


def _make_iterencode() -> Callable[[Any, int], Iterable[str]]:
    """`JSONEncoder.iterencode`, but with one C encoder for all values instead of a new one for each."""
    try:
        make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        # Arguments: markers, default, string encoder, indent, two separators, sort_keys, skipkeys, allow_nan.
        iterencode: Callable[[Any, int], Iterable[str]] = make(
            None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", False, False, False
        )
    except (AttributeError, TypeError):  # a Python without the C encoder
        return lambda value, level: _encoder.iterencode(value)
    return iterencode


_iterencode = _make_iterencode()  # arguments: the value, and the level of indentation


def _encode(value: Any) -> str:
    try:
        return "".join(_iterencode(value, 0))
    except TypeError as error:
        if not str(error).startswith("keys must be"):
            raise
    from .json_values import with_plain_keys

    return "".join(_iterencode(with_plain_keys(value), 0))


def dumps(value: Any) -> bytes:
    """Encode a value. Parts that JSON has no type for are converted by `json_values.plain`.

    Raises:
        TypeError: a part of the value is of a type that cannot be converted.
        ValueError: the value holds NaN or an infinity, contains itself, or is nested too deeply.
    """
    # The only characters that UTF-8 cannot encode are lone surrogates; "backslashreplace" writes them as JSON does.
    try:
        return _encode(value).encode("utf-8", "backslashreplace")
    except RecursionError:
        raise ValueError("a value that holds itself, or is nested too deeply for JSON") from None
