"""Listening sockets: TCP, unix, and those that the program has made.

Owns how an address becomes a socket, how sockets are named in URLs, and the errors of addresses.
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

_TRIES = 8  # attempts to find a port that is free for IPv4 and IPv6
_PATIENCE = 1.0  # seconds to wait for another server that starts in the same folder
_SOCKETS = ("sock", "socket", "unix", "ipc")  # endings of names of sockets that are no top-level domains
_LOCALHOST = ("127.0.0.1", "::1")  # RFC 6761 section 6.3; /etc/hosts does not count

_SockAddr = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True)
class UnixAddress:
    """The path of a unix socket, and who may connect to it.

    Attributes:
        path: the path of the socket; on Linux one that begins with NUL is an abstract socket.
        mode: its permissions, for example 0o660; by default as the umask says.
        group: its group, by name or number; by default that of the process.
    """

    path: str
    mode: int | None = None
    group: str | None = None


# ("host", port), the path of a unix socket, a UnixAddress, or a listening socket.
ServerAddress = tuple[str, int] | str | UnixAddress | socket.socket


class BindError(OSError):
    """The server cannot listen on an address. The text names the address and the reason."""

    def __str__(self) -> str:
        return str(self.args[-1])


def check_address(address: Any) -> None:
    """Check an address, or a list of addresses, without asking the system.

    A text is the path of a unix socket, but one that looks like a host or a URL is refused; ``./localhost`` is a path.

    Raises:
        TypeError: the value cannot be an address; the text says what to write.
        ValueError: a path looks like a host or a URL, or a port is out of range.
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
        raise TypeError(f"{address} is not an address: write ('127.0.0.1', {address}), host and port")
    elif not isinstance(address, (socket.socket, UnixAddress, os.PathLike)):
        raise TypeError(
            f"{address!r} is not an address: write ('127.0.0.1', 8000), or give the path of a unix socket, a listening "
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
    raise ValueError(f"{text!r} is not an address: write {write}")


def _looks_like_host(text: str) -> bool:
    """Whether a text that should be a path looks like a host, with or without a port, or like a URL."""
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
        raise TypeError(f"{address!r} is not an address: write (host, port), or a list of these")
    host, port = address[:2]
    if isinstance(host, int):
        raise TypeError(f"the host is {host!r}: write port={host} for a port, and the host as a text: '127.0.0.1'")
    if host is not None and not isinstance(host, str):
        raise TypeError(f"the host is a text like '127.0.0.1', not {host!r}")
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
        raise ValueError(f"{port} is not a port (0 to 65535)")


def listen(
    address: ServerAddress | list[ServerAddress], backlog: int, *, reuse_port: bool = False
) -> list[socket.socket]:
    """Make listening sockets.

    An empty host, ``None`` or ``"::"`` stands for all addresses of the machine: one socket for IPv4 and one for IPv6.
    A name is resolved once, here. Port 0 takes a free port, the same for all addresses of one host. ``"localhost"`` is
    127.0.0.1 and ::1, as far as the machine has them. When a unix socket that was made here is closed, its file is
    removed.

    Args:
        address: an address, or a list of addresses.
        backlog: the number of connections that may wait to be accepted.
        reuse_port: allow other sockets of the same user on the same port (SO_REUSEPORT).

    Returns:
        The sockets, in the order of the addresses.

    Raises:
        BindError: it is not possible to listen on one of them; then all are closed.
    """
    several = address if isinstance(address, list) else [address]
    given = [one.fileno() for one in several if isinstance(one, socket.socket)]
    if len(set(given)) < len(given):
        raise BindError("cannot listen on a socket that is given twice: each descriptor can be closed only once")
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []
        for one in several:
            for sock in _listen(one, several, backlog, reuse_port):
                undo.callback(sock.close)
                sockets.append(sock)
        undo.pop_all()
    return sockets


def bind_beside(sock: socket.socket) -> socket.socket:
    """Make another socket for the address of one that was made with ``reuse_port``.

    It does not listen yet; until then the kernel gives it no connections.

    Raises:
        BindError: the socket cannot be bound.
    """
    return _bind_tcp(sock.family, sock.getsockname(), reuse_port=True)


def url_of(name: Any, *, tls: bool = False) -> str:
    """The URL of a listening socket, for example ``http://127.0.0.1:8000``.

    Args:
        name: what ``getsockname`` returns.
        tls: whether it is HTTPS.
    """
    if not isinstance(name, tuple):
        return f"unix:{os.fsdecode(name).replace(chr(0), '@')}"
    scheme, usual = ("https", 443) if tls else ("http", 80)
    return f"{scheme}://{_host_of(name)}" if name[1] == usual else f"{scheme}://{_host_of(name)}:{name[1]}"


def root_of(url: str) -> str:
    """A URL of `url_of` with the slash that is shown to users."""
    return url if url.startswith("unix:") else f"{url}/"


def _host_of(name: Any) -> str:
    """The host of a socket's name; a link-local address with its zone (RFC 9844), which is a part of it."""
    host = str(name[0])
    if len(name) == 4 and name[3] and "%" not in host:
        try:
            host += f"%{socket.if_indextoname(name[3])}"
        except OSError:  # there is no such interface
            host += f"%{name[3]}"
    return f"[{host}]" if ":" in host else host


def _listen(address: ServerAddress, others: list[ServerAddress], backlog: int, reuse_port: bool) -> list[socket.socket]:
    if isinstance(address, socket.socket):
        try:
            address.setblocking(False)
            address.listen(backlog)
        except OSError as error:  # it is closed, or a connection
            raise _explained(f"the socket with descriptor {address.fileno()}", error) from None
        return [address]
    if isinstance(address, UnixAddress):
        return [_listen_unix(address, backlog)]
    if isinstance(address, (str, bytes, os.PathLike)):
        return [_listen_unix(UnixAddress(os.fsdecode(address)), backlog)]
    _check_host(address)
    host, port = address[:2]
    zone: tuple[int, ...] = address[3:]  # an address of getsockname() may have one
    if any(zone) and "%" not in host:
        host = f"{host}%{zone[0]}"  # the form that getaddrinfo() understands
    hosts, everywhere = _hosts(host, port, others)
    resolved = [found for name in hosts for found in _resolve(name, port)]
    for left in reversed(range(_TRIES)):
        try:
            return _listen_all(resolved, backlog, reuse_port, everywhere=everywhere)
        except BindError as error:
            # A free port of the first address may be in use for the second.
            if not left or port or len(resolved) == 1 or error.errno != errno.EADDRINUSE:
                raise
    raise AssertionError


def _hosts(host: str | None, port: int, others: list[ServerAddress]) -> tuple[list[str | None], bool]:
    """The hosts for which a host stands, and whether some may be missing, as on a kernel without IPv6."""
    if host == "::" and ("0.0.0.0", port) not in others:
        return ["::", "0.0.0.0"], True
    if host and host.lower().removesuffix(".") == "localhost":
        return [name for name in _LOCALHOST if (name, port) not in others], True
    # If 0.0.0.0 is in the list too, "::" stands for IPv6 only.
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
    """Listen on all addresses of one host, with the same port."""
    missing: BindError | None = None
    with contextlib.ExitStack() as undo:
        sockets: list[socket.socket] = []
        for family, sockaddr in resolved:
            if sockets and sockaddr[1] == 0:
                sockaddr = (sockaddr[0], sockets[0].getsockname()[1], *sockaddr[2:])
            try:
                sock = _bind_tcp(family, sockaddr, reuse_port=reuse_port, backlog=backlog)
            except BindError as error:
                # Of "all addresses" some may be missing.
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


def _bind_tcp(family: int, sockaddr: _SockAddr, *, reuse_port: bool, backlog: int | None = None) -> socket.socket:
    """Make a socket with this address; it listens if there is a backlog."""
    with contextlib.ExitStack() as undo:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
            undo.callback(sock.close)
            if os.name == "posix" and sys.platform != "cygwin":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # on POSIX it shares no port
            if reuse_port:
                if not hasattr(socket, "SO_REUSEPORT"):
                    raise OSError("this system does not support reuse_port")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4 has a socket of its own
            sock.bind(sockaddr)
            sock.setblocking(False)
            if backlog is not None:
                sock.listen(backlog)
        except OSError as error:
            raise _explained(f"{_host_of(sockaddr)}:{sockaddr[1]}", error) from None
        undo.pop_all()
    return sock


class _UnixListener(socket.socket):
    """A unix socket whose file is removed when it is closed; copies of it do not remove the file."""

    _place: tuple[str, int, int] | None = None

    def settle(self, path: str) -> None:
        """Remember its file, so that no other file is removed later."""
        found = os.stat(path)
        self._place = path, found.st_dev, found.st_ino

    def dup(self) -> socket.socket:  # type: ignore[override]
        """Make a copy, which does not remove the file."""
        return socket.socket(self.family, self.type, self.proto, fileno=os.dup(self.fileno()))

    def close(self) -> None:
        """Close it, and remove its file, unless another file has taken its place."""
        place, self._place = self._place, None
        if place is not None:
            # Before close(), so that another server cannot find a dead socket and replace it meanwhile.
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
            # No client can connect before listen(), so the permissions are set in time.
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

        try:
            number = int(address.group) if address.group.isdigit() else grp.getgrnam(address.group).gr_gid
        except KeyError:
            raise LookupError(f"there is no group {address.group!r}") from None
        os.chown(address.path, -1, number)
    if address.mode is not None:
        os.chmod(address.path, address.mode)


@contextlib.contextmanager
def _alone_in(folder: str) -> Iterator[None]:
    """Lock a folder, so that servers that start at the same moment make their sockets one after the other.

    A socket that is bound and does not listen yet refuses connections, as a dead one does. If the folder cannot be
    locked within a second, it is done without the lock.
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
    """Remove a socket that a server has left behind, but not one that a server listens on."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, "a file that is not a socket has this name")
    except FileNotFoundError:
        return
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            pass  # it is busy, connect() is not permitted, or it is gone: bind() reports what is wrong


def _explained(where: str, error: OSError | LookupError) -> BindError:
    number = getattr(error, "errno", None)
    unix = where.startswith("unix:")
    if isinstance(error, LookupError):
        why = str(error.args[0]) if error.args else str(error)
    elif number == errno.EADDRINUSE:
        why = "it is in use: is another server running?"
    elif number in (errno.EACCES, errno.EPERM):
        why = "it is not allowed" if unix else "it is not allowed: ports below 1024 need root, or a socket of systemd"
    elif number == errno.EADDRNOTAVAIL:
        why = "this machine does not have the address"
    else:
        why = error.strerror or str(error)
    return BindError(number, f"cannot listen on {where}: {why}")
