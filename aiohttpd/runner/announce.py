"""What a program says on stderr about where it listens.

Owns the lines that appear when a server starts.
"""

from typing import Any, Protocol

from ..net.sockets import root_of, url_of
from .process import say

__all__ = ["Listening", "announce", "local_url"]

_ALL = ("0.0.0.0", "::")
_LOOPBACK = ("127.0.0.1", "::1")


class Listening(Protocol):
    """What listens, be it one process or many."""

    @property
    def addresses(self) -> list[Any]:
        """The address of each socket."""

    @property
    def urls(self) -> list[str]:
        """Where it is reached, for each socket."""

    @property
    def server_port(self) -> int | None:
        """The port that is really bound, None on a unix socket."""

    @property
    def tls(self) -> bool:
        """Whether it speaks HTTPS."""


def announce(server: Listening, folder: str | None = None) -> None:
    """Say where the server is, and who can reach it.

    Args:
        server: one that listens.
        folder: what it serves, if it is a folder.
    """
    what = "" if folder is None else " this folder" if folder == "." else f" {folder}"
    hosts = [address[0] for address in server.addresses if isinstance(address, tuple)]
    if not any(host in _ALL for host in hosts):
        say(f"Serving{what} on {', '.join(map(root_of, server.urls))} (Ctrl-C stops)")
        if folder is not None and hosts and all(host in _LOOPBACK for host in hosts):
            say("Only this machine can reach it; --bind 0.0.0.0 shares it with the network")
        return
    from ..net.local_addresses import addresses

    port = server.server_port
    say(f"Serving{what} on port {port} of all addresses (Ctrl-C stops)")
    own = ["127.0.0.1"] if "0.0.0.0" in hosts else ["::1"]
    for host in own + addresses(ipv4="0.0.0.0" in hosts, ipv6="::" in hosts):
        say(f"  {root_of(url_of((host, port), tls=server.tls))}")


def local_url(server: Listening) -> str | None:
    """A URL at which this machine reaches the server."""
    for address in server.addresses:
        if isinstance(address, tuple):
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
            return root_of(url_of((host, *address[1:]), tls=server.tls))
    return None
