"""Host: an App that calls an ASGI 3.0 application for each request.

Owns the choice between the scopes ``http`` and ``websocket``, and the handling of applications that raise or return too
early. The modules `scope`, `http`, `websocket` and `lifespan` have the scopes and messages.
"""

import asyncio
import copy
import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from ..engine.answer import ResponseState
from ..engine.apps import check_asgi, is_asgi
from ..engine.error_log import error_logger
from ..engine.interfaces import App
from ..engine.response import StreamWriter
from ..errors import ClientDisconnected, ContractError, WireError
from ..handlers.app import is_handler_class
from ..wire.request import Request
from .http import HTTPExchange
from .lifespan import Mode, lifespan
from .scope import Scopes
from .websocket import WebSocketExchange, wants_websocket

__all__ = ["ASGIApplication", "Host", "host", "hosted"]

ASGIApplication = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]


def host(application: ASGIApplication, *, root_path: str = "", lifespan: Mode = "auto") -> App:
    """Make an App of an ASGI 3 application, for `HTTPServer`, `run`, a `Router` or middleware.

    ::

        aiohttpd.run(compress(aiohttpd.asgi.host(fastapi_app)), port=8080)

    Args:
        application: the application; it is called with ``(scope, receive, send)``.
        root_path: the prefix under which a proxy has mounted the application and which the proxy removes from paths.
            It is put before the path of each scope. The option ``root_path`` of the server comes before it.
        lifespan: whether the lifespan protocol is used: ``"on"``, ``"off"``, or ``"auto"``: if the application
            supports it.

    Raises:
        TypeError: the application is not an ASGI 3 application; the message says what it looks like.
        ValueError: ``root_path`` does not begin with a slash, or ``lifespan`` is not one of the three.
    """
    if lifespan not in ("auto", "on", "off"):
        raise ValueError(f"lifespan is 'auto', 'on' or 'off', not {lifespan!r}")
    check_asgi(application, makes_handlers=isinstance(application, type) and is_handler_class(application))
    return Host(application, root_path, lifespan)


def hosted(app: Any) -> Any:
    """Return the App of an ASGI application; return other objects unchanged."""
    return Host(app) if is_asgi(app) else app


class Host:
    """The App of an ASGI application. It can be pickled for workers if the application can. See `host`."""

    def __init__(self, application: ASGIApplication, root_path: str = "", lifespan: Mode = "auto") -> None:
        self._given = application, root_path, lifespan
        self._application = application
        self._scopes = Scopes(_checked_root(root_path))

    def __reduce__(self) -> tuple[Any, ...]:
        return Host, self._given

    @property
    def has_lifespan(self) -> bool:
        """Whether the application is known to have one; with ``"auto"`` it is asked, and may have none."""
        return self._given[2] == "on"

    def lifespan(self, server: Any) -> AbstractAsyncContextManager[None]:
        """Return the context manager that runs the lifespan protocol around a server."""
        application, _, mode = self._given
        if mode == "off":
            return nullcontext()
        return lifespan(application, self._scopes.begin_state(server), mode)

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        if request.framing.upgrade is not None and wants_websocket(request) and can_websocket():
            await self._serve_websocket(request, response)
            return
        exchange = HTTPExchange(request, response)
        try:
            await self._application(self._scopes.http(request, response), exchange.receive, exchange.send)
        except BaseException as error:
            if not _is_dealt_with(error, exchange, response):
                raise
        else:
            if not exchange.complete:
                _return_early(exchange, response)

    async def _serve_websocket(self, request: Request, response: StreamWriter) -> None:
        from ..handlers.websocket.handshake import Handshake

        # The application checks the Origin itself, as on other ASGI servers.
        handshake = Handshake(request, response, origins="*")
        exchange = WebSocketExchange(request, response, handshake)
        scope = self._scopes.websocket(request, response, list(handshake.subprotocols))
        try:
            await self._application(scope, exchange.receive, exchange.send)
        except BaseException as error:
            if exchange.told_gone and _is_about_client(error) and not response.is_ours(error):
                raise ClientDisconnected("the WebSocket is closed") from error
            if not await exchange.fail(error):
                raise
            response.report(error)
        else:
            await exchange.end()
            if response.state is ResponseState.START:
                _leave(response)


@functools.cache
def can_websocket() -> bool:
    """Whether the library ``websockets`` is installed; a warning is logged once if it is not."""
    try:
        from ..handlers.websocket import handshake  # noqa: F401
    except ContractError as error:
        error_logger.warning("a request for a WebSocket is given to the application as an HTTP request: %s", error)
        return False
    return True


def _checked_root(path: str) -> str:
    """Return a root path without a slash at its end.

    Raises:
        ValueError: it is not empty, and does not begin with a slash.
    """
    if path and not path.startswith("/"):
        raise ValueError(f"root_path is empty or begins with a slash, not {path!r}")
    return path.rstrip("/")


def _is_dealt_with(error: BaseException, exchange: HTTPExchange, response: StreamWriter) -> bool:
    """Whether nothing is left to do for an exception of an application; else the caller raises it."""
    if exchange.complete or response.state is ResponseState.DONE:
        # The response is complete, so the error is only logged.
        if not isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
            return False
        if not response.is_ours(error) and not (exchange.told_gone and _is_about_client(error)):
            response.report(error)
        return True
    if exchange.told_gone and _is_about_client(error):
        _leave(response, exchange.refused)
        return True
    return False


def _return_early(exchange: HTTPExchange, response: StreamWriter) -> None:
    """An application has returned before its last message."""
    if response.state is ResponseState.DONE:
        return
    if exchange.told_gone:
        _leave(response, exchange.refused)
    elif not exchange.started:
        raise ContractError("the ASGI application returned without an answer: no http.response.start")
    else:
        raise ContractError("the ASGI application returned before its last http.response.body (more_body is False)")


def _leave(response: StreamWriter, refused: WireError | None = None) -> None:
    """End without a response, since the client has disconnected; but raise the error of a body that was refused."""
    if refused is not None:
        raise copy.copy(refused)  # the exchange keeps the other, and a traceback refers to the exchange
    if response.is_closing():
        raise ClientDisconnected("the client is gone")
    response.lose()
    response.abort()


def _is_about_client(error: BaseException) -> bool:
    """Whether an exception is one by which frameworks report that the client has disconnected."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_about_client, error.exceptions))
    name = type(error).__name__
    return isinstance(error, (ClientDisconnected, asyncio.CancelledError)) or "Disconnect" in name or "Abort" in name
