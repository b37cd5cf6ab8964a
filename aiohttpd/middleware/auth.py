"""Authentication: Basic (RFC 7617) and Bearer (RFC 6750), by fixed credentials or by a function of the program.

Owns the layers around an App that ask for credentials, and the comparison of credentials. There is no user database
and no session.
"""

import base64
import functools
import hashlib
import hmac
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from ..engine.apps import describe
from ..engine.interfaces import App, ResponseHead
from ..errors import HTTPError
from ..wire.headers import OWS, is_field_value
from ..wire.request import Request
from ..wire.response import ResponseFields
from .layer import Layer, NamedLines, missing, named_lines, on_head

__all__ = ["BasicAuth", "BearerAuth", "basic_auth", "challenge", "check_credentials", "is_authorized"]

_REALM = "aiohttpd"
_NOBODY: tuple[str, Any] = "", None


def basic_auth(app: App, credentials: str) -> App:
    """Put `BasicAuth` with one user around an App.

    Args:
        app: a handler class, another App, or an ASGI application.
        credentials: ``name:password``.

    Raises:
        ValueError: the credentials have no colon, or nothing before or after it.
    """
    name, _, password = check_credentials(credentials).partition(":")
    return BasicAuth({name: password})(app)


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


def challenge(realm: str = _REALM) -> HTTPError:
    """The response to missing or wrong credentials: 401 with a WWW-Authenticate challenge (RFC 7617 section 2)."""
    field = ("WWW-Authenticate", f'Basic realm="{realm}", charset="UTF-8"')
    return HTTPError(401, None, "name and password are needed", headers=[field])


def _encoded(credentials: str) -> bytes:
    """Encode as UTF-8, the charset of the challenge. Bytes of a command line that are not UTF-8 stay as they are."""
    return credentials.encode("utf-8", "surrogateescape")


def _digest(data: bytes) -> bytes:
    # compare_digest takes constant time for values of equal length only.
    return hashlib.sha256(data).digest()


def _credentials(request: Request) -> bytes:
    values = request.headers.get_all("Authorization") or []
    return _read_basic(values[0]) if len(values) == 1 else b""


def _read_basic(value: str) -> bytes:
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() != "basic":
        return b""
    try:
        return base64.b64decode(encoded.strip(OWS), validate=True)
    except ValueError:  # no base64, or not ASCII
        return b""


_is_token = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch  # RFC 6750 section 2.1: b64token


class _Auth(Layer):
    """Finds the user with the credentials of a request, and sets ``request.user``; without one, it answers 401."""

    def __init__(self, realm: str, optional: bool) -> None:
        if not is_field_value(realm):
            raise ValueError(f"the realm {realm!r} has a character that cannot stand in a header field")
        self._realm = realm.replace("\\", "\\\\").replace('"', '\\"')
        self._optional = optional

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        values = request.headers.get_all("Authorization") or []
        if not values and self._optional:
            on_head(response, self._ask)
            return app(request, response)
        name, found = self._user(values[0]) if len(values) == 1 else _NOBODY
        if hasattr(found, "__await__"):  # `inspect.isawaitable` costs more, and is asked for each request
            return self._serve_found(name, found, app, request, response)
        if found is None or found is False:
            raise self._challenge(missing=not values)
        request.user = name if found is True else found
        return app(request, response)

    async def _serve_found(self, name: str, found: Awaitable[Any], app: App, request: Request, response: Any) -> None:
        user = await found
        if user is None or user is False:
            raise self._challenge(missing=False)
        request.user = name if user is True else user
        await app(request, response)

    def _ask(self, head: ResponseHead, fields: ResponseFields) -> None:
        """Add the challenge to a 401 of the App, which has to have one (RFC 9110 section 15.5.2)."""
        if head.status == 401:
            fields += missing(fields, self._challenge_lines)

    @functools.cached_property
    def _challenge_lines(self) -> NamedLines:
        return named_lines(self._challenge(missing=True).headers)

    def _user(self, credentials: str) -> tuple[str, Any]:
        """The name or the token that credentials have, and what was found for it; that may be awaitable."""
        raise NotImplementedError

    def _challenge(self, *, missing: bool) -> HTTPError:
        raise NotImplementedError


class BasicAuth(_Auth):
    """Require Basic authentication (RFC 7617).

    ::

        BasicAuth({"anna": "secret"})
        BasicAuth(find_user)  # (async) def find_user(name, password): the user, or None

    ``request.user`` is what the function has returned; the name, if that is True or a mapping was given. Other
    requests get 401 with a challenge. A password crosses the network with each request, so use TLS.

    Args:
        check: a function of name and password that returns the user, True, or None; or passwords by name, which are
            compared in a time that does not depend on what the client has sent. A function that takes long (a hash
            of passwords should) is best asynchronous and leaves the work to a thread.
        realm: what the browser calls what is protected.
        optional: let requests without credentials pass; ``request.user`` is None then, and the App may answer 401,
            which gets the challenge. Wrong credentials get 401.

    Raises:
        ValueError: the realm, or a name with a colon.
        TypeError: what is given is neither a function of name and password nor passwords by name, or a password is no
            text.
    """

    def __init__(
        self,
        check: Callable[[str, str], Any] | Mapping[str, str],
        *,
        realm: str = _REALM,
        optional: bool = False,
    ) -> None:
        super().__init__(realm, optional)
        if not isinstance(check, Mapping) and not callable(check):
            raise TypeError(
                f"BasicAuth takes a function of name and password, or passwords by name, {{'anna': 'secret'}}; not a "
                f"{type(check).__name__}"
            )
        self._check = None if isinstance(check, Mapping) else check
        if self._check is not None:
            _check_takes(self._check, "BasicAuth", "name and password", 2)
        self._passwords: dict[bytes, bytes] = {}  # digests, by name
        if isinstance(check, Mapping):
            for name, password in check.items():
                if not isinstance(password, str):
                    raise TypeError(f"BasicAuth: the password of {name!r} is no text but {type(password).__name__}")
                check_credentials(f"{name}:{password}")
                if ":" in name:
                    raise ValueError(f"BasicAuth: the name {name!r} has a colon, which ends a name")
                self._passwords[_encoded(name)] = _digest(_encoded(password))

    def _user(self, credentials: str) -> tuple[str, Any]:
        sent_name, colon, sent_password = _read_basic(credentials).partition(b":")
        if not colon:
            return _NOBODY
        if self._check is None:
            known = self._passwords.get(sent_name, b"\0" * 32)  # no digest, so nothing is equal to it
            is_right = hmac.compare_digest(_digest(sent_password), known)
            return sent_name.decode("utf-8", "surrogateescape"), is_right
        try:
            name, password = sent_name.decode(), sent_password.decode()
        except UnicodeDecodeError:
            return _NOBODY
        return name, self._check(name, password)

    def _challenge(self, *, missing: bool) -> HTTPError:
        return challenge(self._realm)


class BearerAuth(_Auth):
    """Require a bearer token (RFC 6750) in the field Authorization.

    ::

        BearerAuth(find_user)      # (async) def find_user(token): the user, or None
        BearerAuth({"kGl3...": "anna", "w9Xa...": "ben"})
        BearerAuth(["kGl3...", "w9Xa..."])

    ``request.user`` is what the function has returned, or what the mapping has; the token, if that is True or there is
    none. Other requests get 401 with a challenge, and ``error="invalid_token"`` if there was a token.

    Args:
        check: a function of the token that returns the user, True, or None; or users by token, or only tokens. These
            are compared in a time that does not depend on what the client has sent.
        realm: of the challenge.
        optional: let requests without a token pass; ``request.user`` is None then, and the App may answer 401, which
            gets the challenge. Wrong tokens get 401.

    Raises:
        ValueError: the realm, or a token with characters that it cannot have; or there is no token.
        TypeError: the function cannot be called with a token.
    """

    def __init__(
        self,
        check: Callable[[str], Any] | Mapping[str, Any] | Iterable[str],
        *,
        realm: str = _REALM,
        optional: bool = False,
    ) -> None:
        super().__init__(realm, optional)
        self._check = check if callable(check) else None
        tokens = () if callable(check) else [check] if isinstance(check, str) or check is None else list(check)
        if not callable(check) and not (tokens and all(isinstance(each, str) and _is_token(each) for each in tokens)):
            raise ValueError("BearerAuth: a token has letters, digits and ._~+/-, and there is at least one")
        if callable(check):
            _check_takes(check, "BearerAuth", "the token", 1)
        users: Mapping[str, Any] = check if isinstance(check, Mapping) else {}
        self._users = [(_digest(token.encode()), users.get(token, True)) for token in tokens]

    def _user(self, credentials: str) -> tuple[str, Any]:
        scheme, _, token = credentials.partition(" ")
        token = token.strip(OWS)
        if scheme.lower() != "bearer" or not _is_token(token):
            return _NOBODY
        if self._check is not None:
            return token, self._check(token)
        digest = _digest(token.encode())
        users = [user for known, user in self._users if hmac.compare_digest(digest, known)]
        return token, users[0] if users else None

    def _challenge(self, *, missing: bool) -> HTTPError:
        error = "" if missing else ', error="invalid_token"'
        field = ("WWW-Authenticate", f'Bearer realm="{self._realm}"{error}')
        return HTTPError(401, None, "a valid token is needed", headers=[field])


def _check_takes(check: Callable[..., Any], layer: str, what: str, count: int) -> None:
    try:
        inspect.signature(check).bind(*[None] * count)
    except TypeError:
        raise TypeError(f"{layer}: {describe(check)} cannot be called with {what}") from None
    except ValueError:  # some functions in C do not tell
        pass
