"""Refusals: which rule an invalid head breaks, and rules that the pattern of the grammar does not express.

This code runs only for a head that is invalid, incomplete or large, and for a target that is not a path.
"""

import re

from ..config import Config
from ..errors import WireError
from .framing import is_host
from .headers import FIELD_VALUE, TOKEN, is_token
from .request import absolute_form

__all__ = ["check_elements", "check_incomplete", "check_limits", "check_target", "of_head", "of_trailers"]

_LF = 0x0A

# The patterns are compiled when the first request is refused; most programs never refuse one.
_TARGET = r"[!-\"$-~]++"
_VERSION = r"HTTP/[0-9]\.[0-9]"
_BARE = rb"\x00|\r(?!\n)|(?<!\r)\n"
_BARE_SO_FAR = rb"\x00|\r(?!\n|\Z)|(?<!\r)\n"

# The list fields that are parsed, here or in a handler. Others may have any number of commas. Range has a limit of its
# own.
_LISTS = (
    "accept(?:-charset|-encoding|-language)?|access-control-request-headers|cache-control|connection"
    "|content-(?:disposition|type)|cookie|forwarded|if-(?:none-)?match|keep-alive|prefer"
    "|sec-websocket-(?:extensions|protocol)|te|trailer|transfer-encoding|upgrade|via|x-forwarded-(?:for|host|proto)"
)
_LIST_VALUES = rf"(?i)\n(?:{_LISTS}):([^\r]*+)"

# In the order in which a reader of the line meets them; the first that matches names the refusal.
_FIELD_RULES = (
    (r"[\t ]", "a folded line (obs-fold), or white space before the first field"),
    (r"[^:]*+\Z", "a field line without a colon"),
    (r":", "an empty field name"),
    (r"[^:]*[\t ]:", "white space between field name and colon"),
    (rf"(?!{TOKEN}:)", "a field name that is no token"),
    (rf"[^:]*+:(?!{FIELD_VALUE}\Z)", "a control character in a field value"),
)


def _of_request_line(line: str) -> WireError | None:
    """The refusal of a request line (RFC 9112 section 3); None if the line is valid."""
    bare = _bare(line.encode("latin-1"), 0, complete=True)
    if bare is not None:
        return bare
    words = line.split(" ")
    if len(words) != 3:
        return WireError(400, "malformed request line")
    method, target, version = words
    if not is_token(method):
        return WireError(400, "malformed method")
    if not re.fullmatch(_VERSION, version):
        return WireError(400, "malformed HTTP version")
    if not version.startswith("HTTP/1."):
        return WireError(505, f"{version} is not spoken here")
    if not re.fullmatch(_TARGET, target):
        return WireError(400, "malformed request target")
    return None


def of_head(text: str) -> WireError:
    """The refusal of a whole head that does not match the grammar."""
    line, rest = text.split("\r\n", 1)
    return _of_request_line(line) or of_trailers(rest)


def of_trailers(text: str) -> WireError:
    """The refusal of field lines, an empty line last, that do not match the grammar."""
    bare = _bare(text.encode("latin-1"), 0, complete=True)
    if bare is not None:
        return bare
    for line in text.split("\r\n")[:-2]:
        for pattern, reason in _FIELD_RULES:
            if re.match(pattern, line):
                return WireError(400, reason)
    return WireError(400, "malformed head")


def _bare(data: bytes | bytearray, start: int, *, complete: bool) -> WireError | None:
    # RFC 9112 section 2.2; RFC 9110 section 5.5.
    match = re.compile(_BARE if complete else _BARE_SO_FAR).search(data, start)
    if match is None:
        return None
    return WireError(400, {b"\n": "a bare LF", b"\r": "a bare CR", b"\0": "a NUL"}[match[0]])


def check_target(method: str, target: str) -> None:
    """Check a target that is not a path, or the method CONNECT (RFC 9112 section 3.2).

    Raises:
        WireError: 400: the target is invalid for the method.
    """
    if method == "CONNECT":
        if is_host(target) and re.search(r":[0-9]+\Z", target):
            return
        raise WireError(400, "the target of CONNECT must be host:port")
    if target == "*":
        if method == "OPTIONS":
            return
        raise WireError(400, "the target * is for OPTIONS only")
    absolute = absolute_form(target)
    if absolute is None:
        raise WireError(400, "the target is neither a path nor an http URI")
    if not is_host(absolute[1]):  # nor may it be empty or have userinfo, RFC 9110 section 4.2
        raise WireError(400, "malformed authority in the target")


def check_limits(text: str, config: Config) -> None:
    """Check a head, or the trailers of a body, that is large enough to exceed a limit.

    Raises:
        WireError: 414 or 431: it exceeds one.
    """
    line, *fields = text[:-4].split("\r\n")
    if len(line) > config.limit_request_line:
        raise WireError(414, f"the request line is longer than {config.limit_request_line} bytes")
    if len(text) > config.limit_head:
        raise WireError(431, f"the head is larger than {config.limit_head} bytes")
    if len(fields) > config.limit_fields:
        raise WireError(431, f"more than {config.limit_fields} fields")
    if fields and max(map(len, fields)) > config.limit_field:
        raise WireError(431, f"a field is longer than {config.limit_field} bytes")


def check_elements(block: str, limit: int) -> None:
    """Check the number of elements and parameters of all list fields together (RFC 9110 sections 5.6.1 and 5.6.6).

    Empty elements do not count, since readers of a list skip them together.

    Args:
        block: the field lines of a head, in the form that `Headers` takes.
        limit: the option ``limit_elements``.

    Raises:
        WireError: 431: there are more.
    """
    values = re.findall(_LIST_VALUES, block)
    for sign in ",;":
        if re.match(rf"(?:[\t {sign}]*+[^\t {sign}][^{sign}]*+){{{limit + 1}}}", sign.join(values)):
            raise WireError(431, f"more than {limit} elements in lists")


def check_incomplete(data: bytes | bytearray, start: int, searched: int, config: Config, *, line_ended: bool) -> bool:
    """Refuse an incomplete head that cannot become valid. Each byte is checked only once.

    Args:
        data: the bytes that have arrived.
        start: where the head begins.
        searched: three bytes before the end of what has been checked by the last call.
        config: the limits.
        line_ended: what the last call has returned.

    Returns:
        Whether the request line has ended.

    Raises:
        WireError: 400, 414, 431 or 505.
    """
    if data[start] == _LF:  # the byte before it may be the CR of a body
        raise WireError(400, "a bare LF")
    if not line_ended:
        line_end = data.find(b"\r\n", searched)
        if (len(data) - 1 if line_end < 0 else line_end) - start > config.limit_request_line:
            raise WireError(414, f"the request line is longer than {config.limit_request_line} bytes")
        if line_end >= 0:
            line_ended = True
            refusal = _of_request_line(str(data[start:line_end], "latin-1"))
            if refusal is not None:
                raise refusal
    bare = _bare(data, searched, complete=False)
    if bare is not None:
        raise bare
    if len(data) - start > config.limit_head:
        raise WireError(431, f"the head is larger than {config.limit_head} bytes")
    return line_ended
