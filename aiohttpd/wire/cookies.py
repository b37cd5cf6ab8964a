"""Cookies, RFC 6265: the Cookie field of a request, and the value of a Set-Cookie field.

Owns the syntax of both fields. It sees field values only, no handler.
"""

import re

from .dates import http_date
from .headers import OWS, Headers, is_token

__all__ = ["read_cookies", "set_cookie_value"]

_find_pairs = re.compile(r"[^\t ;][^;]*+").findall
_is_attribute = re.compile(r"[ -:<-~]*+").fullmatch  # section 4.1.1: any character except controls and ";"
_is_cookie_value = re.compile(r"[!#-+\--:<-\[\]-~]*+").fullmatch  # section 4.1.1: cookie-octet
_PREFIXES = "__host-", "__secure-"  # of names, in any case (draft-ietf-httpbis-rfc6265bis section 4.1.3)
_LAST_DATE = 253402300799  # 9999-12-31 23:59:59, the last second that an HTTP-date can express


def read_cookies(headers: Headers) -> dict[str, str]:
    """Parse the Cookie fields of a request (RFC 6265 section 4.2.1).

    Pairs without ``=`` or without a name are ignored. Of several cookies with one name, the first counts.
    """
    found: dict[str, str] = {}
    for field in headers.get_all("Cookie") or ():
        for pair in _find_pairs(field):
            name, equals, value = (part.strip(OWS) for part in pair.partition("="))
            if name and equals:
                quoted = len(value) > 1 and value[0] == value[-1] == '"'
                found.setdefault(_decoded(name), _decoded(value[1:-1] if quoted else value))
    return found


def _decoded(text: str) -> str:
    """Decode UTF-8, which browsers send. Text that is not UTF-8 stays ISO 8859-1, as header fields are decoded."""
    try:
        return text if text.isascii() else text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return text


def set_cookie_value(
    name: str,
    value: str,
    *,
    max_age: int | None,
    path: str | None,
    domain: str | None,
    secure: bool | None,
    httponly: bool,
    samesite: str | None,
    over_tls: bool,
    now: float,
) -> str:
    """Build the value of Set-Cookie (RFC 6265 section 4.1.1).

    The arguments are those of `BaseHTTPRequestHandler.set_cookie`, and these:

    Args:
        over_tls: whether the request came over TLS.
        now: seconds since the epoch, for Expires.

    Raises:
        ValueError: an argument cannot be written in a cookie, or browsers would ignore the cookie.
    """
    if not is_token(name):
        raise ValueError(f"{name!r} is not a valid cookie name: it must be a token (RFC 9110 section 5.6.2)")
    if not isinstance(value, str):
        raise TypeError(f"the value of cookie {name} is text, not {value!r}")
    if not _is_cookie_value(value):
        raise ValueError(
            f"the value of cookie {name} has characters that a cookie cannot hold: encode it, with urllib.parse.quote"
        )
    if secure is None:
        secure = over_tls or name.lower().startswith(_PREFIXES)
    if samesite is not None and samesite not in ("Strict", "Lax", "None"):
        raise ValueError(f"samesite is 'Strict', 'Lax' or 'None', not {samesite!r}")
    if samesite == "None" and not secure:
        raise ValueError("browsers reject a cookie with samesite='None' that is not secure")
    _check_prefix(name, secure=secure, is_of_host=path == "/" and domain is None)
    parts = [f"{name}={value}", *_lifetime(max_age, now), *_scope(path, domain)]
    parts += ["Secure"] * secure + ["HttpOnly"] * httponly
    if samesite is not None:
        parts.append(f"SameSite={samesite}")
    return "; ".join(parts)


def _check_prefix(name: str, *, secure: bool, is_of_host: bool) -> None:
    prefix = name[: name.find("-") + 1].lower()
    if prefix in _PREFIXES and not secure:
        raise ValueError(f"browsers reject the cookie {name} if it is not secure")
    if prefix == "__host-" and not is_of_host:
        raise ValueError(f"browsers reject the cookie {name}: one of the name __Host-... has the path / and no domain")


def _lifetime(max_age: int | None, now: float) -> list[str]:
    if max_age is None:
        return []
    # Expires is for clients that do not know Max-Age.
    expires = min(now + max_age, _LAST_DATE) if max_age > 0 else 0
    return [f"Max-Age={int(max_age)}", f"Expires={http_date(expires)}"]


def _scope(path: str | None, domain: str | None) -> list[str]:
    parts = []
    for attribute, text in (("Path", path), ("Domain", domain)):
        if text is not None:
            if not _is_attribute(text):
                raise ValueError(f"the {attribute.lower()} {text!r} has characters that a cookie cannot hold")
            parts.append(f"{attribute}={text}")
    return parts
