"""Header fields and content of error responses: the default page, plain text, or the ``error_body`` of an App.

Owns the fields, the texts and their escaping. The status of an error, and when it is sent, is decided elsewhere.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import HTTPError
from ..wire.headers import is_field_value
from ..wire.response import phrase
from .apps import unwrap_partial
from .error_log import error_logger

__all__ = ["DEFAULT_ERROR_MESSAGE", "ErrorBody", "checked", "content_of", "error_body_of", "error_fields", "escape"]

# error_body(status, message, explain) -> (content type, content)
ErrorBody = Callable[[int, str, str], tuple[str, bytes]]

# The text is that of http.server: scripts search for it.
DEFAULT_ERROR_MESSAGE = """\
<!DOCTYPE HTML>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Error response</title>
<style>
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 40rem; margin: auto; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.25rem; border-bottom: 1px solid #8886 }
a { color: #0b57d0; margin-right: 1rem }
@media (prefers-color-scheme: dark) { a { color: #8ab4f8 } }
</style>
</head>
<body>
<h1>Error response</h1>
<p>Error code: %(code)d</p>
<p>Message: %(message)s.</p>
<p>Error code explanation: %(code)s - %(explain)s.</p>
<nav><a href="./">This folder</a> <a href="/">Start page</a></nav>
</body>
</html>
"""


def error_fields(
    content_type: str | None, *more: Iterable[tuple[str, str]] | Mapping[str, str]
) -> list[tuple[str, str]]:
    """The header fields of an error response that the server itself words.

    A field that all of these have is added here. Its callers are: `BaseHTTPRequestHandler.send_error`, errors of Apps
    that are no handler classes, refusals of the connection (400, 408, 431, 503 and so on), the traceback page, the
    health page, and the refusal of a WebSocket by an ASGI application. It is not used for what an App sends itself with
    a status of 400 or more (``send_text(text, 404)``, functions of ``error_handlers``, ASGI and WSGI applications,
    unmodified handlers of http.server).

    Content-Length and the fields of framing are not here: they are added where the response is sent. A field with a
    value that differs each time is better appended as a line of its own: `ResponseFields.add` remembers lines.

    Args:
        content_type: of the content; None if the status allows none.
        more: the fields of this error, such as Allow; fields that the App adds.
    """
    fields = [] if content_type is None else [("Content-Type", content_type)]
    for group in more:
        fields += group.items() if isinstance(group, Mapping) else group
    return fields


def _plain_text(status: int, message: str, explain: str) -> tuple[str, bytes]:
    """One line of text: the default content of errors that are not sent by a handler."""
    text = f"{status} {message}".rstrip()
    return "text/plain; charset=utf-8", (f"{text}: {explain}\n" if explain else f"{text}\n").encode("utf-8", "replace")


def escape(text: str, content_type: str) -> str:
    """Escape a text for a template of a media type.

    For JSON, that is the inner part of a JSON string. Text that is neither HTML nor XML is not escaped. All other types
    are escaped for HTML, since a browser may render them as HTML.
    """
    essence = content_type.partition(";")[0].strip().lower()
    if essence.endswith(("/json", "+json")):
        import json  # imported with the first such template

        return json.dumps(text)[1:-1]
    if essence.startswith("text/") and not essence.endswith(("html", "xml")):
        return text
    # The module html has a large table, and could not be imported if the error is that no file can be opened.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def error_body_of(app: Any) -> ErrorBody | None:
    """The ``error_body`` of an App that can be called without a handler; None if it has none.

    Of a handler class, it has to be a static method or a class method: there is no instance.
    """
    owner = unwrap_partial(app)
    found = inspect.getattr_static(owner, "error_body", None)
    if found is None or (isinstance(owner, type) and not isinstance(found, (staticmethod, classmethod))):
        return None
    body: ErrorBody = owner.error_body
    return body


def content_of(error: HTTPError, error_body: ErrorBody | None) -> tuple[str, bytes]:
    """Content-Type and content for an error, by ``error_body``; plain text if that is None or raises an exception."""
    arguments = error.status, error.message or phrase(error.status), error.explain or ""
    if error_body is None:
        return _plain_text(*arguments)
    try:
        return checked(error_body(*arguments))
    except Exception as problem:
        error_logger.error("error_body failed for %d", error.status, exc_info=problem)
        return _plain_text(*arguments)


def checked(result: Any) -> tuple[str, bytes]:
    """Check the result of an ``error_body``, and return it.

    Raises:
        TypeError: it is not ``(content type, bytes)``.
    """
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError("error_body is called without await: write 'def', not 'async def'")
    match result:
        case (str() as content_type, bytes() as content) if is_field_value(content_type):
            return content_type, content
    raise TypeError(f"error_body returns (content type, bytes), not {result!r:.100}")
