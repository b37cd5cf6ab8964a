"""Interfaces of an upgrade: a connection, and the protocol that it speaks once HTTP has ended on it.

Owns the two sides of it and no behaviour. The protocol is told what happens on the connection; the connection offers
it an output with back-pressure, control over reading, and an end.
"""

import asyncio
from typing import Any, Protocol

from ..config import Config
from ..net.deadlines import Deadlines
from ..net.outgoing import Outgoing

__all__ = ["Carrier", "MessageMeter", "UpgradedProtocol"]


class MessageMeter(Protocol):
    """Counts what WebSockets do; `aiohttpd.server.metrics.Metrics` is one."""

    websockets: int
    messages_received: int
    messages_sent: int


class Meters(Protocol):
    """Has what counts."""

    @property
    def metrics(self) -> MessageMeter | None:
        """None if nobody wants to know."""


class CarrierContext(Protocol):
    """What a connection has of its server."""

    @property
    def config(self) -> Config: ...
    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def deadlines(self) -> Deadlines: ...
    @property
    def recorder(self) -> Meters: ...


class Carrier(Protocol):
    """A connection, for the protocol that has been put on it.

    Attributes:
        context: options, loop, deadlines and metrics of its server.
        out: takes what is sent. ``out.paused`` says that the peer is slow, ``await out.writable()`` waits for it; a
            peer that stays slower than ``min_rate`` for ``timeout_write`` is cut off.
    """

    out: Outgoing

    @property
    def context(self) -> CarrierContext: ...
    def pause_reading(self) -> None:
        """Read nothing from the peer until `resume_reading`; harmless if that is so already."""

    def resume_reading(self) -> None: ...
    def hang_up(self) -> None:
        """Close our side, and the connection once the peer has closed its own, after ``timeout_linger`` at the latest.

        What has been sent still arrives. Nothing more is received.
        """

    def abort(self) -> None:
        """Cut the connection at once."""

    async def wait_lost(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class UpgradedProtocol(Protocol):
    """What a connection speaks after an upgrade; the names are those of `asyncio.Protocol`.

    Attributes:
        size: bytes of content that it has sent, for the record of the request.
    """

    size: int

    def connection_made(self, carrier: Carrier) -> None:
        """The head of the answer has been sent, and the connection belongs to this protocol."""

    def data_received(self, data: bytes) -> None:
        """Bytes have arrived; at first those that followed the request."""

    def eof_received(self) -> None:
        """The peer has closed its side; ours stays open, but on TLS."""

    def connection_lost(self, error: Exception | None) -> None:
        """Nobody is there any more."""

    def resume_writing(self) -> None:
        """The peer takes more."""

    def drain(self) -> None:
        """The server stops, or another worker takes over: end it in good order, if the protocol has a way."""

    def describe(self) -> str:
        """What to tell of it in the report of SIGUSR1: a few words."""
