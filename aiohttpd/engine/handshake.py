"""Handshake: a connection until both sides have agreed on TLS.

Owns what the loop's own TLS servers do not show: how many handshakes are under way, and when one fails. So a
server that stops can wait for them, and a context can take the place of another from one connection to the next.
Nothing of it is left once the connection is HTTP.
"""

import asyncio
import time
from collections.abc import Callable
from ssl import SSLContext
from typing import cast

from ..net.clock import log_date
from ..net.tls_half_close import half_closable, hold_end
from ..net.transport import peer_of
from .context import ServerContext

__all__ = ["SHUTDOWN", "Handshake", "pass_to_tls"]

# Seconds for the loop to end TLS: for ever, since a connection has deadlines of its own for that, which tell a slow
# peer from one that does not read.
SHUTDOWN = 24 * 60 * 60.0


class Handshake(asyncio.Protocol):
    """The protocol of a plain connection that becomes a TLS one.

    Args:
        context: of the server, whose registry has it while it lasts.
        tls: the context of TLS.
        make: makes the protocol that takes over.
    """

    __slots__ = ("_context", "_eof", "_lost", "_make", "_received", "_task", "_tls", "_transport")

    _transport: asyncio.Transport

    def __init__(self, context: ServerContext, tls: SSLContext, make: Callable[[], asyncio.Protocol]) -> None:
        self._context = context
        self._tls = half_closable(tls)
        self._make = make
        # What comes while nobody is there to take it: before TLS is told that it has a connection, encrypted;
        # and after hands have been shaken until start_tls() returns, in clear.
        self._received: list[bytes] = []
        self._eof = False
        self._lost = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected: begin the handshake."""
        self._transport = cast(asyncio.Transport, transport)
        self._context.registry.handshakes.add(self)
        loop = self._context.loop
        # Not by loop.create_task: it may begin a task at once, and the order of what follows counts.
        self._task = asyncio.Task(self._shake_hands(loop), loop=loop)

    def data_received(self, data: bytes) -> None:
        """Keep what comes while neither TLS nor HTTP can take it."""
        self._received.append(data)

    def eof_received(self) -> None:
        """Remember that nothing more will come."""
        self._eof = True

    def connection_lost(self, error: Exception | None) -> None:
        """There is no connection that could be handed over."""
        self._lost = True

    def abort(self) -> None:
        """Cut the connection at once."""
        self._transport.abort()

    async def _shake_hands(self, loop: asyncio.AbstractEventLoop) -> None:
        beginning = asyncio.Task(self._start_tls(loop), loop=loop)
        await asyncio.sleep(0)
        # Now start_tls() waits, and the loop is about to tell TLS of its connection, then to read: this is between.
        loop.call_soon(self._pass_on)
        transport, failure = None, None
        try:
            transport = await beginning
        except Exception as error:  # the peer has gone, speaks no TLS that we do, or was too slow; loops differ in it
            failure = error
        try:
            # uvloop gives a transport also where the connection has been lost.
            if transport is not None and not self._lost and not self._transport.is_closing():
                self._hand_over(transport)
            elif getattr(failure, "reason", None) == "HTTP_REQUEST":  # OpenSSL knows one by its first letters
                self._log("HTTP without TLS, where URLs begin with https://")
        finally:
            self._context.registry.remove_handshake(self)

    def _log(self, text: str) -> None:
        self._context.message(f"{peer_of(self._transport)[0]} - - [{log_date(time.time())}] {text}\n")

    async def _start_tls(self, loop: asyncio.AbstractEventLoop) -> asyncio.Transport | None:
        if self._transport.is_closing():
            return None
        config = self._context.config
        transport = await loop.start_tls(
            self._transport,
            self,
            self._tls,
            server_side=True,
            ssl_handshake_timeout=config.timeout_handshake,
            ssl_shutdown_timeout=SHUTDOWN,
        )
        hold_end(self._transport, transport)
        return transport

    def _pass_on(self) -> None:
        """Give TLS what has come before it: uvloop reads at once, whether we want it or not."""
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


def pass_to_tls(transport: asyncio.Transport, data: bytes) -> None:
    """Give what has come before TLS to the protocol that ``start_tls`` has put in, as a transport would."""
    protocol = cast(asyncio.BufferedProtocol | None, transport.get_protocol())
    view = memoryview(data)
    while view and protocol is not None and not transport.is_closing():  # the peer may have gone by now
        space = memoryview(protocol.get_buffer(len(view)))
        size = min(len(space), len(view))
        space[:size] = view[:size]
        protocol.buffer_updated(size)
        view = view[size:]
