"""Basic authentication, RFC 7617: an App around an App.

Owns the question who may pass. It is meant for one name and password from the command line; it knows no
users and keeps no sessions.
"""

import base64
import hashlib
import hmac
from typing import Any

from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import HTTPError
from ..handlers.app import refused_as, resolve_app
from ..wire.headers import OWS
from ..wire.request import Request

__all__ = ["basic_auth", "challenge", "check_credentials", "is_authorized"]

_CHALLENGE = ("WWW-Authenticate", 'Basic realm="aiohttpd", charset="UTF-8"')


def basic_auth(app: App, credentials: str, *, preflight: bool = False) -> App:
    """Let requests pass to an App that come with a name and a password; answer 401 to others.

    Args:
        app: a handler class, or another App.
        credentials: ``name:password``.
        preflight: let questions of browsers pass whether they may ask, which have no credentials.

    Raises:
        ValueError: there is no colon in the credentials, or nothing before it or after it.
    """
    check_credentials(credentials)
    return _Guarded(app, credentials, preflight)


class _Guarded:
    """An App that lets pass to another one who has the credentials; it can be handed to workers if that can."""

    def __init__(self, app: App, credentials: str, preflight: bool) -> None:
        self._given = app, credentials, preflight
        self._inner = resolve_app(app)
        refused_as(self, app)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Guarded, self._given

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        _, credentials, preflight = self._given
        asks = preflight and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
        if not asks and not is_authorized(request, credentials):
            raise challenge()
        return await self._inner(request, response)


def check_credentials(credentials: str) -> str:
    """See that credentials are ``name:password``, and give them back.

    Raises:
        ValueError: there is no colon, or nothing before it or after it; or no client could send it.
    """
    _as_sent(credentials)
    name, _, password = credentials.partition(":")
    if not name or not password:
        raise ValueError("credentials are 'name:password'")
    return credentials


def is_authorized(request: Request, credentials: str) -> bool:
    """Whether a request has these credentials; it takes as long whatever it has."""
    return hmac.compare_digest(_digest(_credentials(request)), _digest(_as_sent(credentials)))


def challenge() -> HTTPError:
    """The answer to who has no credentials, or wrong ones."""
    return HTTPError(401, None, "name and password are needed", headers=[_CHALLENGE])


def _as_sent(credentials: str) -> bytes:
    """In UTF-8, as the challenge says; what the command line has in another charset stays as it is there."""
    return credentials.encode("utf-8", "surrogateescape")


def _digest(data: bytes) -> bytes:
    # Of equal length whatever came.
    return hashlib.sha256(data).digest()


def _credentials(request: Request) -> bytes:
    values = request.headers.get_all("Authorization") or []
    scheme, _, encoded = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(OWS), validate=True)
    except ValueError:  # of the alphabet, of the padding, or of what is not ASCII
        return b""
