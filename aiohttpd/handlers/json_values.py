"""Values of Python that JSON has no type for, as values that it has: the reverse of `typed.convert`.

Owns how `send_json` writes dataclasses, dates and so on. It is imported with the first such value. Classes of msgspec
and pydantic are converted by these libraries, which are not imported here.
"""

import dataclasses
import datetime
import decimal
import enum
import sys
import uuid
from typing import Any

__all__ = ["plain", "with_plain_keys"]


def plain(value: Any) -> Any:
    """Return what stands for a value in JSON. Its parts may be values that have to be converted in turn.

    Raises:
        TypeError: it is of none of the types that ``self.json(kind)`` makes.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, (datetime.date, datetime.time)):  # a datetime is a date
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (set, frozenset)):
        return _ordered(value)
    return _of_libraries(value)


def with_plain_keys(value: Any) -> Any:
    """Return a value in which each key is one that JSON can have: dates, Enum, UUID and Decimal become text.

    Raises:
        TypeError: a part of it is of a type that cannot be converted.
    """
    if isinstance(value, dict):
        return {_plain_key(key): with_plain_keys(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_plain_keys(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return with_plain_keys(plain(value))


def _plain_key(key: Any) -> Any:
    if key is None or isinstance(key, (str, int, float)):
        return key
    if isinstance(key, (enum.Enum, datetime.date, datetime.time, decimal.Decimal, uuid.UUID)):
        return _plain_key(plain(key))
    raise TypeError(f"keys must be text or of a type that is text in JSON, not {type(key).__name__}")


def _ordered(value: set[Any] | frozenset[Any]) -> list[Any]:
    """A set as a list, in the same order in each process if its elements can be compared."""
    try:
        return sorted(value)
    except TypeError:
        return list(value)


def _of_libraries(value: Any) -> Any:
    pydantic: Any = sys.modules.get("pydantic")
    msgspec: Any = sys.modules.get("msgspec")
    if pydantic is not None and isinstance(value, pydantic.BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if msgspec is not None and isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")
