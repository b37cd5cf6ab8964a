"""What an answer can be: how far it has come, how its end is told, and where its bytes go.

Owns the words that `writer` decides with; it decides nothing itself.
"""

import enum
import inspect
from typing import Any, Protocol

from .errors import ContractError
from .sending import Outgoing
from .service import Service
from .wire.body import ChunkedDecoder
from .wire.request import Request

__all__ = ["Buffer", "Framing", "Sink", "State", "to_bytes"]

Buffer = bytes | bytearray | memoryview


class State(enum.Enum):
    """How far an answer has come."""

    START = "no head has been given"
    HELD = "the head is known, nothing has left"
    SENT = "the head has left"
    DONE = "complete, or given up"


class Framing(enum.Enum):
    """How the end of the content is told, RFC 9112 section 6."""

    AUTO = "not decided yet"
    LENGTH = "Content-Length of the handler"
    CHUNKED = "chunked by us"
    MANUAL = "chunked by the handler"
    CLOSE = "by closing, for HTTP/1.0"
    NONE = "there is none: 204, 205, 304, 2xx to CONNECT"


class Sink(Protocol):
    """Where the bytes go: the connection."""

    out: Outgoing
    service: Service

    @property
    def persists(self) -> bool:
        """Whether another request may follow, as far as the connection knows."""

    @property
    def lost(self) -> bool:
        """Whether the peer can no longer be written to."""

    async def writable(self) -> None: ...
    async def wait_closed(self) -> None: ...
    def continued(self) -> None: ...
    def check_chunks(self) -> ChunkedDecoder: ...
    def set_timeout(self, seconds: float) -> None: ...
    def report(self, error: BaseException, request: Request) -> None: ...
    def cut(self, *, reset: bool) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


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
