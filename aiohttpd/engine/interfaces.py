"""Interfaces: what the layers of a server know of each other.

Owns the types that a layer is handed, so that none imports one above it.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..net.outgoing import Outgoing
from ..wire.request import Address, Request
from .answer import PreparedResponse
from .error_body import ErrorBody

if TYPE_CHECKING:
    from .response import StreamWriter

__all__ = [
    "Abortable", "AccessLogger", "Answer", "App", "Closable", "Meter", "OpenConnection", "Recorder", "Responder",
    "ServedApp",
]  # fmt: skip

App = Callable[[Request, "StreamWriter"], Awaitable[None]]
Recorder = Callable[[Request, "Answer", float], None]


class Closable(Protocol):
    """Something to be closed."""

    def close(self) -> None: ...


class Abortable(Protocol):
    """Something that can be cut at once."""

    def abort(self) -> None: ...


class Answer(Protocol):
    """What a record needs of an answer that is complete."""

    @property
    def status(self) -> int:
        """The status code; 0 if there was none."""

    @property
    def size(self) -> int:
        """Bytes of content that have left."""

    @property
    def aborted(self) -> bool:
        """Whether the client has gone, or has been cut off, before the end of it."""


class AccessLogger(Protocol):
    """Takes one record for each answer.

    One with an attribute ``direct`` that is true never raises and is called without a guard; its ``timed`` says whether
    it wants to know when a request began.
    """

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        """A request has been answered that has been begun at ``started``, of ``time.perf_counter``."""

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """Something that is no request has been refused; ``line`` is what began it, escaped."""

    def message(self, text: str) -> None:
        """A line of a handler's own."""


class Meter(Protocol):
    """Counts what connections do: `aiohttpd.server.metrics.Metrics` is one."""

    def answered(self, request: Request, answer: Answer, started: float) -> None: ...
    def aborted(self) -> None: ...
    def refused(self, status: int) -> None: ...
    def turned_away(self, limit: str) -> None: ...
    def closed(self, sent: int) -> None: ...
    def snapshot(self, connections: Iterable[Any], in_flight: int) -> dict[str, Any]: ...


class OpenConnection(Protocol):
    """What a server does with a connection that is open."""

    out: Outgoing

    @property
    def busy(self) -> bool: ...
    @property
    def request(self) -> Request | None: ...
    def drain(self) -> None: ...
    def close_if_idle(self) -> None: ...
    def cancel(self) -> None: ...
    def abort(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class ServedApp(NamedTuple):
    """An App, and how connections treat it.

    Attributes:
        app: the App.
        instant: how it answers at once what it can; None if it has no such way.
        error_body: makes the content of errors that no handler answers; None for plain text.
        refusal_fields: added to what is answered without the App, or for it: 400, 401, 413, 503 and so on.
        silence: seconds that a peer may say nothing, if it has a timeout as sockets have it.
    """

    app: App
    instant: Callable[[Request], PreparedResponse | None] | None = None
    error_body: ErrorBody | None = None
    refusal_fields: tuple[tuple[str, str], ...] = ()
    silence: float | None = None


class Responder(Protocol):
    """What answers by ``send_response``, ``send_header`` and ``end_headers``: a handler."""

    command: str
    request: Request
    wfile: "StreamWriter"

    @property
    def server(self) -> Any: ...
    def send_response(self, code: int, message: str | None = None) -> None: ...
    def send_header(self, keyword: str, value: str | int) -> None: ...
    def add_header(self, keyword: str, value: str) -> None: ...
    def end_headers(self) -> None: ...
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None: ...
    def log_error(self, format: str, *args: Any) -> None: ...
