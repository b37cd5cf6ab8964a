"""JSON as RFC 8259 has it: UTF-8, and nothing that only Python understands.

Owns the two directions, for handlers, and what keeps a large text from holding up others. It is imported where JSON is
used.
"""

import asyncio
import gc
import json
from collections.abc import Callable
from math import isfinite
from typing import Any, NoReturn

__all__ = ["dumps", "loads", "loads_large"]

_SHOWN = 30  # characters of a number in a reason


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if isfinite(value):
        return value
    raise ValueError(f"the number {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'} is too large")


_decoder = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
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
    try:
        return _decoder.decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        if str(error).startswith("Exceeds the limit"):  # of `sys.set_int_max_str_digits`, which is no client's business
            raise ValueError("a number has too many digits") from None
        raise


class _Turn:
    """Of a loop, for one text at a time, while there are any."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


_turns: dict[asyncio.AbstractEventLoop, _Turn] = {}


async def loads_large(data: bytes) -> Any:
    """`loads` in a thread, while the loop goes on; one text after the other.

    The parser in C does not let go of the interpreter before its end. So it helps the loop to wait for one text only
    each time that it wants the interpreter back, and it has to be short: ``limit_json``.
    """
    loop = asyncio.get_running_loop()
    turn = _turns.setdefault(loop, _Turn())
    turn.users += 1
    try:
        async with turn.lock:
            return await loop.run_in_executor(None, _loads_without_collector, data)
    finally:
        turn.users -= 1
        if not turn.users:
            del _turns[loop]


def _loads_without_collector(data: bytes) -> Any:
    """`loads`; the garbage collector would look at the new values again and again, two thirds of the whole time."""
    if not gc.isenabled():
        return loads(data)
    gc.disable()
    try:
        return loads(data)
    finally:
        gc.enable()


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
