"""What an exception becomes: an answer while none has left, else a cut connection.

Owns the answers to refusals and for Apps that are no handler classes. Handler classes make
their own pages with ``send_error`` before anything comes here.
"""

import asyncio
import inspect
from typing import Any

from ..errors import ClientDisconnected, ContractError, HTTPError
from ..wire.response import ResponseFields
from .answer import Cause
from .error_body import ErrorBody, content_of, error_fields
from .interfaces import ResponseWriter

__all__ = ["answer_failure", "check_result", "refusal"]

Fields = tuple[tuple[str, str], ...]


def answer_failure(
    error: BaseException, response: ResponseWriter, error_body: ErrorBody | None = None, more: Fields = ()
) -> None:
    """Answer for a handler that raised, or cut an answer that it has begun.

    A client that has gone is no news. Everything else but an `HTTPError` and our own cancellations is reported.
    ``error_body`` makes the content; None for plain text. ``more`` are fields of every such answer.
    """
    if isinstance(error, ClientDisconnected) and (response.is_closing() or response.request.method == "HEAD"):
        if response.replaceable() or response.is_closing():
            return
        response.finish()  # to HEAD: the content is not wanted, and what it was is not known
        return
    if isinstance(error, asyncio.CancelledError) and response.is_ours(error):
        if response.cancelled is Cause.DISCONNECT:
            if not response.replaceable():
                response.abort()
            return
        overdue = response.cancelled is Cause.DEADLINE
        if overdue:
            response.report(_overdue(error))
        error = HTTPError(503, None, "the request took too long" if overdue else "the server is shutting down")
    elif not isinstance(error, HTTPError):
        response.report(error)
        error = HTTPError(500)
    if not response.replaceable():
        response.abort()
        return
    try:
        _answer(error, response, error_body, more)
    except Exception as second:  # a reason or a field that cannot be sent, a peer that has gone
        response.report(second)
        if response.replaceable():
            _answer(HTTPError(500), response, error_body, more)
        else:
            response.abort()


def _overdue(error: BaseException) -> TimeoutError:
    """What a handler is reported with that was cancelled by its deadline: the traceback says what it waited for."""
    return TimeoutError("no answer was begun within timeout_handler").with_traceback(error.__traceback__)


def _answer(error: HTTPError, response: ResponseWriter, error_body: ErrorBody | None, more: Fields) -> None:
    content_type, content = content_of(error, error_body)
    response.restart()
    response.send_head(error.status, error_fields(content_type, error.headers, more), error.message)
    response.write(content)
    response.finish()


def refusal(
    prelude: bytes, error: HTTPError, *, line: bytes, error_body: ErrorBody | None = None, more: Fields = ()
) -> list[bytes]:
    """The answer to what is no request but began with ``line``; the connection is closed after it."""
    content_type, content = content_of(error, error_body)
    framing = ("Content-Length", len(content)), ("Connection", "close")
    fields = ResponseFields.of((*error_fields(content_type, error.headers, more), *framing))
    return [prelude, *fields, b"\r\n", b"" if line.startswith(b"HEAD ") else content]


def check_result(what: str, result: Any, response: ResponseWriter, *, handler: bool = True) -> None:
    """Look at what somebody has returned who should return nothing: an answer is sent.

    Beside an answer that has been given it does no harm, and is let be.

    Args:
        what: who has returned it.
        result: what it is, and not None.
        response: the answer.
        handler: it is a method of a handler, which has `send_text` and its like.

    Raises:
        ContractError: it is something to be awaited, or there is no answer beside it.
    """
    if inspect.iscoroutine(result):
        result.close()
        raise ContractError(f"{what} returned the coroutine {result.__qualname__}(): put 'await' before the call")
    kind = type(result).__qualname__
    kind = f"an {kind}" if kind[0] in "aeio" else f"a {kind}"
    if inspect.isawaitable(result):
        raise ContractError(f"{what} returned {kind}: put 'await' before it")
    if inspect.isasyncgen(result) or inspect.isgenerator(result):
        raise ContractError(f"{what} yields, and nobody waits for that: write the content with {_how(b'', handler)}")
    error = ContractError(f"{what} returned {kind}, and an answer is sent, not returned: {_how(result, handler)}")
    if not response.status:
        raise error
    if isinstance(result, (str, bytes, bytearray, dict, list)) and response.empty:
        response.report(error)  # an answer without content may have been meant, too


def _how(result: Any, handler: bool) -> str:
    """How to send what has been returned."""
    if not handler:
        return "response.send_head(200), response.write(...)"
    if isinstance(result, str):
        return "self.send_text(...) or self.send_html(...)"
    if isinstance(result, (bytes, bytearray, memoryview)):
        return "self.send_response(200), self.end_headers(), self.wfile.write(...)"
    if isinstance(result, int):
        return "self.send_response(...), self.end_headers(); or self.send_error(...)"
    return "self.send_json(...)"
