"""Applications of ASGI 3.0 as Apps.

Owns which part of the interface a request goes to, and what becomes of an application that raises, or returns too
early. Scopes, messages and the lifespan are its neighbours'.
"""

import asyncio
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
from ..wire.request import Request
from .http import Exchange
from .lifespan import Mode, lifespan
from .scope import Scopes
from .websocket import WebSocketExchange, wants_websocket

__all__ = ["ASGIApplication", "Host", "host", "hosted"]

ASGIApplication = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Any]


def host(application: ASGIApplication, *, root_path: str = "", lifespan: Mode = "auto") -> App:
    """Make an App of an ASGI 3 application: for `HTTPServer` and `run`, a router, a layer.

    ::

        aiohttpd.run(compress(aiohttpd.asgi.host(fastapi_app)), port=8080)

    Args:
        application: it is called with ``(scope, receive, send)``.
        root_path: where it is mounted; paths begin with it, and a proxy has taken it off. The option ``root_path`` of
            the server comes before it.
        lifespan: whether it is told of the beginning and the end of its server: ``"on"``, ``"off"``, or ``"auto"``, if
            it knows that protocol.

    Raises:
        TypeError: it is no ASGI 3 application; the text says what it looks like.
        ValueError: the path does not begin with a slash, or there is no such mode.
    """
    if lifespan not in ("auto", "on", "off"):
        raise ValueError(f"lifespan is 'auto', 'on' or 'off', not {lifespan!r}")
    check_asgi(application)
    return Host(application, root_path, lifespan)


def hosted(app: Any) -> Any:
    """The App of an ASGI application; what does not look like one is given back."""
    return Host(app) if is_asgi(app) else app


class Host:
    """An ASGI application as an App; it can be handed to workers if the application can."""

    def __init__(self, application: ASGIApplication, root_path: str = "", lifespan: Mode = "auto") -> None:
        self._given = application, root_path, lifespan
        self._application = application
        self._scopes = Scopes(checked_root(root_path))

    def __reduce__(self) -> tuple[Any, ...]:
        return Host, self._given

    @property
    def has_lifespan(self) -> bool:
        """Whether the application is known to have one; with ``"auto"`` it is asked, and may have none."""
        return self._given[2] == "on"

    def lifespan(self, server: Any) -> AbstractAsyncContextManager[None]:
        """Tell the application of the beginning and the end of a server."""
        application, _, mode = self._given
        if mode == "off":
            return nullcontext()
        return lifespan(application, self._scopes.begin_state(server), mode)

    async def __call__(self, request: Request, response: StreamWriter) -> None:
        if request.framing.upgrade is not None and wants_websocket(request) and can_websocket():
            await self._serve_websocket(request, response)
            return
        exchange = Exchange(request, response)
        try:
            await self._application(self._scopes.http(request, response), exchange.receive, exchange.send)
        except BaseException as error:
            _fail(error, exchange, response)
        else:
            if not exchange.complete:
                _return_early(exchange, response)

    async def _serve_websocket(self, request: Request, response: StreamWriter) -> None:
        from ..handlers.websocket.handshake import Handshake

        # Which origins may open one, the application decides, as elsewhere.
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
    """Whether the library for WebSockets is there; that it is not is logged once."""
    try:
        from ..handlers.websocket import handshake  # noqa: F401
    except ContractError as error:
        error_logger.warning("an application is asked for a WebSocket, and gets a request of HTTP: %s", error)
        return False
    return True


def checked_root(path: str) -> str:
    """See that a path can be put before others: it is empty, or begins with a slash; one at its end is taken off."""
    if path and not path.startswith("/"):
        raise ValueError(f"root_path is empty or begins with a slash, not {path!r}")
    return path.rstrip("/")


def _fail(error: BaseException, exchange: Exchange, response: StreamWriter) -> None:
    """An application has raised."""
    if exchange.complete or response.state is ResponseState.DONE:
        # The client has its answer; what went wrong after it is for the log.
        if not isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError):
            raise error
        if not response.is_ours(error) and not (exchange.told_gone and _is_about_client(error)):
            response.report(error)
        return
    if exchange.told_gone and _is_about_client(error):
        _leave(response, exchange.refused)
        return
    raise error


def _return_early(exchange: Exchange, response: StreamWriter) -> None:
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
    """The client is gone, and so is the application: there is no answer, but to a body that was refused."""
    if refused is not None:
        raise refused
    if response.is_closing():
        raise ClientDisconnected("the client is gone")
    response.lose()
    response.abort()


def _is_about_client(error: BaseException) -> bool:
    """Whether an exception is how a framework says that the client is gone."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_about_client, error.exceptions))
    name = type(error).__name__
    return isinstance(error, (ClientDisconnected, asyncio.CancelledError)) or "Disconnect" in name or "Abort" in name
