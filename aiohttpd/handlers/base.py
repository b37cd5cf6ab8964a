"""BaseHTTPRequestHandler: http.server's contract, with ``async def do_GET``.

Owns the names that handler code uses, and what they mean. It sees a `Request` and a `StreamWriter`, and
no connection.

============================  ==========================================================================
name of http.server           here
============================  ==========================================================================
do_*, send_*, end_headers,    as they are, or noted at the method
flush_headers, log_*,
*_string, error_*,
responses, weekdayname,
monthname, MessageClass
close_connection              set it to close after this answer
server_version, sys_version   ``sys_version`` is sent only by a class that sets its own
protocol_version              "HTTP/1.0" closes after each answer, as it does there
timeout                       ``timeout_body`` and ``timeout_write`` for this class, in seconds
setup, finish                 ``async def``
raw_requestline, connection   read-only
rbufsize, wbufsize,           ignored: input and output are buffered, TCP_NODELAY is on
disable_nagle_algorithm,
default_request_version
handle, handle_one_request,   refused with TypeError: the connection does what they did
parse_request
============================  ==========================================================================
"""

from __future__ import annotations

import sys
import time
from collections.abc import Coroutine, Generator, Iterable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar

from ..engine.error_body import DEFAULT_ERROR_MESSAGE, checked, escape
from ..engine.failures import check_result
from ..errors import ClientDisconnected, ContractError, HTTPError, meant_by
from ..net.clock import log_date
from ..wire.dates import MONTHS, WEEKDAYS, http_date
from ..wire.headers import Headers, is_field_value
from ..wire.product import __version__
from ..wire.request import Address, Body, Request
from ..wire.response import ResponseFields
from .answers import Output
from .checks import Lazy, check_class, explain_init
from .dispatch import Method, find_method
from .reading import Input

if TYPE_CHECKING:
    from ..engine.response import StreamWriter

__all__ = ["BaseHTTPRequestHandler"]


class BaseHTTPRequestHandler(Input, Output):
    """Base class of request handlers: derive from it, and write ``async def do_GET(self)``.

    One instance serves one *request*. An instance is awaitable, so the class is an App.

    Attributes:
        request: the `Request`.
        command: the method, ``"GET"`` say.
        path: the target as http.server gives it: path and query, not decoded; leading slashes are one.
        headers: the request's fields.
        rfile: the request's body, a `StreamReader`.
        wfile: the answer, a `StreamWriter`.
        client_address: ``(host, port)`` of the client.
        server: the `HTTPServer`, None in tests without one.
        close_connection: whether the connection is closed after this answer.
        max_body_size: bytes of body that may be read; None for any number, ``...`` for ``limit_body``.
        cancel_on_disconnect: whether a handler is cancelled when its client goes.
    """

    server_version: str = f"aiohttpd/{__version__}"
    sys_version: str = "Python/" + sys.version.split()[0]
    protocol_version: str = "HTTP/1.1"
    default_request_version: str = "HTTP/0.9"
    error_message_format: str = DEFAULT_ERROR_MESSAGE
    error_content_type: str = "text/html;charset=utf-8"
    MessageClass: type = Headers
    weekdayname: ClassVar[list[str]] = list(WEEKDAYS)
    monthname: ClassVar[list[str | None]] = [None, *MONTHS[1:]]
    responses: ClassVar[dict[int, tuple[str, str]]] = {
        status.value: (status.phrase, status.description) for status in HTTPStatus
    }
    timeout: float | None = None
    rbufsize: int = -1
    wbufsize: int = 0
    disable_nagle_algorithm: bool = False
    max_body_size: Any = ...
    cancel_on_disconnect: bool = False

    _methods: ClassVar[dict[str, Method]] = {}
    _is_plain: ClassVar[bool] = True  # no attribute or hook needs a look for each request
    _own_prelude: ClassVar[bool] = False  # Server or Date are not the usual ones
    _status: int
    _reason: str | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_class(cls)
        base = BaseHTTPRequestHandler
        cls._methods = {}
        cls._is_plain = (
            cls.setup is base.setup
            and cls.finish is base.finish
            and cls.handle_expect_100 is base.handle_expect_100
            and cls.log_request is base.log_request
            and cls.log_message is base.log_message
            and cls.timeout is None
            and cls.max_body_size is ...
            and not cls.cancel_on_disconnect
            and cls.protocol_version != "HTTP/1.0"
        )
        cls._own_prelude = (
            cls.version_string is not base.version_string
            or cls.date_time_string is not base.date_time_string
            or cls.server_version is not base.server_version
            or cls.sys_version is not base.sys_version
        )

    def __init__(self, request: Request, wfile: StreamWriter) -> None:
        self.request = request
        self.wfile = wfile
        self.command = request.method
        target = request.target
        self.path = target if target[0] == "/" and target[:2] != "//" else _path(request)
        self.close_connection = not request.framing.keep_alive
        self._fields: ResponseFields | None = None

    def __await__(self) -> Generator[Any, None, None]:
        return self._serve().__await__()

    @classmethod
    def serve(cls, request: Request, response: StreamWriter) -> Coroutine[Any, Any, None]:
        """Make an instance for a request and have it answer: the class as a plain App."""
        try:
            handler = cls(request, response)
        except TypeError as error:
            explain_init(cls, error)
            raise
        return handler._serve()

    requestline = Lazy(lambda self: str(self.request.requestline))
    raw_requestline = Lazy(lambda self: f"{self.requestline}\r\n".encode("latin-1"))
    request_version = Lazy(lambda self: str(self.request.version))

    @Lazy
    def headers(self) -> Headers:
        """The fields of the request."""
        return self.request.headers

    @Lazy
    def rfile(self) -> Body:
        """The body of the request, as a stream that ends where the body ends."""
        return self.request.body

    @Lazy
    def client_address(self) -> Address:
        """``(host, port)`` of the client."""
        return self.request.client_address

    @Lazy
    def server(self) -> Any:
        """The `HTTPServer`, with what its ``lifespan`` has set on it."""
        return self.request.server

    @Lazy
    def connection(self) -> Any:
        """The socket, to be asked (``getpeername()``, ``getsockname()``), not to be read or written."""
        return self.wfile.get_extra_info("socket")

    # Hooks.

    async def setup(self) -> None:
        """Called before ``do_*``."""

    async def finish(self) -> None:
        """Called after ``do_*``, whatever has happened in it."""

    def handle_expect_100(self) -> bool:
        """Called before ``do_*`` if the client waits for 100 (Continue), which leaves when the body is first read.

        Return False once you have answered otherwise: ``do_*`` is not run then.
        """
        return True

    # The answer.

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin the answer: status line, Server and Date. The log line is written when it is complete.

        Raises:
            ContractError: an answer has been begun already.
        """
        if self._fields is not None or self.wfile.status:
            raise ContractError("send_response() was called twice: one request, one answer")
        self._status = code
        self._reason = message
        self._fields = ResponseFields()
        if self._own_prelude:
            if self.request.peer.server_field() and (version := self.version_string()):
                self.send_header("Server", version)
            self.send_header("Date", self.date_time_string())

    def send_response_only(self, code: int, message: str | None = None) -> None:
        """Begin a head of nothing but a status line: 103 (Early Hints), say, before the answer itself."""
        self._status, self._reason = code, message
        self._fields = ResponseFields()

    def send_header(self, keyword: str, value: str | int) -> None:
        """Add a field to the head.

        Raises:
            ValueError: the name is no token, or the value holds CR, LF, NUL or another control character.
            ContractError: there is no head to add it to.
        """
        if self._fields is None:
            raise ContractError(
                f"send_header({keyword!r}) outside of a head: after send_response(), before end_headers()"
            )
        self._fields.add(keyword, value)

    def end_headers(self) -> None:
        """End the head. It leaves with the first bytes of the body, in one send."""
        fields = self._fields
        if fields is None:
            raise ContractError("end_headers() without send_response()")
        if self._more is not None and self._status >= 200:
            for name, value in self._more:
                fields.add(name, value)
        self._fields = None
        wfile = self.wfile
        if self.close_connection:
            wfile.close_connection = True
        wfile.send_head(self._status, fields, self._reason)
        if fields.deciding is not None and wfile.close_connection:
            self.close_connection = True

    def flush_headers(self) -> None:
        """Let a head leave that has been ended."""
        if self._fields is None:
            self.wfile.flush()

    def send_error(
        self,
        code: int,
        message: str | None = None,
        explain: str | None = None,
        *,
        headers: Iterable[tuple[str, str]] | Mapping[str, str] = (),
    ) -> None:
        """Answer with an error page, in place of a head that has not left yet.

        Unlike http.server's, it keeps the connection if the body of the request has been read.

        Args:
            code: the status code.
            message: one line, by default the standard phrase.
            explain: a longer text, by default the standard description.
            headers: more fields for the head.

        Raises:
            ContractError: the head of an answer has left.
        """
        phrase, description = self.responses.get(code, ("???", "???"))
        message = phrase if message is None else message
        explain = description if explain is None else explain
        self.log_error("code %d, message %s", code, message)
        if self.wfile.replaceable():
            self.wfile.restart()
            self._fields = None
        self.send_response(code, message if is_field_value(message) else phrase)
        for name, value in headers.items() if isinstance(headers, Mapping) else headers:
            self.send_header(name, value)
        content = b""
        if code >= 200 and code not in (204, 205, 304):
            content_type, content = checked(self.error_body(code, message, explain))
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", len(content))
        self.end_headers()
        if content:
            self.wfile.write(content)

    def error_body(self, status: int, message: str, explain: str) -> tuple[str, bytes]:
        """Make the content of an error answer: override it to have errors in a form of your own.

        ::

            @staticmethod
            def error_body(status, message, explain):
                return "application/json", json.dumps({"status": status, "error": message}).encode()

        It is used for each error of the handler: `send_error`, `HTTPError`, 404, 405, 500. As a static or class method
        it is also used for answers that come before there is a handler: malformed requests, 401, 503.
        The default fills ``error_message_format``; message and explain are escaped for ``error_content_type``.

        Args:
            status: the status code.
            message: one line.
            explain: a longer text; may be empty.

        Returns:
            Content type and content.
        """
        kind = self.error_content_type
        texts = {"code": status, "message": escape(message, kind), "explain": escape(explain, kind)}
        return kind, (self.error_message_format % texts).encode("utf-8", "replace")

    # The log.

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log an answer that is complete; a class that overrides it, or `log_message`, gets every record."""
        self.log_message('"%s" %s %s', self.requestline, str(int(code) if isinstance(code, int) else code), str(size))

    def log_error(self, format: str, *args: Any) -> None:
        """Log an error; by default with `log_message`."""
        self.log_message(format, *args)

    def log_message(self, format: str, *args: Any) -> None:
        """Log a line with address and time where the access log goes, control characters escaped."""
        text = (format % args).translate(_ESCAPES)
        self.request.peer.message(f"{self.address_string()} - - [{self.log_date_time_string()}] {text}\n")

    # Texts.

    def version_string(self) -> str:
        """The value of Server. Python's version is told only by a class with a ``sys_version`` of its own."""
        if self.sys_version is BaseHTTPRequestHandler.sys_version:
            return self.server_version
        return f"{self.server_version} {self.sys_version}".rstrip()

    def date_time_string(self, timestamp: float | None = None) -> str:
        """A time as HTTP writes it, by default now."""
        return http_date(time.time() if timestamp is None else timestamp)

    def log_date_time_string(self) -> str:
        """Now as the log writes it."""
        return log_date(time.time())

    def address_string(self) -> str:
        """The client's host."""
        return str(self.client_address[0])

    # How a request is served.

    async def _serve(self) -> None:
        try:
            if self._is_plain:
                result = await (self._methods.get(self.command) or find_method(self, self._methods))(self)
            else:
                result = await self._serve_with_hooks()
            if result is not None:
                check_result(f"do_{self.command}", result, self.wfile)
            if self._fields is not None:
                raise ContractError("the head was begun but not ended: call end_headers()")
        except HTTPError as error:
            self._answer_error(error)
        except ClientDisconnected:
            raise
        except Exception as error:
            meant = meant_by(error)
            if isinstance(meant, ClientDisconnected):
                raise
            self._answer_error(meant)
        except BaseException as error:  # sys.exit(), a cancellation
            meant = meant_by(error)
            if isinstance(meant, ClientDisconnected) or (meant is error and self.wfile.is_ours(error)):
                raise
            self._answer_error(meant)
        finally:
            if self._cleanup is not None:
                self._cleanup()
        if self.close_connection:
            self.wfile.close_connection = True

    def _answer_error(self, error: BaseException) -> None:
        """Answer for what `do_*` has raised; called while it is handled."""
        if not self.wfile.replaceable():
            raise
        if isinstance(error, HTTPError):
            self._send_http_error(error)
        else:
            self.wfile.report(error)
            self._send_http_error(HTTPError(500))

    def _send_http_error(self, error: HTTPError) -> None:
        """Answer by `send_error`, in place of what the handler has begun.

        A class may override it with the arguments of http.server's, or fewer: fields go by way of the head.
        """
        self.wfile.restart()
        self._fields = None
        if error.headers:
            self._more = [*(self._more or ()), *error.headers]
        texts = [error.message, error.explain]
        while texts and texts[-1] is None:
            texts.pop()
        self.send_error(error.status, *texts)

    async def _serve_with_hooks(self) -> object:
        cls = type(self)
        wfile = self.wfile
        if self.timeout is not None:
            wfile.set_timeout(self.timeout)
        if self.max_body_size is not ... and self.request.framing.has_body:
            self.request.body.limit = self.max_body_size
        if cls.log_request is not BaseHTTPRequestHandler.log_request or (
            cls.log_message is not BaseHTTPRequestHandler.log_message
        ):
            wfile.log = self.log_request
        if self.protocol_version == "HTTP/1.0":
            self.close_connection = True
            wfile.use_http10()
        wfile.cancel_on_disconnect = self.cancel_on_disconnect
        await self.setup()
        try:
            if not self.request.expects_continue or self.handle_expect_100():
                return await (self._methods.get(self.command) or find_method(self, self._methods))(self)
        finally:
            await self.finish()
        return None


# http.server escapes the same: the C0 and C1 controls and the backslash.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {ord("\\"): "\\\\"}


def _path(request: Request) -> str:
    """The path of a target that does not begin with one slash, as http.server gives it (gh-87389)."""
    path, query = request.path, request.query_string
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    return f"{path}?{query}" if query else path
