"""TransportProtocol: the transport side of a connection, whatever protocol is spoken on it.

Owns the transport, the addresses of both ends, flow control both ways, the deadline that is armed, and whether the
peer keeps up with what it is sent. A protocol derives from it and gives the bytes a meaning.
"""

import asyncio
import contextlib
import socket
from typing import Any, NamedTuple, cast

from ..wire.address import Address
from .deadlines import Deadlines, Fifo
from .outgoing import Outgoing
from .sendfile import FileTransfer, file_transfer
from .tls_half_close import HalfClosable
from .transfer_rate import TransferRate, peer_has_closed

__all__ = ["GONE_PEER", "TransferLimits", "TransportProtocol", "peer_of"]

# A client on a unix socket has no address; handlers that look at client_address[0] find this.
UNIX_PEER = ("unix:", 0)
# The address of a TCP client that has reset its connection before it was asked for.
GONE_PEER = ("-", 0)


def peer_of(transport: asyncio.BaseTransport) -> Address:
    """``(host, port)`` of the peer."""
    with contextlib.suppress(OSError, ValueError):  # of uvloop, for a socket that is closed
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple):
            return peername
    with contextlib.suppress(OSError, ValueError):
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            return GONE_PEER  # which must not pass for a peer on a unix socket: that may be a trusted one
    return UNIX_PEER


class TransferLimits(NamedTuple):
    """What a peer may cost that reads slowly.

    Attributes:
        unsent: bytes that may wait for it.
        rate: bytes a second that it has to take.
        timeout: seconds within which it has to take ``rate * timeout`` bytes.
    """

    unsent: int
    rate: int
    timeout: float


class TransportProtocol(asyncio.Protocol):
    """A protocol with flow control, deadlines and addresses.

    Args:
        deadlines: of the loop.
        limits: for a peer that reads slowly.

    Attributes:
        eof: the peer has closed its side.
        tls: whether the transport is one of TLS.
        out: what is sent.
        secured: the ``ssl.SSLSocket`` of a program that decrypts what it gives us; None if there is none.
    """

    __slots__ = (
        "_deadlines", "_discard_left", "_eof_event", "_fifo", "_limits", "_lost_event", "_peername",
        "_process_scheduled", "_reading_paused", "_send_rate", "_timeout", "_transport", "eof", "out", "secured", "tls",
    )  # fmt: skip

    out: Outgoing
    tls: bool
    _transport: asyncio.Transport
    _discard_left: int

    def __init__(self, deadlines: Deadlines, limits: TransferLimits) -> None:
        self._deadlines = deadlines
        self._limits = limits
        self._fifo: Fifo | None = None  # where our deadline is armed
        self._timeout: float | None = None  # of transfers, if one has been set
        self._reading_paused = False
        self._process_scheduled = False
        self._eof_event: asyncio.Event | None = None
        self._lost_event: asyncio.Event | None = None
        self._peername: Address | None = None
        self._send_rate: TransferRate | None = None
        self.eof = False
        self.secured: Any = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport; a second time when TLS has been begun on it."""
        self._transport = cast(asyncio.Transport, transport)
        self.tls = transport.get_extra_info("sslcontext") is not None
        self.out = Outgoing(self._transport, self._limits.unsent)
        if self.tls and isinstance(tls := transport.get_extra_info("ssl_object"), HalfClosable):
            # What has come before the end is given to us within this turn of the loop.
            loop = asyncio.get_running_loop()
            tls.on_end(lambda: loop.call_soon(self._tls_ended))

    def _tls_ended(self) -> None:
        if not self.eof and not self.out.lost:
            self.eof_received()

    def eof_received(self) -> bool:
        """The peer has closed its side; say whether ours stays open."""
        self.eof = True
        self._set_events()
        # That of TLS, the loops do not let us hold back: this is of a peer that has only closed TCP.
        return not self.tls

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, whichever side has closed it."""
        self.out.lose()
        self._deadlines.unwatch(self)
        self._set_events()

    def pause_writing(self) -> None:
        """The transport has enough to send for now."""
        self.out.pause()
        self.watch()

    def resume_writing(self) -> None:
        """The transport takes more."""
        self.out.resume()

    # Addresses.

    @property
    def client_address(self) -> Address:
        """``(host, port)`` of the peer."""
        if self._peername is None:
            self._peername = peer_of(self._transport)
        return self._peername

    @client_address.setter
    def client_address(self, address: Address) -> None:
        self._peername = address

    @property
    def server_address(self) -> Address:
        """``(host, port)`` of our side, the path of a unix socket."""
        return cast(Address, self._transport.get_extra_info("sockname"))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows."""
        if self.secured is not None and name == "ssl_object":
            return self.secured
        return self._transport.get_extra_info(name, default)

    # Output.

    @property
    def lost(self) -> bool:
        """Whether the peer can no longer be written to."""
        return self.out.lost

    async def writable(self) -> None:
        """Wait while the peer is slow.

        Raises:
            ClientDisconnected: the peer is gone.
        """
        if self._transport.is_closing():
            await asyncio.sleep(0)  # a turn of the loop, for it to say that the connection is lost
        await self.out.writable()

    def file_transfer(self, descriptor: int) -> FileTransfer:
        """Make the way of a file to the peer; everything before has been handed to the transport."""
        return file_transfer(self.out, self._transport, descriptor)

    def close_transport(self, fifo: Fifo) -> None:
        """Close both sides once all has been sent; ``fifo`` is the deadline for the peer's end of TLS."""
        self.disarm()
        if self.tls:
            self.resume_reading()
            self.arm(fifo)
        self.out.close()
        if self.out.unsent:
            self.watch()

    def close_sending(self, fifo: Fifo, *, most: int) -> None:
        """Close our side once all has been sent, and wait for the peer to close its own.

        Args:
            fifo: its deadline.
            most: bytes that it may still send, which are to be told to `discard`.
        """
        self._discard_left = most
        self.resume_reading()  # before the end: TLS has only one, and cannot be told any more
        self.out.write_eof()
        self.arm(fifo)

    def discard(self, size: int) -> None:
        """So many bytes have come after `close_sending`, and are thrown away; close if they are too many."""
        self._discard_left -= size
        if self._discard_left < 0:
            self.out.close()

    def extend_close(self, fifo: Fifo) -> bool:
        """The deadline is over: say whether the peer has still to read, which is measured, and set it again then."""
        if not self.out.undelivered:
            return False
        self.arm(fifo)
        self.watch()
        return True

    def end_close(self) -> None:
        """Close without waiting for the peer any longer."""
        if self.tls:
            self._transport.abort()
        else:
            self.out.close()

    def abort(self) -> None:
        """Cut the connection at once, by TCP's RST: the kernel keeps nothing of what the peer has not read."""
        self.disarm()
        self.out.drop_unread()
        self.out.lose()
        self._transport.abort()

    # Input.

    def pause_reading(self) -> None:
        """Read nothing from the peer until `resume_reading`."""
        if not self._reading_paused and not self.out.lost and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()
            self.watch()  # the loop would not tell us now that the peer is gone

    def resume_reading(self) -> None:
        """Read from the peer again."""
        if self._reading_paused:
            self._reading_paused = False
            if not self.out.lost and not self._transport.is_closing():
                self._transport.resume_reading()

    def process_later(self) -> None:
        """Have `_process` called in a later turn of the loop, once."""
        if not self._process_scheduled:
            self._process_scheduled = True
            asyncio.get_running_loop().call_soon(self._process_scheduled_now)

    def _process_scheduled_now(self) -> None:
        self._process_scheduled = False
        self._process()

    def _process(self) -> None:
        """Go on with what has arrived and waits; the protocol says how."""

    async def wait_closed(self) -> None:
        """Wait until the peer has closed its side, or the connection is lost."""
        if self._eof_event is None:
            self._eof_event = asyncio.Event()
            if self.eof or self.out.lost:
                self._eof_event.set()
        await self._eof_event.wait()

    def release_waiters(self) -> None:
        """Who waits in `wait_closed` need not wait any longer: what it waits for has become another's."""
        event, self._eof_event = self._eof_event, None
        if event is not None:
            event.set()

    async def wait_lost(self) -> None:
        """Wait until the connection is lost, both ways."""
        if self._lost_event is None:
            self._lost_event = asyncio.Event()
            if self.out.lost:
                self._lost_event.set()
        await self._lost_event.wait()

    def _set_events(self) -> None:
        """Tell those who wait that the peer has closed its side, or is gone."""
        if self._eof_event is not None:
            self._eof_event.set()
        if self._lost_event is not None and self.out.lost:
            self._lost_event.set()

    # Deadlines.

    def arm(self, fifo: Fifo) -> None:
        """Have `deadline_expired` called after the duration of this queue; there is one deadline at a time."""
        if self._fifo is not fifo:
            self.disarm()
            self._fifo = fifo
        self._deadlines.arm(fifo, self)

    def disarm(self) -> None:
        """Have no deadline."""
        if self._fifo is not None:
            self._fifo.pop(self, None)
            self._fifo = None

    def deadline_expired(self, now: float) -> None:
        """What is waited for has not come in time; there is no deadline now. The protocol says what then."""
        self._fifo = None

    # The rate of transfers.

    def watch(self) -> None:
        """Have `check_transfer` called at each sweep of the deadlines, while there is a transfer."""
        self._deadlines.watch(self)

    def check_transfer(self, now: float) -> None:
        """Measure what is being sent; find out whether a peer is gone that is not being read from."""
        sending = self.out.paused or (self.out.closing and self.out.undelivered > 0)
        if not (sending or self._reading_paused or self._is_receiving()):
            self._deadlines.unwatch(self)
            return
        if sending:
            self._check_sending(now)
        elif self._send_rate is not None:
            self._send_rate.end(now)
        if self._reading_paused and not self.eof and not self.out.lost and peer_has_closed(self._transport):
            self._set_events()

    def _is_receiving(self) -> bool:
        """Whether the protocol measures something that it receives."""
        return False

    def set_timeout(self, seconds: float | None) -> None:
        """Set the timeout of transfers; with None the limits hold again."""
        self._timeout = seconds

    def transfer_timeout(self, usual: float) -> float:
        """Seconds within which a peer has to make progress where ``usual`` are those of the limits."""
        return self._timeout or usual

    def _check_sending(self, now: float) -> None:
        delivered = self.out.delivered()
        if self._send_rate is None:
            self._send_rate = TransferRate(delivered)
        self._send_rate.begin(now)
        window = self.transfer_timeout(self._limits.timeout)
        if self._send_rate.too_slow(now, delivered, window=window, rate=self._limits.rate):
            self.abort()
