"""Interfaces: what the layers of a server know of each other.

Owns the types that a layer is handed, so that none imports one above it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NamedTuple, Protocol

from ..net.outgoing import Outgoing
from ..net.sendfile import FileTransfer
from ..wire.body import ChunkedDecoder
from ..wire.request import Address, Peer, Request
from ..wire.response import ResponseFields
from .answer import Buffer, Cancelling, Cause, HasFileno, Preludes, PreparedResponse, ResponseState
from .error_body import ErrorBody
from .upgraded import MessageMeter, UpgradedProtocol

__all__ = [
    "Abortable", "AccessLogger", "Answer", "AnswerRecorder", "App", "Closable", "Encoder", "FileSource", "Forwarding",
    "HTTP1Sink", "Meter", "OpenConnection", "Out", "Responder", "ResponseHead", "ResponseWriter", "ServedApp", "Sink",
    "WaitingHandler",
]  # fmt: skip

# The second argument is a `ResponseWriter`. Its type is left open, so that an App may name `StreamWriter`.
App = Callable[[Request, Any], Awaitable[None]]
AnswerRecorder = Callable[[Request, "Answer", float], None]  # the last is when the request began, of perf_counter


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


class Meter(MessageMeter, Protocol):
    """Counts what connections do: `aiohttpd.server.metrics.Metrics` is one."""

    def answered(self, request: Request, answer: Answer, started: float) -> None: ...
    def aborted(self) -> None: ...
    def refused(self, status: int) -> None: ...
    def turned_away(self, limit: str) -> None: ...
    def closed(self, sent: int) -> None: ...
    def snapshot(self, connections: Iterable[Any], in_flight: int) -> dict[str, Any]: ...


class WaitingHandler(Protocol):
    """A handler that waits: what is known of it from outside of its connection."""

    @property
    def task(self) -> asyncio.Task[None]: ...
    @property
    def request(self) -> Request: ...
    @property
    def started(self) -> float:
        """When it began, of ``time.perf_counter``."""


class OpenConnection(Protocol):
    """What a server does with a connection that is open."""

    out: Outgoing

    @property
    def handler(self) -> "WaitingHandler | None": ...
    def drain(self) -> None: ...
    def close_if_idle(self) -> None: ...
    def cancel(self) -> None: ...
    def abort(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class Forwarding(Protocol):
    """What the proxies in front of one connection say of its clients; a connection without proxies has none."""

    def connected(self, client_address: Address) -> None:
        """A peer has connected."""

    def forwarded(self, request: Request, peer: Peer) -> Request:
        """The request as the client has sent it to the first proxy."""


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

    @property
    def wfile(self) -> "ResponseWriter": ...
    @property
    def server(self) -> Any: ...
    def send_response(self, code: int, message: str | None = None) -> None: ...
    def send_header(self, keyword: str, value: str | int) -> None: ...
    def add_header(self, keyword: str, value: str) -> None: ...
    def end_headers(self) -> None: ...
    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None: ...
    def log_error(self, format: str, *args: Any) -> None: ...


class ResponseWriter(Protocol):
    """One answer, as Apps and the connection use it; `StreamWriter` says what each of these does.

    A wrapper around an answer has the same names. A wrapper that changes fields or content is better put behind it, as
    an `Encoder`: it also gets the answers that the connection gives when an App has failed.
    """

    request: Request
    head_mirrors_get: bool
    cancel_on_disconnect: bool
    log: Callable[[int, int], None] | None

    @property
    def encoder(self) -> "Encoder": ...
    @property
    def status(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def state(self) -> ResponseState: ...
    @property
    def aborted(self) -> bool: ...
    @property
    def cancelled(self) -> Cause | None: ...
    @property
    def empty(self) -> bool: ...
    @property
    def released(self) -> bool: ...
    @property
    def http10(self) -> bool: ...
    @property
    def close_connection(self) -> bool: ...
    @close_connection.setter
    def close_connection(self, closes: bool) -> None: ...
    def send_head(
        self, status: int, fields: ResponseFields | Iterable[tuple[str, str | int]] = (), reason: str | None = None
    ) -> None: ...
    def write(self, data: Buffer) -> None: ...
    def writelines(self, parts: Iterable[Buffer]) -> None: ...
    def flush(self) -> None: ...
    async def drain(self) -> None: ...
    async def sendfile(
        self,
        file: HasFileno | int,
        offset: int = 0,
        count: int | None = None,
        *,
        check: Callable[[], bool] | None = None,
    ) -> None: ...
    def send_whole(self, status: int, fields: ResponseFields, content: bytes) -> None: ...
    def end(self, trailers: ResponseFields | None = None) -> None: ...
    def encode_with(self, encoder: "Encoder") -> None: ...
    def upgrade(self, status: int, fields: ResponseFields, protocol: UpgradedProtocol) -> None: ...
    def use_http10(self) -> None: ...
    def replaceable(self) -> bool: ...
    def restart(self) -> None: ...
    def finish(self) -> None: ...
    def abort(self) -> None: ...
    def is_closing(self) -> bool: ...
    async def wait_closed(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...
    def set_timeout(self, seconds: float) -> None: ...
    def is_ours(self, error: BaseException) -> bool: ...
    def report(self, error: BaseException) -> None: ...


class ResponseHead(Protocol):
    """What an `Encoder` is told of an answer. `StreamWriter` is one.

    Attributes:
        request: what is answered.
        status: the final status code.
        reason: the reason phrase; None for the standard one.
        fields: those of the handler; neither Server nor Date are added.
        plain: there is no need to look further: there is content, its length is not promised, no field decides the
            framing, HTTP/1.1, the connection persists as far as the handler goes.
        has_content: False for HEAD, 204, 205, 304 and for 2xx to CONNECT: no content is given to the encoder then.
        length: the Content-Length that the handler has promised; None if it has not.
        own_chunks: the handler chunks the content itself. The chunks have been checked; the encoder is given them as
            they are if it says so by `Encoder.keeps_chunks`, else what is in them.
        http10: the rules of HTTP/1.0 hold.
        head_mirrors_get: to HEAD, the size that the encoder is given is that of the answer to GET, even if it is 0.
        close_connection: whether the connection is closed after the answer; the encoder may decide that it is.
    """

    close_connection: bool

    @property
    def request(self) -> Request: ...
    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def fields(self) -> ResponseFields: ...
    @property
    def plain(self) -> bool: ...
    @property
    def has_content(self) -> bool: ...
    @property
    def length(self) -> int | None: ...
    @property
    def own_chunks(self) -> bool: ...
    @property
    def http10(self) -> bool: ...
    @property
    def head_mirrors_get(self) -> bool: ...


class FileSource(Protocol):
    """The way of one file's parts through an `Encoder`."""

    def parts(self, offset: int, count: int, check: Callable[[], bool] | None) -> AsyncIterator[int]:
        """Send ``count`` bytes of the file from ``offset`` on; yields how many bytes of content have left.

        Raises:
            EOFError: the file ends before, or ``check``, asked before the last bytes leave, says no.
            ClientDisconnected: the peer is gone.
        """

    def close(self) -> None:
        """End it, on every path."""


class Out(Protocol):
    """Where encoded bytes go."""

    def send(self, parts: list[bytes]) -> None: ...


class Encoder(Protocol):
    """Turns answers into what leaves: behind a `StreamWriter`, which keeps the contract.

    For each answer it is called in this order: `takes_early` (only of an encoder that was put there by
    `StreamWriter.encode_with`); then either `whole`, or `begin`, any number of `data` and `file`, and `end`. `interim`
    may come before all of them, `restart` as long as nothing has `begun`, `abort` at any time and last. `upgrade` comes
    alone.

    ``parts`` may be kept. ``size`` is the sum of their lengths; to HEAD there are no parts, and the size is that of the
    content that is left out. What takes content returns how many bytes of content have left with the call.
    Each of them may raise `WriteBufferFull`.
    """

    @property
    def begun(self) -> bool:
        """Asked after `begin`: whether anything has left, so that the answer can no longer be replaced."""

    @property
    def complete(self) -> bool:
        """Asked after `begin`: whether the client can tell that it has all of the content, before `end`."""

    def takes_early(self, head: ResponseHead) -> bool:
        """Whether it works on the content of this answer, so that it is given each piece as it is written."""

    def keeps_chunks(self, head: ResponseHead) -> bool:
        """Whether a handler's own chunks are passed as they are; else it is given what is in them."""

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        """Send a whole answer."""

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        """Begin an answer of which more content may follow.

        Args:
            head: status and fields.
            parts: the first of the content.
            size: bytes of it.
            push: let everything leave now: the handler has flushed. Else it may be kept, to be replaced perhaps.
        """

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send more content."""

    def trail(self, fields: ResponseFields) -> None:
        """Have these fields follow the content, RFC 9110 section 6.5; without chunks there is no room for them."""

    def end(self, parts: list[bytes], size: int) -> int:
        """Send the last of the content, and the end."""

    def interim(self, head: ResponseHead, status: int, fields: ResponseFields, reason: str | None) -> None:
        """Send an interim head (1xx) at once, RFC 9110 section 15.2."""

    def upgrade(self, head: ResponseHead) -> None:
        """Send a head after which another protocol is spoken on the connection: 101, or 2xx to CONNECT.

        It is sent alone and at once, and nothing else of this answer comes to the encoder but `abort`.

        Raises:
            ContractError: that cannot be done here.
        """

    def file(self, descriptor: int) -> FileSource:
        """Make the way of a file; `begin` has been called before its first part is sent."""

    def framed(self, parts: list[bytes]) -> None:
        """Send bytes that a handler of ``http.server`` has framed itself, as they are.

        Raises:
            ContractError: that cannot be done here.
        """

    def redirect(self, out: Out | None) -> None:
        """Have what is encoded go somewhere else, in the thread that encodes; None: to the client again."""

    def deliver(self, parts: list[bytes]) -> None:
        """Send what has been redirected, in order; called in the loop."""

    def drain(self) -> Awaitable[None]:
        """Wait while the peer is slow.

        Raises:
            ClientDisconnected: the peer is gone.
        """

    def restart(self) -> "Encoder":
        """Forget an answer that has not begun; returns the encoder of the one that takes its place."""

    def abort(self) -> None:
        """Have the answer end in a way that cannot be taken for its end."""


class Sink(Protocol):
    """The connection, as answers know it."""

    @property
    def context(self) -> Cancelling:
        """Whether the server cancels its handlers."""

    @property
    def persists(self) -> bool:
        """Whether another request may follow, as far as the connection knows."""

    @property
    def lost(self) -> bool:
        """Whether the peer can no longer be written to."""

    async def writable(self) -> None: ...
    async def wait_closed(self) -> None: ...
    def continued(self) -> bool: ...
    def check_chunks(self) -> ChunkedDecoder: ...
    def set_timeout(self, seconds: float) -> None: ...
    def report(self, error: BaseException, request: Request) -> None: ...
    def cut(self, *, reset: bool) -> None: ...
    def upgrade(self, protocol: UpgradedProtocol) -> None: ...
    def answered(self, response: Any) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class HTTP1Sink(Sink, Protocol):
    """The connection, as `encoder.HTTP1Encoder` knows it."""

    out: Outgoing

    @property
    def context(self) -> Preludes:
        """What all answers of a server begin with."""

    def file_transfer(self, descriptor: int) -> FileTransfer: ...
