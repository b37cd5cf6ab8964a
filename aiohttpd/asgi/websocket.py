"""One WebSocket of an application: what its ``receive`` gives, and what its ``send`` does.

Owns the messages ``websocket.*`` and their order, those of the extension ``websocket.http.response`` included. Frames,
limits, pings and deadlines are those of every WebSocket of this server.
"""

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..engine.answer import ResponseState
from ..engine.error_body import error_fields
from ..engine.response import StreamWriter
from ..errors import ClientDisconnected, ConnectionClosed, ContractError
from ..wire.request import Request
from .http import Exchange, Message

if TYPE_CHECKING:
    from ..handlers.websocket.handshake import Handshake
    from ..handlers.websocket.websocket import WebSocket

__all__ = ["WebSocketExchange", "wants_websocket"]

_DENIAL = "websocket.http.response."


def wants_websocket(request: Request) -> bool:
    """Whether a request asks for a WebSocket: what is wrong with its handshake, `Handshake` says."""
    protocols = request.upgrade
    return protocols is not None and "websocket" in protocols.lower() and request.method == "GET"


class WebSocketExchange:
    """A WebSocket as an application sees it by its two callables.

    Args:
        request: the handshake.
        response: its answer.
        handshake: the same, looked at.

    Attributes:
        told_gone: the application has been told that it is closed.
    """

    def __init__(self, request: Request, response: StreamWriter, handshake: "Handshake") -> None:
        self._request = request
        self._response = response
        self._handshake = handshake
        self._socket: WebSocket | None = None  # once the application has accepted it
        self._denial: Exchange | None = None  # takes an answer in its place
        self._denied = False  # there is such an answer, or a part of one
        self._answered = asyncio.Event()
        self._connected = False  # the application has received websocket.connect
        self._closes = False  # the application has sent websocket.close
        self.told_gone = False

    # What the application calls.

    async def receive(self) -> Message:
        """The next event: the handshake, a message, or the end."""
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._socket is None and not self._denied:
            await self._wait_for_answer()  # nothing comes before
        socket = self._socket
        if socket is None:
            return self._gone(1006, "")
        try:
            message = await socket.receive()
        except ConnectionClosed as error:
            return self._gone(error.code, error.reason)
        return {"type": "websocket.receive", "text" if isinstance(message, str) else "bytes": message}

    async def _wait_for_answer(self) -> None:
        """Wait until another task has answered the handshake, or the client is gone."""
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
        """Accept, send a message, close, or answer the handshake otherwise.

        Raises:
            ClientDisconnected: the WebSocket is closed (an OSError, as the interface has it).
            ContractError: the event is not due; the text says what is.
            TypeError: something in it is not of its type.
            ValueError: a field, a subprotocol, a code or a reason that cannot be sent.
        """
        kind: str = message["type"]
        if kind == "websocket.send" and self._socket is not None:
            await self._send(self._socket, message)
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

    # The inner side.

    def _answer(self, kind: str, message: Message) -> None:
        """Answer the handshake."""
        if self._response.is_closing():
            self.told_gone = True
            raise ClientDisconnected("the client is gone")
        if kind == "websocket.accept":
            headers = _pairs(message.get("headers", ()))
            self._socket = self._handshake.accept(subprotocol=message.get("subprotocol"), headers=headers)
            self._answered.set()
        elif kind == "websocket.close":
            self._denied = self._response.close_connection = True
            self._response.send_head(403, error_fields(403, "text/plain; charset=utf-8"))
            self._response.write(b"Forbidden\n")
            self._response.end()
            self._answered.set()
        else:
            raise ContractError(f"{kind!r} was sent where websocket.accept, websocket.close or {_DENIAL}start is due")

    async def _deny(self, kind: str, message: Message) -> None:
        """Answer the handshake as any other request; the connection is closed after it."""
        if self._socket is not None:
            raise ContractError(f"{kind!r} was sent after websocket.accept")
        if self._denial is None:
            if self._denied:
                raise ContractError(f"{kind!r} was sent after websocket.close")
            self._denial = Exchange(self._request, self._response)
            self._response.close_connection = True
        await self._denial.send({**message, "type": kind.removeprefix("websocket.")})
        self._denied = True
        self._answered.set()

    async def _send(self, socket: "WebSocket", message: Message) -> None:
        text, data = message.get("text"), message.get("bytes")
        if (text is None) is (data is None):
            raise ValueError("websocket.send has either text or bytes")
        if text is not None and not isinstance(text, str):
            raise TypeError(f"text of websocket.send is str, not {text!r}")
        if data is not None and not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"bytes of websocket.send are bytes, not {data!r}")
        content: Any = data if text is None else text
        if self._closes:
            raise ContractError("'websocket.send' was sent after websocket.close")
        try:
            await socket.send(content)
        except ConnectionClosed:
            self.told_gone = True
            raise

    async def _close(self, socket: "WebSocket", message: Message) -> None:
        if self._closes:
            raise ContractError("'websocket.close' was sent twice")
        self._closes = True
        await socket.close(message.get("code", 1000), message.get("reason") or "")

    # What the host calls, when the application has ended.

    async def end(self) -> None:
        """It has returned: close what is open.

        Raises:
            ContractError: there is no answer to the handshake, or not all of one.
        """
        if self._socket is not None:
            await self._socket.close()
        elif self._denied:
            if self._response.state is not ResponseState.DONE:
                raise ContractError(f"the ASGI application returned before its last {_DENIAL}body")
        elif not self.told_gone:
            raise ContractError("the ASGI application returned without an answer to the handshake: no websocket.accept")

    async def fail(self, error: BaseException) -> bool:
        """It has raised: close what is open, with 1011; or 1001, without a wait, if it has been cancelled.

        Returns:
            Whether the client has been told, so that only the log is to be.
        """
        if self._socket is None:
            return False
        if isinstance(error, Exception):
            await self._socket.close(1011)
            return True
        self._socket.abandon(1001)
        return False


def _pairs(headers: Iterable[Iterable[bytes]]) -> list[tuple[str, str]]:
    """Fields of the head of 101 as text.

    Raises:
        TypeError: they are no pairs of bytes.
        ValueError: one of them is for another key of the message.
    """
    pairs = []
    for name, value in headers:
        if not isinstance(name, bytes) or not isinstance(value, bytes):
            raise TypeError(f"headers are pairs of bytes, not ({name!r}, {value!r})")
        if name.lower() == b"sec-websocket-protocol":
            raise ValueError("the subprotocol is given by 'subprotocol' of websocket.accept, not by a field")
        pairs.append((str(name, "latin-1"), str(value, "latin-1")))
    return pairs
