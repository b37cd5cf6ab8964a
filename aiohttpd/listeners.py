"""Listening sockets: TCP, unix, and those that somebody else has made.

Owns how an address becomes a socket, and what it is called. No server is known here.
"""

import contextlib
import errno
import os
import socket
import stat
import sys
from collections.abc import Sequence
from typing import Any

__all__ = ["BindError", "ServerAddress", "listen", "url_of"]

# ("host", port), the path of a unix socket, or a listening socket.
ServerAddress = tuple[str, int] | str | socket.socket


class BindError(OSError):
    """An address cannot be listened on; the text says which and why."""

    def __str__(self) -> str:
        return str(self.args[-1])


def listen(address: ServerAddress | Sequence[ServerAddress], backlog: int) -> list[socket.socket]:
    """Make sockets that listen.

    An empty host, or ``None``, stands for all addresses of the machine, IPv4 and IPv6 alike. A name
    is resolved once, here. Port 0 takes a free port, the same for all addresses of one name.

    Args:
        address: one address, or a list of several.
        backlog: connections that may wait to be accepted.

    Raises:
        BindError: one of them cannot be listened on; none is left open then.
    """
    several = address if isinstance(address, list) else [address]
    sockets: list[socket.socket] = []
    try:
        for one in several:
            sockets += _listen(one, backlog)  # type: ignore[arg-type]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def url_of(name: Any, *, tls: bool = False) -> str:
    """The URL under which the name of a listening socket is reached, ``http://127.0.0.1:8000/`` say."""
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    scheme, usual = ("https", 443) if tls else ("http", 80)
    return f"{scheme}://{host}/" if name[1] == usual else f"{scheme}://{host}:{name[1]}/"


def _listen(address: ServerAddress, backlog: int) -> list[socket.socket]:
    if isinstance(address, socket.socket):
        address.setblocking(False)
        address.listen(backlog)
        return [address]
    if isinstance(address, (str, bytes, os.PathLike)):
        return [_listen_unix(os.fspath(address), backlog)]
    host, port = address[:2]
    sockets: list[socket.socket] = []
    try:
        for family, sockaddr in _resolve(host, port):
            if sockets and port == 0:
                sockaddr = (sockaddr[0], sockets[0].getsockname()[1], *sockaddr[2:])
            try:
                sockets.append(_listen_tcp(family, sockaddr, backlog))
            except BindError as error:
                # "All addresses" are those that there are: a kernel may be without one of the two families.
                if host or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _resolve(host: str | None, port: int) -> list[tuple[int, tuple[str, int, int, int] | tuple[str, int]]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise BindError(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}") from None
    unique = dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found)
    return list(unique)  # type: ignore[arg-type]


def _listen_tcp(family: int, sockaddr: tuple[str, int, int, int] | tuple[str, int], backlog: int) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _explained(f"{sockaddr[0]}:{sockaddr[1]}", error) from None
    try:
        if os.name == "posix" and sys.platform != "cygwin":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not while another listens
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        sock.bind(sockaddr)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _explained(f"{sockaddr[0]}:{sockaddr[1]}", error) from None
    return sock


def _listen_unix(path: str | bytes, backlog: int) -> socket.socket:
    path = os.fsdecode(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_dead_socket(path)
        sock.bind(path)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _explained(f"unix:{path}", error) from None
    return sock


def _remove_dead_socket(path: str) -> None:
    """Remove a socket that a server has left behind, never one that somebody listens on."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)


def _explained(where: str, error: OSError) -> BindError:
    if error.errno == errno.EADDRINUSE:
        why = "it is in use: is another server running? Choose another with --port"
    elif error.errno in (errno.EACCES, errno.EPERM):
        why = (
            "it is not allowed: ports below 1024 are for root" if not where.startswith("unix:") else "it is not allowed"
        )
    elif error.errno == errno.EADDRNOTAVAIL:
        why = "this machine does not have the address"
    else:
        why = error.strerror or str(error)
    return BindError(error.errno, f"cannot listen on {where}: {why}")
