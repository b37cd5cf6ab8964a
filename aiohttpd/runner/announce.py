"""The lines on stderr that say where a server listens, who can reach it, and what may be wrong with it."""

import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ..config.hosts import is_loopback
from ..net.sockets import root_of, url_of
from .process import say

__all__ = ["Listening", "announce", "local_url", "serving_on", "warnings"]

_ALL = ("0.0.0.0", "::")


class Listening(Protocol):
    """A server in this process, or a supervisor with its workers."""

    @property
    def addresses(self) -> list[Any]:
        """The address of each socket."""

    @property
    def urls(self) -> list[str]:
        """The URL of each socket."""

    @property
    def server_port(self) -> int | None:
        """The port of the first socket; None on a unix socket."""

    @property
    def tls(self) -> bool:
        """Whether it speaks HTTPS."""


def announce(server: Listening, folder: str | None = None) -> None:
    """Write where the server is reached.

    Args:
        server: it listens already.
        folder: the folder that it serves, if it serves one.
    """
    what = "" if folder is None else " this folder" if folder == "." else f" {_shown(folder)}"
    addresses = [address for address in server.addresses if isinstance(address, tuple)]
    hosts = [address[0] for address in addresses]
    if any(host in _ALL for host in hosts):
        _announce_all_addresses(server, what, hosts)
        return
    say(f"{serving_on(server.urls, what)} (Ctrl-C stops)")
    if folder is not None and addresses and all(map(is_loopback, addresses)):
        say("Only this machine can reach it; --bind 0.0.0.0 shares it with the network")


def _shown(folder: str) -> str:
    """A name of a folder for the terminal: control characters are escaped."""
    return folder if folder.isprintable() else repr(folder)


def serving_on(urls: Sequence[str], what: str = "") -> str:
    """The text "Serving on URL, URL"; ``what`` stands behind the first word."""
    return f"Serving{what} on {', '.join(map(root_of, urls))}"


def _announce_all_addresses(server: Listening, what: str, hosts: list[str]) -> None:
    from ..net.local_addresses import addresses

    port = server.server_port
    say(f"Serving{what} on port {port} of all addresses (Ctrl-C stops)")
    own = ["127.0.0.1"] if "0.0.0.0" in hosts else ["::1"]
    for host in own + addresses(ipv4="0.0.0.0" in hosts, ipv6="::" in hosts):
        say(f"  {root_of(url_of((host, port), tls=server.tls))}")


def local_url(server: Listening) -> str | None:
    """A URL at which this machine reaches the server; None if it listens on unix sockets only."""
    for address in server.addresses:
        if isinstance(address, tuple):
            host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
            return root_of(url_of((host, *address[1:]), tls=server.tls))
    return None


def warnings(
    folder: str | None, files: dict[str, Any], auth: str | None, tls: dict[str, str | None], *, local: bool
) -> Iterator[str]:
    """What the user of the command should know: a page that is missing, risks of a public address.

    Args:
        folder: the folder that is served, if one is.
        files: the options that concern files.
        auth: the password of all of it.
        tls: the options that concern TLS.
        local: no other machine can connect.
    """
    if folder is not None and "spa" in files:
        yield from _missing_page(folder, files["spa"], follow_symlinks="follow_symlinks" in files)
    password = auth or files.get("upload_auth")
    if password and tls["tls_cert"] is None and not local:
        yield "The password crosses the network unencrypted; use --tls-cert"
    if "upload" in files and not password and not tls["tls_ca"] and not local:
        yield "Everybody who reaches this server may upload; --upload-auth USER:PASSWORD asks for a password"


def _missing_page(folder: str, name: str, *, follow_symlinks: bool) -> Iterator[str]:
    """Yield a warning if the page of ``--spa`` does not exist. That is no error: a build may be under way."""
    from ..errors import HTTPError
    from ..handlers.files.tree import open_inside

    folder = os.path.abspath(folder)
    try:
        page = open_inside(folder, os.path.join(folder, name.lstrip("/")), follow_symlinks=follow_symlinks)
    except HTTPError as error:
        yield f"--spa {name}: {error.explain}"
        return
    if page is None or page.is_directory:
        yield f"--spa {name}: there is no such file yet; until it exists, missing pages are answered with 404"
