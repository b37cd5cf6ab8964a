"""The fields of dataclasses, TypedDict and NamedTuple: their names, their types, and which of them must be given.

Owns what `typed` knows of such a class. Types of generic classes are filled in: of ``Page[Note]`` the field
``items: list[T]`` has the type ``list[Note]``.
"""

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

__all__ = [
    "AROUND", "Field", "fields_of", "filled", "given_for", "has_fields", "hints_of", "is_named_tuple", "stands_for",
]  # fmt: skip

# Qualifiers around a type, which do not change its values; ReadOnly exists from Python 3.13 on.
AROUND = (typing.Annotated, typing.Required, typing.NotRequired, typing.Final, getattr(typing, "ReadOnly", None))


class Field(NamedTuple):
    """A field of a class.

    Attributes:
        name: as in the data.
        kind: its type.
        required: the data must have it.
    """

    name: str
    kind: Any
    required: bool


def has_fields(kind: Any) -> bool:
    """Whether a class is a dataclass, a TypedDict or a NamedTuple."""
    return isinstance(kind, type) and (
        dataclasses.is_dataclass(kind) or typing.is_typeddict(kind) or is_named_tuple(kind)
    )


def is_named_tuple(kind: Any) -> bool:
    """Whether a class is a NamedTuple."""
    return isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields")


def fields_of(kind: Any) -> list[Field]:
    """Return the fields that data can give, in their order.

    Args:
        kind: a class for which `has_fields` is true; a generic one may have arguments, ``Page[Note]``.

    Raises:
        TypeError: the types of a generic class cannot be filled in.
    """
    cls = typing.get_origin(kind) or kind
    hints = hints_of(kind)
    if typing.is_typeddict(cls):
        return [Field(name, hint, _is_required_key(cls, name, hint)) for name, hint in hints.items()]
    if is_named_tuple(cls):
        return [Field(name, hints.get(name, Any), name not in cls._field_defaults) for name in cls._fields]
    return [*_fields_of_dataclass(cls, hints), *_parameters_of_dataclass(cls, hints)]


def _fields_of_dataclass(cls: Any, hints: dict[str, Any]) -> Iterator[Field]:
    unset = dataclasses.MISSING
    for field in dataclasses.fields(cls):
        if field.init:
            yield Field(field.name, hints[field.name], field.default is unset and field.default_factory is unset)


def _parameters_of_dataclass(cls: Any, hints: dict[str, Any]) -> Iterator[Field]:
    """Those with ``InitVar``: ``__post_init__`` gets them, and ``dataclasses.fields`` does not have them."""
    for name, hint in hints.items():
        if isinstance(hint, dataclasses.InitVar):
            yield Field(name, hint.type, not hasattr(cls, name))


def _is_required_key(cls: Any, name: str, hint: Any) -> bool:
    """If annotations are text (``from __future__ import annotations``), __required_keys__ knows the class only."""
    words = set(_around(hint))
    return typing.Required in words or (name in cls.__required_keys__ and typing.NotRequired not in words)


def _around(hint: Any) -> Iterator[Any]:
    """What stands around a type: Annotated, Required and so on."""
    while (arguments := typing.get_args(hint)) and (origin := typing.get_origin(hint)) in AROUND:
        yield origin
        hint = arguments[0]


# Generic classes.


def hints_of(kind: Any) -> dict[str, Any]:
    """Return the types of all annotations of a class, those of its bases included."""
    cls = typing.get_origin(kind) or kind
    hints = typing.get_type_hints(cls, include_extras=True)
    for base in vars(cls).get("__orig_bases__", cls.__bases__):  # class Notes(Page[Note])
        origin = typing.get_origin(base) or base
        if has_fields(origin):
            generic = typing.get_type_hints(origin, include_extras=True)
            inherited = hints_of(base).items()
            hints |= {name: hint for name, hint in inherited if hints.get(name) == generic.get(name)}
    given = given_for(kind, getattr(cls, "__parameters__", ()))
    return {name: filled(hint, given) for name, hint in hints.items()}


def given_for(kind: Any, parameters: tuple[Any, ...]) -> dict[Any, Any]:
    """Return the arguments of a generic type by its parameters: none for ``Page``, ``{T: Note}`` for ``Page[Note]``.

    Raises:
        TypeError: a parameter stands for several types.
    """
    arguments = typing.get_args(kind)
    if arguments and not all(isinstance(parameter, TypeVar) for parameter in parameters):
        raise TypeError(f"data cannot be converted to {kind!r}")
    return dict(zip(parameters, arguments, strict=False))


def filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """Return a type with other types in place of its parameters; those that are not given stay."""
    if isinstance(hint, TypeVar):
        return given.get(hint, hint)
    if isinstance(hint, dataclasses.InitVar):
        return dataclasses.InitVar(filled(hint.type, given))
    parameters = getattr(hint, "__parameters__", ())
    if not given or not parameters or typing.get_origin(hint) is None:
        return hint
    return hint[tuple(given.get(parameter, parameter) for parameter in parameters)]


def stands_for(parameter: TypeVar) -> Any:
    """Return the type of a parameter for which none is given: its default, its constraints, its bound, or any."""
    has_default: Any = getattr(parameter, "has_default", None)  # from Python 3.13 on
    if has_default is not None and has_default():
        return parameter.__default__  # type: ignore[attr-defined, unused-ignore]
    if parameter.__constraints__:
        return typing.Union[parameter.__constraints__]  # noqa: UP007  # of a tuple
    return Any if parameter.__bound__ is None else parameter.__bound__
