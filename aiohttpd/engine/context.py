"""ServerContext: what all connections of one server share.

It has no sockets: `aiohttpd.server.server` uses it with listening sockets, `aiohttpd.testing.memory` with connections
in memory. `aiohttpd.server.layers` makes it. After that only the drain and the end of the server change it.
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
from .ready import ReadyConnections
from .recorder import Recorder
from .registry import Registry
from .timeouts import Timeouts, resolution
from .wakeup import Batch

__all__ = ["ServerContext"]

T = TypeVar("T", bound=Closable)


class ServerContext:
    """The state of a server that its connections use.

    Args:
        served: the App, and how it is served.
        config: the options.
        loop: the event loop of the server.
        server: the value of ``Request.server``; it is not used here.
        recorder: writes the access log and the metrics; by default there are none.
        lifespan_context: the context variables that the lifespan has set, by default those of the caller. Each request
            gets a copy, so requests do not see each other's variables.

    Attributes:
        app, instant, error_body, refusal_fields, silence: see `ServedApp`.
        record: `Recorder.answered`.
        timed: `Recorder.timed`.
        report: logs an exception of a handler, with its request.
        deadlines: the timer of all deadlines.
        timeouts: the queues of deadlines.
        transfer_limits: the limits for peers that read slowly.
        registry: the open connections, handshakes and handlers.
        ready: the connections that have received a request in this turn of the loop.
        batch: the tasks for which content or messages have arrived in this turn of the loop.
        prelude: returns status line, Server and Date of a response by its status.
        date_field: returns the Date field with its CRLF.
        server_field: the Server field with its CRLF; empty if none is to be sent.
        draining: the server drains: the current request of each connection is its last.
        closes_idle: the time of idle connections is over: while the server drains, none becomes idle any more.
        cancelling: the grace period is over: from now on a cancelled handler was cancelled by the server.
    """

    __slots__ = (
        "_ident", "_preludes", "_shared", "app", "batch", "cancelling", "closes_idle", "config", "date_field",
        "deadlines", "draining", "error_body", "instant", "lifespan_context", "loop", "prelude", "ready", "record",
        "recorder", "refusal_fields", "registry", "report", "server", "server_field", "silence", "timed", "timeouts",
        "transfer_limits",
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
        self.ready = ReadyConnections(loop)
        self.batch = Batch(loop)
        self._preludes = Preludes(loop, server_header=config.server_header)
        self.prelude: Callable[[int], bytes] = self._preludes.__getitem__
        self.date_field = self._preludes.date_field
        self.server_field = self._preludes.server_field
        self.draining = False
        self.closes_idle = False
        self.cancelling = False
        self._shared: dict[Any, Closable] = {}
        self._ident = threading.get_ident()  # of the thread that runs the loop

    def shared(self, kind: Callable[[Config, asyncio.AbstractEventLoop], T]) -> T:
        """Return an object that all requests share. It is made at the first call, and closed with the server.

        Args:
            kind: its class, which is called with the options and the loop.
        """
        found = self._shared.get(kind)
        if found is None:
            found = self._shared[kind] = kind(self.config, self.loop)
        return cast(T, found)

    def background(self, work: Coroutine[Any, Any, Any], *, after: bool = False) -> asyncio.Task[None]:
        """Start work that nobody waits for, at once or after the current task; see `start_background`."""
        start = start_after if after else start_background
        return start(work, self.registry, self.config.max_background)

    def message(self, line: str) -> None:
        """Write a line of a handler to the access log. It may be called from any thread."""
        if threading.get_ident() != self._ident:
            self.loop.call_soon_threadsafe(self.message, line)
        else:
            self.recorder.message(line)

    def refused(self, client_address: Address, line: bytes, error: WireError) -> None:
        """Log and count a malformed request.

        Args:
            client_address: the client.
            line: the first line of what it has sent.
            error: the error, with the status that was sent.
        """
        tell = getattr(self.app, "aiohttpd_refused", None)  # logs a hint, see `threads.legacy`
        if tell is not None:
            tell(line)
        self.recorder.refused(client_address, line, error)

    def closed(self, connection: OpenConnection) -> None:
        """A connection has been closed; its handler may still be running."""
        self.registry.remove_connection(connection)
        self.recorder.closed(connection.out.total)

    # The end of the server.

    def drain(self) -> None:
        """Drain: the current request of each connection, or else the next one, is its last."""
        self.draining = True
        for connection in self.registry.connections:
            connection.drain()

    def begin_cancelling(self) -> None:
        """The grace period is over: from now on a `CancelledError` of a handler is not an error of the handler."""
        self.cancelling = True

    def close(self) -> None:
        """The last connection has been closed."""
        self.deadlines.close()
        self._preludes.close()
        for made in self._shared.values():
            made.close()
