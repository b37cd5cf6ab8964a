"""ASGIPeer: what `Request`, `StreamWriter` and handlers use as their connection, where an ASGI server has the real one.

Owns the state of one request. `intake` receives messages, the encoder makes messages and the sender sends them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ...config import Config
from ...engine.answer import Cause
from ...engine.body import StreamReader
from ...engine.context import ServerContext
from ...engine.interfaces import Closable
from ...engine.receiver import complete_body
from ...engine.response import StreamWriter
from ...engine.upgraded import UpgradedProtocol
from ...errors import ClientDisconnected
from ...wire.request import Address, Request
from .encoder import ASGIEncoder, HandshakeEncoder, Offers
from .intake import Intake
from .request import Scope
from .sender import Receive, Send, Sender
from .websocket import Frames

__all__ = ["ASGIPeer"]

T = TypeVar("T", bound=Closable)

_UNKNOWN = ("-", 0)  # a client whose address the ASGI server does not tell
_NO_SOCKET = (
    "this App is exported as ASGI: the sockets belong to the ASGI server, so there is no self.connection; addresses "
    "are in self.client_address and self.request.server_address"
)


class ASGIPeer:
    """The connection of one request, as far as there is one: the ASGI server has sockets, TLS and keep-alive.

    Args:
        context: what all requests share.
        scope: of the request.
        receive: the first of the two functions of ASGI.
        send: the second.

    Attributes:
        encoder: makes the messages of the answer.
        sender: sends these messages.
        intake: receives the messages of the request.
        is_websocket: the request asks for a WebSocket.
        http1: the client speaks HTTP/1.
        was_cut: the answer cannot be completed.
    """

    def __init__(self, context: ServerContext, scope: Scope, receive: Receive, send: Send) -> None:
        self._context = context
        self._scope = scope
        self.scheme = scope.get("scheme") or "http"
        self.sender = Sender(send, context.loop, context.config.limit_unsent)
        self.intake = Intake(receive, context.loop, context.config, self._lose)
        offers = Offers.of(scope)
        self.http1 = offers.http1
        self.is_websocket = scope["type"] == "websocket"
        encoder = HandshakeEncoder if self.is_websocket else ASGIEncoder
        self.encoder = encoder(self, self.sender, offers)
        self._lost = False
        self._gone: asyncio.Event | None = None
        self._response: StreamWriter | None = None  # while its handler waits
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._listens: asyncio.Handle | None = None
        self._outer: asyncio.Task[Any] | None = None  # that of the ASGI server
        self._cancelled_before = 0
        self.was_cut = False

    # A handler that waits: its client and its deadline.

    def wait_for(self, task: asyncio.Task[None], response: StreamWriter) -> None:
        """The handler waits: from the next turn of the loop on, notice that its client is gone; start its deadline."""
        self._task, self._response = task, response
        self._outer = asyncio.current_task()
        self._cancelled_before = self._outer.cancelling() if self._outer is not None else 0
        self._listens = self._context.loop.call_soon(self.intake.listen)
        if self.config.timeout_handler:
            self._deadline = self._context.loop.call_later(self.config.timeout_handler, self._overdue)

    def end(self) -> None:
        """The handler has returned."""
        self._task = self._response = None
        for handle in (self._deadline, self._listens):
            if handle is not None:
                handle.cancel()
        self._tell_gone()

    def _overdue(self) -> None:
        assert self._response is not None
        if self.intake.waiting:  # it is the client that is slow
            self._deadline = self._context.loop.call_later(self.config.timeout_handler, self._overdue)
        elif self._response.replaceable():
            self._cancel(Cause.DEADLINE)

    def _cancel(self, cause: Cause) -> None:
        if self._task is not None and self._response is not None and self._response.cancelled is None:
            self._response.cancelled = cause
            self._task.cancel()

    def _lose(self) -> None:
        """The client is gone."""
        self._lost = True
        self.sender.lose()
        self._tell_gone()
        if self._response is not None and self._response.cancel_on_disconnect:
            self._cancel(Cause.DISCONNECT)

    def _tell_gone(self) -> None:
        if self._gone is not None:
            self._gone.set()

    # What `Request.peer` has.

    @property
    def client_address(self) -> Address:
        """``(host, port)`` of the client, as the ASGI server tells it."""
        client = self._scope.get("client")
        return (client[0], int(client[1] or 0)) if client else _UNKNOWN  # granian has the port as text

    @property
    def server_address(self) -> Address:
        """``(host, port)`` of the ASGI server, or the path of its unix socket."""
        server = self._scope.get("server")
        if not server:
            return _UNKNOWN
        return str(server[0]) if server[1] is None else (server[0], int(server[1]))

    @property
    def config(self) -> Config:
        """The options."""
        return self._context.config

    @property
    def server(self) -> Any:
        """What handlers know as ``self.server``."""
        return self._context.server

    def shared(self, kind: Callable[[Config, asyncio.AbstractEventLoop], T]) -> T:
        """See `ServerContext.shared`."""
        return self._context.shared(kind)

    def background(self, work: Coroutine[Any, Any, Any], *, after: bool = False) -> asyncio.Task[None]:
        """See `ServerContext.background`."""
        return self._context.background(work, after=after)

    def message(self, line: str) -> None:
        """Write a line of a handler to the access log."""
        self._context.message(line)

    def server_field(self) -> bytes:
        """No field Server: the ASGI server sends it."""
        return b""

    def empty_body(self) -> StreamReader:
        """The body of a request that has none."""
        return complete_body(b"", None, self._context.loop)

    silence: float | None = None

    def set_silence(self, seconds: float | None) -> None:
        """The deadlines of connections are those of the ASGI server."""

    def open_tunnel(self, *, last: bool) -> StreamReader:
        """What follows a request: nothing, as if the client had closed its side."""
        return self.empty_body()

    def close_tunnel(self, unread: bytes) -> None:
        """Do nothing: there is no tunnel."""

    # What a `StreamWriter` uses: the `Sink` of its answer.

    @property
    def cancelling(self) -> bool:
        """Whether the ASGI server has cancelled the request."""
        return self._outer is not None and self._outer.cancelling() > self._cancelled_before

    @property
    def context(self) -> "ASGIPeer":
        """What has ``cancelling``: the peer itself, since the ASGI server cancels each request for itself."""
        return self

    @property
    def persists(self) -> bool:
        """True: the ASGI server decides whether the connection persists."""
        return True

    @property
    def lost(self) -> bool:
        """Whether the client is gone, or the ASGI server takes no more messages."""
        return self._lost or self.sender.lost

    @property
    def is_gone(self) -> bool:
        """Whether the ASGI server has said that the client is gone."""
        return self._lost

    async def writable(self) -> None:
        """Wait while the client is slow."""
        if self.lost:
            raise ClientDisconnected("the client is gone")
        await self.sender.drain()

    async def wait_closed(self) -> None:
        """Wait until the client is gone, or its answer is complete."""
        if self._gone is None:
            self._gone = asyncio.Event()
            if self.lost:
                self._gone.set()
        self.intake.listen()
        await self._gone.wait()

    wait_lost = wait_closed

    def continued(self) -> bool:
        """Return whether 100 (Continue) is due, and have the ASGI server send it, which it does at ``receive``."""
        owed = self.intake.owes_100
        if owed:
            self.intake.owes_100 = False
            self.intake.listen()
        return owed

    def set_timeout(self, seconds: float) -> None:
        """The deadlines of transfers are those of the ASGI server."""

    def report(self, error: BaseException, request: Request) -> None:
        """Have an unhandled exception logged."""
        self._context.report(error, request)

    def cut(self, *, reset: bool) -> None:
        """The answer cannot be completed: the ASGI server learns it by an exception."""
        self.was_cut = True

    def answered(self, response: Any) -> None:
        """The handler has ended its answer and goes on running: send the end now, and read no more of the body."""
        self._tell_gone()
        self.sender.end_now()
        self.intake.fail(ClientDisconnected("the answer is complete, and the rest of the body is not wanted"))

    def upgrade(self, protocol: UpgradedProtocol) -> None:
        """A WebSocket has been accepted; the encoder has refused any other protocol."""
        frames = Frames(self._context, self.sender, protocol, self.get_extra_info, self.intake.resume_body)
        self.intake.frames = frames
        protocol.connection_made(frames)
        self.intake.listen()
        if self.lost:
            protocol.connection_lost(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``peername``, ``sockname``, or the whole scope as ``asgi_scope``."""
        if name == "peername":
            return self.client_address
        if name == "sockname":
            return self.server_address
        if name == "asgi_scope":
            return self._scope
        return _NO_SOCKET if name == "no_socket" else default
