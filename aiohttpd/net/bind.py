"""The texts of ``--bind``: how an address is written on a command line.

`sockets` opens the addresses; `systemd` has the sockets that the service manager has opened.
"""

import socket
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from ..config.hosts import is_loopback
from .sockets import ServerAddress, UnixAddress
from .systemd import inherited_socket, passed_descriptors

__all__ = ["is_local", "is_port", "read_addresses"]

DEFAULT_HOST = "127.0.0.1"


def read_addresses(binds: Sequence[str], port: int, environment: Mapping[str, str]) -> list[ServerAddress]:
    """Read addresses from texts.

    A text is ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT``, an IPv6 address, ``unix:PATH``,
    ``unix:PATH?mode=660&group=www``, ``unix:@NAME`` (an abstract socket, on Linux), ``fd:N`` (an inherited socket),
    ``systemd:`` (all sockets of the service manager) or ``systemd:NAME`` (those of one name).

    Args:
        binds: the texts; if there is none, the sockets of the service manager, or else 127.0.0.1.
        port: the port for texts without one.
        environment: environment variables; the service manager names its sockets there.

    Raises:
        ValueError: a text is not such an address; the message shows it and says why.
    """
    if not binds:
        binds = ["systemd:"] if passed_descriptors(environment) else [DEFAULT_HOST]
    addresses: list[ServerAddress] = []
    for bind in binds:
        try:
            if bind.startswith("systemd:"):
                addresses += _of_systemd(bind.removeprefix("systemd:"), environment)
            else:
                addresses.append(_read(bind, port))
        except ValueError as error:
            raise ValueError(f"--bind {bind}: {error}") from None
    return addresses


def is_port(text: str) -> bool:
    """Whether a text is the number of a port, 0 to 65535; the digits are counted, since ``int`` refuses thousands."""
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= 65535


def is_local(address: ServerAddress) -> bool:
    """Whether an address can be reached only by this machine: a loopback address or a unix socket."""
    if isinstance(address, socket.socket):
        address = address.getsockname()
    return not isinstance(address, tuple) or is_loopback(address)


def _read(bind: str, port: int) -> ServerAddress:
    kind, colon, rest = bind.partition(":")
    if colon and kind == "unix":
        return _unix(rest)
    if colon and kind == "fd":
        if not (rest.isascii() and rest.isdigit() and len(rest) < 10):
            raise ValueError(f"{rest!r} is not a descriptor")
        return inherited_socket(int(rest))
    return _tcp(bind, port)


def _tcp(bind: str, port: int) -> tuple[str, int]:
    if "/" in bind:
        raise ValueError("write HOST:PORT without http:// and path, or unix:PATH")
    if bind.count("[") != bind.count("]"):
        raise ValueError("a bracket is missing: write [IPV6]:PORT")
    host, colon, digits = bind.rpartition(":")
    if not colon or bind.endswith("]") or (":" in host and not host.endswith("]")):
        host, digits = bind, str(port)
    if not is_port(digits):
        raise ValueError(f"{digits!r} is not a port (0 to 65535)")
    return host.removeprefix("[").removesuffix("]"), int(digits)


def _unix(text: str) -> ServerAddress:
    path, question, query = text.partition("?")
    if not path:
        raise ValueError("a path is missing")
    if path.startswith("@"):
        path = "\0" + path[1:]
    if not question:
        return path
    given = dict(parse_qsl(query, keep_blank_values=True))
    mode, group = given.pop("mode", None), given.pop("group", None)
    if given or group == "" or path.startswith("\0"):
        raise ValueError("only mode=660 and group=NAME may follow the ? behind a path")
    if mode is None:
        return UnixAddress(path, None, group)
    try:
        bits = int(mode, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o777:
        raise ValueError(f"{mode!r} is not a mode; write it as 660")
    return UnixAddress(path, bits, group)


def _of_systemd(name: str, environment: Mapping[str, str]) -> list[socket.socket]:
    passed = passed_descriptors(environment)
    if not passed:
        raise ValueError("no socket was passed to this process (LISTEN_FDS, LISTEN_PID)")
    found = [inherited_socket(descriptor) for other, descriptor in passed if name in ("", other)]
    if not found:
        raise ValueError(f"no socket of this name was passed; there are {', '.join(other for other, _ in passed)}")
    return found
