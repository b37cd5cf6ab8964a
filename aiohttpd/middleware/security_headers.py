"""SecurityHeaders and ResponseHeaders: header fields that every answer has.

Owns their defaults. They are sent with errors, too, also with those that the connection answers without the App.
"""

from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from ..engine.interfaces import App, ResponseHead
from ..wire.request import Request
from ..wire.response import ResponseFields
from .layer import Layer, missing, named_lines, on_head

__all__ = ["ResponseHeaders", "SecurityHeaders"]

_SET_BY_SERVER = frozenset(
    ("content-length", "transfer-encoding", "connection", "date", "server", "upgrade", "content-range",
     "content-encoding", "etag", "last-modified", "set-cookie")
)  # fmt: skip


class ResponseHeaders(Layer):
    """Add header fields to every answer that does not have fields of these names.

    Args:
        fields: ``(name, value)`` pairs, or a mapping.

    Raises:
        ValueError: a name or a value is malformed, or the field is different for each answer, as Content-Length is.
    """

    def __init__(self, fields: Iterable[tuple[str, str]] | Mapping[str, str]) -> None:
        pairs = tuple(fields.items() if isinstance(fields, Mapping) else fields)
        for name, _ in pairs:
            if name.lower() in _SET_BY_SERVER:
                raise ValueError(f"{name} is different for each answer, and cannot be set for all of them")
        self.refusal_fields = pairs
        self._lines = named_lines(pairs)

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        on_head(response, self._add)
        return app(request, response)

    def _add(self, head: ResponseHead, fields: ResponseFields) -> None:
        fields += missing(fields, self._lines)


class SecurityHeaders(ResponseHeaders):
    """Add fields that make browsers stricter. A field that the App has set itself stays as it is.

    ======================================  ==========================================================
    field                                   by default
    ======================================  ==========================================================
    X-Content-Type-Options                  ``nosniff``
    X-Frame-Options                         ``DENY``
    Referrer-Policy                         ``strict-origin-when-cross-origin``
    Cross-Origin-Opener-Policy              ``same-origin``
    Cross-Origin-Resource-Policy            ``same-origin``: other sites cannot embed images; what CORS allows is read
    Content-Security-Policy                 not sent: only the author knows what a page loads
    Strict-Transport-Security               not sent; over TLS only, with ``hsts``
    Permissions-Policy                      not sent
    ======================================  ==========================================================

    Args:
        csp: Content-Security-Policy, ``"default-src 'self'"`` for example.
        hsts: seconds for which browsers use TLS for this host and no longer take exceptions; half a year is usual.
        hsts_subdomains: it holds for all names below the host.
        frame_options: ``DENY`` or ``SAMEORIGIN``; None to leave the field out.
        referrer_policy: value of Referrer-Policy; None to leave it out.
        opener_policy: value of Cross-Origin-Opener-Policy; None to leave it out.
        resource_policy: value of Cross-Origin-Resource-Policy; None to leave it out.
        permissions_policy: value of Permissions-Policy, ``"camera=(), microphone=()"`` for example.

    Raises:
        ValueError: a value is malformed.
    """

    def __init__(
        self,
        *,
        csp: str | None = None,
        hsts: int = 0,
        hsts_subdomains: bool = False,
        frame_options: str | None = "DENY",
        referrer_policy: str | None = "strict-origin-when-cross-origin",
        opener_policy: str | None = "same-origin",
        resource_policy: str | None = "same-origin",
        permissions_policy: str | None = None,
    ) -> None:
        if frame_options not in ("DENY", "SAMEORIGIN", None):
            raise ValueError(f"frame_options is 'DENY' or 'SAMEORIGIN', not {frame_options!r}")
        given = {
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": frame_options,
            "Referrer-Policy": referrer_policy,
            "Cross-Origin-Opener-Policy": opener_policy,
            "Cross-Origin-Resource-Policy": resource_policy,
            "Permissions-Policy": permissions_policy,
            "Content-Security-Policy": csp,
        }
        super().__init__({name: value for name, value in given.items() if value is not None})
        age = f"max-age={int(hsts)}" + "; includeSubDomains" * hsts_subdomains
        self._hsts = named_lines([("Strict-Transport-Security", age)]) if hsts else ()

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        # RFC 6797 section 7.2: not over plain HTTP.
        on_head(response, self._add_secure if self._hsts and request.scheme == "https" else self._add)
        return app(request, response)

    def _add_secure(self, head: ResponseHead, fields: ResponseFields) -> None:
        fields += missing(fields, self._hsts + self._lines)
