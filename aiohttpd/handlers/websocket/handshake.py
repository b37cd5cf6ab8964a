"""Handshake: checks the request that opens a WebSocket, and sends the response, RFC 6455 section 4.2.

Owns the checks, the choice of the subprotocol, and the negotiation of compression.
"""

import base64
import binascii
import logging
import zlib
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ...engine.interfaces import ResponseWriter
from ...engine.upgrade import check_upgrade, upgrade_required
from ...errors import ContractError, HTTPError
from ...wire.headers import is_token, list_elements
from ...wire.request import Request
from ...wire.response import ResponseFields
from ..origins import comes_from

try:
    from websockets.datastructures import Headers as CoreHeaders
    from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
    from websockets.frames import Frame, Opcode
    from websockets.protocol import OPEN
    from websockets.server import ServerProtocol
    from websockets.utils import accept_key
except ImportError as error:
    raise ContractError(
        "WebSockets want the library 'websockets', which is missing or too old: pip install 'aiohttpd[websocket]'"
    ) from error

from .websocket import WebSocket

if TYPE_CHECKING:
    from websockets.extensions import Extension
    from websockets.typing import ExtensionParameter

__all__ = ["Handshake"]

_VERSION = "13"
_WINDOW_BITS = 12  # the compression window is 4 KiB in each direction
_MEMORY_LEVEL = 5

logger = logging.getLogger("aiohttpd.websocket")  # ``websockets`` logs each frame at DEBUG


class Handshake:
    """A valid request for a WebSocket. `accept` opens it; to refuse it, send a response as to any other request.

    Args:
        request: the request.
        response: its response; no head has been set.
        origins: origins whose pages may open the WebSocket, in addition to that of this server; ``*`` for any. A
            browser sends the cookies of this server whichever page opens the WebSocket. So a page of another site
            could act as the user (cross-site WebSocket hijacking).

    Raises:
        HTTPError: 426: the request does not ask for a WebSocket, or not for version 13; 405: the method is not GET;
            400: the handshake is malformed, or has a body; 403: the Origin is not allowed.

    Attributes:
        request: the request.
        subprotocols: the subprotocols that the client offers, the preferred one first.
    """

    def __init__(self, request: Request, response: ResponseWriter, *, origins: Container[str] = ()) -> None:
        self.request = request
        self._response = response
        self._key = _check(request)
        if not comes_from(request, origins):
            raise HTTPError(403, None, "a page of another origin may not open this WebSocket")
        self.subprotocols = _offered(request)

    def choose(self, supported: Sequence[str]) -> str | None:
        """Return the first of the supported subprotocols that the client offers; None if there is none.

        A browser that has offered subprotocols closes the connection if the server has chosen none.
        """
        return next((name for name in supported if name in self.subprotocols), None)

    def accept(
        self,
        *,
        subprotocol: str | None = None,
        headers: Iterable[tuple[str, str | int]] = (),
        compression: bool = True,
        max_message_size: int | None = None,
    ) -> WebSocket:
        """Send 101 (Switching Protocols), and return the WebSocket.

        Args:
            subprotocol: the subprotocol, one of those that the client offers; None for none.
            headers: more fields of the head.
            compression: use permessage-deflate if the client offers it.
            max_message_size: the limit for messages of the client in bytes, by default ``limit_websocket_message``.

        Raises:
            ValueError: the client has not offered the subprotocol; or a field is not valid, or not allowed in this
                head.
            ContractError: a head has been set already.
        """
        if subprotocol is not None and subprotocol not in self.subprotocols:
            raise ValueError(f"the client has not offered the subprotocol {subprotocol!r}")
        config = self.request.peer.config
        core = _Core(
            state=OPEN,
            extensions=[_Deflate(server_max_window_bits=_WINDOW_BITS, client_max_window_bits=_WINDOW_BITS)],
            max_size=config.limit_websocket_message if max_message_size is None else max_message_size,
            logger=logger,
        )
        fields = ResponseFields.of(
            (
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Accept", accept_key(self._key)),
            )
        )
        if subprotocol is not None:
            fields.add("Sec-WebSocket-Protocol", subprotocol)
        if compression and (line := self._extend(core)):
            fields.add("Sec-WebSocket-Extensions", line)
        for name, value in headers:
            fields.add(name, value)
        socket = WebSocket(self.request, core, subprotocol)
        self._response.upgrade(101, fields, socket)
        return socket

    def _extend(self, core: ServerProtocol) -> str | None:
        """Negotiate extensions; return the value of Sec-WebSocket-Extensions for the response, None without any."""
        values = self.request.headers.get_all("Sec-WebSocket-Extensions")
        if values is None:
            return None
        offers = ", ".join(list_elements(", ".join(values)))  # the core takes a step for each empty element
        try:
            line, core.extensions = core.process_extensions(CoreHeaders([("Sec-WebSocket-Extensions", offers)]))
        except Exception:  # an offer is malformed (several classes of exceptions); an offer may always be declined
            return None
        return line


def _check(request: Request) -> str:
    """Check the handshake; return the value of Sec-WebSocket-Key."""
    if request.method not in ("GET", "HEAD"):
        raise HTTPError(405, None, "a WebSocket is opened by GET", headers=[("Allow", "GET")])
    try:
        check_upgrade(request, "websocket")
    except HTTPError as error:
        if error.status != 426:
            raise
        raise upgrade_required("websocket", "this is a WebSocket: open it by a client for these") from None
    headers = request.headers
    if headers.get_all("Sec-WebSocket-Version") != [_VERSION]:
        refusal = upgrade_required("websocket", "only version 13 of the protocol is supported")
        refusal.headers += (("Sec-WebSocket-Version", _VERSION),)  # RFC 6455 section 4.4
        raise refusal
    keys = headers.get_all("Sec-WebSocket-Key") or ()
    if len(keys) != 1 or not _is_key(keys[0]):
        raise HTTPError(400, None, "Sec-WebSocket-Key is 16 bytes in base64, once")
    return keys[0]


def _is_key(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except (binascii.Error, ValueError):
        return False


def _offered(request: Request) -> list[str]:
    values = request.headers.get_all("Sec-WebSocket-Protocol") or ()
    offered = list_elements(", ".join(values))
    if not all(map(is_token, offered)) or len(set(offered)) < len(offered):  # RFC 6455 section 4.1, point 10
        raise HTTPError(400, None, "Sec-WebSocket-Protocol is a list of different tokens")
    return offered


class _Core(ServerProtocol):
    """The core of the library, changed to accept a Close frame between the fragments of a message."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # control frames are allowed between fragments, RFC 6455 section 5.4
        super().recv_frame(frame)


class _Deflate(ServerPerMessageDeflateFactory):
    """Negotiates permessage-deflate, RFC 7692, with `_LazyDeflate` for the compression."""

    def process_request_params(
        self, params: "Sequence[ExtensionParameter]", accepted_extensions: "Sequence[Extension]"
    ) -> "tuple[list[ExtensionParameter], PerMessageDeflate]":
        answer, agreed = super().process_request_params(params, accepted_extensions)
        lazy = _LazyDeflate(
            agreed.remote_no_context_takeover,
            agreed.local_no_context_takeover,
            agreed.remote_max_window_bits,
            agreed.local_max_window_bits,
            {"memLevel": _MEMORY_LEVEL},
        )
        return answer, lazy


class _LazyDeflate(PerMessageDeflate):
    """Makes the compressor when the first message is sent, the decompressor when one is received: they take memory."""

    def __init__(self, *parameters: Any) -> None:
        super().__init__(*parameters)
        self.__dict__.pop("decoder", None)
        self.__dict__.pop("encoder", None)

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        decoded = super().decode(frame, max_size=max_size)
        decoder = self.__dict__.get("decoder")
        if decoder is not None and decoder.eof:  # a block with BFINAL, RFC 7692 section 7.2.3.4: no other can follow it
            del self.decoder
        return decoded

    def __getattr__(self, name: str) -> Any:
        made: Any
        if name == "decoder":
            made = zlib.decompressobj(wbits=-self.remote_max_window_bits)
        elif name == "encoder":
            made = zlib.compressobj(wbits=-self.local_max_window_bits, **self.compress_settings)
        else:
            raise AttributeError(name)
        setattr(self, name, made)
        return made
