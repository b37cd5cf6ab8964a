"""Block: what ``async with self.websocket()`` runs in.

Owns the beginning of a WebSocket in a handler, and what the end of the block means for it.
"""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Protocol

from ...engine.interfaces import ResponseWriter
from ...errors import ClientDisconnected, ContractError, meant_by
from ...wire.request import Request
from .handshake import Handshake
from .websocket import WebSocket

__all__ = ["WebSocketBlock"]


class Opener(Protocol):
    """The handler."""

    request: Request
    max_message_size: int | None
    websocket_origins: Iterable[str]

    @property
    def wfile(self) -> ResponseWriter: ...
    def head_fields(self) -> list[tuple[str, str]]: ...


class WebSocketBlock:
    """An asynchronous context manager that opens a WebSocket, and closes it; see ``websocket`` of the handler."""

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
        """Close: 1000 after the block, 1001 if it has been cancelled, 1011 if it has raised."""
        socket = self._socket
        assert socket is not None
        meant = error and meant_by(error)
        if meant is None:
            await socket.close()
        elif isinstance(meant, ClientDisconnected):
            socket.abandon(1001)  # it is closed; but if that was the end of another connection
        elif isinstance(meant, Exception):
            await socket.close(1011)
        else:
            socket.abandon(1001)  # cancelled, or the program ends: nothing is waited for

    def __enter__(self) -> WebSocket:
        raise ContractError("a WebSocket wants 'async with self.websocket()' in an 'async def do_GET'")

    def __exit__(self, *_: object) -> None:
        """There is none."""


def _several(values: Iterable[str]) -> list[str]:
    """The values; text is one of them."""
    return [values] if isinstance(values, str) else list(values)
