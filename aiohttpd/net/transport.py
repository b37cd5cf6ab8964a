"""TransportProtocol: base class of protocols: the part of a connection that does not depend on the protocol.

Owns the transport, the addresses of both ends, flow control in both directions, the deadline of the connection, and
the check that the peer reads fast enough.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any, NamedTuple, cast

from ..wire.address import Address
from .deadlines import Deadlines, Fifo
from .outgoing import Outgoing
from .sendfile import FileTransfer, file_transfer
from .tls_half_close import HalfClosable
from .transfer_rate import TransferRate, has_input, peer_has_closed

__all__ = ["GONE_PEER", "ReadBuffer", "TransferLimits", "TransportProtocol", "peer_of"]

# The address of a client on a unix socket, which has none; handlers read client_address[0].
UNIX_PEER = ("unix:", 0)
# The address of a TCP client that has reset its connection before the server has called getpeername().
GONE_PEER = ("-", 0)
_READ = 256 * 1024  # bytes that are read at once, as event loops do
_LITTLE = 16 * 1024  # bytes; up to so many are copied out of the buffer
_ACKNOWLEDGED = 0.05  # seconds; Linux delays acknowledgements by 40 ms. Later, each sweep of the deadlines looks


def peer_of(transport: asyncio.BaseTransport) -> Address:
    """Return ``(host, port)`` of the peer; `UNIX_PEER` on unix sockets, `GONE_PEER` if it is not known any more."""
    with contextlib.suppress(OSError, ValueError):  # uvloop raises them if the socket is closed
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple):
            return peername
    with contextlib.suppress(OSError, ValueError):
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            return GONE_PEER  # not UNIX_PEER: peers on unix sockets may be trusted proxies
    return UNIX_PEER


class TransferLimits(NamedTuple):
    """Limits for a peer that reads slowly.

    Attributes:
        unsent: bytes that may wait in the output.
        rate: the minimum rate in bytes per second.
        timeout: the window in seconds: the peer has to read ``rate * timeout`` bytes within it.
    """

    unsent: int
    rate: int
    timeout: float


class ReadBuffer:
    """A buffer that the connections of one server read into, one after the other.

    Args:
        config, loop: not used; all shared objects get them.

    Attributes:
        view: the buffer.
    """

    def __init__(self, config: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.view = memoryview(bytearray(_READ))

    def close(self) -> None:
        """Do nothing: a connection that is being closed may still have it."""


class TransportProtocol(asyncio.Protocol):
    """A protocol with flow control, deadlines and addresses.

    Args:
        deadlines: the deadlines of the server.
        limits: the limits for a peer that reads slowly.

    Attributes:
        eof: whether the peer has closed its side.
        out: the output.
        secured: the ``ssl.SSLSocket`` of a program that does TLS itself and passes decrypted bytes; None if none does.
    """

    __slots__ = (
        "_deadlines", "_discard_left", "_eof_event", "_fifo", "_limits", "_lost_event", "_peername",
        "_process_scheduled", "_reading_paused", "_send_rate", "_timeout", "_transport", "_until_delivered", "eof",
        "out", "secured",
    )  # fmt: skip

    out: Outgoing
    _transport: asyncio.Transport
    _discard_left: int

    def __init__(self, deadlines: Deadlines, limits: TransferLimits) -> None:
        self._deadlines = deadlines
        self._limits = limits
        self._fifo: Fifo | None = None  # the queue in which the deadline is armed
        self._timeout: float | None = None  # the timeout of transfers, if `set_timeout` has set one
        self._reading_paused = False
        self._process_scheduled = False
        self._eof_event: asyncio.Event | None = None
        self._lost_event: asyncio.Event | None = None
        self._peername: Address | None = None
        self._send_rate: TransferRate | None = None
        self._until_delivered = False  # the close of our side waits only for the peer's acknowledgement
        self.eof = False
        self.secured: Any = None

    # Called by the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport. It is called a second time, with a TLS transport, if TLS begins later."""
        self._transport = cast(asyncio.Transport, transport)
        self.out = Outgoing(self._transport, self._limits.unsent)
        if not self.tls:
            # The transport pauses writing as soon as it has to buffer a byte: while it has not, all that was sent is
            # in the kernel. And uvloop's writes at once, not from a queue at the end of the turn of the loop.
            with contextlib.suppress(NotImplementedError):  # a program's own transport may have no limits
                self._transport.set_write_buffer_limits(0)
        elif isinstance(tls := transport.get_extra_info("ssl_object"), HalfClosable):
            # In this turn of the loop the bytes before close_notify are still delivered, so wait for the next one.
            loop = asyncio.get_running_loop()
            tls.on_end(lambda: loop.call_soon(self._tls_ended))

    def _tls_ended(self) -> None:
        if not self.eof and not self.out.lost:
            self.eof_received()

    def eof_received(self) -> bool:
        """The peer has closed its side; return whether our side stays open."""
        self.eof = True
        self._set_events()
        # On TLS this is the end of TCP without close_notify: the loops close the connection then.
        return not self.tls

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed, by either side."""
        self.out.lose()
        self._deadlines.unwatch(self)
        self._set_events()

    def pause_writing(self) -> None:
        """The write buffer of the transport is full."""
        self.out.pause()
        self.watch()

    def resume_writing(self) -> None:
        """The write buffer of the transport has drained."""
        self.out.resume()

    # The transport.

    @property
    def tls(self) -> bool:
        """Whether the transport is a TLS transport."""
        return self._transport.get_extra_info("sslcontext") is not None

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
        """``(host, port)`` of our side; the path of a unix socket."""
        return cast(Address, self._transport.get_extra_info("sockname"))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Information of the transport, as `asyncio.BaseTransport.get_extra_info`."""
        if self.secured is not None and name == "ssl_object":
            return self.secured
        return self._transport.get_extra_info(name, default)

    # Output.

    @property
    def lost(self) -> bool:
        """Whether the connection is lost, so that nothing can be sent."""
        return self.out.lost

    async def writable(self) -> None:
        """Wait until the peer has read enough (back-pressure).

        Raises:
            ClientDisconnected: the connection is lost.
        """
        if self._transport.is_closing():
            await asyncio.sleep(0)  # one turn of the loop, in which it calls `connection_lost`
        if self.out.paused or self.out.lost:
            await self.out.writable()

    def file_transfer(self, descriptor: int) -> FileTransfer:
        """Return a transfer that sends parts of an open file. What is sent before a part is held back until then."""
        return file_transfer(self.out, self._transport, descriptor)

    def close_transport(self, fifo: Fifo) -> None:
        """Close both sides after all output has been sent.

        Args:
            fifo: the deadline for the peer's close_notify on TLS.
        """
        self.disarm()
        if self.tls:
            self.resume_reading()
            self.arm(fifo)
        self.out.close()
        if self.out.unsent:
            self.watch()

    def may_reset(self) -> bool:
        """Whether bytes of the peer that nobody reads could make a close destroy output that it has not received.

        Not on TLS, whose close reads until the peer's close_notify.
        """
        return not self.tls and (self.out.undelivered > 0 or has_input(self._transport))

    def close_sending(self, fifo: Fifo, *, most: int, until_delivered: bool = False) -> None:
        """Close our side after all output has been sent, and wait for the peer to close its side (lingering close).

        Args:
            fifo: the deadline for the peer.
            most: bytes that the peer may still send; the caller passes their number to `discard`.
            until_delivered: close as soon as the peer has acknowledged all output, even if its side is still open.
        """
        self._discard_left = most
        self._end_diversion()
        self.resume_reading()  # before write_eof(): a TLS transport is closing afterwards, and ignores it
        self.out.write_eof()
        self.arm(fifo)
        if until_delivered:
            self._until_delivered = True
            self.watch()
            asyncio.get_running_loop().call_later(_ACKNOWLEDGED, self._close_if_delivered)

    def _close_if_delivered(self) -> None:
        if self._until_delivered and not self.out.lost and not self.may_reset():
            self._until_delivered = False
            self.end_close()

    def discard(self, size: int) -> None:
        """Count bytes that have arrived after `close_sending` and are discarded; close if there are too many."""
        self._discard_left -= size
        if self._discard_left < 0:
            self.out.close()

    def extend_close(self, fifo: Fifo) -> bool:
        """The deadline of a close has passed: set it again if output is not delivered yet, since its rate is measured.

        Returns:
            Whether the deadline was set again.
        """
        if not self.out.undelivered:
            return False
        self.arm(fifo)
        self.watch()
        return True

    def end_close(self) -> None:
        """Close without waiting for the peer."""
        if self.tls:
            self._transport.abort()
        else:
            self.out.close()

    def abort(self) -> None:
        """Close the connection at once, by RST on TCP. Unread output is dropped, also from the kernel's buffer."""
        self.disarm()
        self.out.drop_unread()
        self.out.lose()
        self._transport.abort()

    # Input.

    def divert(self, receive: Callable[[bytes], None]) -> None:
        """Have the transport give the bytes that arrive to another function than `data_received`, until the close."""
        if not self.out.lost and not self._transport.is_closing():
            self._transport.set_protocol(_Diversion(self, receive))

    def divert_views(self, buffer: memoryview, receive: Callable[[memoryview | bytes], None]) -> None:
        """Have the transport read into a buffer, which saves a copy, and give views of it to a function, as `divert`.

        A view is valid until the function returns. Little is given as bytes. With TLS nothing changes.

        Args:
            buffer: other connections of the same loop may use it as well.
            receive: the function.
        """
        transport = self._transport
        if not self.out.lost and not transport.is_closing() and transport.get_extra_info("sslcontext") is None:
            transport.set_protocol(_DiversionOfViews(self, receive, buffer))

    def _end_diversion(self) -> None:
        if not self.out.lost and not self._transport.is_closing() and self._transport.get_protocol() is not self:
            self._transport.set_protocol(self)

    def pause_reading(self) -> None:
        """Read nothing from the peer until `resume_reading`."""
        if not self._reading_paused and not self.out.lost and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()
            self.watch()  # the loop does not notice a disconnect while reading is paused

    def resume_reading(self) -> None:
        """Read from the peer again."""
        if self._reading_paused:
            self._reading_paused = False
            if not self.out.lost and not self._transport.is_closing():
                self._transport.resume_reading()

    def process_later(self) -> None:
        """Schedule `_process` for the next turn of the loop, unless it is scheduled already."""
        if not self._process_scheduled:
            self._process_scheduled = True
            asyncio.get_running_loop().call_soon(self._process_scheduled_now)

    def _process_scheduled_now(self) -> None:
        self._process_scheduled = False
        self._process()

    def _process(self) -> None:
        """Process bytes that have arrived and wait. Derived classes override it."""

    async def wait_closed(self) -> None:
        """Wait until the peer has closed its side, or the connection is lost."""
        if self._eof_event is None:
            self._eof_event = asyncio.Event()
            if self.eof or self.out.lost:
                self._eof_event.set()
        await self._eof_event.wait()

    def end_request(self) -> None:
        """The connection serves another request: forget `set_timeout`, and wake tasks in `wait_closed`."""
        self._timeout = None
        event, self._eof_event = self._eof_event, None
        if event is not None:
            event.set()

    async def wait_lost(self) -> None:
        """Wait until the connection is closed in both directions."""
        if self._lost_event is None:
            self._lost_event = asyncio.Event()
            if self.out.lost:
                self._lost_event.set()
        await self._lost_event.wait()

    def _set_events(self) -> None:
        """Wake the tasks in `wait_closed`, and those in `wait_lost` if the connection is lost."""
        if self._eof_event is not None:
            self._eof_event.set()
        if self._lost_event is not None and self.out.lost:
            self._lost_event.set()

    # Deadlines.

    def arm(self, fifo: Fifo) -> None:
        """Set the deadline: `deadline_expired` is called after the duration of the queue. It replaces another one."""
        if self._fifo is not fifo:
            self.disarm()
            self._fifo = fifo
        self._deadlines.arm(fifo, self)

    def disarm(self) -> None:
        """Remove the deadline."""
        if self._fifo is not None:
            self._fifo.pop(self, None)
            self._fifo = None

    def deadline_expired(self, now: float) -> None:
        """The deadline has passed, and is removed. Derived classes decide what happens."""
        self._fifo = None

    # The rate of transfers.

    def watch(self) -> None:
        """Call `check_transfer` at each sweep of the deadlines, while there is a transfer."""
        self._deadlines.watch(self)

    def check_transfer(self, now: float) -> None:
        """Check the rate at which the peer reads; while reading is paused, check whether the peer has disconnected."""
        self._close_if_delivered()
        sending = self.out.paused or (self.out.closing and self.out.undelivered > 0)
        if sending:
            self._check_sending(now)
        elif self._send_rate is not None:
            self._send_rate.end(now)
        if not (sending or self._reading_paused or self._is_receiving()):
            self._deadlines.unwatch(self)
            return
        if self._reading_paused and not self.eof and not self.out.lost and peer_has_closed(self._transport):
            self._set_events()

    def _is_receiving(self) -> bool:
        """Whether a derived class measures a transfer from the peer."""
        return False

    def set_timeout(self, seconds: float | None) -> None:
        """Set the timeout of transfers.

        Args:
            seconds: the timeout; None for that of the limits.
        """
        self._timeout = seconds

    def transfer_timeout(self, usual: float) -> float:
        """Return the timeout of transfers in seconds: that of `set_timeout`, or else ``usual``."""
        return self._timeout or usual

    def _check_sending(self, now: float) -> None:
        delivered = self.out.delivered()
        if self._send_rate is None:
            self._send_rate = TransferRate(delivered)
        self._send_rate.begin(now)
        window = self.transfer_timeout(self._limits.timeout)
        if self._send_rate.too_slow(now, delivered, window=window, rate=self._limits.rate):
            self.abort()


class _Events:
    """Gives all events but bytes to another protocol."""

    __slots__ = ("_protocol",)

    def __init__(self, protocol: TransportProtocol) -> None:
        self._protocol = protocol

    def eof_received(self) -> bool:
        return self._protocol.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()


class _Diversion(_Events, asyncio.Protocol):
    """A protocol whose bytes go to a function, and all other events to another protocol."""

    __slots__ = ("data_received",)

    def __init__(self, protocol: TransportProtocol, receive: Callable[[bytes], None]) -> None:
        super().__init__(protocol)
        self.data_received = receive  # type: ignore[assignment,method-assign]  # without a call of Python for each read


class _DiversionOfViews(_Events, asyncio.BufferedProtocol):
    """The same for bytes that the transport reads into a buffer."""

    __slots__ = ("_buffer", "_receive")

    def __init__(
        self, protocol: TransportProtocol, receive: Callable[[memoryview | bytes], None], buffer: memoryview
    ) -> None:
        super().__init__(protocol)
        self._receive = receive
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._receive(self._buffer[:nbytes] if nbytes > _LITTLE else bytes(self._buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:  # for transports that know no `BufferedProtocol`
        self._receive(data)
