"""The options ``trusted_proxies`` and ``trusted_fields``: which peers are proxies, and which fields they set.

`wire.forwarded` reads the fields, `wire.proxy_protocol` the PROXY protocol.
"""

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

__all__ = ["TrustedProxies", "read_fields"]

_UNIX = "unix:"  # stands for all peers on unix sockets; proxies use it for such clients too

_FORWARDED = "Forwarded"
_FIELDS = {
    name.lower(): name
    for name in (_FORWARDED, "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port")
}


def _items(text: str) -> list[str]:
    return text.replace(",", " ").split()


class TrustedProxies:
    """The addresses of the trusted proxies.

    Args:
        text: addresses and networks of IPv4 and IPv6, separated by commas or spaces; ``unix:`` stands for all peers on
            unix sockets.

    Raises:
        ValueError: an element of the text is none of these; the message shows it.
    """

    def __init__(self, text: str) -> None:
        import ipaddress  # needed only behind a proxy

        self._networks: list[IPv4Network | IPv6Network] = []
        self._unix = False
        for item in _items(text):
            if item == _UNIX:
                self._unix = True
                continue
            try:
                self._networks.append(ipaddress.ip_network(item))
            except ValueError as error:
                raise ValueError(f"trusted_proxies: {item!r} is not an address, a network or unix: ({error})") from None
        # Cached, since most requests come from the same few proxies.
        self.includes = functools.lru_cache(1024)(self._includes)

    def _includes(self, host: str) -> bool:
        """Whether an address is one of a trusted proxy; ``unix:`` is the address of a peer on a unix socket."""
        import ipaddress

        if host == _UNIX:
            return self._unix
        try:
            address = ipaddress.ip_address(host.partition("%")[0])  # without the zone of a link-local address
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # of dual-stack sockets
        return any(address in network for network in self._networks)


def read_fields(text: str) -> frozenset[str]:
    """Read the names of the fields that the proxies set.

    They are ``Forwarded``, or some of ``X-Forwarded-For``, ``-Proto``, ``-Host`` and ``-Port``, never both: a proxy
    that sets one kind passes the other on as the client has sent it.

    Args:
        text: names, separated by commas or spaces.

    Returns:
        The names in lower case.

    Raises:
        ValueError: another name is among them, or both kinds are.
    """
    names = frozenset(name.lower() for name in _items(text))
    for name in names:
        if name not in _FIELDS:
            raise ValueError(f"trusted_fields: {name!r} is not one of {', '.join(_FIELDS.values())}")
    if _FORWARDED.lower() in names and len(names) > 1:
        raise ValueError(
            "trusted_fields: Forwarded or X-Forwarded-*, not both; clients can set the fields that a proxy does not set"
        )
    return names
