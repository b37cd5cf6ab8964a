"""Behind a proxy: who the client is, where a trusted proxy says so.

Owns what is believed, and of whom: connections that a preamble of the PROXY protocol introduces, and
requests whose fields tell of the client. Nothing of this is loaded while no proxy is trusted.
"""

import asyncio
import re
from asyncio import Task
from collections.abc import Callable
from ssl import SSLContext
from typing import Any, NamedTuple, cast

from ..config.trust import TrustedProxies, read_fields
from ..errors import WireError
from ..net.tls_half_close import half_closable, hold_end
from ..net.transport import GONE_PEER
from ..wire.forwarded import elements, last_item, list_items, read_node, read_port, read_scheme
from ..wire.framing import is_host
from ..wire.headers import Headers
from ..wire.proxy_protocol import Preamble, read_preamble
from ..wire.request import Address, Peer, Request
from .connection import HTTPConnection
from .context import ServerContext
from .handshake import pass_to_tls

__all__ = ["ForwardedRequest", "Origin", "ProxiedPeer", "ProxyPreface", "behind_proxies", "find_origin"]

_USUAL_PORTS = {"http": 80, "https": 443}
_has_port = re.compile(r":[0-9]*$").search


class Origin(NamedTuple):
    """What a client has asked its first proxy, as far as it is known.

    Attributes:
        client_address: ``(host, port)`` of the client; port 0 if nobody said.
        scheme: ``http`` or ``https``.
        host: the Host that it named; None: the one in the request.
        port: what it connected to; None if nobody said.
    """

    client_address: Address
    scheme: str
    host: str | None = None
    port: int | None = None

    def authority(self, asked: str | None) -> str | None:
        """Host and port for a request that has ``asked`` for a host itself."""
        host = self.host or asked
        if host is None or self.port is None or self.port == _USUAL_PORTS[self.scheme] or _has_port(host):
            return host
        return f"{host}:{self.port}"


def find_origin(headers: Headers, fields: frozenset[str], proxies: TrustedProxies, peer: Origin) -> Origin:
    """Find out who has asked first.

    The walk begins at the right and goes on while the one who has written a part is trusted. It ends at the first
    address that is not, at what is ``unknown``, hidden or malformed, or with the list.

    Args:
        headers: of the request.
        fields: names in lower case of the fields that the proxies set.
        proxies: who is trusted.
        peer: what is known of the nearest one, who is trusted.
    """
    if "forwarded" in fields:
        return _by_forwarded(headers, proxies, peer)
    address, scheme, host, port = peer
    if "x-forwarded-for" in fields:
        for item in list_items(headers, "X-Forwarded-For"):
            node = read_node(item)
            if node is None:
                break
            address = node
            if not proxies.includes(node[0]):
                break
    # Of these the last word counts: whoever has added to X-Forwarded-For need not have added to them, too.
    if "x-forwarded-proto" in fields:
        scheme = read_scheme(last_item(headers, "X-Forwarded-Proto")) or scheme
    if "x-forwarded-host" in fields and is_host(named := last_item(headers, "X-Forwarded-Host")):
        host = named
    if "x-forwarded-port" in fields:
        port = read_port(last_item(headers, "X-Forwarded-Port")) or port
    return Origin(address, scheme, host, port)


def _by_forwarded(headers: Headers, proxies: TrustedProxies, peer: Origin) -> Origin:
    """RFC 7239: each element has been written by the one whom the element to its right is about."""
    address, scheme, host, port = peer
    for element in elements(headers):
        if element is None:
            break
        scheme = read_scheme(element.get("proto", "")) or scheme
        if is_host(named := element.get("host", "")):
            host = named
        node = read_node(element.get("for", ""))
        if node is None:
            break
        address = node
        if not proxies.includes(node[0]):
            break
    return Origin(address, scheme, host, port)


class ForwardedRequest(Request):
    """A request that proxies may have passed on for somebody.

    Args:
        request: as it has been read.
        proxies: what is known of the proxies on its connection.
    """

    def __init__(self, request: Request, proxies: "ProxiedPeer") -> None:
        super().__init__(request.method, request.target, request.version, request.headers, request.framing)
        self._proxies = proxies

    @property
    def client_address(self) -> Address:
        """``(host, port)`` of the client before all trusted proxies."""
        return self._origin.client_address

    @property
    def server_address(self) -> Address:
        """``(host, port)`` that the client has connected to, if a preamble has said so; else of our side."""
        return self._proxies.destination or super().server_address

    @property
    def scheme(self) -> str:
        """What the client speaks with the first trusted proxy."""
        return self._origin.scheme

    @property
    def host(self) -> str | None:
        """Host and port that the client has asked the first trusted proxy for."""
        return self._origin.authority(super().host)

    @property
    def _origin(self) -> Origin:
        return self._proxies.origin(self.headers, self.peer)


class ProxiedPeer:
    """What is known of the proxies in front of one connection; the connection's `Forwarding`.

    Args:
        proxies: who is trusted.
        fields: names in lower case of the fields that the proxies set.

    Attributes:
        trusted: whether the peer on the wire is a trusted proxy.
    """

    __slots__ = ("_fields", "_fields_count", "_headers", "_origin", "_preamble", "_proxies", "trusted")

    def __init__(self, proxies: TrustedProxies, fields: frozenset[str]) -> None:
        self._proxies = proxies
        self._fields = fields
        self._fields_count = False  # who sends the requests is trusted, so their fields are believed
        self._preamble: Preamble | None = None
        self._headers: Headers | None = None  # what _origin has been found in
        self._origin: Origin
        self.trusted = False

    def connected(self, client_address: Address) -> None:
        """A peer has connected, or TLS has begun after its preamble."""
        if self._preamble is None:
            self.trusted = self._fields_count = self._proxies.includes(str(client_address[0]))

    def introduce(self, preamble: Preamble) -> None:
        """Take over what a preamble says of the client.

        From now on it is as if that one were connected itself: its fields count only if it is trusted, too.
        """
        self._preamble = preamble
        self._fields_count = preamble.source is not None and self._proxies.includes(preamble.source[0])

    @property
    def destination(self) -> Address | None:
        """What the client has connected to, if a preamble has said so."""
        return self._preamble and self._preamble.destination

    def forwarded(self, request: Request, peer: Peer) -> Request:
        """See `Forwarding`."""
        return ForwardedRequest(request, self) if self._fields_count or self._preamble is not None else request

    def origin(self, headers: Headers, peer: Peer) -> Origin:
        """Find out who has asked first; requests that repeat their fields are looked at once."""
        if headers is not self._headers:
            tls_before = self._preamble is not None and self._preamble.tls
            origin = Origin(peer.client_address, "https" if tls_before else peer.scheme)
            self._origin = find_origin(headers, self._fields, self._proxies, origin) if self._fields_count else origin
            self._headers = headers
        return self._origin


class ProxyPreface(asyncio.Protocol):
    """What comes before HTTP on a connection: the preamble of a trusted proxy, then TLS. It hands over to HTTP then.

    Args:
        connection: takes over. It is open from the beginning, so its deadlines and the draining of the server hold.
        proxied: is told what the preamble says.
        tls: arguments of ``loop.start_tls``; None without TLS.
    """

    def __init__(self, connection: HTTPConnection, proxied: ProxiedPeer, tls: dict[str, Any] | None) -> None:
        self._connection = connection
        self._proxied = proxied
        self._tls = tls
        self._received = b""  # of the preamble and what follows; later, what TLS has decrypted
        self._handshake: Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected; one that is no trusted proxy sends no preamble."""
        self._transport = cast(asyncio.Transport, transport)
        self._connection.connection_made(transport)
        if self._connection.client_address == GONE_PEER:
            self._transport.abort()  # some health checks end so; what they have sent is not worth a line in the log
        elif not self._proxied.trusted:
            self._preamble_ended()

    def data_received(self, data: bytes) -> None:
        """A piece of the preamble, or more."""
        self._received += data
        if self._handshake is not None:
            return
        try:
            preamble = read_preamble(self._received)
        except WireError as error:
            self._transport.set_protocol(self._connection)
            self._connection.refuse_preamble(self._received, error)
            return
        if preamble is not None:
            self._proxied.introduce(preamble)
            if preamble.source is not None:
                self._connection.client_address = preamble.source
            self._received = self._received[preamble.size :]
            self._preamble_ended()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is closed."""
        self._connection.connection_lost(error)

    def _preamble_ended(self) -> None:
        if self._tls is None:
            self._hand_over(self._transport)
        else:
            self._connection.disarm()  # TLS has a deadline of its own
            # Not by loop.create_task: that may begin it at once, and the order of what follows counts.
            self._handshake = Task(self._begin_tls(self._tls), loop=self._connection.context.loop)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        transport.set_protocol(self._connection)
        if self._received:
            self._connection.data_received(self._received)

    async def _begin_tls(self, tls: dict[str, Any]) -> None:
        loop = self._connection.context.loop
        started = Task(loop.start_tls(self._transport, self, server_side=True, **tls), loop=loop)
        await asyncio.sleep(0)
        # By now TLS stands between, and the loop is about to tell it so; next it gets what has come before.
        loop.call_soon(self._pass_to_tls)
        try:
            transport = cast(asyncio.Transport, await started)
        except Exception:  # there are many ways for it to fail, and none of them is ours
            transport = None
            self._transport.abort()
        if transport is None or self._transport.is_closing() or transport.is_closing():
            self._connection.connection_lost(None)
            return
        hold_end(self._transport, transport)
        self._connection.connection_made(transport)
        self._hand_over(transport)

    def _pass_to_tls(self) -> None:
        """Give to TLS what has come before it, as a transport would."""
        if self._transport.get_protocol() is self or self._transport.is_closing():
            return  # TLS could not be begun, or has nobody to speak with
        data, self._received = self._received, b""
        pass_to_tls(self._transport, data)


def behind_proxies(
    context: ServerContext, tls_context: Callable[[], SSLContext | None], tls: dict[str, Any]
) -> tuple[Callable[[], asyncio.Protocol], bool]:
    """How a server makes connections that trusts proxies.

    Args:
        context: of the server; its options say whom it trusts.
        tls_context: gives the context of TLS, that of the moment; None without TLS.
        tls: other arguments of ``loop.start_tls``.

    Returns:
        What makes a protocol, and whether it sees to TLS itself, since the preamble comes before it.
    """
    config = context.config
    proxies, fields = TrustedProxies(config.trusted_proxies), read_fields(config.trusted_fields)

    def connection() -> HTTPConnection:
        return HTTPConnection(context, ProxiedPeer(proxies, fields))

    def preface() -> ProxyPreface:
        proxied = ProxiedPeer(proxies, fields)
        current = tls_context()
        options = None if current is None else {"sslcontext": half_closable(current), **tls}
        return ProxyPreface(HTTPConnection(context, proxied), proxied, options)

    return (preface, True) if config.proxy_protocol else (connection, False)
