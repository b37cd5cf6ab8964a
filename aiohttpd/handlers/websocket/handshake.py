"""Handshake: the request that opens a WebSocket, and its answer, RFC 6455 section 4.2.

Owns what is refused, and the choice of subprotocol and compression.
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
_WINDOW_BITS = 12  # each way: 4 KiB are remembered of what has been sent before
_MEMORY_LEVEL = 5

logger = logging.getLogger("aiohttpd.websocket")  # on DEBUG it has each frame


class Handshake:
    """The request that opens a WebSocket, before it is answered. To refuse it, answer as any other request.

    Args:
        request: the request.
        response: its answer, of which nothing has been given.
        origins: of pages that may open one, beside those of this server; ``*`` for any. A browser sends cookies with
            the request whoever has made the page, so a page of somebody else's would speak in the name of its reader.

    Raises:
        HTTPError: 426: no WebSocket is asked for, or not version 13; 405: the method is not GET; 400: the handshake is
            malformed, or has a body; 403: a page of another origin asks.

    Attributes:
        request: the request.
        subprotocols: what the client offers, the best first.
    """

    def __init__(self, request: Request, response: ResponseWriter, *, origins: Container[str] = ()) -> None:
        self.request = request
        self._response = response
        self._key = _check(request)
        if not comes_from(request, origins):
            raise HTTPError(403, None, "a page of another origin may not open this WebSocket")
        self.subprotocols = _offered(request)

    def choose(self, supported: Sequence[str]) -> str | None:
        """The first of the subprotocols that the client offers, too; None if there is none.

        A browser whose script has offered some ends a connection for which none has been chosen.
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
        """Answer 101, and give the WebSocket.

        Args:
            subprotocol: one of those that the client offers.
            headers: more fields of the head.
            compression: take permessage-deflate if the client offers it.
            max_message_size: bytes of a message from the client, by default ``limit_websocket_message``.

        Raises:
            ValueError: the client has not offered that subprotocol; or a field that may not stand in this head.
            ContractError: an answer has been begun.
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
        """Agree on extensions; return what the client is told of them."""
        offers = self.request.headers.get_all("Sec-WebSocket-Extensions") or ()
        try:
            line, core.extensions = core.process_extensions(
                CoreHeaders([("Sec-WebSocket-Extensions", offer) for offer in offers])
            )
        except Exception:  # malformed offers have several exceptions; what is offered need not be taken
            return None
        return line


def _check(request: Request) -> str:
    """See that it is a handshake; return its key."""
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
        refusal = upgrade_required("websocket", "version 13 of the protocol is spoken here")
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
    """The protocol of the library, but for a Close frame within a message, which it takes for an error."""

    def recv_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.CLOSE:
            self.current_size = None  # control frames may come between fragments, RFC 6455 section 5.4
        super().recv_frame(frame)


class _Deflate(ServerPerMessageDeflateFactory):
    """Agrees on permessage-deflate, RFC 7692; the memory of a connection is taken when it is first needed."""

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
    """Has no compressor before a message is sent, and no decompressor before one has come."""

    def __init__(self, *parameters: Any) -> None:
        super().__init__(*parameters)
        self.__dict__.pop("decoder", None)
        self.__dict__.pop("encoder", None)

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
