"""Host names and loopback addresses, and the option ``hosts``: the names that a server on loopback accepts in Host.

The option protects against DNS rebinding: an attacker lets the DNS name of his web page point to 127.0.0.1, so that
the page and the server have the same origin. This is not possible with ``localhost`` and with IP addresses.
"""

import re
import socket
from collections.abc import Iterator

__all__ = ["IPV6", "NAME", "AllowedHosts", "KnownHosts", "host_name", "is_loopback", "patterns_of", "without_port"]

# For regular expressions: a host name, and an IPv6 address as it stands in URLs, both in lower case.
NAME = r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*"
IPV6 = r"\[[0-9a-f:.]+\]"

_is_name = re.compile(rf"\*|(?:\*\.)?{NAME}\.?").fullmatch
_ALWAYS = ("localhost", "*.localhost")  # RFC 6761 section 6.3
_LONGEST = 253  # characters of a host name (RFC 1035 section 2.3.4)


class AllowedHosts:
    """The allowed names: localhost, names below it, all IP addresses, and the names of the option.

    Args:
        text: names, separated by commas or spaces. ``*.example.com`` allows all names below it, ``*`` any name.

    Raises:
        ValueError: an element of the text is not a name; the message shows it.

    Attributes:
        any: whether any name is allowed.
    """

    def __init__(self, text: str) -> None:
        names = {*_ALWAYS}
        for name in text.lower().replace(",", " ").split():
            if _is_ipv4(name):
                raise ValueError(f"hosts: addresses are always allowed; to listen on {name} write --bind {name}")
            if not _is_name(name):
                raise ValueError(f"hosts: {name!r} is not a name: write it as example.com, without scheme and port")
            names.add(name.removesuffix("."))
        self.any = "*" in names
        self._names = frozenset(names)

    def includes(self, host: str | None) -> bool:
        """Whether a request with this Host is allowed. One without Host is: browsers always send it.

        Args:
            host: the value of the field, with or without a port; None if there is no such field.
        """
        if host is None or self.any:
            return True
        if host.startswith("["):
            return _is_ipv6(host[1:].partition("]")[0])
        name = host_name(host)
        return not self._names.isdisjoint(patterns_of(name)) or _is_ipv4(name)


class KnownHosts(set[str | None]):
    """Values of Host that are allowed, so that they are not parsed again; few and short, since clients choose them."""

    def add(self, host: str | None) -> None:
        """Remember a value, unless it is long, or there are many."""
        if len(self) < 256 and len(host or "") < 64:
            super().add(host)


def is_loopback(address: object) -> bool:
    """Whether only this machine reaches an address: a tuple that begins with a loopback address, or with localhost."""
    host = str(address[0]).lower().removeprefix("::ffff:").removesuffix(".") if isinstance(address, tuple) else ""
    return host in ("localhost", "::1") or (host.startswith("127.") and _is_ipv4(host))


def patterns_of(name: str) -> Iterator[str]:
    """The patterns that a host name matches, the most specific first: ``a.example.org``, ``*.example.org``, ``*.org``.

    A text that has an asterisk, or is longer than any host name, matches nothing.

    Args:
        name: the name, as `host_name` returns it.
    """
    if "*" in name or len(name) > _LONGEST:
        return
    yield name
    for at, sign in enumerate(name):
        if sign == "." and at:
            yield "*" + name[at:]


def host_name(host: str) -> str:
    """The name in the value of a Host field: in lower case, without port, and without a dot at its end."""
    return without_port(host).lower().removesuffix(".")


def without_port(host: str) -> str:
    """The value of a Host field without its port."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return False
    return True


def _is_ipv4(text: str) -> bool:
    """Whether this is an IPv4 address, abbreviated or not: 127.0.0.1, 127.1. No name looks like that."""
    try:
        socket.inet_aton(text)
    except (OSError, ValueError):
        return False
    return not set(text) - set("0123456789abcdefx.")
