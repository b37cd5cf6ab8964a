"""What an answer can be, how far it has come, and what is checked of its content.

Owns the words that `response` decides with; it decides nothing itself.
"""

import enum
import inspect
from typing import Any, NamedTuple, Protocol

from ..errors import ContractError, WireError
from ..wire.body import ChunkedDecoder

__all__ = [
    "Buffer",
    "Cancelling",
    "Cause",
    "HasFileno",
    "Preludes",
    "PreparedResponse",
    "ResponseState",
    "check_chunks",
    "check_length",
    "to_bytes",
]

Buffer = bytes | bytearray | memoryview


class HasFileno(Protocol):
    """An open file."""

    def fileno(self) -> int: ...


class ResponseState(enum.Enum):
    """How far an answer has come."""

    START = "no head has been given"
    HELD = "the head is known, nothing has left"
    SENT = "the encoder has been given the head, and content"
    UPGRADED = "the head has left, and another protocol is spoken after it"
    DONE = "complete, or given up"


class Cause(enum.Enum):
    """Why we have cancelled a handler."""

    DEADLINE = "it has not begun its answer within timeout_handler"
    DISCONNECT = "its client has gone, and it has asked for that"
    SHUTDOWN = "the server stops, and the grace is over"


class PreparedResponse(NamedTuple):
    """An answer that an App has in memory, whole: no task, no handler and no writer is made for it.

    A handler class gives them by a class method ``instant(request)``, asked for requests without a body on connections
    that go on. It does not wait, and says None where the answer is not to be had like that.
    """

    status: int
    rest: bytes  # what follows status line, Server and Date: fields, Content-Length, empty line, content
    size: int  # bytes of content

    @property
    def aborted(self) -> bool:
        """It leaves at once, if anybody is there."""
        return False


class Cancelling(Protocol):
    """A server that may cancel its handlers."""

    @property
    def cancelling(self) -> bool:
        """The grace is over: who is cancelled now is cancelled by us."""


class Preludes(Cancelling, Protocol):
    """The beginnings of answers, made once a second for all connections."""

    server_field: bytes

    def prelude(self, status: int) -> bytes: ...
    def date_field(self) -> bytes: ...


def to_bytes(data: Any) -> bytes:
    """Copy what a handler writes that is not ``bytes``.

    Raises:
        ContractError: it is a coroutine that somebody forgot to await.
        TypeError: it is text, or no buffer at all.
    """
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if inspect.iscoroutine(data):
        data.close()
        raise ContractError(f"write() got the coroutine {data.__qualname__}(): put 'await' before the call")
    if isinstance(data, str):
        raise TypeError("write() wants bytes, not str: encode the text, 'text.encode()'")
    return bytes(memoryview(data))


def check_length(size: int, length: int) -> None:
    """Hold content to the Content-Length of the handler.

    Raises:
        ContractError: ``size`` bytes are more than ``length``.
    """
    if size > length:
        raise ContractError(
            f"{size} bytes of content, but Content-Length says {length}: "
            "correct it, or leave it out and it is worked out"
        )


def check_chunks(checker: ChunkedDecoder, data: bytes, *, keep: bool) -> bytes:
    """Hold chunks of the handler's own to the grammar.

    Args:
        checker: what has seen the chunks before.
        data: the next bytes.
        keep: let them be; otherwise they are taken apart, for HTTP/1.0, which has none.

    Raises:
        ContractError: they are no chunks, or come after the last one.
    """
    content = bytearray()
    try:
        end = checker.decode(data, 0, content)
    except WireError as error:
        raise ContractError(f"Transfer-Encoding is chunked, but what is written is not: {error.reason}") from None
    if end < len(data):
        raise ContractError("content after the last chunk")
    return data if keep else bytes(content)
