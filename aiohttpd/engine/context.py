"""ServerContext: what all connections of one server share.

Owns no socket: `aiohttpd.server.server` puts one on the network, `aiohttpd.testing.memory` feeds one from memory. It
is made once, by `aiohttpd.server.layers`, and is only told then that the server stops.
"""

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, cast

from ..config import Config
from ..errors import WireError
from ..net.deadlines import Deadlines
from ..net.transport import TransferLimits
from ..wire.request import Address
from .background import start_after, start_background
from .error_log import ErrorReporter
from .interfaces import Closable, OpenConnection, ServedApp
from .preludes import Preludes
from .recorder import Recorder
from .registry import Registry
from .timeouts import Timeouts, resolution

__all__ = ["ServerContext"]

T = TypeVar("T", bound=Closable)


class ServerContext:
    """The part of a server that its connections know.

    Args:
        served: the App, and how it is served.
        config: the options.
        loop: of the server.
        server: what ``Request.server`` gives, opaque here.
        recorder: is told what happens; by default nobody is.
        lifespan_context: the contextvars of the lifespan, those of the caller by default. Each request gets a copy, so
            no request sees what another has set.

    Attributes:
        app, instant, error_body, refusal_fields, silence: see `ServedApp`.
        record: `Recorder.answered`.
        timed: `Recorder.timed`.
        report: takes what a handler has raised, and its request.
        deadlines: the timer of all deadlines.
        timeouts: the queues of deadlines.
        transfer_limits: for peers that read slowly.
        registry: what is open.
        prelude: gives the beginning of a response by its status: status line, Server and Date.
        date_field: makes the Date field.
        server_field: the Server field with its CRLF; empty if it is not to be sent.
        draining: no request may follow on any connection.
        cancelling: the grace is over: a handler that is cancelled now is cancelled by us.
    """

    __slots__ = (
        "_ident", "_preludes", "_shared", "app", "cancelling", "config", "date_field", "deadlines", "draining",
        "error_body", "instant", "lifespan_context", "loop", "prelude", "record", "recorder", "refusal_fields",
        "registry", "report", "server", "server_field", "silence", "timed", "timeouts", "transfer_limits",
    )  # fmt: skip

    def __init__(
        self,
        served: ServedApp,
        config: Config,
        loop: asyncio.AbstractEventLoop,
        *,
        server: Any = None,
        recorder: Recorder | None = None,
        lifespan_context: contextvars.Context | None = None,
    ) -> None:
        self.app, self.instant, self.error_body, self.refusal_fields, self.silence = served
        self.config = config
        self.loop = loop
        self.server = server
        self.lifespan_context = lifespan_context if lifespan_context is not None else contextvars.copy_context()
        self.recorder = recorder or Recorder()
        self.record, self.timed = self.recorder.answered, self.recorder.timed
        self.report = ErrorReporter(server)
        self.deadlines = Deadlines(loop, resolution(config))
        self.timeouts = Timeouts(self.deadlines, config)
        self.transfer_limits = TransferLimits(config.limit_unsent, config.min_rate, config.timeout_write)
        self.registry = Registry()
        self._preludes = Preludes(loop, server_header=config.server_header)
        self.prelude: Callable[[int], bytes] = self._preludes.__getitem__
        self.date_field = self._preludes.date_field
        self.server_field = self._preludes.server_field
        self.draining = False
        self.cancelling = False
        self._shared: dict[Any, Closable] = {}
        self._ident = threading.get_ident()  # of the thread with the loop

    def shared(self, kind: Callable[[Config, asyncio.AbstractEventLoop], T]) -> T:
        """The one object of a class that all requests share: made when it is first asked for, closed at the end."""
        found = self._shared.get(kind)
        if found is None:
            found = self._shared[kind] = kind(self.config, self.loop)
        return cast(T, found)

    def background(self, work: Coroutine[Any, Any, Any], *, after: bool = False) -> asyncio.Task[None]:
        """Start work that nobody waits for, at once or after the current task; see `start_background`."""
        start = start_after if after else start_background
        return start(work, self.registry, self.config.max_background)

    def message(self, line: str) -> None:
        """Write a line of a handler's own into the log. May be called from any thread."""
        if threading.get_ident() != self._ident:
            self.loop.call_soon_threadsafe(self.message, line)
        else:
            self.recorder.message(line)

    def refused(self, client_address: Address, line: bytes, error: WireError) -> None:
        """Tell that something has been refused that is no request, but began with ``line``."""
        tell = getattr(self.app, "aiohttpd_refused", None)  # an App that knows what its program meant
        if tell is not None:
            tell(line)
        self.recorder.refused(client_address, line, error)

    def closed(self, connection: OpenConnection) -> None:
        """A connection has been closed; its handler may still be at work."""
        self.registry.remove_connection(connection)
        self.recorder.closed(connection.out.total)

    # The end of the server.

    def drain(self) -> None:
        """From now on the request under way on a connection, or the next, is its last."""
        self.draining = True
        for connection in self.registry.connections:
            connection.drain()

    def begin_cancelling(self) -> None:
        """From now on a handler that is cancelled is cancelled by the server, which is no fault of the handler's."""
        self.cancelling = True

    def close(self) -> None:
        """The last connection has been closed."""
        self.deadlines.close()
        self._preludes.close()
        for made in self._shared.values():
            made.close()
