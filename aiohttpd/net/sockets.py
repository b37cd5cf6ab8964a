"""Listening sockets: TCP, unix, and those that somebody else has made.

Owns how an address becomes a socket, and what it is called. No server is known here.
"""

import contextlib
import errno
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["BindError", "ServerAddress", "UnixAddress", "bind_beside", "check_address", "listen", "root_of", "url_of"]

_TRIES = 8  # to find a port that is free for IPv4 and IPv6 alike
_PATIENCE = 1.0  # seconds for another server that begins in the same folder
_SOCKETS = ("sock", "socket", "unix", "ipc")  # what names of sockets end with, and names of hosts do not
_LOCALHOST = ("127.0.0.1", "::1")  # RFC 6761 section 6.3, whatever the file of hosts has of them

_SockAddr = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True)
class UnixAddress:
    """Where a unix socket is to be, and who may connect to it.

    Attributes:
        path: of the socket; on Linux one that begins with NUL is in no folder.
        mode: its permissions, 0o660 say; by default what the umask leaves.
        group: its group, by name or number; by default that of the process.
    """

    path: str
    mode: int | None = None
    group: str | None = None


# ("host", port), the path of a unix socket with or without more about it, or a listening socket.
ServerAddress = tuple[str, int] | str | UnixAddress | socket.socket


class BindError(OSError):
    """An address cannot be listened on; the text says which and why."""

    def __str__(self) -> str:
        return str(self.args[-1])


def check_address(address: Any) -> None:
    """See that this is an address, or a list of several, as far as it can be told without asking the system.

    A text is the path of a unix socket, unless it looks like a host or a URL; ``./localhost`` is a path.

    Raises:
        TypeError: it is nothing that an address can be; the text says what to write.
        ValueError: it looks like another address than the one that it would be; or there is no such port.
    """
    if isinstance(address, list):
        for one in address:
            _check(one)
    else:
        _check(address)


def _check(address: Any) -> None:
    if isinstance(address, (bytes, str)):
        _check_path(os.fsdecode(address))
    elif isinstance(address, tuple):
        _check_host(address)
    elif isinstance(address, int):
        raise TypeError(f"{address} is no address: write ('127.0.0.1', {address}), host and port")
    elif not isinstance(address, (socket.socket, UnixAddress, os.PathLike)):
        raise TypeError(
            f"{address!r} is no address: write ('127.0.0.1', 8000), or give the path of a unix socket, a listening "
            "socket, or a list of these"
        )


def _check_path(text: str) -> None:
    if text.startswith("\0") or not _looks_like_host(text):
        return
    scheme, _, rest = text.rpartition("://")
    host, colon, port = rest.split("/")[0].rpartition(":")
    if text.startswith("unix:"):
        write = "the path alone, or UnixAddress(path, mode, group)"
    elif colon and port.isdecimal() and not host.endswith(":"):
        write = f"({host.removeprefix('[').removesuffix(']')!r}, {int(port)}), host and port"
    elif text.isdecimal():
        write = f"('127.0.0.1', {text}), host and port"
    elif scheme:
        write = f"({rest.split('/')[0]!r}, {443 if scheme == 'https' else 80}), host and port"
    else:
        write = f"({text!r}, 8000), host and port"
        write += f"; or './{text}', if it is the path of a unix socket" if text else ""
    raise ValueError(f"{text!r} is no address: write {write}")


def _looks_like_host(text: str) -> bool:
    """Whether a text that should be a path means something else: a host, with or without a port, or a URL."""
    if "/" in text:
        return "://" in text or text.startswith("unix:")
    if not text or ":" in text or text.lower().removesuffix(".") in ("localhost", "*", socket.gethostname().lower()):
        return True
    *labels, last = text.removesuffix(".").split(".")
    if last.isdecimal():
        return True  # an address, or a port
    return bool(labels and all(labels) and last.isascii() and last.isalpha() and len(last) > 1 and last not in _SOCKETS)


def _check_host(address: tuple[Any, ...]) -> None:
    if not 2 <= len(address) <= 4 or isinstance(address[0], (tuple, socket.socket)):
        raise TypeError(f"{address!r} is no address: write (host, port); several of them are a list")
    host, port = address[:2]
    if isinstance(host, int):
        raise TypeError(f"the host is {host!r}: write port={host} for a port, and the host as a text: '127.0.0.1'")
    if host is not None and not isinstance(host, str):
        raise TypeError(f"the host is a text, not {host!r}: '127.0.0.1', say")
    name, _, digits = (host or "").rpartition(":")
    if digits.isdecimal() and (":" not in name or name.endswith("]")):
        raise ValueError(
            f"the host {host!r} has a port in it: write ({name.strip('[]')!r}, {int(digits)}), host and port"
        )
    if isinstance(port, str) and port.isascii() and port.isdigit():
        port = int(port)
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"the port is a number, not {port!r}")
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is no port: they are 0 to 65535")


def listen(
    address: ServerAddress | list[ServerAddress], backlog: int, *, reuse_port: bool = False
) -> list[socket.socket]:
    """Make sockets that listen.

    An empty host, ``None`` or ``"::"`` stands for all addresses of the machine, IPv4 and IPv6 alike, each with
    a socket of its own. A name is resolved once, here. Port 0 takes a free port, the same for all
    addresses of one name. ``"localhost"`` is 127.0.0.1 and ::1, as far as the machine has them. Closing a unix socket
    that was made here removes it from its folder.

    Args:
        address: one address, or a list of several.
        backlog: connections that may wait to be accepted.
        reuse_port: let other sockets of the same user listen on the same port; each gets its share of the
            connections.

    Raises:
        BindError: one of them cannot be listened on; none is left open then.
    """
    several = address if isinstance(address, list) else [address]
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []
        for one in several:
            for sock in _listen(one, several, backlog, reuse_port):
                undo.callback(sock.close)
                sockets.append(sock)
        undo.pop_all()
    return sockets


def bind_beside(sock: socket.socket) -> socket.socket:
    """Make another socket for the address of one that shares its port.

    It does not listen yet, and until it does the system deals no connection to it.

    Raises:
        BindError: that is not to be had.
    """
    return _bind_tcp(sock.family, sock.getsockname(), reuse_port=True)


def url_of(name: Any, *, tls: bool = False) -> str:
    """The URL under which the name of a listening socket is reached, ``http://127.0.0.1:8000`` say."""
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name).replace(chr(0), '@')}"
    scheme, usual = ("https", 443) if tls else ("http", 80)
    return f"{scheme}://{_host_of(name)}" if name[1] == usual else f"{scheme}://{_host_of(name)}:{name[1]}"


def root_of(url: str) -> str:
    """A URL of `url_of` as people and browsers are given it."""
    return url if url.startswith("unix:") else f"{url}/"


def _host_of(name: Any) -> str:
    """The host of a socket's name as one writes it; with its zone, RFC 9844, since it means nothing without."""
    host = str(name[0])
    if len(name) == 4 and name[3] and "%" not in host:
        try:
            host += f"%{socket.if_indextoname(name[3])}"
        except OSError:  # the interface is gone, or was never there
            host += f"%{name[3]}"
    return f"[{host}]" if ":" in host else host


def _listen(address: ServerAddress, others: list[ServerAddress], backlog: int, reuse_port: bool) -> list[socket.socket]:
    if isinstance(address, socket.socket):
        address.setblocking(False)
        address.listen(backlog)
        return [address]
    if isinstance(address, UnixAddress):
        return [_listen_unix(address, backlog)]
    if isinstance(address, (str, bytes, os.PathLike)):
        return [_listen_unix(UnixAddress(os.fsdecode(address)), backlog)]
    _check_host(address)
    host, port = address[:2]
    zone: tuple[int, ...] = address[3:]  # what getsockname() says may have one
    if any(zone) and "%" not in host:
        host = f"{host}%{zone[0]}"  # as it can be resolved
    hosts, everywhere = _hosts(host, port, others)
    resolved = [found for name in hosts for found in _resolve(name, port)]
    for left in reversed(range(_TRIES)):
        try:
            return _listen_all(resolved, backlog, reuse_port, everywhere=everywhere)
        except BindError as error:
            # A port that was free for the first address is not always so for the second.
            if not left or port or len(resolved) == 1 or error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError


def _hosts(host: str | None, port: int, others: list[ServerAddress]) -> tuple[list[str | None], bool]:
    """What a host stands for; and whether that may be less, as a kernel may be without one of the two families."""
    if host == "::" and ("0.0.0.0", port) not in others:
        return ["::", "0.0.0.0"], True
    if host and host.lower().removesuffix(".") == "localhost":
        return [name for name in _LOCALHOST if (name, port) not in others], True
    # Who names IPv4 besides means IPv6 by "::".
    return [host or None], not host


def _resolve(host: str | None, port: int) -> list[tuple[int, _SockAddr]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError, OverflowError) as error:
        raise BindError(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}") from None
    unique = dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found)
    return list(unique)  # type: ignore[arg-type]


def _listen_all(
    resolved: list[tuple[int, _SockAddr]], backlog: int, reuse_port: bool, *, everywhere: bool
) -> list[socket.socket]:
    """Listen on all addresses of one name, by the same port."""
    missing: BindError | None = None
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []
        for family, sockaddr in resolved:
            if sockets and sockaddr[1] == 0:
                sockaddr = (sockaddr[0], sockets[0].getsockname()[1], *sockaddr[2:])
            try:
                sock = _listen_tcp(family, sockaddr, backlog, reuse_port)
            except BindError as error:
                # "All addresses" are those that there are.
                if not everywhere or error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                    raise
                missing = error
                continue
            undo.callback(sock.close)
            sockets.append(sock)
        undo.pop_all()
    if missing is not None and not sockets:
        raise missing
    return sockets


def _listen_tcp(family: int, sockaddr: _SockAddr, backlog: int, reuse_port: bool) -> socket.socket:
    sock = _bind_tcp(family, sockaddr, reuse_port=reuse_port)
    try:
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise _explained(f"{_host_of(sockaddr)}:{sockaddr[1]}", error) from None
    return sock


def _bind_tcp(family: int, sockaddr: _SockAddr, *, reuse_port: bool) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _explained(f"{_host_of(sockaddr)}:{sockaddr[1]}", error) from None
    try:
        if os.name == "posix" and sys.platform != "cygwin":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not while another listens
        if reuse_port:
            if not hasattr(socket, "SO_REUSEPORT"):
                raise OSError("this system cannot share a port (reuse_port)")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
        sock.bind(sockaddr)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise _explained(f"{_host_of(sockaddr)}:{sockaddr[1]}", error) from None
    return sock


class _UnixListener(socket.socket):
    """A unix socket that leaves its folder when it is closed; copies of it do not count."""

    _place: tuple[str, int, int] | None = None

    def settle(self, path: str) -> None:
        """Remember where it is, to remove nothing else later."""
        found = os.stat(path)
        self._place = path, found.st_dev, found.st_ino

    def dup(self) -> socket.socket:  # type: ignore[override]
        """A copy, whose end is not the end of the socket."""
        return socket.socket(self.family, self.type, self.proto, fileno=os.dup(self.fileno()))

    def close(self) -> None:
        """Close it, and remove it from its folder if nobody has put another in its place."""
        place, self._place = self._place, None
        if place is not None:
            # While it still listens, so that nobody can take it for a dead one and be in the way.
            with contextlib.suppress(OSError):
                found = os.lstat(place[0])
                if (found.st_dev, found.st_ino) == place[1:]:
                    os.unlink(place[0])
        super().close()


def _listen_unix(address: UnixAddress, backlog: int) -> socket.socket:
    path = address.path
    sock = _UnixListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.startswith("\0"):
            sock.bind(path)
            sock.listen(backlog)
        else:
            # Until listen() nobody gets in, so the permissions are in force before anybody can.
            with _alone_in(os.path.dirname(path) or "."):
                _remove_dead_socket(path)
                sock.bind(path)
                sock.settle(path)
                _restrict(address)
                sock.listen(backlog)
        sock.setblocking(False)
    except (OSError, LookupError) as error:
        sock.close()
        raise _explained(url_of(path), error) from None
    return sock


def _restrict(address: UnixAddress) -> None:
    if address.group is not None:
        import grp

        number = int(address.group) if address.group.isdigit() else grp.getgrnam(address.group).gr_gid
        os.chown(address.path, -1, number)
    if address.mode is not None:
        os.chmod(address.path, address.mode)


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Let servers that begin at the same moment do so one after the other.

    A socket that is bound and does not listen yet refuses connections as a dead one does. Where the lock
    is not to be had, because there is none or somebody keeps it, we do without.
    """
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        yield
        return
    try:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < until:
                    time.sleep(0.01)
                    continue
            except OSError:
                pass
            break
        yield
    finally:
        os.close(descriptor)


def _remove_dead_socket(path: str) -> None:
    """Remove a socket that a server has left behind, never one that somebody listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "something else is there, and no socket")
    except FileNotFoundError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # busy, not ours to connect to, or gone meanwhile: bind() will say


def _explained(where: str, error: OSError | LookupError) -> BindError:
    number = getattr(error, "errno", None)
    unix = where.startswith("unix:")
    if isinstance(error, LookupError):
        why = str(error.args[0]) if error.args else str(error)
    elif number == errno.EADDRINUSE:
        why = "it is in use: is another server running?"
    elif number in (errno.EACCES, errno.EPERM):
        why = "it is not allowed" if unix else "it is not allowed: ports below 1024 are for root"
    elif number == errno.EADDRNOTAVAIL:
        why = "this machine does not have the address"
    else:
        why = error.strerror or str(error)
    return BindError(number, f"cannot listen on {where}: {why}")
