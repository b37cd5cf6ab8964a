"""Origins: whether the page that makes a request belongs to this server.

A browser lets pages of any site send some requests (forms, WebSockets) with the cookies of this one, and says in Origin
(RFC 6454) whose page it is, or in Sec-Fetch-Site how the page's site is related to this one.
"""

import re
from collections.abc import Container
from urllib.parse import urlsplit

from ..config.hosts import IPV6, NAME
from ..wire.request import Request

__all__ = ["comes_from", "is_origin", "is_preflight", "match_origin"]

# As browsers send it: no path, no default port; browser extensions have schemes of their own. Its groups are the
# scheme, "*." for all names below the host, the host and the port with its colon.
match_origin = re.compile(rf"([a-z][a-z0-9+.-]*)://(\*\.)?({NAME}|{IPV6})(:[0-9]{{1,5}})?").fullmatch

# None: no current browser; "none": the user has begun it, by a bookmark for example.
_ALLOWED_SITES = (None, "same-origin", "none")


def is_origin(text: str) -> bool:
    """Whether a text is the origin of one host as browsers send it, ``https://example.com`` say."""
    match = match_origin(text)
    return match is not None and match[2] is None


def comes_from(request: Request, allowed: Container[str]) -> bool:
    """Whether a request comes from no page, from a page of this server, or of an origin that is allowed.

    Args:
        request: the request.
        allowed: other origins, ``https://example.org`` say; ``*`` for any.
    """
    if "*" in allowed:
        return True
    origins = request.headers.get_all("Origin")
    if origins is None:
        return request.headers["Sec-Fetch-Site"] in _ALLOWED_SITES
    return all(origin in allowed or _is_same_origin(request, origin) for origin in origins)


def is_preflight(request: Request) -> bool:
    """Whether a browser asks if a page of another origin may send some request (CORS). It sends no credentials."""
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def _is_same_origin(request: Request, origin: str) -> bool:
    """Whether an origin is that of the request: scheme, host and port; a proxy may speak https for us."""
    if request.headers["Sec-Fetch-Site"] == "same-origin":  # which no page can say of itself
        return True
    try:
        theirs, ours = urlsplit(origin), urlsplit(f"//{request.host}")
        usual = {"http": 80, "https": 443}[theirs.scheme]
        same = theirs.hostname == ours.hostname and (theirs.port or usual) == (ours.port or usual)
    except (KeyError, ValueError):  # "null" has no scheme
        return False
    return same and bool(request.host) and request.scheme in ("http", theirs.scheme)
