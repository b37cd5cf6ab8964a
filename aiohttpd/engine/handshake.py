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

__all__ = ["TLSHandshake", "begin_tls", "tls_options"]

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
        # Bytes that arrive here: encrypted ones before TLS is on the transport, and decrypted ones after the handshake
        # until the protocol of HTTP is.
        self._received = b""
        self._eof = False
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: begin the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        self._context.registry.handshakes.add(self)
        loop = self._context.loop
        # Not by loop.create_task: with an eager task factory the task would run at once, in the wrong order.
        self._task = asyncio.Task(self._shake_hands(), loop=loop)

    def data_received(self, data: bytes) -> None:
        """Keep bytes that arrive before TLS or HTTP has its protocol on the transport."""
        self._received += data

    def eof_received(self) -> None:
        """Remember that the peer has closed its side."""
        self._eof = True

    def connection_lost(self, error: Exception | None) -> None:
        """Remember that the connection is lost."""
        self._lost = True

    def abort(self) -> None:
        """Cut the connection at once."""
        self._transport.abort()

    async def _shake_hands(self) -> None:
        transport, failure = None, None
        try:
            transport = await begin_tls(self._transport, self, self._tls, self._context.config, self._take_received)
        except Exception as error:  # disconnected, no common TLS version, or timeout; the class depends on the loop
            failure = error
        try:
            if transport is not None and not self._lost:
                self._hand_over(transport)
            elif getattr(failure, "reason", None) == "HTTP_REQUEST":  # OpenSSL recognizes an HTTP request without TLS
                self._log("HTTP without TLS, where URLs begin with https://")
        finally:
            self._context.registry.remove_handshake(self)

    def _log(self, text: str) -> None:
        self._context.message(f"{peer_of(self._transport)[0]} - - [{log_date(time.time())}] {text}\n")

    def _take_received(self) -> bytes:
        data, self._received = self._received, b""
        return data

    def _hand_over(self, transport: asyncio.Transport) -> None:
        protocol = self._make()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if self._received:
            protocol.data_received(self._received)
        if self._eof:
            protocol.eof_received()


async def begin_tls(
    transport: asyncio.Transport,
    protocol: asyncio.Protocol,
    tls: SSLContext,
    config: Config,
    take_received: Callable[[], bytes],
) -> asyncio.Transport | None:
    """Begin TLS on a connection, and wait until the handshake is complete.

    Args:
        protocol: the protocol of the transport; afterwards that of TLS.
        take_received: returns the bytes that the protocol has received before TLS was on the transport: uvloop reads at
            once.

    Returns:
        The transport of TLS; None if the connection is lost.

    Raises:
        Exception: the handshake has failed; the class depends on the loop.
    """
    loop = asyncio.get_running_loop()

    async def start() -> asyncio.Transport | None:
        if transport.is_closing():
            return None
        secured = await loop.start_tls(transport, protocol, tls, server_side=True, **tls_options(config))
        hold_end(transport, secured)  # at once: the end of TCP may come in the same turn of the loop
        return secured

    def pass_received() -> None:
        if transport.get_protocol() is not protocol:  # else start_tls() has failed
            _pass_to_tls(transport, take_received())

    started = asyncio.Task(start(), loop=loop)
    await asyncio.sleep(0)
    # Now start_tls() waits. The loop has scheduled the connection_made() of TLS, then reading. The call below runs
    # between these two.
    loop.call_soon(pass_received)
    secured = await started
    # uvloop returns a transport even if the connection has been lost.
    return None if secured is None or secured.is_closing() or transport.is_closing() else secured


def tls_options(config: Config) -> dict[str, Any]:
    """The timeouts of TLS in seconds, as arguments of the loop's methods."""
    return {"ssl_handshake_timeout": config.timeout_handshake, "ssl_shutdown_timeout": _SHUTDOWN}


def _pass_to_tls(transport: asyncio.Transport, data: bytes) -> None:
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
