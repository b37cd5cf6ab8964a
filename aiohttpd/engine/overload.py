"""Overload: connections over ``max_connections`` and requests over ``max_in_flight`` get 503, at little cost."""

import asyncio
from collections.abc import Callable
from typing import cast

from ..errors import HTTPError
from ..wire.request import Request
from .context import ServerContext
from .failures import answer_failure, refusal
from .interfaces import ServedApp
from .recorder import Recorder
from .response import StreamWriter

__all__ = ["ProtocolFactory", "TurnedAway", "limit_connections", "limit_in_flight"]

ProtocolFactory = Callable[[], asyncio.Protocol]

_BUSY = HTTPError(503, None, "the server is busy", headers=[("Retry-After", "1")])  # seconds


def limit_connections(
    factory: ProtocolFactory, context: ServerContext, *, silent: bool = False, handshakes: bool = False
) -> ProtocolFactory:
    """Wrap a protocol factory: connections over ``max_connections`` get a `TurnedAway` protocol.

    Args:
        factory: makes the protocol of a connection.
        context: the context of the server.
        silent: the client expects TLS first, so the connection is closed without a response.
        handshakes: the factory makes handshakes: count these. Open connections are counted by another wrapper.
    """
    most, registry = context.config.max_connections, context.registry

    def make() -> asyncio.Protocol:
        count = len(registry.handshakes if handshakes else registry.connections)
        return factory() if count < most else TurnedAway(context, silent=silent)

    return make if most else factory


def limit_in_flight(served: ServedApp, most: int, recorder: Recorder) -> ServedApp:
    """Wrap an App: at most ``most`` of its handlers run at the same time; requests over the limit get 503.

    A handler counts until it ends, even if its client has disconnected. Responses from memory (`PreparedResponse`) do
    not count.
    """
    app, running = served.app, 0

    async def limited(request: Request, response: StreamWriter) -> None:
        nonlocal running
        if running >= most:
            recorder.turned_away("max_in_flight")
            response.head_mirrors_get = True
            answer_failure(_BUSY, response, served.error_body, served.refusal_fields)
            return
        running += 1
        try:
            await app(request, response)
        finally:
            running -= 1

    return served._replace(app=limited)


class TurnedAway(asyncio.Protocol):
    """The protocol of a connection over the limit: it sends 503 and closes, and parses nothing."""

    def __init__(self, context: ServerContext, *, silent: bool) -> None:
        self._context = context
        self._silent = silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send 503, and begin a lingering close, so that unread bytes do not reset the connection (RFC 9112 9.6)."""
        context = self._context
        self._transport = cast(asyncio.Transport, transport)
        context.registry.turned_away.add(self)
        context.recorder.turned_away("max_connections")
        if self._silent:
            self._transport.abort()
            return
        body, more = context.error_body, context.refusal_fields
        self._transport.write(b"".join(refusal(context.prelude(503), _BUSY, line=b"", error_body=body, more=more)))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # TLS
        context.deadlines.arm(context.timeouts.linger, self)

    def eof_received(self) -> None:
        """The peer has closed its side: close the connection."""
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        self._context.registry.turned_away.discard(self)
        self._context.timeouts.linger.pop(self, None)

    def deadline_expired(self, now: float) -> None:
        """The peer has not closed its side in time."""
        self._transport.abort()

    def check_transfer(self, now: float) -> None:
        """Do nothing: no transfer is measured."""

    def close(self) -> None:
        """The server stops: close the connection at once."""
        self._transport.abort()
