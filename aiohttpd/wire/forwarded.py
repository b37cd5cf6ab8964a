"""What proxies say of the client in fields: Forwarded (RFC 7239) and X-Forwarded-*.

Owns the grammar. Everything is read from the right, where the nearest proxy has added its part: what
stands to the left may come from a client, and must not change how the rest is read. Whom to believe is
not known here.
"""

import functools
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from .headers import OWS, Headers, is_token, without_escapes
from .proxy_protocol import plain_host

__all__ = ["elements", "last_item", "list_items", "read_node", "read_port", "read_scheme"]

# RFC 7239 section 6, and what stands in X-Forwarded-For besides: IPv6 without brackets. A port may be obfuscated.
_node = re.compile(
    r"(?:(?P<v4>[0-9.]++)|\[(?P<v6>[0-9A-Fa-f:.]++)\])(?::(?:(?P<port>[0-9]{1,5})|_[A-Za-z0-9._\-]++))?"
    r"|(?P<bare>[0-9A-Fa-f:.]++)"
).fullmatch
_LONGEST_NODE = 64  # characters, more than any has
_UNIX = "unix:"  # nginx, of a client on a unix socket


_find_pairs = re.compile(r"[^\t ;][^;]*+").findall


def list_items(headers: Headers, name: str) -> Iterator[str]:
    """The items of a list, RFC 9110 section 5.6.1, of all lines together, from the right; empty ones are kept."""
    for item in reversed(",".join(headers.get_all(name) or ()).split(",")):
        yield item.strip(OWS)


def last_item(headers: Headers, name: str) -> str:
    """What the nearest proxy has said; empty if it has said nothing."""
    values = headers.get_all(name)
    return values[-1].rpartition(",")[2].strip(OWS) if values else ""


def elements(headers: Headers) -> Iterator[dict[str, str] | None]:
    """The elements of Forwarded from the right, by the names of their parameters in lower case.

    None stands for one that is malformed. Which commas are in quotes is counted from the right too: a quote that a
    client has left open ends where the part of the first proxy begins.
    """
    pieces = ",".join(headers.get_all("Forwarded") or ()).split('"')[::-1]
    outside = '"'.join(reversed(pieces[0::2]))  # each quote in it stands for a quoted string
    quoted = iter(pieces[1::2])
    for element in reversed(outside.split(",")):
        yield _element(element, quoted)


def _element(text: str, quoted: Iterator[str]) -> dict[str, str] | None:
    """RFC 7239 section 4. White space around a semicolon is common, so it is let through."""
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
    """Read who a part is about: ``(host, port)``, with port 0 if there is none.

    None: ``unknown``, obfuscated (``_hidden``), empty or malformed, so nothing is known of it or beyond.
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
    """Read a scheme; None if it is none of the two that there are."""
    scheme = text.lower()
    return scheme if scheme in ("http", "https") else None


def read_port(text: str) -> int | None:
    """Read a port; None if it is none."""
    return int(text) if re.fullmatch(r"[1-9][0-9]{0,4}", text) and int(text) <= 65535 else None
