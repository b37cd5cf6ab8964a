"""Interfaces: the protocols (`typing.Protocol`) through which the parts of a server use each other.

They are in one module so that no module has to import a higher layer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, Protocol

from ..config import Config
from ..net.outgoing import Closable, Outgoing
from ..net.sendfile import FileTransfer
from ..wire.request import Address, Peer, Request
from ..wire.response import ResponseFields
from .answer import Buffer, Cause, HasFileno, PreparedResponse, ResponseState
from .error_body import ErrorBody
from .upgraded import MessageMeter, UpgradedProtocol

__all__ = [
    "Abortable", "AccessLogger", "Answer", "AnswerRecorder", "App", "Closable", "Encoder", "FileSource", "Forwarding",
    "HTTP1Sink", "Instant", "Meter", "OpenConnection", "Out", "Responder", "ResponseHead", "ResponseWriter",
    "ServedApp", "Sink", "WaitingHandler",
]  # fmt: skip

# The second argument is a `ResponseWriter`. It is Any here, so that an App may annotate it as `StreamWriter`.
App = Callable[[Request, Any], Awaitable[None]]
Instant = Callable[[Request], PreparedResponse | None]  # gives the prepared response for a request, if there is one
AnswerRecorder = Callable[[Request, "Answer", float], None]  # request, response, start of the request by perf_counter


class Abortable(Protocol):
    """An object with ``abort()``."""

    def abort(self) -> None: ...


class Answer(Protocol):
    """A response that has ended, as the access log and the metrics see it."""

    @property
    def status(self) -> int:
        """The status code; 0 if none was sent."""

    @property
    def size(self) -> int:
        """Bytes of content that have been sent."""

    @property
    def aborted(self) -> bool:
        """Whether the response is incomplete: the client has disconnected, or the connection was closed."""


class AccessLogger(Protocol):
    """An access log: it gets each response.

    If it has an attribute ``direct`` that is true, its methods must not raise, and are called without ``try``. Its
    attribute ``timed`` says whether it needs the argument ``started``.
    """

    def answered(self, request: Request, answer: Answer, started: float) -> None:
        """A response has ended.

        Args:
            request: the request.
            answer: the response.
            started: when the request began, by ``time.perf_counter``.
        """

    def refused(self, client_address: Address, line: str, status: int) -> None:
        """A malformed request has been refused; ``line`` is its first line."""

    def message(self, text: str) -> None:
        """Write a line for a handler (``log_message``)."""


class Meter(MessageMeter, Protocol):
    """The metrics, as connections use them; `aiohttpd.server.metrics.Metrics` is one."""

    def answered(self, request: Request, answer: Answer, started: float) -> None: ...
    def aborted(self) -> None: ...
    def refused(self, status: int) -> None: ...
    def turned_away(self, limit: str) -> None: ...
    def closed(self, sent: int) -> None: ...
    def snapshot(self, connections: Iterable[Any], in_flight: int) -> dict[str, Any]: ...


class WaitingHandler(Protocol):
    """A handler that waits, as other modules than `connection` see it."""

    @property
    def task(self) -> asyncio.Task[None]: ...
    @property
    def request(self) -> Request: ...
    @property
    def started(self) -> float:
        """When it was called, by ``time.perf_counter``."""


class OpenConnection(Protocol):
    """An open connection, as the server uses it."""

    out: Outgoing

    @property
    def handler(self) -> "WaitingHandler | None": ...
    def drain(self) -> None: ...
    def close_if_idle(self) -> None: ...
    def cancel(self) -> None: ...
    def abort(self) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class Forwarding(Protocol):
    """Finds the client of each request on a connection that may come from a trusted proxy."""

    def connected(self, client_address: Address) -> None:
        """A peer has connected: ``client_address`` is that of the proxy, if it is one."""

    def forwarded(self, request: Request, peer: Peer) -> Request:
        """Return the request with client, scheme and host as the client has used them with the first proxy."""


class ServedApp(NamedTuple):
    """An App, and how connections serve it.

    Attributes:
        app: the App.
        instant: returns a `PreparedResponse` for a request, or None; None if the App has no such function.
        error_body: makes the content of error responses of the server; None for plain text.
        refusal_fields: fields that are added to error responses of the server (400, 401, 413, 503 and so on).
        silence: the socket timeout in seconds: how long the server waits for bytes of the peer; None for the options.
    """

    app: App
    instant: Instant | None = None
    error_body: ErrorBody | None = None
    refusal_fields: tuple[tuple[str, str], ...] = ()
    silence: float | None = None


class Responder(Protocol):
    """A handler that sends its response by ``send_response``, ``send_header`` and ``end_headers``."""

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
    """A response, as Apps and the connection use it. `StreamWriter` documents the methods.

    A wrapper around a response has the same methods. To change fields or content, write an `Encoder` instead: it also
    gets the error responses that the connection sends when an App has failed.
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
    """The head of a response, as an `Encoder` gets it. `StreamWriter` is one.

    Attributes:
        request: the request.
        status: the final status code.
        reason: the reason phrase; None for the standard one.
        fields: the fields of the handler, without Server and Date of the server.
        plain: a summary for the fast path: the response has content, the handler has set no field about framing but
            Content-Length, no reason phrase and no Server or Date, and the request is HTTP/1.1. Of the other attributes
            only ``length`` and ``close_connection`` need be read.
        has_content: False for HEAD, 204, 205, 304 and 2xx to CONNECT; then the encoder gets no content.
        length: the Content-Length that the handler has set; None if it has not.
        own_chunks: the handler chunks the content itself. The chunks have been checked. The encoder gets them as they
            are if its `Encoder.keeps_chunks` returns True, else decoded.
        http10: the rules of HTTP/1.0 apply.
        head_mirrors_get: for HEAD: the size that the encoder gets is the size of the response to GET, even if it is 0.
        close_connection: whether the connection is closed after the response; the encoder may set it.
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
    """Sends parts of one open file through an `Encoder`."""

    def send(
        self, offset: int, count: int, check: Callable[[], bool] | None, passed: Callable[[int], None]
    ) -> Awaitable[None] | None:
        """Send ``count`` bytes of the file from ``offset`` on. It can be a coroutine function.

        Args:
            offset: where the part begins in the file.
            count: its length in bytes.
            check: called before the last bytes are sent; False if they must not be sent. None for no check.
            passed: called with the number of bytes of content whenever some have been sent.

        Returns:
            What has to be awaited; None if all is sent already.

        Raises:
            EOFError: the file ends before ``count`` bytes, or ``check`` has returned False.
            ClientDisconnected: the connection is lost.
        """

    def close(self) -> None:
        """Release what it uses. It is called after success and after errors."""


class Out(Protocol):
    """An output for encoded bytes."""

    def send(self, parts: list[bytes]) -> None: ...


class Encoder(Protocol):
    """Encodes responses as bytes. A `StreamWriter` calls it, and has checked the contract before.

    For each response the methods are called in this order: `takes_early` (only for an encoder that was set by
    `StreamWriter.encode_with`); then either `whole`, or `begin`, any number of `data` and `file`, and `end`. `interim`
    may be called before these, `restart` as long as `begun` is false, `abort` at any time and last. `upgrade` is called
    alone.

    The encoder may keep ``parts``. ``size`` is the sum of their lengths; for HEAD there are no parts, and the size is
    that of the content that is left out. Methods that take content return how many bytes of content they have sent.
    Each of them may raise `WriteBufferFull`.
    """

    @property
    def begun(self) -> bool:
        """After `begin`: whether any byte has been sent, so that the response can no longer be replaced."""

    @property
    def complete(self) -> bool:
        """After `begin`, before `end`: whether the client can tell that it has all of the content."""

    def takes_early(self, head: ResponseHead) -> bool:
        """Whether the content of this response has to be given to this encoder without buffering."""

    def unsent(self, data: Buffer) -> None:
        """Take content of a response to HEAD, if `takes_early` has returned True. It is not sent."""

    def keeps_chunks(self, head: ResponseHead) -> bool:
        """Whether the chunks of a handler that chunks its content itself are given as they are; else decoded."""

    def whole(self, head: ResponseHead, parts: list[bytes], size: int) -> int:
        """Send a complete response."""

    def begin(self, head: ResponseHead, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send the head and the first part of the content; more may follow.

        Args:
            head: status and fields.
            parts: the content.
            size: the size of the content in bytes.
            push: send everything now, since the handler has flushed. Otherwise the encoder may buffer it, so that the
                response can still be replaced.
        """

    def data(self, parts: list[bytes], size: int, *, push: bool) -> int:
        """Send more content."""

    def trail(self, fields: ResponseFields) -> None:
        """Set the trailer fields, RFC 9110 section 6.5. They are dropped if the content is not chunked."""

    def end(self, parts: list[bytes], size: int) -> int:
        """Send the last part of the content, and end the response."""

    def interim(self, head: ResponseHead, status: int, fields: ResponseFields, reason: str | None) -> None:
        """Send an interim head (1xx) at once, RFC 9110 section 15.2."""

    def upgrade(self, head: ResponseHead) -> None:
        """Send the head of an upgrade: 101, or 2xx to CONNECT.

        It is sent at once. Of the other methods only `abort` is called for this response.

        Raises:
            ContractError: this encoder does not support upgrades.
        """

    def file(self, descriptor: int) -> FileSource:
        """Return a `FileSource` for an open file; `begin` is called before its first part is sent."""

    def framed(self, parts: list[bytes]) -> None:
        """Send bytes that a handler of ``http.server`` has framed itself, as they are.

        Raises:
            ContractError: this encoder does not support it.
        """

    def redirect(self, out: Out | None) -> None:
        """Write encoded bytes to another output, for a worker thread that encodes; None: to the connection again."""

    def deliver(self, parts: list[bytes]) -> None:
        """Send bytes that were encoded for another output, in order; called in the event loop."""

    def drain(self) -> Awaitable[None]:
        """Wait until the peer has read enough (back-pressure).

        Raises:
            ClientDisconnected: the connection is lost.
        """

    def restart(self) -> "Encoder":
        """Drop a response of which nothing has been sent; return the encoder for the response that replaces it."""

    def abort(self) -> None:
        """End the response so that the client does not take it for complete."""


class Cancelling(Protocol):
    """A server that may cancel its handlers."""

    @property
    def cancelling(self) -> bool:
        """The grace period is over: from now on a cancelled handler was cancelled by the server."""


class EncoderContext(Cancelling, Protocol):
    """The part of `ServerContext` that `encoder.HTTP1Encoder` uses: status line, Server and Date of responses."""

    server_field: bytes

    def prelude(self, status: int) -> bytes: ...
    def date_field(self) -> bytes: ...


class Sink(Protocol):
    """The connection, as a response uses it."""

    @property
    def context(self) -> Cancelling:
        """The context of the server, which knows whether the server cancels its handlers."""

    @property
    def persists(self) -> bool:
        """Whether the connection can be kept alive for another request, as far as is known now."""

    @property
    def lost(self) -> bool:
        """Whether the connection is lost."""

    @property
    def config(self) -> Config:
        """The options of the server."""

    async def writable(self) -> None: ...
    async def wait_closed(self) -> None: ...
    def continued(self) -> bool: ...
    def set_timeout(self, seconds: float) -> None: ...
    def report(self, error: BaseException, request: Request) -> None: ...
    def cut(self, *, reset: bool) -> None: ...
    def upgrade(self, protocol: UpgradedProtocol) -> None: ...
    def answered(self, response: Any) -> None: ...
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class HTTP1Sink(Sink, Protocol):
    """The connection, as `encoder.HTTP1Encoder` uses it."""

    out: Outgoing

    @property
    def context(self) -> EncoderContext: ...

    def file_transfer(self, descriptor: int) -> FileTransfer: ...
