"""Complete responses of a handler: content of one type, redirects, and fields added in advance.

Owns what the one-line methods of `BaseHTTPRequestHandler` do. The functions call the handler's own ``send_response``,
``send_header`` and ``end_headers``, so a class that overrides these gets every call.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..errors import ContractError
from ..wire.response import ResponseFields
from .files.paths import requote

if TYPE_CHECKING:
    from ..engine.interfaces import Responder

__all__ = ["check_added_field", "send_content", "send_fields", "send_redirect", "send_text"]

_IN_REFERENCE = "!#$&'()*+,/:;=?@[]~-._"  # characters of a URI reference, RFC 3986


def send_content(handler: "Responder", status: int, content_type: str, content: bytes) -> None:
    """Send a response with this content. The engine sets Content-Length, for HEAD too."""
    handler.send_response(status)
    handler.send_header("Content-Type", content_type)
    handler.wfile.head_mirrors_get = True  # the length of the content is known, so a do_HEAD may send it
    handler.end_headers()
    handler.wfile.write(content)


def send_text(handler: "Responder", status: int, content_type: str, text: str) -> None:
    """Send a response with this text in UTF-8.

    Raises:
        TypeError: it is no text.
    """
    try:
        content = text.encode("utf-8", "replace")
    except AttributeError:
        raise TypeError(
            f"send_text() and send_html() want text, not {type(text).__name__}: bytes are sent by send_response(), "
            "end_headers() and wfile.write(), values by send_json()"
        ) from None
    send_content(handler, status, content_type, content)


def send_redirect(handler: "Responder", location: str, status: int | None) -> None:
    """Send a redirect without content; see `BaseHTTPRequestHandler.redirect`."""
    if not isinstance(location, str):
        raise TypeError(f"the location of a redirect is text, not {location!r}")
    if status is None:
        status = 302 if handler.command in ("GET", "HEAD") else 303
    elif not 300 <= status < 400:
        raise ValueError(f"the status of a redirect is 300 to 399, not {status!r}")
    send_fields(handler, status, [("Location", requote(location, _IN_REFERENCE))], length=0)


def send_fields(
    handler: "Responder", status: int, fields: Iterable[tuple[str, str]], *, length: int | None = None
) -> None:
    """Send a head with these fields.

    Args:
        handler: the handler.
        status: the status code.
        fields: names and values.
        length: the value of Content-Length; None for no such field.
    """
    handler.send_response(status)
    for name, value in fields:
        handler.send_header(name, value)
    if length is not None:
        handler.send_header("Content-Length", length)
    handler.end_headers()


def check_added_field(handler: "Responder", keyword: str, value: str) -> None:
    """Check a field that is to be added to a head which may not have been begun.

    Raises:
        ValueError: the name or the value is malformed, or the field decides how the response is framed.
        ContractError: the head has been ended.
    """
    if handler.wfile.status:
        raise ContractError(f"the head has been ended: add {keyword} before end_headers(), send_text() and so on")
    fields = ResponseFields()
    fields.add(keyword, value)  # raises here, where the caller is, and not in end_headers()
    if fields.deciding is not None:
        raise ValueError(f"{keyword} belongs to one head: use send_header()")
