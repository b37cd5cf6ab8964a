"""The PROXY protocol: a header before the client's bytes, in which a proxy names the client.

Owns the grammar of both versions, sections 2.1 and 2.2 of HAProxy's doc/proxy-protocol.txt. Which peers may send it
is decided by `config.trust`.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ..errors import WireError

__all__ = ["LONGEST", "Preamble", "plain_host", "read_preamble"]

LONGEST = 16 * 1024  # bytes with all extensions, certificates too; HAProxy's own buffer is as large

_LINE = b"PROXY "
_LONGEST_LINE = 107
_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_HEAD = 16  # signature, version and command, family and transport, length of what follows

_line = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*+)?|TCP([46]) ([0-9A-Fa-f:.]++) ([0-9A-Fa-f:.]++)"
    rb" (0|[1-9][0-9]{0,4}) (0|[1-9][0-9]{0,4}))\r\n"
).fullmatch

_LOCAL, _PROXY = 0x20, 0x21  # version and command
_LAST_FAMILY, _LAST_TRANSPORT = 3, 2  # AF_UNIX, DGRAM
_INET = {1: 4, 2: 16}  # families with an address, and its bytes
_TLS, _CLIENT_TLS = 0x20, 0x01  # PP2_TYPE_SSL, PP2_CLIENT_SSL


class Preamble(NamedTuple):
    """The content of a PROXY protocol header.

    Attributes:
        size: its length in bytes.
        source: ``(host, port)`` of the client; None for a connection of the proxy itself, or an unknown client.
        destination: the ``(host, port)`` to which the client has connected; None where ``source`` is.
        tls: whether the client speaks TLS with the proxy; known only from HAProxy's ``send-proxy-v2-ssl``.
    """

    size: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None
    tls: bool = False


def read_preamble(data: bytes) -> Preamble | None:
    """Read the header at the beginning of a connection; None if it is not complete yet.

    Raises:
        WireError: 400: there is no header, or it is malformed or longer than `LONGEST`; raised as early as possible.
    """
    if data.startswith(_LINE[: len(data)]):
        return _read_line(data)
    if data.startswith(_SIGNATURE[: len(data)]):
        return _read_binary(data)
    raise WireError(400, "no PROXY preamble, which this server wants of its proxies")


def plain_host(address: IPv4Address | IPv6Address) -> str:
    """An address in its usual form. IPv4-mapped IPv6 becomes IPv4, so that it cannot evade a list of IPv4 addresses."""
    return str((address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address)


def _malformed() -> WireError:
    return WireError(400, "malformed PROXY preamble")


def _read_line(data: bytes) -> Preamble | None:
    """Version 1, section 2.1."""
    end = data.find(b"\n", 0, _LONGEST_LINE) + 1
    if not end:
        if len(data) >= _LONGEST_LINE:
            raise WireError(400, "PROXY preamble without an end")
        return None
    match = _line(data[:end])
    if match is None:
        raise _malformed()
    if match[1] is None:
        return Preamble(end)
    _, source, destination, *ports = match.groups()
    read = IPv4Address if match[1] == b"4" else IPv6Address
    try:
        hosts = [plain_host(read(host.decode("ascii"))) for host in (source, destination)]
    except ValueError:
        raise _malformed() from None
    here, there = map(int, ports)
    if max(here, there) > 65535:
        raise _malformed()
    return Preamble(end, (hosts[0], here), (hosts[1], there))


def _read_binary(data: bytes) -> Preamble | None:
    """Version 2, section 2.2."""
    if len(data) < _HEAD:
        return None
    size = _HEAD + int.from_bytes(data[14:16], "big")
    family, transport = divmod(data[13], 16)
    if data[12] not in (_LOCAL, _PROXY):
        raise WireError(400, "unknown version or command in a PROXY preamble")
    if size > LONGEST:
        raise WireError(400, "PROXY preamble too long")
    if data[12] == _PROXY and (family > _LAST_FAMILY or transport > _LAST_TRANSPORT):
        raise WireError(400, "unknown family in a PROXY preamble")
    if len(data) < size:
        return None
    width = _INET.get(family)
    if data[12] == _LOCAL or width is None or not transport:
        return Preamble(size)  # the rest is to be skipped
    end = _HEAD + 2 * width + 4
    if end > size:
        raise _malformed()
    read = IPv4Address if width == 4 else IPv6Address
    hosts = [plain_host(read(data[at : at + width])) for at in (_HEAD, _HEAD + width)]
    ports = [int.from_bytes(data[at : at + 2], "big") for at in (end - 4, end - 2)]
    return Preamble(size, (hosts[0], ports[0]), (hosts[1], ports[1]), _says_tls(data[end:size]))


def _says_tls(more: bytes) -> bool:
    """Whether the extensions (type, length, value; section 2.2) say that the client speaks TLS."""
    tls = False
    while more:
        length = int.from_bytes(more[1:3], "big")
        value, rest = more[3 : 3 + length], more[3 + length :]
        if len(more) < 3 + length:
            raise _malformed()
        if more[0] == _TLS:
            tls = bool(value) and bool(value[0] & _CLIENT_TLS)
        more = rest
    return tls
