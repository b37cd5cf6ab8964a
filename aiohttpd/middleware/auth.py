"""Basic authentication (RFC 7617) with one user name and password.

Owns the layer around an App that asks for credentials, and the comparison of credentials. There is no user database and
no session.
"""

import base64
import hashlib
import hmac
from typing import Any

from ..asgi.host import hosted
from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import HTTPError
from ..handlers.app import copy_error_format, resolve_app
from ..wire.headers import OWS
from ..wire.request import Request

__all__ = ["basic_auth", "challenge", "check_credentials", "is_authorized"]

_CHALLENGE = ("WWW-Authenticate", 'Basic realm="aiohttpd", charset="UTF-8"')


def basic_auth(app: App, credentials: str, *, preflight: bool = False) -> App:
    """Require Basic authentication for an App; other requests get 401 with a challenge.

    Args:
        app: a handler class, another App, or an ASGI application.
        credentials: ``name:password``.
        preflight: do not require credentials for CORS preflight requests, with which browsers send none.

    Raises:
        ValueError: the credentials have no colon, or nothing before or after it.
    """
    check_credentials(credentials)
    return _BasicAuth(app, credentials, preflight)


class _BasicAuth:
    """An App that calls another one for authorized requests. It can be pickled for workers if the other App can."""

    def __init__(self, app: App, credentials: str, preflight: bool) -> None:
        app = hosted(app)
        self._arguments = app, credentials, preflight
        self._inner = resolve_app(app)
        copy_error_format(app, self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _BasicAuth, self._arguments

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        _, credentials, preflight = self._arguments
        if not (preflight and _is_preflight(request)) and not is_authorized(request, credentials):
            raise challenge()
        return await self._inner(request, response)


def _is_preflight(request: Request) -> bool:
    return request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers


def check_credentials(credentials: str) -> str:
    """Check that credentials are ``name:password``, and return them.

    Raises:
        ValueError: there is no colon, or nothing before or after it; or the text cannot be encoded.
    """
    _encoded(credentials)
    name, _, password = credentials.partition(":")
    if not name or not password:
        raise ValueError("credentials are 'name:password'")
    return credentials


def is_authorized(request: Request, credentials: str) -> bool:
    """Whether a request has these credentials. The time that it takes does not depend on the request's credentials."""
    return hmac.compare_digest(_digest(_credentials(request)), _digest(_encoded(credentials)))


def challenge() -> HTTPError:
    """The response to missing or wrong credentials: 401 with a WWW-Authenticate challenge."""
    return HTTPError(401, None, "name and password are needed", headers=[_CHALLENGE])


def _encoded(credentials: str) -> bytes:
    """Encode as UTF-8, the charset of the challenge. Bytes of a command line that are not UTF-8 stay as they are."""
    return credentials.encode("utf-8", "surrogateescape")


def _digest(data: bytes) -> bytes:
    # compare_digest takes constant time for values of equal length only.
    return hashlib.sha256(data).digest()


def _credentials(request: Request) -> bytes:
    values = request.headers.get_all("Authorization") or []
    scheme, _, encoded = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(OWS), validate=True)
    except ValueError:  # no base64, or not ASCII
        return b""
