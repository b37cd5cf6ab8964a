"""Link: the transport side of a connection, flow control both ways, deadlines, addresses.

Owns the transport, what is known of the peer, and whether it keeps up. What the bytes mean is
`connection`'s, which derives from it.
"""

import asyncio
import contextlib
import math
import socket
from collections.abc import Callable
from typing import Any, TypeVar, cast

from ..config import Config
from ..errors import BodyTimeout
from ..net.deadlines import FINEST, Fifo
from ..net.half_closing import HalfClosable
from ..net.outgoing import Outgoing
from ..net.pace import Silence, TransferRate, peer_has_closed
from ..net.sendfile import FileTransfer, file_transfer
from ..wire.request import Address, Request
from .body import StreamReader
from .context import ServerContext
from .interfaces import Closable

__all__ = ["GONE_PEER", "Link", "peer_of"]

T = TypeVar("T", bound=Closable)

# A client on a unix socket has no address; handlers that look at client_address[0] find this.
UNIX_PEER = ("unix:", 0)
# Of a TCP connection that its client has reset before anybody looked.
GONE_PEER = ("-", 0)


def peer_of(transport: asyncio.BaseTransport) -> Address:
    """``(host, port)`` of who is at the other end."""
    with contextlib.suppress(OSError, ValueError):  # of uvloop, for a socket that is closed
        peername = transport.get_extra_info("peername")
        if isinstance(peername, tuple):
            return peername
    with contextlib.suppress(OSError, ValueError):
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            return GONE_PEER  # which must not pass for a peer on a unix socket: that may be a trusted one
    return UNIX_PEER


class Link(asyncio.Protocol):
    """What a connection has without knowing its protocol.

    Attributes:
        eof: the peer has closed its side.
        scheme: ``https`` on TLS, else ``http``.
        secured: the ``ssl.SSLSocket`` of somebody else, who gives us what he has decrypted.
    """

    __slots__ = (
        "_body", "_fifo", "_gone", "_heads", "_idles", "_lost", "_peername", "_reading_paused", "_receive_pace",
        "_send_pace", "_silence", "_timeout", "_transport", "eof", "out", "scheme", "secured", "service",
    )  # fmt: skip

    out: Outgoing
    scheme: str
    _transport: asyncio.Transport

    def __init__(self, service: ServerContext) -> None:
        self.service = service
        self._fifo: Fifo | None = None  # where our deadline is armed
        self._heads, self._idles = service.heads, service.idles
        self._silence: Silence | None = None
        self._reading_paused = False
        self._gone: asyncio.Event | None = None
        self._lost: asyncio.Event | None = None
        self._peername: Address | None = None
        self.eof = False
        self.secured: Any = None
        self._body: StreamReader | None = None  # of the current request, while it arrives or waits to be read
        # Of a transfer that is watched.
        self._timeout: float | None = None
        self._receive_pace: TransferRate | None = None
        self._send_pace: TransferRate | None = None

    def attach(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        self._transport = cast(asyncio.Transport, transport)
        self.scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        self.out = Outgoing(self._transport, self.service.config.limit_unsent)
        if self.scheme == "https" and isinstance(tls := transport.get_extra_info("ssl_object"), HalfClosable):
            # What has come before it is given to us within this turn of the loop.
            tls.on_end(lambda: self.service.loop.call_soon(self._ended))
        if self.service.access_log is not None:
            self._peername = peer_of(transport)  # now: once it is closed, nobody knows

    # Who is there.

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

    @property
    def config(self) -> Config:
        """The options of the service."""
        return self.service.config

    @property
    def server(self) -> Any:
        """What the service was made for."""
        return self.service.server

    def shared(self, kind: Callable[[Config, asyncio.AbstractEventLoop], T]) -> T:
        """See `ServerContext.shared`."""
        return self.service.shared(kind)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """What the transport knows."""
        if self.secured is not None and name == "ssl_object":
            return self.secured
        return self._transport.get_extra_info(name, default)

    # Output.

    @property
    def lost(self) -> bool:
        """Whether there is nobody to write to."""
        return self.out.lost

    def server_field(self) -> bytes:
        """The Server field, with its CRLF; empty if it is not to be sent."""
        return self.service.server_field

    async def writable(self) -> None:
        """Wait while the peer is slow."""
        if self._transport.is_closing():
            await asyncio.sleep(0)  # a turn of the loop, for it to say that the connection is lost
        await self.out.writable()

    def file_transfer(self, descriptor: int) -> FileTransfer:
        """Make the way of a file to the peer; everything before has been handed to the transport."""
        return file_transfer(self.out, self._transport, descriptor)

    def report(self, error: BaseException, request: Request) -> None:
        """Have an unhandled exception logged."""
        self.service.handle_error(error, request)

    def message(self, line: str) -> None:
        """Write a line to the log."""
        self.service.message(line)

    # Input.

    def _ended(self) -> None:
        """The peer has closed its side of TLS."""
        if not self.eof and not self.out.lost:
            self.eof_received()

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self.out.lost and not self._transport.is_closing():
            self._reading_paused = True
            self._transport.pause_reading()
            self._watch()  # the loop would not tell us now that the peer is gone

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self.out.lost and not self._transport.is_closing():
                self._transport.resume_reading()

    async def wait_closed(self) -> None:
        """Wait until the peer has closed its side, or the connection is lost."""
        if self._gone is None:
            self._gone = asyncio.Event()
            if self.eof or self.out.lost:
                self._gone.set()
        await self._gone.wait()

    async def wait_lost(self) -> None:
        """Wait until the connection is lost, both ways."""
        if self._lost is None:
            self._lost = asyncio.Event()
            if self.out.lost:
                self._lost.set()
        await self._lost.wait()

    def _tell_gone(self) -> None:
        if self._gone is not None:
            self._gone.set()
        if self._lost is not None and self.out.lost:
            self._lost.set()

    # Deadlines.

    def set_timeout(self, seconds: float) -> None:
        """Replace timeout_body and timeout_write for the current request."""
        self._timeout = seconds

    @property
    def silence(self) -> float | None:
        """What `set_silence` has set."""
        return None if self._silence is None else self._silence.seconds

    def set_silence(self, seconds: float | None) -> None:
        """Replace the deadlines of this connection by the timeout of a socket; with None the options hold again.

        It is for each wait for bytes, so a head that goes on to come may take longer, up to ``timeout_head``.
        """
        service = self.service
        self._silence = None if seconds is None else Silence(seconds, service.config.timeout_head)
        self._heads, self._idles = service.heads, service.idles
        if seconds is not None:
            seconds = _rounded(seconds)
            self._idles = service.deadlines.fifo(seconds)
            self._heads = service.deadlines.fifo(min(seconds, service.config.timeout_head))

    def _watch(self) -> None:
        self.service.deadlines.watch(self)

    def _arm(self, fifo: Fifo) -> None:
        if self._fifo is not fifo:
            self._disarm()
            self._fifo = fifo
        self.service.deadlines.arm(fifo, self)

    def _disarm(self) -> None:
        if self._fifo is not None:
            self._fifo.pop(self, None)
            self._fifo = None

    def deadline_expired(self, now: float) -> None:
        """What is waited for has not come in time; the protocol says what then."""

    def check_transfer(self, now: float) -> None:
        """Measure a body or an answer under way; see whether a peer is still there that we do not listen to."""
        body = self._body if self._body is not None and self._body.waiting else None
        sending = self.out.paused or (self.out.closing and self.out.undelivered > 0)
        if not (body is not None or sending or self._reading_paused):
            self.service.deadlines.unwatch(self)
            return
        config = self.service.config
        window, rate = self._timeout or self.silence or config.timeout_body, config.min_rate
        pace = self._receive_pace
        if body is not None and pace is not None and pace.too_slow(now, body.received, window=window, rate=rate):
            body.fail(BodyTimeout())
        if sending:
            delivered = self.out.delivered()
            if self._send_pace is None:
                self._send_pace = TransferRate(delivered)
            self._send_pace.begin(now)
            window = self._timeout or self.silence or config.timeout_write
            if self._send_pace.too_slow(now, delivered, window=window, rate=rate):
                self.abort()
        elif self._send_pace is not None:
            self._send_pace.end(now)
        if self._reading_paused and not self.eof and not self.out.lost and peer_has_closed(self._transport):
            self._tell_gone()

    def abort(self) -> None:
        """Cut the connection at once, by TCP's RST: what the peer does not read is kept for it nowhere."""
        self._disarm()
        self.out.drop_unread()
        self.out.lose()
        self._transport.abort()


def _rounded(seconds: float) -> float:
    """Round up to two digits: there is a queue for each duration, and handlers may ask for any."""
    step = 10.0 ** (math.floor(math.log10(max(seconds, FINEST))) - 1)
    return math.ceil(seconds / step - 1e-6) * step
