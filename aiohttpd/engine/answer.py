"""Types and checks of responses, without I/O: states, causes of cancellation, prepared responses, content checks.

`response` uses them.
"""

import enum
import inspect
from dataclasses import dataclass
from typing import Any, Protocol

from ..config import Config
from ..errors import ContractError, WireError
from ..wire.body import ChunkedDecoder
from ..wire.headers import Headers

__all__ = [
    "Buffer",
    "Cause",
    "ChunkChecker",
    "HasFileno",
    "PreparedResponse",
    "ResponseState",
    "check_complete",
    "check_write",
    "to_bytes",
]

_SENDING_FILE = "a file is being sent, or has not been sent to its end: nothing can follow it, so abort() the answer"

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


@dataclass(frozen=True, slots=True)
class PreparedResponse:
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


def check_write(state: ResponseState, size: int, length: int | None, *, sending_file: bool) -> None:
    """Check whether content may be written.

    Args:
        state: the state of the response.
        size: bytes of all content, with what is written now.
        length: the Content-Length that the handler has set; None if it has not.
        sending_file: a file is being sent, or has not been sent to its end.

    Raises:
        ContractError: it may not.
    """
    if state is ResponseState.START:
        raise ContractError("content before the head: call send_response() and end_headers() first")
    if state is ResponseState.UPGRADED:
        raise ContractError("write() after an upgrade: use the writer that upgrade() has returned")
    if state is ResponseState.DONE:
        raise ContractError("write() after the handler has returned, or after end(): the response is complete")
    if sending_file:
        raise ContractError(_SENDING_FILE)
    if length is not None and size > length:
        raise ContractError(
            f"{size} bytes of content, but Content-Length says {length}: "
            "correct it, or leave it out: the server sets it"
        )


class ChunkChecker:
    """Checks the chunks that a handler writes itself, RFC 9112 section 7.1.

    Args:
        config: the options, with the limits of chunks.
    """

    def __init__(self, config: Config) -> None:
        self._decoder = ChunkedDecoder(config, Headers())

    @property
    def complete(self) -> bool:
        """Whether the last chunk has been written."""
        return self._decoder.complete

    def check(self, data: bytes, *, keep: bool) -> bytes:
        """Check the next bytes.

        Args:
            data: the bytes.
            keep: return the bytes as they are; otherwise return the decoded content, for HTTP/1.0.

        Raises:
            ContractError: the bytes are not valid chunks, or follow the last chunk.
        """
        content = bytearray()
        try:
            end = self._decoder.decode(data, 0, content)
        except WireError as error:
            raise ContractError(f"Transfer-Encoding is chunked, but what is written is not: {error.reason}") from None
        if end < len(data):
            raise ContractError("content after the last chunk")
        return data if keep else bytes(content)


def check_complete(size: int, length: int | None, chunks: ChunkChecker | None, *, sending_file: bool) -> None:
    """Check whether all content has been written.

    Args:
        size: bytes of content that have been written.
        length: the Content-Length that the handler has set; None if it has not.
        chunks: has checked the chunks of a handler that chunks its content itself, or None.
        sending_file: a file has not been sent to its end.

    Raises:
        ContractError: content is missing.
    """
    if sending_file:
        raise ContractError(_SENDING_FILE)
    if length is not None and size < length:
        raise ContractError(f"{size} bytes of content, but Content-Length says {length}")
    if chunks is not None and not chunks.complete:
        raise ContractError("Transfer-Encoding is chunked, but the last chunk is missing")
