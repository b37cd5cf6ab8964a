"""Validation: converts JSON, queries and forms to dataclasses, TypedDict, NamedTuple, msgspec.Struct, pydantic models.

Owns the conversion and the messages about invalid data (422). Classes of msgspec and pydantic are converted by these
libraries. They are not imported here; they are used if the program has imported them.
"""

import datetime
import decimal
import enum
import functools
import itertools
import math
import re
import sys
import types
import typing
import uuid
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)  # fmt: skip
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple, TypeVar, cast

from ..errors import InvalidData, Problem, shortened
from .forms.data import MultiMap
from .forms.uploads import UploadedFile
from .typed_fields import AROUND, fields_of, filled, given_for, has_fields, hints_of, is_named_tuple, stands_for

__all__ = ["convert"]

T = TypeVar("T")

Place = tuple[str | int, ...]

_MOST = 20  # problems that are reported in one response
_SHOWN = 100  # characters of a name that a problem repeats: 20 problems may be in one object with a long name
_MOST_KNOWN = 1024  # converters that are kept
_ATTEMPTS = 10_000  # alternatives of unions that one conversion tries: their number is exponential in recursive types
_LISTS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list, Sequence: list, MutableSequence: list, Collection: list, Iterable: list,
    set: set, AbstractSet: set, MutableSet: set, frozenset: frozenset, tuple: tuple,
}  # fmt: skip
_GIVEN = (str, int, float, list, dict, types.NoneType, UploadedFile)  # the types of values of JSON, queries and forms
_BOOLEANS = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}
_is_integer = re.compile(r"[+-]?[0-9]{1,40}").fullmatch
_is_number = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?").fullmatch


def convert(value: object, kind: type[T], *, text: bool = False) -> T:
    """Convert data from a client to a type. Fields that the type does not have are ignored.

    ::

        @dataclass
        class Note:
            title: str
            stars: int = 0

        note = convert(json.loads(body), Note)

    Args:
        value: the result of `json.loads`, a query or a form.
        kind: a dataclass, a TypedDict, a NamedTuple, a ``msgspec.Struct``, a pydantic model, also generic ones
            (``Page[Note]``); or a type that is made of these and of ``str int float bool None list tuple set dict
            Literal Enum datetime date time Decimal UUID``, with ``|``. A NamedTuple may be a list or an object.
        text: all values are text, as in queries and forms: numbers and booleans are parsed.

    Raises:
        InvalidData: 422: the data does not match the type. It lists all problems, up to 20; long names are cut.
        TypeError: the type is not supported; this is an error of the program.
    """
    problems = _Problems(itertools.count())
    try:
        converted = _converter(kind, text)(value, (), problems)
    except RecursionError:
        raise InvalidData([Problem((), "is nested too deeply")]) from None
    if problems:
        raise InvalidData(problems)
    return cast(T, converted)


class _Problems(list[Problem]):
    """The problems found by a conversion; the first `_MOST` of them are kept.

    Args:
        attempts: counts the alternatives of unions that this conversion has tried.

    Attributes:
        told: how many there were, with those that are not kept.
    """

    def __init__(self, attempts: "itertools.count[int]") -> None:
        super().__init__()
        self._attempts = attempts
        self.told = 0

    def tell(self, place: Place, reason: str) -> None:
        self.told += 1
        if len(self) < _MOST:
            steps = (shortened(step, _SHOWN) if isinstance(step, str) else step for step in place)
            self.append(Problem(tuple(steps), reason))

    def attempt(self) -> "_Problems":
        """Return a list for the problems of one alternative of a union. They are dropped if another one matches."""
        if next(self._attempts) >= _ATTEMPTS:
            raise InvalidData([Problem((), "has too many alternatives to be tried")])
        return _Problems(self._attempts)


# Converts a value. If it does not match the type, a problem is added, and the result is not used.
_Converter = Callable[[Any, Place, _Problems], Any]


_known: dict[tuple[Any, bool], _Converter] = {}


def _converter(kind: Any, text: bool) -> _Converter:
    """The converter for a type; it is built once."""
    try:
        key = _key(kind), text
        converter = _known.get(key)
    except TypeError:  # not hashable, so it is no type: the list in Callable[[int], str]
        return _new_converter(kind, text)
    if converter is None:
        converter = _new_converter(kind, text)
        if len(_known) >= _MOST_KNOWN:  # a program makes types while it runs
            _known.clear()
        _known[key] = converter
    return converter


def _key(kind: Any) -> Any:
    """Equal for types that convert alike; ``int | float`` and ``float | int`` are equal, and do not."""
    arguments = () if isinstance(kind, type) else typing.get_args(kind)
    if not arguments:
        return kind
    origin = typing.get_origin(kind)
    if origin in AROUND:  # the other arguments may not be hashable
        return _key(arguments[0])
    if origin is typing.Literal:
        return (origin, *((type(value), value) for value in arguments))  # 1 is equal to True
    return (origin, *map(_key, arguments))


def _new_converter(kind: Any, text: bool) -> _Converter:
    origin = typing.get_origin(kind)
    arguments = typing.get_args(kind)
    if kind is Any or kind is object:
        return lambda value, place, problems: value
    if origin in AROUND and arguments:
        return _converter(arguments[0], text)
    if hasattr(kind, "__supertype__"):  # NewType
        return _converter(kind.__supertype__, text)
    if isinstance(kind, TypeVar):
        return _converter(stands_for(kind), text)
    if type(origin or kind).__name__ == "TypeAliasType":
        return _Alias(kind, text).convert
    if origin is typing.Literal:
        return _choices(arguments, text)
    if origin is typing.Union or origin is types.UnionType:
        return _union(arguments, text)
    if kind is None or kind is types.NoneType:
        return _null(text)
    if kind in _LEAVES or (isinstance(kind, type) and issubclass(kind, enum.Enum)):
        return _leaf(kind, text)
    container = origin or kind
    if container in _LISTS:
        return _list(container, arguments, text)
    if container in (dict, Mapping, MutableMapping):
        return _dict(arguments or (str, Any), text)
    return _object(kind, container, text)


# Simple types.


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not text")
    return value


def _integer(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # JSON has one kind of number
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("is not an integer")
    return value


def _integer_of_text(value: Any) -> int:
    if not _is_integer(_text(value)):
        raise ValueError("is not an integer")
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("is not a number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("is too large") from None


def _number_of_text(value: Any) -> float:
    if not _is_number(_text(value)):
        raise ValueError("is not a number")
    number = float(value)
    if math.isinf(number):  # as in JSON
        raise ValueError("is too large")
    return number


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is not true or false")
    return value


def _boolean_of_text(value: Any) -> bool:
    found = _BOOLEANS.get(_text(value).lower())
    if found is None:
        raise ValueError("is not true or false")
    return found


def _decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or not _is_number(str(value)):
        raise ValueError("is not a number")
    return decimal.Decimal(str(value))


def _parsed(parse: Callable[[str], Any], what: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        try:
            return parse(_text(value))
        except ValueError:
            raise ValueError(f"is not {what}") from None

    return read


# The functions that convert simple types: from JSON, and from text.
_LEAVES: dict[Any, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    str: (_text, _text),
    int: (_integer, _integer_of_text),
    float: (_number, _number_of_text),
    bool: (_boolean, _boolean_of_text),
    decimal.Decimal: (_decimal, _decimal),
    **{
        kind: (_parsed(parse, what),) * 2
        for kind, parse, what in [
            (datetime.datetime, datetime.datetime.fromisoformat, "a date with time, such as 2026-11-28T12:30:00Z"),
            (datetime.date, datetime.date.fromisoformat, "a date, such as 2026-11-28"),
            (datetime.time, datetime.time.fromisoformat, "a time, such as 12:30:00"),
            (uuid.UUID, uuid.UUID, "a UUID"),
        ]
    },
}


def _leaf(kind: Any, text: bool) -> _Converter:
    if kind not in _LEAVES:
        return _choices(kind, text)
    read = _LEAVES[kind][text]

    def convert_leaf(value: Any, place: Place, problems: _Problems) -> Any:
        try:
            return read(value)
        except ValueError as error:
            problems.tell(place, str(error))

    return convert_leaf


def _choices(allowed: Iterable[Any], text: bool) -> _Converter:
    """Convert to one of some values; data have the value of an Enum in place of its member."""
    values = [(each.value if isinstance(each, enum.Enum) else each, each) for each in allowed]
    return _choice([((value, str(value))[text], each) for value, each in values])


def _choice(choices: list[tuple[Any, Any]]) -> _Converter:
    known = ", ".join(_as_json(choice) for choice, _ in choices)

    def convert_choice(value: Any, place: Place, problems: _Problems) -> Any:
        for choice, meant in choices:
            if choice == value and type(choice) is type(value):  # 1 is not True
                return meant
        problems.tell(place, f"is not one of: {known}")
        return None

    return convert_choice


def _as_json(value: Any) -> str:
    """A value as JSON writes it, text without its quotes."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _null(text: bool) -> _Converter:
    def convert_null(value: Any, place: Place, problems: _Problems) -> None:
        if value is not None and not (text and value == ""):
            problems.tell(place, "is not null")

    return convert_null


# Types that contain other types.


def _union(kinds: tuple[Any, ...], text: bool) -> _Converter:
    """Convert to the first type that matches. All text matches ``str``, so with ``text`` it is tried last."""
    others = sorted(kinds, key=lambda kind: text and kind is str)
    converters = [_converter(kind, text) for kind in others]
    alone = len([kind for kind in kinds if kind is not types.NoneType]) == 1
    names = ", ".join(map(_name, kinds))

    def convert_union(value: Any, place: Place, problems: _Problems) -> Any:
        told: list[Problem] = []
        for kind, attempt in zip(others, converters, strict=True):
            found = problems.attempt()
            converted = attempt(value, place, found)
            if not found:
                return converted
            if alone and kind is not types.NoneType:
                told = found
        for problem in told or [Problem(place, f"is none of: {names}")]:
            problems.tell(*problem)
        return None

    return convert_union


def _name(kind: Any) -> str:
    return "null" if kind is types.NoneType else getattr(kind, "__name__", str(kind))


def _list(container: Any, arguments: tuple[Any, ...], text: bool) -> _Converter:
    make = _LISTS[container]
    fixed = container is tuple and arguments and arguments[-1] is not Ellipsis
    items = [_converter(kind, text) for kind in arguments if kind is not Ellipsis] or [_converter(Any, text)]

    def convert_list(value: Any, place: Place, problems: _Problems) -> Any:
        if not isinstance(value, (list, tuple)):
            problems.tell(place, "is not a list")
            return None
        if fixed and len(value) != len(items):
            problems.tell(place, f"has {len(value)} elements, not {len(items)}")
            return None
        each = zip(items if fixed else _repeated(items[0]), value, strict=False)
        made = [convert_item(item, (*place, number), problems) for number, (convert_item, item) in enumerate(each)]
        try:
            return make(made)
        except TypeError:  # an element of a set is not hashable
            problems.tell(place, "holds what cannot be in a set")

    return convert_list


def _repeated(item: _Converter) -> Iterator[_Converter]:
    while True:
        yield item


def _dict(arguments: tuple[Any, ...], text: bool) -> _Converter:
    convert_key, convert_value = _converter(arguments[0], True), _converter(arguments[1], text)

    def convert_dict(value: Any, place: Place, problems: _Problems) -> Any:
        if not isinstance(value, Mapping):
            problems.tell(place, "is not an object")
            return None
        return {
            convert_key(key, (*place, key), problems): convert_value(item, (*place, key), problems)
            for key, item in value.items()
        }

    return convert_dict


def _object(kind: Any, container: Any, text: bool) -> _Converter:
    """Convert to a class with fields; for any other class, check that the value is an instance of it.

    Raises:
        TypeError: no value can be.
    """
    pydantic: Any = sys.modules.get("pydantic")
    msgspec: Any = sys.modules.get("msgspec")
    if not isinstance(container, type):
        raise TypeError(f"data cannot be converted to {kind!r}")
    if pydantic is not None and issubclass(container, pydantic.BaseModel):
        return functools.partial(_by_pydantic, kind, pydantic.ValidationError)
    if msgspec is not None and issubclass(container, msgspec.Struct):
        return functools.partial(_by_msgspec, kind, msgspec, text)
    if has_fields(container):
        return _Fields(kind, text).convert
    is_abstract = container.__module__ != "builtins" and any(issubclass(given, container) for given in _GIVEN)
    if not is_abstract or typing.get_args(kind):
        raise TypeError(f"data cannot be converted to {kind!r}")

    reason = "is not a file" if container is UploadedFile else f"is no {container.__name__}"

    def convert_instance(value: Any, place: Place, problems: _Problems) -> Any:
        if not isinstance(value, container):
            problems.tell(place, reason)
        return value

    return convert_instance


class _FieldConverter(NamedTuple):
    name: str
    required: bool
    repeated: bool  # a list type: takes all values that a query or form has for the name
    convert: _Converter


class _Fields:
    """Converts to a class with fields. Types of fields are resolved at first use: they may be recursive."""

    def __init__(self, kind: Any, text: bool) -> None:
        self._kind = kind
        self._class = typing.get_origin(kind) or kind
        self._text = text

    @functools.cached_property
    def _fields(self) -> list[_FieldConverter]:
        return [
            _FieldConverter(name, required, _is_list(kind), self._converter(name, kind))
            for name, kind, required in fields_of(self._kind)
        ]

    def _converter(self, name: str, kind: Any) -> _Converter:
        try:
            return _converter(kind, self._text)
        except TypeError as error:
            raise TypeError(f"{self._class.__name__}.{name}: {error}") from None

    def convert(self, value: Any, place: Place, problems: _Problems) -> Any:
        before = problems.told
        if isinstance(value, Mapping):
            found = self._named(value, place, problems)
        elif is_named_tuple(self._class) and isinstance(value, list):
            found = self._in_order(value, place, problems)
        else:
            problems.tell(place, "is not an object")
        if problems.told > before:
            return None
        try:
            return self._class(**found)
        except ValueError as error:  # raised by __post_init__
            problems.tell(place, str(error))

    def _named(self, value: Mapping[str, Any], place: Place, problems: _Problems) -> dict[str, Any]:
        found = {}
        for field in self._fields:
            if field.name in value:
                found[field.name] = field.convert(_taken(value, field), (*place, field.name), problems)
            elif field.required:
                problems.tell((*place, field.name), "is missing")
        return found

    def _in_order(self, value: list[Any], place: Place, problems: _Problems) -> dict[str, Any]:
        """Convert a list to a NamedTuple, which `send_json` writes as a list."""
        most, least = len(self._fields), sum(field.required for field in self._fields)
        if not least <= len(value) <= most:
            problems.tell(place, f"has {len(value)} elements, not {most if least == most else f'{least} to {most}'}")
            return {}
        each = enumerate(zip(self._fields, value, strict=False))
        return {field.name: field.convert(item, (*place, number), problems) for number, (field, item) in each}


class _Alias:
    """Converts to what a ``type`` statement names. It is resolved at first use: it may be recursive."""

    def __init__(self, kind: Any, text: bool) -> None:
        self._kind = kind
        self._text = text

    @functools.cached_property
    def _meant(self) -> _Converter:
        given = given_for(self._kind, self._kind.__type_params__)
        return _converter(filled(self._kind.__value__, given), self._text)

    def convert(self, value: Any, place: Place, problems: _Problems) -> Any:
        return self._meant(value, place, problems)


def _taken(value: Mapping[str, Any], field: _FieldConverter) -> Any:
    return value.getall(field.name) if field.repeated and isinstance(value, MultiMap) else value[field.name]


def _is_list(kind: Any) -> bool:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in AROUND and arguments:
        return _is_list(arguments[0])
    if origin is typing.Union or origin is types.UnionType:
        return any(map(_is_list, arguments))
    return (origin or kind) in _LISTS


def _plain(value: Any, kind: Any) -> Any:
    """Return a query or a form as a dictionary, for msgspec and pydantic."""
    if not isinstance(value, MultiMap):
        return value
    lists = {name for name, hint in hints_of(kind).items() if _is_list(hint)}
    lists |= {alias for name, alias in _aliases(typing.get_origin(kind) or kind).items() if name in lists}
    return {name: value.getall(name) if name in lists else value[name] for name in value}


def _aliases(kind: Any) -> dict[str, Any]:
    """Return the names that fields of pydantic and msgspec have in data, by those that they have in the class."""
    if hasattr(kind, "__struct_fields__"):
        return dict(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    fields = getattr(kind, "model_fields", {})
    return {name: alias for name in fields if isinstance(alias := fields[name].validation_alias, str)}


def _by_pydantic(kind: Any, refused: Any, value: Any, place: Place, problems: _Problems) -> Any:
    try:
        return kind.model_validate(_plain(value, kind))
    except refused as error:
        for found in error.errors(include_url=False, include_context=False, include_input=False):
            problems.tell((*place, *found["loc"]), found["msg"])


def _by_msgspec(kind: Any, msgspec: Any, text: bool, value: Any, place: Place, problems: _Problems) -> Any:
    try:
        return msgspec.convert(_plain(value, kind), kind, strict=not text, str_keys=True)
    except UnicodeEncodeError:  # JSON can have one, as an escape; msgspec has UTF-8
        problems.tell(place, "holds a lone surrogate, which is no character")
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `")
        steps = re.findall(r"\.([^.\[\]`]+)|\[([0-9]+|\.\.\.)\]", where)
        problems.tell(
            (*place, *(name or (int(number) if number.isdigit() else number) for name, number in steps)), reason
        )
