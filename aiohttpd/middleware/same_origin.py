"""SameOrigin: requests that pages of other sites make in the name of the user are refused (cross-site request forgery).

Owns which requests are checked. Whether an origin is that of the request is decided in `aiohttpd.handlers.origins`.
"""

from collections.abc import Awaitable, Iterable
from typing import Any

from ..engine.interfaces import App
from ..errors import HTTPError
from ..handlers.origins import comes_from, is_origin
from ..wire.request import Request
from .layer import Layer

__all__ = ["SameOrigin"]

_SAFE = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))  # RFC 9110 section 9.2.1


class SameOrigin(Layer):
    """Answer 403 to requests that change something and that a page of another origin makes.

    A browser sends the cookies of this site with a form that a page of another site posts. It says whose page it is in
    Origin and Sec-Fetch-Site. Requests without these two fields do not come from a page of a current browser, and pass.
    Cookies with ``SameSite=Lax``, which is our default, are a second protection; it does not keep out pages of other
    names of the same site (``evil.example.com`` for ``www.example.com``).

    GET, HEAD, OPTIONS and TRACE are not checked: they must not change anything. WebSockets have a check of their own.
    Put it inside of `CORS`, and name the origins that CORS allows here, too.

    Args:
        allowed: other origins whose pages may send such requests, ``"https://app.example.com"`` say.

    Raises:
        ValueError: what is allowed is no origin; ``*`` among it.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        given = [allowed] if isinstance(allowed, str) else list(allowed)
        for origin in given:
            if not is_origin(origin):
                raise ValueError(f"SameOrigin: {origin!r} is no origin: write it as https://example.com")
        self._allowed = frozenset(given)

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        if request.method not in _SAFE and not comes_from(request, self._allowed):
            raise HTTPError(403, None, "a page of another site has sent this request")
        return app(request, response)
