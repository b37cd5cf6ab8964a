"""Apps as applications of ASGI 3.0, for uvicorn, hypercorn, granian, Mangum, Ray Serve and other servers of it.

Owns what a request of such a server goes through, from its scope to its last message, and the lifespan of the App. What
our own connection would do for it is done by `exported`.
"""

import asyncio
import contextvars
import sys
from asyncio import Task
from typing import TYPE_CHECKING, Any, Unpack
from weakref import WeakKeyDictionary

from ..config import Config
from ..engine.apps import describe
from ..engine.context import ServerContext
from ..engine.error_log import error_logger
from ..engine.failures import answer_failure, check_result
from ..engine.response import StreamWriter
from ..errors import WireError, meant_by
from ..handlers.app import Lifespan, enter_lifespans, lifespans_of, prepare
from ..wire.request import Request
from .exported.peer import ASGIPeer
from .exported.request import Scope, empty_request, handshake_of, request_of, with_body
from .exported.sender import Receive, Send
from .exported.server import ExportedServer

if TYPE_CHECKING:
    from ..config.keywords import Options

__all__ = ["Exported", "IncompleteAnswer", "export"]

# The options that mean something without connections of our own.
_OPTIONS = frozenset(
    (
        "debug", "limit_body", "limit_discard", "limit_elements", "limit_field", "limit_fields", "limit_head",
        "limit_json", "limit_queue", "limit_request_line", "limit_spools", "limit_unsent", "limit_websocket_frames",
        "limit_websocket_message", "limit_websocket_queue", "max_background", "processes", "timeout_grace",
        "timeout_handler", "timeout_linger", "worker_threads",
    )
)  # fmt: skip


class IncompleteAnswer(RuntimeError):
    """Tells the ASGI server that an answer cannot be completed, so that its client does not take it for whole."""


def export(app: Any, *, lifespan: Lifespan | None = None, **options: "Unpack[Options]") -> "Exported":
    """Make an ASGI 3 application of an App, to be run by another server.

    ::

        application = aiohttpd.asgi.export(Hello)        # uvicorn module:application

    Connections, TLS, keep-alive, access log, workers and the deadlines of transfers are that server's. These parts of
    the contract cannot be kept there: a reason phrase is not sent, ``self.connection`` and protocols other than
    WebSocket raise `ContractError`, files are read and not sent by the kernel.

    Args:
        app: a handler class, also one of ``http.server``, or another App.
        lifespan: as for `HTTPServer`, beside that of the App. The ASGI server has to speak the lifespan protocol.
        options: fields of `Config` that do not concern connections: limits of requests, ``timeout_handler``,
            ``worker_threads``, ``processes``, ``debug``.

    Raises:
        TypeError: ``app`` is no App, ``lifespan`` is none, or there is no such option.
        ValueError: an option is for the ASGI server to have, or out of its range.
    """
    given: Options = {"websocket_ping_interval": 0, **options}  # pings are those of the ASGI server
    config = Config(**given)
    for name in options:
        if name not in _OPTIONS:
            raise ValueError(
                f"the option {name!r} has no effect in an exported App: it is for the ASGI server, or for a layer "
                f"around the App; export() takes {', '.join(sorted(_OPTIONS))}"
            )
    return Exported(app, lifespan, config)


class Exported:
    """An App as an ASGI application; it can be pickled if the App can."""

    def __init__(self, app: Any, lifespan: Lifespan | None, config: Config) -> None:
        self._given = app, lifespan, config
        self._lifespans = lifespans_of(app, lifespan)
        self._served = prepare(app)
        self._config = config
        self._contexts: WeakKeyDictionary[asyncio.AbstractEventLoop, ServerContext] = WeakKeyDictionary()
        self._entered: set[asyncio.AbstractEventLoop] = set()  # loops in which the lifespan is entered
        self._set: dict[contextvars.ContextVar[Any], Any] = {}  # by the lifespan
        self._warned = False  # that the lifespan is missing
        self.__name__ = describe(app)

    def __reduce__(self) -> tuple[Any, ...]:
        return Exported, self._given

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            await self._serve(scope, receive, send)
        elif kind == "lifespan":
            await self._live(receive, send)
        elif kind == "websocket":
            await self._serve(handshake_of(scope), receive, send)
        else:
            raise ValueError(f"an App serves http, websocket and lifespan, not scopes of type {kind!r}")

    def _context(self) -> ServerContext:
        """What the requests of a loop share."""
        loop = asyncio.get_running_loop()
        context = self._contexts.get(loop)
        if context is None:
            server = ExportedServer(self._given[0], self._config)
            context = self._contexts[loop] = ServerContext(self._served, self._config, loop, server=server)
            server.attach(context)
        return context

    # HTTP.

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = self._context()
        if self._lifespans and context.loop not in self._entered:
            self._warn_of_missing_lifespan()
        peer = ASGIPeer(context, scope, receive, send)
        context.server.server_address = peer.server_address
        refused: WireError | None = None
        try:
            request = await _read(peer, scope, self._config)
        except WireError as error:
            request, refused = empty_request(scope), error
        request.peer = peer
        response = StreamWriter(peer, peer.encoder, request)
        if request.http10:
            response.use_http10()
        try:
            await self._run(context, peer, response, refused)
            frames = peer.intake.frames
            if frames is not None:
                frames.end(1011 if peer.was_cut else 1000)
            elif not peer.was_cut:
                peer.encoder.finish_framed()
            if not peer.http1 and not peer.lost:
                await peer.intake.discard()
            await peer.intake.close()
            await peer.sender.finish()
        finally:
            peer.intake.cancel()
            peer.sender.close()
        if peer.was_cut and not peer.is_gone and frames is None:
            raise IncompleteAnswer(f"the answer to '{request.requestline}' cannot be completed; see the log")

    async def _run(
        self, context: ServerContext, peer: ASGIPeer, response: StreamWriter, refused: WireError | None
    ) -> None:
        """Have the App answer, in a task of its own: so a cancellation of ours cannot hit the ASGI server."""
        coroutine = _answer(context, peer, response, refused)
        copied = contextvars.copy_context()
        for variable, value in self._set.items():
            if variable not in copied:
                copied.run(variable.set, value)
        if sys.version_info >= (3, 12):
            task = Task(coroutine, loop=context.loop, context=copied, eager_start=True)
        else:
            task = Task(coroutine, loop=context.loop, context=copied)
        if not task.done():
            peer.wait_for(task, response)
            try:
                await task  # a cancellation of ours goes on to it
            finally:
                peer.end()
            if peer.cancelling:
                raise asyncio.CancelledError
        task.result()

    # The lifespan.

    async def _live(self, receive: Receive, send: Send) -> None:
        """Enter the lifespan of the App, and leave it, in this one task: a task group in it needs that."""
        await receive()
        context = self._context()
        server, step = context.server, "startup"
        try:
            before = contextvars.copy_context()
            async with enter_lifespans(self._lifespans, server):
                now = contextvars.copy_context()
                self._set = {key: now[key] for key in now if key not in before or before[key] is not now[key]}
                self._entered.add(context.loop)
                await send({"type": "lifespan.startup.complete"})
                step = "serving"
                await receive()
                step = "shutdown"
                server.shutting_down.set()
                await server.drain()
        except Exception as error:
            if step == "serving":
                raise
            error_logger.error("the lifespan of %s has failed at %s", self.__name__, step, exc_info=error)
            await send({"type": f"lifespan.{step}.failed", "message": f"{type(error).__name__}: {error}"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
        finally:
            self._entered.discard(context.loop)
            self._contexts.pop(context.loop, None)
            server.close()
            context.close()

    def _warn_of_missing_lifespan(self) -> None:
        if not self._warned:
            self._warned = True
            # Each Router has one; what matters is whether there is anything in it.
            if not any(getattr(getattr(each, "__self__", None), "has_lifespan", True) for each in self._lifespans):
                return
            error_logger.error(
                "%s has a lifespan, and the ASGI server has not begun it (lifespan.startup), so what it sets is "
                "missing: switch the lifespan protocol on there (uvicorn: --lifespan on)",
                self.__name__,
            )


async def _read(peer: ASGIPeer, scope: Scope, config: Config) -> Request:
    """Make the request, and begin its body.

    Raises:
        WireError: it is malformed.
    """
    if peer.is_websocket:
        await peer.intake.connect()
    request, framed = request_of(scope, config)
    # Of HTTP/2 and 3 a body has no length, perhaps; and some servers do not tell that of HTTP/1, either.
    if not framed and request.method not in ("GET", "HEAD") and (not peer.http1 or await peer.intake.has_body()):
        with_body(request)
    if request.framing.has_body:
        peer.intake.begin_body(request)
    return request


async def _answer(context: ServerContext, peer: ASGIPeer, response: StreamWriter, refused: WireError | None) -> None:
    """What `HTTPConnection` does with a request: call the App, and see that there is an answer in the end."""
    request = response.request
    try:
        if refused is not None:
            raise refused
        result: object = await context.app(request, response)  # type: ignore[func-returns-value]
        if result is not None:
            check_result("the App", result, response, handler=False)
        if request.known_body is not None:
            request.known_body.check_awaited()
        response.finish()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        meant = meant_by(error)
        if peer.cancelling and isinstance(meant, asyncio.CancelledError):
            return  # `_run` raises it for the ASGI server
        answer_failure(meant, response, context.error_body, context.refusal_fields)
        del meant  # its traceback refers to this frame
