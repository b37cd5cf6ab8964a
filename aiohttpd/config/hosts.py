"""Hosts: by which names a server on loopback may be asked.

Owns the option from its text to the answer for the Host of a request. A name that somebody else's DNS has led to this
machine ("rebinding") makes their pages same-origin with the server; nobody can do so with an address, or localhost.
"""

import re
import socket

__all__ = ["AllowedHosts", "is_loopback", "without_port"]

_is_name = re.compile(r"\*|(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?").fullmatch
_ALWAYS = ("localhost", "*.localhost")  # RFC 6761 section 6.3


class AllowedHosts:
    """The names that are allowed: localhost, what is below it, addresses, and those that are given.

    Args:
        text: names with commas or spaces between; ``*.example.com`` is all that is below it, ``*`` is any name.

    Raises:
        ValueError: something in it is no name; the message says which.
    """

    def __init__(self, text: str) -> None:
        names = {*_ALWAYS}
        for name in text.lower().replace(",", " ").split():
            if _is_ipv4(name):
                raise ValueError(f"hosts: addresses are allowed anyway; to listen at {name} write --bind {name}")
            if not _is_name(name):
                raise ValueError(f"hosts: {name!r} is no name: write it as example.com, without scheme and port")
            names.add(name.removesuffix("."))
        self.any = "*" in names
        self._names = frozenset(names)

    def includes(self, host: str | None) -> bool:
        """Whether a request with this Host is for us; one without Host comes from no browser."""
        if host is None or self.any:
            return True
        if host.startswith("["):
            return _is_ipv6(host[1:].partition("]")[0])
        name = without_port(host).lower().removesuffix(".")
        above = ("*" + name[at:] for at, sign in enumerate(name) if sign == ".")
        return name in self._names or any(pattern in self._names for pattern in above) or _is_ipv4(name)


def is_loopback(address: object) -> bool:
    """Whether only this machine reaches a socket with this name."""
    host = str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) else ""
    return host == "::1" or host.startswith("127.")


def without_port(host: str) -> str:
    """The name or address in a Host."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]


def _is_ipv6(text: str) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        return False
    return True


def _is_ipv4(text: str) -> bool:
    """Whether this is an address however it is abbreviated, as no name can be written: 127.0.0.1, 127.1."""
    try:
        socket.inet_aton(text)
    except (OSError, ValueError):
        return False
    return not set(text) - set("0123456789abcdefx.")
