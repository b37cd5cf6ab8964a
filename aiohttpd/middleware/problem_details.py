"""ProblemDetails: errors as JSON of RFC 9457, or as a page for browsers.

Owns what becomes of an exception in ``application/problem+json``.
"""

import json
from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

from ..engine.interfaces import App
from ..engine.traceback_page import send_traceback
from ..errors import HTTPError, InvalidData
from ..handlers.base import BaseHTTPRequestHandler
from ..handlers.routing.errors import ErrorHandlers, guarded
from ..wire.negotiation import accepts_html, prefers_json
from ..wire.request import Request
from ..wire.response import phrase, reason_of
from .layer import Layer

__all__ = ["ProblemDetails"]

_TYPE = "application/problem+json"
_encode = json.JSONEncoder(default=str, allow_nan=False).encode


class ProblemDetails(Layer):
    """Answer errors with ``application/problem+json`` (RFC 9457).

    ::

        {"type": "about:blank", "title": "Unprocessable Content", "status": 422, "detail": "age is missing",
         "errors": [{"detail": "is missing", "pointer": "#/age"}]}

    ``title`` is the message of the `HTTPError`, by default the standard phrase, and ``detail`` its explanation. A
    mapping in ``HTTPError(detail=...)`` adds members, ``type`` and ``instance`` among them; another value that is no
    text is the member ``data``. If JSON cannot have it (NaN, for example), that is logged, and it is left out.
    `InvalidData` has ``errors``, with a JSON pointer for each place. Exceptions that are no `HTTPError` are logged and
    answered with 500, without their text. A handler's functions for errors (``error_handlers`` of a `Router` in it)
    come first.

    Args:
        pages: send the usual error page to clients whose Accept prefers HTML, as browsers do.
    """

    error_body = staticmethod(lambda status, message, explain: (_TYPE, _text(status, message, explain, {})))

    def __init__(self, *, pages: bool = True) -> None:
        self._pages = pages
        self._handlers = ErrorHandlers({HTTPError: self._answer, Exception: self._answer})

    def __reduce__(self) -> tuple[Any, ...]:
        return _made, (self._pages,)

    def prepare(self, app: App) -> App:
        return guarded(app, BaseHTTPRequestHandler)

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        request.error_pages = self._handlers.within(request.error_pages)
        return app(request, response)

    async def _answer(self, handler: BaseHTTPRequestHandler, error: Exception) -> None:
        if not isinstance(error, HTTPError):
            debug = handler.request.peer.config.debug
            if debug and _wants_page(handler) and send_traceback(error, handler.wfile):
                return
            error = HTTPError(500)
        if self._pages:
            handler.add_header("Vary", "Accept")
            if _wants_page(handler):
                handler.send_error(error.status, error.message, error.explain)
                return
        texts = error.status, error.message or phrase(error.status), error.explain or ""
        try:
            content = _text(*texts, _more(error))
        except (TypeError, ValueError, RecursionError) as failure:  # the error is told without what JSON cannot have
            handler.wfile.report(failure)
            content = _text(*texts, {})
        handler.send_response(error.status, reason_of(error.message))
        handler.send_header("Content-Type", _TYPE)
        handler.wfile.head_mirrors_get = True
        handler.end_headers()
        handler.wfile.write(content)


def _made(pages: bool) -> ProblemDetails:
    return ProblemDetails(pages=pages)


def _wants_page(handler: BaseHTTPRequestHandler) -> bool:
    joined = ", ".join(handler.headers.get_all("Accept") or ())
    return accepts_html(joined) and not prefers_json(joined)


def _more(error: HTTPError) -> dict[str, Any]:
    """The members that an error has beside the usual ones."""
    if isinstance(error, InvalidData):
        return {"errors": [{"detail": reason, "pointer": _pointer(place)} for place, reason in error.problems]}
    if isinstance(error.detail, dict):
        return error.detail
    return {} if error.detail is None or isinstance(error.detail, str) else {"data": error.detail}


def _text(status: int, title: str, detail: str, more: dict[str, Any]) -> bytes:
    members: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
    if detail:
        members["detail"] = detail
    members |= {str(name): value for name, value in more.items() if name != "status"}
    return _encode(members).encode()


def _pointer(place: tuple[str | int, ...]) -> str:
    """A JSON pointer as a fragment, RFC 6901 section 6."""
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in place)
    return "#" + "".join("/" + quote(step.encode("utf-8", "surrogatepass"), safe="~!$&'()*+,;=:@-._") for step in steps)
