"""WebSocketBlock: the context manager of ``async with self.websocket()`` in a handler.

It sends the handshake when the block begins, and closes the WebSocket when the block ends.
"""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ...engine.interfaces import ResponseWriter
from ...errors import ClientDisconnected, ContractError, meant_by
from ...wire.request import Request
from .handshake import Handshake
from .websocket import WebSocket

__all__ = ["WebSocketBlock"]

_USAGE = "a WebSocket is used in a block: write 'async with self.websocket() as socket:' in an 'async def do_GET'"


class Opener(Protocol):
    """The handler that opens the WebSocket."""

    request: Request
    max_message_size: int | None
    websocket_origins: ClassVar[Iterable[str]]

    @property
    def wfile(self) -> ResponseWriter: ...
    def head_fields(self) -> list[tuple[str, str]]: ...


class WebSocketBlock:
    """An asynchronous context manager that opens and closes a WebSocket; see `BaseHTTPRequestHandler.websocket`."""

    def __init__(
        self,
        handler: Opener,
        subprotocols: Iterable[str],
        origins: Iterable[str] | None,
        headers: Iterable[tuple[str, str]] | Mapping[str, str],
        *,
        compression: bool,
    ) -> None:
        self._handler = handler
        self._subprotocols = _several(subprotocols)
        self._origins = _several(handler.websocket_origins if origins is None else origins)
        more = headers.items() if isinstance(headers, Mapping) else headers
        self._settings: dict[str, Any] = {
            "headers": [*handler.head_fields(), *more],
            "compression": compression,
            "max_message_size": handler.max_message_size,
        }
        self._socket: WebSocket | None = None

    async def __aenter__(self) -> WebSocket:
        handshake = Handshake(self._handler.request, self._handler.wfile, origins=self._origins)
        self._socket = handshake.accept(subprotocol=handshake.choose(self._subprotocols), **self._settings)
        return self._socket

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close with 1000 (normal), 1001 (going away) if the block was cancelled, or 1011 (error) if it has raised."""
        socket = self._socket
        assert socket is not None
        meant = error and meant_by(error)
        if meant is None:
            await socket.close()
        elif isinstance(meant, ClientDisconnected):
            socket.abandon(1001)  # usually it is closed already; but the exception may be about another connection
        elif isinstance(meant, Exception):
            await socket.close(1011)
        else:
            socket.abandon(1001)  # cancelled, or the program ends: do not wait for the client

    def __enter__(self) -> WebSocket:
        raise ContractError(_USAGE)

    def __exit__(self, *_: object) -> None:
        """Never called, since `__enter__` raises."""

    if not TYPE_CHECKING:  # type checkers shall find that it has none of these

        def __await__(self):
            raise ContractError(_USAGE)

        def __aiter__(self):
            raise ContractError(_USAGE)

        def __getattr__(self, name):
            raise AttributeError(f"no {name!r} here: {_USAGE}", name=name, obj=self)


def _several(values: Iterable[str]) -> list[str]:
    """Return the values as a list; a single string is one value."""
    return [values] if isinstance(values, str) else list(values)
