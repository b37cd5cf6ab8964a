"""The fields in which proxies name the client: Forwarded (RFC 7239) and X-Forwarded-*.

Owns their grammar. They are read from the right, where the nearest proxy has added its element. The elements on the
left may have been sent by the client, and must not change how the others are read. Which proxies are trusted is decided
by `config.trust`.
"""

import functools
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from .headers import OWS, Headers, is_token, without_escapes
from .proxy_protocol import plain_host

__all__ = ["elements", "last_item", "list_items", "read_node", "read_port", "read_scheme"]

# RFC 7239 section 6; X-Forwarded-For also has IPv6 addresses without brackets. A port may be obfuscated.
_node = re.compile(
    r"(?:(?P<v4>[0-9.]++)|\[(?P<v6>[0-9A-Fa-f:.]++)\])(?::(?:(?P<port>[0-9]{1,5})|_[A-Za-z0-9._\-]++))?"
    r"|(?P<bare>[0-9A-Fa-f:.]++)"
).fullmatch
_LONGEST_NODE = 64  # characters; every valid node is shorter
_UNIX = "unix:"  # nginx writes it for a client on a unix socket
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


_find_pairs = re.compile(r"[^\t ;][^;]*+").findall


def list_items(headers: Headers, name: str) -> Iterator[str]:
    """The items of all lines of a list field (RFC 9110 section 5.6.1) from the right, empty ones included."""
    for item in reversed(",".join(headers.get_all(name) or ()).split(",")):
        yield item.strip(OWS)


def last_item(headers: Headers, name: str) -> str:
    """The last item of a field, which the nearest proxy has added; empty if there is none."""
    values = headers.get_all(name)
    return values[-1].rpartition(",")[2].strip(OWS) if values else ""


def elements(headers: Headers) -> Iterator[dict[str, str] | None]:
    """The elements of Forwarded from the right, each as a dict of its parameters with names in lower case.

    None stands for a malformed element. Quotes are counted from the right too, so a quote that a client has left open
    ends where the element of the first proxy begins.
    """
    pieces = ",".join(headers.get_all("Forwarded") or ()).split('"')[::-1]
    outside = '"'.join(reversed(pieces[0::2]))  # each quote in it stands for a quoted string
    quoted = iter(pieces[1::2])
    for element in reversed(outside.split(",")):
        yield _element(element, quoted)


def _element(text: str, quoted: Iterator[str]) -> dict[str, str] | None:
    """Parse one element (RFC 7239 section 4). White space around semicolons is common, so it is accepted."""
    found: dict[str, str] = {}
    malformed = False
    for pair in reversed(_find_pairs(text)):
        name, _, value = pair.rstrip(OWS).partition("=")
        strings = [*islice(quoted, pair.count('"'))]
        name = name.lower()
        if not is_token(name) or name in found:
            malformed = True
        elif value == '"':
            found[name] = without_escapes(strings[0]) if strings else ""
        elif is_token(value):
            found[name] = value
        else:
            malformed = True
    return None if malformed else found


def read_node(text: str) -> tuple[str, int] | None:
    """Read a node: ``(host, port)``, with port 0 if it has none.

    None if it is ``unknown``, obfuscated (``_hidden``), empty or malformed; then the client is not known.
    """
    return _read_node(text) if len(text) <= _LONGEST_NODE else None


@functools.lru_cache(1024)
def _read_node(text: str) -> tuple[str, int] | None:
    if text == _UNIX:
        return _UNIX, 0
    match = _node(text)
    if match is None:
        return None
    port = int(match["port"] or 0)
    try:
        host = plain_host(IPv4Address(match["v4"]) if match["v4"] else IPv6Address(match["v6"] or match["bare"]))
    except ValueError:
        return None
    return (host, port) if port <= 65535 else None


def read_scheme(text: str) -> str | None:
    """Read a scheme: http or https, or None if it is another one. For WebSockets Traefik sends ``ws`` and ``wss``."""
    return _SCHEMES.get(text.lower())


def read_port(text: str) -> int | None:
    """Read a port; None if it is not a number from 1 to 65535."""
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,4}", text) and int(text) <= 65535 else None
