"""CORS: which web pages of other origins may read the answers (https://fetch.spec.whatwg.org/#http-cors-protocol).

Owns the fields of answers, the answer to preflight requests, and which origins are allowed.
"""

from collections.abc import Awaitable, Iterable
from typing import Any

from ..config.hosts import patterns_of
from ..engine.interfaces import App, ResponseHead
from ..errors import HTTPError
from ..handlers.origins import is_preflight, match_origin
from ..wire.headers import is_token, list_elements
from ..wire.request import Request
from ..wire.response import ResponseFields
from .layer import Layer, add_vary, on_head

__all__ = ["CORS"]

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SIMPLE = ("GET", "HEAD", "POST")  # what a page may send without being asked
_USUAL = (*_SIMPLE, "PUT", "PATCH", "DELETE")
_ALLOW_ORIGIN = b"\naccess-control-allow-origin:"
_PREFLIGHT_VARY = ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")


class CORS(Layer):
    """Let web pages of other origins read the answers.

    ::

        CORS(["https://app.example.com", "https://*.example.org"], credentials=True)
        CORS("*")

    Preflight requests are answered here, so put it outside of authentication, with which browsers do not send
    credentials. Error responses have the fields, too. Fields that the App has set itself stay as they are.

    Args:
        origins: as browsers send them, ``https://example.com:8443``; ``https://*.example.com`` stands for all names
            below example.com, not for example.com itself; ``"*"`` for any page.
        credentials: let pages send cookies and client certificates. Not with ``"*"`` or ``null``: any page could then
            act with the rights of the user.
        methods: what pages may use. By default GET, HEAD, POST, PUT, PATCH and DELETE; of ``"*"`` GET, HEAD and POST,
            which no browser asks for before.
        headers: names of header fields that requests may have; by default those that a page asks for.
        expose: names of header fields of answers that pages may read, beside the usual ones.
        max_age: seconds that a browser may remember the answer to a preflight request.

    Raises:
        ValueError: an origin, a method or a name is malformed; or ``credentials`` are allowed for any origin.
    """

    def __init__(
        self,
        origins: str | Iterable[str],
        *,
        credentials: bool = False,
        methods: Iterable[str] | None = None,
        headers: Iterable[str] | None = None,
        expose: Iterable[str] = (),
        max_age: int = 600,
    ) -> None:
        given = [origins] if isinstance(origins, str) else list(origins)
        self._any = "*" in given
        self._origins = frozenset(_checked(origin) for origin in given if origin != "*")
        if credentials and (self._any or "null" in self._origins):
            raise ValueError(
                "CORS: credentials for the origin '*' or 'null' let any web page act as the user: name the origins"
            )
        self._credentials = credentials
        names = tuple(methods) if methods is not None else _SIMPLE if self._any else _USUAL
        for name in [*names, *(headers or ()), *expose]:
            if not is_token(name) or name == "*":
                raise ValueError(f"CORS: {name!r} is no name of a method or of a header field")
        self._methods = ", ".join(names)
        self._headers = None if headers is None else ", ".join(headers)
        self._expose = ", ".join(expose)
        self._max_age = str(int(max_age))
        if self._any:
            self.refusal_fields = (("Access-Control-Allow-Origin", "*"),)

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        origin = request.headers.peek("origin")
        if origin is not None and is_preflight(request):
            return self._answer_preflight(request, response, origin)
        allowed = "*" if self._any else origin if origin is not None and self._allows(origin) else None

        def add(head: ResponseHead, fields: ResponseFields) -> None:
            text = (b"\n" + b"".join(fields)).lower()
            if _ALLOW_ORIGIN in text:
                return  # the App has said it itself
            if allowed is not None:
                fields.add("Access-Control-Allow-Origin", allowed)
                if self._credentials:
                    fields.add("Access-Control-Allow-Credentials", "true")
                if self._expose:
                    fields.add("Access-Control-Expose-Headers", self._expose)
            if not self._any:
                # Also for requests without Origin, or a cache would give their answers to pages.
                if b"\nvary:" in text:
                    add_vary(fields, "Origin")
                else:
                    fields.append(b"Vary: Origin\r\n")

        on_head(response, add)
        return app(request, response)

    def _allows(self, origin: str) -> bool:
        if origin in self._origins:
            return "*" not in origin
        match = match_origin(origin)
        if match is None:
            return False
        scheme, _, host, port = match.groups("")
        return any(f"{scheme}://{pattern}{port}" in self._origins for pattern in patterns_of(host))

    async def _answer_preflight(self, request: Request, response: Any, origin: str) -> None:
        fields = ResponseFields()
        if not self._any:
            fields.add("Vary", ", ".join(_PREFLIGHT_VARY))
            if not self._allows(origin):
                raise HTTPError(403, None, "this origin is not allowed", headers=[("Vary", ", ".join(_PREFLIGHT_VARY))])
        fields.add("Access-Control-Allow-Origin", "*" if self._any else origin)
        if self._credentials:
            fields.add("Access-Control-Allow-Credentials", "true")
        fields.add("Access-Control-Allow-Methods", self._methods)
        wanted = self._headers if self._headers is not None else _tokens(request)
        if wanted:
            fields.add("Access-Control-Allow-Headers", wanted)
        fields.add("Access-Control-Max-Age", self._max_age)
        response.send_head(204, fields)


def _tokens(request: Request) -> str:
    """The names that a page asks for."""
    values = request.headers.get_all("Access-Control-Request-Headers") or []
    return ", ".join(name for value in values for name in list_elements(value) if is_token(name))


def _checked(origin: str) -> str:
    """An origin as browsers write it."""
    if origin == "null":
        return origin
    match = match_origin(origin.lower())
    if match is None:
        raise ValueError(f"CORS: {origin!r} is no origin: write 'https://host', with a port if there is one, or '*'")
    port = match[4] or ""
    if port == _DEFAULT_PORTS.get(match[1]):  # browsers leave it out
        port = ""
    return f"{match[1]}://{match[2] or ''}{match[3]}{port}"
