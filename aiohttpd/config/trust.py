"""Whom to believe about the client: the addresses of one's own proxies, and the fields that they set.

Owns the two options from their text to what is asked about each peer. What the proxies say is read
elsewhere; nothing of the package is known here.
"""

import functools
from typing import Any

__all__ = ["UNIX", "TrustedProxies", "read_fields"]

UNIX = "unix:"  # whoever connects to a unix socket; proxies write it for such a client, too

_FORWARDED = "Forwarded"
_FIELDS = {
    name.lower(): name
    for name in (_FORWARDED, "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port")
}


def _items(text: str) -> list[str]:
    return text.replace(",", " ").split()


class TrustedProxies:
    """The addresses of one's own proxies.

    Args:
        text: addresses and networks, IPv4 and IPv6, with commas or spaces between; ``unix:`` stands for whoever
            connects to a unix socket.

    Raises:
        ValueError: something in it is none of these; the message says which.
    """

    def __init__(self, text: str) -> None:
        import ipaddress  # by far not every server is behind a proxy

        self._networks: list[Any] = []
        self._unix = False
        for item in _items(text):
            if item == UNIX:
                self._unix = True
                continue
            try:
                self._networks.append(ipaddress.ip_network(item))
            except ValueError as error:
                raise ValueError(
                    f"trusted_proxies: {item!r} is no address, no network and not unix: ({error})"
                ) from None
        # The same few peers ask again and again.
        self.includes = functools.lru_cache(1024)(self._includes)

    def _includes(self, host: str) -> bool:
        """Whether an address is one of theirs; ``unix:`` for a peer on a unix socket."""
        import ipaddress

        if host == UNIX:
            return self._unix
        try:
            address = ipaddress.ip_address(host.partition("%")[0])  # without the zone of a link-local address
        except ValueError:
            return False
        address = getattr(address, "ipv4_mapped", None) or address  # as a socket for both families has it
        return any(address in network for network in self._networks)


def read_fields(text: str) -> frozenset[str]:
    """Read which fields the proxies set.

    Either ``Forwarded`` or some of ``X-Forwarded-For|Proto|Host|Port``: a proxy that sets the one passes the other on
    as the client has sent it, so both are never believed.

    Returns:
        Their names in lower case.

    Raises:
        ValueError: there is another among them, or one of either kind.
    """
    names = frozenset(name.lower() for name in _items(text))
    for name in names:
        if name not in _FIELDS:
            raise ValueError(f"trusted_fields: {name!r} is none of {', '.join(_FIELDS.values())}")
    if _FORWARDED.lower() in names and len(names) > 1:
        raise ValueError("trusted_fields: Forwarded or X-Forwarded-*, not both; what a proxy does not set, clients can")
    return names
