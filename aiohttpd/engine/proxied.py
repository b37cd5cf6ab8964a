"""Behind trusted proxies: client address, scheme and host of requests as the client has used them.

Owns which data is trusted: the preamble of the PROXY protocol before a connection, and Forwarded or X-Forwarded-*
fields of requests. This module is imported only if a proxy is trusted.
"""

import asyncio
import re
from asyncio import Task
from collections.abc import Callable
from ssl import SSLContext
from typing import NamedTuple, cast

from ..config.trust import TrustedProxies, read_fields
from ..errors import WireError
from ..net.tls_half_close import half_closable
from ..net.transport import GONE_PEER
from ..wire.forwarded import elements, last_item, list_items, read_node, read_port, read_scheme
from ..wire.framing import is_host
from ..wire.headers import Headers
from ..wire.proxy_protocol import Preamble, read_preamble
from ..wire.request import Address, Peer, Request
from .connection import HTTPConnection
from .context import ServerContext
from .handshake import begin_tls

__all__ = ["ForwardedRequest", "Origin", "ProxiedPeer", "ProxyPreface", "behind_proxies", "find_origin"]

_USUAL_PORTS = {"http": 80, "https": 443}
_has_port = re.compile(r":[0-9]*$").search


class Origin(NamedTuple):
    """How the client has addressed the first trusted proxy.

    Attributes:
        client_address: ``(host, port)`` of the client; port 0 if it is not known.
        scheme: ``http`` or ``https``.
        host: the Host that the client has sent; None: that of the request.
        port: the port that the client has connected to; None if it is not known.
    """

    client_address: Address
    scheme: str
    host: str | None = None
    port: int | None = None

    def authority(self, asked: str | None) -> str | None:
        """Return host and port.

        Args:
            asked: the Host field of the request, for an origin without a host.
        """
        host = self.host or asked
        if host is None or self.port is None or self.port == _USUAL_PORTS[self.scheme] or _has_port(host):
            return host
        return f"{host}:{self.port}"


def find_origin(headers: Headers, fields: frozenset[str], proxies: TrustedProxies, peer: Origin) -> Origin:
    """Find the client of a request that came from a trusted proxy.

    The addresses in the fields are read from right to left, since each proxy appends the address of its peer. The first
    address that is not a trusted proxy is that of the client. The search also ends at an element that is ``unknown``,
    an obfuscated identifier (RFC 7239 section 6.3) or malformed.

    Args:
        headers: the fields of the request.
        fields: the names, in lower case, of the fields that the proxies set.
        proxies: the trusted proxies.
        peer: the origin of the request as the connection knows it: that of the nearest proxy.
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
    # Of these fields the last value is used: they need not have as many values as X-Forwarded-For.
    if "x-forwarded-proto" in fields:
        scheme = read_scheme(last_item(headers, "X-Forwarded-Proto")) or scheme
    if "x-forwarded-host" in fields and is_host(named := last_item(headers, "X-Forwarded-Host")):
        host = named
    if "x-forwarded-port" in fields:
        port = read_port(last_item(headers, "X-Forwarded-Port")) or port
    return Origin(address, scheme, host, port)


def _by_forwarded(headers: Headers, proxies: TrustedProxies, peer: Origin) -> Origin:
    """RFC 7239 section 4: each element was added by the proxy whose address is in the element to its right."""
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
    """A request on a connection from a trusted proxy.

    Args:
        request: the request as parsed.
        proxies: finds the client.
    """

    def __init__(self, request: Request, proxies: "ProxiedPeer") -> None:
        super().__init__(request.method, request.target, request.version, request.headers, request.framing)
        self._proxies = proxies

    @property
    def client_address(self) -> Address:
        """``(host, port)`` of the client, in front of all trusted proxies."""
        return self._origin.client_address

    @property
    def server_address(self) -> Address:
        """``(host, port)`` that the client has connected to, from a PROXY preamble; else that of our socket."""
        return self._proxies.destination or super().server_address

    @property
    def scheme(self) -> str:
        """``http`` or ``https``: what the client uses with the first trusted proxy."""
        return self._origin.scheme

    @property
    def host(self) -> str | None:
        """Host and port that the client has sent to the first trusted proxy."""
        return self._origin.authority(super().host)

    @property
    def _origin(self) -> Origin:
        return self._proxies.origin(self.headers, self.peer)


class ProxiedPeer:
    """The `Forwarding` of one connection.

    Args:
        proxies: the trusted proxies.
        fields: the names, in lower case, of the fields that the proxies set.

    Attributes:
        trusted: whether the TCP peer is a trusted proxy.
    """

    __slots__ = ("_fields", "_headers", "_origin", "_preamble", "_proxies", "_trusts_fields", "trusted")

    def __init__(self, proxies: TrustedProxies, fields: frozenset[str]) -> None:
        self._proxies = proxies
        self._fields = fields
        self._trusts_fields = False  # the sender of the requests is trusted, so their fields are used
        self._preamble: Preamble | None = None
        self._headers: Headers | None = None  # the fields in which _origin was found
        self._origin: Origin
        self.trusted = False

    def connected(self, client_address: Address) -> None:
        """A peer has connected, or TLS has begun after a preamble."""
        if self._preamble is None:
            self.trusted = self._trusts_fields = self._proxies.includes(str(client_address[0]))

    def introduce(self, preamble: Preamble) -> None:
        """Use the addresses of a preamble.

        From now on the source in the preamble counts as the peer. So fields of requests are used only if this source is
        a trusted proxy, too.
        """
        self._preamble = preamble
        self._trusts_fields = preamble.source is not None and self._proxies.includes(preamble.source[0])

    @property
    def destination(self) -> Address | None:
        """The address that the client has connected to, from the preamble; None if there is none."""
        return self._preamble and self._preamble.destination

    def forwarded(self, request: Request, peer: Peer) -> Request:
        """See `Forwarding`."""
        return ForwardedRequest(request, self) if self._trusts_fields or self._preamble is not None else request

    def origin(self, headers: Headers, peer: Peer) -> Origin:
        """Find the origin of a request. The result is kept for the next request if it has the same fields."""
        if headers is not self._headers:
            tls_before = self._preamble is not None and self._preamble.tls
            origin = Origin(peer.client_address, "https" if tls_before else peer.scheme)
            self._origin = find_origin(headers, self._fields, self._proxies, origin) if self._trusts_fields else origin
            self._headers = headers
        return self._origin


class ProxyPreface(asyncio.Protocol):
    """The protocol of a connection before HTTP: it receives the PROXY preamble, then begins TLS.

    Args:
        connection: the connection that gets the transport afterwards. It is open from the beginning, so its deadline
            and the drain of the server apply.
        proxied: gets the preamble.
        tls: the TLS context; None without TLS.
    """

    def __init__(self, connection: HTTPConnection, proxied: ProxiedPeer, tls: SSLContext | None) -> None:
        self._connection = connection
        self._proxied = proxied
        self._tls = tls if tls is None else half_closable(tls)
        self._lost = False
        self._received = b""  # the preamble and bytes after it; later, bytes that TLS has decrypted
        self._handshake: Task[None] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A peer has connected. A preamble is expected only if it is a trusted proxy."""
        self._transport = cast(asyncio.Transport, transport)
        self._connection.connection_made(transport)
        if self._connection.client_address == GONE_PEER:
            self._transport.abort()  # health checks reset their connection; nothing is logged for them
        elif not self._proxied.trusted:
            self._preamble_ended()

    def data_received(self, data: bytes) -> None:
        """A part of the preamble has arrived, or all of it and bytes that follow."""
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
        if not self._lost:
            self._lost = True
            self._connection.connection_lost(error)

    def _preamble_ended(self) -> None:
        if self._tls is None:
            self._hand_over(self._transport)
        else:
            self._connection.disarm()  # TLS has a deadline of its own
            # Not by loop.create_task: with an eager task factory the task would run at once, in the wrong order.
            self._handshake = Task(self._begin_tls(self._tls), loop=self._connection.context.loop)

    def _hand_over(self, transport: asyncio.Transport) -> None:
        transport.set_protocol(self._connection)
        if self._received:
            self._connection.data_received(self._received)

    async def _begin_tls(self, tls: SSLContext) -> None:
        config = self._connection.context.config
        try:
            transport = await begin_tls(self._transport, self, tls, config, self._take_received)
        except Exception:  # the handshake has failed; the class of the exception depends on the loop
            transport = None
            self._transport.abort()
        if transport is None:
            self.connection_lost(None)
            return
        self._connection.connection_made(transport)
        self._hand_over(transport)

    def _take_received(self) -> bytes:
        """Return the bytes that have arrived after the preamble."""
        data, self._received = self._received, b""
        return data


def behind_proxies(
    context: ServerContext, tls_context: Callable[[], SSLContext | None]
) -> tuple[Callable[[], asyncio.Protocol], bool]:
    """Make the protocol factory of a server that trusts proxies.

    Args:
        context: the context of the server; its options name the trusted proxies.
        tls_context: returns the current TLS context; None without TLS.

    Returns:
        The factory, and whether its protocols begin TLS themselves (after the preamble).
    """
    config = context.config
    proxies, fields = TrustedProxies(config.trusted_proxies), read_fields(config.trusted_fields)

    def connection() -> HTTPConnection:
        return HTTPConnection(context, ProxiedPeer(proxies, fields))

    def preface() -> ProxyPreface:
        proxied = ProxiedPeer(proxies, fields)
        return ProxyPreface(HTTPConnection(context, proxied), proxied, tls_context())

    return (preface, True) if config.proxy_protocol else (connection, False)
