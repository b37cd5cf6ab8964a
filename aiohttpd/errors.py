"""The exceptions of the package.

::

    Exception
    ├── HTTPError                 answer with a status code; a handler may raise it anywhere
    │   ├── MissingField          400, a form or query has no such field; it is also a KeyError
    │   ├── InvalidData           422, data of the client does not fit the type that a handler wants
    │   └── WireError             the client broke a rule of RFC 9110 or 9112, or exceeded a limit
    │       ├── ContentTooLarge   413, the request body is larger than its limit
    │       ├── IncompleteBody    400, the client closed the connection within the body
    │       └── BodyTimeout       408, the request body arrived too slowly
    ├── ConnectionResetError, BrokenPipeError
    │   └── ClientDisconnected    the client has closed the connection
    │       └── ConnectionClosed  a WebSocket is closed; it knows code and reason
    ├── TLSError                  a certificate or its key cannot be used
    └── RuntimeError
        ├── StartupFailed         an ASGI application says at its start that it cannot serve
        └── ContractError         a handler used an API wrongly; the text says what to do
            └── WriteBufferFull   a handler has written too much without ``await drain()``

It imports nothing else of the package.
"""

import copyreg
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

__all__ = [
    "BodyTimeout",
    "ClientDisconnected",
    "ConnectionClosed",
    "ContentTooLarge",
    "ContractError",
    "HTTPError",
    "IncompleteBody",
    "InvalidData",
    "MissingField",
    "Problem",
    "StartupFailed",
    "TLSError",
    "WireError",
    "WriteBufferFull",
    "meant_by",
    "shortened",
]


class HTTPError(Exception):
    """Ends a handler with an error response.

    ::

        raise HTTPError(404, explain="no such article")
        raise HTTPError(405, headers={"Allow": "GET, HEAD"})

    The page is made by the handler's ``send_error``, from its ``error_message_format``.

    Args:
        status: the status code, 400 to 599.
        message: the reason phrase of the status line, also shown on the page; by default the standard phrase.
        explain: a longer text for the page; by default ``detail`` if that is text, else the standard description.
        detail: more about the error, any value that JSON has, for functions that answer for errors in their own form.
        headers: header fields of the response, as ``(name, value)`` pairs or a mapping.

    Raises:
        TypeError: the status is no number; or the message, or explain, is no text.

    Attributes:
        status, message, explain, detail: as given.
        headers: the fields as a tuple of pairs.
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
        if not isinstance(status, int):
            raise TypeError(f"the status is {status!r}: write it as a number, HTTPError(404, explain='...')")
        for name, text in (("message", message), ("explain", explain)):
            if text is not None and not isinstance(text, str):
                raise TypeError(
                    f"the {name} of an error is text, not {type(text).__name__}: write str(...), or detail=..., "
                    "which takes any value"
                )
        super().__init__(status, message, explain)
        self.status = status
        self.message = message
        self.explain = detail if explain is None and isinstance(detail, str) else explain
        self.detail = detail
        self.headers: tuple[tuple[str, str], ...] = tuple(headers.items() if isinstance(headers, Mapping) else headers)

    def __reduce__(self) -> tuple[Any, ...]:  # without __init__, since subclasses have other arguments
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        return f"{self.status} {self.message or ''}".rstrip()


class MissingField(HTTPError, KeyError):
    """A form or a query has no such field; the answer is 400 if a handler does not catch it.

    Args:
        name: the name of the field.
    """

    def __init__(self, name: str) -> None:
        super().__init__(400, None, f"the field {name!r} is missing")


class Problem(NamedTuple):
    """What does not fit in data of a client.

    Attributes:
        place: names and numbers that lead to it, from the outermost to the innermost; empty for all of the data.
        reason: what is wrong with it, such as ``is missing``: it follows the place. Libraries give whole sentences.
    """

    place: tuple[str | int, ...]
    reason: str

    def __str__(self) -> str:
        place = ".".join(map(str, self.place)) or "the data"
        is_sentence = self.reason[:1].isupper()
        return f"{place}: {self.reason}" if is_sentence else f"{place} {self.reason}"


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
    """The client broke a rule of the protocol, or exceeded a limit.

    The connection is closed after the answer, and nothing more is parsed on it.

    Args:
        status: the status code of the answer.
        reason: what is wrong; the page shows it.

    Attributes:
        reason: as given.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, None, reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.status} {self.reason}"


class ContentTooLarge(WireError):
    """The request body is larger than ``limit_body``, or than ``max_body_size`` of the handler: 413.

    Args:
        limit: that limit in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the body is larger than {limit} bytes")


class IncompleteBody(WireError):
    """The client closed its side of the connection before the request body was complete: 400."""

    def __init__(self) -> None:
        super().__init__(400, "the body ended before it was complete")


class BodyTimeout(WireError):
    """For ``timeout_body`` seconds the request body arrived more slowly than ``min_rate``: 408."""

    def __init__(self) -> None:
        super().__init__(408, "the body arrived too slowly")


class TLSError(Exception):
    """A certificate or its key cannot be used. The text names the file and the reason, in one line."""


class StartupFailed(RuntimeError):
    """An ASGI application has said ``lifespan.startup.failed``; the text is its message."""


class ClientDisconnected(ConnectionResetError, BrokenPipeError):
    """The client has closed the connection, so nothing more can be sent or received.

    A socket raises one or the other, depending on how the client has closed it; handlers may catch either.
    """


class ConnectionClosed(ClientDisconnected):
    """A WebSocket is closed: nothing more is received, and nothing can be sent.

    Attributes:
        code: the code of the first Close frame; 1005 if it had none, 1006 if the connection was lost without one
            (RFC 6455 section 7.4).
        reason: the reason in that frame; may be empty.
        by_client: whether the client has closed it, or is gone; False if this side has closed it.
    """

    def __init__(self, code: int, reason: str = "", *, by_client: bool) -> None:
        side = "client" if by_client else "server"
        super().__init__(f"the WebSocket was closed by the {side}: {code}{' ' if reason else ''}{reason}")
        self.code = code
        self.reason = reason
        self.by_client = by_client

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    @property
    def normal(self) -> bool:
        """Whether it is an end that was to be expected: 1000, 1001, or no code."""
        return self.code in (1000, 1001, 1005)


class ContractError(RuntimeError):
    """A handler used an API wrongly: two heads, a body longer than promised. The text says what to do instead."""


class WriteBufferFull(ContractError):
    """More than ``limit_unsent`` bytes wait for a client that reads slowly; the connection is aborted.

    Args:
        limit: that limit in bytes.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes wait to be sent: put 'await self.wfile.drain()' between writes")


def meant_by(error: BaseException) -> BaseException:
    """The exception that decides the answer, for an exception that may be a group.

    A ``TaskGroup`` raises a group, also for a single ``raise HTTPError(404)`` in one of its tasks. If a group, its
    subgroups included, has only `HTTPError`, `ClientDisconnected` and cancellations, this is its first `HTTPError`, or
    else its first `ClientDisconnected`. Any other group, and an exception that is no group, is returned as it is.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    fatal = (SystemExit, KeyboardInterrupt, GeneratorExit)  # all others are cancellations
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


def shortened(text: str, most: int) -> str:
    """Return text for a message; what is longer than ``most`` characters ends in dots. Clients choose some of it."""
    return text if len(text) <= most else f"{text[:most]}..."
