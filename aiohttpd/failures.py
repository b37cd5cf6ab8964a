"""What an exception becomes: an answer while none has left, else a cut connection.

Owns the short text pages for refusals and for Apps that are no handler classes. Handler classes make
their own pages with ``send_error`` before anything comes here.
"""

import asyncio

from .errors import ClientDisconnected, HTTPError
from .wire.response import ResponseFields, phrase
from .writer import StreamWriter

__all__ = ["answer_failure", "refusal"]

_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


def answer_failure(error: BaseException, response: StreamWriter) -> None:
    """Answer for a handler that raised, or cut an answer that it has begun.

    A client that has gone is no news. Everything else but an `HTTPError` and a cancellation is reported.
    """
    if isinstance(error, ClientDisconnected) and (response.is_closing() or response.request.method == "HEAD"):
        if response.replaceable() or response.is_closing():
            return
        response.finish()  # to HEAD: the content is not wanted, and what it was is not known
        return
    if isinstance(error, asyncio.CancelledError):
        if response.overdue:
            response.report(_overdue(error))
        why = "the request took too long" if response.overdue else "the server is shutting down"
        error = HTTPError(503, None, why)
    elif not isinstance(error, HTTPError):
        response.report(error)
        error = HTTPError(500)
    if not response.replaceable():
        response.abort()
        return
    try:
        _answer(error, response)
    except Exception as second:  # a reason or a field that cannot be sent, a peer that has gone
        response.report(second)
        if response.replaceable():
            _answer(HTTPError(500), response)
        else:
            response.abort()


def _overdue(error: BaseException) -> TimeoutError:
    """What a handler is reported with that was cancelled by its deadline: the traceback says what it waited for."""
    return TimeoutError("no answer was begun within timeout_handler").with_traceback(error.__traceback__)


def _answer(error: HTTPError, response: StreamWriter) -> None:
    response.restart()
    response.send_head(error.status, (_PLAIN, *error.headers), error.message)
    response.write(_page(error))
    response.finish()


def refusal(prelude: bytes, error: HTTPError, *, line: bytes) -> list[bytes]:
    """The answer to what is no request but began with ``line``."""
    content = _page(error)
    fields = ResponseFields.of((_PLAIN, ("Content-Length", len(content)), ("Connection", "close")))
    return [prelude, *fields, b"\r\n", b"" if line.startswith(b"HEAD ") else content]


def _page(error: HTTPError) -> bytes:
    text = f"{error.status} {error.message or phrase(error.status)}"
    return f"{text}: {error.explain}\n".encode() if error.explain else f"{text}\n".encode()
