"""Binding: what a person may write after ``--bind``, and what it stands for.

Owns the words. `sockets` opens what they stand for, `systemd` knows what has been opened already.
"""

import socket
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from .sockets import ServerAddress, UnixAddress
from .systemd import inherited_socket, passed_descriptors

__all__ = ["is_local", "read_addresses"]

DEFAULT_HOST = "127.0.0.1"


def read_addresses(
    binds: Sequence[str], port: int, environment: Mapping[str, str], *, option: str = "--bind"
) -> list[ServerAddress]:
    """Read addresses as they are given on a command line.

    ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT``, an IPv6 address without more, ``unix:PATH``,
    ``unix:PATH?mode=660&group=www``, ``unix:@NAME`` (in no folder; Linux), ``fd:N`` (a socket that was opened before),
    ``systemd:`` and ``systemd:NAME`` (those of the service manager).

    Args:
        binds: the addresses; with none of them, the sockets of the service manager, or else 127.0.0.1.
        port: of those that name none.
        environment: where the service manager says what it has opened.
        option: what errors call it.

    Raises:
        ValueError: one of them is none of these; the text says which and why.
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
            raise ValueError(f"{option} {bind}: {error}") from None
    return addresses


def is_local(address: ServerAddress) -> bool:
    """Whether only this machine can reach an address."""
    if isinstance(address, socket.socket):
        address = address.getsockname()
    if not isinstance(address, tuple):
        return True
    return address[0].lower().removesuffix(".") in ("localhost", "::1") or address[0].startswith("127.")


def _read(bind: str, port: int) -> ServerAddress:
    kind, colon, rest = bind.partition(":")
    if colon and kind == "unix":
        return _unix(rest)
    if colon and kind == "fd":
        if not (rest.isascii() and rest.isdigit()):
            raise ValueError(f"{rest!r} is no descriptor")
        return inherited_socket(int(rest))
    return _tcp(bind, port)


def _tcp(bind: str, port: int) -> tuple[str, int]:
    host, colon, digits = bind.rpartition(":")
    if not colon or bind.endswith("]") or (":" in host and not host.endswith("]")):
        host, digits = bind, str(port)
    if not (digits.isascii() and digits.isdigit() and int(digits) <= 65535):
        raise ValueError(f"{digits!r} is no port")
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
        raise ValueError("after ? a path may have mode=660 and group=NAME")
    if mode is None:
        return UnixAddress(path, None, group)
    try:
        bits = int(mode, 8)
    except ValueError:
        bits = -1
    if not 0 <= bits <= 0o777:
        raise ValueError(f"{mode!r} is no mode, as 660 is one")
    return UnixAddress(path, bits, group)


def _of_systemd(name: str, environment: Mapping[str, str]) -> list[socket.socket]:
    passed = passed_descriptors(environment)
    if not passed:
        raise ValueError("no socket was passed to this process (LISTEN_FDS, LISTEN_PID)")
    found = [inherited_socket(descriptor) for other, descriptor in passed if name in ("", other)]
    if not found:
        raise ValueError(f"no socket of this name was passed; they are {', '.join(other for other, _ in passed)}")
    return found
