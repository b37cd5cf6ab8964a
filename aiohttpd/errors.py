"""Every exception of the package, in one place.

::

    Exception
    ├── HTTPError                 an answer by its status; raise it from anywhere in a handler
    │   ├── MissingField          400, a field that a handler wants is not there; a KeyError, too
    │   ├── InvalidData           422, data of the client does not fit the type that a handler wants
    │   └── WireError             the peer broke a rule of RFC 9110/9112 or a limit; knows its status
    │       ├── ContentTooLarge   413, the body is larger than its limit
    │       ├── IncompleteBody    400, the peer closed in the middle of a body
    │       └── BodyTimeout       408, the body came too slowly
    ├── ConnectionResetError
    │   └── ClientDisconnected    nobody is there any more to read the answer
    ├── TLSError                  a certificate or its key cannot be used
    └── RuntimeError
        └── ContractError         a handler used the contract wrongly; the text says what to do
            └── WriteBufferFull   written far ahead of a slow peer without ``await drain()``

This module knows nothing of the rest of the package.
"""

import copyreg
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

__all__ = [
    "BodyTimeout",
    "ClientDisconnected",
    "ContentTooLarge",
    "ContractError",
    "HTTPError",
    "IncompleteBody",
    "InvalidData",
    "MissingField",
    "Problem",
    "TLSError",
    "WireError",
    "WriteBufferFull",
    "meant_by",
]


class HTTPError(Exception):
    """An answer by its status code, from anywhere in a handler.

    The handler's ``send_error`` makes the page, so ``error_message_format`` counts.

    Args:
        status: the status code, 400 to 599.
        message: one line for the status line and the page; by default the standard phrase.
        explain: a longer text for the page; by default ``detail`` if that is text, else the standard description.
        detail: more about it, for who answers for errors in a form of their own: anything that JSON has.
        headers: ``(name, value)`` pairs, or a mapping, to send with it, ``Allow`` or ``WWW-Authenticate`` say.
    """

    def __init__(
        self,
        status: int,
        message: str | None = None,
        explain: str | None = None,
        *,
        detail: Any = None,
        headers: Iterable[tuple[str, str]] | Mapping[str, str] = (),
    ) -> None:
        super().__init__(status, message, explain)
        self.status = status
        self.message = message
        self.explain = detail if explain is None and isinstance(detail, str) else explain
        self.detail = detail
        self.headers: tuple[tuple[str, str], ...] = tuple(headers.items() if isinstance(headers, Mapping) else headers)

    def __reduce__(self) -> tuple[Any, ...]:  # without __init__, whose arguments classes below choose themselves
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"{self.status} {self.message or ''}".rstrip()


class MissingField(HTTPError, KeyError):
    """A form or a query has no such field: 400, if nobody catches it."""

    def __init__(self, name: str) -> None:
        super().__init__(400, None, f"the field {name!r} is missing")


class Problem(NamedTuple):
    """What does not fit in data of a client.

    Attributes:
        place: names and numbers that lead to it, from the outermost to the innermost; empty for all of the data.
        reason: what is wrong with it, such as ``is missing``.
    """

    place: tuple[str | int, ...]
    reason: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.place)) or 'the data'} {self.reason}"


class InvalidData(HTTPError):
    """Data of the client does not fit the type that a handler wants: 422, if nobody catches it.

    Attributes:
        problems: all of them, up to 20.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(422, None, "; ".join(map(str, self.problems)))
        self.args = (self.problems,)


class WireError(HTTPError):
    """The peer broke a rule of the protocol, or went over a limit.

    After it nothing more is parsed on the connection: one answer with the status, then close.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, None, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status} {self.reason}"


class ContentTooLarge(WireError):
    """The body is larger than ``limit_body``, or than the handler's ``max_body_size``."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is larger than {limit} bytes")


class IncompleteBody(WireError):
    """The peer closed its side before the body was complete."""

    def __init__(self) -> None:
        super().__init__(400, "the body ended before it was complete")


class BodyTimeout(WireError):
    """The body came more slowly than ``min_rate`` for ``timeout_body`` seconds."""

    def __init__(self) -> None:
        super().__init__(408, "the body came too slowly")


class TLSError(Exception):
    """A certificate or its key cannot be used; the text says which and why, in one line."""


class ClientDisconnected(ConnectionResetError):
    """The peer is gone; what is written now reaches nobody."""


class ContractError(RuntimeError):
    """A handler used the contract wrongly; the text says what to do instead."""


class WriteBufferFull(ContractError):
    """More than ``limit_unsent`` bytes wait for a peer that does not read."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes wait to be sent: put 'await self.wfile.drain()' between writes")


def meant_by(error: BaseException) -> BaseException:
    """What an exception comes to: of a group in which there is nothing but answers and cancellations, the first answer.

    A group of tasks raises such a group (of groups) for ``raise HTTPError(404)`` in one of them. Where a client has
    gone and there is no other error, that is what it comes to.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    fatal = (SystemExit, KeyboardInterrupt, GeneratorExit)  # what else is no Exception is a cancellation
    leaves = [leaf for leaf in _leaves(error) if isinstance(leaf, (Exception, *fatal))]
    if not leaves or not all(isinstance(leaf, (HTTPError, ClientDisconnected)) for leaf in leaves):
        return error
    return next((leaf for leaf in leaves if isinstance(leaf, HTTPError)), leaves[0])


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting += reversed(error.exceptions)
        else:
            yield error
