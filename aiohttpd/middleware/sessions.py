"""Sessions: what a site remembers of a client, in a signed cookie. Needs ``itsdangerous``: ``aiohttpd[sessions]``.

Owns the cookie: how it is signed and read, when it is set, and its attributes. The client can read the session but not
change it. There is no store on the server, so no id that an attacker could fix in advance; what he can do is have a
browser send a session that he was given himself, which is why `Session.renew` exists.
"""

import json
import time
from collections.abc import Awaitable, Iterable
from typing import Any

from ..engine.interfaces import App, ResponseHead
from ..errors import ContractError
from ..handlers.session import Session
from ..wire.cookies import read_cookies, set_cookie_value
from ..wire.headers import is_token
from ..wire.request import Request
from ..wire.response import ResponseFields
from .layer import Layer, add_vary, missing, named_lines, on_head

__all__ = ["Session", "Sessions"]

_CACHE_CONTROL = named_lines([("Cache-Control", "private")])
_SHORTEST_SECRET = 16  # characters
_LONGEST_COOKIE = 4096  # bytes of name and value; browsers drop longer ones (RFC 6265 section 6.1)


class Sessions(Layer):
    """Give each request a session, ``self.session`` in a handler, that is kept in a signed cookie.

    ::

        Sessions(os.environ["SESSION_SECRET"])
        Sessions([new_secret, old_secret])  # rotation: the first signs, all are accepted

        async def do_POST(self):
            self.session.renew()
            self.session["user"] = 7

    Change it before the head of the answer is ended; later it raises `ContractError`. The cookie is HttpOnly,
    SameSite=Lax, and Secure over TLS. It is set when the session has changed, deleted when it is empty, and set
    again after half of its life. It is signed, not encrypted: no secrets belong into it. A copy of a cookie is
    valid until it expires, also after the user has signed out; what must end at once needs a list on the server. An
    answer that has used the session has ``Vary: Cookie``, and ``Cache-Control: private`` unless the App says
    otherwise.

    Args:
        secrets: one of at least 16 characters, best 32 random ones (``secrets.token_urlsafe(32)``), or several.
        cookie: the name; one that begins with ``__Host-`` cannot be set by other names of the domain.
        max_age: seconds; two weeks by default.
        samesite: ``"Lax"``, ``"Strict"`` or ``"None"``.
        secure: browsers send it over TLS only; by default if the request came over TLS.
        path: of the cookie.
        domain: the names below it get the cookie, too; by default this host only.

    Raises:
        ValueError: a secret is too short, or an argument cannot stand in a cookie.
        TypeError: a secret is no text, but None for example.
        ModuleNotFoundError: ``itsdangerous`` is not installed.
    """

    def __init__(
        self,
        secrets: str | Iterable[str],
        *,
        cookie: str = "session",
        max_age: int = 14 * 24 * 3600,
        samesite: str = "Lax",
        secure: bool | None = None,
        path: str = "/",
        domain: str | None = None,
    ) -> None:
        keys = [secrets] if isinstance(secrets, str | bytes) or secrets is None else list(secrets)
        if wrong := [key for key in keys if not isinstance(key, str)]:
            hint = ": is a variable of the environment missing?" if None in wrong else ""
            raise TypeError(f"Sessions: a secret is text, not {type(wrong[0]).__name__}{hint}")
        if not keys or any(len(key) < _SHORTEST_SECRET for key in keys):
            raise ValueError(f"Sessions: a secret has at least {_SHORTEST_SECRET} characters, best 32 random ones")
        if not is_token(cookie) or max_age <= 0:
            raise ValueError("Sessions: the name of the cookie is a token, and its age is greater than 0")
        self._cookie = cookie
        self._max_age = max_age
        self._attributes: dict[str, Any] = {
            "path": path, "domain": domain, "secure": secure, "httponly": True, "samesite": samesite,
        }  # fmt: skip
        over_tls = samesite == "None" and secure is None
        set_cookie_value(cookie, "", max_age=0, over_tls=over_tls, now=0, **self._attributes)
        self._serializer = _serializer(keys, cookie)

    def serve(self, app: App, request: Request, response: Any) -> Awaitable[None]:
        opened = _OpenSession(self, request, response)
        request.open_session = opened.open
        on_head(response, opened.close)
        return app(request, response)

    def read(self, text: str) -> tuple[dict[str, Any], float]:
        """What is in a cookie, and its age in seconds; nothing if it is not valid."""
        from itsdangerous import BadData

        try:
            data, signed = self._serializer.loads(text, max_age=self._max_age, return_timestamp=True)
        except BadData:
            return {}, 0.0
        return (data, time.time() - signed.timestamp()) if isinstance(data, dict) else ({}, 0.0)

    def is_old(self, age: float) -> bool:
        """Whether a cookie of this age is to be set again, so that it does not expire while it is used."""
        return age * 2 > self._max_age

    def write(self, session: Session, *, over_tls: bool) -> str:
        """The value of Set-Cookie for a session.

        Raises:
            ContractError: it is too large for a cookie, or holds what JSON has not.
        """
        try:
            text = str(self._serializer.dumps(dict(session))) if session else ""
        except (TypeError, ValueError) as error:
            raise ContractError(f"the session cannot be written: {error}") from None
        if len(self._cookie) + len(text) > _LONGEST_COOKIE:
            raise ContractError(
                f"the session has {len(text)} bytes, and browsers take {_LONGEST_COOKIE} at most: keep an id in it, "
                "and the rest on the server"
            )
        age = self._max_age if session else 0
        return set_cookie_value(self._cookie, text, max_age=age, over_tls=over_tls, now=time.time(), **self._attributes)

    @property
    def cookie(self) -> str:
        """The name of the cookie."""
        return self._cookie


class _OpenSession:
    """The session of one request: read when it is first asked for, written with the head of the answer."""

    def __init__(self, layer: Sessions, request: Request, response: Any) -> None:
        self._layer = layer
        self._request = request
        self._response = response
        self._session: Session | None = None
        self._before = "{}"
        self._had_cookie = False
        self._is_old = False
        self._failed = False

    def open(self) -> Session:
        """The session."""
        if self._session is None:
            text = read_cookies(self._request.headers).get(self._layer.cookie)
            data, age = ({}, 0.0) if text is None else self._layer.read(text)
            session = self._session = Session(data)
            session.is_new = not data
            session.response = self._response
            self._had_cookie = text is not None
            self._is_old = bool(data) and self._layer.is_old(age)
            self._before = _snapshot(session)
        return self._session

    def close(self, head: ResponseHead, fields: ResponseFields) -> None:
        """Add what the answer has to say of the session."""
        session = self._session
        if session is None or self._failed:
            return
        add_vary(fields, "Cookie")
        fields += missing(fields, _CACHE_CONTROL)
        changed = _snapshot(session) != self._before or self._is_old
        if changed if session else self._had_cookie:
            try:
                fields.add("Set-Cookie", self._layer.write(session, over_tls=self._request.scheme == "https"))
            except ContractError:
                self._failed = True  # the error is answered, and that answer leaves the session as it was
                raise


def _snapshot(session: Session) -> str:
    """What tells whether a session has changed, also deep in it."""
    try:
        return json.dumps(session, sort_keys=True)
    except (TypeError, ValueError):
        return ""


def _serializer(keys: list[str], cookie: str) -> Any:
    try:
        from itsdangerous import URLSafeTimedSerializer
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Sessions need itsdangerous: pip install 'aiohttpd[sessions]'") from None
    import hashlib

    # The newest key is the last one there. The name is part of what is signed: no cookie can be another one.
    return URLSafeTimedSerializer(
        keys[::-1], salt=f"aiohttpd.session:{cookie}", signer_kwargs={"digest_method": hashlib.sha256}
    )
