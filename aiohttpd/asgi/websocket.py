"""WebSocketExchange: ``receive`` and ``send`` of one WebSocket of an ASGI application.

Owns the messages ``websocket.*``, those of the extension ``websocket.http.response``, and their order. Frames, limits,
pings and deadlines are in `handlers.websocket`.
"""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..engine.answer import ResponseState
from ..engine.error_body import error_fields
from ..engine.response import StreamWriter
from ..errors import ClientDisconnected, ConnectionClosed, ContractError
from ..wire.headers import list_elements
from ..wire.request import Request
from .http import HTTPExchange, Message

if TYPE_CHECKING:
    from ..handlers.websocket.handshake import Handshake
    from ..handlers.websocket.websocket import WebSocket

__all__ = ["WebSocketExchange", "wants_websocket"]

_DENIAL = "websocket.http.response."


def wants_websocket(request: Request) -> bool:
    """Whether a request asks for an upgrade to a WebSocket. `Handshake` checks it further."""
    return request.method == "GET" and "websocket" in list_elements((request.upgrade or "").lower())


class WebSocketExchange:
    """The ``receive`` and ``send`` of one WebSocket.

    Args:
        request: the request.
        response: its response.
        handshake: the checked handshake.

    Attributes:
        told_gone: the application has got ``websocket.disconnect``, or an exception that says so.
    """

    def __init__(self, request: Request, response: StreamWriter, handshake: "Handshake") -> None:
        self._request = request
        self._response = response
        self._handshake = handshake
        self._socket: WebSocket | None = None  # set when the application has accepted it
        self._denial: HTTPExchange | None = None  # takes a denial response
        self._denied = False  # a denial response has begun
        self._answered = asyncio.Event()
        self._connected = False  # the application has received websocket.connect
        self._closes = False  # the application has sent websocket.close
        self.told_gone = False

    # Called by the application.

    async def receive(self) -> Message:
        """Return the next event: ``websocket.connect``, ``.receive`` or ``.disconnect``."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._socket is None and not self._denied:
            await self._wait_for_answer()  # no event can follow connect before the response
        socket = self._socket
        if socket is None:
            return self._gone(1006, "")
        try:
            message = await socket.receive()
        except ConnectionClosed as error:
            return self._gone(error.code, error.reason)
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def _wait_for_answer(self) -> None:
        """Wait until another task has responded to the handshake, or the client has disconnected."""
        gone = asyncio.ensure_future(self._response.wait_closed())
        answered = asyncio.ensure_future(self._answered.wait())
        try:
            await asyncio.wait([gone, answered], return_when=asyncio.FIRST_COMPLETED)
        finally:
            gone.cancel()
            answered.cancel()

    def _gone(self, code: int, reason: str) -> Message:
        self.told_gone = True
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    async def send(self, message: Message) -> None:
        """Take an event of the application: accept, send a message, close, or send a denial response.

        Raises:
            ClientDisconnected: the WebSocket is closed; it is an OSError, as the specification requires.
            ContractError: the event is not allowed in this state; the message says which one is expected.
            TypeError: a value has a wrong type.
            ValueError: a field, subprotocol, code or reason is not valid.
        """
        kind: str = message["type"]
        if kind == "websocket.send" and self._socket is not None:
            content = _content(message)
            if self._closes:
                raise ContractError("'websocket.send' was sent after websocket.close")
            try:
                await self._socket.send(content)
            except ConnectionClosed:
                self.told_gone = True
                raise
        elif kind.startswith(_DENIAL):
            await self._deny(kind, message)
        elif self._denied:
            raise ContractError(f"{kind!r} was sent after the handshake has been denied")
        elif self._socket is None:
            self._answer(kind, message)
        elif kind == "websocket.close":
            await self._close(self._socket, message)
        else:
            raise ContractError(f"{kind!r} was sent where websocket.send or websocket.close is due")

    # Internals.

    def _answer(self, kind: str, message: Message) -> None:
        """Respond to the handshake."""
        if self._response.is_closing():
            self.told_gone = True
            raise ClientDisconnected("the client is gone")
        if kind == "websocket.accept":
            headers = _pairs(message.get("headers", ()))
            self._socket = self._handshake.accept(subprotocol=message.get("subprotocol"), headers=headers)
            self._answered.set()
        elif kind == "websocket.close":
            self._denied = self._response.close_connection = True
            self._response.send_head(403, error_fields("text/plain; charset=utf-8"))
            self._response.write(b"Forbidden\n")
            self._response.end()
            self._answered.set()
        else:
            raise ContractError(f"{kind!r} was sent where websocket.accept, websocket.close or {_DENIAL}start is due")

    async def _deny(self, kind: str, message: Message) -> None:
        """Take a part of a denial response; the connection is closed after it."""
        if self._socket is not None:
            raise ContractError(f"{kind!r} was sent after websocket.accept")
        if self._denial is None:
            if self._denied:
                raise ContractError(f"{kind!r} was sent after websocket.close")
            self._denial = HTTPExchange(self._request, self._response)
            self._response.close_connection = True
        await self._denial.send({**message, "type": kind.removeprefix("websocket.")})
        self._denied = True
        self._answered.set()

    async def _close(self, socket: "WebSocket", message: Message) -> None:
        if self._closes:
            raise ContractError("'websocket.close' was sent twice")
        self._closes = True
        await socket.close(message.get("code", 1000), message.get("reason") or "")

    # Called by `Host` when the application has ended.

    async def end(self) -> None:
        """The application has returned: close the WebSocket.

        Raises:
            ContractError: there is no response to the handshake, or a denial response is incomplete.
        """
        if self._socket is not None:
            await self._socket.close()
        elif self._denied:
            if self._response.state is not ResponseState.DONE:
                raise ContractError(f"the ASGI application returned before its last {_DENIAL}body")
        elif not self.told_gone:
            raise ContractError("the ASGI application returned without an answer to the handshake: no websocket.accept")

    async def fail(self, error: BaseException) -> bool:
        """The application has raised: close with 1011; or with 1001, without waiting, if it was cancelled.

        Returns:
            Whether the close is complete, so that the error only has to be logged.
        """
        if self._socket is None:
            return False
        if isinstance(error, Exception):
            await self._socket.close(1011)
            return True
        self._socket.abandon(1001)
        return False


def _content(message: Message) -> Any:
    """Return the content of ``websocket.send``.

    Raises:
        TypeError: it has a wrong type.
        ValueError: there is none, or both text and bytes.
    """
    text, data = message.get("text"), message.get("bytes")
    if (text is None) is (data is None):
        raise ValueError("websocket.send has either text or bytes")
    if text is None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"bytes of websocket.send are bytes, not {data!r}")
        return data
    if not isinstance(text, str):
        raise TypeError(f"text of websocket.send is str, not {text!r}")
    return text


def _pairs(headers: Iterable[Iterable[bytes]]) -> list[tuple[str, str]]:
    """Return the ``headers`` of ``websocket.accept`` as text.

    Raises:
        TypeError: they are not pairs of bytes.
        ValueError: one is Sec-WebSocket-Protocol, which is given by ``subprotocol``.
    """
    pairs = []
    for name, value in headers:
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise TypeError(f"headers are pairs of bytes, not ({name!r}, {value!r})")
        if name.lower() == b"sec-websocket-protocol":
            raise ValueError("the subprotocol is given by 'subprotocol' of websocket.accept, not by a field")
        pairs.append((str(name, "latin-1"), str(value, "latin-1")))
    return pairs
