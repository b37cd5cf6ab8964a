"""Requests made of scopes.

Owns the conversion of the scope of an ASGI server to a `Request`. The head is checked by the rules of our own parser,
since handlers rely on them. Requests of HTTP/2 and HTTP/3 look like HTTP/1.1 to handlers.
"""

import re
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from ...config import Config
from ...errors import WireError
from ...wire.framing import DECIDING, framing_of
from ...wire.headers import FIELD_LINE, OWS, Headers, is_token
from ...wire.refusals import check_elements, check_limits
from ...wire.request import Request, RequestFraming

__all__ = ["Scope", "empty_request", "handshake_of", "request_of", "with_body"]

Scope = dict[str, Any]

_fields = re.compile(rf"\n(?:{FIELD_LINE})*+").fullmatch
_deciding = re.compile(rf"\n((?:{DECIDING}):[^\r]*+)").findall
_odd = re.compile(r"[^\x21-\x7e]").search
_escape = re.compile("%([0-9A-Fa-f]{2})").match
_PATH = "/!$&'()*+,;=:@~"  # allowed in a path beside letters, digits and -._ (RFC 3986 section 3.3)
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_NO_HOST = "host: unknown"  # used where Host is missing, since `framing_of` requires it
_HANDSHAKE = [
    (b"connection", b"Upgrade"),
    (b"upgrade", b"websocket"),
    (b"sec-websocket-version", b"13"),
    (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),  # the ASGI server has answered that of the client
]
_NOTHING = RequestFraming(False, None, None, False, True, False, None, True)


class Head(NamedTuple):
    """The head of a request.

    Attributes:
        request: the request.
        framed: whether its fields say if there is a body; else only the messages can tell.
    """

    request: Request
    framed: bool


def request_of(scope: Scope, config: Config) -> Head:
    """Make the request of a scope of type ``http`` or ``websocket``.

    Raises:
        WireError: it is malformed or over a limit, as our own parser decides.
    """
    method = scope.get("method", "GET")
    if not is_token(method):
        raise WireError(400, "malformed method")
    block = _block(scope)
    headers = Headers(block)
    target = _target(scope)
    _check_size(method, target, block, config)
    version = "HTTP/1.0" if scope.get("http_version") == "1.0" else "HTTP/1.1"
    framing = _framing(block, version)
    request = Request(method, target, version, headers, framing)
    framed = framing.has_body or framing.content_length is not None
    return Head(_below_root(request, (scope.get("root_path") or "").rstrip("/"), scope["path"]), framed)


def _check_size(method: str, target: str, block: str, config: Config) -> None:
    """Check the limits of a head. Most heads are so small that nothing has to be counted.

    Raises:
        WireError: 414 or 431.
    """
    size = len(method) + len(target) + len(block) + 12
    lines = block.count("\n")
    if size > min(config.limit_request_line, config.limit_field, config.limit_head) or lines > config.limit_fields:
        check_limits(f"{method} {target} HTTP/1.1\r\n{block[1:]}\r\n", config)
    if block.count(",") + block.count(";") + lines > config.limit_elements:
        check_elements(block, config.limit_elements)


def handshake_of(scope: Scope) -> Scope:
    """The scope of a WebSocket as one of the request that opens it, as HTTP/1.1 has it (RFC 6455 section 4.1)."""
    own = (b"connection", b"upgrade", b"content-length", b"transfer-encoding", b"expect")
    fields = [
        (name, value)
        for name, value in scope.get("headers", ())
        if name.lower() not in own and not name.lower().startswith(b"sec-websocket-")
    ]
    fields += _HANDSHAKE
    if protocols := scope.get("subprotocols"):
        fields.append((b"sec-websocket-protocol", ", ".join(protocols).encode("latin-1")))
    scheme = {"ws": "http", "wss": "https"}.get(scope.get("scheme", "ws"), "http")
    return {**scope, "method": "GET", "http_version": "1.1", "scheme": scheme, "headers": fields}


def empty_request(scope: Scope) -> Request:
    """The `Request` for the answer to a head that is refused."""
    method = scope.get("method", "GET")
    return Request(method if is_token(method) else "GET", "/", "HTTP/1.1", Headers(), _NOTHING)


def with_body(request: Request) -> None:
    """Set that there is a body of unknown length; to handlers it looks chunked."""
    request.framing = replace(request.framing, chunked=True, ordinary=False)


def _block(scope: Scope) -> str:
    """The fields in the form that `Headers` takes.

    Raises:
        WireError: a name or a value is malformed.
    """
    lines = []
    cookies = []
    authority = None
    for name, value in scope.get("headers", ()):
        key, text = str(name, "latin-1"), str(value, "latin-1").strip(OWS)
        if key.lower() == "cookie":
            cookies.append(text)
        elif key[:1] != ":":
            lines.append(f"{key}: {text}\r\n")
        elif key == ":authority":
            authority = text
    if cookies:
        lines.append(f"cookie: {'; '.join(cookies)}\r\n")  # RFC 9113 section 8.2.3
    if authority is not None and not any(line[:5].lower() == "host:" for line in lines):
        lines.insert(0, f"host: {authority}\r\n")
    block = "\n" + "".join(lines)
    # A line end within a value would be one more line.
    if block.count("\n") != len(lines) + 1 or _fields(block) is None:
        raise WireError(400, "malformed header field")
    return block


def _framing(block: str, version: str) -> RequestFraming:
    """The framing that the fields declare. The ASGI server has removed it; fields that contradict are refused."""
    lines = _deciding(block)
    if any(line[:5].lower() == "host:" for line in lines):
        return framing_of(version, lines)
    return replace(framing_of(version, [_NO_HOST, *lines]), host=None)


def _target(scope: Scope) -> str:
    """The target as it was sent, as far as the scope has it."""
    raw = scope.get("raw_path")
    target = quote(scope["path"], safe=_PATH) if not raw else str(raw, "latin-1").partition("?")[0]
    if not target.startswith("/") and target != "*":
        target = "/" + target
    query = scope.get("query_string")
    if query:
        target = f"{target}?{str(query, 'latin-1')}"
    return quote(target, safe=_VISIBLE, encoding="latin-1") if _odd(target) else target


def _below_root(request: Request, root: str, path: str) -> Request:
    """The request as the App sees it that is mounted at ``root_path``.

    The path of the scope begins with it; servers of older versions of the interface have left it out. Some have it in
    ``path``, and not in ``raw_path``: a proxy has removed it from what they have received.
    """
    if not root:
        return request
    target = request.target
    received = target.partition("?")[0]
    prefix = _spelled(received, root)
    if prefix is None or (path.startswith(root + root) and path == root + unquote(received)):
        request.root_path = _local(quote(root, safe=_PATH))
        return request
    if target[len(prefix) : len(prefix) + 1] != "/":
        request.target = f"{prefix}/{target[len(prefix) :]}"
    inner = request.mounted(prefix)
    inner.root_path = _local(prefix)
    return inner


def _local(root: str) -> str:
    """A root path with which Location can begin: two slashes, or a backslash, would lead to another host.

    A mount with a parameter has what the client has sent.
    """
    return "/" + root.replace("\\", "%5C").lstrip("/")


def _spelled(path: str, root: str) -> str | None:
    """The beginning of a path that is ``root``, as the client has spelled it; None if it begins otherwise.

    The root path is decoded. A client may encode other characters of it than we do, and with other hexadecimal digits.
    """
    at = 0
    for byte in root.encode("utf-8", "surrogateescape"):
        escape = _escape(path, at)
        if byte != (ord(path[at : at + 1] or "\0") if escape is None else int(escape[1], 16)):
            return None
        at = at + 1 if escape is None else escape.end()
    return path[:at] if path[at : at + 1] in ("", "/") else None
