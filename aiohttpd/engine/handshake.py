"""TLSHandshake: the protocol of a connection during its TLS handshake.

Event loops can serve TLS themselves, but do not show the handshakes. Here each handshake is in the registry, so a
server that stops can wait for it, and each connection can get another TLS context, so certificates can be reloaded.
After the handshake the connection gets the protocol of HTTP, and this object is dropped.
"""

import asyncio
import time
from collections.abc import Callable
from ssl import SSLContext
from typing import Any, cast

from ..config import Config
from ..net.clock import log_date
from ..net.tls_half_close import half_closable, hold_end
from ..net.transport import peer_of
from .context import ServerContext

__all__ = ["TLSHandshake", "pass_to_tls", "tls_options"]

# The loop's timeout for the end of TLS, in seconds. It is so long that it has no effect: a connection has its own
# deadlines for its end, which distinguish a slow peer from one that does not read.
_SHUTDOWN = 24 * 60 * 60.0


class TLSHandshake(asyncio.Protocol):
    """The protocol of a TCP connection until its TLS handshake is complete.

    Args:
        context: the context of the server.
        tls: the TLS context.
        make: makes the protocol for the connection after the handshake.
    """

    __slots__ = ("_context", "_eof", "_lost", "_make", "_received", "_task", "_tls", "_transport")

    _transport: asyncio.Transport

    def __init__(self, context: ServerContext, tls: SSLContext, make: Callable[[], asyncio.Protocol]) -> None:
        self._context = context
        self._tls = half_closable(tls)
        self._make = make
        # Bytes that arrive here: encrypted ones before start_tls() has set its own protocol, and decrypted ones
        # after the handshake until start_tls() returns.
        self._received: list[bytes] = []
        self._eof = False
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: begin the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        self._context.registry.handshakes.add(self)
        loop = self._context.loop
        # Not by loop.create_task: with an eager task factory the task would run at once, in the wrong order.
        self._task = asyncio.Task(self._shake_hands(loop), loop=loop)

    def data_received(self, data: bytes) -> None:
        """Keep bytes that arrive before TLS or HTTP has its protocol on the transport."""
        self._received.append(data)

    def eof_received(self) -> None:
        """Remember that the peer has closed its side."""
        self._eof = True

    def connection_lost(self, error: Exception | None) -> None:
        """Remember that the connection is lost."""
        self._lost = True

    def abort(self) -> None:
        """Cut the connection at once."""
        self._transport.abort()

    async def _shake_hands(self, loop: asyncio.AbstractEventLoop) -> None:
        beginning = asyncio.Task(self._start_tls(loop), loop=loop)
        await asyncio.sleep(0)
        # Now start_tls() waits. The loop has scheduled the connection_made() of TLS, then reading. The call below runs
        # between these two.
        loop.call_soon(self._pass_on)
        transport, failure = None, None
        try:
            transport = await beginning
        except Exception as error:  # disconnected, no common TLS version, or timeout; the class depends on the loop
            failure = error
        try:
            # uvloop returns a transport even if the connection has been lost.
            if transport is not None and not self._lost and not self._transport.is_closing():
                self._hand_over(transport)
            elif getattr(failure, "reason", None) == "HTTP_REQUEST":  # OpenSSL recognizes an HTTP request without TLS
                self._log("HTTP without TLS, where URLs begin with https://")
        finally:
            self._context.registry.remove_handshake(self)

    def _log(self, text: str) -> None:
        self._context.message(f"{peer_of(self._transport)[0]} - - [{log_date(time.time())}] {text}\n")

    async def _start_tls(self, loop: asyncio.AbstractEventLoop) -> asyncio.Transport | None:
        if self._transport.is_closing():
            return None
        options = tls_options(self._context.config)
        transport = await loop.start_tls(self._transport, self, self._tls, server_side=True, **options)
        hold_end(self._transport, transport)
        return transport

    def _pass_on(self) -> None:
        """Give TLS the bytes that arrived before it was on the transport: uvloop reads at once."""
        if not self._received or self._transport.get_protocol() is self:
            return
        data = b"".join(self._received)
        self._received.clear()
        pass_to_tls(self._transport, data)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        protocol = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        for data in self._received:
            protocol.data_received(data)
        if self._eof:
            protocol.eof_received()


def tls_options(config: Config) -> dict[str, Any]:
    """The timeouts of TLS in seconds, as arguments of the loop's methods."""
    return {"ssl_handshake_timeout": config.timeout_handshake, "ssl_shutdown_timeout": _SHUTDOWN}


def pass_to_tls(transport: asyncio.Transport, data: bytes) -> None:
    """Give bytes to the protocol that ``start_tls`` has set on a transport, as the transport would.

    Args:
        transport: the TCP transport.
        data: encrypted bytes that arrived before TLS was on the transport.
    """
    protocol = cast(asyncio.BufferedProtocol | None, transport.get_protocol())
    view = memoryview(data)
    while view and protocol is not None and not transport.is_closing():  # invalid bytes close it
        space = memoryview(protocol.get_buffer(len(view)))
        size = min(len(space), len(view))
        space[:size] = view[:size]
        protocol.buffer_updated(size)
        view = view[size:]
