"""Interfaces for connections after an upgrade: `UpgradedProtocol`, the new protocol, and `Carrier`, its connection.

There is no behaviour here. The protocol gets the events of the connection. The connection gives it an output with
back-pressure, flow control for reading, and ways to close.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from ..config import Config
from ..net.deadlines import Deadlines
from ..net.outgoing import Outgoing
from .wakeup import Batch

__all__ = ["Carrier", "MessageMeter", "UpgradedProtocol"]


class MessageMeter(Protocol):
    """Counters of WebSockets and their messages; `aiohttpd.server.metrics.Metrics` has them."""

    websockets: int
    messages_received: int
    messages_sent: int


class Meters(Protocol):
    """An object with the metrics of the server."""

    @property
    def metrics(self) -> MessageMeter | None:
        """The metrics; None if the option ``metrics`` is off."""


class CarrierContext(Protocol):
    """The part of `ServerContext` that upgraded protocols use."""

    @property
    def config(self) -> Config: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def deadlines(self) -> Deadlines: ...
    @property
    def recorder(self) -> Meters: ...
    @property
    def batch(self) -> Batch: ...


class Carrier(Protocol):
    """A connection, as the protocol after an upgrade uses it.

    Attributes:
        context: options, loop, deadlines and metrics of the server.
        out: the output. ``out.paused`` is true while the peer does not read fast enough, and ``await out.writable()``
            waits for the peer. The connection of a peer that reads less than ``min_rate`` bytes per second over
            ``timeout_write`` seconds is closed.
    """

    out: Outgoing

    @property
    def context(self) -> CarrierContext: ...
    def pause_reading(self) -> None:
        """Read nothing from the peer until `resume_reading`. It may be called twice."""

    def resume_reading(self) -> None: ...
    def read_views(self, receive: Callable[[memoryview | bytes], None]) -> None:
        """From now on call ``receive`` in place of `UpgradedProtocol.data_received`, where possible with views.

        A view is of the buffer into which the transport reads, so it is valid only until ``receive`` returns. It saves
        a copy of what is large; what is little is given as bytes.
        """

    def hang_up(self) -> None:
        """Begin a lingering close: close our side, then the connection when the peer has closed its side.

        That takes at most ``timeout_linger``. Bytes that have been sent still arrive. Nothing more is received.
        """

    def abort(self) -> None:
        """Close the connection at once; unsent bytes are lost."""

    async def wait_lost(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class UpgradedProtocol(Protocol):
    """The protocol of a connection after an upgrade. The methods are named as those of `asyncio.Protocol`.

    Attributes:
        size: bytes of content that it has sent, for the access log.
    """

    size: int

    def connection_made(self, carrier: Carrier) -> None:
        """The head of the response has been sent; from now on the connection belongs to this protocol."""

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived; the first ones may have arrived with the request."""

    def eof_received(self) -> None:
        """The peer has closed its side. Our side stays open, except on TLS."""

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, by either side."""

    def resume_writing(self) -> None:
        """The output has drained."""

    def drain(self) -> None:
        """The server drains: close the connection gracefully, if the protocol has a way to do so."""

    def describe(self) -> str:
        """Return a few words about the state of the protocol, for the report of SIGUSR1."""
