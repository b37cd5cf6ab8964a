"""Scopes: the dictionaries that describe a request to an ASGI application.

Owns the scopes ``http`` and ``websocket``, spec version 2.5, and the extension ``tls``, version 0.2. The parts that
successive requests of a connection with equal header fields have in common are made once.
"""

import os
import ssl
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from ..engine.response import StreamWriter
from ..wire.negotiation import names_coding
from ..wire.request import Address, Request

__all__ = ["Scope", "Scopes", "State"]

Scope = dict[str, Any]
State = dict[str, Any]
Fields = list[tuple[bytes, bytes]]

ASGI = {"version": "3.0", "spec_version": "2.5"}

HTTP_EXTENSIONS: dict[str, Any] = {
    "http.response.early_hint": {},
    "http.response.trailers": {},
}
# Their messages have no content. Middleware that compresses may drop such a message, or fail; so they are offered only
# to requests that ask for no content coding.
FILE_EXTENSIONS: dict[str, Any] = {
    "http.response.pathsend": {},
    "http.response.zerocopysend": {},
}

# A cache of request targets: path, raw path and query string.
_known_targets: dict[str, tuple[str, bytes, bytes]] = {}
_KNOWN_TARGETS = 256
_LONGEST_KNOWN = 128


class Scopes:
    """Makes the scopes for one application.

    Args:
        root_path: the root path of the application, which follows that of the request.
    """

    def __init__(self, root_path: str) -> None:
        self.root_path = root_path
        self._states: WeakKeyDictionary[Any, State] = WeakKeyDictionary()

    def begin_state(self, server: Any) -> State:
        """Return a new ``state`` for the lifespan of a server; the scope of each request gets a copy of it."""
        state = self._states[server] = {}
        return state

    def http(self, request: Request, response: StreamWriter) -> Scope:
        """Return the scope of an HTTP request."""
        target = request.target
        known = request.headers.memo.get(self)
        if known is None or target[:1] != "/":
            known = self._common(request, response)
            if target[:1] == "/":
                request.headers.remember(self, known)
        common, fields, state = known
        path, raw_path, query = _known_targets.get(target) or _split(request)
        scope: Scope = common.copy()
        root_path = self.root_path
        if request.root_path:
            root_path = scope["root_path"] = unquote(request.root_path) + root_path
            # raw_path is what the client has sent: with the prefix that a router has removed, but without that of the
            # option root_path, which a proxy has removed before.
            raw_path = request.root_path[len(request.peer.config.root_path) :].encode("latin-1") + raw_path
        scope["asgi"] = ASGI.copy()
        scope["method"] = request.method.upper()
        scope["path"] = root_path + path if root_path else path
        scope["raw_path"] = raw_path
        scope["query_string"] = query
        scope["headers"] = fields.copy()
        scope["extensions"] = common["extensions"].copy()
        scope["state"] = state.copy()
        if request.framing.http10:
            scope["http_version"] = "1.0"
        return scope

    def websocket(self, request: Request, response: StreamWriter, subprotocols: list[str]) -> Scope:
        """Return the scope of a WebSocket."""
        scope = self.http(request, response)
        del scope["method"]
        extensions: dict[str, Any] = {"websocket.http.response": {}}
        if (tls := scope["extensions"].get("tls")) is not None:
            extensions["tls"] = tls
        return scope | {
            "type": "websocket",
            "scheme": "wss" if scope["scheme"] == "https" else "ws",
            "subprotocols": subprotocols,
            "extensions": extensions,
        }

    def _common(self, request: Request, response: StreamWriter) -> tuple[Scope, Fields, State]:
        """Return the parts of a scope that requests with the same header fields on a connection have in common."""
        extensions = dict(HTTP_EXTENSIONS)
        codings = request.headers.get_all("Accept-Encoding")
        if codings is None or not names_coding(", ".join(codings)):
            extensions |= FILE_EXTENSIONS
        tls = response.get_extra_info("ssl_object")
        if tls is not None:
            extensions["tls"] = _tls_extension(tls)
        common: Scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": "1.1",
            "scheme": request.scheme,
            "root_path": self.root_path,
            "client": _client_of(request.client_address),
            "server": _server_of(request.server_address),
            "extensions": extensions,
        }
        fields = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers.items()]
        host = request.host
        if host is not None and host != request.framing.host:
            _name_host(fields, host)
        server = request.server
        state = None if server is None else self._states.get(server)
        return common, fields, {} if state is None else state


def _split(request: Request) -> tuple[str, bytes, bytes]:
    """Split the target into path, raw path and query string."""
    raw = request.path
    parts = unquote(raw) if "%" in raw else raw, raw.encode("latin-1"), request.query_string.encode("latin-1")
    if len(request.target) <= _LONGEST_KNOWN:
        if len(_known_targets) >= _KNOWN_TARGETS:
            _known_targets.clear()
        _known_targets[request.target] = parts
    return parts


def _name_host(fields: Fields, host: str) -> None:
    """Set Host to that of an absolute target (RFC 9112 section 3.2.2), or to that from a trusted proxy."""
    at = next((at for at, (name, _) in enumerate(fields) if name == b"host"), len(fields))
    fields[at : at + 1] = [(b"host", host.encode("latin-1"))]


def _client_of(address: Address) -> tuple[str, int] | None:
    """``(host, port)``; None where the client has no address, on unix sockets."""
    return (address[0], address[1]) if isinstance(address, tuple) and not address[0].startswith("unix:") else None


def _server_of(address: Any) -> tuple[str, int | None] | None:
    """``(host, port)``, or ``(path, None)`` on unix sockets."""
    if isinstance(address, tuple):
        return (address[0], address[1])
    return (os.fsdecode(address), None) if address else None


# The extension tls.

_VERSIONS = {"SSLv3": 0x0300, "TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}
# RFC 4514 section 3, by the names that OpenSSL has.
_SHORT_NAMES = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def _tls_extension(tls: ssl.SSLObject | ssl.SSLSocket) -> dict[str, Any]:
    """Return the extension ``tls``. ``server_cert`` is None if the certificate was not loaded from a file."""
    chain = _client_chain(tls)
    return {
        "server_cert": getattr(tls.context, "certificate", None),
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der) for der in chain],
        "client_cert_name": distinguished_name(tls.getpeercert() or {}) if chain else None,
        "client_cert_error": None,  # with an invalid certificate the handshake fails
        "tls_version": _VERSIONS.get(tls.version() or ""),
        "cipher_suite": _cipher_suite(tls),
    }


def _client_chain(tls: Any) -> list[bytes]:
    """Return the client's certificate; from Python 3.13 on also the intermediate ones that it has sent."""
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return []
    chain = tls.get_unverified_chain() if hasattr(tls, "get_unverified_chain") else None
    return list(chain or [own])


def _cipher_suite(tls: ssl.SSLObject | ssl.SSLSocket) -> int | None:
    """Return the IANA number of the cipher suite."""
    cipher = tls.cipher()
    if cipher is None:
        return None
    numbers: dict[str, int] = {known["name"]: known["id"] & 0xFFFF for known in tls.context.get_ciphers()}
    return numbers.get(cipher[0])


def distinguished_name(certificate: Any) -> str:
    """Return the subject of a certificate as a string of RFC 4514, which begins with the last part."""
    subject = reversed(certificate.get("subject", ()))
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(key, key)}={_escaped(value)}" for key, value in part) for part in subject
    )


def _escaped(value: str) -> str:
    """Escape a value, RFC 4514 section 2.4."""
    text = "".join("\\" + letter if letter in ',+"\\<>;=' else letter for letter in value).replace("\0", "\\00")
    if text[:1] in ("#", " "):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and len(value) > 1 else text
