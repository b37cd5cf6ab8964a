"""Checks of handler classes, and their error messages.

Owns checks that run when a class is defined, or after an error. None runs for a request that succeeds.
"""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, Generic, TypeVar, overload

from ..errors import ContractError

__all__ = ["Lazy", "check_async", "check_class", "check_plain", "explain_init", "inherits", "json_text"]

_REFUSED = {
    "handle": "the connection serves requests one after the other; override do_GET and its like",
    "handle_one_request": "the connection serves requests one after the other; override do_GET and its like",
    "parse_request": "requests are parsed before a handler exists; look at self.request in setup()",
}

# Methods that are called without await.
_SYNCHRONOUS = frozenset(
    (
        "handle_expect_100", "send_response", "send_response_only", "send_header", "end_headers", "flush_headers",
        "send_error", "error_body", "log_request", "log_error", "log_message", "version_string", "date_time_string",
        "log_date_time_string", "address_string",
    )
)  # fmt: skip

T = TypeVar("T")


class Lazy(Generic[T]):
    """An attribute that is computed on first access. It can also be set."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, handler: None, owner: type) -> "Lazy[T]": ...
    @overload
    def __get__(self, handler: object, owner: type) -> T: ...
    def __get__(self, handler: object | None, owner: type) -> "Lazy[T] | T":
        if handler is None:
            return self
        value = self._make(handler)
        setattr(handler, self._name, value)  # not by `__dict__`: attributes of an object that has one are slower
        return value


@functools.cache
def json_text() -> ModuleType:
    """The module `json_text`, imported with the first use of JSON."""
    from . import json_text as module

    return module


def inherits(cls: type, base: type, *names: str) -> bool:
    """Whether a class has the attributes with these names from a base class, and overrides none of them."""
    return all(getattr(cls, name) is getattr(base, name) for name in names)


def check_class(cls: type) -> None:
    """Check the methods that a handler class defines.

    Raises:
        TypeError: it overrides a method that is never called; or a method is a plain function and must be a coroutine
            function, or the other way round.
    """
    for name, value in vars(cls).items():
        if name in _REFUSED:
            raise TypeError(f"{cls.__qualname__}.{name} cannot be overridden: {_REFUSED[name]}")
        if callable(value) and name in ("setup", "finish"):
            check_async(f"{cls.__qualname__}.{name}", value)
        if name in _SYNCHRONOUS:
            check_plain(f"{cls.__qualname__}.{name}", value)


def check_async(name: str, method: Any) -> None:
    """Check that a method is a coroutine function.

    Raises:
        TypeError: it is not; the message says what to write.
    """
    if not inspect.iscoroutinefunction(method):
        raise TypeError(
            f"{name} is a plain function: write 'async def', or wrap it in a function that is 'async def' "
            "if a decorator hides that it is one"
        )


def check_plain(name: str, method: Any) -> None:
    """Check that a method is not a coroutine function.

    Raises:
        TypeError: it is one; the message says what to write.
    """
    if inspect.iscoroutinefunction(getattr(method, "__func__", method)):
        raise TypeError(f"{name} is called without await: write 'def', not 'async def'")


def explain_init(cls: type, error: TypeError) -> None:
    """Explain a TypeError that was raised when an instance was made.

    Raises:
        ContractError: ``__init__`` does not take the request and the response; the message says what to write.
    """
    try:
        inspect.signature(cls).bind(None, None)
    except TypeError:
        raise ContractError(
            f"{cls.__qualname__}.__init__ does not take what it is given ({error}): write "
            "'def __init__(self, *args, **kwargs)' and 'super().__init__(*args, **kwargs)'"
        ) from None
