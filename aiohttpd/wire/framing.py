"""The six header fields that decide where a request ends, and whether the connection persists.

RFC 9112 sections 3.2, 6 and 9, and RFC 9110 sections 7.6.1 and 10.1.1. Request smuggling needs two parsers that read
these fields differently, so everything ambiguous is refused.
"""

import re
from collections.abc import Iterable

from ..errors import WireError
from .headers import OWS, is_token, list_elements
from .request import RequestFraming

__all__ = ["DECIDING", "decide_framing", "framing_of", "is_host"]


def _any_case(names: str) -> str:
    """A pattern with a character class for each letter; it is faster than re.IGNORECASE."""
    return "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in names)


# The six names as a tree of common beginnings, which is faster than alternatives.
DECIDING = _any_case("host|con(?:nection|tent-length)|transfer-encoding|expect|upgrade")

_deciding_lines = re.compile(rf"\n((?:{DECIDING}):[^\r]*+)").findall

# What was decided before, by version and lines: clients say the same again and again.
_known: dict[tuple[str, ...], RequestFraming] = {}
_KNOWN = 512
_LONGEST_KNOWN = 512  # characters

# RFC 3986 section 3.2.2 without percent-encoding and sub-delims, which no host name in use has.
_host = re.compile(r"(?:[A-Za-z0-9._~\-]++|\[[0-9A-Fa-f:.]++\])(?::([0-9]{0,5}+))?").fullmatch

_LONGEST_LENGTH = 19  # digits; 2**63 has as many
_LONGEST_CODINGS = 256  # characters of Transfer-Encoding, where only "chunked" is supported


def is_host(value: str) -> bool:
    """Whether a value is ``uri-host [":" port]``, and the host is not empty (RFC 9112 section 3.2)."""
    match = _host(value)
    return match is not None and int(match[1] or 0) <= 65535


def decide_framing(block: str, version: str) -> RequestFraming:
    """Read the fields of a head that decide framing.

    Args:
        block: field lines that match the grammar, in the form that `Headers` takes.
        version: the version of the request line, ``HTTP/1.0`` to ``HTTP/1.9``.

    Raises:
        WireError: 400: the framing is wrong or ambiguous; 501: an unknown transfer coding; 417: an unknown expectation.
    """
    return framing_of(version, _deciding_lines(block))


def framing_of(version: str, lines: Iterable[str]) -> RequestFraming:
    """`decide_framing` for the lines of these fields only."""
    key = (version, *lines)
    framing = _known.get(key)
    if framing is None:
        framing = _decide(version == "HTTP/1.0", key[1:])
        if len(_known) >= _KNOWN:
            _known.clear()
        if sum(map(len, key)) <= _LONGEST_KNOWN:
            _known[key] = framing
    return framing


def _decide(http10: bool, lines: tuple[str, ...]) -> RequestFraming:
    host = content_length = expect = upgrade = None
    chunked = False
    tokens: list[str] = []
    for line in lines:
        name, _, value = line.partition(":")
        name = name.lower()
        value = value.strip(OWS)
        if name == "host":
            if host is not None:
                raise WireError(400, "more than one Host")  # RFC 9112 section 3.2
            host = value
        elif name == "connection":
            tokens += list_elements(value.lower())
        elif name == "content-length":
            if content_length is not None:
                raise WireError(400, "more than one Content-Length")
            content_length = _length(value)
        elif name == "transfer-encoding":
            if chunked:
                raise WireError(400, "more than one Transfer-Encoding")
            chunked = _is_chunked(value, http10)
        elif name == "expect":
            if not http10:  # RFC 9110 section 10.1.1: ignored there
                expect = _expectation(value)
        else:
            upgrade = value
    if host is None:
        if not http10:
            raise WireError(400, "no Host")
    elif not is_host(host):
        raise WireError(400, "malformed Host")
    if chunked and content_length is not None:
        raise WireError(400, "Content-Length beside Transfer-Encoding")  # RFC 9112 section 6.1
    # RFC 9112 section 9.3: close wins; 1.0 persists only when asked.
    keep_alive = "close" not in tokens and (not http10 or "keep-alive" in tokens)
    return RequestFraming(
        http10,
        host,
        content_length,
        chunked,
        keep_alive,
        expect is not None,
        upgrade if "upgrade" in tokens and not http10 else None,
        keep_alive and not (http10 or chunked or content_length),
    )


def _length(value: str) -> int:
    # int() takes signs, underscores and digits of other scripts; RFC 9110 section 8.6 does not.
    if not (value.isascii() and value.isdigit()):
        raise WireError(400, "malformed Content-Length")
    if len(value) > _LONGEST_LENGTH:
        raise WireError(400, "Content-Length with too many digits")
    return int(value)


def _is_chunked(value: str, http10: bool) -> bool:
    if http10:
        raise WireError(400, "Transfer-Encoding in HTTP/1.0")  # RFC 9112 section 6.1
    if len(value) > _LONGEST_CODINGS:
        raise WireError(400, "Transfer-Encoding is too long")
    codings = [coding.strip(OWS).lower() for coding in value.split(",")]
    if codings == ["chunked"]:
        return True
    if codings[-1] == "chunked" and "chunked" not in codings[:-1] and all(map(is_token, codings)):
        raise WireError(501, "unknown transfer coding")  # RFC 9112 section 6.1
    raise WireError(400, "Transfer-Encoding is not chunked")  # RFC 9112 section 6.3, rule 4


def _expectation(value: str) -> str:
    if value.lower() != "100-continue":
        raise WireError(417, "unknown expectation")  # RFC 9110 section 10.1.1
    return value
