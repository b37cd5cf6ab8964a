"""Error responses without a handler: for exceptions of Apps, and for malformed requests.

Owns these responses. An exception is answered if nothing of a response has been sent; otherwise the connection is
aborted. Handler classes answer their exceptions themselves, by ``send_error``, so those do not arrive here.
"""

import asyncio
import inspect
from typing import Any

from ..errors import ClientDisconnected, ContractError, HTTPError
from ..wire.response import ResponseFields, reason_of
from .answer import Cause, ResponseState
from .error_body import ErrorBody, content_of, error_fields
from .interfaces import ResponseWriter
from .traceback_page import send_traceback

__all__ = ["answer_failure", "check_result", "refusal"]

Fields = tuple[tuple[str, str], ...]


def answer_failure(
    error: BaseException, response: ResponseWriter, error_body: ErrorBody | None = None, more: Fields = ()
) -> None:
    """Send an error response for an App that raised an exception, or abort the response that it has begun.

    Exceptions are logged, except `HTTPError`, cancellations by the server, and `ClientDisconnected` if the client has
    disconnected.

    Args:
        error: the exception.
        response: the response of the App.
        error_body: makes the content; None for plain text.
        more: header fields that the App adds to such responses.
    """
    if response.released or (response.state is ResponseState.DONE and not response.aborted):  # after `end`
        if not (response.is_ours(error) or (isinstance(error, ClientDisconnected) and response.is_closing())):
            response.report(error)
        return
    if isinstance(error, ClientDisconnected) and _ended_by_client(response):
        return
    meant = _error_for(error, response)
    if meant is None:
        return
    # The second one is answered if the first has a malformed reason or field, for example.
    for answered in (meant, HTTPError(500)):
        if not response.replaceable():
            break
        try:
            _answer(answered, response, error_body, more)
        except Exception as second:
            response.report(second)
        else:
            return
    response.abort()


def _ended_by_client(response: ResponseWriter) -> bool:
    """After a `ClientDisconnected`: end the response if it is the client of this connection that has disconnected."""
    if response.is_closing():
        return True
    head_sent = response.request.method == "HEAD" and response.state is ResponseState.SENT
    if not (head_sent or response.state is ResponseState.UPGRADED):
        return False
    response.finish()  # to HEAD: the head is complete, and there is no content
    return True


def _error_for(error: BaseException, response: ResponseWriter) -> HTTPError | None:
    """The error that is answered for an exception, which is logged if it is unexpected; None if nothing is answered."""
    if isinstance(error, HTTPError):
        return error
    if isinstance(error, asyncio.CancelledError) and response.is_ours(error):
        if response.cancelled is Cause.DISCONNECT:
            if not response.replaceable():
                response.abort()
            return None
        if response.cancelled is Cause.DEADLINE:
            # The traceback shows what the handler was waiting for.
            overdue = TimeoutError("no answer was begun within timeout_handler")
            response.report(overdue.with_traceback(error.__traceback__))
            return HTTPError(503, None, "the request took too long")
        return HTTPError(503, None, "the server is shutting down")
    response.report(error)
    if response.request.peer.config.debug and response.replaceable() and send_traceback(error, response):
        response.finish()
        return None
    return HTTPError(500)


def _answer(error: HTTPError, response: ResponseWriter, error_body: ErrorBody | None, more: Fields) -> None:
    content_type, content = content_of(error, error_body)
    response.restart()
    fields = error_fields(content_type, error.headers, more)
    response.send_head(error.status, fields, reason_of(error.message))
    response.write(content)
    response.finish()


def refusal(
    prelude: bytes, error: HTTPError, *, line: bytes, error_body: ErrorBody | None = None, more: Fields = ()
) -> list[bytes]:
    """Build the response to a malformed request. The connection is closed after it.

    Args:
        prelude: status line, Server and Date.
        error: the error.
        line: the beginning of the request; a response to HEAD has no content.
        error_body: makes the content; None for plain text.
        more: header fields that the App adds to such responses.
    """
    content_type, content = content_of(error, error_body)
    framing = ("Content-Length", len(content)), ("Connection", "close")
    fields = ResponseFields.of((*error_fields(content_type, error.headers, more), *framing))
    return [prelude, *fields, b"\r\n", b"" if line.startswith(b"HEAD ") else content]


def check_result(what: str, result: Any, response: ResponseWriter, *, handler: bool = True) -> None:
    """Check what a handler has returned. It should be None: responses are sent, not returned.

    A result is ignored if a response has been sent; if that is empty and the result could be content, it is logged.

    Args:
        what: the name of the function.
        result: what it has returned; not None.
        response: the response.
        handler: the function is a method of a handler, which has `send_text` and so on.

    Raises:
        ContractError: the result has to be awaited, or no response has been sent.
    """
    if inspect.iscoroutine(result):
        result.close()
        raise ContractError(f"{what} returned the coroutine {result.__qualname__}(): put 'await' before the call")
    kind = type(result).__qualname__
    kind = f"an {kind}" if kind[0] in "aeio" else f"a {kind}"
    if hasattr(result, "__aenter__") and not response.status:  # also if it is awaitable, as that of websocket()
        raise ContractError(f"{what} returned {kind}, which is used in a block: put 'async with' before it")
    if inspect.isawaitable(result):
        raise ContractError(f"{what} returned {kind}: put 'await' before it")
    if inspect.isasyncgen(result) or inspect.isgenerator(result):
        raise ContractError(f"{what} yields, and nobody waits for that: write the content with {_how(b'', handler)}")
    error = ContractError(f"{what} returned {kind}, and an answer is sent, not returned: {_how(result, handler)}")
    if not response.status:
        raise error
    if isinstance(result, (str, bytes, bytearray, dict, list)) and response.empty:
        response.report(error)  # logged only: an empty response may be intended


def _how(result: Any, handler: bool) -> str:
    """The calls that send such a result."""
    if not handler:
        return "response.send_head(200), response.write(...)"
    if isinstance(result, str):
        return "self.send_text(...) or self.send_html(...)"
    if isinstance(result, (bytes, bytearray, memoryview)):
        return "self.send_response(200), self.end_headers(), self.wfile.write(...)"
    if isinstance(result, int):
        return "self.send_response(...), self.end_headers(); or self.send_error(...)"
    return "self.send_json(...)"
