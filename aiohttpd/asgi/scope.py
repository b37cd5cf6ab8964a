"""Scopes: what an application is told of a request before any message.

Owns the dictionaries of type ``http`` and ``websocket``, versions 2.5, and of the extension ``tls``, version 0.2. What
requests of one connection have in common is worked out once for as long as it repeats its fields.
"""

import os
import ssl
from typing import Any
from urllib.parse import unquote
from weakref import WeakKeyDictionary

from ..engine.response import StreamWriter
from ..wire.request import Address, Request

__all__ = ["Scope", "Scopes", "State"]

Scope = dict[str, Any]
State = dict[str, Any]
Fields = list[tuple[bytes, bytes]]

ASGI = {"version": "3.0", "spec_version": "2.5"}

HTTP_EXTENSIONS: dict[str, Any] = {
    "http.response.early_hint": {},
    "http.response.pathsend": {},
    "http.response.trailers": {},
    "http.response.zerocopysend": {},
}

# What targets come to: path, raw path and query string. Clients ask for the same ones again and again.
_known_targets: dict[str, tuple[str, bytes, bytes]] = {}
_KNOWN_TARGETS = 256
_LONGEST_KNOWN = 128


class Scopes:
    """Makes the scopes for one application.

    Args:
        root_path: where the application is mounted, within that of its request; paths begin with it.
    """

    def __init__(self, root_path: str) -> None:
        self.root_path = root_path
        self._states: WeakKeyDictionary[Any, State] = WeakKeyDictionary()

    def begin_state(self, server: Any) -> State:
        """The state that the lifespan of a server fills; each request gets a copy."""
        state = self._states[server] = {}
        return state

    def http(self, request: Request, response: StreamWriter) -> Scope:
        """The scope of a request."""
        memo = request.headers.memo
        target = request.target
        known = memo.get(self)
        if known is None or target[:1] != "/":
            known = self._common(request, response)
            if target[:1] == "/":
                memo[self] = known
        common, fields, state = known
        path, raw_path, query = _known_targets.get(target) or _split(request)
        scope: Scope = common.copy()
        root_path = self.root_path
        if request.root_path:
            root_path = scope["root_path"] = unquote(request.root_path) + root_path
            # What a router has taken off was sent by the client; what the option says was not.
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
        """The scope of a WebSocket."""
        scope = self.http(request, response)
        del scope["method"]
        tls = scope["extensions"].get("tls")
        return scope | {
            "type": "websocket",
            "scheme": "wss" if scope["scheme"] == "https" else "ws",
            "subprotocols": subprotocols,
            "extensions": {"websocket.http.response": {}}
            if tls is None
            else {"websocket.http.response": {}, "tls": tls},
        }

    def _common(self, request: Request, response: StreamWriter) -> tuple[Scope, Fields, State]:
        """What requests have in common that repeat these fields on this connection."""
        extensions = dict(HTTP_EXTENSIONS)
        tls = response.get_extra_info("ssl_object")
        if tls is not None:
            extensions["tls"] = tls_extension(tls)
        common: Scope = {
            "type": "http",
            "asgi": ASGI,
            "http_version": "1.1",
            "scheme": request.scheme,
            "root_path": self.root_path,
            "client": client_of(request.client_address),
            "server": server_of(request.server_address),
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
    """Take the target apart."""
    raw = request.path
    parts = unquote(raw) if "%" in raw else raw, raw.encode("latin-1"), request.query_string.encode("latin-1")
    if len(request.target) <= _LONGEST_KNOWN:
        if len(_known_targets) >= _KNOWN_TARGETS:
            _known_targets.clear()
        _known_targets[request.target] = parts
    return parts


def _name_host(fields: Fields, host: str) -> None:
    """Have Host name what counts: the authority of an absolute target (RFC 9112 section 3.2.2), or a proxy's word."""
    at = next((at for at, (name, _) in enumerate(fields) if name == b"host"), len(fields))
    fields[at : at + 1] = [(b"host", host.encode("latin-1"))]


def client_of(address: Address) -> tuple[str, int] | None:
    """``(host, port)``; None where the client has no address, on unix sockets."""
    return (address[0], address[1]) if isinstance(address, tuple) and not address[0].startswith("unix:") else None


def server_of(address: Any) -> tuple[str, int | None] | None:
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


def tls_extension(tls: ssl.SSLObject | ssl.SSLSocket) -> dict[str, Any]:
    """What an application may know of the TLS of its connection; the server's certificate where it is from a file."""
    chain = _client_chain(tls)
    return {
        "server_cert": getattr(tls.context, "certificate", None),
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(der) for der in chain],
        "client_cert_name": distinguished_name(tls.getpeercert() or {}) if chain else None,
        "client_cert_error": None,  # who has one that does not pass is not let in
        "tls_version": _VERSIONS.get(tls.version() or ""),
        "cipher_suite": _cipher_suite(tls),
    }


def _client_chain(tls: Any) -> list[bytes]:
    """The certificates that the client has sent, its own first; from Python 3.13 on those between, too."""
    own = tls.getpeercert(binary_form=True)
    if own is None:
        return []
    chain = tls.get_unverified_chain() if hasattr(tls, "get_unverified_chain") else None
    return list(chain or [own])


def _cipher_suite(tls: ssl.SSLObject | ssl.SSLSocket) -> int | None:
    """The number that IANA has given to the cipher suite."""
    cipher = tls.cipher()
    if cipher is None:
        return None
    numbers: dict[str, int] = {known["name"]: known["id"] & 0xFFFF for known in tls.context.get_ciphers()}
    return numbers.get(cipher[0])


def distinguished_name(certificate: Any) -> str:
    """The subject of a certificate as RFC 4514 writes it: the last part first."""
    subject = reversed(certificate.get("subject", ()))
    return ",".join(
        "+".join(f"{_SHORT_NAMES.get(key, key)}={_escaped(value)}" for key, value in part) for part in subject
    )


def _escaped(value: str) -> str:
    """RFC 4514 section 2.4."""
    text = "".join("\\" + letter if letter in ',+"\\<>;=' else letter for letter in value).replace("\0", "\\00")
    if text[:1] in ("#", " "):
        text = "\\" + text
    return text[:-1] + "\\ " if text.endswith(" ") and len(value) > 1 else text
