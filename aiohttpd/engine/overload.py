"""Load: more connections or requests than there is room for are turned away, cheaply, with 503.

Owns the two limits, ``max_connections`` and ``max_in_flight``, and what those hear who are over them.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from ..errors import HTTPError
from ..wire.request import Request
from .context import ServerContext
from .failures import answer_failure, refusal
from .interfaces import App
from .response import StreamWriter

__all__ = ["ProtocolFactory", "TurnedAway", "limit_connections", "limit_in_flight"]

ProtocolFactory = Callable[[], asyncio.Protocol]

_BUSY = HTTPError(503, None, "the server is busy", headers=[("Retry-After", "1")])  # seconds


def limit_connections(
    factory: ProtocolFactory, service: ServerContext, *, silent: bool = False, handshakes: bool = False
) -> ProtocolFactory:
    """What makes the protocol of a connection that has been accepted: the given one, while there is room for more.

    Args:
        factory: makes it.
        service: has the books.
        silent: TLS comes first, so there is nothing that could be said.
        handshakes: they count, and what they lead to is limited afterwards.
    """
    most = service.config.max_connections

    def make() -> asyncio.Protocol:
        count = len(service.handshakes if handshakes else service.connections)
        return factory() if count < most else TurnedAway(service, silent=silent)

    return make if most else factory


def limit_in_flight(app: App, service: ServerContext, most: int) -> App:
    """An App around an App that runs at most so many times at once; what is over it gets 503.

    Handlers count whose client has gone. Files that are answered from memory do not.
    """
    running = 0

    async def limited(request: Request, response: StreamWriter) -> None:
        nonlocal running
        if running >= most:
            if service.metrics is not None:
                service.metrics.turned_away("max_in_flight")
            response.head_mirrors_get = True
            answer_failure(_BUSY, response, service.error_body, service.refusal_fields)
            return
        running += 1
        try:
            await app(request, response)
        finally:
            running -= 1

    return limited


class TurnedAway(asyncio.Protocol):
    """A connection too many: it is told so and closed; nothing is parsed, and nothing waits for a request."""

    def __init__(self, service: ServerContext, *, silent: bool) -> None:
        self._service = service
        self._silent = silent

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say it, and wait for the peer to close: what it has sent would else destroy the answer (RFC 9112 9.6)."""
        service = self._service
        self._transport = cast(asyncio.Transport, transport)
        service.turned_away.add(self)
        if service.metrics is not None:
            service.metrics.turned_away("max_connections")
        if self._silent:
            self._transport.abort()
            return
        body, more = service.error_body, service.refusal_fields
        self._transport.write(b"".join(refusal(service.prelude(503), _BUSY, line=b"", error_body=body, more=more)))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()  # TLS
        service.deadlines.arm(service.lingers, self)

    def eof_received(self) -> None:
        """The peer has read it."""
        self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """It is gone."""
        self._service.turned_away.discard(self)
        self._service.lingers.pop(self, None)

    def deadline_expired(self, now: float) -> None:
        """The peer does not close by itself."""
        self._transport.abort()

    def check_transfer(self, now: float) -> None:
        """There is none."""

    def close(self) -> None:
        """The server stops."""
        self._transport.abort()
