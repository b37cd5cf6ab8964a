"""Types and checks of responses, without I/O: states, causes of cancellation, prepared responses, content checks.

`response` uses them.
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
    """The state of a response."""

    START = "no head has been set"
    HELD = "the head is set; nothing has been given to the encoder"
    SENT = "the encoder has been given the head, and perhaps content"
    UPGRADED = "the head has been sent, and the connection has switched to another protocol"
    DONE = "complete, or aborted"


class Cause(enum.Enum):
    """Why the server has cancelled a handler."""

    DEADLINE = "it has not begun its response within timeout_handler"
    DISCONNECT = "its client has disconnected, and it has set cancel_on_disconnect"
    SHUTDOWN = "the server stops, and the grace period is over"


class PreparedResponse(NamedTuple):
    """A complete response in memory: it is sent without a task, a handler or a `StreamWriter`.

    A handler class returns it from a class method ``instant(request)``, which is called for requests without a body on
    connections that are kept alive. The method must not block; it returns None if the handler has to be called. A
    `Router` passes such requests on to the classes that are mounted in it.
    """

    status: int
    rest: bytes  # everything after status line, Server and Date: fields, Content-Length, empty line, content
    size: int  # bytes of content

    @property
    def aborted(self) -> bool:
        """Always False: it is written by one call."""
        return False


class Cancelling(Protocol):
    """A server that may cancel its handlers."""

    @property
    def cancelling(self) -> bool:
        """The grace period is over: from now on a cancelled handler was cancelled by the server."""


class Preludes(Cancelling, Protocol):
    """Status line, Server and Date of responses, made once a second for all connections."""

    server_field: bytes

    def prelude(self, status: int) -> bytes: ...
    def date_field(self) -> bytes: ...


def to_bytes(data: Any) -> bytes:
    """Copy content that is not ``bytes``.

    Raises:
        ContractError: it is a coroutine: an ``await`` is missing.
        TypeError: it is text, or not a bytes-like object.
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
    """Check content against the Content-Length that the handler has set.

    Raises:
        ContractError: ``size`` bytes are more than ``length``.
    """
    if size > length:
        raise ContractError(
            f"{size} bytes of content, but Content-Length says {length}: "
            "correct it, or leave it out: the server sets it"
        )


def check_chunks(checker: ChunkedDecoder, data: bytes, *, keep: bool) -> bytes:
    """Check the chunks that a handler has written itself, RFC 9112 section 7.1.

    Args:
        checker: the decoder that has checked the chunks before.
        data: the next bytes.
        keep: return the bytes as they are; otherwise return the decoded content, for HTTP/1.0.

    Raises:
        ContractError: the bytes are not valid chunks, or follow the last chunk.
    """
    content = bytearray()
    try:
        end = checker.decode(data, 0, content)
    except WireError as error:
        raise ContractError(f"Transfer-Encoding is chunked, but what is written is not: {error.reason}") from None
    if end < len(data):
        raise ContractError("content after the last chunk")
    return data if keep else bytes(content)
